#!/usr/bin/env python3
"""Embeddings of texts of 128 tokens per second through SQL beside llama-server's, in turn in one run.

  bench_embed.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

Ours: qwen_embed_batch over a table's texts. The peer's: llama-server --embeddings with batches of 2048 tokens, asked for all texts in one request and by eight
connections with a text each; the faster of the two counts. "of_peers_prefill": ours against what llama-bench reaches on a prompt of 128 tokens, more than any
program around it could. The texts of each round are new to both sides.
"""
import concurrent.futures
import os

import bench_common as common
from bench_common import emit, median, median_ratio

TOKENS, CONNECTIONS = 128, 8
WORDS = " river bridge train winter letter garden window market violin harbour ticket summer engine doctor pencil mirror".split(" ")[1:]


def texts_of(server, number, n):
    """n texts of exactly TOKENS tokens that begin differently."""
    texts = []
    for i in range(n):
        k = number * n + i
        words = " ".join(WORDS[(k * 7 + j * 5 + j * j * (k % 11 + 1)) % len(WORDS)] for j in range(TOKENS))
        texts.append(f"{k} {words}")
    cut = "SELECT qwen_detokenize((qwen_tokenize(t))[1:%s]) FROM unnest(%s::text[]) WITH ORDINALITY AS u(t, i) ORDER BY i"
    texts = [text for text, in server.query(cut, (TOKENS, texts))]
    counts = server.query("SELECT DISTINCT qwen_count_tokens(t) FROM unnest(%s::text[]) t", (texts,))
    assert counts == [(TOKENS,)], counts
    return texts


def our_round(server, texts):
    # the answer stays in the server, as a column that is filled would
    seconds, count = common.seconds_of(lambda: server.value("SELECT count(embedding) FROM qwen_embed_batch(%s)", (texts,)))
    assert count == len(texts)
    return len(texts) / seconds


def peer_round(peer, texts, at_once):
    def ask(part):
        return len(peer.post("/v1/embeddings", {"input": part, "encoding_format": "base64"})["data"])

    if at_once:
        seconds, count = common.seconds_of(lambda: ask(texts))
    else:
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            seconds, count = common.seconds_of(lambda: sum(pool.map(lambda text: ask([text]), texts)))
    assert count == len(texts)
    return len(texts) / seconds


def bench_file(a, file, n):
    inside = common.file_for_both(a, file)
    slots = str(CONNECTIONS * 2)
    options = ["--embeddings", "--pooling", "mean", "-np", slots, "-c", str(256 * CONNECTIONS * 2), "-b", "2048", "-ub", "2048"]
    ours, theirs, upper = [], {True: [], False: []}, []
    with common.our_server(a, a.peer + inside) as server, common.PeerServer(a, inside, *options) as peer:
        our_round(server, texts_of(server, 1000, n))
        for number in range(a.rounds):
            texts = texts_of(server, number, n)
            ours.append(our_round(server, texts))
            for at_once in theirs:
                theirs[at_once].append(peer_round(peer, texts, at_once))
            upper.append(common.peer_bench(a, inside, "-p", str(TOKENS), "-n", "0", repeat=2) / TOKENS)
    best = max(theirs.values(), key=median)
    emit(bench="embed", file=os.path.basename(inside), threads=a.threads, tokens=TOKENS, texts=n, ours=median(ours), peer=median(best), unit="texts/s", ratio=median_ratio(ours, best),
         peers_prefill=median(upper), of_peers_prefill=median_ratio(ours, upper), rounds=a.rounds)


def main():
    a = common.parse(common.parser_for(__doc__, ["demo", "qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0"], 3, quick_rounds=2))
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file, (128 if file == "demo" else 32) // (2 if a.quick else 1))


if __name__ == "__main__":
    main()
