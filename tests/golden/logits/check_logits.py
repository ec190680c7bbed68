#!/usr/bin/env python3
"""Next-token logits against llama.cpp's (logits.json) on small F32 models of every shape, KV cache in F32.

  check_logits.py --engine-bench PROGRAM

Each prompt goes through whole and cut into pieces. Fails when max |difference| / RMS is over LIMIT at any kept position.
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402

LIMIT = 2e-4  # promised is 1e-3
CHUNKS = (512, 5)


def engine_logits(program, model, n, chunk, out):
    """[n][VOCAB] by our engine."""
    command = [program, "--model", model, "--logits", out, "--text", models.prompt(n), "--kv", "f32", "--chunk", str(chunk)]
    subprocess.run(command, check=True, capture_output=True)
    with open(out, "rb") as file:
        data = file.read()
    n_tokens, n_vocab = struct.unpack("<II", data[:8])
    assert (n_tokens, n_vocab) == (n, models.VOCAB), f"{n_tokens} tokens of {n_vocab}, not {n} of {models.VOCAB}"
    return np.frombuffer(data, "<f4", n * n_vocab, 8 + 4 * n).reshape(n, n_vocab).astype(np.float64)


def largest_difference(logits, rows):
    """max |difference| / RMS over the kept positions and tokens."""
    return max(abs(logits[row["position"], int(token)] - value) / row["rms"] for row in rows for token, value in row["logits"].items())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "logits.json"), encoding="utf-8") as file:
        golden = json.load(file)
    assert list(golden) == list(models.MODELS), "logits.json is of other models: remake it"
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, runs in golden.items():
            model = os.path.join(folder, "model.gguf")
            models.write_model(name, model)
            worst = 0
            for n, rows in runs.items():
                for chunk in CHUNKS:
                    error = largest_difference(engine_logits(a.engine_bench, model, int(n), chunk, os.path.join(folder, "out")), rows)
                    worst = max(worst, error)
                    passed += error <= LIMIT
                    failed += not error <= LIMIT
            print(f"{name}: max |difference| / RMS {worst:.1e}")
    print(f"logits against llama.cpp: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
