#!/usr/bin/env python3
"""The engine alone beside llama.cpp on the same files: A B A B … in one run, medians and the ratio as one JSON line a file.

  bench.py --bench decode|prefill|batch|mixture|hybrid|roofs --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens; batch: 8 and 32 sequences of 128 tokens and 64 more each, and 32 of
512 tokens with our keys and values in 8 bits (the speed of the 64); mixture: decode, prefill of 512 and of 4,096 and a batch of 32 of a mixture of experts; hybrid: decode, prefill of 512
and a batch of 32 of models with gated delta nets, and the batch with states in F16 (of_roof there: of memory that is read and written in place). FILE: "demo" or one that bench_models.py makes; "all" for all of them. Beside a mixture
stands ik_llama.cpp, too ("ik", with the instruction sets that its build uses, or why it has no figure).
"""
import os
import subprocess

from bench_common import emit, file_for_both, median, median_ratio, ours, parse, parser_for, peer_batch, peer_bench, processes_of  # noqa: F401
from ik import Ik

FILES = {
    "decode": ["demo", "qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m"],
    "prefill": ["demo", "qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m"],
    "batch": ["qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0"],
    "mixture": ["qwen3-30b-a3b-8of48-q4_0"],
    "hybrid": ["qwen3.5-0.8b-q4_0", "qwen3.5-4b-8of32-q4_0", "qwen3.5-35b-a3b-8of40-q4_0"],
    "roofs": [],
}


def compare(a, name, our_run, peer_run, ik=None, ik_work=(), **also):
    """All sides in turn; the line."""
    runs, theirs, of_ik = [], [], []
    for _ in range(a.rounds):
        runs.append(our_run())
        theirs.append(peer_run())
        if ik:
            of_ik.append(ik.run(*ik_work))
    speeds = [run["ours"] for run in runs]
    if ik:
        also.update(ik.figures(of_ik, speeds))
    if "products_of_roof" in runs[0]:
        also["products_of_roof"] = median([run["products_of_roof"] for run in runs])
    emit(bench=a.bench, file=name, threads=a.threads, **also, ours=median(speeds, 1), peer=median(theirs, 1), unit="tok/s", ratio=median_ratio(speeds, theirs),
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def bench_file(a, file):
    inside = file_for_both(a, file)
    name = os.path.basename(inside)
    repeat = 2 if a.quick else 3

    def our_run(*work, times=None):
        # so many gigabytes as the engine serves them; smaller files are measured as they are loaded
        pages = ["--huge-pages"] if a.bench in ("mixture", "hybrid") else []
        return ours(a, "engine_bench", a.peer + inside, "--threads", str(a.threads), "--repeat", str(times or repeat), *pages, *work)

    if a.bench == "decode":
        compare(a, name, lambda: our_run("--decode", "64"), lambda: peer_bench(a, inside, "-p", "0", "-n", "64", repeat=repeat))
    elif a.bench == "prefill":
        compare(a, name, lambda: our_run("--prefill", "512"), lambda: peer_bench(a, inside, "-p", "512", "-n", "0", repeat=repeat))
    elif a.bench in ("mixture", "hybrid"):
        ik = Ik(a, a.peer + inside) if a.bench == "mixture" else None
        compare(a, name, lambda: our_run("--decode", "64"), lambda: peer_bench(a, inside, "-p", "0", "-n", "64", repeat=repeat), what="decode",
                ik=ik, ik_work=("--decode", "64", "--repeat", str(repeat)))
        for length in ("512",) if a.quick or a.bench == "hybrid" else ("512", "4096"):
            # the long prompt once a round: it takes llama.cpp half a minute
            times = repeat if length == "512" else 1
            compare(a, name, lambda n=length, k=times: our_run("--prefill", n, times=k),
                    lambda n=length, k=times: peer_bench(a, inside, "-p", n, "-n", "0", repeat=k), what="prefill", prompt=int(length),
                    ik=ik, ik_work=("--prefill", length, "--repeat", str(times)))
        compare(a, name, lambda: our_run("--batch", "32"), lambda: peer_batch(a, inside, 32), what="batch", sequences=32, prompt=128,
                ik=ik, ik_work=("--batch", "32"))
        if a.bench == "hybrid":
            speeds = [(our_run("--batch", "32"), our_run("--batch", "32", "--settings", "state_type=f16")) for _ in range(a.rounds)]
            emit(bench=a.bench, file=name, threads=a.threads, what="states", sequences=32, prompt=128, f32=median([one["ours"] for one, _ in speeds], 1),
                 f16=median([other["ours"] for _, other in speeds], 1), unit="tok/s", ratio=median_ratio([other["ours"] for _, other in speeds], [one["ours"] for one, _ in speeds]),
                 of_roof=median([one["states_of_roof"] for one, _ in speeds]), f16_of_roof=median([other["states_of_roof"] for _, other in speeds]), rounds=a.rounds)
    else:
        for sequences in (8, 32):
            compare(a, name, lambda n=sequences: our_run("--batch", str(n)), lambda n=sequences: peer_batch(a, inside, n), sequences=sequences, prompt=128)
        if not a.quick or file == FILES["batch"][0]:
            compare(a, name, lambda: our_run("--batch", "32", "--prompt", "512", "--kv", "q8_0"), lambda: peer_batch(a, inside, 32, prompt=512),
                    sequences=32, prompt=512, kv="q8_0")


def main():
    parser = parser_for(__doc__, [], 5, quick_rounds=2)
    parser.add_argument("--bench", choices=FILES, required=True)
    a = parse(parser)
    a.files = a.files or FILES[a.bench]
    if a.bench == "roofs":
        subprocess.run([os.path.join(a.programs, "engine_bench"), "--roofs", "--threads", str(a.threads), "--disk", a.model], check=True)
        return
    if a.quick and a.bench == "batch":
        a.rounds = min(a.rounds, 1)
    with processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
