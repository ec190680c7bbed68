#!/usr/bin/env python3
"""Embeddings of texts of 128 tokens per second through SQL beside llama.cpp's and ik_llama.cpp's servers, in turn in one run.

  bench_embed.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE [FILE …]

Ours: qwen_embed_batch over a table's texts. The peers': llama-server --embeddings with batches of 2048 tokens, asked for all texts in one request and by eight
connections with a text each; the faster of the two counts (--quick: one request, which has been the faster way everywhere). "of_peers_prefill": ours against what llama-bench reaches on a
prompt of 128 tokens, more than any program around it could. The texts of each round are new to all sides.
"""
import concurrent.futures
import os

import bench_common as common
from bench_common import emit, figures, in_turn, median, median_ratio

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
    ways = (True,) if a.quick else (True, False)
    numbers, upper = iter(range(a.rounds)), []
    with common.our_server(a, a.peer + inside) as server, common.peer_servers(a, inside, *server_options(CONNECTIONS * 2)) as servers:
        our_round(server, texts_of(server, 1000, n))

        def our_run():
            our_run.texts = texts_of(server, next(numbers), n)
            if not a.quick:
                upper.append(common.peer_bench(a, inside, "-p", str(TOKENS), "-n", "0", repeat=2) / TOKENS)
            return our_round(server, our_run.texts)

        # every way of every peer in each round; of each peer the better one counts
        ours, theirs = in_turn(a, our_run, lambda peer: [peer_round(servers[peer], our_run.texts, at_once) for at_once in ways], list(servers))
    best = {peer: max(zip(*rounds), key=median) if None not in rounds else rounds for peer, rounds in theirs.items()}
    also = {"peers_prefill": median(upper), "of_peers_prefill": median_ratio(ours, upper)} if upper else {}
    emit(bench="embed", file=os.path.basename(inside), threads=a.threads, tokens=TOKENS, texts=n, kv=common.SQL_KV, **figures(ours, best, digits=2), unit="texts/s", **also, rounds=a.rounds)


def server_options(slots):
    """Of a peer's server that embeds texts of up to 256 tokens."""
    return ["--embeddings", "--pooling", "mean", "-np", str(slots), "-c", str(256 * slots), "-b", "2048", "-ub", "2048"]


def main():
    a = common.parse(common.parser_for(__doc__, None, 3, quick_rounds=1))
    a.files = a.files or ["qwen3-0.6b-q4_0", "qwen3-0.6b-q8_0", *([] if a.quick else ["demo"])]
    with common.processes_of(a.peer):
        for file in a.files:
            bench_file(a, file, (128 if file == "demo" else 32) // (2 if a.quick else 1))


if __name__ == "__main__":
    main()
