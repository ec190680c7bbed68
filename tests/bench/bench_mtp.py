#!/usr/bin/env python3
"""Guesses of a model's own layer (qwen.speculation = mtp) and none, in turn in one run, on the demo model as qwen35moe with a layer that copies (tests/tools/reexpress.py).

  bench_mtp.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE

That layer is right where a word is repeated, and nearly nowhere else: "repeats" is such a text, "story" and "sampled" are not, and there it may cost nothing. Answers must be the same.
"length": right guesses at a time; "right": their share.
"""
import os
import sys
import time

import bench_common as common
from bench_common import emit, median, median_ratio

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

TASKS = {
    "repeats": ("SELECT qwen_generate(repeat('la ', 12) || 'la', temperature => 0, max_tokens => 96)", True),
    "story": ("SELECT qwen_chat('Tell me a long story of a ship.', temperature => 0, max_tokens => 160)", False),
    "sampled": ("SELECT qwen_chat('Tell me a long story of a ship.', temperature => 1, seed => 7, max_tokens => 160)", False),
}


def ask(server, statement):
    """(tokens per second, answer, steps with guesses, guesses, right ones)"""
    counters = "SELECT generated_tokens, mtp_steps, mtp_tokens, mtp_right FROM qwen_stat_engine"
    before = server.query(counters)[0]
    start = time.monotonic()
    answer = server.value(statement)
    seconds = time.monotonic() - start
    tokens, *counts = (after - first for after, first in zip(server.query(counters)[0], before))
    return tokens / seconds, answer, *counts


def main():
    a = common.parse(common.parser_for(__doc__, ["demo"], 7, quick_rounds=3))
    path = os.path.join(a.cache, "models", reexpress.cached(a.cache, a.model, "qwen35moe+head"))
    settings = {"qwen__prefix_cache": "off", "qwen__kv_cache_size": "256MB"}
    with common.our_server(a, path, qwen__speculation="mtp", **settings) as on, common.our_server(a, path, qwen__speculation="off", **settings) as off:
        for task, (statement, repeats) in TASKS.items():
            with_it, without, counts = [], [], []
            for _ in range(a.rounds):
                speed, plain, *_ = ask(off, statement)
                without.append(speed)
                speed, answer, *counts = ask(on, statement)
                with_it.append(speed)
                assert answer == plain, f"a guess changed an answer: {answer} {plain}"
            steps, guesses, right = counts
            emit(bench="mtp", task=task, file=os.path.basename(path), threads=a.threads, repeats=repeats, ours=median(with_it, 1), off=median(without, 1), unit="tok/s", ratio=median_ratio(with_it, without),
                 tries=steps, length=round(right / steps, 2) if steps else None, right=round(right / guesses, 2) if guesses else None, same_answers=True, rounds=a.rounds)


if __name__ == "__main__":
    main()
