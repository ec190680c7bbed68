"""Two-phase commit: what a prepared transaction queued is answered after COMMIT PREPARED, whoever commits it and whatever happened between."""
import pytest
from cluster import Cluster, wait_until
from conftest import ready

QUEUE = """CREATE TABLE {0} (id int PRIMARY KEY, body text, answer text);
    CREATE TRIGGER queue AFTER INSERT ON {0} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0');"""
WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker'"
SCOUTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'qwen_pg job scout'"


@pytest.fixture(scope="module")
def two_phase():
    cluster = Cluster(settings={"max_prepared_transactions": 100})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


def prepare(server, name, sql):
    session = server.connect()
    cursor = session.cursor()
    cursor.execute(f"BEGIN; {sql}")
    cursor.execute(f"PREPARE TRANSACTION '{name}'")
    session.close()


def answered(server, table, n, seconds=20):
    wait_until(lambda: server.value(f"SELECT count(answer) FROM {table}") == n, seconds, f"{n} answers in {table}")


def is_quiet(server):
    wait_until(lambda: server.value(WORKERS) == 0 and server.value(SCOUTS) == 0, 20, "workers and scouts to end")


def test_rows_are_answered_after_the_commit_of_another_session(two_phase):
    server = two_phase
    server.query(QUEUE.format("two"))
    is_quiet(server)
    prepare(server, "two", "INSERT INTO two VALUES (1, 'a word'); SAVEPOINT s; INSERT INTO two VALUES (2, 'b'); RELEASE s")
    assert server.value(WORKERS) == 0 and server.value("SELECT count(*) FROM two") == 0
    server.query("COMMIT PREPARED 'two'")
    answered(server, "two", 2, 4)  # before a scout of the next minute could


def test_what_is_rolled_back_leaves_nothing(two_phase):
    server = two_phase
    server.query(QUEUE.format("undone_two"))
    is_quiet(server)
    prepare(server, "back", "INSERT INTO undone_two VALUES (1, 'a word')")
    server.query("ROLLBACK PREPARED 'back'")
    # the name is free again, and stands for another transaction
    prepare(server, "back", "INSERT INTO undone_two VALUES (2, 'a word')")
    server.query("COMMIT PREPARED 'back'")
    answered(server, "undone_two", 1, 4)
    assert server.query("SELECT id FROM undone_two") == [(2,)]
    assert server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'undone_two'::regclass") == 0


def test_jobs_can_be_prepared(two_phase):
    server = two_phase
    server.query("CREATE TABLE jobs_two (id int PRIMARY KEY, body text, answer text); INSERT INTO jobs_two SELECT i, 'word' FROM generate_series(1, 5) i")
    prepare(server, "job", "SELECT qwen_submit('jobs_two', 'body', 'jobs_two', 'answer', max_tokens => 1, temperature => 0)")
    assert server.value("SELECT count(*) FROM qwen_jobs WHERE target = 'jobs_two'::regclass") == 0
    server.query("COMMIT PREPARED 'job'")
    answered(server, "jobs_two", 5, 4)


def test_more_than_there_is_room_for_is_found_too(two_phase):
    """70 prepared transactions at once: the last ones are not kept by name, and a scout looks when they are committed."""
    server = two_phase
    server.query(QUEUE.format("many_two"))
    for i in range(70):
        prepare(server, f"many {i}", f"INSERT INTO many_two VALUES ({i}, 'a word')")
    for i in range(69, -1, -1):
        server.query(f"COMMIT PREPARED 'many {i}'")
    answered(server, "many_two", 70, 30)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_prepared_before_a_restart(two_phase, mode):
    server = two_phase
    table = f"{mode}_two"
    server.query(QUEUE.format(table))
    prepare(server, mode, f"INSERT INTO {table} VALUES (1, 'a word')")
    server.stop(mode)
    server.start()
    is_quiet(server)
    server.query(f"COMMIT PREPARED '{mode}'")
    answered(server, table, 1, 30)


def test_other_prepared_transactions_call_nobody(two_phase):
    server = two_phase
    server.query("CREATE TABLE plain_two (id int)")
    wait_until(lambda: server.value("SELECT count(*) FROM pg_prepared_xacts") == 0)
    server.query(QUEUE.format("seen_two"))
    # a scout that has seen that there is none
    server.restart()
    is_quiet(server)
    for i in range(20):
        prepare(server, f"plain {i}", f"INSERT INTO plain_two VALUES ({i})")
        server.query(f"COMMIT PREPARED 'plain {i}'")
        assert server.value(WORKERS) == 0 and server.value(SCOUTS) == 0
