#!/usr/bin/env python3
"""make bench-statistics: what it costs to write down what requests do (activity, totals, histograms), as a share of their computing.

  watching.py --module limits_bench.so [--roles 20] [--sessions 64] [--seconds 5]

Processor time of a request's entries with many sessions of some roles at once, without an engine; then tokens per second of 32 answers of 64
tokens on the same machine. Exit code 1 when the entries cost 1% or more of the processors' time for such an answer.
"""
import argparse
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster, wait_until  # noqa: E402

ANSWERS, TOKENS, MOST_SHARE = 32, 64, 0.01
GENERATE = f"SELECT count(*) FROM qwen_generate_batch(array_fill('Once upon a time'::text, ARRAY[{ANSWERS}]), temperature => 0, max_tokens => {TOKENS}, stop => ARRAY['never-said'])"


def microseconds_a_request(server, arguments):
    module = os.path.join(server.folder, "limits_bench.so")
    shutil.copy(arguments.module, module)
    os.chmod(module, 0o755)
    server.query(f"DO $$ BEGIN FOR i IN 1 .. {arguments.roles} LOOP EXECUTE format('CREATE ROLE bench_%s', i); END LOOP; END $$")
    server.query(f"CREATE FUNCTION bench_statistics(n int) RETURNS float8 AS '{module}', 'bench_statistics' LANGUAGE C")
    server.query("CREATE UNLOGGED TABLE bench_times (n int, us float8)")
    script = os.path.join(server.folder, "bench.sql")
    with open(script, "w") as file:
        file.write(f"\\set r random(1, {arguments.roles})\nSELECT set_config('role', 'bench_' || :r, false);\n")
        file.write("SELECT bench_statistics(100) AS us \\gset\nRESET ROLE;\nINSERT INTO bench_times VALUES (100, :us);\n")
    subprocess.run([f"{server.programs}/pgbench", "-n", "-c", str(arguments.sessions), "-j", "2", "-T", str(arguments.seconds), "-f", script], env=server.environment(), capture_output=True, text=True, check=True)
    return server.value("SELECT sum(us) / sum(n) FROM bench_times")


def tokens_per_second(server, seconds):
    tokens = "SELECT prompt_tokens + generated_tokens FROM qwen_stat_engine"
    server.query(GENERATE)
    before, start = server.value(tokens), time.monotonic()
    while time.monotonic() - start < seconds:
        server.query(GENERATE)
    return (server.value(tokens) - before) / (time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", required=True)
    parser.add_argument("--roles", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    server = Cluster(settings={"qwen.batch_window": ANSWERS})
    try:
        server.start()
        server.query("CREATE EXTENSION qwen_pg")
        wait_until(lambda: server.query("SELECT state FROM qwen_models") == [("serving",)], 30, "the model")
        cost = microseconds_a_request(server, arguments)
        speed, threads = tokens_per_second(server, arguments.seconds), server.value("SELECT threads FROM qwen_stat_engine")
        share = cost / (TOKENS / speed * 1e6 * threads)
        print(f"entries of a request, {arguments.sessions} sessions of {arguments.roles} roles: {cost:10.2f} us")
        print(f"{ANSWERS} answers of {TOKENS} tokens at once:                {speed:10.0f} tokens/s on {threads} threads")
        print(f"share of an answer's processor time:              {share:10.4%}")
        return 0 if share < MOST_SHARE else 1
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
