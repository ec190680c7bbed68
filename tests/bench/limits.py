#!/usr/bin/env python3
"""make bench-limits: what admission costs with many limited roles and sessions, without an engine behind it.

  limits.py --module limits_bench.so [--roles 10000] [--sessions 64] [--seconds 10]

Each transaction of pgbench takes one of the roles and has --admissions requests admitted and released. One JSON object a line: processor time for
one request, with all that belongs to it (the first one of a role in a session reads its limits from the catalog), and requests a second.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster  # noqa: E402


def prepare(server, module, roles):
    copy = os.path.join(server.folder, "limits_bench.so")
    shutil.copy(module, copy)
    os.chmod(copy, 0o755)
    server.query("CREATE EXTENSION qwen_pg")
    server.query(
        f"DO $$ BEGIN FOR i IN 1 .. {roles} LOOP EXECUTE format('CREATE ROLE bench_%s', i);"
        " PERFORM qwen_set_limit(format('bench_%s', i)::regrole, 100000000, 2000000000, 1000000000000, 1000, 1000); END LOOP; END $$"
    )
    server.query(f"CREATE FUNCTION bench_admissions(n int) RETURNS float8 AS '{copy}', 'bench_admissions' LANGUAGE C")
    server.query("CREATE UNLOGGED TABLE bench_times (session int, n int, us float8)")


def run(server, admissions, arguments):
    script = os.path.join(server.folder, "bench.sql")
    with open(script, "w") as file:
        file.write(f"\\set r random(1, {arguments.roles})\nSELECT set_config('role', 'bench_' || :r, false);\n")
        file.write(f"SELECT bench_admissions({admissions}) AS us \\gset\nRESET ROLE;\n")
        file.write(f"INSERT INTO bench_times VALUES (:client_id, {admissions}, :us);\n")
    server.query("TRUNCATE bench_times")
    done = subprocess.run(
        [f"{server.programs}/pgbench", "-n", "-c", str(arguments.sessions), "-j", "2", "-T", str(arguments.seconds), "-f", script],
        env=server.environment(), capture_output=True, text=True, check=True)
    tps = float(re.search(r"tps = ([\d.]+)", done.stdout).group(1))
    mean, median = server.query("SELECT sum(us) / sum(n), percentile_cont(0.5) WITHIN GROUP (ORDER BY us / n) FROM bench_times")[0]
    print(json.dumps({
        "bench": "limits",
        "roles": arguments.roles,
        "sessions": arguments.sessions,
        "requests_of_a_role": admissions,
        "ours": round(mean, 2),
        "median": round(median, 2),
        "unit": "us",
        "requests_per_second": round(tps * admissions),
    }), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", required=True)
    parser.add_argument("--roles", type=int, default=10000)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    server = Cluster(settings={"qwen.max_limited_roles": max(arguments.roles + 10, 100)})
    try:
        server.start()
        prepare(server, arguments.module, arguments.roles)
        for admissions in (1, 100):
            run(server, admissions, arguments)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
