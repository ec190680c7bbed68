#!/bin/bash
# install_packages.sh [--for-tests | PACKAGE...]: install what packages.txt lists, with --for-tests what packages_for_tests.txt lists, too, or the
# packages given, as far as this machine lacks them, with apt; with sudo when we are not root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

# the PostgreSQL that is installed already, else the distribution's own
server_version() {
	local found
	found=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -name postgres 2>/dev/null | sed 's|.*/postgresql/\([0-9]*\)/.*|\1|' | sort -n | tail -1)
	if [ -z "$found" ]; then
		found=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -1)
	fi
	echo "$found"
}

if [ "${1:-}" = --for-tests ]; then
	listed=$(cat "$here/packages.txt" "$here/packages_for_tests.txt")
elif [ $# -gt 0 ]; then
	listed=$(printf '%s\n' "$@")
else
	listed=$(cat "$here/packages.txt")
fi
version=$(server_version)
if [ -z "$version" ]; then
	as_root apt-get update -qq
	version=$(server_version)
fi
missing=()
while read -r package; do
	case "$package" in '' | \#*) continue ;; esac
	package=${package//@PG@/$version}
	# a Node.js that came some other way has npm already
	if [ "$package" = npm ] && command -v npm >/dev/null; then continue; fi
	is_installed "$package" || missing+=("$package")
done <<<"$listed"
[ "${#missing[@]}" -gt 0 ] || exit 0

echo "installing: ${missing[*]}"
# the server's package must not start a cluster of its own on a machine that only tests
if [ ! -d /etc/postgresql-common ]; then
	as_root mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
as_root apt-get update -qq
as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
