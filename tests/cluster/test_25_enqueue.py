"""qwen_enqueue: rows that nothing has queued get their answers, and no others."""
import psycopg2
import pytest
from cluster import wait_until

QUEUE = "CREATE TRIGGER {1} AFTER INSERT OR UPDATE ON {0} FOR EACH ROW {2} EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0')"


def answered(server, table, n, seconds=20):
    wait_until(lambda: server.value(f"SELECT count(answer) FROM {table}") == n, seconds, f"{n} answers in {table}")


def test_rows_of_before_the_trigger(server):
    server.query("CREATE TABLE early (id int PRIMARY KEY, body text, answer text)")
    server.query("INSERT INTO early SELECT i, CASE WHEN i <> 3 THEN 'a word' END, CASE WHEN i = 4 THEN 'mine' END FROM generate_series(1, 6) i")
    server.query(QUEUE.format("early", "queue", ""))
    assert server.value("SELECT qwen_enqueue('early')") == 4, "all but the row without a source and the one with a value"
    answered(server, "early", 5)
    assert server.value("SELECT answer FROM early WHERE id = 4") == "mine"
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'early'::regclass") == 0, 20, "an empty queue")
    assert server.value("SELECT qwen_enqueue('early')") == 0
    server.query("DROP TABLE early")


def test_rows_with_nothing_to_see_have_no_answer_and_are_not_queued(server):
    server.query("CREATE TABLE bare (id int PRIMARY KEY, body text, pad char(5), answer text)")
    server.query("INSERT INTO bare SELECT i, (ARRAY['', E' \\t\\n', chr(8203), NULL, 'a word'])[i], ' ' FROM generate_series(1, 5) i")
    server.query(QUEUE.format("bare", "queue", "").replace("'body'", "'Say: {body}{pad}'"))
    assert server.value("SELECT qwen_enqueue('bare')") == 1, "the row with a word"
    answered(server, "bare", 1)
    server.query("UPDATE bare SET body = 'a word' WHERE id = 1")
    answered(server, "bare", 2)
    server.query("DROP TABLE bare")


def test_what_waits_or_has_failed_is_not_queued_twice(server):
    server.query("CREATE TABLE queued_once (id int PRIMARY KEY, body text, answer varchar(1) CHECK (answer <> answer))")
    server.query("ALTER TABLE queued_once OWNER TO CURRENT_USER")
    server.query(QUEUE.format("queued_once", "queue", ""))
    session = server.connect()
    cursor = session.cursor()
    cursor.execute("BEGIN; INSERT INTO queued_once SELECT i, 'a word' FROM generate_series(1, 3) i; SELECT qwen_enqueue('queued_once')")
    assert cursor.fetchone() == (0,)
    cursor.execute("COMMIT")
    session.close()
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'queued_once'::regclass") == 3, 30, "dead letters")
    assert server.value("SELECT qwen_enqueue('queued_once')") == 0
    server.query("SELECT qwen_forget_table('queued_once')")
    assert server.value("SELECT qwen_enqueue('queued_once')") == 3
    server.query("DROP TABLE queued_once")


def test_when_and_names_and_disabled_triggers(server):
    server.query("CREATE TABLE picked (id int PRIMARY KEY, body text, answer text); INSERT INTO picked SELECT i, 'a word' FROM generate_series(1, 10) i")
    with pytest.raises(psycopg2.Error, match="has no enabled trigger that queues") as failure:
        server.query("SELECT qwen_enqueue('picked')")
    assert failure.value.pgcode == "42704"
    server.query(QUEUE.format("picked", "even", "WHEN (NEW.id % 2 = 0)"))
    server.query(QUEUE.format("picked", '"Über"', "WHEN (NEW.id > 9 AND NEW.body IS NOT NULL)"))
    server.query("ALTER TABLE picked DISABLE TRIGGER even")
    assert server.value("SELECT qwen_enqueue('picked')") == 1
    assert server.value("SELECT qwen_enqueue('picked', 'even')") == 5
    with pytest.raises(psycopg2.Error, match='has no trigger "odd"'):
        server.query("SELECT qwen_enqueue('picked', 'odd')")
    server.query("CREATE TRIGGER changed AFTER UPDATE ON picked FOR EACH ROW WHEN (OLD.body <> NEW.body) EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body')")
    with pytest.raises(psycopg2.Error, match='WHEN of trigger "changed" asks for OLD') as failure:
        server.query("SELECT qwen_enqueue('picked')")
    assert failure.value.pgcode == "0A000"
    server.query("DROP TABLE picked")


def test_partitions_and_not_children(server):
    server.query("CREATE TABLE asked_parts (id int PRIMARY KEY, body text, answer text) PARTITION BY RANGE (id); CREATE TABLE asked_parts_1 PARTITION OF asked_parts FOR VALUES FROM (0) TO (10)")
    server.query("CREATE TABLE asked_parts_2 (id int NOT NULL, body text, answer text); INSERT INTO asked_parts_2 SELECT i, 'a word' FROM generate_series(10, 14) i")
    server.query(QUEUE.format("asked_parts", "queue", ""))
    server.query("ALTER TABLE asked_parts ATTACH PARTITION asked_parts_2 FOR VALUES FROM (10) TO (20)")
    assert server.value("SELECT qwen_enqueue('asked_parts')") == 5
    answered(server, "asked_parts", 5)
    server.query("DROP TABLE asked_parts")
    server.query("CREATE TABLE elder (id int PRIMARY KEY, body text, answer text); CREATE TABLE younger () INHERITS (elder); INSERT INTO younger VALUES (1, 'a word'); INSERT INTO elder VALUES (2, 'a word')")
    server.query(QUEUE.format("elder", "queue", ""))
    assert server.value("SELECT qwen_enqueue('elder')") == 1
    server.query("DROP TABLE younger, elder")


def test_only_for_the_owner(server):
    server.query("CREATE TABLE owned (id int PRIMARY KEY, body text, answer text)")
    server.query(QUEUE.format("owned", "queue", ""))
    server.query("CREATE ROLE stranger LOGIN; GRANT ALL ON owned TO stranger; SELECT qwen_grant('stranger', 'use')")
    try:
        with pytest.raises(psycopg2.Error, match="must be owner of table owned") as failure:
            server.query("SELECT qwen_enqueue('owned')", user="stranger")
        assert failure.value.pgcode == "42501"
    finally:
        server.query("DROP TABLE owned; DROP OWNED BY stranger; DROP ROLE stranger")
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_enqueue(0)")
    assert failure.value.pgcode == "42P01"
    with pytest.raises(psycopg2.Error) as failure:
        server.query("SELECT qwen_enqueue(NULL)")
    assert failure.value.pgcode == "22023" and "relation must not be null" in str(failure.value)
    for sql in ("SELECT qwen_enqueue(NULL)", "SELECT qwen_enqueue('pg_class')", "SELECT qwen_enqueue('pg_stat_activity')", "SELECT qwen_enqueue('pg_class_oid_index')"):
        with pytest.raises(psycopg2.Error):
            if server.query(sql) == [(None,)]:
                raise psycopg2.Error


def test_a_restored_dump_is_queued_again(server):
    """Many rows, undone in the middle: nothing is left; then all of them, cancelled by nobody."""
    server.query("CREATE TABLE restored (id int PRIMARY KEY, body text, answer text); INSERT INTO restored SELECT i, 'word ' || i FROM generate_series(1, 20000) i")
    server.query(QUEUE.format("restored", "queue", "WHEN (NEW.id % 200 = 0)"))
    session = server.connect()
    session.autocommit = False
    cursor = session.cursor()
    cursor.execute("SELECT qwen_enqueue('restored')")
    assert cursor.fetchone() == (100,)
    session.rollback()
    session.close()
    assert server.value("SELECT count(*) FROM qwen_job_row WHERE relation = 'restored'::regclass") == 0
    assert server.value("SELECT qwen_enqueue('restored')") == 100
    answered(server, "restored", 100, 120)
    server.query("DROP TABLE restored")


def test_a_statement_that_takes_the_trigger_from_waiting_rows_says_how_many(server):
    """DETACH of a partition (with partitions of its own) and DROP TRIGGER, by an owner who is no superuser; not a word where nothing waits."""
    server.query("CREATE ROLE detacher LOGIN; CREATE SCHEMA detached AUTHORIZATION detacher; SELECT qwen_grant('detacher', 'use')")
    session = server.connect("detacher")
    cursor = session.cursor()
    cursor.execute("""SET search_path = detached, public; CREATE TABLE parts (id int PRIMARY KEY, body text, answer text) PARTITION BY RANGE (id);
        CREATE TABLE one PARTITION OF parts FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id); CREATE TABLE one_a PARTITION OF one FOR VALUES FROM (0) TO (50);
        CREATE TABLE one_b PARTITION OF one FOR VALUES FROM (50) TO (100); CREATE TABLE two PARTITION OF parts FOR VALUES FROM (100) TO (200); CREATE TABLE three PARTITION OF parts FOR VALUES FROM (200) TO (300)""")
    cursor.execute(QUEUE.format("parts", "queue", ""))

    def said(sql):
        del session.notices[:]
        cursor.execute(sql)
        return "".join(session.notices)

    try:
        assert said("BEGIN; INSERT INTO parts SELECT i, 'a word' FROM generate_series(41, 108) i; ALTER TABLE parts DETACH PARTITION three") == ""
        assert "WARNING:  59 rows wait for an answer of a trigger that their table has no more" in said("ALTER TABLE parts DETACH PARTITION one")
        warned = said("DROP TRIGGER queue ON parts")
        assert "WARNING:  9 rows wait" in warned and "for table detached.two before" in warned
        assert said("DROP TABLE one") == "", "with a table go its rows"
        # a trigger of the same name takes them over, and a DROP of another takes nothing away
        cursor.execute(QUEUE.format("two", "queue", "") + ";" + QUEUE.format("two", "other", "WHEN (NEW.id < 0)"))
        assert said("DROP TRIGGER other ON two; DROP TRIGGER IF EXISTS nowhere ON two").count("WARNING") == 0
        cursor.execute("COMMIT")
        wait_until(lambda: server.value("SELECT count(answer) FROM detached.two") == 9, 20, "the answers of the new trigger")
        assert server.query("SELECT * FROM qwen_dead_letters WHERE relation = 'detached.two'::regclass") == []
    finally:
        session.close()
        server.query("DROP SCHEMA detached CASCADE; DROP OWNED BY detacher; DROP ROLE detacher")


@pytest.mark.parametrize("made, taken, said", [
    ("", "ALTER TABLE taken DROP extra CASCADE", 7), ("", "ALTER TABLE taken DROP other CASCADE", 0), ("", "DROP TABLE taken", 0), ("", "ALTER TABLE taken DISABLE TRIGGER ALL", 0),
    ("CREATE DOMAIN odd AS int; ALTER TABLE taken DROP extra CASCADE; ALTER TABLE taken ADD extra odd; ", "DROP DOMAIN odd CASCADE", 7),
])
def test_a_trigger_that_goes_with_a_column_is_missed_by_its_waiting_rows(server, made, taken, said):
    session = server.connect()
    session.autocommit = False
    cursor = session.cursor()
    cursor.execute("CREATE TABLE taken (id int PRIMARY KEY, body text, answer text, extra int, other int); " + made + QUEUE.format("taken", "queue", "").replace("UPDATE ", "UPDATE OF extra ", 1))
    cursor.execute("INSERT INTO taken SELECT i, 'a word' FROM generate_series(1, 7) i")
    del session.notices[:]
    cursor.execute(taken)
    warned = "".join(session.notices)
    assert warned.count("WARNING") == (said > 0) and (f"{said} rows wait for an answer of a trigger that their table has no more" in warned) == (said > 0), warned
    session.rollback()
    session.close()
