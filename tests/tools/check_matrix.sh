#!/bin/bash
# check_matrix.sh CACHE [SUITE:VERSION …]: build and install the extension with other versions of PostgreSQL and run the SQL and cluster tests there.
#
# Each version comes with a Debian suite in a folder below CACHE/matrix (debian_folder.sh), with pgvector and pgTAP of that suite; the
# suite that this machine runs needs no folder when it has that version. CACHE holds the models for the tests and is seen inside.
# MATRIX_SQL and MATRIX_CLUSTER choose the tests (default: all; none: "-"). Safe to run twice; needs root (or sudo); about 1.2 GB a suite.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1
shift
# what README.md says of each version whose tests are run
promised=$(sed -n 's/^| \([0-9]*\)[^|]*|[^|]*| all.*/\1/p' "$source_dir/README.md" | tr '\n' ' ')
all="bookworm:15 trixie:17 forky:18"
[ "$promised" = "$(echo "$all" | tr ' ' '\n' | sed 's/.*://' | tr '\n' ' ')" ] || { echo "FAILED: README.md promises PostgreSQL $promised- and this runs $all"; exit 1; }
# shellcheck disable=SC2086
[ $# -gt 0 ] || set -- $all
sql=${MATRIX_SQL:-$(cd "$source_dir" && echo tests/sql/*.sql)}
cluster=${MATRIX_CLUSTER:-tests/cluster}

# What packages/*.txt name, without what only other groups need and without the headers, which are unpacked. A version that is not released
# has no extensions yet: no pgvector, and pgTAP's script, which is SQL alone, from the version before.
packages_of() {
	sed -e "s/@PG@/$1/" -e '/^#/d' -e '/server-dev/d' -e '/^git$/d' -e '/^npm$/d' -e '/pip$/d' -e "$([ "$2" != experimental ] || echo '/-pgtap$/d')" "$source_dir"/tests/tools/packages/*.txt
	echo "libssl-dev e2fsprogs mount"
	[ "$2" = experimental ] || echo "postgresql-$1-pgvector"
}

borrow_pgtap() {
	local root=$1 version=$2
	unpack_once "$root" pgtap-ready "postgresql-$((version - 1))-pgtap"
	cp "$root/usr/share/postgresql/$((version - 1))/extension"/pgtap* "$root/usr/share/postgresql/$version/extension/"
}

# The targets of the Makefile that run the tests.
targets() {
	echo build/installed
	[ "$sql" = - ] || echo check-sql
	[ "$cluster" = - ] || echo check-cluster
}

run_in_folder() {
	local suite=$1 version=$2 root=$cache/matrix/$1 vector=required

	# one check at a time in a folder
	mkdir -p "$cache/matrix"
	exec 9>"$root.lock"
	flock 9
	make_folder "$root" "$suite"
	# shellcheck disable=SC2046
	install_once "$root" tests-ready $(packages_of "$version" "$suite")
	unpack_once "$root" headers-ready "postgresql-server-dev-$version" libpq-dev
	if [ "$suite" = experimental ]; then
		vector=
		borrow_pgtap "$root" "$version"
	fi
	mkdir -p "$root/var/cache/qwen_pg"
	mount --bind "$cache" "$root/var/cache/qwen_pg"
	put_source "$root" Makefile src kernels sql docs qwen_pg.control tests README.md
	for target in $(targets); do
		in_folder "$root" env "QWEN_TEST_VECTOR=$vector" make --no-print-directory -s -C /source -j2 FATAL=-Werror "$target" "SQL_TESTS=$sql" "CLUSTER_TESTS=$cluster" \
			PYTHON=/usr/bin/python3 "PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config"
	done
}

# The machine's own PostgreSQL; pgvector is not asked for.
run_here() {
	for target in $(targets); do
		make --no-print-directory -s -C "$source_dir" -j2 "$target" "SQL_TESTS=$sql" "CLUSTER_TESTS=$cluster"
	done
}

is_own() {
	local codename
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	[ "$codename" = "$1" ] && "${PG_CONFIG:-pg_config}" --version 2>/dev/null | grep -q "PostgreSQL $2\."
}

failed=
for pair in "$@"; do
	suite=${pair%:*} version=${pair#*:}
	echo "== PostgreSQL $version ($suite)"
	if is_own "$suite" "$version"; then run=run_here; else run=run_in_folder; fi
	# a shell of its own, not in a condition: there "set -e" would mean nothing
	set +e
	(set -e; "$run" "$suite" "$version")
	[ $? = 0 ] || failed="$failed $version"
	set -e
done
[ -z "$failed" ] || { echo "FAILED: PostgreSQL$failed"; exit 1; }
echo "all versions passed: $*"
