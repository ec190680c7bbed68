"""Limits per role: exact counts, sliding windows, fair waits, and usage that outlives sessions, engine and server."""
import os
import re
import signal
import struct
import subprocess
import threading
import time

import psycopg2
import pytest
from cluster import wait_until
from roles import ENDLESS, ONE, as_role, engine_tokens, make_role, refused, set_limit, start, usage, used, wait_settled, waiting
from sessions import Background, wait_idle, wait_running


@pytest.fixture(scope="module")
def limited():
    server = start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def role(limited):
    """A role of its own for each test, with the right to use the models."""
    return make_role(limited)


# ---- counting ----


def test_twenty_roles_never_pass_their_limits_and_all_is_counted():
    server = start()
    try:
        roles = [make_role(server) for _ in range(20)]
        limits = {}
        for i, name in enumerate(roles):
            limits[name] = (3 + i % 7, 40 + 10 * (i % 5), 1 + i % 3)
            set_limit(server, name, requests_per_minute=limits[name][0], tokens_per_minute=limits[name][1], max_concurrent=limits[name][2])
        before = engine_tokens(server)
        stop_at = time.monotonic() + 10
        errors = []

        def hammer(name, number):
            connection = server.connect(name)
            cursor = connection.cursor()
            statements = [ONE, "SELECT qwen_embed('some words')", "SELECT qwen_generate('a', temperature => 0, max_tokens => 9)",
                          "SELECT * FROM qwen_generate_batch(ARRAY['a', 'b', 'c'], max_tokens => 3)"]
            while time.monotonic() < stop_at:
                try:
                    cursor.execute(statements[number % len(statements)])
                except psycopg2.Error as error:
                    if error.pgcode != "53400":
                        errors.append(error)
                        return
                    time.sleep(0.01)
                number += 1
            connection.close()

        threads = [threading.Thread(target=hammer, args=(name, n)) for name in roles for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors, errors[0]
        # each request stands in the log with its role and tokens
        logged = {name: [] for name in roles}
        for line in re.findall(r"request done: role=(\w+) .* prompt_tokens=(\d+) completion_tokens=(\d+)", server.read_log()):
            if line[0] in logged:
                logged[line[0]].append(int(line[1]) + int(line[2]))
        for name in roles:
            requests, tokens, _ = limits[name]
            assert 0 < len(logged[name]) <= requests, name
            assert sum(logged[name]) <= tokens, name
            row = usage(server, name)
            assert row["requests_per_minute"][0] == len(logged[name]), name
            assert row["tokens_per_minute"][:2] == (sum(logged[name]), 0), name
            assert row["max_concurrent"][0] == 0, name
        assert engine_tokens(server) - before == sum(sum(tokens) for tokens in logged.values())
        assert sum(usage(server, name)[limit][4] for name in roles for limit in limits and ("requests_per_minute", "tokens_per_minute", "max_concurrent")) > 0
    finally:
        server.remove()


def test_a_cancelled_request_pays_for_what_the_engine_computed(limited, role):
    before = engine_tokens(limited)
    call = as_role(limited, role, ENDLESS)
    wait_until(lambda: used(limited, role, "tokens_per_minute") > 10, what="tokens charged while it runs")
    assert usage(limited, role)["tokens_per_minute"][1] > 1000
    limited.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert call.join().error.pgcode == "57014"
    wait_idle(limited)
    wait_settled(limited, role)
    assert used(limited, role, "tokens_per_minute") == engine_tokens(limited) - before
    assert used(limited, role, "requests_per_minute") == 1


def test_a_terminated_session_leaves_no_slot_behind(limited, role):
    call = as_role(limited, role, ENDLESS)
    wait_running(limited, 1)
    limited.query("SELECT pg_terminate_backend(%s)", (call.pid,))
    call.join()
    wait_idle(limited)
    wait_settled(limited, role)


def test_an_engine_that_dies_charges_what_it_had_computed(limited, role):
    call = as_role(limited, role, ENDLESS)
    wait_until(lambda: used(limited, role, "tokens_per_minute") > 5, what="tokens charged while it runs")
    limited.signal(limited.engine_pid(), signal.SIGKILL)
    assert call.join().error.pgcode == "58000"
    wait_settled(limited, role)
    assert 5 < used(limited, role, "tokens_per_minute") < 4000
    assert limited.query(ONE, user=role)


def test_an_engine_that_dies_holds_nothing_of_who_does_not_look(limited, role):
    """A cursor that nobody fetches from: its session does not hear of the engine's end, and its request counts no more."""
    set_limit(limited, role, max_concurrent=1, tokens_per_day=100000)
    connection = limited.connect(role)
    cursor = connection.cursor()
    cursor.execute("BEGIN; DECLARE c CURSOR FOR SELECT qwen_chat_stream('Once upon a time', max_tokens => 4000, stop => ARRAY['never-said']); FETCH 1 FROM c")
    refused(limited, role)
    waits = waiting(limited, role)
    limited.signal(limited.engine_pid(), signal.SIGKILL)
    assert waits.join().error is None
    wait_settled(limited, role)
    assert limited.query(ONE, user=role)
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute("FETCH 10000 FROM c")
    assert failure.value.pgcode == "58000"
    connection.close()
    wait_settled(limited, role)
    assert 0 < used(limited, role, "tokens_per_day") < 2000


def test_who_waits_outlives_the_engine(limited, role):
    """What has not begun is asked of the next engine, at once: a call, an answer in pieces, a function that asks by itself, a job's row."""
    limited.query(f"CREATE TABLE {role}_rows (id int PRIMARY KEY, body text, answer text); INSERT INTO {role}_rows VALUES (1, 'word'); ALTER TABLE {role}_rows OWNER TO {role}")
    set_limit(limited, role, requests_per_minute=1)
    limited.query(ONE, user=role)
    job = limited.value(f"SELECT qwen_submit('{role}_rows', 'Say {{body}}', '{role}_rows', 'answer', max_tokens => 3, temperature => 0, max_attempts => 1)", user=role)
    asked = (ONE, "SELECT count(*) > 0 FROM qwen_chat_stream('Hi', temperature => 0, max_tokens => 4)", "SELECT * FROM qwen_chunk('One two. Three four.', 16)")
    calls = [waiting(limited, role, sql) for sql in asked]
    limited_since = "SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited' AND submitted_at > %s"
    wait_until(lambda: limited.value(limited_since, ("-infinity",)) == 4, what="calls and a row that wait")
    killed_at = limited.value("SELECT clock_timestamp()")
    limited.signal(limited.engine_pid(), signal.SIGKILL)
    wait_until(lambda: limited.value(limited_since, (killed_at,)) == 4, 20, "all, which wait again")
    set_limit(limited, role, requests_per_minute=60)
    for call, sql in zip(calls, asked):
        assert call.join().error is None and call.rows == limited.query(sql), call.error
    wait_until(lambda: limited.query("SELECT state, done, failed FROM qwen_jobs WHERE id = %s", (job,)) == [("done", 1, 0)], 30, "the job's end")
    # the one that the limit let through and the four that waited
    assert used(limited, role, "requests_per_minute") == 5
    limited.query(f"DROP TABLE {role}_rows")


def test_both_roles_are_charged_after_set_role(limited, role):
    other = make_role(limited)
    limited.query(f"GRANT {other} TO {role}")
    set_limit(limited, role, requests_per_minute=2)
    call = as_role(limited, role, ONE, f"SET ROLE {other}").join()
    assert call.error is None
    assert used(limited, role, "requests_per_minute") == used(limited, other, "requests_per_minute") == 1
    call.again(ONE)
    with pytest.raises(psycopg2.Error) as failure:
        call.again(ONE)
    assert failure.value.pgcode == "53400" and role in str(failure.value)


# ---- at once ----


def test_max_concurrent_refuses_and_frees(limited, role):
    set_limit(limited, role, max_concurrent=1)
    call = as_role(limited, role, ENDLESS)
    wait_until(lambda: used(limited, role, "max_concurrent") == 1, what="a running request")
    said = refused(limited, role)
    assert said.message_detail == "Limit max_concurrent: 1 used, 1 asked for, 1 allowed."
    assert "has ended" in said.message_hint
    limited.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    call.join()
    wait_settled(limited, role)
    assert limited.query(ONE, user=role)


def test_a_query_over_rows_runs_as_many_as_are_allowed(limited, role):
    set_limit(limited, role, max_concurrent=4)
    most = 0
    sql = "SELECT count(*) FROM qwen_generate_batch(array_fill('Once upon a time'::text, ARRAY[24]), temperature => 0, max_tokens => 20)"
    call = as_role(limited, role, sql)
    while call.thread.is_alive():
        most = max(most, used(limited, role, "max_concurrent"))
    assert call.rows == [(24,)], call.error
    assert 2 <= most <= 4
    limited.query("DROP TABLE IF EXISTS rows_to_do; CREATE TABLE rows_to_do AS SELECT 'Once upon a time'::text AS body FROM generate_series(1, 12); GRANT SELECT ON rows_to_do TO PUBLIC")
    assert len(limited.query("SELECT qwen_generate(body, temperature => 0, max_tokens => 5) FROM rows_to_do", user=role)) == 12


def test_waiting_calls_go_in_the_order_of_arrival(limited, role):
    set_limit(limited, role, max_concurrent=1)
    first = as_role(limited, role, ENDLESS)
    wait_until(lambda: used(limited, role, "max_concurrent") == 1, what="a running request")
    order, calls = [], []
    for i in range(4):
        call = waiting(limited, role, f"SELECT qwen_generate('number {i}', temperature => 0, max_tokens => 30)")
        threading.Thread(target=lambda call=call, i=i: (call.thread.join(), order.append(i)), daemon=True).start()
        calls.append(call)
        time.sleep(0.4)  # so that their order is known
    assert all(call.thread.is_alive() for call in calls)
    limited.query("SELECT pg_cancel_backend(%s)", (first.pid,))
    for call in calls:
        assert call.join(30).error is None, call.error
    wait_until(lambda: len(order) == 4, what="all")
    assert order == [0, 1, 2, 3]


def test_waits_can_be_cancelled_and_leave_no_place_in_the_queue(limited, role):
    set_limit(limited, role, requests_per_minute=1)
    limited.query(ONE, user=role)
    calls = [waiting(limited, role) for _ in range(3)]
    timed = as_role(limited, role, ONE, "SET qwen.limit_action = wait; SET statement_timeout = 300")
    assert timed.join().error.pgcode == "57014"
    limited.query("SELECT pg_cancel_backend(%s)", (calls[0].pid,))
    limited.query("SELECT pg_terminate_backend(%s)", (calls[1].pid,))
    assert calls[0].join().error.pgcode == "57014" and calls[0].seconds < 10
    calls[1].join()
    limited.query("SELECT pg_cancel_backend(%s)", (calls[2].pid,))
    calls[2].join()
    set_limit(limited, role, requests_per_minute=10)
    assert limited.query(ONE, user=role)


def test_changes_reach_requests_that_wait(limited, role):
    set_limit(limited, role, requests_per_minute=1)
    limited.query(ONE, user=role)
    call = waiting(limited, role)
    time.sleep(0.5)
    assert call.thread.is_alive()
    set_limit(limited, role, requests_per_minute=5)
    assert call.join(5).error is None
    # a role without limits of its own waits for those of a group; leaving the group frees it
    group, member = make_role(limited), make_role(limited)
    limited.query(f"GRANT {group} TO {member}")
    set_limit(limited, group, requests_per_minute=1)
    limited.query(ONE, user=member)
    call = waiting(limited, member)
    time.sleep(0.5)
    assert call.thread.is_alive()
    limited.query(f"REVOKE {group} FROM {member}")
    assert call.join(5).error is None


# ---- two roles, and the limit of one ----


def member(server, role):
    """A role that the given one may take by SET ROLE, and the given one."""
    team = make_role(server)
    server.query(f"GRANT {team} TO {role}")
    return team, role


def states(server, call):
    return [row[0] for row in server.query("SELECT state FROM qwen_stat_activity WHERE pid = %s", (call.pid,))]


def wait_limited(server, call):
    wait_until(lambda: states(server, call) == ["limited"], what="a call that waits for a limit")


def use_up(server, role):
    """Its day's tokens, but for a short request."""
    set_limit(server, role, tokens_per_day=60)
    server.query("SELECT qwen_generate('Once', max_tokens => 50, stop => ARRAY['never-said'])", user=role)


LONG = "SELECT qwen_generate('Once', temperature => 0, max_tokens => 50, stop => ARRAY['never-said'])"


@pytest.mark.parametrize("full", [0, 1])
def test_who_waits_for_one_role_keeps_nobody_from_another(limited, role, full):
    """A request is charged to the session's user and to the role of SET ROLE; of these it keeps its place for the one whose limit stands against it."""
    roles = member(limited, role)
    team, member_of_it = roles
    set_limit(limited, roles[1 - full], tokens_per_day=1000000, max_concurrent=10)
    use_up(limited, roles[full])
    call = as_role(limited, member_of_it, LONG, f"SET ROLE {team}; SET qwen.limit_action = wait")
    wait_limited(limited, call)
    # the other one goes on, whether it would wait or not; so does, behind it, whoever else has taken it
    assert limited.query(ONE, user=roles[1 - full])
    assert as_role(limited, roles[1 - full], LONG, "SET qwen.limit_action = wait").join(10).error is None
    third = make_role(limited)
    limited.query(f"GRANT {roles[1 - full]} TO {third}")
    assert as_role(limited, third, ONE, f"SET ROLE {roles[1 - full]}").join().error is None
    # the one that is full has room for a short request, which may not pass the long one; the error names it, whichever of the two it is
    short = as_role(limited, roles[full], ONE, "SET qwen.limit_action = wait")
    wait_limited(limited, short)
    said = refused(limited, roles[full])
    assert said.message_primary == f'other requests of role "{roles[full]}" wait for its limits already' and "SET qwen.limit_action" in said.message_hint
    both = as_role(limited, member_of_it, ONE, f"SET ROLE {team}").join()
    assert both.error.diag.message_primary == said.message_primary
    time.sleep(0.6)  # it tries again meanwhile
    assert short.thread.is_alive()
    call.connection.cancel()
    assert call.join().error.pgcode == "57014" and short.join().error is None
    assert limited.query(ONE, user=roles[full]) and limited.query(ONE, user=roles[1 - full])


def test_a_pooler_serves_others_while_one_waits(limited, role):
    users = [make_role(limited) for _ in range(2)]
    limited.query(f"GRANT {', '.join(users)} TO {role}")
    set_limit(limited, role, max_concurrent=50)
    use_up(limited, users[0])
    call = as_role(limited, role, LONG, f"SET ROLE {users[0]}; SET qwen.limit_action = wait")
    wait_limited(limited, call)
    assert as_role(limited, role, LONG, f"SET ROLE {users[1]}").join().error is None
    assert limited.query(LONG, user=role)
    call.connection.cancel()
    assert call.join().error.pgcode == "57014"


def test_what_one_of_two_roles_never_allows_does_not_wait_for_the_other(limited, role):
    team, _ = member(limited, role)
    set_limit(limited, team, max_concurrent=0)
    use_up(limited, role)
    call = as_role(limited, role, LONG, f"SET ROLE {team}; SET qwen.limit_action = wait").join()
    assert call.error.diag.message_primary == f'a request of role "{team}" asks for more than its limit of max_concurrent allows'


def test_a_place_changes_its_role_and_keeps_its_order(limited, role):
    """Who waits for two roles waits for what is left of them, in front of those that came later."""
    team, _ = member(limited, role)
    set_limit(limited, role, max_concurrent=1)
    set_limit(limited, team, max_concurrent=1)
    running = [as_role(limited, name, ENDLESS) for name in (role, team)]
    wait_running(limited, 2)
    order, calls = [], []

    def begin(number, name, setup=""):
        call = as_role(limited, name, f"SELECT qwen_generate('number {number}', temperature => 0, max_tokens => 30)", f"{setup}; SET qwen.limit_action = wait")
        threading.Thread(target=lambda: (call.thread.join(), order.append(number)), daemon=True).start()
        wait_limited(limited, call)
        calls.append(call)

    begin(0, role, f"SET ROLE {team}")
    begin(1, team)
    begin(2, role)
    # the member's own request ends, and the one that came later has its room: the first one waits for the team alone
    running[0].connection.cancel()
    assert calls[2].join().error is None
    assert states(limited, calls[0]) == states(limited, calls[1]) == ["limited"]
    running[1].connection.cancel()
    for call in calls:
        assert call.join().error is None
    wait_until(lambda: len(order) == 3, what="all")
    assert order == [2, 0, 1]
    assert all(call.join().error.pgcode == "57014" for call in running)
    assert limited.query(ONE, user=role) and limited.query(ONE, user=team), "nobody waits any more"


def test_who_waits_for_two_roles_gets_its_turn(limited, role):
    """Each of the two is full nearly all the time, with requests that wait for it alone: room at one is kept while it waits for the other."""
    team, _ = member(limited, role)
    passed, stop = [], threading.Event()

    def keep_full(name):
        connection = limited.connect(name)
        cursor = connection.cursor()
        cursor.execute("SET qwen.limit_action = wait")
        while not stop.is_set():
            cursor.execute(ONE)
            passed.append(name)
        connection.close()

    for name in (role, team):
        set_limit(limited, name, max_concurrent=1)
    threads = [threading.Thread(target=keep_full, args=(name,)) for name in (role, team) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(passed) > 20, what="roles that are full")
        cursor = limited.connect(role).cursor()
        cursor.execute(f"SET ROLE {team}; SET qwen.limit_action = wait; SET statement_timeout = '20s'")
        counts = []
        for _ in range(40):
            before = len(passed)
            cursor.execute(ONE)
            counts.append(len(passed) - before)
        cursor.connection.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert max(counts) < 60
    wait_settled(limited, role)


def test_no_room_is_kept_for_who_may_not_pass(limited, role):
    """A member has used up its own minute, and waits as a role that is full nearly all the time: others of that role go on, as its room is of no use to it."""
    team, _ = member(limited, role)
    third = make_role(limited)
    limited.query(f"GRANT {team} TO {third}")
    set_limit(limited, team, max_concurrent=1)
    set_limit(limited, role, requests_per_minute=1)
    assert limited.query(ONE, user=role)
    passed, stop = [], threading.Event()

    def keep_full():
        connection = limited.connect(third)
        cursor = connection.cursor()
        cursor.execute(f"SET ROLE {team}; SET qwen.limit_action = wait")
        while not stop.is_set():
            cursor.execute(ONE)
            passed.append(time.monotonic())
        connection.close()

    threads = [threading.Thread(target=keep_full) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(passed) > 20, what="a role that is full")
        call = as_role(limited, role, ONE, f"SET ROLE {team}; SET qwen.limit_action = wait")
        wait_limited(limited, call)
        began = time.monotonic()
        time.sleep(6)
        assert call.thread.is_alive()
        times = [began, *(moment for moment in passed if moment > began), time.monotonic()]
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    call.connection.cancel()
    assert call.join().error.pgcode == "57014"
    assert max(later - earlier for earlier, later in zip(times, times[1:])) < 1.5, "less than room is kept for"


def test_jobs_wait_for_limits(limited, role):
    limited.query(f"CREATE TABLE {role}_rows (id int PRIMARY KEY, body text, answer text); INSERT INTO {role}_rows SELECT g, 'word ' || g FROM generate_series(1, 6) g; ALTER TABLE {role}_rows OWNER TO {role}")
    set_limit(limited, role, max_concurrent=1)
    job = limited.value(f"SELECT qwen_submit('{role}_rows', 'Say {{body}}', '{role}_rows', 'answer', max_tokens => 3, temperature => 0)", user=role)
    wait_until(lambda: limited.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,)) == "done", 30, "the job")
    assert limited.value(f"SELECT count(answer) FROM {role}_rows") == 6
    assert used(limited, role, "requests_per_minute") == 6


def test_a_limit_of_nothing_pauses_jobs_and_queued_rows(limited, role):
    table = f"{role}_paused"
    limited.query(f"""CREATE TABLE {table} (id int PRIMARY KEY, body text, answer text, said text); ALTER TABLE {table} OWNER TO {role};
        INSERT INTO {table} SELECT g, 'word ' || g FROM generate_series(1, 4) g""")
    limited.query(f"""CREATE TRIGGER q AFTER INSERT OR UPDATE OF body ON {table} FOR EACH ROW
        EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {{body}}', 'max_tokens=3', 'temperature=0', 'max_attempts=1')""", user=role)
    set_limit(limited, role, requests_per_minute=60, max_concurrent=1)
    job = limited.value(f"SELECT qwen_submit('{table}', 'Say {{body}}', '{table}', 'answer', max_tokens => 3, temperature => 0, max_attempts => 1)", user=role)
    set_limit(limited, role, requests_per_minute=0)
    limited.query(f"INSERT INTO {table} SELECT g, 'word ' || g FROM generate_series(5, 8) g", user=role)
    wait_until(lambda: "limit of requests_per_minute" in (limited.value("SELECT worker FROM qwen_trigger_backlog WHERE trigger = 'q'") or ""), what="rows that wait")
    time.sleep(1.5)
    assert limited.query("SELECT waiting, retrying, dead FROM qwen_trigger_backlog") == [(4, 0, 0)]
    assert limited.query("SELECT state, failed FROM qwen_jobs WHERE id = %s", (job,))[0] in [("running", 0), ("done", 0)]
    with pytest.raises(psycopg2.Error, match="the role may use nothing"):
        limited.query(f"SET qwen.limit_action = 'wait'; {ONE}", user=role)
    set_limit(limited, role, requests_per_minute=60)
    wait_until(lambda: limited.query(f"SELECT count(said) FILTER (WHERE id > 4), count(answer) FILTER (WHERE id <= 4) FROM {table}") == [(4, 4)], 40, "all answers")
    limited.query(f"DROP TABLE {table}")


def two_roles(server, role, *tables):
    """(name of a role that the given one belongs to and that owns the tables, each a (name, rows); the cursor of a session of the given one that has taken it by SET ROLE
    and begun a transaction, so that limits can be changed before its jobs are seen)"""
    owner = f"{role}_owner"
    server.query(f"CREATE ROLE {owner} LOGIN; GRANT {owner} TO {role}; GRANT CREATE ON SCHEMA public TO {owner}; SELECT qwen_grant('{owner}', 'use')")
    for table, n in tables:
        server.query(f"CREATE TABLE {table} AS SELECT g AS id, 'word ' || g AS body, NULL::text AS said FROM generate_series(1, {n}) g; ALTER TABLE {table} ADD PRIMARY KEY (id); "
                     f"ALTER TABLE {table} OWNER TO {owner}")
    cursor = server.connect(role).cursor()
    cursor.execute(f"SET ROLE {owner}; BEGIN")
    return owner, cursor


def submit(table, tokens=2):
    return f"SELECT qwen_submit('{table}', 'Say {{body}}', '{table}', 'said', max_tokens => {tokens}, temperature => 0)"


def test_who_is_paused_keeps_nobody_else(limited, role):
    """What was submitted as another role is charged to both: with one of them paused, the other one and its other jobs go on."""
    other, cursor = two_roles(limited, role, (f"{role}_first", 200), (f"{role}_second", 200))
    set_limit(limited, role, requests_per_minute=0)
    first = limited.query(f"SET SESSION AUTHORIZATION {other}; " + submit(f"{role}_first"))[0][0]
    limited.query("SELECT qwen_cancel(%s)", (first,))
    set_limit(limited, role, requests_per_minute=1000)
    cursor.execute(submit(f"{role}_first"))
    first = cursor.fetchall()[0][0]
    set_limit(limited, role, requests_per_minute=0)
    cursor.execute("COMMIT")
    wait_until(lambda: "reached its limit" in (limited.value("SELECT error FROM qwen_jobs WHERE id = %s", (first,)) or ""), what="a job of two roles that waits")
    second = limited.query(submit(f"{role}_second"), user=other)[0][0]
    assert limited.value("SELECT qwen_wait(%s, '60 s')", (second,)) == "done"
    assert limited.query(ONE, user=other)
    assert limited.query("SELECT state, done, failed FROM qwen_jobs WHERE id = %s", (first,)) == [("running", 0, 0)]
    # now the other one, with the session's own role free
    set_limit(limited, role, requests_per_minute=1000)
    set_limit(limited, other, requests_per_minute=0)
    time.sleep(3)
    assert limited.query(ONE, user=role), "a call of the session's role alone"
    set_limit(limited, other, requests_per_minute=1000)
    assert limited.value("SELECT qwen_wait(%s, '60 s')", (first,)) == "done"
    cursor.connection.close()
    limited.query(f"DROP TABLE {role}_first, {role}_second; DROP OWNED BY {other}; DROP ROLE {other}")


def test_a_refusal_says_whose_limit_it_is(limited, role):
    group = f"{role}_group"
    limited.query(f"CREATE ROLE {group}; CREATE ROLE {group}_too; GRANT {group}, {group}_too TO {role}")
    set_limit(limited, f"{group}_too", max_concurrent=5, tokens_per_day=0)
    set_limit(limited, group, max_concurrent=0)
    assert refused(limited, role).message_detail == f'Limit tokens_per_day: 0 used, 4 asked for, 0 allowed. It is a limit of role "{group}_too", of which "{role}" is a member.'
    set_limit(limited, f"{group}_too", max_concurrent=5)
    assert refused(limited, role).message_detail == f'Limit max_concurrent: 0 used, 1 asked for, 0 allowed. It is a limit of role "{group}", of which "{role}" is a member.'
    limited.query(f"DROP ROLE {group}, {group}_too")
    limited.query(f"ALTER ROLE {role} SET qwen.default_max_tokens = 3")
    assert refused(limited, role, ENDLESS).message_detail == "Limit max_tokens: 4000 asked for, 3 allowed. It is the setting qwen.default_max_tokens."
    set_limit(limited, role, max_tokens=2)
    assert refused(limited, role, ENDLESS).message_detail == "Limit max_tokens: 4000 asked for, 2 allowed."


def test_rows_that_a_pause_sent_back_come_again_beside_other_work(limited, role):
    """Of a job whose pages are all claimed and of one that has many: while they are paused no more pages are claimed, and after it they go on although the worker has
    rows of another job all the time."""
    owner, cursor = two_roles(limited, role, ("few", 3), ("many", 5000), ("busy", 100000))
    jobs = []
    for table in ("few", "many"):
        cursor.execute(submit(table))
        jobs += [cursor.fetchone()[0]]
    set_limit(limited, role, requests_per_minute=0)
    cursor.execute("COMMIT")
    busy = limited.query(submit("busy", 20), user=owner)[0][0]
    claims = "SELECT count(*) FROM qwen_job_row WHERE job = %s"
    wait_until(lambda: limited.value(claims, (jobs[0],)) == 3 and limited.value(claims, (jobs[1],)) > 3, what="claims")
    time.sleep(5)
    assert limited.value(claims, (jobs[1],)) <= 2 * limited.value("SELECT current_setting('qwen.job_window')::int"), "pages are claimed of a job that is paused"
    assert [limited.value("SELECT error FROM qwen_jobs WHERE id = %s", (job,)).split(": ")[1] for job in jobs] == [f'role "{role}" has reached its limit of requests_per_minute'] * 2
    assert limited.value("SELECT done FROM qwen_jobs WHERE id = %s", (busy,)) > 0
    set_limit(limited, role, requests_per_minute=100000)
    wait_until(lambda: limited.value("SELECT state FROM qwen_jobs WHERE id = %s", (jobs[0],)) == "done", what="the few rows beside many others")
    wait_until(lambda: limited.value("SELECT done FROM qwen_jobs WHERE id = %s", (jobs[1],)) > 100, what="the many")
    assert limited.value("SELECT state FROM qwen_jobs WHERE id = %s", (busy,)) == "running"
    limited.query("SELECT qwen_cancel(id) FROM qwen_jobs")
    cursor.connection.close()
    limited.query(f"DROP TABLE few, many, busy; DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.parametrize("limits", [{"requests_per_minute": 1}, {"tokens_per_day": 60, "max_concurrent": 0}])
def test_who_has_used_up_its_limit_keeps_no_other_job(limited, role, limits):
    """Nor who has done so and is paused besides: what is never met counts before what frees in a day."""
    owner, cursor = two_roles(limited, role, ("first", 20), ("second", 20))
    if "max_concurrent" in limits:
        limited.query("SELECT qwen_generate('Once', max_tokens => 55, stop => ARRAY['never-said'])", user=role)
    cursor.execute(submit("first"))
    first = cursor.fetchone()[0]
    set_limit(limited, role, **limits)
    cursor.execute("COMMIT")
    kind = list(limits)[-1]
    wait_until(lambda: f'role "{role}" has reached its limit of {kind}' in (limited.value("SELECT error FROM qwen_jobs WHERE id = %s", (first,)) or ""), what="a job that waits")
    second = limited.query(submit("second"), user=owner)[0][0]
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (second,)) == "done"
    assert limited.value("SELECT state FROM qwen_jobs WHERE id = %s", (first,)) == "running"
    limited.query("SELECT qwen_cancel(id) FROM qwen_jobs")
    cursor.connection.close()
    limited.query(f"DROP TABLE first, second; DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_a_job_of_a_paused_role_that_is_dropped_says_so(limited):
    role = make_role(limited)
    owner, cursor = two_roles(limited, role, ("left_over", 3))
    cursor.execute(submit("left_over"))
    job = cursor.fetchone()[0]
    set_limit(limited, role, max_concurrent=0)
    cursor.execute("COMMIT")
    error = "SELECT error FROM qwen_jobs WHERE id = %s"
    wait_until(lambda: "reached its limit of max_concurrent" in (limited.value(error, (job,)) or ""), what="a job that waits")
    cursor.connection.close()
    limited.query(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (job,)) == "failed"
    assert limited.value(error, (job,)) == "the role that submitted the job was dropped"
    limited.query(f"DROP TABLE left_over; DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.parametrize("change", ["SELECT qwen_set_limit('{}', max_concurrent => 0)", "SELECT qwen_set_limit('{}', tokens_per_minute => 1)", "SELECT qwen_allow_models('{}', '{{}}')"])
@pytest.mark.parametrize("planned", ["on", "off"])
def test_changes_reach_a_statement_that_runs(limited, role, change, planned):
    """And the next statement of a transaction."""
    call = Background(limited, "SELECT count(qwen_generate('word ' || g, max_tokens => 20)) FROM generate_series(1, 100000) g", f"SET SESSION AUTHORIZATION {role}; SET qwen.batch_plans = {planned}")
    wait_running(limited, 32 if planned == "on" else 1)
    other = limited.connect(role)
    cursor = other.cursor()
    cursor.execute("BEGIN; " + ONE)
    limited.query(change.format(role))
    assert call.join(20).error.pgcode in ("53400", "42501")
    with pytest.raises(psycopg2.Error) as failure:
        cursor.execute(ONE)
    assert failure.value.pgcode == call.error.pgcode
    other.close()
    limited.query("SELECT qwen_allow_models(%s, NULL)", (role,))


# ---- time, restarts and crashes ----


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def usage_path(server):
    return os.path.join(server.data, "pgsql_tmp_qwen_pg_usage")


def age_usage_file(server, seconds):
    """As if the machine had been down for so long: a boot id that is none makes the wall clock count."""
    with open(usage_path(server), "r+b") as file:
        data = bytearray(file.read())
        struct.pack_into("<q", data, 16, struct.unpack_from("<q", data, 16)[0] - seconds * 1000000)
        data[32:72] = bytes(40)
        struct.pack_into("<I", data, 72, crc32c(data[:72] + data[80:]))
        file.seek(0)
        file.write(data)


def test_windows_slide_and_waits_end_with_them():
    server = start()
    try:
        role = make_role(server)
        set_limit(server, role, requests_per_minute=2, tokens_per_day=1000)
        server.query(ONE, user=role)
        server.query(ONE, user=role)
        said = refused(server, role)
        seconds = int(re.search(r"Try again in (\d+) seconds", said.message_hint).group(1))
        assert 55 <= seconds <= 61
        tokens = used(server, role, "tokens_per_day")
        server.stop()
        age_usage_file(server, 54)
        server.start()
        assert 1 <= int(re.search(r"Try again in (\d+) seconds", refused(server, role).message_hint).group(1)) <= 7
        call = as_role(server, role, ONE, "SET qwen.limit_action = wait").join(30)
        assert call.error is None and call.seconds > 0.5
        assert used(server, role, "requests_per_minute") <= 2
        assert used(server, role, "tokens_per_day") > tokens
        server.stop()
        age_usage_file(server, 24 * 3600 + 700)
        server.start()
        assert used(server, role, "tokens_per_day") == 0
    finally:
        server.remove()


def test_usage_survives_crashes_of_a_session_and_of_the_server():
    server = start()
    try:
        role = make_role(server)
        set_limit(server, role, requests_per_minute=3)
        server.query(ONE, user=role)
        call = as_role(server, role, ENDLESS)
        wait_until(lambda: used(server, role, "tokens_per_minute") > 20, what="tokens charged while it runs")
        server.signal(call.pid, signal.SIGKILL)
        call.join()
        wait_until(lambda: server.is_running() and answers(server), 30, "a server after the reset")
        row = usage(server, role)
        assert row["requests_per_minute"][0] == 2 and row["tokens_per_minute"][0] > 20
        assert row["tokens_per_minute"][1] == 0 and row["max_concurrent"][0] == 0
        # all of the server, but not before the next ten seconds are written
        server.query(ONE, user=role)
        tokens = used(server, role, "tokens_per_minute")
        written = os.stat(usage_path(server)).st_mtime_ns if os.path.exists(usage_path(server)) else 0
        wait_until(lambda: os.path.exists(usage_path(server)) and os.stat(usage_path(server)).st_mtime_ns > written, 20, "the file")
        server.stop("immediate")
        server.start()
        assert usage(server, role)["requests_per_minute"][0] == 3
        assert used(server, role, "tokens_per_minute") == tokens
        refused(server, role)
        assert os.stat(usage_path(server)).st_mode & 0o777 == 0o600
        # a damaged file is left out
        server.stop()
        with open(usage_path(server), "r+b") as file:
            file.seek(100)
            file.write(b"\xff\xff")
        server.start()
        assert used(server, role, "requests_per_minute") == 0
        assert "its checksum is wrong" in server.read_log()
    finally:
        server.remove()


def answers(server):
    try:
        return server.value("SELECT 1") == 1
    except psycopg2.OperationalError:
        return False


def test_dump_keeps_limits_and_drop_takes_them(limited, role):
    limited.query("CREATE DATABASE limits_dumped")
    environment = dict(limited.environment(), PGDATABASE="limits_dumped")
    psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]
    script = f"CREATE EXTENSION qwen_pg; SELECT qwen_set_limit('{role}', tokens_per_day => 12345678901);"
    subprocess.run(psql, input=script, env=environment, text=True, check=True, capture_output=True)
    dump = subprocess.run([f"{limited.programs}/pg_dump"], env=environment, text=True, check=True, capture_output=True).stdout
    limited.query("CREATE DATABASE limits_restored")
    restored = dict(environment, PGDATABASE="limits_restored")
    subprocess.run(psql, input=dump, env=restored, text=True, check=True, capture_output=True)
    done = subprocess.run(psql, input=f"SELECT tokens_per_day FROM qwen_limits WHERE role = '{role}'::regrole; DROP EXTENSION qwen_pg;", env=restored, text=True, check=True, capture_output=True)
    assert done.stdout.strip() == "12345678901"
    for name in ("limits_dumped", "limits_restored"):
        limited.query(f"DROP DATABASE {name}")


# ---- the log ----


def test_the_log_has_hashes_and_no_text(limited, role):
    limited.query("SELECT qwen_generate('a secret of mine', max_tokens => 1)", user=role)
    line = [line for line in limited.read_log().splitlines() if f"role={role} " in line][-1]
    assert re.search(r"kind=generate model=chat sha256=[0-9a-f]{64} prompt_tokens=\d+ completion_tokens=1 ms=", line)
    assert "sha256=" + __import__("hashlib").sha256(b"a secret of mine").hexdigest() in line
    limited.query("SELECT qwen_chunk('one two three. four five six.', 16)", user=role)
    assert [line for line in limited.read_log().splitlines() if f"role={role} " in line and " kind=chunk model=chat " in line]
    limited.query("SET qwen.log_requests = off; SELECT qwen_generate('not logged', max_tokens => 1)")
    limited.query("SET qwen.log_requests = text; SELECT qwen_generate('logged in full', max_tokens => 1)")
    log = limited.read_log()
    assert "a secret of mine" not in log and "not logged" not in log
    assert "DETAIL:  logged in full" in log
