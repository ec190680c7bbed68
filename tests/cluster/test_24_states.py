"""States of hybrids through SQL: how they and their snapshots are counted, kept, found again and given back, beside a model that has none."""
import json
import os
import signal
import sys
import time

import psycopg2
import pytest
from cluster import Cluster, model_directory, plain_model, wait_until
from conftest import ready
from sessions import LONG, Background, wait_idle, wait_running

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

MODEL = plain_model()
COLUMNS = ("states", "state_bytes_used", "snapshots", "snapshot_bytes", "snapshots_taken", "snapshots_hit", "snapshots_moved", "snapshots_evicted")
IS_LONG = os.environ.get("QWEN_LONG_PROMPTS") == "full"  # make check-long-prompts
PARIS = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', model => 'hybrid', temperature => 0, max_tokens => 12)"
LONGER = "context=16384, rope_scaling=yarn, rope_factor=2"


@pytest.fixture(scope="module")
def mixed():
    """A server of the demo model as a hybrid, with a longer context, and as it is."""
    file = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL), "qwen35moe+states")
    cluster = Cluster(settings={"qwen.models": f"hybrid={file} {{{LONGER}}}, chat={MODEL}", "qwen.kv_cache_size": "448MB"})
    cluster.hybrid_file = file
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def counts(cluster):
    return dict(zip(COLUMNS, cluster.query(f"SELECT {', '.join(COLUMNS)} FROM qwen_stat_engine")[0]))


def idle_counts(cluster):
    """When no request runs, no state is held, whatever there was before."""
    wait_idle(cluster)
    wait_until(lambda: counts(cluster)["states"] == 0, 5, "states that are given back")
    return counts(cluster)


def gains(before, after):
    return {name: after[name] - before[name] for name in COLUMNS if name.startswith("snapshots_")}


def ask(cluster, messages, max_tokens=12):
    return cluster.query("SELECT content, prompt_tokens, cached_tokens, completion_tokens FROM qwen_chat_full(%s::jsonb, temperature => 0, max_tokens => %s)",
                         (json.dumps(messages), max_tokens))[0]


def test_states_and_snapshots_are_counted(mixed):
    of_one = mixed.value("SELECT state_bytes FROM qwen_models WHERE name = 'hybrid'")
    assert of_one > 50000
    assert mixed.value("SELECT state_bytes FROM qwen_models WHERE name = 'chat'") is None
    assert int(mixed.value("SELECT value FROM qwen_check_model(%s) WHERE item = 'state_bytes'", (mixed.hybrid_file,)).split()[0]) <= of_one
    start = idle_counts(mixed)
    call = Background(mixed, LONG.replace("4000", "1000"))
    wait_running(mixed, 1)
    wait_until(lambda: counts(mixed)["states"] == 1, 5, "a state in use")
    assert counts(mixed)["state_bytes_used"] == of_one
    assert mixed.value("SELECT state_bytes_resident >= state_bytes_used AND state_bytes_resident <= kv_bytes_resident FROM qwen_stat_engine")
    mixed.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    call.join()
    idle_counts(mixed)
    question = [{"role": "user", "content": "Which town is the capital of France?"}]
    start = idle_counts(mixed)
    answer = ask(mixed, question)[0]
    first = idle_counts(mixed)
    assert gains(start, first) == {"snapshots_taken": 1, "snapshots_hit": 0, "snapshots_moved": 0, "snapshots_evicted": 0}
    assert first["snapshots"] - start["snapshots"] == 1 and first["snapshot_bytes"] == first["snapshots"] * of_one
    ask(mixed, question + [{"role": "assistant", "content": answer}, {"role": "user", "content": "And of Italy?"}])
    assert gains(first, idle_counts(mixed)) == {"snapshots_taken": 1, "snapshots_hit": 1, "snapshots_moved": 1, "snapshots_evicted": 0}
    assert counts(mixed)["snapshots"] == first["snapshots"]
    # the other model's requests have nothing to do with it
    before = idle_counts(mixed)
    mixed.value("SELECT qwen_generate('The capital of France is', model => 'chat', max_tokens => 3)")
    assert idle_counts(mixed) == before


def test_health_tells_of_states(mixed):
    status, message = mixed.query("SELECT status, message FROM qwen_health_checks WHERE name = 'states'")[0]
    assert status == "healthy" and '"hybrid": a state takes' in message and '"chat"' not in message
    of_one = mixed.value("SELECT state_bytes FROM qwen_models WHERE name = 'hybrid'")
    assert f"the KV cache holds {448 * 1048576 // of_one}" in message


def test_a_long_conversation_computes_what_is_new_alone(mixed):
    """Ten turns, in the end of more than 8,000 tokens (of 1,500 in the short form); before the fourth one the engine is killed, and that one is computed from the beginning."""
    facts = "The river rises in the hills, passes two old mills and a bridge of stone, and meets the sea behind a town of fishermen. "
    messages, before, computed, whole = [], 0, 0, 0
    for turn in range(10):
        messages.append({"role": "user", "content": f"Part {turn + 1}. " + facts * (31 if IS_LONG else 4) + "What does the river pass?"})
        if turn == 3:
            mixed.signal(mixed.engine_pid(), signal.SIGKILL)
            before = 0
        start = mixed.query("SELECT prompt_tokens - cached_tokens, snapshots_moved FROM qwen_stat_engine")[0] if turn != 3 else (0, 0)
        answer, prompt, cached, completion = ask(mixed, messages)
        assert cached == before, f"turn {turn + 1}: {prompt} tokens, {cached} of them cached"
        end = mixed.query("SELECT prompt_tokens - cached_tokens, snapshots_moved FROM qwen_stat_engine")[0]
        assert (end[0] - start[0], end[1] - start[1]) == (prompt - cached, int(turn not in (0, 3)))
        computed, whole = computed + prompt - cached, whole + prompt
        before = prompt + completion - 1
        messages.append({"role": "assistant", "content": answer})
    assert prompt > (8000 if IS_LONG else 1300) and computed < 2 * prompt and whole > 5 * prompt
    assert idle_counts(mixed)["state_bytes_used"] == 0


def test_both_models_are_served_again_at_once(mixed):
    """After a kill: weights are in memory, so all that is done again is opening them."""
    before = mixed.value(PARIS)
    pid = mixed.engine_pid()
    mixed.signal(pid, signal.SIGKILL)
    wait_until(lambda: mixed.query("SELECT state = 'running' AND pid <> %s FROM qwen_stat_engine", (pid,)) == [(True,)], 20, "another engine")
    wait_until(lambda: mixed.query("SELECT state FROM qwen_models") == [("serving",)] * 2, 20, "both models")
    seconds = mixed.value("SELECT extract(epoch FROM clock_timestamp() - started_at)::float8 FROM qwen_stat_engine")
    assert seconds < 2, f"{seconds} s"
    assert counts(mixed) == dict.fromkeys(COLUMNS, 0)
    assert mixed.value(PARIS) == before


def test_two_models_share_one_budget_and_leave_nothing(mixed):
    """Many requests of both models with little memory, some of them cancelled: all answers are those of each alone, and no state stays behind."""
    of_one = mixed.value("SELECT state_bytes FROM qwen_models WHERE name = 'hybrid'")
    texts = [f"Thing number {i} of {'many ' * 120}is" for i in range(12)]
    row = "SELECT qwen_generate(t, model => %s, temperature => 0, max_tokens => 16) FROM unnest(%s) WITH ORDINALITY u (t, i) ORDER BY i"
    alone = {model: [mixed.query(row, (model, [text]))[0][0] for text in texts[:3]] for model in ("hybrid", "chat")}
    start = idle_counts(mixed)
    calls = [Background(mixed, bound(row, model, texts)) for model in ("hybrid", "chat", "hybrid", "chat")]
    gone = [Background(mixed, LONG.replace("4000", "900")) for _ in range(6)]
    wait_until(lambda: counts(mixed)["states"] > 2, 20, "states in use")
    assert mixed.value("SELECT kv_bytes_used + kv_bytes_cached <= kv_bytes_total FROM qwen_stat_engine")
    for call in gone:
        mixed.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    for call in gone:
        call.join(60)
    for call, model in zip(calls, ("hybrid", "chat") * 2):
        assert [answer for (answer,) in call.join(120).rows[:3]] == alone[model]
    end = idle_counts(mixed)
    assert end["snapshot_bytes"] == end["snapshots"] * of_one and end["snapshots_taken"] >= start["snapshots_taken"]


def bound(row, model, texts):
    """The statement with its arguments in it."""
    return row % (f"'{model}'", "ARRAY[" + ", ".join(f"'{text}'" for text in texts) + "]")


STATE = "SELECT state_type, state_bytes FROM qwen_models WHERE name = 'hybrid' AND state = 'serving'"


def serve_hybrid(cluster, settings):
    """The hybrid with other settings, in force."""
    mine = f"{LONGER}, {settings}" if settings else LONGER
    cluster.reload(qwen__models=f"hybrid={cluster.hybrid_file} {{{mine}}}, chat={MODEL}")
    wanted = settings.partition("state_type=")[2] or "f32"
    wait_until(lambda: [row[0] for row in cluster.query(STATE)] == [wanted], 30, f"states in {wanted}")


def test_states_in_f16_take_half_and_change_nothing_else(mixed):
    """Of a model by its own settings: bytes are told as they are, snapshots are found and moved, rows and turns are those of each request alone."""
    assert mixed.query("SELECT state_type FROM qwen_models WHERE name = 'chat'") == [(None,)]
    before = mixed.query(STATE)[0]
    assert before[0] == "f32"
    row = "SELECT qwen_generate(t, model => 'hybrid', temperature => 0, max_tokens => 16) FROM unnest(%s) t"
    texts = [f"Thing number {i} of {'many ' * 40}is" for i in range(10)]
    serve_hybrid(mixed, "state_type=f16")
    try:
        of_one = mixed.query(STATE)[0][1]
        assert 0.45 * before[1] < of_one < 0.53 * before[1]
        message = mixed.value("SELECT message FROM qwen_health_checks WHERE name = 'states'")
        assert f"the KV cache holds {448 * 1048576 // of_one}" in message
        together = [answer for (answer,) in mixed.query(row, (texts,))]
        assert [mixed.query(row, ([text],))[0][0] for text in texts[:3]] == together[:3]
        messages, cached_before = [], 0
        for turn in range(3):
            messages.append({"role": "user", "content": f"Question number {turn + 1}: which town is the capital of France?"})
            answer, prompt, cached, completion = ask(mixed, messages)
            assert cached == cached_before
            cached_before = prompt + completion - 1
            with mixed.connect() as fresh, fresh.cursor() as cursor:
                cursor.execute("SET qwen.prefix_cache = off")
                cursor.execute("SELECT content, cached_tokens FROM qwen_chat_full(%s::jsonb, temperature => 0, max_tokens => 12)", (json.dumps(messages),))
                assert cursor.fetchall() == [(answer, 0)]
            messages.append({"role": "assistant", "content": answer})
        counted = idle_counts(mixed)
        assert counted["snapshots"] > 0 and counted["snapshot_bytes"] == counted["snapshots"] * of_one
    finally:
        serve_hybrid(mixed, "")
    assert mixed.query(STATE)[0] == before


def test_states_in_bf16_are_refused_with_the_reason(mixed):
    for statement in (f"ALTER SYSTEM SET qwen.models = 'hybrid={mixed.hybrid_file} {{state_type=bf16}}'", "ALTER SYSTEM SET qwen.state_type = 'bf16'"):
        with pytest.raises(psycopg2.Error) as failure:
            mixed.query(statement)
        assert failure.value.pgcode == "22023" and "off by 2 %" in str(failure.value) and "f32, f16" in str(failure.value)
    with pytest.raises(psycopg2.Error) as failure:
        mixed.query("""SELECT qwen_load_model('other', %s, '{"state_type": "bf16"}')""", (mixed.hybrid_file,))
    assert failure.value.pgcode == "22023" and "off by 2 %" in str(failure.value)


def test_unloading_a_hybrid_gives_all_states_back(mixed):
    before = mixed.value(PARIS)
    taken = idle_counts(mixed)
    assert taken["snapshots"] > 0
    mixed.query("SELECT qwen_unload_model('hybrid')")
    wait_until(lambda: counts(mixed)["snapshots"] == 0, 10, "no snapshots")
    after = counts(mixed)
    assert (after["states"], after["state_bytes_used"], after["snapshot_bytes"]) == (0, 0, 0)
    assert mixed.value("SELECT state_bytes_resident FROM qwen_stat_engine") == 0
    # what happened stays counted, and unloading is no eviction
    assert gains(taken, after) == {"snapshots_taken": 0, "snapshots_hit": 0, "snapshots_moved": 0, "snapshots_evicted": 0}
    assert mixed.value("SELECT count(*) FROM qwen_health_checks WHERE name = 'states'") == 0
    begin = time.monotonic()
    mixed.query("SELECT qwen_load_model('hybrid', %s)", (mixed.hybrid_file,))
    assert time.monotonic() - begin < 60
    assert mixed.value(PARIS) == before


def test_the_type_of_all_states_is_a_setting(mixed):
    check = "SELECT item, value FROM qwen_check_model(%s) WHERE item LIKE 'state%%' ORDER BY item DESC"
    of_f32 = dict(mixed.query(check, (mixed.hybrid_file,)))
    assert of_f32["state_type"] == "f32" and of_f32["state_bytes"] == str(mixed.query(STATE)[0][1])
    mixed.settings["qwen.state_type"] = "f16"
    mixed.restart()
    wait_until(lambda: mixed.query("SELECT state FROM qwen_models") == [("serving",)] * 2, 30, "both models")
    in_force = mixed.query(STATE)[0]
    of_f16 = dict(mixed.query(check, (mixed.hybrid_file,)))
    assert in_force == ("f16", int(of_f16["state_bytes"])) and of_f16["state_type"] == "f16" and int(of_f16["state_bytes"]) < 0.53 * int(of_f32["state_bytes"])
    # a model's own setting goes before it
    mixed.query("SELECT qwen_unload_model('hybrid')")
    mixed.query("""SELECT qwen_load_model('hybrid', %s, '{"state_type": "f32"}')""", (mixed.hybrid_file,))
    assert mixed.query(STATE)[0][0] == "f32"
