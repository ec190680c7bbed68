#!/usr/bin/env python3
"""Remake logits.json, typed.json and adapters.json: what llama.cpp says about the models of models.py, in F32, in every tensor type and with adapters.

  make_golden.py --peer FOLDER [--only MODEL ...]     FOLDER: made by tests/bench/setup_peer.sh; needs root (chroot) and the PyPI package gguf

llama-results writes the logits of every position. Flash attention must be off: with it, keys and values are rounded to F16 whatever -ctk and
-ctv say (seen in b11669: 4e-3 off a transformer in double, 3e-5 without). Of some positions, the file keeps the RMS of the logits, the best four
and a few others.
"""
import argparse
import os
import subprocess
import sys

import numpy as np
from gguf import GGUFReader

sys.dont_write_bytecode = True
import models  # noqa: E402
from rows import keep, read_json, write_json  # noqa: E402

TYPED_LENGTH, TYPED_POSITIONS = 65, 9
ADAPTED_LENGTH, ADAPTED_POSITIONS = 65, 9


def logits_of(peer, folder, name, n, options=()):
    """[n][VOCAB] by llama.cpp for a prompt of n tokens."""
    out = f"{folder}/logits.gguf"
    # it takes the prompt as one batch
    size = str(max(1024, -(-n // 256) * 256))
    command = ["chroot", peer, "llama-results", "-m", f"{folder}/{name}.gguf", "-p", models.prompt(n), "-o", out, "-c", size, "-b", size, *options]
    stretched = models.shape_and_seed(name)[0].get("set")
    if stretched:
        command += ["--rope-scaling", stretched["rope_scaling"], "--rope-scale", str(stretched["rope_factor"]), "--yarn-orig-ctx", str(stretched["rope_original_context"])]
    subprocess.run([*command, "-ctk", "f32", "-ctv", "f32", "-fa", "off"], check=True, capture_output=True)
    tensors = {tensor.name: tensor for tensor in GGUFReader(peer + out).tensors}
    tokens = np.array(tensors["tokens"].data).reshape(-1)
    assert bytes(tokens.astype(np.uint8)) == models.prompt(n).encode(), "every byte is a token"
    return np.array(tensors["logits"].data, dtype=np.float64).reshape(n, models.VOCAB)


def make_adapted(peer, folder):
    golden = {}
    for name in models.ADAPTED_MODELS:
        path, golden[name] = f"{folder}/{name}", {}
        models.write_model(name, f"{peer}{path}.gguf")
        for adapter, (_, _, scale) in models.ADAPTERS.items():
            models.write_adapter(name, adapter, f"{peer}{path}.{adapter}.gguf")
            options = ("--lora-scaled", f"{path}.{adapter}.gguf:{scale}")
            golden[name][adapter] = keep(logits_of(peer, folder, name, ADAPTED_LENGTH, options), ADAPTED_LENGTH, ADAPTED_POSITIONS)
            os.remove(f"{peer}{path}.{adapter}.gguf")
        os.remove(f"{peer}{path}.gguf")
        print(name, "with adapters done", flush=True)
    write_json("adapters.json", golden)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="remake these entries of logits.json, and nothing else")
    parser.add_argument("--adapters", action="store_true", help="remake adapters.json, and nothing else")
    a = parser.parse_args()
    folder = "/tmp/golden_logits"  # inside the peer
    os.makedirs(a.peer + folder, exist_ok=True)
    if a.adapters:
        make_adapted(a.peer, folder)
        return
    golden = read_json("logits.json") if a.only else {}
    for name in a.only or [*models.MODELS, *models.LONG_MODELS, *models.OTHER_MODELS]:
        models.write_model(name, f"{a.peer}{folder}/{name}.gguf")
        golden[name] = {str(n): keep(logits_of(a.peer, folder, name, n), n) for n in models.lengths_of(name)}
        os.remove(f"{a.peer}{folder}/{name}.gguf")
        print(name, "done", flush=True)
    write_json("logits.json", golden)
    if a.only:
        return
    typed = {}
    for name in models.TYPED_MODELS:
        typed[name] = {}
        for type_name in models.TYPES:
            models.write_model(name, f"{a.peer}{folder}/{name}.gguf", type_name)
            typed[name][type_name] = keep(logits_of(a.peer, folder, name, TYPED_LENGTH), TYPED_LENGTH, TYPED_POSITIONS)
            os.remove(f"{a.peer}{folder}/{name}.gguf")
        print(name, "done", flush=True)
    write_json("typed.json", typed)
    make_adapted(a.peer, folder)


if __name__ == "__main__":
    main()
