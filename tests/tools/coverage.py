#!/usr/bin/env python3
"""Which lines of each room the tests run: reads the counters of a build with gcc's --coverage, by gcov.

  coverage.py run FOLDER COMMAND …        run tests whose programs put their counters below FOLDER/counters, whoever they run as
  coverage.py report FOLDER BUILD         a line per room; the lines that never ran into BUILD/uncovered.txt; fails below the thresholds

With QWEN_TEST_COVERAGE set, servers are stopped in mode fast, as backends write their counters when they exit, and engines, which are killed
and write theirs all the time (flush_counters.c), keep the right to open files (qwen.engine_sandbox off: cluster.py).
What PostgreSQL's user writes and what we write goes into one folder that both may write to, and is brought to the object files after.
"""
import collections
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# room, least share of lines in per cent, what belongs to it
ROOMS = (
    ("src/base", 90, lambda path: path.startswith("src/base/")),
    ("src/protocol", 90, lambda path: path.startswith("src/protocol/")),
    ("src/model", 90, lambda path: path.startswith("src/model/")),
    ("src/engine", 90, lambda path: path.startswith("src/engine/")),
    # which kernel on which data; the kernels themselves are compared with each other in full by check-kernels
    ("kernels (dispatch)", 90, lambda path: path.startswith("kernels/") and path.endswith(".c") and "/kernels_" not in path),
    ("src/extension", 85, lambda path: path.startswith("src/extension/")),
)


def run(folder, command):
    counters = os.path.join(os.path.abspath(folder), "counters")
    os.makedirs(counters, exist_ok=True)
    os.chmod(folder, 0o755)
    os.chmod(counters, 0o777)
    os.umask(0)
    environment = dict(os.environ, GCOV_PREFIX=counters, QWEN_TEST_COVERAGE="1")
    return subprocess.run(command, env=environment, check=False).returncode


def counter_files(folder):
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith(".gcda"):
                yield os.path.join(place, name)


def bring_to_objects(folder):
    """Counters lie below counters/ by the full path of the object that they belong to."""
    counters = os.path.join(os.path.abspath(folder), "counters")
    for path in counter_files(counters):
        target = path[len(counters) :]
        with open(path, "rb") as source, open(target, "wb") as out:
            out.write(source.read())


def count_lines(build):
    """{source: {line: how often it ran}}, added up over all objects that hold the source."""
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    for path in counter_files(build):
        told = subprocess.run(["gcov", "--json-format", "--stdout", os.path.abspath(path)], cwd=ROOT, capture_output=True, check=False)
        if told.returncode != 0:
            sys.exit(f"gcov cannot read {path}: {told.stderr.decode().strip()}")
        for text in told.stdout.splitlines():
            for file in json.loads(text)["files"]:
                name = os.path.relpath(os.path.join(ROOT, file["file"]), ROOT)
                for line in file["lines"]:
                    lines[name][line["line_number"]] += line["count"]
    return lines


def ranges(numbers):
    """"3, 7-9" """
    out = []
    for number in sorted(numbers):
        if out and out[-1][1] == number - 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def report(folder, build):
    bring_to_objects(folder)
    lines = count_lines(build)
    failed = []
    with open(os.path.join(build, "uncovered.txt"), "w", encoding="utf-8") as out:
        for room, least, belongs in ROOMS:
            files = sorted(name for name in lines if belongs(name))
            n = sum(len(lines[name]) for name in files)
            n_run = sum(1 for name in files for count in lines[name].values() if count > 0)
            share = 100.0 * n_run / n if n else 0.0
            print(f"coverage of {room}: {share:.1f}% of {n} lines (at least {least}%)")
            if share < least:
                failed.append(room)
            for name in files:
                missing = [line for line, count in lines[name].items() if count == 0]
                share = 100.0 * (len(lines[name]) - len(missing)) / len(lines[name])
                out.write(f"{name}: {share:.1f}% of {len(lines[name])}{'; never: ' + ranges(missing) if missing else ''}\n")
    print(f"the lines that never ran: {os.path.join(build, 'uncovered.txt')}")
    return f"too little is covered: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    if len(sys.argv) == 4 and sys.argv[1] == "report":
        sys.exit(report(sys.argv[2], sys.argv[3]))
    sys.exit(__doc__)
