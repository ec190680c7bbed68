#!/usr/bin/env python3
"""What adapters cost: 8 sequences that decode, each with an adapter of its own of rank 16, and a prompt with one, beside the same without; the engine alone, each step
with and without in turn.

  bench_adapters.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

"on": q and v, what most adapters that are trained change, or all matrices of every layer. "bytes": of the adapters, of which a step reads all, beside those of the
weights: where memory is the roof, by so much a step is longer at least, and "bytes_permit" is the best ratio. "off" is ours without adapters.
"""
import os
import sys
import tempfile

import numpy as np

import bench_common as common
from bench_common import emit, median

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import demo_adapters  # noqa: E402
import demo_model  # noqa: E402

RANK, SEQUENCES, PROMPT = 16, 8, 512
ON = {"q and v": ("attn_q.weight", "attn_v.weight"), "all": (".weight",)}


def write_adapter(path, model, endings):
    """Random numbers in F16, as converters write them."""
    with open(model, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    rng, pairs = np.random.default_rng(1), []
    for name, dims, _, _ in tensors:
        if name.startswith("blk.") and len(dims) == 2 and name.endswith(endings):
            a, b = rng.normal(size=(RANK, dims[0])) / dims[0] ** 0.5, rng.normal(size=(dims[1], RANK)) * 0.01
            pairs += demo_adapters.pair(name, a, b, demo_adapters.F16)
    architecture = demo_model.Reader(values["general.architecture"][1]).string().decode()
    demo_model.write_gguf(path, demo_adapters.keys(architecture, 2 * RANK), pairs)


def bench_file(a, file, folder):
    path = a.peer + common.file_for_both(a, file)
    for on, endings in ON.items():
        adapter = os.path.join(folder, "adapter.gguf")
        write_adapter(adapter, path, endings)

        n_bytes = os.path.getsize(adapter) / os.path.getsize(path)
        for what, options, n in (("decode", ["--batch", str(SEQUENCES), "--adapters", str(SEQUENCES)], SEQUENCES), ("prefill", ["--prefill", str(PROMPT)], 1)):
            runs = [common.engine(a, path, "--adapter", adapter, *options, repeat=3) for _ in range(a.rounds)]
            ours, off, ratio = (median([run[key] for run in runs], digits) for key, digits in (("ours", 1), ("off", 1), ("ratio", 3)))
            permits = {"bytes": round(n * n_bytes, 2), "bytes_permit": round(1 / (1 + n * n_bytes), 2)} if what == "decode" else {}
            emit(bench="adapters", what=what, file=os.path.basename(path), on=on, threads=a.threads, rows=SEQUENCES if what == "decode" else PROMPT, rank=RANK, kv=common.ALONE_KV, ours=ours,
                 off=off, unit="tok/s", ratio=ratio, **permits, rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["demo", "qwen3-0.6b-q4_0", "qwen3-4b-9of36-q4_0"], 3, quick_rounds=1))
    with tempfile.TemporaryDirectory() as folder:
        for file in a.files:
            bench_file(a, file, folder)


if __name__ == "__main__":
    main()
