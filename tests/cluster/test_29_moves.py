"""Rows that an UPDATE moves to another partition: what is queued of them and their dead letters go with them."""
import psycopg2
import pytest
from cluster import wait_until

ASKS = "function=classify','labels={ANSWER}','max_attempts=1"


@pytest.fixture(scope="module")
def owner(server):
    server.query("CREATE ROLE mover LOGIN")
    yield "mover"
    server.query("DROP TABLE IF EXISTS moved; SELECT qwen_clear_limit('mover'); DROP ROLE mover")


def table_of(name, owner, events="INSERT OR UPDATE", when="", targets="a", arguments=ASKS, kind="text"):
    """Two partitions, of which one has its columns in another order, and a row in the first one that has an old answer."""
    return f"""DROP TABLE IF EXISTS {name} CASCADE;
        CREATE TABLE {name} (id int, part int, body text, a {kind}, b {kind}, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
        CREATE TABLE {name}_0 PARTITION OF {name} FOR VALUES IN (0);
        CREATE TABLE {name}_1 (b {kind}, gone int, part int NOT NULL, a {kind}, id int NOT NULL, body text);
        ALTER TABLE {name}_1 DROP gone; ALTER TABLE {name} ATTACH PARTITION {name}_1 FOR VALUES IN (1);
        CREATE TRIGGER q AFTER {events} ON {name} FOR EACH ROW {when} EXECUTE FUNCTION qwen_enqueue_trigger('{targets}', '{{body}}', '{arguments}');
        ALTER TABLE {name} OWNER TO {owner}; ALTER TABLE {name}_0 OWNER TO {owner}; ALTER TABLE {name}_1 OWNER TO {owner};
        INSERT INTO {name} VALUES (1, 0, 'old body', 'old answer', 'old b')"""


def hold(server, owner, tables):
    """Make tables, of which nothing asks the model until let() is called."""
    server.query(f"SELECT qwen_clear_limit('{owner}')")
    server.query(tables)
    wait_empty(server)
    server.query(f"SELECT qwen_set_limit('{owner}', requests_per_minute => 0)")


def make(server, owner, **more):
    hold(server, owner, table_of("moved", owner, **more))


def wait_empty(server):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 30, "an empty queue")


def waiting(server):
    return server.query("SELECT relation::text, waiting FROM qwen_trigger_backlog WHERE waiting > 0 AND relation::text LIKE 'moved%' ORDER BY 1")


def letters(server):
    return server.query("SELECT relation::text, key FROM qwen_dead_letters WHERE relation::text LIKE 'moved%' ORDER BY 1, 2")


def let(server, owner):
    server.query(f"SELECT qwen_clear_limit('{owner}')")
    wait_empty(server)


CHANGED = "UPDATE moved SET body = 'new body'"
MOVES = {
    "move": [CHANGED, "UPDATE moved SET part = 1"],
    "move and key": [CHANGED, "UPDATE moved SET part = 1, id = 2"],
    "one transaction": [f"BEGIN; {CHANGED}; UPDATE moved SET part = 1; COMMIT"],
    "one statement": ["UPDATE moved SET body = 'new body', part = 1"],
    "there and back": [CHANGED, "UPDATE moved SET part = 1", "UPDATE moved SET part = 0"],
    "there and on": [CHANGED, "UPDATE moved SET part = 1", "UPDATE moved SET id = 7"],
    "of the partition itself, moved by its parent": ["UPDATE moved_0 SET body = 'new body'", "UPDATE moved SET part = 1"],
    "merge": [CHANGED, "MERGE INTO moved USING (VALUES (1)) v(i) ON id = i WHEN MATCHED THEN UPDATE SET part = 1"],
    "a merge that inserts and deletes": [CHANGED, "INSERT INTO moved VALUES (5, 0, 'x', 'mine')",
                                         "MERGE INTO moved USING (VALUES (5), (1), (7)) v(i) ON id = i WHEN MATCHED AND id = 5 THEN DELETE WHEN MATCHED THEN UPDATE SET part = 1 "
                                         "WHEN NOT MATCHED THEN INSERT VALUES (i, 1, 'ins', 'given')", "DELETE FROM moved WHERE id = 7 AND a = 'given'"],
    "with": [CHANGED, "WITH m AS (UPDATE moved SET part = 1 RETURNING *) SELECT * FROM m"],
    "rolled back": [CHANGED, "BEGIN; UPDATE moved SET part = 1; ROLLBACK"],
    "while it is disabled": [CHANGED, "ALTER TABLE moved DISABLE TRIGGER q", "UPDATE moved SET part = 1", "ALTER TABLE moved ENABLE TRIGGER q"],
}
# what a table's trigger is for, by the table's name
EVENTS = {"moved": ("INSERT OR UPDATE", ""), "movedof": ("INSERT OR UPDATE OF body", ""), "movedwhen": ("INSERT OR UPDATE", "WHEN (NEW.body <> 'nothing')"), "movedlate": ("UPDATE", "")}


@pytest.mark.parametrize("moves", MOVES)
def test_a_row_that_waits_is_answered_where_it_is_now(server, owner, moves):
    if "MERGE" in str(MOVES[moves]) and server.value("SELECT current_setting('server_version_num')::int") < 150000:
        moves = "with"
    hold(server, owner, "; ".join(table_of(name, owner, *EVENTS[name]) for name in EVENTS))
    for name in EVENTS:
        for statement in MOVES[moves]:
            server.query(statement.replace("moved", name))
    # what PostgreSQL inserts into the new partition is no update to it
    asked = [name for name in EVENTS if (moves, name) != ("one statement", "movedlate")]
    assert sorted((relation.split("_")[0], n) for relation, n in waiting(server)) == sorted((name, 1) for name in asked)
    let(server, owner)
    for name in EVENTS:
        assert server.query(f"SELECT a FROM {name}") == [("ANSWER" if name in asked else "old answer",)], name
    assert letters(server) == []
    server.query(f"DROP TABLE {', '.join(EVENTS)}")


def test_a_given_value_is_kept_and_nothing_waits(server, owner):
    make(server, owner)
    server.query(CHANGED)
    server.query("UPDATE moved SET part = 1, a = 'given'")
    assert waiting(server) == []
    let(server, owner)
    assert server.query("SELECT a FROM moved") == [("given",)]


def test_a_source_that_is_null_empties_the_target(server, owner):
    make(server, owner)
    server.query("UPDATE moved SET body = NULL; UPDATE moved SET part = 1")
    let(server, owner)
    assert server.query("SELECT body, a FROM moved") == [(None, None)]


def test_dead_letters_move_with_their_row(server, owner):
    make(server, owner)
    server.query("ALTER TABLE moved ADD CONSTRAINT none CHECK (a <> 'ANSWER')")
    server.query(CHANGED)
    let(server, owner)
    assert letters(server) == [("moved_0", ["1", "0"])]
    server.query("UPDATE moved SET part = 1, id = 3")
    assert letters(server) == [("moved_1", ["3", "1"])]
    server.query("DELETE FROM moved WHERE id = 99")
    wait_empty(server)
    assert letters(server) == [("moved_1", ["3", "1"])]
    server.query("ALTER TABLE moved DROP CONSTRAINT none")
    assert server.value("SELECT qwen_retry_table('moved')") == 1
    let(server, owner)
    assert server.query("SELECT a FROM moved") == [("ANSWER",)]


def test_target_columns_that_wait_are_those_of_the_new_partition(server, owner):
    """Columns go by number in the queue, and partitions number them differently."""
    make(server, owner, targets="{a,b}", arguments="function=extract", kind="varchar(10)")
    server.query(CHANGED)
    server.query("UPDATE moved SET a = 'mine'")
    server.query("UPDATE moved SET part = 1")
    let(server, owner)
    (a, b), = server.query("SELECT a, b FROM moved")
    assert a == "mine" and b != "old b", str(server.query("SELECT error FROM qwen_dead_letters"))
    # one that the moving statement gives, the other waits
    server.query(f"SELECT qwen_set_limit('{owner}', requests_per_minute => 0)")
    server.query("UPDATE moved SET body = 'newer body', a = 'old a', b = 'old b'")
    server.query("UPDATE moved SET body = 'newest body'")
    server.query("UPDATE moved SET part = 0, b = 'given'")
    let(server, owner)
    (a, b), = server.query("SELECT a, b FROM moved")
    assert b == "given" and a != "old a"


def test_a_row_that_its_answer_moves_is_answered_once(server, owner):
    """By a trigger of the user's, in the transaction that writes the answer."""
    make(server, owner)
    server.query("""CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE moved SET part = 1 WHERE id = NEW.id AND part = 0; RETURN NULL; END $$;
        CREATE TRIGGER z AFTER UPDATE OF a ON moved_0 FOR EACH ROW EXECUTE FUNCTION archive()""")
    server.query(CHANGED)
    let(server, owner)
    assert server.query("SELECT part, a FROM moved") == [(1, "ANSWER")]
    assert waiting(server) == letters(server) == []
    server.query("DROP TABLE moved; DROP FUNCTION archive()")


def test_many_rows_and_triggers_and_moves_within_moves(server, owner):
    """Each row's and each trigger's, also where a trigger of the user's moves other rows meanwhile."""
    make(server, owner)
    server.query(f"CREATE TRIGGER r AFTER INSERT OR UPDATE ON moved FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('b', '{{body}}', '{ASKS}')")
    server.query("INSERT INTO moved SELECT i, 0, 'body ' || i, 'old', 'old' FROM generate_series(2, 40) i")
    server.query("""CREATE FUNCTION drag() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.id < 100 THEN
                UPDATE moved SET part = 1, id = id + 1000 WHERE id = NEW.id + 100 AND part = 0;
                INSERT INTO moved VALUES (NEW.id + 2000, 1, 'of nowhere', 'mine', 'mine');
            END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER a AFTER INSERT ON moved_1 FOR EACH ROW EXECUTE FUNCTION drag();
        INSERT INTO moved SELECT i + 100, 0, 'body', 'old', 'old' FROM generate_series(1, 40) i""")
    server.query("UPDATE moved SET body = 'new ' || id WHERE id % 2 = 0")
    server.query("UPDATE moved SET part = 1 WHERE id <= 40")
    assert server.query("SELECT count(*) FILTER (WHERE part = 1), count(*) FILTER (WHERE id > 2000), count(*) FILTER (WHERE id > 1000), count(*) FROM moved") == [(120, 40, 80, 120)]
    assert waiting(server) == [("moved_1", 40), ("moved_1", 40)]
    let(server, owner)
    assert sorted(server.query("SELECT id < 2000 AND id % 2 = 0, a, b, count(*) FROM moved GROUP BY 1, 2, 3")) == [
        (False, "mine", "mine", 40), (False, "old", "old", 39), (False, "old answer", "old b", 1), (True, "ANSWER", "ANSWER", 40)]
    server.query("DROP TABLE moved; DROP FUNCTION drag()")


def test_deletions_are_no_affair_of_the_trigger(server, owner):
    """A statement that updates and deletes rows of partitions, and a trigger that is made for DELETE."""
    make(server, owner)
    server.query("INSERT INTO moved VALUES (2, 0, 'x', 'mine')")
    server.query("WITH d AS (DELETE FROM moved_0 WHERE id = 2) UPDATE moved SET b = 'new b' WHERE id = 1")
    assert server.query("SELECT id, a, b FROM moved") == [(1, "old answer", "new b")]
    server.query(f"CREATE TRIGGER d AFTER DELETE ON moved FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('a', '{{body}}', '{ASKS}')")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="must be an AFTER INSERT OR UPDATE trigger"):
        server.query("DELETE FROM moved")
    server.query("DROP TABLE moved")
