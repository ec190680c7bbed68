#!/usr/bin/env python3
"""A million rows that wait: what it takes to queue them, to look at them, to find them again after a restart, and the worker's memory.

  bench_queue.py [--rows N] [--seconds N]

On a server of its own with the demo model. A job over a table of N rows, then a trigger's N rows. Times without the model's work: of the
statement that submits, of the views, from the start of the server to a worker that is at work; `fill` is the INSERT with its trigger beside
the same INSERT without. Memory: the worker's own pages, before and after it has worked for some seconds.
"""
import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster, wait_until  # noqa: E402

LIMITS = "max_tokens => 2, temperature => 0"


def timed(work, *arguments):
    start = time.monotonic()
    value = work(*arguments)
    return round(time.monotonic() - start, 3), value


def own_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def worker_memory(server, seconds):
    """kB of the worker's own pages, as soon as it is at work and some seconds of work later."""
    pid = wait_until(lambda: (server.query("SELECT pid FROM _qwen_job_workers() WHERE state = 'running'") or [(None,)])[0][0], 30, "a worker")
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") > 0, 30, "requests")
    time.sleep(2)
    before = own_kb(pid)
    time.sleep(seconds)
    return [before, own_kb(pid)]


def restart(server):
    """Seconds from the start of the server to a worker that is at work, and what loading the model took meanwhile."""
    server.stop()
    start = time.monotonic()
    server.start()
    wait_until(lambda: server.query("SELECT 1 FROM _qwen_job_workers() WHERE state = 'running'") != [], 60, "a worker")
    seconds = time.monotonic() - start
    wait_until(lambda: server.value("SELECT state FROM qwen_models") == "serving", 60, "the model")
    return round(seconds, 3), round(server.value("SELECT load_ms FROM qwen_models") / 1000, 3)


def job(server, n, seconds):
    server.query(f"CREATE TABLE bulk (id int PRIMARY KEY, body text, answer text); INSERT INTO bulk SELECT i, 'thing number ' || i FROM generate_series(1, {n}) i; ANALYZE bulk")
    submit, number = timed(server.value, f"SELECT qwen_submit('bulk', 'Say {{body}}', 'bulk', 'answer', {LIMITS})")
    view, _ = timed(server.query, "SELECT id, state, total, done, failed, tokens_per_s, eta FROM qwen_jobs")
    memory = worker_memory(server, seconds)
    back, load = restart(server)
    server.query("SELECT qwen_cancel(%s)", (number,))
    return {"kind": "job", "submit_s": submit, "view_s": view, "restart_s": back, "model_load_s": load, "worker_kb": memory}


def trigger(server, n, seconds):
    fill = f"INSERT INTO filled SELECT i, 'thing number ' || i FROM generate_series(1, {n}) i"
    server.query("CREATE TABLE filled (id int PRIMARY KEY, body text, answer text)")
    without, _ = timed(server.query, fill)
    server.query("TRUNCATE filled; CREATE TRIGGER queue AFTER INSERT OR UPDATE ON filled FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Say {body}', 'max_tokens=2', 'temperature=0')")
    with_trigger, _ = timed(server.query, fill)
    view, (backlog,) = timed(server.query, "SELECT waiting, oldest, worker FROM qwen_trigger_backlog")
    assert backlog[0] > 0.9 * n
    memory = worker_memory(server, seconds)
    back, load = restart(server)
    return {"kind": "trigger", "fill_s": with_trigger, "fill_without_s": without, "view_s": view, "restart_s": back, "model_load_s": load, "worker_kb": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--seconds", type=float, default=15)
    a = parser.parse_args()
    server = Cluster(settings={"qwen.log_requests": "off"})
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        server.value("SELECT qwen_chat('Hi', max_tokens => 1)")
        for work in (job, trigger):
            print(json.dumps({"bench": "queue", "rows": a.rows, **work(server, a.rows, a.seconds)}), flush=True)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
