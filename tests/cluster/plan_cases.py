"""Statements that call the model, of every shape that the batching planner node may meet.

g(text) writes one token after a text, f(text) is a condition on it; both are SQL functions that PostgreSQL inlines. Each
case is a script for psql.
"""

SETUP = """
CREATE FUNCTION g(a text) RETURNS text LANGUAGE sql VOLATILE PARALLEL SAFE
  AS $$ SELECT qwen_generate(a, temperature => 0, max_tokens => 1) $$;
CREATE FUNCTION f(a text) RETURNS boolean LANGUAGE sql VOLATILE PARALLEL SAFE
  AS $$ SELECT ascii(qwen_generate(a, temperature => 0, max_tokens => 1)) % 2 = 0 $$;
CREATE TABLE t (id int PRIMARY KEY, body text, s text, n int);
INSERT INTO t SELECT i, CASE WHEN i % 9 <> 0 THEN 'b' || i END, NULL, i % 5 FROM generate_series(1, 30) i;
CREATE TABLE u (id int, x text);
INSERT INTO u SELECT i, 'u' || i FROM generate_series(1, 10) i;
CREATE INDEX ON u (id);
CREATE TABLE p (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (1000);
INSERT INTO p SELECT i, 'p' || i FROM generate_series(1, 20) i;
CREATE TABLE d (id int PRIMARY KEY, v text);
CREATE FUNCTION pl1(a text) RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE r text; BEGIN r := g(a); RETURN r || g('z'); END $$;
CREATE FUNCTION pl2() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE r record; o text := ''; BEGIN
     FOR r IN SELECT id, g(body) AS v FROM t WHERE id < 20 ORDER BY id LOOP
       o := o || coalesce(r.v, 'N'); EXIT WHEN r.id = 9; END LOOP; RETURN o; END $$;
CREATE FUNCTION pl3() RETURNS text LANGUAGE plpgsql AS
  $$ DECLARE r record; o text := ''; BEGIN
     FOR r IN SELECT id, g(body) AS v FROM t WHERE id < 12 ORDER BY id LOOP
       BEGIN PERFORM 1 / (r.id - 5); o := o || coalesce(r.v, 'N') || g('q');
       EXCEPTION WHEN division_by_zero THEN o := o || '!'; END;
     END LOOP; RETURN o; END $$;
CREATE FUNCTION pl4() RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(x, ',') FROM (SELECT g(body) AS x FROM t WHERE id < 10 ORDER BY id) z $$;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN new.s := coalesce(new.s, 'null') || g('T' || new.id); RETURN new; END $$;
CREATE FUNCTION nextrow() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN UPDATE t SET n = 77 WHERE id = new.id + 1; RETURN new; END $$;
CREATE VIEW vb WITH (security_barrier) AS SELECT * FROM t WHERE n = 1;
CREATE VIEW vg AS SELECT id, g(body) AS answer, n FROM t;
ANALYZE t; ANALYZE u; ANALYZE p;
"""

NO_HASH = "SET enable_hashjoin = off; SET enable_nestloop = off;"

CASES = {
    "select list": "SELECT id, g(body) FROM t ORDER BY id",
    "where": "SELECT id, g(body) FROM t WHERE n = 2 ORDER BY id",
    "order by limit offset": "SELECT id, g(body) FROM t ORDER BY id DESC LIMIT 7 OFFSET 3",
    "top-n sort": "SELECT id, g(body) FROM t ORDER BY n, id LIMIT 7",
    "limit as a parameter, 0, null": "PREPARE a(int) AS SELECT id, g(body) FROM t ORDER BY id LIMIT $1; EXECUTE a(3); EXECUTE a(0); EXECUTE a(NULL)",
    "with ties": "SELECT id, n, g(body) FROM t ORDER BY n FETCH FIRST 3 ROWS WITH TIES",
    "hash join": "SELECT t.id, u.x, g(t.body || u.x) FROM t JOIN u USING (id) ORDER BY t.id",
    "nested loop": "SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT t.id, u.x, g(t.body || u.x) FROM t JOIN u USING (id) ORDER BY t.id",
    "merge join": NO_HASH + "SELECT t.id, u.x, g(t.body || u.x) FROM t JOIN u USING (id) ORDER BY t.id",
    "merge join of subqueries": NO_HASH + "SELECT a.id, a.v, b.v FROM (SELECT id, n, g(body) v FROM t WHERE id < 20 OFFSET 0) a JOIN (SELECT n, id, g(body) v FROM t WHERE id < 10 OFFSET 0) b ON a.n = b.n ORDER BY a.id, b.id",
    "merge join that goes back": NO_HASH + "SET enable_sort = off; SET enable_material = off; SELECT a.id, b.v FROM u a JOIN (SELECT id, g(body) v FROM t) b ON a.id = b.id ORDER BY a.id",
    "left join": "SELECT t.id, z.v FROM t LEFT JOIN (SELECT id, g(x) v FROM u) z USING (id) ORDER BY 1",
    "join condition": "SELECT t.id, u.x FROM t JOIN u ON f(t.body || u.id) AND t.id < 4 ORDER BY 1, 2",
    "join condition and equality": "SELECT t.id, u.x FROM t JOIN u ON f(t.body || u.id) AND t.id = u.id ORDER BY 1, 2",
    "outer join's condition": "SELECT t.id, u.x FROM t LEFT JOIN u ON f(t.body || u.id) AND u.id < 4 WHERE t.id < 6 ORDER BY 1, 2",
    "full join": NO_HASH.replace("hashjoin", "mergejoin") + "SELECT t.id, u.id, g(coalesce(t.body, u.x)) FROM t FULL JOIN u ON t.id = u.id + 25 ORDER BY 1, 2",
    "lateral": "SELECT t.id, l.v FROM t CROSS JOIN LATERAL (SELECT g(t.body || x) v FROM u WHERE u.id <= t.n OFFSET 0) l WHERE t.id < 10 ORDER BY 1, 2",
    "lateral with limit": "SELECT t.id, l.v FROM t CROSS JOIN LATERAL (SELECT g(t.body || x) v FROM u ORDER BY id LIMIT t.n) l WHERE t.id < 10 ORDER BY 1, 2",
    "correlated scalar subquery": "SELECT id, (SELECT g(x || t.body) FROM u WHERE u.id = t.id) FROM t WHERE id < 15 ORDER BY id",
    "exists": "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id >= t.id AND f(u.x || t.body)) AND id < 6 ORDER BY id",
    "not exists": "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id AND f(u.x)) ORDER BY id",
    "exists once": "SELECT EXISTS (SELECT 1 FROM t WHERE f(body))",
    "in": "SELECT id FROM t WHERE left(body, 1) IN (SELECT g('b' || id) FROM u) ORDER BY 1",
    "aggregates of a subquery": "SELECT count(*), min(v), max(v) FROM (SELECT g(body) v FROM t) z",
    "filter on a subquery's result": "SELECT id, v FROM (SELECT id, g(body) v FROM t) z WHERE v LIKE '%1%' ORDER BY id",
    "filter": "SELECT id FROM t WHERE f(body) ORDER BY id",
    "filter and cheap condition": "SELECT id FROM t WHERE f(body) AND n = 3 ORDER BY id",
    "two filters": "SELECT id FROM t WHERE f(body) AND f(id::text) ORDER BY id",
    "filter and value": "SELECT id, g(body) FROM t WHERE f(body) ORDER BY id",
    "or": "SELECT id FROM t WHERE n = 3 OR f(body) ORDER BY id",
    "or of two": "SELECT id FROM t WHERE f(body) OR f(id::text) ORDER BY id",
    "and or mixed": "SELECT id FROM t WHERE (n > 1 AND f(body)) OR (n < 2 AND f(id::text)) ORDER BY id",
    "not": "SELECT id FROM t WHERE NOT f(body) ORDER BY id",
    "filter with limit": "SELECT id FROM t WHERE f(body) ORDER BY id LIMIT 5",
    "case": "SELECT id, CASE WHEN n = 0 THEN g(body) ELSE 'no' END FROM t ORDER BY id",
    "case that guards": "SELECT id, CASE WHEN n <> 0 THEN g((10 / n)::text) END FROM t ORDER BY id",
    "case of two calls": "SELECT id, CASE WHEN f(body) THEN g(body) ELSE g(id::text) END FROM t ORDER BY id",
    "division beside a call": "SELECT id, g(body), CASE WHEN n <> 0 THEN 10 / n END FROM t ORDER BY id",
    "coalesce": "SELECT id, coalesce(body, g('was null')) FROM t ORDER BY id",
    "coalesce of calls": "SELECT id, coalesce(g(body), g('was null')) FROM t ORDER BY id",
    "case over a call": "SELECT id, CASE g(body) WHEN '1' THEN 'one' WHEN '2' THEN 'two' ELSE 'other' END FROM t ORDER BY id",
    "nullif, greatest, is null": "SELECT id, nullif(g(body), '1'), greatest(g(body), 'a'), g(body) IS NULL, f(body) IS NOT TRUE FROM t WHERE id < 12 ORDER BY id",
    "nested": "SELECT id, g(g(body)) FROM t ORDER BY id",
    "nested three times": "SELECT id, g(g(g(body)) || body) FROM t ORDER BY id",
    "several": "SELECT id, g(body), g(id::text), g(body || id) || g('c') FROM t ORDER BY id",
    "system column and whole row": "SELECT tableoid::regclass, t, g(t::text), t.ctid FROM t ORDER BY id",
    "index only scan": "SET enable_seqscan = off; SELECT id, g(id::text) FROM t WHERE id BETWEEN 5 AND 9 ORDER BY id",
    "bitmap scan": "SET enable_seqscan = off; SET enable_indexscan = off; SELECT id, g(body) FROM t WHERE id IN (3, 5, 7) ORDER BY id",
    "tid scan": "SELECT id, g(body) FROM t WHERE ctid = '(0,3)'; SELECT id, g(body) FROM t WHERE ctid < '(0,3)'",
    "sample scan": "SELECT id, g(body) FROM t TABLESAMPLE bernoulli (50) REPEATABLE (3) ORDER BY id",
    "values": "SELECT g(v) FROM (VALUES ('a'), ('b'), (NULL)) x(v)",
    "function scan": "SELECT g(i::text) FROM generate_series(1, 5) i",
    "without from": "SELECT g('a')",
    "without from, two columns": "SELECT g('a'), g('b')",
    "no rows": "SELECT id, g(body) FROM t WHERE id < 0",
    "aggregate": "SELECT n, string_agg(g(body), ',' ORDER BY id) FROM t GROUP BY n ORDER BY n",
    "aggregate with filter and distinct": "SELECT n, count(DISTINCT g(body)), count(g(body)) FILTER (WHERE n = 1) FROM t GROUP BY n ORDER BY n",
    "filter that guards": "SELECT max(g((10 / n)::text)) FILTER (WHERE n <> 0) FROM t",
    "having": "SELECT n, max(id) FROM t GROUP BY n HAVING f(max(id)::text) ORDER BY n",
    "over an aggregate": "SELECT n, g(string_agg(body, '' ORDER BY id)) FROM t GROUP BY n ORDER BY n",
    "group by a call": "SELECT length(g(body)) l, count(*) FROM t GROUP BY 1 ORDER BY 1",
    "rollup": "SELECT n, g(coalesce(n::text, 'all')), count(*) FROM t GROUP BY ROLLUP (n) ORDER BY 1",
    "rollup of a call": "SELECT n, id % 2, max(g(body)) FROM t GROUP BY ROLLUP (n, id % 2) ORDER BY 1, 2",
    "order by a call": "SELECT id FROM t ORDER BY g(body) DESC NULLS LAST, id LIMIT 9",
    "distinct": "SELECT DISTINCT left(g(body), 3) FROM t ORDER BY 1",
    "distinct on": "SELECT DISTINCT ON (n) n, g(body) FROM t ORDER BY n, id",
    "over a window function": "SELECT id, g(body || rank() OVER (PARTITION BY n ORDER BY id)) FROM t ORDER BY id",
    "in a window function": "SELECT id, lag(g(body)) OVER (ORDER BY id) FROM t ORDER BY id",
    "run condition": "SELECT * FROM (SELECT id, g(body) v, row_number() OVER (ORDER BY id) rn FROM t) z WHERE rn <= 5; SELECT * FROM (SELECT g(body) v, id, rank() OVER (PARTITION BY n ORDER BY id) rn FROM t) z WHERE rn <= 2 ORDER BY id; SELECT * FROM (SELECT g(body || row_number() OVER (ORDER BY id)) v, id, row_number() OVER (ORDER BY id) rn FROM t) z WHERE rn <= 2 ORDER BY id",
    "nextval in an argument": "BEGIN; CREATE SEQUENCE sq; SELECT id, g(nextval('sq')::text || body), nextval('sq') FROM t WHERE id < 9 ORDER BY id; ROLLBACK",
    "security barrier": "SELECT id FROM vb WHERE f(body) ORDER BY id",
    "security barrier order": "BEGIN; CREATE VIEW vs WITH (security_barrier) AS SELECT * FROM t WHERE f(body); SELECT id FROM vs WHERE s IS NULL AND 10 / id > 1 ORDER BY id; ROLLBACK",
    "view": "SELECT * FROM vg WHERE n = 1 ORDER BY id; SELECT count(answer) FROM vg; SELECT id FROM vg ORDER BY id LIMIT 3",
    "array and any": "SELECT id FROM t WHERE g(body) = ANY (ARRAY['1', '2']) ORDER BY id; SELECT id FROM t WHERE g(body) IN ('1', '.') AND id < 20 ORDER BY id",
    "before trigger on a later row": "BEGIN; CREATE TRIGGER tt BEFORE UPDATE OF s ON t FOR EACH ROW EXECUTE FUNCTION nextrow(); UPDATE t SET s = g(body) WHERE id < 9; SELECT id, n, s FROM t WHERE id < 12 ORDER BY id; ROLLBACK",
    "after trigger on a later row": "BEGIN; CREATE TRIGGER tt AFTER UPDATE OF s ON t FOR EACH ROW EXECUTE FUNCTION nextrow(); UPDATE t SET s = g(body) WHERE id < 9; SELECT id, n, s FROM t WHERE id < 12 ORDER BY id; ROLLBACK",
    "union all": "SELECT id, g(body) FROM t WHERE id < 5 UNION ALL SELECT id, g(x) FROM u ORDER BY 1, 2",
    "union all with limit": "SELECT * FROM (SELECT id, g(body) FROM t WHERE id < 5 UNION ALL SELECT id, g(x) FROM u) z LIMIT 6",
    "union, except, intersect": "(SELECT g(body) FROM t UNION SELECT g(x) FROM u EXCEPT SELECT g('b1')) INTERSECT SELECT g(id::text || '0') FROM t ORDER BY 1",
    "cte": "WITH c AS MATERIALIZED (SELECT id, g(body) v FROM t) SELECT a.v, b.v FROM c a JOIN c b ON a.id = b.id + 1 ORDER BY a.id LIMIT 9",
    "recursive": "WITH RECURSIVE r(i, v) AS (SELECT 1, g('a') UNION ALL SELECT i + 1, g(v) FROM r WHERE i < 4) SELECT * FROM r",
    "set-returning function": "SELECT id, unnest(string_to_array(g(body), '1')) FROM t ORDER BY id; SELECT id, generate_series(1, 2), g(body) FROM t WHERE id < 4 ORDER BY id",
    "partitions": "SELECT id, g(body) FROM p ORDER BY id; SELECT tableoid::regclass, id FROM p WHERE f(body) ORDER BY id",
    "insert select": "BEGIN; INSERT INTO d SELECT id, g(body) FROM t; SELECT * FROM d ORDER BY id; ROLLBACK",
    "on conflict and returning": "BEGIN; INSERT INTO d SELECT id, g(body) FROM t WHERE id < 6; INSERT INTO d SELECT id, g('n' || id) FROM t WHERE id < 9 ON CONFLICT (id) DO UPDATE SET v = excluded.v || d.v || g('c') RETURNING id, g(v); SELECT * FROM d ORDER BY id; ROLLBACK",
    "insert values": "BEGIN; INSERT INTO d VALUES (1, g('a')), (2, g('b')), (3, g('c')); INSERT INTO d VALUES (4, g('d')); SELECT * FROM d ORDER BY id; ROLLBACK",
    "update": "BEGIN; UPDATE t SET s = g(body); SELECT id, s FROM t ORDER BY id; ROLLBACK",
    "update where, returning": "BEGIN; UPDATE t SET s = 'x' || g(body) WHERE f(body) RETURNING id, s, g(s); ROLLBACK",
    "update from": "BEGIN; UPDATE t SET s = g(body || u.x) FROM u WHERE u.id = t.id; SELECT id, s FROM t ORDER BY id; ROLLBACK",
    "trigger that calls": "BEGIN; CREATE TRIGGER tt BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION trg(); UPDATE t SET s = g(body) WHERE id < 12; SELECT id, s FROM t ORDER BY id; ROLLBACK",
    "rows that move between partitions": "BEGIN; UPDATE p SET id = id + 9, body = g(body); SELECT tableoid::regclass, * FROM p ORDER BY id; ROLLBACK",
    "delete": "BEGIN; DELETE FROM t WHERE f(body); SELECT count(*), min(id) FROM t; ROLLBACK",
    "for update": "BEGIN; SELECT id, g(body) FROM t WHERE n = 1 ORDER BY id LIMIT 4 FOR UPDATE; ROLLBACK",
    "for update in a subquery": "BEGIN; SELECT id, g(body) FROM (SELECT * FROM t WHERE n = 1 ORDER BY id FOR UPDATE) z; ROLLBACK",
    "create table as": "BEGIN; CREATE TABLE zz AS SELECT id, g(body) v FROM t; SELECT * FROM zz ORDER BY id; CREATE MATERIALIZED VIEW zm AS SELECT id, g(body) v FROM t WHERE id < 5; SELECT * FROM zm ORDER BY id; ROLLBACK",
    "copy": "COPY (SELECT id, g(body) FROM t WHERE id < 6 ORDER BY id) TO STDOUT",
    "generic plan": "SET plan_cache_mode = force_generic_plan; PREPARE b(int, text) AS SELECT id, g(body || $2) FROM t WHERE id < $1 ORDER BY id; EXECUTE b(5, 'k'); EXECUTE b(9, NULL); EXECUTE b(4, 'z')",
    "cursor": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) FROM t ORDER BY id; FETCH 3 c; FETCH 2 c; MOVE 5 c; FETCH 1 c; CLOSE c; ROLLBACK",
    "cursor that goes back": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) FROM t ORDER BY id; FETCH 5 c; FETCH BACKWARD 2 c; FETCH LAST c; FETCH ABSOLUTE 3 c; FETCH PRIOR c; ROLLBACK",
    "cursor that cannot go back": "BEGIN; DECLARE c CURSOR FOR SELECT t.id, g(body) FROM t JOIN u USING (id) WHERE t.id < 4; FETCH 2 c; FETCH BACKWARD 1 c; ROLLBACK",
    "scroll cursor": "BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id, g(body) FROM t ORDER BY id; FETCH 5 c; FETCH BACKWARD 2 c; FETCH LAST c; FETCH ABSOLUTE 3 c; FETCH PRIOR c; ROLLBACK",
    "no scroll cursor": "BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id, g(body) FROM t ORDER BY id; FETCH 5 c; FETCH BACKWARD 2 c; ROLLBACK",
    "cursor with hold": "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id, g(body) FROM t WHERE id < 9 ORDER BY id; FETCH 2 c; COMMIT; FETCH 3 c; CLOSE c",
    "cursor for update": "BEGIN; DECLARE c CURSOR FOR SELECT id, g(body) FROM t WHERE n = 2 FOR UPDATE; FETCH 3 c; UPDATE t SET s = 'cur' WHERE CURRENT OF c; SELECT id FROM t WHERE s = 'cur'; ROLLBACK",
    "plpgsql simple expression": "SELECT pl1(body) FROM t WHERE id < 4 ORDER BY id",
    "plpgsql loop": "SELECT pl2()",
    "plpgsql loop with subtransactions": "SELECT pl3()",
    "sql function": "SELECT pl4()",
    "do": "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id, g(body) v FROM t WHERE id < 5 ORDER BY id LOOP RAISE NOTICE '% %', r.id, r.v; END LOOP; END $$",
    "error in an argument": "SELECT id, g((10 / (id - 20))::text) FROM t ORDER BY id",
    "error behind a limit": "SELECT id, g((10 / (id - 5))::text) FROM t ORDER BY id LIMIT 3",
    "error and again": "SELECT g((1 / (id - 20))::text) FROM t; SELECT count(g(body)) FROM t",
    "error of the engine": "SELECT id, g(repeat('word ', CASE id WHEN 7 THEN 9000 ELSE 1 END)) FROM t ORDER BY id; SELECT count(g(body)) FROM t",
    "error of the engine behind a limit": "SELECT id, g(repeat('word ', CASE id WHEN 7 THEN 9000 ELSE 1 END)) FROM t ORDER BY id LIMIT 6",
    "errors as null": "SET qwen.on_error = 'null'; SELECT id, g(repeat('word ', CASE id WHEN 7 THEN 9000 ELSE 1 END)) FROM t WHERE id < 12 ORDER BY id; SELECT count(g(repeat('word ', 9000))), count(*) FROM t WHERE id < 4",
    "savepoint": "BEGIN; SAVEPOINT a; SELECT g((1 / (id - 20))::text) FROM t; ROLLBACK TO a; SELECT count(g(body)) FROM t; COMMIT",
    "forced parallel": "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET force_parallel_mode = on; SELECT id, g(body) FROM t ORDER BY id",
    "parallel": "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ALTER TABLE t SET (parallel_workers = 2); SELECT id, g(body) FROM t ORDER BY id; SELECT n, count(g(body)) FROM t GROUP BY n ORDER BY n; ALTER TABLE t RESET (parallel_workers)",
    "rows and arrays": "SELECT id, row(g(body), 1), ARRAY[g(body), 'x'] FROM t WHERE id < 6 ORDER BY id",
    "other functions": "SELECT id, qwen_chat(body, temperature => 0, max_tokens => 2), qwen_summarize(body, max_tokens => 2) FROM t WHERE id < 6 ORDER BY id",
    "json messages": "SELECT id, qwen_chat(json_build_array(json_build_object('role', 'user', 'content', body)), temperature => 0, max_tokens => 2) FROM t WHERE id < 6 ORDER BY id; SELECT id, qwen_chat(jsonb_build_array(jsonb_build_object('role', 'user', 'content', body)), temperature => 0, max_tokens => 2) FROM t WHERE id < 6 ORDER BY id",
    "composite values": "SELECT id, (qwen_chat_full(body, temperature => 0, max_tokens => 2)).content FROM t WHERE id < 9 ORDER BY id; SELECT id, (z.r).content, (z.r).completion_tokens FROM (SELECT id, qwen_chat_full(body, temperature => 0, max_tokens => 2) r FROM t WHERE id < 9 OFFSET 0) z ORDER BY id",
    "embeddings": "SELECT id, md5(qwen_embed(body)::text) FROM t ORDER BY id; SELECT id, (qwen_embed(body, dimensions => 4))[1] > 0, round(qwen_similarity(body, 'b7')::numeric, 4) FROM t ORDER BY qwen_similarity(body, 'b7') DESC NULLS LAST LIMIT 5",
    "asks": "SELECT id, qwen_classify_multi(body, ARRAY['letter', 'number', 'text'], 0.4), qwen_score(body, 'it is short') FROM t WHERE id < 8 ORDER BY id; SELECT id, qwen_redact(body, ARRAY['number', 'name'], temperature => 2, top_k => 0, top_p => 1, seed => id) FROM t WHERE id < 8 ORDER BY id; SELECT id FROM t WHERE id < 8 AND qwen_score(body, 'it is short') > 0.3 ORDER BY id",
    "tasks": "SELECT id, qwen_classify(body, ARRAY['letter', 'number']), qwen_filter(body, 'it has a digit') FROM t WHERE id < 12 ORDER BY id; SELECT id FROM t WHERE qwen_filter(body, 'it is a text') ORDER BY id; SELECT qwen_translate(body, 'French', max_tokens => 2) FROM t WHERE id < 4 ORDER BY id",
    "notice": "SELECT id, qwen_chat('[{\"role\": \"user\", \"content\": \"' || id || '\"}]', temperature => 0, max_tokens => 1) FROM t WHERE id < 4 ORDER BY id",
    "arguments that differ": "SELECT id, qwen_generate(body, temperature => 0, max_tokens => n) FROM t WHERE n > 0 ORDER BY id; SELECT id, qwen_generate(body, temperature => 0, max_tokens => n) FROM t ORDER BY id",
    "seeds": "SELECT id, qwen_generate(body, seed => id, max_tokens => 3, stop => ARRAY['1']) FROM t ORDER BY id",
    "cte that changes": "BEGIN; WITH c AS (UPDATE t SET s = g(body) WHERE id < 5 RETURNING id, s) SELECT id, g(s) FROM c ORDER BY id; ROLLBACK",
    "subplan beside a call": "SELECT id, g(body) || (SELECT max(x) FROM u WHERE u.id <= t.id) FROM t ORDER BY id",
    "domains and casts": "BEGIN; CREATE DOMAIN short AS text CHECK (length(VALUE) < 99); SELECT id, g(body)::short, g(body)::varchar(1), g(body) COLLATE \"C\" < 'a' FROM t WHERE id < 9 ORDER BY id; ROLLBACK",
}

MERGE_CASES = {
    "merge": "BEGIN; MERGE INTO d USING (SELECT id, g(body) v FROM t WHERE id < 9) s ON d.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v || g('m')); SELECT * FROM d ORDER BY 1; ROLLBACK",
}
