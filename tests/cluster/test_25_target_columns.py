"""One answer into several columns of a row, in their types: jobs, queueing triggers, and the trigger that fills in before the row is there."""
import re

import psycopg2
import pytest
from cluster import MODEL_FILE, wait_until
from docs_blocks import blocks

DEFAULT_MODEL = MODEL_FILE

# types of which there is one value, so that answers are known
TYPES = """
CREATE SCHEMA filled; SET search_path = filled, public;
CREATE TYPE yes AS ENUM ('yes'); CREATE TYPE "No, ""it"" is" AS ENUM ('no');
CREATE DOMAIN negative AS int CHECK (VALUE < 0 AND VALUE <> -1);
CREATE DOMAIN five AS varchar(5) NOT NULL CHECK (VALUE = 'never');
CREATE TYPE entry AS (what yes, n negative);
CREATE TYPE of_five AS (f five);
CREATE TYPE three AS ("B c" yes, total numeric(6, 2), other "No, ""it"" is");
CREATE TYPE bill AS ("B c" yes, total numeric(6, 2), due date);
"""
TABLE = """DROP TABLE IF EXISTS bills, others CASCADE;
CREATE TABLE bills (id int PRIMARY KEY, body text, "B c" yes, total numeric(6, 2), gone int, due date, other "No, ""it"" is",
    made int GENERATED ALWAYS AS (1) STORED, numbered int GENERATED ALWAYS AS IDENTITY, raw bytea, js jsonb);
ALTER TABLE bills DROP COLUMN gone;"""
ROWS = "INSERT INTO bills (id, body) SELECT i, 'Mail ' || i || ': Anna wants 12.50 for ' || i || ' pens' FROM generate_series(1, 5) i UNION ALL SELECT 6, NULL;"


@pytest.fixture(scope="module")
def house(server):
    server.query(TYPES)
    server.query("DROP ROLE IF EXISTS filler; CREATE ROLE filler LOGIN; ALTER ROLE filler SET search_path = filled, public; GRANT USAGE ON SCHEMA filled TO filler; SELECT qwen_grant('filler', 'use')")
    yield server
    server.query("DROP SCHEMA filled CASCADE; DROP OWNED BY filler; DROP ROLE filler")


def query(server, sql, arguments=None, user=None):
    """The rows of the last statement, with the schema in the path."""
    connection = server.connect(user)
    try:
        cursor = connection.cursor()
        cursor.execute("SET search_path = filled, public")
        cursor.execute(sql, arguments)
        rows = cursor.fetchall() if cursor.description else None
        connection.commit()
        return rows
    finally:
        connection.close()


def submit(server, targets, *, source="bills", target="bills", state="done", user=None, more=""):
    ((job,),) = query(server, f"SELECT qwen_submit(%s, 'body', %s, target_columns => %s, function => 'extract'{more})", (source, target, targets), user)
    assert query(server, "SELECT qwen_wait(%s, '60 s')", (job,)) == [(state,)], query(server, "SELECT error FROM qwen_jobs WHERE id = %s UNION ALL SELECT error FROM qwen_dead_letters WHERE job = %s", (job, job))
    return job


def errors_of(server, job):
    return dict(query(server, "SELECT key[1]::int, error FROM qwen_dead_letters WHERE job = %s", (job,)))


def wait_empty(server):
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 60, "an empty queue")


def refused(server, sql, code, arguments=None, user=None):
    with pytest.raises(psycopg2.Error) as failure:
        query(server, sql, arguments, user)
    assert failure.value.pgcode == code, failure.value
    return failure.value.diag


def test_a_job_fills_in_columns_as_a_session_extracts_them(house):
    """By one request a row; of a prompt that is NULL all are NULL, and nothing else of the row changes."""
    query(house, TABLE + ROWS + "UPDATE bills SET other = 'no', total = 1 WHERE id IN (5, 6)")
    done = house.value("SELECT requests_done FROM qwen_stat_engine")
    job = submit(house, ["B c", "total", "due"])
    assert house.value("SELECT requests_done FROM qwen_stat_engine") - done == 5
    assert query(house, 'SELECT id, "B c", total, due FROM bills EXCEPT SELECT id, (x)."B c", (x).total, (x).due FROM (SELECT id, qwen_extract(body, NULL::bill) x FROM bills) s') == []
    assert query(house, 'SELECT count(*), count("B c"), count(other) FROM bills WHERE id = 6 OR "B c" = \'yes\' AND total IS NOT NULL') == [(6, 5, 2)]
    assert query(house, "SELECT function, target_column, target_columns FROM qwen_jobs WHERE id = %s", (job,)) == [("extract", "B c, total, due", ["B c", "total", "due"])]


def test_one_column_is_filled_in_by_its_type_and_json_by_a_schema(house):
    query(house, TABLE + ROWS)
    for column, more in (("other", ""), ("js", """, arguments => '{"schema": {"type": "object", "properties": {"zz": {"const": 1}, "a": {"const": [true]}}, "required": ["zz", "a"], "additionalProperties": false}}'""")):
        ((job,),) = query(house, f"SELECT qwen_submit('bills', 'body', 'bills', '{column}', function => 'extract'{more})")
        assert query(house, "SELECT qwen_wait(%s, '60 s')", (job,)) == [("done",)]
    assert query(house, "SELECT DISTINCT other::text, js FROM bills WHERE id < 6") == [("no", {"a": [True], "zz": 1})]
    assert query(house, "SELECT target_column, target_columns FROM qwen_jobs WHERE id = %s", (job,)) == [("js", ["js"])]


def test_rows_are_inserted_and_partitions_found(house):
    """Into a table that has no such rows, whose partitions have their columns in another order; with triggers of its own, in a query's order of rows."""
    query(house, TABLE + ROWS + """CREATE TABLE others (id int, a yes NOT NULL, lines entry[], t text DEFAULT 'mine', PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE others_1 PARTITION OF others FOR VALUES FROM (0) TO (3);
        CREATE TABLE others_2 (t text DEFAULT 'mine', lines entry[], id int NOT NULL, a yes NOT NULL); ALTER TABLE others ATTACH PARTITION others_2 FOR VALUES FROM (3) TO (100);
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.t := NEW.a::text || 'terday'; RETURN NEW; END $$;
        CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON others FOR EACH ROW EXECUTE FUNCTION stamp()""")
    for _ in range(2):
        submit(house, ["a"], source="SELECT id, body FROM bills WHERE id < 6", target="others")
        assert query(house, "SELECT count(*), count(DISTINCT tableoid), min(a::text), min(t) FROM others") == [(5, 2, "yes", "yesterday")]


def test_what_cannot_be_a_target_is_refused_at_once(house):
    query(house, TABLE + ROWS)
    for targets, code, part in (
        (["made"], "22023", "generated column"), (["numbered"], "22023", "identity column"), (["gone"], "22023", 'no column "gone"'), (["total", "nobody"], "22023", 'no column "nobody"'),
        (["total", "total"], "22023", "named twice"), ([], "22023", "at least one"), ([None], "22023", "NULL"), (["id"], "22023", "key and target"),
        (["body"], "22023", "cannot be made from the column itself"), (["total", "raw"], "0A000", '"/raw"'),
    ):
        diag = refused(house, "SELECT qwen_submit('bills', 'body', 'bills', target_columns => %s::name[], function => 'extract')", code, (targets,))
        assert part in diag.message_primary, (targets, diag.message_primary)
    for more, part in (
        ("target_columns => '{total,due}', function => 'chat'", 'function "chat" goes into one column'), ("target_column => 'total', target_columns => '{due}', function => 'extract'", "both be given"),
        ("function => 'extract'", "target_column must not be null"), ("""target_columns => '{js,due}', function => 'extract', arguments => '{"schema": {}}'""", "with a schema goes into one column"),
        ("""target_column => 'total', function => 'extract', arguments => '{"schema": {}}'""", "does not take jsonb"), ("target_columns => '{due}', function => 'extract', response_format => '{}'", "is the form"),
    ):
        assert part in refused(house, f"SELECT qwen_submit('bills', 'body', 'bills', {more})", "22023").message_primary, more


def test_each_column_takes_a_privilege(house):
    query(house, TABLE + ROWS + "GRANT SELECT ON bills TO filler; GRANT UPDATE (total) ON bills TO filler")
    diag = refused(house, "SELECT qwen_submit('bills', 'body', 'bills', target_columns => '{total,due}', function => 'extract')", "42501", user="filler")
    assert '"due"' in diag.message_detail
    query(house, "GRANT UPDATE (due) ON bills TO filler")
    submit(house, ["total", "due"], user="filler")
    assert query(house, "SELECT count(total) FROM bills") == [(5,)]


def test_a_row_that_is_refused_says_which_value(house):
    """By a CHECK or NOT NULL of the table, by a domain's CHECK within an array, by a unique index; others are written, and a row is written as a whole."""
    cases = (
        ("CHECK (total > 100000)", ["B c", "total"], r'the answer\'s "/total" is refused: new row for relation "bills" violates check constraint "bills_total_check" \(the value is [0-9.]+\)'),
        ("CHECK (total IS NULL OR due IS NULL OR id = 6)", ["total", "due"], r'the answer\'s "/total", "/due" are refused: .* \(the values are [0-9.]+, "[0-9-]+"\)'),
        ("EXCLUDE (\"B c\" WITH =)", ["B c"], r'the answer\'s "/B c" is refused: .*conflicting.* \(the value is "yes"\)'),
    )
    for constraint, targets, message in cases:
        query(house, TABLE + ROWS + f"ALTER TABLE bills ADD {constraint}")
        failed = submit(house, targets, state="done with failures", more=", max_attempts => 1")
        found = errors_of(house, failed)
        assert len(found) == (4 if "EXCLUDE" in constraint else 5), found
        assert all(re.fullmatch(message, error) for error in found.values()), found
        assert query(house, f'SELECT count("B c") + count(total) + count(due) FROM bills') == [(1 if "EXCLUDE" in constraint else 0,)]
    # within a row, before it comes to the table
    query(house, TABLE + ROWS + "CREATE DOMAIN absurd AS yes NOT NULL CHECK (VALUE <> VALUE); CREATE TYPE holding AS (a yes, b absurd); ALTER TABLE bills ADD held holding")
    failed = submit(house, ["held", "total"], state="done with failures", more=", max_attempts => 1")
    found = errors_of(house, failed)
    assert found and set(found.values()) == {'the answer\'s "/held/b" is refused: value for domain absurd violates check constraint "absurd_check" (the value is "yes")'}, found


def test_an_answer_of_a_type_that_was_altered_since_is_of_the_new_one(house):
    query(house, TABLE + ROWS)
    connection = house.connect()
    cursor = connection.cursor()
    connection.autocommit = False
    cursor.execute("SET search_path = filled, public; SELECT qwen_submit('bills', 'body', 'bills', target_columns => '{total,due}', function => 'extract')")
    job = cursor.fetchone()[0]
    cursor.execute('ALTER TABLE bills ALTER total TYPE "No, ""it"" is" USING NULL')
    connection.commit()
    connection.close()
    assert query(house, "SELECT qwen_wait(%s, '60 s')", (job,)) == [("done",)]
    assert {value for value, in query(house, "SELECT DISTINCT total::text FROM bills WHERE id < 6")} <= {"no", None}


def test_a_job_whose_column_is_dropped_fails_and_goes_on(house):
    query(house, TABLE + ROWS)
    connection = house.connect()
    connection.autocommit = False
    cursor = connection.cursor()
    cursor.execute("SET search_path = filled, public; SELECT qwen_submit('bills', 'body', 'bills', target_columns => '{total,due}', function => 'extract')")
    job = cursor.fetchone()[0]
    cursor.execute("ALTER TABLE bills DROP COLUMN due")
    connection.commit()
    connection.close()
    assert query(house, "SELECT qwen_wait(%s, '60 s')", (job,)) == [("failed",)]
    assert query(house, "SELECT error FROM qwen_jobs WHERE id = %s", (job,)) == [('the target table has no column "due"',)]
    query(house, "ALTER TABLE bills ADD due date")
    query(house, "SELECT qwen_retry(%s)", (job,))
    assert query(house, "SELECT qwen_wait(%s, '60 s')", (job,)) == [("done",)]
    assert query(house, "SELECT count(total) FROM bills") == [(5,)]


QUEUED = "CREATE TRIGGER q AFTER INSERT OR UPDATE ON bills FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('{\"B c\",total,other}', 'From: {body}', 'function=extract', 'max_attempts=1')"
BEFORE = "CREATE TRIGGER q BEFORE INSERT OR UPDATE ON bills FOR EACH ROW EXECUTE FUNCTION qwen_extract_trigger('body', '{\"B c\",total,other}')"


@pytest.mark.parametrize("trigger", [QUEUED, BEFORE], ids=["queued", "before"])
def test_each_column_follows_the_triggers_rule(house, trigger):
    """A column that a statement gives a value keeps it, whenever the statement comes; the others are filled in."""
    query(house, TABLE)
    query(house, trigger)
    query(house, ROWS)
    query(house, "INSERT INTO bills (id, body, total) VALUES (7, 'Mail 7: Anna wants 12.50', 7)")
    query(house, "BEGIN; INSERT INTO bills (id, body) VALUES (8, 'Mail 8'), (9, 'Mail 9'), (10, 'x'); UPDATE bills SET total = 8 WHERE id = 8; UPDATE bills SET id = 19, total = 9 WHERE id = 9; "
                 "UPDATE bills SET \"B c\" = 'yes', total = 10, other = 'no' WHERE id = 10; COMMIT")
    wait_empty(house)
    assert query(house, "SELECT id, total FROM bills WHERE id > 6 ORDER BY id") == [(7, 7), (8, 8), (10, 10), (19, 9)]
    prompt = "'From: ' || body" if trigger == QUEUED else "body"
    assert query(house, f'SELECT id, "B c", total, other FROM bills WHERE id < 6 EXCEPT SELECT id, (x)."B c", (x).total, (x).other FROM (SELECT id, qwen_extract({prompt}, NULL::three) x FROM bills) s') == []
    assert query(house, "SELECT count(\"B c\") > 5, count(other) > 5 FROM bills") == [(True, True)]
    assert query(house, "SELECT count(\"B c\"), count(total), count(other) FROM bills WHERE id = 6") == [(0, 0, 0)]
    # a source changes: all are made anew but what is given; set to NULL: this one alone
    query(house, "UPDATE bills SET body = 'Mail: Bob wants 3', total = 77 WHERE id = 7; UPDATE bills SET total = NULL, due = '2020-01-01' WHERE id = 8")
    wait_empty(house)
    assert query(house, "SELECT id, total FROM bills WHERE total = 77") == [(7, 77)]
    assert query(house, "SELECT count(total) FROM bills WHERE id = 8 AND due = '2020-01-01'") == [(1,)]
    assert query(house, "SELECT * FROM qwen_dead_letters WHERE relation = 'bills'::regclass") == []
    # sources that become NULL
    query(house, "UPDATE bills SET body = NULL WHERE id = 7")
    wait_empty(house)
    assert query(house, 'SELECT "B c", total, other FROM bills WHERE id = 7') == [(None, None, None)]


def test_a_triggers_owner_needs_no_schema_of_ours(house):
    """Nor `use`: as where the extension stands in a schema of its own. Also of rows that only some columns are picked of, and whose answer a BEFORE trigger has put in already."""
    query(house, TABLE + ROWS)
    query(house, QUEUED + """; CREATE FUNCTION as_is() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER as_is BEFORE UPDATE OF other ON bills FOR EACH ROW EXECUTE FUNCTION as_is();
        CREATE ROLE bills_owner LOGIN; GRANT USAGE ON SCHEMA filled TO bills_owner; ALTER TABLE bills OWNER TO bills_owner; REVOKE ALL ON SCHEMA public FROM PUBLIC""")
    try:
        house.query("UPDATE filled.bills SET body = body || '!', due = NULL WHERE id < 3; UPDATE filled.bills SET body = body || '!', total = 77 WHERE id = 4; UPDATE filled.bills SET body = 'refused' WHERE id = 3")
        wait_empty(house)
        assert query(house, "SELECT id, \"B c\"::text, other::text FROM bills WHERE total IS NOT NULL AND \"B c\" IS NOT NULL ORDER BY id") == [(1, "yes", "no"), (2, "yes", "no"), (4, "yes", "no")]
        assert query(house, "SELECT total FROM bills WHERE id = 4") == [(77,)]
        assert query(house, "SELECT key, error FROM qwen_dead_letters WHERE relation = 'bills'::regclass") == [
            (["3"], 'the answer was not written: a BEFORE trigger or a rule of table "bills" keeps the UPDATE back')]
    finally:
        house.query("GRANT USAGE ON SCHEMA public TO PUBLIC; DROP TABLE filled.bills; DROP OWNED BY bills_owner; DROP ROLE bills_owner; DROP FUNCTION filled.as_is")


def test_queued_columns_are_taken_back_one_by_one(house):
    """While rows wait, and from dead letters, which go when nothing is left of them."""
    query(house, TABLE + ROWS + "ALTER TABLE bills ADD CHECK (id <> 1 OR other IS NULL OR due IS NOT NULL)")
    query(house, QUEUED)
    query(house, "UPDATE bills SET body = body || '!' WHERE id = 1")
    wait_empty(house)
    letters = "SELECT error FROM qwen_dead_letters WHERE relation = 'bills'::regclass"
    assert query(house, letters) == [('the answer\'s "/other" is refused: new row for relation "bills" violates check constraint "bills_check" (the value is "no")',)]
    assert query(house, "SELECT last_error FROM qwen_trigger_backlog WHERE relation = 'bills'::regclass") == query(house, letters)
    query(house, "UPDATE bills SET \"B c\" = 'yes', total = 1 WHERE id = 1")
    assert len(query(house, letters)) == 1
    query(house, "ALTER TABLE bills DROP CONSTRAINT bills_check; SELECT qwen_retry_table('bills')")
    wait_empty(house)
    assert query(house, "SELECT total, other::text FROM bills WHERE id = 1") == [(1, "no")]
    assert query(house, letters) == []


DEFAULTS = {  # target columns, and the trigger that fills them in
    "summarize": ("s text {} DEFAULT 'usual'", "BEFORE", "qwen_summarize_trigger('body', 's', '5', 'max_tokens=3')"),
    "embed": ("s real[] {} DEFAULT '{{1,2}}'", "BEFORE", "qwen_embed_trigger('body', 's', 'dimensions=2')"),
    "extract": ("s yes {0} DEFAULT 'yes', t boolean {0} DEFAULT false", "BEFORE", "qwen_extract_trigger('body', '{s,t}')"),
    "queued": ("s text {} DEFAULT 'usual'", "AFTER", "qwen_enqueue_trigger('s', 'body', 'max_tokens=3')"),
    "queued extract": ("s yes {0} DEFAULT 'yes', t boolean {0} DEFAULT false", "AFTER", "qwen_enqueue_trigger('{s,t}', 'body', 'function=extract')"),
    "queued embed": ("s real[] {} DEFAULT '{{1,2}}'", "AFTER", "qwen_enqueue_embed_trigger('s', 'body', 'dimensions=2')"),
}


@pytest.mark.parametrize("case", DEFAULTS)
def test_a_row_without_a_source_keeps_its_defaults(house, case):
    """As all five triggers have it, so that the column may be NOT NULL; a source that becomes NULL or is blank has the answer NULL."""
    columns, moment, call = DEFAULTS[case]
    for constraint in ("NOT NULL", ""):
        query(house, f"DROP TABLE IF EXISTS usual; CREATE TABLE usual (id int PRIMARY KEY, body text, {columns.format(constraint)}); "
                     f"CREATE TRIGGER q {moment} INSERT OR UPDATE ON usual FOR EACH ROW EXECUTE FUNCTION {call}; INSERT INTO usual (id) VALUES (1)")
        query(house, "INSERT INTO usual (id) VALUES (2); UPDATE usual SET s = DEFAULT, id = 3 WHERE id = 2")
        wait_empty(house)
        assert query(house, "SELECT id FROM usual u WHERE s::text IN ('usual', 'yes', '{1,2}') AND u::text NOT LIKE '%,)' ORDER BY id") == [(1,), (3,)]
    query(house, "INSERT INTO usual (id, body) VALUES (4, 'Mail 1: Anna wants 12.50'), (5, ' ')")
    wait_empty(house)
    assert query(house, "SELECT id FROM usual WHERE s IS NULL ORDER BY 1") == [(5,)]
    query(house, "UPDATE usual SET body = NULL WHERE id = 4")
    wait_empty(house)
    assert query(house, "SELECT id FROM usual WHERE s IS NULL ORDER BY 1") == [(4,), (5,)]
    query(house, "DROP TABLE usual")


def test_what_is_wrong_with_a_triggers_targets_is_said_at_the_first_row(house):
    for arguments, code, part in (("'{total,total}', 'body', 'function=extract'", "22023", "named twice"), ("'{}', 'body', 'function=extract'", "22023", "no column is named"),
                                  ("'{total,due}', 'body'", "22023", "goes into one column"), ("'{total,made}', 'body', 'function=extract'", "22023", "generated"), ("'{total', 'body', 'function=extract'", "22P02", "malformed"),
                                  ("'{total,raw}', 'body', 'function=extract'", "0A000", "/raw"), ("'{total,body}', 'body', 'function=extract'", "22023", "from the column itself")):
        query(house, TABLE + f"CREATE TRIGGER q AFTER INSERT ON bills FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger({arguments})")
        assert part in refused(house, ROWS, code).message_primary, arguments
    for arguments, code, part in (("'body', '{total,total}'", "22023", "named twice"), ("'body', '{total,numbered}'", "22023", "identity"), ("'body', 'raw'", "0A000", "bytea"), ("'body', '{body}'", "22023", "from the column itself"),
                                  ("'id', 'total'", "22023", "text or varchar"), ("'body', 'total', 'max=3'", "22023", '"max=3" is not known'), ("'body', 'total', 'response_format={}'", "22023", "is the form"), ("'body'", "22023", "2 or more")):
        query(house, TABLE + f"CREATE TRIGGER q BEFORE INSERT ON bills FOR EACH ROW EXECUTE FUNCTION qwen_extract_trigger({arguments})")
        assert part in refused(house, ROWS, code).message_primary, arguments
    refused(house, "SELECT qwen_extract_trigger()", "22023")


def test_a_before_trigger_tells_what_is_refused(house):
    """Or leaves it NULL where errors shall be, and what a CHECK's function has done is undone."""
    query(house, TABLE + """CREATE FUNCTION refuse(yes) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE left_behind (x int); RETURN false; END $$;
        CREATE DOMAIN refusing AS yes CHECK (refuse(VALUE)); CREATE TYPE holder AS (inside refusing); ALTER TABLE bills ADD held holder;
        CREATE TRIGGER q BEFORE INSERT ON bills FOR EACH ROW EXECUTE FUNCTION qwen_extract_trigger('body', '{held,other}')""")
    row = "INSERT INTO bills (id, body) SELECT i, 'Anna ' || i FROM generate_series(1, 8) i"
    with pytest.raises(psycopg2.errors.CheckViolation) as failure:
        query(house, row)
    assert failure.value.diag.message_primary == 'the answer\'s "/held/inside" is refused: value for domain refusing violates check constraint "refusing_check" (the value is "yes")'
    assert failure.value.diag.column_name == "held"
    assert query(house, f"SET qwen.on_error = 'null'; {row}; SELECT count(*), count(held), count(other), to_regclass('pg_temp.left_behind') FROM bills") == [(8, 0, 0, None)]


def test_a_before_trigger_says_types_and_not_a_schema(house):
    query(house, "CREATE TABLE wordy (id int PRIMARY KEY, body text, a text); CREATE TRIGGER q BEFORE INSERT ON wordy FOR EACH ROW EXECUTE FUNCTION qwen_extract_trigger('body', '{a}', 'max_tokens=8', 'temperature=0')")
    with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match="are not enough for what the type asks for") as failure:
        query(house, "INSERT INTO wordy SELECT i, 'Anna wrote a long letter about a garden and its many flowers.' FROM generate_series(1, 5) i")
    assert "varchar(n)" in failure.value.diag.message_hint
    # an element of an array is no column
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation) as failure:
        query(house, "SELECT qwen_type_value('[[1,2],[3]]', NULL::int[])")
    assert failure.value.diag.column_name is None


def test_values_of_types_are_made_of_json_alone(house):
    """qwen_type_value: what jobs use, with the errors of answers."""
    for sql, error, part in (("'{}', NULL::bill, '{due,nobody}'", psycopg2.errors.UndefinedColumn, 'no column "nobody"'), ("'1', NULL::int, '{due}'", psycopg2.errors.InvalidParameterValue, "has no columns")):
        with pytest.raises(error, match=part):
            query(house, f"SELECT qwen_type_value({sql})")
    assert query(house, """SELECT qwen_type_value('{"total": 1.005, "due": "2024-02-29", "x": 1}', NULL::bill)::text, qwen_type_value('{"total": 1, "due": "2024-02-29"}', NULL::bill, '{due}')::text,
        qwen_type_value('[1, 2]', NULL::int[]), qwen_type_value('null', NULL::int), qwen_type_value(NULL, NULL::int), qwen_type_value('1.25', NULL::numeric(3, 1))""") == [
            ("(,1.01,2024-02-29)", "(,,2024-02-29)", [1, 2], None, None, query(house, "SELECT 1.3")[0][0])]
    for value, kind, code, message in (
        ('{"total": 123456}', "bill", "22003", 'the answer\'s "/total" is refused: numeric field overflow (the value is 123456)'),
        ('{"due": "2023-02-29"}', "bill", "22008", 'the answer\'s "/due" is refused: date/time field value out of range: "2023-02-29" (the value is "2023-02-29")'),
        ('{"B c": "maybe"}', "bill", "22P02", 'the answer\'s "/B c" is refused: invalid input value for enum yes: "maybe" (the value is "maybe")'),
        ('[{"what": "yes", "n": -2}, {"n": 4}]', "entry[]", "23514", 'the answer\'s "/1/n" is refused: value for domain negative violates check constraint "negative_check" (the value is 4)'),
        ('{"n": {"a": "%s"}}' % ("x" * 200), "entry", "22P02", 'the answer\'s "/n" is refused: it is of another kind than type integer takes (the value is {"a": "%s...)' % ("x" * 93)),
        ('[[1, 2], [3]]', "int[]", "22P02", 'the answer\'s "/0" is refused: it is of another kind than type integer takes (the value is [1, 2])'),
        ('{"f": null}', "of_five", "23502", 'the answer\'s "/f" is refused: domain five does not allow null values (the value is null)'),
        ('{"f": "long word"}', "of_five", "22001", 'the answer\'s "/f" is refused: value too long for type character varying(5) (the value is "long word")'),
        ("123456", "numeric(6, 2)", "22003", "the answer is refused: numeric field overflow (the value is 123456)"),
        ('{"what": 1, "n": 99999999999}', "entry", "22P02", 'the answer\'s "/what" is refused: invalid input value for enum yes: "1" (the value is 1)'),
    ):
        diag = refused(house, f"SELECT qwen_type_value(%s, NULL::{kind})", code, (value,))
        assert diag.message_primary == message
    assert refused(house, "SELECT qwen_type_value('1', NULL::bytea)", "0A000")


def test_the_pages_example_runs(house):
    """docs/typed.md, with the triggers in place of the job."""
    statements = [sql for _, sql in blocks("typed.md") if "bills" in sql]
    assert len(statements) == 2
    try:
        ((job,),) = house.query(statements[0])
        assert house.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        queued, before = [line for line in statements[1].splitlines() if line]
        house.query(queued + "; INSERT INTO bills VALUES (1, 'The electrician sends a bill of 80.50, to be paid by 2024-03-01')")
        wait_empty(house)
        house.query("DROP TRIGGER read_bill ON bills")
        house.query(before + "; INSERT INTO bills SELECT 2, body FROM bills")
        assert house.query("SELECT count(*), count(DISTINCT (sender, total, due)), count(total) FROM bills") == [(2, 1, 2)]
    finally:
        house.query("DROP TABLE IF EXISTS bills")
