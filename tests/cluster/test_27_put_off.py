"""What cannot go on is put off, and keeps nobody: rows whose submitter's limits are used up, whose model is not there, or whose table's trigger waits.

One role's worker has rows of several who submitted them, and of several models; whatever stands against some of them, the others go on."""
import contextlib
import os
import shutil
import struct
import threading
import time

import demo_model
import pytest
from cluster import Cluster, model_directory, plain_model, server_programs, wait_until
from conftest import let_others_in, ready
from sessions import Background

ENDLESS = "SELECT qwen_generate('Once', max_tokens => 7000, stop => ARRAY['never-said'])"
FAR_TOO_LARGE = 1 << 20  # inputs of a feed-forward network: 250 GB, of which the file has none


def enlarge(source, target, n_layers=240):
    """A whole file, as far as its length goes, of a model that fits no memory."""
    with open(source, "rb") as file:
        values, tensors = demo_model.read_gguf(file.read())
    values["qwen2.block_count"] = (demo_model.U32, struct.pack("<I", n_layers))
    values["qwen2.feed_forward_length"] = (demo_model.U32, struct.pack("<I", FAR_TOO_LARGE))
    hidden = demo_model.number_of(values, "qwen2.embedding_length")
    sizes = []
    for name, shape, kind, data in tensors:
        if not name.startswith("blk."):
            sizes.append((name, shape, kind, len(data)))
        elif name.startswith("blk.0."):
            if "ffn_" in name and "norm" not in name:
                shape = [FAR_TOO_LARGE, hidden] if "down" in name else [hidden, FAR_TOO_LARGE]
            n_inputs, n_bytes = demo_model.BLOCKS[kind]
            size = shape[0] // n_inputs * n_bytes * shape[1] if len(shape) > 1 else len(data)
            sizes += [(name.replace("blk.0.", f"blk.{layer}."), shape, kind, size) for layer in range(n_layers)]
    padded = lambda size: -(-size // demo_model.ALIGNMENT) * demo_model.ALIGNMENT  # noqa: E731
    with open(target, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(sizes), len(values)))
        for key, (kind, raw) in values.items():
            file.write(demo_model.pack_string(key.encode()) + struct.pack("<I", kind) + raw)
        offset = 0
        for name, shape, kind, size in sizes:
            file.write(demo_model.pack_string(name.encode()) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
            offset += padded(size)
        file.truncate(padded(file.tell()) + offset)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Models: chat, small (which has room for short texts) and, in a file that nobody has memory for, huge; roles: team, which owns what ana and boss submit."""
    folder = tmp_path_factory.mktemp("models")
    let_others_in(folder)
    source = os.path.join(model_directory(), plain_model())
    shutil.copy(source, folder / "chat.gguf")
    enlarge(source, folder / "huge.gguf")
    cluster = Cluster(settings={"qwen.model_directory": str(folder), "qwen.models": "chat=chat.gguf, small=chat.gguf {context=1024}, huge=huge.gguf", "qwen.max_models": 4})
    try:
        ready(cluster)
        cluster.query("""CREATE ROLE team LOGIN; CREATE ROLE ana LOGIN; CREATE ROLE boss LOGIN; GRANT team TO ana, boss; GRANT CREATE ON SCHEMA public TO team;
            SELECT qwen_grant(role, 'use') FROM unnest('{team,ana,boss}'::regrole[]) role""")
        wait_until(lambda: cluster.query("SELECT name FROM qwen_models WHERE state = 'serving' ORDER BY 1") == [("chat",), ("small",)], 30, "the models")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def limited(server):
    """The server without jobs, tables and limits."""
    yield server
    server.query("SELECT qwen_cancel(id) FROM qwen_jobs WHERE ended IS NULL")
    server.query("SET lock_timeout = '20s'; DROP TABLE IF EXISTS texts, others, first, second, waits, goes_on, many, one, docs, asks")
    server.query("DELETE FROM qwen_role_limit; DELETE FROM qwen_job_table; DELETE FROM qwen_job_row")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_stat_activity") == 0, 20, "nothing under way")


def table(server, name, n, body="'word ' || g"):
    server.query(f"CREATE TABLE {name} AS SELECT g AS id, {body} AS body, NULL::text AS said FROM generate_series(1, {n}) g; ALTER TABLE {name} ADD PRIMARY KEY (id); ALTER TABLE {name} OWNER TO team")


def submit(server, user, name, arguments="'Say {body}'", options="max_tokens => 2, temperature => 0"):
    """As a member that has taken the role that owns the table."""
    source, prompt = f"'{name}'", arguments
    return server.query(f"SET ROLE team; SELECT qwen_submit({source}, {prompt}, {source}, 'said', {options})", user=user)[0][0]


def state(server, job):
    return server.query("SELECT state, done, failed, error FROM qwen_jobs WHERE id = %s", (job,))[0]


def is_refused(server, job, what="limit of"):
    return what in (state(server, job)[3] or "")


def test_what_was_answered_in_parts_is_kept(limited):
    """And charged once, as a call that never waited is."""
    parts = "repeat('one two three four five six seven eight nine ten ', 250)"
    table(limited, "texts", 1, parts)
    table(limited, "others", 20)
    summary = "qwen_summarize(body, max_tokens => 20, temperature => 0, model => 'small')"
    # ana has used nothing before, so that what she uses is the job's
    spent = "SELECT coalesce(sum(used) FILTER (WHERE limit_name = %s), 0)::int FROM qwen_usage WHERE role = 'ana'::regrole"
    limited.query("SELECT qwen_set_limit('ana', requests_per_minute => 1000, tokens_per_day => 10000000)")
    before = limited.value(spent, ("tokens_per_day",))
    expected = limited.query(f"SET SESSION AUTHORIZATION ana; SET ROLE team; SELECT {summary} FROM texts")[0][0]
    needed, tokens = limited.value(spent, ("requests_per_minute",)), limited.value(spent, ("tokens_per_day",)) - before
    assert needed >= 4
    limited.query("SELECT qwen_set_limit('ana', requests_per_minute => %s)", (needed + 2,))
    job = submit(limited, "ana", "texts", "'body'", "function => 'summarize', model => 'small', max_tokens => 20, temperature => 0")
    wait_until(lambda: is_refused(limited, job, '"ana" has reached its limit of requests_per_minute'), 20, "a job that waits")
    time.sleep(3)
    other = submit(limited, "boss", "others")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (other,)) == "done"
    assert state(limited, job)[:3] == ("running", 0, 0)
    limited.query("SELECT qwen_set_limit('ana', requests_per_minute => 1000)")
    assert limited.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    assert limited.value("SELECT said FROM texts") == expected
    assert limited.value(spent, ("tokens_per_day",)) - before == 2 * tokens


def test_a_submitter_with_no_room_keeps_no_others(limited):
    """Her only place is taken by a call of hers for as long as that takes."""
    table(limited, "first", 5)
    table(limited, "second", 20)
    limited.query("SELECT qwen_set_limit('ana', max_concurrent => 1)")
    long = Background(limited, ENDLESS, "SET SESSION AUTHORIZATION ana")
    wait_until(lambda: limited.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'running'") == 1, what="a long answer")
    job = submit(limited, "ana", "first")
    wait_until(lambda: is_refused(limited, job), 20, "a job that waits")
    other = submit(limited, "boss", "second")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (other,)) == "done"
    assert long.thread.is_alive() and state(limited, job)[:3] == ("running", 0, 0)
    limited.query("SELECT pg_cancel_backend(%s)", (long.pid,))
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (job,)) == "done"


def test_a_job_that_is_its_own_company_gets_on(limited):
    """Two at a time, as the submitter may; and rows of another one beside them."""
    table(limited, "first", 60)
    table(limited, "second", 60)
    limited.query("SELECT qwen_set_limit('ana', max_concurrent => 2)")
    jobs = [submit(limited, user, name) for user, name in (("ana", "first"), ("boss", "second"))]
    for job in jobs:
        assert limited.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
        assert state(limited, job)[1:3] == (60, 0)


@pytest.mark.parametrize("by", ["job", "trigger"])
def test_a_model_without_memory_keeps_no_others(limited, by):
    """It may come back, when there is memory: its rows wait for it, and others do not."""
    table(limited, "waits", 200)
    table(limited, "goes_on", 20)
    if by == "job":
        job = submit(limited, "boss", "waits", options="model => 'huge', max_tokens => 2")
        why = "SELECT max(error) FROM qwen_jobs"
    else:
        limited.query("""CREATE TRIGGER q AFTER UPDATE ON waits FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'model=huge', 'max_tokens=2');
            UPDATE waits SET body = 'x' || id""")
        why = "SELECT max(worker) FROM qwen_trigger_backlog"
    wait_until(lambda: 'model "huge" could not be loaded' in (limited.value(why) or ""), 20, "the reason")
    other = submit(limited, "boss", "goes_on")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (other,)) == "done"
    if by == "job":
        assert state(limited, job)[:3] == ("running", 0, 0)
    else:
        assert limited.query("SELECT waiting, dead FROM qwen_trigger_backlog") == [(200, 0)]


def test_rows_for_a_model_that_is_opened_take_no_room(limited):
    """More of them than a worker takes at once, behind somebody's long answer."""
    models = limited.settings["qwen.models"]
    table(limited, "many", 5000)
    long = Background(limited, ENDLESS.replace("'Once'", "'Once', model => 'chat'"))
    wait_until(lambda: limited.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'running'") == 1, what="a long answer")
    limited.reload(qwen__models=models.replace("chat.gguf,", "chat.gguf {context=8000},"))
    wait_until(lambda: limited.value("SELECT state FROM qwen_models WHERE name = 'chat'") == "opening", what="a model that waits for it")
    job = submit(limited, "boss", "many", options="model => 'chat', max_tokens => 2")
    wait_until(lambda: is_refused(limited, job, "is being loaded"), 20, "rows that wait")
    limited.query("""CREATE TABLE one (id int PRIMARY KEY, body text, said text); ALTER TABLE one OWNER TO team;
        CREATE TRIGGER q AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', 'Say {body}', 'model=small', 'max_tokens=2'); INSERT INTO one VALUES (1, 'hello')""")
    wait_until(lambda: limited.value("SELECT said IS NOT NULL FROM one"), 10, "the other model's row")
    assert long.thread.is_alive() and limited.value("SELECT state FROM qwen_models WHERE name = 'chat'") == "opening"
    limited.query("SELECT pg_cancel_backend(%s)", (long.pid,))
    wait_until(lambda: state(limited, job)[1] > 100, 20, "the job")
    limited.query("SELECT qwen_cancel(%s)", (job,))
    limited.reload(qwen__models=models)
    wait_until(lambda: limited.value("SELECT count(*) FROM qwen_models WHERE state = 'serving'") == 2, what="the models")


def test_no_row_is_locked_while_its_trigger_waits(limited):
    """The target's own trigger asks the model, and its role has used up its day."""
    limited.query("CREATE TABLE docs AS SELECT g AS id, 'word ' || g AS body, NULL::text AS said, NULL::text AS brief FROM generate_series(1, 3) g; ALTER TABLE docs ADD PRIMARY KEY (id); ALTER TABLE docs OWNER TO team")
    limited.query("CREATE TRIGGER brief BEFORE UPDATE OF said ON docs FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('said', 'brief', '10', 'max_tokens=410')")
    used = limited.value("SELECT coalesce(max(used), 0) FROM qwen_usage WHERE role = 'team'::regrole AND limit_name = 'tokens_per_day'")
    limited.query("SELECT qwen_set_limit('team', tokens_per_day => %s)", (used + 480,))
    job = submit(limited, "boss", "docs", options="max_tokens => 20, temperature => 0")
    wait_until(lambda: is_refused(limited, job, '"team" has reached its limit of tokens_per_day'), 30, "a job that waits")
    time.sleep(1)
    limited.query("SET lock_timeout = '3s'; UPDATE docs SET body = 'new' WHERE id = 1; ALTER TABLE docs ADD COLUMN more int", user="team")
    assert state(limited, job)[0] == "running" and limited.value("SELECT count(brief) FROM docs") < 3
    limited.query("SELECT qwen_set_limit('team', tokens_per_day => NULL)")
    assert limited.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    assert limited.query("SELECT count(*), count(said), count(brief) FROM docs") == [(3, 3, 3)] and state(limited, job)[1:3] == (3, 0)


askers = iter(range(100))


@contextlib.contextmanager
def answered(server, n, n_questions, seconds=0.0):
    """(role, job): of a role that has asked nothing before; its rows are answered, and not written before this ends: a trigger asks n_questions for each, and sleeps."""
    role = f"asker_{next(askers)}"
    table(server, "asks", n)
    server.query(f"""CREATE ROLE {role} LOGIN; SELECT qwen_grant('{role}', 'use'), qwen_set_limit('{role}', requests_per_minute => 1000);
        CREATE TABLE IF NOT EXISTS gate (); GRANT ALL ON gate TO public; ALTER TABLE asks OWNER TO {role};
        CREATE OR REPLACE FUNCTION ask() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            LOCK TABLE gate IN SHARE MODE NOWAIT;
            PERFORM pg_sleep({seconds});
            FOR i IN 1 .. {n_questions} LOOP PERFORM qwen_generate('Once', max_tokens => 1, temperature => 0); END LOOP;
            RETURN NEW; END $$;
        CREATE TRIGGER ask BEFORE UPDATE OF said ON asks FOR EACH ROW EXECUTE FUNCTION ask()""")
    gate = server.connect()
    try:
        gate.cursor().execute("BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE")
        job = server.query("SELECT qwen_submit('asks', 'Say {body}', 'asks', 'said', max_tokens => 2, temperature => 0)", user=role)[0][0]
        wait_until(lambda: asked(server, role) == n, 20, "requests")
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_stat_activity") == 0, 20, "answers")
        yield role, job
        gate.cursor().execute("ROLLBACK")
    finally:
        gate.close()


def asked(server, role):
    """In the last minute."""
    return server.value(f"SELECT coalesce(max(used), 0)::int FROM qwen_usage WHERE role = '{role}'::regrole AND limit_name = 'requests_per_minute'")


def test_what_fits_a_limit_is_written(limited):
    """Triggers of the target ask more for all answered rows than their role may in a minute."""
    with answered(limited, 6, 2) as (role, job):
        limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 6 + 7)")
    wait_until(lambda: is_refused(limited, job, "has reached its limit of requests_per_minute"), 20, "a job that waits")
    wait_until(lambda: state(limited, job)[1] == 3, 10, "three rows, for six requests")
    limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 1000)")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (job,)) == "done"
    assert state(limited, job)[1:3] == (6, 0)


def test_a_row_that_needs_two_requests_does_not_ask_for_one(limited):
    """What frees of a minute, one by one, would else be used up by its first request each time."""
    with answered(limited, 1, 2) as (role, job):
        limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 2)")
    wait_until(lambda: asked(limited, role) == 2, 10, "its first request")
    limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 3)")
    time.sleep(4)
    assert asked(limited, role) == 2 and state(limited, job)[:3] == ("running", 0, 0)
    limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 4)")
    assert limited.value("SELECT qwen_wait(%s, '20 s')", (job,)) == "done"


def test_a_row_whose_triggers_ask_more_than_a_limit_allows_fails(limited):
    with answered(limited, 1, 40) as (role, job):
        limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 1)")
    # the minute is used up; what the row needs is known when more of it is asked
    wait_until(lambda: is_refused(limited, job, "has reached its limit of requests_per_minute"), 20, "a job that waits")
    limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 30)")
    wait_until(lambda: asked(limited, role) == 30, 10, "as many requests as it may make")
    limited.query(f"SELECT qwen_set_limit('{role}', requests_per_minute => 29)")
    assert limited.value("SELECT qwen_wait(%s, '10 s')", (job,)) == "failed"
    attempts, error = limited.query("SELECT attempts, error FROM qwen_dead_letters WHERE job = %s", (job,))[0]
    assert attempts == 1 and f'what triggers ask to write the row is more than the limit of requests_per_minute of role "{role}" allows' in error


def longest_write(server, job):
    """Seconds of the worker's longest transaction until the job is done."""
    seconds = []

    def is_done():
        seconds.extend(row[0] for row in server.query("SELECT extract(epoch FROM clock_timestamp() - xact_start)::float FROM pg_stat_activity WHERE backend_type = 'qwen_pg job worker' AND xact_start IS NOT NULL"))
        return state(server, job)[0] == "done"

    wait_until(is_done, 60, "all rows")
    return max(seconds)


def test_a_write_ends_soon_where_each_row_s_trigger_waits(limited):
    """For the only place of its role, behind another one's requests. Whoever needs a row that was written has it within seconds."""
    stop = threading.Event()
    with answered(limited, 16, 1) as (role, job):
        limited.query(f"SELECT qwen_set_limit('{role}', max_concurrent => 1)")

        def keep_full():
            connection = limited.connect(role)
            cursor = connection.cursor()
            cursor.execute("SET qwen.limit_action = wait")
            while not stop.is_set():
                cursor.execute("SELECT qwen_generate('Once', max_tokens => 90, temperature => 0, stop => ARRAY['never-said'])")
            connection.close()

        thread = threading.Thread(target=keep_full)
        thread.start()
        wait_until(lambda: limited.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'running'") == 1, what="a role that is full")

    try:
        assert longest_write(limited, job) < 5
    finally:
        stop.set()
        thread.join(20)
    assert state(limited, job)[1:3] == (16, 0)


def test_a_write_ends_soon_where_each_row_s_trigger_is_slow(limited):
    with answered(limited, 30, 0, seconds=0.25) as (_, job):
        pass
    assert longest_write(limited, job) < 2.5
    assert state(limited, job)[1:3] == (30, 0)


def test_more_than_a_limit_allows_is_not_tried_again(limited):
    table(limited, "first", 1, "repeat('word ', 100)")
    limited.query("SELECT qwen_set_limit('ana', tokens_per_minute => 50)")
    job = submit(limited, "ana", "first")
    assert limited.value("SELECT qwen_wait(%s, '10 s')", (job,)) == "failed"
    assert limited.query("SELECT attempts, error FROM qwen_dead_letters WHERE job = %s", (job,)) == [
        (1, 'a request of role "ana" asks for more than its limit of tokens_per_minute allows')]


def test_who_waits_for_a_limit_leaves_its_place(make_server):
    """One worker for all; a turn is five seconds, and who can do nothing with it gives it to others at once."""
    server = make_server({"qwen.max_job_workers": 1})
    server.query("""CREATE ROLE idle LOGIN; CREATE ROLE busy LOGIN; GRANT CREATE ON SCHEMA public TO idle, busy; SELECT qwen_grant(role, 'use') FROM unnest('{idle,busy}'::regrole[]) role""")
    for role in ("idle", "busy"):
        server.query(f"CREATE TABLE of_{role} AS SELECT g AS id, 'word ' || g AS body, NULL::text AS said FROM generate_series(1, 3) g; ALTER TABLE of_{role} ADD PRIMARY KEY (id); ALTER TABLE of_{role} OWNER TO {role}")
    queue = "SELECT qwen_submit('of_{0}', 'Say {{body}}', 'of_{0}', 'said', max_tokens => 2, temperature => 0)"
    connection = server.connect("idle")
    cursor = connection.cursor()
    cursor.execute("BEGIN; " + queue.format("idle"))
    waits = cursor.fetchone()[0]
    server.query("SELECT qwen_set_limit('idle', requests_per_minute => 0)")
    cursor.execute("COMMIT")
    wait_until(lambda: "reached its limit" in (server.value("SELECT error FROM qwen_jobs WHERE id = %s", (waits,)) or ""), 20, "a job that waits")
    for _ in range(3):
        began = time.monotonic()
        job = server.query(queue.format("busy"), user="busy")[0][0]
        assert server.value("SELECT qwen_wait(%s, '20 s')", (job,)) == "done"
        assert time.monotonic() - began < 4, "less than a turn"
        server.query("UPDATE of_busy SET said = NULL")
    server.query("SELECT qwen_set_limit('idle', requests_per_minute => NULL)")
    assert server.value("SELECT qwen_wait(%s, '20 s')", (waits,)) == "done"


def test_jobs_say_that_the_engine_does_not_start(make_server, tmp_path):
    let_others_in(tmp_path)
    stop, program = tmp_path / "stop", tmp_path / "engine"
    program.write_text(f'#!/bin/sh\n[ -e {stop} ] && exit 3\nexec {server_programs()}/qwen_engine "$@"\n')
    os.chmod(program, 0o755)
    server = make_server({"qwen.engine_path": str(program)})
    server.query("CREATE TABLE texts AS SELECT g AS id, 'word ' || g AS body, NULL::text AS said FROM generate_series(1, 3) g; ALTER TABLE texts ADD PRIMARY KEY (id)")
    stop.write_text("")
    server.signal(server.engine_pid(), 9)
    wait_until(lambda: server.value("SELECT state FROM qwen_stat_engine") == "backing off", 30, "an engine that does not start")
    job = server.value("SELECT qwen_submit('texts', 'Say {body}', 'texts', 'said', max_tokens => 2)")
    wait_until(lambda: state(server, job)[3] == "the qwen engine is not running", 20, "what it waits for")
    stop.unlink()
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
