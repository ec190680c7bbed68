"""Filled or said: random tables with queueing triggers and jobs, and what others do to them meanwhile.

A world is one seed: some tables with keys of random types, owners, policies and triggers of others; statements that write rows, rename,
drop, make anew, disable and change settings, while workers are at it. In the end nothing waits, and each row that wanted an answer has
one, or stands in qwen_dead_letters with a reason, or its job says in qwen_jobs why it did not get there.

As a program, for the Makefile: random_tables.py SEED WORLDS, on a server of its own.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_17_keys import PREPARE, TYPES  # noqa: E402

OPTIONS = "'max_tokens=1', 'temperature=0', 'max_attempts=2'"
OWNER = "world_owner"
PLAIN = "SET timezone = 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; SET search_path = pg_catalog;"

FUNCTIONS = """
    CREATE SCHEMA world AUTHORIZATION world_owner;
    CREATE TABLE world.audit (t text); GRANT ALL ON world.audit TO world_owner;
    CREATE FUNCTION world.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := clock_timestamp(); RETURN NEW; END $$;
    CREATE FUNCTION world.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (TG_RELID::text); RETURN NULL; END $$;
    CREATE FUNCTION world.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.rid % 3 = 0 AND NEW.e IS NOT NULL AND OLD.e IS NULL THEN RAISE 'refused'; END IF; RETURN NULL; END $$;
    CREATE FUNCTION world.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.rid % 3 = 1 AND NEW.e IS NOT NULL THEN NULL ELSE NEW END; END $$;
"""
OTHERS = {
    "touch": "CREATE TRIGGER touch BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION world.touch()",
    "note": "CREATE TRIGGER note AFTER UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION world.note()",
    "deferred note": "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON {0} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION world.note()",
    "refuse": "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON {0} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION world.refuse()",
    "keep": "CREATE TRIGGER keep BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION world.keep()",
    "redundant": "CREATE TRIGGER redundant BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "policy by a setting": "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON {0} USING (rid % 2 = 0 OR current_setting('app.tenant', true) = 't')",
    "policy of updates": "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY r ON {0} FOR SELECT USING (true); CREATE POLICY u ON {0} FOR UPDATE USING (rid % 2 = 0)",
    "no right to read": "REVOKE SELECT ON {0} FROM world_owner",
    "a short target": "ALTER TABLE {0} ADD CHECK (length(e) < 3)",
}


class Table:
    """A table by its oid, with what is expected of its rows: whether the last write of each was to be answered."""

    def __init__(self, world, number):
        self.world, pick = world, world.random
        self.type = pick.choice(list(TYPES))
        self.composite = pick.random() < 0.4
        self.template = pick.choice(["body", "Say {body}", "{body} {touched}", "{made}"])
        self.embeds = pick.random() < 0.2
        self.key = "k, n" if self.composite else "k"
        self.trigger = None
        self.wanted, self.next = {}, 0
        world.run(f"CREATE TABLE world.t{number} (k {self.type}, n int, rid int UNIQUE, body text, touched timestamptz, e {'real[]' if self.embeds else 'text'}, f text, "
                  f"made text GENERATED ALWAYS AS ('made ' || body) STORED, PRIMARY KEY ({self.key}))")
        self.oid = world.value(f"SELECT 'world.t{number}'::regclass::oid")
        if pick.random() < 0.7:
            world.run(f"ALTER TABLE {self.name()} OWNER TO {OWNER}")
        for other in pick.sample(list(OTHERS), pick.randint(0, 3)):
            if "length" not in OTHERS[other] or not self.embeds:
                world.run(OTHERS[other].format(self.name()))
        self.add_trigger()

    def name(self):
        return self.world.value(f"SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE oid = {self.oid}")

    def keys(self):
        return self.world.value(f"""SELECT string_agg(format('q.%I', attname), ', ' ORDER BY array_position(indkey::int2[], attnum)) FROM pg_index, pg_attribute
            WHERE indrelid = {self.oid} AND indisprimary AND attrelid = indrelid AND attnum = ANY (indkey)""")

    def add_trigger(self, name="q"):
        function = "qwen_enqueue_embed_trigger('e', '{}', 'dimensions=2')" if self.embeds else "qwen_enqueue_trigger('e', '{}', " + OPTIONS + ")"
        self.world.run(f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE ON {self.name()} FOR EACH ROW EXECUTE FUNCTION public." + function.format(self.template))
        self.trigger, self.is_enabled = name, True

    # ---- what happens to it ----
    def insert(self):
        values, pick = TYPES[self.type], self.world.random
        key = self.world.value(f"SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = {self.oid} AND attnum = 1")
        n = self.world.value(f"SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = {self.oid} AND attnum = 2")
        room = len(values) * (3 if self.composite else 1)
        for _ in range(pick.randint(1, 4)):
            if self.next < room:
                rid = self.next
                value = None if pick.random() < 0.9 else "given"
                if self.embeds and value:
                    value = [1.0]
                if self.world.run(f"INSERT INTO {self.name()} ({key}, {n}, rid, body, e) VALUES (%s, %s, %s, %s, %s)", (values[rid % len(values)], rid // len(values), rid, f"word {rid}", value)):
                    self.next += 1
                    self.wanted[rid] = value is None and self.is_active()

    def update(self):
        for rid in list(self.wanted):
            if self.world.random.random() < 0.3:
                change = self.world.random.choice(["body = body || ' more', e = NULL", "e = NULL", "touched = now()"])
                # a write that suppress_redundant_updates_trigger leaves out asks for nothing
                if self.world.run(f"UPDATE {self.name()} SET {change} WHERE rid = {rid}") and self.world.cursor.rowcount == 1 and "NULL" in change:
                    self.wanted[rid] = self.is_active()

    def delete(self):
        for rid in list(self.wanted):
            if self.world.random.random() < 0.1 and self.world.run(f"DELETE FROM {self.name()} WHERE rid = {rid}"):
                del self.wanted[rid]

    def is_active(self):
        return self.trigger is not None and self.is_enabled

    def rename_trigger(self):
        if self.trigger:
            name = f"{self.trigger}x"
            self.world.run(f"ALTER TRIGGER {self.trigger} ON {self.name()} RENAME TO {name}")
            self.trigger = name

    def rename_table(self):
        self.world.run(f"ALTER TABLE {self.name()} RENAME TO r{self.oid}_{self.world.random.randint(0, 10 ** 6)}")

    def move(self):
        self.world.run(f"CREATE SCHEMA IF NOT EXISTS world_too; GRANT ALL ON SCHEMA world_too TO {OWNER}; ALTER TABLE {self.name()} SET SCHEMA {self.world.random.choice(['world', 'world_too'])}")

    def rename_key(self):
        column = self.keys().split(", ")[0][2:]
        if column != "rid":
            self.world.run(f"ALTER TABLE {self.name()} RENAME {column} TO {column}x")

    def rename_source(self):
        if "body" not in self.template or self.world.random.random() < 0.5:
            return
        self.world.run(f"ALTER TABLE {self.name()} RENAME body TO text")
        self.world.run(f"ALTER TABLE {self.name()} RENAME text TO body")

    def drop_trigger(self):
        if self.trigger:
            self.world.run(f"DROP TRIGGER {self.trigger} ON {self.name()}")
            self.trigger = None

    def make_anew(self):
        if not self.trigger:
            self.add_trigger("q")

    def disable(self):
        if self.trigger:
            self.is_enabled = not self.is_enabled
            self.world.run(f"ALTER TABLE {self.name()} {'ENABLE' if self.is_enabled else 'DISABLE'} TRIGGER {self.trigger}")

    def exchange_key(self):
        self.world.run(f"ALTER TABLE {self.name()} DROP CONSTRAINT {self.constraint()}, ADD PRIMARY KEY (rid)")

    def constraint(self):
        return self.world.value(f"SELECT quote_ident(conname) FROM pg_constraint WHERE conrelid = {self.oid} AND contype = 'p'")

    def change_owner(self):
        self.world.run(f"ALTER TABLE {self.name()} OWNER TO {self.world.random.choice([OWNER, 'CURRENT_USER'])}")

    def submit(self):
        self.world.submit(self)


def has_end(state, done, failed):
    """Whether this is the state of a job that looked at all of its rows: which one depends on how many failed."""
    return state == ("done" if failed == 0 else "done with failures" if done else "failed")


class World:
    def __init__(self, server, seed):
        self.server, self.seed, self.random = server, seed, random.Random(seed)
        self.connection = server.connect()
        self.cursor = self.connection.cursor()
        self.log, self.jobs, self.in_transaction = [], [], False
        self.run("DROP SCHEMA IF EXISTS world CASCADE; DROP SCHEMA IF EXISTS world_too CASCADE")
        self.run(PREPARE)
        self.run("DROP ROLE IF EXISTS world_owner")
        self.must("CREATE ROLE world_owner LOGIN; SELECT public.qwen_grant('world_owner', 'use'); GRANT USAGE ON SCHEMA keyed, typed TO world_owner; SET search_path = world, keyed, typed, public")
        self.must(FUNCTIONS)
        self.must(f"ALTER ROLE {OWNER} SET search_path = world, keyed, typed, public")
        self.tables = [Table(self, number) for number in range(4)]

    def run(self, sql, arguments=None):
        """A statement that may be refused."""
        self.log.append((sql, arguments))
        if self.in_transaction:
            self.cursor.execute("SAVEPOINT s")
        try:
            self.cursor.execute(sql, arguments)
            return True
        except Exception as error:  # noqa: BLE001: whatever others do may fail
            self.log.append(str(error).split("\n")[0])
            if self.in_transaction:
                self.cursor.execute("ROLLBACK TO s")
            return False

    def transaction(self, begin):
        """From here on all becomes visible at once, so that workers meet rows whose trigger, key or table is another one by then."""
        if begin != self.in_transaction:
            self.must("BEGIN" if begin else "COMMIT")
        self.in_transaction = begin

    def must(self, sql):
        self.log.append(sql)
        self.cursor.execute(sql)

    def value(self, sql):
        self.cursor.execute(sql)
        return self.cursor.fetchone()[0]

    def submit(self, table):
        keys = ""
        self.run(f"SET ROLE {OWNER}" if self.random.random() < 0.5 else "RESET ROLE")
        if self.random.random() < 0.5:
            self.run("SET app.tenant = 't'")
        # whoever submits asks for the rows that policies let them see at that moment
        n_seen = self.cursor.fetchone()[0] if self.run(f"SELECT count(*) FROM {table.name()}") else 0
        if self.run(f"SELECT public.qwen_submit('{table.name()}', 'Say {{rid}}', '{table.name()}', 'f', max_tokens => 1, temperature => 0, max_attempts => 2{keys})"):
            self.jobs.append((self.cursor.fetchone()[0], table, n_seen))
        self.run("RESET ROLE; RESET app.tenant")

    def settings(self):
        name, value = self.random.choice([("app.tenant", "t"), ("search_path", "world"), ("search_path", "keyed, pg_catalog"), ("row_security", "off"), ("timezone", "Asia/Tokyo"),
                                          ("datestyle", "'SQL, DMY'"), ("default_transaction_isolation", "'repeatable read'"), ("bytea_output", "escape"), ("array_nulls", "off")])
        self.run(f"ALTER ROLE {OWNER} SET {name} = {value}")

    def live(self, steps=25):
        deeds = [("insert", 8), ("update", 4), ("delete", 1), ("rename_trigger", 1), ("rename_table", 1), ("move", 1), ("rename_key", 1), ("rename_source", 1), ("drop_trigger", 1),
                 ("make_anew", 2), ("disable", 1), ("exchange_key", 0.5), ("change_owner", 0.5), ("submit", 1.5)]
        for table in self.tables:
            table.insert()
        for _ in range(steps):
            self.transaction(self.random.random() < 0.7)
            if self.random.random() < 0.06:
                self.settings()
                continue
            deed = self.random.choices([name for name, _ in deeds], [weight for _, weight in deeds])[0]
            getattr(self.random.choice(self.tables), deed)()
        self.transaction(False)

    # ---- the end ----
    def settle(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            waiting = self.value("SELECT (SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog) + (SELECT count(*) FROM qwen_jobs WHERE ended IS NULL)")
            if waiting == 0:
                return []
            time.sleep(0.05)
        self.cursor.execute("SELECT relation::text, trigger, waiting, last_error, worker FROM qwen_trigger_backlog WHERE waiting > 0")
        backlog = self.cursor.fetchall()
        self.cursor.execute("SELECT id, state, total, done, failed, error FROM qwen_jobs WHERE ended IS NULL")
        return [("still waits", row) for row in backlog + self.cursor.fetchall()]

    def check(self):
        """What is neither filled in nor said."""
        wrong = self.settle()
        self.run("SET search_path = public, typed, keyed")
        for table in self.tables:
            self.cursor.execute("SELECT key FROM qwen_dead_letters WHERE relation = %s AND job IS NULL AND error IS NOT NULL", (table.oid,))
            said = {tuple(row[0]) for row in self.cursor.fetchall()}
            name, keys = table.name(), table.keys()
            first = self.value(f"SELECT string_agg(format('q.%I', attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = {table.oid} AND attnum BETWEEN 1 AND {2 if table.composite else 1}")
            self.cursor.execute(PLAIN)
            for columns in {keys, first}:
                texts = ", ".join(f"(CASE WHEN pg_typeof({column})::text LIKE 'reg%%' THEN {column}::text::{'regclass' if 'class' in table.type else 'regtype'}::oid::text ELSE format('%%s', {column}) END)"
                                  if table.type.startswith("reg") and "rid" not in column and not column.startswith("q.n") else f"format('%%s', {column})" for column in columns.split(", "))
                self.cursor.execute(f"SELECT rid, ARRAY[{texts}], e IS NOT NULL FROM {name} q".replace("%%", "%"))
                rows = self.cursor.fetchall()
                for rid, key, is_filled in rows:
                    if table.wanted.get(rid) and (is_filled or tuple(key) in said):
                        table.wanted[rid] = False
            self.cursor.execute("SET search_path = public, typed, keyed; RESET timezone")
            wrong += [("neither filled nor said", name, table.type, table.template, rid) for rid, wanted in table.wanted.items() if wanted]
        for job, table, n_seen in self.jobs:
            self.cursor.execute("SELECT state, total, done, failed, error, (SELECT count(*) FROM qwen_dead_letters WHERE job = %s AND error IS NOT NULL) FROM qwen_jobs WHERE id = %s", (job, job))
            state, total, done, failed, error, letters = self.cursor.fetchone()
            is_whole = total == done + failed and (total >= n_seen or error)
            if not (has_end(state, done, failed) and is_whole and failed == letters or state == "failed" and error):
                wrong.append(("job", job, table.name(), state, total, done, failed, error, letters, n_seen))
        return wrong

    def close(self):
        self.run("RESET ROLE; DROP SCHEMA world CASCADE; DROP SCHEMA IF EXISTS world_too CASCADE; DROP SCHEMA keyed CASCADE")
        self.run(f"SELECT public.qwen_revoke('{OWNER}', 'use')")
        self.run(f"DROP OWNED BY {OWNER} CASCADE; DROP ROLE {OWNER}")
        self.connection.close()


def one_world(server, seed):
    world = World(server, seed)
    world.live()
    wrong = world.check()
    if wrong:
        print(f"seed {seed}:", *wrong, *world.log, sep="\n  ")
    world.close()
    return wrong


def main():
    from cluster import Cluster

    seed, worlds = int(sys.argv[1]), int(sys.argv[2])
    server = Cluster()
    n_wrong = 0
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        for i in range(worlds):
            n_wrong += bool(one_world(server, seed + i))
            if (i + 1) % 10 == 0:
                print(f"{i + 1} worlds, {n_wrong} with rows that are neither filled in nor said", flush=True)
    finally:
        server.remove()
    print(f"{worlds} worlds from seed {seed}: {n_wrong} with rows that are neither filled in nor said")
    sys.exit(n_wrong != 0)


if __name__ == "__main__":
    main()
