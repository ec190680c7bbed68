"""The queue of triggers at speed: commits wake only who waits, and each look begins behind what has gone, without losing what comes late."""
from cluster import wait_until

# a source that becomes NULL needs no model: the target, whose value was given, becomes NULL
TABLE = """
    DROP TABLE IF EXISTS fast;
    CREATE TABLE fast (id bigint PRIMARY KEY, body text, answer text);
    CREATE TRIGGER queue AFTER INSERT OR UPDATE ON fast FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0', 'max_attempts=1');
"""
NOT_FILLED = "SELECT count(*) FROM fast WHERE answer IS NOT NULL"


def put(cursor, first, last):
    cursor.execute("INSERT INTO fast SELECT i, 'word', 'old' FROM generate_series(%s, %s) i; UPDATE fast SET body = NULL WHERE id BETWEEN %s AND %s", (first, last, first, last))


def switches(pid):
    with open(f"/proc/{pid}/status") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt"))


def index_reads(server):
    server.query("SELECT pg_stat_clear_snapshot()")
    return server.value("SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_all_indexes WHERE indexrelname = 'qwen_job_row_waiting'")


def test_looks_begin_behind_what_has_gone(server):
    """With an old snapshot open, nothing can be cleared away: all entries of rows that have gone stay in the index."""
    server.query(TABLE)
    holder, writer = server.connect(), server.connect()
    try:
        holder.cursor().execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM qwen_jobs")
        before = index_reads(server)
        n = 12000
        for first in range(1, n, 1000):
            put(writer.cursor(), first, first + 999)
        wait_until(lambda: server.value(NOT_FILLED) == 0, 60, "the rows")
        wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 20, "no worker")
        # a look at the entries from the beginning for every 64 rows would be n * n / 128: more than a million
        assert index_reads(server) - before < 20 * n
    finally:
        holder.close()
        writer.close()


def test_rows_that_are_committed_late_are_not_passed(server):
    """Ids that were taken early and committed late, in all orders, beside thousands that go through meanwhile."""
    server.query(TABLE)
    late = [server.connect() for _ in range(6)]
    writer = server.connect()
    try:
        for i, session in enumerate(late):
            session.cursor().execute("BEGIN")
            session.cursor().execute("SAVEPOINT a")
            put(session.cursor(), 1000000 + i, 1000000 + i)
        n = 0
        for session in (late[3], late[0], late[5], late[1], late[4]):
            for _ in range(2):
                put(writer.cursor(), n + 1, n + 1000)
                n += 1000
                wait_until(lambda: server.value(NOT_FILLED) == 0, 60, "the rows before")
            session.cursor().execute("COMMIT")
            wait_until(lambda: server.value(NOT_FILLED) == 0, 20, "the row that was committed late")
        late[2].cursor().execute("ROLLBACK")
        put(writer.cursor(), n + 1, n + 1000)
        wait_until(lambda: server.value(NOT_FILLED) == 0 and server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'fast'::regclass") == 0, 20, "an empty queue")
    finally:
        for session in late + [writer]:
            session.close()


def test_rows_that_come_back_are_found_behind_the_floor(server):
    server.query(TABLE)
    server.query("ALTER TABLE fast ADD CONSTRAINT kept CHECK (id <> 1 OR answer IS NOT NULL)")
    put(server.connect().cursor(), 1, 1)
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'fast'::regclass") == 1, 20, "a dead letter")
    writer = server.connect()
    # somebody keeps the worker there while many pass
    server.query("INSERT INTO fast SELECT i, 'word ' || i, NULL FROM generate_series(2000001, 2000200) i")
    put(writer.cursor(), 1001, 3000)
    wait_until(lambda: server.value(NOT_FILLED + " AND id BETWEEN 1001 AND 3000") == 0, 60, "the rows")
    server.query("ALTER TABLE fast DROP CONSTRAINT kept")
    assert server.value("SELECT qwen_retry_table('fast')") == 1
    wait_until(lambda: server.value("SELECT answer IS NULL FROM fast WHERE id = 1"), 30, "the row that was tried again")
    writer.close()


def test_commits_do_not_wake_who_is_at_work(server):
    server.query(TABLE)
    with open(f"/proc/{server.engine_pid()}/stat") as file:
        supervisor = int(file.read().rsplit(")", 1)[1].split()[1])
    writer = server.connect()
    cursor = writer.cursor()
    # enough that the model takes a while for, so that the worker is full and at work
    cursor.execute("INSERT INTO fast SELECT i, 'word ' || i, NULL FROM generate_series(1, 100) i")
    wait_until(lambda: server.value("SELECT count(*) FROM _qwen_job_workers() WHERE state = 'running'") == 1, 20, "a worker")
    worker = server.value("SELECT pid FROM _qwen_job_workers()")
    before = switches(supervisor), switches(worker)
    n = 1000
    for i in range(n):
        put(cursor, 10000 + i, 10000 + i)
    assert switches(supervisor) - before[0] < n / 10
    try:
        assert switches(worker) - before[1] < n
    except FileNotFoundError:
        pass  # it has done all of it meanwhile
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 120, "an empty queue")
    writer.close()
