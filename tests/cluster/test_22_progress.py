"""qwen_progress: how far statements, jobs and indexes are, and how long they will take."""
import re
import threading
import time

import psycopg2
import pytest

from cluster import MODEL_FILE, Cluster
from conftest import ready
from sessions import Background, wait_until
from shim import Shim

ROWS = 320
PROGRESS = "SELECT kind, function, rows_done, rows_total, percent, seconds_left FROM qwen_progress"


@pytest.fixture(scope="module")
def house():
    server = Cluster(settings={"max_parallel_workers_per_gather": 0})
    try:
        ready(server)
        server.query("CREATE ROLE other LOGIN; CREATE TABLE t (id int PRIMARY KEY, body text, s text)")
        server.query(f"INSERT INTO t SELECT g, 'It rained on day ' || g || repeat(' and the sun', g % 7) FROM generate_series(1, {ROWS}) g")
        server.query("ANALYZE t")
        yield server
    finally:
        server.remove()


class Running:
    """A statement in a session of its own, looked at until it ends: (seconds since it began, its row) of each look."""

    def __init__(self, server, sql):
        self.server, self.error, self.looks = server, None, []
        thread = threading.Thread(target=self.run, args=(sql,))
        self.begun = time.monotonic()
        thread.start()
        while thread.is_alive():
            for row in server.query(PROGRESS):
                self.looks.append((time.monotonic() - self.begun, row))
            time.sleep(0.05)
        thread.join()
        self.seconds = time.monotonic() - self.begun
        assert self.error is None, self.error

    def run(self, sql):
        try:
            self.server.query(sql)
        except psycopg2.Error as error:
            self.error = error

    def check(self, kind, function, total):
        """What was seen is of the statement, rows grow, and percent goes with the time that passes, which other work on the machine changes."""
        assert len(self.looks) > 5
        for _, row in self.looks:
            assert row[:2] == (kind, function)
        done = [row[2] for _, row in self.looks]
        assert done == sorted(done) and 0 < done[-1] <= total
        assert {row[3] for _, row in self.looks} == {total}
        later = [(seconds, row) for seconds, row in self.looks if row[4] >= 15 and row[5] is not None]
        assert later
        for seconds, row in later:
            # the rest as long as all of it until now: what the figure means, whatever the machine does meanwhile
            assert abs(row[5] - seconds * (100 - row[4]) / row[4]) <= 1 + 0.1 * seconds, row
        assert self.server.query(PROGRESS) == []


def test_rows_of_an_update_are_counted(house):
    Running(house, "UPDATE t SET s = qwen_generate(body, max_tokens => 12, temperature => 0)").check("query", "qwen_generate", ROWS)


def test_elements_of_an_array_are_counted(house):
    Running(house, "SELECT count(*) FROM qwen_generate_batch(ARRAY(SELECT body FROM t ORDER BY id LIMIT 150), max_tokens => 12)").check("query", "qwen_chat", 150)


def test_a_limit_is_what_is_expected(house):
    running = Running(house, "SELECT qwen_generate(body, max_tokens => 24) FROM t ORDER BY id LIMIT 60")
    assert {row[3] for _, row in running.looks[1:]} == {60}


@pytest.mark.parametrize("n_parts", [0, 3])
def test_a_table_that_nobody_analyzed_is_counted_by_its_blocks(house, n_parts):
    """The planner guesses how many rows such a table has, and how many a condition lets through: the blocks that have been read know better, of all partitions."""
    house.query(f"CREATE TABLE unknown (id int, body text, s text) {'PARTITION BY RANGE (id)' if n_parts else 'WITH (autovacuum_enabled = off)'}")
    for i in range(n_parts):
        house.query(f"CREATE TABLE unknown_{i} PARTITION OF unknown FOR VALUES FROM ({i * 400 + 1}) TO ({i * 400 + 401}) WITH (autovacuum_enabled = off)")
    house.query("INSERT INTO unknown SELECT g, repeat('x', 500 + g % 100), NULL FROM generate_series(1, 1200) g")
    planned = float(re.search(r"rows=(\d+)", house.value("EXPLAIN SELECT id FROM unknown WHERE id % 3 = 0"))[1])
    assert not 340 <= planned <= 460
    running = Running(house, "UPDATE unknown SET s = qwen_generate('Day ' || id, max_tokens => 2) WHERE id % 3 = 0")
    later = [row for _, row in running.looks if row[2] >= 120]
    assert later and all(row[3] is not None and 340 <= row[3] <= 460 for row in later), later
    house.query("DROP TABLE unknown")


def test_rows_that_an_update_left_behind_are_not_waited_for(house):
    house.query("CREATE TABLE rewritten (id int, body text, s text) WITH (autovacuum_enabled = off)")
    house.query("INSERT INTO rewritten SELECT g, repeat('It rained. ', 60) || g FROM generate_series(1, 400) g")
    house.query("UPDATE rewritten SET s = 'of all rows the old forms fill the first half of the table'")
    running = Running(house, "SELECT count(qwen_embed(left(body, 40))) FROM rewritten")
    totals = [row[3] for _, row in running.looks if row[2] >= 150]
    assert totals and all(320 <= total <= 500 for total in totals), totals


def test_a_table_that_was_counted_is_known_from_the_first_row_on(house):
    """Its first half has a tenth of the rows: blocks that have been read say little of those that follow."""
    house.query("CREATE TABLE thinned (id int, body text) WITH (autovacuum_enabled = off)")
    house.query("INSERT INTO thinned SELECT g, repeat('It rained. ', 60) || g FROM generate_series(1, 800) g")
    house.query("DELETE FROM thinned WHERE id <= 400 AND id % 10 <> 0")
    house.query("ANALYZE thinned")
    running = Running(house, "SELECT count(qwen_embed(left(body, 40))) FROM thinned")
    assert {row[3] for _, row in running.looks[1:]} == {440}, running.looks


def test_more_rows_than_there_are_numbers_hide_nobody(house):
    """The planner expects 1e21 rows of such a join, which no bigint is: qwen_progress shows the statement, and those of others."""
    many = "generate_series(1, 10000000)"
    huge = Background(house, f"SELECT qwen_generate('It rained ' || a, max_tokens => 8) FROM {many} a, {many} b, {many} c")
    try:
        wait_until(lambda: any(row[2] > 0 and row[5] is not None for row in house.query(PROGRESS)), 20, "its first row")
        (row,) = house.query(PROGRESS)
        assert row[:2] == ("query", "qwen_generate") and row[3] == 9 * 10**18 and row[4] == 0
        assert 10**17 < row[5] <= 9 * 10**18  # by the rows a second of this machine
    finally:
        house.query("SELECT pg_terminate_backend(%s)", (huge.pid,))
        huge.join()
    wait_until(lambda: house.query(PROGRESS) == [], 20, "nothing under way")


def test_what_nobody_knows_is_null(house):
    """A loop of plain calls has rows that are done, and no end that can be told."""
    running = Running(house, "DO $$ BEGIN FOR i IN 1..60 LOOP PERFORM qwen_generate('a', max_tokens => 6); END LOOP; END $$")
    assert {row[3:] for _, row in running.looks if row[2] > 1} == {(None, None, None)}
    assert max(row[2] for _, row in running.looks) > 20


def test_an_index_is_counted_by_the_blocks_of_its_table(house):
    house.query("CREATE FUNCTION of_body(t text) RETURNS real[] IMMUTABLE LANGUAGE sql AS $$ SELECT qwen_embed(t, dimensions => 8) $$")
    house.query("CREATE TABLE wide AS SELECT id, body, repeat('x', 300) AS x FROM t")
    running = Running(house, "CREATE INDEX ON wide (of_body(body))")
    assert {row[:2] for _, row in running.looks} == {("index", "qwen_embed")}
    known = [row for _, row in running.looks if row[3] is not None and row[4] > 40]
    assert known and all(ROWS * 0.75 <= row[3] <= ROWS * 1.25 for row in known)


def test_a_load_says_how_long_it_takes():
    """From a disk of a known speed, which takes as long for a file's head as for its data: seconds left are right within a quarter. (Of so small a file a fifteenth comes at once, so that only the second half says it as exactly.)"""
    shim = Shim()
    server = Cluster(settings={"qwen.models": "", "qwen.io_method": "pread", "qwen.engine_sandbox": "off"})
    server.starter = shim.starter()
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        shim.order(slow_read_ms=400)
        looks = [look for look in Running(server, f"SELECT qwen_load_model('slow', '{MODEL_FILE}')").looks if look[1][0] == "load"]
        assert looks and {row[1] for _, row in looks} == {"slow"}
        end = looks[-1][0]
        judged = [(end - seconds, row[5]) for seconds, row in looks if row[4] is not None and 50 <= row[4] < 100]
        assert len(judged) > 5 and all(said is not None and abs(said - left) <= max(0.25 * left, 1) for left, said in judged), judged
        assert server.query(PROGRESS) == []
    finally:
        server.remove()
        shim.remove()


def test_a_job_is_listed_until_it_is_done(house):
    job = house.value("SELECT qwen_submit('t', '{body}', 't', 's', max_tokens => 4, temperature => 0)")
    wait_until(lambda: [row[:1] + row[1:2] + row[3:4] for row in house.query(PROGRESS) if row[2] > 20] == [("job", "qwen_chat", ROWS)], 30, "rows of the job")
    assert house.value("SELECT id FROM qwen_progress") == job
    assert house.query("SELECT * FROM qwen_progress", user="other") == []
    house.value("SELECT qwen_cancel(%s)", (job,))
    wait_until(lambda: house.query(PROGRESS) == [], 20, "nothing under way")


def test_a_cursor_goes_on_where_it_was(house):
    """Rows that are fetched in portions are of one query, whatever its session does between them."""
    house.query("VACUUM ANALYZE t")
    session = house.connect()
    session.autocommit = False
    cursor = session.cursor()
    cursor.execute("DECLARE c CURSOR FOR SELECT qwen_generate(body, max_tokens => 2) FROM t")
    for between in ("SELECT 1", "SELECT qwen_generate('alone', max_tokens => 1)", "SELECT count(qwen_generate(body, max_tokens => 1)) FROM t WHERE id <= 4"):
        before = [row[2:4] for row in house.query(PROGRESS)]
        cursor.execute("FETCH 40 FROM c")
        assert len(cursor.fetchall()) == 40
        cursor.execute(between)
        cursor.fetchall()
        ((done, total),) = [row[2:4] for row in house.query(PROGRESS)]
        assert done >= 40 + (before[0][0] - 32 if before else 0) and total == ROWS
    assert done >= 120
    cursor.execute("CLOSE c")
    assert house.query(PROGRESS) == []
    # a query that ends with an error, beside a cursor that does not
    cursor.execute("DECLARE c CURSOR FOR SELECT qwen_generate(body, max_tokens => 2) FROM t; FETCH 40 FROM c; SAVEPOINT s")
    with pytest.raises(psycopg2.Error):
        cursor.execute("SELECT qwen_generate(body, max_tokens => 1) || (1 / (id - 40))::text FROM t")
    cursor.execute("ROLLBACK TO s")
    assert [row[3] for row in house.query(PROGRESS) if row[2] >= 40] == [ROWS]
    session.rollback()
    assert house.query(PROGRESS) == []
    session.close()


def test_commits_within_a_statement_forget_nothing(house):
    running = Running(house, "DO $$ BEGIN FOR i IN 1..60 LOOP PERFORM qwen_generate('a', max_tokens => 6); COMMIT; END LOOP; END $$")
    done = [row[2] for _, row in running.looks]
    assert done == sorted(done) and done[-1] > 40
    assert house.query(PROGRESS) == []


def test_errors_and_cancels_leave_nothing(house):
    for sql in ("SELECT qwen_generate(body, max_tokens => 4) || (1 / (id - 40))::text FROM t ORDER BY id",
                "SET statement_timeout = '500 ms'; SELECT qwen_generate(body, max_tokens => 200) FROM t"):
        with pytest.raises(psycopg2.Error):
            house.query(sql)
        assert house.query(PROGRESS) == []
    # a session that is killed in the middle
    session = house.connect()
    pid = session.get_backend_pid()
    thread = threading.Thread(target=lambda: pytest.raises(psycopg2.Error, session.cursor().execute, "SELECT qwen_generate(body, max_tokens => 400) FROM t"))
    thread.start()
    wait_until(lambda: len(house.query(PROGRESS)) == 1, 20, "the statement")
    assert house.query(PROGRESS, user="other") == []
    house.query("SELECT pg_terminate_backend(%s)", (pid,))
    thread.join()
    wait_until(lambda: house.query(PROGRESS) == [], 20, "nothing under way")


def test_it_fits_a_terminal(house):
    """What psql prints for SELECT * is at most 110 columns wide."""
    names = house.query("SELECT attname FROM pg_attribute WHERE attrelid = 'qwen_progress'::regclass AND attnum > 0")
    widest = {"kind": "query", "id": "123456", "role": "postgres", "function": "qwen_summarize"}
    assert sum(max(len(name), len(widest.get(name, ""))) for (name,) in names) + 3 * len(names) - 1 <= 110
