"""The system refuses what supervisor, loader and engine need, or sets the clock: an error that says so, and back to work when it can be had."""
import errno
import os
import signal

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, wait_until
from conftest import let_others_in, ready
from roles import ENDLESS, ONE, make_role, set_limit, used, wait_settled, waiting
from sessions import is_gone, wait_idle, wait_running
from shim import Shim

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"
COUNT = "SELECT qwen_count_tokens('one')"
HOUR = 3600


def answers(server, sql=CAPITAL):
    """The answer, or None while there is none."""
    try:
        return server.value(sql)
    except psycopg2.Error:
        return None


def failure(server, sql=COUNT):
    with pytest.raises(psycopg2.Error) as raised:
        server.query(sql)
    assert raised.value.pgcode == "58000", raised.value
    return str(raised.value)


def supervisor_pid(server):
    with open(f"/proc/{server.engine_pid()}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


@pytest.fixture
def shim():
    made = Shim()
    yield made
    made.remove()


@pytest.fixture
def shimmed(shim):
    cluster = Cluster(settings={"qwen.max_models": 2})
    cluster.starter = shim.starter()
    try:
        yield ready(cluster)
    finally:
        shim.order()
        cluster.remove()


# ---- calls that are refused -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EMFILE, errno.ENOMEM])
def test_server_without_memory_files_does_not_start_and_says_why(shim, number):
    cluster = Cluster()
    cluster.starter = shim.starter()
    try:
        shim.order(no_memfd=number)
        with pytest.raises(RuntimeError):
            cluster.start()
        assert f'could not make memory file "qwen_pg_status": {os.strerror(number)}' in cluster.read_log()
        shim.order()
        ready(cluster)
        assert "Paris" in cluster.value(CAPITAL)
    finally:
        cluster.remove()


def test_engine_and_loader_that_cannot_be_forked(shim, shimmed):
    engine, supervisor = shimmed.engine_pid(), supervisor_pid(shimmed)
    shim.order(no_fork=supervisor)
    # the engine that is there goes on, a model that needs a loader is refused
    assert "Paris" in shimmed.value(CAPITAL)
    assert "the loader could not be started" in failure(shimmed, f"SELECT qwen_load_model('second', '{MODEL_FILE}')")
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: is_gone(engine), 5)
    wait_until(lambda: "the engine could not be started: Resource temporarily unavailable" in shimmed.read_log(), 5)
    message = failure(shimmed)
    assert "is not running" in message and "the engine could not be started: Resource temporarily unavailable" in message
    assert shimmed.value("SELECT 1") == 1
    shim.order()
    assert "Paris" in wait_until(lambda: answers(shimmed), 20)
    assert shimmed.read_log().count("read and packed") == 1
    shimmed.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))


LONG_ROW = "qwen_generate('Row ' || i, temperature => 0, max_tokens => CASE WHEN i < 3 THEN 1 ELSE 100 END, stop => ARRAY['never-said'])"


def crossing(shim, server):
    """Two roles and what they wait for. The engine, which was to open the model anew, has refused the first one's request before it came to send GO; it stands still, and that GO and the other one's are on their way to it."""
    held, other = make_role(server), make_role(server)
    for role in (held, other):
        set_limit(server, role, requests_per_minute=1)
        server.query(ONE, user=role)
    call, endless = waiting(server, held), waiting(server, other, ENDLESS)

    def wait_state(waits, state):
        wait_until(lambda: server.query("SELECT state FROM qwen_stat_activity WHERE pid = %s", (waits.pid,)) == [(state,)], what=f"a request that is {state}")

    wait_state(call, "limited")
    wait_state(endless, "limited")
    shim.order(late_go=call.pid)
    set_limit(server, held, requests_per_minute=60)
    wait_state(call, "waiting")
    server.reload(qwen__models=f"chat={MODEL_FILE} {{context=4096}}")
    wait_until(lambda: server.query("SELECT state, context_length FROM qwen_models") == [("serving", 4096)], 20, "other settings")
    wait_state(endless, "limited")
    server.signal(server.engine_pid(), signal.SIGSTOP)
    shim.order()
    wait_state(call, "submitted")
    set_limit(server, other, requests_per_minute=60)
    wait_state(endless, "waiting")
    return held, other, call, endless


def test_a_go_that_crosses_its_refusal_is_nobody_elses(shim, shimmed):
    """The meter that a late GO names must not be another request's by then."""
    held, other, call, endless = crossing(shim, shimmed)
    shimmed.signal(shimmed.engine_pid(), signal.SIGCONT)
    assert call.join().error is None and call.rows == shimmed.query(ONE)
    wait_running(shimmed, 1)
    wait_until(lambda: used(shimmed, other, "tokens_per_minute") > 20, what="tokens charged while it runs")
    assert used(shimmed, other, "max_concurrent") == 1
    shimmed.query("SELECT pg_cancel_backend(%s)", (endless.pid,))
    endless.join()
    wait_idle(shimmed)
    for role in (held, other):
        wait_settled(shimmed, role)
        assert used(shimmed, role, "requests_per_minute") == 2, "what had not begun is not counted"


def test_a_go_that_its_engine_never_sees_keeps_no_meter(shim, shimmed):
    held, other, call, endless = crossing(shim, shimmed)
    shimmed.signal(shimmed.engine_pid(), signal.SIGKILL)
    for lost in (call, endless):
        assert lost.join().error.pgcode == "58000"
    for role, n in ((held, 1), (other, 2)):
        wait_settled(shimmed, role)
        assert used(shimmed, role, "requests_per_minute") == n


def test_a_cancel_that_a_full_socket_refuses_hurts_no_other_row(shim, shimmed):
    """It is sent later, while others wait; and where there are none, the connection is closed."""
    connection = shimmed.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    for name in ("a", "b"):
        cursor.execute(f"DECLARE {name} CURSOR FOR SELECT i, {LONG_ROW} FROM generate_series(1, 4) i; FETCH 2 {name}")
    shim.order(no_cancel=errno.EAGAIN)
    cursor.execute("CLOSE a")
    shim.order()
    cursor.execute("FETCH 1 b")
    assert [row[0] for row in cursor.fetchall()] == [3], "what is under way on the connection goes on"
    shim.order(no_cancel=errno.EAGAIN)
    cursor.execute("CLOSE b")
    wait_idle(shimmed)
    cursor.execute("ROLLBACK")
    shim.order()
    cursor.execute(CAPITAL)
    assert "Paris" in cursor.fetchone()[0]
    connection.close()


def test_engine_that_may_not_be_executed(make_server, tmp_path):
    let_others_in(tmp_path)
    program = tmp_path / "engine"
    program.write_bytes(b"\x7fELF not a program")
    program.chmod(0o644)
    server = make_server({"qwen.engine_path": str(program)}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "backing off", 5)
    assert "the engine could not be executed" in failure(server)
    # executable, but no program
    program.chmod(0o755)
    wait_until(lambda: server.read_log().count(f'could not execute "{program}"') > 3, 10)
    assert "the engine could not be executed" in failure(server)
    assert server.value("SELECT 1") == 1


def test_data_directory_that_cannot_be_written_to(make_server):
    server = make_server()
    engine = server.engine_pid()
    os.chmod(server.data, 0o500)
    try:
        # who is there already is not concerned
        assert "Paris" in server.value(CAPITAL)
        os.kill(supervisor_pid(server), signal.SIGTERM)
        wait_until(lambda: is_gone(engine), 5)
        message = wait_until(lambda: 'could not remove "pgsql_tmp_qwen_pg.sock": Permission denied' in server.read_log() and failure(server), 10)
        assert 'could not remove "pgsql_tmp_qwen_pg.sock": Permission denied' in message
    finally:
        os.chmod(server.data, 0o700)
    assert "Paris" in wait_until(lambda: answers(server), 10)
    assert server.read_log().count("read and packed") == 1


# ---- limits of the process --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("limits", [["--memlock=0:0"], ["--nofile=100:100"], ["--memlock=0:0", "--nofile=100:100", "--core=0:0"]])
def test_limits_at_their_minimum(limits):
    # 100 descriptors are about what PostgreSQL itself asks for before it starts
    cluster = Cluster(settings={"max_connections": 20})
    cluster.starter = ["prlimit", *limits, "--"]
    try:
        server = ready(cluster)
        with open(f"/proc/{server.engine_pid()}/limits") as file:
            lines = file.read()
        assert all(f"Max {'locked memory' if 'memlock' in limit else 'open files' if 'nofile' in limit else 'core file size'}" in lines for limit in limits)
        assert "Paris" in server.value(CAPITAL)
        os.kill(server.engine_pid(), signal.SIGKILL)
        assert "Paris" in server.value(CAPITAL)
        assert server.value("SELECT load_method FROM qwen_models") is not None
    finally:
        cluster.remove()


# ---- a clock that is set ----------------------------------------------------------------------------------------------
def test_clock_that_jumps(shim, shimmed):
    server = shimmed
    server.query("CREATE TABLE notes (id int PRIMARY KEY, body text, summary text)")
    server.query("INSERT INTO notes SELECT i, 'A note about number ' || i FROM generate_series(1, 4) i")
    for clock in (HOUR, -HOUR, 48 * HOUR, 0):
        shim.order(clock=clock)
        assert abs(server.value("SELECT extract(epoch FROM now())") - server.value("SELECT extract(epoch FROM clock_timestamp())")) < 5
        assert "Paris" in server.value(CAPITAL)
        assert server.value("SELECT qwen_health() ->> 'status'") in ("healthy", "degraded")  # restarts are counted
        # an engine that ended is started again by its own clock
        os.kill(server.engine_pid(), signal.SIGKILL)
        assert "Paris" in server.value(CAPITAL)
        # times are those of work, not of the wall
        times = server.query("SELECT (r).total_ms FROM qwen_chat_full('Hi', max_tokens => 2) r")[0][0]
        assert 0 <= times < 60000
        server.query("UPDATE notes SET summary = NULL")
        job = server.value("SELECT qwen_submit('SELECT id, body FROM notes', 'Summarise: {body}', 'notes', 'summary', max_tokens => 3, temperature => 0)")
        server.query("SET statement_timeout = '60s'; SELECT qwen_wait(%s)", (job,))
        assert server.value("SELECT count(*) FROM notes WHERE summary IS NOT NULL") == 4


def test_engine_that_waits_for_its_next_start_when_the_clock_is_set_back(shim, shimmed):
    engine = shimmed.engine_pid()
    shim.order(no_fork=supervisor_pid(shimmed))
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: shimmed.value("SELECT state FROM qwen_stat_engine") == "backing off", 10)
    shim.order(clock=-HOUR)
    assert "Paris" in wait_until(lambda: answers(shimmed), 20)
