#!/usr/bin/env python3
"""Long contexts, many sequences and both threads, beside llama.cpp on the same file, in turn in one run.

  bench_scale.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

"decode": tokens per second behind a context, as a share of the memory roof (bytes of weights and of keys and values), beside llama-bench -d; at 16K ours alone (the
peer would read for minutes). "decode_long": behind 128K positions, stretched by YaRN; keys and values are 15 GB in F16, 8 in Q8_0: F16 where the machine has so much. "prefill": a prompt of 4096 tokens. "threads": decode and batches of 1 to 64 sequences (128 + 64 tokens) by two threads against one.
"""
import os

import bench_common as common
from bench_common import emit, median, median_ratio

CONTEXTS, PEER_CONTEXTS, PROMPT = (512, 4096, 16384), (512, 4096), 4096
SEQUENCES = (1, 8, 32, 64)
LONG_CONTEXT, LONG_SETTINGS = 131072, "context=163840, rope_scaling=yarn, rope_factor=4"
F16_BYTES, OTHERS_BYTES = 15.4e9, 3e9  # of that context in the 0.6B shape, and what is left to the rest of the machine


def decode(a, path, context, threads, n=32, more=()):
    return common.ours(a, "engine_bench", path, "--threads", str(threads), "--repeat", "2", "--decode", str(n), "--context", str(context), *more)


def available_bytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def scale_long(a, inside):
    kv = "f16" if available_bytes() > F16_BYTES + OTHERS_BYTES else "q8_0"
    runs = [decode(a, a.peer + inside, LONG_CONTEXT, a.threads, 4, ("--kv", kv, "--settings", LONG_SETTINGS)) for _ in range(a.rounds)]
    emit(bench="scale", what="decode_long", file=os.path.basename(inside), threads=a.threads, context=LONG_CONTEXT, kv=kv, ours=median([run["ours"] for run in runs], 2), unit="tok/s",
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def scale_contexts(a, inside):
    path, name = a.peer + inside, os.path.basename(inside)
    for context in CONTEXTS:
        runs, theirs = [], []
        for _ in range(a.rounds):
            runs.append(decode(a, path, context, a.threads))
            if context in PEER_CONTEXTS:
                theirs.append(common.peer_bench(a, inside, "-p", "0", "-n", "32", "-d", str(context), repeat=1))
        speeds = [run["ours"] for run in runs]
        beside = {"peer": median(theirs, 1), "ratio": median_ratio(speeds, theirs)} if theirs else {}
        emit(bench="scale", what="decode", file=name, threads=a.threads, context=context, ours=median(speeds, 1), **beside, unit="tok/s", of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def scale_prefill(a, inside):
    runs, theirs = [], []
    for _ in range(a.rounds):
        runs.append(common.ours(a, "engine_bench", a.peer + inside, "--threads", str(a.threads), "--repeat", "1", "--prefill", str(PROMPT)))
        theirs.append(common.peer_bench(a, inside, "-p", str(PROMPT), "-n", "0", "--no-warmup", repeat=1))
    speeds = [run["ours"] for run in runs]
    emit(bench="scale", what="prefill", file=os.path.basename(inside), threads=a.threads, tokens=PROMPT, ours=median(speeds, 1), peer=median(theirs, 1), unit="tok/s", ratio=median_ratio(speeds, theirs),
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def scale_threads(a, inside):
    path = a.peer + inside

    def line(what, run, **also):
        one, two = [], []
        for _ in range(a.rounds):
            one.append(run(1)["ours"])
            two.append(run(2)["ours"])
        emit(bench="scale", what=what, file=os.path.basename(inside), threads=2, **also, ours=median(two, 1), one_thread=median(one, 1), unit="tok/s", of_one_thread=median_ratio(two, one), rounds=a.rounds)

    # how much the second thread adds to what the machine can do: below 2 where both share a core, or the memory
    roofs = [common.ours(a, "engine_bench", path, "--roofs", "--threads", str(threads)) for threads in (1, 2)]
    emit(bench="scale", what="threads_roofs", threads=2, **{f"{roof}_of_one_thread": round(roofs[1][roof] / roofs[0][roof], 2) for roof in ("memory_gb_s", "int8_gop_s") if roofs[0][roof]})
    line("threads_decode", lambda threads: decode(a, path, 512, threads), context=512)
    for sequences in SEQUENCES:
        if not a.quick or sequences in (8, 64):
            line("threads_batch", lambda threads, n=sequences: common.ours(a, "engine_bench", path, "--threads", str(threads), "--repeat", "1", "--batch", str(n)), sequences=sequences)


def main():
    a = common.parse(common.parser_for(__doc__, ["qwen3-0.6b-q4_0"], 3, quick_rounds=1))
    with common.processes_of(a.peer):
        for file in a.files:
            inside = common.file_for_both(a, file)
            scale_contexts(a, inside)
            scale_long(a, inside)
            scale_prefill(a, inside)
            scale_threads(a, inside)


if __name__ == "__main__":
    main()
