"""Small F32 models of every wave-1 shape, the same bytes on every machine, for comparing logits between engines.

Weights come from a hash of (seed, tensor name, index), not from a library's generator, so that the golden file stays true. Needs numpy.
"""
import struct
import zlib

import numpy as np

VOCAB = 320

# name: architecture and shape; tied: the output matrix is the embedding; keys: metadata beyond the shape
MODELS = {
    "qwen2-tied": dict(arch="qwen2", layers=3, hidden=576, ffn=1120, heads=9, kv_heads=3, head_dim=64, tied=True),
    "qwen2-linear": dict(
        arch="qwen2", layers=4, hidden=256, ffn=480, heads=4, kv_heads=4, head_dim=64, tied=False,
        keys={"rope.scaling.type": "linear", "rope.scaling.factor": 2.0},
    ),
    "qwen2-yarn": dict(
        arch="qwen2", layers=3, hidden=448, ffn=640, heads=7, kv_heads=1, head_dim=64, tied=False,
        keys={"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 256},
    ),
    "qwen3": dict(arch="qwen3", layers=4, hidden=320, ffn=512, heads=5, kv_heads=1, head_dim=128, tied=False),
    "qwen3-wide-heads": dict(arch="qwen3", layers=3, hidden=256, ffn=704, heads=8, kv_heads=2, head_dim=128, tied=True),
    "qwen3-yarn-factor": dict(
        arch="qwen3", layers=3, hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=128, tied=True,
        keys={
            "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 128,
            "rope.scaling.attn_factor": 0.75,
        },
    ),
}


def random_values(seed, name, n, scale, offset=0.0):
    """n floats, about normal: offset + scale * (a sum of four hashed uniforms, variance 1)."""
    start = np.uint64(zlib.crc32(name.encode()) + (seed << 32))
    with np.errstate(over="ignore"):
        x = (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start * np.uint64(0xD1342543DE82EF95)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    total = sum(((x >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64) for shift in (0, 16, 32, 48))
    return (offset + scale * (total / 65536 - 2) * 3**0.5).astype("<f4")


def tensors_of(m):
    """(name, dimensions with the fastest first, scale, offset) of every tensor."""
    hidden, q, kv = m["hidden"], m["heads"] * m["head_dim"], m["kv_heads"] * m["head_dim"]
    yield "token_embd.weight", [hidden, VOCAB], 1.0, 0.0
    yield "output_norm.weight", [hidden], 0.2, 1.0
    if not m["tied"]:
        yield "output.weight", [hidden, VOCAB], hidden**-0.5, 0.0
    for i in range(m["layers"]):
        def matrix(name, n_in, n_out, gain=1.0, i=i):
            return f"blk.{i}.{name}.weight", [n_in, n_out], gain * n_in**-0.5, 0.0

        yield f"blk.{i}.attn_norm.weight", [hidden], 0.2, 1.0
        yield f"blk.{i}.ffn_norm.weight", [hidden], 0.2, 1.0
        # attention sharp enough that a wrong angle shows
        yield matrix("attn_q", hidden, q, 1.6)
        yield matrix("attn_k", hidden, kv, 1.6)
        yield matrix("attn_v", hidden, kv)
        yield matrix("attn_output", q, hidden)
        if m["arch"] == "qwen2":
            for name, n in (("q", q), ("k", kv), ("v", kv)):
                yield f"blk.{i}.attn_{name}.bias", [n], 0.3, 0.0
        else:
            yield f"blk.{i}.attn_q_norm.weight", [m["head_dim"]], 0.3, 1.3
            yield f"blk.{i}.attn_k_norm.weight", [m["head_dim"]], 0.3, 1.3
        yield matrix("ffn_gate", hidden, m["ffn"], 1.5)
        yield matrix("ffn_up", hidden, m["ffn"])
        yield matrix("ffn_down", m["ffn"], hidden)


def byte_symbols():
    """The 256 symbols of byte-level BPE, by byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def pack_text(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(value):
    """A metadata value with its type id in front."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + pack_text(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(pack_text, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def metadata_of(m):
    arch, symbols = m["arch"], byte_symbols()
    # one merge, of symbols that the prompt does not have: some readers want at least one
    tokens = symbols + ["<|endoftext|>", "<|im_start|>", "<|im_end|>", symbols[1] + symbols[2]]
    kinds = [1] * 256 + [3] * 3 + [1] + [5] * (VOCAB - 260)
    tokens += [f"[PAD{i}]" for i in range(len(tokens), VOCAB)]
    shape = {
        "block_count": m["layers"], "embedding_length": m["hidden"], "feed_forward_length": m["ffn"],
        "attention.head_count": m["heads"], "attention.head_count_kv": m["kv_heads"], "attention.key_length": m["head_dim"],
        "attention.value_length": m["head_dim"], "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
        "context_length": 2048, **m.get("keys", {}),
    }
    return {
        "general.architecture": arch,
        **{f"{arch}.{key}": value for key, value in shape.items()},
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": [f"{symbols[1]} {symbols[2]}"],
        "tokenizer.ggml.eos_token_id": 258, "tokenizer.ggml.add_bos_token": False,
    }


def write_model(name, path):
    """Write the GGUF file (version 3) of one of MODELS."""
    m, seed, alignment = MODELS[name], list(MODELS).index(name) + 1, 32
    values, tensors = metadata_of(m), list(tensors_of(m))
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(pack_text(key) + pack_value(value) for key, value in values.items())
    offset = 0
    for tensor, dims, _, _ in tensors:
        head += pack_text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, offset)
        offset += -(-int(np.prod(dims)) * 4 // alignment) * alignment
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % alignment))
        for tensor, dims, scale, shift in tensors:
            data = random_values(seed, tensor, int(np.prod(dims)), scale, shift).tobytes()
            file.write(data + b"\0" * (-len(data) % alignment))


def prompt(n):
    """A text of n bytes, as many tokens."""
    text = "It was a bright cold day in April, and the clocks were striking thirteen; 42 of them were wrong. "
    return (text * (n // len(text) + 1))[:n]
