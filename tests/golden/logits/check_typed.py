#!/usr/bin/env python3
"""Next-token logits against llama.cpp's (typed.json) for each architecture and tensor type, in every instruction set of this machine.

  check_typed.py --engine-bench PROGRAM

The instruction sets must give the same bytes. Float types must be as near as check_logits.py asks of F32, and a little less where llama.cpp rounds
activations to the weights' type. For quantized types both engines round activations to 8 bits, in blocks of different lengths: there the best
token must be the same wherever llama.cpp's margin over the second is above the noise, and the divergence is printed.
"""
import argparse
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import models  # noqa: E402
from check_logits import engine_logits  # noqa: E402
from rows import largest_difference, read_json  # noqa: E402

LIMITS = {"F32": 2e-4, "F16": 0.01, "BF16": 0.05}  # max |difference| / RMS
QUANTIZED_LIMIT = 0.2
MARGIN = 0.3  # of the best over the second token, in RMS: above it, the best one must be the same (two logits, each off by the noise of 0.15)


def instruction_sets():
    """Those that this machine can run, as QWEN_ISA names them."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line.split() for line in file if line.startswith(("flags", "Features"))), [])
    found = ["portable"] + ["neon"] * ("asimddp" in flags) + ["i8mm"] * ({"asimddp", "i8mm"} <= set(flags))
    if {"avx2", "fma", "f16c"} <= set(flags):
        found += ["avx2", "avxvnni"] if "avx_vnni" in flags else ["avx2"]
        if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= set(flags):
            found.append("avx512")
    return found


def best_tokens(logits, rows):
    """(positions whose best token must agree, those where it does)."""
    asked = agreed = 0
    for row in rows:
        first, second = sorted(row["logits"].items(), key=lambda item: -item[1])[:2]
        if first[1] - second[1] > MARGIN * row["rms"]:
            asked += 1
            agreed += int(logits[row["position"]].argmax()) == int(first[0])
    return asked, agreed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-bench", required=True)
    a = parser.parse_args()
    golden = read_json("typed.json")
    assert list(golden) == list(models.TYPED_MODELS) and all(list(runs) == list(models.TYPES) for runs in golden.values()), "remake typed.json"
    isas, failures, asked_in_all = instruction_sets(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        model, out = os.path.join(folder, "model.gguf"), os.path.join(folder, "out")
        for name, runs in golden.items():
            report = []
            for type_name, rows in runs.items():
                models.write_model(name, model, type_name)
                n = rows[-1]["position"] + 1
                results = []
                for isa in isas:
                    os.environ["QWEN_ISA"] = isa
                    results.append(engine_logits(a.engine_bench, model, n, 512, out))
                for isa, result in zip(isas, results):
                    if result.tobytes() != results[0].tobytes():
                        failures.append(f"{name} {type_name}: {isa} differs from {isas[0]}")
                error = largest_difference(results[0], rows)
                asked, agreed = best_tokens(results[0], rows)
                asked_in_all += asked
                if agreed < asked:
                    failures.append(f"{name} {type_name}: another best token at {asked - agreed} of {asked} positions with a clear margin")
                if not error <= LIMITS.get(type_name, QUANTIZED_LIMIT):
                    failures.append(f"{name} {type_name}: max |difference| / RMS {error:.1e}")
                report.append(f"{type_name} {error:.1e} ({agreed}/{asked})")
            print(f"{name}: max |difference| / RMS and best tokens that agree: {', '.join(report)}")
    print("\n".join(failures) if failures else f"logits of {len(models.TYPES)} tensor types against llama.cpp: "
          f"{asked_in_all} best tokens agree, {', '.join(isas)} give the same bytes")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
