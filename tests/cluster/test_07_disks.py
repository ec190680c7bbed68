"""Full disks, disks that cannot be read, files that change under the reader, and what another life left in the data directory."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory, wait_until
from conftest import ready
from sessions import Background, descriptors, is_gone, wait_idle

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"
COUNT = "SELECT qwen_count_tokens('one')"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def answers(server, sql=CAPITAL):
    """The answer, or None while there is none."""
    try:
        return server.value(sql)
    except psycopg2.Error:
        return None


def supervisor_pid(server):
    with open(f"/proc/{server.engine_pid()}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


# ---- full disks -------------------------------------------------------------------------------------------------------
@pytest.fixture
def small_disk():
    """A server whose data directory and log lie on a file system of 160 MB, and fill() that leaves nothing of it."""
    cluster = Cluster(settings={"min_wal_size": "32MB", "max_wal_size": "48MB", "wal_recycle": "off"})
    run("mount", "-t", "tmpfs", "-o", "size=160m,nr_inodes=20000", "tmpfs", cluster.folder)

    def fill():
        with open(os.path.join(cluster.folder, "filler"), "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

    cluster.fill = fill
    try:
        yield ready(cluster)
    finally:
        cluster.stop("immediate")
        run("umount", "-l", cluster.folder)
        cluster.remove()


@as_root
def test_full_disk_stops_no_call_and_no_restart(small_disk):
    server = small_disk
    server.query("CREATE TABLE answers AS SELECT repeat('x', 100) AS answer FROM generate_series(1, 1000)")
    server.fill()
    assert os.statvfs(server.folder).f_bavail == 0
    # the engine writes nothing: calls go on, and so does its restart
    assert "Paris" in server.value(CAPITAL)
    engine = server.engine_pid()
    os.kill(engine, signal.SIGKILL)
    assert "Paris" in server.value(CAPITAL)
    assert server.engine_pid() != engine
    server.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    assert server.value("SELECT qwen_count_tokens('one', model => 'second')") == 1
    # what cannot be stored is PostgreSQL's error, and the request ends with it
    with pytest.raises(psycopg2.Error) as failure:
        server.query("INSERT INTO answers SELECT qwen_generate('Once', max_tokens => 3) || repeat('x', 1000) FROM generate_series(1, 500)")
    assert failure.value.pgcode in ("53100", "53000"), failure.value
    wait_idle(server)
    os.unlink(os.path.join(server.folder, "filler"))
    assert "Paris" in server.value(CAPITAL)


@as_root
def test_full_disk_and_a_new_supervisor(small_disk):
    server = small_disk
    server.fill()
    engine = server.engine_pid()
    os.kill(supervisor_pid(server), signal.SIGTERM)
    wait_until(lambda: is_gone(engine), 5)
    assert "Paris" in wait_until(lambda: answers(server), 10)


# ---- disks that cannot be read ----------------------------------------------------------------------------------------
@pytest.fixture
def broken_disk():
    """A folder with the demo model on a disk of which the last part cannot be read any more."""
    folder = tempfile.mkdtemp(prefix="qwen_pg_broken_", dir="/tmp")
    os.chmod(folder, 0o755)
    image, models = os.path.join(folder, "image"), os.path.join(folder, "models")
    source = os.path.join(model_directory(), MODEL_FILE)
    os.mkdir(models)
    with open(image, "wb") as file:
        file.truncate(os.path.getsize(source) + (32 << 20))
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,nodiscard", image)
    device = run("losetup", "--find", "--show", image)
    try:
        run("mount", device, models)
        shutil.copy(source, os.path.join(models, "model.gguf"))
        run("sync")
        run("mount", "-o", "remount,ro", models)
        # where the file's second half begins on the disk
        blocks = run("filefrag", "-v", "-b4096", os.path.join(models, "model.gguf"))
        last = [line.split(":") for line in blocks.splitlines() if ".." in line][-1]
        start = int(last[2].split("..")[0])
        os.truncate(image, (start + 1) * 4096)
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("1")
        yield models
    finally:
        subprocess.run(["umount", "-l", models], check=False)
        subprocess.run(["losetup", "-d", device], check=False)
        shutil.rmtree(folder)


@as_root
@pytest.mark.parametrize("method", ["auto", "pread"])
def test_read_error_is_an_error_and_no_more(make_server, broken_disk, method):
    server = make_server({"qwen.io_method": method})
    engine = server.engine_pid()
    server.reload(qwen__model_directory=broken_disk)
    for _ in range(2):
        with pytest.raises(psycopg2.Error) as failure:
            server.query("SELECT qwen_load_model('broken', 'model.gguf')")
        assert failure.value.pgcode == "58000", failure.value
        assert "model.gguf" in str(failure.value) and "cannot read at byte" in str(failure.value)
        assert "Input/output error" in str(failure.value)
    assert server.query("SELECT name FROM qwen_models") == [("chat",)]
    assert "Paris" in server.value(CAPITAL)
    assert server.engine_pid() == engine


# ---- files that change under the reader -------------------------------------------------------------------------------
def loader_of(server):
    """The loader process that has the model file open, and its pid; None when there is none."""
    supervisor = supervisor_pid(server)
    with open(f"/proc/{supervisor}/task/{supervisor}/children") as file:
        for pid in file.read().split():
            with contextlib.suppress(OSError):
                if any(link.endswith("changing.gguf") for link in descriptors(pid).values()):
                    return int(pid)
    return None


@pytest.mark.parametrize("method", ["auto", "pread"])
def test_file_that_is_cut_while_it_is_read(make_server, method):
    folder = tempfile.mkdtemp(prefix="qwen_pg_changing_", dir="/tmp")
    os.chmod(folder, 0o755)
    source, path = os.path.join(model_directory(), MODEL_FILE), os.path.join(folder, "changing.gguf")
    server = make_server({"qwen.io_method": method, "qwen.max_models": 2})
    server.reload(qwen__model_directory=folder)
    size, seen = os.path.getsize(source), set()

    def cut_in_time():
        shutil.copy(source, path)
        load = Background(server, "SELECT qwen_load_model('changing', 'changing.gguf')")
        pid = wait_until(lambda: loader_of(server) or not load.thread.is_alive(), 10)
        if pid is not True:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                os.truncate(path, size // 3)
                os.kill(pid, signal.SIGCONT)
        error = load.join(20).error
        load.connection.close()
        if error is None:
            server.query("SELECT qwen_unload_model('changing')")
            return False
        assert error.pgcode in ("22023", "58000"), error
        seen.add(error.pgcode)
        return "while it is read" in str(error)

    try:
        wait_until(cut_in_time, 30, "a file cut while it was read")
        assert server.query("SELECT name FROM qwen_models") == [("chat",)]
        assert "Paris" in server.value(CAPITAL)
    finally:
        shutil.rmtree(folder)


# ---- what another life left -------------------------------------------------------------------------------------------
def leave_socket(path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)


def leave_file(path):
    with open(path, "w") as file:
        file.write("not a socket")


def leave_link(path):
    os.symlink("/etc/passwd", path)


@pytest.mark.parametrize("leave", [leave_socket, leave_file, leave_link])
def test_what_lies_in_the_sockets_place_is_removed(make_server, leave):
    server = make_server()
    server.stop()
    path = os.path.join(server.data, "pgsql_tmp_qwen_pg.sock")
    assert not os.path.lexists(path)
    leave(path)
    server.start()
    assert "Paris" in server.value(CAPITAL)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.path.exists("/etc/passwd")


def test_socket_that_cannot_be_made_is_said(make_server):
    server = make_server()
    server.stop()
    path = os.path.join(server.data, "pgsql_tmp_qwen_pg.sock")
    os.mkdir(path)
    server.start()
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT)
    assert failure.value.pgcode == "58000"
    assert "supervisor of the qwen engine is not running" in str(failure.value)
    assert 'could not remove "pgsql_tmp_qwen_pg.sock": Is a directory' in str(failure.value)
    assert server.value("SELECT qwen_health() ->> 'status'") == "unhealthy"
    os.rmdir(path)
    assert "Paris" in wait_until(lambda: answers(server), 10)
