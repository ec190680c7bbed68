"""Connections that another server opens: those of one query of Citus are one session for limits, and hints name what helps there.

Citus names its connections; a session that names itself as Citus would is treated as one.
"""
import pytest
from cluster import wait_until
from roles import ENDLESS, ONE, as_role, make_role, set_limit, start, usage, wait_settled
from sessions import wait_idle

SHARD = "SELECT count(qwen_generate('Shard ' || g, temperature => 0, max_tokens => 40, stop => ARRAY['never-said'])) FROM generate_series(1, 4) g"


def named(number, task="internal"):
    return f"SET application_name = 'citus_{task} gpid={number}'"


@pytest.fixture(scope="module")
def node():
    server = start()
    yield server
    server.remove()


@pytest.mark.parametrize("name", [named(10000000321), named(20000000321, "run_command")])
def test_connections_of_one_query_wait_for_each_other(node, name):
    """max_concurrent => 2 and four connections for shards with four rows each: all are answered, two at a time."""
    role = make_role(node)
    set_limit(node, role, max_concurrent=2)
    calls = [as_role(node, role, SHARD, name) for _ in range(4)]
    most = 0
    while any(call.thread.is_alive() for call in calls):
        most = max(most, node.value("SELECT running + waiting FROM qwen_stat_engine"))
    for call in calls:
        assert call.join(60).error is None and call.rows == [(4,)], call.error
    assert most == 2
    wait_settled(node, role)
    assert usage(node, role)["max_concurrent"][4] == 0, "nothing was refused"


@pytest.mark.parametrize("other", [named(10000000322), "SET application_name = 'citus_internal gpid='", "SET application_name = 'mine gpid=10000000321'", ""])
def test_other_queries_are_no_company(node, other):
    role = make_role(node)
    set_limit(node, role, max_concurrent=1)
    first = as_role(node, role, ENDLESS, named(10000000321))
    wait_until(lambda: node.value("SELECT running FROM qwen_stat_engine") == 1, 10, "the first")
    assert as_role(node, role, ONE, other).join().error.pgcode == "53400"
    sister = as_role(node, role, ONE, named(10000000321))
    wait_until(lambda: node.query("SELECT state FROM qwen_stat_activity WHERE pid = %s", (sister.pid,)) == [("limited",)], 10, "a sister that waits")
    # it can be cancelled, and goes on when the other ends
    sister.connection.cancel()
    assert sister.join().error.pgcode == "57014"
    sister = as_role(node, role, ONE, named(10000000321))
    wait_until(lambda: node.query("SELECT state FROM qwen_stat_activity WHERE pid = %s", (sister.pid,)) == [("limited",)], 10, "a sister that waits")
    first.connection.cancel()
    assert first.join().error.pgcode == "57014" and sister.join().error is None
    wait_idle(node)


GIVEN_UP = """DO $$ DECLARE c CURSOR FOR SELECT qwen_generate('Tale ' || g, temperature => 0, max_tokens => CASE WHEN g < 4 THEN 1 ELSE 2000 END, stop => ARRAY['never-said']) FROM generate_series(1, 9) g; r text;
    BEGIN FOR i IN 1..12 LOOP OPEN c; FETCH c INTO r; FETCH c INTO r; FETCH c INTO r; CLOSE c; r := qwen_generate('one', max_tokens => 1); END LOOP; END $$"""


def test_what_was_given_up_a_moment_ago_is_waited_for(node):
    """Requests that a session has cancelled count until the engine lets go of them: the session's next one does not fail by these."""
    role = make_role(node)
    set_limit(node, role, max_concurrent=2)
    node.query(GIVEN_UP, user=role)
    wait_settled(node, role)
    assert usage(node, role)["max_concurrent"][4] == 0


def test_another_users_connections_are_none(node):
    """The same query, but a user of its own, behind the same limit of a group: no company."""
    group, one, two = make_role(node), make_role(node), make_role(node)
    set_limit(node, group, max_concurrent=1)
    node.query(f"GRANT {group} TO {one}, {two}")
    first = as_role(node, one, ENDLESS, f"SET ROLE {group}; " + named(10000000321))
    wait_until(lambda: node.value("SELECT running FROM qwen_stat_engine") == 1, 10, "the first")
    assert as_role(node, two, ONE, f"SET ROLE {group}; " + named(10000000321)).join().error.pgcode == "53400"
    first.connection.cancel()
    assert first.join().error.pgcode == "57014"
    wait_idle(node)


@pytest.mark.parametrize("name, hint", [("postgres_fdw", "ALTER ROLE {} SET qwen.limit_action = 'wait' on this server"), ("citus_internal gpid=10000000321", "ALTER ROLE {} SET qwen.limit_action = 'wait' on this server"), ("psql", "or SET qwen.limit_action = 'wait'")])
def test_the_hint_names_what_reaches_the_connection(node, name, hint):
    role = make_role(node)
    set_limit(node, role, requests_per_minute=1)
    call = as_role(node, role, f"{ONE}; {ONE}", f"SET application_name = '{name}'").join()
    assert call.error.pgcode == "53400" and hint.format(role) in call.error.diag.message_hint, call.error.diag.message_hint
