#!/usr/bin/env python3
"""Greedy continuations through SQL against llama.cpp's (greedy.json): equal, or differing first at a near tie, which is printed.

Runs with the PG* variables of a server that has the extension and the demo model. A tie is near when llama.cpp's best two tokens are
less than NEAR apart in log-probability: both programs quantize activations, each in its own way.
"""
import json
import os
import sys

import psycopg2

NEAR = 0.35


def first_difference(cursor, expected, text):
    """The first of the expected tokens that our text does not continue with; None when there is none."""
    for i in range(1, len(expected) + 1):
        cursor.execute("SELECT qwen_detokenize(%s)", (expected[:i],))
        # half a character at the end is no difference yet
        if not text.startswith(cursor.fetchone()[0].rstrip("\ufffd")):
            return i - 1
    return None


def main():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "greedy.json"), encoding="utf-8") as file:
        cases = json.load(file)["cases"]
    connection = psycopg2.connect("")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE EXTENSION IF NOT EXISTS qwen_pg")
    equal = ties = failed = 0
    for case in cases:
        cursor.execute("SELECT qwen_generate(%s, temperature => 0, max_tokens => %s)", (case["prompt"], len(case["tokens"])))
        text = cursor.fetchone()[0]
        if text == case["text"]:
            equal += 1
            continue
        expected = [token["id"] for token in case["tokens"]]
        at = first_difference(cursor, expected, text)
        if at is None:
            equal += 1
            continue
        (_, first), (_, second) = case["tokens"][at]["top"]
        near = first - second < NEAR
        ties += near
        failed += not near
        print(f"{'near tie' if near else 'DIFFERENT'}: {case['prompt']!r} at token {at}: {first:.3f} against {second:.3f}")
    print(f"greedy against llama.cpp: {equal} equal, {ties} part at a near tie")
    print(f"{equal + ties} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
