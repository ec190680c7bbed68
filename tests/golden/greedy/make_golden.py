#!/usr/bin/env python3
"""Remake greedy.json: the greedy continuations of 20 prompts by llama.cpp on the demo model.

  make_golden.py --peer FOLDER --model FILE     FOLDER: made by tests/bench/setup_peer.sh

llama-server (in the peer's folder, on the loopback address) completes each prompt with temperature 0; for every token the file keeps the two best
tokens with their log-probabilities, so that check_greedy.py can tell a near tie from a mistake.
"""
import argparse
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

N_TOKENS = 64
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


def complete(port, prompt):
    body = {"prompt": prompt, "n_predict": N_TOKENS, "temperature": 0, "n_probs": 2, "cache_prompt": False, "samplers": ["temperature"]}
    answer = ask(port, "/completion", body)
    tokens = []
    for place in answer["completion_probabilities"]:
        best = place["top_logprobs"]
        tokens.append({"id": place["id"], "top": [[t["id"], round(t["logprob"], 4)] for t in best[:2]]})
    return {"prompt": prompt, "text": answer["content"], "tokens": tokens}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    a = parser.parse_args()
    inside = "/" + os.path.basename(a.model)
    if not os.path.exists(a.peer + inside):
        shutil.copy(a.model, a.peer + inside)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        ["chroot", a.peer, "llama-server", "-m", inside, "-t", "2", "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "--parallel", "1"],
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
        cases = [complete(port, prompt) for prompt in PROMPTS]
    finally:
        server.terminate()
        server.wait()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "greedy.json"), "w", encoding="utf-8") as out:
        json.dump({"made_by": "make_golden.py with Debian forky's llama-server", "model": inside[1:], "cases": cases}, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
