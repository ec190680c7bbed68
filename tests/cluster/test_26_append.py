"""One batching node above an Append: partitions, branches of UNION ALL, foreign tables that are asked at once, parallel workers; and cursors, whose window is their FETCH's."""
import psycopg2
import pytest
from cluster import wait_until
from sessions import wait_idle
from test_08_batch_plans import BackgroundOn, connect, cursor, database, nodes, plan, psql, requests_of, server_version  # noqa: F401

# Partitions whose columns stand at other places, one with a column more that is gone, one without rows.
SETUP = """CREATE TABLE ap (id int, body text, n int) PARTITION BY RANGE (id);
CREATE TABLE ap1 PARTITION OF ap FOR VALUES FROM (0) TO (10);
CREATE TABLE ap2 (n int, gone text, body text, id int); ALTER TABLE ap2 DROP gone; ALTER TABLE ap ATTACH PARTITION ap2 FOR VALUES FROM (10) TO (20);
CREATE TABLE ap3 PARTITION OF ap FOR VALUES FROM (20) TO (30); CREATE TABLE ap4 PARTITION OF ap FOR VALUES FROM (30) TO (40);
CREATE INDEX ON ap (id);
INSERT INTO ap SELECT i, CASE WHEN i % 9 <> 0 THEN 'p' || i END, i % 4 FROM generate_series(1, 29) i; ANALYZE ap"""


@pytest.fixture(scope="module")
def parted(database):  # noqa: F811
    psql(database, SETUP, check=True)
    return database


def below(tree, kind, found=()):
    """All nodes of a kind in a plan."""
    found = list(found) + ([tree] if tree["Node Type"] == kind else [])
    for child in tree.get("Plans", []):
        found = below(child, kind, found)
    return found


# statement: (nodes of ours, the kind of node below all of them)
ALIKE = {
    "SELECT id, g(body) FROM ap": (1, "Append"),
    "SELECT id FROM ap WHERE f(body)": (1, "Append"),
    "SELECT id, g(g(body)), g(id::text) FROM ap": (2, "Append"),
    "SELECT tableoid::regclass, ctid, id, g(body) FROM ap WHERE f(id::text)": (2, "Append"),
    "SELECT id, CASE WHEN n = 0 THEN g(body) ELSE 'no' END FROM ap WHERE n < 3": (1, "Append"),
    "SELECT g('x') FROM ap": (1, "Append"),
    "SELECT id, g(body) FROM t WHERE id < 5 UNION ALL SELECT id, g(x) FROM u": (1, "Append"),
    "SELECT id, qwen_embed(body) FROM ap ORDER BY id": (1, "Merge Append"),
    "SELECT id, g(body) FROM ap LIMIT 12": (1, "Append"),
}
SETTINGS = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;"


@pytest.mark.parametrize("sql", ALIKE)
def test_alike_children_have_one_window(parted, cursor, sql):  # noqa: F811
    n, kind = ALIKE[sql]
    if kind == "Merge Append":
        # bounds overlap by the default partition, so that the partitions' order is not the rows'
        cursor.execute("BEGIN; CREATE TABLE ap5 PARTITION OF ap DEFAULT; " + SETTINGS)
    done = plan(cursor, sql)
    found = nodes(done)
    assert len(found) == n and all(len(below(node, kind)) == 1 for node in found), done
    # more than a partition has that may be asked about at once
    assert max(node["Largest Window"] for node in found) >= min(12, max(node["Requests"] for node in found)) > 3
    cursor.execute(sql)
    batched = cursor.fetchall()
    cursor.execute("SET qwen.batch_plans = off; " + sql)
    assert cursor.fetchall() == batched
    cursor.execute("ROLLBACK")


UNLIKE = {
    "SELECT id, g(body) FROM t WHERE id < 5 UNION ALL SELECT id, g(x || '!') FROM u": 2,
    "SELECT id, g(body) FROM t WHERE id < 5 UNION ALL SELECT id, x FROM u": 1,
    "SELECT id, g(ap::text) FROM ap": 4,
    "SELECT g(body)::varchar(9) FROM ap1 UNION ALL SELECT g(body)::varchar(8) FROM ap2": 2,
}


@pytest.mark.parametrize("sql", UNLIKE)
def test_children_that_differ_keep_their_own(parted, cursor, sql):  # noqa: F811
    found = nodes(plan(cursor, sql))
    assert len(found) == UNLIKE[sql] and not any(below(node, "Append") for node in found)
    cursor.execute(sql)
    batched = cursor.fetchall()
    cursor.execute("SET qwen.batch_plans = off; " + sql)
    assert cursor.fetchall() == batched


SAME = {
    "update": "BEGIN; UPDATE ap SET body = g(body) || n WHERE f(id::text); SELECT tableoid::regclass, * FROM ap ORDER BY id; ROLLBACK",
    "rows that move": "BEGIN; UPDATE ap SET id = id + 9, body = g(body) WHERE id < 21 RETURNING tableoid::regclass, id, body; ROLLBACK",
    "delete": "BEGIN; DELETE FROM ap WHERE f(body) RETURNING id; ROLLBACK",
    "pruned when it runs": "SET plan_cache_mode = force_generic_plan; PREPARE q(int, int) AS SELECT id, g(body) FROM ap WHERE id BETWEEN $1 AND $2 ORDER BY id; EXECUTE q(3, 5); EXECUTE q(8, 12); EXECUTE q(99, 100); EXECUTE q(1, 25)",
    "pruned for each row": "SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT u.id, ap.id, g(body || x) FROM u JOIN ap ON ap.id = u.id * 3 ORDER BY 1",
    "rescans with a limit": "SELECT u.id, l.* FROM u, LATERAL (SELECT ap.id, g(body || u.x) v FROM ap WHERE n = u.id % 4 ORDER BY ap.id LIMIT u.id % 3) l ORDER BY 1, 2",
    "rescans of merged": SETTINGS + "SET enable_material = off; SELECT u.id, l.* FROM (SELECT * FROM u LIMIT 4) u, LATERAL (SELECT id, md5(qwen_embed(body || u.x)::text) FROM ap ORDER BY ap.id LIMIT u.id) l",
    "semi join": "SELECT id FROM u WHERE EXISTS (SELECT 1 FROM ap WHERE ap.n = u.id % 5 AND f(ap.body)) ORDER BY id",
    "cursor that goes back": "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id, g(body) FROM ap ORDER BY id; FETCH 12 c; FETCH BACKWARD 5 c; MOVE 9 c; FETCH ABSOLUTE 2 c; FETCH LAST c; FETCH RELATIVE -3 c; ROLLBACK",
    "cursor in portions": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) FROM ap WHERE f(id::text); FETCH 3 c; FETCH 7 c; FETCH 1 c; FETCH ALL c; ROLLBACK",
    "cursor above limit and offset": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) FROM ap ORDER BY id LIMIT 9 OFFSET 7; FETCH 2 c; FETCH 5 c; FETCH 5 c; ROLLBACK",
    "cursor above a sort": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) v FROM ap ORDER BY v, id; FETCH 2 c; FETCH 5 c; ROLLBACK",
    "cursor above distinct and a function": "BEGIN; DECLARE c CURSOR FOR SELECT DISTINCT g(v) FROM (SELECT g(body) v FROM ap) z ORDER BY 1; FETCH 1 c; FETCH 5 c; ROLLBACK",
    "cursor with hold": "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id, g(body) FROM ap; FETCH 2 c; COMMIT; FETCH 3 c; FETCH BACKWARD 2 c; CLOSE c",
    "locked rows": "BEGIN; SELECT id, g(body) FROM ap WHERE n = 1 ORDER BY id LIMIT 5 FOR UPDATE; ROLLBACK",
    "inheritance": "BEGIN; CREATE TABLE mum (id int, body text); CREATE TABLE kid (extra int) INHERITS (mum); INSERT INTO mum VALUES (1, 'm'); INSERT INTO kid VALUES (2, 'k', 3); SELECT tableoid::regclass, id, g(body) FROM mum ORDER BY id; ROLLBACK",
    "grouped": "SELECT n, string_agg(v, ',' ORDER BY id) FROM (SELECT n, id, g(body) v FROM ap OFFSET 0) z GROUP BY n ORDER BY n",
    "partitionwise": "SET enable_partitionwise_join = on; SET enable_partitionwise_aggregate = on; SELECT a.id, g(a.body || b.body) FROM ap a JOIN ap b ON a.id = b.id ORDER BY 1; SELECT id, max(g(body)) FROM ap GROUP BY id ORDER BY 1",
    "row level security": "BEGIN; CREATE ROLE ap_reader; ALTER TABLE ap ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON ap USING (n = 1); GRANT SELECT ON ap TO ap_reader; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO ap_reader; SET ROLE ap_reader; SELECT id, g(body) FROM ap WHERE f(body) ORDER BY id; ROLLBACK",
    "an error of one partition": "SELECT g((10 / (id - 15))::text) FROM ap; SELECT count(g(body)) FROM ap",
    "errors as null": "SET qwen.on_error = 'null'; SELECT id, g(repeat('word ', CASE id WHEN 17 THEN 9000 ELSE 1 END)) FROM ap ORDER BY id",
    "parallel append": "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT id, g(body) FROM ap ORDER BY id; SELECT n, count(g(body)) FROM ap GROUP BY n ORDER BY n",
}


@pytest.mark.parametrize("name", SAME)
def test_same_rows_and_messages_above_append(parted, name):
    plain = psql(parted, "SET qwen.batch_plans = off;" + SAME[name])
    assert "ERROR" not in plain[1] or "error" in name, plain
    for window in (1000, 3):
        batched = psql(parted, f"SET qwen.batch_window = {window};" + SAME[name])
        assert batched[0] == plain[0] and ("error" in name or batched[1] == plain[1]), (batched, plain)
    wait_idle(parted)


CHANGED = ["UPDATE ap SET body = g(body) || n WHERE n = 1 AND f(id::text) IS NOT NULL RETURNING id, body", "SELECT id, body, g(body) FROM ap WHERE n = 1 ORDER BY id FOR UPDATE"]


@pytest.mark.parametrize("sql", CHANGED)
def test_rows_of_partitions_changed_by_others(parted, sql):
    rows = {}
    for batch in ("off", "on"):
        other, connection = connect(parted), connect(parted)
        other.cursor().execute("BEGIN; UPDATE ap SET body = 'new' || id WHERE id IN (1, 13, 25); UPDATE ap SET n = 3 WHERE id = 17; DELETE FROM ap WHERE id = 21")
        connection.cursor().execute(f"SET qwen.batch_plans = {batch}; BEGIN")
        waiting = BackgroundOn(connection, sql)
        wait_until(lambda: parted.value(f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {waiting.pid}"), 20, "a wait for the lock")
        other.cursor().execute("COMMIT")
        waiting.thread.join(30)
        assert waiting.error is None, waiting.error
        rows[batch] = sorted(waiting.rows)
        connection.cursor().execute("ROLLBACK")
        connection.close()
        other.cursor().execute("UPDATE ap SET body = 'p' || id WHERE id IN (1, 13, 25); UPDATE ap SET n = 1 WHERE id = 17; INSERT INTO ap VALUES (21, 'p21', 1)")
        other.close()
    assert rows["on"] == rows["off"] and len(rows["on"]) > 3


def test_workers_are_counted_with_their_leader(parted, cursor):  # noqa: F811
    """EXPLAIN ANALYZE shows what all processes of a parallel query asked, below a LIMIT and after rescans too."""
    cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2")
    for leads in ("off", "on"):
        cursor.execute(f"SET parallel_leader_participation = {leads}")
        done = plan(cursor, "SELECT id, g(body) FROM ap")
        assert done["Node Type"] == "Gather" and done["Workers Launched"] > 0 and len(nodes(done)) == 1 and below(done, "Append")
        assert (requests_of(done), nodes(done)[0]["Rows Read"]) == (26, 29) and nodes(done)[0]["Generated Tokens"] == 26
    cursor.execute("SET parallel_leader_participation = off")
    done = plan(cursor, "SELECT * FROM (SELECT id, g(body) FROM ap) z LIMIT 3")
    assert below(done, "Gather") and requests_of(done) >= 3
    done = plan(cursor, "SELECT id, (SELECT count(g(body)) FROM ap WHERE id > 0) FROM u WHERE id < 4")
    assert below(done, "Gather") and requests_of(done) == 26
    cursor.execute("SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
    done = plan(cursor, "SELECT u.id, z.v FROM (SELECT * FROM u LIMIT 2) u LEFT JOIN (SELECT count(g(body)) v FROM ap) z ON z.v > u.id")
    gathers = below(done, "Gather")
    assert gathers and requests_of(done) == 26 * gathers[0]["Actual Loops"], done
    # an error of a worker, caught: what the leader held on to is gone with it
    cursor.execute("DO $$ BEGIN PERFORM g((1 / (id - 28))::text) FROM ap; EXCEPTION WHEN division_by_zero THEN NULL; END $$")
    assert requests_of(plan(cursor, "SELECT id, g(body) FROM ap")) == 26


def test_the_rows_to_come_are_told_of_all_partitions(parted):
    connection = connect(parted)
    waiting = BackgroundOn(connection, "SELECT count(v) FROM (SELECT qwen_generate(body, temperature => 0, max_tokens => 1500, stop => ARRAY['never-said']) v FROM ap OFFSET 0) z")
    wait_until(lambda: parted.value("SELECT running FROM qwen_stat_engine") > 10, 20, "many running requests")
    told = parted.query("SELECT rows_total FROM qwen_progress")
    # and a cancel frees what is under way of all of them
    parted.query(f"SELECT pg_cancel_backend({waiting.pid})")
    assert waiting.join().error.pgcode == "57014"
    wait_idle(parted)
    connection.close()
    assert told == [(29,)]


def test_privileges_hold_above_append(parted, cursor):  # noqa: F811
    cursor.execute("CREATE ROLE ap_nobody; GRANT SELECT ON ap TO ap_nobody; SET ROLE ap_nobody")
    for batch in ("on", "off"):
        cursor.execute(f"SET qwen.batch_plans = {batch}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="permission denied for function qwen_generate"):
            cursor.execute("SELECT qwen_generate(body) FROM ap")
    cursor.execute("RESET ROLE; DROP OWNED BY ap_nobody; DROP ROLE ap_nobody")


LOOPBACK = """CREATE EXTENSION postgres_fdw; DO $$ BEGIN EXECUTE format('CREATE SERVER lo FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, async_capable ''true'', fetch_size ''4'')',
    current_setting('unix_socket_directories'), current_setting('port'), current_database()); END $$; CREATE USER MAPPING FOR CURRENT_USER SERVER lo;
    CREATE TABLE fp (id int, body text) PARTITION BY RANGE (id); CREATE FOREIGN TABLE f1 PARTITION OF fp FOR VALUES FROM (0) TO (10) SERVER lo OPTIONS (table_name 'ap1');
    CREATE FOREIGN TABLE f2 PARTITION OF fp FOR VALUES FROM (10) TO (20) SERVER lo OPTIONS (table_name 'ap2');
    CREATE VIEW told AS SELECT id, qwen_generate(id::text, temperature => 0, max_tokens => 1) v FROM ap; CREATE FOREIGN TABLE ftold (id int, v text) SERVER lo"""


def test_foreign_tables_are_asked_at_once_below_a_node(parted, cursor):  # noqa: F811
    if server_version(parted) < 140000:
        pytest.skip("asynchronous foreign scans came with PostgreSQL 14")
    cursor.execute(LOOPBACK)
    try:
        for sql in ("SELECT id, g(body) FROM fp", "SELECT id FROM fp WHERE f(body)", "SELECT id, g(g(body)) FROM fp"):
            done = plan(cursor, sql)
            scans = below(done, "Foreign Scan")
            assert below(nodes(done)[-1], "Append") and len(scans) == 2 and all(scan["Async Capable"] for scan in scans), done
            cursor.execute(sql)
            batched = sorted(cursor.fetchall())
            cursor.execute("SET qwen.batch_plans = off; " + sql)
            assert sorted(cursor.fetchall()) == batched
            cursor.execute("SET qwen.batch_plans = on")
        # children that differ are not asked asynchronously below nodes of their own
        done = plan(cursor, "SELECT id, g(body) FROM f1 UNION ALL SELECT id, g(body || '!') FROM f2")
        assert len(nodes(done)) == 2 and not any(scan["Async Capable"] for scan in below(done, "Foreign Scan"))
        # a node behind a cursor computes no more than each fetch asks for, at first
        cursor.execute("ALTER FOREIGN TABLE ftold OPTIONS (ADD table_name 'told'); ALTER SERVER lo OPTIONS (SET async_capable 'false')")
        before = calls(parted)
        cursor.execute("SELECT id, v FROM ftold WHERE v IS NOT NULL OR id > random() LIMIT 1")
        assert len(cursor.fetchall()) == 1
        wait_idle(parted)
        assert calls(parted) - before == 4
    finally:
        cursor.execute("DROP FOREIGN TABLE ftold; DROP VIEW told; DROP TABLE fp; DROP EXTENSION postgres_fdw CASCADE")


def calls(server):
    return server.value("SELECT coalesce(sum(calls), 0) FROM qwen_stat_requests")


LONG = "qwen_generate(%s, temperature => 0, max_tokens => %s, stop => ARRAY['never-said'])"


@pytest.mark.parametrize(
    "sql, fetched, at_once",
    [
        (f"SELECT {LONG % ('id::text', 1500)} FROM ap", 8, 8),
        (f"SELECT {LONG % ('id::text', 1500)} FROM ap LIMIT 20", 8, 8),
        (f"SELECT {LONG % ('id::text', 1500)} FROM ap LIMIT 5", 8, 5),
        (f"SELECT {LONG % ('id::text', 1500)} FROM ap OFFSET 4", 5, 9),
        (f"SELECT {LONG % ('id::text', 1500)} v FROM ap ORDER BY v", 2, 16),
        (f"SELECT t.id, v FROM t JOIN (SELECT id, {LONG % ('id::text', 1500)} v FROM ap OFFSET 0) z USING (id)", 2, None),
    ],
)
def test_a_cursors_window_is_its_fetch(parted, cursor, sql, fetched, at_once):  # noqa: F811
    """The first FETCH computes as many rows at once as it asks for, and none beside these; below a sort all are read, whatever is fetched."""
    cursor.execute("BEGIN; DECLARE c NO SCROLL CURSOR FOR " + sql)
    waiting = BackgroundOn(cursor.connection, f"FETCH {fetched} c")
    try:
        under_way = "SELECT running + waiting FROM qwen_stat_engine"
        if at_once:
            wait_until(lambda: parted.value(under_way) == at_once or (at_once == 16 and parted.value(under_way) > at_once), 20, f"{at_once} at once")
        else:
            wait_until(lambda: parted.value(under_way) > 0, 20, "a request")
    finally:
        parted.query(f"SELECT pg_cancel_backend({waiting.pid})")
        waiting.join()
    wait_idle(parted)


@pytest.mark.parametrize("fetches, asked", [([5], 5), ([5, 5], 15), ([1, 1, 1], 5), ([4, 2], 10), ([29], 29)])
def test_a_cursor_computes_ahead_what_was_fetched_before(parted, cursor, fetches, asked):  # noqa: F811
    before = calls(parted)
    cursor.execute("BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, g(id::text) FROM ap")
    for fetched in fetches:
        cursor.execute(f"FETCH {fetched} c")
        assert len(cursor.fetchall()) == fetched
    cursor.execute("CLOSE c; ROLLBACK")
    # what was asked and is not wanted any more counts, too
    assert calls(parted) - before == asked
