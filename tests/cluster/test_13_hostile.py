"""A hostile program on the engine's socket: of another user it is refused (test_03_manners.py); of the server's own user nobody else notices it."""
import contextlib
import os
import re
import shutil
import subprocess
import time

import pytest
from cluster import as_server_user, wait_until
from sessions import Background, wait_idle, wait_running

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "tests", "cluster", "hostile_client")
GREEDY = "SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 30)"


@pytest.fixture(scope="module")
def besieged():
    from cluster import Cluster
    from conftest import ready

    cluster = Cluster(settings={"qwen.max_running": 16})
    try:
        ready(cluster)
        program = os.path.join(cluster.folder, "hostile_client")
        shutil.copy(CLIENT, program)
        os.chmod(program, 0o755)
        yield cluster
    finally:
        cluster.remove()


class Hostile:
    """The program in one of its ways, until the end of the block."""

    def __init__(self, cluster, way, number, said="ready"):
        self.command = as_server_user([os.path.join(cluster.folder, "hostile_client"), os.path.join(cluster.data, "pgsql_tmp_qwen_pg.sock"), way, str(number)])
        self.said = said

    def __enter__(self):
        # its own limit of open files, as a thousand connections take
        self.process = subprocess.Popen(["prlimit", "--nofile=4096:4096"] + self.command, cwd="/tmp", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline().strip()
        assert said == self.said, said
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)


def memory(pid):
    """Anonymous memory of a process in bytes."""
    with open(f"/proc/{pid}/status") as file:
        return [int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon")][0]


def test_a_thousand_connections_disturb_nobody(besieged):
    alone, pid, session = besieged.value(GREEDY), besieged.engine_pid(), Background(besieged, "SELECT 1").join()
    with Hostile(besieged, "many", 1000):
        wait_until(lambda: besieged.value("SELECT clients FROM qwen_stat_engine") >= 1000, 20, "a thousand clients")
        assert session.again(GREEDY) == [(alone,)]
        assert besieged.value(GREEDY) == alone  # a new session connects, too
        start = time.monotonic()
        for _ in range(50):
            session.again("SELECT qwen_count_tokens('one two')")
        assert time.monotonic() - start < 5
    wait_until(lambda: besieged.value("SELECT clients FROM qwen_stat_engine") < 100, 20, "their end")
    assert besieged.engine_pid() == pid


def test_answers_that_nobody_reads_hold_nobody_up(besieged):
    alone, pid = besieged.value(GREEDY), besieged.engine_pid()
    with Hostile(besieged, "unread", 8):
        wait_until(lambda: besieged.value("SELECT running FROM qwen_stat_engine") >= 8, 20, "their requests")
        assert besieged.value(GREEDY) == alone
        # nobody's request is listed or charged, for they passed no door
        assert besieged.query("SELECT * FROM qwen_stat_activity") == []
    wait_idle(besieged, 10)
    assert besieged.engine_pid() == pid


def test_who_asks_and_never_reads_is_closed(besieged):
    """Output that waits is bounded: 256 MB for a connection, and all of it is given back."""
    alone, pid = besieged.value(GREEDY), besieged.engine_pid()
    before = memory(pid)
    with Hostile(besieged, "greedy", 1000000, "closed"):
        assert besieged.value(GREEDY) == alone
        assert besieged.engine_pid() == pid
        assert memory(pid) - before < 100e6, "the output that waited was given back"
    wait_idle(besieged, 10)


def test_long_requests_that_do_not_end_leave_room_to_others(besieged):
    """Four of eight are read, a quarter of a gigabyte: the rest waits outside, and what is larger than the room that is left."""
    pid, short, long = besieged.engine_pid(), "SELECT qwen_count_tokens(repeat('word ', 400000))", "SELECT qwen_count_tokens(repeat('word ', 1800000))"
    expected = besieged.value(short)
    before = memory(pid)
    with Hostile(besieged, "endless", 8):
        assert 200e6 < memory(pid) - before < 300e6
        assert besieged.value(short) == expected
        call = Background(besieged, long)
        assert besieged.value(short) == expected
        assert call.thread.is_alive()
        # who waits for room can be cancelled as any other
        given_up = Background(besieged, long)
        wait_until(lambda: besieged.value("SELECT count(*) FROM qwen_stat_activity") == 2, what="two that wait")
        given_up.connection.cancel()
        assert given_up.join().error.pgcode == "57014"
    assert call.join(60).rows == [(besieged.value(long),)]
    assert besieged.engine_pid() == pid
    wait_until(lambda: memory(pid) - before < 50e6, 10, "memory that was given back")


def test_noise_closes_its_own_connections(besieged):
    """More connections than the engine can take: answers and new sessions go on all the same, and the log stays short."""
    long = GREEDY.replace("30", "300")
    alone, pid, session = besieged.value(GREEDY), besieged.engine_pid(), Background(besieged, "SELECT 1").join()
    alone_long = besieged.value(long)
    start = time.monotonic()
    with contextlib.ExitStack() as noise:
        for seed in range(8):
            noise.enter_context(Hostile(besieged, "noise", seed))
        for _ in range(10):
            assert session.again(GREEDY) == [(alone,)]
            call = Background(besieged, long).join(10)
            assert call.error is None and call.rows == [(alone_long,)]
    seconds = time.monotonic() - start
    assert besieged.engine_pid() == pid
    wait_idle(besieged, 10)
    log = besieged.read_log()
    closed = log.count("closing a connection")
    assert 10 < closed <= 20 * (seconds + 2)
    assert re.search(r"closed [0-9]+ more connections for what they sent", log)
