#!/usr/bin/env python3
"""A job of 1,000 rows beside a plain SELECT over the same rows, in turn in one run; and whether the queue itself costs anything.

Called by `make bench-jobs` inside a private server. Short prompts that no other row begins with, short answers: what a job adds to the
model's own work (transactions, hashes of the sources, write-back) counts most here.
"""
import argparse
import json
import os
import statistics
import time

import psycopg2


def connect():
    connection = psycopg2.connect(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"], dbname=os.environ["PGDATABASE"])
    connection.autocommit = True
    return connection.cursor()


def one(cursor, sql, *arguments):
    cursor.execute(sql, arguments)
    return cursor.fetchone()[0]


def select_seconds(cursor, answer):
    start = time.monotonic()
    cursor.execute("SELECT id, qwen_generate(body, temperature => 0, max_tokens => %s) FROM rows", (answer,))
    expected = dict(cursor.fetchall())
    return time.monotonic() - start, expected


def job_seconds(cursor, answer):
    """Seconds of the whole job and of its submission."""
    cursor.execute("UPDATE rows SET answer = NULL")
    start = time.monotonic()
    job = one(cursor, "SELECT qwen_submit('rows', 'body', 'rows', 'answer', function => 'generate', temperature => 0, max_tokens => %s)", answer)
    submitted = time.monotonic() - start
    state = one(cursor, "SELECT qwen_wait(%s)", job)
    assert state == "done", state
    return time.monotonic() - start, submitted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--answer", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    cursor = connect()
    cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg")
    cursor.execute("CREATE TABLE rows (id int PRIMARY KEY, body text, answer text)")
    cursor.execute("INSERT INTO rows SELECT i, format('%%s. The number %%s is the sum of', i, i * 7919 %% 10007) FROM generate_series(1, %s) i", (a.rows,))
    selects, jobs, submissions = [], [], []
    for _ in range(a.rounds):
        seconds, expected = select_seconds(cursor, a.answer)
        selects.append(a.rows / seconds)
        seconds, submitted = job_seconds(cursor, a.answer)
        jobs.append(a.rows / seconds)
        submissions.append(submitted)
        cursor.execute("SELECT id, answer FROM rows")
        assert dict(cursor.fetchall()) == expected, "the job's answers differ from the query's"
    print(json.dumps({
        "bench": "jobs",
        "file": one(cursor, "SELECT file FROM qwen_models LIMIT 1"),
        "rows": a.rows,
        "ours": round(statistics.median(jobs), 1),
        "select": round(statistics.median(selects), 1),
        "unit": "rows/s",
        "of_select": round(statistics.median(job / select for job, select in zip(jobs, selects)), 2),
        "submit_ms": round(statistics.median(submissions) * 1000, 1),
        "rounds": a.rounds,
    }))


if __name__ == "__main__":
    main()
