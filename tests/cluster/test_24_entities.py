"""qwen_redact and qwen_entities as users have them: other encodings, plans, long texts that are given up, thinking, what copying costs."""
import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until

DEFAULT_MODEL = MODEL_FILE

# what qwen_redact must be, made of what qwen_entities says, in the characters of the database
REDACTED = """CREATE FUNCTION redacted(input text, kinds text[], heat float8, seed bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE e record; made text := ''; done int := 1;
BEGIN
    FOR e IN SELECT * FROM qwen_entities(input, kinds, temperature => heat, top_k => 0, top_p => 1, seed => seed) LOOP
        IF e.start < done OR e.length < 1 OR e.span IS DISTINCT FROM substring(input FROM e.start FOR e.length) THEN
            RAISE 'wrong: % of %', e, input;
        END IF;
        made := made || substring(input FROM done FOR e.start - done) || '[' || e.kind || ']';
        done := e.start + e.length;
    END LOOP;
    RETURN made || substring(input FROM done);
END $$"""
# the last has characters that are two of Unicode, of which the second combines
ENCODINGS = [("LATIN1", "Renée Müller lives in Köln, and so does Zoë: <zoë@köln.de>."), ("EUC_JP", "山田さんは東京に住んでいます。電話は 03-1234 です。"), ("EUC_JIS_2004", "か゚き゚く゚ さんは 東京 に。 ト゚ と ㇷ゚"), ("WIN1251", "Меня зовут Анна, я живу в Москве."), ("SQL_ASCII", "Renée lives in Köln.")]


@pytest.mark.parametrize("encoding, text", ENCODINGS)
def test_places_are_counted_in_the_databases_characters(server, encoding, text):
    name = f"entities_{encoding.lower()}"
    server.query(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    connection = psycopg2.connect(host=server.folder, port=server.port, user=server.connect().info.user, dbname=name)
    connection.autocommit = True
    connection.set_client_encoding("UTF8")
    cursor = connection.cursor()
    cursor.execute("CREATE EXTENSION qwen_pg")
    cursor.execute(REDACTED)
    cursor.execute("CREATE TABLE said (t text)")
    cursor.execute("INSERT INTO said VALUES (%s)", (text,))
    cursor.execute("SELECT s, qwen_redact(t, '{person,place}', temperature => 2, top_k => 0, top_p => 1, seed => s) = redacted(t, '{person,place}', 2, s), (SELECT count(*) FROM qwen_entities(t, '{person,place}', temperature => 2, top_k => 0, top_p => 1, seed => s)) FROM said, generate_series(1, 4) s")
    rows = cursor.fetchall()
    assert all(same for _, same, _ in rows), rows
    assert sum(n for _, _, n in rows) > 0
    connection.close()
    wait_until(lambda: server.query("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (name,)) == [], what="nobody in the database")
    server.query(f"DROP DATABASE {name}")


def test_a_table_is_redacted_in_one_batch(server):
    server.query("DROP TABLE IF EXISTS marked_letters; CREATE TABLE marked_letters (id int PRIMARY KEY, body text)")
    server.query("INSERT INTO marked_letters SELECT i, 'Letter ' || i || ' of Anna to Bob, written in Rome.' FROM generate_series(1, 12) i")
    plan = "\n".join(row[0] for row in server.query("EXPLAIN (ANALYZE) SELECT id, qwen_redact(body, '{person,place}', temperature => 1.5, seed => id) FROM marked_letters"))
    assert "Qwen Batch" in plan and "Requests: 12" in plan and "qwen_redact(" in plan, plan
    assert server.query("""SELECT id FROM (SELECT id, body, qwen_redact(body, '{person,place}', temperature => 1.5, seed => id) AS batched FROM marked_letters) m
        WHERE batched <> (SELECT string_agg(r, '') FROM (SELECT qwen_redact(body, '{person,place}', temperature => 1.5, seed => id) AS r OFFSET 0) x)""") == []


def test_copying_takes_fewer_steps_than_tokens(server):
    """The text goes on as it stands: these tokens are guesses, and right nearly always."""
    text = "The committee met on Monday to talk about the new bridge, which is to be built next year beside the old one. " * 8
    before = server.query("SELECT steps, guessed_tokens, guessed_right, generated_tokens FROM qwen_stat_engine")[0]
    assert server.value("SELECT qwen_redact(%s, '{person}')", (text,)) == text
    steps, guessed, right, generated = (after - earlier for after, earlier in zip(server.query("SELECT steps, guessed_tokens, guessed_right, generated_tokens FROM qwen_stat_engine")[0], before))
    assert generated > 150 and steps < generated / 3, (steps, generated)
    assert right > 0.9 * guessed, (guessed, right)


def test_a_text_of_a_megabyte_is_given_up_at_once(server):
    """Its parts are many requests; a cancel takes all of them away."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("SET statement_timeout = '1500ms'")
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("SELECT qwen_redact(string_agg('Mr. Smith number ' || i || ' paid the bill. ', ''), '{person}') FROM generate_series(1, 28000) i")
    assert failure.value.pgcode == "57014"
    connection.close()
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_stat_activity") == 0, 20, "no requests")
    assert server.value("SELECT qwen_redact('still here', '{person}')") is not None


def test_what_is_wrong_with_a_row_is_its_own(server):
    server.query("DROP TABLE IF EXISTS marked_letters; CREATE TABLE marked_letters (id int PRIMARY KEY, body text, kinds text[])")
    server.query("INSERT INTO marked_letters VALUES (1, 'Anna', '{person}'), (2, 'Bob', '{a,a}'), (3, NULL, '{person}')")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("SET qwen.on_error = 'null'")
    cursor.execute("SELECT id, qwen_redact(body, kinds) IS NULL FROM marked_letters ORDER BY id")
    assert cursor.fetchall() == [(1, False), (2, True), (3, True)]
    assert "kinds[2] must not be the same as kinds[1]" in str(connection.notices)
    connection.close()


def test_roles_are_charged_for_what_they_redact(server):
    server.query("DROP ROLE IF EXISTS redactor; CREATE ROLE redactor LOGIN; SELECT qwen_grant('redactor', 'use')")
    server.query("SELECT qwen_set_limit('redactor', tokens_per_day => 60)")
    connection = server.connect("redactor")
    cursor = connection.cursor()
    with pytest.raises(psycopg2.Error) as failure:
        for _ in range(8):
            cursor.execute("SELECT qwen_redact('Anna met Bob in Rome.', '{person}', max_tokens => 30)")
    assert failure.value.pgcode == "53400", failure.value
    connection.close()
    server.query("DROP OWNED BY redactor; DROP ROLE redactor")
