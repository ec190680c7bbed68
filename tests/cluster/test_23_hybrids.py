"""A hybrid (the demo model written as qwen35moe, tests/tools/reexpress.py) through SQL: its states are counted, shared by nobody and given back."""
import json
import os
import signal
import sys

import pytest
from cluster import Cluster, model_directory, plain_model
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

MODEL = plain_model()


@pytest.fixture(scope="module")
def hybrid():
    """A server of the demo model, and of it as a hybrid with memory for some requests at a time."""
    file = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL), "qwen35moe")
    cluster = Cluster(settings={"qwen.models": f"hybrid={file}, chat={MODEL}", "qwen.kv_cache_size": "256MB"})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def test_rows_of_a_hybrid_are_as_alone(hybrid):
    rows = "SELECT i, qwen_generate('Thing number ' || i || ' is', temperature => 0, max_tokens => 12) FROM generate_series(1, 40) i"
    steps = hybrid.value("SELECT steps FROM qwen_stat_engine")
    together = dict(hybrid.query(rows))
    assert hybrid.value("SELECT steps FROM qwen_stat_engine") - steps < 40 * 12 // 2
    for i in (1, 13, 40):
        assert hybrid.value(f"SELECT qwen_generate('Thing number {i} is', temperature => 0, max_tokens => 12)") == together[i]
    wait_idle(hybrid)
    assert hybrid.value("SELECT kv_bytes_used FROM qwen_stat_engine") == 0


def test_a_hybrid_scores_and_classifies_as_the_demo_model(hybrid):
    ask = """SELECT qwen_classify('The food was cold and the waiter rude.', ARRAY['a bad review', 'a good review', 'a weather report'], model => %s)"""
    assert hybrid.value(ask, ("hybrid",)) == hybrid.value(ask, ("chat",))
    # labels that begin alike: the state goes back to the prompt's end for each question
    first = hybrid.query("SELECT * FROM qwen_classify_scores('It rained all day.', ARRAY['a weather report', 'a weather forecast', 'a recipe'])")
    assert first == hybrid.query("SELECT * FROM qwen_classify_scores('It rained all day.', ARRAY['a weather report', 'a weather forecast', 'a recipe'])")
    wait_idle(hybrid)


def test_cancel_of_a_hybrid_gives_its_state_back(hybrid):
    call = Background(hybrid, LONG.replace("4000", "1000"))
    wait_running(hybrid, 1)
    assert hybrid.value("SELECT kv_bytes_used FROM qwen_stat_engine") > 0
    hybrid.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert getattr(call.join().error, "pgcode", None) == "57014"
    wait_idle(hybrid)
    assert hybrid.value("SELECT kv_bytes_used FROM qwen_stat_engine") == 0


def test_a_conversation_computes_what_is_new_alone(hybrid):
    """Ten turns: each computes its own question and the last token of the answer before it, and what is between them."""
    facts = "The river rises in the hills, passes two old mills and a bridge of stone, and meets the sea behind a town of fishermen. " * 6
    messages = [{"role": "system", "content": facts}]
    before = 0
    for turn in range(10):
        messages.append({"role": "user", "content": f"Question number {turn + 1}: what does the river pass? Say it in a few words."})
        answer, prompt, cached, completion = hybrid.query(
            "SELECT content, prompt_tokens, cached_tokens, completion_tokens FROM qwen_chat_full(%s::jsonb, temperature => 0, max_tokens => 12)",
            (json.dumps(messages),))[0]
        # the answer's tokens are those of its text, up to the last one, which was never computed
        assert cached == before, f"turn {turn + 1}: {prompt} tokens, {cached} of them cached"
        before = prompt + completion - 1
        messages.append({"role": "assistant", "content": answer})
    assert before > 500
    # it has moved from turn to turn: there is one
    assert hybrid.value("SELECT kv_bytes_used FROM qwen_stat_engine") == 0


def test_rows_compute_what_they_share_twice_at_most(hybrid):
    rows = """SELECT sum((r).cached_tokens), sum((r).prompt_tokens) FROM (SELECT qwen_chat_full(
        'Here is a list of rules. ' || repeat('Be short and say nothing that you do not know. ', 30) || 'Item ' || i, temperature => 0, max_tokens => 2) r
        FROM generate_series(1, 12) i) t"""
    cached, prompts = hybrid.query(rows)[0]
    assert 0.7 * prompts < cached < prompts
    wait_idle(hybrid)


def test_a_killed_engine_answers_again(hybrid):
    ask = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, max_tokens => 12)"
    before = hybrid.value(ask)
    hybrid.signal(hybrid.engine_pid(), signal.SIGKILL)
    assert hybrid.value(ask) == before
