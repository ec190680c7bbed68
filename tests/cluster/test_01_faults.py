"""What is promised when something breaks: each fault is made to happen on a real server."""
import os
import signal
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until
from sessions import LONG, Background, is_gone, running, wait_idle, wait_running

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_engine_killed_with_four_calls_waiting(server, number):
    before = server.query("SELECT load_ms, shared_memory_bytes FROM qwen_models")
    pid, restarts = server.query("SELECT pid, restarts FROM qwen_stat_engine")[0]
    calls = [Background(server, LONG) for _ in range(4)]
    wait_running(server, 4)
    killed = time.monotonic()
    os.kill(pid, number)
    for call in calls:
        assert call.join().error.pgcode == "58000", call.error
    assert "Paris" in server.value(CAPITAL)
    assert time.monotonic() - killed < 2
    # the same sessions go on
    for call in calls:
        assert call.again("SELECT pg_backend_pid(), qwen_count_tokens('one')") == [(call.pid, 1)]
    assert server.engine_pid() != pid
    assert server.value("SELECT restarts FROM qwen_stat_engine") == restarts + 1
    # the weights were not read again
    assert server.query("SELECT load_ms, shared_memory_bytes FROM qwen_models") == before
    assert server.read_log().count("read and packed") == 1
    wait_idle(server)


def test_call_right_after_a_kill_is_answered(server):
    os.kill(server.engine_pid(), signal.SIGKILL)
    assert "Paris" in server.value(CAPITAL)


def test_idle_session_outlives_the_engine(server):
    session = Background(server, CAPITAL).join()
    engine = server.engine_pid()
    os.kill(engine, signal.SIGKILL)
    # until all of its threads have ended its sockets are open, and what is sent to it is lost with it
    wait_until(lambda: not os.path.exists(f"/proc/{engine}"), 2, "the engine's end")
    assert "Paris" in session.again(CAPITAL)[0][0]


def test_cancel_frees_the_request(server):
    call = Background(server, LONG)
    wait_running(server, 1)
    server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert call.join(2).error.pgcode == "57014"
    wait_idle(server, 2)
    assert call.again("SELECT 1") == [(1,)]


def test_statement_timeout_frees_the_request(server):
    call = Background(server, LONG, "SET statement_timeout = '300ms'").join(3)
    assert call.error.pgcode == "57014"
    assert call.seconds < 1.5
    wait_idle(server, 2)


def test_terminate_frees_the_request(server):
    call = Background(server, LONG)
    wait_running(server, 1)
    server.query("SELECT pg_terminate_backend(%s)", (call.pid,))
    assert call.join(2).error is not None
    wait_idle(server, 2)


def test_lost_client_frees_the_request(server):
    call = Background(server, LONG)
    wait_running(server, 1)
    import socket

    # the client's end of the connection disappears without a word
    connection = socket.socket(fileno=os.dup(call.connection.fileno()))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    wait_idle(server, 3)
    wait_until(lambda: server.query("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == [], 3)


def test_streaming_client_sees_pieces_as_they_come(server):
    connection = server.connect()
    connection.autocommit = False
    cursor = connection.cursor("pieces")
    cursor.itersize = 1
    start = time.monotonic()
    cursor.execute("SELECT qwen_chat_stream('Tell me a long story.', temperature => 0, max_tokens => 300)")
    cursor.fetchone()
    first = time.monotonic() - start
    cursor.fetchall()
    assert first < (time.monotonic() - start) / 2
    connection.close()
    wait_idle(server)


def test_subtransaction_catches_and_goes_on(server):
    server.query("SET qwen.max_tokens = 5")
    rows = server.query(
        """DO $$ BEGIN
             BEGIN PERFORM qwen_chat('x', model => 'nobody'); EXCEPTION WHEN undefined_object THEN NULL; END;
             IF qwen_count_tokens('one') <> 1 THEN RAISE 'wrong'; END IF;
           END $$"""
    )
    assert rows is None
    wait_idle(server)


def test_postmaster_killed_engine_gone_within_a_second(make_server):
    server = make_server()
    engine = server.engine_pid()
    os.kill(server.postmaster_pid(), signal.SIGKILL)
    wait_until(lambda: is_gone(engine), 1, "the engine's end")
    wait_until(lambda: not server.is_running(), 10)
    # nothing stale blocks the next start
    wait_until(lambda: try_start(server), 20, "a start after the crash")
    assert "Paris" in server.value(CAPITAL)


def try_start(server):
    try:
        return server.start()
    except RuntimeError:
        return None


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_stop_with_a_waiting_call(make_server, mode):
    server = make_server()
    engine = server.engine_pid()
    call = Background(server, LONG)
    wait_running(server, 1)
    start = time.monotonic()
    server.stop(mode)
    assert time.monotonic() - start < 5
    assert call.join(2).error is not None
    wait_until(lambda: is_gone(engine), 1, "the engine's end")
    server.start()
    assert "Paris" in server.value(CAPITAL)
    assert server.value("SELECT state FROM qwen_models") == "serving"


def test_supervisor_killed_weights_survive(make_server):
    server = make_server()
    engine = server.engine_pid()
    supervisor = int(open(f"/proc/{engine}/stat").read().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: is_gone(engine), 1, "the engine's end")

    def answers():
        try:
            return "Paris" in server.value(CAPITAL)
        except psycopg2.Error:
            return False

    wait_until(answers, 10, "an answer after the reset")
    log = server.read_log()
    assert log.count("read and packed") == 1
    assert "is still in memory" in log


def test_supervisor_terminated_comes_back(make_server):
    server = make_server()
    session = Background(server, "SELECT 1").join()
    engine = server.engine_pid()
    supervisor = int(open(f"/proc/{engine}/stat").read().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: is_gone(engine), 2)

    def answers():
        try:
            return "Paris" in server.value(CAPITAL)
        except psycopg2.Error:
            return False

    wait_until(answers, 10)
    assert session.again("SELECT pg_backend_pid()") == [(session.pid,)]
    assert server.read_log().count("read and packed") == 1


def test_crash_loop_backs_off_and_calls_fail_fast(make_server):
    server = make_server({"qwen.engine_path": "/bin/false", "qwen.models": ""}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "backing off", 5)
    wait_until(lambda: server.value("SELECT restarts FROM qwen_stat_engine") >= 3, 5)
    start = time.monotonic()
    with pytest.raises(psycopg2.Error) as failure:
        server.query(CAPITAL)
    assert failure.value.pgcode == "58000"
    assert "exited with code 1" in str(failure.value)
    assert time.monotonic() - start < 1
    assert server.value("SELECT qwen_health() ->> 'status'") == "unhealthy"


def test_engine_that_hangs_is_restarted(make_server):
    server = make_server({"qwen.watchdog_timeout": "1s"})
    engine = server.engine_pid()
    call = Background(server, LONG)
    wait_running(server, 1)
    os.kill(engine, signal.SIGSTOP)
    assert call.join(10).error.pgcode == "58000"
    assert "Paris" in server.value(CAPITAL)
    assert "no sign of life" in server.read_log()


def test_engine_stopped_while_a_large_request_is_sent(make_server):
    server = make_server()
    engine = server.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    call = Background(server, "SELECT qwen_count_tokens(repeat('x ', 20000000))", "SET statement_timeout = '500ms'").join(5)
    assert call.error.pgcode == "57014"
    os.kill(engine, signal.SIGCONT)
    assert call.again("SET statement_timeout = 0; SELECT qwen_count_tokens('one')") == [(1,)]
    wait_idle(server)


def test_nothing_is_left_running(server):
    assert running(server) == 0
