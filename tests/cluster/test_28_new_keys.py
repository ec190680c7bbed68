"""Rows that go by another key: what is queued of them and their dead letters follow, whatever the trigger is to hear of; what cannot follow is said."""
import threading

import psycopg2
import pytest
from cluster import wait_until

FAILING = "'{}', 'Q: {{body}}', 'max_tokens=2', 'temperature=0', 'max_attempts=1'"


def make(server, table, key="id int PRIMARY KEY", event="INSERT OR UPDATE", when="", target="s", more=""):
    """A table whose answers a constraint refuses, so that its rows become dead letters."""
    server.query(f"DROP TABLE IF EXISTS {table} CASCADE; CREATE TABLE {table} ({key}, body text, {target} text CHECK (length({target}) < 0)){more}")
    server.query(f"CREATE TRIGGER q AFTER {event} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format(target)})")


def letters(server, table):
    return sorted(server.query("SELECT key FROM qwen_dead_letters WHERE relation = %s::regclass", (table,)))


def wait_letters(server, table, keys):
    wait_until(lambda: letters(server, table) == sorted(([str(key)],) for key in keys), 30, f"dead letters {keys}")


def wait_empty(server):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 30, "an empty queue")


def allow(server, table, column="s"):
    server.query(f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_check")


def waiting(server, sql):
    """Run statements in one transaction, so that a worker comes to what they have queued when they are done."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(f"BEGIN; {sql}; COMMIT")
    connection.close()


# changes of rows 1 to 3, which are dead letters; which are left. Statements are parted by ";"
CHANGES = {
    "all of them": ("UPDATE moved SET id = id + 100; DELETE FROM moved WHERE id = 102", [101, 103]),
    "one alone": ("UPDATE moved SET id = 11 WHERE id = 1", [2, 3, 11]),
    "keys that are taken over": ("UPDATE moved SET id = 4 WHERE id = 1; UPDATE moved SET id = 1 WHERE id = 2", [1, 3, 4]),
    "and with a source": ("UPDATE moved SET id = id + 10, body = 'x'", [11, 12, 13]),
    "a freed key": ("UPDATE moved SET id = 4 WHERE id = 1; INSERT INTO moved VALUES (1, NULL)", [2, 3, 4]),
    "the key of a row that is gone": ("DELETE FROM moved WHERE id = 2; UPDATE moved SET id = 2 WHERE id = 1", [2, 3]),
    "in one statement": ("UPDATE moved SET id = id % 3 + 1", [1, 2, 3]),
    "twice": ("UPDATE moved SET id = -id; UPDATE moved SET id = id - 10", [-13, -12, -11]),
}
EVENTS = {
    "all": ("INSERT OR UPDATE", ""),
    "sources alone": ("INSERT OR UPDATE OF body", ""),
    "a condition": ("INSERT OR UPDATE", "WHEN (NEW.id < 10 OR NEW.body = 'x')"),
    "insertions": ("INSERT", ""),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_dead_letters_follow_the_key(server, change, event):
    sql, left = CHANGES[change]
    # keys that may be twice within a statement
    deferrable = " DEFERRABLE" if change == "in one statement" else ""
    make(server, "moved", f"id int PRIMARY KEY{deferrable}", *EVENTS[event])
    server.query("INSERT INTO moved SELECT i, 'word ' || i FROM generate_series(1, 3) i")
    wait_letters(server, "moved", [1, 2, 3])
    owners = dict(server.query("SELECT body, id FROM moved"))
    for statement in sql.split("; "):
        server.query(statement)
    wait_empty(server)
    server.query("DELETE FROM moved WHERE id = 0")  # the sweep has looked at them
    wait_letters(server, "moved", left)
    assert len(owners) == 3
    allow(server, "moved")
    assert server.value("SELECT qwen_retry_table('moved')") == len(left)
    wait_empty(server)
    assert server.query("SELECT id FROM moved WHERE s IS NOT NULL ORDER BY id") == [(key,) for key in left]
    assert letters(server, "moved") == []


def test_keys_that_one_statement_exchanges_are_told_apart(server):
    """Of several rows that go to each other's keys, waiting and failed, none is lost, whatever order they come in."""
    make(server, "exchanged", "id int PRIMARY KEY DEFERRABLE")
    server.query("INSERT INTO exchanged SELECT i, 'word' FROM generate_series(1, 4) i")
    wait_letters(server, "exchanged", [1, 2, 3, 4])
    waiting(server, "INSERT INTO exchanged VALUES (5, 'more'), (6, 'more'); UPDATE exchanged SET id = (ARRAY[3, 5, 1, 6, 2, 10])[id]")
    wait_empty(server)
    wait_letters(server, "exchanged", [1, 2, 3, 5, 6, 10])
    server.query("DROP TABLE exchanged")


def test_dead_letters_follow_in_one_transaction_and_for_each_trigger(server):
    make(server, "several", "a int, b text", more="; ALTER TABLE several ADD PRIMARY KEY (b, a), ADD t text CHECK (length(t) < 0)")
    server.query(f"CREATE TRIGGER r AFTER INSERT OR UPDATE OF body ON several FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('t')})")
    server.query("INSERT INTO several VALUES (1, 'x', 'word'), (2, 'y', 'word')")
    found = "SELECT trigger, key FROM qwen_dead_letters WHERE relation = 'several'::regclass ORDER BY trigger, key"
    wait_until(lambda: len(server.query(found)) == 4, 30, "letters")
    waiting(server, "UPDATE several SET a = 3 WHERE a = 1; UPDATE several SET a = 1, b = 'x' WHERE a = 2; UPDATE several SET b = 'z' WHERE a = 3")
    assert server.query(found) == [("q", ["x", "1"]), ("q", ["z", "3"]), ("r", ["x", "1"]), ("r", ["z", "3"])]
    waiting(server, "UPDATE several SET a = 7 WHERE a = 1; ROLLBACK; BEGIN")
    assert server.query(found) == [("q", ["x", "1"]), ("q", ["z", "3"]), ("r", ["x", "1"]), ("r", ["z", "3"])]
    allow(server, "several")
    allow(server, "several", "t")
    assert server.value("SELECT qwen_retry_table('several')") == 4
    wait_empty(server)
    assert server.value("SELECT count(*) FROM several WHERE s IS NULL OR t IS NULL") == 0


def test_dead_letters_follow_in_partitions(server):
    make(server, "parted", "id int PRIMARY KEY", "INSERT OR UPDATE OF body", more=" PARTITION BY RANGE (id)")
    server.query("CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); CREATE TABLE parted_2 (s text, body text, id int NOT NULL, CONSTRAINT parted_s_check CHECK (length(s) < 0)); "
                 "ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM (100) TO (200); INSERT INTO parted VALUES (1, 'a'), (2, 'b'), (101, 'c')")
    wait_letters(server, "parted_1", [1, 2])
    wait_letters(server, "parted_2", [101])
    # PostgreSQL 13 and 14 call a partition's triggers internal
    server.query("UPDATE pg_trigger SET tgisinternal = true WHERE tgrelid IN ('parted_1'::regclass, 'parted_2'::regclass) AND tgname = 'q'")
    server.query("UPDATE parted SET id = id + 10 WHERE id <> 2")
    assert (letters(server, "parted_1"), letters(server, "parted_2")) == ([(["11"],), (["2"],)], [(["111"],)])
    # one that moves to another partition is queued there anew
    server.query("UPDATE parted SET id = 102 WHERE id = 2")
    wait_letters(server, "parted_2", [102, 111])
    server.query("DELETE FROM parted WHERE id = 3")  # letters of rows that are gone are looked for
    wait_letters(server, "parted_1", [11])
    allow(server, "parted")
    assert server.value("SELECT qwen_retry_table('parted_1') + qwen_retry_table('parted_2')") == 3
    wait_empty(server)
    assert server.value("SELECT count(*) FROM parted WHERE s IS NULL") == 0


def test_keys_of_deferred_triggers_are_followed(server):
    make(server, "deferred")
    server.query(f"DROP TRIGGER q ON deferred; CREATE CONSTRAINT TRIGGER q AFTER INSERT OR UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
                 f"EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('s')}); INSERT INTO deferred VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    wait_letters(server, "deferred", [1, 2, 3])
    waiting(server, "UPDATE deferred SET id = 4 WHERE id = 1; UPDATE deferred SET id = 1 WHERE id = 2; UPDATE deferred SET id = 5 WHERE id = 4; UPDATE deferred SET id = 200 WHERE id = 3")
    assert letters(server, "deferred") == [(["1"],), (["200"],), (["5"],)]


def queued(server, table, statements):
    """Run statements in one transaction, which is rolled back; the keys of what they have queued."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(f"BEGIN; {statements}; RESET SESSION AUTHORIZATION; SELECT key FROM qwen_job_row WHERE relation = '{table}'::regclass ORDER BY id")
    keys = [key for (key,) in cursor.fetchall()]
    cursor.execute("ROLLBACK")
    connection.close()
    return [",".join(key) for key in keys]


# of a table with rows 1 and 2 that wait for nothing: (kind of trigger, when it is called, WHEN, statements, what they queue)
DECIDED = {
    "a setting that is set back": ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED", "WHEN (current_setting('app.ask', true) = 'on')",
                                   "SET LOCAL app.ask = 'on'; INSERT INTO decided VALUES (7, 'a'); SET LOCAL app.ask = 'off'; INSERT INTO decided VALUES (8, 'b'); SET CONSTRAINTS ALL IMMEDIATE", ["7"]),
    "a setting of each row": ("TRIGGER", "", "WHEN (current_setting('app.row', true) = NEW.id::text)", "UPDATE decided SET body = 'a'", ["1", "2"]),
    "a replica no more": ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED", "", "SET LOCAL session_replication_role = replica; INSERT INTO decided VALUES (7, 'a'); UPDATE decided SET body = 'a', id = 3 WHERE id = 1; "
                          "SET LOCAL session_replication_role = origin; SET CONSTRAINTS ALL IMMEDIATE", []),
    "a replica now": ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED", "", "INSERT INTO decided VALUES (7, 'a'); UPDATE decided SET body = 'a', id = 3 WHERE id = 1; "
                      "SET LOCAL session_replication_role = replica; SET CONSTRAINTS ALL IMMEDIATE", ["7", "3"]),
    "by its definer": ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED", "WHEN (allowed(NEW.body))", "SET SESSION AUTHORIZATION decider; SELECT put(7); SET CONSTRAINTS ALL IMMEDIATE", ["7"]),
    "by a foreign key": ("TRIGGER", "", "WHEN (allowed(NEW.body))", "UPDATE decided SET body = 'a' WHERE id = 1; SET SESSION AUTHORIZATION decider; UPDATE parents SET id = 3 WHERE id = 2", ["1"]),
}


@pytest.mark.parametrize("case", DECIDED)
def test_what_a_trigger_hears_of_is_decided_once(server, case):
    kind, called, when, statements, keys = DECIDED[case]
    server.query("""DROP TABLE IF EXISTS decided, parents; CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE decided (id int PRIMARY KEY, body text, s text); CREATE ROLE decider LOGIN;
        CREATE FUNCTION allowed(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'; REVOKE EXECUTE ON FUNCTION allowed FROM PUBLIC; GRANT SELECT, UPDATE ON parents TO decider;
        CREATE FUNCTION put(i int) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO decided VALUES (i, ''a'')';
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.row', NEW.id::text, true); RETURN NEW; END $$;
        CREATE TRIGGER b BEFORE UPDATE ON decided FOR EACH ROW EXECUTE FUNCTION tell(); INSERT INTO parents VALUES (1), (2); INSERT INTO decided VALUES (1), (2)""")
    if "foreign" in case:
        server.query("ALTER TABLE decided ADD FOREIGN KEY (id) REFERENCES parents ON UPDATE CASCADE")
    server.query(f"CREATE {kind} q AFTER INSERT OR UPDATE ON decided {called} FOR EACH ROW {when} EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('s')})")
    try:
        assert queued(server, "decided", statements) == keys
    finally:
        server.query("DROP TABLE decided, parents; DROP FUNCTION allowed, put, tell; DROP ROLE decider")


# what a trigger does not hear of, and what is then done to rows 1 and 2, which wait: (event, when, disabled, statements)
UNHEARD = {
    "other columns": ("INSERT OR UPDATE OF body", "", "UPDATE unheard SET id = 11 WHERE id = 1"),
    "a condition": ("INSERT OR UPDATE", "WHEN (NEW.id < 10)", "UPDATE unheard SET id = 11 WHERE id = 1"),
    "a condition on what was": ("UPDATE", "WHEN (OLD.body IS DISTINCT FROM NEW.body)", "UPDATE unheard SET body = body || '!'; UPDATE unheard SET id = 11 WHERE id = 1"),
    "updates": ("INSERT", "", "UPDATE unheard SET id = 11 WHERE id = 1"),
    "anything": ("INSERT OR UPDATE", "", "SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE unheard DISABLE TRIGGER q; UPDATE unheard SET id = 11 WHERE id = 1"),
    "keys of a cascade": ("INSERT OR UPDATE OF body", "", "UPDATE parents SET id = 11 WHERE id = 1"),
    "keys of other triggers": ("INSERT OR UPDATE OF body", "", "UPDATE unheard SET note = 'move' WHERE id = 1"),
    "keys of a conflict": ("INSERT OR UPDATE OF body", "", "INSERT INTO unheard VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET id = 11"),
    "keys of WITH": ("INSERT OR UPDATE OF body", "", "WITH u AS (UPDATE unheard SET id = 11 WHERE id = 1 RETURNING 1) SELECT * FROM u"),
    "keys that are taken over": ("INSERT OR UPDATE OF body", "", "UPDATE unheard SET id = 11 WHERE id = 1; UPDATE unheard SET id = 1 WHERE id = 2; UPDATE unheard SET id = 2 WHERE id = 1"),
}


@pytest.mark.parametrize("case", UNHEARD)
def test_a_waiting_row_follows_a_key_that_its_trigger_does_not_hear_of(server, case):
    event, when, change = UNHEARD[case]
    make(server, "unheard", event=event, when=when)
    allow(server, "unheard")
    server.query("""DROP TABLE IF EXISTS parents; CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1), (2); ALTER TABLE unheard ADD note text;
        CREATE OR REPLACE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.note = 'move' THEN NEW.id := 11; END IF; RETURN NEW; END $$""")
    if "cascade" in case:
        server.query("ALTER TABLE unheard ADD FOREIGN KEY (id) REFERENCES parents ON UPDATE CASCADE")
    if "other triggers" in case:
        server.query("CREATE TRIGGER b BEFORE UPDATE ON unheard FOR EACH ROW EXECUTE FUNCTION moved()")
    waiting(server, f"INSERT INTO unheard VALUES (1, 'one'), (2, 'two'); {change}")
    wait_empty(server)
    assert server.query("SELECT id, s IS NOT NULL FROM unheard ORDER BY id") == [(2, True), (11, True)]
    assert letters(server, "unheard") == []
    server.query("DROP TABLE unheard, parents")


def test_a_trigger_that_hears_of_a_key_does_nothing_else(server):
    """What it was not to hear of is not queued, whether the key changes beside it or not; nor does a disabled trigger's mistake stop anybody."""
    make(server, "quiet", event="INSERT OR UPDATE OF body", when="WHEN (NEW.body <> 'no')")
    allow(server, "quiet")
    server.query("INSERT INTO quiet VALUES (1, 'yes'), (2, 'no'), (3, 'yes')")
    wait_empty(server)
    state = "SELECT id, s IS NOT NULL FROM quiet ORDER BY id"
    assert server.query(state) == [(1, True), (2, False), (3, True)]
    server.query("UPDATE quiet SET s = NULL, id = id + 10 WHERE id = 1; UPDATE quiet SET id = 12, body = 'no' WHERE id = 2; UPDATE quiet SET id = 13, body = 'no', s = NULL WHERE id = 3; "
                 "INSERT INTO quiet VALUES (4, 'no'); INSERT INTO quiet VALUES (5, 'no') ON CONFLICT (id) DO UPDATE SET id = 6; INSERT INTO quiet VALUES (5, 'yes') ON CONFLICT (id) DO UPDATE SET id = 6")
    wait_empty(server)
    assert server.query(state) == [(4, False), (6, False), (11, False), (12, False), (13, False)]
    server.query("UPDATE quiet SET id = 14, body = 'yes' WHERE id = 4; ALTER TABLE quiet DISABLE TRIGGER q; UPDATE quiet SET id = 16, body = 'yes' WHERE id = 6; "
                 "ALTER TABLE quiet RENAME s TO t; UPDATE quiet SET id = id + 100; ALTER TABLE quiet RENAME t TO s; ALTER TABLE quiet ENABLE TRIGGER q")
    wait_empty(server)
    assert server.query(state) == [(111, False), (112, False), (113, False), (114, True), (116, False)]
    server.query("DROP TABLE quiet")


# statements that change a table in several places, of which one may change keys, and the keys that they add; rows 1 and 2 are there. MERGE is of PostgreSQL 15
TWICE = {
    "insert, conflict": ("WITH a AS (INSERT INTO twice VALUES (7, 'no')) INSERT INTO twice VALUES (8, 'no') ON CONFLICT (id) DO UPDATE SET id = 12", ["7", "8"]),
    "conflict, insert": ("WITH a AS (INSERT INTO twice VALUES (8, 'no') ON CONFLICT (id) DO UPDATE SET id = 12) INSERT INTO twice VALUES (7, 'no')", ["7", "8"]),
    "delete, conflict": ("WITH a AS (DELETE FROM twice WHERE id = 2) INSERT INTO twice VALUES (8, 'no') ON CONFLICT (id) DO UPDATE SET id = 12", ["8"]),
    "insert, update": ("WITH a AS (UPDATE twice SET id = 12 WHERE id = 1) INSERT INTO twice VALUES (7, 'no')", ["7"]),
    "merge": ("MERGE INTO twice USING (VALUES (1), (7)) v (i) ON id = i WHEN NOT MATCHED THEN INSERT VALUES (i, 'no') WHEN MATCHED THEN UPDATE SET id = 12", ["7"]),
    "insert, merge": ("WITH a AS (INSERT INTO twice VALUES (8, 'no')) MERGE INTO twice USING (VALUES (1), (7)) v (i) ON id = i WHEN NOT MATCHED THEN INSERT VALUES (i, 'no') "
                      "WHEN MATCHED THEN UPDATE SET id = 12", ["7", "8"]),
}


@pytest.mark.parametrize("unheard", ["disabled", "a condition"])
@pytest.mark.parametrize("case", TWICE)
def test_a_statement_that_changes_a_table_twice_queues_what_was_to_be_heard(server, case, unheard):
    statement, keys = TWICE[case]
    make(server, "twice", when="WHEN (NEW.body = 'yes')" if unheard == "a condition" else "", more="; INSERT INTO twice VALUES (1), (2)")
    if unheard == "disabled":
        server.query("ALTER TABLE twice DISABLE TRIGGER q")
    if "merge" in case and server.value("SELECT current_setting('server_version_num')::int") < 150000:
        pytest.raises(psycopg2.errors.SyntaxError, server.query, statement)
    else:
        assert queued(server, "twice", statement) == []
        assert sorted(queued(server, "twice", statement.replace("'no'", "'yes'"))) == (keys if unheard == "a condition" else [])
    server.query("DROP TABLE twice")


@pytest.mark.parametrize("unheard", ["other columns", "a condition", "disabled"])
def test_a_part_of_a_key_that_a_foreign_key_changes_is_followed(server, unheard):
    """Its triggers are called with those of the statement, which knows the table from another place, or not at all."""
    server.query("DROP TABLE IF EXISTS cascaded, parents; CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents VALUES (1), (2)")
    make(server, "cascaded", "id int REFERENCES parents ON UPDATE CASCADE, n int", "INSERT OR UPDATE OF body" if unheard == "other columns" else "INSERT OR UPDATE",
         "WHEN (NEW.body <> 'no')" if unheard == "a condition" else "", more="; ALTER TABLE cascaded ADD PRIMARY KEY (n, id)")
    disable = "SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE cascaded DISABLE TRIGGER q" if unheard == "disabled" else "SELECT"
    wait = f"INSERT INTO cascaded VALUES (1, 5, 'yes'); {disable}; "
    assert queued(server, "cascaded", f"{wait}UPDATE parents SET id = 11 WHERE id = 1") == ["5,11"]
    added = ["6,2"] if unheard == "other columns" else []
    for other in ("INSERT INTO cascaded VALUES (2, 6, 'no')", "INSERT INTO cascaded VALUES (2, 6, 'no') ON CONFLICT (n, id) DO UPDATE SET n = 7"):
        assert sorted(queued(server, "cascaded", f"{wait}WITH a AS ({other}) UPDATE parents SET id = 11 WHERE id = 1")) == ["5,11"] + added
    assert queued(server, "cascaded", f"{wait}INSERT INTO parents VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 11") == ["5,11"]
    server.query("DROP TABLE cascaded, parents")


def test_an_answer_that_changes_the_key_is_written_once(server):
    """A BEFORE trigger that gives a row another key when its answer comes: the answer is not asked for again, and again."""
    make(server, "renumbered", event="INSERT OR UPDATE OF body")
    allow(server, "renumbered")
    server.query("""CREATE OR REPLACE FUNCTION renumber() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 100; RETURN NEW; END $$;
        CREATE TRIGGER b BEFORE UPDATE ON renumbered FOR EACH ROW EXECUTE FUNCTION renumber(); INSERT INTO renumbered VALUES (1, 'a word'), (2, 'a word')""")
    wait_empty(server)
    assert server.query("SELECT id FROM renumbered WHERE s IS NOT NULL ORDER BY id") == [(101,), (102,)]
    server.query("DROP TABLE renumbered; DROP FUNCTION renumber")


def test_a_row_has_one_letter_of_a_trigger(server):
    make(server, "single")
    server.query("INSERT INTO single VALUES (1, 'a'), (2, 'b')")
    wait_letters(server, "single", [1, 2])
    for i in range(3):
        server.query(f"UPDATE single SET body = 'again {i}' WHERE id = 2")
        wait_empty(server)
    assert letters(server, "single") == [(["1"],), (["2"],)]
    assert server.query("SELECT waiting, dead FROM qwen_trigger_backlog WHERE relation = 'single'::regclass") == [(0, 2)]
    # one that is put aside where the worker comes to it, too
    server.query("UPDATE single SET body = 'once more'; ALTER TABLE single RENAME s TO t")
    waiting(server, "ALTER TABLE single RENAME t TO s; UPDATE single SET body = 'and more'; ALTER TABLE single RENAME s TO t")
    wait_empty(server)
    assert letters(server, "single") == [(["1"],), (["2"],)]
    assert server.value("SELECT qwen_retry_table('single')") == 2
    server.query("DROP TABLE single")


@pytest.mark.parametrize("first", ["retry", "move"])
def test_a_key_that_changes_beside_a_retry_is_followed(server, first):
    make(server, "raced")
    server.query("INSERT INTO raced VALUES (1, 'a'), (2, 'b')")
    wait_letters(server, "raced", [1, 2])
    allow(server, "raced")
    statements = ["SELECT qwen_retry_table('raced')", "UPDATE raced SET id = 11 WHERE id = 1"]
    if first == "move":
        statements.reverse()
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(f"BEGIN; {statements[0]}")
    other = threading.Thread(target=server.query, args=(statements[1],))
    other.start()
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = %s", (statements[1],)) == 1, 20, "the other waits")
    cursor.execute("COMMIT")
    other.join()
    connection.close()
    wait_empty(server)
    assert server.query("SELECT id, s IS NOT NULL FROM raced ORDER BY id") == [(2, True), (11, True)]
    assert letters(server, "raced") == []
    server.query("DROP TABLE raced")


def test_a_letter_is_for_all_columns_that_failed(server):
    server.query("""CREATE TABLE columns_of (id int PRIMARY KEY, body text, a int, b int, CONSTRAINT refused CHECK (a IS NULL AND (b IS NULL OR b = -1)));
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON columns_of FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('{a,b}', 'Say: {body}', 'function=extract', 'max_tokens=100', 'max_attempts=1')""")
    server.query("INSERT INTO columns_of VALUES (1, 'x', NULL, -1)")
    wait_letters(server, "columns_of", [1])
    server.query("UPDATE columns_of SET b = NULL")
    wait_empty(server)
    assert letters(server, "columns_of") == [(["1"],)]
    server.query("ALTER TABLE columns_of DROP CONSTRAINT refused")
    assert server.value("SELECT qwen_retry_table('columns_of')") == 1
    wait_until(lambda: server.value("SELECT num_nonnulls(a, b) FROM columns_of") == 2, 30, "both columns")
    server.query("DROP TABLE columns_of")


ALTERED = {
    "id + 100": ("int", "ALTER id TYPE int USING id + 100", 2),
    "another text": ("int", "ALTER id TYPE text USING 'k' || id", 2),
    "onto another's key": ("int", "ALTER id TYPE bigint USING id + 1", 2),
    "of another column": ("int", "ALTER id TYPE text USING body", 2),
    "a number": ("text", "ALTER id TYPE int USING id::int", 0),
    "a number that is computed": ("text", "ALTER id TYPE int USING id::int + 1", 2),
    "the same as text": ("int", "ALTER id TYPE text", 0),
    "the same in USING": ("int", 'ALTER id TYPE text COLLATE "C" USING (altered.id::text::bigint)::text COLLATE "C"', 0),
    "digits": ("int", "ALTER id TYPE numeric(10, 2)", 0),
    "letters that are read as numbers": ("bit(3)", "ALTER id TYPE int USING id::int", 2),
    "by another number on the way": ("int", "ALTER id TYPE int USING id::bit(3)::int", 2),
    "days of a zone": ("timestamptz", "ALTER id TYPE timestamp", 2),
    "seconds of days": ("date", "ALTER id TYPE timestamp", 0),
    "another column": ("int", "ALTER body TYPE varchar(100) USING 'new'", 0),
}

KEYS = {"bit(3)": ("001", "010"), "timestamptz": ("2026-01-01 00:00", "2026-01-01 01:00"), "date": ("2026-01-01", "2026-01-02")}


@pytest.mark.parametrize("case", ALTERED)
def test_a_key_of_another_type_says_what_does_not_follow(server, case):
    key, change, lost = ALTERED[case]
    make(server, "altered", f"id {key} PRIMARY KEY")
    allow(server, "altered")
    server.query("CREATE ROLE alterer LOGIN; SELECT qwen_grant('alterer', 'use'); GRANT ALL ON SCHEMA public TO alterer; ALTER TABLE altered OWNER TO alterer; "
                 "SELECT qwen_set_limit('alterer', requests_per_minute => 0)")
    one, two = KEYS.get(key, ("1", "2"))
    server.query(f"INSERT INTO altered VALUES ('{one}', 'one'), ('{two}', 'two')")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(f"ALTER TABLE altered {change}")
    said = [notice for notice in connection.notices if "does not follow" in notice]
    assert len(said) == (lost > 0)
    if lost:
        assert f"what is queued of table public.altered does not follow its rows' new keys: {lost} rows that wait, 0 dead letters" in said[0]
        assert "SELECT qwen_enqueue('public.altered')" in said[0]
    cursor.execute("SELECT qwen_enqueue('altered')")
    assert cursor.fetchone() == (lost,)
    cursor.execute("SELECT qwen_clear_limit('alterer')")
    connection.close()
    wait_until(lambda: server.value("SELECT count(*) FROM altered WHERE s IS NULL") == 0, 30, "the answers")
    server.query("DROP TABLE altered; DROP OWNED BY alterer; DROP ROLE alterer")


# what an AFTER trigger does beside a statement, the statement, and what is queued then; rows 1 and 2 have their answers
INNER = {
    "changes a row that has moved": ("IF NEW.id = 101 THEN UPDATE inside SET body = 'new' WHERE id = 102; END IF", "UPDATE inside SET id = id + 100", ["102"]),
    "changes the row that comes in": ("UPDATE inside SET body = 'new' WHERE id = NEW.id", "INSERT INTO inside VALUES (3, 'a', 'given')", ["3"]),
    "changes the row whose answer is given": ("UPDATE inside SET body = 'new' WHERE id = NEW.id", "UPDATE inside SET s = 'given' WHERE id = 1", ["1"]),
    "changes the row that has moved": ("UPDATE inside SET body = 'new' WHERE id = NEW.id", "UPDATE inside SET id = 11, s = 'given' WHERE id = 1", ["11"]),
    "puts a row under the old key": ("INSERT INTO inside VALUES (OLD.id, 'new')", "UPDATE inside SET id = id + 100 WHERE id = 1", ["1"]),
    "answers the row": ("UPDATE inside SET s = 'given' WHERE id = NEW.id", "INSERT INTO inside VALUES (3, 'a')", {"a": ["3"], "z": []}),
    "changes nothing": ("PERFORM 1", "UPDATE inside SET body = 'new'; UPDATE inside SET id = id + 100, s = 'given'", []),
    "changes another": ("UPDATE inside SET body = 'new' WHERE id = 2", "UPDATE inside SET body = 'new' WHERE id = 1; UPDATE inside SET id = 11, s = 'given' WHERE id = 1; UPDATE inside SET s = 'given' WHERE id = 2", []),
}


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.parametrize("case", INNER)
def test_what_a_statement_inside_has_queued_stays(server, case, name):
    """It knows the row as it is now; of the same name or another, before q or after it."""
    inner, statements, keys = INNER[case]
    server.query(f"""DROP TABLE IF EXISTS inside; CREATE TABLE inside (id int PRIMARY KEY, body text, s text); INSERT INTO inside VALUES (1, 'a', 'x'), (2, 'b', 'x');
        CREATE OR REPLACE FUNCTION beside() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN {inner}; END IF; RETURN NULL; END $$;
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON inside FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('s')});
        CREATE TRIGGER {name} AFTER INSERT OR UPDATE ON inside FOR EACH ROW EXECUTE FUNCTION beside()""")
    assert queued(server, "inside", statements) == (keys[name] if isinstance(keys, dict) else keys)
    server.query("DROP TABLE inside; DROP FUNCTION beside")


def test_columns_that_a_statement_inside_has_queued_stay(server):
    """Of several target columns one is given, and an AFTER trigger changes the source: both are to be made of the new one."""
    server.query("""DROP TABLE IF EXISTS inside; CREATE TABLE inside (id int PRIMARY KEY, body text, a int, b int);
        CREATE FUNCTION beside() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN UPDATE inside SET body = 'new' WHERE id = NEW.id; END IF; RETURN NULL; END $$;
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON inside FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('{a,b}', 'Say: {body}', 'function=extract', 'max_tokens=100');
        CREATE TRIGGER a AFTER INSERT ON inside FOR EACH ROW EXECUTE FUNCTION beside()""")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN; INSERT INTO inside VALUES (1, 'old', 7); SELECT target_numbers FROM qwen_job_row WHERE relation = 'inside'::regclass ORDER BY id")
    assert cursor.fetchall()[0] == (None,)
    # of what waits since before, a column that is given is not asked for any more
    cursor.execute("UPDATE inside SET a = 8; SELECT target_numbers FROM qwen_job_row WHERE relation = 'inside'::regclass ORDER BY id")
    assert cursor.fetchall()[0] == ([4],)
    connection.close()
    server.query("DROP TABLE inside; DROP FUNCTION beside")


def peak_mb(pid):
    """The most memory that a process has held."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024


def test_a_table_without_a_key_has_none_to_follow(server):
    """Its trigger is called for no row of which it is not to hear, and a long statement's memory does not grow with its rows."""
    make(server, "keyless", "id int", event="UPDATE OF body", more="""; CREATE OR REPLACE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER b BEFORE UPDATE ON keyless FOR EACH ROW EXECUTE FUNCTION same(); INSERT INTO keyless SELECT i FROM generate_series(1, 40000) i""")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("UPDATE keyless SET id = -id WHERE id <= 2000")
    before = peak_mb(connection.info.backend_pid)
    cursor.execute("EXPLAIN (ANALYZE) UPDATE keyless SET id = id + 1")
    plan = str(cursor.fetchall())
    assert peak_mb(connection.info.backend_pid) - before < 30
    assert "Trigger b" in plan and "Trigger q" not in plan
    connection.close()
    server.query("DROP TABLE keyless; DROP FUNCTION same")


def test_news_of_the_catalog_take_nothing_from_a_statement(server):
    """What is asked of a table's triggers stays while the catalogs are looked into, which builds the table's entry anew; of a server with assertions each time."""
    make(server, "news", event="UPDATE OF body", when="WHEN (NEW.body <> 'no')", more="; INSERT INTO news VALUES (1, 'no'), (2, NULL)")
    server.query("""CREATE TABLE others (id int PRIMARY KEY); CREATE OR REPLACE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        CREATE TRIGGER b BEFORE UPDATE ON news FOR EACH ROW EXECUTE FUNCTION same(); CREATE TRIGGER y AFTER UPDATE ON others FOR EACH ROW EXECUTE FUNCTION same();
        CREATE TRIGGER z AFTER UPDATE ON others FOR EACH ROW EXECUTE FUNCTION same()""")
    connection = server.connect()
    cursor = connection.cursor()
    if server.value("SELECT count(*) FROM pg_settings WHERE name = 'debug_discard_caches' AND max_val <> '0'"):
        cursor.execute("SET debug_discard_caches = 1")
    cursor.execute("UPDATE news SET s = NULL; UPDATE news SET body = 'no'")
    assert cursor.rowcount == 2
    with pytest.raises(psycopg2.errors.UndefinedObject, match='"others" has no trigger that queues'):
        cursor.execute("SELECT qwen_retry_table('others')")
    connection.close()
    assert server.query("SELECT waiting FROM qwen_trigger_backlog WHERE relation = 'news'::regclass") == []
    server.query("DROP TABLE news, others; DROP FUNCTION same")
def altered(server, sql):
    """What is said of keys when statements run."""
    connection = server.connect()
    connection.cursor().execute(sql)
    said = [notice for notice in connection.notices if "does not follow" in notice]
    connection.close()
    return said


def test_a_key_that_cannot_be_read_takes_no_others_along(server):
    """A dead letter of a row that is gone has a key that the new type does not read: those of the other rows follow."""
    make(server, "spelled", "id text PRIMARY KEY")
    server.query("INSERT INTO spelled SELECT '00' || i, 'word' FROM generate_series(1, 5) i; INSERT INTO spelled VALUES ('abc', 'word')")
    wait_letters(server, "spelled", ["001", "002", "003", "004", "005", "abc"])
    said = altered(server, "BEGIN; DELETE FROM spelled WHERE id = 'abc'; ALTER TABLE spelled ALTER id TYPE int USING id::int; COMMIT")
    assert len(said) == 1 and "0 rows that wait, 1 dead letters" in said[0]
    assert letters(server, "spelled") == [([str(key)],) for key in range(1, 6)]
    server.query("UPDATE spelled SET id = 11 WHERE id = 1")
    allow(server, "spelled")
    server.query("UPDATE spelled SET s = 'given' WHERE id = 3")
    assert letters(server, "spelled") == [(["11"],), (["2"],), (["4"],), (["5"],)]
    assert server.value("SELECT qwen_retry_table('spelled')") == 4
    wait_empty(server)
    assert server.query("SELECT id FROM spelled WHERE s IS NULL") == []
    assert server.value("SELECT s FROM spelled WHERE id = 3") == "given"
    server.query("DROP TABLE spelled")


def test_a_letter_that_cannot_be_read_keeps_no_others_from_the_sweep(server):
    make(server, "swept")
    server.query("INSERT INTO swept SELECT i, 'word' FROM generate_series(1, 5) i")
    wait_letters(server, "swept", [1, 2, 3, 4, 5])
    server.query("UPDATE qwen_job_row SET key = '{abc}' WHERE relation = 'swept'::regclass AND key = '{4}'; DELETE FROM swept WHERE id IN (2, 5)")
    wait_letters(server, "swept", [1, 3, "abc"])
    server.query("DROP TABLE swept")


def test_what_is_queued_by_other_columns_is_looked_at_too(server):
    """By the columns of a primary key that was exchanged; a key of another number of values is none of the table's."""
    make(server, "exchanged_key", more="; ALTER TABLE exchanged_key ADD other int")
    server.query("INSERT INTO exchanged_key VALUES (1, 'word', NULL, 7), (2, 'word', NULL, 8), (3, 'word', NULL, 9)")
    wait_letters(server, "exchanged_key", [1, 2, 3])
    server.query("ALTER TABLE exchanged_key DROP CONSTRAINT exchanged_key_pkey, ADD PRIMARY KEY (other); "
                 "UPDATE qwen_job_row SET key = '{2,2}' WHERE relation = 'exchanged_key'::regclass AND key = '{2}'")
    said = altered(server, "ALTER TABLE exchanged_key ALTER id TYPE numeric(10, 2)")
    assert len(said) == 1 and "0 rows that wait, 1 dead letters" in said[0]
    assert letters(server, "exchanged_key") == [(["1.00"],), (["3.00"],)]
    assert altered(server, "ALTER TABLE exchanged_key ALTER other TYPE text USING 'k' || other") == []
    server.query("DROP TABLE exchanged_key")


@pytest.mark.parametrize("how", ["its own", "a type's", "a child's"])
def test_keys_that_come_onto_other_rows_are_not_taken_for_theirs(server, how):
    """USING gives rows each other's keys: a value that was given by hand is not overwritten by a letter of the row that had its key."""
    make(server, "pushed")
    server.query("ALTER TABLE pushed DROP CONSTRAINT pushed_s_check, ADD CONSTRAINT pushed_s_check CHECK (length(s) < 0 OR s LIKE 'mine%')")
    table, change = "pushed", "ALTER TABLE pushed ALTER id TYPE bigint USING id + 1"
    if how == "a child's":
        server.query("CREATE TABLE pushed_child (PRIMARY KEY (id)) INHERITS (pushed); "
                     f"CREATE TRIGGER q AFTER INSERT OR UPDATE ON pushed_child FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('s')})")
        table = "pushed_child"
    if how == "a type's":
        server.query("DROP TABLE pushed; CREATE TYPE pushed_type AS (id int, body text, s text); "
                     "CREATE TABLE pushed OF pushed_type (PRIMARY KEY (id), CONSTRAINT pushed_s_check CHECK (length(s) < 0 OR s LIKE 'mine%')); "
                     f"CREATE TRIGGER q AFTER INSERT OR UPDATE ON pushed FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({FAILING.format('s')})")
        change = "ALTER TYPE pushed_type ALTER ATTRIBUTE id TYPE bigint CASCADE"
    server.query(f"INSERT INTO {table} VALUES (1, 'one', 'mine, by hand'), (2, 'two', NULL), (3, 'three', NULL)")
    wait_letters(server, table, [2, 3])
    assert len(altered(server, f"BEGIN; {change}; ROLLBACK")) == (how != "a type's")
    assert letters(server, table) == [(["2"],), (["3"],)]
    said = altered(server, change)
    if how == "a type's":
        assert (said, letters(server, table)) == ([], [(["2"],), (["3"],)])
    else:
        assert len(said) == 1 and "0 rows that wait, 2 dead letters" in said[0] and f"SELECT qwen_enqueue('public.{table}')" in said[0]
        assert letters(server, table) == []
        server.query("ALTER TABLE pushed DROP CONSTRAINT pushed_s_check")
        assert server.value(f"SELECT qwen_retry_table('{table}')") == 0
        assert server.value(f"SELECT qwen_enqueue('{table}')") == 2
        wait_empty(server)
        assert server.query(f"SELECT id, s LIKE 'mine%' FROM {table} ORDER BY id") == [(2, True), (3, False), (4, False)]
    server.query("DROP TABLE pushed CASCADE; DROP TYPE IF EXISTS pushed_type")


def test_a_generated_key_of_another_expression_is_not_trusted(server):
    if server.value("SELECT current_setting('server_version_num')::int") < 170000:
        pytest.skip("SET EXPRESSION came with PostgreSQL 17")
    make(server, "generated", "n int, id int GENERATED ALWAYS AS (n) STORED PRIMARY KEY")
    server.query("INSERT INTO generated (n, body) VALUES (1, 'one'), (2, 'two')")
    wait_letters(server, "generated", [1, 2])
    said = altered(server, "ALTER TABLE generated ALTER id SET EXPRESSION AS (3 - n)")
    assert len(said) == 1 and "0 rows that wait, 2 dead letters" in said[0]
    assert letters(server, "generated") == []
    server.query("DROP TABLE generated")


def submit(server, table):
    """A job whose rows all failed, as a constraint refuses its answers."""
    job = server.value(f"SELECT qwen_submit('{table}', 'Q {{body}}', '{table}', 's', max_tokens => 2, temperature => 0, max_attempts => 1)")
    assert server.value("SELECT qwen_wait(%s, '30s')", (job,)) == "failed"
    return job


def job_letters(server, job):
    return server.query("SELECT key FROM qwen_dead_letters WHERE job = %s ORDER BY key", (job,))


def state_of(server, job):
    return server.query("SELECT state, total, done, failed, error FROM qwen_jobs WHERE id = %s", (job,))[0]


@pytest.mark.parametrize("of", ["sent", "sent_1"])
def test_rows_of_a_job_follow_their_keys(server, of):
    """Those that inherit from its table, too."""
    server.query(f"CREATE TABLE sent (id text PRIMARY KEY, body text, s text CHECK (length(s) < 0)); CREATE TABLE sent_1 () INHERITS (sent); INSERT INTO {of} SELECT '00' || i, 'word' FROM generate_series(1, 3) i; INSERT INTO sent VALUES ('abc', 'word')")
    job = submit(server, "sent")
    said = altered(server, "BEGIN; DELETE FROM sent WHERE id = 'abc'; ALTER TABLE sent ALTER id TYPE int USING id::int; COMMIT")
    assert len(said) == 1 and "0 rows that wait, 1 dead letters" in said[0] and "1 of these are rows of jobs: qwen_submit them anew." in said[0] and "qwen_enqueue" not in said[0]
    assert job_letters(server, job) == [(["1"],), (["2"],), (["3"],)]
    allow(server, "sent")
    assert server.value("SELECT qwen_retry(%s)", (job,)) == 3
    assert server.value("SELECT qwen_wait(%s, '30s')", (job,)) == "done with failures"
    assert server.query("SELECT id FROM sent WHERE s IS NULL") == []
    state = state_of(server, job)
    assert state[:4] == ("done with failures", 4, 3, 1) and "1 row was given another key by ALTER TABLE and could not be followed" in state[4]
    server.query("DROP TABLE sent CASCADE")


def test_a_job_whose_rows_are_lost_is_not_done(server):
    """Its failed rows are under keys that the table computes anew: they stay failed, and the job says why."""
    make(server, "lost_rows", "id int PRIMARY KEY")
    server.query("INSERT INTO lost_rows SELECT i, 'word' FROM generate_series(1, 3) i")
    wait_letters(server, "lost_rows", [1, 2, 3])
    job = submit(server, "lost_rows")
    said = altered(server, "ALTER TABLE lost_rows ALTER id TYPE int USING id + 1")
    assert len(said) == 1 and "0 rows that wait, 6 dead letters" in said[0]
    assert "SELECT qwen_enqueue('public.lost_rows') queues the rows whose target is empty. 3 of these are rows of jobs" in said[0]
    allow(server, "lost_rows")
    assert server.value("SELECT qwen_retry(%s)", (job,)) == 0
    assert job_letters(server, job) == []
    state = state_of(server, job)
    assert state[:4] == ("failed", 3, 0, 3) and "3 rows were given another key by ALTER TABLE and could not be followed" in state[4]
    # another column's job is left alone
    other = server.value("SELECT qwen_submit('SELECT * FROM lost_rows', 'Q {body}', 'lost_rows', 's', max_tokens => 2, temperature => 0, max_attempts => 1)")
    assert server.value("SELECT qwen_wait(%s, '30s')", (other,)) == "done"
    assert altered(server, "ALTER TABLE lost_rows ALTER id TYPE int USING id + 1") == []
    server.query("DROP TABLE lost_rows")


def test_rows_that_a_job_has_in_hand_are_lost_too(server):
    """A worker that holds them asks the model, and writes no answer to the rows that have come to their keys."""
    server.query("CREATE TABLE held (id int PRIMARY KEY, body text, s text); INSERT INTO held SELECT i, 'word ' || i FROM generate_series(1, 3) i; "
                 "CREATE ROLE holder LOGIN; SELECT qwen_grant('holder', 'use'); GRANT ALL ON SCHEMA public TO holder; ALTER TABLE held OWNER TO holder; SELECT qwen_set_limit('holder', requests_per_minute => 1)")
    connection = server.connect("holder")
    cursor = connection.cursor()
    cursor.execute("SELECT qwen_chat('Hi', max_tokens => 1)")
    cursor.execute("SELECT qwen_submit('held', 'Q {body}', 'held', 's', max_tokens => 2, temperature => 0)")
    job = cursor.fetchone()[0]
    connection.close()
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE job = %s", (job,)) == 3, 30, "the job's rows")
    said = altered(server, "ALTER TABLE held ALTER id TYPE int USING id + 1")
    assert len(said) == 1 and "3 rows that wait, 0 dead letters" in said[0]
    server.query("SELECT qwen_clear_limit('holder')")
    assert server.value("SELECT qwen_wait(%s, '30s')", (job,)) == "failed"
    state = state_of(server, job)
    assert state[:4] == ("failed", 3, 0, 3) and "3 rows were given another key by ALTER TABLE" in state[4]
    assert server.value("SELECT count(*) FROM held WHERE s IS NOT NULL") == 0
    server.query("DROP TABLE held; DROP OWNED BY holder; DROP ROLE holder")


@pytest.mark.parametrize("kind", ["mood", "mood_domain"])
def test_a_key_whose_value_is_renamed_is_followed(server, kind):
    """By what waits, by dead letters and by a job's rows; a column of another type with the same text is left alone."""
    server.query("CREATE TYPE mood AS ENUM ('sad', '%s', 'ok'); CREATE DOMAIN mood_under AS mood; CREATE DOMAIN mood_domain AS mood_under")
    make(server, "moody", f"word text, id {kind}, PRIMARY KEY (word, id)")
    server.query("INSERT INTO moody VALUES ('sad', 'sad', 'a'), ('sad', '%s', 'b'), ('other', 'sad', 'c')")
    found = "SELECT key FROM qwen_dead_letters WHERE relation = 'moody'::regclass AND job IS NULL ORDER BY key"
    wait_until(lambda: len(server.query(found)) == 3, 30, "letters")
    job = submit(server, "moody") if kind == "mood" else None
    waiting(server, "INSERT INTO moody VALUES ('late', 'sad', 'd'); ALTER TYPE mood RENAME VALUE 'sad' TO 'very sad'; ALTER TYPE mood RENAME VALUE '%s' TO '%d'; ROLLBACK; BEGIN")
    assert server.query(found) == [(["other", "sad"],), (["sad", "%s"],), (["sad", "sad"],)]
    waiting(server, "INSERT INTO moody VALUES ('late', 'sad', 'd'); ALTER TYPE mood RENAME VALUE 'sad' TO 'very sad'; ALTER TYPE mood RENAME VALUE '%s' TO '%d'")
    wait_until(lambda: len(server.query(found)) == 4, 30, "letters")
    assert server.query(found) == [(["late", "very sad"],), (["other", "very sad"],), (["sad", "%d"],), (["sad", "very sad"],)]
    if job:
        assert job_letters(server, job) == [(["other", "very sad"],), (["sad", "%d"],), (["sad", "very sad"],)]
        assert server.query("SELECT position FROM qwen_job_table WHERE id = %s", (job,)) == [(["sad", "%d"],)]
    if kind == "mood":  # rows are not found by a domain over an enum, whatever its values are called
        server.query("UPDATE moody SET word = 'moved' WHERE word = 'late'")
        allow(server, "moody")
        assert server.value("SELECT qwen_retry(%s)", (job,)) == 3
        assert server.value("SELECT qwen_wait(%s, '30s')", (job,)) == "done"
        assert server.query("SELECT word, id::text FROM moody WHERE s IS NULL") == [("moved", "very sad")]
        # the job has given the others their values
        assert server.value("SELECT qwen_retry_table('moody')") == 1
        wait_empty(server)
        assert server.query("SELECT word FROM moody WHERE s IS NULL") == []
    server.query("DROP TABLE moody; DROP TYPE mood CASCADE")
