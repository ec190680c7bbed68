"""What can hit a job's worker, at each of its steps: locks that are held longer than it waits, cancels, terminations, roles and
extensions that are dropped. The server is never reset, and the job ends right: all of this is none of its rows' fault, so that one attempt
a row is enough."""
import random
import time

import pytest
from cluster import Cluster, wait_until
from conftest import ready
from roles import used

N_ROWS = 6
OWNER = "job_owner"
JOB = "max_attempts => 1, max_tokens => 2, temperature => 0"


@pytest.fixture(scope="module")
def house():
    server = Cluster(settings={"qwen.job_window": 4})
    try:
        ready(server)
        server.query(
            """
            CREATE TABLE gate ();
            CREATE FUNCTION pass_gate() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                IF EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
                    AND backend_type OPERATOR(pg_catalog.=) 'qwen_pg job worker') THEN LOCK TABLE public.gate IN SHARE MODE; END IF;
                RETURN true; END $$;
            CREATE FUNCTION gate_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.pass_gate(); RETURN NEW; END $$;
            """
        )
        yield server
    finally:
        server.remove()


@pytest.fixture
def place(house):
    """Texts, and a target with a log of its writes; a role that submits and owns nothing, so that it can be dropped."""
    house.query(
        f"""
        CREATE TABLE texts (id int PRIMARY KEY, body text);
        CREATE TABLE answers (id int PRIMARY KEY, said text);
        CREATE TABLE writes (id int);
        INSERT INTO texts SELECT i, 'thing number ' || i FROM generate_series(1, {N_ROWS}) i;
        CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO writes VALUES (NEW.id); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION note();
        CREATE ROLE {OWNER} SUPERUSER LOGIN;
        """
    )
    yield house
    house.query("DROP TABLE texts, answers, writes; DELETE FROM qwen_job_table; DELETE FROM qwen_job_row; DELETE FROM qwen_role_limit")
    house.query("ALTER TABLE qwen_job_row DROP CONSTRAINT IF EXISTS gate; ALTER TABLE qwen_job_table DROP CONSTRAINT IF EXISTS gate")
    house.query(f"DROP ROLE IF EXISTS {OWNER}")
    assert_no_reset(house)


def assert_no_reset(server):
    log = server.read_log()
    assert "was terminated by signal" not in log and "terminating any other active server processes" not in log, log[-3000:]


def worker_pids(server):
    return [pid for pid, in server.query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")]


def waiting_worker(server):
    """The worker that waits for a lock now, as (pid, the transaction's begin)."""
    rows = server.query("SELECT pid, xact_start FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker' AND wait_event_type = 'Lock'")
    return rows[0] if rows else None


def check_done(server, job):
    assert server.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    assert server.query("SELECT total, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [(N_ROWS, N_ROWS, 0, None)]
    assert server.query("SELECT count(*), count(said) FROM answers") == [(N_ROWS, N_ROWS)]
    assert server.query("SELECT id FROM writes GROUP BY id HAVING count(*) <> 1") == []
    assert server.value("SELECT count(*) FROM qwen_job_row") == 0


class Step:
    """One step of the worker's, and a session whose locks stop it there."""

    source = "SELECT * FROM texts"
    set_up = "SELECT 1"
    locked = "gate"

    def __init__(self, server):
        self.server = server
        self.owner, self.locker = server.connect(OWNER), server.connect()
        try:
            for connection in (self.owner, self.locker):
                connection.cursor().execute("SET lock_timeout = '20s'")
            server.query(self.set_up)
            self.look_at_limits()
            self.job = self.start()
            wait_until(lambda: waiting_worker(server), what="a worker that waits for the lock")
        except BaseException:
            self.close()
            raise

    def look_at_limits(self):
        """What the session needs to know of its limits is known before somebody locks it."""
        self.owner.cursor().execute("SELECT qwen_chat('Hi', max_tokens => 1)")

    def start(self):
        self.lock()
        return self.submit()

    def lock(self):
        self.locker.cursor().execute(f"BEGIN; LOCK TABLE {self.locked} IN ACCESS EXCLUSIVE MODE")

    def submit(self):
        cursor = self.owner.cursor()
        cursor.execute(f"SELECT qwen_submit('{self.source}', 'Say one word about {{body}}', 'answers', 'said', {JOB})")
        return cursor.fetchone()[0]

    def release(self):
        self.locker.cursor().execute("ROLLBACK")

    def drop_extension(self):
        self.server.query("DROP EXTENSION qwen_pg")
        self.release()

    def close(self):
        self.owner.close()
        self.locker.close()


class Reading(Step):
    source = "SELECT * FROM texts WHERE pass_gate()"


class Claiming(Step):
    set_up = "ALTER TABLE qwen_job_row ADD CONSTRAINT gate CHECK (public.pass_gate()) NOT VALID"


class Sending(Step):
    """What the role may cannot be read: between transactions, before anything is sent."""

    locked = "qwen_role_limit, qwen_role_models"

    def drop_extension(self):
        self.locker.cursor().execute("DROP EXTENSION qwen_pg; COMMIT")


class Receiving(Sending):
    """The same once requests are accepted and wait for their role's limit to let them go."""

    def start(self):
        self.server.query(f"SELECT qwen_set_limit('{OWNER}', requests_per_minute => 3)")
        self.look_at_limits()
        job = self.submit()
        wait_until(lambda: self.server.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") > 0, what="requests that wait at the door")
        self.lock()
        self.server.query("CREATE ROLE newcomer; DROP ROLE newcomer")  # everybody reads it anew
        return job

    def release(self):
        self.locker.cursor().execute(f"SELECT qwen_clear_limit(oid) FROM pg_roles WHERE rolname = '{OWNER}'; COMMIT")


class Writing(Step):
    set_up = "CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION gate_row()"


class Ending(Step):
    set_up = "ALTER TABLE qwen_job_table ADD CONSTRAINT gate CHECK (state NOT IN ('done', 'failed') OR public.pass_gate()) NOT VALID"


STEPS = (Reading, Claiming, Sending, Receiving, Writing, Ending)


@pytest.fixture(params=STEPS, ids=lambda step: step.__name__.lower())
def step(place, request):
    at = request.param(place)
    yield at
    at.close()


def test_locks_cancels_and_terminations_hurt_no_row(place, step):
    first = waiting_worker(place)
    place.query("SELECT pg_cancel_backend(%s)", (first[0],))
    second = wait_until(lambda: (now := waiting_worker(place)) and now != first and now, what="another attempt after the cancel")
    third = wait_until(lambda: (now := waiting_worker(place)) and now != second and now, what="another attempt after lock_timeout")
    place.query("SELECT pg_terminate_backend(%s)", (third[0],))
    wait_until(lambda: (now := waiting_worker(place)) and now[0] != third[0], what="another worker after the termination")
    step.release()
    check_done(place, step.job)


def test_a_role_dropped_at_any_step_ends_its_job(place, step):
    step.owner.close()
    place.query(f"DROP ROLE {OWNER}")
    step.release()
    # what was asked for is all there when only the end is missing
    assert place.value("SELECT qwen_wait(%s, '30 s')", (step.job,)) == ("done" if isinstance(step, Ending) else "failed")
    reason = place.value("SELECT error FROM qwen_jobs WHERE id = %s", (step.job,))
    assert isinstance(step, Ending) or "dropped" in reason or "permission denied" in reason
    wait_until(lambda: worker_pids(place) == [], what="no worker of a role that is gone")


def test_an_extension_dropped_at_any_step_ends_its_worker(place, step):
    step.drop_extension()
    wait_until(lambda: worker_pids(place) == [], what="no worker without the extension")
    place.query("CREATE EXTENSION qwen_pg")
    assert place.value("SELECT qwen_chat('Hi', max_tokens => 1)") is not None


def test_faults_at_random_moments_hurt_no_row(place):
    """Cancels, terminations, locks and news of roles, whatever the worker is doing just then."""
    place.query("INSERT INTO texts SELECT i, 'thing number ' || i FROM generate_series(%s, 150) i", (N_ROWS + 1,))
    owner, locker, dice = place.connect(OWNER), place.connect(), random.Random(17)
    cursor = owner.cursor()
    cursor.execute(f"SELECT qwen_submit('texts', 'Say one word about {{body}}', 'answers', 'said', {JOB})")
    job = cursor.fetchone()[0]
    deadline, n_faults = time.monotonic() + 6, 0
    cursor = locker.cursor()
    while time.monotonic() < deadline and place.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,)) != "done":
        fault = dice.choice(["cancel", "cancel", "terminate", "lock"])
        if fault == "lock":
            table = dice.choice(["qwen_role_limit, qwen_role_models", "qwen_job_row", "qwen_job_table", "texts", "answers", "writes"])
            cursor.execute("CREATE ROLE newcomer; DROP ROLE newcomer")
            cursor.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            wait_until(lambda: waiting_worker(place) or worker_pids(place) == [], 2, "a worker that notices")
            cursor.execute("ROLLBACK")
        else:
            cursor.execute(f"SELECT pg_{fault}_backend(pid) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'")
        n_faults += 1
        time.sleep(dice.uniform(0, 0.15))
    assert n_faults > 10
    assert place.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert place.query("SELECT total, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [(150, 150, 0, None)]
    assert place.query("SELECT id FROM writes GROUP BY id HAVING count(*) <> 1") == []
    owner.close()
    locker.close()


def test_what_keeps_rows_waiting_is_told_after_the_transaction_that_met_it(place):
    """An error that passes, met under one of our triggers, and so long that its memory is given back at once."""
    place.query(
        """
        CREATE TABLE busy (id int PRIMARY KEY, body text, said text);
        INSERT INTO busy VALUES (1, 'hello', NULL);
        CREATE FUNCTION ask_too_much() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            EXECUTE E'SELECT raise_it() /*\ntrigger "busy" of a comment\n*/'; RETURN NEW; END $$;
        CREATE FUNCTION raise_it() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '53000' USING MESSAGE = 'no room ' || repeat('x', 4000000); END $$;
        CREATE TRIGGER ask BEFORE UPDATE ON busy FOR EACH ROW EXECUTE FUNCTION ask_too_much();
        """
    )
    try:
        job = place.value("SELECT qwen_submit('busy', 'Say: {body}', 'busy', 'said', max_tokens => 2, temperature => 0)")
        told = wait_until(lambda: place.query("SELECT error FROM qwen_jobs WHERE id = %s AND error LIKE '%%no room%%'", (job,)), 30, "a view that says why the row waits")[0][0]
        assert told.startswith(f"job {job}: no room xxx"), told[:100]
        place.query("DROP TRIGGER ask ON busy")
        assert place.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    finally:
        place.query("DROP TABLE busy; DROP FUNCTION ask_too_much, raise_it")


def test_tables_that_are_not_worked_on_are_told_of_and_looked_at_again(place):
    place.query("ALTER TABLE qwen_job_row DISABLE TRIGGER qwen_guard")
    try:
        job = place.value("SELECT qwen_submit('texts', 'Say: {body}', 'answers', 'said', " + JOB + ")")
        wait_until(lambda: "not worked on: the trigger qwen_guard" in (place.value("SELECT error FROM qwen_jobs WHERE id = %s", (job,)) or ""), 20, "a view that says what is wrong")
    finally:
        place.query("ALTER TABLE qwen_job_row ENABLE ALWAYS TRIGGER qwen_guard")
    # nobody tells of it: it is looked at every minute
    assert place.value("SELECT qwen_wait(%s, '100 s')", (job,)) == "done"


def test_rows_of_a_dropped_role_s_tables_go_to_who_has_them_now(place):
    """The role's worker has a job, too, which ends with the role: whoever ends it leaves nothing behind that nobody looks at."""
    place.query(
        """
        CREATE ROLE giver LOGIN; CREATE ROLE taker LOGIN; SELECT qwen_grant('giver', 'use'), qwen_grant('taker', 'use');
        CREATE TABLE given (id int PRIMARY KEY, body text, said text CONSTRAINT long CHECK (length(said) > 1000));
        CREATE TRIGGER fill AFTER INSERT ON given FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'max_tokens=2', 'temperature=0', 'max_attempts=50');
        CREATE TABLE asked (id int PRIMARY KEY, body text, said text); INSERT INTO asked SELECT i, 'text ' || i FROM generate_series(1, 4) i;
        ALTER TABLE given OWNER TO giver; ALTER TABLE asked OWNER TO giver;
        """
    )
    try:
        place.query("INSERT INTO given VALUES (1, 'hello', NULL)", user="giver")
        wait_until(lambda: place.value("SELECT max(attempts) FROM qwen_job_row") == 2, 20, "a row that is tried again")
        place.query("SELECT qwen_set_limit('giver', requests_per_minute => 1)")
        job = place.value("SELECT qwen_submit('asked', 'Say {body}', 'asked', 'said', max_tokens => 2, temperature => 0)", user="giver")
        wait_until(lambda: "has reached its limit" in (place.value("SELECT error FROM qwen_jobs WHERE id = %s", (job,)) or ""), 20, "a job that waits")
        place.query("ALTER TABLE given DROP CONSTRAINT long; REASSIGN OWNED BY giver TO taker; DROP OWNED BY giver; DROP ROLE giver")
        assert place.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "failed"
        wait_until(lambda: place.value("SELECT said IS NOT NULL FROM given"), 30, "the row that is another role's now")
    finally:
        place.query("DROP TABLE given, asked; DROP OWNED BY taker; DROP ROLE taker")


def test_a_model_that_is_not_there_hurts_rows_of_plain_roles_alone(place):
    """Unloaded, and configured with a file that is missing: the words for it depend on what the role may see, and a worker asks the model where no
    transaction is open to look that up in."""
    place.query("CREATE ROLE plain LOGIN; SELECT qwen_grant('plain', 'use'); GRANT CREATE ON SCHEMA public TO plain")
    configured = place.settings["qwen.models"]
    queue = "CREATE TABLE {0} (id int PRIMARY KEY, body text, said text); CREATE TRIGGER q AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', '{{body}}', 'max_tokens=2', 'temperature=0', 'max_attempts=2', 'model={1}')"
    try:
        place.query(queue.format("unloaded", "chat"), user="plain")
        place.query(queue.format("missing", "other"), user="plain")
        place.query("CREATE TABLE asked (id int PRIMARY KEY, body text, said text); INSERT INTO asked VALUES (1, 'one')", user="plain")
        place.query("SELECT qwen_unload_model('chat')")
        place.query("INSERT INTO unloaded VALUES (1, 'one')", user="plain")
        job = place.value("SELECT qwen_submit('asked', 'body', 'asked', 'said', max_tokens => 2, temperature => 0, max_attempts => 2)", user="plain")
        told = lambda table: place.query("SELECT error FROM qwen_dead_letters WHERE relation = %s::regclass", (table,), user="plain")  # noqa: E731
        assert "model \"chat\" is not loaded" in wait_until(lambda: told("unloaded"), 60, "a row that was given up")[0][0]
        assert place.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
        place.reload(qwen__models=configured + ", other=missing.gguf")
        wait_until(lambda: place.query("SELECT 1 FROM qwen_models WHERE name = 'other' AND state = 'failed'"), what="a load that failed")
        place.query("INSERT INTO missing VALUES (1, 'one')", user="plain")
        # beside a row that is tried for a model that stays away, others go on
        place.query("INSERT INTO unloaded VALUES (2, 'two')", user="plain")
        wait_until(lambda: place.value("SELECT said IS NOT NULL FROM unloaded WHERE id = 2"), 30, "the answer to another row")
        assert "model \"other\" could not be loaded" in wait_until(lambda: told("missing"), 60, "a row that was given up")[0][0]
        assert place.value("SELECT qwen_retry_table('unloaded')", user="plain") == 1
        wait_until(lambda: place.value("SELECT said IS NOT NULL FROM unloaded WHERE id = 1"), 30, "the answer")
    finally:
        place.reload(qwen__models=configured)
        place.query("DROP TABLE IF EXISTS unloaded, missing, asked; DROP OWNED BY plain; DROP ROLE plain")


def test_what_is_answered_is_written_while_others_wait_for_the_limit(place):
    """Three of six requests may go in a minute. The worker writes them, hears of a cancel, and one that ends has nothing of them to do again."""
    place.query(f"SELECT qwen_set_limit('{OWNER}', requests_per_minute => 3)")
    job, other = (place.value(f"SELECT qwen_submit('texts', 'Say one word about {{body}}', 'answers', 'said', {JOB})", user=OWNER) for _ in range(2))
    wait_until(lambda: place.value("SELECT done FROM qwen_jobs WHERE id = %s", (job,)) == 3, 10, "three rows that are written")
    wait_until(lambda: "limit of requests_per_minute" in (place.value("SELECT error FROM qwen_jobs WHERE id = %s", (job,)) or ""), 5, "the reason")
    place.query("SELECT qwen_cancel(%s)", (other,), user=OWNER)
    place.query("DELETE FROM qwen_job_row WHERE job = %s", (other,))  # claims of a cancelled job are swept later
    before = worker_pids(place)
    place.query("SELECT pg_terminate_backend(%s)", (before[0],))
    wait_until(lambda: worker_pids(place) not in ([], before), 10, "another worker")
    wait_until(lambda: place.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'limited'") > 0, what="requests that wait at the door")
    assert used(place, OWNER, "requests_per_minute") == 3
    place.query(f"SELECT qwen_clear_limit('{OWNER}')")
    check_done(place, job)


def test_a_worker_that_writes_does_not_stand_in_its_role_s_queue(place):
    """Others of the role are not made to wait for requests of a worker that is held up elsewhere and asks for nothing just now."""
    place.query("CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION gate_row()")
    place.query(f"SELECT qwen_set_limit('{OWNER}', requests_per_minute => 3)")
    owner, locker = place.connect(OWNER), place.connect()
    try:
        locker.cursor().execute("BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE")
        job = place.value(f"SELECT qwen_submit('texts', 'Say one word about {{body}}', 'answers', 'said', {JOB})", user=OWNER)
        wait_until(lambda: used(place, OWNER, "requests_per_minute") == 3, what="requests that are computed")
        wait_until(lambda: not waiting_worker(place), what="a pause between two attempts to write")
        wait_until(lambda: waiting_worker(place), what="an attempt to write")
        place.query(f"SELECT qwen_set_limit('{OWNER}', requests_per_minute => 10)")
        owner.cursor().execute("SELECT qwen_chat('Hi', max_tokens => 1)")
        locker.cursor().execute("ROLLBACK")
        check_done(place, job)
    finally:
        owner.close()
        locker.close()


def test_a_worker_leaves_when_its_role_s_settings_change(place):
    """Rows come faster than it ends; they are read and asked with what holds when they come."""
    place.query(
        """
        CREATE ROLE setter LOGIN; SELECT qwen_grant('setter', 'use'); CREATE TABLE kept (id int PRIMARY KEY, body text, said text);
        CREATE TRIGGER fill AFTER INSERT ON kept FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'max_tokens=2', 'temperature=0', 'max_attempts=30');
        ALTER TABLE kept OWNER TO setter; ALTER ROLE setter SET qwen.default_model = 'nix';
        """
    )
    try:
        place.query("INSERT INTO kept VALUES (1, 'hello', NULL)", user="setter")
        wait_until(lambda: place.value("SELECT error LIKE '%nix%' FROM qwen_job_row"), 20, "a row that asks a model that is not there")
        first = worker_pids(place)
        place.query("ALTER ROLE setter RESET ALL")
        place.query("INSERT INTO kept SELECT i, 'hello', NULL FROM generate_series(2, 5) i", user="setter")
        wait_until(lambda: place.value("SELECT count(said) FROM kept WHERE id > 1") == 4, 20, "answers of the model that is there")
        assert place.value("SELECT count(*) FROM qwen_job_row WHERE error LIKE '%nix%' AND id > (SELECT min(id) FROM qwen_job_row)") == 0
        assert not set(first) & set(worker_pids(place))
        wait_until(lambda: place.value("SELECT count(said) FROM kept") == 5, 30, "the first row's next attempt")
    finally:
        place.query("DROP TABLE kept; DROP OWNED BY setter; DROP ROLE setter")
