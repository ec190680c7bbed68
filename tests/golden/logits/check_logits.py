#!/usr/bin/env python3
"""Next-token logits against llama.cpp's (logits.json), transformers' (transformers.json) and a program's in double (double.json) on small models of
every shape, KV cache in F32.

  check_logits.py --engine-bench PROGRAM

Each prompt goes through in slices of 512 by two threads, of 16 and, up to 512 tokens, of single positions by one (of 512 alone, the long one), which must give the
same bytes. Fails when
max |difference| / RMS is over LIMIT at any kept position, and where the states of LONG_HYBRID behind its text are not those of the program in double
(states.json): of each head their magnitude and some elements.
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
STATE_LIMIT = 2e-4  # of an element of a state, in which decays that were rounded 32,000 times are
COLUMNS = 32  # of a slice of a state
ROUNDED_LIMIT = 2e-2  # to llama.cpp where matrices are F16 or BF16: it rounds what is multiplied with them, too
CHUNKS = {512: 2, 16: 1, 1: 1}  # and their threads: of small steps two would wait for each other, and for the program that is checked beside


def engine_logits(program, model, n, chunk, out, settings=None, states=None):
    """[n][VOCAB] by our engine; states: the file for a hybrid's."""
    command = [program, "--model", model, "--logits", out, "--text", models.prompt(n), "--kv", "f32", "--chunk", str(chunk), "--threads", str(CHUNKS[chunk])]
    if settings:
        command += ["--settings", ", ".join(f"{name}={value}" for name, value in settings.items())]
    if states:
        command += ["--states", states]
    subprocess.run(command, check=True, capture_output=True)
    with open(out, "rb") as file:
        data = file.read()
    n_tokens, n_vocab = struct.unpack("<II", data[:8])
    assert (n_tokens, n_vocab) == (n, models.VOCAB), f"{n_tokens} tokens of {n_vocab}, not {n} of {models.VOCAB}"
    return np.frombuffer(data, "<f4", n * n_vocab, 8 + 4 * n).reshape(n, n_vocab).astype(np.float64)


def states_in(file_name, m):
    """[delta net][head][key][value]"""
    d = m["delta"]
    slices = np.fromfile(file_name, "<f4").astype(np.float64).reshape(-1, d["values"], d["dim"] // COLUMNS, d["dim"], COLUMNS)
    return slices.transpose(0, 1, 3, 2, 4).reshape(-1, d["values"], d["dim"], d["dim"])


def state_differences(name, file_name):
    """To the program in double's: of magnitudes and of elements, the largest ones."""
    golden, states = rows.read_json("states.json")[name], states_in(file_name, models.shape_and_seed(name)[0])
    assert len(golden) == len(states)
    return map(max, zip(*(rows.differences_of_state(state, kept) for state, kept in zip(states, golden.values()))))


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
        model, out, states = (os.path.join(folder, part) for part in ("model.gguf", "out", "states"))
        for name in names:
            models.write_model(name, model)
            limits, chunks, worst = limits_of(name), list(CHUNKS) if name not in models.LONG_MODELS else [max(CHUNKS)], {}
            assert sum(name in runs_of for runs_of in golden.values()) == 2, f"{name} is not held against two others"
            for n in map(str, models.lengths_of(name)):
                results = [
                    engine_logits(a.engine_bench, model, int(n), chunk, out, models.shape_and_seed(name)[0].get("set"), states if name == models.LONG_HYBRID else None)
                    for chunk in chunks if chunk > 1 or int(n) <= 512
                ]  # fmt: skip
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
            if name == models.LONG_HYBRID:
                for what, error, limit in zip(("magnitudes of states in double", "elements of them"), state_differences(name, states), (DOUBLE_LIMIT, STATE_LIMIT)):
                    worst[what] = error
                    passed += error <= limit
                    failed += not error <= limit
            print(f"{name}: max |difference| / RMS", ", ".join(f"{error:.1e} to {peer}" for peer, error in worst.items()), flush=True)
    print(f"logits against llama.cpp, transformers and double: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
