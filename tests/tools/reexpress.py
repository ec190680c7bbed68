#!/usr/bin/env python3
"""The demo model written in other architectures, so that a model that really talks goes through each of them.

  reexpress.py --from DEMO_MODEL --as ARCHITECTURE --out FILE

What is written computes the same, so greedy answers are the demo model's:
- qwen, qwen2vl: tensor for tensor. Qwen 1.0 has as many heads of keys and values as of queries: those that several share are written for each.
- mixtures: copies of the feed-forward network are the experts, and a random router chooses. Weights that sum to 1 make it the same whoever is chosen;
  qwen2moe's sum to 1 where all experts are used. Its shared expert gives zeros.
- architectures with a norm on each head's query and key: heads are twice as wide, and an element that nobody uses has a large constant (a bias), so that
  the norm is a division by a constant, which its weight takes back (0 for that element). Off by |q|^2 / 2 CONSTANT^2. Rotary pair j stands where pair 2j
  of wider heads turns as fast.

The demo model has no part that says which expert is right: a test of routing itself needs experts that differ. Standard library only.
"""
import argparse
import os
import random
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_model import ARRAY, BLOCKS, STRING, U32, number_of, pack_string, read_gguf, write_gguf  # noqa: E402

VERSION = 1  # of what this program writes: in the names of cached files
F32, I32 = 0, 5
CONSTANT = 1000.0
N_EXPERTS = {"qwen2moe": (2, 2), "qwen3moe": (3, 2), "qwen3vlmoe": (3, 2)}  # of a layer, and of them for a row
SHARED = 32  # elements of the shared expert
ARCHITECTURES = ("qwen", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe")


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def row_bytes(kind, columns):
    elements, n_bytes = BLOCKS[kind]
    return columns // elements * n_bytes


class Shape:
    """Sizes of the demo model."""

    def __init__(self, values):
        number = lambda key: number_of(values, f"qwen2.{key}")  # noqa: E731
        self.hidden, self.ffn = number("embedding_length"), number("feed_forward_length")
        self.heads, self.kv_heads = number("attention.head_count"), number("attention.head_count_kv")
        self.size = self.hidden // self.heads


def shared_by_all(data, shape):
    """Heads of keys or values for each head of queries. data: of a matrix or of a vector."""
    one = len(data) // shape.kv_heads
    return b"".join(data[h * one : (h + 1) * one] * (shape.heads // shape.kv_heads) for h in range(shape.kv_heads))


def wider_rows(data, n_heads, size, turned):
    """Rows of heads of size to rows of heads twice as wide; those that are turned keep their rotary speed. data: of a matrix or of a vector."""
    row = len(data) // (n_heads * size)
    empty, heads = bytes(row), []
    for h in range(n_heads):
        rows = [data[(h * size + i) * row : (h * size + i + 1) * row] for i in range(size)]
        wide = rows + [empty] * size
        if turned:
            wide = [rows[i // 2 + (size // 2 if half else 0)] if i % 2 == 0 else empty for half in range(2) for i in range(size)]
        heads += wide
    return b"".join(heads)


def wider_columns(data, kind, shape):
    """[hidden][heads * size] to [hidden][heads * 2 * size], zeros behind each head."""
    one = row_bytes(kind, shape.size)
    return b"".join(data[at : at + one] + bytes(one) for at in range(0, len(data), one))


def attention_of_qwen(tensors, shape):
    """Queries, keys and values of one layer as one tensor."""
    (kind,) = {tensors[f"attn_{part}.weight"][1] for part in "qkv"}
    parts = {part: [tensors.pop(f"attn_{part}.weight")[2], tensors.pop(f"attn_{part}.bias")[2]] for part in "qkv"}
    whole = [parts["q"][i] + shared_by_all(parts["k"][i], shape) + shared_by_all(parts["v"][i], shape) for i in range(2)]
    tensors["attn_qkv.weight"] = ([shape.hidden, 3 * shape.hidden], kind, whole[0])
    tensors["attn_qkv.bias"] = ([3 * shape.hidden], F32, whole[1])


def attention_with_norms(tensors, shape):
    """Heads twice as wide, with norms that divide by a constant."""
    wide = 2 * shape.size
    for part, n_heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
        dims, kind, data = tensors[f"attn_{part}.weight"]
        tensors[f"attn_{part}.weight"] = ([dims[0], n_heads * wide], kind, wider_rows(data, n_heads, shape.size, part != "v"))
        bias = list(struct.unpack(f"<{n_heads * wide}f", wider_rows(tensors[f"attn_{part}.bias"][2], n_heads, shape.size, part != "v")))
        if part != "v":
            # element 1 is the first half of a pair that stays free
            bias[1::wide] = [CONSTANT] * n_heads
            weight = [CONSTANT / wide**0.5 * (2**0.5 if part == "q" else 1)] * wide
            weight[1] = 0
            tensors[f"attn_{part}_norm.weight"] = ([wide], F32, floats(weight))
        tensors[f"attn_{part}.bias"] = ([n_heads * wide], F32, floats(bias))
    _, kind, data = tensors["attn_output.weight"]
    tensors["attn_output.weight"] = ([shape.heads * wide, shape.hidden], kind, wider_columns(data, kind, shape))


def experts(tensors, shape, architecture, layer):
    """Copies of the network, and a random router."""
    n_experts, _ = N_EXPERTS[architecture]
    numbers = random.Random(layer)
    router = [numbers.gauss(0, 2 * shape.hidden**-0.5) for _ in range(shape.hidden * n_experts)]
    for part in ("gate", "up", "down"):
        dims, kind, data = tensors.pop(f"ffn_{part}.weight")
        tensors[f"ffn_{part}_exps.weight"] = ([*dims, n_experts], kind, data * n_experts)
        if architecture == "qwen2moe":
            dims = [SHARED if d == shape.ffn else d for d in dims]
            tensors[f"ffn_{part}_shexp.weight"] = (dims, kind, bytes(row_bytes(kind, dims[0]) * dims[1]))
    tensors["ffn_gate_inp.weight"] = ([shape.hidden, n_experts], F32, floats(router))
    if architecture == "qwen2moe":
        tensors["ffn_gate_inp_shexp.weight"] = ([shape.hidden], F32, floats(router[: shape.hidden]))


def metadata(values, shape, architecture):
    number = lambda n: (U32, struct.pack("<I", n))  # noqa: E731
    changed = {key.replace("qwen2.", f"{architecture}.", 1): value for key, value in values.items()}
    changed["general.architecture"] = (STRING, pack_string(architecture.encode()))
    key = lambda suffix: f"{architecture}.{suffix}"  # noqa: E731
    if architecture == "qwen":
        # older than the key of the pre-tokenizer, and counts gate and up together
        del changed["tokenizer.ggml.pre"], changed[key("attention.head_count_kv")]
        changed[key("feed_forward_length")] = number(2 * shape.ffn)
    size = shape.size
    if architecture.startswith("qwen3"):
        size *= 2
        changed[key("attention.key_length")] = changed[key("attention.value_length")] = number(size)
    if "vl" in architecture:
        others = size // 2 * 3 // 8
        sections = (size // 2 - 2 * others, others, others, 0)
        changed[key("rope.dimension_sections")] = (ARRAY, struct.pack("<IQ4i", I32, 4, *sections))
    if architecture in N_EXPERTS:
        n_experts, n_used = N_EXPERTS[architecture]
        changed |= {key("expert_count"): number(n_experts), key("expert_used_count"): number(n_used), key("expert_feed_forward_length"): number(shape.ffn)}
    if architecture == "qwen2moe":
        changed[key("expert_shared_feed_forward_length")] = number(SHARED)
    return changed


def reexpress(source, target, architecture):
    with open(source, "rb") as file:
        values, tensors = read_gguf(file.read())
    shape, layers, others = Shape(values), {}, {}
    for name, dims, kind, data in tensors:
        if name.startswith("blk."):
            _, layer, role = name.split(".", 2)
            layers.setdefault(int(layer), {})[role] = (dims, kind, data)
        else:
            others[name] = (dims, kind, data)
    if architecture in ("qwen", "qwen2moe"):
        others["output.weight"] = others["token_embd.weight"]
    for layer, of_layer in layers.items():
        if architecture == "qwen":
            attention_of_qwen(of_layer, shape)
        elif architecture.startswith("qwen3"):
            attention_with_norms(of_layer, shape)
        if architecture in N_EXPERTS:
            experts(of_layer, shape, architecture, layer)
    out = [(name, *tensor) for name, tensor in others.items()]
    out += [(f"blk.{layer}.{role}", *tensor) for layer, of_layer in layers.items() for role, tensor in of_layer.items()]
    write_gguf(target, metadata(values, shape, architecture), out)


def cached(cache, source, architecture):
    """The file name, below cache/models, of the demo model in an architecture; made unless it is there."""
    file = f"demo_as_{architecture}-{VERSION}.gguf"
    path = os.path.join(cache, "models", file)
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = f"{path}.{os.getpid()}.tmp"
        reexpress(source, new, architecture)
        os.chmod(new, 0o644)
        os.replace(new, path)
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--as", dest="architecture", choices=ARCHITECTURES, required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    reexpress(a.source, a.out, a.architecture)


if __name__ == "__main__":
    main()
