"""What breaks around the engine: memory, disks, files that change under the reader, things left behind by another life."""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, as_server_user, server_programs, wait_until
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"
COUNT = "SELECT qwen_count_tokens('one')"
MEMORY_GROUPS = "/sys/fs/cgroup/memory"


def answers(server, sql=CAPITAL):
    """The answer, or None while there is none."""
    try:
        return server.value(sql)
    except psycopg2.Error:
        return None


def reads(server):
    """How often a model file has been read since the server's first start."""
    return server.read_log().count("read and packed")


# ---- the engine's end -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGBUS, signal.SIGFPE])
def test_engine_that_crashes_with_calls_waiting(server, number):
    before, engine = reads(server), server.engine_pid()
    calls = [Background(server, LONG) for _ in range(3)]
    wait_running(server, 3)
    os.kill(engine, number)
    for call in calls:
        assert call.join().error.pgcode == "58000", call.error
        assert "stopped while it worked on this request" in str(call.error)
        assert f"signal {int(number)}" in str(call.error) or "Try again" in str(call.error)
    assert "Paris" in server.value(CAPITAL)
    for call in calls:
        assert call.again("SELECT pg_backend_pid()") == [(call.pid,)]
    assert f"the engine was terminated by signal {int(number)}" in server.read_log()
    assert reads(server) == before
    wait_idle(server)


def test_crash_loop_is_seen_in_view_and_log(make_server):
    server = make_server({"qwen.engine_path": "/bin/false", "qwen.models": ""}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    pauses = ["100", "200", "400", "800"]
    for pause in pauses:
        wait_until(lambda text=f"It is started again in {pause} ms.": text in server.read_log(), 10)
    row = wait_until(
        lambda: server.query("SELECT restarts, last_error, next_try > now(), pid FROM qwen_stat_engine WHERE state = 'backing off'"), 5
    )[0]
    assert row[0] >= len(pauses) and row[1:] == ("the engine exited with code 1", True, None)
    assert server.read_log().count("the engine exited with code 1") >= len(pauses)
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT)
    assert failure.value.pgcode == "58000" and "when it is started again" in str(failure.value)


def test_engine_program_that_is_missing(make_server):
    server = make_server({"qwen.engine_path": "/nowhere/qwen_engine"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "backing off", 5)
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT)
    assert failure.value.pgcode == "58000"
    # the engine, or the loader, which is the same program, whichever came first
    assert "could not be executed" in str(failure.value)
    # where it should be is not for everybody to see
    assert "nowhere" not in str(failure.value) + server.value("SELECT last_error FROM qwen_stat_engine")
    assert 'could not execute "/nowhere/qwen_engine"' in server.read_log()
    assert 'the engine program "/nowhere/qwen_engine" cannot be run: No such file or directory' in server.read_log()
    advice = server.query("SELECT action FROM qwen_health_checks WHERE status <> 'healthy' AND name IN ('engine', 'models')")
    assert advice and all(action.startswith("Correct qwen.engine_path and restart the server") for (action,) in advice), advice
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_check_model('x.gguf')")
    assert "qwen.engine_path names it" in str(failure.value)


# ---- freed within a step ----------------------------------------------------------------------------------------------
def end_by_cancel(server, call):
    server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert call.join(5).error.pgcode == "57014"


def end_by_termination(server, call):
    server.query("SELECT pg_terminate_backend(%s)", (call.pid,))
    assert call.join(5).error is not None


def end_by_timeout(server, call):
    assert call.join(10).error.pgcode == "57014"


def end_by_killed_client(server, call):
    call.client.kill()
    call.client.wait()
    wait_until(lambda: server.query("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == [], 5)


class Program:
    """psql in the middle of a statement, as a process of its own."""

    def __init__(self, server, sql):
        environment = dict(server.environment(), PGAPPNAME="client_to_kill")
        self.client = subprocess.Popen(["psql", "-XAtqc", sql], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = wait_until(lambda: server.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'client_to_kill'"))
        self.pid = found[0][0]


@pytest.fixture(scope="module")
def slow_server():
    """One whose steps take a good part of a second with a long prompt."""
    cluster = Cluster(settings={"qwen.prefill_chunk": 1024})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.mark.parametrize("end", [end_by_cancel, end_by_termination, end_by_timeout, end_by_killed_client])
def test_request_is_freed_within_one_step(slow_server, end):
    server = slow_server
    wait_idle(server)
    # a new text each time: nothing of it can be in a cache
    prompt = f"SELECT qwen_generate('{end.__name__} ' || repeat('The quick brown fox jumps over a lazy dog. ', 600), max_tokens => 200, temperature => 0)"
    if end is end_by_killed_client:
        call = Program(server, prompt)
    else:
        call = Background(server, prompt, "SET statement_timeout = '1s'" if end is end_by_timeout else None)
    wait_running(server, 1)
    end(server, call)
    # the step that was being computed when the end came, and no other
    steps = server.value("SELECT steps FROM qwen_stat_engine")
    wait_idle(server, 20)
    assert server.value("SELECT steps FROM qwen_stat_engine") <= steps + 1
    time.sleep(0.1)
    assert server.value("SELECT steps FROM qwen_stat_engine") <= steps + 1
    assert server.value(COUNT) == 1


# ---- memory -----------------------------------------------------------------------------------------------------------
class MemoryGroup:
    """A control group with a memory limit for one server."""

    def __init__(self, name):
        self.folder = os.path.join(MEMORY_GROUPS, f"qwen_pg_{name}_{os.getpid()}")
        os.mkdir(self.folder)

    def limit(self, n_bytes):
        with open(os.path.join(self.folder, "memory.limit_in_bytes"), "w") as file:
            file.write(str(n_bytes))

    def used(self):
        with open(os.path.join(self.folder, "memory.usage_in_bytes")) as file:
            return int(file.read())

    def starter(self):
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    def remove(self):
        with open(os.path.join(self.folder, "cgroup.procs")) as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        wait_until(self.try_remove, 10, "an empty control group")

    def try_remove(self):
        try:
            os.rmdir(self.folder)
            return True
        except OSError:
            return False


has_memory_groups = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(os.path.join(MEMORY_GROUPS, "memory.limit_in_bytes")),
    reason="needs root and control groups of version 1",
)


class HeldLoader:
    """The engine program with a gate: as a loader it waits as long as the file "hold" lies beside it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="qwen_pg_held_", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.program = os.path.join(self.folder, "engine")
        with open(self.program, "w") as file:
            file.write(f'#!/bin/sh\nif [ "$1" = load ]; then while [ -e {self.folder}/hold ]; do sleep 0.02; done; fi\n')
            file.write(f'exec {server_programs()}/qwen_engine "$@"\n')
        os.chmod(self.program, 0o755)

    def hold(self):
        with open(os.path.join(self.folder, "hold"), "w"):
            pass

    def release(self):
        os.unlink(os.path.join(self.folder, "hold"))

    def remove(self):
        shutil.rmtree(self.folder)


@pytest.fixture
def limited_server():
    group, loader = MemoryGroup("limited"), HeldLoader()
    settings = {"qwen.kv_cache_type": "f32", "qwen.kv_cache_size": "1GB", "qwen.max_models": 2, "qwen.engine_path": loader.program}
    cluster = Cluster(settings=settings)
    cluster.starter, cluster.group, cluster.loader = group.starter(), group, loader
    try:
        yield ready(cluster)
    finally:
        cluster.remove()
        group.remove()
        loader.remove()


FILL = "SELECT qwen_generate(repeat('The quick brown fox jumps over a lazy dog. ', 700), temperature => 0, max_tokens => 500)"


@has_memory_groups
def test_engine_killed_for_memory_gives_the_models_back_and_loads_them_again(limited_server):
    server, group = limited_server, limited_server.group
    engine, before = server.engine_pid(), reads(server)
    group.limit(group.used() + (64 << 20))
    call = Background(server, FILL).join(60)
    assert call.error.pgcode == "58000", call.error
    assert "stopped while it worked on this request" in str(call.error)
    assert call.again("SELECT 1") == [(1,)]
    assert wait_until(lambda: answers(server), 20) and server.engine_pid() != engine
    log = server.read_log()
    assert "the engine was terminated by signal 9 (Killed) because memory ran out" in log
    assert 'memory ran out: that of model "chat" is given back, and it is loaded again' in log
    assert reads(server) == before + 1
    # by hand it is something else: the same weights are served again
    os.kill(server.engine_pid(), signal.SIGKILL)
    assert "Paris" in server.value(CAPITAL)
    assert reads(server) == before + 1


@has_memory_groups
def test_model_comes_back_when_there_is_memory_again(limited_server):
    server, group, loader = limited_server, limited_server.group, limited_server.loader
    room = group.used()
    group.limit(room + (64 << 20))
    loader.hold()
    assert Background(server, FILL).join(60).error.pgcode == "58000"
    wait_until(lambda: "memory ran out: that of model" in server.read_log())
    # something else takes what the model has given back
    wait_until(lambda: group.used() < room - (60 << 20), 10, "the memory given back")
    group.limit(group.used() + (16 << 20))
    loader.release()
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT)
    assert failure.value.pgcode == "58000"
    assert "MB of memory, but only" in str(failure.value) and "when it is loaded again" in str(failure.value)
    assert server.value("SELECT state FROM qwen_models") == "failed"
    assert reads(server) == 1
    # and then does not need it any more
    group.limit(room + (300 << 20))
    assert "Paris" in wait_until(lambda: answers(server), 20)
    assert reads(server) == 2


@has_memory_groups
def test_model_larger_than_the_control_group_is_refused_with_the_numbers(limited_server):
    server, group = limited_server, limited_server.group
    group.limit(group.used() + (20 << 20))
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    assert failure.value.pgcode == "54000"
    assert "MB of memory, but only" in str(failure.value)
    assert "Paris" in server.value(CAPITAL)
    assert reads(server) == 1


class SmallAddressSpace:
    """The engine program with at most so many kilobytes of address space in one of its modes."""

    def __init__(self, mode, kilobytes):
        self.folder = tempfile.mkdtemp(prefix="qwen_pg_small_", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.program = os.path.join(self.folder, "engine")
        with open(self.program, "w") as file:
            file.write(f'#!/bin/sh\n[ "$1" = {mode} ] && [ ! -e {self.folder}/enough ] && ulimit -v {kilobytes}\n')
            file.write(f'exec {server_programs()}/qwen_engine "$@"\n')
        os.chmod(self.program, 0o755)

    def give_enough(self):
        with open(os.path.join(self.folder, "enough"), "w"):
            pass


@pytest.mark.parametrize("mode, kilobytes", [("load", 56000), ("serve", 400000)])
def test_loader_and_engine_without_memory_say_so(make_server, mode, kilobytes):
    small = SmallAddressSpace(mode, kilobytes)
    try:
        server = make_server({"qwen.engine_path": small.program, "qwen.threads": 1}, prepared=False)
        server.query("CREATE EXTENSION qwen_pg")
        with pytest.raises(psycopg2.Error) as failure:
            server.query(COUNT)
        assert failure.value.pgcode == "58000"
        # which of its allocations or mappings is the first to fail depends on how large the system's libraries are
        assert re.search('model "chat" could not be loaded(.|\n)*(out of memory|Cannot allocate memory)', str(failure.value)), failure.value
        assert server.value("SELECT state FROM qwen_models") == "failed"
        assert server.value("SELECT restarts FROM qwen_stat_engine") == 0
        small.give_enough()
        if mode == "serve":
            os.kill(server.engine_pid(), signal.SIGKILL)
            wait_until(lambda: server.value("SELECT restarts FROM qwen_stat_engine") == 1)
        server.reload()
        assert "Paris" in wait_until(lambda: answers(server), 20)
    finally:
        shutil.rmtree(small.folder)


# ---- queue and descriptors ----------------------------------------------------------------------------------------------
def test_one_call_more_than_the_queue_holds(make_server):
    server = make_server({"qwen.queue_size": 1, "qwen.queue_timeout": 0, "qwen.max_running": 1})
    running = Background(server, LONG)
    wait_running(server, 1)
    waiting = Background(server, LONG)
    wait_until(lambda: server.value("SELECT waiting FROM qwen_stat_engine") == 1)
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_chat('Hi', max_tokens => 1)")
    assert failure.value.pgcode == "58000"
    assert "1 requests are waiting already" in str(failure.value) and "raise qwen.queue_size" in str(failure.value)
    # what needs no step is answered all the same
    assert server.value(COUNT) == 1
    for call in (waiting, running):
        server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
        assert call.join().error.pgcode == "57014"
    wait_idle(server)
    assert "Paris" in server.value(CAPITAL)


def limit_descriptors(pid, n):
    """Let a process of the server's user have no descriptor from n on (None: all it may have)."""
    soft = "$(prlimit --pid %d --nofile --noheadings --output HARD)" % pid if n is None else str(n)
    command = as_server_user(["sh", "-c", f"prlimit --pid {pid} --nofile={soft}:"])
    subprocess.run(command, cwd="/tmp", check=True, capture_output=True)


def test_engine_without_descriptors_goes_on(make_server):
    server = make_server()
    old, new = Background(server, COUNT).join(), Background(server, "SELECT 1").join()
    engine = server.engine_pid()
    wait_until(lambda: server.value("SELECT clients FROM qwen_stat_engine") == 1)
    taken = {int(fd) for fd in os.listdir(f"/proc/{engine}/fd")}
    limit_descriptors(engine, min(set(range(len(taken) + 1)) - taken))  # the first that is free
    with pytest.raises(psycopg2.Error) as failure:
        new.again("SET statement_timeout = '500ms'; " + COUNT)
    assert failure.value.pgcode == "57014"
    assert "Paris" in old.again(CAPITAL)[0][0]
    limit_descriptors(engine, None)
    assert new.again("SET statement_timeout = 0; " + COUNT) == [(1,)]
    assert server.engine_pid() == engine


def test_session_without_descriptors_gets_an_error(server):
    session = Background(server, "SELECT 1").join()
    limit_descriptors(session.pid, 3)
    with pytest.raises(psycopg2.Error) as failure:
        session.again(COUNT)
    assert failure.value.pgcode == "58000" and "could not make a socket for the engine" in str(failure.value)
    limit_descriptors(session.pid, None)
    assert session.again(COUNT) == [(1,)]


# ---- the page ----------------------------------------------------------------------------------------------------------
def test_page_of_faults_quotes_messages_that_exist():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    code = ""
    for folder, _, files in os.walk(os.path.join(root, "src")):
        for name in files:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                # literals that follow each other are one
                code += re.sub(r'"\s+"', "", file.read()).replace('\\"', '"')
    with open(os.path.join(root, "docs", "operations.md"), encoding="utf-8") as file:
        rows = [line.split("|") for line in file if line.startswith("| ") and line.count("|") == 5]
    # one word is a name, not a message
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row[3]) if " " in text]
    assert len(quoted) > 20
    for text in quoted:
        for part in text.split("…"):
            assert part.strip() in code, text
