#!/usr/bin/env python3
"""Next-token logits against llama.cpp's (logits.json), transformers' (transformers.json) and a program's in double (double.json) on small models of
every shape, KV cache in F32.

  check_logits.py --engine-bench PROGRAM

Each prompt goes through in slices of 512, of 16 and, up to 512 tokens, of single positions (of 512 alone, the long one), which must give the same bytes. Fails when
max |difference| / RMS is over LIMIT at any kept position.
"""
import argparse
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402
import rows  # noqa: E402

LIMIT = 2e-4  # promised is 1e-3
LONG_LIMIT = 1e-3  # at position 32,000
DOUBLE_LIMIT = 1e-4
ROUNDED_LIMIT = 2e-2  # to llama.cpp where matrices are F16 or BF16: it rounds what is multiplied with them, too
CHUNKS = (512, 16, 1)


def engine_logits(program, model, n, chunk, out, settings=None):
    """[n][VOCAB] by our engine."""
    command = [program, "--model", model, "--logits", out, "--text", models.prompt(n), "--kv", "f32", "--chunk", str(chunk)]
    if settings:
        command += ["--settings", ", ".join(f"{name}={value}" for name, value in settings.items())]
    subprocess.run(command, check=True, capture_output=True)
    with open(out, "rb") as file:
        data = file.read()
    n_tokens, n_vocab = struct.unpack("<II", data[:8])
    assert (n_tokens, n_vocab) == (n, models.VOCAB), f"{n_tokens} tokens of {n_vocab}, not {n} of {models.VOCAB}"
    return np.frombuffer(data, "<f4", n * n_vocab, 8 + 4 * n).reshape(n, n_vocab).astype(np.float64)


def limits_of(name):
    """By whom a model is held against."""
    others = LONG_LIMIT if name in models.LONG_MODELS else LIMIT
    return {"llama.cpp": ROUNDED_LIMIT if "mix" in models.shape_and_seed(name)[0] else others, "transformers": others, "double": DOUBLE_LIMIT}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden = {peer: rows.read_json(file) for peer, file in (("llama.cpp", "logits.json"), ("transformers", "transformers.json"), ("double", "double.json"))}
    names = [*models.MODELS, *models.LONG_MODELS, *models.OTHER_MODELS]
    for peer, runs_of in golden.items():
        assert set(runs_of) <= set(names), f"the file with the logits of {peer} is of other models: remake it"
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "model.gguf"), os.path.join(folder, "out")
        for name in names:
            models.write_model(name, model)
            limits, chunks, worst = limits_of(name), CHUNKS if name not in models.LONG_MODELS else CHUNKS[:1], {}
            assert sum(name in runs_of for runs_of in golden.values()) == 2, f"{name} is not held against two others"
            for n in map(str, models.lengths_of(name)):
                results = [engine_logits(a.engine_bench, model, int(n), chunk, out, models.shape_and_seed(name)[0].get("set")) for chunk in chunks if chunk > 1 or int(n) <= 512]
                same = all(result.tobytes() == results[0].tobytes() for result in results)
                passed += same
                failed += not same
                if not same:
                    print(f"{name}: logits of {n} positions depend on how the prompt is cut")
                for peer, runs_of in golden.items():
                    if name not in runs_of:
                        continue
                    error = rows.largest_difference(results[0], runs_of[name][n])
                    worst[peer] = max(worst.get(peer, 0), error)
                    passed += error <= limits[peer]
                    failed += not error <= limits[peer]
            print(f"{name}: max |difference| / RMS", ", ".join(f"{error:.1e} to {peer}" for peer, error in worst.items()), flush=True)
    print(f"logits against llama.cpp, transformers and double: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
