#!/usr/bin/env python3
"""The demo model in forms of which one guesses for another (qwen.draft_models).

  draft_model.py --from DEMO_MODEL --as FORM --out FILE

- coarser: some of its weights have three bits instead of four. It still talks, less well, and says the demo model's next token most of the time.
- padded: the demo model with tokens behind its vocabulary that nobody uses, as larger Qwens have more of them than small ones: for the same answers.
- foreign: the demo model with two tokens exchanged: another vocabulary.
- stranger: the demo model's vocabulary and embeddings with one layer of its thirty: it is never right.
- large: the demo model with feed-forward networks so much wider that it has about ten times as many bytes. What is added is random and adds so much (NOISE) that the
  demo model says the same next token often and not always: one that guesses for it and has a tenth of its size, with real texts.

Standard library only.
"""
import argparse
import os
import random
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_model import ARRAY, BLOCKS, STRING, U32, kept, number_of, pack_string, read_gguf, write_gguf  # noqa: E402

VERSION = 4  # of what this program writes: in the names of cached files
COARSER = ("ffn_up", 3)  # a matrix, and of how many layers one, that has fewer bits in "coarser"
PADDING = 128  # tokens of "padded" that nobody uses
UNUSED = 5  # a token's type
WIDER = 17  # times as many elements of a feed-forward network of "large"
NOISE = 1.0  # of what these add: drawn at temperature 0.7, seven tokens of ten stay the same
FORMS = ("coarser", "padded", "foreign", "stranger", "large")
Q4_1 = 3


def with_fewer_bits(values, tensors):
    """The lowest bit of weights is 0 in the first half of a block and 1 in the second: off by as much to both sides."""
    matrix, step = COARSER
    table = bytes(byte & 0xFE | 0x10 for byte in range(256))
    elements, n_bytes = BLOCKS[Q4_1]
    head = n_bytes - elements // 2
    out = []
    for name, dims, kind, data in tensors:
        if matrix in name and int(name.split(".")[1]) % step == 0:
            assert kind == Q4_1, kind
            data = b"".join(data[at : at + head] + data[at + head : at + n_bytes].translate(table) for at in range(0, len(data), n_bytes))
        out.append((name, dims, kind, data))
    return out


def first_layer(values, tensors):
    values["qwen2.block_count"] = (U32, struct.pack("<I", 1))
    return [tensor for tensor in tensors if not tensor[0].startswith("blk.") or tensor[0].startswith("blk.0.")]


def strings_of(raw):
    """The strings of an array, as bytes."""
    (n,), at, out = struct.unpack_from("<Q", raw, 4), 12, []
    for _ in range(n):
        (length,) = struct.unpack_from("<Q", raw, at)
        out.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return out


def set_strings(values, key, strings):
    values[key] = (ARRAY, struct.pack("<IQ", STRING, len(strings)) + b"".join(pack_string(text) for text in strings))


def with_padding(values, tensors):
    tokens = strings_of(values["tokenizer.ggml.tokens"][1])
    kind, types = values["tokenizer.ggml.token_type"]
    (of,) = struct.unpack_from("<I", types)
    set_strings(values, "tokenizer.ggml.tokens", tokens + [f"[PAD{len(tokens) + i}]".encode() for i in range(PADDING)])
    values["tokenizer.ggml.token_type"] = (kind, struct.pack("<IQ", of, len(tokens) + PADDING) + types[12:] + struct.pack("<i", UNUSED) * PADDING)
    out = []
    for name, dims, tensor_kind, data in tensors:
        if name == "token_embd.weight":
            data += data[: len(data) // dims[1]] * PADDING
            dims = [dims[0], dims[1] + PADDING]
        out.append((name, dims, tensor_kind, data))
    return out


def with_others(values, tensors):
    tokens = strings_of(values["tokenizer.ggml.tokens"][1])
    tokens[1000], tokens[1001] = tokens[1001], tokens[1000]
    set_strings(values, "tokenizer.ggml.tokens", tokens)
    return tensors


def random_blocks(generator, scale):
    """A megabyte of blocks of Q4_1 of numbers around 0, to be taken from at random places."""
    head = struct.pack("<ee", scale / 8, -7.5 * scale / 8)
    return [head + generator.randbytes(16) for _ in range(1 << 16)]


def wider(values, tensors):
    generator = random.Random(1)
    ffn = number_of(values, "qwen2.feed_forward_length")
    more = (WIDER - 1) * ffn
    values["qwen2.feed_forward_length"] = (U32, struct.pack("<I", WIDER * ffn))
    inner, outer = random_blocks(generator, 0.05), random_blocks(generator, NOISE)
    elements, n_bytes = BLOCKS[Q4_1]

    def some(blocks, n):
        out = []
        while n > 0:
            at = generator.randrange(len(blocks))
            out += blocks[at : at + n]
            n -= len(blocks[at : at + n])
        return b"".join(out)

    out = []
    for name, dims, kind, data in tensors:
        if name.endswith((".ffn_gate.weight", ".ffn_up.weight")):
            assert kind == Q4_1, kind
            data += some(inner, more * dims[0] // elements)
            dims = [dims[0], dims[1] + more]
        elif name.endswith(".ffn_down.weight"):
            assert kind == Q4_1, kind
            row = dims[0] // elements * n_bytes
            data = b"".join(data[at : at + row] + some(outer, more // elements) for at in range(0, len(data), row))
            dims = [dims[0] + more, dims[1]]
        out.append((name, dims, kind, data))
    return out


def write(source, target, form):
    with open(source, "rb") as file:
        values, tensors = read_gguf(file.read())
    values = dict(values)
    change = {"coarser": with_fewer_bits, "padded": with_padding, "foreign": with_others, "stranger": first_layer, "large": wider}[form]
    write_gguf(target, values, change(values, tensors))


def cached(cache, source, form):
    """The file name, below cache/models, of a form of the demo model; made unless it is there."""
    return kept(os.path.join(cache, "models"), f"demo_{form}-{VERSION}.gguf", lambda new: write(source, new, form))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--as", dest="form", choices=FORMS, required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    write(a.source, a.out, a.form)


if __name__ == "__main__":
    main()
