"""Which logits the golden files keep, how they are written, and how far others are from them."""
import json
import os

import numpy as np

import models

HERE = os.path.dirname(os.path.abspath(__file__))
POSITIONS = 12  # kept of a prompt, the last one among them


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


def keep_state(state):
    """Of each head of a delta net's state [head][key][value]: its magnitude, and some elements."""
    return [{"head": h, "rms": float(f"{np.sqrt((matrix**2).mean()):.6e}"), "elements": {f"{i},{j}": float(f"{matrix[i, j]:.6e}") for i, j in elements_of(h, matrix)}}
            for h, matrix in enumerate(state)]


def elements_of(h, matrix):
    """Which elements are kept of a head."""
    keys, values = matrix.shape
    return [((h * 5 + i * 13) % keys, (h * 11 + i * 29) % values) for i in range(6)]


def write_json(file_name, golden):
    """Rows of the kept positions of every run of every model, a position a line."""
    lines = [f'"{name}": {{\n' + ",\n".join(f'  "{run}": [\n    ' + ",\n    ".join(map(json.dumps, rows)) + "\n  ]" for run, rows in runs.items()) + "\n}"
             for name, runs in golden.items()]
    with open(os.path.join(HERE, file_name), "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


def read_json(file_name):
    with open(os.path.join(HERE, file_name), encoding="utf-8") as file:
        return json.load(file)


def largest_difference(logits, rows):
    """max |difference| / RMS over the kept positions and tokens."""
    return max(abs(logits[row["position"], int(token)] - value) / row["rms"] for row in rows for token, value in row["logits"].items())


def differences_of_state(state, rows):
    """Of the heads of a delta net's state [head][key][value]: how far the RMS is off, and max |difference| / RMS over the kept elements."""
    rms = max(abs(np.sqrt((state[row["head"]] ** 2).mean()) / row["rms"] - 1) for row in rows)
    kept = ((row, tuple(map(int, at.split(","))), value) for row in rows for at, value in row["elements"].items())
    return rms, max(abs(state[row["head"]][at] - value) / row["rms"] for row, at, value in kept)
