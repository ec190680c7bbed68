#!/usr/bin/env python3
"""How right seconds_left of qwen_progress is, on the demo model: an UPDATE, a job, an array call and embeddings, of many rows each, and a load of a file.

  progress.py [--rows 10000] [--kinds update job array embed load] [--file LARGE]

Looks twice a second, at a load (which is not asked for without a file) ten times, and says at the end how many looks were wrong: from a tenth of the time on, by more than a quarter of what was left (and
a second, as it is shown in seconds). On a machine that does other things meanwhile, what is left changes with them.
"""
import argparse
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster  # noqa: E402

LOOK = "SELECT rows_done, rows_total, percent, seconds_left FROM qwen_progress WHERE kind = %s"


def run_job(server):
    job = server.value("SELECT qwen_submit('t', '{body}', 't', 's', function => 'generate', max_tokens => 4, temperature => 0)")
    server.value("SELECT qwen_wait(%s)", (job,))


KINDS = {
    "update": ("query", lambda server: server.query("UPDATE t SET s = qwen_generate(body, max_tokens => 4, temperature => 0)")),
    "job": ("job", run_job),
    "array": ("query", lambda server: server.query("SELECT count(*) FROM qwen_generate_batch(ARRAY(SELECT body FROM t), max_tokens => 4, temperature => 0)")),
    "load": ("load", lambda server: server.query("SELECT qwen_load_model('large', current_setting('app.file'))")),
    "embed": ("query", lambda server: server.query("SELECT count(qwen_embed(body)) FROM t")),
}


def watch(server, name):
    kind, run = KINDS[name]
    looks, errors = [], []

    def body():
        try:
            run(server)
        except Exception as error:  # what it is stands in the line that is printed
            errors.append(str(error))

    thread = threading.Thread(target=body)
    begun = time.monotonic()
    thread.start()
    while thread.is_alive():
        for row in server.query(LOOK, (kind,)):
            looks.append((time.monotonic() - begun, row))
        time.sleep(0.1 if kind == "load" else 0.5)
    end = time.monotonic() - begun
    judged = [(round(seconds, 1), round(end - seconds, 1), row) for seconds, row in looks if seconds >= end / 10]
    wrong = [look for look in judged if look[2][3] is None or abs(look[2][3] - look[1]) > max(look[1] / 4, 1)]
    print(json.dumps({"kind": name, "seconds": round(end, 1), "looks": len(judged), "wrong": len(wrong), "first_wrong": wrong[:3], "errors": errors}), flush=True)
    return bool(wrong or errors or not judged)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--file", help="what is loaded, in the model directory")
    arguments = parser.parse_args()
    kinds = [name for name in arguments.kinds if name != "load" or arguments.file]
    server = Cluster(settings={"app.file": arguments.file or ""})
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg; CREATE TABLE t (id int PRIMARY KEY, body text, s text)")
        server.query("INSERT INTO t SELECT g, 'It rained on day ' || g || repeat(' and the sun', g %% 7) FROM generate_series(1, %s) g", (arguments.rows,))
        server.value("SELECT qwen_generate('a', max_tokens => 1)")
        return sum([watch(server, name) for name in kinds])
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
