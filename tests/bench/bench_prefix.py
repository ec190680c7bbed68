#!/usr/bin/env python3
"""Rows behind a long instruction, with the prefix cache and without, through SQL: off, on, off, on … in one run.

Called by `make bench-prefix` inside a private server. Each round asks 100 short rows behind an instruction of 1,000 tokens that nobody
has asked before, so computing it once is part of what is measured. Also the first token of a prompt that is asked again, in decode steps of
an answer alone.
"""
import argparse
import json
import os
import statistics
import time

import psycopg2

SUBJECTS = ["The fox", "A green apple", "The old bridge", "Our neighbour", "The night train", "A small boat", "The library", "Her violin", "The north wind", "A white horse"]
VERBS = ["waits by the river", "was seen again", "needs no repair", "is far from home", "sings in the morning", "turned around", "belongs to nobody", "is almost ready", "came too late", "shines"]
SENTENCE = "Example {0}: a text about number {0} gets the label {1}, since the rules of this catalogue say so. "


def instruction(cursor, number, n_tokens):
    """Exactly n_tokens of an instruction that no other round has."""
    words = f"Catalogue {number}. Label each text. " + "".join(SENTENCE.format(number * 1000 + i, "abcdef"[i % 6]) for i in range(100))
    cursor.execute("SELECT qwen_detokenize((qwen_tokenize(%s))[1:%s])", (words, n_tokens))
    return cursor.fetchone()[0]


def rows_per_second(cursor, text, sharing, n_rows, answer):
    """All rows in one array call; its answers too."""
    rows = [f"{text}\nText: {SUBJECTS[i % 10]} {VERBS[i // 10 % 10]}.\nLabel:" for i in range(n_rows)]
    cursor.execute(f"SET qwen.prefix_cache = {sharing}")
    start = time.monotonic()
    cursor.execute("SELECT response, error FROM qwen_generate_batch(%s, temperature => 0, max_tokens => %s)", (rows, answer))
    found = cursor.fetchall()
    assert len(found) == n_rows and all(error is None for _, error in found), found[:3]
    return n_rows / (time.monotonic() - start), [response for response, _ in found]


def engine_steps(cursor):
    cursor.execute("SELECT steps FROM qwen_stat_engine")
    return cursor.fetchone()[0]


def first_token_steps(cursor, text):
    """Time to the first token of a prompt that was asked before, in steps of the answer that follows it."""
    cursor.execute("SET qwen.prefix_cache = role")
    query = "SELECT ttft_ms, total_ms FROM qwen_chat_full(%s, temperature => 0, max_tokens => 33)"
    cursor.execute(query, (text,))
    steps = []
    for _ in range(9):
        before = engine_steps(cursor)
        cursor.execute(query, (text,))
        first, total = cursor.fetchone()
        # a step may give several tokens, where guesses were right
        steps.append(first / ((total - first) / (engine_steps(cursor) - before - 1)))
    return statistics.median(steps)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--instruction", type=int, default=1000)
    parser.add_argument("--answer", type=int, default=4)
    a = parser.parse_args()
    connection = psycopg2.connect(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"], dbname=os.environ["PGDATABASE"])
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg")
    cursor.execute("SET qwen.batch_window = 100")
    off, on = [], []
    for number in range(a.rounds):
        text = instruction(cursor, number, a.instruction)
        without, plain = rows_per_second(cursor, text, "off", a.rows, a.answer)
        with_cache, cached = rows_per_second(cursor, text, "role", a.rows, a.answer)
        assert plain == cached, "answers differ"
        off.append(without)
        on.append(with_cache)
    steps = first_token_steps(cursor, instruction(cursor, a.rounds, a.instruction))
    cursor.execute("SELECT file FROM qwen_models LIMIT 1")
    file = cursor.fetchone()[0]
    cursor.execute("SELECT threads, prefix_hit_rate FROM qwen_stat_engine")
    threads, _ = cursor.fetchone()
    result = {
        "bench": "prefix",
        "file": file,
        "threads": threads,
        "ours": round(statistics.median(on), 2),
        "off": round(statistics.median(off), 2),
        "unit": "rows/s",
        "ratio": round(statistics.median(x / y for x, y in zip(on, off)), 2),
        "first_token_steps": round(steps, 2),
        "rounds": a.rounds,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
