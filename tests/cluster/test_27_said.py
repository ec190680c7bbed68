"""What views and errors say of jobs and triggers to somebody who has just begun: which cause it is, and what is to be done."""
import time

import psycopg2
import pytest
from cluster import wait_until
from sessions import WRITING

ROWS = """CREATE TABLE {0} AS SELECT g AS id, 'row ' || g AS body, NULL::text AS answer FROM generate_series(1, {1}) g; ALTER TABLE {0} ADD PRIMARY KEY (id)"""


def test_a_server_without_the_library_says_why_nothing_moves(make_server):
    server = make_server()
    server.query(ROWS.format("waiting", 30))
    server.query("""CREATE TABLE filled (id int PRIMARY KEY, body text, answer text);
        CREATE TRIGGER fill AFTER INSERT ON filled FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', '{body}', 'max_tokens=60')""")
    server.query("SELECT qwen_submit('waiting', 'Say {body}', 'waiting', 'answer', max_tokens => 60)")
    server.query("INSERT INTO filled SELECT id, body FROM waiting")
    preload = server.settings.pop("shared_preload_libraries")
    server.restart()
    missing = "qwen_pg is not in shared_preload_libraries: add it there and restart the server"
    assert server.query("SELECT state, error FROM qwen_jobs") == [("no worker", missing)]
    assert server.query("SELECT worker FROM qwen_trigger_backlog") == [(missing,)]
    server.settings["shared_preload_libraries"] = preload
    server.restart()
    session, seen = server.connect().cursor(), set()
    for _ in range(100):
        session.execute("SELECT state, coalesce(error, '-') FROM qwen_jobs")
        seen.add(session.fetchone())
    assert not any(state == "no worker" or "64" in error for state, error in seen), seen
    assert server.value("SELECT qwen_wait(id, '100 s') FROM qwen_jobs") == "done"


def test_a_job_whose_rows_all_failed_says_the_first_error(server):
    server.query(ROWS.format("unfilled", 3) + "; ALTER TABLE unfilled ADD CHECK (answer IS NULL)")
    job = server.value("SELECT qwen_submit('unfilled', 'Say {body}', 'unfilled', 'answer', max_tokens => 2, temperature => 0, max_attempts => 1)")
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
    first = server.value("SELECT error FROM qwen_dead_letters WHERE job = %s ORDER BY failed_at, id LIMIT 1", (job,))
    said = "all rows failed: qwen_dead_letters has them; the first: " + first
    assert "unfilled_answer_check" in first
    assert server.query("SELECT state, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [("failed", 3, said)]
    assert " ".join(server.value("SELECT error FROM qwen_job_list WHERE id = %s", (job,)).split()).startswith("all rows failed: qwen_dead_letters has them;")
    # one row that is filled in makes it another story, which state and failed tell
    server.query("ALTER TABLE unfilled DROP CONSTRAINT unfilled_answer_check; ALTER TABLE unfilled ADD CHECK (id = 1 OR answer IS NULL); SELECT qwen_retry(%s)", (job,))
    server.value("SELECT qwen_wait(%s, '60 s')", (job,))
    assert server.query("SELECT state, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [("done with failures", 1, 2, None)]
    server.query("SELECT qwen_forget(%s); DROP TABLE unfilled", (job,))


TABLE = "CREATE TABLE kept (id int PRIMARY KEY, body text, s text, e real[], n int); "


def failure_of(server, sql):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql)
    return failure.value.diag


def notices_of(server, *statements):
    connection = server.connect()
    for sql in statements:
        connection.cursor().execute(sql)
    connection.close()
    return "".join(connection.notices)


@pytest.fixture
def kept(server):
    server.query(TABLE)
    yield server
    server.query("DROP TABLE kept CASCADE")


@pytest.mark.parametrize("moment, call, column", [
    ("AFTER", "qwen_enqueue_trigger('s', '{body}')", "s"), ("AFTER", "qwen_enqueue_trigger('s', 'Of {body}, say')", "body"), ("AFTER", "qwen_enqueue_trigger('s', 'body')", "body"),
    ("AFTER", "qwen_enqueue_trigger('{n,\"s\"}', '{body}', 'function=extract')", "s"), ("AFTER", "qwen_enqueue_embed_trigger('e', '{body}')", "e"),
    ("BEFORE", "qwen_summarize_trigger('body', 's')", "body"), ("BEFORE", "qwen_summarize_trigger('body', 's')", "s"), ("BEFORE", "qwen_embed_trigger('body', 'e')", "body"),
    ("BEFORE", "qwen_extract_trigger('body', '{s,n}')", "n"),
])
def test_a_column_that_a_trigger_names_is_missed_when_it_goes_and_later(kept, moment, call, column):
    kept.query(f"CREATE TRIGGER tt {moment} INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION {call}")
    kept.query("ALTER TABLE kept ADD other int")
    assert "WARNING" not in notices_of(kept, "ALTER TABLE kept RENAME other TO another", "ALTER TABLE kept DROP another", "ALTER TABLE kept RENAME CONSTRAINT kept_pkey TO kept_key")
    said = notices_of(kept, f"ALTER TABLE kept RENAME {column} TO anew")
    assert f'WARNING:  trigger "tt" of table "kept" names column "{column}" in its arguments, which is not there any more' in said and '"anew"' in said, said
    told = failure_of(kept, "INSERT INTO kept (id) VALUES (1)")
    assert column in told.message_primary and 'trigger "tt" of table "kept"' in told.context
    assert "make the trigger anew" in (told.message_hint or "") or "renamed by its new name" in (told.message_hint or "") or call.endswith("'body')"), told.message_hint
    assert "WARNING" not in notices_of(kept, f"ALTER TABLE kept RENAME anew TO {column}")
    assert f'names column "{column}"' in notices_of(kept, f"ALTER TABLE kept DROP {column}")


def test_a_partitioned_table_is_told_of_once(server):
    server.query("CREATE TABLE parted (id int PRIMARY KEY, body text, s text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)")
    server.query("CREATE TRIGGER tt AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}')")
    said = notices_of(server, "ALTER TABLE parted RENAME s TO z")
    assert said.count('trigger "tt" of table "parted" names column "s"') == said.count("WARNING") == 1, said
    assert notices_of(server, "ALTER TABLE parted RENAME z TO zz") == ""
    server.query("DROP TABLE parted")


LOST = ' names column "{0}" in its arguments, which is not there any more'


@pytest.mark.parametrize("template, column, named", [
    ("Say {{body}} of {id}", "body", False), ("Say {{{body}}} of {id}", "body", True), ("Of {id}}} and {{ {body}", "body", True), ("{a,b}", "a,b", True), ("{a,b}", "body", False),
    ("{id} and {n,body}", "body", False), ("{ body}", "body", False),
])
def test_a_template_is_read_as_the_trigger_reads_it(kept, template, column, named):
    kept.query('ALTER TABLE kept ADD "a,b" text')
    kept.query(f"CREATE TRIGGER tt AFTER INSERT ON kept FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{template}')")
    assert (LOST.format(column) in notices_of(kept, f'ALTER TABLE kept RENAME "{column}" TO anew')) == named


@pytest.mark.parametrize("argument, column, named", [('{n,"s"}', "s", True), ('{"a,b",n}', "a,b", True), ('{"a,b",n}', "s", False), ("{broken", "s", False), ("{n,NULL}", "n", False)])
def test_a_list_of_columns_is_read_as_the_trigger_reads_it(kept, argument, column, named):
    kept.query('ALTER TABLE kept ADD "a,b" text')
    kept.query(f"CREATE TRIGGER tt BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION qwen_extract_trigger('body', '{argument}')")
    assert (LOST.format(column) in notices_of(kept, f'ALTER TABLE kept RENAME "{column}" TO anew')) == named
    assert "WARNING" not in notices_of(kept, "ALTER TABLE kept DROP id, ADD id int")


FILL = "CREATE TRIGGER tt AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{{body}}'); "


@pytest.mark.parametrize("made, lost, tables, column", [
    ("CREATE DOMAIN words AS text; CREATE TABLE lost (id int PRIMARY KEY, body words, s text); " + FILL.format("lost"), "DROP DOMAIN words CASCADE", ["lost"], "body"),
    ("CREATE SCHEMA lang; CREATE DOMAIN lang.words AS text; CREATE TABLE lost (id int PRIMARY KEY, body lang.words, s text); " + FILL.format("lost"), "DROP SCHEMA lang CASCADE", ["lost"], "body"),
    ("CREATE DOMAIN words AS text; CREATE TABLE lost (id int PRIMARY KEY, body words, s text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF lost DEFAULT; " + FILL.format("lost"),
     "DROP DOMAIN words CASCADE", ["lost"], "body"),
    ("CREATE TYPE shape AS (id int, body text, s text); CREATE TABLE lost OF shape (PRIMARY KEY (id)); " + FILL.format("lost"), "ALTER TYPE shape RENAME ATTRIBUTE body TO anew CASCADE", ["lost"], "body"),
    ("CREATE TYPE shape AS (id int, body text, s text); CREATE TABLE lost OF shape (PRIMARY KEY (id)); " + FILL.format("lost"), "ALTER TYPE shape DROP ATTRIBUTE s CASCADE", ["lost"], "s"),
    ("CREATE TABLE lost (id int, body text, s text); CREATE TABLE one (PRIMARY KEY (id)) INHERITS (lost); CREATE TABLE two (PRIMARY KEY (id)) INHERITS (lost); " + FILL.format("one") + FILL.format("two"),
     "ALTER TABLE lost RENAME body TO anew", ["one", "two"], "body"),
    ("CREATE TABLE lost (id int, body text, s text); CREATE TABLE one (PRIMARY KEY (id)) INHERITS (lost); CREATE TABLE two (PRIMARY KEY (id)) INHERITS (lost); " + FILL.format("one") + FILL.format("two"),
     "ALTER TABLE lost DROP s", ["one", "two"], "s"),
    ("CREATE TABLE lost (id int PRIMARY KEY, body text, s text); " + FILL.format("lost"), "DO $$ BEGIN ALTER TABLE lost DROP body; END $$", ["lost"], "body"),
    # the table goes as well, or another column of the name comes
    ("CREATE DOMAIN words AS text; CREATE TABLE lost (id int PRIMARY KEY, body words, s text); " + FILL.format("lost"), "DROP TABLE lost", [], "body"),
    ("CREATE SCHEMA lang; CREATE DOMAIN lang.words AS text; CREATE TABLE lang.lost (id int PRIMARY KEY, body lang.words, s text); " + FILL.format("lang.lost"), "DROP SCHEMA lang CASCADE", [], "body"),
    ("CREATE TABLE lost (id int PRIMARY KEY, body text, s text); " + FILL.format("lost"), "ALTER TABLE lost DROP body, ADD body varchar", [], "body"),
])
def test_a_column_is_missed_by_whatever_way_it_goes(server, made, lost, tables, column):
    server.query(made)
    try:
        said = [line for line in notices_of(server, lost).split("\n") if "names column" in line]
        assert sorted(said) == [f'WARNING:  trigger "tt" of table "{table}"' + LOST.format(column) for table in tables]
    finally:
        server.query("DROP TABLE IF EXISTS lost CASCADE; DROP TYPE IF EXISTS words, shape CASCADE; DROP SCHEMA IF EXISTS lang CASCADE")


@pytest.mark.parametrize("event", ["ddl_command_start", "sql_drop", "ddl_command_end"])
def test_statements_of_event_triggers_do_not_hide_what_is_said(make_server, event):
    server = make_server(prepared=False)
    body = "BEGIN DROP TABLE IF EXISTS nothing_at_all; BEGIN DROP EXTENSION no_such_thing; EXCEPTION WHEN others THEN NULL; END; ALTER TABLE beside RENAME y TO z; ALTER TABLE beside RENAME z TO y; END"
    server.query("CREATE EXTENSION qwen_pg; CREATE ROLE bound; CREATE TABLE beside (x int, y int); CREATE TABLE kept (id int PRIMARY KEY, body text, s text); " + FILL.format("kept"))
    server.query("SELECT qwen_set_limit('bound', requests_per_minute => 2)")
    server.query(f"""CREATE FUNCTION nests() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 0 AND current_setting('own.inside', true) IS DISTINCT FROM 'yes' THEN
        PERFORM set_config('own.inside', 'yes', false); {body}; PERFORM set_config('own.inside', '', false); END IF; END $$; CREATE EVENT TRIGGER nests ON {event} EXECUTE FUNCTION nests()""")
    said = notices_of(server, "ALTER TABLE kept DROP s", "DROP EXTENSION qwen_pg CASCADE")
    assert "nothing_at_all" in said
    assert said.count(LOST.format("s")) == 1 and said.count("with the extension qwen_pg went 1 role's limits") == 1, said


@pytest.mark.parametrize("kind, call, said", [
    ("BEFORE INSERT ON kept FOR EACH ROW", "qwen_enqueue_trigger('s', '{body}')", "qwen_enqueue_trigger must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW"),
    ("AFTER INSERT ON kept FOR EACH STATEMENT", "qwen_enqueue_trigger('s', '{body}')", "must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW"),
    ("AFTER INSERT OR DELETE ON kept FOR EACH ROW", "qwen_enqueue_embed_trigger('e', '{body}')", "must be an AFTER INSERT OR UPDATE trigger FOR EACH ROW"),
    ("AFTER INSERT ON kept FOR EACH ROW", "qwen_summarize_trigger('body', 's')", "qwen_summarize_trigger must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW"),
    ("BEFORE INSERT ON kept FOR EACH STATEMENT", "qwen_embed_trigger('body', 'e')", "must be a BEFORE INSERT OR UPDATE trigger FOR EACH ROW"),
    ("BEFORE INSERT ON kept FOR EACH ROW", "qwen_extract_trigger('body')", "qwen_extract_trigger takes 2 or more arguments, not 1"),
    ("BEFORE INSERT OR UPDATE OF body ON kept FOR EACH ROW", "qwen_extract_trigger('body', 's')", None),
    ("BEFORE UPDATE ON kept FOR EACH ROW", "qwen_summarize_trigger('body', 's')", None),
])
def test_a_trigger_of_the_wrong_kind_is_told_of_when_it_is_made(kept, kind, call, said):
    notices = notices_of(kept, f"CREATE TRIGGER tt {kind} EXECUTE FUNCTION {call}")
    assert ("WARNING" not in notices) if said is None else ('WARNING:  trigger "tt" cannot fill in rows as it is' in notices and said in notices), notices
    if said and "DELETE" not in kind:
        told = failure_of(kept, "INSERT INTO kept (id, body) VALUES (1, 'x')")
        assert said in told.message_primary and told.context == 'trigger "tt" of table "kept"'


def test_a_job_says_which_trigger_refuses_its_answers(kept):
    kept.query("INSERT INTO kept (id, body) VALUES (1, 'a word'); CREATE TRIGGER tt AFTER UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('zz', '{body}')")
    job = kept.value("SELECT qwen_submit('kept', 'body', 'kept', 's', max_tokens => 2, temperature => 0, max_attempts => 1)")
    assert kept.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
    assert kept.query("SELECT error FROM qwen_dead_letters WHERE job = %s", (job,)) == [('target: table "kept" has no column "zz" (trigger "tt" of table "kept")',)]
    assert 'trigger "tt" of table "kept"' in failure_of(kept, "SELECT qwen_enqueue('kept')").context
    kept.query("SELECT qwen_forget(%s)", (job,))


@pytest.mark.parametrize("call", WRITING)
def test_what_writes_is_refused_in_a_transaction_that_may_only_read(server, call):
    told = failure_of(server, f"BEGIN READ ONLY; SELECT {call}")
    name = call.split("(")[0]
    assert (told.sqlstate, told.message_primary, told.context) == ("25006", f"cannot execute {name}() in a read-only transaction", None)


def test_a_job_of_a_role_that_was_dropped_is_not_retried(server):
    server.query("CREATE ROLE leaver LOGIN; SELECT qwen_grant('leaver', 'use'); GRANT CREATE ON SCHEMA public TO leaver")
    server.query(ROWS.format("orphans", 500), user="leaver")
    job = server.value("SELECT qwen_submit('orphans', 'Say {body}', 'orphans', 'answer', max_tokens => 100)", user="leaver")
    server.query("SELECT qwen_cancel(%s)", (job,))
    wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 20, "no worker")
    server.query("REASSIGN OWNED BY leaver TO CURRENT_USER; DROP OWNED BY leaver; DROP ROLE leaver")
    fatal = server.read_log().count("FATAL")
    told = failure_of(server, f"SELECT qwen_retry({job})")
    assert (told.sqlstate, told.message_primary) == ("55000", f"the role that owns job {job} was dropped") and f"qwen_forget({job})" in told.message_hint
    # one that is still to be done can be ended, and nobody is started for it
    server.query("UPDATE qwen_job_table SET state = 'queued', ended = NULL WHERE id = %s", (job,))
    assert server.value("SELECT qwen_cancel(%s)", (job,))
    assert server.query("SELECT * FROM _qwen_job_workers()") == [] and server.read_log().count("FATAL") == fatal
    server.query("SELECT qwen_forget(%s); DROP TABLE orphans", (job,))


@pytest.mark.parametrize("n, said, trigger_hint", [(9, ": its primary key has 9 columns, at most 8 are possible", "Make another primary key"), (0, " has no primary key", "ADD PRIMARY KEY")])
def test_a_key_of_too_many_columns_is_not_none(server, n, said, trigger_hint):
    names = [f"k{i}" for i in range(n)]
    server.query(f"CREATE TABLE keyed ({''.join(f'{name} int, ' for name in names)} body text, s text" + (f", PRIMARY KEY ({', '.join(names)}))" if n else ")"))
    try:
        told = failure_of(server, "SELECT qwen_submit('keyed', 'body', 'keyed', 's')")
        assert told.message_primary == f'table "keyed"{said}' and "key_columns" in told.message_hint
        assert said in notices_of(server, "CREATE TRIGGER tt AFTER INSERT ON keyed FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'body')")
        told = failure_of(server, "INSERT INTO keyed VALUES (" + "1, " * n + "'x')")
        assert told.message_primary == f'qwen_enqueue_trigger: table "keyed"{said}' and trigger_hint in told.message_hint
    finally:
        server.query("DROP TABLE keyed")


@pytest.mark.parametrize("drop, schema", [("DROP EXTENSION qwen_pg", "public"), ("DROP EXTENSION IF EXISTS plpgsql, qwen_pg CASCADE", "public"), ("DROP SCHEMA held CASCADE", "held"), ("DROP OWNED BY CURRENT_USER CASCADE", "held")])
def test_what_goes_with_the_extension_is_counted(make_server, drop, schema):
    server = make_server(prepared=False)
    server.query("CREATE ROLE bound; CREATE ROLE maker SUPERUSER LOGIN")
    session = server.connect("maker")
    cursor = session.cursor()
    said = lambda: [notice for notice in session.notices if "with the extension" in notice]  # noqa: E731
    make = f"CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path = {schema}; CREATE EXTENSION qwen_pg SCHEMA {schema}"
    cursor.execute(make)
    cursor.execute(drop)
    assert said() == [], "nothing was there"
    cursor.execute(make)
    cursor.execute("SELECT qwen_set_limit('bound', requests_per_minute => 2), qwen_allow_models('bound', '{chat}'), qwen_allow_models('maker', '{chat}')")
    cursor.execute("INSERT INTO qwen_job_row (owner, relation, trigger, key, dead) SELECT 10, 'pg_class'::regclass, 't', '{1}', g = 1 FROM generate_series(1, 4) g")
    # a DROP that fails says nothing, and one of something else neither
    with pytest.raises(psycopg2.Error):
        cursor.execute("DROP EXTENSION qwen_pg, nothing_of_this_name")
    cursor.execute("CREATE SCHEMA other; DROP SCHEMA other CASCADE")
    assert said() == []
    cursor.execute(f"BEGIN; {drop}; ROLLBACK")
    cursor.execute("SELECT count(*) FROM qwen_job_row WHERE dead")
    assert cursor.fetchone() == (1,)
    cursor.execute(drop)
    assert [line.split("\n")[0] for line in said()] == 2 * ["WARNING:  with the extension qwen_pg went 3 queued rows, 1 dead letter, 1 role's limits, 2 roles' allowed models"]
    session.close()


def test_who_may_not_drop_the_extension_does_not_wait_for_its_count(make_server):
    server = make_server(prepared=False)
    server.query("CREATE SCHEMA held; CREATE EXTENSION qwen_pg SCHEMA held; CREATE ROLE plain LOGIN")
    holder, plain = server.connect(), server.connect("plain")
    holder.autocommit = False
    holder.cursor().execute("LOCK held.qwen_job_row, held.qwen_job_table IN ACCESS EXCLUSIVE MODE")
    plain.cursor().execute("SET lock_timeout = '5s'")
    for drop, error in (("DROP EXTENSION qwen_pg", "must be owner of extension"), ("DROP SCHEMA held CASCADE", "must be owner of schema")):
        start = time.monotonic()
        with pytest.raises(psycopg2.Error) as failure:
            plain.cursor().execute(drop)
        assert error in str(failure.value) and time.monotonic() - start < 4
    plain.cursor().execute("DROP OWNED BY plain CASCADE")
    holder.close()
    plain.close()


def test_who_owns_the_schema_is_told_what_went_with_the_extension(make_server):
    server = make_server(prepared=False)
    server.query("CREATE ROLE landlord LOGIN; CREATE ROLE bound; CREATE SCHEMA qs AUTHORIZATION landlord; CREATE EXTENSION qwen_pg SCHEMA qs; SELECT qs.qwen_set_limit('bound', requests_per_minute => 2)")
    for drop in ("BEGIN; DROP SCHEMA qs CASCADE; ROLLBACK", "BEGIN; DO $$ BEGIN DROP OWNED BY landlord CASCADE; END $$; ROLLBACK", "DROP OWNED BY landlord CASCADE"):
        session = server.connect("landlord")
        session.cursor().execute(drop)
        said = "".join(session.notices)
        assert "drop cascades to extension qwen_pg" in said and said.count("WARNING:  with the extension qwen_pg went 1 role's limits") == 1, said
        session.close()
