"""qwen_extract of a type: the schema is made of the catalog, the answer is a value of the type, one call a row."""
import json

import psycopg2
import pytest
from cluster import MODEL_FILE

DEFAULT_MODEL = MODEL_FILE
TYPES = """
CREATE SCHEMA rows; SET search_path = rows, public;
CREATE TYPE state AS ENUM ('open', 'paid "late"', 'Über');
CREATE DOMAIN percent AS numeric(5, 2) NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN short AS varchar(4);
CREATE DOMAIN address AS text CHECK (VALUE ~ '@');
CREATE DOMAIN share AS numeric(5, 2) NOT NULL;
CREATE TYPE item AS (what varchar(12), n int2);
CREATE TABLE invoices (id int GENERATED ALWAYS AS IDENTITY, number serial, gone text, sender varchar(10) NOT NULL, total numeric(6, 2), due date,
    status state NOT NULL, doubled numeric GENERATED ALWAYS AS (total * 2) STORED);
ALTER TABLE invoices DROP COLUMN gone;
COMMENT ON COLUMN invoices.sender IS 'who wants "money"';
COMMENT ON TABLE invoices IS 'a bill';
CREATE TYPE everything AS (a int2, b int4, c int8, d numeric(4, 2), e numeric(3, 0), f real, g float8, h varchar(5), i char(3), k date, l timestamp,
    m timestamptz(0), n time, o timetz, p interval, q uuid, r boolean, s inet, t share, u state, v item);
CREATE DOMAIN known_item AS item CHECK ((VALUE).n >= 0);
CREATE FUNCTION never(text) RETURNS boolean AS $$ BEGIN CREATE TEMP TABLE left_behind (x int); RAISE 'never'; END $$ LANGUAGE plpgsql;
CREATE TABLE mails (id int PRIMARY KEY, body text);
INSERT INTO mails SELECT i, 'Mail ' || i || ': Anna wants 12.50 for ' || i || ' pens' FROM generate_series(1, 6) i UNION ALL SELECT 7, NULL UNION ALL SELECT 8, ' ';
"""


@pytest.fixture(scope="module")
def cursor(server):
    cursor = server.connect().cursor()
    cursor.execute(TYPES)
    yield cursor
    cursor.execute("RESET ALL; DROP SCHEMA rows CASCADE")
    cursor.connection.close()


def rows(cursor, sql, arguments=None):
    cursor.execute(sql, arguments)
    return cursor.fetchall()


def schema(cursor, kind, *more):
    cursor.execute(f"SELECT qwen_type_schema(%s{', %s' * len(more)})", (kind, *more))
    value = cursor.fetchone()[0]
    return json.loads(value) if isinstance(value, str) else value


def test_the_schema_says_what_the_catalog_says(cursor):
    found = schema(cursor, "invoices")
    assert list(found["properties"]) == ["sender", "total", "due", "status"] == found["required"] and found["additionalProperties"] is False
    assert found["description"] == "a bill"
    members = found["properties"]
    assert members["sender"] == {"type": "string", "maxLength": 10, "description": 'who wants "money"'}
    assert members["total"] == {"type": ["number", "null"], "multipleOf": 0.01, "exclusiveMinimum": -10000, "exclusiveMaximum": 10000}
    assert members["due"] == {"type": ["string", "null"], "format": "date"}
    assert members["status"] == {"enum": ["open", 'paid "late"', "Über"]}
    assert schema(cursor, "item[]")["items"]["properties"]["n"] == {"type": ["integer", "null"], "minimum": -32768, "maximum": 32767}
    assert list(schema(cursor, "invoices", "{total,sender}")["properties"]) == ["sender", "total"]
    percent = schema(cursor, "percent")
    assert percent["type"] == "number" and ">=" in percent["description"]
    for kind in ("invoices", "everything", "int", "text", "jsonb", "item[]", "known_item"):
        assert rows(cursor, "SELECT * FROM qwen_check_format(json_build_object('type', 'json_schema', 'schema', qwen_type_schema(%s)))", (kind,)) == [], kind


@pytest.mark.parametrize("kind, part", [("bytea", "decode"), ("int4range", "bounds"), ("record", "CREATE TYPE"), ("money", "numeric"), ("xml", "cannot be extracted")])
def test_types_without_a_form_are_refused_with_a_way_out(cursor, kind, part):
    for ask in (f"SELECT qwen_type_schema('{kind}')", f"SELECT qwen_extract(body, NULL::{kind}) FROM mails"):
        with pytest.raises(psycopg2.errors.FeatureNotSupported) as failure:
            cursor.execute(ask)
        assert part in str(failure.value)
    cursor.execute("DROP TYPE IF EXISTS holder; CREATE TYPE holder AS (a int, b bytea)")
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match='"/b"'):
        cursor.execute("SELECT qwen_extract('x', NULL::holder)")


def test_more_dimensions_than_arrays_have_are_refused_before_the_model_is_asked(cursor):
    cursor.execute("CREATE TYPE deep AS (a int, b int[][][][][][]); CREATE TYPE deeper AS (a int, b int[][][][][][][])")
    inner = schema(cursor, "deep")["properties"]["b"]
    for _ in range(6):
        assert "array" in inner["type"]
        inner = inner["items"]
    assert inner["type"] == "integer"
    for ask in ("SELECT qwen_type_schema('deeper')", "SELECT qwen_extract('x', NULL::deeper)", "SELECT qwen_type_value('{}', NULL::deeper)"):
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match='at most 6 dimensions, not the 7 declared \\(at "/b"\\)'):
            cursor.execute(ask)


def test_whatever_the_model_says_is_a_value_of_the_type(cursor):
    """At a temperature at which it says nearly anything."""
    found = rows(cursor, "SELECT (x).* FROM generate_series(1, 12) i, LATERAL qwen_extract('Anna ' || i, NULL::everything, temperature => 1.5, seed => i, max_tokens => 1000) x")
    assert len(found) == 12
    for row in found:
        assert row[18] is not None and abs(row[18]) < 1000
        assert row[0] is None or abs(row[0]) <= 32768
        assert row[3] is None or abs(row[3]) < 100


@pytest.mark.parametrize("kind", ["int", "numeric(5,2)", "date", "timestamptz", "interval", "boolean", "uuid", "state", "item", "known_item", "jsonb", "boolean[]"])
def test_single_values_and_arrays(cursor, kind):
    ((value, found),) = rows(cursor, f"SELECT x::text, pg_typeof(x)::text FROM (SELECT qwen_extract('Anna is 31', NULL::{kind}, temperature => 1, seed => 2, max_tokens => 500)) s (x)")
    assert found.split(".")[-1] == rows(cursor, f"SELECT pg_typeof(NULL::{kind})::text")[0][0].split(".")[-1]


def test_a_row_is_asked_for_once_and_batched(cursor):
    """Whoever expands it: a function of FROM, a subquery that could be pulled up, a select list."""
    columns = "sender, total, due, status"
    for ask in (
        "SELECT {0} FROM mails, LATERAL qwen_extract(body, NULL::invoices) x",
        "SELECT {1} FROM (SELECT qwen_extract(body, NULL::invoices) AS x FROM mails) s",
        "SELECT {1} FROM mails, LATERAL (SELECT qwen_extract(body, NULL::invoices)) s (x)",
        "SELECT (qwen_extract(body, NULL::invoices)).* FROM mails",
    ):
        sql = ask.format(columns, ", ".join(f"(x).{name}" for name in columns.split(", ")))
        plan = "\n".join(line for (line,) in rows(cursor, "EXPLAIN (ANALYZE, TIMING off) " + sql))
        assert "Qwen Batch" in plan and "Requests: 6 " in plan, plan
    cursor.execute(f"INSERT INTO invoices ({columns}) SELECT {columns} FROM mails, LATERAL qwen_extract(body, NULL::invoices) x WHERE body LIKE 'Mail%'")
    assert rows(cursor, "SELECT count(*), count(sender), count(id) FROM invoices") == [(6, 6, 6)]
    assert rows(cursor, "SELECT x IS NULL FROM mails, LATERAL (SELECT qwen_extract(body, NULL::invoices)) s (x) WHERE id >= 7") == [(True,), (True,)]


def test_what_a_check_refuses_is_its_rows_error_with_the_path(cursor):
    """And what the check had done is undone."""
    ask = "SELECT i, x IS NULL FROM generate_series(1, 3) i, LATERAL qwen_extract('Anna ' || i, NULL::{}) x"
    cursor.execute("CREATE DOMAIN one_more AS int NOT NULL CHECK (VALUE < -2147483647)")
    cursor.execute("CREATE TYPE odd AS (inside one_more)")
    with pytest.raises(psycopg2.errors.CheckViolation, match='the answer\'s "/inside" is refused'):
        cursor.execute(ask.format("odd"))
    cursor.execute("SET qwen.on_error = 'null'")
    try:
        del cursor.connection.notices[:]
        assert rows(cursor, ask.format("odd")) == [(1, True), (2, True), (3, True)]
        assert "3 values are NULL" in str(cursor.connection.notices) and "/inside" in str(cursor.connection.notices)
        cursor.execute("CREATE DOMAIN never_text AS varchar(3) NOT NULL CHECK (never(VALUE)); CREATE TYPE no AS (said never_text)")
        assert rows(cursor, ask.format("no")) == [(1, True), (2, True), (3, True)]
        assert rows(cursor, "SELECT to_regclass('pg_temp.left_behind')") == [(None,)]
    finally:
        cursor.execute("RESET qwen.on_error")
    with pytest.raises(psycopg2.errors.RaiseException, match="never"):
        cursor.execute(ask.format("no"))


def test_a_tables_checks_are_said_and_refuse_a_row_alone(cursor):
    """Those that an answer decides; what speaks of other columns, or of the row as such, is left to the table."""
    cursor.execute("CREATE TABLE checked (gone int, id serial, a int CHECK (a > 1), b int, c text, CHECK (b < a), CHECK (a < id), CHECK (checked IS NOT NULL), CHECK (tableoid > 0));"
                   " ALTER TABLE checked DROP COLUMN gone; COMMENT ON COLUMN checked.a IS 'a number'")
    found = schema(cursor, "checked")
    assert list(found["properties"]) == ["a", "b", "c"] and "b < a" in found["description"] and "id" not in found["description"]
    assert found["properties"]["a"]["description"] == "a number; CHECK ((a > 1))" and "description" not in found["properties"]["b"]
    for answer, words in (('{"a": 1}', '"/a" is refused: new row for relation "checked" violates check constraint "checked_a_check" \\(the value is 1\\)'),
                          ('{"a": 5, "b": 6}', 'the answer is refused: .*"checked_check" \\(the value is {"a": 5, "b": 6}\\)')):
        with pytest.raises(psycopg2.errors.CheckViolation, match=words) as failure:
            cursor.execute("SELECT qwen_type_value(%s, NULL::checked)", (answer,))
        assert failure.value.diag.constraint_name == ("checked_a_check" if "b" not in answer else "checked_check")
        # of some columns the table itself says it, as it does where a job writes them
        assert rows(cursor, "SELECT qwen_type_value(%s, NULL::checked, '{a,b}') IS NULL", (answer,)) == [(False,)]
    assert rows(cursor, "SELECT (v).a, (v).b FROM qwen_type_value('{\"a\": 6, \"b\": 5}', NULL::checked) v") == [(6, 5)]
    with pytest.raises(psycopg2.errors.CheckViolation, match='"/1/a"'):
        cursor.execute("SELECT qwen_type_value('[{\"a\": 2}, {\"a\": 1}]', NULL::checked[])")
    cursor.execute("CREATE TABLE dividing (b int, a int CHECK (1 / a >= 0))")
    with pytest.raises(psycopg2.errors.DivisionByZero, match='"/a" is refused: division by zero \\(the value is 0\\)'):
        cursor.execute("SELECT qwen_type_value('{\"a\": 0}', NULL::dividing)")
    cursor.execute("CREATE TABLE refusing (a int CHECK (a * 0 = 1), b int)")
    cursor.execute("SET qwen.on_error = 'null'")
    try:
        filled = rows(cursor, "INSERT INTO refusing SELECT (x).* FROM mails, LATERAL qwen_extract(body, NULL::refusing, temperature => 0, max_tokens => 40) x WHERE id < 3 AND NOT x IS NULL RETURNING a")
    finally:
        cursor.execute("RESET qwen.on_error")
    assert filled == []


def test_what_the_database_makes_for_every_row_is_not_asked_for(cursor):
    cursor.execute("CREATE TABLE made (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), a int DEFAULT 3, b date DEFAULT CURRENT_DATE, c float8 DEFAULT random(), d int DEFAULT nextval('checked_id_seq'), "
                   "e timestamptz DEFAULT now(), f text DEFAULT CURRENT_USER, g date DEFAULT '2026-01-01')")
    assert list(schema(cursor, "made")["properties"]) == ["a", "g"]
    assert list(schema(cursor, "made", "{id,a}")["properties"]) == ["id", "a"]


def test_extracted_objects_have_the_members_that_the_schema_names(cursor):
    """Also where it says nothing of others; of them qwen_extract has none, as tools. What it says otherwise holds."""
    silent = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}'
    for given in (silent, '{"type": "json_schema", "schema": %s}' % silent):
        answers = rows(cursor, f"SELECT qwen_extract('Anna, 31, of Oslo', '{given}', temperature => 1.5, seed => s) FROM generate_series(1, 6) s")
        assert all(set(answer) == {"a"} for (answer,) in answers)
    more = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "minProperties": 2, "additionalProperties": {"type": "boolean"}}'
    assert len(rows(cursor, f"SELECT qwen_extract('Anna', '{more}', max_tokens => 60)")[0][0]) >= 2
    lame = '{"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 1}}, "required": ["a"]}'
    for given, part in ((lame, '^schema: no value satisfies the schema at /properties/a\n'), ('{"type": "object", "properties": {"a": {"pattern": "("}}}', '^schema: "pattern" at /properties/a'),
                        ('{"type": "json_schema", "strict": "yes", "schema": {}}', '^schema: "strict" at / must be true or false')):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match=part):
            cursor.execute("SELECT qwen_extract('x', %s)", (given,))
    assert rows(cursor, f"SELECT path, problem FROM qwen_check_format('{lame}')") == [("/properties/a", "no value satisfies the schema at /properties/a")]


def test_a_schema_stays_a_schema(cursor):
    """Literals, parameters and casts find the form that they did; what is meant otherwise is said."""
    small = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}'
    for given in (f"'{small}'", f"'{small}'::json", f"'{small}'::text"):
        assert set(rows(cursor, f"SELECT qwen_extract('x', {given})")[0][0]) == {"a"}
        assert set(rows(cursor, f"SELECT qwen_extract(body, {given}) FROM mails WHERE id = 1")[0][0]) == {"a"}
    cursor.execute(f"PREPARE p AS SELECT qwen_extract(body, $1) FROM mails WHERE id = 1; EXECUTE p('{small}')")
    assert set(cursor.fetchone()[0]) == {"a"}
    for given, error, part in (("NULL", psycopg2.errors.InvalidParameterValue, "NULL of the type wanted"), (f"'{small}'::jsonb", psycopg2.errors.InvalidParameterValue, "cast to json"),
                               ("'2024-01-01'::date", psycopg2.errors.InvalidParameterValue, "must be NULL"), ("'{oops'", psycopg2.errors.InvalidTextRepresentation, "json"),
                               ("NULL::date, response_format => '{}'", psycopg2.errors.InvalidParameterValue, "the type is the form")):
        with pytest.raises(error) as failure:
            cursor.execute(f"SELECT qwen_extract('x', {given})")
        assert part in str(failure.value), given
    cursor.execute("SELECT qwen_extract('x', 5::percent)")
    assert cursor.fetchone()[0] is not None


def test_a_text_is_no_type_of_its_own(cursor):
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="NULL of the type wanted"):
        cursor.execute("SELECT qwen_extract('x', NULL::varchar(4))")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="type => NULL::text"):
        cursor.execute("SELECT qwen_extract('x', NULL::short)")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="type => NULL::text"):
        cursor.execute("SELECT qwen_extract('x', NULL::address)")


@pytest.mark.parametrize("kind", ["varchar(4)", "short"])
def test_a_text_is_a_type_where_the_argument_is_named(cursor, kind):
    values = rows(cursor, f"SELECT qwen_extract(body, type => NULL::{kind}) FROM mails ORDER BY id")
    assert all(isinstance(value, str) and len(value) <= 4 for value, in values[:6]) and values[6:] == [(None,), (None,)], values


def test_a_type_that_was_altered_is_found_as_it_is(cursor):
    cursor.execute("CREATE TYPE shifting AS (a int); PREPARE ask AS SELECT x FROM (SELECT qwen_extract('x', NULL::shifting)) s (x)")
    assert rows(cursor, "EXECUTE ask")[0][0].count(",") == 0
    cursor.execute("ALTER TYPE shifting ADD ATTRIBUTE b boolean, ADD ATTRIBUTE c date")
    assert rows(cursor, "EXECUTE ask")[0][0].count(",") == 2
