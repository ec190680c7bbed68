#!/usr/bin/env python3
"""Long contexts, many sequences and both threads, beside llama.cpp and ik_llama.cpp on the same file, in turn in one run.

  bench_scale.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

"prefill": a prompt of 4,096 tokens; "decode": tokens per second behind 512 to 16,384 positions, as a share of the memory roof (bytes of weights and of keys and values). Behind 4,096 the
peers' two figures come of one run of llama-batched-bench, so that they read the prompt once; at 16,384 ours alone (they would read for minutes). "decode_long": behind 128K positions, stretched by YaRN; keys and values are
15 GB in F16, 8 in Q8_0: F16, as on all sides elsewhere, where the machine has so much. "threads": decode and batches of 1 to 64 sequences (128 + 64 tokens) by two threads against one. --quick: 4,096 and 64 sequences alone.
"""
import os

import bench_common as common
from bench_common import emit, figures, in_turn, median, median_ratio

LONG = 4096
SEQUENCES = (1, 8, 32, 64)
LONG_CONTEXT, LONG_SETTINGS = 131072, "context=163840, rope_scaling=yarn, rope_factor=4"
F16_BYTES, OTHERS_BYTES = 15.4e9, 3e9  # of that context in the 0.6B shape, and what is left to the rest of the machine


def decode(a, path, context, threads, n=32, more=(), kv=common.ALONE_KV):
    return common.engine(a, path, "--huge-pages", "--decode", str(n), "--context", str(context), *more, threads=threads, repeat=2, kv=kv)


def available_bytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def scale_long(a, inside):
    kv = "f16" if available_bytes() > F16_BYTES + OTHERS_BYTES else "q8_0"
    runs = [decode(a, a.peer + inside, LONG_CONTEXT, a.threads, 4, ("--settings", LONG_SETTINGS), kv) for _ in range(a.rounds)]
    emit(bench="scale", what="decode_long", file=os.path.basename(inside), threads=a.threads, context=LONG_CONTEXT, kv=kv, ours=median([run["ours"] for run in runs], 2), unit="tok/s",
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def scale_contexts(a, inside):
    for context, beside in ((512, None), (16384, [])):
        runs, theirs = in_turn(a, lambda: decode(a, a.peer + inside, context, a.threads), lambda peer: common.peer_batch(a, inside, 1, context, 32, peer=peer), beside)
        line_of(a, inside, "decode", runs, theirs, context=context)


def scale_long_prompt(a, inside):
    """A prompt of 4,096 tokens, and the answer behind it."""
    def our_run():
        prefill = common.engine(a, a.peer + inside, "--huge-pages", "--prefill", str(LONG))
        return prefill, decode(a, a.peer + inside, LONG, a.threads)

    runs, theirs = in_turn(a, our_run, lambda peer: common.peer_batch(a, inside, 1, LONG, 32, peer=peer, what=None))
    for i, what, also in ((1, "decode", {"context": LONG}), (0, "prefill", {"tokens": LONG})):
        line_of(a, inside, what, [run[i] for run in runs], {peer: [pair and pair[i] for pair in pairs] for peer, pairs in theirs.items()}, **also)


def line_of(a, inside, what, runs, theirs, **also):
    emit(bench="scale", what=what, file=os.path.basename(inside), threads=a.threads, **also, kv=common.ALONE_KV, **figures([run["ours"] for run in runs], theirs), unit="tok/s",
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def scale_threads(a, inside):
    path = a.peer + inside

    def line(what, run, **also):
        one, two = [], []
        for _ in range(a.rounds):
            one.append(run(1)["ours"])
            two.append(run(2)["ours"])
        emit(bench="scale", what=what, file=os.path.basename(inside), threads=2, **also, kv=common.ALONE_KV, ours=median(two, 1), one_thread=median(one, 1), unit="tok/s", of_one_thread=median_ratio(two, one), rounds=a.rounds)

    # how much the second thread adds to what the machine can do: below 2 where both share a core, or the memory
    roofs = [common.ours(a, "engine_bench", path, "--roofs", "--threads", str(threads)) for threads in (1, 2)]
    emit(bench="scale", what="threads_roofs", threads=2, **{f"{roof}_of_one_thread": round(roofs[1][roof] / roofs[0][roof], 2) for roof in ("memory_gb_s", "int8_gop_s") if roofs[0][roof]})
    if not a.quick:
        line("threads_decode", lambda threads: decode(a, path, 512, threads), context=512)
    for sequences in SEQUENCES:
        if not a.quick or sequences == 64:
            line("threads_batch", lambda threads, n=sequences: common.engine(a, path, "--huge-pages", "--batch", str(n), threads=threads), sequences=sequences)


def main():
    a = common.parse(common.parser_for(__doc__, ["qwen3-0.6b-q4_0"], 3, quick_rounds=1))
    with common.processes_of(a.peer):
        for file in a.files:
            inside = common.file_for_both(a, file)
            scale_long_prompt(a, inside)
            if not a.quick:
                scale_contexts(a, inside)
                scale_long(a, inside)
            scale_threads(a, inside)


if __name__ == "__main__":
    main()
