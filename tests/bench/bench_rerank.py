#!/usr/bin/env python3
"""Scores of 100 documents of 100 tokens for a query per second through SQL beside llama-server's, in turn in one run.

  bench_rerank.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

Ours: qwen_rerank over an array. The peer's: llama-server --rerank with batches of 2048 tokens, asked for all documents in one request and by eight connections
with a document each; the faster of the two counts. Query and documents of each round are new to both sides. "prefixes": how many times we computed the whole
blocks that all prompts of a round begin with.
"""
import concurrent.futures
import os

import bench_common as common
from bench_common import emit, median, median_ratio
from bench_embed import WORDS

TOKENS, DOCUMENTS, CONNECTIONS, BLOCK = 100, 100, 8, 32


def texts_of(server, number):
    """A query, and documents of exactly TOKENS tokens that begin differently."""
    texts = []
    for i in range(DOCUMENTS):
        k = number * DOCUMENTS + i
        texts.append(f"{WORDS[k % len(WORDS)]} {k} " + " ".join(WORDS[(k * 7 + j * 5 + j * j * (k % 11 + 1)) % len(WORDS)] for j in range(TOKENS)))
    cut = "SELECT qwen_detokenize((qwen_tokenize(t))[1:%s]) FROM unnest(%s::text[]) WITH ORDINALITY AS u(t, i) ORDER BY i"
    texts = [text for text, in server.query(cut, (TOKENS, texts))]
    counts = server.query("SELECT DISTINCT qwen_count_tokens(t) FROM unnest(%s::text[]) t", (texts,))
    assert counts == [(TOKENS,)], counts
    return f"Which of these is about number {number} of the {WORDS[number % len(WORDS)]} by the river?", texts


def our_round(server, query, texts):
    seconds, count = common.seconds_of(lambda: server.value("SELECT count(score) FROM qwen_rerank(%s, %s)", (query, texts)))
    assert count == len(texts)
    return len(texts) / seconds


def peer_round(peer, query, texts, at_once):
    def ask(part):
        return len(peer.post("/v1/rerank", {"query": query, "documents": part})["results"])

    if at_once:
        seconds, count = common.seconds_of(lambda: ask(texts))
    else:
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            seconds, count = common.seconds_of(lambda: sum(pool.map(lambda text: ask([text]), texts)))
    assert count == len(texts)
    return len(texts) / seconds


def tokens_of(server):
    """Tokens of all prompts so far, and of them those that were cached."""
    return server.query("SELECT coalesce(sum(prompt_tokens), 0)::int, coalesce(sum(cached_tokens), 0)::int FROM qwen_stat_requests WHERE function = 'qwen_rerank_score'")[0]


def bench_file(a, file):
    inside = common.file_for_both(a, file)
    options = ["--rerank", "-np", str(CONNECTIONS * 2), "-c", str(512 * CONNECTIONS * 2), "-b", "2048", "-ub", "2048"]
    # the second way has been the slower one everywhere
    ours, theirs, cached = [], {True: []} if a.quick else {True: [], False: []}, []
    with common.our_server(a, a.peer + inside, warm="SELECT qwen_rerank_score('warm', 'up')") as server, common.PeerServer(a, inside, *options) as peer:
        query, texts = texts_of(server, 1000)
        our_round(server, query, texts[:8])
        for number in range(a.rounds):
            query, texts = texts_of(server, number)
            before = tokens_of(server)
            ours.append(our_round(server, query, texts))
            cached.append(tokens_of(server)[1] - before[1])
            for at_once in theirs:
                theirs[at_once].append(peer_round(peer, query, texts, at_once))
        # what the prompts of the last round begin with, in whole blocks, by what the second of two documents finds
        before = tokens_of(server)
        server.query("SELECT qwen_rerank_score(%s, %s)", (query, "zebra " + texts[0]))
        block_tokens = (tokens_of(server)[1] - before[1]) // BLOCK * BLOCK
    best = max(theirs.values(), key=median)
    emit(bench="rerank", file=os.path.basename(inside), threads=a.threads, tokens=TOKENS, texts=DOCUMENTS, kv=common.SQL_KV, ours=median(ours), peer=median(best), unit="documents/s",
         ratio=median_ratio(ours, best), prefix_tokens=block_tokens, prefixes=median(DOCUMENTS - one / block_tokens for one in cached), rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["qwen3-0.6b-rerank-q4_0"], 2, quick_rounds=1))
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file)


if __name__ == "__main__":
    main()
