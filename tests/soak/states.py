#!/usr/bin/env python3
"""States of a hybrid under load: chats of several roles that fork and go back, rows, jobs, embeddings, labels, cancels and killed engines, on a hybrid (with a
layer that guesses) and a dense model that share a budget too small for all.

  states.py [--seconds 600] [--seed N]

Everything is greedy or has a seed, so whoever asks the same twice must get the same; and at the end what was asked is asked again, alone and without the
prefix cache, as much of it as half of the time allows: a state of another request, one a position off, or one with a rejected guess in it would say something else.
Then no state is held, snapshots are counted right, and when both models are unloaded nothing of the budget is used. Prints counts as JSON.
"""
import argparse
import collections
import json
import os
import random
import signal
import sys
import threading
import time

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402
from cluster import MODEL_FILE, Cluster, model_directory, wait_until  # noqa: E402

ROLES = ("anna", "ben", "cleo")
ALLOWED = {"58000", "57014"}  # a killed engine, a cancel
ENGINE_KILL_SECONDS = (12, 50)  # more often it would be down for longer and longer
TOPICS = ("a harbour with three cranes", "a bakery that opens at five", "an orchard of pears", "a mine that was closed", "a lighthouse of iron", "a market of spices")
QUESTIONS = ("Say it again in other words.", "Who works there?", "What colour is it?", "What happened there last winter?", "Count to five.", "Name one thing that is near.")
REPEATING = "la " * 12 + "la"
N_TEXTS = 60
CHECKED_AT_LEAST = 20
MEMORY = "SELECT states, state_bytes_used, kv_bytes_used, snapshots, snapshot_bytes, kv_bytes_cached, kv_bytes_total FROM qwen_stat_engine"

SETUP = """
CREATE EXTENSION qwen_pg;
CREATE TABLE texts (id int PRIMARY KEY, body text NOT NULL);
CREATE TABLE results (job int, id int, body text, answer text, PRIMARY KEY (job, id));
"""


class Broken(Exception):
    """A promise that was not kept."""


def chat(messages, model, n):
    return ("SELECT qwen_chat(%s::jsonb, model => %s, temperature => 0, max_tokens => %s)", (json.dumps(messages), model, n))


def generate(text, model, n, seed=None):
    drawn = ("temperature => 0.8, seed => %s", (seed,)) if seed else ("temperature => 0", ())
    return (f"SELECT qwen_generate(%s, model => %s, max_tokens => %s, {drawn[0]})", (text, model, n, *drawn[1]))


class Soak:
    def __init__(self, seconds, seed):
        self.random, self.seconds = random.Random(seed), seconds
        file = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), "qwen35moe+head+states")
        self.cluster = Cluster(settings={"qwen.models": f"hybrid={file}, dense={MODEL_FILE}", "qwen.kv_cache_size": "96MB", "qwen.log_requests": "off", "qwen.default_model": "hybrid"})
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.stopping, self.failure = threading.Event(), None
        self.answers = {}  # what was said to whom asked what
        self.jobs = []
        self.pids = {}

    # ---- helpers ----
    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def ask(self, cursor, what, question):
        """The answer, the same as ever; None for an error that is allowed."""
        try:
            cursor.execute(*question)
        except psycopg2.Error as error:
            if error.pgcode not in ALLOWED:
                raise Broken(f"{error.pgcode}: {error} in {question}") from error
            self.count(f"error {error.pgcode}")
            if error.pgcode == "58000":
                time.sleep(0.05)
            return None
        answer = cursor.fetchone()[0]
        with self.lock:
            self.counts[what] += 1
            before = self.answers.setdefault(question, answer)
        if answer != before:
            raise Broken(f"{what}: {question}: {answer!r}, before {before!r}")
        return answer

    def loop(self, name, work, user=None):
        chance = random.Random(f"{self.random.random()} {name}")
        try:
            connection = self.cluster.connect(user)
            self.pids[name] = connection.get_backend_pid()
            while not self.stopping.is_set():
                work(connection.cursor(), chance)
        except Exception as error:  # a mistake of the soak itself must end it too
            with self.lock:
                self.failure = self.failure or f"{name}: {type(error).__name__}: {error}"
            self.stopping.set()

    # ---- work ----
    def converse(self, cursor, chance):
        """Some turns about a topic; now and then back to an earlier one and on from there, or the same once more."""
        model = chance.choice(("hybrid", "hybrid", "dense"))
        messages = [{"role": "system", "content": f"This is about {chance.choice(TOPICS)}. " + "Be short and say nothing that you do not know. " * chance.choice((1, 6))}]
        for _ in range(chance.randrange(1, 7)):
            if self.stopping.is_set():
                return
            if len(messages) > 3 and chance.random() < 0.3:
                del messages[1 + 2 * chance.randrange(len(messages) // 2) :]
                self.count("forks")
            messages.append({"role": "user", "content": chance.choice(QUESTIONS)})
            answer = self.ask(cursor, f"turns of {model}", chat(messages, model, chance.choice((3, 8, 16))))
            if answer is None:
                return
            messages.append({"role": "assistant", "content": answer})

    def others(self, cursor, chance):
        """What is no chat."""
        model, text = chance.choice(("hybrid", "dense")), self.texts[chance.randrange(N_TEXTS)]
        kind = chance.randrange(5)
        if kind == 0:
            self.ask(cursor, "embeddings", ("SELECT qwen_embed(%s, model => %s)::text", (text, model)))
        elif kind == 1:
            labels = ["a story", "a stone", "a story of the sea"]
            self.ask(cursor, "labels", ("SELECT qwen_classify(%s, ARRAY['" + "', '".join(labels) + "'], model => %s)", (text, model)))
        elif kind == 2:
            self.ask(cursor, "texts that repeat", generate(REPEATING[: 3 * chance.randrange(4, 13) - 1], "hybrid", 40))
        elif kind == 3:
            self.ask(cursor, "drawn texts", generate(text, model, 12, chance.randrange(1, 9)))
        else:
            first = chance.randrange(N_TEXTS - 6)
            self.ask(cursor, "rows", ("SELECT json_agg(a)::text FROM (SELECT qwen_generate(body, model => %s, max_tokens => 8, temperature => 0) a FROM texts WHERE id >= %s AND id < %s ORDER BY id) r",
                                      (model, first, first + 6)))

    def submit(self, cursor, chance):
        """A job on some texts."""
        job, model = len(self.jobs), chance.choice(("hybrid", "dense"))
        cursor.execute("INSERT INTO results SELECT %s, id, body FROM texts WHERE id %% 7 = %s", (job, job % 7))
        cursor.execute("SELECT qwen_submit(format('SELECT job, id, body FROM results WHERE job = %%s', %s), '{body}', 'results', 'answer', key_columns => '{job,id}', "
                       "function => 'generate', model => %s, max_tokens => 8, temperature => 0, max_attempts => 100)", (job, model))
        self.jobs.append(model)
        self.count("jobs")
        self.stopping.wait(chance.uniform(1, 4))

    def cancel(self, cursor, chance):
        self.stopping.wait(chance.uniform(0.2, 2))
        name = chance.choice([name for name in list(self.pids) if name.startswith(("chat", "other"))])
        cursor.execute("SELECT pg_cancel_backend(%s)", (self.pids[name],))
        self.count("cancels")

    def kill(self, cursor, chance):
        if self.stopping.wait(min(self.seconds / 2, chance.uniform(*ENGINE_KILL_SECONDS))):
            return
        cursor.execute("SELECT pid FROM qwen_stat_engine")
        pid = cursor.fetchone()[0]
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                self.count("engines killed")
            except ProcessLookupError:
                pass

    def look(self, cursor, _chance):
        """What must hold at any time."""
        cursor.execute(MEMORY + " WHERE state = 'running'")
        for states, state_bytes, used, snapshots, snapshot_bytes, cached, total in cursor.fetchall():
            if state_bytes != states * self.of_one or snapshot_bytes != snapshots * self.of_one or used + cached > total:
                raise Broken(f"memory: {states} states of {state_bytes} bytes, {snapshots} snapshots of {snapshot_bytes}, {used} and {cached} of {total} bytes")
            self.count("looks")
            with self.lock:
                self.counts["most states at once"] = max(self.counts["most states at once"], states)
        self.stopping.wait(0.02)

    # ---- the end ----
    def memory(self):
        return self.cluster.query(MEMORY)[0]

    def check_jobs(self):
        wait_until(lambda: self.cluster.query("SELECT count(*) FROM qwen_jobs WHERE state IN ('queued', 'running')") == [(0,)], 60 + self.seconds, "the end of all jobs")
        for job, body, answer in self.cluster.query("SELECT job, body, answer FROM results"):
            if answer is None:
                raise Broken(f"job {job} left a row out: {body}")
            question = generate(body, self.jobs[job], 8)
            if self.answers.setdefault(question, answer) != answer:
                raise Broken(f"job {job}: {body}: {answer!r}, as a row {self.answers[question]!r}")
            self.count("rows of jobs")

    def check_alone(self):
        """Ask again what was asked, one at a time and with nothing cached."""
        connection = self.cluster.connect()
        cursor = connection.cursor()
        cursor.execute("SET qwen.prefix_cache = off")
        questions, deadline = list(self.answers), time.monotonic() + self.seconds / 2
        self.random.shuffle(questions)
        # the longest conversations first: theirs are the states that were kept, moved and found
        questions.sort(key=lambda question: -question[1][0].count('"role"'))
        self.counts["different questions"] = len(questions)
        for n, question in enumerate(questions):
            if n >= CHECKED_AT_LEAST and time.monotonic() > deadline:
                break
            cursor.execute(*question)
            answer = cursor.fetchone()[0]
            if answer != self.answers[question]:
                raise Broken(f"alone: {question}: {answer!r}, among others {self.answers[question]!r}")
            self.count("compared with those alone")
        connection.close()

    def check_memory(self):
        """Nothing is held; and of what was kept nothing is left without models."""
        wait_until(lambda: self.memory()[:3] == (0, 0, 0), 10, f"no states and no memory in use: {self.memory()}")
        _, _, _, snapshots, snapshot_bytes, cached, _ = self.memory()
        if snapshot_bytes != snapshots * self.of_one or snapshot_bytes > cached:
            raise Broken(f"{snapshots} snapshots take {snapshot_bytes} of {cached} cached bytes, and not {self.of_one} each")
        self.counts["snapshots at the end"] = snapshots
        self.cluster.query("SELECT qwen_unload_model('hybrid'), qwen_unload_model('dense')")
        resident = "SELECT kv_bytes_resident FROM qwen_stat_engine"
        wait_until(lambda: self.memory()[:6] == (0,) * 6 and self.cluster.value(resident) == 0, 10, "nothing of the budget in use without models")

    def run(self):
        try:
            self.cluster.start()
            self.cluster.query(SETUP)
            for role in ROLES:
                self.cluster.query(f"CREATE ROLE {role} LOGIN; SELECT qwen_grant('{role}', 'use'); GRANT SELECT ON texts TO {role}")
            self.texts = [f"Thing number {i} of {'very ' * (i % 40)}many is" for i in range(N_TEXTS)]
            self.cluster.query("INSERT INTO texts SELECT i - 1, t FROM unnest(%s) WITH ORDINALITY u (t, i)", (self.texts,))
            wait_until(lambda: self.cluster.query("SELECT state FROM qwen_models") == [("serving",)] * 2, 60, "both models")
            self.of_one = self.cluster.value("SELECT state_bytes FROM qwen_models WHERE name = 'hybrid'")
            work = {f"chat {i}": (self.converse, ROLES[i % len(ROLES)]) for i in range(6)} | {f"other {i}": (self.others, ROLES[i % len(ROLES)]) for i in range(2)}
            work |= {"jobs": (self.submit, None), "cancels": (self.cancel, None), "kills": (self.kill, None), "looks": (self.look, None)}
            threads = [threading.Thread(target=self.loop, args=(name, *what), daemon=True) for name, what in work.items()]
            for thread in threads:
                thread.start()
            self.stopping.wait(self.seconds)
            self.stopping.set()
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    self.failure = self.failure or "a session hangs"
            if not self.failure:
                self.check_jobs()
                self.check_alone()
                self.check_memory()
            if self.failure:
                raise Broken(self.failure)
        finally:
            print(json.dumps(dict(sorted(self.counts.items())), indent=1), flush=True)
            if sys.exc_info()[0]:
                print(self.cluster.read_log()[-3000:], file=sys.stderr)
            self.cluster.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"soak of {a.seconds:.0f} s, seed {a.seed}", flush=True)
    Soak(a.seconds, a.seed).run()
    print("soak: every answer as alone, no state lost and none left over")


if __name__ == "__main__":
    main()
