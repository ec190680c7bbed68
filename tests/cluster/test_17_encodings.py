"""Databases that are not UTF-8: what their encoding cannot hold is an error of its row, and no more than that; messages are text, whatever
they quote and wherever they are cut."""
import os

import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until

DEFAULT_MODEL = MODEL_FILE

# answers of the demo model that no database of one byte a character can hold, and such that any can
BAD = ["Write some emoji", "Translate into Greek: hello world", "Write in Russian: hello world"]
GOOD = ["Say yes", "Count to three", "Name a fruit"]
OPTIONS = "temperature => 0, max_tokens => 8"
NO_EQUIVALENT = "has no equivalent in encoding"


class Database:
    def __init__(self, server, name, encoding):
        self.server, self.name = server, name
        server.query(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        self.connection = self.connect()
        self.query("CREATE EXTENSION qwen_pg")

    def connect(self):
        connection = psycopg2.connect(host=self.server.folder, port=self.server.port, user=self.server.connect().info.user, dbname=self.name)
        connection.autocommit = True
        connection.set_client_encoding("UTF8" if self.name != "bytes" else "SQL_ASCII")
        return connection

    def query(self, sql, arguments=None):
        cursor = self.connection.cursor()
        del self.connection.notices[:]
        cursor.execute(sql, arguments)
        return cursor.fetchall() if cursor.description else None

    def value(self, sql, arguments=None):
        return self.query(sql, arguments)[0][0]

    def fails(self, sql, arguments=None):
        with pytest.raises(psycopg2.Error) as failure:
            self.query(sql, arguments)
        return failure.value.pgcode, str(failure.value)


def make(server, name, encoding):
    database = Database(server, name, encoding)
    yield database
    database.connection.close()
    wait_until(lambda: server.query("SELECT backend_type, state, query FROM pg_stat_activity WHERE datname = %s", (name,)) == [], what="nobody in the database")
    server.query(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def latin(server):
    yield from make(server, "latin_seventeen", "LATIN1")


@pytest.fixture(scope="module")
def bytes_database(server):
    yield from make(server, "bytes", "SQL_ASCII")


@pytest.fixture(scope="module")
def answers(server):
    """Of each prompt, what the model says: the same everywhere."""
    said = {prompt: server.value(f"SELECT qwen_chat(%s, {OPTIONS})", (prompt,)) for prompt in BAD + GOOD}
    assert all(any(ord(c) > 255 for c in said[prompt]) for prompt in BAD)
    assert all(ord(c) < 256 for prompt in GOOD for c in said[prompt])
    return said


PROMPTS = [prompt for pair in zip(GOOD, BAD) for prompt in pair]


def wanted(answers):
    return [answers[prompt] if prompt in GOOD else None for prompt in PROMPTS]


@pytest.mark.parametrize("batch", ["on", "off"])
def test_a_query_over_rows_loses_only_the_rows_that_cannot_be_held(latin, answers, batch):
    latin.query(f"SET qwen.batch_plans = {batch}; SET qwen.on_error = 'null'")
    rows = latin.query(f"SELECT qwen_chat(p, {OPTIONS}), qwen_chat_full(p, {OPTIONS}) IS NULL FROM unnest(%s) WITH ORDINALITY v(p, i) ORDER BY i", (PROMPTS,))
    assert rows == [(said, said is None) for said in wanted(answers)]
    warning = "".join(latin.connection.notices)
    assert f"{2 * len(BAD)} values are NULL" in warning and NO_EQUIVALENT in warning
    latin.query("RESET qwen.on_error; RESET qwen.batch_plans")
    code, message = latin.fails(f"SELECT qwen_chat(p, {OPTIONS}) FROM unnest(%s) p", (PROMPTS,))
    assert code == "22P05" and NO_EQUIVALENT in message
    assert latin.value(f"SELECT qwen_chat(%s, {OPTIONS})", (GOOD[0],)) == answers[GOOD[0]]


def test_array_functions_have_it_in_their_column(latin, answers):
    rows = latin.query(f"SELECT ordinality, response, error FROM qwen_generate_batch(%s, {OPTIONS})", (PROMPTS,))
    assert [row[:2] for row in rows] == list(enumerate(wanted(answers), 1))
    assert [row[2] is not None and NO_EQUIVALENT in row[2] for row in rows] == [prompt in BAD for prompt in PROMPTS]


def test_a_stream_loses_only_the_pieces_that_cannot_be_held(latin):
    stream = f"SELECT count(*), count(p), string_agg(p, '') FROM qwen_chat_stream('Write the price in euro, with the sign of the currency: hello world', {OPTIONS}) p"
    code, message = latin.fails(stream)
    assert code == "22P05" and NO_EQUIVALENT in message
    latin.query("SET qwen.on_error = 'null'")
    n, n_held, text = latin.query(stream)[0]
    assert 0 < n_held < n and "\u20ac" not in text
    assert f"{n - n_held} value" in "".join(latin.connection.notices)
    # the pieces of a select list, too
    assert len(latin.query("SELECT qwen_chat_stream('Write some emoji', temperature => 0, max_tokens => 8)")) > 0
    latin.query("RESET qwen.on_error")


def test_aggregates_are_null(latin):
    query = "SELECT k, qwen_chat_agg('hello world', CASE k WHEN 1 THEN 'Write some emoji' ELSE 'Say yes' END) FROM generate_series(1, 2) k GROUP BY k ORDER BY k"
    latin.query("SET qwen.max_tokens = 8")
    assert latin.fails(query)[0] == "22P05"
    latin.query("SET qwen.on_error = 'null'")
    rows = latin.query(query)
    assert [(k, said is None) for k, said in rows] == [(1, True), (2, False)]
    assert "1 value is NULL" in "".join(latin.connection.notices)
    latin.query("RESET qwen.on_error; RESET qwen.max_tokens")


def test_jobs_and_enqueue_triggers_put_such_rows_aside(latin, answers):
    latin.query(
        f"""
        CREATE TABLE asked (id int PRIMARY KEY, body text, said text, e real[]);
        CREATE TABLE queued (id int PRIMARY KEY, body text, said text);
        CREATE TRIGGER fill AFTER INSERT ON queued FOR EACH ROW EXECUTE FUNCTION
            qwen_enqueue_trigger('said', '{{body}}', 'temperature=0', 'max_tokens=8', 'max_attempts=1');
        """
    )
    for table in ("asked", "queued"):
        latin.query(f"INSERT INTO {table} (id, body) SELECT i, p FROM unnest(%s) WITH ORDINALITY v(p, i)", (PROMPTS,))
    job = latin.value(f"SELECT qwen_submit('asked', 'body', 'asked', 'said', max_attempts => 1, {OPTIONS})")
    assert latin.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done with failures"
    assert latin.query("SELECT done, failed FROM qwen_jobs WHERE id = %s", (job,)) == [(len(GOOD), len(BAD))]
    wait_until(lambda: latin.value("SELECT count(*) FROM qwen_job_row WHERE NOT dead") == 0, what="an empty queue")
    for table in ("asked", "queued"):
        assert latin.query(f"SELECT said FROM {table} ORDER BY id") == [(said,) for said in wanted(answers)]
    assert latin.value("SELECT count(*) FROM qwen_job_row WHERE dead AND error LIKE '%%' || %s || '%%' AND sqlstate = '22P05'", (NO_EQUIVALENT,)) == 2 * len(BAD)
    latin.query("DROP TABLE asked, queued")


def test_triggers_write_null_where_they_may(bytes_database):
    database = bytes_database
    database.query(
        """
        CREATE TABLE notes (id int, body text, summary text, e real[]);
        CREATE TRIGGER s BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'summary');
        CREATE TRIGGER e BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'e');
        """
    )
    insert = "INSERT INTO notes VALUES (1, 'Water is wet.'), (2, E'a\\xff'), (3, 'Fire is hot.')"
    assert database.fails(insert)[0] == "22021"
    database.query("SET qwen.on_error = 'null'; SET qwen.max_tokens = 8")
    database.query(insert)
    assert "2 values are NULL" in "".join(database.connection.notices)
    assert database.query("SELECT summary IS NULL, e IS NULL FROM notes ORDER BY id") == [(False, False), (True, True), (False, False)]
    database.query("RESET qwen.on_error; RESET qwen.max_tokens; DROP TABLE notes")


def test_log_probabilities_escape_what_cannot_be_held(latin, server):
    """A piece may be a part of a character, which is U+FFFD, and that is in no encoding but UTF-8."""
    text = "fa\u00e7ade " + "".join(chr(i) for i in range(0xA1, 0x100))
    pieces = [piece for piece, in latin.query("SELECT piece FROM qwen_logprobs(%s)", (text,))]
    everywhere = [piece for piece, in server.query("SELECT piece FROM qwen_logprobs(%s)", (text,))]
    assert any("\ufffd" in piece for piece in everywhere)
    assert pieces == ["".join(c if ord(c) < 256 else f"\\u{ord(c):04x}" for c in piece) for piece in everywhere]


def test_text_that_is_none_is_its_rows_error(bytes_database):
    database = bytes_database
    assert database.fails("SELECT qwen_embed(E'\\xff')")[0] == "22021"
    rows = database.query(f"SELECT response IS NULL, error LIKE '%invalid byte sequence%' FROM qwen_generate_batch(ARRAY['Say yes', E'a\\xff'], {OPTIONS})")
    assert rows == [(False, None), (True, True)]
    rows = database.query("SELECT embedding IS NULL FROM qwen_embed_batch(ARRAY['Say yes', E'a\\xff'])")
    assert rows == [(False,), (True,)] and "invalid byte sequence" in "".join(database.connection.notices)
    # what has no encoding is given as UTF-8, whatever it holds
    assert database.value(f"SELECT convert_from(qwen_chat('Write some emoji', {OPTIONS})::bytea, 'SQL_ASCII') <> ''")


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_messages_that_are_cut_are_text(server, shift):
    """Why a job cannot go on is kept as far as there is room, and ends with a whole character."""
    server.query(
        f"""
        CREATE TABLE moody (id int PRIMARY KEY, body text, said text);
        INSERT INTO moody VALUES (1, 'x');
        CREATE FUNCTION complain() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
            IF EXISTS (SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND backend_type = 'qwen_pg job worker') THEN
                RAISE EXCEPTION '%', repeat('x', {shift}) || repeat('\u20ac', 400); END IF;
            RETURN true; END $$;
        """
    )
    job = server.value("SELECT qwen_submit('SELECT id, body FROM moody WHERE complain()', 'body', 'moody', 'said')")
    assert server.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "failed"
    said = server.value("SELECT error::bytea FROM qwen_jobs WHERE id = %s", (job,))
    text = bytes(said).decode("utf-8")
    assert text == "x" * shift + "\u20ac" * ((511 - shift) // 3)
    server.query("DROP TABLE moody; DROP FUNCTION complain")


def test_a_file_has_one_name_in_all_databases(make_server):
    """The system has it in UTF-8: who says it in another encoding means the same file, and views and messages show it in theirs."""
    name = "日本の犬.gguf"
    server = make_server({"qwen.models": f"chat={name}", "qwen.adapters": f"legal={name}@chat", "qwen.model_directory": "own_models"}, prepared=False)
    os.mkdir(os.path.join(server.data, "own_models"))
    with open(os.path.join(server.data, "own_models", name), "wb") as file:
        file.write(b"no model")
    for folder, _, files in os.walk(os.path.join(server.data, "own_models")):
        for path in (folder, *(os.path.join(folder, file) for file in files)):
            os.chmod(path, 0o755)
    server.reload()
    databases = {}
    for encoding, shown in (("EUC_JP", name), ("LATIN1", name.encode("ascii", "backslashreplace").decode())):
        database = Database(server, encoding.lower(), encoding)
        wait_until(lambda database=database: "GGUF" in (database.value("SELECT error FROM qwen_models") or ""), what="the file is found")
        assert database.query("SELECT file, position(file IN error) > 0 FROM qwen_models") == [(shown, True)]
        assert database.query("SELECT file FROM qwen_adapters") == [(shown,)]
        databases[encoding] = database
    japanese = databases["EUC_JP"]
    assert "GGUF" in japanese.value("SELECT value || problem FROM (SELECT value, coalesce(problem, '') AS problem FROM qwen_check_model(%s) WHERE item = 'loads') AS t", (name,))
    code, message = japanese.fails("SELECT qwen_load_model('other', %s)", (name,))
    assert code == "22023" and f'own_models/{name}".' in message, message
    code, message = japanese.fails("SELECT qwen_load_model('other', '猫.gguf')")
    assert code == "42704" and f'There are: "{name}".' in message and 'cannot open file "猫.gguf"' in message, message
