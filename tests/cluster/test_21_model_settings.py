"""Settings of one model: in qwen.models and in qwen_load_model, what comes of them, and what is said where they are wrong."""
import os
import signal
import time

import psycopg2
import pytest
from cluster import MODEL_FILE, model_directory, wait_until
from conftest import ready
from random_models import make_model
from sessions import LONG, Background, wait_idle, wait_running
from test_03_manners import endless_request, frame, speak
from test_17_memory import collapse_works

DEFAULT_MODEL = MODEL_FILE
IN_FORCE = "SELECT state, context_length, kv_cache_type, rope_scaling, rope_factor, rope_original_context FROM qwen_models WHERE name = %s"
PLAIN = ("serving", 8192, "q8_0", "none", 1.0, None)
STORY = "SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 40, model => %s)"
STRETCHED = "rope_scaling=yarn, rope_factor=4"


def entry(name, settings=None):
    return f"{name}={MODEL_FILE}" + (f" {{{settings}}}" if settings else "")


def in_force(server, name):
    rows = server.query(IN_FORCE, (name,))
    return rows[0] if rows else None


def wait_in_force(server, name, *expected):
    wait_until(lambda: in_force(server, name) == expected, 20, f"{name}: {expected}")


def check(server, name):
    return next((row for row in server.value("SELECT qwen_health() -> 'checks'") if row["check"] == name), None)


def error_of(server, sql, arguments=None):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, arguments)
    return failure.value.pgcode, str(failure.value)  # HINT and all


def loads(server):
    return server.read_log().count("read and packed")


@pytest.fixture(scope="module")
def own():
    """One server for all: every test leaves the model "chat" with its file's settings alone."""
    from cluster import Cluster

    cluster = Cluster(settings={"qwen.models": entry("chat"), "qwen.kv_cache_size": "256MB", "qwen.max_models": 4})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def test_settings_hold_for_their_model_alone(own):
    own.reload(qwen__models=entry("chat") + ", " + entry("long", f"context=20000, {STRETCHED}, kv_cache_type=f16, threads=1, huge_pages=off"))
    wait_in_force(own, "long", "serving", 20000, "f16", "yarn", 4.0, 8192)
    assert in_force(own, "chat") == PLAIN
    sizes = dict(own.query("SELECT name, kv_bytes_per_token FROM qwen_models"))
    assert sizes["long"] == 2 * 30 * 3 * 64 * 2 and sizes["long"] * 0.5 < sizes["chat"] < sizes["long"] * 0.55
    assert own.query("SELECT threads, huge_page_bytes FROM qwen_models WHERE name = 'long'") == [(1, 0)]
    if collapse_works():
        wait_until(lambda: own.value("SELECT huge_page_bytes FROM qwen_models WHERE name = 'chat'") > 0)
    prompt = "SELECT qwen_generate(repeat(' word', %s), model => %s, max_tokens => 1, temperature => 0)"
    code, message = error_of(own, prompt, (9000, "chat"))
    assert code == "54000" and "9000 tokens" in message and "holds 8192" in message
    code, message = error_of(own, prompt, (20001, "long"))
    assert code == "54000" and "20001 tokens" in message and "holds 20000" in message
    # angles that are stretched give other answers, and what they give is the same again
    assert own.value(STORY, ("long",)) == own.value(STORY, ("long",)) != own.value(STORY, ("chat",))
    own.reload(qwen__models=entry("chat"))
    wait_until(lambda: own.query("SELECT name FROM qwen_models") == [("chat",)])


def test_other_settings_are_taken_without_reading_the_file_again(own):
    before, pid, files = own.value(STORY, ("chat",)), own.engine_pid(), loads(own)
    call = Background(own, LONG.replace("max_tokens => 4000", "max_tokens => 60"))
    wait_running(own, 1)
    own.reload(qwen__models=entry("chat", "context=4096"))
    # who asks now waits until the running request has ended and the model is open again
    assert own.value(STORY, ("chat",)) == before
    call.join(60)
    assert call.error is None, "a request that runs is not disturbed"
    wait_in_force(own, "chat", "serving", 4096, *PLAIN[2:])
    own.reload(qwen__models=entry("chat", "context=4096, kv_cache_type=f32"))
    wait_in_force(own, "chat", "serving", 4096, "f32", *PLAIN[3:])
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)
    assert own.value(STORY, ("chat",)) == before
    assert (own.engine_pid(), loads(own)) == (pid, files)


def test_who_saw_the_model_served_a_moment_ago_is_answered(own):
    """Between a look at qwen_models and the engine's of the request, settings may change: the model is there all the time."""
    call = Background(own, LONG)
    wait_running(own, 1)
    own.reload(qwen__models=entry("chat", "context=4096"))
    wait_until(lambda: in_force(own, "chat")[0] == "opening", what="a model that is to be opened again")
    state, got = speak(own, frame(1, 1, endless_request(b"Once upon a time")) + frame(1, 2))
    # whether GO comes with it or a moment later: ACCEPTED, and no error (20) behind it in the second that it is looked at
    assert state == "open" and bytes.fromhex(got)[8] == 16 and len(bytes.fromhex(got)) == 24, got
    own.query(f"SELECT pg_cancel_backend({call.pid})")
    call.join(60)
    wait_in_force(own, "chat", "serving", 4096, *PLAIN[2:])
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)


def test_who_waits_for_limits_holds_no_model(own):
    """A request that a role's limits keep for an hour, in a job or in a session, lets go of a model that is to be opened anew, and waits for that."""
    own.query("CREATE ROLE slow LOGIN; GRANT CREATE ON SCHEMA public TO slow; SELECT qwen_grant('slow', 'use'); SELECT qwen_set_limit('slow', tokens_per_day => 60)")
    as_slow = "SET SESSION AUTHORIZATION slow; SET qwen.limit_action = wait"
    Background(own, STORY.replace("%s", "'chat'").replace("40", "48"), as_slow).join()
    # not even the smallest of them fits, whoever is the first to ask again
    wait_until(lambda: own.value("SELECT used FROM qwen_usage WHERE role::text = 'slow' AND limit_name = 'tokens_per_day'") == 59, what="tokens that are charged")
    own.query("""SET SESSION AUTHORIZATION slow; CREATE TABLE waits AS SELECT 1 AS id, 'Ada' AS name, NULL::text AS hello; ALTER TABLE waits ADD PRIMARY KEY (id);
        SELECT qwen_submit('waits', 'Greet {name}.', 'waits', 'hello', max_tokens => 4, temperature => 0)""")
    call = Background(own, STORY.replace("%s", "'chat'"), as_slow)
    wait_until(lambda: own.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") == 2, what="a call and a row that wait")
    own.reload(qwen__models=entry("chat", "context=4096"))
    wait_in_force(own, "chat", "serving", 4096, *PLAIN[2:])
    wait_until(lambda: own.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") == 2, what="both, which wait again")
    assert own.query("SELECT state, failed FROM qwen_jobs") == [("running", 0)]
    # each function that asks by itself, and an answer in pieces before its first one
    others = {
        sql: Background(own, sql, as_slow)
        for sql in (
            "SELECT count(*) > 0 FROM qwen_chat_stream('Hi', temperature => 0, max_tokens => 4)",
            "SELECT * FROM qwen_chunk('One two. Three four.', 16)",
            "SELECT token FROM qwen_logprobs('One two')",
            "SELECT label FROM qwen_classify_scores('Good', ARRAY['good', 'bad']) ORDER BY 1",
        )
    }
    wait_until(lambda: own.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") == 6, what="all, which wait")
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)
    wait_until(lambda: own.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") == 6, what="all, which wait again")
    own.query("SELECT qwen_set_limit('slow', tokens_per_day => NULL)")
    wait_until(lambda: own.query("SELECT state, done, failed FROM qwen_jobs") == [("done", 1, 0)], 60, "the job's end")
    others[STORY.replace("%s", "'chat'")] = call
    for sql, waiting in others.items():
        waiting.join(30)
        assert waiting.error is None and waiting.rows == own.query(sql), (sql, waiting.error)
    own.query("DROP TABLE waits; SELECT qwen_revoke('slow', 'use'); DROP OWNED BY slow; DROP ROLE slow")


def test_a_model_that_is_opened_anew_keeps_no_rows_of_others(own):
    """Behind somebody's long answer: a worker with a row for it goes on with its rows of another model."""
    own.reload(qwen__models=entry("chat") + ", " + entry("other"))
    wait_in_force(own, "other", *PLAIN)
    own.query("CREATE TABLE many AS SELECT g AS id, 'word ' || g AS body, NULL::text AS said FROM generate_series(1, 20000) g; ALTER TABLE many ADD PRIMARY KEY (id)")
    job = own.value("SELECT qwen_submit('many', 'Say {body}', 'many', 'said', model => 'other', max_tokens => 2, temperature => 0)")
    long = Background(own, "SELECT qwen_generate('Once', model => 'chat', max_tokens => 7000, stop => ARRAY['never-said'])")
    wait_until(lambda: own.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'running' AND model = 'chat'") == 1, what="a long answer")
    own.reload(qwen__models=entry("chat", "context=8000") + ", " + entry("other"))
    wait_until(lambda: own.value("SELECT state FROM qwen_models WHERE name = 'chat'") == "opening", what="a model that waits for it")
    own.query("""CREATE TABLE one (id int PRIMARY KEY, body text, said text);
        CREATE TRIGGER q AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'model=chat', 'max_tokens=2', 'temperature=0');
        INSERT INTO one VALUES (1, 'hello')""")
    done = "SELECT done FROM qwen_jobs WHERE id = %s"
    wait_until(lambda: "is being loaded" in (own.value("SELECT concat(worker, last_error) FROM qwen_trigger_backlog WHERE waiting > 0") or ""), what="a row that says what it waits for")
    before = own.value(done, (job,))
    wait_until(lambda: own.value(done, (job,)) > before + 50, what="rows of the other model")
    assert own.value("SELECT state FROM qwen_models WHERE name = 'chat'") == "opening" and long.thread.is_alive()
    own.query("SELECT pg_cancel_backend(%s)", (long.pid,))
    wait_until(lambda: own.value("SELECT said FROM one") is not None, what="the row's answer")
    own.query("SELECT qwen_cancel(%s)", (job,))
    own.query("DROP TABLE one, many")
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)


def test_who_does_other_things_meanwhile_fails_by_no_reload(own):
    """The plan node has sent requests, and says nothing of them to the engine while its rows come slowly; nor does one whose rows nobody reads."""
    slow = Background(own, "SELECT count(qwen_generate('Once ' || g, max_tokens => 2)) FROM (SELECT g, pg_sleep(0.4) FROM generate_series(1, 10) g OFFSET 0) s")
    connection = own.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN; DECLARE c CURSOR FOR SELECT qwen_generate('Twice ' || g, max_tokens => 2) FROM generate_series(1, 40) g; FETCH 1 FROM c")
    time.sleep(0.8)
    own.reload(qwen__models=entry("chat", "context=4096"))
    wait_in_force(own, "chat", "serving", 4096, *PLAIN[2:])
    cursor.execute("FETCH ALL FROM c")
    assert len(cursor.fetchall()) == 39
    connection.close()
    slow.join(30)
    assert slow.error is None and slow.rows == [(10,)], slow.error
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)


def test_who_has_no_place_is_told_of_those_that_could_not_be_loaded(own):
    own.reload(qwen__models=", ".join(f"b{i}=none{i}.gguf" for i in range(1, 5)) + ", " + entry("last"))
    wait_until(lambda: own.query("SELECT state, count(*) FROM qwen_models GROUP BY 1") == [("failed", 4)])
    code, message = error_of(own, STORY, ("last",))
    assert code == "54000" and "4 of them could not be loaded: qwen_models says why" in message and "take it out, and reload" in message
    own.reload(qwen__models=entry("last"))
    wait_in_force(own, "last", *PLAIN)
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)


def test_no_other_model_answers_for_the_default_one(own):
    own.query(f"SELECT qwen_load_model('other', '{MODEL_FILE}'); SELECT qwen_unload_model('chat')")
    for call in ("SELECT qwen_generate('x', max_tokens => 1)", "SELECT qwen_embed('x')"):
        code, message = error_of(own, call)
        assert code == "42704" and 'model "chat" is not loaded' in message and "SELECT pg_reload_conf()" in message
    assert own.value(STORY, ("other",))
    own.query("SELECT qwen_unload_model('other')")
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)


def test_a_value_that_is_refused_is_seen_without_the_log(own):
    assert check(own, "settings") is None
    for bad, words in (
        ("contxt=4096", '"chat": at byte'),
        ("contxt=4096", '"contxt" is no setting of a model; there are context,'),
        ("context=5", "not a whole number between 32 and 16777216"),
        ("rope_factor=4", "rope_factor needs rope_scaling=yarn"),
    ):
        own.reload(qwen__models=entry("chat", bad))
        seen = wait_until(lambda words=words: (check(own, "settings") or {}).get("message", "").count(words) and check(own, "settings"))
        assert seen["status"] == "degraded" and "refused" in seen["message"]
        assert in_force(own, "chat") == PLAIN
    own.reload(qwen__models=entry("chat"))
    wait_until(lambda: check(own, "settings") is None)
    # ALTER SYSTEM says it at once
    code, message = error_of(own, "ALTER SYSTEM SET qwen.models = 'a=b.gguf {context=4096, kv_cache_type=q4_0}'")
    assert code == "22023" and 'at byte 25: kv_cache_type is "q4_0", not one of f16, q8_0, q4, f32' in message


def test_a_context_beyond_the_rotation_is_refused_with_the_way_out(own):
    own.reload(qwen__models=entry("chat") + ", " + entry("long", "context=32768"))
    wait_until(lambda: in_force(own, "long") and in_force(own, "long")[0] == "failed")
    words = "context is 32768, but the model reaches 8192; for more its rotation is stretched: rope_scaling=yarn, rope_factor=4"
    assert words in own.value("SELECT error FROM qwen_models WHERE name = 'long'")
    code, message = error_of(own, STORY, ("long",))
    assert code == "42704" and words in message
    assert words in check(own, "models")["message"]
    # what the sentence says helps
    own.reload(qwen__models=entry("chat") + ", " + entry("long", f"context=32768, {STRETCHED}"))
    wait_in_force(own, "long", "serving", 32768, *PLAIN[2:3], "yarn", 4.0, 8192)
    # one that is served, too, and the other model is not touched
    own.reload(qwen__models=entry("chat") + ", " + entry("long", "context=8193"))
    wait_until(lambda: in_force(own, "long")[0] == "failed")
    assert "context is 8193" in own.value("SELECT error FROM qwen_models WHERE name = 'long'")
    assert in_force(own, "chat") == PLAIN
    own.reload(qwen__models=entry("chat"))
    wait_until(lambda: own.query("SELECT name FROM qwen_models") == [("chat",)])


def test_a_model_loaded_by_hand_keeps_its_settings(own):
    load = "SELECT qwen_load_model('mine', %s, %s)"
    for options, words in (
        ('{"contxt": 1}', "options: \"contxt\" is no setting of a model"),
        ('{"context": "many"}', 'options: context is "many", not a whole number'),
        ('{"context": true}', "options: context must be a number or a text"),
        ('{"context": [1]}', "options: context must be a number or a text"),
        ('{"context": -5}', 'options: context is "-5"'),
        ('{"rope_scaling": "yarn"}', "options: rope_scaling=yarn needs rope_factor"),
        ('["context"]', "options must be a JSON object"),
    ):
        code, message = error_of(own, load, (MODEL_FILE, options))
        assert code == "22023" and words in message, message
    code, message = error_of(own, load, (MODEL_FILE, '{"context": 10000}'))
    assert code == "22023" and "context is 10000, but the model reaches 8192" in message
    assert own.query("SELECT name FROM qwen_models") == [("chat",)]
    own.query(load, (MODEL_FILE, '{"context": 12000.0, "rope_scaling": "linear", "rope_factor": 1.5, "kv_cache_type": "f16", "threads": null}'))
    expected = ("serving", 12000, "f16", "linear", 1.5, 8192)
    assert in_force(own, "mine") == expected
    story = own.value(STORY, ("mine",))
    # another engine, and another life of PostgreSQL's shared memory
    pid = own.engine_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own.engine_pid() not in (None, pid))
    wait_in_force(own, "mine", *expected)
    connection = own.connect()
    os.kill(connection.get_backend_pid(), signal.SIGKILL)

    def is_back():
        try:
            return in_force(own, "mine") == expected and in_force(own, "chat") == PLAIN
        except psycopg2.Error:
            return False

    wait_until(is_back, 30, "the models after a reset")
    assert own.value(STORY, ("mine",)) == story
    own.query("SELECT qwen_load_model('third', %s)", (MODEL_FILE,))
    assert in_force(own, "third") == PLAIN
    for name in ("mine", "third"):
        own.query("SELECT qwen_unload_model(%s)", (name,))


def test_pools_of_several_types_share_one_budget(make_server):
    models = ", ".join(entry(kind, f"kv_cache_type={kind}, context=2048") for kind in ("f16", "q8_0", "q4", "f32"))
    server = make_server({"qwen.models": models, "qwen.kv_cache_size": "16MB", "qwen.max_models": 4})
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 4)
    sizes = dict(server.query("SELECT kv_cache_type, kv_bytes_per_token FROM qwen_models"))
    assert sizes["f32"] == 2 * sizes["f16"] and sizes["q8_0"] < 0.55 * sizes["f16"] and sizes["q4"] < 0.29 * sizes["f16"]
    alone = {kind: server.value(STORY, (kind,)) for kind in sizes}
    # a prompt each that takes most of the memory alone: they wait, are put back and come again, and stay as they are
    texts = {"f16": 450, "q8_0": 800, "q4": 1400, "f32": 220}
    long_story = STORY.replace("'Once upon", "repeat('one two ', {}) || 'Once upon")
    long_alone = {kind: server.value(long_story.format(n // 2), (kind,)) for kind, n in texts.items()}
    calls = [Background(server, long_story.format(texts[kind] // 2) % f"'{kind}'") for kind in 2 * list(sizes)]
    for call, kind in zip(calls, 2 * list(sizes)):
        call.join(60)
        assert call.error is None and call.rows[0][0] == long_alone[kind], kind
    assert {kind: server.value(STORY, (kind,)) for kind in sizes} == alone
    total, resident = server.query("SELECT kv_bytes_total, pg_size_bytes('16MB') FROM qwen_stat_engine")[0]
    assert total == resident
    assert server.value("SELECT evicted_blocks FROM qwen_stat_engine") > 0
    wait_idle(server)


def test_heads_of_every_size_are_served_with_the_default(make_server):
    """Eight bits come in 32 dimensions: sizes that are multiples of 16 alone take the room of the next multiple, and lose no more."""
    sizes = (16, 48, 80, 240)
    files = {size: "models/" + make_model.cached_model(model_directory(), f"heads-{size}", architecture="qwen2", head_dim=size) for size in sizes}
    models = [f"{name}{size}={file}{settings}" for size, file in files.items() for name, settings in (("h", ""), ("exact", " {kv_cache_type=f32}"))]
    server = make_server({"qwen.models": ", ".join(models), "qwen.max_models": len(models), "qwen.kv_cache_size": "64MB"})
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == len(models))
    for size in sizes:
        assert in_force(server, f"h{size}")[2] == "q8_0"
        a_token = 2 * 2 * 2 * -(-size // 32) * 1088 / 32
        assert a_token <= server.value("SELECT kv_bytes_per_token FROM qwen_models WHERE name = %s", (f"h{size}",)) < a_token + 4096 / 32
        alone = server.value(STORY, (f"h{size}",))
        together = server.query("SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 40, model => %s) FROM generate_series(1, 8)", (f"h{size}",))
        assert set(together) == {(alone,)}
        text = "What a text of some words says is near to what it says with keys and values in F32."
        assert server.value("SELECT qwen_cosine(qwen_embed(%s, model => %s), qwen_embed(%s, model => %s))", (text, f"h{size}", text, f"exact{size}")) > 0.999


def test_what_helps_a_context_is_said_of_its_model(make_server):
    """Types that take less for that model alone: heads of 16 elements take more in q8_0 than in f16, and so few of them whole pages in q4."""
    tiny = "models/" + make_model.cached_model(model_directory(), "heads-16", architecture="qwen2", head_dim=16)
    too_long = "rope_scaling=linear, rope_factor=128, context=524288"
    models = {"least": (MODEL_FILE, "q4"), "tiny": (tiny, "f16"), "tiny32": (tiny, "f32"), "wide": (MODEL_FILE, "f16")}
    server = make_server({"qwen.models": ", ".join(f"{name}={file} {{{too_long}, kv_cache_type={kind}}}" for name, (file, kind) in models.items()), "qwen.kv_cache_size": "64MB"})
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == len(models))
    assert check(server, "contexts")["action"] == (
        'Raise qwen.kv_cache_size, or set a smaller context for "least", a smaller context for "tiny", '
        'a kv_cache_type of fewer bits (q8_0, q4) or a smaller context for "tiny32", a kv_cache_type of fewer bits (q8_0, q4) or a smaller context for "wide" in qwen.models.'
    )


def test_what_a_long_context_takes_is_said_before_it_is_used(own):
    assert check(own, "contexts") == {
        "check": "contexts", "status": "healthy", "message": '"chat": 8192 tokens take 96 MB; the KV cache holds 256 MB',
    }  # fmt: skip
    own.reload(qwen__models=entry("chat", f"{STRETCHED}, context=32768"))
    wait_in_force(own, "chat", "serving", 32768, *PLAIN[2:3], "yarn", 4.0, 8192)
    said = check(own, "contexts")
    assert said["status"] == "degraded" and '"chat": 32768 tokens take 384 MB, 21824 fit; the KV cache holds 256 MB' in said["message"]
    assert "kv_cache_type of fewer bits (q4) or" in said["action"]
    code, message = error_of(own, "SELECT qwen_generate(repeat(' word', 22000), max_tokens => 1)")
    assert code == "54000" and "needs room for 22001 tokens (prompt 22000, answer 1), but the KV cache holds 21824" in message
    assert "HINT:  Give a smaller max_tokens or less text" in message and "raise qwen.kv_cache_size" in message
    for kind, advice in (("f16", "kv_cache_type of fewer bits (q8_0, q4) or"), ("q4", "or set a smaller context")):
        own.reload(qwen__models=entry("chat", f"rope_scaling=yarn, rope_factor=12, context=98304, kv_cache_type={kind}"))
        wait_in_force(own, "chat", "serving", 98304, kind, "yarn", 12.0, 8192)
        assert advice in check(own, "contexts")["action"]
    own.reload(qwen__models=entry("chat"))
    wait_in_force(own, "chat", *PLAIN)
