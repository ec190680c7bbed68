#!/usr/bin/env python3
"""Make a reranker of the demo model: its file with a classifier of "yes" and "no", as converters write rerankers.

The classifier's rows are those of the two tokens in the embedding, in F32, so the file ranks exactly as the demo model does by its tokens.

  demo_reranker.py --model DEMO.gguf --out FILE.gguf
"""
import argparse
import os
import struct
import sys

import numpy as np

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "rerank"))
import rerank_cases as cases  # noqa: E402
import demo_model  # noqa: E402
from padded_model import F32, dequantize  # noqa: E402

VERSION = 1


def strings_of(raw):
    """The texts of a raw array of strings."""
    reader = demo_model.Reader(raw)
    reader.number("I")
    return [reader.string() for _ in range(reader.number("Q"))]


def write(source, target):
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    tokens = strings_of(values["tokenizer.ggml.tokens"][1])
    _, dims, kind, data = next(tensor for tensor in tensors if tensor[0] == "token_embd.weight")
    embedding = dequantize(kind, data).reshape(dims[::-1])
    rows = np.stack([embedding[tokens.index(word)] for word in (b"yes", b"no")]).astype("<f4")
    labels = struct.pack("<IQ", demo_model.STRING, 2) + b"".join(demo_model.pack_string(word) for word in (b"yes", b"no"))
    values["qwen2.pooling_type"] = (demo_model.U32, struct.pack("<I", cases.RANK))
    values["qwen2.classifier.output_labels"] = (demo_model.ARRAY, labels)
    values["tokenizer.chat_template.rerank"] = (demo_model.STRING, demo_model.pack_string(cases.TEMPLATE.encode()))
    demo_model.write_gguf(target, values, [*tensors, ("cls.output.weight", [dims[0], 2], F32, rows.tobytes())])


def cached(model, folder):
    """The file's name in the folder; made unless it is there."""
    return demo_model.kept(folder, f"demo-reranker-{VERSION}.gguf", lambda new: write(model, new))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    write(a.model, a.out)


if __name__ == "__main__":
    main()
