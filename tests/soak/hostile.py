#!/usr/bin/env python3
"""A role that may only use the functions does its worst beside one that chats.

  hostile.py [--seconds 600] [--sessions 4] [--priority high] [--one-at-a-time 15]

First the well-behaved session chats alone for a tenth of the time, as long beside sessions that keep the processors busy and ask the engine for
nothing (p95_busy_ms: what depends on the engine's priority alone), then beside the other role's attacks: chunks of white space, words of
megabytes, JSON of empty objects, draws from the whole vocabulary, many labels, many stop strings, cancels in the middle of sending, answers
without end, floods of connections, priorities it may not set. Prints one JSON object. Exit code 1 where the engine was restarted, a well-behaved
statement failed or answered otherwise than alone, or its 95th percentile was more than three times that of the quiet time.

--one-at-a-time: each attack alone for so many seconds, and last sessions that keep the processors busy without asking the engine for anything: what
each does to the chats, and who had the processors. One line each; judges nothing.
"""
import argparse
import json
import os
import random
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
from cluster import Cluster, wait_until  # noqa: E402

CHAT = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0, max_tokens => 12)"
MOST_TIMES = 3  # the quiet 95th percentile
EXPECTED = {
    "22023", "22003", "54000", "53200", "53400", "57014", "58000", "0A000", "42501", "22P02", "53300",
}  # fmt: skip

# name: (statement, milliseconds of statement_timeout: from, to)
ATTACKS = {
    "chunks of white space": ("SELECT count(*) FROM qwen_chunk(repeat('Aa.' || repeat(E' \\t', 100), 800), 64)", (5000, 5000)),
    "a word of megabytes": ("SELECT qwen_count_tokens(repeat('a', 8000000))", (8000, 8000)),
    "empty objects": ("SELECT length(qwen_render_chat(('[{\"role\": \"user\", \"content\": \"x\", \"more\": [{}' || repeat(',{}', 2000000) || ']}]')::json))", (8000, 8000)),
    "deep json": ("SELECT length(qwen_render_chat(('[{\"role\": \"user\", \"content\": \"x\", \"more\": ' || repeat('[', 5000) || repeat(']', 5000) || '}]')::json))", (8000, 8000)),
    "the whole vocabulary": ("SELECT qwen_generate('Once upon a time', temperature => 2, top_k => 0, top_p => 1, max_tokens => 200, stop => ARRAY['never-said'])", (20000, 20000)),
    "many labels": ("SELECT qwen_classify('a text about nothing', ARRAY(SELECT 'label ' || i || repeat(' and so on', 5) FROM generate_series(1, 300) i))", (10000, 10000)),
    "many stops": ("SELECT qwen_generate('aaaa', temperature => 1, max_tokens => 100, stop => ARRAY(SELECT repeat('a', 250) || i FROM generate_series(1, 4) i))", (10000, 10000)),
    "cancels while sending": ("SELECT qwen_count_tokens(repeat('words and more ', 1500000))", (10, 150)),
    "no end": ("SELECT qwen_generate('Tell me everything:', temperature => 1, max_tokens => 8000)", (3000, 3000)),
    "no end in batch": ("SELECT count(*) FROM qwen_generate_batch(array_fill('Go on'::text, ARRAY[8]), max_tokens => 500)", (3000, 6000)),
    "a priority of its own": ("SELECT set_config('qwen.default_priority', '1000', false)", (1000, 1000)),
    "messages without number": ("SELECT qwen_chat(('[' || repeat('{\"role\":\"user\",\"content\":\"x\"},', 3000) || '{\"role\":\"user\",\"content\":\"x\"}]')::json, max_tokens => 4)", (3000, 3000)),
}
ONLY_PROCESSORS = {"processors alone": ("SELECT count(*) FROM generate_series(1, 1000000000) i WHERE i % 7 = i % 5", (3000, 5000))}
FLOOD = 30  # connections at once, each for one small request


class Counts:
    """What became of statements, by name and SQLSTATE."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {}

    def add(self, name, outcome):
        with self.lock:
            of_name = self.counts.setdefault(name, {})
            of_name[outcome] = of_name.get(outcome, 0) + 1


def attempt(cursor, sql):
    """'done' or the SQLSTATE; None: the session is lost."""
    import psycopg2

    try:
        cursor.execute(sql)
        cursor.fetchall()
        return "done"
    except psycopg2.Error as error:
        return error.pgcode


def attack(cluster, role, names, counts, done, seed):
    """One session after the other, some statements each, as the hostile role."""
    chance = random.Random(seed)
    while not done.is_set():
        try:
            connection = cluster.connect(role)
        except Exception:  # the flood has all connections
            counts.add("connect", "refused")
            time.sleep(0.05)
            continue
        cursor = connection.cursor()
        for _ in range(chance.randint(1, 4)):
            name = chance.choice(names)
            sql, (shortest, longest) = (ATTACKS | ONLY_PROCESSORS)[name]
            cursor.execute(f"SET statement_timeout = {chance.randint(shortest, longest)}")
            counts.add(name, attempt(cursor, sql))
            if done.is_set():
                break
        connection.close()


def flood(cluster, role, counts, done):
    """Many connections at once, each of which asks for something small."""
    while not done.is_set():
        open_ones = []
        for _ in range(FLOOD):
            try:
                open_ones.append(cluster.connect(role))
            except Exception:
                counts.add("flood", "refused")
        for connection in open_ones:
            counts.add("flood", attempt(connection.cursor(), "SELECT qwen_count_tokens('one')"))
            connection.close()
        done.wait(0.5)


def chat(cluster, role, seconds, expected):
    """How long each chat took, in one session that stays."""
    connection = cluster.connect(role)
    cursor = connection.cursor()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        cursor.execute(CHAT)
        answer = cursor.fetchall()[0][0]
        times.append(time.monotonic() - start)
        if answer != expected:
            raise AssertionError(f"an answer beside the attacks differs: {answer!r}, not {expected!r}")
    connection.close()
    return times


def chat_beside(cluster, others, seconds, expected):
    """The same beside others: functions with the arguments before and after the event that ends them."""
    done = threading.Event()
    threads = [threading.Thread(target=function, args=(*first, done, *last), daemon=True) for function, first, last in others]
    for thread in threads:
        thread.start()
    try:
        return chat(cluster, "decent", seconds, expected)
    finally:
        done.set()
        for thread in threads:
            thread.join(60)


def p95(times):
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


def run(cluster, seconds, n_attackers=4):
    """The figures of such a time; raises what a well-behaved statement raised."""
    cluster.query("CREATE ROLE hostile LOGIN; CREATE ROLE decent LOGIN; SELECT qwen_grant('hostile', 'use'), qwen_grant('decent', 'use')")
    expected = cluster.value(CHAT)
    before = cluster.query("SELECT pid, restarts FROM qwen_stat_engine")
    quiet = chat(cluster, "decent", max(seconds / 10, 3), expected)
    counts = Counts()
    busy = chat_beside(cluster, [(attack, (cluster, "hostile", list(ONLY_PROCESSORS), Counts()), (i,)) for i in range(n_attackers)], max(seconds / 10, 3), expected)
    attacks = [(attack, (cluster, "hostile", list(ATTACKS), counts), (i,)) for i in range(n_attackers)]
    beside = chat_beside(cluster, [(flood, (cluster, "hostile", counts), ()), *attacks], seconds, expected)
    wait_until(lambda: cluster.query("SELECT running, waiting, kv_bytes_used FROM qwen_stat_engine") == [(0, 0, 0)], 60, "an engine that has freed everything")
    after = cluster.query("SELECT pid, restarts FROM qwen_stat_engine")
    with open(f"/proc/{after[0][0]}/status") as file:
        anonymous = [int(line.split()[1]) // 1024 for line in file if line.startswith("RssAnon")][0]
    lost = sum(n for outcomes in counts.counts.values() for outcome, n in outcomes.items() if outcome is None)
    return {
        "soak": "hostile",
        "seconds": round(seconds),
        "sessions": n_attackers,
        "priority": cluster.settings["qwen.engine_priority"],
        "chats_quiet": len(quiet),
        "chats_beside": len(beside),
        "p95_quiet_ms": round(p95(quiet) * 1000),
        "p95_busy_ms": round(p95(busy) * 1000),
        "p95_beside_ms": round(p95(beside) * 1000),
        "longest_ms": round(max(beside) * 1000),
        "times": round(p95(beside) / p95(quiet), 1),
        "restarts": after[0][1] - before[0][1],
        "same_engine": after[0][0] == before[0][0],
        "sessions_lost": lost,
        "engine_mb_afterwards": anonymous,
        "unexpected": sorted({str(o) for outcomes in counts.counts.values() for o in outcomes if o not in EXPECTED | {"done", "refused"}}),
        "attacks": {name: {str(key): n for key, n in sorted(outcomes.items(), key=str)} for name, outcomes in sorted(counts.counts.items())},
    }


def processor_seconds(stat):
    """Of a process or a thread, by its file: seconds of a processor, and its nice value."""
    try:
        with open(stat) as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0, 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(fields[16])


def usage(cluster, engine):
    """Seconds of processors that the engine's computing threads, its desk and all of the machine have had, and its steps."""
    threads = [processor_seconds(f"/proc/{engine}/task/{thread}/stat") for thread in os.listdir(f"/proc/{engine}/task")]
    lowest = min(nice for _, nice in threads)
    with open("/proc/stat") as file:
        fields = [int(value) for value in file.readline().split()[1:]]
    machine = (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    steps, step_ms = cluster.query("SELECT steps, coalesce(generated_tokens * 1000 / nullif(tokens_per_second, 0), 0) FROM qwen_stat_engine")[0]
    return sum(seconds for seconds, nice in threads if nice == lowest), sum(seconds for seconds, nice in threads if nice > lowest), machine, steps, step_ms


def run_one_at_a_time(cluster, seconds, only, n_attackers):
    """Prints what each attack does."""
    cluster.query("CREATE ROLE hostile LOGIN; CREATE ROLE decent LOGIN; SELECT qwen_grant('hostile', 'use'), qwen_grant('decent', 'use')")
    expected = cluster.value(CHAT)
    engine = cluster.value("SELECT pid FROM qwen_stat_engine")
    for name in ["nothing", *ATTACKS, "flood", *ONLY_PROCESSORS]:
        if only and name not in only:
            continue
        counts, done = Counts(), threading.Event()
        threads = []
        if name == "flood":
            threads = [threading.Thread(target=flood, args=(cluster, "hostile", counts, done), daemon=True)]
        elif name != "nothing":
            threads = [threading.Thread(target=attack, args=(cluster, "hostile", [name], counts, done, i), daemon=True) for i in range(n_attackers)]
        for thread in threads:
            thread.start()
        before = usage(cluster, engine)
        times = chat(cluster, "decent", seconds, expected)
        team, desk, machine, steps, step_ms = (now - then for now, then in zip(usage(cluster, engine), before))
        done.set()
        for thread in threads:
            thread.join(60)
        figures = {"attack": name, "chats": len(times), "p50_ms": round(statistics.median(times) * 1000), "p95_ms": round(p95(times) * 1000), "longest_ms": round(max(times) * 1000), "steps": steps}
        figures |= {"step_ms": round(step_ms / max(steps, 1), 1), "cpu_team": round(team, 1), "cpu_desk": round(desk, 1), "cpu_others": round(machine - team - desk, 1), "outcomes": counts.counts.get(name)}
        print(json.dumps(figures), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--one-at-a-time", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--sessions", type=int, default=4, help="of the hostile role, beside its flood of connections")
    parser.add_argument("--priority", choices=["low", "normal", "high"], default="high", help="qwen.engine_priority; high needs root here, to give the server the right to it")
    parser.add_argument("--only", action="append", help="with --one-at-a-time: this attack (may be repeated)")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    cluster = Cluster(settings={"qwen.engine_priority": arguments.priority})
    cluster.may_raise_priorities = arguments.priority == "high"
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        if arguments.one_at_a_time:
            run_one_at_a_time(cluster, arguments.one_at_a_time, arguments.only, arguments.sessions)
            return 0
        figures = run(cluster, seconds, arguments.sessions)
    finally:
        cluster.remove()
    print(json.dumps(figures), flush=True)
    well = figures["same_engine"] and figures["restarts"] == 0 and figures["sessions_lost"] == 0 and not figures["unexpected"] and figures["times"] <= MOST_TIMES
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
