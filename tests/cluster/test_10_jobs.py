"""Jobs: work over the rows of a table, in the background, through every fault, with each row exactly once in its target."""
import os
import signal
import time

import psycopg2
import pytest
from cluster import server_user, wait_until

PROMPT = "Say one word about {body}"
LIMITS = "max_tokens => 4, temperature => 0"


def make_rows(server, table, n=40, extra=""):
    """A table of n texts, with a log of every write of a summary."""
    server.query(
        f"""
        DROP TABLE IF EXISTS {table}, {table}_log;
        CREATE TABLE {table} (id int PRIMARY KEY, body text, summary text{extra});
        CREATE TABLE {table}_log (id int, summary text);
        INSERT INTO {table} (id, body) SELECT i, 'thing number ' || i FROM generate_series(1, {n}) i;
        CREATE OR REPLACE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO {table}_log VALUES (NEW.id, NEW.summary); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER UPDATE OF summary ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_note();
        """
    )


def submit(server, table, limits=LIMITS, user=None, prompt=PROMPT):
    return server.value(f"SELECT qwen_submit('{table}', '{prompt}', '{table}', 'summary', {limits})", user=user)


def wait(server, job, seconds=120):
    return server.value("SELECT qwen_wait(%s, %s * interval '1 s')", (job, seconds))


def row_of(server, job):
    names = "state, total, done, failed, error"
    return dict(zip(names.split(", "), server.query(f"SELECT {names} FROM qwen_jobs WHERE id = {job}")[0]))


def check_exactly_once(server, table):
    assert server.value(f"SELECT count(*) FROM {table} WHERE summary IS NULL") == 0
    assert server.query(f"SELECT id FROM {table}_log GROUP BY id HAVING count(*) <> 1") == []


def no_workers(server):
    return server.query("SELECT * FROM _qwen_job_workers()") == []


def worker_pids(server):
    return [pid for pid, in server.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")]


def test_job_fills_its_column_and_leaves(server):
    # more rows than a worker takes at once, so that it reads page after page
    make_rows(server, "plain", 150)
    job = submit(server, "plain")
    assert wait(server, job) == "done"
    assert row_of(server, job) == {"state": "done", "total": 150, "done": 150, "failed": 0, "error": None}
    check_exactly_once(server, "plain")
    same = server.value("SELECT summary = qwen_chat('Say one word about ' || body, max_tokens => 4, temperature => 0) FROM plain WHERE id = 7")
    assert same, "a job gives what the function gives"
    assert server.value("SELECT tokens_per_s > 0 AND eta IS NULL AND completion_tokens > 0 FROM qwen_jobs WHERE id = %s", (job,))
    wait_until(lambda: no_workers(server) and worker_pids(server) == [], what="no worker when there is no work")
    assert server.value("SELECT count(*) FROM qwen_job_row") == 0


def test_rolled_back_submit_never_runs(server):
    make_rows(server, "undone", 2)
    connection = server.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute(f"SELECT qwen_submit('undone', '{PROMPT}', 'undone', 'summary', {LIMITS})")
    job = cursor.fetchone()[0]
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("SELECT qwen_wait(%s)", (job,))
    assert failure.value.pgcode == "55000"
    connection.rollback()
    connection.close()
    assert server.query("SELECT 1 FROM qwen_jobs WHERE id = %s", (job,)) == []
    with pytest.raises(psycopg2.Error) as failure:
        wait(server, job)
    assert failure.value.pgcode == "42704"


def test_query_into_another_table(server):
    make_rows(server, "articles_in", 6)
    server.query("DROP TABLE IF EXISTS answers; CREATE TABLE answers (id int PRIMARY KEY, said text, note text DEFAULT 'made')")
    server.query("INSERT INTO answers VALUES (2, 'old', 'kept')")
    job = server.value(
        f"""SELECT qwen_submit('SELECT id, upper(body) AS shout FROM articles_in WHERE id <= 4 -- a comment', 'Repeat: {{shout}}',
            'answers', 'said', {LIMITS})"""
    )
    assert wait(server, job) == "done"
    rows = server.query("SELECT id, said IS NOT NULL AND said <> 'old', note FROM answers ORDER BY id")
    assert rows == [(1, True, "made"), (2, True, "kept"), (3, True, "made"), (4, True, "made")]


def test_keys_that_the_source_has_twice(server):
    """The target has one row a key, the last answer: that nobody promised an order is no error."""
    server.query("DROP TABLE IF EXISTS twice, once; CREATE TABLE twice (id int, body text); CREATE TABLE once (id int PRIMARY KEY, said text)")
    server.query("INSERT INTO twice SELECT i % 3, 'the same' FROM generate_series(1, 6) i; INSERT INTO twice VALUES (1, 'another')")
    job = server.value(f"SELECT qwen_submit('SELECT * FROM twice', 'body', 'once', 'said', {LIMITS})")
    assert wait(server, job) == "done"
    assert row_of(server, job)["failed"] == 0
    assert server.value("SELECT count(*) FROM once WHERE said IS NOT NULL") == 3


def test_embeddings_and_summaries(server):
    make_rows(server, "vectors", 5, ", embedding real[]")
    job = server.value("SELECT qwen_submit('vectors', 'body', 'vectors', 'embedding', function => 'embed')")
    assert wait(server, job) == "done"
    assert server.value("SELECT bool_and(embedding = qwen_embed(body)) FROM vectors"), "the same numbers to the last bit"
    job = server.value("SELECT qwen_submit('vectors', 'body', 'vectors', 'summary', function => 'summarize', max_words => 5, max_tokens => 12)")
    assert wait(server, job) == "done"
    assert server.value("SELECT summary = qwen_summarize(body, 5, max_tokens => 12) FROM vectors WHERE id = 3")


def test_keys_of_several_columns_and_odd_types(server):
    server.query(
        """
        DROP TABLE IF EXISTS odd;
        CREATE TABLE odd (day date, "a Name" text, at timestamptz, body text, "the Answer" varchar(200), PRIMARY KEY (day, "a Name", at));
        INSERT INTO odd SELECT date '2024-01-30' + i, 'it''s {' || (i % 3) || '}', timestamptz '2024-06-01 12:00:00.123456+02' + i * interval '1 h', 'word ' || i FROM generate_series(1, 70) i;
        """
    )
    job = server.value(f"SET datestyle = 'SQL, DMY'; SELECT qwen_submit('odd', 'Say {{body}} {{{{now}}}}', 'odd', 'the Answer', {LIMITS})")
    assert wait(server, job) == "done"
    assert server.value('SELECT count(*) FROM odd WHERE "the Answer" IS NULL') == 0


def test_bad_rows_are_their_own_matter(server):
    make_rows(server, "mixed", 6)
    server.query(
        """
        UPDATE mixed SET body = NULL WHERE id = 2;
        UPDATE mixed SET body = '' WHERE id = 3;
        UPDATE mixed SET body = repeat('word ', 100000) WHERE id = 4;
        TRUNCATE mixed_log
        """
    )
    job = server.value(f"SELECT qwen_submit('mixed', 'body', 'mixed', 'summary', {LIMITS})")
    assert wait(server, job) == "done with failures"
    state = row_of(server, job)
    assert (state["total"], state["done"], state["failed"]) == (6, 5, 1)
    assert server.query("SELECT id FROM mixed WHERE summary IS NULL ORDER BY id") == [(2,), (3,), (4,)]
    letters = server.query("SELECT relation::text, key, sqlstate, attempts FROM qwen_dead_letters WHERE job = %s", (job,))
    assert letters == [("mixed", ["4"], "54000", 1)], "too long: once is enough"
    server.query("UPDATE mixed SET body = 'short now' WHERE id = 4")
    assert server.value("SELECT qwen_retry(%s)", (job,)) == 1
    assert wait(server, job) == "done"
    state = row_of(server, job)
    assert (state["total"], state["done"], state["failed"]) == (6, 6, 0)
    assert server.query("SELECT id FROM mixed WHERE summary IS NULL") == [(2,), (3,)]


def test_changed_rows_are_generated_again(server):
    make_rows(server, "moving", 64)
    job = submit(server, "moving", "max_tokens => 12, temperature => 0")
    wait_until(lambda: server.value("SELECT count(*) FROM moving_log") > 0, 60, "the first answers")
    changed = [i for i, in server.query("UPDATE moving SET body = 'changed ' || id WHERE summary IS NULL RETURNING id")]
    deleted = server.value("WITH d AS (DELETE FROM moving WHERE id = (SELECT max(id) FROM moving WHERE summary IS NULL) RETURNING id) SELECT id FROM d")
    assert wait(server, job) == "done"
    check_exactly_once(server, "moving")
    for i in changed[:3] + changed[-3:]:
        if i != deleted:
            assert server.value("SELECT summary = qwen_chat('Say one word about changed ' || id, max_tokens => 12, temperature => 0) FROM moving WHERE id = %s", (i,))
    assert server.query("SELECT 1 FROM moving WHERE id = %s", (deleted,)) == []


def test_locked_rows_wait_and_hold_nobody_up(server):
    make_rows(server, "locked", 8)
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute("UPDATE locked SET body = 'mine' WHERE id = 3")
    job = submit(server, "locked")
    wait_until(lambda: row_of(server, job)["done"] == 7, 60, "the other rows")
    assert server.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0
    cursor.execute("COMMIT")
    connection.close()
    assert wait(server, job) == "done"
    assert server.value("SELECT summary = qwen_chat('Say one word about mine', max_tokens => 4, temperature => 0) FROM locked WHERE id = 3")
    check_exactly_once(server, "locked")


def test_serialization_failures_are_retried(server):
    make_rows(server, "conflicts", 6)
    server.query(
        """
        CREATE SEQUENCE IF NOT EXISTS conflicts_tries;
        CREATE OR REPLACE FUNCTION conflicts_now() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF nextval('conflicts_tries') % 3 <> 0 THEN RAISE serialization_failure; END IF; RETURN NEW; END $$;
        CREATE TRIGGER conflict BEFORE UPDATE ON conflicts FOR EACH ROW EXECUTE FUNCTION conflicts_now();
        """
    )
    job = submit(server, "conflicts")
    assert wait(server, job) == "done"
    assert row_of(server, job)["failed"] == 0
    check_exactly_once(server, "conflicts")


def test_rows_that_cannot_be_written_become_dead_letters(server):
    make_rows(server, "strict", 5, ", CHECK (id <> 3 OR summary IS NULL)")
    job = submit(server, "strict", LIMITS + ", max_attempts => 2")
    assert wait(server, job) == "done with failures"
    assert row_of(server, job)["failed"] == 1
    assert server.query("SELECT key, sqlstate, attempts FROM qwen_dead_letters WHERE job = %s", (job,)) == [(["3"], "23514", 2)]
    assert server.value("SELECT count(*) FROM strict WHERE summary IS NOT NULL") == 4


def test_cancel(server):
    make_rows(server, "cancelled", 200)
    job = submit(server, "cancelled", "max_tokens => 60, temperature => 0")
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") > 0, 30, "requests")
    assert server.value("SELECT qwen_cancel(%s)", (job,))
    wait_until(lambda: server.query("SELECT running, waiting FROM qwen_stat_engine") == [(0, 0)], 5, "an engine without requests")
    assert wait(server, job) == "cancelled"
    assert not server.value("SELECT qwen_cancel(%s)", (job,))
    n = server.value("SELECT count(*) FROM cancelled_log")
    wait_until(lambda: no_workers(server), what="no worker")
    assert server.value("SELECT count(*) FROM cancelled_log") == n < 200


def test_cancelled_job_goes_on_with_retry(server):
    make_rows(server, "resumed", 48)
    job = submit(server, "resumed")
    wait_until(lambda: row_of(server, job)["done"] > 0, 60, "progress")
    server.query("SELECT qwen_cancel(%s)", (job,))
    server.query("SELECT qwen_retry(%s)", (job,))
    assert wait(server, job) == "done"
    assert row_of(server, job)["done"] == 48
    check_exactly_once(server, "resumed")


@pytest.mark.parametrize("change, said", [("DROP TABLE dropped CASCADE", "dropped"), ("ALTER TABLE dropped DROP COLUMN body", "body"), ("ALTER TABLE dropped RENAME summary TO short", "summary")])
def test_dropped_things_fail_the_job_and_not_the_worker(server, change, said):
    make_rows(server, "dropped", 120)
    make_rows(server, "other", 40)
    job = submit(server, "dropped", "max_tokens => 12, temperature => 0")
    wait_until(lambda: row_of(server, job)["state"] == "running", 30, "a running job")
    other = submit(server, "other")
    pids = worker_pids(server)
    server.query(change)
    assert wait(server, job) == "failed"
    assert said in row_of(server, job)["error"]
    assert wait(server, other) == "done"
    assert len(pids) == 1 and row_of(server, other)["done"] == 40
    check_exactly_once(server, "other")


def test_renamed_table_is_found(server):
    make_rows(server, "old_name", 80)
    server.query("DROP TABLE IF EXISTS new_name")
    job = submit(server, "old_name")
    wait_until(lambda: row_of(server, job)["done"] > 0, 60, "progress")
    server.query("ALTER TABLE old_name RENAME TO new_name")
    assert wait(server, job) == "done"
    assert server.value("SELECT count(*) FROM new_name WHERE summary IS NULL") == 0
    server.query("DROP TABLE new_name")


def test_engine_killed_in_mid_job(server):
    make_rows(server, "killed", 60)
    job = submit(server, "killed", "max_tokens => 12, temperature => 0")
    for n in (1, 20):
        wait_until(lambda: row_of(server, job)["done"] >= n, 60, "progress")
        server.signal(server.engine_pid(), signal.SIGKILL)
        wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "running", what="an engine")
    assert wait(server, job) == "done"
    assert row_of(server, job)["failed"] == 0
    check_exactly_once(server, "killed")


def test_terminated_worker_is_started_again(server):
    make_rows(server, "terminated", 80)
    job = submit(server, "terminated")
    wait_until(lambda: row_of(server, job)["done"] > 0, 60, "progress")
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")
    assert wait(server, job) == "done"
    check_exactly_once(server, "terminated")


def test_cancelled_worker_statement_goes_on(server):
    make_rows(server, "interrupted", 80)
    job = submit(server, "interrupted")
    for _ in range(5):
        server.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")
        time.sleep(0.1)
    assert wait(server, job) == "done"
    assert row_of(server, job)["failed"] == 0
    check_exactly_once(server, "interrupted")


def listen(server, channel):
    connection = server.connect()
    connection.cursor().execute(f"LISTEN {channel}")
    return connection


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_notify_at_the_end(server, state):
    make_rows(server, "heard", 3 if state == "done" else 200)
    connection = listen(server, "qwen_job")
    job = submit(server, "heard", "max_tokens => 20, temperature => 0")
    if state != "done":
        server.query("DROP TABLE heard CASCADE" if state == "failed" else f"SELECT qwen_cancel({job})")

    def heard():
        connection.poll()
        return [notice.payload for notice in connection.notifies if f'"id": {job},' in notice.payload]

    assert wait_until(heard, 60, "the notification") == [f'{{"id": {job}, "state": "{state}"}}']
    connection.close()


def test_nothing_is_held_while_the_model_runs(server):
    make_rows(server, "watched", 200)
    job = submit(server, "watched", "max_tokens => 6, temperature => 0")
    connection = server.connect()
    connection.cursor().execute("SET statement_timeout = '10s'")
    oldest, altered, seen = 0.0, 0, set()
    while server.value("SELECT state IN ('queued', 'running') FROM qwen_jobs WHERE id = %s", (job,)):
        age = server.value("SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")
        oldest = max(oldest, float(age or 0))
        seen |= set(server.query("SELECT done, done + failed <= total, tokens_per_s > 0, eta >= interval '0' AND eta < interval '1 h' FROM qwen_jobs WHERE id = %s AND done BETWEEN 1 AND 199", (job,)))
        if altered < 5 and row_of(server, job)["done"] > 20 * altered:
            connection.cursor().execute("VACUUM watched")
            connection.cursor().execute(f"ALTER TABLE watched ADD COLUMN c{altered} int")
            altered += 1
    connection.close()
    assert oldest < 1.0
    assert altered == 5
    assert len(seen) > 3 and all(row[1:] == (True, True, True) for row in seen), "progress, speed and the time that is left"
    assert wait(server, job) == "done"
    check_exactly_once(server, "watched")


def test_runs_with_the_privileges_of_its_owner(server):
    server.query("DROP ROLE IF EXISTS qwen_job_user; CREATE ROLE qwen_job_user LOGIN; CREATE ROLE qwen_job_group NOLOGIN")
    try:
        make_rows(server, "guarded", 10)
        server.query("DROP TRIGGER note ON guarded")
        for grant in ("FUNCTION qwen_submit", "FUNCTION qwen_wait", "FUNCTION qwen_cancel"):
            server.query(f"GRANT EXECUTE ON {grant} TO qwen_job_user, qwen_job_group")
        with pytest.raises(psycopg2.Error) as failure:
            submit(server, "guarded", user="qwen_job_user")
        assert failure.value.pgcode == "42501" and "qwen_chat" in str(failure.value)
        server.query("DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname = 'qwen_chat' LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO qwen_job_user, qwen_job_group', f); END LOOP; END $$")
        with pytest.raises(psycopg2.Error) as failure:
            submit(server, "guarded", user="qwen_job_user")
        assert failure.value.pgcode == "42501"
        server.query("GRANT SELECT, UPDATE (summary) ON guarded TO qwen_job_user")
        server.query("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
        server.query("CREATE POLICY half ON guarded TO qwen_job_user USING (id <= 5)")
        job = submit(server, "guarded", user="qwen_job_user")
        assert server.value("SELECT qwen_wait(%s, '60 s')", (job,), user="qwen_job_user") == "done"
        assert server.query("SELECT array_agg(id ORDER BY id) FROM guarded WHERE summary IS NOT NULL") == [([1, 2, 3, 4, 5],)]
        server.query("REVOKE SELECT ON guarded FROM qwen_job_user; GRANT SELECT (id, body) ON guarded TO qwen_job_user")
        again = submit(server, "guarded", "max_tokens => 60, temperature => 0", user="qwen_job_user", prompt="Tell {body}")
        assert server.value("SELECT qwen_cancel(%s)", (again,))
        wait_until(lambda: no_workers(server), what="no worker")
        server.query("DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE proname = 'qwen_chat' LOOP EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM qwen_job_user', f); END LOOP; END $$")
        server.query("SELECT qwen_retry(%s)", (again,))
        assert wait(server, again) == "failed"
        assert row_of(server, again)["error"] == "permission denied for function qwen_chat"
        other = submit(server, "guarded")
        assert server.query("SELECT id FROM qwen_jobs ORDER BY id", user="qwen_job_user") == [(job,), (again,)], "others' jobs are not shown"
        with pytest.raises(psycopg2.Error) as failure:
            server.value("SELECT qwen_cancel(%s)", (other,), user="qwen_job_user")
        assert failure.value.pgcode == "42501"
        with pytest.raises(psycopg2.Error) as failure:
            server.query("SELECT * FROM qwen_job_table", user="qwen_job_user")
        assert failure.value.pgcode == "42501"
        wait(server, other)
        if server.value("SHOW server_version_num") < "170000":
            with pytest.raises(psycopg2.Error) as failure:
                server.query(f"SET ROLE qwen_job_group; SELECT qwen_submit('guarded', '{PROMPT}', 'guarded', 'summary')")
            assert failure.value.pgcode == "22023" and "log in" in str(failure.value)
    finally:
        server.query("DROP TABLE guarded CASCADE; DROP OWNED BY qwen_job_user, qwen_job_group; DROP ROLE qwen_job_user, qwen_job_group")


def test_dropped_role(server):
    server.query("DROP ROLE IF EXISTS qwen_job_gone; CREATE ROLE qwen_job_gone LOGIN SUPERUSER")
    make_rows(server, "orphans", 200)
    job = submit(server, "orphans", "max_tokens => 12, temperature => 0", user="qwen_job_gone")
    wait_until(lambda: row_of(server, job)["state"] == "running", 30, "a running job")
    server.query("DROP ROLE qwen_job_gone")
    assert wait(server, job) == "failed"
    assert "role" in row_of(server, job)["error"]
    wait_until(lambda: no_workers(server), what="no worker")


def test_a_role_dropped_while_no_worker_can_connect(make_server):
    """Nothing runs as the role that could tell: whoever looks after workers that never connect does."""
    server = make_server()
    server.query("CREATE ROLE qwen_job_gone LOGIN SUPERUSER")
    server.query("CREATE DATABASE second")
    second = psycopg2.connect(host=server.folder, port=server.port, user=server_user(), dbname="second")
    second.autocommit = True
    second.cursor().execute("CREATE EXTENSION qwen_pg; CREATE TABLE s (id int PRIMARY KEY, body text, summary text); INSERT INTO s SELECT i, 'x' || i FROM generate_series(1, 200) i")
    second.cursor().execute("SELECT qwen_submit('s', 'Say {body}', 's', 'summary', max_tokens => 40, temperature => 0)")
    second.close()
    make_rows(server, "stranded", 200)
    job = submit(server, "stranded", "max_tokens => 40, temperature => 0", user="qwen_job_gone")
    wait_until(lambda: row_of(server, job)["state"] == "running" and len(worker_pids(server)) == 2, 30, "running jobs")
    server.query("ALTER ROLE qwen_job_gone RENAME TO qwen_job_going; ALTER DATABASE second ALLOW_CONNECTIONS false")
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'; DROP ROLE qwen_job_going")
    server.query("DROP DATABASE second WITH (FORCE)")
    assert wait(server, job) == "failed"
    assert row_of(server, job)["error"] in ("the owner of the job was dropped", "the role that owns the job was dropped")
    wait_until(lambda: no_workers(server), what="no worker")
    # a worker of either that tries again says so in the log, sooner or later: none does any more
    failures = server.read_log().count("FATAL")
    time.sleep(4)
    assert server.read_log().count("FATAL") - failures <= 1


def test_two_roles_at_once(server):
    server.query("DROP ROLE IF EXISTS qwen_job_second; CREATE ROLE qwen_job_second LOGIN SUPERUSER")
    make_rows(server, "first_table", 40)
    make_rows(server, "second_table", 40)
    jobs = [submit(server, "first_table"), submit(server, "second_table", user="qwen_job_second"), submit(server, "first_table", prompt="Again {body}")]
    assert wait_until(lambda: len(worker_pids(server)) == 2, 20, "two workers")
    for job in jobs:
        assert wait(server, job) == "done"
    check_exactly_once(server, "second_table")
    assert server.query("SELECT id FROM first_table_log GROUP BY id HAVING count(*) <> 2") == []
    wait_until(lambda: no_workers(server), what="no worker")
    server.query("DROP ROLE qwen_job_second")


def try_start(server):
    """Other processes of the killed server may take a moment to leave its shared memory."""
    try:
        return server.start()
    except RuntimeError:
        return None


def test_server_killed_in_mid_job(make_server):
    server = make_server({"fsync": "on"})
    make_rows(server, "crashed", 120)
    job = submit(server, "crashed", "max_tokens => 8, temperature => 0")
    for n in (5, 50):
        wait_until(lambda: row_of(server, job)["done"] >= n, 60, "progress")
        os.kill(server.postmaster_pid(), signal.SIGKILL)
        wait_until(lambda: try_start(server), 30, "a start after the crash")
    assert wait(server, job) == "done"
    assert row_of(server, job) == {"state": "done", "total": 120, "done": 120, "failed": 0, "error": None}
    check_exactly_once(server, "crashed")


def test_worker_killed_and_restarts(make_server):
    server = make_server()
    make_rows(server, "reset", 120)
    job = submit(server, "reset")
    wait_until(lambda: row_of(server, job)["done"] > 0, 60, "progress")
    os.kill(worker_pids(server)[0], signal.SIGKILL)

    def is_back():
        try:
            return row_of(server, job)["done"] > 0
        except psycopg2.Error:
            return False

    time.sleep(0.5)
    wait_until(is_back, 30, "a server after the reset")
    wait_until(lambda: row_of(server, job)["done"] >= 60, 60, "progress")
    server.restart()
    assert wait(server, job) == "done"
    check_exactly_once(server, "reset")


def test_no_worker_slot_is_shown_and_passes(make_server):
    """Two slots are taken by our supervisor and PostgreSQL's launcher of logical replication."""
    server = make_server({"max_worker_processes": 2})
    make_rows(server, "slotless", 4)
    job = submit(server, "slotless")
    wait_until(lambda: "raise max_worker_processes (2)" in (row_of(server, job)["error"] or ""), what="the setting to raise")
    assert row_of(server, job)["state"] == "no worker"
    # nor can the server look for what was left before a restart
    server.restart()
    wait_until(lambda: "raise max_worker_processes (2)" in (row_of(server, job)["error"] or ""), what="the same behind a restart")
    # one that looks for databases, and none for those in which it finds work
    server.settings["max_worker_processes"] = 3
    server.restart()
    wait_until(lambda: "raise max_worker_processes (3)" in (row_of(server, job)["error"] or ""), what="the same where half of a look has a slot")
    server.settings["max_worker_processes"] = 8
    server.restart()
    assert wait(server, job) == "done"
    check_exactly_once(server, "slotless")


def test_limit_of_workers_is_shown_and_passes(make_server):
    server = make_server({"qwen.max_job_workers": 1})
    server.query("CREATE ROLE qwen_job_second LOGIN SUPERUSER")
    make_rows(server, "first_table", 200)
    make_rows(server, "second_table", 4)
    first = submit(server, "first_table", "max_tokens => 40, temperature => 0")
    wait_until(lambda: row_of(server, first)["state"] == "running", 30, "a running job")
    second = submit(server, "second_table", user="qwen_job_second")
    wait_until(lambda: "raise qwen.max_job_workers (1)" in (row_of(server, second)["error"] or ""), what="the setting to raise")
    assert row_of(server, second)["state"] == "no worker"
    server.reload(qwen__max_job_workers=2)
    assert wait(server, second) == "done"
    server.query("SELECT qwen_cancel(%s)", (first,))


def test_a_missing_engine_is_shown_and_uses_up_no_attempt(make_server):
    server = make_server({"qwen.engine_path": "/nonexistent/qwen_engine"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg")
    make_rows(server, "engineless", 4)
    job = submit(server, "engineless", LIMITS + ", max_attempts => 1")
    wait_until(lambda: "engine" in (row_of(server, job)["error"] or ""), 30, "the reason")
    assert row_of(server, job)["state"] == "running"
    assert server.query("SELECT DISTINCT attempts, dead FROM qwen_job_row") == [(0, False)]
    del server.settings["qwen.engine_path"]
    server.restart()
    assert wait(server, job) == "done"
    assert row_of(server, job)["error"] is None
    check_exactly_once(server, "engineless")


def test_a_job_fails_once_its_row_is_free(server):
    """Somebody has the job's row locked while it fails: it waits without a transaction, and ends afterwards."""
    make_rows(server, "held", 60)
    job = submit(server, "held", "max_tokens => 12, temperature => 0")
    wait_until(lambda: row_of(server, job)["state"] == "running", 30, "a running job")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute("SELECT 1 FROM qwen_job_table WHERE id = %s FOR UPDATE", (job,))
    server.query("DROP TABLE held CASCADE")
    time.sleep(1)
    assert server.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0
    cursor.execute("COMMIT")
    connection.close()
    assert wait(server, job) == "failed"


def test_drop_extension_with_a_job_running(make_server):
    server = make_server()
    make_rows(server, "left_over", 200)
    job = submit(server, "left_over", "max_tokens => 20, temperature => 0")
    wait_until(lambda: row_of(server, job)["state"] == "running", 30, "a running job")
    server.query("DROP EXTENSION qwen_pg")
    wait_until(lambda: worker_pids(server) == [], 20, "no worker")
    server.query("CREATE EXTENSION qwen_pg")
    assert wait(server, submit(server, "left_over", LIMITS)) == "done"
