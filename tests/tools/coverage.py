#!/usr/bin/env python3
"""Which lines of each room the tests run: reads the counters of a build with gcc's --coverage, by gcov.

  coverage.py run FOLDER COMMAND …        run tests whose programs put their counters below FOLDER/counters, whoever they run as; every
                                          HARVEST_SECONDS what is there goes to FOLDER/harvest/N
  coverage.py report FOLDER BUILD         a line per room; the lines that never ran into BUILD/uncovered.txt; fails below the thresholds

With QWEN_TEST_COVERAGE set, servers are stopped in mode fast, as backends write their counters when they exit, and engines, which are killed
and write theirs all the time (flush_counters.c), keep the right to open files (qwen.engine_sandbox off: cluster.py).
What PostgreSQL's user writes and what we write goes into one folder that both may write to. A file that a killed engine leaves half written is
lost, and nobody would add to it any more: so files are put aside again and again, and what cannot be read is counted.
"""
import collections
import json
import os
import shutil
import subprocess
import sys

HARVEST_SECONDS = 30
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# room, least share of lines in per cent, what belongs to it
ROOMS = (
    ("src/base", 90, lambda path: path.startswith("src/base/")),
    ("src/protocol", 90, lambda path: path.startswith("src/protocol/")),
    ("src/template", 90, lambda path: path.startswith("src/template/")),
    ("src/model", 90, lambda path: path.startswith("src/model/")),
    ("src/engine", 90, lambda path: path.startswith("src/engine/")),
    # which kernel on which data; the kernels themselves are compared with each other in full by check-kernels
    ("kernels (dispatch)", 90, lambda path: path.startswith("kernels/") and path.endswith(".c") and "/kernels_" not in path),
    ("src/extension", 85, lambda path: path.startswith("src/extension/")),
)


def make_counters(folder):
    counters = os.path.join(folder, "counters")
    os.makedirs(counters, exist_ok=True)
    os.chmod(counters, 0o777)
    return counters


def harvest(folder):
    """Put the counters aside; who is writing one still has it open."""
    os.makedirs(os.path.join(folder, "harvest"), exist_ok=True)
    place = os.path.join(folder, "harvest", str(len(os.listdir(os.path.join(folder, "harvest")))))
    os.rename(os.path.join(folder, "counters"), place)
    make_counters(folder)


def run(folder, command):
    folder = os.path.abspath(folder)
    os.makedirs(folder, exist_ok=True)
    os.chmod(folder, 0o777)
    os.umask(0)
    environment = dict(os.environ, GCOV_PREFIX=make_counters(folder), QWEN_TEST_COVERAGE="1")
    with subprocess.Popen(command, env=environment) as process:
        while True:
            try:
                return process.wait(HARVEST_SECONDS)
            except subprocess.TimeoutExpired:
                harvest(folder)


def counter_files(folder):
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith(".gcda"):
                yield os.path.join(place, name)


def add_lines(lines, path):
    """Add what gcov says of one file of counters, which lies beside its object; false when it cannot be read."""
    told = subprocess.run(["gcov", "--json-format", "--stdout", path], cwd=ROOT, capture_output=True, check=False)
    if told.returncode != 0:
        return False
    for text in told.stdout.splitlines():
        for file in json.loads(text)["files"]:
            name = os.path.relpath(os.path.join(ROOT, file["file"]), ROOT)
            for line in file["lines"]:
                lines[name][line["line_number"]] += line["count"]
    return True


def count_lines(folder):
    """{source: {line: how often it ran}}, added up over all that was put aside; and how many files could not be read."""
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    broken = 0
    harvests = [os.path.join(folder, "harvest", name) for name in sorted(os.listdir(os.path.join(folder, "harvest")), key=int)]
    for place in harvests + [os.path.join(folder, "counters")]:
        # below it by the full path of the object that they belong to, where gcov looks for what the compiler noted
        for path in counter_files(place):
            target = path[len(place) :]
            shutil.copy(path, target)
            broken += not add_lines(lines, target)
            os.unlink(target)
    return lines, broken


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
    lines, broken = count_lines(os.path.abspath(folder))
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
    print(f"files of counters that were cut off: {broken}")
    print(f"the lines that never ran: {os.path.join(build, 'uncovered.txt')}")
    return f"too little is covered: {', '.join(failed)}" if failed else 0


if __name__ == "__main__":
    if len(sys.argv) >= 4 and sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    if len(sys.argv) == 4 and sys.argv[1] == "report":
        sys.exit(report(sys.argv[2], sys.argv[3]))
    sys.exit(__doc__)
