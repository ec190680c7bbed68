"""Batched calls below nodes that bound, mark, rescan, go back or pass parameters; and beside rows, in FROM."""
import psycopg2
import pytest
from random_bounds import BoundsWriter
from sessions import wait_idle
from test_08_batch_plans import BackgroundOn, as_compared, connect, cursor, database, nodes, plan, psql, requests_of  # noqa: F401
from cluster import wait_until

BOUNDS = {
    "limit of 1, then of all": "SELECT q.id, l.* FROM (VALUES (1, 1), (2, NULL), (3, 3), (4, 0), (5, 7)) q(id, n), LATERAL (SELECT u.id, g(u.x) v FROM u ORDER BY u.x DESC LIMIT q.n) l",
    "limit that grows without other parameters": "PREPARE q AS SELECT (SELECT string_agg(v, ',') FROM (SELECT g(x) v FROM u ORDER BY x DESC LIMIT k) z) FROM (VALUES (1), (3), (NULL), (2)) s(k); EXECUTE q",
    "limit and offset near the end of numbers": "SELECT id, g(body) FROM t ORDER BY id LIMIT 9223372036854775807 OFFSET 27",
    "limit above distinct above a sort": "SELECT * FROM (SELECT DISTINCT ON (n) n, v FROM (SELECT n, g(body) v FROM t ORDER BY n OFFSET 0) z) y LIMIT 3",
    "limit above a condition above a sort": "SELECT * FROM (SELECT n, id, g(body) v FROM t ORDER BY n, id OFFSET 0) z WHERE n > 2 LIMIT 8",
    "limit above a lock that skips": "BEGIN; SELECT * FROM (SELECT id, g(body) v FROM t ORDER BY n DESC, id FOR UPDATE SKIP LOCKED) z LIMIT 3; ROLLBACK",
    "merge join to a result": "SET enable_hashjoin = off; SET enable_nestloop = off; SET enable_material = off; SELECT a.id, b.id, b.v FROM t a JOIN (SELECT id, n, g(body) v FROM t WHERE (SELECT true) ORDER BY n OFFSET 0) b ON a.n = b.n WHERE a.id < 9 ORDER BY 1, 2",
    "plpgsql cursor that scrolls": "DO $$ DECLARE c SCROLL CURSOR FOR SELECT id, g(body) v FROM t WHERE id < 9; r record; BEGIN OPEN c; FETCH c INTO r; FETCH c INTO r; RAISE NOTICE '%', r; FETCH PRIOR FROM c INTO r; RAISE NOTICE '%', r; FETCH LAST FROM c INTO r; RAISE NOTICE '%', r; END $$",
    "function beside a row": "SELECT t.id, c FROM t, LATERAL g(body) c ORDER BY id; SELECT t.id, c.* FROM t LEFT JOIN LATERAL qwen_chat_full(body, temperature => 0, max_tokens => 1) c(content) ON c.content <> '1' AND t.n > 1 WHERE id < 1 ORDER BY id",
    "functions beside each other's rows": "SELECT t.id, a, b FROM t, LATERAL g(body) a, LATERAL g(a || t.id) b WHERE t.id < 9 ORDER BY id",
    "function beside a row, under an outer join's condition": "SELECT t.id, c FROM t LEFT JOIN LATERAL g(body) c ON c <> '1' AND n <> 2 ORDER BY id",
    "function with ordinality": "SELECT t.id, c.* FROM t, LATERAL qwen_generate(body, temperature => 0, max_tokens => 1) WITH ORDINALITY c(v, k) ORDER BY id",
}


@pytest.mark.parametrize("name", list(BOUNDS))
def test_same_rows_below_bounds_and_marks(database, name):  # noqa: F811
    plain = as_compared(name, psql(database, "SET qwen.batch_plans = off;" + BOUNDS[name]))
    assert "ERROR" not in plain[1]
    assert as_compared(name, psql(database, "SET qwen.batch_plans = on;" + BOUNDS[name])) == plain
    assert as_compared(name, psql(database, "SET qwen.batch_plans = on; SET qwen.batch_window = 3;" + BOUNDS[name])) == plain
    wait_idle(database)


def test_random_bounds(database):  # noqa: F811
    for seed in range(24):
        settings, statement = BoundsWriter(seed).statement()
        plain = psql(database, f"SET qwen.batch_plans = off; {settings} {statement}")
        assert psql(database, f"SET qwen.batch_plans = on; {settings} {statement}") == plain, (seed, settings, statement)
    wait_idle(database)


BESIDE = [
    "SELECT t.id, c FROM t, LATERAL qwen_chat(body, temperature => 0, max_tokens => 1) c",
    "SELECT t.id, c FROM t LEFT JOIN LATERAL qwen_summarize(body, max_tokens => 1) AS c ON true",
    "SELECT t.id, c.answer FROM t, qwen_chat(body, temperature => 0, max_tokens => 1) AS c(answer)",
    "SELECT t.id, c FROM t, LATERAL qwen_embed(body) c",
    "SELECT t.id, c FROM t, LATERAL qwen_embed(n::text) c",
    "SELECT t.id, c FROM t, LATERAL qwen_classify(body, ARRAY['a', 'b']) c WHERE c = 'a'",
    "SELECT t.id, c.* FROM t, LATERAL qwen_chat_full(body, temperature => 0, max_tokens => 1) c",
    "SELECT t.id, c.a, c.b FROM t, LATERAL (SELECT g(body) a, g(id::text) b) c",
    "SELECT t.id, c.a FROM t, LATERAL (SELECT g(body) a) c",
    "SELECT t.id, c FROM t JOIN u USING (id), LATERAL qwen_generate(body || x, max_tokens => 1) c",
    "SELECT t.id, c FROM t, LATERAL unnest(string_to_array(g(body), '1')) c",
    "INSERT INTO d SELECT t.id, c FROM t, LATERAL g(body) c",
]


@pytest.mark.parametrize("sql", BESIDE)
def test_a_function_beside_a_row_is_batched(cursor, sql):  # noqa: F811
    cursor.execute("BEGIN")
    found = nodes(plan(cursor, sql))
    cursor.execute("ROLLBACK")
    assert max(node["Largest Window"] for node in found) > 1, found


def test_a_limit_asks_for_no_more_functions_than_rows(cursor):  # noqa: F811
    done = plan(cursor, "SELECT t.id, c FROM t, LATERAL g(id::text) c LIMIT 5")
    assert requests_of(done) == 5 and nodes(done)[0]["Largest Window"] > 1


def test_a_function_that_does_not_depend_on_the_row_is_called_once(database, cursor):  # noqa: F811
    before = database.value("SELECT sum(calls) FROM qwen_stat_requests")
    cursor.execute("SELECT count(c) FROM t, qwen_generate('a', temperature => 0, max_tokens => 1) c")
    assert database.value("SELECT sum(calls) FROM qwen_stat_requests") - before == 1


CHANGED_BY_OTHERS = [
    "UPDATE t SET s = z.v FROM (SELECT u.id, c AS v FROM u, LATERAL g(x) c) z WHERE z.id = t.id AND t.n = 1 AND f(t.body || z.v) RETURNING t.id, s, body",
    "UPDATE t SET s = (SELECT g(x) FROM u ORDER BY x DESC LIMIT t.n) WHERE n = 1 AND f(body) RETURNING id, s, body",
    "SELECT t.id, t.body, l.v FROM t, LATERAL (SELECT g(x || t.body) v FROM u ORDER BY x LIMIT t.n) l WHERE n = 1 ORDER BY t.id FOR UPDATE OF t",
    "SELECT t.id, c FROM t, LATERAL g(body) c WHERE n = 1 ORDER BY id FOR UPDATE OF t",
    "INSERT INTO t SELECT id, body, c, n FROM (SELECT * FROM t WHERE n = 1 ORDER BY id) o, LATERAL g(body) c ON CONFLICT (id) DO UPDATE SET s = excluded.s || g(t.body) RETURNING id, s, body",
    "DELETE FROM t USING u WHERE t.id = u.id AND t.n = 1 AND length(g(t.body || u.x)) < 99 RETURNING t.id, body",
]
MERGE_CHANGED = "WITH m AS (SELECT 1) MERGE INTO t USING (SELECT u.id, c FROM u, LATERAL g(x) c) z ON z.id = t.id AND t.n = 1 WHEN MATCHED AND f(t.body) THEN UPDATE SET s = z.c || g(t.body) WHEN MATCHED THEN UPDATE SET s = z.c"


@pytest.mark.parametrize("sql", CHANGED_BY_OTHERS + [MERGE_CHANGED])
def test_rows_changed_by_others_below_joins(database, sql):  # noqa: F811
    if sql == MERGE_CHANGED and int(database.value("SHOW server_version_num")) < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    rows = {batch: rows_beside_changes(database, batch, sql if sql != MERGE_CHANGED else f"{sql}; SELECT id, s, body FROM t") for batch in ("off", "on")}
    assert rows["on"] == rows["off"] and len(rows["on"]) > 0


def rows_beside_changes(database, batch, sql):  # noqa: F811
    """What a statement gives whose rows another session changes while it waits for a lock."""
    other, connection = connect(database), connect(database)
    try:
        change = other.cursor()
        change.execute("SET lock_timeout = '20s'; BEGIN; UPDATE t SET body = 'new' || (id + 1) WHERE id IN (1, 6, 21); UPDATE t SET n = 9 WHERE id = 11; DELETE FROM t WHERE id = 16")
        connection.cursor().execute(f"SET qwen.batch_plans = {batch}; BEGIN")
        waiting = BackgroundOn(connection, sql)
        wait_until(lambda: waiting.error or database.value(f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {waiting.pid}"), 20, "a wait for the lock")
        change.execute("COMMIT")
        waiting.thread.join(30)
        assert waiting.error is None, waiting.error
        connection.cursor().execute("ROLLBACK")
        return sorted(map(str, waiting.rows))
    finally:
        connection.close()
        other.cursor().execute("ROLLBACK; UPDATE t SET body = 'b' || id WHERE id IN (1, 6, 21); UPDATE t SET n = 1 WHERE id = 11; INSERT INTO t VALUES (16, 'b16', NULL, 1) ON CONFLICT DO NOTHING")
        other.close()
