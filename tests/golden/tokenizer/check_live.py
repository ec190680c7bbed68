#!/usr/bin/env python3
"""Compare our tokens with those of Hugging Face's tokenizers, run beside ours, of as many strings as wanted.

check_live.py --encode PROGRAM --cache FOLDER [--n 1000000] [--seed N] [--files 100] [--processes 2]

Needs PyPI's tokenizers. For the vocabularies published with Qwen3 and Qwen2.5: every Unicode code point alone, doubled and beside
others, n random strings of strings.py, the texts of texts.py, and so many files of source code of each language as this machine has; each encoded as
ordinary text and with added tokens, and what came of it decoded; a tenth as many sequences of tokens decoded with and without special tokens.
PROGRAM is encode_stdin.c of this folder. Ends with 1 and the first differences when anything differs.
"""
import argparse
import functools
import glob
import itertools
import multiprocessing
import os
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # processes of our own instead
sys.dont_write_bytecode = True
import code_points  # noqa: E402
import ours  # noqa: E402
import strings  # noqa: E402
import texts  # noqa: E402
import vocabulary  # noqa: E402
from make_hashes import Theirs  # noqa: E402

SHOWN_DIFFERENCES = 10
BATCH = 10000
FILE_BYTES = 100000  # of a file of source code
SUFFIXES = ("py", "c", "h", "hpp", "pl", "pm", "js", "ts", "sh", "sql", "json", "html", "css", "md", "tcl", "yaml", "el", "rb", "java", "rs", "go", "mk")
FOLDERS = ("/usr/share", "/usr/lib", "/usr/include", "/usr/local", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))


@functools.lru_cache
def theirs_of(name, cache):
    return Theirs(name, cache)


def source_files(n_files):
    """The beginnings of files of source code on this machine, so many of each language."""
    found = []
    for suffix in SUFFIXES:
        paths = itertools.chain.from_iterable(glob.iglob(f"{folder}/**/*.{suffix}", recursive=True) for folder in FOLDERS)
        for path in itertools.islice((path for path in paths if os.path.isfile(path)), n_files):
            with open(path, encoding="utf-8", errors="replace") as file:
                found.append(file.read(FILE_BYTES))
    return found


def batches(a):
    """[(name of the vocabulary, what, arguments that make the strings)]"""
    for name in vocabulary.NAMES:
        for block in code_points.blocks():
            yield name, "code points", block
            yield name, "code points in context", block
        yield name, "texts", ()
        for i in range(0, a.n, BATCH):
            yield name, "strings", (min(BATCH, a.n - i), a.seed * 1000003 + i)
        for i in range(0, a.n // 10, BATCH):
            yield name, "sequences", (min(BATCH, a.n // 10 - i), a.seed * 1000003 + i)
        yield name, "source files", (a.files,)


def strings_of(what, made_of):
    if what == "code points":
        return code_points.strings(*made_of)
    if what == "code points in context":
        return code_points.in_context(*made_of)
    if what == "texts":
        return [text for some in texts.all_texts().values() for text in some]
    return source_files(*made_of) if what == "source files" else strings.strings(*made_of)


def compare(a, batch):
    """(vocabulary, what, how many, differences)"""
    name, what, made_of = batch
    theirs, vocabulary_file, differences = theirs_of(name, a.cache), vocabulary.text_form(name, a.cache), []
    if what == "sequences":
        items = strings.sequences(vocabulary.N_ORDINARY, *made_of, theirs.added_ids)
        for without_special in (False, True):
            pairs = zip(items, ours.decode(a.encode, vocabulary_file, items, without_special), theirs.decode(items, without_special))
            differences += [f"{item}, without special tokens {without_special}: {x!a} instead of {y!a}" for item, x, y in pairs if x != y]
        return name, what, len(items), differences
    items = strings_of(what, made_of)
    for with_added in (False, True):
        answers = ours.encode(a.encode, vocabulary_file, [(text, with_added) for text in items])
        expected = theirs.encode(items, with_added)
        for text, (_, line), ids in zip(items, answers, expected):
            if line != vocabulary.line_of(ids):
                differences.append(f"{text[:1000]!a} added={with_added}: {line[:1000]} instead of {ids[:200]}")
        for text, x, y in zip(items, ours.decode(a.encode, vocabulary_file, expected), theirs.decode(expected)):
            if x != y:
                differences.append(f"{text[:1000]!a} added={with_added} decoded: {x[:1000]!a} instead of {y[:1000]!a}")
    return name, what, len(items), differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encode", required=True, help="the program made of encode_stdin.c")
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched vocabularies")
    parser.add_argument("--n", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    a = parser.parse_args()
    for name in vocabulary.NAMES:
        vocabulary.text_form(name, a.cache)  # before the processes ask for it
    counts, differences = {}, []
    with multiprocessing.Pool(a.processes) as pool:
        for name, what, n, found in pool.imap_unordered(functools.partial(compare, a), batches(a)):
            key = f"{name}, {what}"
            counts[key] = counts.get(key, 0) + n
            differences += found
    for difference in differences[:SHOWN_DIFFERENCES]:
        print(difference)
    for key, n in sorted(counts.items()):
        print(f"{key}: {n}")
    print(f"tokenizers against Hugging Face's: {sum(counts.values())} strings and sequences, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
