"""Work goes on whatever others do to its tables: who waits holds nobody up, a locked table stops no other, an extension that is made anew
begins with nothing of the old one's, and scouts end well."""
import threading
import time

import psycopg2
import pytest
from cluster import wait_until

QUEUE = """CREATE TABLE {0} (id int PRIMARY KEY, body text, answer text);
    CREATE TRIGGER queue AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0');"""


def test_scouts_end_without_an_error_and_no_other_follows(make_server):
    server = make_server()
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job scout'") == 0, 20, "no scout")
    # the pause between two is 5 s: a scout that failed would be followed by another, and that by the next
    started = set()
    end = time.monotonic() + 8
    session = server.connect()
    cursor = session.cursor()
    while time.monotonic() < end:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'qwen_pg job scout'")
        started.update(pid for pid, in cursor.fetchall())
        time.sleep(0.01)
    session.close()
    assert started == set()
    log = server.read_log()
    assert "before_shmem_exit" not in log
    assert not [line for line in log.splitlines() if "qwen_pg job scout" in line and "exited with exit code 1" in line]


def test_a_waiter_keeps_nobody_from_the_tables(server):
    """A waits for a job, B builds the tables' indexes anew, C queues rows."""
    server.query("CREATE TABLE waited (id int PRIMARY KEY, body text, answer text); INSERT INTO waited SELECT i, 'word ' || i FROM generate_series(1, 400) i")
    server.query(QUEUE.format("waited_queue"))
    ended = {}
    job = server.value("SELECT qwen_submit('waited', 'body', 'waited', 'answer', max_tokens => 2, temperature => 0)")

    def run(name, sql):
        try:
            ended[name] = server.query(sql)
        except Exception as error:  # told by the assertion below
            ended[name] = error

    waiter = threading.Thread(target=run, args=("wait", f"SELECT qwen_wait({job}, '2 min')"), daemon=True)
    waiter.start()
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT qwen_wait%%' AND state = 'active' AND wait_event_type = 'Extension'") == 1, 20, "a waiter")
    pid = server.value("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT qwen_wait%%' AND state = 'active'")
    # it may be in the midst of a look
    wait_until(lambda: server.value(f"SELECT count(*) FROM pg_locks WHERE pid = {pid} AND relation IN ('qwen_job_row'::regclass, 'qwen_job_table'::regclass)") == 0, 5, "no locks")
    others = [threading.Thread(target=run, args=arguments, daemon=True) for arguments in
              (("row", "REINDEX TABLE qwen_job_row"), ("job", "REINDEX TABLE qwen_job_table"), ("insert", "INSERT INTO waited_queue VALUES (1, 'a word')"))]
    for other in others:
        other.start()
    for other in others:
        other.join(20)
    assert waiter.is_alive(), "the job ended too early for this test"
    assert ended == {"row": None, "job": None, "insert": None}
    server.query(f"SELECT qwen_cancel({job})")
    waiter.join(20)
    assert ended["wait"] == [("cancelled",)]
    wait_until(lambda: server.value("SELECT answer IS NOT NULL FROM waited_queue"), 60, "the queued row")
    server.query("DROP TABLE waited, waited_queue")


def test_an_extension_made_anew_has_nothing_of_the_old_ones_jobs(make_server):
    server = make_server({"qwen.job_window": 8})
    server.query("CREATE TABLE old (id int PRIMARY KEY, body text, answer text); INSERT INTO old SELECT i, 'word ' || i FROM generate_series(1, 2000) i")
    server.query("CREATE TABLE new (id int PRIMARY KEY, body text, answer text); INSERT INTO new SELECT i, 'thing ' || i FROM generate_series(1, 30) i")
    first = server.value("SELECT qwen_submit('old', 'body', 'old', 'answer', max_tokens => 2, temperature => 0)")
    wait_until(lambda: server.value("SELECT count(answer) FROM old") > 0, 60, "the first answers")
    session = server.connect()
    cursor = session.cursor()
    cursor.execute("BEGIN; DROP EXTENSION qwen_pg; CREATE EXTENSION qwen_pg")
    cursor.execute("SELECT qwen_submit('new', 'body', 'new', 'answer', max_tokens => 2, temperature => 0)")
    job = cursor.fetchone()[0]
    assert job == first
    cursor.execute("SELECT count(answer) FROM old")
    done = cursor.fetchone()[0]
    cursor.execute("COMMIT")
    session.close()
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, failed, error FROM qwen_jobs") == [(30, 30, 0, None)]
    assert server.value("SELECT count(answer) FROM new") == 30
    assert server.value("SELECT count(answer) FROM old") == done
    assert server.value("SELECT count(*) FROM qwen_job_row") == 0


def test_a_locked_table_stops_no_other_of_its_owner(server):
    server.query(QUEUE.format("l1") + QUEUE.format("l2"))
    wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 30, "no worker")
    server.query("INSERT INTO l2 VALUES (0, 'a word')")
    wait_until(lambda: server.value("SELECT answer IS NOT NULL FROM l2"), 30, "a row")
    wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 30, "no worker")
    session = server.connect()
    cursor = session.cursor()
    cursor.execute("BEGIN; LOCK TABLE l1")
    # queued in a transaction of its own, as the lock would keep an INSERT waiting
    server.query("INSERT INTO qwen_job_row (owner, relation, trigger, key, trigger_oid, key_numbers) SELECT c.relowner, c.oid, 'queue', ARRAY[i::text], t.oid, '{1}' "
                 "FROM pg_class c JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = 'queue', generate_series(1, 300) i WHERE c.oid = 'l1'::regclass")
    server.query("INSERT INTO l2 VALUES (1, 'a word')")
    try:
        wait_until(lambda: server.value("SELECT answer IS NOT NULL FROM l2 WHERE id = 1"), 2, "the row of the other table")
        wait_until(lambda: "l1" in (server.value("SELECT string_agg(trouble, ' ') FROM _qwen_job_workers()") or ""), 5, "a word on the locked table")
        cursor.execute("INSERT INTO l1 SELECT i, 'word' FROM generate_series(1, 5) i")
        cursor.execute("COMMIT")
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'l1'::regclass") == 0, 60, "an empty queue")
    finally:
        session.close()
        server.query("DROP TABLE l1, l2")


def test_a_table_given_to_another_takes_its_rows_along(server):
    """Answers are in flight when the table gets another owner: that role's worker fills the rows in, and no dead letter is left."""
    server.query("DROP ROLE IF EXISTS giver; DROP ROLE IF EXISTS taker; CREATE ROLE giver LOGIN; CREATE ROLE taker LOGIN; GRANT CREATE ON SCHEMA public TO giver, taker")
    server.query("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO giver, taker")
    server.query(QUEUE.format("given"))
    server.query("ALTER TABLE given OWNER TO giver")
    try:
        server.query("INSERT INTO given SELECT i, 'word ' || i FROM generate_series(1, 120) i")
        wait_until(lambda: server.value("SELECT count(answer) FROM given") > 0, 60, "the first answers")
        server.query("ALTER TABLE given OWNER TO taker")
        wait_until(lambda: server.value("SELECT count(*) FROM given WHERE answer IS NULL") == 0 or server.value("SELECT count(*) FROM qwen_job_row WHERE dead AND relation = 'given'::regclass") > 0,
                   90, "the rows")
        assert server.query("SELECT error, count(*) FROM qwen_job_row WHERE dead AND relation = 'given'::regclass GROUP BY 1") == []
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'given'::regclass") == 0, 20, "an empty queue")
    finally:
        server.query("DROP TABLE given; REVOKE ALL ON SCHEMA public FROM giver, taker; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM giver, taker; DROP ROLE giver, taker")


def test_an_owner_who_is_no_superuser_any_more_looks_for_work(make_server):
    server = make_server()
    server.query("CREATE ROLE keeper SUPERUSER LOGIN; DROP EXTENSION qwen_pg")
    server.query("CREATE EXTENSION qwen_pg", user="keeper")
    server.query("CREATE TABLE kept (id int PRIMARY KEY, body text, answer text); INSERT INTO kept VALUES (1, 'a word')")
    server.query("ALTER ROLE keeper NOSUPERUSER")
    job = server.value("SELECT qwen_submit('kept', 'body', 'kept', 'answer', max_tokens => 1, temperature => 0)")
    assert server.value(f"SELECT qwen_wait({job}, '30 s')") == "done"
    server.restart()
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job scout'") > 0, 20, "a scout")
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job scout'") == 0, 20, "no scout")
    server.query("SELECT qwen_set_limit('keeper', requests_per_minute => 5)")
    assert "permission denied for table pg_authid" not in server.read_log()


def test_a_table_whose_name_begins_as_a_query_does_is_a_source(server):
    for name in ("selecté", "with$old", "table_of"):
        server.query(f"CREATE TABLE {name} (id int PRIMARY KEY, body text, answer text); INSERT INTO {name} VALUES (1, 'a word')")
        job = server.value("SELECT qwen_submit(%s, 'body', %s::regclass, 'answer', max_tokens => 1, temperature => 0)", (name, name))
        assert server.value(f"SELECT qwen_wait({job}, '30 s')") == "done"
        server.query(f"DROP TABLE {name}")
