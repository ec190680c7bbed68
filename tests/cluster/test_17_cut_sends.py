"""Cancels in the middle of a request that is being sent: the rest of its frame never comes, and the session answers all the same."""
import random
import re
import signal
import threading
import time

import psycopg2
import pytest
from cluster import wait_until
from sessions import Background, wait_idle

CUT = re.compile(r"a request was cut after (\d+) of (\d+) bytes")
WANTED_CUTS = 200
N_SESSIONS = 4
SHORT = "SELECT qwen_count_tokens('one two three')"


@pytest.fixture(scope="module")
def big(server):
    """Texts of a few MB, as they are sent: nothing is unpacked for them."""
    server.query("CREATE TABLE big (id int PRIMARY KEY, body text STORAGE EXTERNAL)" if server.value("SHOW server_version_num") >= "160000" else "CREATE TABLE big (id int PRIMARY KEY, body text)")
    server.query("ALTER TABLE big ALTER body SET STORAGE EXTERNAL; INSERT INTO big SELECT i, repeat('words and more words. ', i * 50000) FROM generate_series(1, 8) i")
    yield server
    server.query("DROP TABLE big")


def cuts_of(connection):
    """What the session says of requests that it left unfinished: the bytes sent, and those there were. The notices are taken."""
    found = [tuple(map(int, match)) for notice in connection.notices for match in CUT.findall(notice)]
    del connection.notices[:]
    return found


class Canceller(threading.Thread):
    """A session whose statements are cancelled at random moments, and which must answer after each."""

    def __init__(self, server, seed, cuts, deadline):
        super().__init__(daemon=True)
        self.server, self.random, self.cuts, self.deadline = server, random.Random(seed), cuts, deadline
        self.failure, self.n_statements = None, 0
        self.start()

    def end_timeout(self, cursor):
        """It holds for the statement that ends it, too: 1 ms may be over by then."""
        for _ in range(100):
            try:
                cursor.execute("SET statement_timeout = '30s'")
                return
            except psycopg2.errors.QueryCanceled:
                pass

    def run(self):
        try:
            self.connection = self.server.connect()
            cursor = self.connection.cursor()
            cursor.execute("SET client_min_messages = debug1")
            cursor.execute(SHORT)
            expected = cursor.fetchall()
            while len(self.cuts) < WANTED_CUTS and time.monotonic() < self.deadline:
                self.n_statements += 1
                cursor.execute(f"SET statement_timeout = {self.random.randint(1, 40)}")
                try:
                    cursor.execute(f"SELECT qwen_count_tokens(body) FROM big WHERE id = {self.random.randint(1, 8)}")
                except psycopg2.errors.QueryCanceled:
                    pass
                self.cuts += cuts_of(self.connection)
                self.end_timeout(cursor)
                cursor.execute(SHORT)
                assert cursor.fetchall() == expected
            self.connection.close()
        except Exception as error:  # the test looks at it
            self.failure = error


def test_a_session_answers_after_any_cancel_of_a_send(big):
    cuts, deadline = [], time.monotonic() + 120
    sessions = [Canceller(big, seed, cuts, deadline) for seed in range(N_SESSIONS)]
    for session in sessions:
        session.join(150)
    assert [session.failure for session in sessions] == [None] * N_SESSIONS
    assert not any(session.is_alive() for session in sessions)
    assert len(cuts) >= WANTED_CUTS, f"only {len(cuts)} of {sum(s.n_statements for s in sessions)} statements were cut in the middle of a send"
    assert all(0 < sent < whole for sent, whole in cuts)
    wait_idle(big)


def test_a_cut_send_is_no_end_of_the_engine(big):
    """What else the session had under way is lost with the connection, and says why."""
    connection = big.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    engine = big.engine_pid()
    cursor.execute("SET client_min_messages = debug1")
    cursor.execute("DECLARE pieces CURSOR FOR SELECT qwen_chat_stream('Tell me a long story', max_tokens => 2000, temperature => 0)")
    cursor.execute("FETCH 1 FROM pieces")
    del connection.notices[:]
    big.signal(engine, signal.SIGSTOP)  # so that the next send stands still in the middle
    try:
        cursor.execute("SAVEPOINT before; SET LOCAL statement_timeout = '200ms'")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute("SELECT qwen_count_tokens(body) FROM big WHERE id = 8")
    finally:
        big.signal(engine, signal.SIGCONT)
    assert len(cuts_of(connection)) == 1
    cursor.execute("ROLLBACK TO before")
    with pytest.raises(psycopg2.Error) as failure:
        for _ in range(2000):
            cursor.execute("FETCH 1 FROM pieces")
    assert failure.value.pgcode == "58000" and "the connection to the qwen engine was given up" in str(failure.value)
    connection.rollback()
    cursor.execute(SHORT)
    assert cursor.fetchone()[0] > 0 and big.engine_pid() == engine
    connection.close()
    wait_until(lambda: big.value("SELECT running FROM qwen_stat_engine") == 0, what="the stream's end")


def test_termination_in_the_middle_of_a_send_leaves_nothing(big):
    engine = big.engine_pid()
    big.signal(engine, signal.SIGSTOP)
    try:
        call = Background(big, "SELECT qwen_count_tokens(body) FROM big WHERE id = 8")
        wait_until(lambda: big.value("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (call.pid,)) == "Extension", what="a send that stands still")
        big.query("SELECT pg_terminate_backend(%s)", (call.pid,))
        assert call.join(5).error is not None
    finally:
        big.signal(engine, signal.SIGCONT)
    assert big.value(SHORT) > 0 and big.engine_pid() == engine
    wait_idle(big)


FAIL_IN_A_BLOCK = """DO $$ BEGIN
    PERFORM length(qwen_generate('Once upon a time ' || i, temperature => 0, max_tokens => CASE i WHEN 1 THEN 1 ELSE 3000 END, stop => ARRAY['never-said'])) / (i - 1)
        FROM generate_series(1, 16) i;
    EXCEPTION WHEN division_by_zero THEN NULL; END $$"""


@pytest.mark.parametrize(
    "give_up",
    [
        "SAVEPOINT s; DECLARE c CURSOR FOR SELECT qwen_chat_stream('Tell a long story', max_tokens => 3000, temperature => 0); FETCH 1 FROM c; ROLLBACK TO s",
        "DECLARE c CURSOR FOR SELECT qwen_generate('Once ' || i, max_tokens => CASE WHEN i < 3 THEN 1 ELSE 3000 END, stop => ARRAY['never-said']) FROM generate_series(1, 9) i; MOVE 2 FROM c; CLOSE c",
        FAIL_IN_A_BLOCK,
    ],
    ids=["savepoint", "closed cursor", "exception block"],
)
def test_what_was_under_way_ends_with_its_subtransaction(server, give_up):
    """While the transaction around it goes on."""
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute(give_up)
    wait_idle(server, 3)
    cursor.execute(SHORT)
    assert cursor.fetchone()[0] > 0
    cursor.execute("COMMIT")
    connection.close()
