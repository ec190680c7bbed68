#!/usr/bin/env python3
"""Remake guesses.json: what the layers of GUESS_MODELS (models.py) that guess tokens ahead say, by llama.cpp (guess_logits.c) and by a program in double.

  make_guesses.py --peer FOLDER     FOLDER: made by tests/golden/setup.sh, with libllama-dev; needs root (chroot), a C compiler and numpy

"1 ahead": rows of positions 1 ... n - 2, each behind the hidden state before it; "2 ahead": position n - 1 behind the layer's own hidden state.
"""
import argparse
import os
import shutil
import subprocess
import sys

import numpy as np

sys.dont_write_bytecode = True
import models  # noqa: E402
from make_double import guesses_of, weights_of  # noqa: E402
from rows import HERE, keep, write_json  # noqa: E402


def compile_program(peer, folder):
    """llama.cpp's libraries want newer ones than may be here: those inside the peer."""
    libraries = f"{peer}/usr/lib/x86_64-linux-gnu"
    command = ["cc", "-O1", f"-I{peer}/usr/include", "-o", f"{peer}{folder}/guess_logits", os.path.join(HERE, "guess_logits.c"), f"{libraries}/libllama.so.0", f"{libraries}/libggml.so.0", "-Wl,--unresolved-symbols=ignore-in-shared-libs"]
    subprocess.run(command, check=True)


def guesses_by_peer(peer, folder, name, n):
    out = f"{folder}/logits"
    subprocess.run(["chroot", peer, f"{folder}/guess_logits", f"{folder}/{name}.gguf", models.prompt(n), out], check=True, capture_output=True)
    logits = np.fromfile(peer + out, "<f4").astype(np.float64).reshape(n - 1, models.VOCAB)
    return logits[:-1], logits[-1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    a = parser.parse_args()
    folder, golden = "/tmp/golden_guesses", {}  # inside the peer
    os.makedirs(a.peer + folder, exist_ok=True)
    compile_program(a.peer, folder)
    for name in models.GUESS_MODELS:
        models.write_model(name, f"{a.peer}{folder}/{name}.gguf")
        m, weights = weights_of(name)
        golden[name] = {}
        for n in models.GUESS_LENGTHS:
            for who, (one, two) in (("llama.cpp", guesses_by_peer(a.peer, folder, name, n)), ("double", guesses_of(m, weights, n))):
                golden[name] |= {f"{who}, {n}, 1 ahead": keep(one, n - 2), f"{who}, {n}, 2 ahead": keep(two, 1)}
        print(name, "done", flush=True)
    shutil.rmtree(a.peer + folder)
    write_json("guesses.json", golden)


if __name__ == "__main__":
    main()
