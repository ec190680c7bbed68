"""Values that people give a target while its row waits for an answer: they are kept, whatever the worker has under way."""
import pytest
from cluster import wait_until

MAKE = """DROP TABLE IF EXISTS given; CREATE TABLE given (id int PRIMARY KEY, b text, s text);
    CREATE TRIGGER q AFTER INSERT OR UPDATE ON given FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'Write a long story about {b}', 'max_tokens=40');"""
ROWS = "INSERT INTO given SELECT i, 'thing ' || i FROM generate_series(1, 4) i; "

# what happens while rows wait -> the rows whose values were given
CASES = {
    "an update": ("UPDATE given SET s = 'hand' WHERE id = 2", [2]),
    "with another source": ("UPDATE given SET b = 'changed', s = 'hand' WHERE id = 2", [2]),
    "after another source": ("BEGIN; UPDATE given SET b = 'changed' WHERE id = 2; UPDATE given SET s = 'hand' WHERE id = 2; COMMIT", [2]),
    "after nothing": ("UPDATE given SET s = NULL WHERE id = 2; UPDATE given SET s = 'hand' WHERE id = 2", [2]),
    "another row under the key": ("DELETE FROM given WHERE id = 2; INSERT INTO given VALUES (2, 'x', 'hand')", [2]),
    "another table under the name": ("TRUNCATE given; INSERT INTO given VALUES (1, 'new', 'hand')", [1]),
    "another key": ("UPDATE given SET id = 20, s = 'hand' WHERE id = 2", [20]),
    "all": ("UPDATE given SET s = 'hand'", [1, 2, 3, 4]),
    "keys that shift": ("INSERT INTO given VALUES (-1, 'x', 'hand'); UPDATE given SET id = id + 100 WHERE id IN (-1, 1)", [99]),
}


def wait_empty(server):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 60, "an empty queue")


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_given_values_are_kept(server, case, together):
    change, given = CASES[case]
    server.query(MAKE)
    if together:
        server.query("BEGIN; " + ROWS + change.replace("BEGIN; ", "").replace("; COMMIT", "") + "; COMMIT")
    else:
        server.query(ROWS)
        server.query(change)
    wait_empty(server)
    assert server.query("SELECT id FROM given WHERE s = 'hand' ORDER BY id") == [(i,) for i in given]
    assert server.value("SELECT count(*) FROM given WHERE s IS NULL") == 0
    assert server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'given'::regclass") == 0


def test_a_value_given_to_a_dead_letter_is_kept(server):
    server.query(MAKE + "ALTER TABLE given ADD CHECK (s IS NULL OR s = 'hand')")
    server.query("DROP TRIGGER q ON given; CREATE TRIGGER q AFTER INSERT OR UPDATE ON given FOR EACH ROW "
                 "EXECUTE FUNCTION qwen_enqueue_trigger('s', 'b', 'max_tokens=2', 'temperature=0', 'max_attempts=1'); INSERT INTO given VALUES (1, 'x'), (2, 'y')")
    wait_empty(server)
    assert server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'given'::regclass") == 2
    server.query("UPDATE given SET s = 'hand' WHERE id = 1; ALTER TABLE given DROP CONSTRAINT given_s_check")
    server.query("SELECT qwen_retry_table('given')")
    wait_empty(server)
    assert server.query("SELECT id, s = 'hand' FROM given ORDER BY id") == [(1, True), (2, False)]


def test_the_same_value_given_again_is_kept(server):
    """While the row waits for an answer to a changed source, and from dead letters; where SET names a source (as ORMs do, and of a source that is computed), or the value is the default, none is given."""
    server.query("""DROP TABLE IF EXISTS given; CREATE TABLE given (id int PRIMARY KEY, b text, g text GENERATED ALWAYS AS (upper(b)) STORED, s text DEFAULT 'usual', n int);
        CREATE FUNCTION change_b() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 6 AND NEW.n = 7 THEN NEW.b := NEW.b || '?'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER change BEFORE UPDATE ON given FOR EACH ROW EXECUTE FUNCTION change_b();
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON given FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', '{g}', 'max_tokens=2', 'temperature=0', 'max_attempts=1');
        INSERT INTO given (id, b, s) SELECT i, 'x', 'mine' FROM generate_series(1, 9) i; UPDATE given SET s = DEFAULT WHERE id = 5;""")
    wait_empty(server)
    server.query("ALTER TABLE given DISABLE TRIGGER q; UPDATE given SET s = 'usual' WHERE id = 5; ALTER TABLE given ENABLE TRIGGER q")
    server.query("""BEGIN; UPDATE given SET b = 'y' WHERE id < 6 OR id = 9;
        UPDATE given SET s = 'mine' WHERE id = 1; UPDATE given SET s = 'mine', n = 1 WHERE id = 2; UPDATE given SET s = 'mine', b = b WHERE id = 3; UPDATE given SET n = 1 WHERE id = 4; UPDATE given SET s = 'usual' WHERE id = 5;
        UPDATE given SET s = 'mine', n = 7 WHERE id = 6; UPDATE given SET s = 'mine', n = 7 WHERE id = 7; UPDATE given SET id = 19, s = 'mine' WHERE id = 9; COMMIT""")
    wait_empty(server)
    assert server.query("SELECT id, s FROM given WHERE s IN ('mine', 'usual') ORDER BY id") == [(1, "mine"), (2, "mine"), (7, "mine"), (8, "mine"), (19, "mine")]
    server.query("ALTER TABLE given ADD CHECK (s = 'mine') NOT VALID; UPDATE given SET b = 'z' WHERE id IN (1, 2)")
    wait_empty(server)
    letters = "SELECT key[1]::int FROM qwen_dead_letters WHERE relation = 'given'::regclass ORDER BY 1"
    assert server.query(letters) == [(1,), (2,)]
    server.query("UPDATE given SET s = 'mine' WHERE id = 1")
    assert server.query(letters) == [(2,)]
    server.query("DROP TABLE given; DROP FUNCTION change_b")


def test_the_same_values_of_several_targets_are_kept(server):
    server.query("""CREATE TABLE alike (id int PRIMARY KEY, b text, n int, ok boolean, m numeric(4, 1));
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON alike FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('{n,ok,m}', 'b', 'function=extract'); INSERT INTO alike SELECT i, 'x', 1001, i > 0, -1 FROM generate_series(1, 2) i""")
    server.query("BEGIN; UPDATE alike SET b = 'y'; UPDATE alike SET n = 1001, ok = false, m = -1 WHERE id = 1; UPDATE alike SET n = 1001 WHERE id = 2; COMMIT")
    wait_empty(server)
    assert server.query("SELECT n, ok, m::int FROM alike WHERE id = 1") == [(1001, False, -1)]
    assert server.query("SELECT n = 1001, m <> -1 FROM alike WHERE id = 2") == [(True, True)]
    server.query("DROP TABLE alike")


def test_a_new_key_alone_changes_nothing(server):
    server.query(MAKE + """DROP TABLE IF EXISTS parent CASCADE; CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1), (2);
        ALTER TABLE given ADD FOREIGN KEY (id) REFERENCES parent ON UPDATE CASCADE; INSERT INTO given VALUES (1, 'x', 'hand'), (2, 'y', 'mine');""")
    server.query("UPDATE parent SET id = id + 10; ALTER TABLE given DROP CONSTRAINT given_id_fkey; UPDATE given SET id = id + 10")
    wait_empty(server)
    assert server.query("SELECT id, s FROM given ORDER BY id") == [(21, "hand"), (22, "mine")]
    # those that wait go on waiting under the new one, and neighbours of whom a key is taken over are left alone
    server.query("BEGIN; TRUNCATE given; INSERT INTO given VALUES (1, 'x', NULL), (3, 'y', 'mine'); UPDATE given SET id = id + 2 WHERE id = 3; UPDATE given SET id = 3 WHERE id = 1; COMMIT")
    wait_empty(server)
    assert server.query("SELECT id, s = 'mine' FROM given ORDER BY id") == [(3, False), (5, True)]
    server.query("DROP TABLE given, parent")


def test_a_move_to_another_partition_keeps_the_target(server):
    server.query("""CREATE TABLE moved (p int, id int, b text, s text, PRIMARY KEY (p, id)) PARTITION BY LIST (p); CREATE TABLE moved_1 PARTITION OF moved FOR VALUES IN (1);
        CREATE TABLE moved_2 (s text, b text, id int NOT NULL, p int NOT NULL); ALTER TABLE moved ATTACH PARTITION moved_2 FOR VALUES IN (2);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON moved FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'b', 'max_tokens=2', 'temperature=0');
        INSERT INTO moved SELECT 1, i, 'x', 'mine' FROM generate_series(1, 4) i;""")
    server.query("UPDATE moved SET p = 2 WHERE id = 1")
    server.query("UPDATE moved SET p = 2, s = 'hand' WHERE id = 2")
    server.query("UPDATE moved SET p = 2, b = 'y', s = 'hand' WHERE id = 3")
    server.query("UPDATE moved SET p = 2, b = 'y' WHERE id = 4")
    wait_empty(server)
    assert server.query("SELECT id, s FROM moved WHERE id < 4 ORDER BY id") == [(1, "mine"), (2, "hand"), (3, "hand")]
    assert server.value("SELECT s <> 'mine' FROM moved WHERE id = 4")
    server.query("DROP TABLE moved")


def test_the_default_of_a_domain_is_no_given_value(server):
    server.query("""DROP TABLE IF EXISTS given; CREATE DOMAIN said AS text NOT NULL DEFAULT 'nothing'; CREATE TABLE given (id int PRIMARY KEY, b text, s said, t said);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON given FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'b', 'max_tokens=2', 'temperature=0');
        CREATE TRIGGER r BEFORE INSERT OR UPDATE ON given FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('b', 't', '5');
        INSERT INTO given VALUES (1, 'word', DEFAULT, DEFAULT), (2, 'word', 'mine', 'mine')""")
    wait_empty(server)
    assert server.query("SELECT id, s <> 'nothing', t <> 'nothing', s = 'mine', t = 'mine' FROM given ORDER BY id") == [(1, True, True, False, False), (2, True, True, True, True)]
    server.query("DROP TABLE given; DROP DOMAIN said")


def test_rows_that_come_in_beside_an_update_of_partitions_keep_their_values(server):
    """A row that is inserted is told from one that an UPDATE of the same statement moves into its partition."""
    server.query("""CREATE TABLE months (id int PRIMARY KEY, b text, s text) PARTITION BY RANGE (id); CREATE TABLE months_1 PARTITION OF months FOR VALUES FROM (0) TO (10);
        CREATE TABLE months_2 PARTITION OF months FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id); CREATE TABLE months_21 PARTITION OF months_2 FOR VALUES FROM (10) TO (20);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON months FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'b', 'max_tokens=2', 'temperature=0'); INSERT INTO months VALUES (1, 'x', 'hand')""")
    server.query("WITH u AS (UPDATE months SET b = 'y' WHERE id = 1 RETURNING id) INSERT INTO months SELECT i, 'z', 'given' FROM u, unnest('{2, 12}'::int[]) i")
    merged = ""
    if server.value("SELECT current_setting('server_version_num')::int >= 150000"):
        merged = ", 3, 13"
        server.query("""MERGE INTO months USING (VALUES (2, 'new'), (3, 'y'), (13, 'z')) v (id, b) ON months.id = v.id
            WHEN MATCHED THEN UPDATE SET b = v.b WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.b, 'given')""")
    wait_empty(server)
    changed = "1, 2" if merged else "1"
    assert server.query(f"SELECT id FROM months WHERE s = 'given' AND id NOT IN ({changed}) ORDER BY id") == [(i,) for i in sorted(eval(f"[12{merged}]" if merged else "[2, 12]"))]
    assert server.value(f"SELECT bool_and(s NOT IN ('hand', 'given')) FROM months WHERE id IN ({changed})"), "what the statement has changed is answered"
    # a statement that sets what rows are parted by may have moved them
    server.query("WITH u AS (UPDATE months SET id = 14, b = 'moved' WHERE id = 12 RETURNING 1) INSERT INTO months SELECT 7, 'z', NULL FROM u")
    wait_empty(server)
    assert server.value("SELECT bool_and(s <> 'given') FROM months WHERE id IN (7, 14)")
    server.query("DROP TABLE months")


def test_rows_that_come_to_the_key_of_a_row_that_is_gone_are_left_alone(server):
    """What was queued of the row that is gone is not theirs."""
    for come in ("UPDATE given SET id = 1 WHERE id = 2", "ALTER TABLE given DISABLE TRIGGER q; UPDATE given SET id = 7 WHERE id = 2; ALTER TABLE given ENABLE TRIGGER q; UPDATE given SET id = 1 WHERE id = 7",
                 "UPDATE given SET id = id - 1"):
        server.query("BEGIN; " + MAKE + f"INSERT INTO given VALUES (1, 'x', NULL), (2, 'y', 'mine'); DELETE FROM given WHERE id = 1; {come}; COMMIT")
        wait_empty(server)
        assert server.query("SELECT * FROM given") == [(1, "y", "mine")], come
    # rows that wait and go one after the other to the key of the one before
    server.query("BEGIN; " + MAKE + "INSERT INTO given SELECT i, 'thing ' || i FROM generate_series(1, 4) i; DELETE FROM given WHERE id = 1; UPDATE given SET id = id - 1; COMMIT")
    wait_empty(server)
    assert server.query("SELECT id, s IS NULL FROM given ORDER BY id") == [(i, False) for i in (1, 2, 3)]
    server.query("DROP TABLE given")


def test_rows_that_come_to_another_partition_are_not_taken_for_one_that_is_gone(server):
    server.query("""BEGIN; CREATE TABLE keyed_parts (id int PRIMARY KEY, b text, s text) PARTITION BY RANGE (id); CREATE TABLE keyed_parts_1 PARTITION OF keyed_parts FOR VALUES FROM (0) TO (10);
        CREATE TABLE keyed_parts_2 PARTITION OF keyed_parts FOR VALUES FROM (10) TO (20);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON keyed_parts FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('s', 'b', 'max_tokens=2', 'temperature=0');
        INSERT INTO keyed_parts VALUES (1, 'x'); DELETE FROM keyed_parts; ALTER TABLE keyed_parts DISABLE TRIGGER q; INSERT INTO keyed_parts VALUES (11, 'y', 'mine'); ALTER TABLE keyed_parts ENABLE TRIGGER q;
        UPDATE keyed_parts SET id = 1; COMMIT""")
    wait_empty(server)
    assert server.query("SELECT * FROM keyed_parts") == [(1, "y", "mine")]
    server.query("DROP TABLE keyed_parts")
