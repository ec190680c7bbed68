#!/bin/bash
# make_deb.sh CACHE RESULT [SUITE …]: Debian packages of what git has (HEAD), built in a clean folder of each suite with that suite's tools.
#
# The packages of suite S come to RESULT/S. Each is built twice in different folders; that both have the same bytes is checked, and
# lintian's word of errors and warnings ends the run. RESULT/S/before has packages of the version before, made of its sources by the packaging of
# now, to be upgraded from; RESULT/trixie/two is for two versions of PostgreSQL on one machine, its own and the one of the suite before.
# With ARM=1 it is arm64 alone, cross-built once, into RESULT/S-arm64. Needs root (or sudo); about 2 GB a suite the first time. The folders stay below CACHE/deb.
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
	sed -i -e "s/^OURS := .*/OURS := \$(JOBS) WARNINGS=-w HARDENING='\$(CPPFLAGS) \$(CFLAGS)'/" -e 's| sql/qwen_pg--\*.control||' -e '/qwen-pg-pull/d' "$debian/rules"
	rm "$debian/qwen-pg-engine.manpages"
	build "$root" build/before "qwen-pg-$before" nocheck -B
	rm -rf "$root/before"
	mkdir "$root/before"
	cp "$root"/build/before/*.deb "$root/before/"
	rm -f "$root"/before/*-dbgsym_*
	touch "$root/before/ready"
}

# two_versions ROOT SUITE OLDER: packages for the suite's PostgreSQL and for that of the suite OLDER, of the tree that is built already, as a repository that has several
# versions builds them. What that takes lies in an overlay that is thrown away.
two_versions() {
	local root=$1 suite=$2 older=$3 top=$1.two over=$1.two/root
	rm -rf --one-file-system "$top"
	mkdir -p "$top/upper" "$top/work" "$over"
	mount -t overlay overlay -o "lowerdir=$root,upperdir=$top/upper,workdir=$top/work" "$over"
	mount -t proc proc "$over/proc"
	mount --bind /dev "$over/dev"
	sed -n "/^deb .* $suite main/s/$suite/$older/p" "$over/etc/apt/sources.list" >"$over/etc/apt/sources.list.d/older.list"
	in_folder "$over" sh -ec 'cd "/build/one/qwen-pg-$2"; version=$(pg_buildext supported-versions)
		apt-get update -qq; cd /var/tmp; before=$(apt-cache depends "postgresql/$1" | sed -n "s/.*Depends: postgresql-\([0-9]*\)$/\1/p" | head -1)
		# the client has pg_config
		for part in server-dev client; do apt-get download -qq "postgresql-$part-$before"; dpkg -x "postgresql-$part-$before"_*.deb /; done
		printf "%s\n" "$before" "$version" >/etc/postgresql-common/supported_versions
		cd "/build/one/qwen-pg-$2"; rm -rf debian/.debhelper debian/debhelper-build-stamp ../*.deb; pg_buildext updatecontrol' sh "$older" "$upstream" >"$root.two.log" 2>&1 || { tail -20 "$root.two.log"; exit 1; }
	build "$over" build/one "qwen-pg-$upstream" nocheck -b -nc
	mkdir -p "$result/$suite/two"
	cp "$over"/build/one/*.deb "$result/$suite/two/"
	umount -l "$over/dev" "$over/proc" "$over"
	rm -rf --one-file-system "$top" "$root.two.log"
}

# The compiler and libraries of arm64. postgresql-server-dev-N is no package that two architectures can have at once, and asks for a whole LLVM of the other:
# its headers are unpacked to /opt/arm64, and a pg_config says so.
ready_for_arm64() {
	local root=$1 version
	[ ! -e "$root/arm64-ready" ] || return 0
	in_folder "$root" sh -ec 'dpkg --add-architecture arm64; apt-get update -qq; apt-get install -y -qq --no-install-recommends crossbuild-essential-arm64 \
		libicu-dev:arm64 libjansson-dev:arm64 libkrb5-dev:arm64 libpcre2-dev:arm64 libssl-dev:arm64 liburing-dev:arm64 libutf8proc-dev:arm64' >&2
	for version in $(in_folder "$root" /usr/share/postgresql-common/supported-versions); do
		in_folder "$root" sh -ec 'mkdir -p /opt/arm64 && cd /opt/arm64 && apt-get download -qq "postgresql-server-dev-$1:arm64" && dpkg -x postgresql-server-dev-"$1"_*.deb . && rm ./*.deb
			printf "#!/bin/sh\nexec /usr/lib/postgresql/$1/bin/pg_config \"\$@\" | sed s,/usr/include/postgresql,/opt/arm64/usr/include/postgresql,\n" >"pg_config-$1"; chmod 755 "pg_config-$1"' sh "$version" >&2
	done
	touch "$root/arm64-ready"
}

# arm64 ROOT SUITE: its packages, of which the engine runs where there is an emulator.
arm64() {
	local root=$1 suite=$2 result_here=$result/$2-arm64
	ready_for_arm64 "$root"
	source_of "$root" "$suite" build/arm64 "$commit" "$upstream"
	sed -i 's|^PG_CONFIG_OF = .*|PG_CONFIG_OF = /opt/arm64/pg_config-$(1)|' "$root/build/arm64/qwen-pg-$upstream/debian/rules"
	build "$root" build/arm64 "qwen-pg-$upstream" nocheck -aarm64 -d -B
	rm -rf "$result_here"
	mkdir -p "$result_here"
	cp "$root"/build/arm64/*_arm64.deb "$result_here/"
	mkdir "$root/build/arm64/unpacked"
	for deb in "$result_here"/qwen-pg-engine_*.deb "$result_here"/postgresql-*-qwen-pg_*.deb; do
		dpkg-deb -x "$deb" "$root/build/arm64/unpacked"
	done
	for file in "$root"/build/arm64/unpacked/usr/lib/postgresql/*/lib/qwen_pg.so "$root/build/arm64/unpacked/usr/lib/qwen-pg/qwen_engine"; do
		readelf -h "$file" | grep -q AArch64 || { echo "FAILED: $(basename "$file") is not of arm64"; exit 1; }
	done
	"$source_dir/tests/tools/install_packages.sh" qemu-user
	qemu-aarch64 -L "$root" "$root/build/arm64/unpacked/usr/lib/qwen-pg/qwen_engine" --version | grep -qx "qwen_engine $upstream" || { echo "FAILED: the engine of arm64 does not run"; exit 1; }
	rm -rf "$root/build/arm64"
	echo "$suite, arm64: $(cd "$result_here" && ls ./*.deb | sed 's|^./||' | tr '\n' ' ')"
}

for suite in "$@"; do
	root=$cache/deb/$suite
	mkdir -p "$cache/deb"
	# who calls it at the same time waits: both would build in the same folder
	exec 9>"$root.lock"
	flock 9
	make_folder "$root" "$suite"
	install_once "$root" build-ready build-essential debhelper lintian fakeroot postgresql-server-dev-all libicu-dev libjansson-dev libkrb5-dev libpcre2-dev liburing-dev \
		libutf8proc-dev libcmocka-dev
	if [ -n "${ARM:-}" ]; then
		arm64 "$root" "$suite"
		continue
	fi
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
	# who publishes the packages gives them an address, and Debian's tracker has no bug that asks for them; that is all that may be wrong
	in_folder "$root" sh -ec 'cd /build/one; lintian --allow-root --fail-on error,warning --tag-display-limit 0 --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs *.changes'
	packages_before "$root" "$suite"
	rm -rf "${result:?}/$suite"
	mkdir -p "$result/$suite/before"
	cp "$root"/build/one/qwen-pg_* "$root"/build/one/*.deb "$result/$suite/"
	cp "$root"/before/*.deb "$result/$suite/before/"
	[ "$suite" != trixie ] || two_versions "$root" trixie bookworm
	[ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:$SUDO_GID" "$result"
	rm -rf "$root/build"
	echo "$suite: $(cd "$result/$suite" && ls ./*.deb | sed 's|^./||' | tr '\n' ' ')- the same bytes twice, lintian has nothing to say"
done
