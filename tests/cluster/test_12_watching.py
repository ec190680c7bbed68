"""What is seen of requests: what runs now, for whom, and that nothing of it stays when its session is gone."""
import signal

import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

ACTIVITY = "SELECT role, application_name, model, function, state, prompt_tokens, completion_tokens, tokens_per_second FROM qwen_stat_activity"


@pytest.fixture(scope="module")
def watched():
    server = Cluster(settings={"compute_query_id": "on", "qwen.max_running": 2, "qwen.queue_size": 8})
    try:
        prepare(ready(server))
        yield server
    finally:
        server.remove()


def prepare(server):
    server.query("CREATE ROLE writer LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE observer LOGIN; CREATE ROLE reader LOGIN")
    server.query("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO writer")
    server.query("REVOKE EXECUTE ON FUNCTION qwen_monitor() FROM writer")
    server.query("GRANT EXECUTE ON FUNCTION qwen_monitor() TO observer; GRANT pg_read_all_stats TO reader")


def rows(server, user=None):
    return server.query(ACTIVITY, user=user)


def as_role(server, role, sql=LONG):
    return Background(server, sql, setup=f"SET ROLE {role}")


def end(server, *calls):
    for call in calls:
        server.query("SELECT pg_cancel_backend(%s)", (call.pid,))
        call.join()
    wait_idle(server)


def test_a_request_is_seen_as_it_runs(watched):
    call = Background(watched, LONG, setup="SET application_name = 'the newsroom'")
    wait_until(lambda: any(row[6] >= 5 for row in rows(watched)), 20, "tokens in the view")
    role, name, model, function, state, prompt, tokens, speed = rows(watched)[0]
    assert (name, model, function, state) == ("the newsroom", "chat", "qwen_generate", "running")
    assert role == watched.value("SELECT current_user") and prompt >= 3 and speed > 0
    pid, database, query, done, started = watched.query(
        "SELECT pid, database, query_id, prompt_tokens_done, started_at - submitted_at >= '0' AND age_ms > 0 FROM qwen_stat_activity"
    )[0]
    assert (pid, database, done, started) == (call.pid, "postgres", prompt, True)
    assert query == watched.value("SELECT query_id FROM pg_stat_activity WHERE pid = %s", (call.pid,))
    assert watched.value("SELECT wait_event IN ('Extension', 'QwenEngine') FROM pg_stat_activity WHERE pid = %s", (call.pid,))
    end(watched, call)
    assert rows(watched) == []


def test_those_that_wait_are_seen_waiting(watched):
    calls = [Background(watched, LONG) for _ in range(4)]
    wait_until(lambda: sorted(row[4] for row in rows(watched)) == ["running", "running", "waiting", "waiting"], 20, "two that wait")
    assert all(row[6] == 0 for row in rows(watched) if row[4] == "waiting")
    end(watched, *calls)
    assert rows(watched) == []


def test_rows_of_others_are_for_those_who_may_see_them(watched):
    call = as_role(watched, "writer")
    wait_running(watched, 1)
    seen = {user: len(rows(watched, user)) for user in ("writer", "stranger", "observer", "reader")}
    assert seen == {"writer": 1, "stranger": 0, "observer": 1, "reader": 1}
    with pytest.raises(psycopg2.Error) as refused:
        watched.value("SELECT qwen_monitor()", user="stranger")
    assert refused.value.pgcode == "42501"
    end(watched, call)


def test_nothing_of_a_prompt_is_seen(watched):
    call = Background(watched, LONG.replace("Once upon a time", "The secret word is xylophone"))
    wait_running(watched, 1)
    assert "xylophone" not in str(watched.query("SELECT * FROM qwen_stat_activity"))
    end(watched, call)


def test_functions_have_their_sql_names(watched):
    for sql, name in (
        ("SELECT qwen_chat('Tell me a long story.', temperature => 0, max_tokens => 2000)", "qwen_chat"),
        ("SELECT qwen_chat_full('[{\"role\": \"user\", \"content\": \"A long story.\"}]'::json, max_tokens => 2000)", "qwen_chat_full"),
        ("SELECT count(*) FROM qwen_chat_stream('Tell me a long story.', max_tokens => 2000)", "qwen_chat_stream"),
        ("SELECT qwen_summarize(repeat('It rained. ', 200), max_tokens => 2000, stop => ARRAY['never-said'])", "qwen_summarize"),
    ):
        call = Background(watched, sql)
        wait_until(lambda name=name, call=call: call.rows or [row[3] for row in rows(watched)] == [name], 20, f"{name} in the view")
        end(watched, call)


@pytest.mark.parametrize("stop", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_session_that_is_stopped_leaves_nothing(watched, stop):
    call = Background(watched, "SELECT * FROM qwen_generate_batch(array_fill('Once upon a time'::text, ARRAY[6]), max_tokens => 4000, stop => ARRAY['never-said'])")
    wait_until(lambda: len(rows(watched)) == 6, 20, "six requests")
    assert watched.value("SELECT count(DISTINCT pid) FROM qwen_stat_activity") == 1
    watched.query(f"SELECT {stop}(%s)", (call.pid,))
    call.join()
    wait_until(lambda: rows(watched) == [], 5, "an empty view")
    wait_idle(watched)


def test_an_engine_that_dies_leaves_nothing(watched):
    calls = [Background(watched, LONG) for _ in range(3)]
    wait_until(lambda: sorted(row[4] for row in rows(watched)) == ["running", "running", "waiting"], 20, "three requests")
    watched.signal(watched.engine_pid(), signal.SIGKILL)
    for call in calls:
        assert call.join().error.pgcode == "58000"
    assert rows(watched) == []
    for _ in range(120):  # more than there are places: those of the dead engine are free again
        assert watched.value("SELECT qwen_generate('a', max_tokens => 1)") is not None


def test_a_server_with_more_requests_than_places_goes_on(make_server):
    """Places: max_running + queue_size + max_connections. Requests that have not got their GO fill them."""
    server = make_server({"qwen.max_running": 1, "qwen.queue_size": 1, "max_connections": "15", "qwen.batch_window": "40"})
    call = Background(server, "SELECT count(*) FROM qwen_embed_batch(array_fill(repeat('many words ', 50), ARRAY[60]))")
    call.join(60)
    assert call.rows == [(60,)] or call.error.pgcode == "58000"
    assert server.value("SELECT count(*) FROM qwen_stat_activity") == 0
    assert server.value("SELECT qwen_count_tokens('one')") == 1
