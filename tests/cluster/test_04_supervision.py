"""Supervisor, slots and the default model: what calls see while the engine comes and goes, and while models change."""
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, as_server_user, model_directory, server_programs, wait_until
from sessions import LONG, Background, descriptors, held, image_files, is_gone, late_supervisor, wait_idle, wait_running, wait_waiting

DEFAULT_MODEL = MODEL_FILE
COUNT = "SELECT qwen_count_tokens('one')"
USED_MODEL = "SELECT model FROM qwen_chat_full('Hi', max_tokens => 1)"


def supervisor_pid(server):
    with open(f"/proc/{server.engine_pid()}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


@pytest.fixture
def wrapper():
    """A program that is the engine until a file named "broken" lies beside it: then it runs that instead."""
    folder = tempfile.mkdtemp(prefix="qwen_pg_wrapper_", dir="/tmp")
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "engine")
    with open(path, "w") as file:
        file.write(f'#!/bin/sh\n[ "$1" = serve ] && [ -e {folder}/broken ] && exec {folder}/broken\n')
        file.write(f'exec {server_programs()}/qwen_engine "$@"\n')
    os.chmod(path, 0o755)
    yield folder
    shutil.rmtree(folder)


def break_engine(folder, script):
    path = os.path.join(folder, "broken")
    with open(path + ".new", "w") as file:
        file.write("#!/bin/sh\n" + script)
    os.chmod(path + ".new", stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.rename(path + ".new", path)


@pytest.fixture
def in_orphanage(make_server, wrapper):
    """A server whose postmaster is a subreaper: as process 1 of a container it inherits children of its children, and takes one that was killed for a crash.
    The engine program is one that sleeps in one mode, when the mark is there."""
    server, mark = make_server({"qwen.engine_path": f"{wrapper}/engine"}, prepared=False), f"{wrapper}/mark"
    os.chmod(wrapper, 0o777)
    server.query("CREATE EXTENSION qwen_pg")
    reaper = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"

    def start(mode):
        server.stop()
        with open(f"{wrapper}/engine", "w") as file:
            file.write(f'#!/bin/sh\n[ "$1" = {mode} ] && touch {mark} && exec sleep 60\nexec {server_programs()}/qwen_engine "$@"\n')
        with open(server.log, "a") as log:
            process = subprocess.Popen(as_server_user([sys.executable, "-c", reaper, f"{server_programs()}/postgres", "-D", server.data]), cwd="/tmp", stdout=log, stderr=log)
        return process, mark

    yield server, start
    server.stop("immediate")


def test_a_loader_is_no_orphan_of_a_stop(in_orphanage):
    server, start = in_orphanage
    process, mark = start("load")
    wait_until(lambda: os.path.exists(mark))
    server.stop()
    assert process.wait(30) == 0 and "terminated by signal" not in server.read_log()


def test_a_checker_is_no_orphan_of_its_session(in_orphanage):
    server, start = in_orphanage
    process, mark = start("check")
    wait_until(lambda: server.read_log().count("ready to accept connections") == 2)
    session = Background(server, f"SELECT * FROM qwen_check_model('{MODEL_FILE}')")
    wait_until(lambda: os.path.exists(mark))
    server.query("SELECT pg_terminate_backend(%s)", (session.pid,))
    session.join()
    assert session.error is not None
    server.stop()
    assert process.wait(30) == 0 and "terminated by signal" not in server.read_log()


def test_a_loader_that_the_kernel_holds_does_not_hold_a_stop(make_server, wrapper):
    server, noted = make_server({"qwen.models": "", "qwen.engine_path": f"{wrapper}/engine"}, prepared=False), f"{wrapper}/pid"
    os.chmod(wrapper, 0o777)
    with open(f"{wrapper}/engine", "w") as file:
        file.write(f'#!/bin/sh\n[ "$1" = load ] && echo $$ >{noted} && exec sleep 100\nexec {server_programs()}/qwen_engine "$@"\n')
    server.reload(qwen__models=f"chat={MODEL_FILE}")
    wait_until(lambda: os.path.exists(noted) and os.stat(noted).st_size > 1)
    with open(noted) as file:
        loader = int(file.read())
    with held(loader):
        server.stop()
        assert not server.is_running() and f"process {loader} was killed and has not ended" in server.read_log()
    assert "terminated by signal" not in server.read_log()


def test_engine_that_stops_working_fails_fast_and_recovers(make_server, wrapper):
    server = make_server({"qwen.engine_path": f"{wrapper}/engine"})
    session = Background(server, COUNT).join()
    engine = server.engine_pid()
    break_engine(wrapper, "exit 3")
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: server.value("SELECT last_error FROM qwen_stat_engine") == "the engine exited with code 3")
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "backing off")
    start = time.monotonic()
    with pytest.raises(psycopg2.Error) as failure:
        session.again(COUNT)
    assert failure.value.pgcode == "58000" and "exited with code 3" in str(failure.value)
    assert "Try again" in str(failure.value)
    assert time.monotonic() - start < 1
    assert server.value("SELECT qwen_health() ->> 'status'") == "unhealthy"
    assert server.query("SELECT clients, running, waiting, kv_bytes_used FROM qwen_stat_engine") == [(0, 0, 0, 0)]
    os.unlink(os.path.join(wrapper, "broken"))
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "running", 30)
    assert session.again(COUNT) == [(1,)]
    assert server.read_log().count("read and packed") == 1


def test_engine_stays_that_of_the_servers_start(make_server):
    """Another version is installed beside a server that runs: engine and loaders that are started later are still those of the start."""
    folder = tempfile.mkdtemp(prefix="qwen_pg_engine_", dir="/tmp")
    try:
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "engine")
        shutil.copy(f"{server_programs()}/qwen_engine", program)
        server = make_server({"qwen.engine_path": program, "qwen.max_models": 2})
        engine = server.engine_pid()
        break_engine(folder, "exit 3")
        os.rename(os.path.join(folder, "broken"), program)
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: server.query("SELECT 1 FROM qwen_stat_engine WHERE state = 'running' AND pid <> %s", (engine,)))
        assert server.value(COUNT) == 1
        server.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
        wait_until(lambda: server.value("SELECT state FROM qwen_models WHERE name = 'second'") == "serving", 30)
        with open(f"/proc/{server.engine_pid()}/comm") as file:
            assert file.read() == "qwen_engine\n"
        server.restart()
        wait_until(lambda: server.value("SELECT last_error FROM qwen_stat_engine") == "the engine exited with code 3")
    finally:
        shutil.rmtree(folder)


def test_call_in_the_backlog_of_an_engine_that_never_listens_ends(make_server, wrapper):
    server = make_server({"qwen.engine_path": f"{wrapper}/engine"})
    engine = server.engine_pid()
    # it takes a second to find out that it cannot work; calls of that second stand in the socket's backlog
    break_engine(wrapper, "sleep 1; exit 3")
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: is_gone(engine) and server.value("SELECT state FROM qwen_stat_engine") == "starting")
    # the first of its failures is followed by a start at once, the next by a pause in which calls give up
    assert Background(server, COUNT).join(10).error.pgcode == "58000"


def test_engine_has_the_descriptors_it_was_given_and_no_other(make_server):
    server = make_server({"qwen.max_models": 3})
    own = {"3": "socket:", "4": "pipe:", "5": "/memfd:qwen_pg_status", "6": "/memfd:qwen_pg_model", "8": "/memfd:qwen_pg_model"}
    engine = server.engine_pid()
    # the connection of the session before may still be on its way out
    wait_until(lambda: server.value("SELECT clients FROM qwen_stat_engine") == 0)
    links = {os.path.basename(path): link for path, link in descriptors(engine).items()}
    for fd, start in own.items():
        assert links[fd].startswith(start), links
    for link in links.values():
        assert server.data not in link, links
    with open(f"/proc/{engine}/fdinfo/6") as file:
        flags = int([line for line in file if line.startswith("flags:")][0].split()[1], 8)
    assert flags & os.O_ACCMODE == os.O_RDONLY


def test_engine_offers_itself_first_when_memory_runs_out(server):
    with open(f"/proc/{server.engine_pid()}/oom_score_adj") as file:
        assert file.read().strip() == "300"
    with open(f"/proc/{supervisor_pid(server)}/oom_score_adj") as file:
        assert int(file.read()) < 300


def test_supervisor_that_comes_back_does_not_kill_the_new_engine(make_server):
    server = make_server()
    for number in (signal.SIGTERM, signal.SIGKILL):
        engine = server.engine_pid()
        os.kill(supervisor_pid(server), number)
        wait_until(lambda pid=engine: is_gone(pid), 5, "the engine's end")

        def answers():
            try:
                return server.value(COUNT) == 1
            except psycopg2.Error:
                return False

        wait_until(answers, 10)
        assert server.value("SELECT restarts FROM qwen_stat_engine") == 0
    assert "signal 10" not in server.read_log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_supervisor_that_comes_back_takes_nothing_that_nobody_reloaded(make_server, number):
    """It read the files anew to see whether what they had refused before still stood there, and unloaded what sessions took for configured."""
    server = make_server()
    health = "SELECT message FROM qwen_health_checks WHERE name = 'settings'"

    def write_models(value):
        server.settings["qwen.models"] = value
        server.write_settings()

    def come_back():
        engine = server.engine_pid()
        os.kill(supervisor_pid(server), number)

        def is_back():
            try:
                return server.query("SELECT pid FROM qwen_stat_engine WHERE state = 'running' AND pid <> %s", (engine,)) and server.value(COUNT) == 1
            except psycopg2.Error:
                return False

        wait_until(is_back, 30)

    def is_unchanged():
        return server.value("SHOW qwen.models") == f"chat={MODEL_FILE}" and server.query("SELECT name, state FROM qwen_models") == [("chat", "serving")]

    server.reload(qwen__models="bad")
    wait_until(lambda: server.query(health))
    refused = server.value(health)
    write_models("other=nofile.gguf")
    come_back()
    assert is_unchanged() and server.value(health) == refused
    # and where nothing was refused
    server.reload(qwen__models=f"chat={MODEL_FILE}")
    wait_until(lambda: server.query(health) == [])
    write_models("bad")
    come_back()
    assert is_unchanged() and server.query(health) == []
    # a refused value of the server's start, whose lines are read before the library is there
    server.reload(qwen__models="")
    server.settings["qwen.adapters"] = "bad"
    server.restart()
    refused = wait_until(lambda: server.query(health))
    server.query("SELECT qwen_load_model('mine', %s)", (MODEL_FILE,))
    come_back()
    assert server.query(health) == refused and "qwen.adapters" in refused[0][0]


def test_call_waits_while_the_supervisor_is_away(make_server):
    server = make_server()
    session = Background(server, COUNT).join()
    supervisor = supervisor_pid(server)
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: is_gone(supervisor), 5)
    assert session.again(COUNT) == [(1,)]


def test_default_model_is_the_first_of_the_configuration(make_server):
    server = make_server({"qwen.models": f"late={MODEL_FILE}"})
    assert server.value(USED_MODEL) == "late"
    # "early" gets a slot behind that of "late", but it stands first in the list
    server.reload(qwen__models=f"early={MODEL_FILE}, late={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT name FROM qwen_models WHERE name = 'early'"))
    assert server.value(USED_MODEL) == "early"
    assert server.query("SET qwen.default_model = 'late'; " + USED_MODEL) == [("late",)]
    assert server.query("SET qwen.default_model = 'early'; SELECT model FROM qwen_chat_full('Hi', max_tokens => 1, model => 'late')") == [("late",)]


@pytest.mark.parametrize("places, before, after", [(4, ["chat"], ["newest", "chat"]), (1, ["chat"], ["newest"]), (4, [], ["newest"])])
def test_a_call_behind_a_reload_waits_until_the_supervisor_has_read_the_list(make_server, places, before, after):
    """It was told that the model is not loaded, or has no place, or that there is none at all."""
    models = [", ".join(f"{name}={MODEL_FILE}" for name in names) for names in (before, after)]
    server = make_server({"qwen.models": models[0], "qwen.max_models": places}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg; CREATE TABLE t (id int PRIMARY KEY, s text)")
    server.query("CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{id}', 'max_tokens=1', 'model=newest')")
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models") == [(name, "serving") for name in before])
    with late_supervisor(server, qwen__models=models[1]):
        calls = [Background(server, USED_MODEL), Background(server, COUNT.replace("'one'", "'one', model => 'newest'"))]
        for call in calls:
            wait_waiting(server, call)
        session = server.connect()
        session.cursor().execute("INSERT INTO t VALUES (1)")
        assert session.notices == []
        session.close()
    assert [call.join().rows for call in calls] == [[("newest",)], [(1,)]], [call.error for call in calls]
    wait_until(lambda: server.value("SELECT count(s) FROM t") == 1)


def test_a_statement_with_an_older_list_waits_for_nothing(make_server):
    """Its session reads the new one when it is done: that its model is gone is for good, and said at once."""
    server = make_server()
    server.reload(qwen__models=f"chat={MODEL_FILE}, brief={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT 1 FROM qwen_models WHERE name = 'brief' AND state = 'serving'"))
    statement = "DO $$ BEGIN WHILE EXISTS (SELECT FROM qwen_models WHERE name = 'brief') LOOP PERFORM pg_sleep(0.02); END LOOP; PERFORM qwen_count_tokens('one', model => 'brief'); END $$"
    call = Background(server, statement)
    wait_until(lambda: server.value("SELECT state FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == "active")
    server.reload(qwen__models=f"chat={MODEL_FILE}")
    assert call.join(10).error.pgcode == "42704"


def test_default_model_that_failed_is_not_replaced_by_another(make_server):
    server = make_server({"qwen.models": f"first=missing.gguf, second={MODEL_FILE}"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    wait_until(lambda: server.query("SELECT 1 FROM qwen_models WHERE state = 'serving'"))
    with pytest.raises(psycopg2.Error) as failure:
        server.query(COUNT)
    assert failure.value.pgcode == "42704"
    assert 'model "first" could not be loaded' in str(failure.value) and "No such file" in str(failure.value)
    assert server.value("SELECT qwen_count_tokens('one', model => 'second')") == 1
    assert server.value("SELECT qwen_health() ->> 'status'") == "degraded"
    # the file comes, a reload tries again
    server.reload(qwen__models=f"first={MODEL_FILE}, second={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT state FROM qwen_models ORDER BY name") == [("serving",)] * 2)
    assert server.value(USED_MODEL) == "first"


def test_model_that_left_the_list_while_it_was_being_loaded_is_unloaded(make_server):
    server = make_server()
    server.reload(qwen__models=f"chat={MODEL_FILE}, brief={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT 1 FROM qwen_models WHERE name = 'brief' AND state IN ('loading', 'serving')"))
    server.reload(qwen__models=f"chat={MODEL_FILE}")
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models") == [("chat", "serving")])


def test_image_that_is_damaged_is_loaded_again(make_server):
    server = make_server()
    supervisor, engine = supervisor_pid(server), server.engine_pid()
    images = [path for path, link in descriptors(supervisor).items() if link.startswith("/memfd:qwen_pg_model") and os.stat(path).st_size]
    assert len(images) == 1
    os.kill(engine, signal.SIGSTOP)
    with open(images[0], "r+b") as image:
        image.write(bytes(64))
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: "cannot be used any more" in server.read_log())
    assert server.value(COUNT) == 1
    assert server.read_log().count("read and packed") == 2


def test_hand_loaded_models_survive_a_reload(make_server):
    server = make_server()
    server.query("SELECT qwen_load_model('mine', %s)", (MODEL_FILE,))
    server.reload(qwen__models="")
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models") == [("mine", "serving")])
    assert server.value(USED_MODEL) == "mine"


@pytest.mark.parametrize("value", ["chat", "=f", "a b=f", "a=f, a=g", "n" * 64 + "=f", ", ".join(f"m{i}=f" for i in range(33)), "a="])
def test_a_list_of_models_that_cannot_be_read_changes_nothing(server, value):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(f"ALTER SYSTEM SET qwen.models = '{value}'")
    assert failure.value.pgcode == "22023", failure.value


def kill_engine(server):
    pid = server.engine_pid()
    if pid:
        os.kill(pid, signal.SIGKILL)


def test_models_come_and_go_while_calls_run(make_server):
    """Nothing that loading, unloading and restarts do to each other ends in anything but an answer or a clean error."""
    server = make_server({"qwen.models": f"chat={MODEL_FILE}", "qwen.max_models": 3})
    deadline = time.monotonic() + 6
    log_before = len(server.read_log())
    call = None
    rounds = 0
    while time.monotonic() < deadline:
        rounds += 1
        loading = Background(server, f"SELECT qwen_load_model('guest', '{MODEL_FILE}')")
        if rounds % 3 == 0:
            kill_engine(server)
        call = Background(server, "SELECT qwen_count_tokens('one', model => 'guest')")
        unloading = Background(server, "SELECT qwen_unload_model('guest')")
        for session, expected in ((loading, {"22023", "58000"}), (call, {"42704", "58000"}), (unloading, {"42704", "58000"})):
            session.join(20)
            assert session.error is None or session.error.pgcode in expected, session.error
            session.connection.close()
        try:
            server.query("SELECT qwen_unload_model('guest')")
        except psycopg2.Error as error:
            assert error.pgcode in ("42704", "58000"), error
    assert rounds > 3
    ends = [line for line in server.read_log()[log_before:].splitlines() if "was terminated by signal" in line]
    assert all("signal 9" in line for line in ends), ends
    wait_until(lambda: server.query("SELECT name, state FROM qwen_models") == [("chat", "serving")], 10)
    assert "Paris" in server.value("SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)")


def test_unload_gives_the_memory_back(make_server):
    server = make_server()

    def memory():
        return sum(status.st_blocks * 512 for status in image_files(server.engine_pid()))

    before = memory()
    assert before > os.path.getsize(os.path.join(model_directory(), MODEL_FILE)) // 2
    server.query("SELECT qwen_load_model('second', %s)", (MODEL_FILE,))
    assert memory() > 1.9 * before
    server.query("SELECT qwen_unload_model('second')")
    assert memory() == before


def test_errors_while_an_answer_is_read_leave_the_session_well(server):
    """A text that the database's encoding cannot hold is an error of PostgreSQL's, and no more than that."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    script = (
        "CREATE EXTENSION qwen_pg;"
        "SELECT qwen_tokenize('x') AS t \\gset\n"
        + "SELECT qwen_detokenize(ARRAY(SELECT generate_series(20000, 49000)));\n" * 3
        + "SELECT qwen_detokenize(qwen_tokenize('gut')), pg_backend_pid() > 0;"
    )
    done = subprocess.run(["psql", "-XAtq"], input=script, env=dict(server.environment(), PGDATABASE="latin1"), text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "gut|t" and done.stderr.count("has no equivalent in encoding") == 3, done
    cursor.execute("DROP DATABASE latin1")
    wait_idle(server)


def test_bytes_that_are_no_text_are_refused(server):
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    script = "CREATE EXTENSION qwen_pg; \\set VERBOSITY sqlstate\nSELECT qwen_count_tokens(E'\\xff\\xfe'); SELECT qwen_count_tokens(E'\\xc3\\xbc') > 0;"
    done = subprocess.run(["psql", "-XAtq"], input=script, env=dict(server.environment(), PGDATABASE="bytes"), text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "t" and "22021" in done.stderr, done
    cursor.execute("DROP DATABASE bytes")


def test_rollback_and_error_in_a_stream_cancel_it(server):
    connection = server.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute("DECLARE pieces CURSOR FOR " + LONG.replace("qwen_generate", "qwen_chat_stream"))
    cursor.execute("FETCH 1 FROM pieces")
    wait_running(server, 1)
    with pytest.raises(psycopg2.Error):
        cursor.execute("SELECT 1 / 0")
    wait_idle(server, 2)
    connection.rollback()
    cursor.execute("DECLARE pieces CURSOR FOR " + LONG.replace("qwen_generate", "qwen_chat_stream"))
    cursor.execute("FETCH 2 FROM pieces; CLOSE pieces")
    wait_idle(server, 2)
    connection.close()
