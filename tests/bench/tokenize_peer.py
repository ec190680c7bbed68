"""The peer's side of bench_tokenize.py: Hugging Face's tokenizers on one thread. Runs in an environment that has the package.

  tokenize_peer.py TOKENIZER_JSON TEXTS TOKENS PASSES      (as tokenize_bench.c)
"""
import os
import struct
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402


def read_texts(path):
    with open(path, "rb") as file:
        data = file.read()
    texts, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        texts.append(data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts


def main():
    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
    texts, seconds = read_texts(sys.argv[2]), []
    # without offsets into the text: the fastest it has
    for _ in range(int(sys.argv[4])):
        start = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        seconds.append(time.perf_counter() - start)
    print(" ".join(f"{each:.6f}" for each in seconds))
    with open(sys.argv[3], "wb") as file:
        for encoding in encodings:
            file.write(struct.pack(f"<I{len(encoding.ids)}i", len(encoding.ids), *encoding.ids))


if __name__ == "__main__":
    main()
