"""The demo model's first layers alone, for tests in which it does not matter what is said: several times as fast, and nonsense.

Tokenizer, template, context and types of tensors are the demo model's. Standard library only.
"""
import os
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_model import U32, kept, read_gguf, write_gguf  # noqa: E402

VERSION = 1  # of what this program writes: in the names of cached files
N_LAYERS = 3


def shorten(source, target):
    """Write the file without the layers behind the first ones."""
    with open(source, "rb") as file:
        values, tensors = read_gguf(file.read())
    values["qwen2.block_count"] = (U32, struct.pack("<I", N_LAYERS))
    is_kept = lambda name: not name.startswith("blk.") or int(name.split(".")[1]) < N_LAYERS  # noqa: E731
    write_gguf(target, values, [tensor for tensor in tensors if is_kept(tensor[0])])


def cached(cache, source):
    """The name of the file in the cache's models; made unless it is there."""
    return kept(os.path.join(cache, "models"), f"demo_short-{VERSION}.gguf", lambda new: shorten(source, new))
