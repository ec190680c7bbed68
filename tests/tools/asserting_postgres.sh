#!/bin/bash
# asserting_postgres.sh DIRECTORY: a PostgreSQL of the machine's major version with its own assertions, built there from the distribution's source
# package, once; prints its pg_config. It finds what a release lets pass by luck: freed memory is overwritten at once, catalog entries are let go with
# their last user, and a look into the catalogs where no transaction is open ends the server.
# Ten minutes of two processors. A build that was interrupted begins anew.
set -euo pipefail
mkdir -p "$1"
directory=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
exec 9<"$directory"
flock 9
config=$directory/pg/bin/pg_config
major=$("${PG_CONFIG:-pg_config}" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
if [ "$(cat "$directory/done" 2>/dev/null)" = "$major" ]; then
	echo "$config"
	exit 0
fi
"$here/install_packages.sh" dpkg-dev bison flex perl pkg-config libicu-dev zlib1g-dev >&2
find "$directory" -mindepth 1 -delete
mkdir -p "$directory/apt/parts" "$directory/apt/lists/partial"
# the suites that packages come from, for their sources
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
	case "$list" in
	*.sources) sed 's/^Types:.*/Types: deb-src/' "$list" >"$directory/apt/parts/$(basename "$list")" ;;
	*.list) if [ -e "$list" ]; then sed -n 's/^deb /deb-src /p' "$list" >"$directory/apt/parts/$(basename "$list")"; fi ;;
	esac
done
options=(-o Dir::Etc::sourceparts="$directory/apt/parts" -o Dir::Etc::sourcelist=/dev/null -o Dir::State::lists="$directory/apt/lists" -o APT::Sandbox::User=root)
cd "$directory"
apt-get "${options[@]}" update -qq >&2
# a security suite keeps its newest alone, which may be newer than apt's lists: then the suite's own
for version in $(apt-cache "${options[@]}" showsrc "postgresql-$major" | sed -n 's/^Version: //p' | sort -rV); do
	if apt-get "${options[@]}" source -qq --download-only "postgresql-$major=$version" >&2; then break; fi
done
mkdir source
tar -C source --strip-components=1 -xf postgresql-"$major"_*.orig.tar.*
cd source
./configure --prefix="$directory/pg" --enable-cassert --enable-debug --with-icu --without-readline CFLAGS="-O1 -g" \
	CPPFLAGS="-DRELCACHE_FORCE_RELEASE -DCATCACHE_FORCE_RELEASE" >"$directory/build.log" 2>&1
for part in . contrib; do
	make -s -C "$part" -j"${JOBS:-2}" >>"$directory/build.log" 2>&1
	make -s -C "$part" install >>"$directory/build.log" 2>&1
done
cd "$directory"
rm -rf source apt
chmod -R a+rX "$directory/pg"
echo "$major" >"$directory/done"
echo "$config"
