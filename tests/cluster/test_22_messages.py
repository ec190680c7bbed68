"""What is said to somebody who begins: a model that is not there, a right that is missing, a library that is not preloaded."""
import os
import subprocess

import psycopg2
import pytest

from cluster import Cluster, model_directory
from conftest import ready
from sessions import wait_until

FILE = "SmolLM2-135M-Instruct-qwen2-Q4_1.gguf"


@pytest.fixture(scope="module")
def house():
    server = Cluster()
    try:
        ready(server)
        server.query("CREATE ROLE boss LOGIN; SELECT qwen_grant('boss', 'admin'); CREATE ROLE stranger LOGIN")
        yield server
    finally:
        server.remove()


def refused(server, sql, user=None):
    """(SQLSTATE, message, detail, hint) of the error that a statement ends with."""
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, user=user)
    said = failure.value.diag
    return failure.value.pgcode, said.message_primary, said.message_detail or "", said.message_hint or ""


def set_directory(server, path):
    server.query(f"ALTER SYSTEM SET qwen.model_directory = '{path}'")
    server.query("SELECT pg_reload_conf()")
    wait_until(lambda: server.value("SHOW qwen.model_directory") == path, 10, "the directory")


@pytest.mark.parametrize("file, hint", [
    ("nope.gguf", f'There are: '),
    ("~/nope.gguf", '"~" is not expanded'),
    ("chat=nope.gguf", "qwen_load_model('name', 'file.gguf')"),
    ("/etc/passwd", "links do not lead out of it"),
    ("../nope.gguf", "links do not lead out of it"),
])
def test_a_file_that_cannot_be_loaded_has_one_hint(house, file, hint):
    code, message, detail, said = refused(house, f"SELECT qwen_load_model('a', '{file}')")
    assert code in ("42704", "42501") and message == 'model "a" could not be loaded' and hint in said, (code, message, detail, said)
    if "nope.gguf" == file:
        assert f'The file is "{model_directory()}/nope.gguf".' in detail and f'"{FILE}"' in said


def test_an_argument_among_the_options_is_told_to_be_one(house):
    code, message, _, hint = refused(house, "SELECT qwen_chat('x', options => '{\"temperature\": 0}')")
    assert (code, message) == ("22023", 'options: the key "temperature" is not known') and "it is an argument: temperature => value" in hint
    assert refused(house, "SELECT qwen_chat('x', options => '{\"temper\": 0}')")[3] == ""


def test_paths_are_for_those_who_may_see_them(house):
    _, _, detail, hint = refused(house, "SELECT qwen_load_model('a', 'nope.gguf')", user="boss")
    assert model_directory() not in detail + hint and "server log" in hint


def test_a_directory_that_cannot_be_read_says_what_to_do(house, tmp_path):
    try:
        set_directory(house, "/nonexistent/models")
        assert "mkdir -p /nonexistent/models && chown " in refused(house, "SELECT qwen_load_model('a', 'x.gguf')")[3]
        closed = os.path.join(house.folder, "closed")
        os.mkdir(closed, 0o700)
        os.chmod(closed, 0)
        set_directory(house, closed)
        assert "may not read the directory" in refused(house, "SELECT qwen_load_model('a', 'x.gguf')")[3]
    finally:
        set_directory(house, model_directory())


def test_none_unloaded_and_unknown_are_told_apart(house):
    assert refused(house, "SELECT qwen_chat('x', model => 'nope')")[1:3] == ('model "nope" is not loaded', "Loaded models: chat.")
    house.query("SELECT qwen_unload_model('chat')")
    assert refused(house, "SELECT qwen_chat('x', model => 'chat')")[1:] == (
        'model "chat" is not loaded', "It is in qwen.models, and was unloaded.", f"Load it: SELECT qwen_load_model('chat', '{FILE}'), or SELECT pg_reload_conf().")
    assert refused(house, "SELECT qwen_chat('x')")[1:] == ("no model is loaded", "All models of qwen.models have been unloaded.", "SELECT pg_reload_conf() loads them again.")
    house.query("ALTER SYSTEM SET qwen.models = ''")
    house.query("SELECT pg_reload_conf()")
    wait_until(lambda: house.value("SHOW qwen.models") == "", 10, "the setting")
    code, message, detail, hint = refused(house, "SELECT qwen_chat('x')")
    assert (code, message, detail) == ("42704", "no model is loaded", "qwen.models is empty, and none was loaded with qwen_load_model.")
    assert FILE in hint and "qwen.models = 'chat=FILE'" in hint
    house.query(f"ALTER SYSTEM SET qwen.models = 'chat={FILE}'")
    house.query("SELECT pg_reload_conf()")
    wait_until(lambda: house.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 1, 20, "the model")
    assert house.value("SELECT qwen_count_tokens('x')") == 1


@pytest.mark.parametrize("setting, call", [("default_model", "qwen_generate('a', max_tokens => 1)"), ("default_model", "qwen_count_tokens('a')"),
                                           ("default_embedding_model", "qwen_embed('a')"), ("default_rerank_model", "qwen_rerank_score('a', 'b')")])
def test_a_name_that_is_too_long_is_nobody_elses(house, setting, call):
    """A model of 63 letters is not asked for one of 64 that begins with them."""
    longest = "m" * 63
    house.query("SELECT qwen_load_model(%s, %s)", (longest, FILE))
    try:
        code, message, _, _ = refused(house, f"SET qwen.{setting} = '{longest}n'; SELECT {call}")
        assert (code, message) == ("42704", f'model "{longest}n" is not loaded')
        assert house.query(f"SET qwen.{setting} = '{longest}'; SELECT {call}")
    finally:
        house.query("SELECT qwen_unload_model(%s)", (longest,))


def test_a_trigger_with_an_unknown_model_says_so(house):
    house.query("CREATE TABLE n (id int PRIMARY KEY, body text, s text); "
                "CREATE TRIGGER x AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}', 'model=zzz')")
    connection = house.connect()
    connection.cursor().execute("INSERT INTO n VALUES (1, 'a'), (2, 'b')")
    assert [notice for notice in connection.notices if 'WARNING:  model "zzz" of trigger "x" is not loaded' in notice and "tried again until it is" in notice] and len(connection.notices) == 1
    connection.close()
    house.query("DROP TABLE n")


@pytest.mark.parametrize("sql, privilege", [
    ("SELECT qwen_chat('x')", "use"), ("SELECT qwen_chat(x) FROM (VALUES ('a'), ('b')) v(x)", "use"), ("SELECT * FROM qwen_chunk('x')", "use"),
    ("SELECT qwen_summarize_agg(x) FROM (VALUES ('a'), ('b')) v(x)", "use"), ("SELECT qwen_set_limit('stranger')", "admin"), ("SELECT qwen_monitor()", "monitor"),
])
def test_a_missing_right_names_the_grant(house, sql, privilege):
    code, message, _, hint = refused(house, sql, user="stranger")
    assert (code, message[:17]) == ("42501", "permission denied") and f"SELECT qwen_grant('role', '{privilege}');" in hint


def test_every_function_names_the_privilege_that_it_is_of(house):
    """What the hint says is what qwen_grant would do: following it helps."""
    calls = house.query("""
        SELECT p.proname, qwen_privilege_of(p.proname), format('SELECT 1 FROM %s(%s)', p.oid::regproc, (
            SELECT string_agg('NULL::' || t::regtype, ', ') FROM unnest(p.proargtypes) t))
        FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
            JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qwen_pg'
        WHERE qwen_privilege_of(p.proname) <> 'everybody' AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
            AND 'internal'::regtype <> ALL (p.proargtypes) AND (SELECT count(*) FROM pg_proc o WHERE o.proname = p.proname) = 1""")
    assert len(calls) > 20 and {"use", "monitor", "admin", "owner"} == {privilege for _, privilege, _ in calls}
    for name, privilege, call in calls:
        code, _, _, hint = refused(house, call, user="stranger")
        said = hint.split("'")[-2] if hint else "owner"
        assert (code, said) == ("42501", privilege), (name, hint)


def test_other_rights_have_no_such_hint(house):
    house.query("CREATE FUNCTION qwen_mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION qwen_mine() FROM PUBLIC")
    assert refused(house, "SELECT qwen_revoke('boss', 'use')", user="stranger")[3] == ""
    assert refused(house, "SELECT * FROM qwen_job_table", user="stranger")[3] == ""
    house.query("DROP FUNCTION qwen_mine()")


def test_create_extension_without_preload_warns():
    server = Cluster(preload=False)
    try:
        server.settings["shared_preload_libraries"] = "auto_explain"
        server.start()
        done = subprocess.run(["psql", "-X", "-c", "CREATE EXTENSION qwen_pg"], env=server.environment(), text=True, capture_output=True, check=True)
        assert "WARNING:  qwen_pg is not in shared_preload_libraries" in done.stderr and "shared_preload_libraries = 'auto_explain, qwen_pg'" in done.stderr
    finally:
        server.remove()
