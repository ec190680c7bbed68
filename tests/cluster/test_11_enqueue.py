"""Triggers that queue: after the commit, through every fault, by the table's owner, each row once."""
import os
import signal

import psycopg2
import pytest
from cluster import server_user, wait_until

OPTIONS = "'max_tokens=4', 'temperature=0'"


def make_table(server, table, extra=""):
    """A table with a queueing trigger on body, and a log of what is written."""
    server.query(
        f"""
        DROP TABLE IF EXISTS {table}, {table}_log;
        CREATE TABLE {table} (id int PRIMARY KEY, body text, summary text){extra};
        CREATE TABLE {table}_log (id int, summary text);
        CREATE OR REPLACE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN INSERT INTO public.{table}_log VALUES (NEW.id, NEW.summary); RETURN NULL; END $$;
        """
    )
    add_triggers(server, table)


def add_triggers(server, table):
    server.query(
        f"""
        CREATE TRIGGER queue AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'Say {{body}}', {OPTIONS});
        CREATE TRIGGER note AFTER UPDATE OF summary ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_note();
        """
    )


def wait_filled(server, seconds=120):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, seconds, "an empty queue")


def check_exactly_once(server, table, n):
    assert server.value(f"SELECT count(*) FROM {table} WHERE summary IS NULL") == 0
    assert server.query(f"SELECT count(*), count(DISTINCT id) FROM {table}_log") == [(n, n)]


def test_only_what_is_committed_is_filled_in(server):
    make_table(server, "written")
    connection = server.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute("INSERT INTO written SELECT i, 'word ' || i FROM generate_series(1, 100) i")
    connection.rollback()
    cursor.execute("INSERT INTO written SELECT i, 'word ' || i FROM generate_series(1, 100) i")
    assert server.query("SELECT * FROM qwen_trigger_backlog") == []
    connection.commit()
    connection.close()
    backlog = server.query("SELECT relation::text, trigger, waiting > 0, dead, oldest > interval '0' FROM qwen_trigger_backlog")
    assert backlog == [("written", "queue", True, 0, True)]
    wait_filled(server)
    check_exactly_once(server, "written", 100)


def test_changes_during_the_work_win(server):
    make_table(server, "racing")
    server.query("INSERT INTO racing SELECT i, 'word ' || i FROM generate_series(1, 40) i")
    for round in range(5):
        server.query(f"UPDATE racing SET body = 'round {round} ' || id WHERE id % 4 = 0")
    wait_filled(server)
    expected = "qwen_chat('Say ' || body, max_tokens => 4, temperature => 0)"
    assert server.value(f"SELECT bool_and(summary = {expected}) FROM racing WHERE id IN (4, 8, 40, 3)")


def test_partitioned_tables(server):
    make_table(server, "parted", " PARTITION BY RANGE (id)")
    server.query("CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10); CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (20)")
    server.query("INSERT INTO parted SELECT i, 'word ' || i FROM generate_series(5, 14) i")
    wait_filled(server)
    check_exactly_once(server, "parted", 10)
    server.query("UPDATE parted SET id = 19, summary = NULL WHERE id = 5")
    wait_filled(server)
    assert server.value("SELECT summary IS NOT NULL FROM parted_high WHERE id = 19"), "a row that moved is filled in where it is"


def test_an_insert_only_role_queues_and_the_owner_writes(server):
    server.query("DROP ROLE IF EXISTS qwen_owner, qwen_inserter; CREATE ROLE qwen_owner LOGIN; CREATE ROLE qwen_inserter LOGIN")
    make_table(server, "owned")
    try:
        server.query("ALTER TABLE owned OWNER TO qwen_owner; GRANT INSERT ON owned TO qwen_inserter")
        server.query(
            """
            CREATE TABLE owned_who (who name, session name);
            GRANT INSERT ON owned_who TO qwen_owner;
            CREATE OR REPLACE FUNCTION owned_escape() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO public.owned_who VALUES (current_user, session_user);
                SET ROLE qwen_inserter;
                RETURN NULL;
            EXCEPTION WHEN insufficient_privilege THEN INSERT INTO public.owned_who VALUES (current_user, session_user); RETURN NULL;
            END $$;
            CREATE TRIGGER escape AFTER UPDATE ON owned FOR EACH ROW EXECUTE FUNCTION owned_escape();
            """
        )
        server.query("INSERT INTO owned VALUES (1, 'one')", user="qwen_inserter")
        with pytest.raises(psycopg2.Error):
            server.query("UPDATE owned SET summary = 'x'", user="qwen_inserter")
        wait_filled(server)
        assert server.value("SELECT summary IS NOT NULL FROM owned")
        assert set(server.query("SELECT who, session FROM owned_who")) == {("qwen_owner", "qwen_owner")}
        assert server.query("SELECT * FROM qwen_trigger_backlog", user="qwen_inserter") == []
        with pytest.raises(psycopg2.Error) as failure:
            server.query("SELECT * FROM qwen_job_row", user="qwen_inserter")
        assert failure.value.pgcode == "42501"
        if server.value("SHOW server_version_num") < "170000":
            server.query("ALTER ROLE qwen_owner NOLOGIN")
            with pytest.raises(psycopg2.Error) as failure:
                server.query("INSERT INTO owned VALUES (2, 'two')", user="qwen_inserter")
            assert failure.value.pgcode == "22023" and "cannot log in" in str(failure.value)
    finally:
        server.query("DROP TABLE IF EXISTS owned CASCADE; DROP TABLE IF EXISTS owned_who; DROP OWNED BY qwen_owner, qwen_inserter; DROP ROLE qwen_owner, qwen_inserter")


def test_hostile_search_path(server):
    """What stands in a user's schema is never called with the rights of the queue's owner."""
    make_table(server, "pathed")
    server.query("DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil; CREATE TABLE evil.qwen_job_row (owner oid, relation oid, trigger text, key text[])")
    server.query("SET search_path = evil, public, pg_catalog; INSERT INTO pathed VALUES (1, 'one')")
    assert server.query("SELECT * FROM evil.qwen_job_row") == []
    wait_filled(server)
    check_exactly_once(server, "pathed", 1)


def test_keys_of_any_type_in_any_format(server):
    server.query(
        f"""
        DROP TABLE IF EXISTS dated;
        CREATE TABLE dated (day date, part float8, "at Time" timestamptz, body text, summary text, PRIMARY KEY (day, part, "at Time"));
        CREATE TRIGGER queue AFTER INSERT ON dated FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'body', {OPTIONS});
        """
    )
    server.query("SET datestyle = 'SQL, DMY'; SET extra_float_digits = -3; SET timezone = 'Asia/Tokyo'; INSERT INTO dated VALUES ('2024-02-03', 1.0/3, '2024-02-03 04:05:06.789012+00', 'x')")
    wait_filled(server)
    assert server.value("SELECT summary IS NOT NULL FROM dated")


def test_dropped_triggers_and_tables_leave_the_queue(server):
    make_table(server, "leaving")
    make_table(server, "staying")
    server.query("BEGIN; INSERT INTO leaving SELECT i, 'x' FROM generate_series(1, 20) i; DROP TRIGGER queue ON leaving; COMMIT")
    server.query("INSERT INTO leaving SELECT i, 'x' FROM generate_series(21, 40) i")
    add = f"CREATE TRIGGER queue AFTER INSERT OR UPDATE ON leaving FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'Say {{body}}', {OPTIONS})"
    server.query(add)
    server.query("INSERT INTO leaving SELECT i, 'x' FROM generate_series(41, 140) i")
    server.query("DROP TABLE leaving")
    server.query("INSERT INTO staying VALUES (1, 'one')")
    wait_filled(server)
    check_exactly_once(server, "staying", 1)
    # the worker may have met the table while it was being dropped: locked, it leaves its rows alone for a moment
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE job IS NULL AND NOT dead") == 0, 30, "no row of the dropped table in the queue")


def test_a_column_dropped_meanwhile_makes_dead_letters(server):
    make_table(server, "altered")
    server.query("BEGIN; INSERT INTO altered VALUES (1, 'one'); ALTER TABLE altered RENAME body TO text; COMMIT")
    wait_until(lambda: server.value("SELECT sum(dead) FROM qwen_trigger_backlog WHERE relation = 'altered'::regclass") == 1, 60, "a dead letter")
    assert "{body}" in server.value("SELECT last_error FROM qwen_trigger_backlog WHERE relation = 'altered'::regclass")
    server.query("ALTER TABLE altered RENAME text TO body; SELECT qwen_retry_table('altered')")
    wait_filled(server)
    check_exactly_once(server, "altered", 1)


def test_dead_letters_of_partitions_are_their_table_s(server):
    server.query(
        """
        CREATE TABLE sectioned (id int PRIMARY KEY, body text, said text CONSTRAINT never CHECK (said IS NULL)) PARTITION BY RANGE (id);
        CREATE TABLE sectioned_1 PARTITION OF sectioned FOR VALUES FROM (0) TO (10); CREATE TABLE sectioned_2 PARTITION OF sectioned FOR VALUES FROM (10) TO (20);
        CREATE TRIGGER fill AFTER INSERT ON sectioned FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'max_tokens=1', 'max_attempts=1');
        INSERT INTO sectioned SELECT i, 'word ' || i FROM unnest('{1,2,11}'::int[]) i
        """
    )
    letters = "SELECT count(*) FROM qwen_dead_letters WHERE relation::text LIKE 'sectioned%%'"
    wait_until(lambda: server.value(letters) == 3, 30, "dead letters")
    assert server.value("SELECT qwen_forget_table('sectioned_2')") == 1
    server.query("ALTER TABLE sectioned DROP CONSTRAINT never")
    assert server.value("SELECT qwen_retry_table('sectioned')") == 2
    wait_until(lambda: server.query("SELECT id FROM sectioned WHERE said IS NOT NULL ORDER BY 1") == [(1,), (2,)], 30, "their rows")
    assert server.value("SELECT qwen_forget_table('sectioned')") == 0
    server.query("DROP TABLE sectioned")


def test_rows_that_their_owner_may_not_read_become_dead_letters(server):
    server.query("DROP ROLE IF EXISTS qwen_blind; CREATE ROLE qwen_blind LOGIN")
    make_table(server, "unreadable")
    make_table(server, "readable")
    try:
        server.query("ALTER TABLE unreadable OWNER TO qwen_blind")
        # one transaction: the rows are queued before the owner loses the privilege, and worked on afterwards
        server.query("INSERT INTO unreadable SELECT i, 'word ' || i FROM generate_series(1, 5) i; INSERT INTO readable VALUES (1, 'one'); REVOKE SELECT ON unreadable FROM qwen_blind")
        wait_until(lambda: server.value("SELECT sum(dead) FROM qwen_trigger_backlog WHERE relation = 'unreadable'::regclass") == 5, 60, "dead letters")
        assert "permission denied for table unreadable" in server.value("SELECT last_error FROM qwen_trigger_backlog WHERE relation = 'unreadable'::regclass")
        wait_until(lambda: server.value("SELECT count(*) FROM readable WHERE summary IS NOT NULL") == 1, 60, "the rows of others")
        server.query("GRANT SELECT ON unreadable TO qwen_blind; SELECT qwen_retry_table('unreadable')")
        wait_filled(server)
        check_exactly_once(server, "unreadable", 5)
    finally:
        server.query("DROP TABLE IF EXISTS unreadable CASCADE; DROP OWNED BY qwen_blind; DROP ROLE qwen_blind")


def test_engine_killed(server):
    make_table(server, "engine_lost")
    server.query("INSERT INTO engine_lost SELECT i, 'word ' || i FROM generate_series(1, 60) i")
    wait_until(lambda: server.value("SELECT count(*) FROM engine_lost_log") > 0, 60, "the first answers")
    server.signal(server.engine_pid(), signal.SIGKILL)
    wait_filled(server)
    check_exactly_once(server, "engine_lost", 60)


def try_start(server):
    try:
        return server.start()
    except RuntimeError:
        return None


def test_server_killed_with_a_backlog(make_server):
    server = make_server({"fsync": "on"})
    make_table(server, "crashed")
    server.query("INSERT INTO crashed SELECT i, 'word ' || i FROM generate_series(1, 120) i")
    wait_until(lambda: server.value("SELECT count(*) FROM crashed_log") > 0, 60, "the first answers")
    os.kill(server.postmaster_pid(), signal.SIGKILL)
    wait_until(lambda: try_start(server), 30, "a start after the crash")
    wait_filled(server)
    check_exactly_once(server, "crashed", 120)


def test_two_databases_are_found_after_a_restart(make_server):
    server = make_server()
    server.query("CREATE DATABASE second")
    make_table(server, "here")
    server.query("INSERT INTO here SELECT i, 'word ' || i FROM generate_series(1, 50) i")
    connection = psycopg2.connect(host=server.folder, port=server.port, user=server_user(), dbname="second")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE EXTENSION qwen_pg; CREATE TABLE there (id int PRIMARY KEY, body text, summary text)")
    cursor.execute(f"CREATE TRIGGER queue AFTER INSERT ON there FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'body', {OPTIONS})")
    cursor.execute("INSERT INTO there SELECT i, 'word ' || i FROM generate_series(1, 50) i")
    connection.close()
    server.restart()
    wait_filled(server)
    check_exactly_once(server, "here", 50)

    def all_there():
        with psycopg2.connect(host=server.folder, port=server.port, user=server_user(), dbname="second") as other:
            reader = other.cursor()
            reader.execute("SELECT count(*) FROM there WHERE summary IS NULL")
            return reader.fetchone()[0] == 0

    wait_until(all_there, 60, "the rows of the other database")
