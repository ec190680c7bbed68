"""Roles with limits, what they have used, and sessions as them."""
import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready
from sessions import Background, wait_idle

ONE = "SELECT qwen_generate('one two three', temperature => 0, max_tokens => 1)"
ENDLESS = "SELECT qwen_generate('Once upon a time', temperature => 0, max_tokens => 4000, stop => ARRAY['never-said'])"
made = iter(range(1000))


def start(**settings):
    server = ready(Cluster(settings={"qwen.prefix_cache": "off", "qwen.speculation": "off", **settings}))
    wait_idle(server)
    return server


def make_role(server):
    name = f"limited_{next(made)}"
    server.query(f"CREATE ROLE {name} LOGIN; SELECT qwen_grant('{name}', 'use')")
    return name


def set_limit(server, role, **limits):
    server.query(f"SELECT qwen_set_limit('{role}', {', '.join(f'{key} => {value}' for key, value in limits.items())})")


def usage(server, role):
    """{limit: (used, reserved, allowed, remaining, rejected)}"""
    rows = server.query("SELECT limit_name, used, reserved, allowed, remaining, rejected FROM qwen_usage WHERE role::text = %s", (role,))
    return {row[0]: row[1:] for row in rows}


def used(server, role, limit):
    return usage(server, role).get(limit, (0,))[0]


def wait_settled(server, role):
    wait_until(lambda: usage(server, role)["max_concurrent"][0] == 0 and usage(server, role)["tokens_per_day"][1] == 0, 10, "requests that have left")


def refused(server, role, sql=ONE):
    with pytest.raises(psycopg2.Error) as failure:
        server.query(sql, user=role)
    assert failure.value.pgcode == "53400", failure.value
    return failure.value.diag


def as_role(server, role, sql, setup=""):
    return Background(server, sql, setup=f"SET SESSION AUTHORIZATION {role}; {setup}")


def waiting(server, role, sql=ONE):
    call = as_role(server, role, sql, "SET qwen.limit_action = wait")
    wait_until(lambda: server.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'", (call.pid,)) == 1, what="a call")
    return call


def engine_tokens(server):
    return server.value("SELECT prompt_tokens + generated_tokens FROM qwen_stat_engine")
