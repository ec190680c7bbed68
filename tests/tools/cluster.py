#!/usr/bin/env python3
"""Private PostgreSQL clusters for the demo and the tests.

As a module: Cluster(settings={…}) with start(), stop(), connect(); as a program, for the Makefile:
  cluster.py demo-start | demo-stop | demo-psql [psql's options]     the server of `make demo`
  cluster.py run COMMAND …       a server for one command, with PGHOST, PGPORT, PGUSER, PGDATABASE set

PostgreSQL refuses to run as root, so root runs it as the user postgres. Everything lies in one temporary folder that this user
owns; connections are over a socket in it and, for programs that want TCP, a free port on the loopback address.
"""
import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import short_model  # noqa: E402

MODEL_FILE = "SmolLM2-135M-Instruct-qwen2-Q4_1.gguf"
COVERAGE = "QWEN_TEST_COVERAGE" in os.environ  # where counters are written (coverage.py), everybody must come to a regular end
LEAST_MEMORY = 6 << 30  # of memory's file system, for servers to lie there
DEMO_FOLDER = "/var/tmp/qwen_pg_demo" if os.geteuid() == 0 else f"/var/tmp/qwen_pg_demo_{os.geteuid()}"


def model_directory():
    """Where the demo model is kept, outside of the repository."""
    default = "/var/cache/qwen_pg" if os.geteuid() == 0 else os.path.expanduser("~/.cache/qwen_pg")
    return os.environ.get("QWEN_CACHE_DIR", default)


default_model = MODEL_FILE  # what a server has unless it is told otherwise


def plain_model():
    """What serves where nobody looks at the words. Tests hold times, and were written with processors that have AVX-512: others need shorter models for them."""
    with open("/proc/cpuinfo") as file:
        if "avx512_vnni" in file.read():
            return MODEL_FILE
    return "models/" + short_model.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE))


def server_programs():
    config = os.environ.get("PG_CONFIG", "pg_config")
    return subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()


def as_server_user(command):
    """The command as a user that PostgreSQL accepts."""
    return ["runuser", "-u", "postgres", "--"] + command if os.geteuid() == 0 else command


def server_user():
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def own_folder(folder):
    """One that the server's user may write to."""
    os.makedirs(folder, exist_ok=True)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    os.chmod(folder, 0o755)


def init_data(programs, data):
    command = [f"{programs}/initdb", "-N", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-U", server_user()]
    subprocess.run(as_server_user(command), cwd="/tmp", check=True, stdin=subprocess.DEVNULL, capture_output=True)


@functools.cache
def servers_folder():
    """Where temporary servers lie: in memory, where that has room for some. On a disk a copy of fresh_data takes as long as initdb does."""
    memory = "/dev/shm"
    try:
        space = os.statvfs(memory)
    except OSError:
        return "/tmp"
    return memory if space.f_bavail * space.f_frsize >= LEAST_MEMORY and os.access(memory, os.W_OK) else "/tmp"


@functools.cache
def fresh_data(programs):
    """What initdb makes, once a process: tests start hundreds of servers, and each would take seconds for it."""
    folder = tempfile.mkdtemp(prefix="qwen_pg_fresh_", dir=servers_folder())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    own_folder(folder)
    init_data(programs, os.path.join(folder, "data"))
    return os.path.join(folder, "data")


class Cluster:
    """One cluster in one folder. start() makes it when it is not there."""

    def __init__(self, folder=None, settings=None, preload=True):
        self.programs = server_programs()
        self.is_temporary = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="qwen_pg_test_", dir=servers_folder())
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")
        self.settings = {"qwen.models": f"chat={default_model}", "qwen.model_directory": model_directory(), "fsync": "off"}
        if self.is_temporary:
            # tests hold times against the clock, beside whatever else runs on the machine
            self.settings["qwen.engine_priority"] = "normal"
            if COVERAGE:
                self.settings["qwen.engine_sandbox"] = "off"
        self.settings.update(settings or {})
        if preload:
            self.settings["shared_preload_libraries"] = "qwen_pg"
        else:
            self.settings = {"fsync": "off"}
        self.port = None
        self.may_raise_priorities = False  # only where we are root: the server gets CAP_SYS_NICE
        self.starter = []  # put in front of the command that starts the server, which still runs as we do

    # ---- life ----
    def run(self, command, check=True, starter=(), **options):
        as_user = as_server_user(command)
        if self.may_raise_priorities and os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--inh-caps=+sys_nice", "--ambient-caps=+sys_nice"] + command
        return subprocess.run(list(starter) + as_user, cwd="/tmp", check=check, stdin=subprocess.DEVNULL, text=True, capture_output=True, **options)

    def init(self):
        own_folder(self.folder)
        if self.is_temporary:
            self.run(["cp", "-a", fresh_data(self.programs), self.data])
        else:
            init_data(self.programs, self.data)

    def write_settings(self):
        self.port = self.port or free_port()
        lines = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "max_connections": "100"}
        lines.update(self.settings)
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w") as out:
            for key, value in lines.items():
                quoted = str(value).replace("'", "''")
                out.write(f"{key} = '{quoted}'\n")

    def start(self):
        if not os.path.exists(self.data):
            self.init()
        self.write_settings()
        done = self.run([f"{self.programs}/pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "60", "start"], check=False, starter=self.starter)
        if done.returncode != 0:
            raise RuntimeError(f"the server did not start: {done.stdout}{done.stderr}{self.read_log()[-3000:]}")
        return self

    def stop(self, mode="fast"):
        self.run([f"{self.programs}/pg_ctl", "-D", self.data, "-w", "-t", "60", "-m", mode, "stop"], check=False)

    def restart(self):
        self.stop()
        self.start()

    def remove(self):
        self.stop("fast" if COVERAGE else "immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def reload(self, **settings):
        self.settings.update({key.replace("__", "."): value for key, value in settings.items()})
        self.write_settings()
        self.run([f"{self.programs}/pg_ctl", "-D", self.data, "reload"])

    def is_running(self):
        return self.run([f"{self.programs}/pg_ctl", "-D", self.data, "status"], check=False).returncode == 0

    def postmaster_pid(self):
        with open(os.path.join(self.data, "postmaster.pid")) as file:
            return int(file.readline())

    def read_log(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    # ---- use ----
    def environment(self):
        # psql of this server, without Debian's program in front of it that looks for one
        path = f"{self.programs}:{os.environ['PATH']}"
        return dict(os.environ, PATH=path, PGHOST=self.folder, PGPORT=str(self.port), PGUSER=server_user(), PGDATABASE="postgres")

    def connect(self, user=None):
        import psycopg2

        connection = psycopg2.connect(host=self.folder, port=self.port, user=user or server_user(), dbname="postgres")
        connection.autocommit = True
        return connection

    def query(self, sql, arguments=None, user=None):
        """All rows of one statement in a session of its own."""
        connection = self.connect(user)
        try:
            cursor = connection.cursor()
            cursor.execute(sql, arguments)
            return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def value(self, sql, arguments=None, user=None):
        return self.query(sql, arguments, user)[0][0]

    def engine_pid(self):
        return self.value("SELECT pid FROM qwen_stat_engine")

    def signal(self, pid, number):
        os.kill(pid, number)


def wait_until(condition, seconds=20, what="the condition"):
    """Poll until condition() is true; its value. A look is often a session of its own: the longer it has taken, the fewer there are."""
    begun = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begun
        if waited > seconds:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(min(0.1, 0.005 + waited / 20))


# ---- program ----
def demo_cluster():
    cluster = Cluster(folder=DEMO_FOLDER)
    port_file = os.path.join(DEMO_FOLDER, "port")
    if os.path.exists(port_file):
        with open(port_file) as file:
            cluster.port = int(file.read())
    return cluster, port_file


def demo_start():
    cluster, port_file = demo_cluster()
    if os.path.exists(cluster.data):
        cluster.stop("immediate")
        shutil.rmtree(DEMO_FOLDER)
        cluster.port = None
    cluster.start()
    with open(port_file, "w") as file:
        file.write(str(cluster.port))
    cluster.query("CREATE EXTENSION qwen_pg")


def main():
    action, rest = sys.argv[1], sys.argv[2:]
    if action == "demo-start":
        demo_start()
    elif action == "demo-stop":
        cluster, _ = demo_cluster()
        if os.path.exists(cluster.data):
            cluster.stop()
            shutil.rmtree(DEMO_FOLDER, ignore_errors=True)
    elif action == "demo-psql":
        cluster, port_file = demo_cluster()
        if not os.path.exists(port_file) or not cluster.is_running():
            sys.exit("the demo server is not running: make demo starts it")
        os.execvpe("psql", ["psql", "-X"] + rest, cluster.environment())
    elif action == "run":
        cluster = Cluster()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            cluster.start()
            sys.exit(subprocess.run(rest, env=cluster.environment(), check=False).returncode)
        finally:
            cluster.remove()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
