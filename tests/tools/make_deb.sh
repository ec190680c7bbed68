#!/bin/bash
# make_deb.sh CACHE RESULT [SUITE …]: Debian packages of what git has (HEAD), built in a clean folder of each suite with that suite's tools.
#
# The packages of suite S come to RESULT/S. Each is built twice in different folders; that both have the same bytes is checked, and
# lintian's word of errors and warnings ends the run. RESULT/S/before has packages of the version before, made of its sources by the packaging of
# now, to be upgraded from. Needs root (or sudo); about 2 GB a suite the first time. The folders stay below CACHE/deb.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1 result=$2
shift 2
[ $# -gt 0 ] || set -- bookworm trixie forky
version=$(dpkg-parsechangelog -l "$source_dir/debian/changelog" -S Version)
upstream=${version%-*}
git_here=(git -c "safe.directory=$source_dir" -C "$source_dir")
# of the same state, whoever commits meanwhile
commit=$("${git_here[@]}" rev-parse HEAD)

# The version before: the last commit that had it.
before=0.1.0
commit_before=$("${git_here[@]}" log -1 --format=%H --diff-filter=A -- "sql/qwen_pg--$before--$upstream.sql" | sed 's/$/^/')

# suite_version VERSION SUITE: the suite's mark behind it, so that an upgrade of the system takes the package of the new one.
suite_version() {
	case "$2" in
	bookworm) echo "$1~deb12+1" ;;
	trixie) echo "$1~deb13+1" ;;
	*) echo "$1" ;;
	esac
}

# source_of ROOT SUITE FOLDER COMMIT UPSTREAM: the source package's folder inside of ROOT, with the packaging of now and the control file for
# that suite's versions of PostgreSQL.
source_of() {
	local root=$1 suite=$2 folder=$3 of=$4 name=qwen-pg-$5 orig=$1/$3/qwen-pg_$5.orig.tar.gz
	rm -rf "${root:?}/$folder"
	mkdir -p "$root/$folder"
	"${git_here[@]}" archive --format=tar "--prefix=$name/" "$of" -- . ':!debian' ':!.ci' | gzip -9n >"$orig"
	tar -C "$root/$folder" -xf "$orig"
	"${git_here[@]}" archive --format=tar "$commit" -- debian | tar -C "$root/$folder/$name" -xf -
	sed -i "1s/([^)]*)/($(suite_version "$5-${version##*-}" "$suite"))/" "$root/$folder/$name/debian/changelog"
	in_folder "$root" sh -ec 'cd "$1" && pg_buildext updatecontrol' sh "/$folder/$name"
}

# build ROOT FOLDER NAME OPTIONS [ARGUMENT …]: dpkg-buildpackage there.
build() {
	local root=$1 folder=$2 name=$3 options=$4
	shift 4
	if ! in_folder "$root" env "DEB_BUILD_OPTIONS=parallel=2 $options" sh -ec 'cd "$1"; shift; dpkg-buildpackage -us -uc -ui "$@"' sh "/$folder/$name" "$@" >"$root/$folder.log" 2>&1; then
		tail -40 "$root/$folder.log"
		echo "FAILED: the packages of $name do not build in $root"
		exit 1
	fi
}

# packages_before ROOT SUITE: those of the version before, once. Its Makefile knew no FATAL, and it had fewer files.
packages_before() {
	local root=$1 suite=$2 debian=$1/build/before/qwen-pg-$before/debian
	[ ! -e "$root/before/ready" ] || return 0
	source_of "$root" "$suite" build/before "$commit_before" "$before"
	sed -i -e "s/^OURS := .*/OURS := WARNINGS=-w HARDENING='\$(CPPFLAGS) \$(CFLAGS)'/" -e 's| sql/qwen_pg--\*.control||' -e '/qwen-pg-pull/d' "$debian/rules"
	rm "$debian/qwen-pg-engine.manpages"
	build "$root" build/before "qwen-pg-$before" nocheck -B
	rm -rf "$root/before"
	mkdir "$root/before"
	cp "$root"/build/before/*.deb "$root/before/"
	rm -f "$root"/before/*-dbgsym_*
	touch "$root/before/ready"
}

for suite in "$@"; do
	root=$cache/deb/$suite
	make_folder "$root" "$suite"
	install_once "$root" build-ready build-essential debhelper lintian fakeroot postgresql-server-dev-all libicu-dev libjansson-dev libkrb5-dev libpcre2-dev liburing-dev \
		libutf8proc-dev libcmocka-dev
	for folder in build/one build/another; do
		source_of "$root" "$suite" "$folder" "$commit" "$upstream"
		options=
		[ "$folder" = build/one ] || options=nocheck
		build "$root" "$folder" "qwen-pg-$upstream" "$options"
	done
	for deb in "$root"/build/one/*.deb; do
		if ! cmp -s "$deb" "$root/build/another/$(basename "$deb")"; then
			echo "FAILED: $(basename "$deb") of $suite is not the same when it is built in another folder"
			exit 1
		fi
	done
	# who publishes the packages gives them an address; that it is none is all that may be wrong
	in_folder "$root" sh -ec 'cd /build/one; lintian --allow-root --fail-on error,warning --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog *.changes'
	packages_before "$root" "$suite"
	rm -rf "${result:?}/$suite"
	mkdir -p "$result/$suite/before"
	cp "$root"/build/one/qwen-pg_* "$root"/build/one/*.deb "$result/$suite/"
	cp "$root"/before/*.deb "$result/$suite/before/"
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$result"
	rm -rf "$root/build"
	echo "$suite: $(cd "$result/$suite" && ls ./*.deb | sed 's|^./||' | tr '\n' ' ')- the same bytes twice, lintian has nothing to say"
done
