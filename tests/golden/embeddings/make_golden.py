#!/usr/bin/env python3
"""Remake embeddings.json: llama.cpp's embeddings of the texts by the models of cases.py.

  make_golden.py --peer FOLDER --cache FOLDER     FOLDER of --peer: made by tests/bench/setup_peer.sh; needs root (chroot)

llama-server embeds with keys and values in F32 and without flash attention, which would round them.
"""
import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools"))
import cases  # noqa: E402
import make_model  # noqa: E402


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, path, body=None):
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def wait_ready(port, server):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            ask(port, "/health")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    sys.exit("llama-server did not start")


def embeddings(peer, model, name):
    """Its embeddings of all texts."""
    port = free_port()
    command = ["chroot", peer, "llama-server", "-m", model, "--port", str(port), "--embeddings", "-c", "2048", "-b", "2048", "-ub", "2048", "-t", "2"]
    command += ["-ctk", "f32", "-ctv", "f32", "-fa", "off", "-np", "1"]
    if name in cases.PEER_POOLING:
        command += ["--pooling", cases.PEER_POOLING[name]]
    with open("/tmp/golden_embeddings.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_ready(port, server)
        rows = []
        for text, with_instruction in cases.TEXTS:
            whole = f"Instruct: {cases.INSTRUCTION}\nQuery:{text}" if with_instruction else text
            whole += cases.PEER_APPENDED.get(name, "")
            answer = ask(port, "/v1/embeddings", {"input": whole, "encoding_format": "float"})
            rows.append([round(value, 7) for value in answer["data"][0]["embedding"]])
        return rows
    finally:
        server.terminate()
        server.wait(20)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--cache", required=True)
    a = parser.parse_args()
    golden = {}
    for name, options in cases.MODELS.items():
        file = make_model.cached_model(a.cache, name, **options)
        inside = "/tmp/golden_embeddings.gguf"
        shutil.copy(os.path.join(a.cache, "models", file), a.peer + inside)
        golden[name] = embeddings(a.peer, inside, name)
        os.remove(a.peer + inside)
        print(name, "done", flush=True)
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in golden.items()]
    with open(cases.GOLDEN, "w", encoding="ascii") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
