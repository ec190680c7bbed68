#!/usr/bin/env python3
"""The demo model with tokens of its own for what opens and closes a call of a tool, which it opens often, and with another's template.

  calling_model.py --from MODEL.gguf --template FILE.jinja --out FILE

Two tokens of the vocabulary that nobody needs are renamed to <tool_call> and </tool_call>; the first one is as likely as " the" wherever that may come.
Standard library only.
"""
import argparse
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_model import BLOCKS, STRING, kept, pack_string, read_gguf, write_gguf  # noqa: E402

VERSION = 1  # of what this program writes: in the names of cached files
RENAMED = {b"<issue_start>": b"<tool_call>", b"<issue_comment>": b"</tool_call>"}
AS_LIKELY_AS = "Ġthe".encode()
USER_DEFINED = 4
TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "template", "published")


def strings(packed):
    """The strings of a packed array of them."""
    _, n = struct.unpack_from("<IQ", packed)
    at, found = 12, []
    for _ in range(n):
        (length,) = struct.unpack_from("<Q", packed, at)
        found.append(packed[at + 8 : at + 8 + length])
        at += 8 + length
    return found


def rename(values):
    """The ids of the opening token and of the one that it is as likely as."""
    key, types_key = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
    tokens = strings(values[key][1])
    types = bytearray(values[types_key][1])
    for old, new in RENAMED.items():
        struct.pack_into("<i", types, 12 + 4 * tokens.index(old), USER_DEFINED)
        tokens[tokens.index(old)] = new
    values[key] = (values[key][0], struct.pack("<IQ", STRING, len(tokens)) + b"".join(pack_string(token) for token in tokens))
    values[types_key] = (values[types_key][0], bytes(types))
    return tokens.index(b"<tool_call>"), tokens.index(AS_LIKELY_AS)


def write_calling(source, target, template):
    with open(source, "rb") as file:
        values, tensors = read_gguf(file.read())
    opening, likely = rename(values)
    values["tokenizer.chat_template"] = (STRING, pack_string(template.encode()))
    changed = []
    for name, dims, kind, data in tensors:
        if name in ("token_embd.weight", "output.weight"):
            elements, block_bytes = BLOCKS[kind]
            row = dims[0] // elements * block_bytes
            data = data[: opening * row] + data[likely * row : (likely + 1) * row] + data[(opening + 1) * row :]
        changed.append((name, dims, kind, data))
    write_gguf(target, values, changed)


def cached(cache, source, template):
    """The file name, below cache/models, of a model with one of the published templates; made unless it is there."""
    with open(os.path.join(TEMPLATES, f"{template}.jinja"), encoding="utf-8") as file:
        text = file.read()
    name = f"calling-{os.path.splitext(os.path.basename(source))[0]}-{template}-{VERSION}.gguf"
    return kept(os.path.join(cache, "models"), name, lambda new: write_calling(source, new, text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True)
    parser.add_argument("--template", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    with open(a.template, encoding="utf-8") as file:
        write_calling(a.source, a.out, file.read())


if __name__ == "__main__":
    main()
