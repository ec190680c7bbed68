"""One table of functions: what a session can ask of the model, jobs and queueing triggers ask the same way, with the same answers."""
import psycopg2
import psycopg2.extras
import pytest
from cluster import MODEL_FILE, wait_until
from random_models import serving

DEFAULT_MODEL = MODEL_FILE
TEXTS = ["The staff was wonderful, we loved every minute.", "The room was dirty and cold.", "Breakfast is served from seven to ten."]
# function, its arguments in a job and in a trigger, its call in a session, the type of the column
CASES = [
    ("classify", {"labels": ["praise", "complaint", "notice"]}, ["labels={praise,complaint,notice}"], "qwen_classify(body, '{praise,complaint,notice}')", "text"),
    ("classify", {"labels": ["a", "b"], "examples": [{"input": "It was fine.", "label": "b"}]}, ["labels={a,b}", 'examples=[{"input": "It was fine.", "label": "b"}]'],
        """qwen_classify(body, '{a,b}', examples => '[{"input": "It was fine.", "label": "b"}]')""", "text"),
    ("classify_multi", {"labels": ["praise", "a \"room\"", "C:\\dir", "{food}"], "threshold": 0.3}, ['labels={praise,"a \\"room\\"","C:\\\\dir","{food}"}', "threshold=0.3"],
        """qwen_classify_multi(body, ARRAY['praise', 'a "room"', 'C:\\dir', '{food}'], 0.3)""", "text[]"),
    ("score", {"criterion": "it is friendly"}, ["criterion=it is friendly"], "qwen_score(body, 'it is friendly')", "float8"),
    ("redact", {"kinds": ["person", "time of day"]}, ["kinds={person,time of day}"], "qwen_redact(body, '{person,time of day}')", "text"),
    ("filter", {"condition": "it is about food"}, ["condition=it is about food"], "qwen_filter(body, 'it is about food')", "boolean"),
    ("sentiment", {}, [], "qwen_sentiment(body)", "text"),
    ("translate", {"target_language": "French"}, ["target_language=French"], "qwen_translate(body, 'French', max_tokens => 12)", "text"),
    ("summarize", {}, ["max_words=5"], "qwen_summarize(body, 5, max_tokens => 12)", "text"),
    ("embed", {}, ["dimensions=8"], "qwen_embed(body, dimensions => 8)", "real[]"),
    ("generate", {}, [], "qwen_generate(body, max_tokens => 12, temperature => 0)", "text"),
    ("rerank_score", {"query": "Is the room clean?"}, ["query=Is the room clean?"], "qwen_rerank_score('Is the room clean?', body)", "float8"),
]
SHORT = {"translate", "summarize", "generate"}


def make_table(server, kind):
    server.query(f"DROP TABLE IF EXISTS reviews; CREATE TABLE reviews (id int PRIMARY KEY, body text, answer {kind})")


def insert(server):
    server.query("INSERT INTO reviews (id, body) SELECT ordinality, body FROM unnest(%s) WITH ORDINALITY u (body, ordinality)", (TEXTS,))


def check_same(server, call):
    wrong = server.query(f"SELECT id, answer, {call} FROM reviews WHERE answer IS DISTINCT FROM {call}")
    assert wrong == []
    assert server.value("SELECT count(answer) FROM reviews") == len(TEXTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_jobs_and_triggers_answer_as_a_session_does(server, case):
    function, arguments, options, call, kind = case
    make_table(server, kind)
    insert(server)
    extra = "".join([", max_tokens => 12, temperature => 0" if function in SHORT else "", ", max_words => 5" if function == "summarize" else "", ", dimensions => 8" if function == "embed" else ""])
    extra += ", arguments => %s" if arguments else ""
    job = server.value(f"SELECT qwen_submit('reviews', 'body', 'reviews', 'answer', function => '{function}'{extra})", tuple([psycopg2.extras.Json(arguments)] if arguments else []))
    assert server.value("SELECT qwen_wait(%s, '100 s')", (job,)) == "done", server.query(f"SELECT * FROM qwen_dead_letters WHERE job = {job}")
    check_same(server, call)
    assert server.value("SELECT function = %s AND tokens_per_s > 0 FROM qwen_jobs WHERE id = %s", (function, job))
    make_table(server, kind)
    words = options + (["max_tokens=12", "temperature=0"] if function in SHORT else [])
    given = "".join(f", '{word}'" for word in [f"function={function}"] + words)
    server.query(f"CREATE TRIGGER fill AFTER INSERT ON reviews FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body'{given})")
    insert(server)
    wait_until(lambda: server.value("SELECT count(*) = 0 FROM qwen_job_row WHERE relation = 'reviews'::regclass"), 100, "filled rows")
    check_same(server, call)


def test_steps_of_many_rows_keep_to_their_own_arguments(server):
    """The plan node has many rows in flight, whose arguments differ: labels are read again when the scores are there."""
    server.query("DROP TABLE IF EXISTS labelled; CREATE TABLE labelled (id int PRIMARY KEY, labels text[])")
    server.query("INSERT INTO labelled SELECT i, ARRAY['first ' || i, 'second ' || i] FROM generate_series(1, 20) i")
    assert server.query("SELECT id, l FROM (SELECT id, labels, qwen_classify('x', labels) AS l FROM labelled OFFSET 0) s WHERE l <> ALL (labels)") == []


def test_a_jobs_common_arguments_outlive_the_row_they_stand_in(server):
    """A worker reads the job's row once, and asks for as long as the job lasts."""
    make_table(server, "text")
    server.query("INSERT INTO reviews (id, body) SELECT i, 'Count from ' || i FROM generate_series(1, 80) i")
    model = server.value("SELECT name FROM qwen_models LIMIT 1")
    common = f"model => '{model}', stop => '{{never said,5}}', max_tokens => 6, temperature => 0, options => '{{}}'"
    job = server.value(f"SELECT qwen_submit('reviews', 'body', 'reviews', 'answer', {common})")
    assert server.value("SELECT qwen_wait(%s, '100 s')", (job,)) == "done"
    assert server.query(f"SELECT id, answer FROM reviews WHERE id IN (1, 4, 80) AND answer IS DISTINCT FROM qwen_chat(body, {common})") == []


def test_sentiment_is_one_of_four_by_logits_and_batched(server):
    make_table(server, "text")
    insert(server)
    assert server.value("SELECT qwen_sentiment('I love it, it is wonderful!')") == "positive"
    assert server.query("SELECT qwen_sentiment(NULL), qwen_sentiment(' ')") == [(None, None)]
    assert server.value("SELECT bool_and(qwen_sentiment(body || i) IN ('positive', 'negative', 'neutral', 'mixed')) FROM reviews, generate_series(1, 5) i")
    assert "Qwen Batch" in "".join(line for line, in server.query("EXPLAIN SELECT qwen_sentiment(body) FROM reviews"))


def test_a_job_of_numbers_gets_what_a_session_computes(server):
    """An array of numbers comes in JSON."""
    make_table(server, "float8")
    insert(server)
    numbers = server.value("SELECT qwen_embed('Good food')")
    job = server.value("SELECT qwen_submit('reviews', 'body', 'reviews', 'answer', function => 'similarity_to', arguments => %s)", (psycopg2.extras.Json({"embedding": numbers}),))
    assert server.value("SELECT qwen_wait(%s, '100 s')", (job,)) == "done"
    wrong = server.query("SELECT id, answer FROM reviews WHERE answer IS DISTINCT FROM qwen_similarity_to(body, %s::real[])", (numbers,))
    assert wrong == [] and server.value("SELECT count(answer) FROM reviews") == len(TEXTS)


@pytest.mark.parametrize(
    "extra, message",
    [
        ("function => 'classify'", 'function "classify" must be given its arguments'),
        ("function => 'classify', arguments => '{\"labels\": []}'", "labels must not be empty"),
        ("function => 'classify', arguments => '{\"label\": [\"a\"]}'", 'arguments: the key "label" is not known'),
        ("function => 'classify', arguments => '{\"labels\": [1]}'", 'arguments: "labels" must be an array of texts'),
        ("function => 'filter', arguments => '{\"condition\": [1]}'", 'arguments: "condition" must be of type text'),
        ("function => 'summarize', arguments => '{\"max_words\": 3}'", 'arguments: the key "max_words" is not known'),
        ("arguments => '[1]'", "arguments must be a JSON object"),
        ("function => 'filter', system => 'x', arguments => '{\"condition\": \"x\"}'", "system means nothing with function => 'filter'"),
        ("function => 'filter', arguments => '{\"condition\": \" \"}'", "condition must not be blank"),
    ],
)
def test_what_is_wrong_with_a_jobs_arguments_is_said_at_once(server, extra, message):
    make_table(server, "text")
    with pytest.raises(psycopg2.Error) as failure:
        server.query(f"SELECT qwen_submit('reviews', 'body', 'reviews', 'answer', {extra})")
    assert failure.value.pgcode == "22023" and failure.value.diag.message_primary == message


def test_a_value_that_cannot_be_read_is_told_with_its_argument(server):
    """PostgreSQL's own message has the value alone."""
    make_table(server, "text")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_submit('reviews', 'body', 'reviews', 'answer', function => 'classify', arguments => '{\"labels\": \"spam\"}')")
    assert failure.value.pgcode == "22P02" and failure.value.diag.message_primary.startswith("labels: ")
    server.query("CREATE TRIGGER fill AFTER INSERT ON reviews FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=x')")
    with pytest.raises(psycopg2.Error) as failure:
        insert(server)
    assert failure.value.pgcode == "22P02" and failure.value.diag.message_primary.startswith("max_tokens: ") and failure.value.diag.context == 'trigger "fill" of table "reviews"'
    make_table(server, "real[]")
    server.query("CREATE TRIGGER embed BEFORE INSERT ON reviews FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'answer', 'dimensions=x')")
    with pytest.raises(psycopg2.Error) as failure:
        insert(server)
    assert failure.value.pgcode == "22P02" and failure.value.diag.message_primary.startswith("dimensions: ") and failure.value.diag.context == 'trigger "embed" of table "reviews"'


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("'function=sing'", "qwen_enqueue_trigger: function must be chat, "),
        ("'function=filter', 'labels={a}'", 'qwen_enqueue_trigger: the argument "labels={a}" is not known'),
        ("'function=classify'", 'function "classify" must be given its arguments'),
        ("'function=embed', 'dimensions=0'", "qwen_enqueue_trigger: dimensions must be at least 1, not 0"),
        ("'function=embed', 'dimensions=-1'", "qwen_enqueue_trigger: dimensions must be at least 1, not -1"),
    ],
)
def test_what_is_wrong_with_a_triggers_arguments_is_said_at_the_first_row(server, arguments, message):
    make_table(server, "text")
    server.query(f"CREATE TRIGGER fill AFTER INSERT ON reviews FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', {arguments})")
    with pytest.raises(psycopg2.Error) as failure:
        insert(server)
    assert failure.value.pgcode == "22023" and failure.value.diag.message_primary.startswith(message)


def test_parts_of_many_long_texts_keep_to_the_queue():
    """A few rows that are summarised in parts ask for far more than the engine's queue holds: they wait for each other."""
    server = serving("narrow", settings={"qwen.queue_size": 40, "qwen.max_running": 4})
    try:
        server.query("CREATE TABLE books (id int PRIMARY KEY, body text, answer text)")
        server.query("INSERT INTO books SELECT i, i || repeat(' The cat sat on the mat and looked at the dog.', 900) FROM generate_series(1, 4) i")
        assert server.value("SELECT count(*) FROM books, qwen_chunk(body, 400)") > 2 * (40 + 4)
        call = "qwen_summarize(body, 5, max_tokens => 2, temperature => 0)"
        alone = [server.value(f"SELECT {call} FROM books WHERE id = %s", (i,)) for i in range(1, 5)]
        assert [answer for answer, in server.query(f"SELECT {call} FROM books ORDER BY id")] == alone
        failed = server.value("SELECT requests_failed FROM qwen_stat_engine")
        job = server.value("SELECT qwen_submit('books', 'body', 'books', 'answer', function => 'summarize', max_words => 5, max_tokens => 2, temperature => 0)")
        assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
        assert [answer for answer, in server.query("SELECT answer FROM books ORDER BY id")] == alone
        # each text is refused once, as it is too long, and nothing else is
        assert server.value("SELECT requests_failed FROM qwen_stat_engine") - failed == 4
    finally:
        server.remove()


def test_a_job_goes_on_with_one_place_in_the_queue():
    """A text is asked about in more parts than may wait: once its row was sent back for that, they go one after the other."""
    server = serving("narrow", settings={"qwen.queue_size": 1, "qwen.max_running": 1})
    try:
        server.query("CREATE TABLE books (id int PRIMARY KEY, body text, answer text)")
        server.query("INSERT INTO books SELECT i, i || repeat(' The cat sat on the mat and looked at the dog.', 300) FROM generate_series(1, 2) i")
        job = server.value("SELECT qwen_submit('books', 'body', 'books', 'answer', function => 'summarize', max_words => 5, max_tokens => 2, temperature => 0)")
        assert server.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        assert server.value("SELECT done = 2 AND failed = 0 FROM qwen_jobs WHERE id = %s", (job,))
    finally:
        server.remove()
