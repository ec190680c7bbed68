#!/usr/bin/env python3
"""Compare our tokens with those of Hugging Face's tokenizers, run beside ours, of as many strings as wanted.

check_live.py --encode PROGRAM --cache FOLDER [--n 1000000] [--seed N] [--files 100] [--processes 2]

Needs PyPI's tokenizers. Every Unicode code point alone, doubled and beside others, n random strings of strings.py, the texts of texts.py, and so
many files of source code of each language as this machine has; each encoded as ordinary text and with the added tokens of Qwen3 and of Qwen2.5,
and what came of it decoded; a tenth as many sequences of tokens decoded with and without special tokens. Both vocabularies have the same ordinary
tokens, merges and pattern (which is checked), so ordinary text is encoded once, and so are code points, which have no added tokens.
PROGRAM is encode_stdin.c of this folder. Ends with 1 and the first differences when anything differs.
"""
import argparse
import functools
import glob
import itertools
import json
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
    """[(what, arguments that make the strings)]"""
    yield "texts", ()
    for i in range(0, a.n, BATCH):
        yield "strings", (min(BATCH, a.n - i), a.seed * 1000003 + i)
    for i in range(0, a.n // 10, BATCH):
        yield "sequences", (min(BATCH, a.n // 10 - i), a.seed * 1000003 + i)
    for block in code_points.blocks():
        yield "code points", block
        yield "code points in context", block
    yield "source files", (a.files,)


def strings_of(what, made_of):
    if what == "code points":
        return code_points.strings(*made_of)
    if what == "code points in context":
        return code_points.in_context(*made_of)
    if what == "texts":
        return [text for some in texts.all_texts().values() for text in some]
    return source_files(*made_of) if what == "source files" else strings.strings(*made_of)


def compare_sequences(a, name, made_of):
    """(how many, differences)"""
    theirs, differences = theirs_of(name, a.cache), []
    items = strings.sequences(vocabulary.N_ORDINARY, *made_of, theirs.added_ids)
    for without_special in (False, True):
        found = ours.decode(a.encode, vocabulary.text_form(name, a.cache), items, without_special)
        for item, x, y in zip(items, found, theirs.decode(items, without_special)):
            if x != y:
                differences.append(f"{name} {item}, without special tokens {without_special}: {x!a} instead of {y!a}")
    return 2 * len(items), differences


def compare_strings(a, name, items, with_added):
    """(how many, differences), encoded and decoded"""
    theirs, vocabulary_file, differences = theirs_of(name, a.cache), vocabulary.text_form(name, a.cache), []
    answers = ours.encode(a.encode, vocabulary_file, [(text, with_added) for text in items])
    expected = theirs.encode(items, with_added)
    decoded = zip(ours.decode(a.encode, vocabulary_file, expected), theirs.decode(expected))
    for text, (_, line), ids, (x, y) in zip(items, answers, expected, decoded):
        if line != vocabulary.line_of(ids):
            differences.append(f"{name} {text[:1000]!a} added={with_added}: {line[:1000]} instead of {ids[:200]}")
        if x != y:
            differences.append(f"{name} {text[:1000]!a} added={with_added} decoded: {x[:1000]!a} instead of {y[:1000]!a}")
    return len(items), differences


def compare(a, batch):
    """[(what, how many, differences)]"""
    what, made_of = batch
    if what == "sequences":
        return [(f"{what} decoded, {name}", *compare_sequences(a, name, made_of)) for name in vocabulary.NAMES]
    items = strings_of(what, made_of)
    found = [(f"{what}, ordinary", *compare_strings(a, "qwen3", items, False))]
    if not what.startswith("code points"):
        found += [(f"{what}, {name} with added tokens", *compare_strings(a, name, items, True)) for name in vocabulary.NAMES]
    return found


def check_same_vocabulary(cache):
    """Both vocabularies have the same ordinary tokens, merges, normalizer and pattern."""
    files = []
    for name in vocabulary.NAMES:
        with open(vocabulary.fetch(name, cache), encoding="utf-8") as file:
            content = json.load(file)
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
        files.append([content[key] for key in ("normalizer", "pre_tokenizer", "decoder")] + [content["model"]["vocab"], merges])
    assert all(file == files[0] for file in files), "the vocabularies differ in more than added tokens: encode ordinary text with each"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encode", required=True, help="the program made of encode_stdin.c")
    parser.add_argument("--cache", required=True, help="folder that keeps the fetched vocabularies")
    parser.add_argument("--n", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="say how far it is")
    a = parser.parse_args()
    for name in vocabulary.NAMES:
        vocabulary.text_form(name, a.cache)  # before the processes ask for it
    check_same_vocabulary(a.cache)
    counts, differences = {}, []
    with multiprocessing.Pool(a.processes) as pool:
        for results in pool.imap_unordered(functools.partial(compare, a), batches(a)):
            for what, n, found in results:
                counts[what] = counts.get(what, 0) + n
                differences += found
                for difference in found[: max(0, SHOWN_DIFFERENCES - len(differences) + len(found))]:
                    print(difference, flush=True)
            if sys.stderr.isatty() or a.verbose:
                print(f"\r{sum(counts.values())} compared, {len(differences)} differences", end="", file=sys.stderr, flush=True)
    for key, n in sorted(counts.items()):
        print(f"{key}: {n}")
    print(f"tokenizer against Hugging Face's: {sum(counts.values())} encodings and sequences, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
