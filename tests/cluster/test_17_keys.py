"""Keys of every type: what a trigger queues and what a job takes is found again and filled in, each row with its own answer."""
import time

import psycopg2
import pytest
from cluster import wait_until

OPTIONS = "'max_tokens=2', 'temperature=0'"

# type -> values, all different under the type's equality
TYPES = {
    "char(2)": ["DE", "FR", "D"],
    "char(5)": ["DE", "DEU", "DE AB", "D"],
    "char": ["a", "b"],
    "varchar(3)": ["a", "ab", "a ", "abc"],
    "bpchar": ["abc", "abd", "a"],
    '"char"': ["a", "b", ""],
    "name": ["one", "two"],
    "text": ["", "a'b", 'c"d', "{e,f}", "NULL", "back\\slash", "line\nend", "ü"],
    'text COLLATE "C"': ["b", "B", "a"],
    "text COLLATE keyless_case": ["b", "C", "a"],
    "bit": ["0", "1"],
    "bit(4)": ["1010", "1011", "0000"],
    "varbit": ["1", "10", "100", ""],
    "varbit(5)": ["1", "10", "11111"],
    "smallint": ["-1", "0", "32767"],
    "int": ["-2147483648", "7"],
    "bigint": ["9223372036854775807", "-3"],
    "oid": ["0", "4294967295"],
    "numeric": ["1", "1.5", "NaN", "123456789012345678901234567890.5"],
    "numeric(7,3)": ["1.125", "-1.125", "1"],
    "float4": ["NaN", "-0", "0.1", "Infinity"],
    "float8": ["NaN", "-0", "0.1", "0.3", "-Infinity", "1e-300"],
    "bool": ["t", "f"],
    "uuid": ["00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000001"],
    "date": ["2024-02-03", "0044-03-15 BC", "infinity"],
    "time": ["01:02:03.456789", "24:00"],
    "time(0)": ["01:02:03", "01:02:04"],
    "timetz": ["01:02:03+05:30", "01:02:03-08"],
    "timestamp": ["2024-02-03 04:05:06.789012", "-infinity"],
    "timestamp(1)": ["2024-02-03 04:05:06.7", "2024-02-03 04:05:06.8"],
    "timestamptz": ["2024-02-03 04:05:06.789012+02", "1890-01-01 00:00:00+00"],
    "timestamptz(3)": ["2024-02-03 04:05:06.789+02", "2024-02-03 04:05:06.788+02"],
    "interval": ["1 year 2 mons -3 days 04:05:06.7", "-1 day", "00:00:01"],
    "interval(2)": ["1.23 seconds", "1.24 seconds"],
    "inet": ["10.0.0.1", "10.0.0.1/24", "::1"],
    "cidr": ["10.0.0.0/8", "10.0.0.0/16"],
    "macaddr": ["08:00:2b:01:02:03", "08:00:2b:01:02:04"],
    "macaddr8": ["08:00:2b:01:02:03:04:05", "08:00:2b:01:02:03:04:06"],
    "bytea": ["\\x", "\\x00ff", "\\x41"],
    "money": ["1.50", "-2"],
    "pg_lsn": ["0/1", "1/0"],
    "jsonb": ['{"a": 1}', '"x"', "[1, 2]"],
    "int4range": ["[1,5)", "empty", "(,3)"],
    "tstzrange": ["[2024-01-01 00:00+02,2024-01-02 00:00+02)", "[2024-01-01 00:00+02,)"],
    "tsvector": ["a b", "c"],
    "regclass": ["pg_class", "pg_proc"],
    "regtype": ["int4", "text"],
    "keyless_enum": ["red", "dark red", "b"],
    "keyless_pair": ["(1,x)", '(1,"y, z")', "(,x)"],
    "keyless_code": ["ab", "cde"],
    "keyless_bits": ["101", "111"],
    "keyless_positive": ["1", "2.50"],
    "keyless_of_domain": ["a", "bc"],
    "citext": ["ab", "C", "d"],
    "ltree": ["a", "a.b", "b"],
    "isbn": ["0-306-40615-2", "0-201-53082-1"],
    "isbn13": ["978-0-306-40615-7"],
    "ean13": ["4006381333931"],
    "hstore": ["a=>1", "b=>2", ""],
    "cube": ["(1,2)", "(0.1)"],
    "seg": ["1 .. 2", "3"],
}
# the plain form serves for these; the last has a check that looks for what the owner of the table has not in the search path
NO_ARRAY = {"hstore", "cube", "seg", "ltree", "isbn", "isbn13", "ean13", "citext", "keyless_positive"}

PREPARE = """
    DROP SCHEMA IF EXISTS keyed CASCADE; CREATE SCHEMA keyed;
    CREATE SCHEMA IF NOT EXISTS typed;
    CREATE EXTENSION IF NOT EXISTS citext SCHEMA typed; CREATE EXTENSION IF NOT EXISTS ltree SCHEMA typed; CREATE EXTENSION IF NOT EXISTS isn SCHEMA typed;
    CREATE EXTENSION IF NOT EXISTS hstore SCHEMA typed; CREATE EXTENSION IF NOT EXISTS cube SCHEMA typed; CREATE EXTENSION IF NOT EXISTS seg SCHEMA typed;
    SET search_path = keyed, typed, public;
    CREATE COLLATION keyless_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TYPE keyless_enum AS ENUM ('red', 'dark red', 'b');
    CREATE TYPE keyless_pair AS (n int, t text);
    CREATE DOMAIN keyless_code AS char(3) CHECK (value <> 'xxx');
    CREATE FUNCTION keyed.zero() RETURNS numeric LANGUAGE sql AS 'SELECT 0::numeric';
    CREATE FUNCTION keyed.is_positive(numeric) RETURNS boolean LANGUAGE sql AS 'SELECT zero() < $1';
    CREATE DOMAIN keyless_bits AS bit(3);
    CREATE DOMAIN keyless_positive AS numeric(5, 2) CHECK (keyed.is_positive(value));
    CREATE DOMAIN keyless_of_domain AS keyless_code NOT NULL;
"""


def fill(cursor, table, values, composite):
    for i, value in enumerate(values):
        columns, given = ("k, n, body", [value, i, f"Say {i}"]) if composite else ("k, body", [value, f"Say {i}"])
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(given))})", given)


def test_keys_of_every_type_are_filled(server):
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute(PREPARE)
    trigger = f"FOR EACH ROW EXECUTE FUNCTION public.qwen_enqueue_trigger('e', 'body', {OPTIONS})"
    tables, jobs = {}, {}
    for number, (base, values) in enumerate(TYPES.items()):
        forms = [("plain", base, values)]
        if base not in NO_ARRAY:
            collation = base.partition(" COLLATE ")
            cursor.execute("SELECT %s::text[]", (values,))
            name = collation[0] + "[]" + (" COLLATE " + collation[2] if collation[2] else "")
            forms.append(("array", name, [[value] * (i % 2 + 1) for i, value in enumerate(values)]))
        for form, name, given in forms:
            for composite in (False, True):
                for way in ("trigger", "job", "other"):
                    if form == "array" and way == "other":
                        continue
                    table = f"{form}_{number}_{'pair' if composite else 'one'}_{way}"
                    key = "k, n" if composite else "k"
                    cursor.execute(f"CREATE TABLE {table} (k {name}, {'n bigint, ' if composite else ''}body text, e text, PRIMARY KEY ({key}))")
                    if way == "trigger":
                        cursor.execute(f"CREATE TRIGGER q AFTER INSERT OR UPDATE ON {table} {trigger}")
                    if form == "array":
                        for i, elements in enumerate(given):
                            columns = "k, n, body" if composite else "k, body"
                            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES (%s::text[]::{name.partition(' COLLATE ')[0]}, {f'{i}, ' if composite else ''}%s)", (elements, f"Say {i}"))
                    else:
                        fill(cursor, table, given, composite)
                    tables[table] = name, len(given)
                    if way == "job":
                        cursor.execute(f"SELECT qwen_submit('{table}', 'body', '{table}', 'e', max_tokens => 2, temperature => 0)")
                        jobs[table] = cursor.fetchone()[0]
                    if way == "other":
                        cursor.execute(f"CREATE TABLE {table}_to (LIKE {table} INCLUDING ALL)")
                        keys = "{k,n}" if composite else "{k}"
                        cursor.execute(f"SELECT qwen_submit('SELECT * FROM {table}', 'body', '{table}_to', 'e', key_columns => '{keys}', max_tokens => 2, temperature => 0)")
                        jobs[table] = cursor.fetchone()[0]
    for job in jobs.values():
        cursor.execute("SELECT qwen_wait(%s, '120 s')", (job,))
    wait_until(lambda: server.value("SELECT coalesce(sum(waiting), 0) FROM qwen_trigger_backlog") == 0, 120, "an empty queue")
    cursor.execute("SELECT array_agg(qwen_chat('Say ' || i, max_tokens => 2, temperature => 0) ORDER BY i) FROM generate_series(0, 9) i")
    answers = cursor.fetchone()[0]
    wrong = []
    for table, (name, n) in tables.items():
        if table.endswith("_other"):
            cursor.execute(f"SELECT f.body, t.e FROM {table} f LEFT JOIN {table}_to t ON f.k = t.k")
        else:
            cursor.execute(f"SELECT body, e FROM {table}")
        rows = cursor.fetchall()
        if sorted(rows) != sorted((f"Say {i}", answers[i]) for i in range(n)):
            cursor.execute("SELECT state, total, done, failed, error FROM qwen_jobs WHERE id = %s", (jobs.get(table),))
            state = cursor.fetchall()
            cursor.execute("SELECT error FROM qwen_dead_letters WHERE relation = %s::regclass OR job = %s LIMIT 1", (table, jobs.get(table)))
            wrong.append((table, name, rows, state, cursor.fetchall()))
    assert wrong == []
    cursor.execute("SELECT state, total, done, error FROM qwen_jobs WHERE id = ANY (%s) AND (state <> 'done' OR total <> done OR error IS NOT NULL)", (list(jobs.values()),))
    assert cursor.fetchall() == []
    connection.close()
    server.query("DROP SCHEMA keyed CASCADE; DROP SCHEMA typed CASCADE")


def test_pages_of_padded_keys_end(server):
    """A position of a cut key went back to the same rows for ever."""
    server.query(
        """DROP TABLE IF EXISTS padded; CREATE TABLE padded (code char(5) PRIMARY KEY, n bit(9) UNIQUE, body text, e text, f text);
        INSERT INTO padded SELECT 'A' || i, i::bit(9), 'x' FROM generate_series(1, 150) i"""
    )
    calls = "SELECT coalesce(sum(calls), 0) FROM qwen_stat_requests"
    before = server.value(calls)
    for column, more in (("e", ""), ("f", ", key_columns => '{n}'")):
        job = server.value(f"SELECT qwen_submit('padded', 'body', 'padded', '{column}', max_tokens => 1, temperature => 0{more})")
        assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
        assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(150, 150, None)]
    assert server.value("SELECT count(*) FROM padded WHERE e IS NULL OR f IS NULL") == 0
    assert server.value(calls) - before <= 300, "each row was asked for once"
    server.query("DROP TABLE padded")


def test_keys_in_any_session_format(server):
    """A key's text is the same whatever the session's settings: a dead letter goes when its row is filled in from elsewhere."""
    server.query(
        f"""DROP TABLE IF EXISTS formatted; CREATE TABLE formatted (at timestamptz, span interval, during tstzrange, data bytea, body text, e text, PRIMARY KEY (at, span, during, data));
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON formatted FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS})"""
    )
    server.query("SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape';"
                 "INSERT INTO formatted VALUES ('2024-02-03 04:05+00', '1 day 2 h', '[2024-02-03 04:05+00,)', '\\x00ff', repeat('word ', 100000))")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'formatted'::regclass") == 1, 60, "a dead letter")
    server.query("SET timezone = 'America/Lima'; UPDATE formatted SET body = 'short'")
    wait_until(lambda: server.value("SELECT count(*) FROM formatted WHERE e IS NOT NULL") == 1, 60, "the answer")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_dead_letters WHERE relation = 'formatted'::regclass") == 0, 20, "no dead letter")
    server.query("DROP TABLE formatted")


def test_indexes_that_cannot_serve_are_named(server):
    server.query("DROP TABLE IF EXISTS indexed; CREATE TABLE indexed (a int, b text, body text, e text); INSERT INTO indexed VALUES (1, 'x', 'one'), (2, 'y', 'two'), (NULL, 'z', 'three')")

    def refused(key="{a}"):
        with pytest.raises(psycopg2.Error) as failure:
            server.query(f"SELECT qwen_submit('indexed', 'body', 'indexed', 'e', key_columns => '{key}', max_tokens => 1, temperature => 0)")
        assert failure.value.pgcode == "22023"
        return failure.value.diag.message_detail or failure.value.diag.message_primary

    assert "has no unique index on the key columns" in refused()
    for index, reason in (("CREATE UNIQUE INDEX i ON indexed (a) WHERE a > 0", "is partial"), ("CREATE UNIQUE INDEX i ON indexed ((a + 1))", "is over an expression"),
                          ("ALTER TABLE indexed ADD CONSTRAINT i UNIQUE (a) DEFERRABLE", "is deferrable")):
        server.query(index)
        assert refused() == f'Index "i" {reason}.'
        server.query("ALTER TABLE indexed DROP CONSTRAINT i" if "ALTER" in index else "DROP INDEX i")
    # an index that serves: of more columns than the key, read backwards, and with NULL keys, which are said to be left out
    server.query("CREATE UNIQUE INDEX i ON indexed (a DESC NULLS FIRST) INCLUDE (b)")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT qwen_submit('indexed', 'body', 'indexed', 'e', key_columns => '{a}', max_tokens => 1, temperature => 0)")
    job = cursor.fetchone()[0]
    assert "1 row of the source is left out" in connection.notices[-1]
    connection.close()
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(2, 2, "1 row of the source is left out because a key column is NULL")]
    assert server.query("SELECT a FROM indexed WHERE e IS NULL") == [(None,)]
    server.query("DROP TABLE indexed")


def test_keys_of_other_operators_and_types(server):
    """A key with an operator class of the user's, and jobs whose target has the key as another type."""
    server.query(
        """DROP TABLE IF EXISTS from_int, to_big, to_text, to_char; CREATE TABLE from_int (id int PRIMARY KEY, body text); INSERT INTO from_int VALUES (1, 'one'), (20, 'two');
        CREATE TABLE to_big (id bigint PRIMARY KEY, e text); CREATE TABLE to_text (id text PRIMARY KEY, e text); CREATE TABLE to_char (id char(4) PRIMARY KEY, e text);
        INSERT INTO to_big VALUES (1); INSERT INTO to_text VALUES ('20'); INSERT INTO to_char VALUES ('1')"""
    )
    for target in ("to_big", "to_text", "to_char"):
        job = server.value(f"SELECT qwen_submit('SELECT * FROM from_int', 'body', '{target}', 'e', key_columns => '{{id}}', max_tokens => 1, temperature => 0)")
        assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
        assert server.query("SELECT total, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [(2, 2, 0, None)]
        assert sorted(int(row[0]) for row in server.query(f"SELECT id FROM {target} WHERE e IS NOT NULL")) == [1, 20]
    server.query("DROP TABLE from_int, to_big, to_text, to_char")


def test_identity_partitions_and_children(server):
    server.query(
        f"""DROP TABLE IF EXISTS counted, split, parent CASCADE;
        CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, e text);
        CREATE TABLE split (code char(3), n int, body text, e text, PRIMARY KEY (code, n)) PARTITION BY LIST (code);
        CREATE TABLE split_a PARTITION OF split FOR VALUES IN ('A', 'AB'); CREATE TABLE split_b (n int, x int, body text, e text, code char(3) NOT NULL, PRIMARY KEY (code, n));
        ALTER TABLE split_b DROP x; ALTER TABLE split ATTACH PARTITION split_b FOR VALUES IN ('B');
        CREATE TABLE parent (id serial PRIMARY KEY, body text, e text); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS});
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON split FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS});
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS});
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON child FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS});
        INSERT INTO counted (body) VALUES ('a'), ('b'); INSERT INTO split VALUES ('A', 1, 'a'), ('AB', 1, 'b'), ('B', 2, 'c');
        INSERT INTO parent VALUES (1, 'a'); INSERT INTO child VALUES (1, 'b'), (2, 'c')"""
    )
    filled = "SELECT count(*) FROM {} WHERE e IS NULL"
    for table in ("counted", "split", "parent"):
        wait_until(lambda: server.value(filled.format(table)) == 0, 60, f"the rows of {table}")
    # keys that change while rows wait, into another partition too
    server.query("UPDATE split SET code = 'B', n = 7, body = 'moved' WHERE code = 'A'; UPDATE counted SET body = 'again' WHERE id = 1")
    wait_until(lambda: server.value("SELECT sum(waiting) FROM qwen_trigger_backlog") in (0, None), 60, "an empty queue")
    said = "qwen_chat(body, max_tokens => 2, temperature => 0)"
    assert server.value(f"SELECT bool_and(e = {said}) FROM split"), "a row that moved has the answer to its new text"
    job = server.value("SELECT qwen_submit('split', 'Say {body}', 'split', 'e', max_tokens => 1, temperature => 0)")
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(3, 3, None)]
    server.query("DROP TABLE counted, split, parent CASCADE")


def test_a_bad_key_takes_no_others_along(server):
    """A key that its type does not take any more is a dead letter; rows that wait beside it are filled in."""
    server.query(
        f"""DROP TABLE IF EXISTS spoilt; DROP TYPE IF EXISTS colour; CREATE TYPE colour AS ENUM ('red', 'green', 'blue');
        CREATE TABLE spoilt (k colour PRIMARY KEY, body text, e text);
        CREATE TRIGGER q AFTER INSERT OR UPDATE ON spoilt FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('e', 'body', {OPTIONS})"""
    )
    # values that are renamed are followed: what stands in the queue is spoilt by hand
    server.query("BEGIN; INSERT INTO spoilt VALUES ('red', 'a'), ('green', 'b'), ('blue', 'c'); "
                 "UPDATE qwen_job_row SET key = '{lime}' WHERE relation = 'spoilt'::regclass AND key = '{green}'; COMMIT")
    wait_until(lambda: server.value("SELECT count(*) FROM spoilt WHERE e IS NOT NULL") == 2, 60, "the others")
    wait_until(lambda: server.query("SELECT key, sqlstate FROM qwen_dead_letters WHERE relation = 'spoilt'::regclass") == [(["lime"], "22P02")], 20, "a dead letter")
    server.query("DROP TABLE spoilt; DROP TYPE colour")


def test_pages_of_mixed_keys(server):
    """Keys whose operators stand in two schemas are paged through by a comparison that is written out."""
    server.query(
        """DROP SCHEMA IF EXISTS mixed CASCADE; CREATE SCHEMA mixed; DROP EXTENSION IF EXISTS citext CASCADE; CREATE EXTENSION citext;
        CREATE TABLE mixed.t (a int, b citext, c int, body text, e text, PRIMARY KEY (a, b, c));
        INSERT INTO mixed.t SELECT i % 3, chr(97 + i % 7), i, 'x' FROM generate_series(1, 100) i"""
    )
    job = server.value("SELECT qwen_submit('mixed.t', 'body', 'mixed.t', 'e', max_tokens => 1, temperature => 0)")
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert server.query("SELECT total, done, error FROM qwen_jobs WHERE id = %s", (job,)) == [(100, 100, None)]
    assert server.value("SELECT count(*) FROM mixed.t WHERE e IS NULL") == 0
    server.query("DROP SCHEMA mixed CASCADE")
