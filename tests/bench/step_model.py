#!/usr/bin/env python3
"""A model of the step: what one takes on so many cores, from what its parts take on one.

  step_model.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [--rounds N] [FILE …]

step_constants measures on this machine, each alone: bytes a second from memory by one core and by two, products, attention and norms of one core from its caches, and what it
takes until two members have met. A phase takes as long as the slowest of these: its bytes by what all cores read together, and the items of the member that has most of them,
each as long as it computes or as one core reads it. Behind a phase members meet. How far a part of the step stays behind that (tiles and slices come from memory and not from the
caches) is measured once, in the first file by one core ("reference"); everything else is predicted: other files by one core, all by two ("predicted" beside "ours", in
the same run), and machines with more cores ("cores", with what was assumed of their memory).
"""
import json
import os
import subprocess

import bench_models
from bench_common import emit, engine, file_for_both, parse, parser_for, processes_of

TILE_ROWS, FEW_ROWS = 32, 4
BYTES = {"Q4_0": 18 / 32, "Q8_0": 34 / 32, "Q4_K": 144 / 256, "Q6_K": 210 / 256}  # a weight's, as they are packed
KV_BYTES = 2  # F16
# cores, gigabytes a second of all channels together (80 % of what they are sold for), and how many times as long as here it takes until a member's
# word has reached another one: 1 below one third-level cache; assumed: 2 between several, 4 between two processors
MACHINES = [
    ("8 cores, 2 channels of DDR5-5600", 8, 72, 1),
    ("32 cores, 8 channels of DDR5-4800", 32, 246, 2),
    ("96 cores, 12 channels of DDR5-4800", 96, 369, 2),
    ("2 x 48 cores, 24 channels of DDR5-4800", 96, 737, 4),
]
# files the model knows: shape, rows of the vocabulary, type of the layers and of the output matrix as llama-quantize or bench_models.py leaves them
FILES = {
    "qwen3-0.6b-q4_0": (bench_models.SHAPES["qwen3-0.6b"][2], 151936, "Q4_0", "Q6_K"),
    "qwen3-0.6b-q8_0": (bench_models.SHAPES["qwen3-0.6b"][2], 151936, "Q8_0", "Q8_0"),
    "qwen3-4b-9of36-q4_0": (bench_models.HYBRIDS["qwen3-4b-9of36"], bench_models.HYBRIDS["qwen3-4b-9of36"]["vocab"], "Q4_0", "Q4_0"),
}
WORKS = {"decode": (1, 1, 48), "batch 32": (32, 1, 64), "batch 64": (64, 1, 64), "prefill 512": (1, 512, 0)}  # sequences, rows of each, positions before them


class Machine:
    """What a number of cores can do, from what one and two can."""

    def __init__(self, constants, cores, memory=None, distance=1):
        one, two = constants["memory_gb_s"]
        self.constants, self.cores = constants, cores
        self.core_memory = one
        self.memory = memory or (one if cores == 1 else two)
        # all write to one word in turn, and then all read it: so many times what one of two takes
        self.meet = 0 if cores == 1 else constants["meet_us"] / 2 * 1e-6 * distance * cores
        self.call = 0 if cores == 1 else constants["call_us"] / 2 * 1e-6 * distance * cores

    def phase(self, n_items, item_bytes, item_seconds, before=0.0):
        """Seconds of a phase of n_items; before: what each member does for itself first."""
        if n_items == 0:
            return 0.0
        most = -(-n_items // self.cores)
        reading = n_items * item_bytes / (self.memory * 1e9)
        slowest = most * max(item_seconds, item_bytes / (self.core_memory * 1e9))
        return max(reading, slowest) + before

    def speed(self, of, n):
        """GOP/s of a measured table at n, of the next larger entry that it has."""
        sizes = sorted(int(size) for size in of)
        return of[str(next((size for size in sizes if size >= n), sizes[-1]))] * 1e9


def product(machine, type_name, n_rows, n_cols, n, what_before):
    """Seconds of preparing n rows of activations (nanoseconds an element) in a phase of their own, and of a product with them."""
    prepared = n * n_cols * what_before * 1e-9
    seconds = 2.0 * TILE_ROWS * n_cols * n / machine.speed(machine.constants["products_gop_s"][type_name], n)
    tiles, tile_bytes, panels = -(-n_rows // TILE_ROWS), TILE_ROWS * n_cols * BYTES[type_name], -(-n // 6)
    if n <= FEW_ROWS:  # every member for itself
        return 0.0, machine.phase(tiles, tile_bytes, seconds, prepared)
    return machine.phase(panels, 0, prepared / panels), machine.phase(tiles, tile_bytes, seconds)


def attention(machine, shape, sequences, rows, before):
    """Seconds of a layer's attention; rows of a sequence see before + their own positions."""
    heads, kv_heads, dim = shape["heads"], shape["kv_heads"], shape["head_dim"]
    positions = before + (rows + 1) / 2
    items, query_rows = kv_heads * sequences, heads // kv_heads
    if rows > 1:
        tokens = 32 // query_rows
        items *= -(-rows // tokens)
        query_rows *= tokens
    seconds = 4.0 * dim * query_rows * positions / machine.speed(machine.constants["attention_gflop_s"], query_rows)
    item_bytes = 2 * dim * KV_BYTES * positions if rows == 1 else 0
    return machine.phase(items, item_bytes, seconds)


def parts_of(machine, file, work):
    """Seconds of each part of a step, as engine_bench tells them apart."""
    shape, vocab, layers_type, output_type = FILES[file]
    sequences, rows, before = WORKS[work]
    n, hidden, ffn, layers = sequences * rows, shape["hidden"], shape["ffn"], shape["layers"]
    q, kv = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    ns = machine.constants["ns_an_element"]
    norm, activate = ns["rms_norm"] + ns["quantize"], ns["silu_mul"] + ns["quantize"]
    products = [
        product(machine, layers_type, q + 2 * kv, hidden, n, norm),
        product(machine, layers_type, hidden, q, n, ns["quantize"]),
        product(machine, layers_type, 2 * ffn, hidden, n, norm),
        product(machine, layers_type, hidden, ffn, n, activate if n > FEW_ROWS else ns["quantize"]),
    ]
    before_output, output = product(machine, output_type, vocab, hidden, sequences, ns["quantize"])
    return {
        "prepare": layers * sum(before for before, _ in products) + before_output,
        "products": layers * sum(seconds for _, seconds in products),
        "attention": layers * attention(machine, shape, sequences, rows, before),
        "output": output,
    }


def meetings_of(file, work):
    """Phases of a step, behind each of which all meet."""
    few = WORKS[work][0] * WORKS[work][1] <= FEW_ROWS
    return FILES[file][0]["layers"] * (5 if few else 10) + 5


def step_seconds(machine, file, work, behind):
    """behind: how many times as long each part of this work takes as the model says (reference)."""
    looking = WORKS[work][0] * FILES[file][1] * machine.constants["ns_an_element"]["argmax"] * 1e-9  # the bench's own, by one core
    return machine.call + looking + machine.meet * meetings_of(file, work) + sum(seconds * behind[work].get(part, 1) for part, seconds in parts_of(machine, file, work).items())


def tokens_per_second(machine, file, work, behind):
    sequences, rows, _ = WORKS[work]
    return sequences * rows / step_seconds(machine, file, work, behind)


def measured(a, path, work, threads):
    """engine_bench's line of the same work."""
    arguments = {"decode": ["--decode", "64"], "prefill 512": ["--prefill", "512"]}.get(work) or ["--batch", work.split()[1], "--prompt", "32"]
    return engine(a, path, "--huge-pages", *arguments, threads=threads)


def measured_constants(a):
    return json.loads(subprocess.run([os.path.join(a.programs, "step_constants")], check=True, stdout=subprocess.PIPE, text=True).stdout)


def middle_of(runs):
    """The median of each number of several measurements."""
    if isinstance(runs[0], dict):
        return {key: middle_of([run[key] for run in runs]) for key in runs[0]}
    if isinstance(runs[0], list):
        return [middle_of([run[i] for run in runs]) for i in range(len(runs[0]))]
    return runs[0] if isinstance(runs[0], str) else sorted(runs)[len(runs) // 2]


def how_far_behind(constants, file, lines):
    """Of each work and part: what it took by one core, as a multiple of what the model says."""
    behind = {}
    for work, line in lines.items():
        sequences, rows, _ = WORKS[work]
        machine = Machine(constants, 1)
        looking = sequences * FILES[file][1] * constants["ns_an_element"]["argmax"] * 1e-9
        seconds = sequences * rows / line["ours"] - looking
        behind[work] = {part: line["parts"][part] * seconds / predicted for part, predicted in parts_of(machine, file, work).items() if predicted > 0}
    return behind


def hold_against_measurement(a, constants, file, lines, behind):
    for (work, threads), line in lines.items():
        predicted = tokens_per_second(Machine(constants, threads), file, work, behind)
        emit(bench="model", file=file, what=work, threads=threads, ours=round(line["ours"], 1), predicted=round(predicted, 1), unit="tok/s",
             deviation=round(predicted / line["ours"] - 1, 3), reference=file == a.files[0] and threads == 1)


def predict(constants, file, behind):
    """Of each machine, with as many members as are best (the engine finds out by itself, active_members.h): tokens per second, and how many members."""
    for name, cores, memory, distance in MACHINES:
        best = {}
        for work in WORKS:
            speeds = {n: tokens_per_second(Machine(constants, n, memory, distance), file, work, behind) for n in range(1, cores + 1)}
            members = max(speeds, key=speeds.get)
            best[work] = {"tok/s": round(speeds[members]), "members": members}
        emit(bench="model", file=file, machine=name, cores=cores, predicted=best)


def main():
    a = parse(parser_for(__doc__, list(FILES), 3))
    constants, found = [], {}
    with processes_of(a.peer):
        for _ in range(a.rounds):
            constants.append(measured_constants(a))
            for file in a.files:
                inside = file_for_both(a, file)
                for work in WORKS:
                    for threads in (1, 2):
                        found.setdefault((file, work, threads), []).append(measured(a, a.peer + inside, work, threads))
    constants = middle_of(constants)
    middle = {key: middle_of([{"ours": line["ours"], "parts": line["parts"]} for line in lines]) for key, lines in found.items()}
    behind = how_far_behind(constants, a.files[0], {work: middle[a.files[0], work, 1] for work in WORKS})
    emit(bench="model", what="constants", **constants, behind={work: {part: round(value, 2) for part, value in parts.items()} for work, parts in behind.items()})
    for file in a.files:
        hold_against_measurement(a, constants, file, {(work, threads): line for (of, work, threads), line in middle.items() if of == file}, behind)
    for file in a.files:
        predict(constants, file, behind)


if __name__ == "__main__":
    main()
