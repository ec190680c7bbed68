#!/bin/bash
# machine.sh DIRECTORY PROGRAM NODES...: PROGRAM, linked statically, as the first process of a machine with so many NUMA nodes; one run for each NODES.
#
# qemu and a kernel of Debian are unpacked below DIRECTORY (apt-get download): nothing is installed. The processor is computed in software, so that it
# works in virtual machines and containers too; that is slow (a minute), and a machine's nodes are its own whatever this one has. PROGRAM gets the number
# of nodes as its argument and ends with a line "numa: held …".
set -euo pipefail
directory=$1 program=$2
shift 2
here=$(dirname "$0")

if [ ! -e "$directory/ready" ]; then
	rm -rf "$directory"
	mkdir -p "$directory"/{debs,root}
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
	mapfile -t packages < <(apt-get install -s --no-install-recommends qemu-system-x86 | sed -n 's/^Inst \([^ ]*\).*/\1/p')
	(cd "$directory/debs" && apt-get download -qq "${packages[@]}" "$kernel" 2>/dev/null)
	for package in "$directory"/debs/*.deb; do
		dpkg-deb --extract "$package" "$directory/root"
	done
	rm -rf "$directory/debs"
	touch "$directory/ready"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$here/initrd.py" "$program" "$work/initrd.gz"
libraries=$(find "$directory/root/usr" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
qemu=$(command -v qemu-system-x86_64 || echo "$directory/root/usr/bin/qemu-system-x86_64")
failed=0
for nodes in "$@"; do
	memory=()
	for ((i = 0; i < nodes; i++)); do
		memory+=(-object "memory-backend-ram,id=m$i,size=256M" -numa "node,nodeid=$i,memdev=m$i$([ $i -gt 1 ] || echo ",cpus=$i")")
	done
	LD_LIBRARY_PATH=$libraries timeout "${QWEN_NUMA_TIMEOUT:-900}" "$qemu" -L "$directory/root/usr/share/qemu" -L "$directory/root/usr/share/seabios" \
		-accel tcg -cpu max -smp 2 -m $((nodes * 256)) "${memory[@]}" -kernel "$directory"/root/boot/vmlinuz-* -initrd "$work/initrd.gz" \
		-append "console=ttyS0 quiet no_timer_check tsc=unstable rcupdate.rcu_cpu_stall_suppress=1 panic=-1 -- $nodes" \
		-display none -serial stdio -monitor none -no-reboot -nodefaults -nic none </dev/null | tr -d '\r' | tee "$work/out" | grep -aE '^(numa|a file|memory)' || true
	grep -aq "^numa: held with $nodes nodes" "$work/out" || failed=1
done
exit $failed
