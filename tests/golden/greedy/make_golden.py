#!/usr/bin/env python3
"""Remake greedy.json and codebooks.json: greedy continuations by llama.cpp of 20 prompts on the demo model, and of some of them on files of it with
matrices of the IQ2 and IQ3 formats and of MXFP4 (tests/tools/codebook_model.py).

  make_golden.py --peer FOLDER --model FILE     FOLDER: made by tests/bench/setup_peer.sh

llama-server (in the peer's folder, on the loopback address) completes each prompt with temperature 0; for every token the file keeps the two best
tokens with their log-probabilities, so that check_greedy.py can tell a near tie from a mistake.
"""
import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import codebook_model  # noqa: E402

N_TOKENS = 64
N_CODEBOOK_PROMPTS, N_CODEBOOK_TOKENS = 6, 24
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "Water boils at a temperature of",
    "To make a simple pancake, you need",
    "The largest planet in the solar system is",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Dear Sir or Madam,\n\nI am writing to",
    "The three primary colors are",
    "In 1969, Neil Armstrong",
    "A list of five animals:\n1. Dog\n2.",
    "SELECT name, price FROM products WHERE",
    "Photosynthesis is the process by which",
    "Question: What is 2 + 2?\nAnswer:",
    "The weather today is",
    "She opened the door and",
    "The main difference between a virus and a bacterium is",
    "Roses are red, violets are",
    "#include <stdio.h>\n\nint main(void)\n{\n",
    "The Great Wall of China",
    "My favourite season is autumn because",
]


def ask(port, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=900) as answer:
        return json.load(answer)


def complete(port, prompt, n_tokens=N_TOKENS):
    body = {"prompt": prompt, "n_predict": n_tokens, "temperature": 0, "n_probs": 2, "cache_prompt": False, "samplers": ["temperature"]}
    answer = ask(port, "/completion", body)
    tokens = []
    for place in answer["completion_probabilities"]:
        best = place["top_logprobs"]
        tokens.append({"id": place["id"], "top": [[t["id"], round(t["logprob"], 4)] for t in best[:2]]})
    return {"prompt": prompt, "text": answer["content"], "tokens": tokens}


@contextlib.contextmanager
def serving(peer, inside):
    """The port of a llama-server of a file in the peer's folder."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        ["chroot", peer, "llama-server", "-m", inside, "-t", "2", "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "--parallel", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if ask(port, "/health").get("status") == "ok":
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


def write(name, content):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
        json.dump({"made_by": "make_golden.py with Debian forky's llama-server", **content}, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    a = parser.parse_args()
    inside = "/" + os.path.basename(a.model)
    if not os.path.exists(a.peer + inside):
        shutil.copy(a.model, a.peer + inside)
    with serving(a.peer, inside) as port:
        write("greedy.json", {"model": inside[1:], "cases": [complete(port, prompt) for prompt in PROMPTS]})
    types = {}
    for type_name in codebook_model.TYPES:
        file = f"/demo_in_{type_name}.gguf"
        codebook_model.write(a.model, a.peer + file, type_name)
        with serving(a.peer, file) as port:
            types[type_name] = [complete(port, prompt, N_CODEBOOK_TOKENS) for prompt in PROMPTS[:N_CODEBOOK_PROMPTS]]
        os.unlink(a.peer + file)
    write("codebooks.json", {"version": codebook_model.VERSION, "types": types})


if __name__ == "__main__":
    main()
