"""The prefix cache, preemption and the queue, as sessions see them."""
import pytest
from cluster import MODEL_FILE, wait_until
from sessions import LONG, Background, wait_idle

DEFAULT_MODEL = MODEL_FILE
INSTRUCTION = "You are given a sentence. Say in one word whether it is about an animal, a plant, a place or a thing, and nothing else at all. " * 3
FULL = "SELECT content, prompt_tokens, cached_tokens FROM qwen_chat_full(%s, temperature => 0, max_tokens => 12)"
ROWS = ["The fox sleeps.", "An oak stands there.", "Paris is large.", "The hammer is heavy."]


def ask(server, role, row, sharing=None):
    """An answer with its counts, as a role. Superusers may say how it is shared."""
    connection = server.connect()
    cursor = connection.cursor()
    if sharing:
        cursor.execute(f"SET qwen.prefix_cache = {sharing}")
    if role:
        cursor.execute(f"SET ROLE {role}")
    cursor.execute(FULL, (INSTRUCTION + row,))
    answer = cursor.fetchone()
    connection.close()
    return answer


@pytest.fixture
def roles(make_server):
    server = make_server()
    server.query("CREATE ROLE anna; CREATE ROLE berta; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anna, berta")
    return server


def test_a_prefix_is_computed_once_for_a_role_and_for_no_other(roles):
    first = ask(roles, "anna", ROWS[0])
    assert first[2] == 0
    again = ask(roles, "anna", ROWS[0])
    assert again[:2] == first[:2]
    # all whole blocks of it, but never the last token
    assert again[2] == (first[1] - 1) // 32 * 32
    other_row = ask(roles, "anna", ROWS[1])
    assert 64 <= other_row[2] <= again[2] and other_row[2] % 32 == 0
    # another role sees at most what comes before every prompt of this model, which holds no word of anybody's
    assert ask(roles, "berta", ROWS[0])[2] == 0
    assert ask(roles, "berta", ROWS[0]) == again
    state = roles.query("SELECT cached_blocks > 0, kv_bytes_cached > 0, kv_bytes_used, prefix_hit_rate BETWEEN 0.01 AND 0.99, cached_tokens > 0 FROM qwen_stat_engine")
    assert state == [(True, True, 0, True, True)]


def test_off_and_shared(roles):
    first = ask(roles, "anna", ROWS[2], "off")
    assert ask(roles, "anna", ROWS[2], "off") == first and first[2] == 0
    assert ask(roles, "anna", ROWS[2], "shared")[2] == 0
    shared = ask(roles, "berta", ROWS[2], "shared")
    assert shared[:2] == first[:2] and shared[2] == (first[1] - 1) // 32 * 32
    # what was shared is of no use to who does not share
    assert ask(roles, "berta", ROWS[2])[2] == 0
    with pytest.raises(Exception) as failure:
        roles.query("SET ROLE anna; SET qwen.prefix_cache = 'shared'")
    assert failure.value.pgcode == "42501"


def test_a_security_definer_function_asks_for_its_caller(roles):
    roles.query(
        "CREATE FUNCTION asked(prompt text) RETURNS int LANGUAGE sql SECURITY DEFINER AS "
        "$$SELECT cached_tokens FROM qwen_chat_full(prompt, temperature => 0, max_tokens => 2)$$"
    )
    question = INSTRUCTION + "A secret of the owner's."
    assert roles.value("SELECT asked(%s)", (question,)) == 0
    assert roles.value("SELECT asked(%s)", (question,)) > 0
    # anna gets nothing of what the function's owner asked, and then her own
    connection = roles.connect()
    cursor = connection.cursor()
    cursor.execute("SET ROLE anna")
    for expected in (False, True):
        cursor.execute("SELECT asked(%s)", (question,))
        assert (cursor.fetchone()[0] > 0) == expected


def test_a_role_with_one_request_does_not_wait_for_all_of_another_s(make_server):
    server = make_server({"qwen.max_running": 1})
    server.query("CREATE ROLE anna; CREATE ROLE berta; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anna, berta")
    statement = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 60, stop => ARRAY['never-said']), clock_timestamp()"
    many = [Background(server, statement, "SET ROLE anna") for _ in range(12)]
    wait_until(lambda: server.value("SELECT waiting FROM qwen_stat_engine") >= 8, 60, "a queue")
    one = Background(server, statement, "SET ROLE berta").join(120)
    ends = sorted(call.join(120).rows[0][1] for call in many)
    # those that ran meanwhile, the one that runs, and at most one more; not all twelve
    assert sum(end > one.rows[0][1] for end in ends) >= 4


def test_set_role_lends_no_priority(make_server):
    server = make_server({"qwen.max_running": 1})
    server.query("CREATE ROLE anna; CREATE ROLE berta; CREATE ROLE carla; GRANT berta TO anna; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anna, berta, carla")
    server.query("SELECT qwen_set_limit('anna', priority => -5), qwen_set_limit('berta', priority => 5)")
    statement = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 5), clock_timestamp()"
    first = Background(server, LONG)
    wait_until(lambda: server.value("SELECT running FROM qwen_stat_engine") == 1, what="the first one")
    ends = []
    for n, setup in enumerate(("SET SESSION AUTHORIZATION anna; SET ROLE berta", "SET SESSION AUTHORIZATION carla")):
        ends.append(Background(server, statement, setup))
        wait_until(lambda: server.value("SELECT waiting FROM qwen_stat_engine") == n + 1, what="one more that waits")
    server.query("SELECT pg_cancel_backend(%s)", (first.pid,))
    as_berta, as_carla = (call.join(60).rows[0][1] for call in ends)
    # anna's priority of -5 holds, whatever role she takes on: carla, who has 0 and came later, goes first
    assert as_carla < as_berta


def test_a_short_chat_beside_32_rows_waits_for_two_steps(make_server):
    """The step that runs when it arrives and the one that reads its prompt; counted in steps, so that the machine's load does not matter."""
    server = make_server()
    server.query("CREATE TABLE long_rows AS SELECT 'Row ' || i || ' begins. Once upon a time' AS body FROM generate_series(1, 32) i")
    rows = Background(server, "SELECT count(qwen_generate(body, temperature => 0, max_tokens => 600, stop => ARRAY['never-said'])) FROM long_rows")
    connection = server.connect()
    cursor = connection.cursor()

    def steps():
        cursor.execute("SELECT steps, running FROM qwen_stat_engine")
        return cursor.fetchone()

    wait_until(lambda: steps()[1] == 32, 30, "32 running rows")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_stat_activity WHERE completion_tokens > 2") == 32, 30, "32 answers")
    waited = []
    for i in range(20):
        before = steps()[0]
        cursor.execute("SELECT qwen_chat(%s, temperature => 0, max_tokens => 1)", (f"Name a colour, number {i}.",))
        waited.append(steps()[0] - before)
    assert steps()[1] == 32, "the rows ran all the time"

    # and the one that reads its prompt has the prompt's rows alone: fewer than the 32 of the answers
    def chat_alone():
        call = Background(server, "SELECT qwen_chat('Name a colour.', temperature => 0, max_tokens => 1)")
        seen = set()
        while call.thread.is_alive():
            cursor.execute("SELECT batch_tokens FROM qwen_stat_engine")
            seen.add(cursor.fetchone()[0])
        assert steps()[1] == 32, "the rows ran all the time"
        return min(seen) < 32

    wait_until(chat_alone, 20, "a step of a prompt alone")
    rows.connection.cancel()
    connection.close()
    # one more where the counter was read late
    assert sorted(waited)[10] <= 3 and sorted(waited)[17] <= 4, waited


def test_the_words_of_tasks_are_shared_by_all_roles(roles):
    def cached():
        return roles.value("SELECT cached_tokens FROM qwen_stat_engine")

    for role, text in (("anna", "A baker bakes bread in Berlin every morning."), ("berta", "Snow fell on the hills all night long.")):
        before = cached()
        roles.query(f"SET ROLE {role}; SELECT qwen_summarize('{text}', max_tokens => 2)")
        found = cached() - before
    # the system prompt of the template and the beginning of the task's prompt are more than one block
    assert found == 32


def test_cached_answers_are_the_same(roles):
    plain = [ask(roles, "anna", row, "off")[0] for row in ROWS]
    for _ in range(2):
        assert [ask(roles, "anna", row)[0] for row in ROWS] == plain
    calls = [Background(roles, "SELECT qwen_chat('" + INSTRUCTION + row + "', temperature => 0, max_tokens => 12)") for row in ROWS * 3]
    assert [call.join(60).rows[0][0] for call in calls] == plain * 3


def test_unloading_a_model_drops_its_prefixes(roles):
    ask(roles, None, ROWS[0])
    assert roles.value("SELECT cached_blocks FROM qwen_stat_engine") > 0
    file = roles.value("SELECT file FROM qwen_models")
    roles.query("SELECT qwen_unload_model('chat')")
    roles.query("SELECT qwen_load_model('chat', %s)", (file,))
    assert ask(roles, None, ROWS[0])[2] == 0


def test_a_kv_cache_that_is_too_small_for_all_preempts(make_server):
    # 16 MB are about 700 tokens of the demo model
    server = make_server({"qwen.kv_cache_size": "16MB", "qwen.kv_cache_type": "f16"})
    statements = [f"SELECT qwen_generate('{i}. Once upon a time in a village by the sea there lived', temperature => 0, max_tokens => 120, stop => ARRAY['never-said'])" for i in range(8)]
    alone = [server.value(statement) for statement in statements]
    calls = [Background(server, statement) for statement in statements]
    assert [call.join(120).rows[0][0] for call in calls] == alone
    assert server.value("SELECT preemptions FROM qwen_stat_engine") > 0
    wait_idle(server)


def test_a_full_queue_says_so(make_server):
    server = make_server({"qwen.max_running": 1, "qwen.queue_size": 2, "qwen.queue_timeout": 0})
    long = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 2000, stop => ARRAY['never-said'])"
    calls = [Background(server, long) for _ in range(5)]
    # one runs, two wait
    wait_until(lambda: sum(call.error is not None for call in calls) == 2, 30, "two refusals")
    assert server.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)]
    failed = [call for call in calls if call.error is not None]
    assert failed[0].error.pgcode == "58000"
    assert "2 requests are waiting already, as many as qwen.queue_size allows" in str(failed[0].error)
    assert "Try again later" in str(failed[0].error)
    for call in calls:
        call.connection.cancel()
    wait_idle(server)
