"""A full queue waits: more requests than fit into it, of one session or of many, take their turn, and who waits can be cancelled, counts for no limit and stops nobody else."""
import signal
import time

import psycopg2
import pytest
from cluster import server_user, wait_until
from roles import ENDLESS, ONE, as_role, make_role, set_limit, start, usage, wait_settled
from sessions import Background, wait_idle, wait_running

SHORT = "qwen_generate('word ' || {0}, temperature => 0, max_tokens => 2)"


@pytest.fixture(scope="module")
def narrow():
    """One request is computed and two wait."""
    server = start(**{"qwen.max_running": 1, "qwen.queue_size": 2, "qwen.batch_window": 40, "wal_level": "logical"})
    server.query("CREATE TABLE rows AS SELECT g AS id FROM generate_series(1, 40) g; GRANT SELECT ON rows TO PUBLIC")
    yield server
    server.remove()


@pytest.fixture
def full(narrow):
    """A queue that somebody has filled for as long as the test takes; what gives it room."""
    endless = [Background(narrow, ENDLESS) for _ in range(3)]
    wait_until(lambda: narrow.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)], 20, "a full queue")

    def end(n=3):
        for call in endless[:n]:
            call.connection.cancel()

    yield end
    for call in endless:
        call.connection.cancel()
    for call in endless:
        assert call.join().error.pgcode == "57014"
    wait_idle(narrow)


def failed(server):
    return server.value("SELECT requests_failed FROM qwen_stat_engine")


STATEMENTS = [
    f"SELECT id, {SHORT.format('id')} FROM rows ORDER BY id",
    f"SELECT g, {SHORT.format('g')} FROM generate_series(1, 40) g",
    "SELECT * FROM qwen_generate_batch((SELECT array_agg('word ' || id ORDER BY id) FROM rows), temperature => 0, max_tokens => 2)",
    f"SELECT id, {SHORT.format('id')} || {SHORT.format('-id')} FROM rows",
    "SELECT id, qwen_embed('word ' || id) FROM rows",
]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_more_rows_than_the_queue_holds(narrow, sql):
    """One statement: all rows are answered, as they are one by one, and none counts as failed."""
    before = failed(narrow)
    rows = narrow.query(sql)
    assert len(rows) == 40 and rows == narrow.query("SET qwen.batch_window = 1; " + sql)
    assert failed(narrow) == before
    wait_idle(narrow)


def test_many_sessions_with_windows_of_their_own(narrow):
    """Three sessions with 40 rows each at once, as the shards of one query are, and with a short timeout: whoever gets on does not run out of it."""
    alone = narrow.query(STATEMENTS[0])
    calls = [Background(narrow, STATEMENTS[0], setup="SET qwen.queue_timeout = '20s'") for _ in range(3)]
    for call in calls:
        assert call.join(60).error is None, call.error
        assert call.rows == alone
    wait_idle(narrow)


def test_rows_that_get_on_do_not_run_out_of_time(narrow):
    """The timeout is one of standing still: rows behind long answers of their own statement wait for these."""
    sql = "SELECT count(qwen_generate('Tale ' || id, temperature => 0, max_tokens => 120, stop => ARRAY['never-said'])) FROM rows WHERE id <= 6"
    call = Background(narrow, sql, setup="SET qwen.queue_timeout = '1ms'").join(60)
    assert call.error is None and call.rows == [(6,)] and call.seconds > 0.1
    wait_idle(narrow)


def test_it_does_not_go_one_by_one_when_the_queue_has_emptied(narrow, full):
    """Rows that found the queue full are let through faster and faster once it has room."""
    call = Background(narrow, STATEMENTS[0])
    wait_until(lambda: narrow.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'waiting'") > 3, 10, "rows that have no room")
    full()
    assert call.join(20).error is None
    wait_idle(narrow)


def test_the_timeout_is_an_error_that_says_so(narrow, full):
    began = time.monotonic()
    call = Background(narrow, ONE, setup="SET qwen.queue_timeout = '700ms'").join()
    assert call.error.pgcode == "58000" and 0.7 <= time.monotonic() - began < 10
    assert "2 requests are waiting already, as many as qwen.queue_size allows" in str(call.error)
    assert "ms for room (qwen.queue_timeout)" in call.error.diag.message_detail and "Try again later" in call.error.diag.message_hint
    assert Background(narrow, ONE, setup="SET qwen.queue_timeout = 0").join().error.pgcode == "58000"
    # an error of the moment is no row's: on_error = null does not swallow it
    assert Background(narrow, ONE, setup="SET qwen.queue_timeout = 0; SET qwen.on_error = 'null'").join().error.pgcode == "58000"


@pytest.mark.parametrize("sql", [ONE, "SELECT count(*) FROM (SELECT qwen_chat_stream('Hi', temperature => 0, max_tokens => 3)) s", STATEMENTS[0]])
def test_who_waits_is_seen_can_be_cancelled_and_goes_on(narrow, full, sql):
    cancelled, timed, goes_on = Background(narrow, sql), Background(narrow, sql, setup="SET statement_timeout = '600ms'; SET qwen.queue_timeout = -1"), Background(narrow, sql)
    wait_until(lambda: narrow.query("SELECT DISTINCT state FROM qwen_stat_activity WHERE pid = %s", (goes_on.pid,)) == [("waiting",)], 10, "a request that waits for room")
    cancelled.connection.cancel()
    assert cancelled.join().error.pgcode == "57014" and timed.join().error.pgcode == "57014"
    assert narrow.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)]
    full(2)
    if sql != STATEMENTS[0]:
        wait_until(lambda: narrow.value("SELECT waiting FROM qwen_stat_engine") < 3, 5)
    full()
    assert goes_on.join(30).error is None


def test_who_waits_holds_nothing_of_its_limits(narrow, full):
    role = make_role(narrow)
    set_limit(narrow, role, requests_per_minute=2, max_concurrent=1, tokens_per_day=1000)
    # filled by others, so this role has its share of the queue; its own is taken by one, and another one waits
    first = as_role(narrow, role, ENDLESS.replace("4000", "500"))
    wait_until(lambda: narrow.value("SELECT waiting FROM qwen_stat_engine") == 3, 10, "its share")
    other = make_role(narrow)
    full_of_its_own = as_role(narrow, other, ENDLESS)
    wait_until(lambda: narrow.value("SELECT waiting FROM qwen_stat_engine") == 4, 10, "all places")
    third = make_role(narrow)
    # as many as try at the same time: else one may find the other's try, and end
    set_limit(narrow, third, requests_per_minute=2, max_concurrent=2, tokens_per_day=1000)
    waits = [as_role(narrow, third, ONE) for _ in range(2)]
    pids = [call.pid for call in waits]
    wait_until(lambda: narrow.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'waiting' AND pid = ANY (%s)", (pids,)) == 2, 10, "two that wait")
    time.sleep(0.6)  # they try again meanwhile
    # between two tries nothing is theirs
    wait_until(lambda: usage(narrow, third)["max_concurrent"][0] == 0 and usage(narrow, third)["tokens_per_day"][:2] == (0, 0) and usage(narrow, third)["requests_per_minute"][0] == 0, 5, "no usage")
    assert all(call.thread.is_alive() for call in waits)
    for call in (first, full_of_its_own):
        call.connection.cancel()
        assert call.join().error.pgcode == "57014"
    # room: one of them may be under way at once, whose answer is waited for by none of the other's limit
    full()
    for call in waits:
        call.join(20)
    ended = [call.error.pgcode if call.error else None for call in waits]
    assert None in ended and set(ended) <= {None, "53400"}
    wait_settled(narrow, third)
    assert usage(narrow, third)["requests_per_minute"][0] == ended.count(None)


def test_other_background_workers_wait_as_sessions_do(narrow, full):
    """Only a job's worker sends its row back: a subscription's, whose trigger asks the model, would fail and begin anew, or be disabled."""
    table = "CREATE TABLE copied (id int PRIMARY KEY, body text, short text)"
    narrow.query(table + "; CREATE PUBLICATION copied FOR TABLE copied")
    narrow.query("CREATE DATABASE subscriber")
    narrow.query("SELECT pg_create_logical_replication_slot('copied', 'pgoutput')")
    subscriber = psycopg2.connect(host=narrow.folder, port=narrow.port, user=server_user(), dbname="subscriber")
    subscriber.autocommit = True
    cursor = subscriber.cursor()
    cursor.execute(f"CREATE EXTENSION qwen_pg; {table}; CREATE TRIGGER short BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'short', '3');"
                   "ALTER TABLE copied ENABLE ALWAYS TRIGGER short")
    cursor.execute(f"CREATE SUBSCRIPTION copied CONNECTION 'host={narrow.folder} port={narrow.port} dbname=postgres user={server_user()}' PUBLICATION copied WITH (create_slot = false)")

    logged = len(narrow.read_log())

    def arrived():
        cursor.execute("SELECT count(short) FROM copied")
        return cursor.fetchone()[0]

    def refused():
        return "as many as qwen.queue_size allows" in narrow.read_log()[logged:]

    try:
        narrow.query("INSERT INTO copied VALUES (1, 'The town council met on Tuesday and spoke about the bridge for two hours.')")
        wait_until(lambda: refused() or narrow.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'waiting'") > 2, 20, "the apply worker's request")
        assert not refused()
        full()
        wait_until(lambda: arrived() == 1, 20, "the row with its answer")
        assert not refused()
    finally:
        cursor.execute("DROP SUBSCRIPTION copied")
        subscriber.close()
        narrow.query("DROP DATABASE subscriber")
        narrow.query("DROP PUBLICATION copied; DROP TABLE copied")


def test_nobody_stops_another_role(narrow):
    """A role that keeps the queue full with more sessions than it holds: another one's call gets its place in it and its answer."""
    greedy, other = make_role(narrow), make_role(narrow)
    calls = [as_role(narrow, greedy, ENDLESS.replace("4000", "60")) for _ in range(12)]
    wait_until(lambda: narrow.value("SELECT count(*) FROM qwen_stat_activity") == 12, 20, "all of them")
    call = as_role(narrow, other, ONE).join(20)
    assert call.error is None
    assert sum(greedy_call.thread.is_alive() for greedy_call in calls) >= 6
    for greedy_call in calls:
        assert greedy_call.join(60).error is None
    wait_idle(narrow)


def test_what_the_engine_sent_back_before_its_end_counts_once(narrow):
    """A session that has not read yet that there was no room, when the engine's end has settled its request: the next engine's answer is the one request that counts."""
    role, filling = make_role(narrow), [make_role(narrow) for _ in range(2)]
    set_limit(narrow, role, requests_per_minute=1000)
    endless = [Background(narrow, ENDLESS) for _ in range(3)]
    wait_until(lambda: narrow.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)], 20, "a full queue")
    for n, name in enumerate(filling):
        endless.append(as_role(narrow, name, ENDLESS))
        wait_until(lambda n=n: narrow.value("SELECT waiting FROM qwen_stat_engine") == 3 + n, 10, "all places")
    call, engine = as_role(narrow, role, ONE), narrow.engine_pid()
    wait_until(lambda: narrow.value("SELECT state FROM qwen_stat_activity WHERE pid = %s", (call.pid,)) == "waiting", 10, "a request without room")
    narrow.signal(engine, signal.SIGSTOP)
    wait_until(lambda: usage(narrow, role)["requests_per_minute"][0] == 1, 10, "another try")
    narrow.signal(call.pid, signal.SIGSTOP)
    narrow.signal(engine, signal.SIGCONT)
    for _ in range(2):  # behind the try
        narrow.query("SELECT qwen_count_tokens('one')")
    narrow.signal(engine, signal.SIGKILL)
    wait_until(lambda: usage(narrow, role)["max_concurrent"][0] == 0, 20, "a request that is settled")
    narrow.signal(call.pid, signal.SIGCONT)
    assert call.join().error is None
    assert usage(narrow, role)["requests_per_minute"][0] == 1
    assert all(ended.join().error.pgcode == "58000" for ended in endless)
    wait_idle(narrow)


def test_the_engines_end_ends_the_wait(narrow):
    endless = [Background(narrow, ENDLESS) for _ in range(3)]
    wait_until(lambda: narrow.query("SELECT running, waiting FROM qwen_stat_engine") == [(1, 2)], 20, "a full queue")
    call = Background(narrow, ONE)
    wait_until(lambda: narrow.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'waiting'") >= 3, 10)
    narrow.signal(narrow.engine_pid(), 9)
    for ended in endless:
        assert ended.join().error.pgcode == "58000"
    # the next engine has room for it, unless it had just said GO once more
    assert (call.join().error is None and call.rows == narrow.query(ONE)) or call.error.pgcode == "58000"
    wait_idle(narrow)
    assert call.again(ONE)
    role = make_role(narrow)
    terminated = [as_role(narrow, role, ENDLESS) for _ in range(5)]
    wait_running(narrow, 1)
    for ended in terminated:
        narrow.query("SELECT pg_terminate_backend(%s)", (ended.pid,))
    for ended in terminated:
        assert ended.join().error is not None
    wait_idle(narrow)
