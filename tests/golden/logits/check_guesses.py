#!/usr/bin/env python3
"""Logits of the layer that guesses tokens ahead (nextn), against llama.cpp's and a program's in double (guesses.json), KV cache in F32.

  check_guesses.py --engine-bench PROGRAM

First guesses, behind the hidden state of the model, and second ones, behind that of the layer. The prompt goes through in slices of 512 and of 5 up to its
middle, which must give the same bytes.
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
from check_logits import DOUBLE_LIMIT, LIMIT  # noqa: E402

CHUNKS = (512, 5)


def engine_guesses(program, model, n, chunk, out):
    """{position: logits [2][VOCAB] of the layer's row there and of the next one}"""
    command = [program, "--model", model, "--guesses", out, "--text", models.prompt(n), "--kv", "f32", "--chunk", str(chunk)]
    subprocess.run(command, check=True, capture_output=True)
    records = np.fromfile(out, np.dtype([("position", "<u4"), ("logits", "<f4", (2, models.VOCAB))]))
    assert records["position"][-1] == n - 2
    return {int(record["position"]): record["logits"] for record in records}


def difference(guesses, kept, n, ahead):
    """To what is kept of those that were made."""
    if ahead == 2:
        return rows.largest_difference(guesses[n - 2][1:].astype(np.float64), kept)
    made = [row for row in kept if row["position"] + 1 in guesses]
    assert len(made) >= len(kept) // 2
    return max(rows.largest_difference(guesses[row["position"] + 1][:1].astype(np.float64), [dict(row, position=0)]) for row in made)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden, failures, worst, n_compared = rows.read_json("guesses.json"), [], {"llama.cpp": 0, "double": 0}, 0
    assert set(golden) == set(models.GUESS_MODELS), "the golden file is of other models: remake it"
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "model.gguf"), os.path.join(folder, "out")
        for name, runs in golden.items():
            models.write_model(name, model)
            made = {n: [engine_guesses(a.engine_bench, model, n, chunk, out) for chunk in CHUNKS] for n in models.GUESS_LENGTHS}
            for n, (guesses, others) in made.items():
                if any(guesses[position].tobytes() != others[position].tobytes() for position in guesses):
                    failures.append(f"{name}, {n} tokens: guesses depend on how the prompt is cut")
            for run, kept in runs.items():
                who, n, ahead = run.split(", ")
                error = difference(made[int(n)][0], kept, int(n), int(ahead[0]))
                worst[who], n_compared = max(worst[who], error), n_compared + 1
                if not error <= {"llama.cpp": LIMIT, "double": DOUBLE_LIMIT}[who]:
                    failures.append(f"{name}, {run}: max |difference| / RMS {error:.1e}")
    print("\n".join(failures) if failures else f"logits of layers that guess: {n_compared} runs, max |difference| / RMS " + ", ".join(f"{error:.1e} to {who}" for who, error in worst.items()))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
