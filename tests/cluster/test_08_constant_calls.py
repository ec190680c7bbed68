"""STABLE calls that are the same for all rows: never made while a statement is planned, and once for each execution."""
import psycopg2
import pytest
from test_08_batch_plans import connect, cursor, database, psql  # noqa: F401

SETUP = """
CREATE TABLE k AS SELECT i AS id, 'b' || i AS body, ARRAY[i, 1]::real[] AS e FROM generate_series(1, 12) i; ANALYZE k;
CREATE FUNCTION emb(q text) RETURNS real[] LANGUAGE sql STABLE AS 'SELECT qwen_embed(q)';
CREATE TABLE kp (id int, body text) PARTITION BY RANGE (id); CREATE TABLE kp1 PARTITION OF kp FOR VALUES FROM (0) TO (5);
CREATE TABLE kp2 PARTITION OF kp FOR VALUES FROM (5) TO (99); INSERT INTO kp SELECT i, 'p' || i FROM generate_series(1, 9) i;
CREATE INDEX ON kp (id);
"""


@pytest.fixture(scope="module")
def constants(database):  # noqa: F811
    psql(database, SETUP, check=True)
    yield database
    psql(database, "DROP FUNCTION emb; DROP TABLE k, kp", check=True)


def calls(server):
    """Calls of all functions so far."""
    return server.value("SELECT coalesce(sum(calls), 0)::int FROM qwen_stat_requests")


# a statement, and the requests that it may make: 12 rows in k, 9 in kp, 10 in u, 30 in t
STATEMENTS = {
    "condition": ("SELECT count(*) FROM k WHERE e < qwen_embed('abc')", 1),
    "condition over an index": ("SELECT id FROM t WHERE id = qwen_count_tokens('one two')", 1),
    "condition over partitions": ("SELECT id FROM kp WHERE id = qwen_count_tokens('one two')", 1),
    "condition over an array": ("SELECT id FROM k WHERE id = ANY (qwen_tokenize('one two'))", 1),
    "condition of a row": ("SELECT id FROM k WHERE (id, e) < (3, qwen_embed('abc'))", 1),
    "order": ("SELECT id FROM k ORDER BY e < qwen_embed('abc'), id LIMIT 3", 1),
    "limit": ("SELECT id FROM k LIMIT qwen_count_tokens('one two') OFFSET qwen_count_tokens('one')", 2),
    "select list": ("SELECT id, qwen_embed('abc') FROM k", 1),
    "set": ("UPDATE k SET e = qwen_embed('abc') WHERE false OR id > 0", 1),
    "insert": ("INSERT INTO k SELECT id, body, qwen_embed('abc') FROM k WHERE id < 0 OR id > 3", 1),
    "function in from": ("SELECT count(*) FROM generate_series(1, qwen_count_tokens('one two')) g", 1),
    "lateral function": ("SELECT count(*) FROM k, generate_series(1, k.id + qwen_count_tokens('one two')) g", 1),
    "inlined function": ("SELECT count(*) FROM k WHERE e < emb('abc')", 1),
    "join": ("SELECT count(*) FROM k JOIN u ON k.id = u.id AND k.e < qwen_embed('abc')", 1),
    "outer join": ("SELECT count(*) FROM k LEFT JOIN u ON k.id = u.id AND k.e < qwen_embed('abc')", 1),
    "aggregate": ("SELECT count(*) FILTER (WHERE e < qwen_embed('abc')), min(id) FROM k GROUP BY id % 2 HAVING count(*) > qwen_count_tokens('one')", 2),
    "window": ("SELECT sum(id) OVER (ORDER BY e < qwen_embed('abc')) FROM k", 1),
    "of a constant column": ("SELECT count(*) FROM (SELECT 'abc' AS b, id FROM k UNION ALL SELECT x, id FROM u) z WHERE id < qwen_count_tokens(b)", 11),
    "exists with limit": ("SELECT count(*) FROM u WHERE EXISTS (SELECT 1 FROM k WHERE k.id = u.id LIMIT qwen_count_tokens('one'))", 10),
    "subquery that is correlated": ("SELECT id, (SELECT count(*) FROM k WHERE k.id <= u.id AND e < qwen_embed('abc')) FROM u", 1),
    "over a row of the query around": ("SELECT u.id, z.n FROM u, LATERAL (SELECT count(*) n FROM k WHERE e < qwen_embed(u.x) OFFSET 0) z", 10),
    "recursive": ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3 + qwen_count_tokens('one')) SELECT count(*) FROM r", 1),
    "similarity to a constant": ("SELECT id FROM k ORDER BY qwen_similarity(body, 'a question') DESC LIMIT 3", 13),
    "similarity of a constant": ("SELECT id FROM k WHERE qwen_similarity('a question', body, instruction => 'Find it') > 2", 13),
    "similarity of constants": ("SELECT id FROM k WHERE id > qwen_similarity('a', 'b')", 2),
    "no row": ("SELECT id FROM k WHERE id < 0 AND e < qwen_embed('abc')", 0),
    "never reached": ("SELECT CASE WHEN id < 0 THEN qwen_embed('abc') END FROM k", 0),
    "no table": ("SELECT qwen_embed('abc')", 1),
    "set-returning": ("SELECT generate_series(1, 3), qwen_embed('abc')", 1),
}


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_constant_calls_are_made_once_and_not_in_planning(constants, name):
    sql, requests = STATEMENTS[name]
    connection = connect(constants)
    made = connection.cursor()
    made.execute("BEGIN")
    before = calls(constants)
    made.execute(f"EXPLAIN {sql}")
    made.execute(f"PREPARE planned AS {sql}; SET plan_cache_mode = force_generic_plan; EXPLAIN EXECUTE planned")
    assert calls(constants) == before, "requests while planning"
    made.execute(f"SAVEPOINT again; {sql}")
    assert calls(constants) - before <= requests
    rows = {}
    for batch in ("on", "off"):
        made.execute(f"SET qwen.batch_plans = {batch}; DEALLOCATE ALL; ROLLBACK TO again")
        made.execute(sql)
        rows[batch] = made.fetchall() if made.description else made.rowcount
    assert rows["on"] == rows["off"]
    connection.close()


def test_views_are_made_without_the_model(constants):
    before = calls(constants)
    psql(constants, "BEGIN; CREATE VIEW kv AS SELECT id FROM k WHERE e < qwen_embed('abc'); CREATE MATERIALIZED VIEW km AS SELECT * FROM kv WITH NO DATA; EXPLAIN SELECT * FROM kv; ROLLBACK", check=True)
    assert calls(constants) == before


def test_parameters_of_a_statement_are_asked_for_once_an_execution(constants, cursor):  # noqa: F811
    for mode in ("force_generic_plan", "force_custom_plan"):
        cursor.execute(f"SET plan_cache_mode = {mode}; PREPARE q(text) AS SELECT count(*) FROM k WHERE e < qwen_embed($1)")
        before = calls(constants)
        for text in ("one", "two", "two"):
            cursor.execute(f"EXECUTE q('{text}')")
        assert calls(constants) - before == 3
        cursor.execute("DEALLOCATE q")


def test_plpgsql_variables_are_asked_for_once_a_statement(constants, cursor):  # noqa: F811
    before = calls(constants)
    cursor.execute("DO $$ DECLARE q text := 'abc'; n int; v real[]; BEGIN v := qwen_embed(q); SELECT count(*) INTO n FROM k WHERE k.e < qwen_embed(q); END $$")
    assert calls(constants) - before == 2


def test_similarity_is_the_same_whichever_way(constants, cursor):  # noqa: F811
    """Over an embedding that was made once, and over two texts; the instruction is that of the second text."""
    cursor.execute("""SELECT bool_and(qwen_similarity(k.body, u.x, instruction => i) = qwen_similarity(k.body, 'u3', instruction => i)
        AND qwen_similarity(u.x, k.body, instruction => i) = qwen_similarity('u3', k.body, instruction => i)
        AND qwen_similarity(k.body, u.x, instruction => i) = qwen_similarity_to(k.body, qwen_embed('u3', instruction => i)))
        FROM k, u, (VALUES (NULL), ('Find it')) w(i) WHERE u.id = 3""")
    assert cursor.fetchone() == (True,)
    cursor.execute("SELECT bool_or(qwen_similarity(body, 'u3', instruction => 'Find it') = qwen_similarity(body, 'u3')) FROM k")
    assert cursor.fetchone() == (False,)


def test_who_may_only_compare_texts_may(constants, cursor):  # noqa: F811
    """A role with nothing but qwen_similarity gets no plan that calls something else."""
    cursor.execute("CREATE ROLE comparer; GRANT SELECT ON k TO comparer; GRANT EXECUTE ON FUNCTION qwen_similarity TO comparer; SET ROLE comparer")
    cursor.execute("SELECT count(qwen_similarity(body, 'b')) FROM k")
    assert cursor.fetchone() == (12,)
    cursor.execute("RESET ROLE; DROP OWNED BY comparer; DROP ROLE comparer")


def test_a_prepared_comparison_asks_for_the_privilege_of_who_executes_it(constants, cursor):  # noqa: F811
    """Also where it was planned for somebody else, or before privileges changed."""
    compare = "SELECT count(qwen_similarity(body, 'b')) FROM k"
    signature = "qwen_similarity(text, text, text, text, json)"
    cursor.execute("CREATE ROLE comparer; GRANT SELECT ON k TO comparer; SET plan_cache_mode = force_generic_plan")
    try:
        cursor.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO comparer")
        cursor.execute(f"PREPARE compared AS {compare}")
        cursor.execute("EXECUTE compared")
        assert cursor.fetchone() == (12,)
        cursor.execute("SET ROLE comparer; EXECUTE compared")
        assert cursor.fetchone() == (12,), "planned by one who may embed too"
        cursor.execute("RESET ROLE; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO comparer; SET ROLE comparer; EXECUTE compared")
        assert cursor.fetchone() == (12,)
        cursor.execute(f"RESET ROLE; REVOKE EXECUTE ON FUNCTION {signature} FROM comparer; SET ROLE comparer")
        for again in ("EXECUTE compared", compare):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="permission denied for function qwen_similarity"):
                cursor.execute(again)
        cursor.execute(f"RESET ROLE; GRANT EXECUTE ON FUNCTION {signature} TO comparer; SET ROLE comparer; EXECUTE compared")
        cursor.execute("RESET ROLE; REVOKE EXECUTE ON FUNCTION qwen_embed(text, text, text, int, json) FROM comparer; SET ROLE comparer; EXECUTE compared")
        assert cursor.fetchone() == (12,), "planned while it might embed"
    finally:
        cursor.execute("RESET ROLE; DROP OWNED BY comparer; DROP ROLE comparer; RESET plan_cache_mode")

