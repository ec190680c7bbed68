"""Roles that try what they may not: other models, other roles' texts, a superuser's rights, more than there is room for; and roles that change
or go while they are asking."""
import os
import signal
import subprocess
import time

import psycopg2
import pytest
from cluster import plain_model, wait_until
from roles import ENDLESS, ONE, as_role, make_role, refused, set_limit, start, usage, used, wait_settled
from sessions import Background, wait_idle, wait_running

MODEL = plain_model()
SMALL = "SELECT qwen_generate('one two three', temperature => 0, max_tokens => 1, model => 'small')"
SECRET = "xylophone"


@pytest.fixture(scope="module")
def shared():
    server = start(**{"qwen.models": f"chat={MODEL}, small={MODEL}", "qwen.max_models": 4})
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 2, what="both models")
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def role(shared):
    return make_role(shared)


def not_allowed(call, sql, model="chat"):
    with pytest.raises(psycopg2.Error) as failure:
        call.again(sql)
    assert failure.value.pgcode == "42501" and f'model "{model}" is not allowed' in str(failure.value), failure.value
    return str(failure.value)


# ---- models ----


def test_a_role_asks_the_models_it_is_allowed_and_no_others(shared, role):
    """Its own list, those of its groups, both roles after SET ROLE, and changes while a session is there."""
    call = as_role(shared, role, ONE).join()
    assert call.error is None
    shared.query(f"SELECT qwen_allow_models('{role}', ARRAY['small'])")
    for sql in (ONE, "SELECT qwen_embed('x')", "SELECT qwen_count_tokens('x')", "SELECT qwen_chat('x', model => 'chat')",
                "SELECT qwen_classify('x', ARRAY['a', 'b'])", "SELECT * FROM qwen_generate_batch(ARRAY['a', 'b'])"):
        assert f'to role "{role}"' in not_allowed(call, sql)
    assert call.again(SMALL)
    assert shared.query("SELECT role::text, models FROM qwen_allowed_models", user=role) == [(role, ["small"])]
    # neither SET ROLE to who may, nor a function of who may
    free = make_role(shared)
    shared.query(f"GRANT {free} TO {role}; CREATE FUNCTION as_free_{role}() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ {ONE} $$; ALTER FUNCTION as_free_{role}() OWNER TO {free}")
    not_allowed(call, f"SELECT as_free_{role}()")
    call.cursor.execute(f"SET ROLE {free}")
    not_allowed(call, ONE)
    assert call.again(SMALL)
    call.cursor.execute("RESET ROLE")
    # nor SET ROLE the other way round
    other = as_role(shared, free, "SELECT 1").join()
    assert other.again(ONE)
    shared.query(f"REVOKE {free} FROM {role}; GRANT {role} TO {free}")
    not_allowed(other, ONE)  # a member of a role that may ask one model
    shared.query(f"SELECT qwen_allow_models('{free}', ARRAY['small', 'chat'])")
    assert other.again(ONE)
    other.cursor.execute(f"SET ROLE {role}")
    not_allowed(other, ONE)
    other.cursor.execute("RESET ROLE")
    # of two groups, what both allow
    third, member = make_role(shared), make_role(shared)
    shared.query(f"GRANT {role}, {third} TO {member}; SELECT qwen_allow_models('{third}', ARRAY['chat'])")
    last = as_role(shared, member, "SELECT 1").join()
    not_allowed(last, ONE)
    not_allowed(last, SMALL, "small")
    shared.query(f"REVOKE {role} FROM {member}")
    assert last.again(ONE)
    # an empty list is none, NULL takes the list away
    shared.query(f"SELECT qwen_allow_models('{member}', '{{}}')")
    not_allowed(last, ONE)
    shared.query(f"SELECT qwen_allow_models('{member}', NULL), qwen_allow_models('{third}', NULL)")
    assert last.again(ONE) and last.again(SMALL)
    for name in (role, free):
        shared.query(f"SELECT qwen_allow_models('{name}', NULL)")
    assert call.again(ONE)


def test_a_job_is_refused_what_a_call_is(shared, role):
    """At once and with the same error, not row by row; and it keeps the model that a call would have had."""
    shared.query(f"CREATE TABLE {role}_rows (id int PRIMARY KEY, body text, answer text, e real[]); INSERT INTO {role}_rows VALUES (1, 'word'); ALTER TABLE {role}_rows OWNER TO {role}")
    call = as_role(shared, role, "SELECT 1").join()

    def refused(more, function="chat", column="answer"):
        codes = []
        call_of = {"chat": "qwen_chat('word'", "embed": "qwen_embed('word'"}[function]
        for sql in (f"SELECT {call_of}{more})", f"SELECT qwen_submit('{role}_rows', 'body', '{role}_rows', '{column}', function => '{function}'{more})"):
            with pytest.raises(psycopg2.Error) as failure:
                call.again(sql)
            codes.append((failure.value.pgcode, str(failure.value).split("\n")[0]))
        assert codes[0] == codes[1], more
        return codes[0][0]

    try:
        shared.query(f"SELECT qwen_allow_models('{role}', ARRAY['small'])")
        assert refused("") == "42501"
        assert refused(", model => 'chat'") == "42501"
        assert refused(", model => 'chat'", "embed", "e") == "42501"
        assert refused(", model => 'nowhere'") == "42501"
        shared.query(f"SELECT qwen_allow_models('{role}', NULL), qwen_set_limit('{role}', max_tokens => 5, tokens_per_minute => 1000)")
        assert refused(", max_tokens => 6") == "53400"
        shared.query(f"SELECT qwen_set_limit('{role}', tokens_per_day => 20)")
        assert refused(", max_tokens => 30") == "53400"
        shared.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 0)")
        assert refused("", "embed", "e") == "53400"
        assert shared.value("SELECT count(*) FROM qwen_jobs WHERE owner = %s", (role,)) == 0
        # what fits is done, and what is used up meanwhile is no reason
        shared.query(f"SELECT qwen_set_limit('{role}', max_tokens => 5)")
        job = call.again(f"SELECT qwen_submit('{role}_rows', 'body', '{role}_rows', 'answer', max_tokens => 5, temperature => 0)")[0][0]
        assert shared.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        assert shared.value("SELECT model FROM qwen_job_table WHERE id = %s", (job,)) == "chat"
    finally:
        shared.query(f"SELECT qwen_clear_limit('{role}'), qwen_allow_models('{role}', NULL); DROP TABLE {role}_rows")


def test_a_list_of_models_is_checked_dumped_and_restored(shared, role):
    for models in ("ARRAY['']", "ARRAY['a,b']", "ARRAY[NULL]::text[]", "ARRAY[repeat('x', 64)]"):
        with pytest.raises(psycopg2.Error) as failure:
            shared.query(f"SELECT qwen_allow_models('{role}', {models})")
        assert failure.value.pgcode == "22023", models
    for sql in (f"SELECT qwen_allow_models('{role}', NULL)", "SELECT * FROM qwen_role_models", "DELETE FROM qwen_role_models"):
        with pytest.raises(psycopg2.Error) as failure:
            shared.query(sql, user=role)
        assert failure.value.pgcode == "42501", sql
    environment = dict(shared.environment(), PGDATABASE="models_dumped")
    psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]
    shared.query("CREATE DATABASE models_dumped")
    subprocess.run(psql, input=f"CREATE EXTENSION qwen_pg; SELECT qwen_allow_models('{role}', ARRAY['small', 'x.y-1']);", env=environment, text=True, check=True, capture_output=True)
    dump = subprocess.run([f"{shared.programs}/pg_dump"], env=environment, text=True, check=True, capture_output=True).stdout
    shared.query("CREATE DATABASE models_restored")
    environment["PGDATABASE"] = "models_restored"
    subprocess.run(psql, input=dump, env=environment, text=True, check=True, capture_output=True)
    asked = f"SELECT models FROM qwen_allowed_models WHERE role = '{role}'::regrole; SET SESSION AUTHORIZATION {role}; SELECT qwen_count_tokens('x')"
    done = subprocess.run(psql, input=asked, env=environment, text=True, check=False, capture_output=True)
    assert done.stdout.strip() == "{small,x.y-1}" and "permission denied" in done.stderr  # 'use' is granted per database
    for name in ("models_dumped", "models_restored"):
        shared.query(f"DROP DATABASE {name}")


def test_a_dropped_role_is_seen_nowhere_and_in_no_dump(shared, role):
    """Dropped in one database, with a limit and a list in another: its number may be another role's where the dump is restored."""
    shared.query(f"CREATE ROLE {role}_gone")
    shared.query("CREATE DATABASE roles_gone")
    number = shared.value(f"SELECT '{role}_gone'::regrole::oid")
    environment = dict(shared.environment(), PGDATABASE="roles_gone")

    def psql(sql):
        return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input=sql, env=environment, text=True, check=True, capture_output=True).stdout

    def dump(option="--data-only"):
        return subprocess.run([f"{shared.programs}/pg_dump", option], env=environment, text=True, check=True, capture_output=True).stdout

    try:
        psql(f"CREATE EXTENSION qwen_pg; SELECT qwen_allow_models(r, ARRAY['small']), qwen_set_limit(r, max_tokens => 7) FROM unnest(ARRAY['{role}', '{role}_gone']::regrole[]) r")
        assert dump().count(f"\n{role}_gone\t") == 2
        shared.query(f"DROP ROLE {role}_gone")
        seen = "SELECT role, models FROM qwen_allowed_models; SELECT role, max_tokens FROM qwen_limits"
        assert psql(seen) == f"{role}|{{small}}\n{role}|7\n"
        # nor by a role that may see all others
        psql(f"SELECT qwen_grant('{role}', 'monitor')")
        assert psql(f"SET ROLE {role}; {seen}") == f"{role}|{{small}}\n{role}|7\n"
        said = dump()
        assert said.count(f"\n{role}\t") == 2 and f"\n{number}\t" not in said, said
        # and the next change takes the rows away
        psql(f"SELECT qwen_allow_models('{role}', NULL), qwen_clear_limit('{role}')")
        assert psql("SELECT count(*) FROM qwen_role_models; SELECT count(*) FROM qwen_role_limit") == "0\n0\n"
    finally:
        shared.query("DROP DATABASE roles_gone WITH (FORCE)")


# ---- the door ----


def test_every_way_to_the_engine_passes_the_door(shared, role):
    """Each function, aggregate, trigger and job is counted; with nothing allowed each is refused."""
    shared.query(f"CREATE TABLE {role}_door (id int PRIMARY KEY, body text, answer text, e real[]); ALTER TABLE {role}_door OWNER TO {role}")
    shared.query(f"CREATE TRIGGER s BEFORE INSERT ON {role}_door FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION qwen_summarize_trigger('body', 'answer', '3');"
                 f"CREATE TRIGGER e BEFORE INSERT ON {role}_door FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION qwen_embed_trigger('body', 'e')")
    length = shared.value("SELECT cardinality(qwen_embed('x'))")
    ways = {
        "SELECT qwen_chat('x', max_tokens => 1)": 1,
        "SELECT qwen_chat('[{\"role\": \"user\", \"content\": \"x\"}]'::json, max_tokens => 1)": 1,
        "SELECT qwen_chat('[{\"role\": \"user\", \"content\": \"x\"}]'::jsonb, max_tokens => 1)": 1,
        "SELECT qwen_chat_full('x', max_tokens => 1)": 1,
        "SELECT * FROM qwen_chat_stream('x', max_tokens => 1)": 1,
        "SELECT qwen_generate('x', max_tokens => 1)": 1,
        "SELECT qwen_summarize('x', max_tokens => 1)": 1,
        "SELECT qwen_translate('x', 'French', max_tokens => 1)": 1,
        "SELECT qwen_classify('x', ARRAY['a', 'b'])": 1,
        "SELECT * FROM qwen_classify_scores('x', ARRAY['a', 'b'])": 1,
        "SELECT qwen_filter('x', 'it is x')": 1,
        "SELECT qwen_sentiment('x')": 1,
        "SELECT * FROM qwen_logprobs('x y')": 1,
        "SELECT qwen_embed('x')": 1,
        "SELECT qwen_similarity('x', 'y')": 2,
        f"SELECT qwen_similarity_to('x', array_fill(0.5::real, ARRAY[{length}]))": 1,
        "SELECT qwen_rerank_score('x', 'y')": 1,
        "SELECT * FROM qwen_rerank('x', ARRAY['y', 'z'])": 2,
        "SELECT qwen_extract('x', '{\"type\": \"integer\"}', max_tokens => 40)": 1,
        "SELECT qwen_classify_multi('x', ARRAY['y', 'z'])": 2,
        "SELECT * FROM qwen_classify_multi_scores('x', ARRAY['y', 'z'])": 2,
        "SELECT qwen_score('x', 'it is short')": 1,
        "SELECT * FROM qwen_entities('x', ARRAY['name'])": 1,
        "SELECT qwen_redact('x', ARRAY['name'])": 1,
        "SELECT * FROM qwen_moderate('x')": 1,
        "SELECT qwen_summarize_agg(b) FROM (VALUES ('a'), ('b')) t(b)": 1,
        "SELECT qwen_chat_agg(b, 'say one word') FROM (VALUES ('a'), ('b')) t(b)": 1,
        "SELECT * FROM qwen_generate_batch(ARRAY['a', 'b', 'c'], max_tokens => 1)": 3,
        "SELECT * FROM qwen_embed_batch(ARRAY['a', 'b'])": 2,
        "SELECT qwen_generate(b, max_tokens => 1) FROM (VALUES ('a'), ('b')) t(b)": 2,
        "SELECT 1 FROM (VALUES ('a'), ('b')) t(b) WHERE qwen_filter(b, 'it is x')": 2,
        f"INSERT INTO {role}_door VALUES (1, 'some words')": 1,
        f"INSERT INTO {role}_door VALUES (2, 'some words')": 1,
    }
    for sql, n in ways.items():
        before = used(shared, role, "requests_per_minute")
        shared.query(sql, user=role)
        wait_settled(shared, role)
        assert used(shared, role, "requests_per_minute") - before == n, sql
    # qwen_fill_in needs a model with marks for it: test_22_prompts.py
    known = shared.query("SELECT DISTINCT proname FROM pg_proc WHERE proname LIKE 'qwen\\_%' AND procost >= 10000 AND proname !~ '_final$' AND proname <> 'qwen_fill_in'")
    assert [name for name, in known if not any(f"{name}(" in sql for sql in ways)] == [], "functions that were not tried"
    set_limit(shared, role, requests_per_minute=0)
    shared.query(f"DELETE FROM {role}_door")
    for sql in ways:
        assert refused(shared, role, sql).message_detail.startswith("Limit requests_per_minute"), sql
    assert used(shared, role, "requests_per_minute") == sum(ways.values())


def test_default_limits_of_a_role_and_a_database(shared, role):
    """By ALTER ROLE … SET and ALTER DATABASE … SET of a superuser, and by nobody whom they hold back."""
    shared.query(f"ALTER ROLE {role} SET qwen.default_requests_per_minute = 1")
    shared.query(ONE, user=role)
    refused(shared, role)
    for sql in (f"ALTER ROLE {role} SET qwen.default_requests_per_minute = 100", f"ALTER ROLE {role} RESET qwen.default_requests_per_minute; SET qwen.default_requests_per_minute = 5",
                "SELECT set_config('qwen.default_requests_per_minute', '5', false)", "SET qwen.allowed_models = ''", "SET qwen.log_requests = text"):
        with pytest.raises(psycopg2.Error) as failure:
            shared.query(sql, user=role)
        assert failure.value.pgcode == "42501", sql
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(host=shared.folder, port=shared.port, user=role, dbname="postgres", options="-c qwen.default_requests_per_minute=100")
    refused(shared, role)
    other = make_role(shared)
    shared.query("ALTER DATABASE postgres SET qwen.default_requests_per_minute = 2")
    try:
        for _ in range(2):
            shared.query(ONE, user=other)
        refused(shared, other)
        set_limit(shared, other, requests_per_minute=3)  # a limit of its own holds instead
        shared.query(ONE, user=other)
        refused(shared, other)
    finally:
        shared.query("ALTER DATABASE postgres RESET qwen.default_requests_per_minute")


# ---- whose limits a job's are ----


def make_table(server, name, owner, rows=4):
    server.query(f"CREATE TABLE {name} (id int PRIMARY KEY, body text, answer text); INSERT INTO {name} SELECT g, 'word ' || g FROM generate_series(1, {rows}) g; ALTER TABLE {name} OWNER TO {owner}")
    return f"SELECT qwen_submit('{name}', 'Say {{body}}', '{name}', 'answer', max_tokens => 2, temperature => 0)"


@pytest.mark.parametrize("way", ["set role", "security definer"])
def test_a_job_is_charged_to_whoever_submitted_it(shared, role, way):
    """The worker runs as the job's owner; the limits are those of the call that submitted it."""
    owner = make_role(shared)
    table = f"{role}_rows"
    sql = make_table(shared, table, owner)
    set_limit(shared, role, requests_per_minute=2)
    if way == "set role":
        shared.query(f"GRANT {owner} TO {role}")
        job = as_role(shared, role, sql, f"SET ROLE {owner}").join().rows[0][0]
    else:
        shared.query(f"CREATE FUNCTION {table}_submit() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ {sql} $$; ALTER FUNCTION {table}_submit() OWNER TO {owner}")
        job = as_role(shared, role, f"SELECT {table}_submit()").join().rows[0][0]
    assert shared.value("SELECT owner FROM qwen_jobs WHERE id = %s", (job,)) == owner
    wait_until(lambda: used(shared, role, "requests_per_minute") == 2, 20, "two requests")
    wait_until(lambda: usage(shared, role)["max_concurrent"][0] == 0, 20, "their end")
    assert shared.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,)) == "running"
    assert used(shared, owner, "requests_per_minute") == (2 if way == "set role" else 0)
    set_limit(shared, role, requests_per_minute=10)
    assert shared.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    assert used(shared, role, "requests_per_minute") == 4
    # nor may it ask models that its submitter may not, neither then nor later
    shared.query(f"UPDATE {table} SET answer = NULL")
    session = as_role(shared, role, "SELECT 1", f"SET ROLE {owner}" if way == "set role" else "").join()
    submit = sql if way == "set role" else f"SELECT {table}_submit()"
    session.cursor.execute("BEGIN")
    again = session.again(submit)[0][0]
    shared.query(f"SELECT qwen_allow_models('{role}', ARRAY['small'])")
    session.cursor.execute("COMMIT")
    not_allowed(session, submit)
    assert shared.value("SELECT qwen_wait(%s, '30 s')", (again,)) == "failed"
    assert shared.query("SELECT done, failed FROM qwen_jobs WHERE id = %s", (again,)) == [(0, 4)]
    assert shared.query("SELECT DISTINCT sqlstate FROM qwen_dead_letters WHERE job = %s", (again,)) == [("42501",)]
    shared.query(f"SELECT qwen_allow_models('{role}', NULL)")


# ---- texts of others ----


def test_nobody_reads_the_texts_of_others(shared):
    """A stranger who may use the models looks through every relation and every function of the extension."""
    victim, stranger = make_role(shared), make_role(shared)
    shared.query(f"SELECT qwen_grant('{stranger}', 'monitor')")  # sees who does how much, still no text
    make_table(shared, "secret_rows", victim)
    shared.query(f"UPDATE secret_rows SET body = '{SECRET} ' || id; INSERT INTO secret_rows VALUES (5, '{SECRET} ' || repeat('word ', 20000))")
    shared.query(f"ALTER TABLE secret_rows ADD COLUMN queued text; SET ROLE {victim}; CREATE TRIGGER enqueue AFTER UPDATE OF body ON secret_rows FOR EACH ROW"
                 f" EXECUTE FUNCTION qwen_enqueue_trigger('queued', '{SECRET} {{body}}', 'max_attempts=1')")
    job = shared.value(f"SELECT qwen_submit('SELECT id, body || ''{SECRET}'' AS body FROM secret_rows', '{SECRET} {{body}}', 'secret_rows', 'answer', max_tokens => 2, temperature => 0, max_attempts => 1)", user=victim)
    shared.query(f"UPDATE secret_rows SET body = '{SECRET}' || body WHERE id = 5", user=victim)
    assert shared.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done with failures"
    wait_until(lambda: shared.query("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'secret_rows'::regclass") == [(2,)], 30, "two dead letters")
    call = as_role(shared, victim, ENDLESS.replace("Once upon a time", f"The {SECRET} is"), f"SET application_name = '{SECRET}'")
    waiting = as_role(shared, victim, f"SELECT qwen_wait(qwen_submit('secret_rows', '{SECRET} {{body}}', 'secret_rows', 'answer', max_tokens => 400))")
    try:
        wait_running(shared, 1)
        # what the victim sees of it, so that the same look shows it where it is allowed
        assert SECRET in str(shared.query("SELECT * FROM qwen_jobs", user=victim))
        shared.query(f"GRANT ALL ON SCHEMA public TO {stranger}")
        shared.query("CREATE FUNCTION leak(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE '%', value; RETURN true; END $$", user=stranger)
        session = shared.connect(stranger)
        cursor = session.cursor()
        cursor.execute("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid WHERE extname = 'qwen_pg' AND relkind IN ('r', 'v', 'S') ORDER BY 1")
        relations = [name for name, in cursor.fetchall()]
        assert {"qwen_jobs", "qwen_dead_letters", "qwen_trigger_backlog", "qwen_stat_activity", "qwen_job_table", "qwen_job_row"} <= set(relations)
        seen, denied = "", []
        for name in relations:
            leaking = [] if name.endswith("_seq") else [f"SELECT count(*) FROM {name} t WHERE leak(t::text)"]
            for sql in [f"SELECT * FROM {name}"] + leaking:
                try:
                    cursor.execute(sql)
                    seen += str(cursor.fetchall())
                except psycopg2.Error as error:
                    assert error.pgcode == "42501", error
                    denied.append(name)
        assert set(denied) == {name for name in relations if name.startswith(("qwen_job_", "qwen_role_")) and name != "qwen_job_list"}
        # functions: those that take nothing, and those that take a number or a table
        cursor.execute("SELECT p.oid::regproc::text, pronargs - pronargdefaults, proargtypes[0]::regtype::text, prorettype::regtype::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid WHERE extname = 'qwen_pg'")
        called = 0
        for function, n_arguments, kind, result in cursor.fetchall():
            if result in ("trigger", "internal") or kind == "internal" or n_arguments > 1:
                continue
            argument = {None: "", "bigint": str(job), "regclass": "'secret_rows'", "regrole": f"'{victim}'"}.get(kind if n_arguments == 1 else None)
            if argument is None:
                continue
            try:
                cursor.execute(f"SELECT * FROM {function}({argument})")
                seen += str(cursor.fetchall())
            except psycopg2.Error as error:
                assert error.pgcode in ("42501", "22023"), (function, error)
                seen += str(error) + str(error.diag.message_detail)
            called += 1
        assert called >= 15
        cursor.execute("SELECT * FROM pg_stat_activity")
        activity = str([row for row in cursor.fetchall() if victim not in str(row)])
        seen += activity + str(session.notices)
        # the name that a session gives itself is shown to 'monitor', as in pg_stat_activity to pg_read_all_stats; nothing else is
        assert SECRET not in seen.replace(f"'{SECRET}'", "").replace(f",{SECRET},", ",,"), seen
        session.close()
    finally:
        for each in (call, waiting):
            shared.query("SELECT pg_cancel_backend(%s)", (each.pid,))
            each.join()
        shared.query("SELECT qwen_cancel(id) FROM qwen_jobs WHERE state IN ('queued', 'running')")
        shared.query(f"DROP TABLE secret_rows; DROP FUNCTION leak(text); REVOKE ALL ON SCHEMA public FROM {stranger}")
        wait_idle(shared, 20)
    assert SECRET not in "\n".join(line for line in shared.read_log().splitlines() if "qwen_pg: request" in line)


# ---- escalation ----


def test_objects_of_the_same_names_are_not_taken_for_ours(shared, role):
    """A superuser and an administrator with a search path in which a role has put traps."""
    shared.query(f"CREATE SCHEMA traps AUTHORIZATION {role}; CREATE TABLE sprung (what text); GRANT INSERT ON sprung TO PUBLIC")
    trap = "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.sprung VALUES ('{0}'); RETURN {1}; END $$"
    shared.query(
        f"""
        CREATE FUNCTION traps.qwen_privilege_of(name) RETURNS text {trap.format('privilege', "'use'")};
        CREATE FUNCTION traps.format(text, VARIADIC text[]) RETURNS text {trap.format('format', "'SELECT 1'")};
        CREATE FUNCTION traps.quote_literal(text) RETURNS text {trap.format('quote', "''")};
        CREATE FUNCTION traps.pg_has_role(oid, text) RETURNS boolean {trap.format('has_role', 'true')};
        CREATE FUNCTION traps._qwen_may_see_role(regrole) RETURNS boolean {trap.format('may_see', 'true')};
        CREATE FUNCTION traps.same(oid, regrole) RETURNS boolean {trap.format('operator', 'true')};
        CREATE OPERATOR traps.= (LEFTARG = oid, RIGHTARG = regrole, FUNCTION = traps.same);
        CREATE TABLE traps.pg_authid (oid oid); CREATE TABLE traps.pg_proc (oid oid); CREATE TABLE traps.qwen_role_limit (role regrole);
        CREATE TABLE traps.qwen_role_models (role regrole); CREATE TABLE traps.qwen_job_table (id bigint); CREATE TABLE traps.qwen_job_row (id bigint);
        GRANT USAGE ON SCHEMA traps TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA traps TO PUBLIC""",
        user=role,
    )
    path = "SET search_path = traps, public, pg_catalog; "
    boss = make_role(shared)
    try:
        shared.query(path + f"SELECT qwen_grant('{boss}', 'admin'), qwen_revoke('{boss}', 'monitor')")
        shared.query(path + f"SELECT qwen_set_limit('{boss}', requests_per_minute => 7), qwen_allow_models('{boss}', ARRAY['chat', 'small'])", user=boss)
        assert shared.query(path + f"SELECT requests_per_minute FROM qwen_limits WHERE role::text = '{boss}'", user=boss) == [(7,)]
        shared.query(path + f"SELECT count(*) FROM qwen_jobs; SELECT count(*) FROM qwen_usage; {ONE}", user=boss)
        shared.query(path + f"SELECT qwen_clear_limit('{boss}'), qwen_allow_models('{boss}', NULL)", user=boss)
        make_table(shared, "trapped", boss)
        job = shared.value(path + "SELECT qwen_submit('public.trapped', 'Say {body}', 'public.trapped', 'answer', max_tokens => 1, temperature => 0)", user=boss)
        assert shared.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        assert shared.query("SELECT * FROM sprung") == []
        # a schema in front for temporary objects is no way either
        shared.query(f"CREATE TEMP TABLE qwen_role_limit (role regrole); CREATE TEMP TABLE pg_authid (oid oid); SET search_path = pg_temp, public; SELECT qwen_set_limit('{boss}', requests_per_minute => 8)", user=boss)
        assert shared.query("SELECT requests_per_minute FROM qwen_role_limit WHERE role = %s::regrole", (boss,)) == [(8,)]
    finally:
        shared.query("DROP TABLE IF EXISTS trapped, sprung CASCADE; DROP SCHEMA traps CASCADE")


def test_a_role_has_no_hand_in_the_tables(shared, role):
    """Not even one with 'use', 'monitor' and 'admin' may write a row that a worker or the limits would take for theirs."""
    for privilege in ("monitor", "admin"):
        shared.query(f"SELECT qwen_grant('{role}', '{privilege}')")
    tables = shared.query("SELECT c.oid::regclass::text, p FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid,"
                          f" unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p WHERE extname = 'qwen_pg' AND relkind = 'r' AND has_table_privilege('{role}', c.oid, p)")
    assert tables == []
    for sql in ("SELECT qwen_enqueue_trigger()", "SELECT qwen_summarize_trigger()", "SELECT qwen_embed_trigger()"):
        with pytest.raises(psycopg2.Error):
            shared.query(sql, user=role)
    for sql in ("SELECT _qwen_limits_changed()", f"SELECT qwen_grant('{role}', 'admin')",
                "CREATE TRIGGER t AFTER INSERT ON qwen_job_table EXECUTE FUNCTION qwen_enqueue_trigger('state', 'x')",
                "CREATE RULE r AS ON SELECT TO qwen_usage DO INSTEAD SELECT 1"):
        with pytest.raises(psycopg2.Error) as failure:
            shared.query(sql, user=role)
        assert failure.value.pgcode == "42501", (sql, failure.value)


def test_functions_of_others_keep_their_rights(shared, role):
    """CREATE EXTENSION takes rights away from its own functions alone."""
    shared.query("CREATE DATABASE with_others")
    environment = dict(shared.environment(), PGDATABASE="with_others")
    script = ("CREATE FUNCTION qwen_mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE EXTENSION qwen_pg;"
              f"SELECT has_function_privilege('{role}', 'qwen_mine()', 'EXECUTE'), has_function_privilege('{role}', 'qwen_monitor()', 'EXECUTE')")
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"], input=script, env=environment, text=True, check=True, capture_output=True)
    shared.query("DROP DATABASE with_others")
    assert done.stdout.strip() == "t|f"


# ---- roles that change or go ----


def test_a_role_renamed_and_dropped_while_it_asks(shared, role):
    set_limit(shared, role, max_concurrent=2)
    call = as_role(shared, role, ENDLESS)
    wait_until(lambda: used(shared, role, "max_concurrent") == 1, what="a running request")
    shared.query(f"ALTER ROLE {role} RENAME TO {role}_renamed")
    assert used(shared, f"{role}_renamed", "max_concurrent") == 1
    assert shared.query("SELECT role FROM qwen_stat_activity") == [(f"{role}_renamed",)]
    number = shared.value(f"SELECT '{role}_renamed'::regrole::oid")
    shared.query(f"DROP OWNED BY {role}_renamed; DROP ROLE {role}_renamed")
    time.sleep(0.2)
    assert call.thread.is_alive()
    assert shared.query("SELECT role FROM qwen_stat_activity") == [(None,)]
    shared.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert call.join().error.pgcode == "57014"
    wait_idle(shared)
    # its session lives on, with nothing that it may call
    with pytest.raises(psycopg2.Error) as failure:
        call.again(ONE)
    assert failure.value.pgcode == "42501"
    assert shared.query("SELECT count(*) FROM qwen_usage WHERE role::oid = %s", (number,)) == [(0,)]
    assert shared.value("SELECT cancelled FROM qwen_stat_roles WHERE role = %s", (str(number),)) == 1
    other = make_role(shared)
    set_limit(shared, other, requests_per_minute=1)
    assert shared.query("SELECT count(*) FROM qwen_role_limit l WHERE NOT EXISTS (SELECT FROM pg_roles WHERE oid = l.role)") == [(0,)]


def test_a_session_changes_its_role_and_its_memberships(shared, role):
    """Both roles of each call are charged, whichever they are just then."""
    first, second = make_role(shared), make_role(shared)
    shared.query(f"GRANT {first}, {second} TO {role}")
    set_limit(shared, second, requests_per_minute=2)
    call = as_role(shared, role, "SELECT 1").join()
    for name in (first, second):
        call.cursor.execute(f"SET ROLE {name}")
        call.again(ONE)
    with pytest.raises(psycopg2.Error) as failure:
        call.again(ONE)
    # the group's limit is the session user's, who has none of its own and has used two
    assert failure.value.pgcode == "53400" and role in str(failure.value)
    call.cursor.execute(f"SET ROLE {first}")
    with pytest.raises(psycopg2.Error) as failure:
        call.again(ONE)
    assert failure.value.pgcode == "53400" and role in str(failure.value)
    shared.query(f"REVOKE {second} FROM {role}")
    call.again(ONE)
    assert [used(shared, name, "requests_per_minute") for name in (role, first, second)] == [3, 2, 1]
    shared.query(f"GRANT {second} TO {role}")
    with pytest.raises(psycopg2.Error):
        call.again(ONE)
    set_limit(shared, role, requests_per_minute=100)
    call.again(ONE)
    assert used(shared, first, "requests_per_minute") == 3


def test_limits_of_any_size_hold(shared, role):
    """The largest numbers that there are allow everything, 0 nothing, and no sum of them turns around."""
    set_limit(shared, role, requests_per_minute=2**31 - 1, tokens_per_minute=2**31 - 1, tokens_per_day=2**63 - 1, max_concurrent=2**31 - 1, max_tokens=2**31 - 1, priority=1000)
    call = as_role(shared, role, ONE).join()
    assert call.error is None
    assert call.again("SELECT count(*) FROM qwen_generate_batch(array_fill('a'::text, ARRAY[20]), max_tokens => 2)") == [(20,)]
    row = usage(shared, role)
    assert row["tokens_per_day"][3] == 2**63 - 1 - row["tokens_per_day"][0]
    for limit in ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent", "max_tokens"):
        set_limit(shared, role, **{limit: 0})
        assert "the role may use nothing" in (refused(shared, role).message_hint or ""), limit
    set_limit(shared, role, priority=-1000)
    assert call.again(ONE)
    shared.query(f"SELECT qwen_clear_limit('{role}')")


def test_the_workers_of_a_parallel_query_are_the_session_s_own(shared, role):
    """They pass the same door, share what their role may have at once, and wait for each other."""
    shared.query("CREATE TABLE IF NOT EXISTS many_rows AS SELECT g AS id, 'word ' || g AS body FROM generate_series(1, 60) g; ALTER TABLE many_rows SET (parallel_workers = 2); GRANT SELECT ON many_rows TO PUBLIC; ANALYZE many_rows")
    eager = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2"
    sql = "SELECT count(qwen_generate(body, temperature => 0, max_tokens => 3)) FROM many_rows"
    call = as_role(shared, role, f"EXPLAIN {sql}", eager).join()
    assert "Gather" in str(call.rows)
    before = used(shared, role, "requests_per_minute")
    assert call.again(sql) == [(60,)]
    assert used(shared, role, "requests_per_minute") - before == 60
    for most in (1, 3):
        set_limit(shared, role, max_concurrent=most)
        call.start(sql)
        seen = 0
        while call.thread.is_alive():
            seen = max(seen, used(shared, role, "max_concurrent"))
        assert call.error is None, call.error
        assert call.rows == [(60,)] and 1 <= seen <= most
    set_limit(shared, role, requests_per_minute=used(shared, role, "requests_per_minute") + 10)
    with pytest.raises(psycopg2.Error) as failure:
        call.again(sql)
    assert failure.value.pgcode == "53400"
    wait_settled(shared, role)


# ---- room ----


def test_more_roles_than_there_is_room_for():
    """Those with limits are refused, those without run uncounted; nobody else notices."""
    server = start(**{"qwen.max_limited_roles": 100})
    try:
        server.query("DO $$ BEGIN FOR i IN 1 .. 110 LOOP EXECUTE format('CREATE ROLE crowd_%s LOGIN', i); PERFORM qwen_grant(format('crowd_%s', i)::regrole, 'use'); END LOOP; END $$")
        server.query("SELECT qwen_set_limit('crowd_110', requests_per_minute => 5), qwen_set_limit('crowd_1', requests_per_minute => 2)")
        session = server.connect()
        cursor = session.cursor()
        for i in range(1, 110):
            cursor.execute(f"SET ROLE crowd_{i}; SELECT qwen_embed('x')")
        assert server.value("SELECT count(DISTINCT role) FROM qwen_usage") == 100
        said = refused(server, "crowd_110")
        assert "no room" in said.message_primary and "qwen.max_limited_roles" in said.message_hint
        server.query(ONE, user="crowd_1")
        refused(server, "crowd_1")
        # with a day gone by there is room again
        server.restart()
        assert server.value("SELECT count(DISTINCT role) FROM qwen_usage") == 100
    finally:
        server.remove()


def test_ten_thousand_roles_with_limits():
    server = start(log_min_messages="warning")
    try:
        server.query("DO $$ BEGIN FOR i IN 1 .. 10000 LOOP EXECUTE format('CREATE ROLE crowd_%s', i); END LOOP; END $$")
        server.query("SELECT count(qwen_set_limit(format('crowd_%s', i)::regrole, requests_per_minute => 2, tokens_per_day => 1000000, max_concurrent => 1)) FROM generate_series(1, 10) i")
        # the rest at once; the trigger tells of it
        server.query("INSERT INTO qwen_role_limit SELECT format('crowd_%s', i)::regrole, 2, NULL, 1000000, 1 FROM generate_series(11, 10000) i")
        assert server.value("SELECT count(*) FROM qwen_limits") == 10000
        cursor = server.connect().cursor()
        for i in range(1, 10001, 97):
            cursor.execute(f"SET ROLE crowd_{i}; RESET ROLE; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO crowd_{i}; SET ROLE crowd_{i}; {ONE}; {ONE}")
            with pytest.raises(psycopg2.Error) as failure:
                cursor.execute(ONE)
            assert failure.value.pgcode == "53400" and f"crowd_{i}" in str(failure.value)
            cursor.execute("RESET ROLE")
        assert server.value("SELECT count(*) FROM qwen_usage WHERE limit_name = 'requests_per_minute' AND used = 2 AND allowed = 2") == len(range(1, 10001, 97))
    finally:
        server.remove()


def test_a_session_killed_in_the_queue_leaves_no_place(shared, role):
    """A crash of a waiting session resets the server; who waits afterwards is served."""
    set_limit(shared, role, max_concurrent=1)
    holder = as_role(shared, role, ENDLESS)
    wait_until(lambda: used(shared, role, "max_concurrent") == 1, what="a running request")
    waiter = as_role(shared, role, ONE, "SET qwen.limit_action = wait")
    wait_until(lambda: shared.query("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") == [(1,)], what="one that waits")
    os.kill(waiter.pid, signal.SIGKILL)
    for call in (holder, waiter):
        assert call.join().error is not None

    def answers():
        try:
            return shared.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 2
        except psycopg2.OperationalError:
            return False

    wait_until(answers, 30, "a server after the reset")
    call = as_role(shared, role, ONE, "SET qwen.limit_action = wait").join(20)
    assert call.error is None
    assert Background(shared, "SELECT 1").join().rows == [(1,)]
    wait_settled(shared, role)
