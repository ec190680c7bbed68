#!/usr/bin/env python3
"""Remake types.txt: blocks of every tensor type as they stand in files, and their values as the PyPI package gguf expands them.

  make_golden.py --peer FOLDER     FOLDER: made by tests/bench/setup_peer.sh; needs root (chroot) and the PyPI package gguf

A line: the type, where the blocks come from, their bytes and the bits of their values (F32, little-endian), in hexadecimal. "quantized" blocks
were written by llama-quantize, from one F32 file; "random" ones have any bits but those of their scales, "negative" ones have scales below 0.
"""
import argparse
import os
import subprocess
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "logits"))
import models  # noqa: E402

N = 256  # values of a line
TENSORS = ("blk.1.attn_k.weight", "blk.0.ffn_down.weight")
FILE_TYPES = {"Q3_K": "Q3_K_S", "Q4_K": "Q4_K_S", "Q5_K": "Q5_K_S"}  # llama-quantize's names where they are others


def quantized(peer, folder, type_name):
    """The first blocks of each of TENSORS in a file that llama-quantize wrote."""
    command = ["chroot", peer, "llama-quantize", "--pure", f"{folder}/f32.gguf", f"{folder}/typed.gguf", FILE_TYPES.get(type_name, type_name), "2"]
    subprocess.run(command, check=True, capture_output=True)
    tensors = [tensor for tensor in GGUFReader(f"{peer}{folder}/typed.gguf").tensors if tensor.name in TENSORS]
    assert len(tensors) == len(TENSORS) and all(tensor.tensor_type.name == type_name for tensor in tensors), f"not all of {TENSORS} are {type_name}"
    return [tensor.data.tobytes()[: N // models.TYPES[type_name][1] * models.TYPES[type_name][2]] for tensor in tensors]


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
    models.write_model("qwen3-blocks", f"{a.peer}{folder}/f32.gguf")
    lines = []
    for type_name in models.TYPES:
        lines += [line(type_name, "quantized", data) for data in quantized(a.peer, folder, type_name)]
        lines.append(line(type_name, "random", models.tensor_bytes(type_name, 7, "random", N, 1.0, 0.0)))
        lines.append(line(type_name, "negative", models.tensor_bytes(type_name, 8, "negative", N, -1.0, 0.0)))
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "types.txt"), "w", encoding="ascii") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
