"""Random statements over the tables of plan_cases.py: target lists, conditions, joins, groups, subqueries, limits.

Every statement has a whole order, so that its rows can be compared; rows beside a LIMIT are ordered by keys that are unique.
"""
import random


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, *choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    # ---- expressions over the row of an alias of t ----
    def text(self, a, depth):
        simple = [f"{a}.body", f"{a}.id::text", f"'c' || {a}.n", "'k'", f"{a}.body || {a}.id", "NULL::text"]
        if depth <= 0:
            return self.one(*simple)
        deeper = [
            lambda: f"g({self.text(a, depth - 1)})",
            lambda: f"g({self.text(a, depth - 1)})",
            lambda: f"coalesce({self.text(a, depth - 1)}, {self.text(a, depth - 1)})",
            lambda: f"CASE WHEN {self.condition(a, depth - 1)} THEN {self.text(a, depth - 1)} ELSE {self.text(a, depth - 1)} END",
            lambda: f"CASE WHEN {a}.n <> 0 THEN g((60 / {a}.n)::text) WHEN {self.condition(a, depth - 1)} THEN 'w' END",
            lambda: f"CASE {self.text(a, depth - 1)} WHEN '1' THEN 'one' ELSE {self.text(a, 0)} END",
            lambda: f"nullif({self.text(a, depth - 1)}, {self.text(a, 0)})",
            lambda: f"greatest({self.text(a, depth - 1)}, {self.text(a, depth - 1)})",
            lambda: f"({self.text(a, depth - 1)} || {self.text(a, depth - 1)})",
            lambda: f"(ARRAY[{self.text(a, depth - 1)}, 'x'])[1]",
            lambda: f"upper({self.text(a, depth - 1)})",
            lambda: f"(SELECT max(x) FROM u WHERE u.id <= {a}.n)",
            lambda: f"(SELECT {self.text(a, depth - 1)})",
            lambda: f"round(qwen_similarity({self.text(a, 0)}, 'b1')::numeric, 3)::text",
            lambda: f"qwen_classify({self.text(a, 0)}, ARRAY['yes', 'no'])",
        ]
        return self.one(*deeper)()

    def condition(self, a, depth):
        simple = [f"{a}.n > {self.random.randint(0, 4)}", f"{a}.id % 3 = 0", f"{a}.body IS NOT NULL", f"{a}.id < 20"]
        if depth <= 0:
            return self.one(*simple)
        deeper = [
            lambda: f"f({self.text(a, depth - 1)})",
            lambda: f"f({self.text(a, depth - 1)})",
            lambda: f"({self.condition(a, depth - 1)} AND {self.condition(a, depth - 1)})",
            lambda: f"({self.condition(a, depth - 1)} OR {self.condition(a, depth - 1)})",
            lambda: f"NOT {self.condition(a, depth - 1)}",
            lambda: f"{self.text(a, depth - 1)} < {self.text(a, 0)}",
            lambda: f"{self.text(a, depth - 1)} IN ('1', '2', '.')",
            lambda: f"({self.condition(a, depth - 1)}) IS NOT TRUE",
            lambda: f"{self.text(a, depth - 1)} IS NULL",
            lambda: f"EXISTS (SELECT 1 FROM u WHERE u.id = {a}.id AND {self.one('true', 'f(u.x)', f'f(u.x || {a}.id)')})",
            lambda: f"{a}.id IN (SELECT id FROM u WHERE f(x))",
        ]
        return self.one(*deeper)()

    # ---- relations that have id, body, n ----
    def relation(self, depth):
        if depth <= 0:
            return self.one("t", "(SELECT id, body, id % 4 AS n FROM p)", "(SELECT id, x AS body, id % 3 AS n FROM u)", "vb")
        inner = self.relation(depth - 1)
        where = f"WHERE {self.condition('r', 1)}" if self.chance(0.5) else ""
        fence = self.one("", "", "OFFSET 0", f"ORDER BY r.id LIMIT {self.random.randint(1, 9)}")
        value = self.text("r", 1)
        return self.one(
            f"(SELECT r.id, {value} AS body, r.n FROM {inner} r {where} {fence})",
            f"(SELECT r.id, r.body, r.n FROM {inner} r WHERE {self.condition('r', 2)} {fence})",
            f"(SELECT min(r.id) AS id, max({value}) AS body, r.n FROM {inner} r {where} GROUP BY r.n)",
            f"(SELECT r.id, lag({value}) OVER (ORDER BY r.id) AS body, r.n FROM {inner} r {where})",
            f"(SELECT r.id, r.body, r.n FROM {inner} r WHERE r.id < 9 UNION ALL SELECT r.id + 100, {value}, r.n FROM {inner} r WHERE r.id < 7)",
            f"(SELECT DISTINCT ON (r.id) r.id, {value} AS body, r.n FROM {inner} r {where} ORDER BY r.id)",
            f"(SELECT row_number() OVER (ORDER BY r.n)::int AS id, string_agg({value}, '' ORDER BY r.id) AS body, count(*)::int AS n FROM {inner} r {where} GROUP BY GROUPING SETS ((r.n), ()))",
            f"(SELECT r.id, first_value({value}) OVER (PARTITION BY r.n ORDER BY r.id ROWS 1 PRECEDING) AS body, r.n FROM {inner} r {where})",
            f"(SELECT r.id, max({value}) FILTER (WHERE {self.condition('r', 1)}) OVER (ORDER BY r.id) AS body, r.n FROM {inner} r)",
            f"(WITH c AS MATERIALIZED (SELECT * FROM {inner} r {where}) SELECT r.id, {value} AS body, r.n FROM c r)",
            f"(SELECT r.id * 3 + k AS id, k || {value} AS body, r.n FROM {inner} r, generate_series(0, r.n % 3) k {where})",
            f"(SELECT r.id, unnest(ARRAY[{value}]) AS body, r.n FROM {inner} r {where})",
            f"(SELECT r.id, r.body, r.n FROM {inner} r EXCEPT SELECT r.id, {value}, r.n FROM {inner} r WHERE r.id % 2 = 0)",
        )

    def select(self):
        columns = ", ".join(["a.id"] + [self.text("a", self.random.randint(1, 2)) for _ in range(self.random.randint(1, 2))])
        source = f"{self.relation(self.random.randint(0, 2))} a"
        order = "a.id"
        if self.chance(0.35):
            kind = self.one("JOIN", "LEFT JOIN", "JOIN LATERAL")
            if kind == "JOIN LATERAL":
                source += " JOIN LATERAL (SELECT id, x || a.id AS body, a.n AS n FROM u WHERE u.id <= a.n OFFSET 0) b ON true"
            else:
                source += f" {kind} {self.relation(self.random.randint(0, 1))} b ON a.id = b.id"
                if self.chance(0.4):
                    source += f" AND {self.condition('b', 1)}"
            columns += f", b.id, {self.text('b', 1)}"
            order = "a.id, b.id"
        where = f" WHERE {self.condition('a', self.random.randint(1, 2))}" if self.chance(0.6) else ""
        limit = f" LIMIT {self.random.randint(0, 7)}" if self.chance(0.3) else ""
        return f"SELECT {columns} FROM {source}{where} ORDER BY {order}{limit}"

    def statement(self):
        """(settings, statement): the statement may be run any number of times."""
        settings = self.one("", "", "SET enable_hashjoin = off;", "SET enable_hashjoin = off; SET enable_mergejoin = off;", "SET enable_hashjoin = off; SET enable_nestloop = off;", "SET enable_hashagg = off;", "SET enable_sort = off;", "SET plan_cache_mode = force_generic_plan;", "SET work_mem = '64kB';")
        select = self.select()
        return settings, self.one(
            select,
            select,
            select,
            f"SELECT count(*), md5(string_agg(q::text, ',')) FROM ({select}) q",
            f"BEGIN; CREATE TEMP TABLE made AS SELECT q::text FROM ({select}) q; SELECT * FROM made ORDER BY 1; ROLLBACK",
            f"BEGIN; DECLARE c CURSOR FOR {select}; FETCH 2 c; FETCH 3 c; FETCH ALL c; FETCH BACKWARD 2 c; ROLLBACK",
            f"BEGIN; UPDATE t AS a SET s = {self.text('a', 2)} WHERE {self.condition('a', 2)}; SELECT id, s FROM t ORDER BY id; ROLLBACK",
            f"BEGIN; INSERT INTO d SELECT id, {self.text('a', 2)} FROM t a WHERE {self.condition('a', 1)} ON CONFLICT (id) DO UPDATE SET v = excluded.v || g(d.v); SELECT * FROM d ORDER BY id; ROLLBACK",
            f"DO $$ DECLARE r record; BEGIN FOR r IN {select} LOOP RAISE NOTICE '%', r; EXIT WHEN r.id > 12; END LOOP; END $$",
            f"PREPARE q AS {select}; EXECUTE q; EXECUTE q",
        )
