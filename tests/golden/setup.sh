#!/bin/bash
# setup.sh FOLDER [venv]: the independent programs that golden files come from. FOLDER/venv is a Python virtual environment with what
# requirements.txt names; FOLDER/root, unless only venv is wanted, a small Debian (testing) made by debootstrap with llama.cpp and its headers, torch (for the CPU)
# and, below /opt/golden, transformers from PyPI. Safe to run twice; the second needs root (or sudo), 2 GB and a few minutes the first time.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
transformers=5.24.0
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

mkdir -p "$folder"
if ! cmp -s "$here/requirements.txt" "$folder/venv/requirements.txt"; then
	/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || as_root apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
	/usr/bin/python3 -m venv --clear "$folder/venv"
	"$folder/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2
	cp "$here/requirements.txt" "$folder/venv/"
fi
[ "${2:-}" = venv ] && exit 0

"$here/../bench/setup_peer.sh" "$folder/root" python3-torch libllama-dev
if [ ! -d "$folder/root/opt/golden/transformers-$transformers.dist-info" ]; then
	version=$(chroot "$folder/root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	as_root rm -rf "$folder/root/opt/golden"
	as_root "$folder/venv/bin/pip" install -q --disable-pip-version-check --target "$folder/root/opt/golden" --python-version "$version" --only-binary=:all: \
		"transformers==$transformers" >&2
fi
