#!/usr/bin/env python3
"""A private server whose processes run under valgrind's memcheck, for one command:  valgrind_server.py COMMAND …

Debian's PostgreSQL is built without USE_VALGRIND: memcheck sees its memory contexts as large blocks and cannot know what PostgreSQL does
with them on purpose. So an error counts when a function of qwen_pg.so stands in one of its stacks (where it happened, where the memory
came from), and what PostgreSQL does by itself below a call of ours is named in postgres.supp, each with its reason.
The engine program is left out: it has no PostgreSQL in it and runs under sanitizers (check-sanitize).
"""
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

import cluster as cluster_module
from postgres_copy import copy_postgres

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "qwen_pg.so"
HOOKS = ("start_hook", "run_hook", "finish_hook", "end_hook")


def wrap_server(programs, logs):
    """Put a program in place of postgres in a copy of PostgreSQL that runs the real one under memcheck."""
    server, real = os.path.join(programs, "postgres"), os.path.join(programs, "postgres.real")
    if not os.path.exists(real):
        os.rename(server, real)
    options = ["--tool=memcheck", "--quiet", "--trace-children=yes", "--trace-children-skip=*/qwen_engine,*/sh", "--leak-check=no", "--track-origins=yes",
               "--num-callers=40", "--error-limit=no", f"--suppressions={HERE}/postgres.supp", "--xml=yes", f"--xml-file={logs}/%p.xml"]
    with open(server, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\ncase "$1" in -V | --version) exec {real} "$@" ;; esac\nexec valgrind {" ".join(options)} {real} "$@"\n')
    os.chmod(server, 0o755)


def read_errors(path):
    """The <error> elements of a log; a process that was killed leaves one without an end."""
    parser = ElementTree.XMLPullParser(["end"])
    with open(path, errors="replace") as file:
        parser.feed(file.read())
    try:
        for _, element in parser.read_events():
            # with --xml memcheck always looks for leaks: what a process holds at its end is its business
            if element.tag == "error" and not (element.findtext("kind") or "").startswith("Leak_"):
                yield element
    except ElementTree.ParseError:
        return


def is_ours(error):
    return any((frame.findtext("obj") or "").endswith(OURS) and frame.findtext("fn") not in HOOKS for frame in error.iter("frame"))


def describe(error):
    lines = [error.findtext("what") or error.findtext("xwhat/text") or "?"]
    for stack in error.iter("stack"):
        for frame in stack.iter("frame"):
            place = frame.findtext("file")
            lines.append(f"    {frame.findtext('fn') or '???'} ({place}:{frame.findtext('line')})" if place else f"    {frame.findtext('fn') or '???'} ({os.path.basename(frame.findtext('obj') or '???')})")
        lines.append("    --")
    return "\n".join(lines)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = tempfile.mkdtemp(prefix="qwen_pg_memcheck_", dir="/tmp")
    os.chmod(folder, 0o755)
    os.environ["PG_CONFIG"] = copy_postgres(folder)
    cluster = cluster_module.Cluster()
    logs = os.path.join(cluster.folder, "memcheck")
    cluster.init()
    os.makedirs(logs)
    os.chmod(logs, 0o777)
    wrap_server(cluster.programs, logs)
    try:
        cluster.start()
        status = subprocess.run(sys.argv[1:], env=cluster.environment(), check=False).returncode
        cluster.stop("fast")
        n_processes = len(os.listdir(logs))
        errors = [error for name in sorted(os.listdir(logs)) for error in read_errors(os.path.join(logs, name))]
        ours = [error for error in errors if is_ours(error)]
        for error in ours:
            print(describe(error))
        print(f"memcheck: {n_processes} processes, {len(ours)} errors of ours, {len(errors) - len(ours)} of PostgreSQL alone")
        if os.environ.get("QWEN_KEEP_MEMCHECK"):
            shutil.copytree(logs, os.environ["QWEN_KEEP_MEMCHECK"], dirs_exist_ok=True)
    finally:
        cluster.remove()
        shutil.rmtree(folder, ignore_errors=True)
    if n_processes == 0:
        sys.exit("no process ran under valgrind")
    sys.exit(1 if ours or status else 0)


if __name__ == "__main__":
    main()
