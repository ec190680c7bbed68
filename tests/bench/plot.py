#!/usr/bin/env python3
"""A picture of the benches' lines: the share of the roof by work, ours, llama.cpp's and ik_llama.cpp's, as an SVG.

  plot.py --lines build/bench.jsonl --out docs/benchmarks.svg

Both sides do the same work on the same machine in the same run, so a peer's share of the roof is ours divided by the ratio of the speeds.
"""
import argparse
import json
from xml.sax.saxutils import escape

LABEL, WIDTH, BAR, GAP, TOP = 330, 470, 11, 14, 56
OURS, LINE, TEXT = "#2f6db3", "#d0d0d0", "#222"
PEERS = (("peer", "ratio", "llama.cpp", "#c9852b"), ("ik", "ik_ratio", "ik_llama.cpp", "#5a9e5a"))


def name_of(line):
    """What a line measures, in a few words."""
    file = line["file"].lower().replace(".gguf", "").replace("smollm2-135m-instruct-qwen2-q4_1", "demo (135M) Q4_1")
    for kind in ("q4_k_m", "q4_0", "q8_0", "q6_k", "bf16"):
        file = file.replace(f"-{kind}", f" {kind.upper()}")
    work = " ".join(word for word in (line["bench"], line.get("what")) if word)
    if "context" in line:
        work += f" behind {line['context']}"
    if "tokens" in line:
        work += f" {line['tokens']}"
    if "sequences" in line:
        work += f", {line['sequences']} sequences of {line.get('prompt', 128)}"
    return f"{work}: {file}"


def latest(lines):
    """The last line of each work."""
    return list({name_of(line): line for line in lines}.values())


def bar(y, share, colour, what):
    width = min(share, 1.0) * WIDTH
    return (f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"><title>{escape(what)}</title></rect>'
            f'<text x="{LABEL + width + 4:.1f}" y="{y + BAR - 2}" font-size="10">{share:.0%}</text>')


def height_of(line):
    return (1 + sum(bool(line.get(ratio)) for _, ratio, _, _ in PEERS)) * BAR + GAP


def draw(lines):
    height = TOP + sum(height_of(line) for line in lines) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 50}" height="{height}" font-family="sans-serif" font-size="12" fill="{TEXT}">',
           f'<rect width="{LABEL + WIDTH + 50}" height="{height}" fill="white"/>',
           '<text x="10" y="20" font-size="14">Share of the roof (memory for decode, int8 for prefill and batches), 2 threads</text>',
           f'<rect x="10" y="32" width="10" height="10" fill="{OURS}"/><text x="25" y="41">qwen_pg</text>',
           *(f'<rect x="{x}" y="32" width="10" height="10" fill="{colour}"/><text x="{x + 15}" y="41">{name}</text>' for x, (_, _, name, colour) in zip((95, 180), PEERS))]
    for percent in (0, 25, 50, 75, 100):
        x = LABEL + percent / 100 * WIDTH
        out.append(f'<line x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{height - 8}" stroke="{LINE}"/><text x="{x}" y="{TOP - 9}" text-anchor="middle" font-size="10">{percent}%</text>')
    y = TOP
    for line in lines:
        out.append(f'<text x="{LABEL - 8}" y="{y + BAR + 4}" text-anchor="end">{escape(name_of(line))}</text>')
        out.append(bar(y, line["of_roof"], OURS, f"{line['ours']} {line['unit']}"))
        for i, (name, ratio, _, colour) in enumerate((one for one in PEERS if line.get(one[1])), 1):
            out.append(bar(y + i * BAR, line["of_roof"] / line[ratio], colour, f"{line[name]} {line['unit']}"))
        y += height_of(line)
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", required=True)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    with open(a.lines) as file:
        lines = [json.loads(text) for text in file]
    lines = latest([line for line in lines if line.get("of_roof") and line.get("unit") == "tok/s"])
    with open(a.out, "w") as file:
        file.write(draw(lines))


if __name__ == "__main__":
    main()
