"""A server's daily life: stops, reloads, timeouts, databases with and without the extension, copies of them, dumps and an upgrade."""
import os
import shutil
import socket
import subprocess
import time

import psycopg2
import pytest
from cluster import Cluster, as_server_user, server_user, wait_until
from conftest import ready
from sessions import LONG, Background, is_gone, wait_idle, wait_running

ONE = "SELECT qwen_generate('one two three', temperature => 0, max_tokens => 1)"


def sql_in(server, database, script, user=None):
    """What psql prints for a script in a database."""
    environment = dict(server.environment(), PGDATABASE=database)
    if user:
        environment["PGUSER"] = user
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input=script, env=environment, text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- waits end ----


def test_fast_stop_with_thirty_calls_waiting(make_server):
    """Some run, some wait for a place, some for their role's limit."""
    server = make_server({"qwen.max_running": 8})
    server.query("CREATE ROLE limited LOGIN; SELECT qwen_grant('limited', 'use'); SELECT qwen_set_limit('limited', max_concurrent => 1)")
    engine = server.engine_pid()
    calls = [Background(server, LONG) for _ in range(20)]
    calls += [Background(server, LONG, setup="SET SESSION AUTHORIZATION limited; SET qwen.limit_action = wait") for _ in range(10)]
    states = "SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'limited') FROM qwen_stat_activity"
    wait_until(lambda: server.query(states) == [(8, 13, 9)], 20, "thirty calls in all states")
    start = time.monotonic()
    server.stop("fast")
    assert time.monotonic() - start < 2
    assert all(call.join(2).error is not None for call in calls)
    assert is_gone(engine)


def drop_client(call):
    """The client's end of the connection disappears without a word."""
    connection = socket.socket(fileno=os.dup(call.connection.fileno()))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@pytest.mark.parametrize("interval", ["0", "100ms"])
def test_a_lost_client_ends_a_wait_with_and_without_the_setting(make_server, interval):
    server = make_server()
    if server.value("SHOW server_version_num") < "140000":
        pytest.skip("client_connection_check_interval came with PostgreSQL 14")
    call = Background(server, LONG, setup=f"SET client_connection_check_interval = '{interval}'")
    wait_running(server, 1)
    drop_client(call)
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") == 0, 2, "the request's end")
    wait_idle(server)


def test_transaction_timeout_ends_a_wait(server):
    if server.value("SHOW server_version_num") < "170000":
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    before = len(server.read_log())
    call = Background(server, LONG, setup="SET transaction_timeout = '300ms'").join(5)
    assert call.error is not None and call.seconds < 2
    # the session ends with it: libpq tells of the connection that is gone, the log of the reason
    wait_until(lambda: "terminating connection due to transaction timeout" in server.read_log()[before:], 5, "the reason")
    assert "server process" not in server.read_log()[before:]
    wait_idle(server, 3)


def test_the_wait_event_has_a_name(server):
    call = Background(server, LONG)
    wait_running(server, 1)
    expected = "QwenEngine" if server.value("SHOW server_version_num") >= "170000" else "Extension"
    wait_until(lambda: server.query("SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == [("Extension", expected)], 5, "the wait event")
    if expected == "QwenEngine":
        assert server.value("SELECT count(*) FROM pg_wait_events WHERE type = 'Extension' AND name = 'QwenEngine'") == 1
    server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    call.join()
    wait_idle(server)


# ---- settings ----


def test_a_reload_applies_what_can_be_and_says_what_needs_a_restart(make_server):
    server = make_server()
    engine = server.engine_pid()
    others = {"bool": lambda row: "off" if row[2] == "on" else "on", "integer": lambda row: str(int(row[2]) + 1 if int(row[2]) < int(row[4]) else int(row[2]) - 1),
              "enum": lambda row: [value for value in row[5] if value != row[2]][0], "string": lambda row: {"qwen.kv_cache_size": "512MB", "qwen.adapters": "legal=legal.gguf@chat", "qwen.draft_models": "chat=small"}.get(row[0], "another")}
    rows = server.query("SELECT name, vartype, setting, context, max_val, enumvals FROM pg_settings WHERE name LIKE 'qwen.%' AND name NOT IN ('qwen.models', 'qwen.model_directory')")
    wanted = {row[0]: others[row[1]](row) for row in rows}
    server.reload(**{name.replace(".", "__"): value for name, value in wanted.items()})
    wait_until(lambda: server.value("SELECT pending_restart FROM pg_settings WHERE name = 'qwen.threads'"), 10, "the reload")
    now = {row[0]: row[1:] for row in server.query("SELECT name, context, setting, pending_restart FROM pg_settings WHERE name LIKE 'qwen.%'")}
    log = server.read_log()
    for name, value in wanted.items():
        context, setting, pending = now[name]
        if context == "postmaster":
            assert pending and setting != value, name
            assert f'parameter "{name}" cannot be changed without restarting the server' in log, name
        else:
            assert setting == value and not pending, name
    assert server.engine_pid() == engine
    # models and where they are, too; the engine goes on
    file = server.settings["qwen.models"].split("=")[1]
    server.reload(qwen__models=f"chat={file}, second={file}")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 2, 20, "the second model")
    folder = os.path.join(server.folder, "elsewhere")
    os.mkdir(folder)
    os.symlink(os.path.join(server.settings["qwen.model_directory"], file), os.path.join(folder, "outside.gguf"))
    shutil.copy(os.path.join(server.settings["qwen.model_directory"], file), os.path.join(folder, "inside.gguf"))
    os.chmod(os.path.join(folder, "inside.gguf"), 0o644)
    server.reload(qwen__model_directory=folder)
    wait_until(lambda: server.value("SHOW qwen.model_directory") == folder, 10, "the reload")
    server.query("SELECT qwen_unload_model('second')")
    server.query("SELECT qwen_load_model('third', 'inside.gguf')")
    # nothing outside, and not a word about what is there; the directory is for those who may see paths
    server.query("CREATE ROLE loader LOGIN; SELECT qwen_grant('loader', 'admin')")
    for path in ("../elsewhere/inside.gguf", "../data/PG_VERSION", "../../etc/passwd", "/etc/passwd", "/etc/shadow", "/nowhere/at/all", f"{folder}/../elsewhere/inside.gguf", "./../elsewhere/nothing.gguf", "..", f"{folder}_2/inside.gguf", "outside.gguf"):
        with pytest.raises(psycopg2.Error) as failure:
            server.query("SELECT qwen_load_model('fourth', %s)", (path,), user="loader")
        assert failure.value.pgcode == "42501" and "is not below the model directory" in str(failure.value), (path, failure.value)
        assert folder not in str(failure.value).replace(f"'{path}'", ""), "the directory is nobody's business"
    server.query("SELECT qwen_load_model('fourth', %s)", (os.path.join(folder, "inside.gguf"),))  # the same file by its whole name
    assert server.query("SELECT file FROM qwen_models WHERE name = 'fourth'") == [("inside.gguf",)]
    assert server.engine_pid() == engine
    server.restart()
    assert server.query("SELECT name FROM pg_settings WHERE name LIKE 'qwen.%' AND pending_restart") == []
    assert server.value("SELECT setting FROM pg_settings WHERE name = 'qwen.max_running'") == wanted["qwen.max_running"]


# ---- databases ----


@pytest.fixture(scope="module")
def house():
    """A server with several databases."""
    cluster = Cluster()
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def test_two_databases_and_one_without_the_extension(house):
    """One engine, one usage; functions, limits and jobs are each database's own."""
    for statement in ("CREATE ROLE visitor LOGIN", "CREATE DATABASE second", "CREATE DATABASE without"):
        house.query(statement)
    sql_in(house, "second", "CREATE EXTENSION qwen_pg; SELECT qwen_grant('visitor', 'use'); SELECT qwen_set_limit('visitor', requests_per_minute => 3)")
    house.query("SELECT qwen_grant('visitor', 'use')")
    for _ in range(4):
        house.query(ONE, user="visitor")
    with pytest.raises(AssertionError) as failure:
        sql_in(house, "second", ONE, "visitor")
    assert "limit of requests_per_minute" in str(failure.value) and "4 used" in str(failure.value)
    house.query(ONE, user="visitor")
    assert sql_in(house, "second", "SELECT pid FROM qwen_stat_engine") == str(house.engine_pid())
    # a database without it does everything else, and has nothing of it
    script = ("CREATE TABLE t AS SELECT g, md5(g::text) AS body FROM generate_series(1, 1000) g; SELECT count(*), max(length(body)) FROM t;"
              "SELECT count(*) FROM pg_proc WHERE proname LIKE 'qwen\\_%'; EXPLAIN (COSTS OFF) SELECT body FROM t WHERE g = 1; SHOW qwen.max_running; DROP TABLE t")
    assert sql_in(house, "without", script).splitlines() == ["1000|32", "0", "Seq Scan on t", "  Filter: (g = 1)", "64"]
    # what is queued in one is worked on there
    for database in ("second", "postgres"):
        sql_in(house, database, "CREATE TABLE jobs (id int PRIMARY KEY, body text, answer text); INSERT INTO jobs SELECT g, 'word ' || g FROM generate_series(1, 5) g;"
               "SELECT qwen_submit('jobs', 'Say {body}', 'jobs', 'answer', max_tokens => 2, temperature => 0); SELECT qwen_wait(max(id), '60 s') FROM qwen_jobs")
        assert sql_in(house, database, "SELECT count(answer) FROM jobs; SELECT count(*) FROM qwen_jobs") == "5\n1"
        sql_in(house, database, "DROP TABLE jobs")
    # nobody stays in a database that is to go
    wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname IN ('second', 'without')") == 0, 20, "nobody in the databases")
    house.query("DROP DATABASE second")
    house.query("DROP DATABASE without")


def test_dropped_and_made_again_while_sessions_are_there(house):
    """A session that knew the extension goes on without it and with it; a call under way ends as it would have."""
    session = Background(house, "SELECT 1").join()
    assert session.again(ONE)
    call = Background(house, "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 200)")
    wait_running(house, 1)
    house.query("SELECT qwen_set_limit(current_user::regrole, requests_per_minute => 100000)")
    house.query("DROP EXTENSION qwen_pg")
    with pytest.raises(psycopg2.Error) as failure:
        session.again(ONE)
    assert failure.value.pgcode == "42883"
    assert call.join(60).error is None
    for _ in range(2):
        house.query("CREATE EXTENSION qwen_pg")
        assert session.again(ONE)
        assert session.again("SELECT count(*) FROM qwen_limits") == [(0,)]
        assert house.query("SELECT count(*) FROM pg_event_trigger") == [(0,)]
        house.query("DROP EXTENSION qwen_pg CASCADE")
    assert house.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'qwen\\_%'") == 0
    assert house.value("SELECT count(*) FROM pg_type WHERE typname LIKE 'qwen\\_%'") == 0
    house.query("CREATE SCHEMA models; CREATE EXTENSION qwen_pg SCHEMA models")
    assert session.again(ONE.replace("qwen_", "models.qwen_"))
    house.query("SELECT models.qwen_set_limit('visitor', requests_per_minute => 1), models.qwen_grant('visitor', 'use'); GRANT USAGE ON SCHEMA models TO visitor" if house.value("SELECT count(*) FROM pg_roles WHERE rolname = 'visitor'") else "SELECT 1")
    house.query("DROP EXTENSION qwen_pg; DROP SCHEMA models; CREATE EXTENSION qwen_pg")


def test_update_to_the_version_that_is_there(house):
    """It changes nothing, and each older version has a way to the one that CREATE EXTENSION makes."""
    house.query("ALTER EXTENSION qwen_pg UPDATE")
    assert house.value("SELECT extversion FROM pg_extension WHERE extname = 'qwen_pg'") == house.value("SELECT default_version FROM pg_available_extensions WHERE name = 'qwen_pg'")
    assert house.query("SELECT source FROM pg_extension_update_paths('qwen_pg') WHERE path IS NULL AND target = (SELECT default_version FROM pg_available_extensions WHERE name = 'qwen_pg')") == []
    with pytest.raises(psycopg2.Error) as failure:
        house.query("ALTER EXTENSION qwen_pg UPDATE TO '99.0'")
    assert failure.value.pgcode == "22023"
    assert house.value(ONE) is not None


def test_a_database_made_from_a_template(house):
    house.query("CREATE ROLE templated LOGIN")
    house.query("CREATE DATABASE a_template")
    sql_in(house, "a_template", "CREATE EXTENSION qwen_pg; SELECT qwen_grant('templated', 'use'); SELECT qwen_set_limit('templated', requests_per_minute => 2), qwen_allow_models('templated', ARRAY['chat'])")
    wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'a_template'") == 0, 20, "nobody in the template")
    house.query("ALTER DATABASE a_template WITH is_template true")
    house.query("CREATE DATABASE a_copy TEMPLATE a_template")
    assert sql_in(house, "a_copy", f"SELECT requests_per_minute FROM qwen_limits; {ONE} IS NOT NULL; {ONE} IS NOT NULL", "templated") == "2\nt\nt"
    with pytest.raises(AssertionError, match="limit of requests_per_minute"):
        sql_in(house, "a_copy", ONE, "templated")
    house.query("DROP DATABASE a_copy")
    house.query("ALTER DATABASE a_template WITH is_template false")
    house.query("DROP DATABASE a_template")


def test_other_tablespaces(house):
    """The extension in a database of another tablespace, and its tables moved while limits hold."""
    folders = [os.path.join(house.folder, name) for name in ("space_one", "space_two")]
    for folder in folders:
        os.mkdir(folder)
        if os.geteuid() == 0:
            shutil.chown(folder, server_user(), server_user())
    house.query(f"CREATE TABLESPACE one LOCATION '{folders[0]}'")
    house.query(f"CREATE TABLESPACE two LOCATION '{folders[1]}'")
    house.query("CREATE ROLE spaced LOGIN")
    house.query("CREATE DATABASE in_space TABLESPACE one")
    sql_in(house, "in_space", "CREATE EXTENSION qwen_pg; SELECT qwen_grant('spaced', 'use'); SELECT qwen_set_limit('spaced', requests_per_minute => 1)")
    sql_in(house, "in_space", ONE, "spaced")
    sql_in(house, "in_space", "ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE two; ALTER TABLE qwen_role_limit SET TABLESPACE two; ALTER INDEX qwen_role_limit_pkey SET TABLESPACE two; ALTER TABLE qwen_job_row SET TABLESPACE two; VACUUM FULL qwen_role_limit")
    with pytest.raises(AssertionError, match="limit of requests_per_minute"):
        sql_in(house, "in_space", ONE, "spaced")
    sql_in(house, "in_space", "CREATE TABLE t (id int PRIMARY KEY, body text, answer text) TABLESPACE two; INSERT INTO t VALUES (1, 'a word', NULL); SELECT qwen_submit('t', 'Say {body}', 't', 'answer', max_tokens => 2, temperature => 0); SELECT qwen_wait(max(id), '30 s') FROM qwen_jobs")
    assert sql_in(house, "in_space", "SELECT count(answer) FROM t") == "1"
    wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'in_space'") == 0, 20, "nobody in the database")
    house.query("DROP DATABASE in_space")
    house.query("DROP TABLESPACE one")
    house.query("DROP TABLESPACE two")


# ---- copies ----

CONTENTS = """
CREATE EXTENSION qwen_pg;
SELECT qwen_set_limit('copied', tokens_per_day => 12345678901, max_concurrent => 3), qwen_allow_models('copied', ARRAY['chat']);
SELECT qwen_grant('copied', 'use');
CREATE TABLE articles (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, summary text, e real[]);
CREATE TRIGGER s BEFORE INSERT OR UPDATE OF body ON articles FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '5');
CREATE TRIGGER e AFTER INSERT OR UPDATE OF body ON articles FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('e', '{body}');
CREATE VIEW answers AS SELECT id, qwen_generate(body, max_tokens => 1) AS answer FROM articles;
CREATE FUNCTION ask(t text) RETURNS text LANGUAGE sql AS $$ SELECT qwen_generate(t, max_tokens => 1) $$;
INSERT INTO articles (body) SELECT 'It rained all day.' FROM generate_series(1, 3);
"""
CHECKS = """
SELECT tokens_per_day, max_concurrent FROM qwen_limits; SELECT models FROM qwen_allowed_models;
SELECT has_function_privilege('copied', 'qwen_embed(text, text, text, int, json)', 'EXECUTE'), has_function_privilege('public', 'qwen_load_model(text, text, json)', 'EXECUTE');
SELECT count(summary) FROM articles; SELECT count(answer) FROM answers; SELECT ask('x') IS NOT NULL;
INSERT INTO articles (body) VALUES ('Another day.'); SELECT summary IS NOT NULL FROM articles WHERE body = 'Another day.';
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = 'articles'::regclass;
"""
EXPECTED = ["12345678901|3", "{chat}", "t|f", "3", "3", "t", "t", "2"]


@pytest.mark.parametrize("form", ["plain", "custom", "inserts"])
def test_a_dump_is_whole(house, form):
    house.query("DROP ROLE IF EXISTS copied; CREATE ROLE copied LOGIN")
    house.query("CREATE DATABASE original")
    house.query("CREATE DATABASE restored")
    try:
        sql_in(house, "original", CONTENTS)
        wait_until(lambda: sql_in(house, "original", "SELECT count(e) FROM articles") == "3", 30, "the embeddings")
        connection = ["-h", house.folder, "-p", str(house.port), "-U", server_user()]
        file = os.path.join(house.folder, "dump")
        options = {"plain": [], "custom": ["-Fc"], "inserts": ["--column-inserts", "--clean", "--if-exists"]}[form]
        house.run([f"{house.programs}/pg_dump", *connection, *options, "-f", file, "original"])
        if form == "custom":
            house.run([f"{house.programs}/pg_restore", *connection, "--exit-on-error", "-d", "restored", file])
        else:
            house.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", *connection, "-d", "restored", "-f", file])
        assert sql_in(house, "restored", CHECKS).splitlines() == EXPECTED
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname IN ('original', 'restored')") == 0, 20, "nobody in the databases")
        for name in ("original", "restored"):
            house.query(f"DROP DATABASE {name}")
        house.query("DROP ROLE copied")


def test_pg_upgrade(make_server):
    """The data of one server taken over by another: a dump for a binary upgrade, with everything at its place."""
    old = make_server()
    old.query("CREATE ROLE copied LOGIN; DROP EXTENSION qwen_pg")
    old.query(CONTENTS)
    wait_until(lambda: old.value("SELECT count(e) FROM articles") == 3, 30, "the embeddings")
    old.stop()
    new = Cluster()
    try:
        new.init()
        new.write_settings()
        command = [f"{new.programs}/pg_upgrade", "-b", old.programs, "-B", new.programs, "-d", old.data, "-D", new.data, "-U", server_user(), "-p", str(old.port), "-P", str(new.port)]
        done = subprocess.run(as_server_user(command), cwd=new.folder, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        new.start()
        wait_until(lambda: new.query("SELECT state FROM qwen_models") == [("serving",)], 20, "the model")
        assert sql_in(new, "postgres", CHECKS).splitlines() == EXPECTED
        wait_until(lambda: new.value("SELECT count(e) FROM articles") == 4, 30, "the queued embedding")
    finally:
        new.remove()
