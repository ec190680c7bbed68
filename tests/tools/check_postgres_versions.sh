#!/bin/bash
# check_postgres_versions.sh DIRECTORY [SUITE:VERSION …]: compile the extension against other versions of PostgreSQL.
#
# Each version comes from the Debian suite that has it, in a folder of its own below DIRECTORY (debootstrap), with that suite's
# compiler and the headers and pg_config of its packages, which are unpacked and not installed: their dependencies (a whole
# LLVM) are not needed. 16 is in no release of Debian: its headers come from the wheel of pgserver (wheel:16), with this machine's
# compiler. 14 is nowhere to be had. Safe to run twice; needs root (or sudo); a few minutes and 500 MB a suite the first time.
set -euo pipefail
versions=$1
shift
[ $# -gt 0 ] || set -- bullseye:13 wheel:16 trixie:17 forky:18
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
command -v debootstrap >/dev/null || as_root apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
mounted=
unmount() { [ -z "$mounted" ] || as_root umount "$mounted" 2>/dev/null || true; }
trap unmount EXIT

# A suite's smallest system with a compiler, and the server's headers unpacked into it.
make_folder() {
	local suite=$1 version=$2 root=$versions/$1
	local inside=(as_root chroot "$root" env DEBIAN_FRONTEND=noninteractive)
	local script=/usr/share/debootstrap/scripts/$suite

	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	[ -e "$root/ready" ] && return
	as_root rm -rf --one-file-system "$root"
	as_root mkdir -p "$versions"
	as_root debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" "$script" >&2
	mounted=$root/proc
	as_root mount -t proc proc "$mounted"
	"${inside[@]}" apt-get install -y -qq --no-install-recommends gcc make libc6-dev libkrb5-dev libssl-dev >&2
	"${inside[@]}" sh -c "cd /var/tmp && apt-get download -qq postgresql-server-dev-$version postgresql-client-$version libpq-dev && for f in *.deb; do dpkg -x \$f /; done" >&2
	unmount
	as_root touch "$root/ready"
}

# The headers of a wheel, and every source file held against them.
check_wheel() {
	local version=$1 root=$versions/wheel-$1 headers files
	headers=$root/pgserver/pginstall/include

	if [ ! -e "$headers/postgresql/server/postgres.h" ]; then
		as_root mkdir -p "$root"
		(cd "$(mktemp -d)" && pip3 download --no-deps -q --only-binary=:all: --platform manylinux2014_x86_64 --python-version 3.11 pgserver==0.1.4 &&
			as_root python3 -m zipfile -e pgserver-*.whl "$root") >&2
	fi
	grep -q "PG_MAJORVERSION_NUM $version" "$headers/postgresql/server/pg_config.h"
	files=$(cd "$source_dir" && ls src/extension/*.c src/extension/*/*.c)
	(cd "$source_dir" && for file in $files; do
		gcc -fsyntax-only -O2 -fPIC -Wall -Werror -fno-strict-aliasing -fwrapv -D_GNU_SOURCE '-DQWEN_VERSION="x"' -I"$headers/postgresql/server" -I"$headers" "$file" || exit 1
	done) >"/tmp/check_postgres_$version.log" 2>&1
}

failed=
for pair in "$@"; do
	suite=${pair%:*} version=${pair#*:}
	if [ "$suite" = wheel ]; then
		if (check_wheel "$version"); then
			echo "PostgreSQL $version (headers of a wheel, gcc $(gcc -dumpfullversion)): compiles"
		else
			echo "PostgreSQL $version (headers of a wheel): does not compile"
			grep -E 'error|warning' "/tmp/check_postgres_$version.log" | head -40
			failed="$failed $version"
		fi
		continue
	fi
	make_folder "$suite" "$version"
	root=$versions/$suite
	as_root rm -rf "$root/source"
	as_root mkdir "$root/source"
	tar -C "$source_dir" -cf - Makefile src kernels sql qwen_pg.control | as_root tar -C "$root/source" -xf -
	config=/usr/lib/postgresql/$version/bin/pg_config
	if as_root chroot "$root" make -s -k -C /source -j2 FATAL=-Werror extension "PG_CONFIG=$config" >"/tmp/check_postgres_$version.log" 2>&1; then
		echo "PostgreSQL $version ($suite, $(as_root chroot "$root" gcc -dumpfullversion), $(as_root chroot "$root" "$config" --version)): compiles"
		rm -f "/tmp/check_postgres_$version.log"
	else
		echo "PostgreSQL $version ($suite): does not compile"
		grep -E 'error|warning' "/tmp/check_postgres_$version.log" | head -40
		failed="$failed $version"
	fi
	as_root rm -rf "$root/source"
done
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
