#!/usr/bin/env python3
"""The engine alone beside llama.cpp on the same files: A B A B … in one run, medians and the ratio as one JSON line a file.

  bench.py --bench decode|prefill|batch|roofs --engine-bench PROGRAM --peer FOLDER --cache FOLDER [--model FILE] [FILE …]

decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens; batch: 8 and 32 sequences of 128 tokens and 64 more each (the
speed of the 64). FILE: "demo" (the default) or one that bench_models.py makes; "all" for all of them.
"""
import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess

import bench_models

DEFAULT_FILES = {"decode": ["demo"], "prefill": ["demo"], "batch": ["demo"]}
BATCHES = (8, 32)


class Peer:
    """llama.cpp in its folder."""

    def __init__(self, folder, threads):
        self.folder, self.threads = folder, threads

    def run(self, *command):
        done = subprocess.run(bench_models.chroot(self.folder, *command), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return done.stdout

    def bench(self, inside, *work):
        """llama-bench: tokens per second."""
        return json.loads(self.run("llama-bench", "-m", inside, "-t", str(self.threads), "-r", "3", "-o", "json", *work))[0]["avg_ts"]

    def batch(self, inside, sequences):
        """llama-batched-bench: tokens per second of the answers together."""
        lines = self.run("llama-batched-bench", "-m", inside, "-t", str(self.threads), "-c", str(sequences * 192 + 64), "-npp", "128",
                         "-ntg", "64", "-npl", str(sequences), "--output-format", "jsonl").splitlines()
        return json.loads(next(line for line in lines if line.startswith("{")))["speed_tg"]


def ours(a, path, *work):
    """One run of our engine: its JSON line."""
    command = [a.engine_bench, "--model", path, "--threads", str(a.threads), "--repeat", "3", *work]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout)


def compare(a, name, path, work, peer_run, **also):
    """Both sides in turn; the line."""
    runs, theirs = [], []
    for _ in range(a.rounds):
        runs.append(ours(a, path, *work))
        theirs.append(peer_run())
    result = {
        "bench": a.bench,
        "file": name,
        "threads": a.threads,
        **also,
        "ours": round(statistics.median(run["ours"] for run in runs), 1),
        "peer": round(statistics.median(theirs), 1),
        "unit": "tok/s",
        "ratio": round(statistics.median(run["ours"] / other for run, other in zip(runs, theirs)), 2),
        "of_roof": round(statistics.median(run["of_roof"] for run in runs), 2),
        "rounds": a.rounds,
    }
    print(json.dumps(result), flush=True)


def bench_file(a, peer, name):
    if name == "demo":
        inside = "/" + os.path.basename(a.model)
        if not os.path.exists(a.peer + inside):
            shutil.copy(a.model, a.peer + inside)
    else:
        inside = bench_models.ensure(name, a.cache, a.peer)
    path = a.peer + inside
    name = os.path.basename(inside)
    if a.bench == "decode":
        compare(a, name, path, ["--decode", "64"], lambda: peer.bench(inside, "-p", "0", "-n", "64"))
    elif a.bench == "prefill":
        compare(a, name, path, ["--prefill", "512"], lambda: peer.bench(inside, "-p", "512", "-n", "0"))
    else:
        for sequences in BATCHES:
            compare(a, name, path, ["--batch", str(sequences)], lambda n=sequences: peer.batch(inside, n), sequences=sequences)


@contextlib.contextmanager
def processes_of(peer):
    """llama.cpp looks at /proc for the processors."""
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    mounted = not os.path.ismount(f"{peer}/proc")
    if mounted:
        subprocess.run([*as_root, "mount", "-t", "proc", "proc", f"{peer}/proc"], check=True)
    try:
        yield
    finally:
        if mounted:
            subprocess.run([*as_root, "umount", f"{peer}/proc"], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", choices=[*DEFAULT_FILES, "roofs"], required=True)
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--model", required=True, help="the demo model")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("files", nargs="*")
    a = parser.parse_args()
    if a.bench == "roofs":
        subprocess.run([a.engine_bench, "--roofs", "--threads", str(a.threads), "--disk", a.model], check=True)
        return
    files = a.files or DEFAULT_FILES[a.bench]
    if files == ["all"]:
        files = ["demo", *bench_models.NAMES]
    with processes_of(a.peer):
        for name in files:
            bench_file(a, Peer(a.peer, a.threads), name)


if __name__ == "__main__":
    main()
