#!/usr/bin/env python3
"""How much of a database's speed is left while answers are generated beside it, and what the low priority costs alone.

pgbench -S with 4 clients runs alone, then while 32 answers are generated all the time, in turns; then the speed of 32 answers alone with
qwen.engine_priority = low and = normal: one JSON object ("ours": the transactions beside the answers; "of_alone": the share that is left).

Then one answer beside a process that keeps one processor busy all the time, with one thread and with all: the waits for the thread whose processor
is taken must not make two threads slower than one ("busy_one_thread", "busy_all_threads": tokens per second).

  neighbour.py [SECONDS of each run] [ROUNDS]
"""
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster, as_server_user, wait_until  # noqa: E402

CLIENTS, ANSWERS = 4, 32
GENERATE = f"SELECT count(*) FROM qwen_generate_batch(array_fill('Once upon a time'::text, ARRAY[{ANSWERS}]), temperature => 0.8, max_tokens => 100)"


def started(priority):
    cluster = Cluster(settings={"qwen.engine_priority": priority, "qwen.batch_window": ANSWERS})
    cluster.start()
    cluster.query("CREATE EXTENSION qwen_pg")
    cluster.query(GENERATE)
    return cluster


def transactions_per_second(cluster, seconds):
    command = [f"{cluster.programs}/pgbench", "-n", "-S", "-c", str(CLIENTS), "-j", "1", "-T", str(seconds), "-h", cluster.folder, "-p", str(cluster.port), "postgres"]
    out = subprocess.run(as_server_user(command), cwd="/tmp", check=True, capture_output=True, text=True).stdout
    return float(re.search(r"tps = ([0-9.]+)", out).group(1))


def tokens_per_second(cluster, seconds):
    tokens = lambda: cluster.value("SELECT generated_tokens FROM qwen_stat_engine")  # noqa: E731
    before, start = tokens(), time.monotonic()
    while time.monotonic() - start < seconds:
        cluster.query(GENERATE)
    return (tokens() - before) / (time.monotonic() - start)


def beside_answers(cluster, seconds):
    """(transactions, tokens) per second while answers are generated."""
    done = threading.Event()

    def generate():
        while not done.is_set():
            cluster.query(GENERATE)

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    try:
        wait_until(lambda: cluster.value("SELECT running FROM qwen_stat_engine") >= ANSWERS // 2, 30, "running answers")
        before = cluster.value("SELECT generated_tokens FROM qwen_stat_engine")
        tps = transactions_per_second(cluster, seconds)
        return tps, (cluster.value("SELECT generated_tokens FROM qwen_stat_engine") - before) / seconds
    finally:
        done.set()
        thread.join(120)


def beside_a_busy_processor(threads, seconds):
    """Tokens per second of one answer while another process, of usual priority, never stops."""
    cluster = Cluster(settings={"qwen.engine_priority": "low", "qwen.threads": threads, "qwen.speculation": "off"})
    busy = None
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        answer = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 100, stop => ARRAY['never-said'])"
        cluster.query(answer)
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        tokens = lambda: cluster.value("SELECT generated_tokens FROM qwen_stat_engine")  # noqa: E731
        before, start = tokens(), time.monotonic()
        while time.monotonic() - start < seconds:
            cluster.query(answer)
        return (tokens() - before) / (time.monotonic() - start)
    finally:
        if busy:
            busy.kill()
            busy.wait()
        cluster.remove()


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    low = started("low")
    try:
        subprocess.run(as_server_user([f"{low.programs}/pgbench", "-i", "-q", "-s", "10", "-h", low.folder, "-p", str(low.port), "postgres"]), cwd="/tmp", check=True, capture_output=True)
        transactions_per_second(low, 2)
        alone, beside, tokens_beside, tokens_low = [], [], [], []
        for _ in range(rounds):
            alone.append(transactions_per_second(low, seconds))
            tps, tokens = beside_answers(low, seconds)
            beside.append(tps)
            tokens_beside.append(tokens)
            tokens_low.append(tokens_per_second(low, seconds))
    finally:
        low.remove()
    normal = started("normal")
    try:
        tokens_normal = [tokens_per_second(normal, seconds) for _ in range(rounds)]
    finally:
        normal.remove()
    busy = {threads: [beside_a_busy_processor(threads, seconds) for _ in range(rounds)] for threads in (1, 0)}
    share = statistics.median(beside) / statistics.median(alone)
    print(json.dumps({
        "bench": "neighbour",
        "clients": CLIENTS,
        "answers": ANSWERS,
        "ours": round(statistics.median(beside)),
        "alone": round(statistics.median(alone)),
        "unit": "transactions/s",
        "of_alone": round(share, 2),
        "tokens_beside": round(statistics.median(tokens_beside)),
        "tokens_low": round(statistics.median(tokens_low)),
        "tokens_normal": round(statistics.median(tokens_normal)),
        "busy_one_thread": round(statistics.median(busy[1]), 1),
        "busy_all_threads": round(statistics.median(busy[0]), 1),
        "rounds": rounds,
    }), flush=True)

if __name__ == "__main__":
    main()
