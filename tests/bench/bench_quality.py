#!/usr/bin/env python3
"""What quantized files lose: the mean Kullback-Leibler divergence of next-token distributions from the same weights in F32, ours beside
llama.cpp's on the same file and the same text; a JSON line a tensor type.

  bench_quality.py --engine-bench PROGRAM --peer FOLDER --model FILE [TYPE …]

The file is the demo model padded to a shape that takes every type (padded_model.py), quantized by llama-quantize. Everything but the reference has keys
and values in F16 (bench_keys.py: other types). The reference is llama.cpp in F32 with keys and values in F32, and our own F32 is held against it first.
"difference" is the mean of ours less theirs, position by position, and "error" the standard error of that mean: the target is a difference that is not
above zero by more than twice the error.
"""
import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
import bench_models  # noqa: E402
import padded_model  # noqa: E402
from bench_common import processes_of  # noqa: E402


class Quality:
    """Both engines on files of the padded model."""

    def __init__(self, a, folder):
        self.a, self.folder = a, folder
        self.inside = f"/tmp/{os.path.basename(folder)}.logits"

    def ensure(self, type_name):
        """The file's path inside the peer's folder; made when it is not there."""
        inside = f"/demo-768-{type_name.lower()}.gguf"
        path, new = self.a.peer + inside, inside + ".new"
        if not os.path.exists(path):
            if type_name == "F32":
                padded_model.write(self.a.model, self.a.peer + new)
            else:
                command = bench_models.chroot(self.a.peer, "llama-quantize", self.ensure("F32"), new, type_name, str(self.a.threads))
                subprocess.run(command, check=True, capture_output=True)
            os.replace(self.a.peer + new, path)
        return inside

    def ours(self, inside, text, *options):
        out = os.path.join(self.folder, "logits")
        return padded_model.our_logits(self.a.engine_bench, self.a.peer + inside, text, out, "--threads", str(self.a.threads), *options)

    def theirs(self, inside, text, *options):
        command = bench_models.chroot(self.a.peer)
        try:
            return padded_model.their_logits(command, inside, text, self.inside, self.a.peer + self.inside, "-t", str(self.a.threads), *options)
        finally:
            if os.path.exists(self.a.peer + self.inside):
                os.unlink(self.a.peer + self.inside)

    def references(self):
        """{text: what llama.cpp says in F32}"""
        options = ("-ctk", "f32", "-ctv", "f32", "-fa", "off")
        return {text: padded_model.Reference(*self.theirs(self.ensure("F32"), text, *options)) for text in padded_model.texts()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--model", required=True, help="the demo model")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("types", nargs="*", metavar="TYPE", help=f"{', '.join(padded_model.TYPES)}; all of them by default")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qwen_quality") as folder, processes_of(a.peer):
        quality = Quality(a, folder)
        references = quality.references()

        def divergences(run, *options):
            return np.concatenate([reference.divergences(*run(text, *options)) for text, reference in references.items()])

        in_float = divergences(functools.partial(quality.ours, quality.ensure("F32")), "--kv", "f32")
        print(f"bench_quality: our F32 is {in_float.mean():.1e} nats from llama.cpp's F32", file=sys.stderr)
        for type_name in a.types or padded_model.TYPES:
            inside = quality.ensure(type_name)
            mine, other = (divergences(functools.partial(run, inside)) for run in (quality.ours, quality.theirs))
            difference = mine - other
            print(json.dumps({
                "bench": "quality",
                "file": os.path.basename(inside),
                "type": type_name,
                "positions": len(mine),
                "threads": a.threads,
                "ours": round(float(mine.mean()), 6),
                "peer": round(float(other.mean()), 6),
                "unit": "nats",
                "ratio": round(float(mine.mean() / other.mean()), 3),
                "difference": round(float(difference.mean()), 6),
                "error": round(float(difference.std() / len(difference) ** 0.5), 6),
            }), flush=True)


if __name__ == "__main__":
    main()
