#!/usr/bin/env python3
"""The demo model with matrices of the codebook formats (IQ2, IQ3) and of MXFP4: real text through each, without llama-quantize.

  codebook_model.py --from DEMO_MODEL --as TYPE --out FILE

The demo model is padded with zeros to rows of whole blocks of 256 (as padded_model.py says; here its own types stay, whose zeros are exact), and the matrices of
each THIRD layer are written in the type, from their values: the nearest point of the codebook, whose table is read from kernels/grids.c. So few
layers, since a model as small as this says nothing any more where all are of two bits. What the files say is held against llama.cpp's answers
(tests/golden/greedy/codebooks.json).
"""
import argparse
import os
import re
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import demo_model  # noqa: E402
from padded_model import HEADS, KV_HEADS, NARROW, WIDE, WIDER, dequantize  # noqa: E402

VERSION = 1  # of what this program writes: in the names of cached files
GRIDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "kernels", "grids.c")
THIRD = 3
# id in files; inputs of a point, its magnitudes, inputs that share a scale, what a scale of s is: UNIT * (2 s + 1)
CODEBOOKS = {
    "IQ2_XXS": (16, 8, (8, 25, 43), 32, 0.125), "IQ2_XS": (17, 8, (8, 25, 43), 16, 0.125), "IQ2_S": (22, 8, (8, 25, 43), 16, 0.125),
    "IQ3_XXS": (18, 4, (4, 12, 20, 28, 36, 44, 52, 62), 32, 0.25), "IQ3_S": (21, 4, (1, 3, 5, 7, 9, 11, 13, 15), 32, 1.0),
}  # fmt: skip
EVEN_SIGNS = ("IQ2_XXS", "IQ2_XS", "IQ3_XXS")  # the eighth of eight signs is not stored
TYPES = ("MXFP4", *CODEBOOKS)
MXFP4, MXFP4_VALUES = 39, np.array([0, 1, 2, 3, 4, 6, 8, 12], "<f4")
LARGEST = 0.8  # of a scale's inputs, the largest lies above the codebook's largest magnitude by this: what is near the mean is nearer then
CHUNK = 1 << 12  # points looked for at once


def points_of(name):
    """[points][inputs] magnitudes of a codebook."""
    _, n_inputs, magnitudes, _, _ = CODEBOOKS[name]
    with open(GRIDS, encoding="ascii") as file:
        table = re.search(rf"grid_{name.lower()}\[\d+\][^=]*= \{{(.*?)\}}", file.read(), re.S)[1]
    words, width = np.array([int(word, 16) for word in table.split(",")]), 16 // n_inputs
    codes = np.stack([words >> (8 * (j % 2) + width * (j // 2)) & ((1 << width) - 1) for j in range(n_inputs)], axis=1)
    return np.array(magnitudes, "<f4")[codes]


def nearest(points, values):
    """The number of the nearest point of each row of values."""
    half_norms = (points**2).sum(axis=1) / 2
    return np.concatenate([(values[i : i + CHUNK] @ points.T - half_norms).argmax(axis=1) for i in range(0, len(values), CHUNK)]).astype(np.uint32)


def signs_of(values, even):
    """(bits of the negative ones of each eight, values that are positive but for a small one where their number must be even)"""
    eights = values.reshape(-1, 8)
    negative = eights < 0
    if even:
        odd = np.flatnonzero(negative.sum(axis=1) % 2)
        smallest = np.abs(eights[odd]).argmin(axis=1)
        negative[odd, smallest] ^= True
    return (negative << np.arange(8)).sum(axis=1).astype(np.uint32), np.where(negative, -eights, eights)


def codebook_blocks(name, values):
    """The bytes of values, in blocks of 256."""
    _, n_inputs, magnitudes, shared, unit = CODEBOOKS[name]
    values = values.reshape(-1, shared)
    wanted = (np.abs(values).max(axis=1) * LARGEST / magnitudes[-1]).reshape(-1, 256 // shared)
    # the largest scale of a block is its 31 units
    d = (wanted.max(axis=1) / (31 * unit)).astype("<f2")
    per_unit = np.where(d > 0, d, 1).astype("<f4")[:, None] * np.float32(unit)
    scales = np.clip(np.rint((wanted / per_unit - 1) / 2), 0, 15).astype(np.uint32)
    signs, positive = signs_of(values, name in EVEN_SIGNS)
    scaled = positive.reshape(len(d), -1, shared) / (per_unit * (2 * scales + 1))[:, :, None]
    numbers = nearest(points_of(name), scaled.reshape(-1, n_inputs).astype("<f4")).reshape(len(d), -1)
    return pack(name, d, scales, signs.reshape(len(d), 32), numbers)


def bytes_of(array, dtype):
    """[blocks][bytes]"""
    return np.ascontiguousarray(array.astype(dtype)).view(np.uint8).reshape(len(array), -1)


def pack(name, d, scales, signs, numbers):
    """d [blocks], scales [blocks][8 or 16], signs [blocks][32], numbers of points [blocks][32 or 64], as the format has them."""
    head, low = bytes_of(d[:, None], "<f2"), bytes_of(numbers & 255, np.uint8)
    nibbles = bytes_of(scales[:, 0::2] | scales[:, 1::2] << 4, np.uint8)
    sevens = (signs & 127).reshape(len(d), 8, 4)
    words = (sevens << np.array([0, 7, 14, 21], np.uint32)).sum(axis=2).astype(np.uint32)
    if name == "IQ2_XXS":
        words |= scales << 28
        return np.concatenate([head, np.concatenate([low.reshape(-1, 8, 4), bytes_of(words, "<u4").reshape(-1, 8, 4)], axis=2).reshape(len(d), 64)], axis=1)
    if name == "IQ2_XS":
        return np.concatenate([head, bytes_of(numbers | (signs & 127) << 9, "<u2"), nibbles], axis=1)
    if name == "IQ3_XXS":
        return np.concatenate([head, low, bytes_of(words | scales << 28, "<u4")], axis=1)
    per_byte = 4 if name == "IQ2_S" else 8
    high = ((numbers >> 8).reshape(len(d), -1, per_byte) << (np.arange(per_byte, dtype=np.uint32) * (8 // per_byte))).sum(axis=2)
    if name == "IQ2_S":
        return np.concatenate([head, low, bytes_of(signs, np.uint8), bytes_of(high, np.uint8), nibbles], axis=1)
    return np.concatenate([head, low, bytes_of(high, np.uint8), bytes_of(signs, np.uint8), nibbles], axis=1)


def mxfp4_blocks(values):
    values = values.reshape(-1, 32)
    largest = np.abs(values).max(axis=1)
    exponent = np.where(largest > 0, np.floor(np.log2(np.where(largest > 0, largest, 1))) - 2, -127)
    scaled = np.abs(values) / np.exp2(exponent)[:, None] * 2
    codes = np.abs(scaled[:, :, None] - MXFP4_VALUES).argmin(axis=2).astype(np.uint8) | np.where(values < 0, 8, 0).astype(np.uint8)
    return np.concatenate([(exponent + 127).astype(np.uint8)[:, None], codes[:, :16] | codes[:, 16:] << 4], axis=1)


def padded(dims, kind, data):
    """(dimensions, data) with blocks and rows of zeros to the wider shape, in the type that it has."""
    wide = [WIDER.get(n, n) for n in dims]
    elements, n_bytes = demo_model.BLOCKS[kind]
    blocks = np.frombuffer(data, np.uint8).reshape(*dims[:0:-1], dims[0] // elements, n_bytes)
    out = np.zeros((*wide[:0:-1], wide[0] // elements, n_bytes), np.uint8)
    out[tuple(slice(n) for n in blocks.shape)] = blocks
    return wide, out.tobytes()


def write(source, target, type_name):
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    for key, number in (("embedding_length", WIDE), ("attention.head_count", HEADS), ("attention.head_count_kv", KV_HEADS)):
        values[f"qwen2.{key}"] = (demo_model.U32, struct.pack("<I", number))
    kind, raw = values["qwen2.attention.layer_norm_rms_epsilon"]
    values["qwen2.attention.layer_norm_rms_epsilon"] = (kind, struct.pack("<f", struct.unpack("<f", raw)[0] * NARROW / WIDE))
    out = []
    for name, dims, kind, data in tensors:
        if name.endswith("norm.weight"):
            data = (np.frombuffer(data, "<f4") * np.float32((NARROW / WIDE) ** 0.5)).astype("<f4").tobytes()
        wide, data = padded(dims, kind, data)
        if len(dims) == 2 and name.startswith("blk.") and int(name.split(".")[1]) % THIRD == 1:
            floats = dequantize(kind, data)
            kind, data = (MXFP4, mxfp4_blocks(floats).tobytes()) if type_name == "MXFP4" else (CODEBOOKS[type_name][0], codebook_blocks(type_name, floats).tobytes())
        out.append((name, wide, kind, data))
    demo_model.write_gguf(target, values, out)


def cached(cache, source, type_name):
    """The file name, below cache/models, of the demo model with matrices of a type; made unless it is there."""
    return demo_model.kept(os.path.join(cache, "models"), f"demo_in_{type_name}-{VERSION}.gguf", lambda new: write(source, new, type_name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--as", dest="type_name", choices=TYPES, required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    write(a.source, a.out, a.type_name)


if __name__ == "__main__":
    main()
