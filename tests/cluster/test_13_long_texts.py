"""Texts that are longer than there is room for: summaries are made in parts, everything else is an error of that row alone."""
import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until

DEFAULT_MODEL = MODEL_FILE
SUMMARY = "qwen_summarize(body, 20, max_tokens => 10)"


@pytest.fixture
def texts(make_server):
    # 16 MB are about 350 tokens of the demo model; every second text has some 650
    server = make_server({"qwen.kv_cache_size": "16MB", "qwen.kv_cache_type": "f32", "qwen.max_tokens": 16})
    server.query(
        """
        CREATE TABLE texts AS SELECT i AS id, string_agg(format('Sentence %s of text %s tells about the bridge. ', k, i), '' ORDER BY k) AS body
            FROM generate_series(1, 4) i, generate_series(1, CASE WHEN i % 2 = 0 THEN 50 ELSE 3 END) k GROUP BY i
        """
    )
    return server


def requests(server):
    return server.value("SELECT sum(calls) FROM qwen_stat_requests")


def test_summaries_are_made_in_parts(texts):
    alone = {i: texts.value(f"SELECT {SUMMARY} FROM texts WHERE id = %s", (i,)) for i in range(1, 5)}
    assert all(alone.values())
    assert texts.value("SELECT min(qwen_count_tokens(body)) > 500 FROM texts WHERE id % 2 = 0")
    before = requests(texts)
    assert dict(texts.query(f"SELECT id, {SUMMARY} FROM texts ORDER BY id")) == alone, "batched with short ones, the same"
    # of a long one: a look at the whole, two parts or more, and what came out of them
    assert requests(texts) - before >= 2 + 2 * 4


def test_aggregates_are_made_in_parts(texts):
    for call in ("qwen_summarize_agg(body)", "qwen_chat_agg(body, 'What are these texts about?')"):
        before = requests(texts)
        assert texts.value(f"SELECT {call} FROM texts")
        assert requests(texts) - before >= 5


def test_a_job_s_summaries_are_made_in_parts(texts):
    texts.query("ALTER TABLE texts ADD PRIMARY KEY (id), ADD summary text")
    alone = texts.query(f"SELECT id, {SUMMARY} FROM texts ORDER BY id")
    submit = "SELECT qwen_submit('texts', 'body', 'texts', 'summary', function => 'summarize', max_words => 20, max_tokens => 10)"
    assert texts.value("SELECT qwen_wait(%s, '120 s')", (texts.value(submit),)) == "done"
    assert texts.query("SELECT done, failed FROM qwen_jobs") == [(4, 0)]
    assert texts.query("SELECT id, summary FROM texts ORDER BY id") == alone
    # an engine that ends meanwhile: the row is tried again
    texts.query("UPDATE texts SET summary = NULL")
    job = texts.value(submit)
    wait_until(lambda: texts.value("SELECT running FROM qwen_stat_engine") > 0, 30, "requests")
    texts.signal(texts.engine_pid(), 9)
    assert texts.value("SELECT qwen_wait(%s, '120 s')", (job,)) == "done"
    assert texts.query("SELECT id, summary FROM texts ORDER BY id") == alone


def test_other_functions_say_that_it_is_too_long(texts):
    for batch in ("on", "off"):
        connection = texts.connect()
        cursor = connection.cursor()
        cursor.execute(f"SET qwen.batch_plans = {batch}")
        with pytest.raises(psycopg2.Error) as failure:
            cursor.execute("SELECT qwen_translate(body, 'French', max_tokens => 4) FROM texts ORDER BY id")
        assert failure.value.pgcode == "54000"
        cursor.execute("SET qwen.on_error = 'null'; SELECT id FROM texts WHERE qwen_translate(body, 'French', max_tokens => 4) IS NULL ORDER BY id")
        assert cursor.fetchall() == [(2,), (4,)]
        connection.close()
