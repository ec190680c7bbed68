"""A model's own layer that guesses (the demo model as qwen35moe with one, tests/tools/reexpress.py) through SQL: answers stay, and what it made is counted."""
import os
import sys

import pytest
from cluster import MODEL_FILE, Cluster, model_directory
from conftest import ready
from sessions import wait_idle

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
WORDS = "la la la la la la la la la la la la"
ASKS = [
    f"SELECT qwen_generate('{WORDS}', temperature => 0, max_tokens => 60)",
    f"SELECT qwen_generate('{WORDS}', temperature => 0.8, seed => 5, max_tokens => 60)",
    "SELECT qwen_chat('Name three rivers.', temperature => 0, max_tokens => 40)",
    "SELECT qwen_chat('Name a river and its length.', response_format => '{\"type\": \"object\", \"properties\": {\"river\": {\"type\": \"string\"}}, "
    "\"required\": [\"river\"], \"additionalProperties\": false}', temperature => 0, max_tokens => 60)",
]


def server_of(speculation, **settings):
    file = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), "qwen35moe+head")
    return Cluster(settings={"qwen.models": f"chat={file}", "qwen.kv_cache_size": "256MB", "qwen.speculation": speculation,
                             "qwen.kv_cache_type": "f16", **settings})  # with which the first answer is one token again and again, as the layer guesses


@pytest.fixture(scope="module")
def answers():
    """What a server says that does not guess."""
    cluster = server_of("off")
    try:
        ready(cluster)
        said = [cluster.value(ask) for ask in ASKS]
        assert cluster.query("SELECT mtp_steps, mtp_tokens, mtp_right, mtp_length, mtp_share FROM qwen_stat_engine") == [(0, 0, 0, None, None)]
        yield said
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def guessing():
    cluster = server_of("mtp")
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def test_answers_do_not_change_and_guesses_are_counted(guessing, answers):
    assert guessing.value("SHOW qwen.speculation") == "mtp"
    assert [guessing.value(ask) for ask in ASKS] == answers
    steps, made, right, length, share = guessing.query("SELECT mtp_steps, mtp_tokens, mtp_right, mtp_length, mtp_share FROM qwen_stat_engine")[0]
    assert right > 30 and made >= right and abs(length - right / steps) < 1e-9 and abs(share - right / made) < 1e-9
    # beside them there are those that a form leaves no choice about
    assert guessing.query("SELECT guessed_tokens > mtp_tokens, guessed_right > mtp_right FROM qwen_stat_engine") == [(True, True)]


def test_what_repeats_takes_fewer_steps(guessing, answers):
    """Of some tries, since guesses are made as they pay, which a busy machine may hide."""
    taken = []
    while len(taken) < 30 and min(taken, default=60) >= 40:
        before = guessing.value("SELECT steps FROM qwen_stat_engine")
        assert guessing.value(ASKS[0]) == answers[0]
        taken.append(guessing.value("SELECT steps FROM qwen_stat_engine") - before)
    assert min(taken) < 40, taken
    wait_idle(guessing)
    assert guessing.value("SELECT kv_bytes_used FROM qwen_stat_engine") == 0


def test_guesses_that_are_wrong_are_soon_left_alone(guessing):
    before = guessing.query("SELECT mtp_tokens, mtp_right, generated_tokens FROM qwen_stat_engine")[0]
    guessing.value("SELECT qwen_chat('Tell me about the sea and the ships that sail on it.', temperature => 0, max_tokens => 120)")
    made, right, generated = (after - earlier for after, earlier in zip(guessing.query("SELECT mtp_tokens, mtp_right, generated_tokens FROM qwen_stat_engine")[0], before))
    assert generated > 60
    assert made < generated / 2, (made, right, generated)


def test_rows_of_a_table_are_as_alone(guessing):
    rows = "SELECT i, qwen_generate(repeat('word ' || i || ' ', 6), temperature => 0, max_tokens => 16) FROM generate_series(1, 12) i"
    together = dict(guessing.query(rows))
    for i in (1, 7, 12):
        assert guessing.value(f"SELECT qwen_generate(repeat('word {i} ', 6), temperature => 0, max_tokens => 16)") == together[i]


def test_the_old_switch_is_still_taken():
    for given, shown in (("on", "auto"), ("off", "off"), ("ngram", "ngram")):
        cluster = Cluster(settings={"qwen.speculation": given})
        try:
            cluster.start()
            assert cluster.value("SHOW qwen.speculation") == shown
        finally:
            cluster.remove()
