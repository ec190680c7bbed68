#!/usr/bin/env python3
"""Run fuzz targets one after the other for so many seconds each and say what they did; see tests/fuzz/README.md.

Inputs that reach something new go to WORK/corpus/NAME, those that break something to WORK/found. The end is an error when one did.
"""
import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# longest input in bytes: what a door's inputs need, no more, since short ones are run more often
LENGTHS = {"configured_models": 400, "detokenizer": 64, "stop_matcher": 160, "protocol": 400, "tool_calls": 600, "answer": 200, "gguf": 20000, "loader": 20000, "adapter": 2000, "schema": 160, "pattern": 120, "format": 500}
DEFAULT_LENGTH = 1500


def run(name, arguments):
    work, found = os.path.join(arguments.work, "corpus", name), os.path.join(arguments.work, "found")
    os.makedirs(work, exist_ok=True)
    os.makedirs(found, exist_ok=True)
    command = [os.path.join(arguments.programs, f"fuzz_{name}"), work, os.path.join(HERE, "corpus", name)]
    command += [f"-max_total_time={arguments.seconds}", f"-max_len={LENGTHS.get(name, DEFAULT_LENGTH)}", "-print_final_stats=1"]
    command += ["-rss_limit_mb=4096", "-timeout=20", f"-artifact_prefix={found}/{name}-"]
    words = os.path.join(HERE, "dictionaries", f"{name}.dict")
    if os.path.exists(words):
        command.append(f"-dict={words}")
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    log = result.stdout.decode(errors="replace")
    with open(os.path.join(arguments.work, f"{name}.log"), "a", encoding="utf-8") as file:
        file.write(log)
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    reached = re.findall(r" cov: (\d+) ft: (\d+) corp: (\d+)", log)
    print(f"{name}: {inputs.group(1) if inputs else '?'} inputs, edges {reached[-1][0] if reached else '?'}, ended with {result.returncode}", flush=True)
    if result.returncode:
        print("\n".join(log.splitlines()[-60:]))
    return result.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    broken = [name for name in arguments.names if not run(name, arguments)]
    if broken:
        sys.exit(f"something broke: {' '.join(broken)}; the inputs are in {arguments.work}/found")


if __name__ == "__main__":
    main()
