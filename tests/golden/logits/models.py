"""Small models of every shape (F32) and of every tensor type, the same bytes on every machine, for comparing logits between engines.

Weights come from a hash of (seed, tensor name, index), not from a library's generator, so that the golden file stays true: F32 values, or the
bits of quantized blocks, with scales that give them the wanted deviation. Needs numpy.
"""
import struct
import subprocess
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
    "qwen2-million": dict(
        arch="qwen2", layers=3, hidden=384, ffn=544, heads=3, kv_heads=1, head_dim=128, tied=False, keys={"rope.freq_base": 1e6},
    ),
    "qwen3-five-million": dict(
        arch="qwen3", layers=3, hidden=192, ffn=352, heads=6, kv_heads=3, head_dim=64, tied=True, keys={"rope.freq_base": 5e6},
    ),
    # experts: how many, and of them for a row; ffn: elements of one; shared: of the one that all rows have
    "qwen2moe": dict(
        arch="qwen2moe", layers=3, hidden=256, ffn=96, heads=4, kv_heads=2, head_dim=64, tied=False, experts=12, used=4, shared=320,
        keys={"rope.freq_base": 1e6},
    ),
    "qwen3moe": dict(arch="qwen3moe", layers=3, hidden=192, ffn=64, heads=6, kv_heads=1, head_dim=64, tied=True, experts=32, used=8, keys={"rope.freq_base": 1e6}),
    "qwen3moe-few": dict(arch="qwen3moe", layers=4, hidden=128, ffn=160, heads=2, kv_heads=2, head_dim=128, tied=False, experts=5, used=2),
}

# architectures that transformers has no model of text alone for: held against llama.cpp and a program in double (make_double.py). Sections: rotary
# pairs of each axis; those of qwen3vl are interleaved, and these leave no pair that llama.cpp would not turn. Mix: types of matrices by what stands in
# their names, as files mix BF16 and F16; others are F32.
MIX = {"token_embd": "F16", "output.": "BF16", "attn_q": "BF16", "attn_k": "F16", "attn_output": "BF16", "ffn_gate_exps": "F16", "ffn_up_exps": "BF16", "ffn_down": "F16", "ffn_up.": "BF16"}
OTHER_MODELS = {
    "qwen": dict(arch="qwen", layers=3, hidden=256, ffn=352, heads=4, kv_heads=4, head_dim=64, tied=False),
    "qwen2vl": dict(
        arch="qwen2vl", layers=3, hidden=256, ffn=416, heads=4, kv_heads=2, head_dim=64, tied=False,
        keys={"rope.freq_base": 1e6, "rope.dimension_sections": [8, 12, 12, 0]},
    ),
    "qwen3vl": dict(
        arch="qwen3vl", layers=3, hidden=192, ffn=352, heads=6, kv_heads=2, head_dim=64, tied=True,
        keys={"rope.freq_base": 5e6, "rope.dimension_sections": [11, 11, 10, 0], "n_deepstack_layers": 2},
    ),
    "qwen3vlmoe": dict(
        arch="qwen3vlmoe", layers=3, hidden=128, ffn=64, heads=4, kv_heads=1, head_dim=64, tied=False, experts=16, used=4,
        keys={"rope.freq_base": 5e6, "rope.dimension_sections": [11, 11, 10, 0]},
    ),
    "qwen3vl-mix": dict(
        arch="qwen3vl", layers=2, hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=64, tied=False, mix=MIX,
        keys={"rope.freq_base": 5e6, "rope.dimension_sections": [11, 11, 10, 0]},
    ),
    "qwen2moe-mix": dict(arch="qwen2moe", layers=2, hidden=128, ffn=96, heads=2, kv_heads=2, head_dim=64, tied=False, experts=8, used=2, shared=160, mix=MIX),
}

# gated delta nets, with attention in every so manieth layer; decay: mean and deviation of ssm_a (it must stay negative); rotated: of a head
HYBRID = dict(hidden=128, heads=4, kv_heads=2, head_dim=64, rotated=16)
HYBRID_MODELS = {
    # hardly anything is forgotten
    "qwen35": dict(arch="qwen35", **HYBRID, layers=4, ffn=192, tied=False, delta=dict(keys=2, values=4, dim=32, interval=4, decay=(-0.01, 0.002)),
                   keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]}),
    # as wide as transformers begins with: from 0 to 16
    "qwen35moe": dict(arch="qwen35moe", **HYBRID, layers=3, ffn=64, tied=True, experts=8, used=3, shared=64,
                      delta=dict(keys=2, values=8, dim=64, interval=2, decay=(-8.0, 2.3)), keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]}),
    "qwen3next": dict(arch="qwen3next", **HYBRID, layers=4, ffn=64, tied=False, experts=16, used=4, shared=96,
                      delta=dict(keys=4, values=8, dim=32, interval=2, decay=(-0.5, 0.12)), keys={"rope.freq_base": 1e7}),
    "qwen3next-early": dict(arch="qwen3next", **HYBRID, layers=2, ffn=64, tied=False, experts=8, used=2, shared=64, early=True,
                            delta=dict(keys=2, values=4, dim=32, interval=2, decay=(-0.5, 0.12)), keys={"rope.freq_base": 1e7}),
}  # fmt: skip
OTHER_MODELS |= HYBRID_MODELS
# stretched by whoever loads them (llama.cpp's --rope-scaling): a plain file, one that says otherwise, and one of whose heads a part is rotated
OTHER_MODELS |= {
    "qwen3-set": dict(
        arch="qwen3", layers=3, hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=128, tied=True, keys={"rope.freq_base": 1e6},
        set=dict(rope_scaling="yarn", rope_factor=4.0, rope_original_context=128),
    ),
    "qwen2-set-otherwise": dict(
        arch="qwen2", layers=3, hidden=192, ffn=352, heads=3, kv_heads=1, head_dim=64, tied=False,
        keys={"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 64},
        set=dict(rope_scaling="yarn", rope_factor=2.5, rope_original_context=512),
    ),
    "qwen35-set": dict(arch="qwen35", **HYBRID, layers=4, ffn=160, tied=False, delta=dict(keys=2, values=4, dim=32, interval=2, decay=(-0.5, 0.12)),
                       keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]}, set=dict(rope_scaling="yarn", rope_factor=4.0, rope_original_context=128)),
}

# for long prompts: as Qwen2.5 and Qwen3 are stretched, from a quarter of the context
LONG_YARN = {"rope.freq_base": 1e6, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 8192}
LONG_MODELS = {
    "qwen2-yarn-long": dict(arch="qwen2", layers=2, hidden=128, ffn=192, heads=2, kv_heads=1, head_dim=64, tied=True, keys=LONG_YARN),
    "qwen3-yarn-long": dict(arch="qwen3", layers=2, hidden=96, ffn=160, heads=2, kv_heads=2, head_dim=128, tied=False, keys=LONG_YARN),
}
# a hybrid that forgets as transformers begins with (decay: None), and as long as states are kept
LONG_HYBRID = "qwen35-long"
LONG_MODELS[LONG_HYBRID] = dict(arch="qwen35", layers=4, hidden=128, ffn=192, heads=2, kv_heads=1, head_dim=64, rotated=16, tied=True,
                                delta=dict(keys=2, values=8, dim=64, interval=4, decay=None), keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]})  # fmt: skip
# with a layer that guesses tokens ahead, whose logits are what is compared
GUESS_MODELS = {
    "qwen35-guess": dict(arch="qwen35", **HYBRID, layers=3, ffn=160, tied=False, guess=True, delta=dict(keys=2, values=4, dim=32, interval=3, decay=(-0.5, 0.12)),
                         keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]}),
    "qwen35moe-guess": dict(arch="qwen35moe", **HYBRID, layers=2, ffn=64, tied=True, experts=8, used=3, shared=64, guess=True,
                            delta=dict(keys=2, values=4, dim=32, interval=2, decay=(-0.5, 0.12)), keys={"rope.freq_base": 1e7, "rope.dimension_sections": [3, 3, 2, 0]}),
}  # fmt: skip
GUESS_LENGTHS = (7, 33, 512)
LENGTHS = (1, 7, 33, 512, 4096)  # of the prompts
LONG_LENGTH = 32001  # the last position is 32,000


# shapes whose rows are whole blocks of every type
TYPED_MODELS = {
    "qwen2-blocks": dict(arch="qwen2", layers=2, hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=64, tied=False),
    "qwen3-blocks": dict(arch="qwen3", layers=2, hidden=256, ffn=512, heads=4, kv_heads=1, head_dim=128, tied=True),
    # each row has all experts, so that no rounding chooses others
    "qwen3moe-blocks": dict(arch="qwen3moe", layers=1, hidden=256, ffn=256, heads=4, kv_heads=1, head_dim=128, tied=True, experts=4, used=4),
}

# type: its id in files, elements and bytes of a block; where its scale stands, how many scales a value of random bits deviates by;
# where its min stands and how many scales it is, so that values are about 0 in the middle
TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2),
    "Q8_0": (8, 32, 34, 0, 73.9, None, 0), "Q4_0": (2, 32, 18, 0, 4.64, None, 0), "Q4_1": (3, 32, 20, 0, 4.61, 2, -7.5),
    "Q5_0": (6, 32, 22, 0, 9.25, None, 0), "Q5_1": (7, 32, 24, 0, 9.23, 2, -15.5), "Q2_K": (10, 256, 84, 80, 13.3, 82, 1.5),
    "Q3_K": (11, 256, 110, 108, 43.4, None, 0), "Q4_K": (12, 256, 144, 0, 300.0, 2, 7.5), "Q5_K": (13, 256, 176, 0, 615.0, 2, 15.5),
    "Q6_K": (14, 256, 210, 208, 1366.0, None, 0), "IQ4_NL": (20, 32, 18, 0, 69.0, None, 0), "IQ4_XS": (23, 256, 136, 0, 1275.0, None, 0),
    "MXFP4": (39, 32, 17, 0, 6.65, None, 0), "IQ2_XXS": (16, 256, 66, 0, 55.7, None, 0), "IQ2_XS": (17, 256, 74, 0, 58.1, None, 0),
    "IQ2_S": (22, 256, 82, 0, 58.7, None, 0), "IQ3_XXS": (18, 256, 98, 0, 148.9, None, 0), "IQ3_S": (21, 256, 110, 0, 146.5, None, 0),
}

# what llama-quantize refuses to write without an importance matrix
NEED_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M")


def hashes(seed, name, n):
    """n hashed numbers of 64 bits."""
    start = np.uint64(zlib.crc32(name.encode()) + (seed << 32))
    with np.errstate(over="ignore"):
        x = (np.arange(n, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start * np.uint64(0xD1342543DE82EF95)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_values(seed, name, n, scale, offset=0.0):
    """n floats, about normal: offset + scale * (a sum of four hashed uniforms, variance 1)."""
    x = hashes(seed, name, n)
    total = sum(((x >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64) for shift in (0, 16, 32, 48))
    return (offset + scale * (total / 65536 - 2) * 3**0.5).astype("<f4")


def random_blocks(type_name, seed, name, n, scale):
    """The bytes of n values of a quantized type: random bits, and scales from a half to one and a half times what deviates by scale."""
    _, elements, n_bytes, at, unit, min_at, min_scales = TYPES[type_name]
    n_blocks = n // elements
    blocks = hashes(seed, name, -(-n_blocks * n_bytes // 8)).astype("<u8").view(np.uint8)[: n_blocks * n_bytes].reshape(n_blocks, n_bytes).copy()
    d = scale / unit * (0.5 + (hashes(seed, name + ".scales", n_blocks) >> np.uint64(40)).astype(np.float64) / 2**24)
    if type_name == "MXFP4":
        # a power of two: twice the scale's exponent, + 127; the sign of a scale is nothing that it has
        blocks[:, at] = np.clip(np.round(np.log2(abs(d))) + 128, 0, 255).astype(np.uint8)
        return blocks.tobytes()
    blocks[:, at : at + 2] = d.astype("<f2").view(np.uint8).reshape(n_blocks, 2)
    if min_at is not None:
        blocks[:, min_at : min_at + 2] = (d * min_scales).astype("<f2").view(np.uint8).reshape(n_blocks, 2)
    return blocks.tobytes()


def tensor_bytes(type_name, seed, name, n, scale, offset):
    """The data of one tensor."""
    if len(TYPES[type_name]) > 3:
        return random_blocks(type_name, seed, name, n, scale)
    values = np.array(offset, "<f4") if scale is None else random_values(seed, name, n, scale, offset)
    if type_name == "F16":
        return values.astype("<f2").tobytes()
    return (values.view("<u4") >> 16).astype("<u2").tobytes() if type_name == "BF16" else values.tobytes()


def count(dims):
    """Elements of a tensor."""
    return int(np.prod(dims))


def tensors_of(m):
    """(name, dimensions with the fastest first, scale, offset) of every tensor; scale None: offset has its values."""
    hidden, q, kv = m["hidden"], m["heads"] * m["head_dim"], m["kv_heads"] * m["head_dim"]
    yield "token_embd.weight", [hidden, VOCAB], 1.0, 0.0
    yield "output_norm.weight", [hidden], 0.2, 1.0
    if not m["tied"]:
        yield "output.weight", [hidden, VOCAB], hidden**-0.5, 0.0
    for i in range(n_layers(m)):
        def matrix(name, n_in, n_out, gain=1.0, i=i):
            return f"blk.{i}.{name}.weight", [n_in, n_out], gain * n_in**-0.5, 0.0

        yield f"blk.{i}.attn_norm.weight", [hidden], 0.2, 1.0
        yield f"blk.{i}.{'post_attention_norm' if 'delta' in m else 'ffn_norm'}.weight", [hidden], 0.2, 1.0
        if is_delta_layer(m, i):
            yield from delta_tensors_of(m, f"blk.{i}.")
            yield from network_tensors_of(m, i)
            continue
        # attention sharp enough that a wrong angle shows
        if m["arch"] == "qwen":
            yield matrix("attn_qkv", hidden, q + 2 * kv, 1.4)
        else:
            yield matrix("attn_q", hidden, 2 * q if "delta" in m else q, 1.6)
            yield matrix("attn_k", hidden, kv, 1.6)
            yield matrix("attn_v", hidden, kv)
        yield matrix("attn_output", q, hidden)
        if m["arch"] == "qwen":
            yield f"blk.{i}.attn_qkv.bias", [q + 2 * kv], 0.3, 0.0
        elif m["arch"].startswith("qwen2"):
            for name, n in (("q", q), ("k", kv), ("v", kv)):
                yield f"blk.{i}.attn_{name}.bias", [n], 0.3, 0.0
        else:
            yield f"blk.{i}.attn_q_norm.weight", [m["head_dim"]], 0.3, 1.3
            yield f"blk.{i}.attn_k_norm.weight", [m["head_dim"]], 0.3, 1.3
        yield from network_tensors_of(m, i)


    if "guess" in m:
        # embeddings and hidden states, side by side
        yield f"blk.{m['layers']}.nextn.eh_proj.weight", [2 * hidden, hidden], hidden**-0.5, 0.0
        for name in ("enorm", "hnorm", "shared_head_norm"):
            yield f"blk.{m['layers']}.nextn.{name}.weight", [hidden], 0.2, 1.0


def n_layers(m):
    """With the one that guesses."""
    return m["layers"] + ("guess" in m)


def is_delta_layer(m, i):
    """Has layer i of a hybrid a delta net?"""
    return "delta" in m and i < m["layers"] and (i + 1) % m["delta"]["interval"] != 0


def delta_tensors_of(m, prefix):
    """A gated delta net."""
    hidden, d = m["hidden"], m["delta"]
    keys, values = d["keys"] * d["dim"], d["values"] * d["dim"]
    projections = {"ssm_in": 2 * keys + 2 * values} if m.get("early") else {"attn_qkv": 2 * keys + values, "attn_gate": values}
    projections |= {"ssm_ba": 2 * d["values"]} if m["arch"] == "qwen3next" else {"ssm_beta": d["values"], "ssm_alpha": d["values"]}
    for name, n_out in projections.items():
        yield f"{prefix}{name}.weight", [hidden, n_out], hidden**-0.5, 0.0
    yield f"{prefix}ssm_conv1d.weight", [4, 2 * keys + values], 0.5, 0.0
    yield f"{prefix}ssm_dt.bias", [d["values"]], 0.3 if d["decay"] else 0.0, 1.0
    yield f"{prefix}ssm_a", [d["values"]], *(reversed(d["decay"]) if d["decay"] else (None, initial_decays(d["values"])))
    yield f"{prefix}ssm_norm.weight", [d["dim"]], 0.2, 1.0
    yield f"{prefix}ssm_out.weight", [values, hidden], values**-0.5, 0.0


def initial_decays(n):
    """Half of the heads: evenly from 0 to 16, as transformers draws them; the other half: what may become of them, down to memories of 100,000 positions."""
    drawn, long = n - n // 2, n // 2
    return [-16 * (i + 0.5) / drawn for i in range(drawn)] + [-(10.0 ** (-5 + 4 * i / max(1, long - 1))) for i in range(long)]


def network_tensors_of(m, i):
    """What does not mix positions."""
    hidden = m["hidden"]

    def matrix(name, n_in, n_out, gain=1.0):
        return f"blk.{i}.{name}.weight", [n_in, n_out], gain * n_in**-0.5, 0.0

    if "experts" not in m:
        yield matrix("ffn_gate", hidden, m["ffn"], 1.5)
        yield matrix("ffn_up", hidden, m["ffn"])
        yield matrix("ffn_down", m["ffn"], hidden)
        return
    # a router that tells experts well apart
    yield f"blk.{i}.ffn_gate_inp.weight", [hidden, m["experts"]], 3 * hidden**-0.5, 0.0
    # some have gate and up in one
    merged = (("ffn_gate_up", hidden, 2 * m["ffn"], 1.3), ("ffn_down", m["ffn"], hidden, 1.0))
    for name, n_in, n_out, gain in merged if m.get("early") else (("ffn_gate", hidden, m["ffn"], 1.5), ("ffn_up", hidden, m["ffn"], 1.0), ("ffn_down", m["ffn"], hidden, 1.0)):
        yield f"blk.{i}.{name}_exps.weight", [n_in, n_out, m["experts"]], gain * n_in**-0.5, 0.0
    if "shared" in m:
        yield f"blk.{i}.ffn_gate_inp_shexp.weight", [hidden], 2 * hidden**-0.5, 0.0
        yield matrix("ffn_gate_shexp", hidden, m["shared"], 1.5)
        yield matrix("ffn_up_shexp", hidden, m["shared"])
        yield matrix("ffn_down_shexp", m["shared"], hidden)


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
        "block_count": n_layers(m), "embedding_length": m["hidden"], "feed_forward_length": m["ffn"],
        "attention.head_count": m["heads"], "attention.head_count_kv": m["kv_heads"], "attention.key_length": m["head_dim"],
        "attention.value_length": m["head_dim"], "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
        "context_length": 40960, **m.get("keys", {}),
    }
    if arch == "qwen":
        # gate and up are counted together; sizes of heads are not said
        shape = {key: value for key, value in shape.items() if not key.endswith("_length")} | {
            "embedding_length": m["hidden"], "feed_forward_length": 2 * m["ffn"], "context_length": 8192}
    if "experts" in m:
        shape |= {"expert_count": m["experts"], "expert_used_count": m["used"], "expert_feed_forward_length": m["ffn"]}
    if "shared" in m:
        shape["expert_shared_feed_forward_length"] = m["shared"]
    if "delta" in m:
        d = m["delta"]
        shape |= {"ssm.conv_kernel": 4, "ssm.state_size": d["dim"], "ssm.group_count": d["keys"], "ssm.time_step_rank": d["values"],
                  "ssm.inner_size": d["values"] * d["dim"], "full_attention_interval": d["interval"], "rope.dimension_count": m["rotated"]}  # fmt: skip
    if "guess" in m:
        shape["nextn_predict_layers"] = 1
    return {
        "general.architecture": arch,
        **{f"{arch}.{key}": value for key, value in shape.items()},
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": [f"{symbols[1]} {symbols[2]}"],
        "tokenizer.ggml.eos_token_id": 258, "tokenizer.ggml.add_bos_token": False,
    }


def shape_and_seed(name):
    """The entry of a model and the seed of its weights."""
    for models, first_seed in ((MODELS, 1), (TYPED_MODELS, 100), (LONG_MODELS, 200), (OTHER_MODELS, 300), (GUESS_MODELS, 400)):
        if name in models:
            return models[name], first_seed + list(models).index(name)
    raise KeyError(name)


def lengths_of(name):
    """Of the prompts by which a model is held against others."""
    if name in LONG_MODELS:
        return (LONG_LENGTH,)
    return LENGTHS[:4] if name in OTHER_MODELS and name not in HYBRID_MODELS else LENGTHS


def type_of(m, tensor, dims, type_name="F32"):
    """The type of a tensor in a file with matrices of a type; routers and vectors are always F32."""
    if len(dims) == 1 or "_inp" in tensor:
        return "F32"
    return next((kind for part, kind in m["mix"].items() if part in tensor), "F32") if "mix" in m else type_name


def write_model(name, path, type_name="F32"):
    """Write the GGUF file (version 3) of one of MODELS, of LONG_MODELS, of OTHER_MODELS, or of TYPED_MODELS with matrices of a type."""
    (m, seed), alignment = shape_and_seed(name), 32
    values, tensors = metadata_of(m), []
    for tensor, dims, scale, shift in tensors_of(m):
        kind = type_of(m, tensor, dims, type_name)
        n = count(dims)
        tensors.append((tensor, dims, scale, shift, kind, n, n // TYPES[kind][1] * TYPES[kind][2]))
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(pack_text(key) + pack_value(value) for key, value in values.items())
    offset = 0
    for tensor, dims, _, _, kind, _, n_bytes in tensors:
        head += pack_text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[kind][0], offset)
        offset += -(-n_bytes // alignment) * alignment
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % alignment))
        for tensor, _, scale, shift, kind, n, n_bytes in tensors:
            data = tensor_bytes(kind, seed, tensor, n, scale, shift)
            assert len(data) == n_bytes
            file.write(data + b"\0" * (-len(data) % alignment))


def write_file(path, values, tensors, alignment=32):
    """A GGUF file (version 3) of (name, dimensions, the arrays of its F32 numbers)."""
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(pack_text(key) + pack_value(value) for key, value in values.items())
    offset = 0
    for tensor, dims, _ in tensors:
        head += pack_text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, offset)
        offset += -(-count(dims) * 4 // alignment) * alignment
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % alignment))
        for _, dims, numbers in tensors:
            data = numbers.astype("<f4").tobytes()
            assert len(data) == count(dims) * 4
            file.write(data + b"\0" * (-len(data) % alignment))


def write_importance(name, path):
    """An importance matrix (GGUF, as llama-imatrix writes it) by which all inputs of a model's matrices matter as much."""
    (m, _), tensors = shape_and_seed(name), []
    for tensor, dims, _, _ in tensors_of(m):
        n_matrices = dims[2] if len(dims) > 2 else 1
        if len(dims) > 1:
            tensors += [(f"{tensor}.{what}", shape, np.ones(count(shape))) for what, shape in (("in_sum2", (dims[0], n_matrices)), ("counts", (1, n_matrices)))]
    write_file(path, {"general.type": "imatrix", "imatrix.datasets": ["none"], "imatrix.chunk_count": 1, "imatrix.chunk_size": 512}, tensors)


# LoRA adapters, on every matrix that llama.cpp knows them for: which models have golden logits with them; rank, alpha and the scale that is asked for
ADAPTED_MODELS = ("qwen3", "qwen2moe", "qwen35", "qwen3next")
ADAPTERS = {"wide": (11, 22.0, 0.5), "narrow": (4, 3.0, -1.25)}


def adapter_tensors(name, adapter):
    """(name, dimensions, numbers) of the A and B of every matrix; of the embeddings they are the other way round: a row of A for each token."""
    (m, seed), rank = shape_and_seed(name), ADAPTERS[adapter][0]
    for tensor, dims, _, _ in tensors_of(m):
        if "norm" in tensor or "conv1d" in tensor or not tensor.endswith(".weight") or (len(dims) == 1 and "_inp_shexp" not in tensor):
            continue
        n_in, n_out, experts = dims[0], dims[1] if len(dims) > 1 else 1, dims[2:]
        shapes = (("lora_a", [n_in, rank, *experts], n_in**-0.5), ("lora_b", [rank, n_out, *experts], 0.2))
        if tensor == "token_embd.weight":
            shapes = (("lora_a", [rank, n_out], 0.5), ("lora_b", [rank, n_in], 0.3))
        for which, shape, scale in shapes:
            full = f"{tensor}.{which}"
            yield full, shape, random_values(seed, f"{adapter}.{full}", count(shape), scale)


def write_adapter(name, adapter, path):
    """Write an adapter of one of ADAPTED_MODELS."""
    values = {"general.type": "adapter", "general.architecture": shape_and_seed(name)[0]["arch"], "adapter.type": "lora", "adapter.lora.alpha": ADAPTERS[adapter][1]}
    write_file(path, values, list(adapter_tensors(name, adapter)))


def quantize(peer, name, folder, file_type, *options):
    """Let llama-quantize make folder/NAME.gguf, of a type of file, of folder/f32.gguf (the model called name; both inside the peer)."""
    if file_type in NEED_IMPORTANCE:
        write_importance(name, f"{peer}{folder}/importance.gguf")
        options += ("--imatrix", f"{folder}/importance.gguf")
    names = {"MXFP4": "MXFP4_MOE"}
    command = ["chroot", peer, "llama-quantize", *options, f"{folder}/f32.gguf", f"{folder}/{name}.gguf", names.get(file_type, file_type), "2"]
    subprocess.run(command, check=True, capture_output=True)


def prompt(n):
    """A text of n bytes, as many tokens."""
    text = "It was a bright cold day in April, and the clocks were striking thirteen; 42 of them were wrong. "
    return (text * (n // len(text) + 1))[:n]
