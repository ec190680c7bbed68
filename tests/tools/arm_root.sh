#!/bin/bash
# arm_root.sh DIRECTORY: what compiling and running programs for 64-bit ARM takes, on a machine that is none.
#
# The cross compiler and qemu's user emulation are installed as packages. The libraries of the other architecture are not: they are
# fetched by an apt whose lists and idea of what is installed stand below DIRECTORY, and are unpacked to DIRECTORY/root, so that
# the system's own package database never hears of that architecture. Safe to run twice; under a minute and 150 MB the first time.
set -euo pipefail
directory=$1
packages="libc6-dev libcmocka-dev liburing-dev libpcre2-dev libutf8proc-dev libjansson-dev libicu-dev"
export DEBIAN_FRONTEND=noninteractive
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

tools=()
command -v aarch64-linux-gnu-gcc >/dev/null || tools+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
command -v qemu-aarch64 >/dev/null || tools+=(qemu-user)
if [ "${#tools[@]}" -gt 0 ]; then
	as_root apt-get update -qq
	as_root apt-get install -y -qq --no-install-recommends "${tools[@]}" >/dev/null
fi
[ ! -e "$directory/ready" ] || exit 0

rm -rf "$directory"
mkdir -p "$directory"/{root,state/lists/partial,cache/archives/partial}
touch "$directory/state/status"
foreign=(-o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$directory/state" -o Dir::State::status="$directory/state/status"
	-o Dir::Cache="$directory/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
apt-get "${foreign[@]}" update -qq
# shellcheck disable=SC2086
apt-get "${foreign[@]}" install -y -qq --no-install-recommends --download-only $packages >&2
for package in "$directory"/cache/archives/*.deb; do
	dpkg-deb --extract "$package" "$directory/root"
done
# links to /lib/… mean the folder's own /lib
find "$directory/root" -type l -lname '/*' | while read -r link; do
	ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$directory/root$(readlink "$link")")" "$link"
done
# packages of merged-/usr releases have no /lib of their own
[ -e "$directory/root/lib" ] || ln -s usr/lib "$directory/root/lib"
rm -rf "$directory/cache" "$directory/state"
touch "$directory/ready"
