"""Queued rows among what others do to a table: policies, triggers, renames, drops, settings. Each row is filled in or its reason said."""
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until

DEFAULT_MODEL = MODEL_FILE
OPTIONS = "'max_tokens=2', 'temperature=0'"


def queue(table, target="e", template="body", name="q", more="", columns=""):
    return (f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE {columns} ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION public.qwen_enqueue_trigger('{target}', '{template}', {OPTIONS}{more});")


def wait_empty(server, seconds=60):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, seconds, "an empty queue")


def letters(server, table):
    return server.query("SELECT trigger, key, sqlstate, error FROM qwen_dead_letters WHERE relation = %s::regclass ORDER BY key", (table,))


@pytest.fixture
def roles(server):
    """A table's owner who is nobody else."""
    server.query("DROP ROLE IF EXISTS queue_owner; CREATE ROLE queue_owner LOGIN; SELECT qwen_grant('queue_owner', 'use')")
    server.query("DROP SCHEMA IF EXISTS other CASCADE; CREATE SCHEMA other AUTHORIZATION queue_owner")
    yield "queue_owner"
    server.query("SELECT qwen_revoke('queue_owner', 'use'); DROP OWNED BY queue_owner CASCADE; DROP ROLE queue_owner")


POLICY = """CREATE TABLE other.docs (id int PRIMARY KEY, tenant text, body text, e text);
    ALTER TABLE other.docs ENABLE ROW LEVEL SECURITY; ALTER TABLE other.docs FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON other.docs USING (tenant = current_setting('app.tenant', true));"""
FIVE = "SET app.tenant = 't1'; INSERT INTO other.docs SELECT i, 't1', 'word ' || i FROM generate_series(1, 5) i"


def test_rows_hidden_by_policies_are_said(server, roles):
    server.query(POLICY + queue("other.docs"), user=roles)
    server.query(FIVE, user=roles)
    wait_empty(server)
    assert [row[1:3] for row in letters(server, "other.docs")] == [([str(i)], "42501") for i in range(1, 6)]
    assert "row-level security" in server.value("SELECT last_error FROM qwen_trigger_backlog WHERE relation = 'other.docs'::regclass")
    # a row that is deleted is gone, hidden or not
    server.query("BEGIN; SET LOCAL app.tenant = 't1'; UPDATE other.docs SET body = 'x' WHERE id = 1; DELETE FROM other.docs WHERE id = 1; COMMIT", user=roles)
    wait_empty(server)
    # with a setting of the role's the worker sees them
    server.query(f"ALTER ROLE {roles} SET app.tenant = 't1'")
    wait_until(lambda: server.value("SELECT count(*) FROM _qwen_job_workers()") == 0, 30, "no worker of the old settings")
    server.query("SELECT qwen_retry_table('other.docs')")
    wait_empty(server)
    assert server.value("SELECT count(*) FROM other.docs WHERE e IS NOT NULL") == 4
    assert [row[1] for row in letters(server, "other.docs")] in ([], [["1"]])


@pytest.mark.parametrize("source", ["other.docs", "SELECT id, body FROM other.docs", "SELECT * FROM other.seen", "SELECT id, body FROM other.plain WHERE tenant = current_setting('app.tenant', true)"])
def test_jobs_whose_rows_are_hidden_fail(server, roles, source):
    server.query(POLICY + """CREATE TABLE other.plain (LIKE other.docs INCLUDING ALL);
        CREATE VIEW other.seen AS SELECT id, body FROM other.plain WHERE tenant = current_setting('app.tenant', true);""", user=roles)
    server.query(FIVE + "; INSERT INTO other.plain SELECT * FROM other.docs", user=roles)
    target = "other.docs" if "docs" in source else "other.plain"
    connection = server.connect(roles)
    cursor = connection.cursor()
    cursor.execute("SET app.tenant = 't1'")
    cursor.execute("SELECT qwen_submit(%s, 'body', %s, 'e', max_tokens => 1, temperature => 0)", (source, target))
    job = cursor.fetchone()[0]
    connection.close()
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
    total, done, error = server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,))[0]
    assert (total, done) == (5, 0) and "sees 0 of the 5 rows" in error
    server.query(f"ALTER ROLE {roles} SET app.tenant = 't1'")
    wait_until(lambda: server.value("SELECT count(*) FROM _qwen_job_workers()") == 0, 30, "no worker of the old settings")
    server.query("SELECT qwen_retry(%s)", (job,))
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(5, 5, None)]


def test_rows_that_may_be_read_and_not_written_are_said(server, roles):
    server.query("""CREATE TABLE other.docs (id int PRIMARY KEY, body text, e text); ALTER TABLE other.docs ENABLE ROW LEVEL SECURITY; ALTER TABLE other.docs FORCE ROW LEVEL SECURITY;
        CREATE POLICY r ON other.docs FOR SELECT USING (true); CREATE POLICY i ON other.docs FOR INSERT WITH CHECK (true); CREATE POLICY u ON other.docs FOR UPDATE USING (id > 2);""" + queue("other.docs"), user=roles)
    server.query("INSERT INTO other.docs SELECT i, 'word' FROM generate_series(1, 4) i", user=roles)
    job = server.query("SELECT qwen_submit('other.docs', 'Say {body}', 'other.docs', 'e', max_tokens => 1, temperature => 0)", user=roles)[0][0]
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done with failures"
    wait_empty(server)
    assert server.query("SELECT id FROM other.docs WHERE e IS NOT NULL ORDER BY id") == [(3,), (4,)]
    assert [row[1] for row in letters(server, "other.docs") if row[0] == "q"] == [["1"], ["2"]]
    assert server.query("SELECT total, done, failed FROM qwen_jobs WHERE id = %s", (job,)) == [(4, 2, 2)]


def test_a_lower_total_has_its_reason(server):
    server.query("DROP TABLE IF EXISTS shrinking; CREATE TABLE shrinking (id int PRIMARY KEY, body text, e text); INSERT INTO shrinking SELECT i, 'x' FROM generate_series(1, 5) i")
    connection = server.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute("SELECT qwen_submit('shrinking', 'body', 'shrinking', 'e', max_tokens => 1, temperature => 0)")
    job = cursor.fetchone()[0]
    cursor.execute("DELETE FROM shrinking WHERE id > 3")
    connection.commit()
    connection.close()
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(3, 3, "2 of the 5 rows that were counted at submit were not there any more when the job came to them")]
    server.query("DROP TABLE shrinking")


def make_moving(server, schema="public"):
    server.query(f"DROP TABLE IF EXISTS {schema}.moving; CREATE TABLE {schema}.moving (id int PRIMARY KEY, body text, e text);" + queue(f"{schema}.moving"))


RENAMES = {
    "trigger": "ALTER TRIGGER q ON moving RENAME TO p",
    "table": "ALTER TABLE moving RENAME TO moved",
    "schema": "CREATE SCHEMA elsewhere; ALTER TABLE moving SET SCHEMA elsewhere",
    "key column": "ALTER TABLE moving RENAME id TO number",
    "other primary key": "ALTER TABLE moving ADD COLUMN other int UNIQUE; UPDATE moving SET other = -id; ALTER TABLE moving DROP CONSTRAINT moving_pkey, ADD PRIMARY KEY (other)",
    "another of the old name": "ALTER TRIGGER q ON moving RENAME TO p; CREATE TRIGGER q AFTER INSERT ON moving FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('f', 'body', 'max_tokens=2', 'temperature=0')",
    "made anew": "DROP TRIGGER q ON moving; " + queue("moving"),
    "disabled": "ALTER TABLE moving DISABLE TRIGGER q",
}


@pytest.mark.parametrize("change", RENAMES)
def test_queued_rows_follow_what_is_renamed(server, change):
    server.query("DROP TABLE IF EXISTS moved; DROP SCHEMA IF EXISTS elsewhere CASCADE")
    make_moving(server)
    server.query("ALTER TABLE moving ADD COLUMN f text")
    oid = server.value("SELECT 'moving'::regclass::oid")
    server.query(f"BEGIN; INSERT INTO moving SELECT i, 'word ' || i FROM generate_series(1, 20) i; {RENAMES[change]}; COMMIT")
    wait_empty(server)
    table = server.value("SELECT %s::regclass::text", (oid,))
    assert server.value(f"SELECT count(*) FROM {table} WHERE e IS NULL") == 0
    assert server.value(f"SELECT count(*) FROM {table} WHERE f IS NOT NULL") == 0
    assert server.query("SELECT * FROM qwen_trigger_backlog WHERE relation = %s", (oid,)) == []
    server.query(f"DROP TABLE {table}")


def test_a_rename_while_rows_are_with_the_model(server):
    make_moving(server)
    server.query("INSERT INTO moving SELECT i, 'word ' || i FROM generate_series(1, 150) i")
    wait_until(lambda: server.value("SELECT count(*) FROM moving WHERE e IS NOT NULL") > 0, 60, "the first answers")
    server.query("ALTER TRIGGER q ON moving RENAME TO p; ALTER TABLE moving RENAME id TO number")
    assert server.query("SELECT DISTINCT trigger FROM qwen_trigger_backlog WHERE relation = 'moving'::regclass") in ([("p",)], [])
    wait_empty(server)
    assert server.value("SELECT count(*) FROM moving WHERE e IS NULL") == 0
    assert letters(server, "moving") == []
    server.query("DROP TABLE moving")


def test_a_dropped_trigger_leaves_its_reason(server):
    make_moving(server)
    server.query("BEGIN; INSERT INTO moving VALUES (1, 'one'), (2, 'two'); DROP TRIGGER q ON moving; COMMIT")
    wait_empty(server)
    reason = 'the trigger "q" was dropped before the row was filled in'
    assert letters(server, "moving") == [("q", ["1"], "42704", reason), ("q", ["2"], "42704", reason)]
    # a trigger of the name that is none of ours is not taken for it
    server.query("CREATE TRIGGER q BEFORE UPDATE ON moving FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); SELECT qwen_retry_table('moving')")
    wait_empty(server)
    assert len(letters(server, "moving")) == 2
    server.query("DROP TRIGGER q ON moving;" + queue("moving") + "SELECT qwen_retry_table('moving')")
    wait_empty(server)
    assert server.value("SELECT count(*) FROM moving WHERE e IS NULL") == 0
    server.query("DROP TABLE moving")


# ---- other triggers ----
def watch_writes(server, table, *columns):
    """A log of the UPDATEs that a table sees."""
    server.query(f"""CREATE TABLE IF NOT EXISTS {table}_writes (at timestamptz DEFAULT clock_timestamp());
        CREATE OR REPLACE FUNCTION {table}_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.{table}_writes DEFAULT VALUES; RETURN NULL; END $$;
        CREATE TRIGGER zz_count AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_count();""")


def stays_quiet(server, table, most):
    """The writes there are when the queue is empty, and that none come after."""
    wait_empty(server)
    wait_until(lambda: server.value("SELECT count(*) FROM _qwen_job_workers()") == 0, 60, "no worker")
    # of other tests' tables that were dropped something may stand there until it is swept
    assert server.value("SELECT count(*) FROM qwen_job_row WHERE NOT dead AND relation = %s::regclass", (table,)) == 0
    n = server.value(f"SELECT count(*) FROM {table}_writes")
    assert 0 < n <= most, n
    return n


TOUCH = """CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON looping FOR EACH ROW EXECUTE FUNCTION touch();"""
LOOPS = {
    "touched": (TOUCH + queue("looping", template="{body} {updated_at}"), 3),
    "moddatetime": ("CREATE EXTENSION IF NOT EXISTS moddatetime; CREATE TRIGGER touch BEFORE UPDATE ON looping FOR EACH ROW EXECUTE FUNCTION moddatetime(updated_at);" + queue("looping", template="{body} {updated_at}"), 3),
    "generated over the target": ("ALTER TABLE looping ADD COLUMN made text GENERATED ALWAYS AS (body || coalesce(e, '')) STORED;" + queue("looping", template="{made}"), 3),
    "feeding each other": (queue("looping", "e", "{f}", "a") + queue("looping", "f", "{e}", "b"), 9),
    "feeding each other and touched": (TOUCH + queue("looping", "e", "{f} {updated_at}", "a") + queue("looping", "f", "{e} {updated_at}", "b"), 9),
    "three in a ring": (queue("looping", "e", "{f}", "a") + queue("looping", "g", "{e}", "b") + queue("looping", "f", "{g}", "c"), 12),
    "an AFTER trigger that updates the row": (
        "CREATE OR REPLACE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.looping SET updated_at = clock_timestamp() WHERE id = NEW.id; RETURN NULL; END $$;"
        "CREATE TRIGGER later AFTER UPDATE ON looping FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION later();" + queue("looping", template="{body} {updated_at}"), 6),
    "a deferred AFTER trigger": (
        "CREATE OR REPLACE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.looping SET updated_at = clock_timestamp() WHERE id = NEW.id; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON looping DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.e IS DISTINCT FROM NEW.e) EXECUTE FUNCTION later();" + queue("looping", template="{body} {updated_at}"), 6),
    "a job beside": (TOUCH + queue("looping", template="{body} {updated_at}"), 9),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_answers_do_not_go_round(server, loop):
    sql, most = LOOPS[loop]
    server.query("DROP TABLE IF EXISTS looping, looping_writes; CREATE TABLE looping (id int PRIMARY KEY, body text, updated_at timestamptz DEFAULT now(), e text, f text, g text)")
    server.query(sql)
    watch_writes(server, "looping")
    if "each other" in loop or "ring" in loop:
        server.query("INSERT INTO looping (id, f) SELECT i, 'word ' || i FROM generate_series(1, 3) i")
    else:
        server.query("INSERT INTO looping (id, body) SELECT i, 'word ' || i FROM generate_series(1, 3) i")
    if "beside" in loop:
        job = server.value("SELECT qwen_submit('looping', 'body', 'looping', 'f', max_tokens => 2, temperature => 0)")
        assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    stays_quiet(server, "looping", most)
    assert server.value("SELECT count(*) FROM looping WHERE e IS NULL") == 0
    assert letters(server, "looping") == []
    # what a user changes is answered again
    if "body" in sql:
        server.query("UPDATE looping SET body = 'changed', e = NULL")
        wait_empty(server)
        assert server.value("SELECT count(*) FROM looping WHERE e IS NULL") == 0
    server.query("DROP TABLE looping, looping_writes")


def test_chains_of_triggers_run_to_their_end(server):
    """A summary that is embedded: the answer of one trigger is the source of another, for many rows at once."""
    server.query("DROP TABLE IF EXISTS chained; CREATE TABLE chained (id int PRIMARY KEY, body text, e text, f text, v real[]);" + queue("chained") + queue("chained", "f", "Say {e}", "r")
                 + "CREATE TRIGGER v AFTER INSERT OR UPDATE ON chained FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('v', '{e} {f}', 'dimensions=4')")
    server.query("INSERT INTO chained SELECT i, 'word ' || i FROM generate_series(1, 40) i")
    wait_empty(server)
    said = "qwen_chat('Say ' || e, max_tokens => 2, temperature => 0)"
    assert server.value(f"SELECT bool_and(f = {said}) FROM chained WHERE id < 6")
    assert server.value("SELECT bool_and(v = qwen_embed(e || ' ' || f, dimensions => 4)) FROM chained WHERE id < 6")
    server.query("DROP TABLE chained")


def test_rows_that_answers_make_end_with_a_reason(server):
    """An answer whose trigger inserts a row that is answered, and so on: it ends, and says so."""
    server.query("""DROP TABLE IF EXISTS breeding; CREATE TABLE breeding (id serial PRIMARY KEY, body text, e text);
        CREATE OR REPLACE FUNCTION breed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.breeding (body) VALUES ('again'); RETURN NULL; END $$;
        CREATE TRIGGER breed AFTER UPDATE OF e ON breeding FOR EACH ROW EXECUTE FUNCTION breed();""" + queue("breeding", more=", 'max_attempts=1'"))
    server.query("INSERT INTO breeding (body) VALUES ('first')")
    wait_until(lambda: len(letters(server, "breeding")) == 1, 60, "a dead letter")
    assert "goes round" in letters(server, "breeding")[0][3]
    wait_empty(server)
    assert server.value("SELECT count(*) FROM breeding") < 30
    server.query("DROP TABLE breeding")


def test_rows_above_are_answered_after_those_below(server):
    """A tree whose parents are made of their children's answers: other rows of the same trigger are queued by an answer."""
    server.query("""DROP TABLE IF EXISTS tree; CREATE TABLE tree (id int PRIMARY KEY, up int, body text, e text);
        CREATE OR REPLACE FUNCTION climb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.tree SET body = 'Say ' || NEW.e, e = NULL WHERE id = NEW.up; RETURN NULL; END $$;
        CREATE TRIGGER climb AFTER UPDATE OF e ON tree FOR EACH ROW WHEN (NEW.e IS NOT NULL) EXECUTE FUNCTION climb();""" + queue("tree"))
    server.query("INSERT INTO tree VALUES (1, NULL, NULL), (2, 1, NULL), (3, 2, NULL), (4, 3, 'leaf')")
    wait_empty(server)
    said = "qwen_chat('Say ' || low.e, max_tokens => 2, temperature => 0)"
    assert server.value(f"SELECT bool_and(high.e = {said}) AND count(*) = 3 FROM tree low JOIN tree high ON high.id = low.up")
    server.query("DROP TABLE tree")


def test_other_triggers_find_what_the_owner_finds(server, roles):
    """An audit trigger with names that are not qualified, found by the role's search path."""
    server.query(f"ALTER ROLE {roles} SET search_path = other")
    server.query("""CREATE TABLE audit (id int, path text); CREATE TABLE docs (id int PRIMARY KEY, body text, e text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (NEW.id, current_setting('search_path')); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION note();""" + queue("docs"), user=roles)
    server.query("INSERT INTO other.docs SELECT i, 'word ' || i FROM generate_series(1, 5) i")
    wait_empty(server)
    assert letters(server, "other.docs") == []
    assert server.query("SELECT id, path FROM other.audit ORDER BY id") == [(i, "other") for i in range(1, 6)]
    assert server.value("SELECT count(*) FROM other.docs WHERE e IS NOT NULL") == 5


def test_names_in_the_owners_path_are_not_ours(server, roles):
    """Operators and functions in front of pg_catalog in the owner's path are not called by our statements."""
    server.query(f"ALTER ROLE {roles} SET search_path = other, pg_catalog")
    types = ("int", "bigint", "text", "boolean")
    trap = "CREATE FUNCTION other.trap({0}, {0}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;" + "".join(
        f"CREATE OPERATOR other.{name} (LEFTARG = {{0}}, RIGHTARG = {{0}}, FUNCTION = other.trap);" for name in ("=", ">", "<", ">=", "<>", "||"))
    server.query("".join(trap.format(type) for type in types) + "CREATE FUNCTION other.hashtextextended(text, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;"
                 "CREATE FUNCTION other.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;"
                 "CREATE FUNCTION other.count() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;", user=roles)
    server.query("CREATE TABLE docs (id int, part text, body text, e text, f text, PRIMARY KEY (id, part)); CREATE TABLE into_docs (id int, part text, e text, PRIMARY KEY (id, part));" + queue("docs", template="{id} {body}"), user=roles)
    server.query("INSERT INTO other.docs SELECT i, 'p', 'word ' || i FROM generate_series(1, 70) i")
    for target, column in (("docs", "f"), ("into_docs", "e")):
        job = server.query(f"SELECT public.qwen_submit('TABLE docs', 'Say {{body}}', '{target}', '{column}', max_tokens => 1, temperature => 0)", user=roles)[0][0]
        server.query("SELECT qwen_wait(%s, '60 s')", (job,))
        assert server.query("SELECT state, total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [("done", 70, 70, None)]
    wait_empty(server)
    assert letters(server, "other.docs") == []
    assert server.query("SELECT (SELECT pg_catalog.count(*) FROM other.docs WHERE e IS NOT NULL AND f IS NOT NULL), (SELECT pg_catalog.count(*) FROM other.into_docs WHERE e IS NOT NULL)") == [(70, 70)]


def test_deferred_triggers_run_with_the_answer(server, roles):
    """Constraint triggers that wait for the commit: they run, and one that refuses a row refuses that row's answer."""
    server.query("""CREATE TABLE other.docs (id int PRIMARY KEY, body text, e text); CREATE TABLE other.checked (id int);
        CREATE FUNCTION other.check_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.id = 3 AND NEW.e IS NOT NULL THEN RAISE EXCEPTION 'not three' USING ERRCODE = '23514'; END IF; INSERT INTO other.checked VALUES (NEW.id); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON other.docs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION other.check_later();""" + queue("other.docs", more=", 'max_attempts=2'"), user=roles)
    server.query("INSERT INTO other.docs SELECT i, 'word ' || i FROM generate_series(1, 5) i", user=roles)
    wait_empty(server)
    assert [row[1:] for row in letters(server, "other.docs")] == [(["3"], "23514", "not three")]
    assert server.query("SELECT id FROM other.checked ORDER BY id") == [(1,), (2,), (4,), (5,)]
    assert server.query("SELECT id FROM other.docs WHERE e IS NULL") == [(3,)]


def test_answers_that_triggers_keep_back_are_said(server):
    server.query("DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int PRIMARY KEY, body text, e text);"
                 "CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.id = 1 AND NEW.e IS NOT NULL THEN NULL ELSE NEW END; END $$;"
                 "CREATE TRIGGER keep BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep(); CREATE TRIGGER z BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();" + queue("kept", more=", 'max_attempts=1'"))
    server.query("INSERT INTO kept VALUES (1, 'one'), (2, 'two')")
    wait_empty(server)
    assert [row[1:3] for row in letters(server, "kept")] == [(["1"], "09000")]
    # the same answer again is no change, and is done
    server.query("UPDATE kept SET id = 3 WHERE id = 2")
    wait_empty(server)
    assert len(letters(server, "kept")) == 1 and server.value("SELECT e IS NOT NULL FROM kept WHERE id = 3")
    server.query("DROP TABLE kept")


# ---- one rule for all triggers ----
def test_one_rule_for_all_four_triggers(server):
    """Answered: an INSERT, a changed source, a target set to NULL. Kept: what the statement gives. A default is as good as NULL."""
    make = {
        "summarize": ("BEFORE", "qwen_summarize_trigger('body', 'e', '5')", "text", "'mine'", "''"),
        "enqueue": ("AFTER", f"qwen_enqueue_trigger('e', 'body', {OPTIONS})", "text", "'mine'", "''"),
        "embed": ("BEFORE", "qwen_embed_trigger('body', 'e', 'dimensions=2')", "real[]", "'{1,2,3}'", "'{}'"),
        "enqueue_embed": ("AFTER", "qwen_enqueue_embed_trigger('e', 'body', 'dimensions=2')", "real[]", "'{1,2,3}'", "'{}'"),
    }
    for name, (moment, function, type, given, default) in make.items():
        server.query(f"DROP TABLE IF EXISTS ruled; CREATE TABLE ruled (id int PRIMARY KEY, body text, e {type} NOT NULL DEFAULT {default}, other int); ALTER TABLE ruled ALTER e DROP NOT NULL;"
                     f"CREATE TRIGGER q {moment} INSERT OR UPDATE ON ruled FOR EACH ROW EXECUTE FUNCTION {function}")

        def state(sql, row=1):
            server.query(sql)
            wait_empty(server)
            e, is_given, is_default = server.query(f"SELECT e::text, e = {given}::{type}, e = {default}::{type} FROM ruled WHERE id = {row}")[0]
            return "null" if e is None else "given" if is_given else "default" if is_default else "answer"

        assert state("INSERT INTO ruled (id, body) VALUES (1, 'The cat sat on the mat.')") == "answer", name
        assert state(f"INSERT INTO ruled (id, body, e) VALUES (2, 'The cat sat on the mat.', {given})", 2) == "given", name
        assert state("INSERT INTO ruled (id) VALUES (3)", 3) == "default", name
        assert state(f"INSERT INTO ruled (id, e) VALUES (4, {given})", 4) == "given", name
        assert state(f"UPDATE ruled SET e = {given} WHERE id = 1") == "given", name
        assert state("UPDATE ruled SET other = 1, body = body WHERE id = 1") == "given", name
        assert state("UPDATE ruled SET e = NULL WHERE id = 1") == "answer", name
        assert state(f"UPDATE ruled SET body = 'A dog.', e = {given} WHERE id = 1") == "given", name
        assert state("UPDATE ruled SET body = 'A small dog.', e = e WHERE id = 1") == "answer", name
        assert state("UPDATE ruled SET e = DEFAULT WHERE id = 1") == "answer", name
        assert state("UPDATE ruled SET body = NULL WHERE id = 1") == "null", name
        assert state("UPDATE ruled SET e = NULL WHERE id = 1") == "null", name
        # rows that were there before the trigger
        server.query("ALTER TABLE ruled DISABLE TRIGGER q; INSERT INTO ruled VALUES (5, 'A bird.', NULL); ALTER TABLE ruled ENABLE TRIGGER q")
        assert state("UPDATE ruled SET other = 2 WHERE id = 5", 5) == "null", name
        assert state("UPDATE ruled SET e = NULL WHERE id = 5", 5) == "answer", name
        server.query("DROP TABLE ruled")


def test_triggers_take_all_types_of_text(server):
    server.query("""DROP TABLE IF EXISTS worded; DROP EXTENSION IF EXISTS citext CASCADE; CREATE EXTENSION citext; DROP DOMAIN IF EXISTS phrase, brief, numbers;
        CREATE DOMAIN phrase AS text CHECK (value <> ''); CREATE DOMAIN brief AS varchar(200); CREATE DOMAIN numbers AS real[] CHECK (cardinality(value) = 2)""")
    connection = server.connect()
    cursor = connection.cursor()
    sources, targets = ("text", "varchar(40)", "char(40)", "citext", "phrase", "brief", "name"), ("varchar(400)", "char(400)", "citext", "phrase", "brief")
    for pairs in [(type, "text") for type in sources], [("citext", target) for target in targets]:
        for type, target in pairs:
            cursor.execute(f"""CREATE TABLE worded (id int PRIMARY KEY, body {type}, s {target}, q {target}, e numbers, f double precision[]);
                CREATE TRIGGER a BEFORE INSERT OR UPDATE ON worded FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 's', '5');
                CREATE TRIGGER b BEFORE INSERT OR UPDATE ON worded FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'e', 'dimensions=2');
                CREATE TRIGGER c BEFORE INSERT OR UPDATE ON worded FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'f', 'dimensions=2');
                INSERT INTO worded (id, body) VALUES (1, 'The cat sat.')""")
            cursor.execute("SELECT s::text = rtrim(qwen_summarize('The cat sat.', 5)), e = qwen_embed('The cat sat.', dimensions => 2), f::real[] = e FROM worded")
            assert cursor.fetchone() == (True, True, True), (type, target)
            cursor.execute("DROP TABLE worded")
    # what a domain refuses is refused
    cursor.execute("CREATE TABLE worded (id int PRIMARY KEY, body text, e numbers); CREATE TRIGGER b BEFORE INSERT OR UPDATE ON worded FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'e', 'dimensions=3')")
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("INSERT INTO worded (id, body) VALUES (1, 'x')")
    assert failure.value.pgcode == "23514"
    connection.close()
    server.query("DROP TABLE worded; DROP DOMAIN phrase, brief, numbers")


def test_generated_sources_are_refused_before_and_followed_after(server):
    server.query("DROP TABLE IF EXISTS made; CREATE TABLE made (id int PRIMARY KEY, body text, doc text GENERATED ALWAYS AS ('doc: ' || body) STORED, e real[], s text)")

    def refused(function, moment="BEFORE"):
        server.query(f"CREATE TRIGGER q {moment} INSERT OR UPDATE ON made FOR EACH ROW EXECUTE FUNCTION {function}")
        with pytest.raises(psycopg2.Error) as failure:
            server.query("INSERT INTO made (id, body) VALUES (1, 'x')")
        server.query("DROP TRIGGER q ON made")
        assert failure.value.pgcode == "22023"
        return failure.value.diag.message_primary, failure.value.diag.message_hint

    message, hint = refused("qwen_embed_trigger('doc', 'e')")
    assert message == 'qwen_embed_trigger: column "doc" of table "made" is a generated column' and "qwen_enqueue_embed_trigger" in hint
    message, hint = refused("qwen_summarize_trigger('doc', 's')")
    assert message == 'qwen_summarize_trigger: column "doc" of table "made" is a generated column' and "qwen_enqueue_trigger" in hint
    assert "generated column" in refused("qwen_summarize_trigger('body', 'doc')")[0]
    assert "cannot be made from the column itself" in refused("qwen_summarize_trigger('body', 'body')")[0]
    server.query(queue("made", "s", "doc"))
    server.query("INSERT INTO made (id, body) VALUES (1, 'x')")
    wait_empty(server)
    server.query("UPDATE made SET body = 'y'")
    wait_empty(server)
    assert server.value("SELECT s = qwen_chat('doc: y', max_tokens => 2, temperature => 0) FROM made")
    if server.value("SHOW server_version_num") >= "180000":
        server.query("DROP TABLE made; CREATE TABLE made (id int PRIMARY KEY, body text, doc text GENERATED ALWAYS AS ('doc: ' || body) VIRTUAL, e real[], s text)")
        assert "generated column" in refused("qwen_embed_trigger('doc', 'e')")[0]
        server.query(queue("made", "s", "{doc}"))
        for text in "x", "y":
            server.query(f"INSERT INTO made (id, body) VALUES (1, '{text}') ON CONFLICT (id) DO UPDATE SET body = excluded.body")
            wait_empty(server)
            assert server.value(f"SELECT s = qwen_chat('doc: {text}', max_tokens => 2, temperature => 0) FROM made")
    server.query("DROP TABLE made")
