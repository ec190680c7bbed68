#!/usr/bin/env python3
"""A copy of the machine's PostgreSQL, for builds that must not come near it (planted faults, counters, sanitizers).

PostgreSQL finds its files relative to its programs: its folders, side by side as they were, are a PostgreSQL of their own, and
PG_CONFIG=COPY/…/pg_config makes `make install` and the tests use it.

  postgres_copy.py FOLDER      make the copy in FOLDER, if it is not there, and print its pg_config
"""
import os
import shutil
import subprocess
import sys

COPIED = ("--bindir", "--pkglibdir", "--sharedir")


def ask(config, what):
    return subprocess.run([config, what], capture_output=True, text=True, check=True).stdout.strip()


def copy_postgres(folder):
    """The pg_config of the copy in folder; an error if the copy would use the original's folders."""
    folder = os.path.abspath(folder)
    config = os.environ.get("PG_CONFIG", "pg_config")
    places = {what: ask(config, what) for what in COPIED + ("--includedir-server",)}
    top = os.path.commonpath(places.values())
    for what, place in places.items():
        target = os.path.join(folder, os.path.relpath(place, top))
        if os.path.exists(target):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if what in COPIED:
            shutil.copytree(place, target, ignore=shutil.ignore_patterns("bitcode"))
        else:
            os.symlink(os.path.realpath(place), target)
    copied = os.path.join(folder, os.path.relpath(places["--bindir"], top), "pg_config")
    for what in places:
        if not ask(copied, what).startswith(folder + "/"):
            raise RuntimeError(f"the copy of PostgreSQL below {folder} still names {ask(copied, what)}")
    return copied


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(copy_postgres(sys.argv[1]))
