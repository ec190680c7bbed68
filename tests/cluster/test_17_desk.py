"""The desk: what prepares long requests beside the event loop."""
import time

import psycopg2
import pytest
from sessions import Background

GIANT = "qwen_chunk(repeat('x.', 8000000), 16)"


def test_chunks_count_in_limits_and_statistics(make_server):
    server = make_server()
    server.query("CREATE ROLE reader LOGIN")
    server.query("SELECT qwen_grant('reader', 'use')")
    text = "This is a sentence, and it is followed by others. " * 40
    tokens = server.value("SELECT qwen_count_tokens(%s)", (text,))
    server.query("SELECT qwen_stat_reset()")
    server.query("SELECT qwen_set_limit('reader', requests_per_minute => 2)")
    chunks = server.query("SELECT count(*), sum(length(chunk)) FROM qwen_chunk(%s, 64)", (text,), user="reader")
    assert chunks[0][0] > 1
    calls, counted = server.query("SELECT sum(calls), sum(prompt_tokens) FROM qwen_stat_requests WHERE function = 'qwen_chunk'")[0]
    assert calls == 1 and abs(counted - tokens) <= 40 and counted > 0
    server.query("SELECT count(*) FROM qwen_chunk('Hi')", user="reader")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT count(*) FROM qwen_chunk('Hi')", user="reader")
    assert failure.value.pgcode == "53400"
    server.query("SELECT qwen_set_limit('reader', tokens_per_minute => %s)", (counted + 5,))
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT count(*) FROM qwen_chunk(%s, 64)", (text,), user="reader")
    assert failure.value.pgcode == "53400"


def test_a_cancelled_giant_leaves_the_desk(server):
    giant = Background(server, f"SELECT count(*) FROM {GIANT}")
    time.sleep(0.5)
    giant.connection.cancel()
    assert giant.join(20).error is not None
    start = time.monotonic()
    assert server.value("SELECT qwen_count_tokens(repeat('word ', 100000))") == 100001
    assert time.monotonic() - start < 10


def test_a_model_is_not_unloaded_under_the_desk(make_server):
    server = make_server()
    name = server.value("SELECT name FROM qwen_models")
    giant = Background(server, f"SELECT count(*) FROM {GIANT.replace('8000000', '1000000')}")
    time.sleep(0.2)
    unload = Background(server, f"SELECT qwen_unload_model('{name}')")
    # it has its answer, or came too late
    giant.join(60)
    assert giant.rows == [(1000000 // 8,)] or giant.error is not None
    unload.join(60)
    assert unload.error is None
    pid = server.engine_pid()
    assert server.value("SELECT qwen_health() ->> 'status' IS NOT NULL") and server.engine_pid() == pid


def test_json_of_too_many_values_says_so(server):
    with pytest.raises(psycopg2.Error) as failure:
        server.query("""SELECT qwen_render_chat(('[{"role":"user","content":"Hi","x":[' || repeat('{},', 5000000) || '{}]}]')::json)""")
    assert failure.value.pgcode == "54000"
    assert "of 15000041 bytes" in str(failure.value) and "256 MiB" in str(failure.value)


def test_a_prompt_that_is_far_too_long_is_refused_before_it_is_counted(server):
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_chat(repeat('x. ', 5000000))")
    assert failure.value.pgcode == "54000"
    assert "has more than" in str(failure.value) and "the context of model" in str(failure.value)
