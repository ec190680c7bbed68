#!/usr/bin/env python3
"""Logits as the scheduler hands them to requests, against transformers' (a program's in double): behind a cached prefix, after preemptions, with guesses.

  check_scheduled.py --program PROGRAM --engine-bench PROGRAM

The program of --program is scheduled_logits.c. Each must have happened, every request must get the same bytes as the prompt alone, and those must be as
near to transformers' (or the program's) as check_logits.py asks.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402
import rows  # noqa: E402
from check_logits import LIMIT, engine_logits  # noqa: E402

N = 512  # positions
# what: options of the program, and which of its counts must not be 0; a request of N positions needs 17 blocks of KV cache
RUNS = {
    "behind a cached prefix": (["--warm", "300", "--first", "301", "--chunk", "512"], "cached_tokens"),
    "behind a cached prefix, single positions": (["--warm", "200", "--first", "230", "--chunk", "1"], "cached_tokens"),
    "after preemptions": (["--first", "40", "--requests", "3", "--blocks", "30", "--chunk", "64"], "preemptions"),
    "after preemptions, slices of 16, 2 threads": (["--first", "33", "--requests", "5", "--blocks", "25", "--chunk", "16", "--threads", "2"], "preemptions"),
    "many behind a cached prefix": (["--warm", "100", "--first", "101", "--requests", "3", "--blocks", "40", "--chunk", "512"], "cached_tokens"),
    "with guesses": (["--first", "200", "--speculate"], "guesses_right"),
    "with guesses, after preemptions": (["--first", "120", "--requests", "2", "--blocks", "20", "--speculate"], "preemptions"),
}  # fmt: skip


def scheduled_logits(program, model, options, out, settings):
    """({first position: [requests][positions][VOCAB]}, what happened)"""
    if settings:
        options = [*options, "--settings", ", ".join(f"{name}={value}" for name, value in settings.items())]
    done = subprocess.run([program, "--model", model, "--text", models.prompt(N), "--out", out, *options], check=True, stdout=subprocess.PIPE)
    first = int(options[options.index("--first") + 1]) - 1
    return first, np.fromfile(out, "<f4").reshape(-1, N - first, models.VOCAB), json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden, failures, n_compared, worst = rows.read_json("double.json") | rows.read_json("transformers.json"), [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "model.gguf"), os.path.join(folder, "out")
        for name in [*models.MODELS, *(name for name in models.OTHER_MODELS if "mix" not in models.OTHER_MODELS[name])]:
            models.write_model(name, model)
            settings = models.shape_and_seed(name)[0].get("set", {})
            alone = engine_logits(a.engine_bench, model, N, 512, out, settings).astype("<f4")
            for what, (options, must_happen) in RUNS.items():
                first, requests, happened = scheduled_logits(os.path.abspath(a.program), model, options, out, settings)
                if not happened[must_happen]:
                    failures.append(f"{name}, {what}: nothing of the kind happened: {happened}")
                # a context that is set may be as long as the text: an answer ends before its last position
                end = N - 1 if settings else N
                requests = [request[: end - first] for request in requests]
                for request in requests:
                    n_compared += len(request)
                    if request.tobytes() != alone[first:end].tobytes():
                        failures.append(f"{name}, {what}: differs at position {first + int((request != alone[first:end]).any(axis=1).argmax())}")
                kept = [dict(row, position=row["position"] - first) for row in golden[name][str(N)] if first <= row["position"] < end]
                error = max(rows.largest_difference(request.astype(np.float64), kept) for request in requests)
                worst = max(worst, error)
                if not error <= LIMIT:
                    failures.append(f"{name}, {what}: max |difference| / RMS to the reference {error:.1e}")
    print("\n".join(failures) if failures else f"logits of scheduled requests: {n_compared} positions behind cached prefixes, after preemptions and with "
          f"guesses have the bytes of the prompt alone; max |difference| / RMS to the references {worst:.1e}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
