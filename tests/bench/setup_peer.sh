#!/bin/bash
# setup_peer.sh DIRECTORY [PACKAGE ...]: llama.cpp from Debian's testing suite in a folder of its own (debootstrap), to measure against; and
# more packages of that suite, where they are asked for.
# Needs root (or sudo) and about two minutes the first time. Safe to run twice, also at once and after an interruption: a mark in the
# folder says that it is complete. The mirror is the one that apt uses here.
set -euo pipefail
peer=$1
packages=(llama.cpp llama.cpp-tools llama.cpp-tools-extra "${@:2}")
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
n_installed() { dpkg-query --admindir="$peer/var/lib/dpkg" -W -f '${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii'; }
is_complete() { [ -e "$peer/var/lib/dpkg/status" ] && [ "$(n_installed)" = "${#packages[@]}" ]; }

is_complete && exit 0
as_root mkdir -p "$(dirname "$peer")"
if [ -z "${QWEN_PEER_LOCKED:-}" ]; then
	exec env QWEN_PEER_LOCKED=1 flock "$(dirname "$peer")" "$0" "$@"
fi
command -v debootstrap >/dev/null || as_root apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
unmount() { ! mountpoint -q "$peer/proc" || as_root umount "$peer/proc"; }
trap unmount EXIT
# a system that debootstrap did not finish is made anew
if [ ! -e "$peer/debootstrapped" ]; then
	unmount
	as_root rm -rf --one-file-system "$peer"
	as_root debootstrap --variant=minbase --include=ca-certificates forky "$peer" "$mirror" /usr/share/debootstrap/scripts/sid >&2
	as_root touch "$peer/debootstrapped"
fi
mountpoint -q "$peer/proc" || as_root mount -t proc proc "$peer/proc"
as_root chroot "$peer" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	"${packages[@]}" >&2
