#!/usr/bin/env python3
"""64 sessions of pgbench, of 20 roles with tight limits, for a minute and a half: some get errors, some wait, some are cancelled in the middle.

  limits.py [--seconds 90]

Then, from the server log's line for each request: no role was above its requests or tokens in any 60 s; from the views: never above its
requests at once, no slot lost, nothing reserved, and what the roles were charged is what the engine counted. Prints counts as JSON.
"""
import argparse
import bisect
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster, as_server_user, wait_until  # noqa: E402

N_ROLES, N_SESSIONS = 20, 64
WINDOW_MS = 60000
CLOCK_MS = 20  # how exactly the log tells the time of an admission

SETUP = """
CREATE EXTENSION qwen_pg;
CREATE FUNCTION attempt(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE what;
  RETURN 'done';
EXCEPTION
  WHEN configuration_limit_exceeded THEN PERFORM pg_sleep(0.05); RETURN 'refused';
  WHEN query_canceled THEN RETURN 'cancelled';
END $$;
"""

# what a session does in turn; :what comes from \\set
SCRIPT = r"""
\set n random(1, 1000)
\set length random(1, 12)
\set kind random(1, 4)
\if :kind = 1
SELECT attempt('SELECT qwen_embed(''words and number :n'')');
\elif :kind = 2
SELECT attempt('SELECT qwen_generate(''Number :n'', max_tokens => :length)');
\elif :kind = 3
SELECT attempt('SELECT count(*) FROM qwen_generate_batch(ARRAY[''a'', ''b :n'', ''c''], max_tokens => :length)');
\else
SELECT attempt('SELECT qwen_chat(''Say :n'', max_tokens => :length)');
\endif
"""


def limits_of(i):
    """Tight, and not the same for any two roles. Each kind is the tightest one of some of them."""
    limits = {"requests_per_minute": 20 + 7 * (i % 6), "tokens_per_minute": 400 + 150 * (i % 5), "max_concurrent": 1 + i % 4}
    if i % 7 == 3:
        del limits["requests_per_minute"]
    if i % 7 == 5:
        del limits["tokens_per_minute"]
    return limits


def prepare(server):
    server.query(SETUP)
    roles = {}
    for i in range(N_ROLES):
        name = f"busy_{i}"
        roles[name] = limits_of(i)
        arguments = ", ".join(f"{kind} => {number}" for kind, number in roles[name].items())
        server.query(f"CREATE ROLE {name} LOGIN; SELECT qwen_grant('{name}', 'use'), qwen_set_limit('{name}', {arguments})")
        if i % 3 == 1:
            server.query(f"ALTER ROLE {name} SET qwen.limit_action = wait; ALTER ROLE {name} SET statement_timeout = '20s'")
        if is_cancelled(name):
            server.query(f"ALTER ROLE {name} SET statement_timeout = '300ms'")
    return roles


def is_cancelled(name):
    """Roles whose requests are cut off all the time; what they used is known to the views, not to the log."""
    return int(name.split("_")[1]) % 5 == 2


def run(server, roles, seconds):
    """The sessions, and meanwhile what the views say; the most that each role had under way."""
    script = os.path.join(server.folder, "busy.sql")
    with open(script, "w") as file:
        file.write(SCRIPT)
    os.chmod(script, 0o644)
    processes = []
    for i, name in enumerate(roles):
        n = N_SESSIONS // N_ROLES + (i < N_SESSIONS % N_ROLES)
        command = [f"{server.programs}/pgbench", "-n", "-c", str(n), "-T", str(seconds), "-f", script, "-h", server.folder, "-p", str(server.port), "-U", name, "postgres"]
        processes.append(subprocess.Popen(as_server_user(command), cwd="/tmp", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    most, looks = dict.fromkeys(roles, 0), 0
    cursor = server.connect().cursor()
    deadline = time.monotonic() + seconds + 60
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, "the sessions do not end"
        cursor.execute("SELECT role::text, used FROM qwen_usage WHERE limit_name = 'max_concurrent'")
        for name, used in cursor.fetchall():
            if name in most:
                most[name] = max(most[name], used)
        looks += 1
        time.sleep(0.01)
    for name, process in zip(roles, processes):
        out, error = process.communicate()
        # a timeout outside of the call ends that session of pgbench
        assert is_cancelled(name) or (process.returncode == 0 and "aborted" not in error), out + error
    return most, looks


def admissions(server, roles):
    """Of each role: [(admitted at, ended at, tokens)] in milliseconds, as the log tells it."""
    found = {name: [] for name in roles}
    pattern = r"^(\d+)\.(\d+) LOG:  qwen_pg: request \w+: role=(\w+) .* prompt_tokens=(\d+) completion_tokens=(\d+) ms=([\d.]+)"
    for second, part, role, prompt, completion, took in re.findall(pattern, server.read_log(), re.M):
        ended = int(second) * 1000 + int(part)
        if role in found:
            found[role].append((ended - float(took), ended, int(prompt) + int(completion)))
    return found


def most_in_a_window(requests):
    """(requests admitted, tokens of requests that began and ended) in any window of 60 s, at most."""
    starts = sorted(request[0] for request in requests)
    n = max((bisect.bisect_left(starts, at + WINDOW_MS - CLOCK_MS) - i for i, at in enumerate(starts)), default=0)
    tokens = max((sum(t for a, b, t in requests if at <= a and b < at + WINDOW_MS - CLOCK_MS) for at in starts), default=0)
    return n, tokens


def check(server, roles, most, before):
    wait_until(lambda: server.query("SELECT running, waiting, kv_bytes_used FROM qwen_stat_engine") == [(0, 0, 0)], 30, "an idle engine")
    usage = "SELECT role::text, sum(used) FILTER (WHERE limit_name = 'max_concurrent'), sum(reserved), sum(used) FILTER (WHERE limit_name = 'tokens_per_day'), sum(rejected) FROM qwen_usage GROUP BY role"
    wait_until(lambda: all(row[1] == 0 and row[2] == 0 for row in server.query(usage)), 30, "nothing under way or reserved")
    charged = {row[0]: int(row[3]) for row in server.query(usage) if row[0] in roles}
    rejected = sum(int(row[4]) for row in server.query(usage))
    logged = admissions(server, roles)
    at_their_limit = 0
    for name, limits in roles.items():
        n, tokens = most_in_a_window(logged[name])
        assert 0 < n <= limits.get("requests_per_minute", n), (name, n, limits)
        assert tokens <= limits.get("tokens_per_minute", tokens), (name, tokens, limits)
        assert 0 < most[name] <= limits["max_concurrent"], (name, most[name], limits)
        at_their_limit += n == limits.get("requests_per_minute") or tokens > 0.8 * limits.get("tokens_per_minute", 1e9) or most[name] == limits["max_concurrent"]
        if not is_cancelled(name):
            assert charged[name] == sum(request[2] for request in logged[name]), name
    assert at_their_limit >= N_ROLES // 2, "the limits were tight"
    counted = tokens_of_engine(server) - before
    assert sum(charged.values()) == counted, (sum(charged.values()), counted)
    # every slot is there: as many at once as before
    for name, limits in roles.items():
        server.query(f"SELECT qwen_set_limit('{name}', max_concurrent => {limits['max_concurrent']})")
        server.query("SELECT count(*) FROM qwen_generate_batch(array_fill('a'::text, ARRAY[8]), max_tokens => 1)", user=name)
    return {"requests": sum(map(len, logged.values())), "rejected": rejected, "tokens_charged": sum(charged.values()), "tokens_counted_by_the_engine": counted, "roles_at_their_limit": at_their_limit}


def tokens_of_engine(server):
    return server.value("SELECT prompt_tokens + generated_tokens FROM qwen_stat_engine")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=90)
    arguments = parser.parse_args()
    server = Cluster(settings={"log_line_prefix": "%n ", "max_connections": "120", "qwen.prefix_cache": "off", "qwen.speculation": "off"})
    try:
        server.start()
        roles = prepare(server)
        wait_until(lambda: server.query("SELECT state FROM qwen_models") == [("serving",)], 30, "the model")
        before = tokens_of_engine(server)
        most, looks = run(server, roles, arguments.seconds)
        counts = check(server, roles, most, before)
        print(json.dumps({"soak": "limits", "seconds": arguments.seconds, "sessions": N_SESSIONS, "roles": N_ROLES, **counts, "looks": looks}))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
