"""More than one server: two nodes by postgres_fdw, two standbys, logical replication, partitions, a dump, a pooler. Each has an engine of its own.

Every row of docs/scale.md's tables is one of these tests or names its way out there."""
import os
import re
import shutil
import subprocess
import sys
import time

import psycopg2
import pytest

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "..", "tools"), os.path.join(here, "..", "cluster")]
from cluster import MODEL_FILE, Cluster, as_server_user, free_port, server_user, wait_until  # noqa: E402
from conftest import ready  # noqa: E402

QUEUE = "CREATE TRIGGER queue AFTER INSERT OR UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0')"
TABLE = "CREATE TABLE {0} (id int PRIMARY KEY, body text, answer text)"


@pytest.fixture(scope="module")
def make():
    made = []

    def make(settings=None, prepared=True):
        cluster = Cluster(settings={"qwen.threads": 1, "wal_level": "logical", "max_wal_senders": 8, "max_replication_slots": 8, "max_prepared_transactions": 20, **(settings or {})})
        made.append(cluster)
        return ready(cluster) if prepared else cluster

    yield make
    for cluster in reversed(made):
        cluster.remove()


@pytest.fixture(scope="module")
def nodes(make):
    """A coordinator without work of its own, and two nodes with the same texts."""
    coordinator, left, right = make(), make(), make()
    coordinator.query("CREATE EXTENSION postgres_fdw")
    for name, node, first in (("a", left, 1), ("b", right, 1001)):
        node.query(f"""CREATE TABLE news (id int PRIMARY KEY, body text);
            INSERT INTO news SELECT {first} + i, 'On day ' || i || ' the baker of the village sold ' || i * 3 || ' loaves of bread.' FROM generate_series(0, 47) i;
            CREATE VIEW told AS SELECT id, qwen_summarize(body, max_words => 10, max_tokens => 24, temperature => 0) AS summary FROM news""")
        coordinator.query(f"""CREATE SERVER {name} FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{node.folder}', port '{node.port}', dbname 'postgres', async_capable 'true', fetch_size '1000');
            CREATE USER MAPPING FOR CURRENT_USER SERVER {name} OPTIONS (user '{server_user()}');
            CREATE FOREIGN TABLE told_{name} (id int, summary text) SERVER {name} OPTIONS (table_name 'told')""")
    coordinator.query("CREATE TABLE told (id int, summary text) PARTITION BY RANGE (id)")
    coordinator.query("ALTER TABLE told ATTACH PARTITION told_a FOR VALUES FROM (1) TO (1001); ALTER TABLE told ATTACH PARTITION told_b FOR VALUES FROM (1001) TO (2001)")
    return coordinator, left, right


def timed(server, sql):
    began = time.monotonic()
    rows = server.query(sql)
    return rows, time.monotonic() - began


def keep_on(server, processor):
    """A node's engine works on this processor, as on a machine of its own."""
    for thread in os.listdir(f"/proc/{server.engine_pid()}/task"):
        os.sched_setaffinity(int(thread), {processor})


def test_two_nodes_work_at_once(nodes):
    """A view on each node calls the model; the coordinator asks both at once. 1.8 times the rows a second of one node, of each on a processor of its own, which may differ in speed."""
    coordinator, left, right = nodes
    assert "Async Foreign Scan" in str(coordinator.query("EXPLAIN SELECT * FROM told"))
    processors = sorted(os.sched_getaffinity(0))
    for node, processor in zip((left, right), processors * 2):
        keep_on(node, processor)
    factors = []
    for round in range(7):
        alone = []
        for table in ("told_a", "told_b"):
            rows, seconds = timed(coordinator, f"SELECT * FROM {table}")
            assert len(rows) == 48 and all(summary for _, summary in rows)
            alone.append(seconds)
        rows, both = timed(coordinator, "SELECT * FROM told")  # partitions in order would be asked one after the other
        assert len(rows) == 96
        if round:  # the first one finds nothing in the engines' caches
            factors.append((sum(alone) / both, 96 / sum(alone), 96 / both))
    # the same words as each node by itself, in one batch
    assert dict(rows) == dict(left.query("SELECT * FROM told") + right.query("SELECT * FROM told"))
    factor, one, two = sorted(factors)[len(factors) // 2]
    print(f"\ntwo fdw nodes: {one:.1f} rows/s by one, {two:.1f} by two, {factor:.2f} times (from {min(factors)[0]:.2f} to {max(factors)[0]:.2f})")
    if len(processors) >= 2 and not os.environ.get("QWEN_SCALE_BUSY"):
        assert factor >= 1.8


def test_an_error_of_one_node_is_the_statements(nodes):
    coordinator, left, _ = nodes
    left.query("CREATE VIEW wrong AS SELECT id, qwen_summarize(body, max_words => -1) AS summary FROM news")
    coordinator.query("CREATE FOREIGN TABLE wrong (id int, summary text) SERVER a OPTIONS (table_name 'wrong')")
    with pytest.raises(psycopg2.Error, match="max_words"):
        coordinator.query("SELECT * FROM wrong UNION ALL SELECT * FROM told_b")
    assert len(coordinator.query("SELECT * FROM told_a")) == 48


def test_a_cancel_reaches_the_nodes(nodes):
    coordinator, left, right = nodes
    with pytest.raises(psycopg2.Error, match="statement timeout"):
        coordinator.query("SET statement_timeout = '300ms'; SELECT * FROM told")
    for node in (left, right):
        wait_until(lambda node=node: node.value("SELECT running + waiting FROM qwen_stat_engine") == 0, 10, "the engine to be free")


@pytest.fixture(scope="module")
def standbys(make):
    primary = make({"hot_standby": "on"})
    pair = []
    for _ in range(2):
        standby = make({"hot_standby": "on"}, prepared=False)
        if os.geteuid() == 0:
            shutil.chown(standby.folder, "postgres", "postgres")
        os.chmod(standby.folder, 0o755)
        backup = [f"{primary.programs}/pg_basebackup", "-h", primary.folder, "-p", str(primary.port), "-D", standby.data, "-X", "stream", "-c", "fast"]
        subprocess.run(as_server_user(backup), cwd="/tmp", check=True, capture_output=True)
        assert not [name for name in os.listdir(standby.data) if "qwen_pg" in name], "neither socket nor usage come along"
        standby.run(["touch", os.path.join(standby.data, "standby.signal")])
        standby.settings["primary_conninfo"] = f"host={primary.folder} port={primary.port} user={server_user()}"
        pair.append(standby.start())
    return primary, pair


def test_two_standbys_answer_alike(standbys):
    primary, pair = standbys
    primary.query(TABLE.format("read") + "; INSERT INTO read SELECT i, 'word ' || i FROM generate_series(1, 20) i")
    sql = "SELECT id, qwen_generate(body, max_tokens => 5, temperature => 0) FROM read ORDER BY id"
    answers = primary.query(sql)
    for standby in pair:
        wait_until(lambda standby=standby: standby.query("SELECT to_regclass('read')") == [("read",)] and standby.value("SELECT count(*) FROM read") == 20, 20, "replication")
        assert standby.query(sql) == answers


def test_queued_work_goes_on_where_the_writes_do(standbys):
    """Rows are queued on the primary, which ends; the promoted standby answers them, prepared transactions too, and the other standby reads the answers."""
    primary, (first, second) = standbys
    primary.query(TABLE.format("moved") + ";" + QUEUE.format("moved"))
    # the owner cannot connect from then on, so no worker of the primary answers
    primary.query("CREATE ROLE mover LOGIN; GRANT ALL ON SCHEMA public TO mover; ALTER TABLE moved OWNER TO mover")
    session = primary.connect()
    cursor = session.cursor()
    cursor.execute("BEGIN; INSERT INTO moved VALUES (11, 'word'); PREPARE TRANSACTION 'moved'")
    session.close()
    primary.query("BEGIN; INSERT INTO moved SELECT i, 'word ' || i FROM generate_series(1, 10) i; ALTER ROLE mover NOLOGIN; COMMIT")
    wait_until(lambda: first.query("SELECT to_regclass('moved')") == [("moved",)] and first.value("SELECT count(*) FROM moved") == 10, 20, "replication")
    primary.stop("immediate")
    assert first.value("SELECT pg_promote()")
    first.query("ALTER ROLE mover LOGIN")
    wait_until(lambda: first.value("SELECT count(answer) FROM moved") + 0 >= 1, 40, "answers of the promoted server")
    first.query("COMMIT PREPARED 'moved'")
    wait_until(lambda: first.value("SELECT count(answer) FROM moved") == 11, 40, "all answers")
    second.settings["primary_conninfo"] = f"host={first.folder} port={first.port} user={server_user()}"
    second.restart()
    wait_until(lambda: second.value("SELECT count(answer) FROM moved") == 11, 40, "the answers on the other standby")


def test_logical_replication(make):
    """The subscriber's own trigger answers, what the first copy brings too; columns that are published decide who gives the answer."""
    publisher, subscriber = make(), make()
    publisher.query(TABLE.format("posts") + "; INSERT INTO posts VALUES (1, 'one'), (2, 'two')")
    columns = "(id, body)" if publisher.value("SELECT current_setting('server_version_num')::int") >= 150000 else ""
    publisher.query(f"CREATE PUBLICATION posts FOR TABLE posts {columns}")
    subscriber.query(TABLE.format("posts"))
    subscriber.query(QUEUE.format("posts") + "; ALTER TABLE posts ENABLE ALWAYS TRIGGER queue")
    subscriber.query(f"CREATE SUBSCRIPTION posts CONNECTION 'host={publisher.folder} port={publisher.port} dbname=postgres user={server_user()}' PUBLICATION posts WITH (two_phase = on)")
    try:
        wait_until(lambda: subscriber.value("SELECT count(*) FROM posts") == 2, 30, "the first copy")
        wait_until(lambda: subscriber.value("SELECT count(answer) FROM posts") == 2, 30, "answers of what was copied")
        publisher.query("INSERT INTO posts VALUES (3, 'three')")
        wait_until(lambda: subscriber.value("SELECT count(answer) FROM posts") == 3, 30, "the answer of what was inserted")
        assert publisher.value("SELECT count(answer) FROM posts") == 0
        if columns:
            publisher.query("UPDATE posts SET answer = 'mine' WHERE id = 1")
            publisher.query("INSERT INTO posts VALUES (4, 'four')")
            wait_until(lambda: subscriber.value("SELECT count(answer) FROM posts") == 4, 30)
            assert subscriber.value("SELECT answer <> 'mine' FROM posts WHERE id = 1"), "columns that are not published stay the subscriber's"
        session = publisher.connect()
        session.cursor().execute("BEGIN; INSERT INTO posts VALUES (5, 'five'); PREPARE TRANSACTION 'posts'")
        session.close()
        publisher.query("COMMIT PREPARED 'posts'")
        # its apply worker runs no statement: a scout of every minute finds the row
        wait_until(lambda: subscriber.value("SELECT count(*) FROM posts") == 5, 30, "the prepared row")
        wait_until(lambda: subscriber.value("SELECT answer IS NOT NULL FROM posts WHERE id = 5"), 90, "the answer of the prepared row")
    finally:
        subscriber.query("DROP SUBSCRIPTION posts")


def test_detached_partitions_and_dumps_are_queued_again(make):
    server = make()
    server.query("CREATE TABLE parts (id int PRIMARY KEY, body text, answer text) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100)")
    server.query(QUEUE.format("parts"))
    session = server.connect()
    cursor = session.cursor()
    cursor.execute("BEGIN; INSERT INTO parts SELECT i, 'word' FROM generate_series(1, 20) i; ALTER TABLE parts DETACH PARTITION parts_1; COMMIT")
    session.close()
    server.query(QUEUE.format("parts_1"))
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE NOT dead") == 0, 20, "an empty queue")
    lost = server.value("SELECT count(*) FROM parts_1 WHERE answer IS NULL")
    assert server.query("SELECT count(*), min(error) FROM qwen_dead_letters") == [(lost, lost and 'the trigger "queue" was dropped before the row was filled in' or None)], "nothing is lost silently"
    server.query("SELECT qwen_retry_table('parts_1')")
    wait_until(lambda: server.value("SELECT count(answer) FROM parts_1") == 20, 30, "answers of the detached partition")
    # a dump leaves the queue out, and the restored table has its trigger
    server.query("UPDATE parts_1 SET answer = NULL WHERE id <= 3")
    dump = server.run([f"{server.programs}/pg_dump", "-h", server.folder, "-p", str(server.port), "-U", server_user(), "-t", "parts_1", "postgres"]).stdout
    other = make()
    done = subprocess.run(as_server_user([f"{other.programs}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", other.folder, "-p", str(other.port), "-U", server_user(), "postgres"]),
                          input=dump, text=True, capture_output=True, check=False, cwd="/tmp")
    assert done.returncode == 0, done.stderr
    waiting = other.value("SELECT count(*) FROM parts_1 WHERE answer IS NULL")
    assert other.value("SELECT qwen_enqueue('parts_1')") == waiting
    wait_until(lambda: other.value("SELECT count(answer) FROM parts_1") == 20, 30, "answers after the restore")


def test_a_restore_tells_of_roles_that_are_missing_and_asks_for_views(make):
    """Limits of a dump come back where its roles are; where one is missing the restore says so, and they do after it is made. A materialized view asks the model again."""
    server, other = make(), make({"qwen.models": ""}, prepared=False).start()

    def restore(dump, table=None):
        given = dump if not table else re.search(rf"COPY public\.{table} .*?\n\\\.\n", dump, re.S)[0]
        return subprocess.run(as_server_user([f"{other.programs}/psql", "-X", "-q", "-h", other.folder, "-p", str(other.port), "-U", server_user(), "postgres"]), input=given, text=True, capture_output=True, check=True, cwd="/tmp").stderr

    server.query("CREATE ROLE restored_one; CREATE ROLE restored_two; SELECT qwen_set_limit('restored_one', tokens_per_day => 5); SELECT qwen_set_limit('restored_two', tokens_per_day => 6)")
    server.query("CREATE MATERIALIZED VIEW restored AS SELECT i, qwen_generate('word ' || i, max_tokens => 1, temperature => 0) AS word FROM generate_series(1, 3) i")
    dump = server.run([f"{server.programs}/pg_dump", "-h", server.folder, "-p", str(server.port), "-U", server_user(), "postgres"]).stdout
    other.query("CREATE ROLE restored_two")
    said = restore(dump)
    assert 'role "restored_one" does not exist' in said and "COPY qwen_role_limit" in said, said
    assert other.value("SELECT count(*) FROM qwen_limits") == 0
    # no model there yet: the view says so and is empty, until it is refreshed
    assert "model" in said and other.query("SELECT relispopulated FROM pg_class WHERE relname = 'restored'") == [(False,)], said
    other.query("CREATE ROLE restored_one")
    assert restore(dump, "qwen_role_limit") == ""
    assert other.query("SELECT role::text, tokens_per_day FROM qwen_limits ORDER BY 1") == [("restored_one", 5), ("restored_two", 6)]
    other.reload(qwen__models=f"chat={MODEL_FILE}")
    wait_until(lambda: other.value("SELECT count(*) FROM qwen_models") == 1, 20, "the model")
    other.query("REFRESH MATERIALIZED VIEW restored")
    assert other.query("SELECT * FROM restored ORDER BY i") == server.query("SELECT * FROM restored ORDER BY i")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler(make, mode, tmp_path_factory):
    """pgbouncer: chats of many clients over few connections, a client that goes away, and prepared work."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    assert program, "pgbouncer is not installed"
    server = make()
    folder = tmp_path_factory.mktemp("pgbouncer")
    os.chmod(folder, 0o777)
    for parent in folder.parents:
        if "pytest" in str(parent):
            os.chmod(parent, 0o755)
    port = free_port()
    (folder / "users").write_text(f'"{server_user()}" ""\n')
    (folder / "ini").write_text(f"""[databases]
postgres = host={server.folder} port={server.port} dbname=postgres user={server_user()}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 8
logfile = {folder}/log
""")
    process = subprocess.Popen(as_server_user([program, str(folder / "ini")]), cwd="/tmp", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def connect():
        connection = psycopg2.connect(host="127.0.0.1", port=port, dbname="postgres", user=server_user())
        connection.autocommit = True
        return connection

    def is_there():
        try:
            connect().close()
            return True
        except psycopg2.OperationalError:
            return False

    try:
        wait_until(is_there, 20, "pgbouncer")
        import threading

        answers = []

        def chat(i):
            connection = connect()
            cursor = connection.cursor()
            cursor.execute("SELECT qwen_generate(%s, max_tokens => 3, temperature => 0)", (f"word {i}",))
            answers.append((i, cursor.fetchone()[0]))
            connection.close()

        threads = [threading.Thread(target=chat, args=(i,)) for i in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert dict(answers) == {i: server.value("SELECT qwen_generate(%s, max_tokens => 3, temperature => 0)", (f"word {i}",)) for i in range(30)}
        connection = connect()
        cursor = connection.cursor()
        cursor.execute("SET statement_timeout = '200ms'")
        with pytest.raises(psycopg2.Error, match="timeout"):
            cursor.execute("SET statement_timeout = '200ms'; SELECT qwen_generate('Once', max_tokens => 3000)")
        connection.close()
        wait_until(lambda: server.value("SELECT running + waiting FROM qwen_stat_engine") == 0, 10, "the engine to be free")
    finally:
        process.terminate()
        process.wait(20)
