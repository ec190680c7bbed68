#!/bin/bash
# check_upgrade.sh CACHE: a real pg_upgrade from PostgreSQL 15 to 17 with jobs and queued rows waiting (upgrade_server.py).
#
# Both versions live in one Debian folder below CACHE (debian_folder.sh): 17 of its own suite, 15 of the one before. Safe to run
# twice; needs root (or sudo); about 1.5 GB.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1
root=$cache/upgrade
mkdir -p "$cache"
exec 9>"$root.lock"
flock 9

# What packages/*.txt name, without what only other groups need and without the headers, which are unpacked.
packages() {
	sed -e "s/@PG@/17/" -e '/^#/d' -e '/server-dev/d' -e '/pgtap/d' -e '/^git$/d' -e '/^npm$/d' -e '/pip$/d' "$source_dir"/tests/tools/packages/*.txt
	echo libssl-dev
}

# The suite before, for its PostgreSQL.
add_older_suite() {
	[ ! -e "$root/older-ready" ] || return 0
	sed -n '/^deb .* trixie main/s/trixie/bookworm/p' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/older.list"
	in_folder "$root" apt-get update -qq >&2
	touch "$root/older-ready"
}

make_folder "$root" trixie
# shellcheck disable=SC2046
install_once "$root" tests-ready $(packages)
add_older_suite
install_once "$root" older-postgres-ready postgresql-15
unpack_once "$root" headers-17-ready postgresql-server-dev-17 libpq-dev
unpack_once "$root" headers-15-ready postgresql-server-dev-15
[ -z "${QWEN_ONLY_PREPARE:-}" ] || exit 0
mkdir -p "$root/var/cache/qwen_pg"
mount --bind "$cache" "$root/var/cache/qwen_pg"
put_source "$root" Makefile src kernels sql docs qwen_pg.control tests README.md
for version in 15 17; do
	in_folder "$root" make --no-print-directory -s -C /source -j2 "B=build/$version" "build/$version/installed" PYTHON=/usr/bin/python3 \
		"PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config"
done
in_folder "$root" sh -c 'cd /source && python3 tests/tools/upgrade_server.py /usr/lib/postgresql/15/bin /usr/lib/postgresql/17/bin'
