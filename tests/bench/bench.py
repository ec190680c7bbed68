#!/usr/bin/env python3
"""The engine alone beside llama.cpp and ik_llama.cpp on the same files: A B C A B C … in one run, medians and the ratios as one JSON line a file.

  bench.py --bench decode|prefill|batch|mixture|hybrid|roofs --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

decode: 64 tokens after a short prompt; prefill: a prompt of 512 tokens; batch: 8 and 32 sequences of 128 tokens and 64 more each, and 32 of
512 tokens with keys and values in 8 bits, elsewhere in F16 on all sides (the speed of the 64); mixture: decode, prefill of 512 and of 4,096 and a batch of 32 of a mixture of experts; hybrid: decode, prefill of 512
and a batch of 32 of models with gated delta nets, and the batch with states in F16 (of_roof there: of memory that is read and written in place); roofs: what the machine can do, and
what was measured on it: "machine". --quick: less of each, prompts of 512 in a batch by us alone. FILE: "demo" or one that bench_models.py makes; "all" for all of them. "peer" is llama.cpp, "ik" ik_llama.cpp.
"""
import datetime
import os
import platform
import subprocess

from bench_common import ALONE_KV, LLAMA, emit, engine, figures, file_for_both, in_turn, median, median_ratio, parse, parser_for, peer_batch, peer_bench, peers, processes_of

FILES = {
    "decode": ["qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m", "demo"],
    "prefill": ["qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m", "demo"],
    "batch": ["qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", "qwen3-0.6b-q4_k_m"],
    "mixture": ["qwen3-30b-a3b-8of48-q4_0"],
    "hybrid": ["qwen3.5-0.8b-q4_0", "qwen3.5-4b-8of32-q4_0", "qwen3.5-35b-a3b-8of40-q4_0"],
    "roofs": [],
}
QUICK_FILES = {"decode": 3, "prefill": 3, "batch": 1}  # the first ones


def compare(a, name, our_run, their_run, beside=None, kv=ALONE_KV, **also):
    """All sides in turn; the line."""
    runs, theirs = in_turn(a, our_run, their_run, beside)
    if "products_of_roof" in runs[0]:
        also["products_of_roof"] = median([run["products_of_roof"] for run in runs])
    emit(bench=a.bench, file=name, threads=a.threads, **also, kv=kv, **figures([run["ours"] for run in runs], theirs), unit="tok/s",
         of_roof=median([run["of_roof"] for run in runs]), rounds=a.rounds)


def bench_file(a, file):
    inside = file_for_both(a, file)
    name = os.path.basename(inside)
    repeat = 2 if a.quick else 3

    def our_run(*work, times=None, kv=ALONE_KV):
        # on pages of 2 MB, as the engine serves a file a second after it was loaded
        return engine(a, a.peer + inside, "--huge-pages", *work, repeat=times or repeat, kv=kv)

    def decode(**also):
        compare(a, name, lambda: our_run("--decode", "64"), lambda peer: peer_bench(a, inside, "-p", "0", "-n", "64", repeat=repeat, peer=peer), **also)

    def prefill(length, **also):
        # a long prompt once a round: it takes llama.cpp half a minute
        times = repeat if length <= 512 else 1
        compare(a, name, lambda: our_run("--prefill", str(length), times=times), lambda peer: peer_bench(a, inside, "-p", str(length), "-n", "0", repeat=times, peer=peer), **also)

    def batch(sequences, prompt=128, kv=ALONE_KV, **also):
        compare(a, name, lambda: our_run("--batch", str(sequences), "--prompt", str(prompt), kv=kv), lambda peer: peer_batch(a, inside, sequences, prompt, peer=peer, kv=kv),
                **also, sequences=sequences, prompt=prompt, kv=kv)

    if a.bench == "decode":
        decode()
    elif a.bench == "prefill":
        prefill(512)
    elif a.bench in ("mixture", "hybrid"):
        decode(what="decode")
        for length in (512,) if a.quick or a.bench == "hybrid" else (512, 4096):
            prefill(length, what="prefill")
        batch(32, what="batch")
        if a.bench == "hybrid":
            speeds = [(our_run("--batch", "32"), our_run("--batch", "32", "--settings", "state_type=f16")) for _ in range(a.rounds)]
            emit(bench=a.bench, file=name, threads=a.threads, what="states", sequences=32, prompt=128, kv=ALONE_KV, f32=median([one["ours"] for one, _ in speeds], 1),
                 f16=median([other["ours"] for _, other in speeds], 1), unit="tok/s", ratio=median_ratio([other["ours"] for _, other in speeds], [one["ours"] for one, _ in speeds]),
                 of_roof=median([one["states_of_roof"] for one, _ in speeds]), f16_of_roof=median([other["states_of_roof"] for _, other in speeds]), rounds=a.rounds)
    else:
        if not a.quick:
            batch(8)
        batch(32)
        # llama.cpp reads so many prompts for more than a minute
        batch(32, 512, kv="q8_0", beside=[] if a.quick else None)


# ---- the machine ----
def first_line(*command):
    """What a program says of itself; empty where it cannot be asked."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def described_machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", fields.get("Features", "")).split()
    known = [flag for flag in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve") if flag in flags]
    name = fields.get("model name", platform.machine())
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) / 2**20
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return f"{name}{family}, {os.cpu_count()} processors, {', '.join(known)}, {total:.0f} GB, Linux {platform.release().split('-')[0]}"


def describe(a):
    """One line of what is measured, where and when."""
    here = os.path.dirname(os.path.abspath(__file__))
    commit = first_line("git", "-C", here, "rev-parse", "--short=10", "HEAD")
    changed = first_line("git", "-C", here, "status", "--porcelain", "--untracked-files=no")
    said = subprocess.run(LLAMA.command(a, "llama-bench", "--version"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.splitlines()
    version = next((line for line in said if line.startswith("version:")), "")
    backend = next((line.rsplit("/", 1)[-1].removeprefix("libggml-cpu-").removesuffix(".so") for line in said if "libggml-cpu-" in line), "")
    build = version[version.find("build ") + 6:].split(",")[0] if "build " in version else version
    ik = "not there"
    if len(peers(a)) > 1:
        with open(a.peer + "/opt/ik/mark", encoding="ascii") as file:
            package = ", ".join(file.read().strip().split(", ")[:2])
        with open(a.peer + "/opt/ik/instruction_sets", encoding="ascii") as file:
            ik = f"{package} ({file.read().strip()})"
    emit(bench="machine", date=datetime.date.today().isoformat(), machine=described_machine(), commit=commit + (" with changes" if changed else ""),
         llama_cpp=f"b{build} ({backend})" if build.isdigit() else f"{build} ({backend})", ik_llama_cpp=ik, threads=a.threads)


def main():
    parser = parser_for(__doc__, [], 5, quick_rounds=2)
    parser.add_argument("--bench", choices=FILES, required=True)
    a = parse(parser)
    a.files = a.files or FILES[a.bench][: QUICK_FILES.get(a.bench) if a.quick else None]
    if a.bench == "roofs":
        with processes_of(a.peer):
            describe(a)
        subprocess.run([os.path.join(a.programs, "engine_bench"), "--roofs", "--threads", str(a.threads), "--disk", a.model], check=True)
        return
    if a.quick and a.bench in ("prefill", "batch"):
        a.rounds = min(a.rounds, 1)
    with processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
