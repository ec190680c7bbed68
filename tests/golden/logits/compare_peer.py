#!/usr/bin/env python3
"""Logits against llama.cpp's on files that llama-quantize writes, at every position and token; prints a table.

  compare_peer.py --peer FOLDER --engine-bench PROGRAM [--models NAME ...] [--types TYPE ...]

FOLDER: made by tests/bench/setup_peer.sh; needs root (chroot) and the PyPI package gguf. check_typed.py checks the same without llama.cpp, on
files of its own; here the types are mixed as llama-quantize mixes them (Q4_K_M, or another type where rows are no multiple of 256).
"""
import argparse
import os
import sys
import tempfile
from collections import Counter

import numpy as np
from gguf import GGUFReader

sys.dont_write_bytecode = True
import models  # noqa: E402
from check_logits import engine_logits  # noqa: E402
from check_typed import LIMITS, MARGIN, instruction_sets  # noqa: E402
from make_golden import logits_of  # noqa: E402

FILE_TYPES = (
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M",
    "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M",
)  # fmt: skip
N = 129  # tokens of the prompt
# of a mixture's positions: where two experts are as good but for the rounding of activations, engines take different ones
OTHER_EXPERTS, OTHER_EXPERTS_LIMIT = 0.1, 1.0


def compare(program, path, theirs):
    """(|difference| / RMS, the largest of each position, RMS of the difference / RMS, positions with a clear margin, those with the same best token)."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for isa in instruction_sets():
            os.environ["QWEN_ISA"] = isa
            results.append(engine_logits(program, path, N, 512, os.path.join(folder, "out")))
    assert all(result.tobytes() == results[0].tobytes() for result in results), "instruction sets differ"
    ours = results[0]
    rms = np.sqrt((theirs**2).mean(axis=1))
    ordered = np.sort(theirs, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > MARGIN * rms
    same = (ours.argmax(axis=1) == theirs.argmax(axis=1)) & clear
    return abs(ours - theirs).max(axis=1) / rms, np.sqrt(((ours - theirs) ** 2).mean()) / rms.mean(), int(clear.sum()), int(same.sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--models", nargs="+", default=[*models.MODELS, *models.TYPED_MODELS, *models.OTHER_MODELS])
    parser.add_argument("--types", nargs="+", default=FILE_TYPES)
    a = parser.parse_args()
    folder = "/tmp/compare_peer"  # inside the peer
    os.makedirs(a.peer + folder, exist_ok=True)
    failed = 0
    for name in a.models:
        models.write_model(name, f"{a.peer}{folder}/f32.gguf")
        for file_type in a.types:
            path = f"{a.peer}{folder}/{name}.gguf"
            models.quantize(a.peer, name, folder, file_type)
            kinds = Counter(tensor.tensor_type.name for tensor in GGUFReader(path).tensors if len(tensor.shape) > 1)
            largest, mean, clear, same = compare(a.engine_bench, path, logits_of(a.peer, folder, name, N))
            beyond = np.sort(largest[largest > LIMITS.get(file_type, 0.25)])
            may_be = OTHER_EXPERTS if "experts" in models.shape_and_seed(name)[0] else 0
            good = same == clear and len(beyond) <= may_be * N and largest.max() <= OTHER_EXPERTS_LIMIT
            failed += not good
            print(f"{name:18} {file_type:7} max {largest.max():.1e} RMS {mean:.1e}, {len(beyond)} beyond the limit, same best token at {same} of {clear} positions"
                  f"{'' if good else ' FAILED'}  ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})", flush=True)
            os.remove(path)
        os.remove(f"{a.peer}{folder}/f32.gguf")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
