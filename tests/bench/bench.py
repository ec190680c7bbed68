#!/usr/bin/env python3
"""The engine alone beside llama.cpp on the same file: A B A B … in one run, medians and the ratio as one JSON line.

Called by `make bench-decode` and `make bench-prefill`. decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess

WORK = {"decode": ("--decode", "64"), "prefill": ("--prefill", "512")}
PEER_WORK = {"decode": ["-p", "0", "-n", "64"], "prefill": ["-p", "512", "-n", "0"]}


def ours(a):
    """One run of our engine: its JSON line."""
    command = [a.engine_bench, "--model", a.model, "--threads", str(a.threads), "--repeat", "3", *WORK[a.bench]]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peer(a, inside):
    """One run of llama-bench: tokens per second."""
    command = ["chroot", a.peer, "llama-bench", "-m", inside, "-t", str(a.threads), "-r", "3", "-o", "json", *PEER_WORK[a.bench]]
    if os.geteuid() != 0:
        command = ["sudo"] + command
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", choices=WORK, required=True)
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    inside = "/" + os.path.basename(a.model)
    if not os.path.exists(a.peer + inside):
        shutil.copy(a.model, a.peer + inside)
    runs, theirs = [], []
    for _ in range(a.rounds):
        runs.append(ours(a))
        theirs.append(peer(a, inside))
    result = {
        "bench": a.bench,
        "file": os.path.basename(a.model),
        "threads": a.threads,
        "ours": round(statistics.median(run["ours"] for run in runs), 1),
        "peer": round(statistics.median(theirs), 1),
        "unit": "tok/s",
        "ratio": round(statistics.median(run["ours"] / other for run, other in zip(runs, theirs)), 2),
        "rounds": a.rounds,
    }
    if "of_roof" in runs[0]:
        result["of_roof"] = round(statistics.median(run["of_roof"] for run in runs), 2)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
