#!/usr/bin/env python3
"""Remake types.txt: blocks of every tensor type as they stand in files, and their values as the PyPI package gguf expands them.

  make_golden.py --peer FOLDER     FOLDER: made by tests/bench/setup_peer.sh; needs root (chroot) and the PyPI package gguf

A line: the type, where the blocks come from, their bytes and the bits of their values (F32, little-endian), in hexadecimal. "quantized" blocks
were written by llama-quantize, from one F32 file; "random" ones have any bits but those of their scales, "negative" ones have scales below 0;
"points" ones have every point of a type's codebook, "exponents" one of MXFP4 the ends of what its scales can be.
"""
import argparse
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "logits"))
import models  # noqa: E402

N = 256  # values of a line
MODEL = "qwen3-blocks"
TENSORS = ("blk.1.attn_k.weight", "blk.0.ffn_down.weight")
N_POINTS = {"IQ2_XXS": 256, "IQ2_XS": 512, "IQ2_S": 1024, "IQ3_XXS": 256, "IQ3_S": 512}
FILE_TYPES = {"IQ2_S": "IQ2_M", "Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S"}  # llama-quantize's names where they are others


def quantized(peer, folder, type_name):
    """The first blocks of each of TENSORS in a file that llama-quantize wrote."""
    models.quantize(peer, MODEL, folder, FILE_TYPES.get(type_name, type_name), "--pure")
    tensors = [tensor for tensor in GGUFReader(f"{peer}{folder}/{MODEL}.gguf").tensors if tensor.name in TENSORS]
    assert len(tensors) == len(TENSORS) and all(tensor.tensor_type.name == type_name for tensor in tensors), f"not all of {TENSORS} are {type_name}"
    return [tensor.data.tobytes()[: N // models.TYPES[type_name][1] * models.TYPES[type_name][2]] for tensor in tensors]


def with_points(type_name, first):
    """A block of random bits whose points are those of the codebook from first on."""
    block = bytearray(models.tensor_bytes(type_name, 9, f"points {first}", N, 1.0, 0.0))
    for i in range(256 // (8 if type_name.startswith("IQ2") else 4)):
        point = first + i
        if type_name == "IQ2_XXS":
            block[2 + i // 4 * 8 + i % 4] = point
        elif type_name == "IQ2_XS":
            block[2 + 2 * i], block[3 + 2 * i] = point & 255, point >> 8 | block[3 + 2 * i] & 254
        else:
            block[2 + i] = point & 255
        if type_name == "IQ2_S":
            block[66 + i // 4] = block[66 + i // 4] & ~(3 << i % 4 * 2) | point >> 8 << i % 4 * 2
        if type_name == "IQ3_S":
            block[66 + i // 8] = block[66 + i // 8] & ~(1 << i % 8) | point >> 8 << i % 8
    return bytes(block)


def with_exponents():
    """Blocks of MXFP4 with the smallest scales, two of which are denormals, some in the middle, and the largest."""
    blocks = np.frombuffer(models.tensor_bytes("MXFP4", 9, "exponents", N, 1.0, 0.0), np.uint8).reshape(-1, 17).copy()
    blocks[:, 0] = (0, 1, 2, 3, 127, 128, 254, 255)
    return blocks.tobytes()


def line(type_name, source, data):
    raw = np.frombuffer(data, np.uint8)
    raw = raw.view({"F32": "<f4", "F16": "<f2"}.get(type_name, "u1"))
    values = np.array(dequantize(raw, GGMLQuantizationType[type_name])).astype("<f4").reshape(-1)
    assert len(values) == N
    return f"{type_name} {source} {data.hex()} {values.tobytes().hex()}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    a = parser.parse_args()
    folder = "/tmp/golden_types"  # inside the peer
    os.makedirs(a.peer + folder, exist_ok=True)
    models.write_model(MODEL, f"{a.peer}{folder}/f32.gguf")
    lines = []
    for type_name in models.TYPES:
        lines += [line(type_name, "quantized", data) for data in quantized(a.peer, folder, type_name)]
        lines.append(line(type_name, "random", models.tensor_bytes(type_name, 7, "random", N, 1.0, 0.0)))
        lines.append(line(type_name, "negative", models.tensor_bytes(type_name, 8, "negative", N, -1.0, 0.0)))
        for first in range(0, N_POINTS.get(type_name, 0), 256 // (8 if type_name.startswith("IQ2") else 4)):
            lines.append(line(type_name, "points", with_points(type_name, first)))
        if type_name == "MXFP4":
            lines.append(line(type_name, "exponents", with_exponents()))
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "types.txt"), "w", encoding="ascii") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
