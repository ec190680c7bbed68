#!/usr/bin/env python3
"""Next-token logits against llama.cpp's (logits.json) and transformers' (transformers.json) on small F32 models of every shape, KV cache in F32.

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
CHUNKS = (512, 16, 1)


def engine_logits(program, model, n, chunk, out):
    """[n][VOCAB] by our engine."""
    command = [program, "--model", model, "--logits", out, "--text", models.prompt(n), "--kv", "f32", "--chunk", str(chunk)]
    subprocess.run(command, check=True, capture_output=True)
    with open(out, "rb") as file:
        data = file.read()
    n_tokens, n_vocab = struct.unpack("<II", data[:8])
    assert (n_tokens, n_vocab) == (n, models.VOCAB), f"{n_tokens} tokens of {n_vocab}, not {n} of {models.VOCAB}"
    return np.frombuffer(data, "<f4", n * n_vocab, 8 + 4 * n).reshape(n, n_vocab).astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden = {"llama.cpp": rows.read_json("logits.json"), "transformers": rows.read_json("transformers.json")}
    for peer, runs_of in golden.items():
        assert set(runs_of) <= {*models.MODELS, *models.LONG_MODELS}, f"the file with the logits of {peer} is of other models: remake it"
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "model.gguf"), os.path.join(folder, "out")
        for name in golden["transformers"]:
            models.write_model(name, model)
            limit, chunks, worst = (LIMIT, CHUNKS, {}) if name in models.MODELS else (LONG_LIMIT, CHUNKS[:1], {})
            for n in golden["transformers"][name]:
                results = [engine_logits(a.engine_bench, model, int(n), chunk, out) for chunk in chunks if chunk > 1 or int(n) <= 512]
                same = all(result.tobytes() == results[0].tobytes() for result in results)
                passed += same
                failed += not same
                if not same:
                    print(f"{name}: logits of {n} positions depend on how the prompt is cut")
                for peer, runs_of in golden.items():
                    if n not in runs_of.get(name, {}):
                        continue
                    error = rows.largest_difference(results[0], runs_of[name][n])
                    worst[peer] = max(worst.get(peer, 0), error)
                    passed += error <= limit
                    failed += not error <= limit
            print(f"{name}: max |difference| / RMS", ", ".join(f"{error:.1e} to {peer}" for peer, error in worst.items()), flush=True)
    print(f"logits against llama.cpp and transformers: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
