#!/bin/bash
# check_dist.sh CACHE ZIP MODEL: the zip for PGXN on a bare Debian 12, as README says it for sources: its list of packages and no other, make, make install, a server, an
# answer; then make uninstall, after which nothing of ours is left. Writes into an overlay that is thrown away. Needs root (or sudo); 300 MB the first time.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
. "$source_dir/tests/tools/debian_folder.sh"
in_own_namespace "$0" "$@"
cache=$1 zip=$2 model=$3
base=$cache/bare/bookworm
work=$(mktemp -d "$cache/dist.XXXXXX")
root=$work/root
trap 'umount -l "$root/dev/shm" "$root/dev" "$root/proc" "$root" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT

make_folder "$base" bookworm
umount "$base/dev/shm" "$base/dev" "$base/proc"
mkdir "$work/upper" "$work/work" "$root"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir "$root/unpacked"
/usr/bin/python3 -m zipfile -e "$zip" "$root/unpacked"
cp "$model" "$root/unpacked/small.gguf"

# the two lines that README has under "From sources"; who is root needs no sudo
packages=$(sed -n '/^sudo apt-get install gcc /s/sudo //p' "$source_dir/README.md")
commands=$(sed -n '/^make && sudo make install$/s/sudo //p' "$source_dir/README.md")
[ -n "$packages" ] && [ -n "$commands" ] || { echo "FAILED: README.md has no longer the lines that install from sources"; exit 1; }
in_folder "$root" sh -ec "apt-get update -qq; ${packages/install/install -y -qq --no-install-recommends}" >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
in_folder "$root" sh -ec "cd /unpacked/*/; export MAKEFLAGS=-j$(nproc); $commands" >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
in_folder "$root" sh -ec 'v=$(ls /usr/lib/postgresql); pg_createcluster "$v" main >/dev/null
	install -d -o postgres /var/lib/qwen_pg; install -o postgres -m 644 /unpacked/small.gguf /var/lib/qwen_pg/
	printf "%s\n" "shared_preload_libraries = '\''qwen_pg'\''" "qwen.model_directory = '\''/var/lib/qwen_pg'\''" "qwen.models = '\''chat=small.gguf'\''" >>"/etc/postgresql/$v/main/postgresql.conf"
	pg_ctlcluster "$v" main start
	ask() { su postgres -c "psql -X -v ON_ERROR_STOP=1 -AtqP pager=off"; }
	echo "CREATE SCHEMA qwen; CREATE EXTENSION qwen_pg SCHEMA qwen" | ask
	for i in $(seq 300); do
		[ "$(echo "SELECT state FROM qwen.qwen_models" | ask)" != serving ] || break
		sleep 0.2
	done
	answer=$(echo "SELECT qwen.qwen_chat(\$\$What is the capital of France? Answer in one sentence.\$\$, temperature => 0)" | ask)
	pg_ctlcluster "$v" main stop
	case "$answer" in *Paris*) ;; *) echo "the answer is: $answer"; exit 1 ;; esac
	cd /unpacked/*/; make -s uninstall
	left=$(find /usr -xdev -name "*qwen*")
	[ -z "$left" ] || { echo "make uninstall leaves: $left"; exit 1; }'
echo "$(basename "$zip"): built on a bare Debian 12 with what README names, installed, answered, uninstalled without a rest"
