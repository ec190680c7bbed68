#!/usr/bin/env python3
"""Make hashes.json: hashes of what Hugging Face's tokenizers makes of the strings and sequences of strings.py.

Run by hand where PyPI's `tokenizers` is installed (made with 0.23.3):  make_hashes.py --cache FOLDER
"""
import argparse
import json

import strings
import tokenizers
import vocabulary


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched tokenizer.json")
    arguments = parser.parse_args()
    with open(vocabulary.fetch(arguments.cache), encoding="utf-8") as file:
        content = json.load(file)
    with_added = tokenizers.Tokenizer.from_str(json.dumps(content))
    content["added_tokens"] = []
    plain = tokenizers.Tokenizer.from_str(json.dumps(content))

    encoded, decoded = [], []
    for text in strings.strings():
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for tokenizer in (plain, with_added)]
        encoded.append(vocabulary.encoding_line(*ids, plain.decode(ids[0], skip_special_tokens=False)))
    for sequence in strings.sequences(vocabulary.N_ORDINARY):
        decoded.append(with_added.decode(sequence, skip_special_tokens=False))
    golden = {
        "package": f"{vocabulary.PACKAGE}@{vocabulary.VERSION}",
        "tokenizers": tokenizers.__version__,
        "made_by": "tests/golden/tokenizer/make_hashes.py",
        "strings": vocabulary.block_hashes(encoded, strings.BLOCK),
        "sequences": vocabulary.block_hashes(decoded, strings.BLOCK),
    }
    with open(vocabulary.HASHES, "w", encoding="ascii", newline="\n") as file:
        json.dump(golden, file, indent=0)
        file.write("\n")
    print(f"{len(encoded)} strings and {len(decoded)} sequences in {vocabulary.HASHES}")


if __name__ == "__main__":
    main()
