"""What is seen of requests: what runs now, for whom, and that nothing of it stays when its session is gone."""
import json
import os
import re
import signal

import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

ACTIVITY = "SELECT role, application_name, model, function, state, prompt_tokens, completion_tokens, tokens_per_second FROM qwen_stat_activity"


@pytest.fixture(scope="module")
def watched():
    server = Cluster(settings={"compute_query_id": "on", "qwen.max_running": 2, "qwen.queue_size": 32})
    try:
        prepare(ready(server))
        yield server
    finally:
        server.remove()


def prepare(server):
    server.query("CREATE ROLE writer LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE observer LOGIN; CREATE ROLE reader LOGIN")
    server.query("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO writer")
    server.query("SELECT qwen_grant('observer', 'monitor'); GRANT pg_read_all_stats TO reader")


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


def test_a_prompt_is_charged_before_it_has_a_place(watched):
    """What waits for a place in the batch has paid for its prompt and reserved its answer."""
    calls = [Background(watched, LONG) for _ in range(2)]
    wait_running(watched, 2)
    calls.append(as_role(watched, "writer", LONG.replace("max_tokens => 4000", "max_tokens => 100")))
    wait_until(lambda: [row[4] for row in rows(watched) if row[0] == "writer"] == ["waiting"], 20, "one that waits")
    prompt = [row[5] for row in rows(watched) if row[0] == "writer"][0]
    usage = "SELECT used, reserved FROM qwen_usage WHERE role::text = 'writer' AND limit_name = 'tokens_per_minute'"
    assert watched.query(usage) == [(prompt, 100)]
    end(watched, *calls[::-1])
    # nothing of it was computed: all of it goes back
    wait_until(lambda: watched.query(usage) == [(0, 0)], 10, "the charge that was given back")


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
    for _ in range(150):  # more than there are places: those of the dead engine are free again
        assert watched.value("SELECT qwen_generate('a', max_tokens => 1)") is not None


def test_a_server_with_more_requests_than_places_goes_on(make_server):
    """Places: max_running + queue_size + max_connections. Requests that have not got their GO fill them."""
    server = make_server({"qwen.max_running": 1, "qwen.queue_size": 1, "max_connections": "15", "qwen.batch_window": "40"})
    call = Background(server, "SELECT count(*) FROM qwen_embed_batch(array_fill(repeat('many words ', 50), ARRAY[60]))")
    call.join(60)
    assert call.error is None and call.rows == [(60,)]
    assert server.value("SELECT count(*) FROM qwen_stat_activity") == 0
    assert server.value("SELECT qwen_count_tokens('one')") == 1


def totals(server, columns, where="true", user=None):
    return server.query(f"SELECT {columns} FROM qwen_stat_requests WHERE {where} ORDER BY 1, 2", user=user)


def test_totals_are_what_the_engine_counted(watched):
    """Eight sessions at once: no request and no token is lost or counted twice."""
    watched.query("SELECT qwen_stat_reset()")
    before = watched.query("SELECT requests_done, prompt_tokens, generated_tokens FROM qwen_stat_engine")[0]
    calls = [
        Background(watched, f"SELECT qwen_generate('Number {i}', max_tokens => 1 + {i}), qwen_embed('some words ' || g) FROM generate_series(1, 5) g", setup="SET qwen.batch_window = 1")
        for i in range(8)
    ]
    for call in calls:
        assert call.join(60).error is None
    wait_idle(watched)
    after = watched.query("SELECT requests_done, prompt_tokens, generated_tokens FROM qwen_stat_engine")[0]
    sums = watched.query("SELECT sum(calls), sum(prompt_tokens), sum(completion_tokens), sum(errors + cancelled + rejected) FROM qwen_stat_requests")[0]
    assert [int(value) for value in sums] == [after[i] - before[i] for i in range(3)] + [0]
    assert watched.query("SELECT calls FROM qwen_stat_requests WHERE function = 'qwen_embed'") == [(40,)]
    assert watched.query("SELECT calls FROM qwen_stat_roles") == [(80,)]


def test_times_lie_in_order(watched):
    watched.query("SELECT qwen_stat_reset()")
    took = Background(watched, "SELECT qwen_generate('Once upon a time', max_tokens => 40, stop => ARRAY['never-said'])").join(60).seconds * 1000
    row = watched.query(
        "SELECT ttft_p50_ms, ttft_p99_ms, per_token_p50_ms, total_p50_ms, total_p95_ms, total_p99_ms, total_ms FROM qwen_stat_requests WHERE calls = 1"
    )[0]
    assert 0 < row[0] <= row[1] <= row[5] and row[3] <= row[4] <= row[5]
    assert 0.5 * took < row[6] <= took and 0.75 * row[6] < row[3] < 1.25 * row[6]
    assert row[2] * 40 < 1.3 * row[6]


def test_errors_are_counted_by_their_class(watched):
    watched.query("SELECT qwen_stat_reset()")
    for sql in ("SELECT qwen_generate(repeat('word ', 20000))", "SELECT qwen_generate('x', max_tokens => 10000)", "SELECT qwen_generate('x', model => 'nobody')"):
        with pytest.raises(psycopg2.Error):
            watched.query(sql)
    call = Background(watched, LONG)
    wait_until(lambda: any(row[6] >= 3 for row in rows(watched)), 20, "tokens")
    end(watched, call)
    call = Background(watched, LONG)
    wait_running(watched, 1)
    watched.signal(watched.engine_pid(), signal.SIGKILL)
    assert call.join().error.pgcode == "58000"
    assert watched.query("SELECT calls, errors, cancelled, errors_by_class FROM qwen_stat_roles") == [(5, 4, 1, {"22": 1, "42": 1, "54": 1, "58": 1})]
    # a name that is no model's makes no row of its own; what a cancelled request used is counted
    assert totals(watched, "model, calls", "model IS NULL") == [(None, 1)]
    assert watched.value("SELECT completion_tokens FROM qwen_stat_roles") >= 3


def test_a_limit_that_stops_a_batch_counts_as_cancelled(watched):
    watched.query("SELECT qwen_stat_reset()")
    sql = "SELECT ordinality FROM (SELECT * FROM qwen_generate_batch(array_fill('Once'::text, ARRAY[8]), max_tokens => 400)) t LIMIT 1"
    assert watched.query(f"BEGIN; DECLARE c CURSOR FOR {sql}; FETCH 1 FROM c") == [(1,)]
    wait_idle(watched)
    done, cancelled = watched.query("SELECT calls - cancelled, cancelled FROM qwen_stat_roles")[0]
    assert done >= 1 and done + cancelled == 8


def test_totals_of_others_are_for_those_who_may_see_them(watched):
    watched.query("SELECT qwen_stat_reset()")
    as_role(watched, "writer", "SELECT qwen_count_tokens('x')").join()
    for view in ("qwen_stat_requests", "qwen_stat_roles"):
        seen = {user: watched.query(f"SELECT role, calls FROM {view}", user=user) for user in ("writer", "stranger", "observer", "reader")}
        assert seen == {"writer": [("writer", 1)], "stranger": [], "observer": [("writer", 1)], "reader": [("writer", 1)]}
    with pytest.raises(psycopg2.Error) as refused:
        watched.query("SELECT qwen_stat_reset()", user="stranger")
    assert refused.value.pgcode == "42501"


def test_a_full_table_counts_the_rest_together(make_server):
    server = make_server({"qwen.stat_max": 10})
    server.query("SELECT qwen_stat_reset()")
    for i in range(15):
        server.query(f"CREATE ROLE r{i}; GRANT EXECUTE ON FUNCTION qwen_count_tokens(text, text, json) TO r{i}")
        as_role(server, f"r{i}", "SELECT qwen_count_tokens('x')").join()
    assert server.query("SELECT count(*), sum(calls) FROM qwen_stat_requests") == [(10, 15)]
    assert server.query("SELECT calls FROM qwen_stat_requests WHERE role IS NULL") == [(6,)]
    server.query("SELECT qwen_stat_reset()")
    assert server.query("SELECT * FROM qwen_stat_requests") == []


def test_rejections_and_waiting_for_limits_are_seen(watched):
    watched.query("SELECT qwen_stat_reset(); SELECT qwen_set_limit('writer', max_concurrent => 1)")
    calls = [as_role(watched, "writer")]
    try:
        wait_running(watched, 1)
        assert as_role(watched, "writer").join().error.pgcode == "53400"
        assert watched.query("SELECT calls, errors, rejected, rejected_by_limit FROM qwen_stat_roles") == [(1, 0, 1, {"max_concurrent": 1})]
        calls.append(Background(watched, LONG, setup="SET ROLE writer; SET qwen.limit_action = wait"))
        wait_until(lambda: sorted(row[4] for row in rows(watched)) == ["limited", "running"], 20, "one that waits for its limit")
    finally:
        watched.query("SELECT qwen_clear_limit('writer')")
        end(watched, *calls)


def test_memory_by_purpose_adds_up(watched):
    weights, cache, buffers = watched.query("SELECT weight_bytes, kv_bytes_resident, buffer_bytes FROM qwen_stat_engine")[0]
    assert weights == watched.value("SELECT sum(shared_memory_bytes) FROM qwen_models") > 30_000_000
    assert 0 <= cache <= watched.value("SELECT kv_bytes_total FROM qwen_stat_engine")
    assert 1_000_000 < buffers < 500_000_000


def test_health_says_what_is_wrong(make_server):
    server = make_server()
    health = server.value("SELECT qwen_health()")
    assert health["status"] == "healthy"
    assert [check["check"] for check in health["checks"]] == ["engine", "models", "stability", "queue", "kv_cache", "contexts", "memory", "huge_pages"]
    server.signal(server.engine_pid(), signal.SIGKILL)
    assert server.value("SELECT qwen_count_tokens('one')") == 1
    health = server.value("SELECT qwen_health()")
    stability = [check for check in health["checks"] if check["check"] == "stability"][0]
    assert health["status"] == stability["status"] == "degraded" and "signal 9" in stability["message"] and stability["action"]
    server.signal(server.engine_pid(), signal.SIGSTOP)
    wait_until(lambda: "no sign of life" in str(server.value("SELECT qwen_health()")), 20, "a silent engine to be noticed")
    server.signal(server.engine_pid(), signal.SIGCONT)
    server.query("SELECT qwen_unload_model('chat')")
    health = server.value("SELECT qwen_health()")
    assert health["status"] == "unhealthy" and "no model is loaded" in str(health)


def nice_values(server):
    return [os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{server.engine_pid()}/task")]


def test_a_high_priority_needs_the_right_to_it(make_server):
    """Without it the engine runs as backends do, and the log says what is missing, once."""
    server = make_server({"qwen.engine_priority": "high"})
    server.signal(server.engine_pid(), signal.SIGKILL)
    assert server.value("SELECT qwen_count_tokens('one')") == 1
    assert min(nice_values(server)) == os.getpriority(os.PRIO_PROCESS, server.postmaster_pid())
    assert server.read_log().count("may not raise priorities") == 1 and "CAP_SYS_NICE" in server.read_log()


def test_a_high_priority_goes_before_backends(make_server):
    """All but the desk, which works on what may be somebody's megabytes."""
    server = make_server({"qwen.engine_priority": "high"}, may_raise_priorities=True)
    assert server.value("SELECT qwen_count_tokens('one')") == 1
    found = nice_values(server)
    if os.geteuid() == 0:
        assert found.count(-15) == len(found) - 2 and found.count(0) == 2, found
        assert "may not raise priorities" not in server.read_log()
    assert os.getpriority(os.PRIO_PROCESS, server.postmaster_pid()) == 0
    with open(f"/proc/{server.postmaster_pid()}/task/{server.postmaster_pid()}/children") as file:
        assert {os.getpriority(os.PRIO_PROCESS, int(pid)) for pid in file.read().split()} == {0}


@pytest.mark.parametrize("priority, nice, policy", [("low", 10, os.SCHED_BATCH), ("normal", 0, os.SCHED_OTHER)])
def test_the_engine_yields_to_backends(make_server, priority, nice, policy):
    server = make_server({"qwen.engine_priority": priority})
    pid = server.engine_pid()
    base = os.getpriority(os.PRIO_PROCESS, server.postmaster_pid())
    own = max(base, nice)
    # the two threads of the desk go behind those that compute
    desk = min(own + 3, 19)
    found = [os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir(f"/proc/{pid}/task")]
    assert found.count(desk) == 2 and found.count(own) == len(found) - 2 >= 1, found
    for thread in os.listdir(f"/proc/{pid}/task"):
        assert os.sched_getscheduler(int(thread)) == policy


def test_the_monitoring_files_fit_the_views(watched):
    """Every query of postgres_exporter.yaml runs and gives the columns that its metrics name; the dashboard asks for nothing else."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "monitoring")
    watched.value("SELECT qwen_generate('a', max_tokens => 2)")
    metrics, connection = set(), watched.connect("observer")
    with open(os.path.join(folder, "postgres_exporter.yaml")) as file:
        sections = re.findall(r'^(\w+):\n  query: "(.*)"\n  metrics:\n((?:    .*\n)+)', file.read(), re.M)
    assert len(sections) == 6
    for name, query, listed in sections:
        cursor = connection.cursor()
        cursor.execute(query)
        columns = re.findall(r"^    - (\w+):$", listed, re.M)
        assert columns == [column.name for column in cursor.description], name
        metrics |= {f"{name}_{column}" for column in columns}
    connection.close()
    with open(os.path.join(folder, "grafana.json")) as file:
        asked = set(re.findall(r"qwen_[a-z0-9_]+", " ".join(target["expr"] for panel in json.load(file)["panels"] for target in panel["targets"])))
    assert asked and asked <= metrics, asked - metrics


def test_no_view_is_estimated_so_dear_that_it_is_compiled(watched):
    """Above jit_above_cost a look at three jobs takes a second of the compiler. Tables without statistics, as small ones stay."""
    views = watched.query("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' WHERE c.relkind = 'v' ORDER BY 1")
    assert len(views) > 15
    costs = {view: watched.value(f"EXPLAIN (FORMAT JSON) SELECT * FROM {view}")[0]["Plan"]["Total Cost"] for (view,) in views}
    assert {view: cost for view, cost in costs.items() if cost > 30000} == {}
