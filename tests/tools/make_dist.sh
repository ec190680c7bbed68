#!/bin/bash
# make_dist.sh RESULT: the zip for PGXN of what git has (HEAD), held against PGXN's rules: META.json as its specification 1.0.0 wants it (pgxn_meta.py), every
# file that it names in the zip, and PGXN's own client (Debian's pgxnclient) reads, builds and installs it into a folder. Needs pgxnclient, or root to get it.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
result=$1
version=$(sed -n 's/^VERSION := //p' "$source_dir/Makefile")
name=qwen_pg-$version
git_here=(git -c "safe.directory=$source_dir" -C "$source_dir")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$result"
"${git_here[@]}" archive --format=zip -9 "--prefix=$name/" -o "$result/$name.zip" HEAD -- . ':!debian' ':!.ci'
/usr/bin/python3 "$source_dir/tests/tools/pgxn_meta.py" "$result/$name.zip"
"$source_dir/tests/tools/install_packages.sh" pgxnclient unzip
config=${PG_CONFIG:-pg_config}
pgxn info --help >/dev/null
# what the client does with a zip, but into a folder: it hands PG_CONFIG to make, and a DESTDIR of ours
HOME=$work DESTDIR=$work/root pgxn install --yes --sudo env --pg_config "$(command -v "$config")" "$result/$name.zip" >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }
library=$work/root$("$config" --pkglibdir)/qwen_pg.so
[ -s "$library" ] || { echo "PGXN's client did not install $library"; tail -5 "$work/log"; exit 1; }
echo "$result/$name.zip: $(stat -c %s "$result/$name.zip") bytes; META.json is as PGXN wants it, and its client builds and installs it"
