#!/usr/bin/env python3
"""Remake grids.c: the codebooks of the IQ2 and IQ3 formats, whose quants are numbers of grid points. Needs the PyPI package gguf.

The points are facts of the formats and are read from the package (gguf.quants, which has them from ggml-common.h). A point is eight magnitudes of
three (IQ2) or four of eight (IQ3); here it is sixteen bits, as formats.h says.
"""
import os

import numpy as np
from gguf import quants

FORMATS = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")

HEAD = """/*
 * grids.c - the codebooks of the IQ2 and IQ3 formats; formats.h says how a point stands here.
 *
 * Made by make_grids.py from the tables of the PyPI package gguf.
 */
#include "formats.h"
"""


def words(grid, magnitudes):
    """Each point as 16 bits: magnitude number of input j at bit 8 (j % 2) + width (j / 2)."""
    codes = np.searchsorted(magnitudes, grid)
    assert (np.array(magnitudes)[codes] == grid).all()
    n_inputs = grid.shape[1]
    width = 16 // n_inputs
    return [sum(int(code) << (8 * (j % 2) + width * (j // 2)) for j, code in enumerate(point)) for point in codes]


def main():
    # the eighth sign is the parity of seven: what the tables of the package say, too
    assert list(quants.IQ2_XXS.ksigns) == [i | (bin(i).count("1") & 1) << 7 for i in range(128)]
    text = HEAD
    for name in FORMATS:
        quant = getattr(quants, name)
        quant.init_grid()
        points = words(quant.grid.reshape(quant.grid.shape[-2:]).astype(int), quant.grid_map)
        rows = [", ".join(f"0x{word:04X}" for word in points[i : i + 14]) for i in range(0, len(points), 14)]
        text += f"\nconst uint16_t grid_{name.lower()}[{len(points)}] __attribute__((aligned(64))) = {{\n\t" + ",\n\t".join(rows) + "};\n"
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "grids.c"), "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    main()
