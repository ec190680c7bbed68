#!/usr/bin/env python3
"""The demo model in F32 and in a shape that takes every tensor type, and how far quantized files of it are from it.

  padded_model.py --model DEMO.gguf --out FILE.gguf

The demo model's rows are 576 long, which is no multiple of 256, so K-quants do not fit them. Padded with zeros to 768 (12 heads for 9, 4 KV heads
for 3) it computes the same: a sum of squares stays what it is and its mean becomes 576/768 of it, so the norms' weights times sqrt(576/768) and epsilon
times 576/768 make up for that. What is measured on files that llama-quantize makes of it is the loss of a tensor type, weights and activations, on real text:
the mean Kullback-Leibler divergence of the next token's distribution to that of the F32 file. bench_quality.py and the golden checks share this.
"""
import argparse
import glob
import os
import struct
import subprocess

import numpy as np

import demo_model

HERE = os.path.dirname(os.path.abspath(__file__))
NARROW, WIDE = 576, 768
HEADS, KV_HEADS, HEAD_DIM = 12, 4, 64
NARROW_KV, WIDE_KV = 192, KV_HEADS * HEAD_DIM
WIDER = {NARROW: WIDE, NARROW_KV: WIDE_KV}
F32 = 0
# as llama-quantize names them: those in which a whole file is of one type, and the usual mixture
TYPES = ("Q4_0", "Q8_0", "Q4_K_M", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS")


def dequantize(kind, data):
    """The values of a tensor's bytes, of the demo model's types."""
    if kind == F32:
        return np.frombuffer(data, "<f4")
    blocks = np.frombuffer(data, np.uint8).reshape(-1, demo_model.BLOCKS[kind][1])
    half = lambda at: blocks[:, at : at + 2].copy().view("<f2").astype(np.float32)  # noqa: E731
    if kind == 8:  # Q8_0
        return (half(0) * blocks[:, 2:].view(np.int8)).ravel()
    assert kind == 3, kind  # Q4_1: low nibbles, then high ones
    quants = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return (half(0) * quants + half(2)).ravel()


def padded(name, dims, values):
    """(dimensions, values) with zeros to the wider shape; norms scaled."""
    wide = [WIDER.get(n, n) for n in dims]
    out = np.zeros(wide[::-1], "<f4")
    out[tuple(slice(n) for n in dims[::-1])] = values.reshape(dims[::-1])
    if name.endswith("norm.weight"):
        out *= np.float32((NARROW / WIDE) ** 0.5)
    return wide, out


def write(source, target):
    """Write the padded F32 file of the demo model."""
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    for key, number in (("embedding_length", WIDE), ("attention.head_count", HEADS), ("attention.head_count_kv", KV_HEADS)):
        values[f"qwen2.{key}"] = (demo_model.U32, struct.pack("<I", number))
    kind, raw = values["qwen2.attention.layer_norm_rms_epsilon"]
    values["qwen2.attention.layer_norm_rms_epsilon"] = (kind, struct.pack("<f", struct.unpack("<f", raw)[0] * NARROW / WIDE))
    values["general.file_type"] = (demo_model.U32, struct.pack("<I", F32))
    out = []
    for name, dims, kind, data in tensors:
        wide, padding = padded(name, dims, dequantize(kind, data))
        out.append((name, wide, F32, padding.tobytes()))
    demo_model.write_gguf(target, values, out)


def write_float(source, target):
    """Write the demo model in F32 in its own shape."""
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    values["general.file_type"] = (demo_model.U32, struct.pack("<I", F32))
    demo_model.write_gguf(target, values, [(name, dims, F32, dequantize(kind, data).tobytes()) for name, dims, kind, data in tensors])


def texts():
    """Three pieces of real text of some 600 tokens each, written for this; without special tokens, which llama-results takes for plain text."""
    found = []
    for path in sorted(glob.glob(os.path.join(HERE, "texts", "*.txt"))):
        with open(path, encoding="utf-8") as file:
            found.append(file.read())
    return found


def our_logits(program, model, text, out, *options):
    """(tokens, logits [n][vocab]) by engine_bench; out: a file that may be overwritten."""
    subprocess.run([program, "--model", model, "--logits", out, "--text", text, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with open(out, "rb") as file:
        n, vocab = struct.unpack("<II", file.read(8))
        tokens = np.fromfile(file, "<i4", n)
        return tokens, np.fromfile(file, "<f4", n * vocab).reshape(n, vocab)


def their_logits(command, model, text, out, path, *options):
    """(tokens, logits [n][vocab]) by llama-results. command: what runs it in its folder; out: a file there, which is path here."""
    subprocess.run([*command, "llama-results", "-m", model, "-p", text, "-o", out, "-c", "1024", *options], check=True, capture_output=True)
    with open(path, "rb") as file:
        tensors = {name: data for name, _, _, data in demo_model.read_gguf(file.read())[1]}
    tokens = np.frombuffer(tensors["tokens"], "<i4")
    return tokens, np.frombuffer(tensors["logits"], "<f4").reshape(len(tokens), -1)


class Reference:
    """Distributions that others are held against: of each position of a text, from its logits."""

    def __init__(self, tokens, logits):
        shifted = logits - logits.max(axis=1, keepdims=True).astype(np.float64)
        shifted -= log_of_sum(shifted)[:, None]
        self.tokens, self.probabilities = tokens, np.exp(shifted)
        self.negative_entropy = (self.probabilities * shifted).sum(axis=1)

    def divergences(self, tokens, logits):
        """Kullback-Leibler divergence, in nats, of each position's distribution by these logits."""
        assert np.array_equal(tokens, self.tokens), "the text's tokens differ"
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return self.negative_entropy - (self.probabilities * logits).sum(axis=1) + log_of_sum(logits)


def log_of_sum(shifted):
    """log sum exp of rows whose largest is 0."""
    return np.log(np.exp(shifted).sum(axis=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    write(a.model, a.out)


if __name__ == "__main__":
    main()
