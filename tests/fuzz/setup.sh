#!/bin/bash
# Install what make fuzz needs beyond packages.txt: Debian's clang with its sanitizers, libFuzzer and OpenMP.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }
is_installed clang || { as_root apt-get update -qq; as_root apt-get install -y -qq --no-install-recommends clang >/dev/null; }
version=$(clang -dumpversion | cut -d. -f1)
missing=()
for package in "libclang-rt-$version-dev" "libomp-$version-dev"; do
	is_installed "$package" || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
as_root apt-get update -qq
as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
