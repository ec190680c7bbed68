#!/bin/bash
# check_packages.sh CACHE PACKAGES MODEL [SUITE …]: what `make deb` built, in bare systems as a user has them.
#
# For each suite: in a bare system docs/start.md letter by letter (apt-get install of the .deb, which brings PostgreSQL, a model, an answer, rows); in one that has a
# server already an upgrade from the packages of the version before, with data and a job at work (upgrade_packages.py), the autopkgtest, and a purge that leaves
# nothing; in another what else happens to packages (tests/packages/life.py); where there are packages for two versions of PostgreSQL, both on one machine
# (tests/packages/side_by_side.py). Each run writes into an overlay that is thrown away. Needs root (or sudo); 700 MB a suite.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1 packages=$2 model=$3
shift 3
[ $# -gt 0 ] || set -- bookworm trixie forky
work=$(mktemp -d "$cache/packages.XXXXXX")
trap 'umount -l "$work"/*/root 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT

# over ROOT NAME: an overlay of ROOT with the system's folders, the packages and the sources; its path.
over() {
	local base=$1 top=$work/$2
	mkdir -p "$top/upper" "$top/work" "$top/root"
	mount -t overlay overlay -o "lowerdir=$base,upperdir=$top/upper,workdir=$top/work" "$top/root"
	mount -t proc proc "$top/root/proc"
	mount --bind /dev "$top/root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$top/root/dev/shm"
	mkdir -p "$top/root/packages" "$top/root/source/docs"
	cp "$source_dir/docs/start.md" "$top/root/source/docs/"
	cp "$source_dir"/tests/tools/{start_blocks,upgrade_packages}.py "$source_dir"/tests/packages/*.py "$top/root/source/"
	cp -r "$source_dir/debian" "$top/root/source/"
	cp "$model" "$top/root/source/model.gguf"
	# a server of the distribution starts at the installation, as it does for users; nothing else does
	echo "add_include_dir = 'conf.d'" >"$top/root/etc/postgresql-common/createcluster.conf" # as the package has it
	echo "$top/root"
}

away() { umount -l "$1/dev/shm" "$1/dev" "$1/proc" "$1"; }

# all names of a system that a package could have left, without logs and caches of apt and dpkg
names() { (cd "$1" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log -o -path ./var/lib/apt -o -path ./source -o -path ./packages -o -path ./root \) -prune -o -print | sort); }

# base FOLDER SUITE PACKAGE …: a system with these packages, made once
base() {
	local folder=$1 suite=$2
	shift 2
	[ ! -e "$folder/bare-ready" ] || return 0
	make_folder "$folder" "$suite"
	[ $# = 0 ] || in_folder "$folder" sh -c 'mkdir -p /etc/postgresql-common; echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf; apt-get update -qq; apt-get install -y -qq --no-install-recommends "$@"' sh "$@" >&2
	umount "$folder/dev/shm" "$folder/dev" "$folder/proc"
	touch "$folder/bare-ready"
}

for suite in "$@"; do
	need_packages "$packages" "$suite"
done
for suite in "$@"; do
	base "$cache/bare/$suite" "$suite"
	root=$(over "$cache/bare/$suite" "$suite-bare")
	rm -f "$root/etc/postgresql-common/createcluster.conf"
	cp "$packages/$suite"/*.deb "$root/packages/"
	# python3 is what the page's reader runs in
	in_folder "$root" sh -ec 'apt-get update -qq; apt-get install -y -qq --no-install-recommends python3 >/dev/null; ! command -v pg_ctlcluster
		cd /packages && exec python3 /source/start_blocks.py /source/docs/start.md /source/model.gguf'
	in_folder "$root" sh -ec 'v=$(ls /usr/lib/postgresql); pg_ctlcluster "$v" main stop'
	away "$root"
	echo "$suite: a bare system came to answers by docs/start.md"

	base "$cache/packages-base/$suite" "$suite" postgresql postgresql-common python3 ca-certificates
	root=$(over "$cache/packages-base/$suite" "$suite")
	in_folder "$root" sh -ec 'v=$(ls /usr/lib/postgresql); pg_createcluster --start "$v" main' >&2
	cp -r "$packages/$suite/." "$root/packages/"
	names "$root" >"$work/before"
	in_folder "$root" python3 /source/upgrade_packages.py /packages/before /packages /source/model.gguf
	in_folder "$root" env QWEN_PG_TEST_MODEL=/source/model.gguf sh -e /source/debian/tests/chat
	in_folder "$root" sh -ec 'su postgres -c "psql -X -qc \"DROP EXTENSION qwen_pg CASCADE; DROP VIEW IF EXISTS short; DROP TABLE mails, queued; DROP ROLE app\""; rm /etc/postgresql/*/main/conf.d/qwen_pg.conf
		v=$(ls /usr/lib/postgresql); pg_ctlcluster "$v" main restart; apt-get purge -y -qq qwen-pg-engine "postgresql-*-qwen-pg" >/dev/null; apt-get autoremove --purge -y -qq >/dev/null; pg_ctlcluster "$v" main stop'
	names "$root" >"$work/after"
	left=$(comm -13 "$work/before" "$work/after" | grep -v -e '/base/' -e '/pg_' -e '__pycache__' || true)
	if [ -n "$left" ]; then
		echo "FAILED: $suite: after the purge there is"
		echo "$left" | head -20
		exit 1
	fi
	away "$root"
	echo "$suite: upgraded beside a server that runs, chatted, purged without a rest"

	root=$(over "$cache/packages-base/$suite" "$suite-life")
	in_folder "$root" sh -ec 'v=$(ls /usr/lib/postgresql); pg_createcluster "$v" main' >&2
	cp -r "$packages/$suite/." "$root/packages/"
	in_folder "$root" python3 /source/life.py /packages/before /packages /source/model.gguf
	away "$root"

	[ -e "$packages/$suite/two" ] || continue
	root=$(over "$cache/packages-base/$suite" "$suite-two")
	cp "$packages/$suite"/two/*.deb "$root/packages/"
	sed -n "/^deb .* $suite main/s/$suite/bookworm/p" "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/older.list"
	in_folder "$root" sh -ec 'echo "create_main_cluster = false" >>/etc/postgresql-common/createcluster.conf
		apt-get update -qq; apt-get install -y -qq --no-install-recommends "postgresql-$(ls /packages | sed -n "s/^postgresql-\([0-9]*\)-qwen-pg_.*/\1/p" | sort -n | head -1)"' >&2
	in_folder "$root" python3 /source/side_by_side.py /packages /source/model.gguf
	away "$root"
done
