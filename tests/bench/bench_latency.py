#!/usr/bin/env python3
"""Short chats and running answers while 32 long rows run: how soon a chat begins, and how long an answer stands still at most.

  bench_latency.py [--chats N] [--prompts N] [--prompt-tokens N]

On a server of its own with the demo model, the engine's priority as it is by default. A plain SELECT over 32 rows keeps 32 answers running. Beside it a session asks short
questions at any moment, for one token each: the time of the whole statement, counted in steps of the 32 rows alone (the step that reads the
question computes its rows too, so it is longer than those), and the engine's own steps meanwhile. Then an answer is streamed while prompts of
several chunks come in: the longest time between two pieces, counted in steps of a whole chunk.
"""
import argparse
import json
import os
import random
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster  # noqa: E402

ROWS = "SELECT count(qwen_generate(body, temperature => 0, max_tokens => 600, stop => ARRAY['never-said'])) FROM long_rows"
CHAT = "SELECT ttft_ms, prompt_tokens - cached_tokens FROM qwen_chat_full(%s, temperature => 0, max_tokens => 1)"
COUNTS = "SELECT steps, prompt_tokens - cached_tokens FROM qwen_stat_engine"
STREAM = "SELECT qwen_chat_stream('Tell a long story about the sea.', temperature => 0, max_tokens => 400, stop => ARRAY['never-said'])"


SERVER = None  # made in main


def connect():
    return SERVER.connect()


def one(cursor, sql, *arguments):
    cursor.execute(sql, arguments)
    return cursor.fetchone()


def percentile(values, part):
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


class LongRows:
    """32 answers that run until the end."""

    def __init__(self):
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        cursor = connect().cursor()
        while not self.stopping:
            cursor.execute(ROWS)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()


def wait_for_rows(cursor):
    while one(cursor, "SELECT running FROM qwen_stat_engine")[0] < 32:
        time.sleep(0.01)


def step_ms(cursor):
    """The time of a step in which all 32 rows decode and nothing else happens."""
    times = []
    while len(times) < 9:
        wait_for_rows(cursor)
        (first, prompts), start = one(cursor, "SELECT steps, prompt_tokens FROM qwen_stat_engine"), time.monotonic()
        time.sleep(0.3)
        (last, prompts_after), end = one(cursor, "SELECT steps, prompt_tokens FROM qwen_stat_engine"), time.monotonic()
        if prompts_after == prompts and last > first:
            times.append((end - start) * 1000 / (last - first))
    return statistics.median(times)


def chats(cursor, chance, n):
    """
    Of each chat: milliseconds of the whole statement, milliseconds from GO to the first token as the engine has them, steps of the engine
    meanwhile, rows of its prompt. One beside which the rows were asked anew does not count: then it is not answers that run.
    """
    found, i = [], 0
    while len(found) < n:
        time.sleep(chance.uniform(0.02, 0.15))
        wait_for_rows(cursor)
        i += 1
        steps, rows = one(cursor, COUNTS)
        start = time.monotonic()
        first_ms, own_rows = one(cursor, CHAT, f"Name a colour, number {i}.")
        whole_ms = (time.monotonic() - start) * 1000
        steps_after, rows_after = one(cursor, COUNTS)
        if rows_after - rows == own_rows:
            found.append((whole_ms, first_ms, steps_after - steps, own_rows))
    return zip(*found)


def gaps(n_prompts, n_tokens, chunk):
    """Milliseconds between the pieces of an answer while long prompts come in, and of a chunk of those, on average."""
    chunk_ms, stopping = [], threading.Event()

    def ask():
        cursor = connect().cursor()
        cursor.execute("SET qwen.prefix_cache = off")
        for i in range(n_prompts):
            text = one(cursor, "SELECT qwen_detokenize((qwen_tokenize(%s))[1:%s])", f"{i}. " + f"The number {i} is far away. " * n_tokens, n_tokens)[0]
            ttft, tokens = one(cursor, "SELECT ttft_ms, prompt_tokens FROM qwen_chat_full(%s, temperature => 0, max_tokens => 1)", text)
            chunk_ms.append(ttft / -(-tokens // chunk))
        stopping.set()

    connection = connect()
    connection.autocommit = False
    found, asking = [], threading.Thread(target=ask)
    asking.start()
    while not stopping.is_set():
        pieces = connection.cursor("pieces")
        pieces.itersize = 1
        pieces.execute(STREAM)
        last = None
        for _ in pieces:
            now = time.monotonic()
            if last is not None:
                found.append((now - last) * 1000)
            last = now
            if stopping.is_set():
                break
        pieces.close()
    asking.join()
    connection.close()
    return found, statistics.median(chunk_ms)


def measure(a):
    cursor = connect().cursor()
    cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg")
    cursor.execute("CREATE TABLE long_rows AS SELECT i AS id, 'Row ' || i || ' begins a tale. Once upon a time in a town by the river' AS body FROM generate_series(1, 32) i")
    one(cursor, "SELECT qwen_generate('warm', max_tokens => 1)")
    with LongRows():
        step = step_ms(cursor)
        whole, first, steps, rows = chats(cursor, random.Random(1), a.chats)
        found, chunk = gaps(a.prompts, a.prompt_tokens, int(one(cursor, "SHOW qwen.prefill_chunk")[0]))
    print(json.dumps({
        "bench": "latency",
        "file": one(cursor, "SELECT file FROM qwen_models LIMIT 1")[0],
        "rows": 32,
        "ours": round(percentile(whole, 0.95) / step, 2),
        "unit": "steps of the rows alone, p95",
        "p50": round(percentile(whole, 0.5) / step, 2),
        "step_ms": round(step, 2),
        "first_token_ms": {"p50": round(percentile(whole, 0.5), 1), "p95": round(percentile(whole, 0.95), 1)},
        "ms_in_engine": {"p50": round(percentile(first, 0.5), 1), "p95": round(percentile(first, 0.95), 1)},
        "engine_steps": {"p50": percentile(steps, 0.5), "p95": percentile(steps, 0.95)},
        "prompt_rows": statistics.median(rows),
        "chats": a.chats,
        "chunk_step_ms": round(chunk, 1),
        "longest_gap_ms": round(max(found), 1),
        "longest_gap_chunks": round(max(found) / chunk, 2),
        "pieces": len(found),
    }), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=1500)
    a = parser.parse_args()
    global SERVER
    SERVER = Cluster()
    del SERVER.settings["qwen.engine_priority"]
    try:
        SERVER.start()
        measure(a)
    finally:
        SERVER.remove()


if __name__ == "__main__":
    main()
