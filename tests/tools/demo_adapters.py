#!/usr/bin/env python3
"""Make adapters for the demo model, as files of llama.cpp's converter: what they do is known without training.

  demo_adapters.py --model DEMO.gguf --out DIRECTORY

"swap": the model takes " cat" for " dog" and the other way round. It changes the rows of two tokens in the embeddings, so what the model answers
about dogs with it is what it answers about cats without it.
"deep": random, in every matrix of every layer, of rank 16: answers are others, and no two scales give the same.
"""
import argparse
import os
import struct
import sys

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
import demo_model  # noqa: E402
from padded_model import F32, dequantize  # noqa: E402

VERSION = 2
F16 = 1
RANK = 16
SWAPPED = ("Ġcat".encode(), "Ġdog".encode())


def text(value):
    return (demo_model.STRING, demo_model.pack_string(value.encode()))


def keys(architecture, alpha):
    """The metadata of an adapter."""
    return {
        "general.type": text("adapter"), "general.architecture": text(architecture), "adapter.type": text("lora"),
        "adapter.lora.alpha": (6, struct.pack("<f", alpha)),
    }  # fmt: skip


def pair(base, a, b, kind=F32):
    """The two tensors of a base tensor; a: [.., rank, in], b: [.., out, rank] as numpy has them."""
    dtype = "<f2" if kind == F16 else "<f4"
    return [(f"{base}.lora_{which}", list(values.shape[::-1]), kind, values.astype(dtype).tobytes()) for which, values in (("a", a), ("b", b))]


def strings_of(raw):
    reader = demo_model.Reader(raw)
    reader.number("I")
    return [reader.string() for _ in range(reader.number("Q"))]


def swap(values, tensors):
    """Rows of A are those of tokens: 1 and -1 for the two, 0 for all others; B is what lies between their embeddings."""
    tokens = strings_of(values["tokenizer.ggml.tokens"][1])
    one, other = (tokens.index(word) for word in SWAPPED)
    _, dims, kind, data = next(tensor for tensor in tensors if tensor[0] == "token_embd.weight")
    embedding = dequantize(kind, data).reshape(dims[::-1])
    a = np.zeros((len(tokens), 1))
    a[one], a[other] = 1, -1
    return pair("token_embd.weight", a, (embedding[other] - embedding[one])[:, None])


def deep(values, tensors, seed=1, rank=RANK, strength=0.06, kind=F16):
    rng = np.random.default_rng(seed)
    out = []
    for name, dims, _, _ in tensors:
        if name.startswith("blk.") and name.endswith(".weight") and len(dims) == 2:
            out += pair(name, rng.normal(size=(rank, dims[0])) / dims[0] ** 0.5, rng.normal(size=(dims[1], rank)) * strength, kind)
    return out


MAKERS = {"swap": (swap, 0), "deep": (deep, 2 * RANK)}


def read(model):
    with open(model, "rb") as file:
        return demo_model.read_gguf(file.read())


def cached(model, folder, name):
    """An adapter's file name in the folder; made unless it is there."""
    maker, alpha = MAKERS[name]
    return demo_model.kept(folder, f"demo-adapter-{name}-{VERSION}.gguf", lambda new: demo_model.write_gguf(new, keys("qwen2", alpha), maker(*read(model))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    for name in MAKERS:
        print(cached(a.model, a.out, name))


if __name__ == "__main__":
    main()
