"""What is said to somebody who begins: a model that is not there, a right that is missing, a library that is not preloaded."""
import os
import subprocess

import psycopg2
import pytest

from cluster import MODEL_FILE, Cluster, model_directory, server_programs
from conftest import let_others_in, ready
from sessions import wait_until

DEFAULT_MODEL = MODEL_FILE
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


@pytest.mark.parametrize("arguments, status, said", [
    (["--help"], 0, "usage: qwen_engine --version | --help"),
    (["-h"], 0, "usage: qwen_engine --version | --help"),
    (["--version"], 0, "qwen_engine "),
    (["--halp"], 2, "qwen_engine: unknown mode: --halp"),
    ([], 2, "qwen_engine: started by qwen_pg, not by hand"),
])
def test_the_engine_says_what_it_is(arguments, status, said):
    done = subprocess.run([os.path.join(server_programs(), "qwen_engine"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status and (done.stderr if status else done.stdout).startswith(said) and (done.stdout if status else done.stderr) == "", done


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


def test_what_lies_elsewhere_is_no_file_of_the_directory(house, tmp_path):
    folder = os.path.join(house.folder, "models")
    os.makedirs(os.path.join(folder, "folder.gguf"))
    os.symlink("/etc/passwd", os.path.join(folder, "link.gguf"))
    with open(os.path.join(folder, "words.gguf"), "w") as file:
        file.write("words")
    os.chmod(folder, 0o755)
    try:
        set_directory(house, folder)
        assert "links do not lead out of it" in refused(house, "SELECT qwen_load_model('a', 'link.gguf')")[3]
        there = refused(house, "SELECT qwen_load_model('a', 'nope.gguf')")[3]
        assert '"words.gguf"' in there and "folder.gguf" not in there, there
        # whoever sees the path need not be told where it is
        _, _, detail, hint = refused(house, "SELECT qwen_load_model('a', 'words.gguf')")
        assert f'The file is "{folder}/words.gguf".' in detail and hint == "", (detail, hint)
        assert "server log" in refused(house, "SELECT qwen_load_model('a', 'words.gguf')", user="boss")[3]
    finally:
        set_directory(house, model_directory())


def test_a_text_that_no_message_holds_is_told_to_be_cut(house):
    """It had no HINT, and what was said of longer texts promised any length; what cuts texts sends them whole, too."""
    for sql in ("qwen_chat(repeat('0123456789', 6710785))", "qwen_chunk(repeat('0123456789', 6710785))", "qwen_summarize(repeat('0123456789', 6710785))",
                "qwen_summarize_agg(repeat('0123456789', 3400000)) FROM generate_series(1, 2)"):
        code, message, _, hint = refused(house, f"SELECT {sql}")
        assert code == "54000" and message.endswith("bytes of text, but at most 67107840 bytes can be sent to the engine"), (sql, message)
        assert "substr()" in hint and "qwen_summarize(piece)" in hint and "qwen_chunk" not in hint, hint
    code, _, _, hint = refused(house, "SELECT qwen_chat(repeat('many words ', 100000))")
    assert code == "54000" and "up to 64 MB" in hint and "any length" not in hint, hint


def test_a_form_without_room_asks_for_more_tokens(house):
    for sql in ("qwen_redact('The text is longer.', '{a}', max_tokens => 1)",
                "qwen_chat('x', max_tokens => 2, response_format => '{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 9}')"):
        code, message, _, hint = refused(house, f"SELECT {sql}")
        assert code == "54000" and message.startswith("the shortest answer has") and "max_tokens" in hint and "qwen_chunk" not in hint, (message, hint)


def test_a_default_that_is_no_model_is_named(house):
    for setting, call in (("qwen.default_model", "qwen_chat('x')"), ("qwen.default_embedding_model", "qwen_embed('x')"),
                          ("qwen.default_rerank_model", "qwen_rerank_score('x', 'y')")):
        code, message, _, hint = refused(house, f"SET {setting} = 'nobody'; SELECT {call}")
        assert (code, message) == ("42704", 'model "nobody" is not loaded') and hint.startswith(f"{setting} names it"), (message, hint)
        # a job and a batch of rows are told the same as a plain call
        if setting == "qwen.default_model":
            house.query("CREATE TABLE waits (id int PRIMARY KEY, body text, s text)")
            assert refused(house, f"SET {setting} = 'nobody'; SELECT qwen_submit('waits', 'body', 'waits', 's')") == refused(house, f"SET {setting} = 'nobody'; SELECT {call}")
            house.query("DROP TABLE waits")
    assert "default" not in refused(house, "SELECT qwen_chat('x', model => 'nobody')")[3]
    # an empty name, and one that is too long, are told as any other
    for name in ("nobody", "", "n" * 64):
        for call in ("qwen_chat('x', model => %s)", "qwen_embed('x', model => %s)", "qwen_count_tokens('x', model => %s)"):
            _, message, detail, hint = refused(house, "SELECT " + call % f"'{name}'")
            assert message == f'model "{name}" is not loaded' and detail.startswith("Loaded models: ") and "qwen_load_model" in hint, (name, call)


def test_a_default_that_is_no_model_degrades_health(house):
    """Each call without a model fails with it, so a session that asks is told."""
    checks = "SELECT message FROM qwen_health_checks WHERE name = 'defaults' AND status = 'degraded'"
    assert house.query(checks) == []
    assert house.query(f"SET qwen.default_model = 'nobody'; SET qwen.default_rerank_model = 'none'; {checks}") == [
        ('qwen.default_model is "nobody", which is not loaded; qwen.default_rerank_model is "none", which is not loaded',)]
    assert house.query(f"SET qwen.default_model = '{house.value('SELECT name FROM qwen_models LIMIT 1')}'; {checks}") == []


@pytest.mark.parametrize("call, advice", [
    ("qwen_classify('x', (SELECT array_agg('label' || i) FROM generate_series(1, 5000) i))", "Send less: fewer labels"),
    ("qwen_chat(repeat('word ', 100000))", "Send less: fewer labels"), ("qwen_embed(repeat('word ', 100000))", "Send less text: qwen_chunk cuts it"),
    ("qwen_rerank_score('x', repeat('word ', 100000))", "Send less text: qwen_chunk cuts it"),
    ("qwen_chat('x', response_format => json_build_object('enum', json_build_array(repeat('x', 3000000))))", "Send a smaller form"),
])
def test_what_is_too_long_is_told_what_to_make_shorter(house, call, advice):
    code, _, _, hint = refused(house, f"SELECT {call}")
    assert code == "54000" and hint.startswith(advice), hint


def test_a_name_of_any_length_is_shown_in_part(house):
    for letter in ("m", "é"):
        message = refused(house, f"SELECT qwen_chat('x', model => repeat('{letter}', 100000))")[1]
        assert message.startswith(f'model "{letter * 60}') and message.endswith(f'{letter}" is not loaded') and len(message) < 200


def test_an_unknown_role_is_told_which_there_are(house):
    assert refused(house, """SELECT qwen_chat('[{"role": "usr", "content": "x"}]'::json)""")[1] == \
        'messages[0] has the unknown role "usr": roles are system, developer, user, assistant and tool'


@pytest.mark.parametrize("trigger, option", [
    ("AFTER INSERT ON twice FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}', 'temperature=0', 'temperature=1')", "temperature"),
    ("BEFORE INSERT ON twice FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'e', 'dimensions=4', 'dimensions=4')", "dimensions"),
    ("BEFORE INSERT ON twice FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 's', '10', 'temperature=0', 'temperature=1')", "temperature"),
])
def test_an_option_that_a_trigger_has_twice_is_refused(house, trigger, option):
    house.query(f"CREATE TABLE twice (id int PRIMARY KEY, body text, s text, e real[]); CREATE TRIGGER made {trigger}")
    code, message, _, _ = refused(house, "INSERT INTO twice VALUES (1, 'a')")
    house.query("DROP TABLE twice")
    assert code == "22023" and message.endswith(f'_trigger: the argument "{option}" is given twice')


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


def models_check(server):
    """(message, action) of health's check of models."""
    return server.query("SELECT message, action FROM qwen_health_checks WHERE name = 'models'")[0]


def test_health_advises_what_helps(house, tmp_path):
    let_others_in(tmp_path)
    house.query("SELECT qwen_unload_model('chat')")
    assert models_check(house) == ("no model is loaded: all of qwen.models have been unloaded", "SELECT pg_reload_conf() loads them again.")
    for path, advice in (("/nonexistent/models", "Correct qwen.model_directory, or make the directory"), ("~/models", '"~" is not expanded: write the whole path into qwen.model_directory'),
                         (str(tmp_path), "Correct qwen.models or the file")):
        set_directory(house, path)
        wait_until(lambda: "could not be loaded" in models_check(house)[0] and models_check(house)[1].startswith(advice), 20, advice)
    set_directory(house, model_directory())
    wait_until(lambda: house.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 1, 20, "the model")


def test_models_that_were_refused_at_the_start_are_told_so():
    server = Cluster()
    try:
        server.settings["qwen.models"] = "bad"
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        assert refused(server, "SELECT qwen_chat('x')")[:3] == ("42704", "no model is loaded", "The value of qwen.models is refused.")
        assert models_check(server) == ("no model is loaded: qwen.models is refused", "Correct qwen.models, then reload the configuration.")
        assert server.value("SELECT message FROM qwen_health_checks WHERE name = 'settings'").startswith("the newest value of qwen.models is refused, there is none before it: ")
    finally:
        server.remove()


def test_none_unloaded_and_unknown_are_told_apart(house):
    assert refused(house, "SELECT qwen_chat('x', model => 'nope')")[1:3] == ('model "nope" is not loaded', "Loaded models: chat.")
    house.query("SELECT qwen_unload_model('chat')")
    assert refused(house, "SELECT qwen_chat('x', model => 'chat')")[1:] == (
        'model "chat" is not loaded', "It is in qwen.models, and was unloaded or could not be loaded.", f"Load it: SELECT qwen_load_model('chat', '{FILE}'), or SELECT pg_reload_conf().")
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
    assert [notice for notice in connection.notices if 'WARNING:  model "zzz" of trigger "x" is not loaded' in notice and "tried 5 times within 15 s; those that do not find it are dead letters then" in notice
            and "SELECT qwen_retry_table('public.n')" in notice] and len(connection.notices) == 1
    connection.close()
    house.query("DROP TABLE n")


def test_rows_that_no_model_is_there_for_are_told_and_come_back(house):
    """What the warning says happens: so many attempts, dead letters, and qwen_retry_table."""
    house.query("CREATE TABLE n (id int PRIMARY KEY, body text, s text); "
                "CREATE TRIGGER x AFTER INSERT ON n FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}', 'max_tokens=2', 'max_attempts=2')")
    house.query("SELECT qwen_unload_model('chat')")
    connection = house.connect()
    connection.cursor().execute("INSERT INTO n VALUES (1, 'a')")
    assert 'WARNING:  no model is loaded, which trigger "x" needs' in connection.notices[0] and "tried 2 times within 1 s" in connection.notices[0]
    wait_until(lambda: house.query("SELECT attempts, error FROM qwen_dead_letters") == [(2, "no model is loaded")], 20, "the dead letter")
    house.query("SELECT pg_reload_conf()")
    wait_until(lambda: house.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 1, 20, "the model")
    connection.cursor().execute("INSERT INTO n VALUES (2, 'a')")
    assert len(connection.notices) == 1
    connection.close()
    assert house.value("SELECT qwen_retry_table('n')") == 1
    wait_until(lambda: house.value("SELECT count(s) FROM n") == 2, 20, "the rows")
    house.query("DROP TABLE n")


@pytest.mark.parametrize("arguments, kind, said", [
    ("'s', '{body}', 'thinking=true'", "text", 'thinking must not be true: model "chat" cannot think'),
    ("'s', '{body}', 'max_tokens=100000'", "text", "max_tokens must be between 1 and"), ("'s', '{body}', 'max_tokens=four'", "text", "max_tokens: invalid input"),
    ("'s', '{body}', 'response_format={\"type\": \"nope\"}'", "text", 'response_format: "type" at /'),
    ("'s', '{body}', 'stop={\"\"}'", "text", "stop[1] must have between 1 and"),
    ("'s', '{body}', 'adapter=nope'", "text", 'adapter "nope" of model "chat" is not loaded'),
    ("'s', '{body}', 'model=zzz'", "text", 'model "zzz" is not loaded'),
    ("'s', '{nobody}'", "text", "nobody"), ("'s', '{body}'", "int", "which does not take text"),
    ("'s', '{body}', 'max_tokens=4'", "text", None), ("'s', '{body}', 'function=classify', 'labels={a,b}'", "text", None),
])
def test_a_trigger_that_makes_dead_letters_says_so_when_it_is_made(house, arguments, kind, said):
    connection = house.connect()
    cursor = connection.cursor()
    asked = "SELECT sum(prompt_tokens + completion_tokens) FROM qwen_stat_requests"
    before = house.value(asked)
    cursor.execute(f"DROP TABLE IF EXISTS d; CREATE TABLE d (id int PRIMARY KEY, body text, s {kind})")
    cursor.execute(f"CREATE TRIGGER made AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({arguments})")
    notices = "".join(connection.notices)
    if said is None:
        assert "WARNING" not in notices
    else:
        assert 'WARNING:  trigger "made" cannot fill in rows as it is' in notices and said in notices, notices
    cursor.execute("SELECT count(*) FROM pg_trigger WHERE tgname = 'made'")
    assert cursor.fetchone() == (1,) and house.value(asked) == before
    cursor.execute("DROP TABLE d")
    connection.close()


@pytest.mark.parametrize("table", ["d", "d_1", "d_2_1"])
def test_an_answer_that_would_move_its_row_is_refused(house, table):
    """A target column in a partition key, of the table itself or of one that it is a partition of: when the trigger is made, and at the first row."""
    connection = house.connect()
    cursor = connection.cursor()
    cursor.execute("""CREATE TABLE d (id int, kind text DEFAULT 'new', t text DEFAULT 't', body text, PRIMARY KEY (id, kind, t)) PARTITION BY LIST (kind); CREATE TABLE d_1 PARTITION OF d FOR VALUES IN ('x');
        CREATE TABLE d_2 (body text, t text NOT NULL, id int NOT NULL, kind text NOT NULL) PARTITION BY RANGE (id, t); ALTER TABLE d ATTACH PARTITION d_2 DEFAULT; CREATE TABLE d_2_1 PARTITION OF d_2 DEFAULT""")
    cursor.execute(f"CREATE TRIGGER made AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('kind', 'body', 'function=classify', 'labels={{x}}')")
    said = 'target: column "kind" of table "{}" is in the partition key of table "d"'
    assert len(connection.notices) == 1 and 'WARNING:  trigger "made" cannot fill in rows as it is' in connection.notices[0] and said.format(table) in connection.notices[0], connection.notices
    for kind, partition in (("x", "d_1"), ("new", "d_2_1")):
        row = f"INSERT INTO d VALUES (1, '{kind}', 't', 'b')"
        if table in ("d", partition):
            assert refused(house, row)[:2] == ("22023", said.format(partition))
        else:
            cursor.execute(row)
    cursor.execute(f"DROP TRIGGER made ON {table}; CREATE TRIGGER made AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('t', 'body', 'max_tokens=2')")
    assert refused(house, "INSERT INTO d VALUES (2, 'new', 't', 'b')")[1] == 'target: column "t" of table "d_2_1" is in the partition key of table "d_2"'
    # a key that is no partition key is one that can be written
    cursor.execute("INSERT INTO d (id, kind, body) VALUES (2, 'x', 'b')")
    wait_until(lambda: house.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog WHERE relation = 'd_1'::regclass") == 0, 30, "an answer")
    assert house.value("SELECT count(*) FROM d WHERE id = 2 AND t <> 't'") == 1
    cursor.execute("DROP TABLE d")
    connection.close()


@pytest.mark.parametrize("change, said", [
    ("ALTER TABLE d ALTER COLUMN s TYPE int USING NULL", "which does not take text"), ("ALTER TABLE d DROP CONSTRAINT d_pkey", "has no primary key"),
    ("ALTER TABLE d OWNER TO nobody_logs_in", "cannot log in"), ("ALTER TABLE d ALTER COLUMN s TYPE varchar(10)", None), ("ALTER TABLE d ADD COLUMN t int", None),
])
def test_a_table_that_is_altered_so_that_its_trigger_fails_says_so(house, change, said):
    if "nobody" in change and house.value("SHOW server_version_num") >= "170000":
        said = None
    connection = house.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE d (id int PRIMARY KEY, body text, s text); CREATE ROLE nobody_logs_in")
    for name in ("kept", "other"):
        cursor.execute(f"CREATE TRIGGER {name} AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{{body}}', 'max_tokens=2')")
    assert connection.notices == []
    cursor.execute(change)
    assert len(connection.notices) == (said is not None), connection.notices
    if said:
        assert 'WARNING:  trigger "kept" cannot fill in rows as it is' in connection.notices[0] and said in connection.notices[0]
    cursor.execute("DROP TABLE d; DROP ROLE nobody_logs_in")
    connection.close()


@pytest.mark.parametrize("change", ["ALTER TABLE d ALTER COLUMN s TYPE int USING NULL", "ALTER TABLE d DROP CONSTRAINT d_pkey"])
def test_a_parent_that_is_altered_so_that_a_partitions_trigger_fails_says_so(house, change):
    connection = house.connect()
    cursor = connection.cursor()
    cursor.execute("""CREATE TABLE d (id int PRIMARY KEY, body text, s text) PARTITION BY RANGE (id); CREATE TABLE d_1 PARTITION OF d FOR VALUES FROM (0) TO (10);
        CREATE TRIGGER kept AFTER INSERT ON d_1 FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}', 'max_tokens=2')""")
    assert connection.notices == []
    for change, n in ((f"BEGIN; {change}", 1), ("ALTER TABLE d OWNER TO CURRENT_USER", 0), ("COMMIT", 0), ("ALTER TABLE d OWNER TO CURRENT_USER", 0)):
        cursor.execute(change)
        assert len(connection.notices) == n, connection.notices
        assert not n or 'WARNING:  trigger "kept" cannot fill in rows as it is' in connection.notices[0]
        connection.notices.clear()
    cursor.execute("DROP TABLE d")
    connection.close()


@pytest.mark.parametrize("change", ["ALTER TABLE d OWNER TO CURRENT_USER", "ALTER TABLE ONLY d DROP CONSTRAINT apart", "ALTER TABLE d DROP CONSTRAINT apart"])
@pytest.mark.parametrize("triggers", [False, True])
def test_who_alters_a_parent_waits_for_no_child_that_stays_as_it_is(house, change, triggers):
    """OWNER TO and the DROP of a NO INHERIT constraint lock the parent alone, against everybody: a look at a child that another session holds would hold them all."""
    house.query("CREATE TABLE d (id int PRIMARY KEY, body text, s text, CONSTRAINT apart CHECK (id > 0) NO INHERIT); CREATE TABLE d_1 (PRIMARY KEY (id)) INHERITS (d)")
    if triggers:
        house.query(";".join(f"CREATE TRIGGER kept AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{{body}}', 'max_tokens=2')" for table in ("d", "d_1")))
    other = house.connect()
    other.cursor().execute("BEGIN; LOCK TABLE d_1 IN ACCESS EXCLUSIVE MODE")
    try:
        house.query(f"SET statement_timeout = '5s'; {change}")
    finally:
        other.close()
        house.query("DROP TABLE d CASCADE")


def test_a_trigger_on_a_table_of_an_owner_who_cannot_log_in_says_so(house):
    if house.value("SHOW server_version_num") >= "170000":
        return
    connection = house.connect()
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE d (id int PRIMARY KEY, body text, s text); CREATE ROLE nobody_logs_in; ALTER TABLE d OWNER TO nobody_logs_in")
    cursor.execute("CREATE TRIGGER made AFTER INSERT ON d FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{body}', 'max_tokens=2')")
    assert len(connection.notices) == 1 and "cannot log in" in connection.notices[0]
    cursor.execute("DROP TABLE d; DROP ROLE nobody_logs_in")
    connection.close()


def test_a_list_with_a_model_that_nobody_knows_says_so(house):
    connection = house.connect()
    connection.cursor().execute("SELECT qwen_allow_models('boss', ARRAY['chat', 'chatt'])")
    assert len(connection.notices) == 1 and 'NOTICE:  there is no model "chatt" now' in connection.notices[0]
    connection.cursor().execute("SELECT qwen_allow_models('boss', NULL)")
    connection.close()


ARRAY = '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]'
READ = 'NOTICE:  the prompt is an array of messages, and is read as messages'
PLAIN = 'NOTICE:  1 prompt looks like an array of messages, but is used as plain text'


def said(server, sql, arguments=None):
    """(value, notices) of a statement."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(sql, arguments)
    value = cursor.fetchone()[0]
    connection.close()
    return value, "".join(notice for notice in connection.notices if "cut off" not in notice)


def test_a_literal_of_messages_is_read_as_messages(house):
    """As the form with messages gives it, in every function that has both, and wherever a statement has it; who reads is told so."""
    house.query("CREATE VIEW asked AS SELECT qwen_render_chat('" + ARRAY + "') AS r")
    as_messages = house.value(f"SELECT qwen_render_chat('{ARRAY}'::json)")
    assert "Be brief.<|im_end|>" in as_messages
    for sql in (f"SELECT qwen_render_chat('{ARRAY}')", f"SELECT r FROM (SELECT qwen_render_chat('{ARRAY}', thinking => false) AS r) x", "SELECT r FROM asked",
                f"SELECT max(r) FROM generate_series(1, 3) g, LATERAL (SELECT qwen_render_chat('{ARRAY}') || '' AS r WHERE g > 0) x"):
        value, notices = said(house, sql)
        assert value == as_messages and notices.startswith(READ) and notices.count("NOTICE") == 1, (sql, notices)
    for call in ("qwen_chat({})", "string_agg(c, '') FROM qwen_chat_stream({}) c", "(qwen_chat_full({})).content"):
        call = call.replace("{}", "{}, temperature => 0, max_tokens => 4")
        assert said(house, "SELECT " + call.format(f"'{ARRAY}'"))[0] == said(house, "SELECT " + call.format(f"'{ARRAY}'::json"))[0]
    assert refused(house, """SELECT qwen_chat('[{"role": "user"}]')""")[:2] == ("22023", 'messages[0] has no "content"')
    house.query("DROP VIEW asked")


def test_what_may_be_a_users_words_is_never_read_as_messages(house):
    """A parameter, a column, a value that is computed, a literal that is said to be a prompt or has a system text beside it; and one that is no array of messages."""
    house.query(f"PREPARE p(text) AS SELECT qwen_render_chat($1); CREATE TABLE words AS SELECT '{ARRAY}'::text AS body")
    house.query("CREATE FUNCTION ask(t text) RETURNS text LANGUAGE sql AS 'SELECT qwen_chat(t, temperature => 0, max_tokens => 2)'")
    plain = said(house, f"SELECT qwen_chat(prompt => '{ARRAY}', temperature => 0, max_tokens => 2)")
    assert plain[1].startswith(PLAIN)
    for sql in ("SELECT qwen_chat(body, temperature => 0, max_tokens => 2) FROM words", f"SELECT qwen_chat('{ARRAY[:9]}' || '{ARRAY[9:]}', temperature => 0, max_tokens => 2)", f"SELECT ask('{ARRAY}')",
                f"PREPARE p(text) AS SELECT qwen_chat($1, temperature => 0, max_tokens => 2); EXECUTE p('{ARRAY}')"):
        assert said(house, sql) == plain, sql
    for prompt, rest in ((ARRAY, ", 'A system text'"), ('[{"role": "user"', ""), ('[{"role": 1}]', ""), ("[]", ""), ('["role"]', ""), ('{"role": "user"}', "")):
        value, notices = said(house, f"SELECT qwen_render_chat('{prompt}'{rest})")
        assert prompt in value and READ not in notices, prompt
    _, notices = said(house, "SELECT count(qwen_chat(body, max_tokens => 1)) FROM words, generate_series(1, 3)")
    assert notices.startswith("NOTICE:  3 prompts look like arrays of messages, but are used as plain text") and notices.count("NOTICE") == 1
    house.query("DROP FUNCTION ask; DROP TABLE words")


@pytest.mark.parametrize("sql, privilege", [
    ("SELECT qwen_chat('x')", "use"), ("SELECT qwen_chat(x) FROM (VALUES ('a'), ('b')) v(x)", "use"), ("SELECT * FROM qwen_chunk('x')", "use"),
    ("SELECT qwen_summarize_agg(x) FROM (VALUES ('a'), ('b')) v(x)", "use"), ("SELECT qwen_set_limit('stranger')", "admin"), ("SELECT qwen_monitor()", "monitor"),
])
def test_a_missing_right_names_the_grant(house, sql, privilege):
    code, message, _, hint = refused(house, sql, user="stranger")
    assert (code, message[:17]) == ("42501", "permission denied") and f"SELECT qwen_grant('role', '{privilege}');" in hint


def test_a_right_that_is_missing_outside_of_queries_names_the_grant(house):
    """Triggers, defaults, indexes and what a job asks for had no HINT."""
    house.query("CREATE TABLE theirs (id int PRIMARY KEY, body text, s text); ALTER TABLE theirs OWNER TO stranger; INSERT INTO theirs VALUES (1, 'x')")
    for sql, function in (("CREATE TRIGGER t AFTER INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'body')", "qwen_enqueue_trigger"),
                          ("ALTER TABLE theirs ADD COLUMN n int DEFAULT qwen_count_tokens('x')", "qwen_count_tokens"),
                          ("COPY (SELECT qwen_generate(body) FROM theirs) TO STDOUT", "qwen_generate"),
                          ("DO $$BEGIN PERFORM qwen_chat('x'); END$$", "qwen_chat"),
                          ("DO $$DECLARE said text; BEGIN said := qwen_chat('x'); END$$", "qwen_chat"),
                          ("SELECT FROM theirs WHERE body = qwen_generate('x')", "qwen_generate"),
                          ("SELECT FROM theirs WHERE id < qwen_count_tokens('x')", "qwen_count_tokens"),
                          ("EXPLAIN SELECT FROM theirs WHERE id < qwen_count_tokens('x')", "qwen_count_tokens"),
                          ("CREATE TABLE more AS SELECT qwen_chat(body) FROM theirs", "qwen_chat"),
                          ("DO $$BEGIN IF qwen_count_tokens('x') > 1 THEN RETURN; END IF; END$$", "qwen_count_tokens"),
                          ("SELECT qwen_submit('theirs', 'body', 'theirs', 's')", "qwen_submit")):
        code, message, _, hint = refused(house, sql, user="stranger")
        assert (code, message, hint) == ("42501", f"permission denied for function {function}", "The extension's owner or a superuser grants it: SELECT qwen_grant('role', 'use');"), sql
    house.query("SELECT qwen_grant('stranger', 'use'); REVOKE ALL ON FUNCTION qwen_summarize FROM stranger")
    assert refused(house, "SELECT qwen_submit('theirs', 'body', 'theirs', 's', function => 'summarize')", user="stranger")[3].startswith("The extension's owner or a superuser grants it")
    house.query("SELECT qwen_revoke('stranger', 'use'); DROP TABLE theirs")


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
        said = "owner" if not hint or "for the owner of the extension" in hint else hint.split("'")[-2]
        assert (code, said) == ("42501", privilege), (name, hint)


def test_other_rights_have_no_such_hint(house):
    house.query("CREATE FUNCTION qwen_mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION qwen_mine() FROM PUBLIC")
    for call in ("qwen_revoke('boss', 'use')", "qwen_grant('boss', 'use')"):
        assert refused(house, f"SELECT {call}", user="stranger")[3] == "It is for the owner of the extension and superusers."
    assert refused(house, "SELECT * FROM qwen_job_table", user="stranger")[3] == ""
    house.query("DROP FUNCTION qwen_mine()")


@pytest.fixture(scope="module")
def articles(house):
    house.query("CREATE TABLE articles (id int PRIMARY KEY, body text, headline text); INSERT INTO articles VALUES (1, 'a text'); CREATE TABLE own (id int PRIMARY KEY, headline text); "
                "SELECT qwen_grant('stranger', 'use'); ALTER TABLE own OWNER TO stranger; "
                "CREATE FUNCTION fails(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1 / (i - i); END'; "
                "CREATE FUNCTION submits() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN qwen_submit('SELECT id, nope FROM articles', 'body', 'articles', 'headline'); END$$")
    yield house
    house.query("SELECT qwen_revoke('stranger', 'use'); DROP TABLE articles, own; DROP FUNCTION fails, submits")


@pytest.mark.parametrize("source, code, message", [
    ("SELECT id::text, body FROM articles", "22023", 'source: key column "id" is of type text, that of the target "articles" of type integer'),
    ("SELECT id, body, body FROM articles", "22023", 'source: 2 columns are called "body"'),
    ("SELECT id, id, body FROM articles", "22023", 'source: 2 columns are called "id"'),
    ("", "22023", "source must be a table or a query, not an empty text"),
    ("articles a", "42602", 'source: "articles a" is neither a table\'s name nor a query'),
])
def test_a_source_that_cannot_be_a_jobs_is_named(articles, source, code, message):
    assert refused(articles, f"SELECT qwen_submit('{source}', 'body', 'articles', 'headline')")[:2] == (code, message)


@pytest.mark.parametrize("call, user, message, query, position, context", [
    ("qwen_submit('SELECT id, nope FROM articles', 'body', 'articles', 'headline')", None, 'column "nope" does not exist', "SELECT id, nope FROM articles", "12", None),
    ("qwen_submit('SELECT ''é'', nope FROM articles', 'body', 'articles', 'headline')", None, 'column "nope" does not exist', "SELECT 'é', nope FROM articles", "13", None),
    ("qwen_submit('SELECT id FROM FROM articles', 'id', 'articles', 'headline')", None, 'syntax error at or near "FROM"', "SELECT id FROM FROM articles", "16", None),
    ("submits()", None, 'column "nope" does not exist', "SELECT id, nope FROM articles", "12", "PL/pgSQL function submits() line 1 at RETURN"),
    ("qwen_submit('SELECT id + fails(id) AS id, body FROM articles', 'body', 'articles', 'headline')", None, "division by zero", None, None, "PL/pgSQL function fails(integer) line 1 at RETURN"),
    ("qwen_submit('SELECT id / 0 AS id, body FROM articles', 'body', 'articles', 'headline')", None, "division by zero", None, None, None),
    ("qwen_submit('SELECT id, body FROM articles', 'body', 'own', 'headline')", "stranger", "permission denied for table articles", None, None, None),
])
def test_an_error_of_a_source_shows_the_source_and_not_our_statement(articles, call, user, message, query, position, context):
    with pytest.raises(psycopg2.Error) as failure:
        articles.query(f"SELECT {call}", user=user)
    said = failure.value.diag
    assert (said.message_primary, said.internal_query, said.internal_position, said.context) == (message, query, position, context)


def test_create_extension_without_preload_warns():
    server = Cluster(preload=False)
    try:
        server.settings["shared_preload_libraries"] = "auto_explain"
        server.start()
        done = subprocess.run(["psql", "-X", "-c", "CREATE EXTENSION qwen_pg"], env=server.environment(), text=True, capture_output=True, check=True)
        assert "WARNING:  qwen_pg is not in shared_preload_libraries" in done.stderr and "shared_preload_libraries = 'auto_explain, qwen_pg'" in done.stderr
        # who may not see what is there is not told to write over it
        server.query("CREATE ROLE stranger LOGIN; SELECT qwen_grant('stranger', 'use')")
        assert refused(server, "SELECT qwen_chat('x')", user="stranger")[3] == "Add qwen_pg to shared_preload_libraries in postgresql.conf, behind what is there, and restart the server."
    finally:
        server.remove()
