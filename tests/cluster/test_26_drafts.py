"""Another model that guesses for one (qwen.draft_models) through SQL: the demo model, and itself with coarser weights as its draft (tests/tools/draft_model.py).
Answers stay as they are; what was guessed is counted; either model may leave, the engine may die."""
import json
import os
import signal
import sys

import pytest
from cluster import MODEL_FILE, Cluster, model_directory, wait_until
from conftest import ready
from sessions import Background, wait_idle

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import draft_model  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
OBJECT = json.dumps({"type": "object", "properties": {"river": {"type": "string"}, "length": {"type": "integer"}}, "required": ["river", "length"], "additionalProperties": False})
ASKS = [
    "SELECT qwen_chat('Name three rivers and say what they are known for.', temperature => 0, max_tokens => 40, model => '{model}')",
    "SELECT qwen_chat('Tell me about the sea.', temperature => 0.9, seed => 5, max_tokens => 40, model => '{model}')",
    "SELECT qwen_generate('One day a little girl', temperature => 1, seed => 9, max_tokens => 40, model => '{model}')",
    "SELECT qwen_chat('Name a river and its length.', response_format => '" + OBJECT + "', temperature => 0, max_tokens => 40, model => '{model}')",
]
LONG = "SELECT qwen_chat('Tell me a long story of a ship.', temperature => 0, max_tokens => 120, model => '{model}')"
COUNTS = "SELECT draft_steps, draft_tokens, draft_right, draft_length, draft_share, draft_lengths FROM qwen_stat_engine"


def of_cache(form):
    return "models/" + draft_model.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), form)


def set_drafts(cluster, value):
    cluster.reload(**{"qwen.draft_models": value})
    wait_until(lambda: cluster.value("SHOW qwen.draft_models") == value, what="the new setting")


def health(cluster):
    return next((check for check in cluster.value("SELECT qwen_health()")["checks"] if check["check"] == "drafts"), None)


def wait_health(cluster, status, *words):
    wait_until(lambda: (lambda check: check and check["status"] == status and all(word in check["message"] for word in words))(health(cluster)), what=f"drafts {status}: {words}")


def ask_all(cluster, model):
    return [cluster.value(ask.replace("{model}", model)) for ask in ASKS]


@pytest.fixture(scope="module")
def cluster():
    models = {"chat": MODEL_FILE, "padded": of_cache("padded"), "small": of_cache("coarser"), "foreign": of_cache("foreign")}
    made = Cluster(settings={"qwen.models": ", ".join(f"{name}={file}" for name, file in models.items()), "qwen.kv_cache_size": "256MB", "qwen.speculation": "always"})
    try:
        ready(made)
        wait_until(lambda: made.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == len(models), seconds=60, what="the models")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def plain(cluster):
    """What each model says for itself."""
    assert cluster.value("SHOW qwen.draft_models") == ""
    said = {model: ask_all(cluster, model) for model in ("chat", "small")}
    said["long"] = cluster.value(LONG.replace("{model}", "chat"))
    assert cluster.query(COUNTS) == [(0, 0, 0, None, None, [0] * 8)]
    assert said["small"] != said["chat"]
    return said


@pytest.fixture
def drafting(cluster, plain):
    set_drafts(cluster, "chat=small, padded=small")
    wait_health(cluster, "healthy", "2 of 2")
    return cluster


def test_answers_do_not_change_and_guesses_are_counted(drafting, plain):
    assert ask_all(drafting, "chat") == plain["chat"]
    steps, made, right, length, share, lengths = drafting.query(COUNTS)[0]
    assert sum(lengths) == steps > 20 and sum(i * n for i, n in enumerate(lengths)) == right
    assert abs(length - right / steps) < 1e-9 and abs(share - right / made) < 1e-9
    # it agrees often, and not always
    assert 0.1 < share < 0.98 and lengths[0] > 0 and sum(lengths[3:]) > 0, lengths


def test_a_draft_may_have_fewer_tokens_that_nobody_uses(drafting, plain):
    before = drafting.query(COUNTS)[0]
    assert [drafting.value(ask.replace("{model}", "padded")) for ask in ASKS[:2]] == plain["chat"][:2]
    assert drafting.query(COUNTS)[0][2] > before[2] + 20


def test_the_drafts_own_answers_are_its_own(drafting, plain):
    """Also behind what it has read as a draft, which is in its prefix cache."""
    assert ask_all(drafting, "small") == plain["small"]


def test_rows_of_a_table_are_as_alone(drafting):
    rows = "SELECT i, qwen_generate('The number ' || i || ' is', temperature => 0, max_tokens => 16) FROM generate_series(1, 3) i"
    together = dict(drafting.query(rows))
    for i in (1, 2, 3):
        assert drafting.value(f"SELECT qwen_generate('The number {i} is', temperature => 0, max_tokens => 16)") == together[i]


def test_what_cannot_guess_is_said(cluster, plain):
    set_drafts(cluster, "chat=foreign")
    wait_health(cluster, "degraded", "0 of 1", '"foreign" has another vocabulary than "chat": 2 of 49152 tokens differ, token 1000 is the first')
    assert 'no draft for model "chat"' in cluster.read_log()
    before = cluster.query(COUNTS)[0]
    assert cluster.value(ASKS[0].replace("{model}", "chat")) == plain["chat"][0]
    assert cluster.query(COUNTS)[0] == before
    set_drafts(cluster, "chat=smal, caht=small, padded=small")
    wait_health(cluster, "degraded", "1 of 3", 'draft model "smal" of "chat" is not served', 'model "caht" is not served')
    for value, why in (("chat=chat", "At byte 1: \"chat\" cannot guess for itself"), ("chat=small, chat=padded", "At byte 13: \"chat\" has a draft model already"), ("chat", "At byte 1: Entries look like")):
        cluster.reload(**{"qwen.draft_models": value})
        wait_until(lambda: any(check["check"] == "settings" and why in check["message"] for check in cluster.value("SELECT qwen_health()")["checks"]), what=why)
    assert cluster.value("SHOW qwen.draft_models") == "chat=smal, caht=small, padded=small"
    set_drafts(cluster, "")
    wait_until(lambda: health(cluster) is None, what="no word of drafts")


def begun(cluster, sql):
    """A session that asks, once guesses are made for it."""
    before = cluster.query(COUNTS)[0][0]
    session = Background(cluster, sql)
    wait_until(lambda: cluster.query(COUNTS)[0][0] > before + 2, what="guesses")
    return session


def test_a_draft_model_may_leave_and_come_back(drafting, plain):
    session = begun(drafting, LONG.replace("{model}", "chat"))
    drafting.value("SELECT qwen_unload_model('small')")
    wait_health(drafting, "degraded", '"small" of "chat" is not served')
    assert session.join(60).rows == [(plain["long"],)], session.error
    file = of_cache("coarser")
    drafting.value(f"SELECT qwen_load_model('small', '{file}')")
    wait_health(drafting, "healthy", "2 of 2")
    before = drafting.query(COUNTS)[0][2]
    assert drafting.value(LONG.replace("{model}", "chat")) == plain["long"]
    assert drafting.query(COUNTS)[0][2] > before


def test_cancel_frees_what_drafts_hold(drafting):
    session = begun(drafting, LONG.replace("{model}", "chat").replace("ship", "train"))
    drafting.query("SELECT pg_cancel_backend(pid) FROM qwen_stat_activity")
    assert "cancel" in str(session.join().error)
    wait_idle(drafting)
    wait_until(lambda: drafting.value("SELECT kv_bytes_used FROM qwen_stat_engine") == 0, what="memory given back")


def test_a_killed_engine_comes_back_with_its_drafts(drafting, plain):
    session = begun(drafting, LONG.replace("{model}", "chat"))
    drafting.signal(drafting.engine_pid(), signal.SIGKILL)
    assert session.join().error is not None
    wait_until(lambda: drafting.value("SELECT state FROM qwen_stat_engine") == "running", what="the engine")
    wait_health(drafting, "healthy", "2 of 2")
    assert drafting.value(ASKS[0].replace("{model}", "chat")) == plain["chat"][0]
    assert drafting.query(COUNTS)[0][2] > 0
