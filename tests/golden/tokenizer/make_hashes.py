#!/usr/bin/env python3
"""Remake hashes.json: hashes of what Hugging Face's tokenizers makes of strings.py, code_points.py and texts.py.

  make_hashes.py --cache FOLDER     needs PyPI's tokenizers (`make golden` has it); FOLDER keeps the fetched tokenizer.json files
"""
import argparse
import json

import code_points
import strings
import texts
import tokenizers
import vocabulary


class Theirs:
    """Hugging Face's tokenizer of a published vocabulary."""

    def __init__(self, name, cache):
        with open(vocabulary.fetch(name, cache), encoding="utf-8") as file:
            content = json.load(file)
        self.added_ids = [added["id"] for added in content["added_tokens"]]
        self.with_added = tokenizers.Tokenizer.from_str(json.dumps(content))
        content["added_tokens"] = []
        self.plain = tokenizers.Tokenizer.from_str(json.dumps(content))

    def encode(self, some, with_added):
        """Lists of tokens."""
        tokenizer = self.with_added if with_added else self.plain
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False)]

    def decode(self, sequences, without_special=False):
        """The text of each list of tokens."""
        return self.with_added.decode_batch(sequences, skip_special_tokens=without_special)

    def encoding_lines(self, some):
        """What is hashed of strings."""
        plain, added = (self.encode(some, flag) for flag in (False, True))
        back = self.plain.decode_batch(plain, skip_special_tokens=False)
        return [vocabulary.encoding_line(vocabulary.line_of(a), vocabulary.line_of(b), text) for a, b, text in zip(plain, added, back)]


def hashes_of(name, cache):
    theirs = Theirs(name, cache)
    sequences = strings.sequences(vocabulary.N_ORDINARY, added=theirs.added_ids)
    golden = {
        "package": vocabulary.package(name),
        "strings": vocabulary.block_hashes(theirs.encoding_lines(strings.strings()), strings.BLOCK),
        "sequences": vocabulary.block_hashes(theirs.decode(sequences), strings.BLOCK),
        "sequences without special tokens": vocabulary.block_hashes(theirs.decode(sequences, True), strings.BLOCK),
        "texts": {kind: vocabulary.block_hashes(theirs.encoding_lines(some), strings.BLOCK) for kind, some in texts.all_texts().items()},
        "code points": [
            vocabulary.short_hash(map(vocabulary.line_of, theirs.encode(code_points.strings(*block), False))) for block in code_points.blocks()
        ],
    }
    print(f"{name}: done", flush=True)
    return golden


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", required=True)
    a = parser.parse_args()
    golden = {"tokenizers": tokenizers.__version__, "made_by": "tests/golden/tokenizer/make_hashes.py"}
    golden.update((name, hashes_of(name, a.cache)) for name in vocabulary.NAMES)
    with open(vocabulary.HASHES, "w", encoding="ascii", newline="\n") as file:
        file.write(dump(golden) + "\n")


def dump(value, indent=0):
    """JSON with lists on lines that are not too long."""
    blank = " " * indent
    if isinstance(value, dict):
        inner = ",\n".join(f"{blank} {json.dumps(key)}: {dump(each, indent + 1)}" for key, each in value.items())
        return "{\n" + inner + f"\n{blank}}}"
    if isinstance(value, list):
        lines = [", ".join(json.dumps(each) for each in value[i : i + 10]) for i in range(0, len(value), 10)]
        return "[\n" + ",\n".join(f"{blank} {line}" for line in lines) + f"\n{blank}]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
