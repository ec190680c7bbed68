"""What a job or a trigger can never do is refused before the model is asked, and what is over can be taken away."""
import psycopg2
import pytest
from cluster import wait_until

SCHEMA = """
    DROP TABLE IF EXISTS texts, answers, numbered, strict, loose, keyless, named, ruled CASCADE;
    CREATE ROLE submitter LOGIN; SELECT qwen_grant('submitter', 'use'); GRANT CREATE ON SCHEMA public TO submitter;
    CREATE TABLE texts (id int PRIMARY KEY, body text, answer text, numbered int GENERATED ALWAYS AS IDENTITY, made text GENERATED ALWAYS AS (body) STORED, n int);
    INSERT INTO texts SELECT i, 'word ' || i FROM generate_series(1, 3) i;
    CREATE TABLE answers (id int PRIMARY KEY, answer text);
    CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, answer text);
    CREATE TABLE strict (id int PRIMARY KEY, answer text, who text NOT NULL);
    CREATE TABLE loose (id int PRIMARY KEY, answer text, who text NOT NULL DEFAULT 'nobody');
    CREATE TABLE keyless (id int, answer text);
    CREATE TABLE named (id text PRIMARY KEY, answer text);
    CREATE TABLE ruled (id int PRIMARY KEY, answer text);
    CREATE RULE r AS ON UPDATE TO ruled DO INSTEAD NOTHING;
    CREATE VIEW seen AS SELECT * FROM answers;
    GRANT SELECT ON texts TO submitter;
    GRANT UPDATE (answer), INSERT (answer), SELECT ON answers TO submitter;
    GRANT SELECT, INSERT ON loose TO submitter;
"""


@pytest.fixture(scope="module")
def tables(server):
    server.query(SCHEMA)
    yield server
    server.query("DROP VIEW seen; DROP TABLE texts, answers, numbered, strict, loose, keyless, named, ruled; DROP OWNED BY submitter; DROP ROLE submitter")


REFUSED = [
    # source, target, column, role, SQLSTATE, what the message says
    ("texts", "texts", "numbered", None, "22023", "identity column"),
    ("texts", "texts", "made", None, "22023", "generated column"),
    ("texts", "texts", "n", None, "22023", "does not take text"),
    ("SELECT id, body FROM texts", "numbered", "answer", None, "428C9", 'key column "id" of table "numbered" is GENERATED ALWAYS'),
    ("SELECT n.id, t.body FROM texts t JOIN strict n USING (id) UNION ALL SELECT 1, 'x'", "strict", "answer", None, "22023", 'column "who" of table "strict" is NOT NULL'),
    ("SELECT t.id, body FROM texts t WHERE NOT EXISTS (SELECT FROM strict s WHERE s.id = t.id)", "strict", "answer", None, "22023", 'column "who" of table "strict" is NOT NULL'),
    ("SELECT id, body FROM texts", "strict", "answer", None, "22023", 'column "who" of table "strict" is NOT NULL'),
    ("SELECT id, body FROM texts", "keyless", "answer", None, "22023", "no primary key"),
    ("SELECT id, body FROM texts", "seen", "answer", None, "22023", "not a table"),
    ("SELECT id, body FROM texts", "ruled", "answer", None, "0A000", "UPDATE RETURNING"),
    ("SELECT id, body FROM texts", "answers", "answer", "submitter", "42501", "permission denied for table answers"),
    ("SELECT id, body FROM texts", "loose", "answer", "submitter", "42501", "permission denied for table loose"),
    ("texts", "texts", "answer", "submitter", "42501", "permission denied for table texts"),
    ("DELETE FROM texts RETURNING id, body", "answers", "answer", None, "22023", "not DELETE"),
    ("  update texts SET body = body RETURNING id, body", "answers", "answer", None, "22023", "not UPDATE"),
    ("INSERT INTO texts VALUES (9) RETURNING id, body", "answers", "answer", None, "22023", "not INSERT"),
    ("DROP TABLE texts", "answers", "answer", None, "22023", "not DROP"),
    ("SELECT id, body FROM texts; DELETE FROM texts", "answers", "answer", None, "22023", "2 statements"),
    ("SELECT id, body FROM texts FOR UPDATE", "answers", "answer", None, "22023", "must not lock rows"),
    ("WITH d AS (DELETE FROM texts RETURNING id, body) SELECT * FROM d", "answers", "answer", None, "22023", '"d" of its WITH list writes'),
    ("SELECT id, body INTO other FROM texts", "answers", "answer", None, "22023", "not SELECT INTO"),
    ("/* all */ DELETE FROM texts RETURNING id, body", "answers", "answer", None, "22023", "query that reads"),
]


OWN_ROWS = [
    "SELECT id, body FROM own WHERE id < 3", "WITH few AS (SELECT * FROM own WHERE id < 3) SELECT o.id, upper(o.body) AS body FROM few o LEFT JOIN texts t USING (id)",
    "SELECT o.id, t.body FROM texts t JOIN own o ON o.id = t.id WHERE o.id < 3 ORDER BY 1", "SELECT id, body FROM own WHERE id < 3 GROUP BY id",
]


@pytest.mark.parametrize("source", OWN_ROWS)
def test_some_rows_of_the_target_itself_are_only_updated(tables, source):
    """Also where none could be inserted, by a role that may not; of whatever query, so long as its keys are the target's."""
    tables.query("""DROP TABLE IF EXISTS own; CREATE TABLE own (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text, who text NOT NULL, answer text); INSERT INTO own (body, who) SELECT 'word ' || i, 'me' FROM generate_series(1, 3) i;
        GRANT SELECT, UPDATE (answer) ON own TO submitter""")
    try:
        job = tables.query(f"SELECT qwen_submit($${source}$$, 'body', 'own', 'answer', max_tokens => 2, temperature => 0)", user="submitter")[0][0]
        assert tables.value(f"SELECT qwen_wait({job}, '60 s')") == "done"
        assert tables.query("SELECT id FROM own WHERE answer IS NOT NULL ORDER BY id") == [(1,), (2,)]
    finally:
        tables.query("DROP TABLE own")


def test_where_rows_cannot_be_inserted_the_hint_names_a_way(tables):
    for target, user, help in (("numbered", None, "Make the column GENERATED BY DEFAULT"), ("strict", None, "Give the column a default"), ("answers", "submitter", "Have INSERT granted on these columns")):
        with pytest.raises(psycopg2.Error) as failure:
            tables.query(f"SELECT qwen_submit('texts', 'body', '{target}', 'answer')", user=user)
        assert failure.value.diag.message_hint == f"{help}, or fill the rows in first and make the target the source, too: the table itself, or a query that has its key columns from it."


FAILS_FOR_EVERY_ROW = [
    # arguments, SQLSTATE, what the message says
    ("response_format => '{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"strin\"}}}'", "22023", "response_format"),
    ("response_format => '{\"type\":\"regex\",\"pattern\":\"(a\"}'", "22023", "response_format"),
    ("system => repeat('word ', 60000)", "54000", "tokens"),
    ("function => 'fill_in', arguments => '{\"suffix\": \" end\"}'", "0A000", "fill"),
    ("adapter => 'nobody'", "42704", 'adapter "nobody" of model'),
]


@pytest.mark.parametrize("arguments, code, said", FAILS_FOR_EVERY_ROW)
def test_what_the_engine_would_refuse_of_every_row_is_refused_at_once(tables, arguments, code, said):
    before = tables.query("SELECT s::text FROM qwen_stat_requests s ORDER BY 1")
    with pytest.raises(psycopg2.Error) as failure:
        tables.query(f"SELECT qwen_submit('texts', 'Say: {{body}}', 'texts', 'answer', {arguments})")
    assert failure.value.pgcode == code and said in str(failure.value)
    assert tables.query("SELECT s::text FROM qwen_stat_requests s ORDER BY 1") == before
    assert tables.value("SELECT count(*) FROM qwen_stat_activity") == 0


def test_looking_at_a_job_counts_nowhere(tables):
    before = tables.query("SELECT s::text FROM qwen_stat_requests s ORDER BY 1")
    connection = tables.connect()
    connection.autocommit = False
    connection.cursor().execute("SELECT qwen_submit('texts', 'Say: {body}', 'texts', 'answer', response_format => '{\"type\":\"json_object\"}', max_tokens => 5)")
    connection.rollback()
    connection.close()
    assert tables.query("SELECT s::text FROM qwen_stat_requests s ORDER BY 1") == before


def test_a_job_whose_model_cannot_be_asked_yet_is_taken(make_server):
    server = make_server({"qwen.models": "chat=missing.gguf"}, prepared=False)
    server.query("CREATE EXTENSION qwen_pg; CREATE TABLE texts (id int PRIMARY KEY, body text, answer text); INSERT INTO texts VALUES (1, 'a')")
    assert server.value("SELECT qwen_submit('texts', 'body', 'texts', 'answer', response_format => '{\"type\":\"regex\",\"pattern\":\"(a\"}')") > 0


@pytest.mark.parametrize("source, target, column, role, code, said", REFUSED)
def test_what_a_job_can_never_write_is_refused_at_once(tables, source, target, column, role, code, said):
    keys = ", key_columns => '{id}'" if target == "seen" else ""
    with pytest.raises(psycopg2.Error) as failure:
        tables.query(f"SELECT qwen_submit(%s, 'body', %s, %s{keys})", (source, target, column), user=role)
    assert failure.value.pgcode == code and said in str(failure.value)
    assert tables.value("SELECT count(*) FROM texts") == 3


def test_a_source_may_begin_with_a_comment(tables):
    job = tables.value("SELECT qwen_submit('-- all' || chr(10) || 'SELECT id, body FROM texts;', 'body', 'loose', 'answer', max_tokens => 1, temperature => 0)")
    wait_until(lambda: tables.value("SELECT state = 'done' FROM qwen_jobs WHERE id = %s", (job,)), 30, "the end")
    assert tables.value("SELECT count(*) FROM loose WHERE answer IS NOT NULL") == 3


def test_a_trigger_whose_owner_may_not_write_is_refused_at_its_first_row(tables):
    tables.query("CREATE TABLE locked_out (id int PRIMARY KEY, body text, answer text)", user="submitter")
    tables.query("CREATE TRIGGER t AFTER INSERT ON locked_out FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body')")
    tables.query("REVOKE UPDATE ON locked_out FROM submitter")
    with pytest.raises(psycopg2.Error) as failure:
        tables.query("INSERT INTO locked_out VALUES (1, 'word')")
    assert failure.value.pgcode == "42501" and 'permission denied for table locked_out' in str(failure.value)


# ---- what is over ----
def letters(server, table):
    return server.value("SELECT count(*) FROM qwen_job_row r WHERE dead AND relation = to_regclass(%s)", (table,))


@pytest.fixture
def lettered(server):
    """A table with three dead letters."""
    server.query(
        """
        CREATE TABLE lettered (id int PRIMARY KEY, body text, answer text CHECK (id > 3 OR answer IS NULL));
        CREATE TRIGGER t AFTER INSERT OR UPDATE ON lettered FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0', 'max_attempts=1');
        INSERT INTO lettered SELECT i, 'word' FROM generate_series(1, 5) i;
        """
    )
    wait_until(lambda: letters(server, "lettered") == 3, 30, "dead letters")
    wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 30, "no worker")
    yield server
    server.query("DROP TABLE IF EXISTS lettered")


def test_dead_letters_go_with_their_row(lettered):
    lettered.query("DELETE FROM lettered WHERE id = 2")
    wait_until(lambda: letters(lettered, "lettered") == 2, 20, "one letter less")
    lettered.query("WITH gone AS (DELETE FROM lettered WHERE id <> 3 RETURNING id) SELECT * FROM gone")
    wait_until(lambda: letters(lettered, "lettered") == 1, 20, "one letter")
    assert lettered.query("SELECT key FROM qwen_dead_letters WHERE relation = 'lettered'::regclass") == [(["3"],)]


def test_dead_letters_go_with_their_table(lettered):
    relation = lettered.value("SELECT 'lettered'::regclass::oid")
    lettered.query("DROP TABLE lettered")
    assert lettered.query("SELECT * FROM qwen_dead_letters WHERE relation = %s", (relation,)) == []
    assert lettered.query("SELECT * FROM qwen_trigger_backlog WHERE relation = %s", (relation,)) == []
    lettered.restart()
    wait_until(lambda: lettered.value("SELECT count(*) FROM qwen_job_row WHERE relation = %s", (relation,)) == 0, 20, "nothing left")


def test_dead_letters_of_a_dropped_trigger_are_kept_for_so_long(lettered):
    """They say why rows are not filled in; then they go."""
    lettered.query("DROP TRIGGER t ON lettered")
    assert letters(lettered, "lettered") == 3
    lettered.reload(qwen__job_retention="1s")
    try:
        wait_until(lambda: letters(lettered, "lettered") == 0, 40, "nothing left")
    finally:
        lettered.reload(qwen__job_retention="30d")


def test_owners_remove_dead_letters(lettered):
    lettered.query("CREATE ROLE stranger; SELECT qwen_grant('stranger', 'use')")
    try:
        with pytest.raises(psycopg2.Error) as failure:
            lettered.query("SET ROLE stranger; SELECT qwen_forget_table('lettered')")
        assert failure.value.pgcode == "42501"
    finally:
        lettered.query("DROP OWNED BY stranger; DROP ROLE stranger")
    assert lettered.value("SELECT qwen_forget_table('lettered')") == 3
    assert letters(lettered, "lettered") == 0


def test_owners_forget_ended_jobs(tables):
    tables.query("CREATE TABLE long_job (id int PRIMARY KEY, body text, answer text); INSERT INTO long_job SELECT i, 'word' FROM generate_series(1, 300) i")
    job = tables.value("SELECT qwen_submit('long_job', 'body', 'long_job', 'answer', max_tokens => 8, temperature => 0)")
    wait_until(lambda: tables.value("SELECT count(*) > 0 FROM qwen_job_row WHERE job = %s", (job,)), 20, "claims")
    with pytest.raises(psycopg2.Error) as failure:
        tables.query("SELECT qwen_forget(%s)", (job,))
    assert failure.value.pgcode == "55000" and "has not ended" in str(failure.value)
    with pytest.raises(psycopg2.Error) as failure:
        tables.query("SELECT qwen_forget(%s)", (job,), user="submitter")
    assert failure.value.pgcode == "42501"
    tables.query("SELECT qwen_cancel(%s)", (job,))
    assert tables.value("SELECT count(*) > 0 FROM qwen_job_row WHERE job = %s", (job,)), "what was under way waits for qwen_retry"
    tables.query("SELECT qwen_forget(%s)", (job,))
    assert tables.query("SELECT 1 FROM qwen_jobs WHERE id = %s", (job,)) == []
    assert tables.value("SELECT count(*) FROM qwen_job_row WHERE job = %s", (job,)) == 0
    with pytest.raises(psycopg2.Error) as failure:
        tables.query("SELECT qwen_forget(%s)", (job,))
    assert failure.value.pgcode == "42704"
    tables.query("DROP TABLE long_job")


def test_ended_jobs_are_kept_for_so_long(make_server):
    server = make_server({"qwen.job_retention": "1s"})
    server.query("CREATE TABLE kept (id int PRIMARY KEY, body text, answer text CHECK (answer IS NULL)); INSERT INTO kept SELECT i, 'word' FROM generate_series(1, 30) i")
    jobs = [server.value("SELECT qwen_submit('kept', 'body', 'kept', 'answer', max_tokens => 1, temperature => 0, max_attempts => 1)") for _ in range(3)]
    server.query("SELECT qwen_cancel(%s)", (jobs[2],))
    # no work comes after them: they go by themselves
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_job_table") == 0, 40, "no job")
    assert server.value("SELECT count(*) FROM qwen_job_row") == 0
    server.reload(qwen__job_retention="1d")
    wait_until(lambda: server.value("SHOW qwen.job_retention") == "1d", 10, "the setting")
    job = server.value("SELECT qwen_submit('kept', 'body', 'kept', 'answer', max_tokens => 1, temperature => 0, max_attempts => 1)")
    assert server.value("SELECT qwen_wait(%s)", (job,)) == "failed"
    wait_until(lambda: server.query("SELECT * FROM _qwen_job_workers()") == [], 20, "no worker")
    assert server.value("SELECT failed FROM qwen_jobs WHERE id = %s", (job,)) == 30


# ---- what a source may be, and what others make of the answers ----
JOB = "SELECT state, done, failed FROM qwen_jobs WHERE id = %s"
LETTERS = "SELECT DISTINCT sqlstate, error FROM qwen_dead_letters WHERE job = %s"
KEPT = "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} END $$; CREATE TRIGGER kept BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION kept()"


@pytest.mark.parametrize(
    "source, code, said",
    [
        ("SELECT id, body FROM (SELECT * FROM texts FOR UPDATE) q", "22023", "must not lock rows"),
        ("SELECT id, body FROM texts WHERE id IN (SELECT id FROM texts FOR SHARE)", "22023", "must not lock rows"),
        ("SELECT id, body FROM texts WHERE id IN (SELECT id FROM passing)", "0A000", "temporary table"),
        ("LISTEN somebody", "22023", "not LISTEN"),
        ("PREPARE p AS SELECT id, body FROM texts", "22023", "not PREPARE"),
    ],
)
def test_sources_that_no_worker_can_read_are_refused(tables, source, code, said):
    with pytest.raises(psycopg2.Error) as failure:
        tables.query("CREATE TEMPORARY TABLE passing (id int); SELECT qwen_submit(%s, 'body', 'answers', 'answer')", (source,))
    assert failure.value.pgcode == code and said in str(failure.value)


def test_a_prompt_that_is_never_the_same_ends(tables):
    job = tables.value("SELECT qwen_submit('SELECT id, body || clock_timestamp() AS body FROM texts', 'body', 'loose', 'answer', max_tokens => 1, temperature => 0)")
    assert tables.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
    assert tables.query(JOB, (job,)) == [("failed", 0, 3)]
    assert tables.query(LETTERS, (job,))[0][0] == "55000" and "the time or on chance" in tables.query(LETTERS, (job,))[0][1]
    tables.query("SELECT qwen_forget(%s)", (job,))


def test_keys_that_come_many_times_have_one_of_their_answers(tables):
    """Whatever the answers are: none of the others is a failure."""
    job = tables.value("SELECT qwen_submit('SELECT id, body FROM texts, generate_series(1, 6)', 'Tell of {body}', 'loose', 'answer', max_tokens => 6, temperature => 1.5, max_attempts => 2)")
    assert tables.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert tables.query(JOB, (job,)) == [("done", 18, 0)]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("body, said", [("NEW.answer = NULL; RETURN NEW;", 'makes column "answer" NULL'), ("IF NEW.answer IS NULL THEN RETURN NEW; END IF; RETURN NULL;", "back")])
def test_answers_that_triggers_of_a_target_take_away_are_said(tables, body, said, there):
    tables.query("DROP TABLE IF EXISTS kept; DROP FUNCTION IF EXISTS kept; CREATE TABLE kept (id int PRIMARY KEY, answer text); " + KEPT.format(body))
    if there:
        tables.query("INSERT INTO kept SELECT id FROM texts")
    job = tables.value("SELECT qwen_submit('texts', 'body', 'kept', 'answer', max_tokens => 1, temperature => 0, max_attempts => 1)")
    assert tables.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "failed"
    assert tables.query(JOB, (job,)) == [("failed", 0, 3)]
    assert [(code, said in error) for code, error in tables.query(LETTERS, (job,))] == [("09000", True)]
    tables.query("SELECT qwen_forget(%s); DROP TABLE kept; DROP FUNCTION kept", (job,))


def test_an_answer_that_a_trigger_makes_null_is_said(tables):
    tables.query("CREATE TABLE kept (id int PRIMARY KEY, body text, answer text); CREATE TRIGGER t AFTER INSERT ON kept FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0', 'max_attempts=1'); "
                 + KEPT.format("NEW.answer = NULL; RETURN NEW;") + "; INSERT INTO kept VALUES (1, 'word'), (2, NULL)")
    wait_until(lambda: letters(tables, "kept") == 1, 30, "a dead letter")
    assert tables.query("SELECT key, sqlstate FROM qwen_dead_letters WHERE relation = 'kept'::regclass") == [(["1"], "09000")]
    tables.query("SELECT qwen_forget_table('kept'); DROP TABLE kept; DROP FUNCTION kept")


def test_a_job_needs_no_right_to_read_what_it_writes(tables):
    tables.query("CREATE TABLE blind (id int PRIMARY KEY, body text, answer text); INSERT INTO blind VALUES (1, 'word'); GRANT SELECT (id, body), UPDATE (answer) ON blind TO submitter")
    job = tables.query("SELECT qwen_submit('blind', 'body', 'blind', 'answer', max_tokens => 1, temperature => 0)", user="submitter")[0][0]
    assert tables.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    assert tables.query(JOB, (job,)) == [("done", 1, 0)]
    tables.query("DROP TABLE blind")
