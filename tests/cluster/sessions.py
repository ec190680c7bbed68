"""Sessions that run one statement in the background, and questions that tests ask of the engine."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from cluster import wait_until

LONG = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 4000, stop => ARRAY['never-said'])"


class Background:
    """A statement that runs in a session of its own. result: its rows, error: what it raised."""

    def __init__(self, cluster, sql, setup=None):
        self.connection = cluster.connect()
        self.pid = self.connection.get_backend_pid()
        self.rows, self.error, self.seconds = None, None, None
        self.cursor = self.connection.cursor()
        if setup:
            self.cursor.execute(setup)
        self.start(sql)

    def start(self, sql):
        self.thread = threading.Thread(target=self.run, args=(sql,), daemon=True)
        self.thread.start()

    def run(self, sql):
        start = time.monotonic()
        try:
            self.cursor.execute(sql)
            self.rows = self.cursor.fetchall()
        except Exception as error:  # whatever it is, the test looks at it
            self.error = error
        self.seconds = time.monotonic() - start

    def join(self, seconds=20):
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "the statement did not end"
        return self

    def again(self, sql):
        """Another statement in the same session."""
        self.cursor.execute(sql)
        return self.cursor.fetchall()


def running(cluster):
    return cluster.value("SELECT running + waiting FROM qwen_stat_engine")


def wait_running(cluster, n):
    wait_until(lambda: cluster.value("SELECT running FROM qwen_stat_engine") == n, what=f"{n} running requests")


def wait_idle(cluster, seconds=5):
    wait_until(
        lambda: cluster.query("SELECT running, waiting, kv_bytes_used FROM qwen_stat_engine") == [(0, 0, 0)],
        seconds,
        "an engine that has freed everything",
    )


def descriptors(pid):
    """What the process holds open: path of /proc -> what it leads to. A client's connection may close while it is read."""
    links, folder = {}, f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            links[f"{folder}/{fd}"] = os.readlink(f"{folder}/{fd}")
    return links


def image_files(pid):
    """What stat says of each memory file of a model that the process holds."""
    return [os.stat(path) for path, link in descriptors(pid).items() if link.startswith("/memfd:qwen_pg_model")]


@contextlib.contextmanager
def held(pid):
    """The process, once it is killed, cannot be waited for as long as this lasts, as one that a disk holds in the kernel: a tracer that asks for no news (PTRACE_SEIZE) has to see its end first."""
    script = "import ctypes, sys; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout.readline() == "0\n"
        try:
            yield
        finally:
            tracer.stdin.close()


@contextlib.contextmanager
def late_supervisor(cluster, **settings):
    """Settings that sessions know, and the supervisor does not as long as this lasts."""
    with open(f"/proc/{cluster.engine_pid()}/stat") as file:
        supervisor = int(file.read().rsplit(")", 1)[1].split()[1])
    os.kill(supervisor, signal.SIGSTOP)
    try:
        cluster.reload(**settings)
        wait_until(lambda: all(cluster.value(f"SHOW {name.replace('__', '.')}") == value for name, value in settings.items()))
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def wait_waiting(cluster, call):
    """… until a statement in the background waits for the extension, or has ended."""
    wait_until(lambda: not call.thread.is_alive() or cluster.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == "Extension")


def is_gone(pid):
    """True when no such process runs (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True

# calls of all functions that write tables
WRITING = ("qwen_submit('t', 'b', 'pg_class', 's')", "qwen_cancel(1)", "qwen_retry(1)", "qwen_retry_table('pg_class')", "qwen_forget(1)", "qwen_forget_table('pg_class')", "qwen_enqueue('pg_class')",
           "qwen_set_limit('pg_monitor')", "qwen_clear_limit('pg_monitor')", "qwen_allow_models('pg_monitor', NULL)", "qwen_grant('public', 'use')", "qwen_revoke('public', 'use')", "qwen_grant('pg_monitor'::regrole, 'use')",
           "qwen_revoke('pg_monitor'::regrole, 'use')")
