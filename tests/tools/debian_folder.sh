# debian_folder.sh: a small Debian of any suite in a folder, for the checks against other versions of PostgreSQL. To be sourced.
#
# A folder is made once by debootstrap, from the mirror that apt uses here, and kept. What a check mounts into it lies in a mount
# namespace of the check's own (in_own_namespace), so that nothing stays mounted and nothing goes on running, however it ends.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

# in_own_namespace SCRIPT ARGUMENT …: run the script again as root in namespaces of its own; returns at once inside of them.
in_own_namespace() {
	[ -z "${QWEN_OWN_NAMESPACE:-}" ] || return 0
	export QWEN_OWN_NAMESPACE=1
	if [ "$(id -u)" = 0 ]; then exec unshare --mount --pid --fork --kill-child "$@"; fi
	exec sudo -E unshare --mount --pid --fork --kill-child "$@"
}

# in_folder ROOT COMMAND …
in_folder() {
	local root=$1
	shift
	chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# add_experimental ROOT MIRROR: PostgreSQL, and nothing else, of experimental.
add_experimental() {
	echo "deb $2 experimental main" >"$1/etc/apt/sources.list.d/experimental.list"
	printf 'Package: src:postgresql-* libpq*\nPin: release a=experimental\nPin-Priority: 990\n' >"$1/etc/apt/preferences.d/experimental"
	in_folder "$1" apt-get update -qq >&2
}

# make_folder ROOT SUITE: the suite's smallest system, with /proc, /dev and a /dev/shm of its own. Nothing that is installed in it starts by itself.
# experimental is what there is beside sid.
make_folder() {
	local root=$1 suite=$2 mirror script lock

	# made by one check at a time, whoever else wants it
	mkdir -p "$(dirname "$root")"
	exec {lock}>"$root.base-lock"
	flock "$lock"
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
	if [ ! -e "$root/base-ready" ]; then
		[ "$suite" != experimental ] || suite=sid
		script=/usr/share/debootstrap/scripts/$suite
		command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
		[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
		rm -rf --one-file-system "$root"
		mkdir -p "$root"
		debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" "$script" >&2
		printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
		chmod 755 "$root/usr/sbin/policy-rc.d"
		mkdir -p "$root/etc/postgresql-common"
		echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
		touch "$root/base-ready"
	fi
	exec {lock}>&-
	# lists of what is no release run out after a week, and a mirror may be a snapshot
	echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/snapshot"
	mount -t proc proc "$root/proc"
	mount --bind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	[ "$2" != experimental ] || [ -e "$root/etc/apt/sources.list.d/experimental.list" ] || add_experimental "$root" "$mirror"
}

# install_once ROOT MARK PACKAGE …: install packages unless the mark says that just these are there. The lists of packages are those that debootstrap got, until
# a package comes to be needed that was not before.
install_once() {
	local root=$1 mark=$2
	shift 2
	[ "$(cat "$root/$mark" 2>/dev/null)" != "$*" ] || return 0
	[ ! -e "$root/$mark" ] || in_folder "$root" apt-get update -qq >&2
	# what an interrupted installation left is brought to its end
	in_folder "$root" sh -ec 'dpkg --configure -a; apt-get install -f -y -qq --no-install-recommends' >&2
	in_folder "$root" apt-get install -y -qq --no-install-recommends --no-upgrade "$@" >&2
	echo "$*" >"$root/$mark"
}

# unpack_once ROOT MARK PACKAGE …: only unpack them, for headers whose packages ask for a whole compiler more.
unpack_once() {
	local root=$1 mark=$2
	shift 2
	[ ! -e "$root/$mark" ] || return 0
	in_folder "$root" sh -c 'mkdir -p /var/tmp/unpack && cd /var/tmp/unpack && apt-get download -qq "$@" && for f in *.deb; do dpkg -x $f /; done; rm -rf /var/tmp/unpack' sh "$@" >&2
	touch "$root/$mark"
}

# put_source ROOT NAME …: these files and folders of the repository to ROOT/source; what was built there stays.
put_source() {
	local root=$1
	shift
	mkdir -p "$root/source"
	find "$root/source" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	tar -C "$source_dir" -cf - "$@" | tar -C "$root/source" -xf -
}

# need_packages FOLDER SUITE: what `make deb` made of a suite is there.
need_packages() {
	[ -n "$(ls "$1/$2"/qwen-pg-engine_*.deb 2>/dev/null)" ] || { echo "FAILED: no packages of $2: make deb SUITES=$2"; exit 1; }
}
