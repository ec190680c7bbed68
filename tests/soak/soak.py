#!/usr/bin/env python3
"""Everything at once for a while, with things breaking: plain, batched and array calls, batched updates, embeddings, classification, jobs, triggers
of both kinds, cancels of statements and jobs, timeouts, cursors left open, engines killed every few seconds, workers and the server now and then. At the
end nothing may be lost, done twice or left over.

  soak.py [--seconds 600] [--seed N]

All generation is greedy, so every answer is known beforehand: an answer is compared, not just awaited. Errors are those that the
manual promises (58000 for a dead engine, 57014 for a cancel, a lost connection for a killed server) and no others. Prints counts as JSON.
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
from cluster import Cluster, plain_model, wait_until  # noqa: E402

N_DOCUMENTS = 120
ALLOWED = {"58000", "57014", "57P01", "57P02", "57P03"}
ENGINE_KILL_SECONDS = (4, 12)
WORKER_KILL_SECONDS = (5, 20)
SERVER_KILL_SECONDS = (45, 90)
SUBJECTS = ("bridge", "bakery", "harbour", "library", "orchestra", "mountain", "garden", "station")
GENERATE = "qwen_generate({0}, max_tokens => 8, temperature => 0)"
# what must come through at least once; a short soak goes on until it has
KINDS = ("plain calls", "batched selects", "array calls", "embeddings", "cancels", "statements with a timeout")

SETUP = f"""
CREATE EXTENSION qwen_pg;
CREATE ROLE writer LOGIN;
GRANT ALL ON SCHEMA public TO writer;
DO $$ DECLARE f regprocedure; BEGIN
  FOR f IN SELECT p.oid FROM pg_proc p WHERE p.proname ~ '^qwen_(chat|generate|embed|classify|summarize|submit|wait|cancel|enqueue|count|retry)' LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO writer', f);
  END LOOP;
END $$;
SET ROLE writer;
CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL);
CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL, embedding real[]);
CREATE TRIGGER embed BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'embedding');
CREATE TABLE drafts (id int PRIMARY KEY, body text NOT NULL, answer text);
CREATE TABLE articles (id int PRIMARY KEY, body text NOT NULL, summary text);
CREATE TRIGGER enqueue AFTER INSERT OR UPDATE OF body ON articles FOR EACH ROW
  EXECUTE FUNCTION qwen_enqueue_trigger('summary', 'Continue: {{body}}', 'max_tokens=8', 'temperature=0', 'max_attempts=100');
CREATE TABLE results (job int, id int, body text, answer text, PRIMARY KEY (job, id));
CREATE TABLE writes (job int, id int);
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO writes VALUES (new.job, new.id); RETURN new; END $$;
CREATE TRIGGER note AFTER UPDATE OF answer ON results FOR EACH ROW EXECUTE FUNCTION note_write();
"""


class Broken(Exception):
    """A promise that was not kept."""


class Soak:
    def __init__(self, seconds, seed):
        self.random = random.Random(seed)
        self.seconds = seconds
        self.cluster = Cluster(settings={"qwen.models": f"chat={plain_model()}", "qwen.kv_cache_size": "48MB", "max_worker_processes": "16", "fsync": "on", "qwen.batch_window": "8", "qwen.log_requests": "off"})
        self.counts, self.lock = collections.Counter(), threading.Lock()
        self.stopping, self.failure = threading.Event(), None
        self.server_lock = threading.Lock()  # held while the server is down on purpose
        self.generated, self.embedded = {}, {}
        self.articles, self.jobs = {}, {}  # what is known to be committed

    # ---- helpers ----
    def count(self, what, n=1):
        with self.lock:
            self.counts[what] += n

    def fail(self, why):
        with self.lock:
            self.failure = self.failure or why
        self.stopping.set()

    def attempt(self, cursor, sql, arguments=None):
        """Rows, or None for an error that is allowed."""
        try:
            cursor.execute(sql, arguments)
            return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            if error.pgcode is None or error.pgcode in ALLOWED:
                self.count(f"error {error.pgcode or 'connection'}")
                if error.pgcode == "58000":
                    time.sleep(0.05)  # as the hint says: try again, not at once
                return None
            raise Broken(f"{error.pgcode}: {error} in {sql}") from error

    def loop(self, work, user="postgres"):
        """Do work(cursor, random) again and again in a session that is made anew when it is lost."""
        chance = random.Random(self.random.random())
        while not self.stopping.is_set():
            try:
                connection = self.cluster.connect(user if user == "writer" else None)
            except psycopg2.OperationalError:
                time.sleep(0.05)
                continue
            try:
                cursor = connection.cursor()
                while not self.stopping.is_set() and not connection.closed:
                    work(cursor, chance)
            except Broken as broken:
                self.fail(str(broken))
            except psycopg2.InterfaceError:
                pass
            except Exception as error:  # a mistake of the soak itself must end it too
                self.fail(f"{type(error).__name__}: {error}")
            finally:
                connection.close()

    def check(self, what, found, expected):
        self.count(what)
        if found != expected:
            raise Broken(f"{what}: {found!r}, expected {expected!r}")

    # ---- work ----
    def call(self, cursor, chance):
        number = chance.randrange(N_DOCUMENTS)
        rows = self.attempt(cursor, f"SELECT {GENERATE.format('body')} FROM documents WHERE id = %s", (number,))
        if rows is not None:
            self.check("plain calls", rows[0][0], self.generated[number])

    def select(self, cursor, chance):
        first, n = chance.randrange(N_DOCUMENTS - 20), chance.randrange(1, 20)
        limit = chance.choice(["", f" LIMIT {n}"])
        rows = self.attempt(cursor, f"SELECT id, {GENERATE.format('body')} FROM documents WHERE id >= %s AND id < %s ORDER BY id{limit}",
                            (first, first + n))
        if rows is not None:
            self.check("batched selects", rows, [(i, self.generated[i]) for i in range(first, first + n)])

    def array(self, cursor, chance):
        first = chance.randrange(N_DOCUMENTS - 10)
        rows = self.attempt(
            cursor, "SELECT response, error FROM qwen_generate_batch((SELECT array_agg(body ORDER BY id) FROM documents WHERE id >= %s AND id < %s), "
            "max_tokens => 8, temperature => 0)", (first, first + 10))
        if rows is not None:
            self.count("array calls")
            if any(error is None and response is None for response, error in rows) or len(rows) != 10:
                raise Broken(f"array call: {rows!r}")

    def embed(self, cursor, chance):
        number = chance.randrange(N_DOCUMENTS)
        rows = self.attempt(cursor, "SELECT qwen_embed(body) FROM documents WHERE id = %s", (number,))
        if rows is not None:
            self.check("embeddings", rows[0][0], self.embedded[number])

    def classify(self, cursor, chance):
        rows = self.attempt(cursor, "SELECT qwen_classify(body, %s) FROM documents WHERE id = %s", (list(SUBJECTS), chance.randrange(N_DOCUMENTS)))
        if rows is not None:
            self.count("classifications")
            if rows[0][0] not in SUBJECTS:
                raise Broken(f"no label: {rows!r}")

    def update(self, cursor, chance):
        """A batched UPDATE, committed or given up: what is there is right or not there."""
        first, n = chance.randrange(N_DOCUMENTS - 10), chance.randrange(1, 10)
        end = chance.choice(["COMMIT", "ROLLBACK"])
        for statement, arguments in (
            ("BEGIN", None),
            (f"UPDATE drafts SET answer = CASE WHEN answer IS NULL THEN {GENERATE.format('body')} END WHERE id >= %s AND id < %s", (first, first + n)),
            (end, None),
        ):
            if self.attempt(cursor, statement, arguments) is None:
                if not cursor.connection.closed:
                    self.attempt(cursor, "ROLLBACK")
                return
        self.count("batched updates")

    def insert_note(self, cursor, chance):
        """A row with a BEFORE trigger that embeds it."""
        number = chance.randrange(N_DOCUMENTS)
        rows = self.attempt(cursor, "INSERT INTO notes (body) SELECT body FROM documents WHERE id = %s RETURNING embedding", (number,))
        if rows is not None:
            self.check("rows embedded by a trigger", rows[0][0], self.embedded[number])

    def leave_cursor(self, cursor, chance):
        """A cursor that has read ahead and is closed, forgotten or rolled back."""
        if self.attempt(cursor, "BEGIN") is None:
            return
        n = chance.randrange(1, 12)
        rows = None
        if self.attempt(cursor, f"DECLARE c CURSOR FOR SELECT id, {GENERATE.format('body')} FROM documents ORDER BY id") is not None:
            rows = self.attempt(cursor, f"FETCH {n} c")
        if rows is not None:
            self.check("cursors left open", rows, [(i, self.generated[i]) for i in range(n)])
        if not cursor.connection.closed:
            self.attempt(cursor, chance.choice(["ROLLBACK", "COMMIT"]))

    def timeout(self, cursor, chance):
        self.attempt(cursor, "SET statement_timeout = %s", (chance.randrange(5, 400),))
        self.attempt(cursor, f"SELECT id, {GENERATE.format('body')} FROM documents")
        self.attempt(cursor, "SET statement_timeout = 0")
        self.count("statements with a timeout")

    def cancel(self, cursor, chance):
        time.sleep(chance.uniform(0.2, 2))
        self.attempt(cursor, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
                     "AND usename <> 'writer' ORDER BY random() LIMIT 1")
        self.count("cancels")

    def write_article(self, cursor, chance):
        """Insert or change one in a transaction that is sometimes given up; what is not known to have been committed or not is read later."""
        time.sleep(chance.uniform(0.05, 0.4))
        number = chance.randrange(100000)
        known = self.articles.get(number)
        body = f"The {chance.choice(SUBJECTS)} number {chance.randrange(1000)} is"
        sql = "UPDATE articles SET body = %s WHERE id = %s" if known else "INSERT INTO articles (body, id) VALUES (%s, %s)"
        end = chance.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])
        if not known and number in self.articles:
            return
        self.articles[number] = None  # not known, until the commit is
        for statement, arguments in (("BEGIN", None), (sql, (body, number)), (end, None)):
            if self.attempt(cursor, statement, arguments) is None:
                if not cursor.connection.closed:
                    self.attempt(cursor, "ROLLBACK")
                return
        self.count("articles committed" if end == "COMMIT" else "articles rolled back")
        if end == "COMMIT":
            self.articles[number] = body
        elif known:
            self.articles[number] = known
        else:
            del self.articles[number]

    def submit_job(self, cursor, chance):
        time.sleep(chance.uniform(0.5, 3))
        job, n = chance.randrange(10**9), chance.randrange(1, 30)
        self.jobs[job] = None
        for statement, arguments in (
            ("BEGIN", None),
            ("INSERT INTO results SELECT %s, id, body FROM documents WHERE id < %s", (job, n)),
            ("SELECT qwen_submit(format('SELECT job, id, body FROM results WHERE job = %%s', %s), 'Continue: {body}', 'results', 'answer', "
             "key_columns => '{job,id}', max_tokens => 8, temperature => 0, max_attempts => 100)", (job,)),
            ("COMMIT", None),
        ):
            if self.attempt(cursor, statement, arguments) is None:
                if not cursor.connection.closed:
                    self.attempt(cursor, "ROLLBACK")
                return
        self.jobs[job] = n
        self.count("jobs committed")

    def stop_job(self, cursor, chance):
        """Cancel a job and let it go on."""
        time.sleep(chance.uniform(1, 4))
        rows = self.attempt(cursor, "SELECT id FROM qwen_jobs WHERE state IN ('queued', 'running') ORDER BY random() LIMIT 1")
        if not rows:
            return
        if self.attempt(cursor, "SELECT qwen_cancel(%s)", rows[0]) is None:
            return
        time.sleep(chance.uniform(0, 0.5))
        if self.attempt(cursor, "SELECT qwen_retry(%s)", rows[0]) is not None:
            self.count("jobs cancelled and retried")

    # ---- what breaks ----
    def guarded(self, work):
        try:
            work()
        except Exception as error:  # the server did not come back, say
            self.fail(f"{type(error).__name__}: {error}")

    def kill_engines(self):
        chance = random.Random(self.random.random())
        while not self.stopping.wait(chance.uniform(*ENGINE_KILL_SECONDS)):
            with self.server_lock:
                try:
                    pid = self.cluster.engine_pid()
                    if pid:
                        os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
                        self.count("engines killed")
                except (psycopg2.Error, ProcessLookupError):
                    pass

    def kill_workers(self):
        chance = random.Random(self.random.random())
        while not self.stopping.wait(chance.uniform(*WORKER_KILL_SECONDS)):
            with self.server_lock:
                try:
                    for ended, in self.cluster.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'"):
                        self.count("workers terminated", int(ended))
                except psycopg2.Error:
                    pass

    def kill_servers(self):
        chance = random.Random(self.random.random())
        while not self.stopping.wait(chance.uniform(*SERVER_KILL_SECONDS)):
            with self.server_lock:
                pid = self.cluster.postmaster_pid()
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: not self.processes(), 30, "the end of all processes of a killed server")
                # a killed process that nobody waits for still has its number: PostgreSQL would take its lock files for held
                os.unlink(os.path.join(self.cluster.data, "postmaster.pid"))
                os.unlink(os.path.join(self.cluster.folder, f".s.PGSQL.{self.cluster.port}.lock"))
                self.cluster.start()
                self.count("servers killed")

    def processes(self):
        """Processes that work in the data directory."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if os.readlink(f"/proc/{entry}/cwd") == self.cluster.data:
                        found.append(int(entry))
                except OSError:
                    pass
        return found

    # ---- the end ----
    def descriptors(self, pid):
        return len(os.listdir(f"/proc/{pid}/fd"))

    def wait_for_background(self):
        # a server that was killed between a job's cancel and its retry
        self.cluster.query("SELECT qwen_retry(id) FROM qwen_jobs WHERE state = 'cancelled'")
        wait_until(lambda: self.cluster.value("SELECT count(*) FROM qwen_jobs WHERE state NOT IN ('done', 'failed', 'cancelled')") == 0, 300, "the end of all jobs")
        wait_until(lambda: self.cluster.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 300, "an empty backlog")

    def verify(self):
        query = self.cluster.query
        if query("SELECT count(*) FROM qwen_jobs WHERE state <> 'done'") != [(0,)]:
            raise Broken(f"jobs that failed: {query('SELECT id, state, error FROM qwen_jobs WHERE state <> %s LIMIT 5', ('done',))}")
        if query("SELECT count(*) FROM qwen_dead_letters") != [(0,)]:
            raise Broken(f"dead letters: {query('SELECT * FROM qwen_dead_letters LIMIT 5')}")
        for table, column in (("results", "answer"), ("articles", "summary")):
            wrong = query(f"""WITH expected AS MATERIALIZED (SELECT body, qwen_chat('Continue: ' || body, max_tokens => 8, temperature => 0) AS text
                                                             FROM (SELECT DISTINCT body FROM {table}) bodies)
                              SELECT t.* FROM {table} t LEFT JOIN expected USING (body) WHERE t.{column} IS DISTINCT FROM expected.text LIMIT 5""")
            if wrong:
                raise Broken(f"{table}: missing or wrong: {wrong}")
            self.counts[f"{table} right"] = self.cluster.value(f"SELECT count(*) FROM {table}")
        wrong = query("SELECT n.id FROM notes n LEFT JOIN (SELECT DISTINCT body, qwen_embed(body) AS v FROM documents) e USING (body) WHERE n.embedding IS DISTINCT FROM e.v LIMIT 5")
        if wrong:
            raise Broken(f"notes with a wrong embedding: {wrong}")
        for number, answer in query("SELECT id, answer FROM drafts WHERE answer IS NOT NULL"):
            if answer != self.generated[number]:
                raise Broken(f"draft {number}: {answer!r}, expected {self.generated[number]!r}")
        self.counts["notes right"] = self.cluster.value("SELECT count(*) FROM notes")
        twice = query("SELECT job, id, count(*) FROM writes GROUP BY 1, 2 HAVING count(*) > 1 LIMIT 5")
        if twice:
            raise Broken(f"rows of jobs that were written twice: {twice}")
        stored = dict(query("SELECT id, body FROM articles"))
        for number, body in self.articles.items():
            if body is not None and stored.get(number) != body:
                raise Broken(f"article {number}: {stored.get(number)!r}, committed was {body!r}")
        rows = dict(query("SELECT job, count(*) FROM results GROUP BY job"))
        for job, n in self.jobs.items():
            if n is not None and rows.get(job, 0) != n:
                raise Broken(f"job {job}: {rows.get(job, 0)} rows, committed were {n}")
        wait_until(lambda: query("SELECT running, waiting, kv_bytes_used FROM qwen_stat_engine") == [(0, 0, 0)], 30, "an engine that has freed everything")

    def pages(self, pid):
        """Of a process's own data."""
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[5])

    def parent(self, pid):
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])

    def check_leaks(self):
        """The same work again and again in one engine and one session, plain, batched, in subtransactions, failing: descriptors and memory stay."""
        connection = self.cluster.connect()
        cursor = connection.cursor()
        processes = {
            "engine": self.cluster.engine_pid(),
            "session": connection.get_backend_pid(),
            "supervisor": self.parent(self.cluster.engine_pid()),
            "postmaster": self.cluster.postmaster_pid(),
        }

        def round_of_work():
            cursor.execute(f"SELECT count({GENERATE.format('body')}) FROM documents")
            cursor.execute("SELECT count(qwen_embed(body)) FROM documents")
            cursor.execute("SELECT count(*) FROM qwen_generate_batch((SELECT array_agg(body) FROM documents WHERE id < 20), max_tokens => 2)")
            cursor.execute(f"DO $$ BEGIN FOR i IN 1 .. 5 LOOP BEGIN PERFORM {GENERATE.format('body')}, 1 / (id - i) FROM documents ORDER BY id; "
                           "EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$")
            cursor.execute("BEGIN")
            cursor.execute(f"DECLARE c CURSOR FOR SELECT {GENERATE.format('body')} FROM documents")
            cursor.execute("FETCH 5 c")
            cursor.execute("ROLLBACK")
            return {name: (self.descriptors(pid), self.pages(pid)) for name, pid in processes.items()}

        round_of_work()
        before = round_of_work()
        for _ in range(3):
            after = round_of_work()
        connection.close()
        for name in processes:
            self.counts[f"descriptors of the {name}"] = after[name][0]
            self.counts[f"pages of the {name}"] = after[name][1]
            if after[name][0] > before[name][0] + 1:
                raise Broken(f"descriptors of the {name}: {before[name][0]} before, {after[name][0]} after")
            if after[name][1] > before[name][1] * 1.05 + 1024:
                raise Broken(f"pages of the {name}'s data: {before[name][1]} before, {after[name][1]} after")

    def prepare(self):
        self.cluster.start()
        connection = self.cluster.connect()
        cursor = connection.cursor()
        cursor.execute(SETUP)
        cursor.execute("SET ROLE writer")
        for number in range(N_DOCUMENTS):
            subject = SUBJECTS[number % len(SUBJECTS)]
            cursor.execute("INSERT INTO documents VALUES (%s, %s)", (number, f"{'A long time ago, ' * (number % 9)}the {subject} of our town number {number} was"))
        cursor.execute("INSERT INTO drafts SELECT id, body FROM documents")
        cursor.execute(f"SELECT id, {GENERATE.format('body')}, qwen_embed(body) FROM documents")
        for number, answer, embedding in cursor.fetchall():
            self.generated[number], self.embedded[number] = answer, embedding
        connection.close()

    def run(self):
        workers = [(self.call, None)] * 3 + [(self.select, None)] * 3 + [(self.array, None), (self.embed, None), (self.classify, None), (self.timeout, None),
                                                                          (self.cancel, None), (self.write_article, "writer"), (self.write_article, "writer"),
                                                                          (self.submit_job, "writer"), (self.stop_job, "writer"), (self.update, "writer"),
                                                                          (self.insert_note, "writer"), (self.leave_cursor, None)]
        try:
            self.prepare()
            threads = [threading.Thread(target=self.loop, args=worker, daemon=True) for worker in workers]
            threads += [threading.Thread(target=self.guarded, args=(work,), daemon=True) for work in (self.kill_engines, self.kill_workers, self.kill_servers)]
            for thread in threads:
                thread.start()
            self.stopping.wait(self.seconds)
            wait_until(lambda: self.failure or all(self.counts[kind] > 0 for kind in KINDS), 120, "one of each kind of work")
            self.stopping.set()
            for thread in threads:
                thread.join(60)
                if thread.is_alive():
                    raise Broken("a statement did not come back")
            if self.failure:
                raise Broken(self.failure)
            self.wait_for_background()
            self.verify()
            self.check_leaks()
        finally:
            print(json.dumps(dict(sorted(self.counts.items())), indent=1), flush=True)
            if self.failure or sys.exc_info()[0]:
                print(self.cluster.read_log()[-4000:], file=sys.stderr)
            self.cluster.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"soak of {a.seconds:.0f} s, seed {a.seed}", flush=True)
    Soak(a.seconds, a.seed).run()
    print("soak: nothing lost, nothing twice, nothing left over")


if __name__ == "__main__":
    main()
