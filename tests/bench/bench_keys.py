#!/usr/bin/env python3
"""What a cache's type of keys and values costs: next-token distributions on real text behind up to 4,096 tokens, each type beside a cache in F32 of the same
file; a JSON line for each file, type and depth.

  bench_keys.py --engine-bench PROGRAM --model FILE [--types f16,q8_0,q4] [--texts prose,code] [FILE …]

The files are the demo model in F32, where keys and values are all that is rounded, and those given. The texts are this repository's own. "ours" (the mean)
and "p99" are Kullback-Leibler divergences in nats, "same_first" the share of positions where the likeliest token is the same, "perplexity" what the type
makes of that of the F32 cache (a factor), each over every second position of a depth.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import padded_model  # noqa: E402

TEXTS = {
    "prose": ["docs/architecture.md", "docs/operations.md"],
    "code": ["src/engine/scheduler*.c"],
    "manual": ["tests/tools/texts/*.txt", "docs/first-hour.md", "docs/limits.md", "docs/prompts.md"],
}
TEXT_BYTES = {"prose": 15000, "code": 11000, "manual": 15000}  # some more than the deepest position
DEPTHS = (0, 512, 2048, 4096)
STEP = 2  # of so many positions one is looked at
SLICE = 128  # positions whose distributions are in memory


def text_of(name):
    """The beginning of a text's files, one after the other."""
    text = ""
    for pattern in TEXTS[name]:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            with open(path, encoding="utf-8") as file:
                text += file.read()
    return text[: TEXT_BYTES[name]]


def logits_of(program, model, text, out, *options):
    """(tokens, logits) as padded_model.our_logits, but logits stay in the file."""
    command = [program, "--model", model, "--logits", out, "--text", text, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    n, vocab = np.fromfile(out, "<u4", 2)
    tokens = np.fromfile(out, "<i4", n, offset=8)
    return tokens, np.memmap(out, "<f4", "r", 8 + 4 * int(n), (int(n), int(vocab)))


def compare(reference, other):
    """(divergence, likeliest token is the same, log probability of what came more than in the reference) of each position."""
    (tokens, expected), (other_tokens, logits) = reference, other
    assert np.array_equal(tokens, other_tokens), "the text's tokens differ"
    n = min(len(tokens) - 1, DEPTHS[-1])
    columns = []
    for first in range(0, n, STEP * SLICE):
        rows = slice(first, min(first + STEP * SLICE, n), STEP)
        came = tokens[1:][rows, None]
        p, q = (log_probabilities(each[rows]) for each in (expected, logits))
        more = np.take_along_axis(q - p, came, axis=1)[:, 0]
        columns.append(((np.exp(p) * (p - q)).sum(axis=1, dtype=np.float64), p.argmax(axis=1) == q.argmax(axis=1), more))
    return [np.concatenate(column) for column in zip(*columns)]


def log_probabilities(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))[:, None].astype(np.float32)


def report(file, cache, found):
    """A line for each depth and one for all; found: columns of each text."""
    for first, end in [*zip(DEPTHS, DEPTHS[1:]), (0, DEPTHS[-1])]:
        divergence, same, more = (np.concatenate([text[i][first // STEP : end // STEP] for text in found]) for i in range(3))
        print(json.dumps({
            "bench": "keys",
            "file": os.path.basename(file),
            "kv": cache,
            "positions": f"{first}-{end}",
            "ours": float(f"{divergence.mean():.3g}"),
            "p99": float(f"{np.quantile(divergence, 0.99):.3g}"),
            "same_first": round(float(same.mean()), 5),
            "perplexity": round(float(np.exp(-more.mean())), 5),
            "unit": "nats",
        }), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--model", required=True, help="the demo model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--types", default="f16,q8_0,q4")
    parser.add_argument("--texts", default=",".join(TEXTS))
    parser.add_argument("files", nargs="*", metavar="FILE")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qwen_keys") as folder:
        in_float = os.path.join(folder, "demo-f32.gguf")
        padded_model.write_float(a.model, in_float)
        for file in [in_float, *a.files]:
            found = {cache: [] for cache in a.types.split(",")}
            for name in a.texts.split(","):
                text = text_of(name)

                def run(cache):
                    return logits_of(a.engine_bench, file, text, os.path.join(folder, cache), "--kv", cache, "--threads", str(a.threads))

                reference = run("f32")
                for cache, columns in found.items():
                    columns.append(compare(reference, run(cache)))
                    os.unlink(os.path.join(folder, cache))
            for cache, columns in found.items():
                report(file, cache, columns)


if __name__ == "__main__":
    main()
