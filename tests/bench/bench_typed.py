#!/usr/bin/env python3
"""Answers of a form against free ones through SQL, 32 rows at a time, in turn in one run; tokens a second, a JSON line each.

Called by `make bench-typed` inside a private server.
  any       a form that lets everything through
  prose     letters and punctuation only: a form that takes away much and forces nothing
  extract, extract_alone   qwen_extract of five columns, where names and separators are forced, against as many free tokens behind such a prompt: all rows, one
"""
import argparse
import json
import os
import statistics
import time

import psycopg2

SUBJECTS = ["a fox", "an old bridge", "the night train", "a violin", "the north wind", "a library", "a small boat", "two brothers"]
ANY = {"type": "regex", "pattern": "[^]*"}
PROSE = {"type": "regex", "pattern": "[A-Za-z ,.!?;:'\"\\n-]*"}
COLUMNS = {"type": "object", "properties": {
    "sender": {"type": "string", "maxLength": 30}, "invoice_number": {"type": "string", "maxLength": 12}, "total_amount": {"type": "number", "minimum": 0, "maximum": 99999},
    "due_date": {"type": "string", "format": "date"}, "currency": {"enum": ["EUR", "USD", "GBP"]}},
    "required": ["sender", "invoice_number", "total_amount", "due_date", "currency"], "additionalProperties": False}  # fmt: skip
COUNTS = "SELECT coalesce(sum(completion_tokens), 0), coalesce(sum(constrained_tokens), 0), coalesce(sum(forced_tokens), 0), coalesce(sum(mask_ms), 0) FROM qwen_stat_requests"


class Bench:
    def __init__(self, rows):
        connection = psycopg2.connect(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"], dbname=os.environ["PGDATABASE"])
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg")
        self.cursor.execute("SET qwen.batch_window = 100")
        self.cursor.execute("SELECT qwen_chat('Hi', max_tokens => 1)")
        self.rows = rows

    def run(self, sql, *arguments):
        """Seconds, tokens, forced tokens, ms of masks."""
        self.cursor.execute(COUNTS)
        before = self.cursor.fetchone()
        start = time.monotonic()
        self.cursor.execute(sql, arguments)
        found = self.cursor.fetchall()
        seconds = time.monotonic() - start
        assert found and all(value is not None for (value,) in found), found[:2]
        self.cursor.execute(COUNTS)
        tokens, _, forced, masks = (float(b - a) for a, b in zip(before, self.cursor.fetchone()))
        assert tokens > 0
        return seconds, tokens, forced, masks


def compare(what, free, formed, rounds):
    """The rounds in turn, after one that counts for nothing."""
    free(), formed()
    pairs = [(free(), formed()) for _ in range(rounds)]
    rates = [[one[1] / one[0] for one in side] for side in zip(*pairs)]
    last = pairs[-1][1]
    print(json.dumps({"bench": "typed", "what": what, "unit": "tok/s", "ours": round(statistics.median(rates[1]), 1), "free": round(statistics.median(rates[0]), 1),
                      "ratio": round(statistics.median(b / a for a, b in zip(*rates)), 3), "tokens": int(last[1]), "forced": round(last[2] / last[1], 3),
                      "mask_ms": round(last[3], 1)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--what", default="any,prose,extract,extract_alone")
    a = parser.parse_args()
    bench = Bench(a.rows)

    def measure(what, free_run, formed_run):
        if what in a.what.split(","):
            compare(what, free_run, formed_run, a.rounds)

    stories = [f"Story {i} of {SUBJECTS[i % 8]}: once upon a time" for i in range(a.rows)]
    story = "SELECT (qwen_generate_batch(%s, temperature => 1, seed => 1, max_tokens => %s, response_format => %s)).response"
    measure("any", lambda: bench.run(story, stories, a.tokens, None), lambda: bench.run(story, stories, a.tokens, json.dumps(ANY)))
    measure("prose", lambda: bench.run(story, stories, a.tokens, None), lambda: bench.run(story, stories, a.tokens, json.dumps(PROSE)))
    bench.cursor.execute("CREATE TEMP TABLE mails AS SELECT i, format('Dear Sir, please find our invoice R-%s over %s EUR, to be paid by 2026-0%s-1%s. Kind regards, Miller Ltd', 1000 + i,"
                         " i * 37, 1 + i %% 9, i %% 9) AS body FROM generate_series(1, {}) i".format(a.rows).replace("%%", "%"))
    extract = "SELECT qwen_extract(body, %s, temperature => 0) FROM mails"
    _, tokens, _, _ = bench.run(extract, json.dumps(COLUMNS))
    free = "SELECT qwen_chat(body, 'Extract what the text says as JSON of this schema: ' || %s, temperature => 0, max_tokens => %s) FROM mails"
    schema, length = json.dumps(COLUMNS), round(tokens / a.rows)
    measure("extract", lambda: bench.run(free, schema, length), lambda: bench.run(extract, schema))
    measure("extract_alone", lambda: bench.run(free + " LIMIT 1", schema, length), lambda: bench.run(extract + " LIMIT 1", schema))


if __name__ == "__main__":
    main()
