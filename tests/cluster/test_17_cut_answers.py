"""Answers that max_tokens cuts off are told of: once a statement, with their number; in jobs as a column; empty ones as failures."""
import pytest
from cluster import MODEL_FILE, wait_until
from random_models import serving

DEFAULT_MODEL = MODEL_FILE
ROWS = "(VALUES ('one'), ('two'), ('three'), ('four'), ('five')) v (body)"
CUT = "max_tokens => 2, temperature => 0"


@pytest.fixture
def session(server):
    connection = server.connect()
    yield connection
    connection.close()


def notices_of(connection, sql):
    del connection.notices[:]
    connection.cursor().execute(sql)
    return [notice for notice in connection.notices if "cut off" in notice]


ONE, FIVE = "1 answer was cut off at max_tokens", "5 answers were cut off at max_tokens"


@pytest.mark.parametrize(
    "sql, said",
    [
        (f"SELECT qwen_chat('Tell me a story.', {CUT})", ONE),
        (f"SELECT (qwen_chat_full('Tell me a story.', {CUT})).finish_reason", ONE),
        (f"SELECT qwen_generate('Once upon a time', {CUT})", ONE),
        (f"SELECT * FROM qwen_chat_stream('Tell me a story.', {CUT})", ONE),
        (f"SELECT qwen_translate('The dog barked all night long.', 'French', {CUT})", ONE),
        (f"SELECT qwen_summarize('The dog barked all night long.', {CUT})", ONE),
        (f"SELECT qwen_chat('Tell a story about ' || body, {CUT}) FROM {ROWS}", FIVE),
        (f"SET LOCAL qwen.batch_plans = off; SELECT qwen_chat('Tell a story about ' || body, {CUT}) FROM {ROWS}", FIVE),
        (f"SELECT * FROM qwen_generate_batch(ARRAY['Tell a story', 'Tell a tale', 'Tell a joke', 'Tell a lie', 'Tell a dream'], {CUT})", FIVE),
        (f"DO $$ BEGIN PERFORM qwen_chat('Tell a story about ' || body, {CUT}) FROM {ROWS}; END $$", FIVE),
        (f"DO $$ DECLARE x text; BEGIN FOR i IN 1 .. 5 LOOP x := qwen_chat('Tell me story ' || i, {CUT}); END LOOP; END $$", FIVE),
        ("SET LOCAL qwen.max_tokens = 2; SELECT qwen_chat_agg(body || ' told a long story', 'Tell it.') FROM (VALUES ('x')) v (body)", ONE),
    ],
)
def test_a_statement_tells_of_its_cut_answers_once(session, sql, said):
    notices = notices_of(session, sql)
    assert len(notices) == 1 and said in notices[0] and "max_tokens" in notices[0].split("HINT")[1]
    session.cursor().execute("SET client_min_messages = warning")
    assert notices_of(session, sql) == []


def test_whole_answers_and_failed_statements_are_not_told_of(session):
    assert notices_of(session, "SELECT qwen_chat('What is the capital of France? Answer in one word.', temperature => 0)") == []
    assert notices_of(session, "SELECT qwen_embed('one'), qwen_classify('one', '{a,b}')") == []
    cursor = session.cursor()
    with pytest.raises(Exception):
        cursor.execute(f"SELECT qwen_chat('Tell me a story.', {CUT}), 1 / (SELECT count(*) FROM qwen_jobs WHERE id < 0)")
    assert notices_of(session, "SELECT 1") == [], "nothing is left over for the next statement"


@pytest.mark.parametrize("batch", ["on", "off"])
def test_what_a_rolled_back_subtransaction_wrote_is_not_told_of(session, batch):
    cursor = session.cursor()
    cursor.execute(f"SET qwen.batch_plans = {batch}; BEGIN; SAVEPOINT a")
    with pytest.raises(Exception, match="division by zero"):
        cursor.execute(f"SELECT qwen_chat('Tell a story about ' || body, {CUT}), 1 / (5 - length(body)) FROM {ROWS}")
    assert len(notices_of(session, "ROLLBACK TO a; SELECT 1")) == 0
    assert ONE in "".join(notices_of(session, f"SELECT qwen_chat('Tell me a story.', {CUT})"))
    assert notices_of(session, "COMMIT") == []


def test_tasks_have_room_for_what_they_are_asked(server):
    text = "The quick brown fox jumps over the lazy dog, and the dog sleeps through all of it."
    value = "SELECT qwen_count_tokens({})"
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("SET qwen.max_tokens = 3")

    def tokens(call):
        cursor.execute(value.format(call), {"text": text})
        return cursor.fetchone()[0]

    assert tokens("qwen_translate(%(text)s, 'French')") > 5
    assert tokens("qwen_summarize(%(text)s)") > 5
    assert tokens("(SELECT qwen_chat_agg(x, 'Repeat this.') FROM (VALUES (%(text)s)) v (x))") > 5
    assert tokens("qwen_translate(%(text)s, 'French', max_tokens => 3)") <= 3, "the argument is taken at its word"
    server.query("SELECT qwen_set_limit(%s, max_tokens => 4)", (server.environment()["PGUSER"],))
    try:
        assert tokens("qwen_translate(%(text)s, 'French')") <= 4, "a limit holds"
    finally:
        server.query("SELECT qwen_clear_limit(%s)", (server.environment()["PGUSER"],))
        connection.close()


def job_row(server, job):
    wait_until(lambda: server.value("SELECT ended IS NOT NULL FROM qwen_jobs WHERE id = %s", (job,)), 60, "the end")
    return server.query("SELECT done, failed, truncated FROM qwen_jobs WHERE id = %s", (job,))[0]


def test_jobs_count_their_cut_answers(server):
    server.query("CREATE TABLE cut (id int PRIMARY KEY, body text, answer text); INSERT INTO cut SELECT i, 'Tell me story ' || i FROM generate_series(1, 4) i")
    job = server.value("SELECT qwen_submit('cut', 'body', 'cut', 'answer', max_tokens => 2, temperature => 0)")
    assert job_row(server, job) == (4, 0, 4)
    job = server.value("SELECT qwen_submit('SELECT id, ''What is the capital of France? One word.'' AS body FROM cut', 'body', 'cut', 'answer', temperature => 0)")
    assert job_row(server, job) == (4, 0, 0)
    server.query("DROP TABLE cut")


def test_a_stream_that_was_cut_is_not_called_empty(server):
    connection = server.connect()
    notices = notices_of(connection, "SELECT * FROM qwen_chat_stream('Tell me a story', max_tokens => 3)")
    assert len(notices) == 1 and "1 answer was cut off" in notices[0] and "is empty" not in notices[0]
    connection.close()


def test_an_answer_that_ends_inside_its_first_character_is_not_said_to_have_thought(server):
    """Its letters are of several tokens each, as those of emojis are."""
    faces, cut = "🙂" * 8, "max_tokens => 1, temperature => 0"
    connection = server.connect()
    for sql in (f"SELECT qwen_generate('{faces}', {cut})", f"SELECT * FROM qwen_chat_stream('Repeat this with a comma after each: {faces}', {cut})"):
        notices = notices_of(connection, sql)
        assert len(notices) == 1 and "1 is empty: its tokens end before its first whole character" in notices[0] and "thinking" not in notices[0]
    connection.close()
    server.query(f"CREATE TABLE faces (id int PRIMARY KEY, body text, answer text); INSERT INTO faces VALUES (1, '{faces}')")
    job = server.value(f"SELECT qwen_submit('faces', 'Repeat this with a comma after each: {{body}}', 'faces', 'answer', {cut})")
    assert job_row(server, job) == (0, 1, 1)
    assert "it was cut off before its first whole character (raise max_tokens)" in server.value("SELECT error FROM qwen_dead_letters WHERE job = %s", (job,))
    server.query("DROP TABLE faces")


def test_an_answer_of_which_thinking_left_nothing_is_a_failure_of_its_row():
    server = serving("endless")
    try:
        connection = server.connect()
        notices = notices_of(connection, "SELECT qwen_chat('Where?', max_tokens => 20)")
        assert len(notices) == 1 and "1 is empty: thinking has taken all of its tokens" in notices[0] and "thinking => false" in notices[0]
        connection.close()
        server.query(
            """
            CREATE TABLE thought (id int PRIMARY KEY, body text, answer text); INSERT INTO thought SELECT i, 'Where is ' || i FROM generate_series(1, 3) i;
            CREATE TABLE queued (id int PRIMARY KEY, body text, answer text);
            CREATE TRIGGER t AFTER INSERT ON queued FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=20');
            INSERT INTO queued SELECT * FROM thought;
            """
        )
        job = server.value("SELECT qwen_submit('thought', 'body', 'thought', 'answer', max_tokens => 20)")
        assert job_row(server, job) == (0, 3, 3)
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_dead_letters") == 6, 30, "dead letters")
        letters = server.query("SELECT DISTINCT sqlstate, error, attempts FROM qwen_dead_letters")
        assert [(state, attempts) for state, _, attempts in letters] == [("54000", 1)]
        assert "thinking has taken all of its 20 tokens" in letters[0][1]
    finally:
        server.remove()
