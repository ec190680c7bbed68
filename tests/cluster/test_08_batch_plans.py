"""Plain SQL batched by the planner: every shape of statement gives the same with and without, and batching does happen."""
import os
import re
import subprocess
import time

import psycopg2
import pytest
from cluster import wait_until
from deeper_plan_cases import DEEPER_CASES
from deeper_plan_cases import SETUP as DEEPER_SETUP
from plan_cases import CASES, MERGE_CASES, SETUP
from random_plans import Writer
from sessions import Background, wait_idle


@pytest.fixture(scope="module")
def database(server):
    """A database of its own on the shared server, with the tables."""
    server.query("CREATE DATABASE plans")
    psql(server, "CREATE EXTENSION qwen_pg;" + SETUP + DEEPER_SETUP, check=True)
    yield server
    server.query("DROP DATABASE plans WITH (FORCE)")


def psql(server, script, check=False):
    """What psql prints for a script: rows, and messages without where they stand. How many answers were made, and so cut off, is the plan's own matter."""
    done = subprocess.run(
        ["psql", "-X", "-qAt", "-v", "VERBOSITY=terse"],
        input=script.rstrip(";") + ";\n",
        env=dict(os.environ, **{**server.environment(), "PGDATABASE": "plans"}),
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert not (check and done.stderr), done.stderr
    return done.stdout, re.sub(r"NOTICE:  \d+ answers? (was|were) cut off at max_tokens\n", "", done.stderr)


def connect(server):
    connection = psycopg2.connect(host=server.folder, port=server.port, user=server.environment()["PGUSER"], dbname="plans")
    connection.autocommit = True
    return connection


def plan(cursor, sql, analyze=True):
    cursor.execute(f"EXPLAIN ({'ANALYZE, TIMING OFF, ' if analyze else ''}VERBOSE, COSTS OFF, FORMAT JSON) {sql}")
    return cursor.fetchone()[0][0]["Plan"]


def nodes(tree):
    """All batching nodes of a plan, from the top."""
    found = [tree] if tree.get("Custom Plan Provider") == "Qwen Batch" else []
    for child in tree.get("Plans", []):
        found += nodes(child)
    return found


def server_version(server):
    return int(server.value("SHOW server_version_num"))


# Where plain execution evaluates a call again (each frame of a window, each grouping set, a cursor that goes back), and
# batching does not: more calls, so more answers that can be cut off.
CALLED_AGAIN = {"in a window function", "run condition", "cursor with hold", "cube hashed", "window frames", "plpgsql cursors", "plpgsql cursor that scrolls"}


def uncounted(printed):
    """What psql printed, with the NOTICE of cut answers as it is, but for their number."""
    rows, messages = printed
    return rows, re.sub(r"\d+ answers? (was|were) cut off", "answers were cut off", messages)


def as_compared(name, printed):
    return uncounted(printed) if name in CALLED_AGAIN else printed


@pytest.mark.parametrize("name", list(CASES) + list(MERGE_CASES) + list(DEEPER_CASES))
def test_same_rows_and_messages(database, name):
    if name in MERGE_CASES and server_version(database) < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    script = (CASES | MERGE_CASES | DEEPER_CASES)[name]
    plain = as_compared(name, psql(database, "SET qwen.batch_plans = off;" + script))
    assert as_compared(name, psql(database, "SET qwen.batch_plans = on;" + script)) == plain
    assert as_compared(name, psql(database, "SET qwen.batch_plans = on; SET qwen.batch_window = 3;" + script)) == plain
    wait_idle(database)


def test_random_statements(database):
    """60 statements made at random; any other numbers would do."""
    for seed in range(60):
        settings, statement = Writer(seed).statement()
        plain = uncounted(psql(database, f"SET qwen.batch_plans = off; {settings} {statement}"))
        assert uncounted(psql(database, f"SET qwen.batch_plans = on; {settings} {statement}")) == plain, (seed, settings, statement)
    wait_idle(database)


def requests_of(tree):
    return sum(node["Requests"] for node in nodes(tree))


@pytest.fixture
def cursor(database):
    connection = connect(database)
    yield connection.cursor()
    connection.close()


BATCHED = [
    "SELECT id, g(body) FROM t",
    "SELECT id FROM t WHERE f(body)",
    "SELECT id FROM t WHERE n = 3 OR f(body)",
    "SELECT t.id FROM t JOIN u ON f(t.body || u.id) AND t.id < 4",
    "SELECT CASE WHEN n = 0 THEN g(body) ELSE 'no' END FROM t",
    "SELECT coalesce(NULLIF(body, body), g(id::text)) FROM t",
    "SELECT n, string_agg(g(body), ',') FROM t GROUP BY n",
    "SELECT count(g(body)) FILTER (WHERE n > 1) FROM t",
    "SELECT lag(g(body)) OVER (ORDER BY id) FROM t",
    "SELECT unnest(string_to_array(g(body), '1')) FROM t",
    "SELECT g(v) FROM (VALUES ('a'), ('b'), ('c')) x(v)",
    "SELECT id, g(body) FROM p",
    "SELECT answer FROM vg",
    "SELECT id FROM vb WHERE f(body)",
    "WITH c AS MATERIALIZED (SELECT g(body) v FROM t) SELECT * FROM c",
    "SELECT g(body) FROM t ORDER BY 1 LIMIT 3",
    "SELECT qwen_embed(body) FROM t",
    "SELECT id FROM t WHERE qwen_filter(body, 'it is short')",
    "SELECT qwen_classify(body, ARRAY['a', 'b']) FROM t",
    "SELECT (qwen_chat_full(body, max_tokens => 1)).content FROM t",
    "UPDATE t SET s = g(body) WHERE id < 0 OR id > 0",
    "CREATE TABLE zz AS SELECT id, g(body) FROM t",
    "SELECT qwen_translate(body, 'French', max_tokens => 1) FROM t",
    "SELECT qwen_similarity(body, 'b1') FROM t",
    "INSERT INTO d SELECT id, g(body) FROM t ON CONFLICT DO NOTHING",
    "DELETE FROM t WHERE f('never' || body) AND g(body) = 'never'",
]


@pytest.mark.parametrize("sql", BATCHED)
def test_is_batched(cursor, sql):
    cursor.execute("BEGIN")
    found = nodes(plan(cursor, sql))
    cursor.execute("ROLLBACK")
    assert max(node["Largest Window"] for node in found) > 1, found
    assert all(node["Waited"] >= 0 and node["Calls"] for node in found)


STAYS_PLAIN = [
    "SELECT t.id FROM t LEFT JOIN u ON f(t.body || u.id)",
    "SELECT g(random()::text) FROM t",
    "SELECT g('a')",
    "INSERT INTO d VALUES (1, g('a')), (2, g('b'))",
    "UPDATE t SET s = 'x' RETURNING g(s)",
    "SELECT (SELECT qwen_count_tokens(body)) FROM t",
]


@pytest.mark.parametrize("sql", STAYS_PLAIN)
def test_stays_plain(cursor, sql):
    assert nodes(plan(cursor, sql, analyze=False)) == []


def test_setting_turns_it_off(cursor):
    cursor.execute("SET qwen.batch_plans = off")
    assert nodes(plan(cursor, "SELECT g(body) FROM t", analyze=False)) == []


def test_altered_functions_stay_plain(database, cursor):
    cursor.execute("CREATE FUNCTION own(text) RETURNS text AS '$libdir/qwen_pg', 'qwen_generate' LANGUAGE c VOLATILE STRICT")
    assert len(nodes(plan(cursor, "SELECT own(body) FROM t", analyze=False))) == 1
    assert requests_of(plan(cursor, "SELECT own(NULL) FROM t")) == 0
    cursor.execute("PREPARE q AS SELECT own(body) FROM t WHERE id < 0")
    cursor.execute("EXECUTE q")
    cursor.execute("ALTER FUNCTION own(text) SECURITY DEFINER")
    assert nodes(plan(cursor, "SELECT own(body) FROM t", analyze=False)) == []
    cursor.execute("EXECUTE q")
    cursor.execute("ALTER FUNCTION own(text) SECURITY INVOKER SET work_mem = '1MB'")
    assert nodes(plan(cursor, "SELECT own(body) FROM t", analyze=False)) == []
    cursor.execute("ALTER FUNCTION own(text) RESET ALL")
    assert len(nodes(plan(cursor, "SELECT own(body) FROM t", analyze=False))) == 1
    cursor.execute("DROP FUNCTION own(text)")


@pytest.mark.parametrize(
    "sql, most",
    [
        ("SELECT g(id::text) FROM t LIMIT 5", 5),
        ("SELECT g(id::text) FROM t ORDER BY n LIMIT 5", 5),
        ("SELECT g(id::text) FROM t OFFSET 4 LIMIT 2", 6),
        ("SELECT g(g(id::text)) FROM t LIMIT 3", 6),
        ("SELECT * FROM (SELECT g(id::text) FROM t UNION ALL SELECT g(body) FROM p) z LIMIT 3", 3),
        ("SELECT g(id::text) FROM t LIMIT 0", 0),
        ("SELECT g(body) FROM t WHERE n = 1 AND body IS NOT NULL", 6),
        ("SELECT f('a' || id) FROM t WHERE n = 1 AND n = 2", 0),
        ("SELECT CASE WHEN n = 0 THEN g(id::text) END FROM t", 6),
        ("SELECT qwen_embed(body), qwen_embed(body) FROM t WHERE id < 5", 4),
        ("SELECT qwen_generate(body, max_tokens => 1), qwen_generate(body, max_tokens => 1) FROM t WHERE id < 5", 8),
        ("SELECT (qwen_chat_full(body, max_tokens => 1)).* FROM t WHERE id < 5", 4),
        ("SELECT (qwen_chat_full(body, max_tokens => 1)).content, (qwen_chat_full(body, max_tokens => 1)).content FROM t WHERE id < 5", 8),
        ("SELECT EXISTS (SELECT 1 FROM t WHERE g(id::text) IS NOT NULL)", 2),
    ],
)
def test_no_more_requests_than_needed(cursor, sql, most):
    done = plan(cursor, sql)
    assert requests_of(done) <= most
    if most > 3 and "EXISTS" not in sql:
        assert requests_of(done) == most and nodes(done)


@pytest.mark.parametrize("sql, rows", [("SELECT g(id::text) FROM t LIMIT 5", 5), ("SELECT g(id::text) FROM t OFFSET 4 LIMIT 2", 6), ("SELECT id FROM t WHERE f(id::text) IS NOT NULL LIMIT 3", 3)])
def test_no_more_rows_are_read_than_a_limit_wants(cursor, sql, rows):
    done = plan(cursor, sql)
    assert [node["Rows Read"] for node in nodes(done)] == [rows]


def test_generic_plans_are_batched_and_count(cursor):
    cursor.execute("SET plan_cache_mode = force_generic_plan; PREPARE counted(int) AS SELECT id, g(id::text) FROM t ORDER BY id LIMIT $1")
    for limit in (4, 0, 9):
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE counted({limit})")
        done = cursor.fetchone()[0][0]["Plan"]
        assert requests_of(done) == limit and len(nodes(done)) == 1
    assert nodes(done)[0]["Largest Window"] == 9


def test_a_function_made_anew_in_the_session(database, cursor):
    """What is known of functions is forgotten when they change: an extension that is dropped and made again has other OIDs."""
    make = "CREATE FUNCTION own(text) RETURNS text AS '$libdir/qwen_pg', 'qwen_generate' LANGUAGE c VOLATILE STRICT"
    for n in range(3):
        cursor.execute(make if n != 1 else "CREATE FUNCTION own(text) RETURNS text LANGUAGE sql AS $$ SELECT 'sql ' || $1 $$")
        if n == 0:
            cursor.execute("PREPARE again AS SELECT own(body) FROM t WHERE id = 3")
        cursor.execute("EXECUTE again")
        assert (cursor.fetchone()[0] == "sql b3") == (n == 1)
        assert len(nodes(plan(cursor, "SELECT own(body) FROM t", analyze=False))) == (n != 1)
        cursor.execute("DROP FUNCTION own(text)")
    with pytest.raises(psycopg2.Error):
        cursor.execute("EXECUTE again")


def test_window_bounds_requests(cursor):
    for window in (1, 2, 7):
        cursor.execute(f"SET qwen.batch_window = {window}")
        assert nodes(plan(cursor, "SELECT g(id::text) FROM t"))[0]["Largest Window"] == window


def test_memory_bounds_rows(cursor):
    cursor.execute("SET work_mem = '256kB'")
    largest = nodes(plan(cursor, "SELECT g(id::text), repeat('x', 100000 + n) FROM (SELECT id, n, repeat('y', 50000 + n) AS long FROM t OFFSET 0) z WHERE long <> g(id::text)"))
    assert 1 <= min(node["Largest Window"] for node in largest) < 10


def test_explain_text(cursor):
    cursor.execute("EXPLAIN (ANALYZE, COSTS OFF) SELECT id, qwen_generate(body, max_tokens => 2, temperature => 0) FROM t")
    text = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(r"Custom Scan \(Qwen Batch\)", text)
    assert "Calls: qwen_generate(body, max_tokens => 2, temperature => '0'::double precision)" in text
    assert re.search(r"Requests: 27  Prompt Tokens: \d+  Cached Tokens: \d+  Generated Tokens: 5\d", text)
    assert re.search(r"Rows Read: 30  Largest Window: 27  Waited: [\d.]+ ms", text)
    cursor.execute("EXPLAIN SELECT id, g(body) FROM t")
    assert "Requests" not in str(cursor.fetchall())


def test_explain_writes_calls_as_people_do(cursor):
    """Arguments that were left out stand in no line, whichever node shows the value; what was given keeps its place or has its name."""
    for sql, shown in (("SELECT id FROM t WHERE qwen_generate(body, max_tokens => 2) <> '' ORDER BY qwen_classify(body, '{a,b}', seed => 3)", "Sort Key: (qwen_classify(body, '{a,b}'::text[], seed => '3'::bigint))"),
                       ("SELECT qwen_summarize(body), count(*) FROM t GROUP BY 1", "Group Key: (qwen_summarize(body, 60))"),
                       ("SELECT id FROM t WHERE qwen_generate(body, max_tokens => 2) <> ''", "Filter: ((qwen_generate(body, max_tokens => 2)) <> ''::text)"),
                       ("SELECT id FROM t ORDER BY qwen_similarity(body, 'a') LIMIT 3", "Sort Key: (qwen_similarity_to(t.body, $0))")):
        cursor.execute("EXPLAIN (COSTS OFF) " + sql)
        text = "\n".join(line for (line,) in cursor.fetchall()).replace("(InitPlan 1).col1", "$0")
        assert shown in text and "NULL::" not in text, text


def test_privilege_is_checked(database, cursor):
    cursor.execute("CREATE ROLE plan_reader; GRANT SELECT ON t TO plan_reader; SET ROLE plan_reader; SET qwen.on_error = 'null'")
    for batch in ("on", "off"):
        cursor.execute(f"SET qwen.batch_plans = {batch}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="permission denied for function qwen_generate"):
            cursor.execute("SELECT qwen_generate(body) FROM t")
    cursor.execute("RESET ROLE; DROP OWNED BY plan_reader; DROP ROLE plan_reader")


def test_row_level_security(database, cursor):
    cursor.execute(
        "CREATE ROLE plan_owner; CREATE TABLE secrets AS SELECT id, 'r' || id AS body, n FROM t; ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY own ON secrets USING (n = 1); GRANT SELECT ON secrets TO plan_owner;"
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO plan_owner; SET ROLE plan_owner"
    )
    rows = {}
    for batch in ("on", "off"):
        cursor.execute(f"SET qwen.batch_plans = {batch}")
        cursor.execute("SELECT id, g(body) FROM secrets WHERE f(body) ORDER BY id")
        rows[batch] = cursor.fetchall()
    assert rows["on"] == rows["off"]
    cursor.execute("SET qwen.batch_plans = on")
    done = plan(cursor, "SELECT id FROM secrets WHERE f(body)")
    assert requests_of(done) == 6
    cursor.execute("RESET ROLE; DROP TABLE secrets; DROP OWNED BY plan_owner; DROP ROLE plan_owner")


def test_errors_as_null_are_counted(cursor):
    sql = "SELECT count(g(repeat('word ', CASE n WHEN 1 THEN 9000 ELSE 1 END))) FROM t"
    for batch in ("on", "off"):
        cursor.execute(f"SET qwen.batch_plans = {batch}; SET qwen.on_error = 'null'")
        del cursor.connection.notices[:]
        cursor.execute(sql)
        assert cursor.fetchone() == (24,)
        warnings = [text for text in cursor.connection.notices if "WARNING" in text]
        assert len(warnings) == 1 and "6 values are NULL because their rows failed" in warnings[0]
    cursor.execute("SET qwen.batch_plans = on")
    assert nodes(plan(cursor, sql))[0]["Failed Requests"] == 6


EVAL_PLAN_QUAL = [
    "UPDATE t SET s = s || '/' || g(body) WHERE n = 1 AND f(body) RETURNING id, s, body",
    "UPDATE t SET s = g(body) WHERE n = 1 RETURNING id, s",
    "SELECT id, g(body) FROM t WHERE n = 1 ORDER BY id FOR UPDATE",
    "SELECT t.id, g(body || x) FROM t JOIN u USING (id) WHERE n = 1 ORDER BY t.id FOR UPDATE OF t",
    "DELETE FROM t WHERE n = 1 AND f(body) RETURNING id",
]


@pytest.mark.parametrize("sql", EVAL_PLAN_QUAL)
def test_rows_changed_by_others(database, sql):
    """A row that another session changed is looked at again, in its new version."""
    rows = {}
    for batch in ("off", "on"):
        other = connect(database)
        change = other.cursor()
        change.execute("BEGIN; UPDATE t SET body = 'new' || (id + 1) WHERE id IN (1, 6, 21); UPDATE t SET n = 9 WHERE id = 11; DELETE FROM t WHERE id = 16")
        connection = connect(database)
        connection.cursor().execute(f"SET qwen.batch_plans = {batch}; BEGIN")
        waiting = BackgroundOn(connection, sql)
        wait_until(lambda: database.value(f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {waiting.pid}"), 20, "a wait for the lock")
        change.execute("COMMIT")
        waiting.thread.join(30)
        rows[batch] = sorted(waiting.rows)
        connection.cursor().execute("ROLLBACK")
        connection.close()
        change.execute("UPDATE t SET body = 'b' || id WHERE id IN (1, 6, 21); UPDATE t SET n = 1 WHERE id = 11; INSERT INTO t VALUES (16, 'b16', NULL, 1)")
        other.close()
    assert rows["on"] == rows["off"] and len(rows["on"]) > 0


class BackgroundOn(Background):
    """A statement on a connection that is there already."""

    def __init__(self, connection, sql):
        self.connection, self.pid = connection, connection.get_backend_pid()
        self.rows, self.error, self.cursor = None, None, connection.cursor()
        self.start(sql)


LONG_CALLS = "SELECT count(qwen_generate(body, temperature => 0, max_tokens => 1500, stop => ARRAY['never-said'])) FROM t"


def long_statement(server, sql=LONG_CALLS):
    connection = connect(server)
    waiting = BackgroundOn(connection, sql)
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") > 10, 20, "many running requests")
    return waiting


def test_cancel_frees_all(database):
    waiting = long_statement(database, "SET qwen.on_error = 'null'; " + LONG_CALLS)
    database.query(f"SELECT pg_cancel_backend({waiting.pid})")
    assert waiting.join().error.pgcode == "57014"
    wait_idle(database)
    assert waiting.again("SELECT count(g(body)) FROM t") == [(27,)]


def test_termination_frees_all(database):
    waiting = long_statement(database)
    database.query(f"SELECT pg_terminate_backend({waiting.pid})")
    waiting.join()
    wait_idle(database)


def test_engine_killed(database):
    waiting = long_statement(database, "SET qwen.on_error = 'null'; " + LONG_CALLS)
    database.signal(database.engine_pid(), 9)
    assert waiting.join().error.pgcode == "58000"
    assert waiting.again("SELECT count(g(body)) FROM t") == [(27,)]
    wait_idle(database)


def test_open_cursor_frees_when_closed(database, cursor):
    cursor.execute("BEGIN; DECLARE c CURSOR FOR SELECT qwen_generate(body, temperature => 0, max_tokens => CASE WHEN id < 5 THEN 1 ELSE 1500 END, stop => ARRAY['never-said']) FROM t ORDER BY id")
    for _ in range(2):
        cursor.execute("FETCH 2 c")
        assert len(cursor.fetchall()) == 2
    wait_until(lambda: database.value("SELECT running FROM qwen_stat_engine") > 0, 20, "reading ahead")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        cursor.execute("SAVEPOINT a; SELECT 1 / 0")
    cursor.execute("ROLLBACK TO a; CLOSE c")
    wait_idle(database)
    cursor.execute("ROLLBACK")


def test_slow_rows_do_not_stop_others(cursor):
    """While the first row is long, the rows behind it go on: more are read than fit into the window at once."""
    cursor.execute("SET qwen.batch_window = 4")
    sql = "SELECT qwen_generate('a' || id, temperature => 0, max_tokens => CASE WHEN id = 1 THEN 60 ELSE 1 END, stop => ARRAY['never-said']) FROM t"
    start = time.monotonic()
    cursor.execute(sql + " ORDER BY id LIMIT 1")
    alone = time.monotonic() - start
    start = time.monotonic()
    done = plan(cursor, sql)
    assert nodes(done)[0]["Largest Window"] == 4
    assert time.monotonic() - start < 5 * alone + 2


def test_parallel_workers(database, cursor):
    cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ALTER TABLE t SET (parallel_workers = 2)")
    done = plan(cursor, "SELECT id, g(body) FROM t")
    assert done["Node Type"] == "Gather" and done["Workers Launched"] > 0 and len(nodes(done)) == 1
    cursor.execute("ALTER TABLE t RESET (parallel_workers)")


def test_where_current_of_asks_for_a_lock(cursor):
    """A cursor that is not FOR UPDATE cannot say which row it stands on: an error, never a wrong row."""
    cursor.execute("BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, g(body) FROM t WHERE n = 2; FETCH 1 c")
    with pytest.raises(psycopg2.Error, match="not a simply updatable scan"):
        cursor.execute("UPDATE t SET s = 'cur' WHERE CURRENT OF c")
    cursor.execute("ROLLBACK")
