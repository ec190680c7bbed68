#!/usr/bin/env python3
"""Does one fixed space between things cost quality? qwen_extract over 200 labelled texts (extractions.txt), a JSON line for each way of writing:

  fixed      qwen_extract as it is: ", " and ": "
  pattern    the same form as a pattern, with the same prompt: that patterns make no difference
  free       this pattern with any white space where JSON takes it, as XGrammar and others let it by default
  unformed   (with --what) no form: what the model writes by itself, read as JSON where it is any

Called by `make bench-extract` inside a private server. A field is right where its value is the label's: numbers by value, texts without regard to case, white space at the
ends and a full stop behind. An answer that max_tokens cut has no right field. At temperature 0: the figures but the seconds are the same in every run.
"""
import argparse
import collections
import json
import math
import os
import time

import psycopg2

TEXTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "extractions.txt")
PROMPT = "Extract what the following text says, as JSON that satisfies this schema. Say only what the text says.\nSchema: "  # task_prompts.h
COUNTS = "SELECT coalesce(sum(completion_tokens), 0) FROM qwen_stat_requests"
DATE, TIME = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])", r"(?:[01]\d|2[0-3]):[0-5]\d"


def text(limit):
    return {"type": "string", "maxLength": limit}, r'"(?:[^"\\\u0000-\u001f]|\\["\\/bfnrt]){0,' + str(limit) + '}"'


def date():
    return {"type": "string", "format": "date"}, f'"{DATE}"'


def clock():
    return {"type": "string", "pattern": f"^{TIME}$"}, f'"{TIME}"'


def whole():
    return {"type": "integer", "minimum": 0, "maximum": 9999999}, r"(?:0|[1-9]\d{0,6})"


def money():
    return {"type": "number", "minimum": 0, "maximum": 9999999, "multipleOf": 0.01}, r"(?:0|[1-9]\d{0,6})(?:\.\d{1,2})?"


def truth():
    return {"type": "boolean"}, "(?:true|false)"


def one_of(*words):
    return {"enum": list(words)}, "(?:" + "|".join(f'"{word}"' for word in words) + ")"


def or_null(part):
    return {**part[0], "type": [part[0]["type"], "null"]}, f"(?:{part[1]}|null)"


KINDS = {
    "invoice": {"sender": text(60), "number": text(20), "total": money(), "currency": one_of("EUR", "USD", "GBP"), "due": or_null(date())},
    "order": {"customer": text(60), "item": text(60), "quantity": whole(), "city": text(60), "express": truth()},
    "ticket": {"product": text(40), "version": or_null(text(10)), "severity": one_of("low", "medium", "high"), "since": or_null(date())},
    "address": {"name": text(60), "street": text(60), "postcode": text(12), "city": text(60), "country": text(40)},
    "meeting": {"host": text(60), "place": text(60), "date": date(), "time": clock(), "guests": whole()},
    "job": {"company": text(60), "position": text(60), "years": or_null(whole()), "remote": truth(), "salary": or_null(whole())},
    "trip": {"traveller": text(60), "origin": text(60), "destination": text(60), "date": date(), "price": money()},
    "contact": {"first_name": text(40), "last_name": text(40), "email": or_null(text(60)), "phone": or_null(text(20)), "age": or_null(whole())},
}  # fmt: skip


def schema_of(kind):
    columns = KINDS[kind]
    return json.dumps({"type": "object", "properties": {name: part[0] for name, part in columns.items()}, "required": list(columns), "additionalProperties": False})


def pattern_of(kind, between, comma, colon):
    """The object as a pattern; between stands where only free white space does."""
    members = [f'"{name}"{colon}{part[1]}' for name, part in KINDS[kind].items()]
    return r"\{" + between + comma.join(members) + between + r"\}"


def label(part, written):
    if not written:
        return None
    if part[0].get("type") == "boolean":
        return written == "true"
    return float(written) if "minimum" in part[0] else written


def read_texts():
    rows = []
    with open(TEXTS, encoding="utf-8") as file:
        for line in file:
            if line.startswith("= "):
                kind, names = line[2:].strip().split(": ")
                assert names.split(", ") == list(KINDS[kind]), line
            elif not line.startswith("#"):
                body, *values = (part.strip() for part in line.rstrip("\n").split(" |"))
                assert len(values) == len(KINDS[kind]), line
                rows.append((kind, body, {name: label(part, value) for (name, part), value in zip(KINDS[kind].items(), values)}))
    return rows


def is_right(wanted, found):
    if isinstance(wanted, bool) or wanted is None:
        return found is wanted
    if isinstance(wanted, float):
        return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isclose(found, wanted, abs_tol=0.001)
    return isinstance(found, str) and found.strip().rstrip(".").casefold() == wanted.rstrip(".").casefold()


def read_answer(answer):
    """An object, or none; a fence of Markdown and words around it are no fault."""
    try:
        found = json.loads(answer[answer.index("{") : answer.rindex("}") + 1]) if answer else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class Bench:
    def __init__(self, rows, max_tokens):
        connection = psycopg2.connect(host=os.environ["PGHOST"], port=os.environ["PGPORT"], user=os.environ["PGUSER"], dbname=os.environ["PGDATABASE"])
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg; SET qwen.on_error = 'null'; CREATE TEMP TABLE texts (id int, kind text, body text)")
        self.cursor.execute("SELECT qwen_chat('Hi', max_tokens => 1)")
        self.rows, self.max_tokens = rows, max_tokens
        self.cursor.executemany("INSERT INTO texts VALUES (%s, %s, %s)", [(i, kind, body) for i, (kind, body, _) in enumerate(rows)])

    def ask(self, kind, way):
        """Answers by row's number; NULL where max_tokens cut one."""
        schema = schema_of(kind)
        if way == "fixed":
            self.cursor.execute("SELECT id, qwen_extract(body, %s::json, temperature => 0, max_tokens => %s)::text FROM texts WHERE kind = %s", (schema, self.max_tokens, kind))
            return dict(self.cursor.fetchall())
        blank = r"[ \t\n\r]*"
        form = {"pattern": ("", ", ", ": "), "free": (blank, f"{blank},{blank}", f"{blank}:{blank}")}.get(way)
        form = form and json.dumps({"type": "regex", "pattern": pattern_of(kind, *form)})
        self.cursor.execute(
            "SELECT id, CASE WHEN (r).finish_reason <> 'length' THEN (r).content END FROM (SELECT id, qwen_chat_full(%s || E'\\n\\n' || body, temperature => 0, max_tokens => %s,"
            " response_format => %s) AS r FROM texts WHERE kind = %s OFFSET 0) s", (PROMPT + schema, self.max_tokens, form, kind))
        return dict(self.cursor.fetchall())

    def measure(self, way):
        answers = {}
        self.cursor.execute(COUNTS)
        (before,) = self.cursor.fetchone()
        start = time.monotonic()
        for kind in dict.fromkeys(kind for kind, _, _ in self.rows):
            answers.update(self.ask(kind, way))
        seconds = time.monotonic() - start
        self.cursor.execute(COUNTS)
        (after,) = self.cursor.fetchone()
        assert len(answers) == len(self.rows) and after > before
        right, total, by_kind = 0, 0, collections.Counter()
        whole_rows = 0
        for i, (kind, _, wanted) in enumerate(self.rows):
            found = read_answer(answers[i])
            n = sum(is_right(value, found.get(name, "")) for name, value in wanted.items())
            right, total, whole_rows = right + n, total + len(wanted), whole_rows + (n == len(wanted))
            by_kind[kind] += n
        print(json.dumps({"bench": "extract", "what": way, "rows": len(self.rows), "fields": total, "ours": round(right / total, 4), "unit": "fields right", "fields_right": right, "rows_right": whole_rows,
                          "cut": sum(answer is None for answer in answers.values()), "tokens_per_row": round(float(after - before) / len(self.rows), 1), "seconds": round(seconds, 1),
                          "by_kind": dict(by_kind)}), flush=True)
        return answers


def compare(rows, fixed, free):
    """Field by field: those that are right in one way of writing alone."""
    sides = collections.Counter()
    for i, (_, _, wanted) in enumerate(rows):
        ours, theirs = read_answer(fixed[i]), read_answer(free[i])
        for name, value in wanted.items():
            sides[is_right(value, ours.get(name, "")), is_right(value, theirs.get(name, ""))] += 1
    n_fixed, n_free = (sum(n for sides_right, n in sides.items() if sides_right[way]) for way in (0, 1))
    print(json.dumps({"bench": "extract", "what": "fixed against free", "ours": n_fixed, "unit": "fields right", "free": n_free, "ratio": round(n_fixed / n_free, 3) if n_free else None,
                      "right_in_fixed_alone": sides[True, False], "right_in_free_alone": sides[False, True]}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--rows-of-each", type=int, default=25, help="texts of each kind")
    parser.add_argument("--what", default="fixed,pattern,free")
    parser.add_argument("--answers", help="a file for all answers")
    a = parser.parse_args()
    seen = collections.Counter()
    rows = [row for row in read_texts() if seen.update([row[0]]) or seen[row[0]] <= a.rows_of_each]
    bench = Bench(rows, a.max_tokens)
    answers = {way: bench.measure(way) for way in a.what.split(",")}
    if "fixed" in answers and "free" in answers:
        compare(rows, answers["fixed"], answers["free"])
    if a.answers:
        with open(a.answers, "w", encoding="utf-8") as out:
            for i, (kind, body, wanted) in enumerate(rows):
                print(json.dumps({"kind": kind, "body": body, "wanted": wanted, **{way: found[i] for way, found in answers.items()}}, ensure_ascii=False), file=out)


if __name__ == "__main__":
    main()
