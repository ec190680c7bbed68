"""What works is left to work, whoever has the higher priority does not wait, and numbers that overflow are an error."""
import os
import signal
import sys

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, wait_until
from random_models import serving
from roles import ENDLESS, as_role, make_role, set_limit
from sessions import Background, is_gone, wait_idle, wait_running

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import hostile  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
WORDS = "the quick brown fox jumps over the lazy dog and runs far away "


# ---- the watchdog ------------------------------------------------------------------------------------------------------
@pytest.fixture
def slow_server():
    """Its kernels are those for any processor, one thread takes a whole prompt in one step."""
    cluster = Cluster(settings={"qwen.watchdog_timeout": "1s", "qwen.prefill_chunk": 4096, "qwen.threads": 1})
    cluster.starter = ["env", "QWEN_ISA=portable"]
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        # the model is there; an answer by these kernels would take seconds
        assert cluster.value("SELECT qwen_count_tokens('Hi')") > 0
        yield cluster
    finally:
        cluster.remove()


def test_a_step_may_take_longer_than_the_watchdog_waits(slow_server):
    engine = slow_server.engine_pid()
    before = slow_server.value("SELECT steps FROM qwen_stat_engine")
    call = Background(slow_server, f"SELECT qwen_generate(repeat('{WORDS}', 2), temperature => 0, max_tokens => 2)").join(120)
    assert call.error is None
    # that was one step for the prompt, and it took twice the watchdog's patience and more
    assert slow_server.value("SELECT steps FROM qwen_stat_engine") - before <= 3
    assert call.seconds > 2
    assert slow_server.engine_pid() == engine
    assert slow_server.value("SELECT restarts FROM qwen_stat_engine") == 0
    # in the middle of such a step a real hang is found all the same
    call = Background(slow_server, f"SELECT qwen_generate(repeat('{WORDS[::-1]}', 2), temperature => 0, max_tokens => 2)")
    wait_running(slow_server, 1)
    os.kill(engine, signal.SIGSTOP)
    assert call.join(10).error.pgcode == "58000"
    wait_until(lambda: is_gone(engine), 5)
    assert "no sign of life" in slow_server.read_log()


# ---- priority ----------------------------------------------------------------------------------------------------------
def test_a_higher_priority_does_not_wait_for_running_answers(make_server):
    server = make_server({"qwen.max_running": 4})
    low, high = make_role(server), make_role(server)
    set_limit(server, low, priority=-1000)
    set_limit(server, high, priority=1000)
    answers = [as_role(server, low, ENDLESS) for _ in range(6)]
    wait_running(server, 4)
    before = server.value("SELECT preemptions FROM qwen_stat_engine")
    call = as_role(server, high, "SELECT qwen_generate('One word:', temperature => 0, max_tokens => 3)").join(5)
    assert call.error is None
    assert server.value("SELECT preemptions FROM qwen_stat_engine") == before + 1
    # who gave way has its place again
    wait_running(server, 4)
    assert all(answer.thread.is_alive() for answer in answers)
    for answer in answers:
        answer.connection.cancel()
    for answer in answers:
        assert answer.join().error.pgcode == "57014"
    wait_idle(server)


def test_who_fills_the_queue_does_not_close_it_to_others(make_server):
    server = make_server({"qwen.max_running": 1, "qwen.queue_size": 2, "qwen.queue_timeout": 0})
    greedy, other = make_role(server), make_role(server)
    endless = [as_role(server, greedy, ENDLESS) for _ in range(3)]
    wait_until(lambda: server.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)], what="a full queue")
    assert as_role(server, greedy, ENDLESS).join().error.pgcode == "58000"
    call = as_role(server, other, "SELECT qwen_generate('One word:', temperature => 0, max_tokens => 3)")
    wait_until(lambda: server.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 3)], what="a place in it")
    for answer in endless:
        answer.connection.cancel()
    assert call.join().error is None
    assert all(answer.join().error.pgcode == "57014" for answer in endless)
    wait_idle(server)


# ---- numbers that are not finite -----------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def overflowing():
    server = serving("overflowing")
    yield server
    server.remove()


@pytest.mark.parametrize(
    "call",
    [
        "qwen_generate({}, max_tokens => 50)",
        "qwen_chat({}, max_tokens => 50)",
        "qwen_embed({})",
        "qwen_classify({}, ARRAY['good', 'bad'])",
        "(SELECT count(*) FROM qwen_logprobs({}))",
    ],
)
def test_numbers_that_are_not_finite_are_an_error(overflowing, call):
    for _ in range(2):  # what was computed on the way to it is not kept in a way that hides it
        with pytest.raises(psycopg2.Error) as failure:
            overflowing.query("SELECT " + call.format(f"'{WORDS}!{WORDS}'"))
        assert failure.value.pgcode == "22003", failure.value
        assert "not finite" in str(failure.value) and '"overflowing"' in str(failure.value) and "position" in str(failure.value)
        assert "another" in failure.value.diag.message_hint
    # other texts have what they always have, also those that begin alike
    assert overflowing.value("SELECT " + call.format(f"'{WORDS}{WORDS}'")) is not None


def test_rows_that_overflow_are_null_where_that_is_asked_for(overflowing):
    rows = overflowing.query("SET qwen.on_error = 'null'; SELECT i, qwen_embed(CASE WHEN i = 2 THEN 'no!' ELSE 'yes' END) IS NULL FROM generate_series(1, 3) i")
    assert rows == [(1, False), (2, True), (3, False)]


# ---- a role that does its worst; make soak-hostile is the long version, which holds the times ------------------------------
def test_a_hostile_role_ends_neither_the_engine_nor_a_session(make_server):
    figures = hostile.run(make_server(), 10)
    assert figures["same_engine"] and figures["restarts"] == 0, figures
    assert figures["sessions_lost"] == 0 and figures["unexpected"] == [], figures
    assert figures["chats_beside"] >= 2, figures
