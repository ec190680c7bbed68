#!/usr/bin/env python3
"""A draft model (qwen.draft_models) and none, in turn on one server: the demo model guesses for a model of ten times its bytes that says the same most of the time.

  bench_draft.py --programs FOLDER --peer FOLDER --cache FOLDER --model FILE

The large model is the demo model with wider feed-forward networks, whose additional part is random (tests/tools/draft_model.py) and was chosen so large that in "sampled" seven tokens of ten
stay the same (0.74, where seven are guessed at a time); texts are real ones. "stranger" is a draft that is never right (the large model's tokens, other weights): what it costs where it does not pay. Answers must be
the same. "length": right guesses at a time; "right": their share. --quick: drawn text alone.
"""
import os
import sys
import time

import bench_common as common
from bench_common import emit, median, median_ratio

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import draft_model  # noqa: E402
from cluster import wait_until  # noqa: E402

TASKS = {
    "story": "SELECT qwen_chat('Tell me a long story of a ship.', temperature => 0, max_tokens => 128, model => 'bench')",
    "sampled": "SELECT qwen_chat('Tell me a long story of a ship.', temperature => 0.7, seed => 7, max_tokens => 128, model => 'bench')",
    "two": "SELECT string_agg(qwen_chat('Write about the number ' || i, temperature => 0, max_tokens => 64, model => 'bench'), '|' ORDER BY i) FROM generate_series(1, 2) i",
}
COUNTERS = "SELECT generated_tokens, draft_steps, draft_tokens, draft_right FROM qwen_stat_engine"


def set_draft(server, draft):
    """Who guesses for the large model from now on."""
    server.reload(**{"qwen.draft_models": f"bench={draft}" if draft else ""})
    checks = lambda: [check["status"] for check in server.value("SELECT qwen_health()")["checks"] if check["check"] == "drafts"]  # noqa: E731
    wait_until(lambda: checks() == (["healthy"] if draft else []), what="the draft model")
    time.sleep(0.05)  # the engine reads it between two steps


def ask(server, statement, draft):
    """(tokens per second, answer, times that it guessed, guesses, right ones)"""
    set_draft(server, draft)
    before = server.query(COUNTERS)[0]
    start = time.monotonic()
    answer = server.value(statement)
    seconds = time.monotonic() - start
    tokens, *counts = (after - first for after, first in zip(server.query(COUNTERS)[0], before))
    return tokens / seconds, answer, *counts


def main():
    parser = common.parser_for(__doc__, ["demo"], 5, quick_rounds=2)
    parser.add_argument("--only", help="story, sampled or two: this task alone, without the stranger")
    a = common.parse(parser)
    large, foreign = (os.path.join("models", draft_model.cached(a.cache, a.model, form)) for form in ("large", "stranger"))
    path = os.path.join(a.cache, large)
    share = round(os.path.getsize(a.model) / os.path.getsize(path), 3)
    models = f"bench={large}, small={os.path.basename(a.model)}, stranger={foreign}"
    settings = {"qwen__prefix_cache": "off", "qwen__kv_cache_size": "512MB", "qwen__model_directory": a.cache, "qwen__models": models, "qwen__speculation": "draft"}
    with common.our_server(a, path, **settings) as server:
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 3, seconds=120, what="the models")
        for draft in ("small",) if a.only else ("small", "stranger"):
            for task, statement in TASKS.items():
                # --quick: what has a target
                if a.only and task != a.only or a.quick and task != "sampled":
                    continue
                with_it, without, counts = [], [], []
                for _ in range(a.rounds):
                    speed, plain, *_ = ask(server, statement, None)
                    without.append(speed)
                    speed, answer, *counts = ask(server, statement, draft)
                    with_it.append(speed)
                    assert answer == plain, f"a draft changed an answer: {answer} {plain}"
                steps, guesses, right = counts
                emit(bench="draft", task=task, draft=draft, share_of_bytes=share, threads=a.threads, ours=median(with_it, 1), off=median(without, 1), unit="tok/s",
                     ratio=median_ratio(with_it, without), tries=steps, length=round(right / steps, 2) if steps else None, right=round(right / guesses, 2) if guesses else None,
                     same_answers=True, rounds=a.rounds)


if __name__ == "__main__":
    main()
