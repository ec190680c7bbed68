#!/usr/bin/env python3
"""Logits with adapters on every matrix (attention, delta nets, feed-forward, experts, router, embeddings, output) against llama.cpp's (adapters.json).

  check_adapters.py --engine-bench PROGRAM

On a dense model, a mixture and two hybrids, KV cache in F32. Each adapter alone in slices of 512, of 16 and of single positions, with one thread and two, and all of
them side by side in the same steps, beside a sequence without: the same bytes every time. Fails also where the model without its adapter is as near.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402
import rows  # noqa: E402
from check_typed import instruction_sets  # noqa: E402

LIMIT = 1e-4
N = 65  # positions
FAR = 0.1  # at least, without the adapter


def logits_with(program, model, adapters, scale, out, chunk=512, threads=1, isa=""):
    """The bytes of [N][VOCAB] for each adapter, side by side."""
    command = [program, "--model", model, "--logits", out, "--text", models.prompt(N), "--kv", "f32", "--chunk", str(chunk), "--threads", str(threads), "--adapter-scale", str(scale)]
    for adapter in adapters:
        command += ["--adapter", adapter]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | ({"QWEN_ISA": isa} if isa else {}))
    with open(out, "rb") as file:
        data = file.read()
    each = len(data) // len(adapters)
    return [data[i * each + 8 + 4 * N : (i + 1) * each] for i in range(len(adapters))]


def numbers(data):
    return np.frombuffer(data, "<f4").reshape(N, models.VOCAB).astype(np.float64)


def check(program, folder, name, golden):
    """(what failed, the largest difference to llama.cpp's)"""
    model, out, failures, worst = os.path.join(folder, "model.gguf"), os.path.join(folder, "out"), [], 0
    paths = {adapter: os.path.join(folder, f"{adapter}.gguf") for adapter in models.ADAPTERS}
    models.write_model(name, model)
    for adapter, path in paths.items():
        models.write_adapter(name, adapter, path)
    for adapter, (_, _, scale) in models.ADAPTERS.items():
        def run(adapters, scale=scale, **more):
            return logits_with(program, model, adapters, scale, out, **more)

        alone = run([paths[adapter]])[0]
        without = run([""])[0]
        for chunk, threads in ((512, 2), (16, 1), (1, 2)):
            if run([paths[adapter]], chunk=chunk, threads=threads)[0] != alone:
                failures.append(f"{name}, {adapter}: other bits in slices of {chunk}, {threads} threads")
        # 5: few rows, 3: fewer, 40: many
        for chunk in (1, 5, 40):
            beside = run([paths[adapter], "", *paths.values(), paths[adapter]], chunk=chunk, threads=2)
            others = [run([path])[0] for path in paths.values()]
            if beside != [alone, without, *others, alone]:
                failures.append(f"{name}, {adapter}: other bits beside others, in slices of {chunk}")
        error, before = rows.largest_difference(numbers(alone), golden[adapter]), rows.largest_difference(numbers(without), golden[adapter])
        worst = max(worst, error)
        if not error <= LIMIT or not before > FAR:
            failures.append(f"{name}, {adapter}: max |difference| / RMS {error:.1e}, without the adapter {before:.1e}")
    for isa in instruction_sets():
        if run([*paths.values()], isa=isa) != others:
            failures.append(f"{name}: other bits with {isa}")
    return failures, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden, failures = rows.read_json("adapters.json"), []
    assert set(golden) == set(models.ADAPTED_MODELS), "adapters.json is of other models: remake it"
    with tempfile.TemporaryDirectory() as folder:
        for name in models.ADAPTED_MODELS:
            found, worst = check(os.path.abspath(a.engine_bench), folder, name, golden[name])
            failures += found
            print(f"{name} with adapters: max |difference| / RMS {worst:.1e} to llama.cpp", flush=True)
    print("\n".join(failures) if failures else "logits with adapters against llama.cpp: all within the limit, the same bits in any company")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
