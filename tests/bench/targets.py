#!/usr/bin/env python3
"""The targets of the benches, in one place, and whether they are met.

  BENCH | targets.py [--keep FILE]   passes JSON lines on, with "target" and "met" where there is one; adds them to FILE
  targets.py --table FILE            every target with the figures of the lines in FILE
  targets.py --markdown FILE         the lines as the tables of docs/benchmarks.md

A target is at least this much of a figure, or at most, for 2 threads on the kind of machine that docs/benchmarks.md names.
"""
import argparse
import fnmatch
import json
import os
import sys

LEAST, MOST = "at least", "at most"
# (bench, what else the line must have; patterns for texts) -> (figure, least or most, value) …
TARGETS = [
    ("decode", {"file": "qwen3*-q4_0*"}, [("of_roof", LEAST, 0.85), ("ratio", LEAST, 2.0)]),
    ("decode", {"file": "qwen3*-q8_0*"}, [("of_roof", LEAST, 0.85), ("ratio", LEAST, 1.7)]),
    ("decode", {"file": "qwen3*-q4_k_m*"}, [("of_roof", LEAST, 0.80), ("ratio", LEAST, 2.0)]),
    ("prefill", {"file": "qwen3*-q4_0*"}, [("of_roof", LEAST, 0.55), ("products_of_roof", LEAST, 0.65), ("ratio", LEAST, 3.0)]),
    ("prefill", {"file": "qwen3*-q8_0*"}, [("of_roof", LEAST, 0.55), ("products_of_roof", LEAST, 0.65), ("ratio", LEAST, 3.0)]),
    ("prefill", {"file": "qwen3*-q4_k_m*"}, [("of_roof", LEAST, 0.55), ("products_of_roof", LEAST, 0.65), ("ratio", LEAST, 3.0)]),
    ("batch", {"file": "qwen3*-q[48]_0*", "sequences": 32, "prompt": 128}, [("of_roof", LEAST, 0.50), ("ratio", LEAST, 3.0)]),
    ("batch", {"file": "qwen3*-q[48]_0*", "sequences": 32, "prompt": 512}, [("of_roof", LEAST, 0.40)]),
    ("mixture", {"what": "decode"}, [("of_roof", LEAST, 0.85), ("ratio", LEAST, 1.6)]),
    ("mixture", {"what": "prefill"}, [("ratio", LEAST, 3.0)]),
    ("hybrid", {"what": "decode"}, [("of_roof", LEAST, 0.8), ("ratio", LEAST, 1.0)]),
    ("hybrid", {"what": "prefill"}, [("ratio", LEAST, 3.0)]),
    ("hybrid", {"what": "batch"}, [("ratio", LEAST, 4.0)]),
    ("mixture", {"what": "batch"}, [("ratio", LEAST, 3.0)]),
    ("adapters", {"what": "decode"}, [("ratio", LEAST, 0.9)]),
    ("embed", {"file": "*"}, [("ratio", LEAST, 3.0)]),
    ("rerank", {"file": "*"}, [("ratio", LEAST, 3.0), ("prefixes", MOST, 1)]),
    ("scale", {"what": "decode", "context": 4096}, [("of_roof", LEAST, 0.75), ("ratio", LEAST, 3.0)]),
    ("scale", {"what": "decode", "context": 16384}, [("of_roof", LEAST, 0.60)]),
    ("scale", {"what": "decode_long"}, [("of_roof", LEAST, 0.75)]),
    ("scale", {"what": "prefill"}, [("ratio", LEAST, 3.0)]),
    ("scale", {"what": "threads_*"}, [("of_one_thread", LEAST, 1.8)]),
    ("load", {"cache": "cold", "unit": "GB/s"}, [("of_roof", LEAST, 0.90)]),
    ("load", {"what": "first_token", "cache": "cold"}, [("ratio", LEAST, 1.0)]),
    ("sql", {"unit": "tok/s"}, [("of_engine", LEAST, 0.98)]),
    ("sql", {"what": "round_trip"}, [("ours", MOST, 100)]),
    ("tokenize", {}, [("ratio", LEAST, 2.0)]),
    ("quality", {}, [("difference/error", MOST, 2)]),
    ("keys", {"kv": "q8_0", "positions": "0-4096"}, [("ours", MOST, 0.001)]),
    ("keys", {"kv": "q4", "positions": "0-4096"}, [("ours", MOST, 0.05)]),
    ("spec", {"repeats": False}, [("ratio", LEAST, 0.95)]),
    ("spec", {"repeats": True}, [("ratio", LEAST, 1.0)]),
    ("mtp", {"repeats": False}, [("ratio", LEAST, 0.97)]),
    ("mtp", {"repeats": True}, [("ratio", LEAST, 1.4)]),
    ("draft", {"draft": "small", "task": "sampled"}, [("ratio", LEAST, 1.5)]),
    ("draft", {"draft": "stranger"}, [("ratio", LEAST, 0.95)]),
    ("conversation", {}, [("ratio", LEAST, 1.0), ("extra", MOST, 0), ("restart_s", MOST, 2)]),
    ("rows", {}, [("ratio", LEAST, 3.0), ("of_engine", LEAST, 0.95)]),
    ("typed", {"what": "any"}, [("ratio", LEAST, 0.98)]),
    ("typed", {"what": "prose"}, [("ratio", LEAST, 0.98)]),
    ("typed", {"what": "extract*"}, [("ratio", LEAST, 1.0)]),
    ("format", {"engine": "qwen_pg"}, [("compile_p50_us", MOST, 300), ("compile_p99_us", MOST, 10000), ("mask_p50_us", MOST, 10), ("mask_p99_us", MOST, 120),
                                       ("kept_us", MOST, 0.2), ("step_max_us", MOST, 2000), ("refused", MOST, 0), ("wrong", MOST, 0)]),
    ("extract", {"what": "fixed against free"}, [("ratio", LEAST, 0.97)]),
    ("jobs", {}, [("of_select", LEAST, 0.95)]),
    ("prefix", {}, [("ratio", LEAST, 10.0), ("first_token_steps", MOST, 2)]),
    ("latency", {}, [("ours", MOST, 3), ("longest_gap_chunks", MOST, 2)]),
    ("queue", {}, [("submit_s", MOST, 2), ("view_s", MOST, 2), ("restart_s", MOST, 2)]),
    ("limits", {}, [("ours", MOST, 20)]),
    ("neighbour", {}, [("of_alone", LEAST, 0.80)]),
]


def is_it(wanted, value):
    if isinstance(wanted, str):
        return isinstance(value, str) and fnmatch.fnmatch(value.lower(), wanted.lower())
    return value == wanted


def figure_of(line, figure):
    """A figure of a line, or "one/other" of two; None where it is not there."""
    parts = [line.get(part) for part in figure.split("/")]
    if None in parts:
        return None
    return parts[0] if len(parts) == 1 else round(parts[0] / parts[1], 2)


def judged(line):
    """The line with what it should reach and whether it does."""
    for bench, properties, figures in TARGETS:
        if line.get("bench") != bench or not all(is_it(wanted, line.get(key)) for key, wanted in properties.items()):
            continue
        figures = [(figure, how, value) for figure, how, value in figures if figure_of(line, figure) is not None]
        if figures:
            line["target"] = {figure: f"{how} {value}" for figure, how, value in figures}
            line["met"] = all(figure_of(line, figure) >= value if how == LEAST else figure_of(line, figure) <= value for figure, how, value in figures)
    return line


def pass_on(keep):
    kept = open(keep, "a") if keep else None
    for text in sys.stdin:
        if not text.startswith("{"):
            print(text, end="", file=sys.stderr, flush=True)
            continue
        text = json.dumps(judged(json.loads(text)))
        print(text, flush=True)
        if kept:
            print(text, file=kept, flush=True)


def where(line):
    """What a line measures."""
    parts = [str(line[key]) for key in ("what", "task", "way") if key in line]
    parts += [str(line["file"]).removesuffix(".gguf")] if "file" in line else []
    parts += [line["cache"]] if "cache" in line else []
    parts += [f"{key} {line[key]}" for key in ("on", "text", "type", "context", "sequences", "prompt", "kv", "positions", "requests_of_a_role") if key in line]
    return ", ".join(parts)


def lines_of(path):
    """The last line of each work, as of today's targets."""
    if not os.path.exists(path):
        return []
    with open(path) as file:
        lines = [json.loads(text) for text in file]
    for line in lines:
        line.pop("target", None)
        line.pop("met", None)
    return list({(line["bench"], where(line)): judged(line) for line in lines}.values())


def table(path):
    lines = [line for line in lines_of(path) if "met" in line]
    for line in lines:
        figures = ", ".join(f"{figure} {figure_of(line, figure)} ({target})" for figure, target in line["target"].items())
        print(f"{'met   ' if line['met'] else 'MISSED'}  {line['bench']:9} {where(line)}: {figures}")
    print(f"{sum(line['met'] for line in lines)} of {len(lines)} lines meet their targets")


# what stands in the place of the peer where a bench compares with something else
BESIDES = ("peer", "engine", "off", "select", "alone", "select_1", "raw", "one_thread")
SHARES = ("of_roof", "products_of_roof", "of_engine", "of_select", "of_alone", "of_one_thread", "of_start")


def markdown(path):
    print("| bench | work | ours | beside | ratio | share | target | met |\n|---|---|---|---|---|---|---|---|")
    for line in lines_of(path):
        if "ours" not in line:
            continue
        beside = next((f"{name} {line[name]}" for name in BESIDES if name in line), "")
        share = next((f"{name} {line[name]}" for name in SHARES if name in line), "")
        target = ", ".join(f"{figure} {value}" for figure, value in line.get("target", {}).items())
        met = {True: "yes", False: "**no**", None: ""}[line.get("met")]
        print(f"| {line['bench']} | {where(line)} | {line['ours']} {line['unit']} | {beside} | {line.get('ratio', '')} | {share} | {target} | {met} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep")
    parser.add_argument("--table")
    parser.add_argument("--markdown")
    a = parser.parse_args()
    if a.table:
        table(a.table)
    elif a.markdown:
        markdown(a.markdown)
    else:
        pass_on(a.keep)


if __name__ == "__main__":
    main()
