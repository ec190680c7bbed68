#!/usr/bin/env python3
"""Rows per second through SQL beside a client with 32 connections to llama-server, on the same file: one after the other in each round.

  bench_rows.py --peer FOLDER --cache FOLDER --model FILE --engine-bench PROGRAM [--file NAME] [--rows N] [--rounds N]

Rows of about 150 tokens, answers of 64. Ours: a plain SELECT (batched by its plan), qwen_generate_batch, a job. The peer has as many slots as
connections and room for all of them. Only one of the two computes at a time; the other one waits idle. No side keeps prompts. NAME: as in bench_models.py, or "demo".
of_engine: the share of what the engine alone reaches with as many tokens, 32 sequences at a time and the rest of the rows at last.
"""
import argparse
import concurrent.futures
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import bench_models
from bench import processes_of

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import cluster as cluster_module  # noqa: E402

CONNECTIONS = 32
ANSWER = 64
WORDS = "river bridge train winter letter garden window market violin harbour ticket summer engine doctor pencil mirror".split()


def prompt(i):
    """About 150 tokens that no other row begins with."""
    return f"{i}. Report {i * 7919 % 10007}: " + " ".join(f"{WORDS[(i * 31 + j * 17 + j * j) % len(WORDS)]}" for j in range(140))


# ---- the peer ----
def ask(port, text):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    body = {"prompt": text, "n_predict": ANSWER, "temperature": 0, "cache_prompt": False, "ignore_eos": True}
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["tokens_predicted"]


def start_peer(a, inside, port):
    command = ["llama-server", "-m", inside, "--host", "127.0.0.1", "--port", str(port), "-t", str(a.threads), "-tb", str(a.threads),
               "-np", str(CONNECTIONS), "-c", str(CONNECTIONS * 320), "--no-webui"]
    server = subprocess.Popen(bench_models.chroot(a.peer, *command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def healthy():
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    cluster_module.wait_until(healthy, 300, "llama-server")
    return server


def peer_round(a, port):
    """Rows per second, and tokens per answer."""
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        tokens = list(pool.map(lambda i: ask(port, prompt(i)), range(a.rows)))
    return a.rows / (time.monotonic() - start), sum(tokens) / a.rows


# ---- the engine alone ----
def engine_round(a, path, n_prompt):
    """Rows per second: as many sequences of as many tokens, without SQL, without a scheduler."""
    seconds = 0.0
    for n, times in ((CONNECTIONS, a.rows // CONNECTIONS), (a.rows % CONNECTIONS, 1)):
        if n > 0 and times > 0:
            command = [a.engine_bench, "--model", path, "--threads", str(a.threads), "--repeat", "2", "--batch", str(n), "--prompt", str(n_prompt)]
            line = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout)
            seconds += times * n * (n_prompt + ANSWER) / line["with_prompts"]
    return a.rows / seconds


# ---- ours ----
def start_ours(a, path):
    settings = {
        "qwen.models": f"bench={os.path.basename(path)}",
        "qwen.model_directory": os.path.dirname(path),
        "qwen.threads": a.threads,
        "qwen.kv_cache_size": "2GB",
        "qwen.max_tokens": ANSWER,
        "qwen.prefix_cache": "off",  # all ways ask about the same rows
    }
    cluster = cluster_module.Cluster(settings=settings)
    cluster.start()
    cluster.query("CREATE EXTENSION qwen_pg")
    cluster.query("CREATE TABLE rows (id int PRIMARY KEY, body text, answer text)")
    for i in range(a.rows):
        cluster.query("INSERT INTO rows VALUES (%s, %s)", (i, prompt(i)))
    # memory is real once it was used
    cluster.query(f"SELECT count(qwen_generate(body, max_tokens => 1)) FROM rows WHERE id < {CONNECTIONS}")
    return cluster


def timed(cluster, sql):
    start = time.monotonic()
    rows = cluster.query(sql)
    return time.monotonic() - start, rows


def ours_round(a, cluster, way):
    """Rows per second; the answers' tokens come from the engine's count."""
    count = "SELECT generated_tokens FROM qwen_stat_engine"
    before = cluster.value(count)
    if way == "select":
        seconds, rows = timed(cluster, "SELECT id, qwen_generate(body, temperature => 0) FROM rows")
        assert len(rows) == a.rows
    elif way == "batch":
        seconds, rows = timed(cluster, "SELECT b.* FROM (SELECT array_agg(body ORDER BY id) AS bodies FROM rows) r, qwen_generate_batch(r.bodies, temperature => 0) b")
        assert len(rows) == a.rows and all(error is None for _, _, error in rows)
    else:
        cluster.query("UPDATE rows SET answer = NULL")
        start = time.monotonic()
        job = cluster.value("SELECT qwen_submit('rows', 'body', 'rows', 'answer', function => 'generate', temperature => 0)")
        rows = cluster.query(f"SELECT qwen_wait({job})")
        seconds = time.monotonic() - start
        assert cluster.value("SELECT count(answer) FROM rows") == a.rows, rows
    return a.rows / seconds, (cluster.value(count) - before) / a.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--model", required=True, help="the demo model")
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--no-peer", action="store_true", help="leave llama-server out")
    parser.add_argument("--file", default="qwen3-0.6b-q4_0")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if a.file == "demo":
        inside = "/" + os.path.basename(a.model)
        if not os.path.exists(a.peer + inside):
            shutil.copy(a.model, a.peer + inside)
    else:
        inside = bench_models.ensure(a.file, a.cache, a.peer)
    port = cluster_module.free_port()
    runs = {way: [] for way in ("select", "batch", "job", "peer", "engine")}
    with processes_of(a.peer):
        server = None if a.no_peer else start_peer(a, inside, port)
        cluster = start_ours(a, a.peer + inside)
        n_prompt = int(cluster.value("SELECT round(avg(qwen_count_tokens(body))) FROM rows"))
        try:
            for _ in range(a.rounds):
                for way in ("select", "batch", "job"):
                    runs[way].append(ours_round(a, cluster, way))
                runs["engine"].append((engine_round(a, a.peer + inside, n_prompt), ANSWER))
                if server:
                    runs["peer"].append(peer_round(a, port))
        finally:
            if server:
                server.terminate()
                server.wait()
            cluster.remove()
    for way in ("select", "batch", "job"):
        result = {
            "bench": "rows",
            "way": way,
            "file": os.path.basename(inside),
            "threads": a.threads,
            "rows": a.rows,
            "ours": round(statistics.median(speed for speed, _ in runs[way]), 3),
            "engine": round(statistics.median(speed for speed, _ in runs["engine"]), 3),
            "unit": "rows/s",
            "of_engine": round(statistics.median(one[0] / other[0] for one, other in zip(runs[way], runs["engine"])), 2),
            "tokens_per_row": [n_prompt, round(statistics.median(tokens for _, tokens in runs[way]), 1)],
            "rounds": a.rounds,
        }
        if runs["peer"]:
            result["peer"] = round(statistics.median(speed for speed, _ in runs["peer"]), 3)
            result["ratio"] = round(statistics.median(one[0] / other[0] for one, other in zip(runs[way], runs["peer"])), 2)
            result["tokens_per_answer_of_peer"] = round(statistics.median(tokens for _, tokens in runs["peer"]), 1)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
