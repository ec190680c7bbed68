#!/usr/bin/env python3
"""The targets of the benches, in one place, and whether they are met.

  BENCH | targets.py [--keep FILE]   passes JSON lines on, with "target" and "met" where there is one; adds them to FILE
  targets.py --markdown FILE         the lines in FILE as tables: what was measured on, speed beside its targets, what a user waits for, the other benches
  targets.py --document FILE --lines LINES       puts these tables into a page, between its marks

A target is at least this much of a figure, or at most, for 2 threads on the kind of machine that docs/benchmarks.md names. "ratio" is ours beside llama.cpp's, "ik_ratio" beside ik_llama.cpp's.
"""
import argparse
import fnmatch
import json
import os
import sys

LEAST, MOST = "at least", "at most"
# (bench, what else the line must have; patterns for texts) -> (figure, least or most, value) …
TARGETS = [
    ("decode", {"file": "qwen3*-q[48]_*"}, [("of_roof", LEAST, 0.85), ("ratio", LEAST, 1.5), ("ik_ratio", LEAST, 1.0)]),
    ("prefill", {"file": "qwen3*-q[48]_*"}, [("of_roof", LEAST, 0.55), ("ratio", LEAST, 3.0), ("ik_ratio", LEAST, 1.0)]),
    ("batch", {"file": "qwen3*-q[48]_*", "sequences": 32, "prompt": 128}, [("of_roof", LEAST, 0.55), ("ratio", LEAST, 3.5), ("ik_ratio", LEAST, 1.0)]),
    ("batch", {"file": "qwen3*-q[48]_*", "sequences": 32, "prompt": 512}, [("of_roof", LEAST, 0.45), ("ratio", LEAST, 3.5), ("ik_ratio", LEAST, 1.0)]),
    ("mixture", {"what": "decode"}, [("of_roof", LEAST, 0.85), ("ratio", LEAST, 1.6)]),
    ("mixture", {"what": "prefill"}, [("ratio", LEAST, 3.0)]),
    ("hybrid", {"what": "decode"}, [("of_roof", LEAST, 0.8), ("ratio", LEAST, 1.0)]),
    ("hybrid", {"what": "prefill"}, [("ratio", LEAST, 3.0)]),
    ("hybrid", {"what": "batch"}, [("ratio", LEAST, 4.0)]),
    ("mixture", {"what": "batch"}, [("ratio", LEAST, 3.0)]),
    ("adapters", {"what": "decode"}, [("ratio", LEAST, 0.9)]),
    ("embed", {"file": "*"}, [("ratio", LEAST, 3.0), ("ik_ratio", LEAST, 1.0)]),
    ("rerank", {"file": "*"}, [("ratio", LEAST, 3.0), ("prefixes", MOST, 1)]),
    ("scale", {"what": "decode", "context": 4096}, [("of_roof", LEAST, 0.80), ("ratio", LEAST, 3.0), ("ik_ratio", LEAST, 1.0)]),
    ("scale", {"what": "decode", "context": 16384}, [("of_roof", LEAST, 0.60)]),
    ("scale", {"what": "decode_long"}, [("of_roof", LEAST, 0.75)]),
    ("scale", {"what": "prefill"}, [("of_roof", LEAST, 0.35), ("ratio", LEAST, 3.5), ("ik_ratio", LEAST, 1.0)]),
    ("scale", {"what": "threads_batch", "sequences": 64}, [("of_one_thread", LEAST, 1.85)]),
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
    ("rows", {}, [("of_engine", LEAST, 0.97), ("ratio", LEAST, 3.5), ("ik_ratio", LEAST, 1.0)]),
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
    ("neighbour", {}, [("of_alone", LEAST, 0.85), ("busy_all_threads/busy_one_thread", LEAST, 1.0)]),
    ("feel", {}, [("ratio", LEAST, 1.0), ("ik_ratio", LEAST, 1.0)]),
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
    parts += [f"{key} {line[key]}" for key in ("draft", "on", "text", "type", "context", "sequences", "prompt", "kv", "positions", "requests_of_a_role") if key in line]
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


# ---- tables ----
# what stands in the place of the peer where a bench compares with something else
BESIDES = ("peer", "engine", "off", "select", "alone", "select_1", "raw", "one_thread")
SHARES = ("of_roof", "products_of_roof", "of_engine", "of_select", "of_alone", "of_one_thread", "of_start", "busy_all_threads/busy_one_thread")
NAMES = {"of_roof": "of the roof", "of_engine": "of the engine", "of_select": "of SELECT", "of_alone": "of alone", "of_one_thread": "of one thread", "of_start": "of a start",
         "products_of_roof": "products of the roof", "busy_all_threads/busy_one_thread": "of one thread beside a busy processor"}
SIDES = (("peer", "ratio", "llama.cpp"), ("ik", "ik_ratio", "ik_llama.cpp"))
# the benches that stand beside both
SPEED = ("decode", "prefill", "batch", "scale", "rows", "embed", "draft", "neighbour")
MET = {True: "yes", False: "**no**", None: ""}


def number(value):
    return f"{value:,}" if isinstance(value, int) or abs(value) < 1000 else f"{value:,.0f}"


def wanted(line, figure):
    """" (0.85)": what a figure should reach; empty where nothing is asked."""
    target = line.get("target", {}).get(figure)
    return "" if target is None else f" ({target.removeprefix(LEAST + ' ')})"


def with_target(line, figure):
    value = figure_of(line, figure)
    return "" if value is None else f"{value}{wanted(line, figure)}"


def shares(line):
    """All shares of a line that have a target, else the first one."""
    there = [figure for figure in SHARES if figure_of(line, figure) is not None]
    there = [figure for figure in there if figure in line.get("target", {})] or there[:1]
    return "; ".join(f"{with_target(line, figure)} {NAMES[figure]}" for figure in there)


def machine_text(lines):
    machine = next((line for line in lines if line["bench"] == "machine"), None)
    roofs = next((line for line in lines if line["bench"] == "roofs"), None)
    text = ""
    if machine:
        text = (f"{machine['date']}, {machine['threads']} threads. Machine: {machine['machine']}. Version: {machine['commit']}, beside llama.cpp {machine['llama_cpp']} and ik_llama.cpp "
                f"{machine['ik_llama_cpp']}, each with its matrices repacked.")
    if roofs:
        text += f" Roofs: memory {roofs['memory_gb_s']} GB/s, int8 {number(roofs['int8_gop_s'])} GOP/s, floats {number(roofs['fp32_gflop_s'])} GFLOP/s" + (
            f", disk {roofs['disk_gb_s']} GB/s." if "disk_gb_s" in roofs else ".")
    return text


def speed_rows(lines):
    yield "| bench | ours | share (target) | llama.cpp | ratio (target) | ik_llama.cpp | ratio (target) | met |\n|---|---|---|---|---|---|---|---|"
    for line in lines:
        if line["bench"] not in SPEED or "ours" not in line:
            continue
        cells = [f"{line['bench']}: {where(line)}" if where(line) else line["bench"], f"{number(line['ours'])} {line['unit']}", shares(line)]
        for name, ratio, _ in SIDES:
            cells += [number(line[name]) if name in line else f"({number(line['off'])} without)" if name == "peer" and "off" in line else "", with_target(line, ratio)]
        yield "| " + " | ".join([*cells, MET[line.get("met")]]) + " |"


def feel_rows(lines):
    lines = [line for line in lines if line["bench"] == "feel"]
    files = list(dict.fromkeys(line["file"] for line in lines))
    if not lines:
        return
    sides = ["ours", "llama.cpp", "ik_llama.cpp"]
    yield "| what, in seconds | " + " | ".join(f"{file.removesuffix('.gguf')}: {side}" for file in files for side in sides) + " | how many times as long |"
    yield "|---" * (2 + 3 * len(files)) + "|"
    texts = {
        "first_token": lambda line: "the first token of a chat",
        "chat": lambda line: f"a chat's answer of {line['answer']} tokens",
        "rows": lambda line: f"{line['rows']} rows, answers of {line['answer']} tokens",
        "embeddings": lambda line: f"{line['texts']:,} embeddings of {line['tokens']} tokens",
    }
    for what, text in texts.items():
        there = {line["file"]: line for line in lines if line["what"] == what}
        if not there:
            continue
        cells = [str(there.get(file, {}).get(name, "")) for file in files for name in ("ours", "peer", "ik")]
        ratios = "; ".join(" and ".join(str(line[ratio]) for _, ratio, _ in SIDES if ratio in line) for line in there.values())
        yield "| " + " | ".join([text(next(iter(there.values()))), *cells, ratios]) + " |"
    parts = [f"{line['measured']} of {line['file'].removesuffix('.gguf')}" for line in lines if line["what"] == "embeddings" and line["measured"] < line["texts"]]
    if parts:
        yield f"\nOf the 1,000 embeddings {' and '.join(parts)} were computed; the seconds are of a thousand at this speed."


def other_rows(lines):
    lines = [line for line in lines if line["bench"] not in (*SPEED, "feel") and "ours" in line]
    if lines:
        yield "| bench | work | ours | beside | ratio | share | target | met |\n|---|---|---|---|---|---|---|---|"
    for line in lines:
        beside = "; ".join([f"{name} {line[name]}" for name in BESIDES if name in line][:1] + [f"ik {line['ik']} ({line['ik_ratio']})" for _ in range("ik_ratio" in line)])
        share = next((f"{name} {line[name]}" for name in SHARES if name in line), "")
        target = ", ".join(f"{figure} {value}" for figure, value in line.get("target", {}).items())
        yield f"| {line['bench']} | {where(line)} | {line['ours']} {line['unit']} | {beside} | {line.get('ratio', '')} | {share} | {target} | {MET[line.get('met')]} |"


def markdown(path):
    """The tables of a run."""
    lines = lines_of(path)
    judged_lines = [line for line in lines if "met" in line]
    parts = [machine_text(lines), *("\n".join(rows(lines)) for rows in (speed_rows, feel_rows, other_rows))]
    parts.append(f"{sum(line['met'] for line in judged_lines)} of {len(judged_lines)} lines meet their targets.")
    return "\n\n".join(part for part in parts if part) + "\n"


BEGIN, END = "<!-- figures of the last run -->", "<!-- end of the figures -->"


def write_document(path, tables):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"targets.py: {path} lacks the marks {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{tables}{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep")
    parser.add_argument("--markdown")
    parser.add_argument("--document")
    parser.add_argument("--lines")
    a = parser.parse_args()
    if a.markdown:
        print(markdown(a.markdown), end="")
    elif a.document:
        write_document(a.document, markdown(a.lines))
    else:
        pass_on(a.keep)


if __name__ == "__main__":
    main()
