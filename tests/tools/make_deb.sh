#!/bin/bash
# make_deb.sh CACHE RESULT [SUITE …]: Debian packages of what git has (HEAD), built in a clean folder of each suite with that suite's tools.
#
# The packages of suite S come to RESULT/S. Each is built twice in different folders; that both have the same bytes is checked, and
# lintian's word of errors and warnings ends the run.  Needs root (or sudo);
# about 2 GB a suite the first time. The folders stay below CACHE/deb.
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

# The suite's mark behind the version, so that an upgrade of the system takes the package of the new one.
suite_version() {
	case "$1" in
	bookworm) echo "$version~deb12+1" ;;
	trixie) echo "$version~deb13+1" ;;
	*) echo "$version" ;;
	esac
}

# source_of ROOT SUITE FOLDER: the source package's folder inside of ROOT, with the control file for that suite's versions of PostgreSQL.
source_of() {
	local root=$1 suite=$2 folder=$3
	rm -rf "${root:?}/$folder"
	mkdir -p "$root/$folder"
	"${git_here[@]}" archive --format=tar "--prefix=qwen-pg-$upstream/" "$commit" -- . ':!debian' ':!.ci' | gzip -9n >"$root/$folder/qwen-pg_$upstream.orig.tar.gz"
	tar -C "$root/$folder" -xf "$root/$folder/qwen-pg_$upstream.orig.tar.gz"
	"${git_here[@]}" archive --format=tar "$commit" -- debian | tar -C "$root/$folder/qwen-pg-$upstream" -xf -
	sed -i "1s/([^)]*)/($(suite_version "$suite"))/" "$root/$folder/qwen-pg-$upstream/debian/changelog"
	in_folder "$root" sh -ec 'cd "$1" && pg_buildext updatecontrol' sh "/$folder/qwen-pg-$upstream"
}

for suite in "$@"; do
	root=$cache/deb/$suite
	make_folder "$root" "$suite"
	install_once "$root" build-ready build-essential debhelper lintian fakeroot postgresql-server-dev-all libicu-dev libjansson-dev libkrb5-dev libpcre2-dev liburing-dev \
		libutf8proc-dev libcmocka-dev
	for folder in build/one build/another; do
		source_of "$root" "$suite" "$folder"
		options=
		[ "$folder" = build/one ] || options=nocheck
		if ! in_folder "$root" env "DEB_BUILD_OPTIONS=parallel=2 $options" sh -ec 'cd "$1"; dpkg-buildpackage -us -uc -ui' sh "/$folder/qwen-pg-$upstream" >"$root/$folder.log" 2>&1; then
			tail -40 "$root/$folder.log"
			echo "FAILED: the packages of $suite do not build"
			exit 1
		fi
	done
	for deb in "$root"/build/one/*.deb; do
		if ! cmp -s "$deb" "$root/build/another/$(basename "$deb")"; then
			echo "FAILED: $(basename "$deb") of $suite is not the same when it is built in another folder"
			exit 1
		fi
	done
	# who publishes the packages gives them an address; that it is none is all that may be wrong
	in_folder "$root" sh -ec 'cd /build/one; lintian --allow-root --fail-on error,warning --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog *.changes'
	rm -rf "${result:?}/$suite"
	mkdir -p "$result/$suite"
	cp "$root"/build/one/qwen-pg_* "$root"/build/one/*.deb "$result/$suite/"
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$result"
	rm -rf "$root/build"
	echo "$suite: $(cd "$result/$suite" && ls ./*.deb | sed 's|^./||' | tr '\n' ' ')- the same bytes twice, lintian has nothing to say"
done
