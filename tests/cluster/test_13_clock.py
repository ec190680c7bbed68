"""The wall clock is put forward and back while roles use up their limits, and while a server is down."""
import re
import signal

import pytest
from cluster import Cluster, wait_until
from conftest import ready
from roles import ONE, as_role, make_role, refused, set_limit, usage, used
from shim import Shim
from test_11_limits import age_usage_file

DAY = 24 * 3600


@pytest.fixture(scope="module")
def stepped():
    shim = Shim()
    server = Cluster(settings={"qwen.prefix_cache": "off"})
    server.starter = shim.starter()
    server.step = lambda seconds: shim.order(clock=seconds)
    try:
        yield ready(server)
    finally:
        server.remove()
        shim.remove()


def seconds_left(server, role):
    return int(re.search(r"Try again in (\d+) seconds", refused(server, role).message_hint).group(1))


@pytest.mark.parametrize("seconds", [DAY, -DAY, 3 * 365 * DAY])
def test_a_step_neither_frees_nor_holds(stepped, seconds):
    role = make_role(stepped)
    set_limit(stepped, role, requests_per_minute=2, tokens_per_day=1000)
    stepped.query(ONE, user=role)
    before = stepped.value("SELECT extract(epoch FROM now())")
    stepped.step(seconds)
    try:
        assert abs(float(stepped.value("SELECT extract(epoch FROM now())") - before) - seconds) < 60, "the clock was stepped"
        tokens = used(stepped, role, "tokens_per_day")
        assert tokens > 0 and used(stepped, role, "requests_per_minute") == 1
        stepped.query(ONE, user=role)
        assert 1 <= seconds_left(stepped, role) <= 61
        assert used(stepped, role, "tokens_per_day") == 2 * tokens
        # a wait goes on by the time that passes: a limit that is raised ends it
        call = as_role(stepped, role, ONE, "SET qwen.limit_action = wait")
        wait_until(lambda: stepped.query("SELECT state FROM qwen_stat_activity") == [("limited",)], what="one that waits")
        stepped.step(-seconds)
        set_limit(stepped, role, requests_per_minute=3)
        assert call.join(10).error is None
        # an engine that dies after the step is started again at once
        stepped.signal(stepped.engine_pid(), signal.SIGKILL)
        set_limit(stepped, role, requests_per_minute=10)
        wait_until(lambda: stepped.value("SELECT state FROM qwen_stat_engine") == "running", 5, "an engine")
        assert stepped.query(ONE, user=role)
    finally:
        stepped.step(0)


def test_a_step_while_the_server_is_down(stepped):
    """Without a restart of the machine its monotonic clock counts; after one the wall clock, and one put back counts as no time."""
    role = make_role(stepped)
    set_limit(stepped, role, requests_per_minute=2)
    stepped.query(ONE, user=role)
    for seconds, age in ((DAY, None), (-DAY, None), (-DAY, 0)):
        stepped.stop()
        if age is not None:
            age_usage_file(stepped, age)
        stepped.step(seconds)
        stepped.start()
        wait_until(lambda: stepped.query("SELECT state FROM qwen_models") == [("serving",)], 20, "the model")
        assert usage(stepped, role)["requests_per_minute"][0] == 1, (seconds, age)
    stepped.stop()
    age_usage_file(stepped, 0)
    stepped.step(3600)  # after the start of another machine an hour has passed
    stepped.start()
    assert used(stepped, role, "requests_per_minute") == 0


def test_a_job_s_row_is_tried_again_after_the_clock_was_put_back(stepped):
    """What waits for its next attempt, and a worker that pauses, wait by the machine's time."""
    stepped.query(
        """
        CREATE TABLE stubborn (id int PRIMARY KEY, body text, answer text);
        INSERT INTO stubborn SELECT g, 'word ' || g FROM generate_series(1, 5) g;
        CREATE SEQUENCE refusals;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF NEW.id = 3 AND nextval('refusals') <= 2 THEN RAISE 'not now'; END IF;
          RETURN NEW; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON stubborn FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    job = stepped.value("SELECT qwen_submit('stubborn', 'Say {body}', 'stubborn', 'answer', max_tokens => 2, temperature => 0)")
    wait_until(lambda: stepped.query("SELECT count(*) FROM qwen_job_row WHERE attempts >= 1") == [(1,)], 20, "a row that was refused")
    stepped.step(-DAY)
    try:
        assert stepped.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        assert stepped.query("SELECT count(answer) FROM stubborn") == [(5,)]
        # the engine away while the clock goes back: the worker's pauses end all the same
        stepped.query("UPDATE stubborn SET answer = NULL")
        again = stepped.value("SELECT qwen_submit('stubborn', 'Say {body}', 'stubborn', 'answer', max_tokens => 50)")
        stepped.signal(stepped.engine_pid(), signal.SIGKILL)
        stepped.step(-2 * DAY)
        assert stepped.value("SELECT qwen_wait(%s, '60 s')", (again,)) == "done"
        assert stepped.query("SELECT count(answer) FROM stubborn") == [(5,)]
    finally:
        stepped.step(0)
