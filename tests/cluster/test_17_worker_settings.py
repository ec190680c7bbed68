"""Whatever roles and databases are set to, workers do their work; what they cannot do stands in the views with its reason."""
import time

import psycopg2
import pytest
import random_models
from cluster import wait_until

SETTINGS = {
    "read only": ["default_transaction_read_only = on", "transaction_read_only = on"],
    "isolation": ["default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"],
    "times": ["statement_timeout = 1", "lock_timeout = 1", "idle_in_transaction_session_timeout = 1"],
    "who": ["role = 'pg_monitor'", "row_security = off", "session_replication_role = replica", "search_path = ''"],
    "forms": [
        "datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'", "extra_float_digits = -10", "bytea_output = 'escape'", "xmloption = document",
        "array_nulls = off", "standard_conforming_strings = off", "quote_all_identifiers = on", "client_encoding = 'LATIN1'", "timezone = 'Asia/Tokyo'",
    ],
    "places": ["default_tablespace = 'gone'", "temp_tablespaces = 'gone'", "work_mem = '64kB'", "log_statement = 'all'", "enable_indexscan = off"],
}


def reason(server, job):
    return server.value("SELECT error FROM qwen_jobs WHERE id = %s", (job,)) or ""


@pytest.fixture
def worker_role(server):
    """A role with a table of its own, whose trigger queues, and what a job needs."""
    server.query(
        """
        CREATE ROLE worked LOGIN; GRANT CREATE ON SCHEMA public TO worked; SELECT qwen_grant('worked', 'use'); GRANT pg_monitor TO worked;
        """
    )
    try:
        server.query(
            """
            CREATE TABLE queued (id interval, at timestamptz, x float8, b bytea, body text, answer text, log text, PRIMARY KEY (id, at, x, b));
            CREATE TABLE worked_rows (id interval, at timestamptz, x float8, b bytea, body text, answer text, PRIMARY KEY (id, at, x, b));
            CREATE TRIGGER queue AFTER INSERT OR UPDATE ON queued FOR EACH ROW
                EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Say {body}', 'max_tokens=2', 'temperature=0');
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.log := 'noted'; RETURN NEW; END $$;
            CREATE TRIGGER note BEFORE UPDATE ON queued FOR EACH ROW EXECUTE FUNCTION note();
            """,
            user="worked",
        )
        yield "worked"
    finally:
        server.query("ALTER ROLE worked RESET ALL; ALTER DATABASE postgres RESET ALL")
        # no claims of cancelled jobs are left for other tests
        server.query("SELECT qwen_cancel(id), qwen_forget(id) FROM qwen_jobs WHERE owner = 'worked'")
        server.query("DROP OWNED BY worked CASCADE; DROP ROLE worked")


ROWS = r"SELECT i * interval '1 day 2 hours', '2026-02-03 04:05:06.7+03'::timestamptz + i * interval '1 s', i / 3.0, ('\x00' || to_char(i, 'FM0000'))::bytea, 'word ' || i FROM generate_series(1, {n}) i"
SUBMIT = "SELECT qwen_submit('worked_rows', 'Say {body}', 'worked_rows', 'answer', max_tokens => 2, temperature => 0)"


def put_rows(cursor, table, n=3):
    cursor.execute(f"DELETE FROM {table}; INSERT INTO {table} (id, at, x, b, body) {ROWS.format(n=n)}")


def submit(cursor):
    cursor.execute(SUBMIT)
    return cursor.fetchone()[0]


def wait_done(server, job):
    wait_until(lambda: server.value("SELECT state IN ('done', 'failed') FROM qwen_jobs WHERE id = %s", (job,)), 60, "the end of the job")


def work_is_done(server, cursor):
    """A job and queued rows, made by a session that began before the settings, are worked on by workers that have them."""
    put_rows(cursor, "queued")
    put_rows(cursor, "worked_rows")
    wait_done(server, job := submit(cursor))
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 30, "an empty queue")
    assert server.query("SELECT state, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [("done", 3, 0, None)]
    assert server.value("SELECT count(*) FROM worked_rows WHERE answer IS NOT NULL") == 3
    assert server.value("SELECT count(*) FROM queued WHERE answer IS NOT NULL AND log = 'noted'") == 3
    assert server.query("SELECT * FROM qwen_dead_letters WHERE relation IN ('queued'::regclass, 'worked_rows'::regclass)") == []


@pytest.fixture
def session(server, worker_role):
    connection = server.connect(worker_role)
    yield connection.cursor()
    connection.close()


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_of_the_role_do_not_keep_workers_from_their_work(server, session, kind):
    for setting in SETTINGS[kind]:
        server.query(f"SET client_min_messages = error; ALTER ROLE worked SET {setting}")
    work_is_done(server, session)


def test_settings_of_the_database_do_not_keep_workers_from_their_work(server, session):
    administrator = server.connect().cursor()
    try:
        for setting in ("default_transaction_read_only = on", "default_transaction_isolation = 'serializable'", "session_replication_role = replica", "statement_timeout = 1"):
            administrator.execute(f"ALTER DATABASE postgres SET {setting}")
        put_rows(session, "worked_rows")
        submit(session)

        def filled():
            administrator.execute("SELECT count(*) FROM worked_rows WHERE answer IS NOT NULL")
            return administrator.fetchone()[0] == 3

        wait_until(filled, 30, "the rows")
    finally:
        administrator.execute("ALTER DATABASE postgres RESET ALL")
        administrator.connection.close()


def test_settings_that_a_trigger_changes_hold_for_no_further_transaction(server, session):
    session.execute(
        """
        CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.log := 'noted';
            PERFORM set_config('default_transaction_read_only', 'on', false), set_config('default_transaction_isolation', 'serializable', false);
            RETURN NEW;
        END $$
        """
    )
    work_is_done(server, session)


def test_work_is_found_after_a_restart_whatever_the_database_is_set_to(make_server):
    """The scout, too, writes: what it does for a database is not stopped by the database's settings."""
    server = make_server()
    server.query("CREATE TABLE waiting (id int PRIMARY KEY, body text, answer text); INSERT INTO waiting SELECT i, 'word ' || i FROM generate_series(1, 150) i")
    server.query("SELECT qwen_submit('waiting', 'Say {body}', 'waiting', 'answer', max_tokens => 2, temperature => 0)")
    server.query("ALTER DATABASE postgres SET default_transaction_read_only = on")
    server.stop("immediate")
    server.start()
    wait_until(lambda: server.value("SELECT count(*) FROM waiting WHERE answer IS NULL") == 0, 60, "the rows")


def test_a_worker_that_cannot_connect_says_why(server, worker_role, session):
    """What the worker died of is in the views of those who have its role, and passes."""
    put_rows(session, "worked_rows")
    server.query("CREATE ROLE stranger LOGIN")
    server.query("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO stranger")
    try:
        put_rows(session, "queued")
        job = submit(session)
        said = "permission denied for database"
        wait_until(lambda: said in reason(server, job), 20, "the reason")
        assert server.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,)) == "no worker"
        assert said in server.value("SELECT worker FROM qwen_trigger_backlog")
        session.execute("SELECT trouble FROM _qwen_job_workers() WHERE role = 'worked'::regrole")
        assert said in session.fetchone()[0]
        assert said not in (server.value("SELECT trouble FROM _qwen_job_workers()", user="stranger") or ""), "not for everybody"
    finally:
        server.query("GRANT CONNECT ON DATABASE postgres TO PUBLIC; DROP OWNED BY stranger; DROP ROLE stranger")
    wait_done(server, job)


@pytest.mark.parametrize(
    "lock, said",
    [
        ("LOCK TABLE worked_rows IN ACCESS EXCLUSIVE MODE", "lock timeout"),
        ("SELECT 1 FROM worked_rows FOR UPDATE", "locks that other sessions hold"),
        ("SELECT 1 FROM qwen_job_table FOR UPDATE", "another session has its row"),
        ("LOCK TABLE qwen_job_row IN ACCESS EXCLUSIVE MODE", "lock timeout"),
    ],
)
def test_what_a_worker_waits_for_is_shown(server, session, lock, said):
    put_rows(session, "worked_rows", 400)
    holder = server.connect()
    # what the views would wait for themselves
    shown = "SELECT string_agg(trouble, ' ') FROM _qwen_job_workers()" if "qwen_job_row" in lock else "SELECT string_agg(error, ' ') FROM qwen_jobs WHERE state = 'running'"
    try:
        job = submit(session)
        wait_until(lambda: server.value("SELECT done > 0 FROM qwen_jobs WHERE id = %s", (job,)), 20, "a job at work")
        holder.cursor().execute(f"BEGIN; {lock}")
        wait_until(lambda: said in (server.value(shown) or ""), 20, "the reason")
    finally:
        holder.close()
    server.query("SELECT qwen_cancel(%s)", (job,))


def test_a_limit_that_a_worker_waits_for_is_shown(server, session):
    put_rows(session, "worked_rows")
    server.query("SELECT qwen_set_limit('worked', requests_per_minute => 1)")
    try:
        job = submit(session)
        wait_until(lambda: "limit of requests_per_minute" in reason(server, job), 20, "the reason")
    finally:
        server.query("SELECT qwen_clear_limit('worked')")
    wait_done(server, job)


def test_rows_that_are_tried_again_say_why(server, session):
    put_rows(session, "worked_rows")
    session.execute("ALTER TABLE worked_rows ADD CHECK (answer IS NULL)")
    job = submit(session)
    wait_until(lambda: "violates check constraint" in reason(server, job), 20, "the reason")
    session.execute("ALTER TABLE worked_rows DROP CONSTRAINT worked_rows_answer_check")
    wait_done(server, job)


def test_a_row_keeps_the_default_model_that_it_was_read_with():
    """A worker reads rows ahead of their turn: the setting may change, and its memory go, before they are sent."""
    names = ("a_name_that_is_far_longer_than_a_few_pointers", "short")
    random_models.MODELS.update({name: random_models.MODELS["random"] for name in names})
    server = random_models.serving(*names, settings={"qwen.default_model": names[0], "qwen.job_window": 2})
    try:
        server.query("CREATE TABLE kept (id int PRIMARY KEY, body text, answer text)")
        server.query("CREATE TRIGGER fill AFTER INSERT ON kept FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=300', 'max_attempts=1')")
        server.query("INSERT INTO kept SELECT i, 'text ' || i FROM generate_series(1, 12) i")
        changes, deadline = 0, time.monotonic() + 120
        while server.value("SELECT count(*) > 0 FROM qwen_job_row WHERE NOT dead") and time.monotonic() < deadline:
            changes += 1
            server.reload(qwen__default_model=names[changes % 2])
        assert changes > 2
        assert server.query("SELECT error FROM qwen_dead_letters") == []
        assert server.value("SELECT count(answer) FROM kept") == 12
    finally:
        server.remove()
