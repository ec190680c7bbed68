#!/usr/bin/env python3
"""Faults planted on purpose: does the suite notice?

Plants the faults of faults.py, one at a time, in a copy of the tree with a build folder of its own, builds what the fault's tests
need and runs them, the cheapest first, until one fails. A fault that none of its tests notices has survived: a test is missing.
A mutated build never comes near the machine's PostgreSQL: tests with a server run on a copy of the folders that PG_CONFIG names.

  check_mutants.py list                         check the list alone: every snippet stands in its file exactly once
  check_mutants.py run --folder FOLDER [NAME …] plant those (all without names); --part 2/5 takes every fifth from the second on

A test that cannot pass without a fault says nothing about one: each is run once on the tree as it is before anything is planted.
"""
import argparse
import filecmp
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from faults import FAULTS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "tools"))
from postgres_copy import copy_postgres  # noqa: E402

BUILD_SECONDS = 600
TEST_SECONDS = 420
KERNELS_BUILT_SOONER = "OPTIMIZE=-O2"  # portable kernels take a minute with -O3; every version gives the same bits
WARNINGS_PASS = "FATAL="  # what a fault leaves unused is no matter of its tests
GOLDEN_PROGRAMS = {
    "logits": ["build/tests/bench/engine_bench"],
    "guesses": ["build/tests/bench/engine_bench"],
    "typed": ["build/tests/bench/engine_bench"],
    "tokenizer": ["build/tests/golden/tokenizer/encode_stdin"],
    "template": ["build/tests/golden/template/render_stdin"],
    "greedy": ["build/installed"],
}


class Check:
    """One thing to run: "unit:tokenizer", "kernels", "golden:logits", "sql:06_privileges", "cluster:test_10_jobs.py[::test]"."""

    def __init__(self, name):
        self.name = name
        self.kind, _, self.part = name.partition(":")
        if self.kind == "unit":
            program = f"build/tests/unit/test_{self.part}"
            self.source, self.targets = f"tests/unit/test_{self.part}.c", [program]
            self.command = ["make", "check-unit", f"UNIT_TESTS={program}"]
        elif self.kind == "kernels":
            self.source, self.targets = "tests/kernels/check_kernels.c", ["build/tests/kernels/check_kernels"]
            self.command = ["make", "check-kernels"]
        elif self.kind == "golden":
            self.source, self.targets = "Makefile", GOLDEN_PROGRAMS[self.part]
            self.command = ["make", f"check-golden-{self.part}"]
        elif self.kind == "sql":
            self.source, self.targets = f"tests/sql/{self.part}.sql", ["build/installed"]
            self.command = ["make", "check-sql", f"SQL_TESTS={self.source}"]
        elif self.kind == "cluster":
            self.source, self.targets = f"tests/cluster/{self.part.partition('::')[0]}", ["build/installed"]
            self.command = ["make", "check-cluster", f"CLUSTER_TESTS=tests/cluster/{self.part} -x"]
        else:
            raise ValueError(f"{name}: no such kind of test")


def problems_of_list():
    """What is wrong with the list itself, as sentences."""
    names = set()
    for fault in FAULTS:
        if fault.name in names:
            yield f"{fault.name}: the name stands twice"
        names.add(fault.name)
        path = os.path.join(ROOT, fault.file)
        if not os.path.exists(path):
            yield f"{fault.name}: {fault.file} does not exist"
            continue
        with open(path, encoding="utf-8") as file:
            n = file.read().count(fault.original)
        if n != 1:
            yield f"{fault.name}: its snippet stands {n} times in {fault.file}, must be once: {fault.original!r}"
        if fault.planted == fault.original:
            yield f"{fault.name}: what is planted is what is there"
        if not fault.tests:
            yield f"{fault.name}: no test is named"
        for test in fault.tests:
            check = Check(test)
            source = os.path.join(ROOT, check.source)
            if not os.path.exists(source):
                yield f"{fault.name}: {check.source} of {test} does not exist"
                continue
            function = test.partition("::")[2].partition("[")[0]
            with open(source, encoding="utf-8") as file:
                if function and not re.search(rf"\bdef {function}\(", file.read()):
                    yield f"{fault.name}: {check.source} has no {function}"


def run_with_limit(command, folder, environment, seconds):
    """Exit status and output; a command that takes longer is ended with all that it started (so that its servers stop) and is None."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            output, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        return None, output


class Tree:
    """The copy of the tree, and of PostgreSQL when a test needs a server."""

    def __init__(self, folder, n_jobs):
        self.folder = os.path.join(folder, "tree")
        self.server_folder = os.path.join(folder, "postgresql")
        self.n_jobs = n_jobs
        self.has_server = False
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(folder, 0o755)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
        self.copy_files()

    def copy_files(self):
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True)
        for name in listed.stdout.decode().split("\0"):
            source, target = os.path.join(ROOT, name), os.path.join(self.folder, name)
            if not name or not os.path.isfile(source):
                continue
            if os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
                continue  # its time stays, so that nothing is built again for it
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)

    def copy_server(self):
        if not self.has_server:
            self.environment["PG_CONFIG"] = copy_postgres(self.server_folder)
            self.has_server = True

    def make(self, targets):
        """Build; the output of a failure, or None."""
        status, output = run_with_limit(["make", "--no-print-directory", f"-j{self.n_jobs}", "AS_ROOT=", KERNELS_BUILT_SOONER, WARNINGS_PASS] + targets, self.folder,
                                        self.environment, BUILD_SECONDS)
        return None if status == 0 else output

    def build(self, check):
        if "build/installed" in check.targets:
            self.copy_server()
        return self.make(check.targets)

    def run(self, check):
        return run_with_limit(check.command, self.folder, self.environment, TEST_SECONDS)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)
        if name.startswith("sql/"):  # PostgreSQL runs what is made of it; what breaks a rule is made nevertheless
            subprocess.run([sys.executable, "sql/make.py"], cwd=self.folder, env=self.environment, capture_output=True, check=False)

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()


def last_lines(text, n=25):
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-n:])


def check_unchanged(tree, faults):
    """Every test that is to notice something passes on the tree as it is."""
    names = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    for name in names:
        check = Check(name)
        failure = tree.build(check)
        if failure:
            sys.exit(f"the tree does not build:\n{last_lines(failure)}")
        status, output = tree.run(check)
        if status != 0:
            sys.exit(f"{name} fails without any fault planted:\n{last_lines(output)}")
    print(f"{len(names)} tests pass on the tree as it is", flush=True)


def plant(tree, fault):
    """(caught by, or None; a sentence about how)."""
    text = tree.read(fault.file)
    if text.count(fault.original) != 1:
        sys.exit(f"{fault.name}: {fault.file} is not as it was")
    tree.write(fault.file, text.replace(fault.original, fault.planted))
    try:
        for name in fault.tests:
            check = Check(name)
            failure = tree.build(check)
            if failure:
                return None, f"does not build, so it tests nothing:\n{last_lines(failure)}"
            status, _ = tree.run(check)
            if status is None:
                return name, f"not over after {TEST_SECONDS} s"
            if status != 0:
                return name, ""
        return None, ""
    finally:
        tree.write(fault.file, text)


def choose(arguments):
    unknown = set(arguments.names) - {fault.name for fault in FAULTS}
    if unknown:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in FAULTS if not arguments.names or fault.name in arguments.names]
    if arguments.part:
        part, n = (int(x) for x in arguments.part.split("/"))
        # neighbours in the list share a file, whose repair is built once
        size = -(-len(chosen) // n)
        chosen = chosen[(part - 1) * size : part * size]
    return chosen


def run(arguments):
    faults = choose(arguments)
    tree = Tree(os.path.abspath(arguments.folder), arguments.jobs)
    if not arguments.planted_only:
        check_unchanged(tree, faults)
    survivors, explained = [], []
    for fault in faults:
        start = time.monotonic()
        caught_by, how = plant(tree, fault)
        seconds = time.monotonic() - start
        if caught_by:
            print(f"caught    {fault.name}: {fault.meaning} (by {caught_by}{', ' + how if how else ''}, {seconds:.0f} s)", flush=True)
        elif how:
            print(f"USELESS   {fault.name}: {how}", flush=True)
            survivors.append(fault.name)
        elif fault.explanation:
            print(f"explained {fault.name}: {fault.meaning}: {fault.explanation}", flush=True)
            explained.append(fault.name)
        else:
            print(f"SURVIVED  {fault.name}: {fault.meaning} (not seen by {', '.join(fault.tests)})", flush=True)
            survivors.append(fault.name)
    n_caught = len(faults) - len(survivors) - len(explained)
    print(f"planted faults: {len(faults)}, caught: {n_caught}, explained: {len(explained)}, survived: {len(survivors)}")
    sys.exit(f"survived: {', '.join(survivors)}" if survivors else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["list", "run"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--folder", help="where to copy and build; kept, so that the next run builds less")
    parser.add_argument("--part", help="part/parts, e.g. 2/5")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--planted-only", action="store_true", help="take it that the tests pass on the tree as it is")
    arguments = parser.parse_intermixed_args()
    found = list(problems_of_list())
    if found:
        sys.exit("\n".join(found))
    if arguments.action == "list":
        print(f"{len(FAULTS)} faults to plant, each in one place")
        return
    if not arguments.folder:
        sys.exit("--folder is needed")
    run(arguments)


if __name__ == "__main__":
    main()
