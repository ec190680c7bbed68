#!/usr/bin/env python3
"""What SQL and the way to the engine cost: tokens per second through SQL against the engine alone on the same work, and an empty round trip.

  bench_sql.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

The work: 32 requests at once, and one, of 128 tokens and 64 more each; through SQL (a plain SELECT over a table, batched by its plan; tokenizing, sampling, text
and rows included) and by engine_bench (the model's steps and the largest logit, nothing else), prompts in steps of 512 rows on both sides; no speculation, no
prefix cache. "round_trip": qwen_count_tokens('') from a prepared statement over the Unix socket, by pgbench: client, backend, engine and back; beside SELECT 1.
"""
import os
import re
import subprocess

import bench_common as common
from bench_common import emit, median, median_ratio

PROMPT, ANSWER, CHUNK = 128, 64, 512  # as engine_bench --batch has them
WORDS = "river bridge train winter letter garden window market violin harbour ticket summer engine doctor pencil mirror".split()


def fill_table(server, n):
    """Rows of PROMPT tokens that begin differently."""
    server.query("CREATE TABLE rows (id int PRIMARY KEY, body text)")
    for i in range(n):
        text = f"{i} " + " ".join(WORDS[(i * 7 + j * 5 + j * j * (i % 11 + 1)) % len(WORDS)] for j in range(PROMPT))
        server.query("INSERT INTO rows SELECT %s, qwen_detokenize((qwen_tokenize(%s))[1:%s])", (i, text, PROMPT))
    counts = server.query("SELECT DISTINCT qwen_count_tokens(body) FROM rows")
    assert counts == [(PROMPT,)], counts


def through_sql(server, sequences):
    query = "SELECT id, qwen_generate(body, temperature => 0, max_tokens => %s) FROM rows WHERE id < %s"
    count = "SELECT generated_tokens FROM qwen_stat_engine"
    before = server.value(count)
    seconds, rows = common.seconds_of(lambda: server.query(query, (ANSWER, sequences)))
    tokens = server.value(count) - before
    assert len(rows) == sequences and tokens == sequences * ANSWER, f"{tokens} tokens: an answer ended early"
    return tokens / seconds


def engine_alone(a, path, sequences):
    """Tokens of answers per second, the time for the prompts counted."""
    run = common.engine(a, path, "--batch", str(sequences), kv=common.SQL_KV)
    return run["with_prompts"] * ANSWER / (PROMPT + ANSWER)


def round_trip(server, statement, seconds):
    """Microseconds of one statement, one client after the other's answer."""
    script = os.path.join(server.folder, "round_trip.sql")
    with open(script, "w") as file:
        file.write(statement + "\n")
    command = [f"{server.programs}/pgbench", "-n", "-M", "prepared", "-c", "1", "-j", "1", "-T", str(seconds), "-f", script]
    out = subprocess.run(command, env=server.environment(), check=True, capture_output=True, text=True).stdout
    return float(re.search(r"latency average = ([0-9.]+) ms", out).group(1)) * 1000


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    path, name = a.peer + inside, os.path.basename(inside)
    settings = {"qwen__speculation": "off", "qwen__prefix_cache": "off", "qwen__prefill_chunk": CHUNK, "qwen__batch_window": 32}
    with common.our_server(a, path, **settings) as server:
        fill_table(server, 32)
        for sequences in (32, 1):
            sql, alone = [], []
            for _ in range(a.rounds):
                alone.append(engine_alone(a, path, sequences))
                sql.append(through_sql(server, sequences))
            emit(bench="sql", file=name, threads=a.threads, sequences=sequences, kv=common.SQL_KV, ours=median(sql, 1), engine=median(alone, 1), unit="tok/s", of_engine=median_ratio(sql, alone), rounds=a.rounds)
        trips, empty = [], []
        for _ in range(a.rounds):
            trips.append(round_trip(server, "SELECT qwen_count_tokens('');", 1 if a.quick else 3))
            empty.append(round_trip(server, "SELECT 1;", 1 if a.quick else 3))
        emit(bench="sql", what="round_trip", file=name, threads=a.threads, ours=median(trips, 1), select_1=median(empty, 1), unit="us", rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["qwen3-0.6b-q4_0"], 5, quick_rounds=3))
    for file in a.files:
        bench_file(a, file)


if __name__ == "__main__":
    main()
