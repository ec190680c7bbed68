"""A hot standby has an engine of its own: what does not write works there, before and after it is promoted."""
import os
import shutil
import signal
import subprocess

import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, as_server_user, wait_until
from sessions import LONG, WRITING, Background, wait_idle, wait_running

DEFAULT_MODEL = MODEL_FILE
CAPITAL = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"


@pytest.fixture
def pair(make_server):
    """A server and a hot standby of it, made by a base backup, each in a folder of its own."""
    primary = make_server({"wal_level": "replica", "max_wal_senders": 4, "hot_standby": "on"})
    standby = Cluster(settings={"hot_standby": "on"})
    if os.geteuid() == 0:
        shutil.chown(standby.folder, "postgres", "postgres")
    os.chmod(standby.folder, 0o755)
    backup = [f"{primary.programs}/pg_basebackup", "-h", primary.folder, "-p", str(primary.port), "-D", standby.data]
    subprocess.run(as_server_user(backup + ["-X", "stream", "-c", "fast", "-R"]), cwd="/tmp", check=True, capture_output=True)
    with open(os.path.join(standby.data, "postgresql.auto.conf")) as file:
        line = [line for line in file if line.startswith("primary_conninfo")][0]
    standby.settings["primary_conninfo"] = line.split("=", 1)[1].strip()[1:-1].replace("''", "'")
    # the socket of the primary must not come with the copy
    assert not os.path.lexists(os.path.join(standby.data, "pgsql_tmp_qwen_pg.sock"))
    try:
        yield primary, standby.start()
    finally:
        standby.remove()


def test_everything_that_does_not_write_works_on_a_standby(pair):
    primary, standby = pair
    primary.query("CREATE TABLE news AS SELECT 1 AS id, 'A dog won a prize at the village fair.' AS body")
    wait_until(lambda: standby.query("SELECT to_regclass('news')") == [("news",)], 20, "replication")
    assert standby.value("SELECT pg_is_in_recovery()")
    # the same answers, from an engine of its own
    assert standby.value(CAPITAL) == primary.value(CAPITAL)
    assert standby.engine_pid() != primary.engine_pid()
    assert standby.value("SELECT qwen_summarize(body, max_words => 10, max_tokens => 20) FROM news") is not None
    assert standby.value("SELECT array_length(qwen_embed(body), 1) FROM news") == 576
    assert standby.value("SELECT qwen_detokenize(qwen_tokenize('one two'))") == "one two"
    assert "".join(row[0] for row in standby.query("SELECT qwen_chat_stream('Hi', temperature => 0, max_tokens => 5)"))
    assert standby.value("SELECT content FROM qwen_chat_full('Hi', temperature => 0, max_tokens => 5)") is not None
    assert standby.value("SELECT qwen_health() ->> 'status'") == "healthy"
    assert standby.query("SELECT name, state FROM qwen_models") == [("chat", "serving")]
    # what writes is PostgreSQL's to refuse
    with pytest.raises(psycopg2.Error) as failure:
        standby.query("INSERT INTO news SELECT 2, qwen_chat('Hi', max_tokens => 1)")
    assert failure.value.pgcode == "25006"
    for call in WRITING:
        with pytest.raises(psycopg2.Error) as failure:
            standby.query(f"SELECT {call}")
        told = failure.value.diag
        assert (told.sqlstate, told.message_primary, told.context) == ("25006", f"cannot execute {call.split('(')[0]}() during recovery", None)
    wait_idle(standby)


def test_faults_on_a_standby_and_its_promotion(pair):
    primary, standby = pair
    standby.value(CAPITAL)
    call = Background(standby, LONG)
    wait_running(standby, 1)
    os.kill(standby.engine_pid(), signal.SIGKILL)
    assert call.join().error.pgcode == "58000"
    assert "Paris" in standby.value(CAPITAL)
    # models come and go by configuration and by hand
    file = standby.settings["qwen.models"].split("=")[1]
    standby.query("SELECT qwen_load_model('second', %s)", (file,))
    assert standby.value("SELECT qwen_count_tokens('one', model => 'second')") == 1
    standby.query("SELECT qwen_unload_model('second')")
    # promotion touches neither the engine nor a running call
    engine, call = standby.engine_pid(), Background(standby, "SELECT qwen_generate('Once', temperature => 0, max_tokens => 300)")
    wait_running(standby, 1)
    # what is queued at that moment goes on
    primary.query("CREATE TABLE rows AS SELECT g AS id, 'row ' || g AS body, NULL::text AS answer FROM generate_series(1, 100) g; ALTER TABLE rows ADD PRIMARY KEY (id)")
    job = primary.value("SELECT qwen_submit('rows', 'Say {body}', 'rows', 'answer', max_tokens => 20)")
    wait_until(lambda: standby.query("SELECT state FROM qwen_jobs") == [("running",)], 20, "the job")
    primary.stop("fast")
    assert standby.value("SELECT count(answer) FROM rows") < 100
    assert standby.value("SELECT pg_promote()")
    assert call.join(60).error is None
    assert standby.engine_pid() == engine
    assert standby.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    assert standby.value("SELECT count(answer) FROM rows") == 100
    standby.query("CREATE TABLE answers AS SELECT qwen_chat('Hi', max_tokens => 2) AS answer")
    assert standby.read_log().count("read and packed") == 2


def test_limits_and_statistics_on_a_standby(pair):
    """The primary's limits hold, changes of them too; what is used and counted is the standby's own, and outlives its restart."""
    primary, standby = pair
    one = "SELECT qwen_generate('one two three', temperature => 0, max_tokens => 1)"
    primary.query("CREATE ROLE reader LOGIN; SELECT qwen_grant('reader', 'use'); SELECT qwen_set_limit('reader', requests_per_minute => 2), qwen_allow_models('reader', ARRAY['chat'])")
    wait_until(lambda: standby.query("SELECT requests_per_minute FROM qwen_limits") == [(2,)], 20, "replication")
    for _ in range(2):
        standby.query(one, user="reader")
    with pytest.raises(psycopg2.Error) as failure:
        standby.query(one, user="reader")
    assert failure.value.pgcode == "53400"
    usage = "SELECT used, rejected FROM qwen_usage WHERE role::text = 'reader' AND limit_name = 'requests_per_minute'"
    totals = "SELECT calls, rejected, errors FROM qwen_stat_roles WHERE role = 'reader'"
    assert standby.query(usage) == [(2, 1)] and standby.query(totals) == [(3, 1, 0)]
    assert primary.query(usage) == [] and primary.query(totals) == []
    assert standby.query("SELECT ttft_p50_ms > 0 FROM qwen_stat_requests WHERE role = 'reader'") == [(True,)]
    waiting = Background(standby, one, setup="SET SESSION AUTHORIZATION reader; SET qwen.limit_action = wait")
    wait_until(lambda: standby.query("SELECT role, state FROM qwen_stat_activity") == [("reader", "limited")], 20, "one that waits")
    primary.query("SELECT qwen_set_limit('reader', requests_per_minute => 3)")
    assert waiting.join(20).error is None
    standby.query("SELECT qwen_stat_reset()")
    assert standby.query(totals) == []
    with pytest.raises(psycopg2.Error) as failure:
        standby.query("SELECT qwen_set_limit('reader')")
    assert failure.value.pgcode == "25006"
    standby.restart()
    wait_until(lambda: standby.query("SELECT state FROM qwen_models") == [("serving",)], 20, "the model")
    assert standby.query(usage) == [(3, 1)]
    primary.query("SELECT qwen_allow_models('reader', ARRAY['another'])")
    wait_until(lambda: standby.query("SELECT models FROM qwen_allowed_models") == [(["another"],)], 20, "replication")
    with pytest.raises(psycopg2.Error) as failure:
        standby.query(one, user="reader")
    assert failure.value.pgcode == "42501"
    wait_idle(standby)
