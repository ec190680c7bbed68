"""The library serves the script of the version before, and an update of that makes the catalogs of a fresh install with users' objects in place."""
import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready
from test_13_databases import sql_in

OLD = "0.1.0"


@pytest.fixture(scope="module")
def house():
    server = ready(Cluster(settings={"max_worker_processes": 16}))
    yield server
    server.remove()


@pytest.fixture
def old_database(house):
    """The name of a database in which the old script was run."""
    made = []

    def make(name):
        house.query(f"CREATE DATABASE {name}")
        made.append(name)
        sql_in(house, name, f"CREATE EXTENSION qwen_pg VERSION '{OLD}'")
        return name

    yield make
    for name in made:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)) == 0, 20, "nobody in the database")
        house.query(f"DROP DATABASE {name}")


def connect(server, database, user=None):
    connection = psycopg2.connect(host=server.folder, port=server.port, user=user or server.environment()["PGUSER"], dbname=database)
    connection.autocommit = True
    return connection


# ---- arguments ----

MESSAGES = """'[{"role": "user", "content": "Hi"}]'"""
SAMPLES = {
    "text": "'two words'", "text[]": "ARRAY['two', 'words']", "json": f"{MESSAGES}::json", "jsonb": f"{MESSAGES}::jsonb", "integer": "5", "integer[]": "ARRAY[5, 6]",
    "bigint": "5", "real": "1", "real[]": "qwen_embed('two words')", "double precision": "1", "boolean": "false", "regrole": "'pg_signal_backend'::regrole", "regclass": "'pg_class'::regclass", "name": "'x'",
    "name[]": "ARRAY['x']::name[]", "interval": "'0 s'::interval",
}
TAIL = {"max_tokens": "2", "temperature": "0", "stop": "ARRAY['never-said']", "seed": "1", "tools": "NULL", "tools_jsonb": "NULL", "response_format": "NULL", "schema": "'{\"const\": 1}'", "adapter": "NULL", "model": "'chat'", "options": "NULL",
        "system": "'Be short.'", "repetition_penalty": "1", "dimensions": "3", "max_words": "9", "overlap": "1", "file": "'no-such-file'"}
FUNCTIONS = """SELECT p.proname, p.pronargs, p.pronargdefaults, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n) ORDER BY n), p.proargnames
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'qwen_pg'
    WHERE p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype AND NOT 'internal'::regtype = ANY (p.proargtypes) ORDER BY 1, 4"""
# what changes from call to call, changes something, or is gone
UNEQUAL = ("qwen_change_privilege", "qwen_activity", "qwen_engine_status", "qwen_engine_memory", "qwen_health", "qwen_request_totals", "qwen_role_totals", "qwen_models_status", "qwen_usage_rows",
           "qwen_job_unserved", "qwen_job_workers", "qwen_chat_full", "qwen_privilege_of")
SAMPLED = ("qwen_chat", "qwen_chat_stream", "qwen_generate", "qwen_generate_batch")  # unless temperature is 0


def test_the_old_script_against_the_new_library(house, old_database):
    """Every function with each number of arguments, also NULL ones: what the new script's give, and no session ends."""
    name = old_database("old_script")
    old, new = connect(house, name).cursor(), house.connect().cursor()
    crashes = house.read_log().count("was terminated by signal")
    for cursor in (old, new):
        cursor.execute("SET qwen.max_tokens = 2")
    old.execute(FUNCTIONS)
    new.execute("SELECT substr(proname, 2) FROM pg_proc WHERE proname LIKE '\\_qwen\\_%'")
    internal = {name for name, in new.fetchall()}
    called = compared = 0
    for function, n_arguments, n_defaults, types, names in old.fetchall():
        for n in range(n_arguments - n_defaults, n_arguments + 1):
            values = [TAIL.get(argument, SAMPLES[kind]) for kind, argument in zip(types, names or [""] * n)][:n]
            rows = {("NULL",) * n}
            if n in (n_arguments - n_defaults, n_arguments) or n % 4 == 0:
                rows |= {tuple(values), tuple(values[:1] + ["NULL"] * (n - 1))}
            for row in rows:
                call = f"{function}({', '.join(f'{value}::{kind}' for value, kind in zip(row, types))})"
                results = []
                for cursor in (old, new):
                    try:
                        cursor.execute(f"SELECT * FROM {'_' if cursor is new and function in internal else ''}{call}")
                        results.append(cursor.fetchall())
                    except psycopg2.Error as error:
                        assert error.pgcode and error.pgcode[:2] in ("22", "42", "0A", "54"), (call, error)
                        results.append((error.pgcode, error.diag.message_primary))
                called += 1
                is_drawn = function in SAMPLED and row[0] != "NULL" and ("temperature", "0") not in zip(names, row)
                if function not in UNEQUAL and not is_drawn:
                    assert results[0] == results[1], (call, results)
                    compared += 1
    assert called > 500 and compared > 400
    old.execute("SELECT (qwen_chat_full('Hi', temperature => 0, max_tokens => 2)).content = qwen_chat('Hi', temperature => 0, max_tokens => 2)")
    assert old.fetchall() == [(True,)]
    old.execute("SELECT qwen_summarize_agg(t), qwen_chat_agg(t, 'Join') FROM (VALUES ('a'), ('b')) v(t)")
    aggregates = old.fetchall()
    new.execute("SELECT qwen_summarize_agg(t), qwen_chat_agg(t, 'Join') FROM (VALUES ('a'), ('b')) v(t)")
    assert aggregates == new.fetchall()
    assert house.read_log().count("was terminated by signal") == crashes
    for cursor in (old, new):
        cursor.connection.close()


def test_functions_declared_with_other_arguments_are_refused(house):
    """Each C symbol with no argument at all and with a hundred: an error that says what to do."""
    cursor = house.connect().cursor()
    cursor.execute("""SELECT DISTINCT p.prosrc, p.pronargs - p.pronargdefaults FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'qwen_pg' JOIN pg_language l ON l.oid = p.prolang WHERE lanname = 'c' AND p.prokind = 'f'
        AND p.prorettype <> 'trigger'::regtype""")
    symbols = cursor.fetchall()
    assert len(symbols) > 40
    for symbol, needed in symbols:
        for n, hint in ((0, "ALTER EXTENSION qwen_pg UPDATE"), (99, "restart")):
            if n == 0 and needed == 0:
                continue
            parameters = ", ".join(["text"] * n)
            cursor.execute(f"DROP FUNCTION IF EXISTS odd; CREATE FUNCTION odd({parameters}) RETURNS text AS '$libdir/qwen_pg', '{symbol}' LANGUAGE C")
            with pytest.raises(psycopg2.Error) as failure:
                cursor.execute(f"SELECT odd({', '.join(['NULL'] * n)})")
            assert failure.value.pgcode == "55000" and hint in failure.value.diag.message_hint and "odd" in failure.value.diag.message_primary, (symbol, n, failure.value)
    # the plan node calls them without their C function
    cursor.execute("DROP FUNCTION odd(%s); CREATE FUNCTION odd() RETURNS text AS '$libdir/qwen_pg', 'qwen_translate' LANGUAGE C; SET qwen.batch_plans = on" % ", ".join(["text"] * 99))
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("SELECT odd() FROM generate_series(1, 3)")
    assert failure.value.pgcode == "55000"
    cursor.execute("DROP FUNCTION odd()")
    cursor.connection.close()


WITH_OPTIONS = """SELECT p.proname, p.pronargs - p.pronargdefaults, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a(t, n) ORDER BY n), p.proargnames
    FROM pg_proc p WHERE p.proname LIKE 'qwen\\_%' AND p.prokind = 'f' AND 'options' = ANY (p.proargnames) AND p.proname <> 'qwen_load_model'"""  # has keys of its own


def test_options_are_an_object_of_known_keys(house):
    cursor = house.connect().cursor()
    cursor.execute(WITH_OPTIONS)
    functions = cursor.fetchall()
    assert {name for name, _, _, _ in functions} == {
        "qwen_chat", "qwen_chat_full", "qwen_chat_stream", "qwen_generate", "qwen_fill_in", "qwen_generate_batch", "qwen_summarize", "qwen_translate", "qwen_extract", "qwen_classify", "qwen_classify_scores", "qwen_classify_multi", "qwen_classify_multi_scores", "qwen_score", "qwen_entities", "qwen_redact", "qwen_moderate", "qwen_filter", "qwen_sentiment", "qwen_embed",
        "qwen_embed_batch", "qwen_similarity", "qwen_similarity_to", "qwen_rerank", "qwen_rerank_score", "qwen_chunk", "qwen_tokenize", "qwen_detokenize", "qwen_count_tokens", "qwen_render_chat", "qwen_logprobs", "qwen_submit"}
    cursor.execute("CREATE TABLE optional (id int PRIMARY KEY, body text, answer text, e real[])")
    for name, n, types, names in functions:
        given = ["'optional'", "'Say {body}'", "'optional'::regclass", "'answer'"] if name == "qwen_submit" else [SAMPLES.get(kind) for kind in types[:n]]
        if name == "qwen_extract":
            given[1] = TAIL["schema"]
        more = [f"max_tokens => {600 if name == 'qwen_chunk' else 20 if name in ('qwen_entities', 'qwen_redact') else 1}"] if "max_tokens" in names else []
        for options, message in ((f"'{{\"colour\": 1}}'", 'the key "colour" is not known'), ("'[1]'", "must be a JSON object"), ("'\"x\"'", "must be a JSON object"), ("'null'", "must be a JSON object"), ("'{}'", None), ("NULL", None)):
            call = f"SELECT * FROM {name}({', '.join(given + more)}, options => {options})"
            if message is None and name == "qwen_fill_in":  # the demo model fills no gaps
                with pytest.raises(psycopg2.Error) as failure:
                    cursor.execute(call)
                assert failure.value.pgcode == "0A000" and "was not made to fill gaps" in str(failure.value)
                continue
            if message is None:
                cursor.execute(call)
                continue
            if name.endswith("_batch"):  # an element's own error
                cursor.execute(call)
                assert message in str(cursor.fetchall()) + str(cursor.connection.notices), call
                continue
            with pytest.raises(psycopg2.Error) as failure:
                cursor.execute(call)
            assert failure.value.pgcode == "22023" and message in failure.value.diag.message_primary, (call, failure.value)
            if "colour" in message:
                assert "knows no keys" in failure.value.diag.message_detail or "known keys are" in failure.value.diag.message_detail
    # rows of a plan, and arguments of triggers
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("SELECT qwen_embed(body, options => '{\"a\": 1}') FROM (VALUES ('x'), ('y')) v(body)")
    assert failure.value.pgcode == "22023"
    for function in ("qwen_enqueue_trigger('answer'", "qwen_enqueue_embed_trigger('e'"):
        cursor.execute(f"CREATE OR REPLACE TRIGGER t AFTER INSERT ON optional FOR EACH ROW EXECUTE FUNCTION {function}, '{{body}}', 'options={{\"a\": 1}}')" if house.value("SHOW server_version_num") >= "140000" else
                       f"DROP TRIGGER IF EXISTS t ON optional; CREATE TRIGGER t AFTER INSERT ON optional FOR EACH ROW EXECUTE FUNCTION {function}, '{{body}}', 'options={{\"a\": 1}}')")
        with pytest.raises(psycopg2.Error) as failure:
            cursor.execute("INSERT INTO optional VALUES (1, 'x')")
        assert failure.value.pgcode == "22023" and '"a"' in failure.value.diag.message_primary
    cursor.execute("DROP TABLE optional")
    cursor.connection.close()


# ---- the update ----

MEMBERS = "SELECT d.classid, d.objid, d.objsubid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass WHERE x.extname = 'qwen_pg' AND d.deptype = 'e'"
RELATIONS = f"SELECT objid FROM ({MEMBERS}) m WHERE classid = 'pg_class'::regclass"
CATALOGS = {
    "members": f"SELECT pg_describe_object(classid, objid, objsubid) FROM ({MEMBERS}) m ORDER BY 1",
    "functions": f"""SELECT (to_jsonb(p) - 'oid' - 'prorettype' - 'proargtypes' - 'proallargtypes' - 'pronamespace' - 'proowner' - 'proargdefaults' - 'proacl')::text, p.oid::regprocedure::text,
        p.prorettype::regtype::text, ARRAY(SELECT t::regtype::text FROM unnest(p.proallargtypes) t), pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.pronamespace::regnamespace::text,
        (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(p.proacl) a), obj_description(p.oid, 'pg_proc'),
        (SELECT jsonb_build_object('kind', aggkind, 'trans', aggtransfn::text, 'final', aggfinalfn::text, 'type', aggtranstype::regtype::text, 'modify', aggfinalmodify, 'extra', aggfinalextra, 'init', agginitval)::text
            FROM pg_aggregate WHERE aggfnoid = p.oid)
        FROM pg_proc p WHERE p.oid IN (SELECT objid FROM ({MEMBERS}) m WHERE classid = 'pg_proc'::regclass) ORDER BY 2""",
    "initial privileges": f"""SELECT pg_describe_object(i.classoid, i.objoid, i.objsubid), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(i.initprivs) a) FROM pg_init_privs i
        JOIN ({MEMBERS}) m ON m.classid = i.classoid AND m.objid = i.objoid ORDER BY 1""",
    "relations": f"""SELECT c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relreplident, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a),
        obj_description(c.oid, 'pg_class'), CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END, c.relhastriggers, c.relhasrules FROM pg_class c
        WHERE c.oid IN ({RELATIONS}) OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN ({RELATIONS})) ORDER BY 1""",
    "columns": f"""SELECT c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcollation::regcollation::text,
        pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND (c.oid IN ({RELATIONS}) OR c.reltype IN (SELECT objid FROM ({MEMBERS}) m WHERE classid = 'pg_type'::regclass)) ORDER BY 1, 3""",
    "dropped columns": f"SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attisdropped AND attrelid IN ({RELATIONS})",
    "constraints": f"SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE conrelid IN ({RELATIONS}) ORDER BY 1, 2",
    "indexes": f"SELECT pg_get_indexdef(indexrelid), indisunique, indisprimary, indisvalid FROM pg_index WHERE indrelid IN ({RELATIONS}) ORDER BY 1",
    "triggers": f"SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled, tgisinternal FROM pg_trigger WHERE tgrelid IN ({RELATIONS}) ORDER BY 1, 2",
    "policies": f"SELECT polrelid::regclass::text, polname, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE polrelid IN ({RELATIONS}) ORDER BY 1, 2",
    "types": f"SELECT t.typname, t.typtype, obj_description(t.oid, 'pg_type'), (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(t.typacl) a) FROM pg_type t WHERE t.oid IN (SELECT objid FROM ({MEMBERS}) m WHERE classid = 'pg_type'::regclass) ORDER BY 1",
    "extension": "SELECT extversion, extrelocatable, extnamespace::regnamespace::text, ARRAY(SELECT c::regclass::text FROM unnest(extconfig) c ORDER BY 1), extcondition FROM pg_extension WHERE extname = 'qwen_pg'",
    "event triggers": "SELECT evtname FROM pg_event_trigger",
    "left behind": "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend WHERE refclassid = 'pg_proc'::regclass AND NOT EXISTS (SELECT 1 FROM pg_proc WHERE oid = refobjid) AND deptype <> 'p'",
}


def catalogs(server, database):
    cursor = connect(server, database).cursor()
    rows = {}
    for name, sql in CATALOGS.items():
        cursor.execute(sql)
        rows[name] = cursor.fetchall()
    cursor.connection.close()
    return rows


def test_an_update_makes_the_catalogs_of_a_fresh_install(house, old_database):
    name = old_database("updated")
    sql_in(house, name, "ALTER EXTENSION qwen_pg UPDATE")
    house.query("CREATE DATABASE fresh")
    sql_in(house, "fresh", "CREATE EXTENSION qwen_pg")
    updated, fresh = catalogs(house, name), catalogs(house, "fresh")
    house.query("DROP DATABASE fresh")
    assert len(fresh["functions"]) > 60 and len(fresh["relations"]) > 20
    for part in CATALOGS:
        assert [row for row in updated[part] if row not in fresh[part]] == [], part
        assert [row for row in fresh[part] if row not in updated[part]] == [], part
        assert updated[part] == fresh[part], part


USERS = """
CREATE ROLE keeper LOGIN; SELECT qwen_grant('keeper', 'use'), qwen_grant('keeper', 'admin'); CREATE ROLE half; GRANT EXECUTE ON FUNCTION qwen_set_limit, qwen_monitor TO half; SELECT qwen_set_limit('keeper', requests_per_minute => 1000, tokens_per_day => 12345678901); SELECT qwen_allow_models('keeper', ARRAY['chat']);
GRANT ALL ON SCHEMA public TO keeper; SET ROLE keeper;
CREATE TABLE letters (id int PRIMARY KEY, body text, summary text, answer text, e real[], CHECK (qwen_count_tokens(body) < 100));
CREATE VIEW answers AS SELECT id, qwen_generate(body, max_tokens => 1, temperature => 0) AS answer, qwen_embed(body, dimensions => 3) AS e, (qwen_chat_full(body, temperature => 0, max_tokens => 1)).content FROM letters;
CREATE VIEW pieces AS SELECT l.id, c.chunk, s.label FROM letters l, qwen_chunk(body, 16) c, qwen_classify_scores(body, ARRAY['a', 'b']) s;
CREATE VIEW totals AS SELECT qwen_summarize_agg(body) AS all_of_them, count(*) AS n FROM letters;
CREATE VIEW states AS SELECT j.state, e.state AS engine, m.name FROM qwen_jobs j, qwen_stat_engine e, qwen_models m;
CREATE MATERIALIZED VIEW counted AS SELECT id, qwen_count_tokens(body) AS n FROM letters;
CREATE FUNCTION ask(t text) RETURNS text LANGUAGE sql AS $$ SELECT qwen_generate(t, max_tokens => 1, temperature => 0) $$;
CREATE TRIGGER s BEFORE INSERT OR UPDATE OF body ON letters FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary', '5');
CREATE TRIGGER e AFTER INSERT OR UPDATE OF body ON letters FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('e', '{body}');
INSERT INTO letters (id, body) SELECT g, 'It rained on day ' || g FROM generate_series(1, 3) g;
SELECT qwen_submit('letters', 'Say {body}', 'letters', 'answer', max_tokens => 2, temperature => 0);
RESET ROLE;
"""
# each is true before the update and after it
HOLDS = """
SELECT string_agg(answer || content || array_length(e, 1), ',' ORDER BY id) FROM answers; SELECT count(*), count(DISTINCT label) FROM pieces; SELECT all_of_them IS NOT NULL, n FROM totals;
SELECT name, engine FROM states; SELECT sum(n) FROM counted; SELECT ask('one two three'); SELECT requests_per_minute, tokens_per_day FROM qwen_limits; SELECT models FROM qwen_allowed_models;
SELECT count(*) FROM pg_proc p WHERE proname IN ('qwen_chat', 'qwen_embed', 'qwen_submit', 'qwen_chunk', 'qwen_wait') AND NOT has_function_privilege(p.oid, 'EXECUTE')
"""
# what stands beside EXECUTE since 0.2.0, for whoever had all functions of a privilege; who administers sees by that
RIGHTS = """SELECT string_agg(format('%s %s', r, t), ', ' ORDER BY r, t) FROM unnest(ARRAY['keeper', 'half']) r, unnest(ARRAY['qwen_may_admin', 'qwen_may_monitor']) t
WHERE has_type_privilege(r, t, 'USAGE')"""


def test_what_users_have_built_lives_through_an_update(house, old_database):
    name = old_database("lived_in")
    sql_in(house, name, USERS)
    before = sql_in(house, name, HOLDS, "keeper")
    assert before.splitlines()[-1] == "0" and "running" in before
    definitions = sql_in(house, name, "SELECT pg_get_viewdef(c.oid) FROM pg_class c WHERE relkind = 'v' AND relowner = 'keeper'::regrole ORDER BY relname")
    # a session that has planned them already, and one in the middle of a cursor
    open_session = connect(house, name, "keeper")
    cursor = open_session.cursor()
    cursor.execute("PREPARE p AS SELECT id, qwen_generate(body, max_tokens => 1, temperature => 0) FROM letters ORDER BY id")
    for _ in range(7):
        cursor.execute("EXECUTE p")
        prepared = cursor.fetchall()
    reading = connect(house, name, "keeper")
    reading.autocommit = False
    reader = reading.cursor(name="c")
    reader.itersize = 1
    reader.execute("SELECT qwen_generate(body, max_tokens => 1, temperature => 0) FROM letters ORDER BY id")
    first = reader.fetchone()
    # what is queued waits, and says so
    assert sql_in(house, name, "SELECT state FROM qwen_jobs", "keeper") == "queued"
    assert sql_in(house, name, "SELECT count(e) FROM letters") == "0"
    sql_in(house, name, "ALTER EXTENSION qwen_pg UPDATE")
    assert first == (prepared[0][1],) and [row[0] for row in reader.fetchall()] == [row[1] for row in prepared[1:]]
    reading.close()
    cursor.execute("EXECUTE p")
    assert cursor.fetchall() == prepared
    open_session.close()
    assert sql_in(house, name, HOLDS, "keeper") == before
    assert sql_in(house, name, "SELECT pg_get_viewdef(c.oid) FROM pg_class c WHERE relkind = 'v' AND relowner = 'keeper'::regrole ORDER BY relname") == definitions
    wait_until(lambda: sql_in(house, name, "SELECT count(e) || ' ' || count(answer) FROM letters; SELECT state FROM qwen_jobs", "keeper") == "3 3\ndone", 30, "what was queued before")
    assert sql_in(house, name, RIGHTS) == "half qwen_may_monitor, keeper qwen_may_admin"
    sql_in(house, name, "SELECT qwen_set_limit('keeper', requests_per_minute => 999)", "keeper")
    # and all of it goes on: new rows, new jobs, options in the old views' functions
    sql_in(house, name, "INSERT INTO letters (id, body) VALUES (4, 'And then it was dry'); SELECT qwen_submit('letters', 'Say {body}', 'letters', 'answer', max_tokens => 2, temperature => 0, options => '{}'); SELECT qwen_wait(max(id), '30 s') FROM qwen_jobs", "keeper")
    wait_until(lambda: sql_in(house, name, "SELECT count(e) FROM letters WHERE summary IS NOT NULL") == "4", 30, "the new row")
    sql_in(house, name, "DROP VIEW answers; CREATE VIEW answers AS SELECT qwen_generate(body, options => '{}') AS answer FROM letters; REFRESH MATERIALIZED VIEW counted", "keeper")
    sql_in(house, name, "DROP OWNED BY keeper, half CASCADE; SELECT qwen_clear_limit('keeper'), qwen_allow_models('keeper', NULL)")
    house.query("DROP ROLE keeper, half")
