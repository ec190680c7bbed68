"""Nobody writes the extension's tables but its functions, whatever privileges a role has; and the extension where it is renamed, moved or replicated."""
import time

import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready
from test_13_databases import sql_in
from test_17_update import OLD, connect

TABLES = ("qwen_job_table", "qwen_job_row", "qwen_role_limit", "qwen_role_models")
# what a hostile role would have a worker call as somebody else
TRAP = """CREATE SCHEMA hostile; GRANT ALL ON SCHEMA hostile TO PUBLIC; CREATE TABLE sprung (who text); GRANT ALL ON sprung TO PUBLIC;
CREATE FUNCTION hostile.trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sprung VALUES (current_user); RETURN 1; END $$;
CREATE TABLE hostile.bait (id int PRIMARY KEY, body text, answer text); INSERT INTO hostile.bait VALUES (1, 'x'); GRANT ALL ON hostile.bait TO PUBLIC;"""
JOB = """INSERT INTO {table} (owner, session_role, outer_role, source, search_path, target, target_column, key_columns, key_types, prompt, function, max_words, dimensions, priority, max_attempts, total)
    VALUES ({owner}, {owner}, {owner}, 'SELECT hostile.trap() AS id, ''x'' AS body', 'hostile', 'hostile.bait'::regclass, 'answer', ARRAY['id'], ARRAY['integer'], 'body', 'chat', 60, 0, 0, 5, 1)"""


@pytest.fixture(scope="module")
def house():
    server = Cluster(settings={"max_worker_processes": 24, "wal_level": "logical", "max_replication_slots": 8})
    try:
        server.start()
        # rights that were given long before
        server.query("CREATE ROLE heir LOGIN; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO heir; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO heir; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO heir;"
                     "ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO heir; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC")
        server.query("CREATE ROLE writer LOGIN; CREATE ROLE unseen LOGIN BYPASSRLS; CREATE ROLE victim LOGIN; CREATE ROLE boss LOGIN")
        if server.value("SELECT count(*) FROM pg_roles WHERE rolname = 'pg_write_all_data'"):
            server.query("GRANT pg_write_all_data, pg_read_all_data TO writer, unseen")
        yield ready_after_defaults(server)
    finally:
        server.remove()


def ready_after_defaults(server):
    server.query("CREATE EXTENSION qwen_pg")
    assert server.value("SELECT qwen_chat('Hi', temperature => 0, max_tokens => 1)") is not None
    server.query(TRAP)
    for role in ("writer", "unseen", "heir", "victim"):
        server.query(f"SELECT qwen_grant('{role}', 'use')")
    # even somebody who was given them by hand
    server.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO unseen; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO unseen")
    return server


def refused(server, sql, user):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, user=user)
    assert failure.value.pgcode == "42501", (sql, failure.value)


@pytest.mark.parametrize("role", ["writer", "unseen", "heir"])
def test_who_may_write_all_tables_becomes_nobody_else(house, role):
    """A row of the queue with another owner, by each way in that SQL has."""
    job = house.value("SELECT qwen_submit('hostile.bait', 'Say {body}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)", user="victim")
    house.query("SELECT qwen_wait(%s, '30 s')", (job,))
    assert house.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,)) == "done"
    superuser = house.value("SELECT oid FROM pg_roles WHERE rolsuper ORDER BY oid LIMIT 1")
    for owner in (superuser, "'victim'::regrole", "'boss'::regrole", "current_user::regrole"):
        refused(house, JOB.format(table="qwen_job_table", owner=owner), role)
    for sql in ("INSERT INTO qwen_job_row (owner, relation, trigger, key) VALUES (10, 'hostile.bait'::regclass, 't', ARRAY['1'])",
                "WITH t AS (INSERT INTO qwen_job_row (owner, job, key) VALUES (10, 1, ARRAY['1']) RETURNING 1) SELECT * FROM t",
                "INSERT INTO qwen_role_limit (role, priority) VALUES (current_user::regrole, 1000)", "INSERT INTO qwen_role_models VALUES (current_user::regrole, ARRAY['chat'])",
                "INSERT INTO qwen_limits (role, priority) VALUES (current_user::regrole, 1000)", "INSERT INTO qwen_allowed_models VALUES (current_user::regrole, ARRAY['chat'])",
                *(f"TRUNCATE {table}" for table in TABLES)):
        refused(house, sql, role)
    house.query("SELECT qwen_set_limit('writer', priority => 1), qwen_set_limit('unseen', priority => 1), qwen_set_limit('heir', priority => 1)")
    # rows that are there: not seen, or not theirs to change
    for sql in (f"UPDATE qwen_job_table SET owner = 10, state = 'queued', exhausted = false, source = 'SELECT hostile.trap() AS id', search_path = 'hostile' WHERE id = {job}", "DELETE FROM qwen_job_table",
                "UPDATE qwen_role_limit SET priority = 1000", "UPDATE qwen_limits SET priority = 1000", "DELETE FROM qwen_limits", "DELETE FROM qwen_role_limit"):
        try:
            house.query(sql, user=role)
        except psycopg2.Error as error:
            assert error.pgcode == "42501", (sql, error)
    assert house.query("SELECT owner::regrole::text, state, source FROM qwen_job_table WHERE id = %s", (job,)) == [("victim", "done", None)]
    assert house.query("SELECT DISTINCT priority FROM qwen_limits") == [(1,)] and house.value("SELECT count(*) FROM qwen_limits") == 3
    connection = house.connect(role)
    import io

    for columns, row in (("owner, relation, trigger, key", "10\t1\tt\t{1}\n"), ("owner, job, key", f"10\t{job}\t{{1}}\n")):
        with pytest.raises(psycopg2.Error) as failure:
            connection.cursor().copy_expert(f"COPY qwen_job_row ({columns}) FROM STDIN", io.StringIO(row))
        assert failure.value.pgcode in ("42501", "0A000"), failure.value  # where row-level security holds there is no COPY at all
    # a view, a rule, a child, a trigger, a function of ours that is not theirs
    for sql in ("CREATE VIEW hostile.v AS SELECT * FROM qwen_job_row; INSERT INTO hostile.v (owner, relation, trigger, key) VALUES (10, 1, 't', ARRAY['1'])", "CREATE TABLE hostile.child () INHERITS (qwen_job_table)",
                "CREATE RULE r AS ON INSERT TO qwen_job_row DO ALSO SELECT 1", "ALTER TABLE qwen_job_table DISABLE TRIGGER qwen_guard", "DROP TRIGGER qwen_guard ON qwen_job_table",
                "CREATE POLICY p ON qwen_job_table USING (true)", "SELECT qwen_grant(current_user::regrole, 'admin')", "SET session_replication_role = replica"):
        with pytest.raises(psycopg2.Error) as failure:
            house.query(sql, user=role)
        assert failure.value.pgcode == "42501", (sql, failure.value)
    connection.close()
    house.query("SELECT qwen_clear_limit('writer'), qwen_clear_limit('unseen'), qwen_clear_limit('heir')")
    assert house.query("SELECT * FROM sprung") == []


def test_default_privileges_give_and_take_nothing(house):
    house.query("CREATE DATABASE defaults")
    grants = "SELECT pg_describe_object(d.classid, d.objid, 0), a.grantee::regrole::text, a.privilege_type FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'qwen_pg', LATERAL (" \
             "SELECT relacl, relowner FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid UNION ALL SELECT proacl, proowner FROM pg_proc WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid UNION ALL " \
             "SELECT typacl, typowner FROM pg_type WHERE d.classid = 'pg_type'::regclass AND oid = d.objid) o(acl, owner), LATERAL aclexplode(o.acl) a WHERE d.deptype = 'e' AND a.grantee NOT IN (0, o.owner)"
    sequences = "SELECT relname, relacl::text FROM pg_class WHERE relkind = 'S' AND relname LIKE 'qwen%' AND relacl::text LIKE '%heir%'"
    defaults = "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO heir; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO heir; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO heir; ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO heir;" \
               "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;"
    everybody = "SELECT qwen_health() IS NOT NULL; SELECT count(*) >= 0 FROM qwen_models, qwen_stat_engine; SELECT count(*) >= 0 FROM qwen_stat_activity, qwen_stat_requests, qwen_stat_roles, qwen_jobs, qwen_dead_letters, qwen_trigger_backlog, qwen_limits," \
                " qwen_allowed_models, qwen_usage; SELECT has_type_privilege('qwen_response', 'USAGE')"
    try:
        sql_in(house, "defaults", defaults + "CREATE EXTENSION qwen_pg")
        assert sql_in(house, "defaults", grants) == "" and sql_in(house, "defaults", sequences) == ""
        assert sql_in(house, "defaults", everybody, "victim").splitlines() == ["t"] * 4
        # and of an older version's tables, while grants on functions stay
        sql_in(house, "defaults", f"DROP EXTENSION qwen_pg; CREATE EXTENSION qwen_pg VERSION '{OLD}'; SELECT qwen_grant('victim', 'use'); ALTER EXTENSION qwen_pg UPDATE")
        assert {line.split("|")[0].split()[0] for line in sql_in(house, "defaults", grants).splitlines()} <= {"function", "view", "type"}
        assert sql_in(house, "defaults", sequences) == ""
        assert sql_in(house, "defaults", everybody, "victim").splitlines() == ["t"] * 4
        assert sql_in(house, "defaults", "SELECT qwen_count_tokens('x') > 0", "victim") == "t"
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'defaults'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE defaults")


@pytest.mark.parametrize("table", TABLES)
def test_a_trigger_on_the_tables_does_not_run_as_their_owner(house, table):
    """GRANT ALL ON ALL TABLES, as many do it, gives TRIGGER too: what the extension writes as the tables' owner would run it."""
    house.query(f"GRANT ALL ON {table} TO heir; CREATE TABLE own (id int PRIMARY KEY, body text, answer text, e real[]); CREATE TRIGGER e AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('e', '{{body}}')")
    writes = {"qwen_job_table": ["SELECT qwen_submit('own', 'Say {body}', 'own', 'answer', max_tokens => 1, temperature => 0)"],
              "qwen_job_row": ["INSERT INTO own VALUES (1, 'x')", "SELECT qwen_submit('own', 'Say {body}', 'own', 'answer', max_tokens => 1, temperature => 0)", "SELECT qwen_retry_table('own')"],
              "qwen_role_limit": ["SELECT qwen_set_limit('boss', priority => 2)", "SELECT qwen_clear_limit('boss')"], "qwen_role_models": ["SELECT qwen_allow_models('boss', NULL)"]}[table]
    for when, level in (("BEFORE", "ROW"), ("AFTER", "ROW"), ("BEFORE", "STATEMENT"), ("AFTER", "STATEMENT")):
        house.query("CREATE OR REPLACE FUNCTION hostile.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sprung VALUES (current_user); RETURN NEW; END $$;"
                    f'CREATE TRIGGER " a" {when} INSERT OR UPDATE OR DELETE ON {table} FOR EACH {level} EXECUTE FUNCTION hostile.spring()', user="heir")
        for sql in writes:
            with pytest.raises(psycopg2.Error) as failure:
                house.query(sql)
            assert failure.value.pgcode == "42501" and 'trigger " a"' in failure.value.diag.message_primary, (sql, failure.value)
        house.query(f'DROP TRIGGER " a" ON {table}')
    # its name makes no trigger one of ours
    taken = house.value(f"SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgrelid = '{table}'::regclass").split()
    for name in {"qwen_guard", "qwen_guard_truncate", "qwen_limits_changed"} - set(taken):
        house.query(f'CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION hostile.spring()', user="heir")
        for sql in writes:
            with pytest.raises(psycopg2.Error) as failure:
                house.query(sql)
            assert failure.value.pgcode == "42501" and name in failure.value.diag.message_primary, (sql, failure.value)
        house.query(f"DROP TRIGGER {name} ON {table}")
    # it cannot come in between either
    writing = house.connect()
    writing.autocommit = False
    writing.cursor().execute(writes[0])
    with pytest.raises(psycopg2.Error) as failure:
        house.query(f'SET lock_timeout = 200; CREATE TRIGGER " a" BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION hostile.spring()', user="heir")
    assert failure.value.pgcode == "55P03"
    writing.rollback()
    writing.close()
    # a foreign key is a trigger too
    house.query(f"SET search_path = public; CREATE TABLE hostile.child (k {'regrole' if 'role' in table else 'bigint'} REFERENCES {table})", user="heir")
    with pytest.raises(psycopg2.Error) as failure:
        house.query(writes[0])
    assert failure.value.pgcode == "42501" and 'foreign key "child_k_fkey"' in failure.value.diag.message_primary
    assert "ALTER TABLE hostile.child DROP CONSTRAINT child_k_fkey" in failure.value.diag.message_hint
    house.query(f"DROP TABLE hostile.child; REVOKE ALL ON {table} FROM heir; DROP FUNCTION hostile.spring()")
    house.query(writes[0])
    wait_until(lambda: house.value("SELECT count(*) FROM qwen_jobs WHERE state IN ('queued', 'running')") == 0, 30, "the jobs' end")
    assert house.query("SELECT * FROM sprung") == []
    house.query("DROP TABLE own")


def test_a_job_that_stood_in_an_unguarded_table_waits_for_its_owner(house):
    """Under the old script others could write: the update stops what they may have queued, and the owner can go on with it."""
    house.query("CREATE DATABASE unguarded")
    try:
        sql_in(house, "unguarded", f"CREATE EXTENSION qwen_pg VERSION '{OLD}'; {TRAP} SELECT qwen_grant('victim', 'use'); GRANT INSERT ON qwen_job_table TO heir")
        sql_in(house, "unguarded", JOB.format(table="qwen_job_table", owner=10), "heir")
        sql_in(house, "unguarded", "SELECT qwen_submit('hostile.bait', 'Say {body}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)", "victim")
        house.restart()
        ready_model(house)
        sql_in(house, "unguarded", "ALTER EXTENSION qwen_pg UPDATE")
        assert sql_in(house, "unguarded", "SELECT id, state, error FROM qwen_jobs ORDER BY id").splitlines() == [f"{i}|failed|submitted while other roles had rights on the table of jobs: qwen_retry(id) goes on with it" for i in (1, 2)]
        assert sql_in(house, "unguarded", "SELECT qwen_retry(2) >= 0; SELECT qwen_wait(2, '30 s')", "victim") == "t\ndone"
        assert sql_in(house, "unguarded", "SELECT count(*) FROM sprung") == "0"
        # a guard that somebody took away: nothing is worked on until it is back
        sql_in(house, "unguarded", "ALTER TABLE qwen_job_table DISABLE TRIGGER qwen_guard; SELECT qwen_submit('hostile.bait', 'Say {body}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)")
        wait_until(lambda: 'jobs and queued rows of database "unguarded" are not worked on' in house.read_log(), 20, "a line in the log")
        state, error = sql_in(house, "unguarded", "SELECT state, error FROM qwen_jobs WHERE id = 3").split("|")
        assert state == "no worker" and error.startswith("not worked on: the trigger qwen_guard") and sql_in(house, "unguarded", "SELECT state FROM qwen_job_table WHERE id = 3") == "queued"
        sql_in(house, "unguarded", "ALTER TABLE qwen_job_table ENABLE ALWAYS TRIGGER qwen_guard; SELECT qwen_submit('hostile.bait', 'Say {body}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)")
        assert sql_in(house, "unguarded", "SELECT qwen_wait(3, '30 s'); SELECT qwen_wait(4, '30 s')") == "done\ndone"
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'unguarded'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE unguarded")


def ready_model(server):
    wait_until(lambda: server.query("SELECT state FROM qwen_models") == [("serving",)], 20, "the model")


# ---- what stands in the schema before ----

HOSTILE = """CREATE SCHEMA poisoned AUTHORIZATION heir; CREATE TABLE public.sprung (what text); GRANT ALL ON public.sprung TO PUBLIC; SET ROLE heir; SET search_path = poisoned;
DO $$
DECLARE
	l text; r text; o text; n int := 0;
	types text[] := ARRAY['oid', 'regclass', 'regrole', 'regproc', 'text', 'name', 'bigint', 'int', 'float8', 'interval', '"char"', 'text[]', 'name[]', 'oid[]', 'boolean', 'timestamptz'];
BEGIN
	FOREACH l IN ARRAY types LOOP FOREACH r IN ARRAY types LOOP
		n := n + 1;
		EXECUTE format('CREATE FUNCTION f%s(%s, %s) RETURNS boolean LANGUAGE plpgsql AS %L', n, l, r, 'BEGIN INSERT INTO public.sprung VALUES (current_query()); RETURN true; END');
		EXECUTE format('CREATE FUNCTION g%s(%s, %s) RETURNS float8 LANGUAGE plpgsql AS %L', n, l, r, 'BEGIN INSERT INTO public.sprung VALUES (current_query()); RETURN 1; END');
		FOREACH o IN ARRAY ARRAY['=', '<>', '>', '<'] LOOP EXECUTE format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = f%s)', o, l, r, n); END LOOP;
		FOREACH o IN ARRAY ARRAY['+', '-', '*', '/', '||'] LOOP EXECUTE format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = g%s)', o, l, r, n); END LOOP;
	END LOOP; END LOOP;
	FOREACH l IN ARRAY ARRAY['oid', 'regclass', 'regrole', 'text', 'name', 'bigint', 'regprocedure', 'regnamespace', 'text[]'] LOOP
		EXECUTE format('CREATE FUNCTION format(text, %s) RETURNS text LANGUAGE plpgsql AS %L', l, 'BEGIN INSERT INTO public.sprung VALUES (''format''); RETURN ''SELECT 1''; END');
		EXECUTE format('CREATE FUNCTION pg_has_role(%s, "char") RETURNS boolean LANGUAGE plpgsql AS %L', l, 'BEGIN INSERT INTO public.sprung VALUES (''has''); RETURN true; END');
		EXECUTE format('CREATE FUNCTION array_agg(%s) RETURNS text LANGUAGE plpgsql AS %L', l, 'BEGIN INSERT INTO public.sprung VALUES (''agg''); RETURN ''''; END');
	END LOOP;
END
$$;
RESET ROLE; RESET search_path;"""
FOREIGN = """SELECT pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) FROM pg_depend d
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND d.deptype = 'n' AND d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_class'::regclass, 'pg_trigger'::regclass)
    AND (d.refclassid = 'pg_operator'::regclass OR EXISTS (SELECT FROM pg_proc p WHERE p.oid = d.refobjid AND p.proowner = 'heir'::regrole))"""


@pytest.mark.parametrize("way", ["fresh", "updated"])
def test_operators_and_functions_in_the_schema_are_not_taken(house, way):
    """CREATE EXTENSION and its update, by a superuser, in a schema where a role has put operators and functions that fit better than PostgreSQL's own."""
    house.query("CREATE DATABASE poison")
    try:
        sql_in(house, "poison", HOSTILE)
        if way == "fresh":
            sql_in(house, "poison", "CREATE EXTENSION qwen_pg SCHEMA poisoned")
        else:
            # what the old script did is its own matter
            sql_in(house, "poison", f"CREATE EXTENSION qwen_pg VERSION '{OLD}' SCHEMA poisoned; TRUNCATE sprung; ALTER EXTENSION qwen_pg UPDATE")
        assert sql_in(house, "poison", FOREIGN) == ""
        sql_in(house, "poison", "SET search_path = poisoned, public; SELECT * FROM qwen_jobs; SELECT * FROM qwen_trigger_backlog; SELECT * FROM qwen_dead_letters; SELECT * FROM qwen_limits; SELECT qwen_grant('victim', 'use'); SELECT qwen_revoke('victim', 'use')")
        assert sql_in(house, "poison", "SELECT * FROM sprung") == ""
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'poison'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE poison")


OVERLOADS = """CREATE SCHEMA overloaded AUTHORIZATION heir; CREATE TABLE public.sprung (what text); GRANT ALL ON public.sprung TO PUBLIC; SET ROLE heir; SET search_path = overloaded;
DO $$
DECLARE
	f text; a text;
BEGIN
	FOREACH f IN ARRAY ARRAY['qwen_settle_privileges', 'qwen_settle_jobs', 'qwen_look_at_tables', 'qwen_take_over', 'qwen_grant_beside', 'qwen_grant_rights', 'qwen_look_for_work', 'qwen_privilege_of', 'qwen_change_privilege',
		'qwen_limits_changed', 'qwen_may_see_role', 'qwen_job_workers', 'qwen_models_status', '_qwen_limits_changed', '_qwen_guard_rows', '_qwen_engine_status', '_qwen_engine_memory', '_qwen_engine_forms', '_qwen_engine_guesses', '_qwen_models_status', '_qwen_job_workers', '_qwen_job_unserved', '_qwen_may_see_role', '_qwen_activity'] LOOP
		FOREACH a IN ARRAY ARRAY['text', 'text[]', 'VARIADIC int[]', 'regtype, VARIADIC text[]', 'anyarray', 'bigint'] LOOP
			EXECUTE format('CREATE FUNCTION %s(%s) RETURNS int LANGUAGE plpgsql AS %L', f, a, 'BEGIN INSERT INTO public.sprung VALUES (current_user); RETURN 1; END');
		END LOOP;
	END LOOP;
END
$$;
RESET ROLE; RESET search_path;"""


@pytest.mark.parametrize("way", ["fresh", "updated"])
def test_overloads_of_its_own_functions_are_not_called(house, way):
    """A role that may create in the schema has made functions of the names that the scripts call, with arguments that a literal without a type prefers."""
    house.query("CREATE DATABASE overloads")
    try:
        if way == "fresh":
            sql_in(house, "overloads", OVERLOADS + "CREATE EXTENSION qwen_pg SCHEMA overloaded")
        else:
            sql_in(house, "overloads", f"CREATE SCHEMA overloaded; CREATE EXTENSION qwen_pg VERSION '{OLD}' SCHEMA overloaded; GRANT ALL ON SCHEMA overloaded TO heir;" +
                   OVERLOADS.replace("CREATE SCHEMA overloaded AUTHORIZATION heir;", "") + "ALTER EXTENSION qwen_pg UPDATE")
        assert sql_in(house, "overloads", FOREIGN) == ""
        sql_in(house, "overloads", "SET search_path = overloaded, public; SELECT * FROM qwen_jobs; SELECT * FROM qwen_stat_engine; SELECT * FROM qwen_limits; SELECT qwen_grant('victim'::regrole, 'use'); SELECT qwen_revoke('victim'::regrole, 'use')")
        assert sql_in(house, "overloads", "SELECT * FROM sprung") == ""
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'overloads'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE overloads")


# ---- what was done to the tables of the old script ----


@pytest.fixture
def old_database(house):
    """A database with the old script, where roles have rights that were given by hand."""
    house.query("CREATE DATABASE unlooked")
    sql_in(house, "unlooked", f"CREATE EXTENSION qwen_pg VERSION '{OLD}'; {TRAP} REVOKE ALL ON ALL TABLES IN SCHEMA public FROM heir; GRANT ALL ON sprung TO PUBLIC")
    # the role that has rights on all tables would be a reason by itself
    members = [row[0] for row in house.query("SELECT m.member::regrole::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = 'pg_write_all_data'")]
    for member in members:
        house.query(f"REVOKE pg_write_all_data FROM {member}")
    yield "unlooked"
    for member in members:
        house.query(f"GRANT pg_write_all_data TO {member}")
    wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'unlooked'") == 0, 20, "nobody in the database")
    house.query("DROP DATABASE unlooked")


def update_refused(server, database):
    connection = connect(server, database)
    with pytest.raises(psycopg2.Error) as failure:
        connection.cursor().execute("ALTER EXTENSION qwen_pg UPDATE")
    connection.close()
    assert failure.value.pgcode == "55000", failure.value
    return failure.value.diag


def test_an_update_runs_nobodys_trigger(house, old_database):
    """A trigger that a role with TRIGGER left on a table waits for a superuser's statement, and the update is one."""
    for table in TABLES:
        sql_in(house, old_database, f"GRANT ALL ON {table} TO heir; SELECT qwen_submit('hostile.bait', 'Say {{body}}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)")
        sql_in(house, old_database, "CREATE OR REPLACE FUNCTION hostile.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sprung VALUES (current_user); RETURN NEW; END $$;"
               f"CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION hostile.spring()", "heir")
        diag = update_refused(house, old_database)
        assert f"{table} has the trigger evil" in diag.message_primary and f"DROP TRIGGER evil ON public.{table}" in diag.message_hint
        sql_in(house, old_database, f"DROP TRIGGER evil ON {table}")
        sql_in(house, old_database, f"CREATE TABLE hostile.child (k {'regrole' if 'role' in table else 'bigint'} CONSTRAINT held REFERENCES public.{table})", "heir")
        diag = update_refused(house, old_database)
        assert "foreign key held of hostile.child" in diag.message_primary and "ALTER TABLE hostile.child DROP CONSTRAINT held" in diag.message_hint
        sql_in(house, old_database, "DROP TABLE hostile.child")
    sql_in(house, old_database, "CREATE POLICY p ON qwen_job_table")
    assert "DROP POLICY p ON public.qwen_job_table" in update_refused(house, old_database).message_hint
    sql_in(house, old_database, "DROP POLICY p ON qwen_job_table; CREATE RULE r AS ON INSERT TO qwen_role_limit DO ALSO SELECT 1")
    assert "DROP RULE r ON public.qwen_role_limit" in update_refused(house, old_database).message_hint
    sql_in(house, old_database, "DROP RULE r ON qwen_role_limit; ALTER EXTENSION qwen_pg UPDATE")
    assert sql_in(house, old_database, "SELECT count(*) FROM sprung") == "0"


COLUMNS = "owner, session_role, outer_role, source, search_path, target, target_column, key_columns, key_types, prompt, function, max_words, dimensions, priority, max_attempts, total"


@pytest.mark.parametrize("way", ["columns", "view", "view over a view", "rule", "member", "trigger", "nobody"])
def test_a_job_that_others_may_have_put_there_is_stopped(house, old_database, way):
    """Rights on columns, through views and rules, by way of a role; without any, what waited goes on."""
    table = {"view": "jv", "view over a view": "jw", "rule": "jr"}.get(way, "qwen_job_table")
    prepared = {"columns": f"GRANT INSERT ({COLUMNS}) ON qwen_job_table TO heir", "view": "CREATE VIEW jv AS SELECT * FROM qwen_job_table; REVOKE ALL ON jv FROM heir; GRANT INSERT ON jv TO heir",
                "view over a view": "CREATE VIEW jv AS SELECT * FROM qwen_job_table; REVOKE ALL ON jv FROM heir; CREATE VIEW jw AS SELECT * FROM jv; GRANT INSERT ON jw TO heir",
                "rule": f"CREATE TABLE jr AS SELECT {COLUMNS} FROM qwen_job_table; CREATE RULE r AS ON INSERT TO jr DO INSTEAD INSERT INTO qwen_job_table ({COLUMNS}) SELECT NEW.*; GRANT INSERT ON jr TO heir",
                "member": "GRANT pg_write_all_data TO heir; ALTER ROLE heir NOINHERIT", "trigger": "GRANT TRIGGER ON qwen_job_table TO heir", "nobody": "SELECT 1"}[way]
    if way == "member" and not house.value("SELECT count(*) FROM pg_roles WHERE rolname = 'pg_write_all_data'"):
        prepared, way = "SELECT 1", "nobody"
    try:
        sql_in(house, old_database, prepared)
        if way in ("trigger", "nobody", "member"):
            sql_in(house, old_database, "SELECT qwen_submit('hostile.bait', 'Say {body}', 'hostile.bait', 'answer', max_tokens => 1, temperature => 0)")
        else:
            sql_in(house, old_database, JOB.format(table=table, owner=10), "heir")
        sql_in(house, old_database, "ALTER EXTENSION qwen_pg UPDATE")
        if way == "nobody":
            assert sql_in(house, old_database, "SELECT qwen_wait(1, '30 s')") == "done"
        else:
            assert sql_in(house, old_database, "SELECT state, error FROM qwen_jobs") == "failed|submitted while other roles had rights on the table of jobs: qwen_retry(id) goes on with it"
        assert sql_in(house, old_database, "SELECT count(*) FROM sprung") == "0"
    finally:
        house.query("ALTER ROLE heir INHERIT" + ("; REVOKE pg_write_all_data FROM heir" if way == "member" else ""))


def test_tables_of_its_types_live_through_an_update(house, old_database):
    sql_in(house, old_database, "CREATE TABLE typed OF qwen_response; CREATE TABLE held (r qwen_response); INSERT INTO typed (content) VALUES ('kept'); INSERT INTO held VALUES (ROW('kept', NULL, NULL, NULL, NULL, 1, 2, 3, 4, 5, 6))")
    sql_in(house, old_database, "ALTER EXTENSION qwen_pg UPDATE")
    assert sql_in(house, old_database, "SELECT content, logprobs IS NULL FROM typed; SELECT (r).content, (r).total_ms, (r).logprobs IS NULL FROM held") == "kept|t\nkept|6|t"


@pytest.mark.parametrize("way", ["fresh", "updated"])
def test_who_may_read_all_data_dumps_a_database(house, way):
    """pg_dump turns row-level security off, so no table whose rows it saves has any; with limits and without."""
    if not house.value("SELECT count(*) FROM pg_roles WHERE rolname = 'pg_read_all_data'"):
        house.query("CREATE ROLE dumper LOGIN SUPERUSER" if way == "fresh" else "SELECT 1")
    elif way == "fresh":
        house.query("CREATE ROLE dumper LOGIN; GRANT pg_read_all_data TO dumper")
    house.query("CREATE DATABASE dumped")
    try:
        sql_in(house, "dumped", "CREATE EXTENSION qwen_pg" + (f" VERSION '{OLD}'; ALTER EXTENSION qwen_pg UPDATE" if way == "updated" else ""))
        command = [f"{house.programs}/pg_dump", "-h", house.folder, "-p", str(house.port), "-U", "dumper", "dumped"]
        assert "CREATE EXTENSION" in house.run(command).stdout
        sql_in(house, "dumped", "SELECT qwen_set_limit('victim', priority => 7), qwen_allow_models('victim', ARRAY['chat'])")
        dump = house.run(command).stdout
        assert "COPY public.qwen_role_limit" in dump and "victim\t\\N" in dump and "victim\t{chat}" in dump
        for sql in ("UPDATE qwen_role_limit SET priority = 8", "DELETE FROM qwen_role_models"):
            session = connect(house, "dumped", "writer")
            with pytest.raises(psycopg2.Error) as failure:
                session.cursor().execute(sql)
            session.close()
            assert failure.value.pgcode == "42501"
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'dumped'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE dumped")


# ---- schemas that change ----


def test_schema_renamed_and_left_under_open_sessions(house):
    """ALTER SCHEMA RENAME and ALTER EXTENSION SET SCHEMA: sessions, triggers, jobs, limits and grants go on."""
    house.query("CREATE DATABASE moving")
    try:
        sql_in(house, "moving", "CREATE SCHEMA one; CREATE SCHEMA three; CREATE EXTENSION qwen_pg SCHEMA one; SELECT one.qwen_grant('victim', 'use'), one.qwen_set_limit('victim', requests_per_minute => 100000); GRANT USAGE ON SCHEMA one, three TO victim;"
               "GRANT ALL ON SCHEMA public TO victim; SET ROLE victim; CREATE TABLE t (id int PRIMARY KEY, body text, answer text, e real[], s text);"
               "CREATE TRIGGER e AFTER INSERT OR UPDATE OF body ON t FOR EACH ROW EXECUTE FUNCTION one.qwen_enqueue_embed_trigger('e', '{body}');"
               "CREATE TRIGGER s BEFORE INSERT OR UPDATE OF body ON t FOR EACH ROW EXECUTE FUNCTION one.qwen_summarize_trigger('body', 's', '5');"
               "CREATE VIEW v AS SELECT id, one.qwen_generate(body, temperature => 0, max_tokens => 1) AS answer FROM t; CREATE TABLE many (id int PRIMARY KEY, body text, answer text); INSERT INTO many SELECT g, 'row ' || g FROM generate_series(1, 60) g")
        session, boss = connect(house, "moving", "victim").cursor(), connect(house, "moving").cursor()
        number = 0

        def go_on(schema):
            nonlocal number
            number += 1
            session.execute(f"INSERT INTO t (id, body) VALUES ({number}, 'It rained')")
            session.execute(f"SELECT answer FROM v WHERE id = {number}")
            assert session.fetchall()[0][0]
            session.execute(f"SELECT {schema}.qwen_submit('t', 'Say {{body}}', 't', 'answer', max_tokens => 1, temperature => 0)")
            job = session.fetchone()[0]
            session.execute(f"SELECT {schema}.qwen_wait({job}, '30 s')")
            assert session.fetchone() == ("done",)
            session.execute(f"SELECT requests_per_minute FROM {schema}.qwen_limits")
            assert session.fetchall() == [(100000,)]
            boss.execute(f"SELECT {schema}.qwen_grant('heir', 'use'), {schema}.qwen_revoke('heir', 'use'), {schema}.qwen_set_limit('boss', priority => 3), {schema}.qwen_allow_models('boss', ARRAY['chat']), {schema}.qwen_clear_limit('boss')")
            wait_until(lambda: sql_in(house, "moving", "SELECT count(e) = count(*) FROM t") == "t", 30, "the embeddings")

        go_on("one")
        session.execute("SELECT one.qwen_submit('many', 'Say {body}', 'many', 'answer', max_tokens => 3, temperature => 0)")
        long_job = session.fetchone()[0]
        wait_until(lambda: sql_in(house, "moving", "SELECT count(answer) > 0 FROM many") == "t", 30, "the first rows")
        boss.execute("ALTER SCHEMA one RENAME TO two")
        go_on("two")
        boss.execute("ALTER EXTENSION qwen_pg SET SCHEMA three")
        go_on("three")
        session.execute(f"SELECT three.qwen_wait({long_job}, '60 s')")
        assert session.fetchone() == ("done",)
        session.execute("SELECT count(answer) FROM many")
        assert session.fetchone() == (60,)
        boss.execute("ALTER EXTENSION qwen_pg SET SCHEMA two; ALTER SCHEMA two RENAME TO \"Odd \"\"name\"")
        go_on('"Odd ""name"')
        for cursor in (session, boss):
            cursor.connection.close()
    finally:
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'moving'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE moving")


def test_a_worker_that_looks_while_the_schema_moves_says_nothing(house):
    """It knows where its tables are from the transaction's beginning, and waits for a lock on what is elsewhere by then."""
    house.query("CREATE DATABASE shifting")
    try:
        sql_in(house, "shifting", "CREATE SCHEMA one; CREATE SCHEMA two; CREATE EXTENSION qwen_pg SCHEMA one; CREATE TABLE t (id int PRIMARY KEY, body text, answer text);"
               "CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION one.qwen_enqueue_trigger('answer', 'Say {body}', 'max_tokens=1', 'temperature=0')")
        boss, writer = connect(house, "shifting").cursor(), connect(house, "shifting").cursor()
        waits = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = 'shifting' AND a.backend_type LIKE 'qwen_pg job%')"
        n_met, log = 0, len(house.read_log())
        for number in range(40):
            to = ("two", "one")[number % 2]
            writer.execute(f"INSERT INTO t SELECT {number} * 100 + i, 'row' FROM generate_series(1, 30) i")
            boss.connection.autocommit = False
            boss.execute(f"ALTER EXTENSION qwen_pg SET SCHEMA {to}")
            deadline = time.monotonic() + 0.4
            while time.monotonic() < deadline and not house.value(waits):
                pass
            n_met += house.value(waits)
            boss.connection.commit()
            boss.connection.autocommit = True
            wait_until(lambda: sql_in(house, "shifting", "SELECT count(answer) = count(*) FROM t") == "t", 30, "the answers")
            if n_met >= 3:
                break
        assert n_met > 0
        assert [line for line in house.read_log()[log:].splitlines() if "could not be" in line and "does not exist" in line] == []
    finally:
        house.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shifting' AND backend_type = 'client backend'")
        wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shifting'") == 0, 20, "nobody in the database")
        house.query("DROP DATABASE shifting")


# ---- other servers ----


def test_a_subscriber_does_not_run_the_publishers_jobs(house):
    """FOR ALL TABLES, initial copy and changes: no row of the queue arrives, those that are there stay, and a trigger that is on for replicated rows queues them."""
    house.query("CREATE DATABASE source")
    house.query("CREATE DATABASE copy")
    try:
        for database in ("source", "copy"):
            sql_in(house, database, "CREATE EXTENSION qwen_pg; CREATE TABLE t (id int PRIMARY KEY, body text, answer text, e real[]); SELECT qwen_set_limit('victim', priority => 5)" if database == "source" else
                   "CREATE EXTENSION qwen_pg; CREATE TABLE t (id int PRIMARY KEY, body text, answer text, e real[]); CREATE TRIGGER e AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('e', '{body}'); ALTER TABLE t ENABLE ALWAYS TRIGGER e")
        # two ended jobs and one that waits: its owner may not run any
        jobs = "INSERT INTO t (id, body) VALUES (1, 'x'); SELECT qwen_submit('t', 'Say {body}', 't', 'answer', max_tokens => 1, temperature => 0); SELECT qwen_submit('t', 'Say {body}', 't', 'answer', max_tokens => 1, temperature => 0)"
        sql_in(house, "source", jobs + "; SELECT qwen_wait(id, '30 s') FROM qwen_jobs")
        house.reload(qwen__max_job_workers=1)
        sql_in(house, "copy", "INSERT INTO t (id, body) VALUES (99, 'y'); SELECT qwen_submit('t', 'Own {body}', 't', 'answer', max_tokens => 1, temperature => 0)")
        assert sql_in(house, "copy", "SELECT qwen_wait(1, '30 s')") == "done"
        own = sql_in(house, "copy", "SELECT md5(string_agg(j::text, '' ORDER BY id)) FROM qwen_job_table j")
        sql_in(house, "source", "CREATE PUBLICATION p FOR ALL TABLES; SELECT pg_create_logical_replication_slot('to_copy', 'pgoutput')")
        sql_in(house, "copy", f"CREATE SUBSCRIPTION s CONNECTION 'host={house.folder} port={house.port} dbname=source user={house.environment()['PGUSER']}' PUBLICATION p WITH (create_slot = false, slot_name = 'to_copy')")
        wait_until(lambda: sql_in(house, "copy", "SELECT count(*) FILTER (WHERE srsubstate = 'r') = count(*) AND count(*) > 0 FROM pg_subscription_rel") == "t", 60, "the initial copy")
        assert sql_in(house, "copy", "SELECT count(*) FROM qwen_job_table") == "1"
        assert sql_in(house, "copy", "SELECT priority FROM qwen_role_limit WHERE role = 'victim'::regrole") == "5"
        # a TRUNCATE would come as one: none begins
        for table in ("qwen_job_table", "qwen_job_row"):
            with pytest.raises(AssertionError, match="cannot be truncated"):
                sql_in(house, "source", f"TRUNCATE {table}")
        # the publisher's job 1 is changed and ended there, a new one comes, one goes; row 2 is not the new one's, whose answer would come with an empty e
        sql_in(house, "source", "SELECT qwen_submit('SELECT id, body FROM t WHERE id = 1', 'Say {body}', 't', 'answer', max_tokens => 1, temperature => 0); UPDATE qwen_job_table SET prompt = 'changed' WHERE id = 1; DELETE FROM qwen_job_table WHERE id = 2; INSERT INTO t (id, body) VALUES (2, 'last')")
        wait_until(lambda: sql_in(house, "copy", "SELECT count(*) FROM t WHERE id = 2 AND e IS NOT NULL") == "1", 60, "the last row and its embedding, which the subscriber's own trigger queued")
        assert sql_in(house, "copy", "SELECT md5(string_agg(j::text, '' ORDER BY id)) FROM qwen_job_table j") == own
        assert sql_in(house, "copy", "SELECT count(*) FROM qwen_job_row") == "0"
    finally:
        house.reload(qwen__max_job_workers=4)
        sql_in(house, "copy", "ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s")
        sql_in(house, "source", "SELECT qwen_cancel(id) FROM qwen_jobs")
        wait_until(lambda: house.value("SELECT count(*) FROM pg_replication_slots WHERE active") == 0, 20, "a free slot")
        house.query("SELECT pg_drop_replication_slot('to_copy')")
        for name in ("source", "copy"):
            wait_until(lambda: house.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)) == 0, 20, "nobody in the database")
            house.query(f"DROP DATABASE {name}")
