#!/usr/bin/env python3
"""Remake logits.json and typed.json: what llama.cpp says about the models of models.py, in F32 and in every tensor type.

  make_golden.py --peer FOLDER     FOLDER: made by tests/bench/setup_peer.sh; needs root (chroot) and the PyPI package gguf

llama-results writes the logits of every position. Flash attention must be off: with it, keys and values are rounded to F16 whatever -ctk and
-ctv say (seen in b11669: 4e-3 off a transformer in double, 3e-5 without). Of some positions, the file keeps the RMS of the logits, the best four
and a few others.
"""
import argparse
import json
import os
import subprocess

import numpy as np
from gguf import GGUFReader

import models

LENGTHS = (1, 7, 33, 512)
POSITIONS = 12  # kept of a prompt, the last one among them
TYPED_LENGTH, TYPED_POSITIONS = 65, 9


def logits_of(peer, folder, name, n):
    """[n][VOCAB] by llama.cpp for a prompt of n tokens."""
    out = f"{folder}/logits.gguf"
    command = ["chroot", peer, "llama-results", "-m", f"{folder}/{name}.gguf", "-p", models.prompt(n), "-o", out, "-c", "1024"]
    subprocess.run([*command, "-ctk", "f32", "-ctv", "f32", "-fa", "off"], check=True, capture_output=True)
    tensors = {tensor.name: tensor for tensor in GGUFReader(peer + out).tensors}
    tokens = np.array(tensors["tokens"].data).reshape(-1)
    assert bytes(tokens.astype(np.uint8)) == models.prompt(n).encode(), "every byte is a token"
    return np.array(tensors["logits"].data, dtype=np.float64).reshape(n, models.VOCAB)


def keep(logits, n, n_positions=POSITIONS):
    """What goes into the file."""
    rows = []
    for position in sorted({round(p) for p in np.linspace(0, n - 1, min(n, n_positions))}):
        row = logits[position]
        chosen = [*np.argsort(-row)[:4], *(int(position * 37 + i * 61) % models.VOCAB for i in range(6))]
        rows.append({
            "position": position,
            "rms": round(float(np.sqrt((row**2).mean())), 6),
            "logits": {str(i): round(float(row[i]), 5) for i in dict.fromkeys(map(int, chosen))},
        })
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True)
    a = parser.parse_args()
    folder = "/tmp/golden_logits"  # inside the peer
    os.makedirs(a.peer + folder, exist_ok=True)
    golden = {}
    for name in models.MODELS:
        models.write_model(name, f"{a.peer}{folder}/{name}.gguf")
        golden[name] = {str(n): keep(logits_of(a.peer, folder, name, n), n) for n in LENGTHS}
        os.remove(f"{a.peer}{folder}/{name}.gguf")
        print(name, "done", flush=True)
    write_json("logits.json", golden)
    typed = {}
    for name in models.TYPED_MODELS:
        typed[name] = {}
        for type_name in models.TYPES:
            models.write_model(name, f"{a.peer}{folder}/{name}.gguf", type_name)
            typed[name][type_name] = keep(logits_of(a.peer, folder, name, TYPED_LENGTH), TYPED_LENGTH, TYPED_POSITIONS)
            os.remove(f"{a.peer}{folder}/{name}.gguf")
        print(name, "done", flush=True)
    write_json("typed.json", typed)


def write_json(file_name, golden):
    """Rows of the kept positions of every run of every model, a position a line."""
    lines = [f'"{name}": {{\n' + ",\n".join(f'  "{run}": [\n    ' + ",\n    ".join(map(json.dumps, rows)) + "\n  ]" for run, rows in runs.items()) + "\n}"
             for name, runs in golden.items()]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), file_name), "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
