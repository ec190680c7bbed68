#!/usr/bin/env python3
"""The README's picture: rows a second through SQL beside llama-server, of the lines of one run of bench-rows, as an SVG.

  plot_rows.py --lines build/bench.jsonl --out docs/rows.svg [--date 2026-11-29] [--machine TEXT]

The date is the lines' and the machine this one, unless they are given. The picture brings its own background, a light or a dark one, as the reader's
settings want it; where these are not known, the light one.
"""
import argparse
import datetime
import json
import os
import re
from xml.sax.saxutils import escape

LABEL, BARS, RIGHT, BAR, GAP, TOP, FOOT = 210, 440, 126, 26, 12, 52, 62
WAYS = {"select": "SELECT qwen_generate(…)", "batch": "qwen_generate_batch(…)", "job": "qwen_submit(…), a job"}
COLOURS = {"back": ("#ffffff", "#161b22"), "text": ("#1f2328", "#e6edf3"), "faint": ("#59636e", "#9198a1"), "ours": ("#2f6db3", "#58a6ff"), "peer": ("#c9852b", "#e3a04a"), "ik": ("#5a9e5a", "#7cc47c")}


def machine():
    """What computes here, in a few words."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        text = file.read()
    name = re.search(r"^(?:model name|CPU part)\s*:\s*(.*)$", text, re.M)
    sets = [shown for shown, flag in (("AVX-512 VNNI", "avx512_vnni"), ("AVX2", "avx2"), ("i8mm", "i8mm")) if re.search(rf"\b{flag}\b", text)]
    return f"{os.cpu_count()} processors of {name[1] if name else 'an unknown kind'}" + (f" ({sets[0]})" if sets else "")


def style():
    def rules(which):
        return " ".join(f".{name} {{ fill: {both[which]} }}" for name, both in COLOURS.items())

    return f"<style>{rules(0)} @media (prefers-color-scheme: dark) {{ {rules(1)} }}</style>"


def draw(lines, date, where):
    ours = {line["way"]: line for line in lines}
    peer = lines[0]["peer"]
    bars = [(WAYS[way], ours[way]["ours"], "ours", f"{ours[way]['ratio']:.2f} times") for way in WAYS if way in ours]
    bars.append(("llama-server, 32 connections", peer, "peer", ""))
    if all("ik" in line for line in lines):
        bars.append(("ik_llama.cpp's server", lines[0]["ik"], "ik", ""))
    most = max(speed for _, speed, _, _ in bars)
    width, height = LABEL + BARS + RIGHT, TOP + len(bars) * (BAR + GAP) + FOOT
    prompt, answer = lines[0]["tokens_per_row"]
    title = "Rows a second: the same file, texts, answers and threads, in one run"
    what = f"{lines[0]['file'].replace('.gguf', '')}, {lines[0]['rows']} rows of {prompt} tokens, answers of {answer:.0f}, {lines[0]['threads']} threads, {lines[0]['rounds']} round{'s' * (lines[0]['rounds'] > 1)}"
    said = "; ".join(f"{name}: {speed:.2f} rows/s" for name, speed, _, _ in bars)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="13" role="img">',
           f"<title>{escape(title)}</title><desc>{escape(said)}</desc>", style(),
           f'<rect class="back" width="{width}" height="{height}" rx="8"/>',
           f'<text class="text" x="16" y="30" font-size="15" font-weight="bold">{escape(title)}</text>']
    y = TOP
    for name, speed, colour, ratio in bars:
        end = LABEL + speed / most * BARS
        out.append(f'<text class="text" x="{LABEL - 10}" y="{y + 18}" text-anchor="end">{escape(name)}</text>')
        out.append(f'<rect class="{colour}" x="{LABEL}" y="{y}" width="{end - LABEL:.1f}" height="{BAR}" rx="3"/>')
        out.append(f'<text class="text" x="{end + 8:.1f}" y="{y + 18}" font-weight="bold">{speed:.2f}<tspan class="faint" font-weight="normal" dx="8">{ratio}</tspan></text>')
        y += BAR + GAP
    out.append(f'<text class="faint" x="16" y="{y + 20}" font-size="12">{escape(what)}</text>')
    out.append(f'<text class="faint" x="16" y="{y + 38}" font-size="12">{escape(date)}, {escape(where)}; llama.cpp of Debian testing</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--date")
    parser.add_argument("--machine")
    a = parser.parse_args()
    with open(a.lines, encoding="utf-8") as file:
        lines = [json.loads(text) for text in file]
    # the last run with a peer: one line for each way
    lines = list({line["way"]: line for line in lines if line["bench"] == "rows" and line.get("peer")}.values())
    if not lines:
        parser.error(f"{a.lines} has no line of bench-rows beside llama-server: make bench-rows")
    if len({line["peer"] for line in lines}) > 1:
        parser.error(f"the last lines of bench-rows in {a.lines} are not of one run")
    date = a.date or datetime.date.fromtimestamp(os.path.getmtime(a.lines)).isoformat()
    with open(a.out, "w", encoding="utf-8") as file:
        file.write(draw(lines, date, a.machine or machine()))


if __name__ == "__main__":
    main()
