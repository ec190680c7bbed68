#!/usr/bin/env python3
"""Speculation on and off through SQL on the demo model, in turn in one run: two servers, one of which computes at a time.

  bench_spec.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

Each task is some requests, one after the other, over texts of everyday prose: "quote" and "rewrite" repeat much of what stands in the prompt, "list" goes on with a list that
has a pattern; "story" and "sampled" (a story with temperature and seed) repeat little: there it may cost nothing. The answers of both servers are compared, and must be the same.
"right": the share of guesses that were right; "guesses": guesses for each token of the answers.
"""
import os
import time

import bench_common as common
from bench_common import emit, median, median_ratio

TEXTS = [
    "The ferry to the island leaves at seven in the morning and at four in the afternoon. Tickets are sold at the small office beside the pier, and children under six travel free. In winter the second crossing is cancelled when the wind is strong.",
    "Martha repaired the old clock in the town hall last spring. She had to make two new wheels by hand, since nobody sells them any more. Now it strikes every hour again, and the baker across the square sets his oven by it.",
    "The library lends tools as well as books. A drill may be kept for three days, a ladder for one. Whoever brings something back late pays a small fine, which goes into a fund for new tools.",
    "Our garden has three apple trees, a row of beans and a bed of strawberries. The apples ripen in September. Last year a late frost killed most of the blossoms, so we bought apples at the market instead.",
]
CHAT, RAW = "qwen_chat", "qwen_generate"
TASKS = {
    "quote": (CHAT, "Summarize the text in one sentence, and then quote the whole text word for word.\n\nText: {0}", 96, 0, True),
    "rewrite": (CHAT, "Rewrite this text with the spelling corrected. Change nothing else.\n\n{0}", 96, 0, True),
    "list": (RAW, "{0}\n\n1. The first sentence again: ", 96, 0, True),
    "story": (CHAT, "Tell me a story that has nothing to do with this: {0}", 96, 0, False),
    "sampled": (CHAT, "Tell me a story that has nothing to do with this: {0}", 96, 1.0, False),
}


def ask(server, task):
    """(tokens per second, answers, guesses, right ones) of a task's requests."""
    function, prompt, n, temperature, _ = TASKS[task]
    counters = "SELECT generated_tokens, guessed_tokens, guessed_right FROM qwen_stat_engine"
    before = server.query(counters)[0]
    connection = server.connect()
    cursor = connection.cursor()
    start, answers = time.monotonic(), []
    for i, text in enumerate(TEXTS):
        cursor.execute(f"SELECT {function}(%s, temperature => %s, seed => %s, max_tokens => %s)", (prompt.format(text), temperature, 1000 + i, n))
        answers.append(cursor.fetchone()[0])
    seconds = time.monotonic() - start
    connection.close()
    tokens, guesses, right = (after - first for after, first in zip(server.query(counters)[0], before))
    return tokens / seconds, answers, tokens, guesses, right


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    path = a.peer + inside
    with common.our_server(a, path, qwen__speculation="on", qwen__prefix_cache="off", qwen__kv_cache_size="256MB") as on, \
            common.our_server(a, path, qwen__speculation="off", qwen__prefix_cache="off", qwen__kv_cache_size="256MB") as off:
        for task, (_, _, _, _, repeats) in TASKS.items():
            with_it, without, counts = [], [], [0, 0, 0]
            for _ in range(a.rounds):
                speed, plain, *_ = ask(off, task)
                without.append(speed)
                speed, answers, *counts = ask(on, task)
                with_it.append(speed)
                assert answers == plain, f"speculation changed an answer: {answers} {plain}"
            tokens, guesses, right = counts
            emit(bench="spec", task=task, file=os.path.basename(inside), threads=a.threads, repeats=repeats, ours=median(with_it, 1), off=median(without, 1), unit="tok/s", ratio=median_ratio(with_it, without),
                 guesses=round(guesses / tokens, 2), right=round(right / guesses, 2) if guesses else None, same_answers=True, rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["demo"], 5, quick_rounds=2))
    for file in a.files:
        bench_file(a, file)


if __name__ == "__main__":
    main()
