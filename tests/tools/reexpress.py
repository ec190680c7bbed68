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
- qwen35moe: beside these layers, whose queries have gates of 1/2 (what they attend is doubled again) and heads of which only the first half is turned,
  layers with a delta net, which work on random numbers and add zeros.
- qwen35moe+head: behind them a layer that guesses tokens ahead (nextn). It says the token again that it is given: right where a word is repeated, and
  nearly nowhere else.
- qwen35moe+states, qwen35moe+head+states: layers with a delta net add what is not zero, so that what is said depends on their states, and is
  not what the demo model says.

The demo model has no part that says which expert is right: a test of routing itself needs experts that differ. Standard library only.
"""
import argparse
import os
import random
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_model import ARRAY, BLOCKS, STRING, U32, kept, number_of, pack_string, read_gguf, stem, write_gguf  # noqa: E402

VERSION = 2  # of what this program writes: in the names of cached files
F32, I32, BOOL = 0, 5, 7
Q8_0 = 8  # a tensor type, as F32
CONSTANT = 1000.0
N_EXPERTS = {"qwen2moe": (2, 2), "qwen3moe": (3, 2), "qwen3vlmoe": (3, 2), "qwen35moe": (2, 1)}  # of a layer, and of them for a row
SHARED = 32  # elements of the shared expert
HAVE_SHARED = ("qwen2moe", "qwen35moe")
DELTA_KEYS, DELTA_VALUES, DELTA_DIM = 2, 4, 64  # heads of a delta net, and elements of one
ATTENTION_RUN = 3  # layers with attention behind one with a delta net
HEAD, STATES = "head", "states"  # behind an architecture, after a +: with a layer that guesses, with states that matter
STATES_SHARE = 8.0  # of what they matter: it still talks sense
ARCHITECTURES = ("qwen", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "qwen35moe", "qwen35moe+head", "qwen35moe+states", "qwen35moe+head+states")


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


def doubled(data, kind):
    """Twice the values of a matrix: those of floats, or of the scales (F16) at the beginning of each block."""
    if kind == F32:
        return floats([2 * value for (value,) in struct.iter_unpack("<f", data)])
    _, n_bytes = BLOCKS[kind]
    scales = {1: 1, 3: 2, 8: 1}[kind]
    out = bytearray(data)
    for at in range(0, len(out), n_bytes):
        struct.pack_into(f"<{scales}e", out, at, *(2 * value for value in struct.unpack_from(f"<{scales}e", out, at)))
    return bytes(out)


def gated_attention(tensors, shape):
    """Heads twice as wide of which the first half is turned, with norms that divide by a constant and gates of 1/2."""
    size, wide = shape.size, 2 * shape.size
    for part, n_heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
        dims, kind, data = tensors[f"attn_{part}.weight"]
        data, biases = (wider_rows(value, n_heads, size, False) for value in (data, tensors[f"attn_{part}.bias"][2]))
        bias = list(struct.unpack(f"<{n_heads * wide}f", biases))
        if part != "v":
            bias[size::wide] = [CONSTANT] * n_heads
            weight = [CONSTANT / wide**0.5 * (2**0.5 if part == "q" else 1)] * wide
            weight[size] = 0
            tensors[f"attn_{part}_norm.weight"] = ([wide], F32, floats(weight))
        if part == "q":
            one = len(data) // n_heads
            data = b"".join(data[h * one : (h + 1) * one] + bytes(one) for h in range(n_heads))
            bias = [value for h in range(n_heads) for value in bias[h * wide : (h + 1) * wide] + [0.0] * wide]
        tensors[f"attn_{part}.weight"] = ([dims[0], len(bias)], kind, data)
        tensors[f"attn_{part}.bias"] = ([len(bias)], F32, floats(bias))
    _, kind, data = tensors["attn_output.weight"]
    tensors["attn_output.weight"] = ([shape.heads * wide, shape.hidden], kind, doubled(wider_columns(data, kind, shape), kind))


def delta_layer(neighbour, shape, matters):
    """A layer with a delta net on random numbers that adds zeros, or what they say where that matters, with the norms and the network of its neighbour, which adds zeros too."""
    numbers = random.Random(35)
    keys, values = DELTA_KEYS * DELTA_DIM, DELTA_VALUES * DELTA_DIM
    matrix = lambda n_in, n_out, scale: ([n_in, n_out], F32, floats([numbers.gauss(0, scale) for _ in range(n_in * n_out)]))  # noqa: E731
    tensors = {name: tensor for name, tensor in neighbour.items() if name.startswith(("attn_norm", "ffn_", "post_"))}
    for name in ("ffn_down_exps.weight", "ffn_down_shexp.weight"):
        dims, kind, data = tensors[name]
        tensors[name] = (dims, kind, bytes(len(data)))
    tensors["attn_qkv.weight"] = matrix(shape.hidden, 2 * keys + values, shape.hidden**-0.5)
    tensors["attn_gate.weight"] = matrix(shape.hidden, values, shape.hidden**-0.5)
    for name in ("ssm_beta", "ssm_alpha"):
        tensors[f"{name}.weight"] = matrix(shape.hidden, DELTA_VALUES, shape.hidden**-0.5)
    tensors["ssm_conv1d.weight"] = matrix(4, 2 * keys + values, 0.5)
    tensors["ssm_dt.bias"] = ([DELTA_VALUES], F32, floats([1.0] * DELTA_VALUES))
    tensors["ssm_a"] = ([DELTA_VALUES], F32, floats([-(0.01 * 8**head) for head in range(DELTA_VALUES)]))
    tensors["ssm_norm.weight"] = ([DELTA_DIM], F32, floats([1.0] * DELTA_DIM))
    tensors["ssm_out.weight"] = matrix(values, shape.hidden, STATES_SHARE * values**-0.5) if matters else ([values, shape.hidden], F32, bytes(4 * values * shape.hidden))
    return tensors


def with_delta_layers(layers, shape, matters):
    """(layers, which of them have a delta net)"""
    out = []
    for i, layer in sorted(layers.items()):
        layer["post_attention_norm.weight"] = layer.pop("ffn_norm.weight")
        if i % ATTENTION_RUN == 0:
            out.append((delta_layer(layer, shape, matters), True))
        out.append((layer, False))
    return {i: layer for i, (layer, _) in enumerate(out)}, [is_delta for _, is_delta in out]


def copying_head(neighbour, shape):
    """A layer that guesses, with the attention and the network of its neighbour, which add zeros: what comes out is the token's embedding."""
    tensors = dict(neighbour)
    for name in ("attn_output.weight", "ffn_down_exps.weight", "ffn_down_shexp.weight"):
        dims, kind, data = tensors[name]
        tensors[name] = (dims, kind, bytes(len(data)))
    one, empty = (lambda c: struct.pack("<e32b", 1.0, *(int(i == c) for i in range(32)))), bytes(34)  # blocks of Q8_0
    rows = b"".join(one(r % 32) if block == r // 32 else empty for r in range(shape.hidden) for block in range(2 * shape.hidden // 32))
    tensors["nextn.eh_proj.weight"] = ([2 * shape.hidden, shape.hidden], Q8_0, rows)
    for name in ("enorm", "hnorm", "shared_head_norm"):
        tensors[f"nextn.{name}.weight"] = ([shape.hidden], F32, floats([1.0] * shape.hidden))
    return tensors


def hybrid_keys(changed, shape, key, number, delta_layers):
    """Metadata of a hybrid."""
    del changed[key("feed_forward_length")]
    changed["tokenizer.ggml.pre"] = (STRING, pack_string(b"qwen35"))
    changed[key("block_count")] = number(len(delta_layers))
    changed[key("attention.recurrent_layers")] = (ARRAY, struct.pack("<IQ", BOOL, len(delta_layers)) + bytes(delta_layers))
    sizes = {"conv_kernel": 4, "state_size": DELTA_DIM, "group_count": DELTA_KEYS, "time_step_rank": DELTA_VALUES, "inner_size": DELTA_VALUES * DELTA_DIM}
    changed |= {key(f"ssm.{name}"): number(value) for name, value in sizes.items()}
    changed[key("rope.dimension_count")] = number(shape.size)
    changed[key("rope.dimension_sections")] = (ARRAY, struct.pack("<IQ4i", I32, 4, shape.size // 2 - 20, 10, 10, 0))


def experts(tensors, shape, architecture, layer):
    """Copies of the network, and a random router."""
    n_experts, _ = N_EXPERTS[architecture]
    numbers = random.Random(layer)
    router = [numbers.gauss(0, 2 * shape.hidden**-0.5) for _ in range(shape.hidden * n_experts)]
    for part in ("gate", "up", "down"):
        dims, kind, data = tensors.pop(f"ffn_{part}.weight")
        tensors[f"ffn_{part}_exps.weight"] = ([*dims, n_experts], kind, data * n_experts)
        if architecture in HAVE_SHARED:
            dims = [SHARED if d == shape.ffn else d for d in dims]
            tensors[f"ffn_{part}_shexp.weight"] = (dims, kind, bytes(row_bytes(kind, dims[0]) * dims[1]))
    tensors["ffn_gate_inp.weight"] = ([shape.hidden, n_experts], F32, floats(router))
    if architecture in HAVE_SHARED:
        tensors["ffn_gate_inp_shexp.weight"] = ([shape.hidden], F32, floats(router[: shape.hidden]))


def metadata(values, shape, architecture, delta_layers):
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
    if architecture in HAVE_SHARED:
        changed[key("expert_shared_feed_forward_length")] = number(SHARED)
    if delta_layers:
        hybrid_keys(changed, shape, key, number, delta_layers)
    return changed


def reexpress(source, target, architecture):
    architecture, *more = architecture.split("+")
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
        elif architecture == "qwen35moe":
            gated_attention(of_layer, shape)
        elif architecture.startswith("qwen3"):
            attention_with_norms(of_layer, shape)
        if architecture in N_EXPERTS:
            experts(of_layer, shape, architecture, layer)
    layers, delta_layers = with_delta_layers(layers, shape, STATES in more) if architecture == "qwen35moe" else (layers, None)
    if HEAD in more:
        layers[len(layers)] = copying_head(layers[len(layers) - 1], shape)
        delta_layers.append(False)
    out = [(name, *tensor) for name, tensor in others.items()]
    out += [(f"blk.{layer}.{role}", *tensor) for layer, of_layer in layers.items() for role, tensor in of_layer.items()]
    changed = metadata(values, shape, architecture, delta_layers)
    if HEAD in more:
        changed[f"{architecture}.nextn_predict_layers"] = (U32, struct.pack("<I", 1))
    write_gguf(target, changed, out)


def cached(cache, source, architecture):
    """The file name, below cache/models, of the demo model, or one like it, in an architecture; made unless it is there."""
    return kept(os.path.join(cache, "models"), f"{stem(source)}_as_{architecture}-{VERSION}.gguf", lambda new: reexpress(source, new, architecture))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--as", dest="architecture", choices=ARCHITECTURES, required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    reexpress(a.source, a.out, a.architecture)


if __name__ == "__main__":
    main()
