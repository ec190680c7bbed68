#!/usr/bin/env python3
"""What a user waits for, in seconds, through SQL beside llama.cpp's and ik_llama.cpp's servers, in turn in one run.

  bench_feel.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

"first_token": a chat of about 200 tokens, until an answer of one token is there; "chat": another one, with an answer of 64, drawn at 0.7; "rows": 32 rows of about 50 tokens, 16 tokens of answer each,
by a SELECT over a table beside a client with 32 connections; "embeddings": 1,000 texts of 32 tokens, of which as many as "measured" says are embedded, by qwen_embed_batch beside
one request. Everybody has its defaults otherwise; what is asked is new to all sides in each round.
"""
import os
import time

import bench_common as common
import bench_embed
import bench_rows
from bench_common import emit, in_turn, median, median_ratio

ANSWER, ROWS, ROW_ANSWER, TEXTS, TOKENS = 64, 32, 16, 1000, 32
MEASURED = {"qwen3-4b-q4_0": 100}  # texts a round; of other files all, with --quick an eighth
QUICK_MEASURED = {"qwen3-4b-q4_0": 16}


def question(number):
    """About 200 tokens that nobody asked before."""
    words = bench_rows.WORDS
    return f"{number}. Which of these goes with number {number * 7919 % 10007}, and why? " + " ".join(words[(number * 13 + j * 17 + j * j) % len(words)] for j in range(165))


def row(number):
    words = bench_rows.WORDS
    return f"{number}. Report {number * 7919 % 10007}: " + " ".join(words[(number * 31 + j * 17 + j * j) % len(words)] for j in range(40))


# ---- one chat ----
def our_chat(server, number, n):
    sql = "SELECT (r).completion_tokens FROM (SELECT qwen_chat_full(prompt => %s, temperature => 0.7, seed => 7, max_tokens => %s) AS r OFFSET 0) s"
    seconds, tokens = common.seconds_of(lambda: server.value(sql, (question(number), n)))
    assert tokens == n, f"an answer of {tokens} tokens"
    return seconds


def peer_chat(server, number, n):
    body = {"messages": [{"role": "user", "content": question(number)}], "temperature": 0.7, "seed": 7, "max_tokens": n, "ignore_eos": True}
    start = time.monotonic()
    try:
        answer = server.post("/v1/chat/completions", body)
    except RuntimeError as error:
        if "invalid UTF-8" in str(error):  # as in bench_rows
            return time.monotonic() - start
        raise
    seconds = time.monotonic() - start
    if answer["usage"]["completion_tokens"] != n:
        raise RuntimeError(f"an answer of {answer['usage']['completion_tokens']} tokens")
    return seconds


# ---- rows ----
def our_rows(server, first):
    sql = "SELECT qwen_generate(body, temperature => 0, max_tokens => %s) FROM rows WHERE id >= %s AND id < %s"
    count = "SELECT generated_tokens FROM qwen_stat_engine"
    before = server.value(count)
    seconds, rows = common.seconds_of(lambda: server.query(sql, (ROW_ANSWER, first, first + ROWS)))
    tokens = server.value(count) - before
    assert len(rows) == ROWS and tokens == ROWS * ROW_ANSWER, f"{len(rows)} rows, {tokens} tokens"
    return seconds


# ---- embeddings ----
def texts_of(server, number, n):
    texts = [f"{number} {i} {row(number * n + i)}" for i in range(n)]
    return [text for text, in server.query("SELECT qwen_detokenize((qwen_tokenize(t))[1:%s]) FROM unnest(%s::text[]) WITH ORDINALITY AS u(t, i) ORDER BY i", (TOKENS, texts))]


def line_of(a, name, what, ours, theirs, **also):
    """Seconds of all sides; the ratio is how many times as long the other one takes."""
    line = {"ours": median(ours)}
    for peer, seconds in theirs.items():
        if seconds and None not in seconds:
            line |= {peer.name: median(seconds), peer.ratio: median_ratio(seconds, ours)}
    emit(bench="feel", what=what, file=name, threads=a.threads, kv=common.SQL_KV, **line, unit="s", **also, rounds=a.rounds)


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    name = os.path.basename(inside)
    n = QUICK_MEASURED.get(file, TEXTS // 8) if a.quick else MEASURED.get(file, TEXTS)
    numbers = iter(range(1, 1000))  # of rounds
    with common.our_server(a, a.peer + inside) as server:
        server.query("CREATE TABLE rows AS SELECT id, body FROM unnest(%s::int[], %s::text[]) AS u(id, body)",
                     (list(range(ROWS * (a.rounds + 1))), [row(i) for i in range(ROWS * (a.rounds + 1))]))
        with common.peer_servers(a, inside, "-np", str(ROWS), "-c", str(ROWS * 512)) as servers:
            our_chat(server, 0, 1)
            for peer in servers.values():
                peer_chat(peer, 0, 1)
            for what, length in (("first_token", 1), ("chat", ANSWER)):
                ours, theirs = in_turn(a, lambda k=length: our_chat(server, our_number(numbers), k), lambda peer, k=length: peer_chat(servers[peer], our_number.last, k), list(servers))
                line_of(a, name, what, ours, theirs, answer=length)

            def their_rows(peer):
                return ROWS / bench_rows.peer_round(servers[peer], [row(our_number.last * ROWS + i) for i in range(ROWS)], ROW_ANSWER)

            rounds = iter(range(1, a.rounds + 1))

            def our_turn():
                our_number.last = next(rounds)
                return our_rows(server, our_number.last * ROWS)

            line_of(a, name, "rows", *in_turn(a, our_turn, their_rows, list(servers)), rows=ROWS, answer=ROW_ANSWER)
        with common.peer_servers(a, inside, *bench_embed.server_options(16)) as servers:
            texts = {}

            def our_texts():
                number = our_number(numbers)
                texts[number] = texts_of(server, number, n)
                return TEXTS / bench_embed.our_round(server, texts[number])

            line_of(a, name, "embeddings", *in_turn(a, our_texts, lambda peer: TEXTS / bench_embed.peer_round(servers[peer], texts[our_number.last], True), list(servers)),
                    texts=TEXTS, measured=n, tokens=TOKENS)


def our_number(numbers):
    """The next round's number, which stays there for the other sides of it."""
    our_number.last = next(numbers)
    return our_number.last


def main():
    a = common.parse(common.parser_for(__doc__, ["qwen3-0.6b-q4_0", "qwen3-4b-q4_0"], 3))
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
