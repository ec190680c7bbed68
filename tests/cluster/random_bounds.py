"""Random statements whose nodes are bounded, marked, rescanned, read backwards and given parameters, with calls below.

As random_plans.py: every statement has a whole order, and may be run any number of times.
"""
from random_plans import Writer


class BoundsWriter(Writer):
    def count(self, a):
        """A number of rows that depends on a row: none, all (NULL) or some."""
        return self.one(
            f"CASE {a}.n WHEN 0 THEN 1 WHEN 1 THEN NULL ELSE {a}.n END",
            f"nullif({a}.id % 4, 2)",
            f"CASE WHEN {a}.id % 2 = 0 THEN 9223372036854775807 ELSE 1 END",
            f"(SELECT count(*) FROM u WHERE u.id <= {a}.n)",
            "NULL",
            str(self.random.randint(0, 5)),
        )

    def bounded(self, a):
        """A subquery beside a row of a, with columns id, body, n: sorted below the calls and cut."""
        source = self.one("(SELECT * FROM u WHERE id < 7)", "(SELECT id, x FROM u WHERE id < 4 UNION ALL SELECT id + 50, body FROM p WHERE id > 16)", "(SELECT DISTINCT ON (x) id, x FROM u WHERE id > 6 ORDER BY x)", "(SELECT id, g(x) x FROM u WHERE id < 4 OFFSET 0)")
        order = self.one("r.x DESC, r.id", "r.id % 3, r.id", "r.id DESC", "length(r.x), r.id")
        where = self.one("", "", f"WHERE r.id <> {a}.n", f"WHERE f(r.x || {a}.n)", f"WHERE r.id >= {a}.n")
        offset = self.one("", "", f" OFFSET {self.random.randint(0, 2)}", f" OFFSET nullif({a}.n, 3)")
        inner = f"SELECT r.id, {self.one('g(r.x)', f'g(r.x || {a}.n)', 'g(g(r.x))')} AS body, r.id % 3 AS n FROM {source} r {where} ORDER BY {order} LIMIT {self.count(a)}{offset}"
        return self.one(
            inner,
            inner,
            f"SELECT * FROM ({inner}) y WHERE y.body <> '1'",
            f"SELECT DISTINCT ON (n) id, body, n FROM (SELECT id, g(x) AS body, id % 3 AS n FROM {source} r ORDER BY n, id OFFSET 0) y ORDER BY n, id LIMIT {self.count(a)}",
            f"SELECT id, body, n FROM (SELECT id, g(x) AS body, id % 3 AS n FROM {source} r ORDER BY id DESC OFFSET 0) y WHERE y.n <> 1 LIMIT {self.count(a)}",
        )

    def function_beside(self, a):
        """(source, column) of a call in FROM that takes its arguments from the row beside it."""
        call = self.one(f"qwen_generate({self.text(a, 1)}, temperature => 0, max_tokens => 1)", f"g({self.text(a, 0)})", f"qwen_classify({self.text(a, 0)}, ARRAY['yes', 'no'])", f"qwen_similarity({self.text(a, 0)}, 'b1')", f"md5(qwen_embed({self.text(a, 0)})::text)")
        return self.one(
            (f"{call} v", "v::text"),
            (f"{call} AS v", "v::text"),
            (f"unnest(ARRAY[{call}::text, {self.text(a, 0)}]) WITH ORDINALITY v(x, k)", "v.k || coalesce(v.x, 'null')"),
            (f"(SELECT {call} AS x, {self.text(a, 1)} AS y) v", "v::text"),
            (f"(SELECT {call} AS x, {self.text(a, 1)} AS y WHERE {self.condition(a, 1)}) v", "v::text"),
            (f"ROWS FROM (qwen_generate({self.text(a, 0)}, temperature => 0, max_tokens => 1), upper({self.text(a, 0)})) v(x, y)", "v::text"),
            (f"qwen_chat_full(coalesce({self.text(a, 0)}, 'n'), temperature => 0, max_tokens => 1) v", "v.content || v.prompt_tokens"),
        )

    def select(self):
        a = f"{self.relation(self.random.randint(0, 1))} a"
        kind = self.one("limit", "limit", "function", "function", "merge", "merge", "subselect")
        if kind == "limit":
            join = self.one("CROSS JOIN LATERAL ({}) b", "LEFT JOIN LATERAL ({}) b ON true", "LEFT JOIN LATERAL ({}) b ON b.n <> a.n")
            source, columns, order = f"{a} " + join.format(self.bounded("a")), "a.id, b.id, b.body", "a.id, b.id, b.body"
        elif kind == "function":
            function, column = self.function_beside("a")
            join = self.one(f"{a} CROSS JOIN LATERAL {function}", f"{a} LEFT JOIN LATERAL {function} ON {self.one('true', self.condition('a', 1))}", f"{a} JOIN u c ON c.id = a.n + 1 CROSS JOIN LATERAL {function}")
            source, columns, order = join, f"a.id, {column}", f"a.id, ({column}) COLLATE \"C\""
        elif kind == "merge":
            key = self.one("id", "n")
            inner = self.one(f"(SELECT id, g(body) AS body, n FROM {self.relation(0)} r WHERE (SELECT true) ORDER BY {key} OFFSET 0)", f"(SELECT id, {self.text('r', 1)} AS body, n FROM {self.relation(0)} r WHERE (SELECT count(*) > 0 FROM u))", self.relation(1))
            join = self.one("JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN")
            source, columns, order = f"{a} {join} {inner} b ON a.{key} = b.{key}", f"a.id, a.body, b.id, {self.text('b', 1)}", "a.id, b.id, a.body, b.body"
        else:
            source, columns, order = a, f"a.id, ARRAY(SELECT body FROM ({self.bounded('a')}) y ORDER BY y.id, body), (SELECT body FROM ({self.bounded('a')}) y ORDER BY y.id, body LIMIT 1)", "a.id"
        where = f" WHERE {self.condition('a', 1)}" if self.chance(0.2) else " WHERE a.id < 13" if kind in ("limit", "subselect") else ""
        limit = self.one("", "", "", f" LIMIT {self.random.randint(1, 9)}", " LIMIT 9223372036854775807 OFFSET 2")
        return f"SELECT {columns} FROM {source}{where} ORDER BY {order}{limit}"

    def moves(self, cursor):
        """Fetches in all directions."""
        steps = ["NEXT", "2", "PRIOR", "BACKWARD 2", "FIRST", "LAST", "ABSOLUTE 3", "ABSOLUTE -2", "RELATIVE -1", "RELATIVE 2", "ALL", "BACKWARD ALL", "0"]
        return "; ".join(f"{self.one('FETCH', 'FETCH', 'FETCH', 'MOVE')} {self.one(*steps)} {cursor}" for _ in range(8))

    def statement(self):
        off = [name for name in ("hashjoin", "nestloop", "mergejoin", "material", "sort", "seqscan", "hashagg") if self.chance(0.3)]
        settings = "".join(f"SET enable_{name} = off; " for name in off) + self.one("", "", "SET plan_cache_mode = force_generic_plan; ", "SET work_mem = '64kB'; ")
        select = self.select()
        table = self.one("t a", "u JOIN t a USING (id)", "t a LEFT JOIN u USING (id)")
        simple = f"SELECT a.id, {self.text('a', 2)} AS v FROM {table} {self.one('', 'WHERE ' + self.condition('a', 1))} ORDER BY a.id"
        return settings, self.one(
            select,
            select,
            select,
            f"PREPARE q(int) AS SELECT * FROM ({select}) q LIMIT $1; EXECUTE q(1); EXECUTE q(NULL); EXECUTE q(4)",
            f"BEGIN; DECLARE c {self.one('SCROLL', '')} CURSOR FOR {self.one(select, simple)}; {self.moves('c')}; ROLLBACK",
            f"BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR {self.one(select, simple)}; {self.moves('c')}; COMMIT; {self.moves('c')}; CLOSE c",
            f"DO $$ DECLARE c {self.one('SCROLL', '')} CURSOR FOR {simple}; r record; BEGIN OPEN c; FOR i IN 1 .. 4 LOOP FETCH c INTO r; END LOOP; RAISE NOTICE '%', r; FETCH PRIOR FROM c INTO r; RAISE NOTICE '%', r; MOVE BACKWARD 1 FROM c; FETCH c INTO r; RAISE NOTICE '%', r; FETCH LAST FROM c INTO r; RAISE NOTICE '%', r; END $$",
            f"WITH RECURSIVE w(id, body, n, k) AS (SELECT id, g(body), n, 0 FROM t WHERE id < 4 UNION ALL SELECT w.id, b.body, w.n, k + 1 FROM w CROSS JOIN LATERAL ({self.bounded('w')}) b WHERE k < 1) SELECT id, body, k FROM w ORDER BY 1, 2, 3",
            f"BEGIN; UPDATE t SET s = z.v FROM (SELECT a.id AS key, b.body AS v FROM t a CROSS JOIN LATERAL ({self.bounded('a')}) b WHERE a.id < 6) z WHERE z.key = t.id AND z.v IS NOT NULL AND NOT EXISTS (SELECT 1 FROM t o WHERE o.id < 0); SELECT count(s) > 0 FROM t WHERE id < 6; ROLLBACK",
        )
