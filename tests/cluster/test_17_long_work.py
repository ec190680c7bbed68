"""What takes long holds nobody up: memory that is given back, jobs of more roles than there are places or workers for."""
import signal
import threading
import time

import pytest
from cluster import Cluster, plain_model, wait_until
from conftest import ready
from sessions import Background
from shim import Shim

MODEL = plain_model()


@pytest.fixture(scope="module")
def shim():
    made = Shim()
    yield made
    made.remove()


class Stopwatch(threading.Thread):
    """A session that asks again and again, and the longest that an answer took."""

    def __init__(self, server, sql):
        super().__init__(daemon=True)
        self.connection, self.sql, self.longest, self.n, self.on = server.connect(), sql, 0, 0, True
        self.start()

    def run(self):
        cursor = self.connection.cursor()
        while self.on:
            start = time.monotonic()
            cursor.execute(self.sql)
            self.longest = max(self.longest, time.monotonic() - start)
            self.n += 1

    def stop(self):
        self.on = False
        self.join(20)
        self.connection.close()
        return self.longest


def test_giving_memory_back_holds_nobody_up(shim):
    """0.2 s a GB, which nobody waits for but who unloads; and what waits for the place gets it afterwards."""
    server = Cluster(settings={"qwen.max_models": 2})
    server.starter = shim.starter()
    try:
        ready(server)
        server.query("SELECT qwen_load_model('second', %s)", (MODEL,))
        shim.order(slow_truncate_ms=1500)
        watches = [Stopwatch(server, sql) for sql in ("SELECT qwen_count_tokens('one two')", "SELECT count(*) FROM qwen_models", "SELECT qwen_chat('Hi', max_tokens => 1)")]
        unload = Background(server, "SELECT qwen_unload_model('second')").join(20)
        assert unload.error is None and unload.seconds > 1
        assert max(watch.stop() for watch in watches) < 0.75 and min(watch.n for watch in watches) > 5
        shim.order()
        assert server.query("SELECT name FROM qwen_models") == [("chat",)]
        server.query("SELECT qwen_load_model('third', %s)", (MODEL,))
        assert server.value("SELECT qwen_chat('Hi', model => 'third', max_tokens => 1)") is not None
    finally:
        shim.order()
        server.remove()


@pytest.fixture(scope="module")
def busy():
    """One worker for the jobs of all roles; the log tells of each process."""
    server = Cluster(settings={"qwen.max_job_workers": 1, "log_min_messages": "debug1", "qwen.job_window": 8})
    try:
        ready(server)
        server.query("CREATE TABLE texts (id int PRIMARY KEY, body text); INSERT INTO texts SELECT i, 'thing ' || i FROM generate_series(1, 5000) i")
        yield server
    finally:
        server.remove()


def make_roles(server, *names):
    server.query("; ".join(f"CREATE ROLE {name} SUPERUSER LOGIN; CREATE TABLE said_{name} (id int PRIMARY KEY, said text)" for name in names))


SUBMIT = "SELECT qwen_submit('SELECT id, body FROM texts WHERE id <= {}', 'body', 'said_{}', 'said', max_tokens => 1, temperature => 0)"


def submit(server, role, n_rows):
    return server.value(SUBMIT.format(n_rows, role), user=role)


def states(server, jobs):
    return dict(server.query("SELECT id, state FROM qwen_jobs WHERE id = ANY (%s)", (jobs,)))


def test_a_long_job_leaves_the_worker_to_others_in_turn(busy):
    make_roles(busy, "early", "later", "last")
    long = submit(busy, "early", 5000)
    wait_until(lambda: busy.value("SELECT count(*) FROM said_early") > 0, what="the long job at work")
    short = [submit(busy, "later", 5), submit(busy, "last", 5)]
    wait_until(lambda: set(states(busy, short).values()) == {"done"}, 40, "the others' jobs")
    assert states(busy, [long])[long] in ("running", "no worker")
    busy.query("SELECT qwen_cancel(%s)", (long,))
    assert busy.value("SELECT failed FROM qwen_jobs WHERE id = %s", (long,)) == 0


def test_a_job_that_waits_for_its_limit_keeps_no_worker(busy):
    make_roles(busy, "poor", "rich")
    busy.query("SELECT qwen_set_limit('poor', requests_per_minute => 2)")
    waiting = submit(busy, "poor", 20)
    wait_until(lambda: busy.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") > 0, what="a request at the door")
    assert busy.value("SELECT qwen_wait(%s, '40 s')", (submit(busy, "rich", 5),)) == "done"
    assert states(busy, [waiting])[waiting] in ("running", "no worker")
    busy.query("SELECT qwen_clear_limit('poor')")
    assert busy.value("SELECT qwen_wait(%s, '60 s')", (waiting,)) == "done"
    assert busy.query("SELECT done, failed FROM qwen_jobs WHERE id = %s", (waiting,)) == [(20, 0)]


def count_scouts(server):
    return server.read_log().count('starting background worker process "qwen_pg job scout"')


def test_more_roles_than_places_need_few_scouts(busy):
    """64 places; what finds none waits for a scout, which looks when one is free, and not all the time."""
    roles = [f"crowd_{i}" for i in range(68)]
    make_roles(busy, *roles)
    busy.reload(qwen__max_job_workers=8)
    before, start, engine = count_scouts(busy), time.monotonic(), busy.engine_pid()
    # a job that is submitted is shown to the engine, so all are before it stands still, and their places stay taken
    open_sessions, jobs = [], []
    for role in roles:
        session = busy.connect(role)
        session.autocommit = False
        cursor = session.cursor()
        cursor.execute(SUBMIT.format(1, role))
        jobs.append(cursor.fetchone()[0])
        open_sessions.append(session)
    busy.signal(engine, signal.SIGSTOP)
    try:
        for session in open_sessions:
            session.commit()
            session.close()
        assert busy.value("SELECT count(*) FROM _qwen_job_workers()") == 64
        assert busy.query("SELECT state, error, count(*) FROM qwen_jobs WHERE worker_pid IS NULL AND error LIKE '%other roles have workers%' GROUP BY 1, 2") == [
            ("no worker", "64 other roles have workers or wait for one, which is the most: this role has its turn when one of them is done", 4)]
        time.sleep(3)
    finally:
        busy.signal(engine, signal.SIGCONT)
    assert count_scouts(busy) - before <= 2 * ((time.monotonic() - start) / 5 + 1)
    wait_until(lambda: set(states(busy, jobs).values()) == {"done"}, 60, "everybody's job")
    # a scout and one process a database, every five seconds at most
    rounds = (time.monotonic() - start) / 5 + 1
    assert count_scouts(busy) - before <= 2 * rounds
    said = " UNION ALL ".join(f"SELECT id FROM said_{role} WHERE said IS NOT NULL" for role in roles)
    assert busy.value(f"SELECT count(*) FROM ({said}) s") == len(roles)
