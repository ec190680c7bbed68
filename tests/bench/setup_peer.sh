#!/bin/bash
# setup_peer.sh DIRECTORY: llama.cpp from Debian's testing suite in a folder of its own (debootstrap), to measure against.
# Safe to run twice; needs root (or sudo) and about two minutes the first time. The mirror is the one that apt uses here.
set -euo pipefail
peer=$1
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

[ -e "$peer/usr/bin/llama-bench" ] && [ -e "$peer/usr/bin/llama-server" ] && exit 0
command -v debootstrap >/dev/null || as_root apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
unmount() { as_root umount "$peer/proc" 2>/dev/null || true; }
trap unmount EXIT
if [ ! -e "$peer/usr/bin/apt-get" ]; then
	as_root rm -rf "$peer"
	as_root debootstrap --variant=minbase --include=ca-certificates forky "$peer" "$mirror" /usr/share/debootstrap/scripts/sid >&2
fi
as_root mount -t proc proc "$peer/proc"
as_root chroot "$peer" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	llama.cpp llama.cpp-tools llama.cpp-tools-extra >&2
