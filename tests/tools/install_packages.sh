#!/bin/bash
# install_packages.sh --lists NAME... | PACKAGE...: install what packages/NAME.txt list, or the packages given, as far as this machine lacks them,
# with apt; with sudo when we are not root.
set -euo pipefail
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

listed=$(printf '%s\n' "$@")
if [ "$1" = --lists ]; then
	shift
	listed=$(cd "$(dirname "$0")/packages" && cat "${@/%/.txt}")
fi

# apt's own lists, once
update_lists() {
	[ -n "${lists_are_new:-}" ] || as_root apt-get update -qq
	lists_are_new=yes
}

version=$(server_version)
if [ -z "$version" ]; then
	update_lists
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
update_lists
as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
