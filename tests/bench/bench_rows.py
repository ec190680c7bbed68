#!/usr/bin/env python3
"""Rows per second through SQL beside a client with 32 connections to llama.cpp's and ik_llama.cpp's servers, on the same file: one after the other in each round.

  bench_rows.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [--rows N] [--no-peer] [NAME …]

Rows of about 150 tokens, answers of 64. Ours: a plain SELECT (batched by its plan), qwen_generate_batch, a job. A peer has as many slots as
connections and room for all of them. Only one of all computes at a time; the others wait idle. No side keeps prompts. NAME: as in bench_models.py, or "demo".
of_engine: the share of what the engine alone reaches with as many tokens, 32 sequences at a time and the rest of the rows at last. --quick: 96 rows, a third of them for the peers.
"""
import concurrent.futures
import contextlib
import os
import time

import bench_common as common
from bench_common import emit, figures, in_turn, median, median_ratio

CONNECTIONS = 32
ANSWER = 64
WAYS = ("select", "batch", "job")
WORDS = "river bridge train winter letter garden window market violin harbour ticket summer engine doctor pencil mirror".split()


def prompt(i):
    """About 150 tokens that no other row begins with."""
    return f"{i}. Report {i * 7919 % 10007}: " + " ".join(f"{WORDS[(i * 31 + j * 17 + j * j) % len(WORDS)]}" for j in range(140))


# ---- the peers ----
def ask(server, text, answer):
    body = {"prompt": text, "n_predict": answer, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
    try:
        return server.post("/completion", body)["tokens_predicted"]
    except RuntimeError as error:
        # what random weights write is not always text; one peer cannot put that into JSON once it has computed it, which counts all the same
        if "invalid UTF-8" in str(error):
            return answer
        raise


def peer_round(server, texts, answer):
    """Rows per second of a client with 32 connections."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        tokens = list(pool.map(lambda text: ask(server, text, answer), texts))
    if min(tokens) < answer:
        raise RuntimeError(f"answers of {min(tokens)} tokens instead of {answer}")
    return len(texts) / (time.monotonic() - start)


# ---- the engine alone ----
def engine_round(a, path, n_prompt):
    """Rows per second: as many sequences of as many tokens, without SQL, without a scheduler."""
    seconds = 0.0
    for n, times in ((CONNECTIONS, a.rows // CONNECTIONS), (a.rows % CONNECTIONS, 1)):
        if n > 0 and times > 0:
            line = common.engine(a, path, "--huge-pages", "--batch", str(n), "--prompt", str(n_prompt), repeat=2, kv=common.SQL_KV)
            seconds += times * n * (n_prompt + ANSWER) / line["with_prompts"]
    return a.rows / seconds


# ---- ours ----
def fill_table(server, n):
    server.query("CREATE TABLE rows (id int PRIMARY KEY, body text, answer text)")
    for i in range(n):
        server.query("INSERT INTO rows VALUES (%s, %s)", (i, prompt(i)))
    # memory is real once it was used
    server.query(f"SELECT count(qwen_generate(body, max_tokens => 1)) FROM rows WHERE id < {CONNECTIONS}")


def ours_round(a, server, way):
    """(rows per second, tokens of an answer by the engine's count)"""
    count = "SELECT generated_tokens FROM qwen_stat_engine"
    before = server.value(count)
    if way == "select":
        seconds, rows = common.seconds_of(lambda: server.query("SELECT id, qwen_generate(body, temperature => 0) FROM rows"))
        assert len(rows) == a.rows
    elif way == "batch":
        sql = "SELECT b.* FROM (SELECT array_agg(body ORDER BY id) AS bodies FROM rows) r, qwen_generate_batch(r.bodies, temperature => 0) b"
        seconds, rows = common.seconds_of(lambda: server.query(sql))
        assert len(rows) == a.rows and all(error is None for _, _, error in rows)
    else:
        server.query("UPDATE rows SET answer = NULL")
        start = time.monotonic()
        job = server.value("SELECT qwen_submit('rows', 'body', 'rows', 'answer', function => 'generate', temperature => 0)")
        rows = server.query(f"SELECT qwen_wait({job})")
        seconds = time.monotonic() - start
        assert server.value("SELECT count(answer) FROM rows") == a.rows, rows
    return a.rows / seconds, (server.value(count) - before) / a.rows


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    path, name = a.peer + inside, os.path.basename(inside)
    # all ways ask about the same rows
    settings = {"qwen__max_tokens": ANSWER, "qwen__prefix_cache": "off"}
    options = ["-np", str(CONNECTIONS), "-c", str(CONNECTIONS * 320)]
    texts = [prompt(i) for i in range(max(a.rows // 3, 1) if a.quick else a.rows)]
    with common.our_server(a, path, **settings) as server, common.peer_servers(a, inside, *options) if not a.no_peer else contextlib.nullcontext({}) as servers:
        fill_table(server, a.rows)
        n_prompt = int(server.value("SELECT round(avg(qwen_count_tokens(body))) FROM rows"))

        def our_run():
            return {way: ours_round(a, server, way) for way in WAYS} | {"engine": engine_round(a, path, n_prompt)}

        runs, theirs = in_turn(a, our_run, lambda peer: peer_round(servers[peer], texts, ANSWER), list(servers))
    engine = [run["engine"] for run in runs]
    for way in WAYS:
        speeds = [run[way][0] for run in runs]
        emit(bench="rows", way=way, file=name, threads=a.threads, rows=a.rows, kv=common.SQL_KV, **figures(speeds, theirs, digits=3), engine=median(engine, 3), unit="rows/s",
             of_engine=median_ratio(speeds, engine), tokens_per_row=[n_prompt, median([run[way][1] for run in runs], 1)], rounds=a.rounds)


def main():
    parser = common.parser_for(__doc__, ["qwen3-0.6b-q4_0"], 3)
    parser.add_argument("--rows", type=int, help="default: 200, with --quick 96")
    parser.add_argument("--no-peer", action="store_true", help="leave llama-server out")
    a = common.parse(parser)
    a.rows = a.rows or (96 if a.quick else 200)
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
