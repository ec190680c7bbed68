"""A coordinator and two workers of Citus, each with qwen_pg; the coordinator has no model. What works is pushed to the shards, what Citus refuses has the way out
that docs/scale.md names. `CITUS=1 make check-scale`, where the server's files of Citus are."""
import os
import subprocess
import sys

import psycopg2
import pytest

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(here, "..", "tools"), os.path.join(here, "..", "cluster")]
from cluster import Cluster, wait_until  # noqa: E402

SHARDS = 4
TOLD = "qwen_summarize(body, max_words => 5, max_tokens => 8, temperature => 0)"


@pytest.fixture(scope="module")
def citus():
    folder = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--sharedir"], capture_output=True, text=True, check=True).stdout.strip()
    assert os.path.exists(f"{folder}/extension/citus.control"), f"CITUS=1 needs Citus' server files: there is no extension/citus.control in {folder}"
    servers = []
    try:
        for models in ({"qwen.models": ""}, {}, {}):
            server = Cluster(settings={"qwen.threads": 1, "wal_level": "logical", "max_prepared_transactions": 50, "citus.shard_count": SHARDS, "citus.shard_replication_factor": 1, **models})
            server.settings["shared_preload_libraries"] = "citus,qwen_pg"
            servers.append(server)
            server.start()
            server.query("CREATE EXTENSION citus; CREATE EXTENSION qwen_pg")
            if not models:
                assert server.value("SELECT qwen_chat('Hi', temperature => 0, max_tokens => 1)")
        coordinator, *workers = servers
        coordinator.query(f"SELECT citus_set_coordinator_host('127.0.0.1', {coordinator.port})")
        for worker in workers:
            coordinator.query(f"SELECT citus_add_node('127.0.0.1', {worker.port})")
        coordinator.query("CREATE TABLE news (id int PRIMARY KEY, body text, summary text, e real[]); SELECT create_distributed_table('news', 'id');"
                          "INSERT INTO news SELECT i, 'On day ' || i || ' the baker sold ' || i * 3 || ' loaves.' FROM generate_series(1, 24) i")
        yield coordinator, workers
    finally:
        for server in reversed(servers):
            server.remove()


def refused(server, sql, words):
    with pytest.raises(psycopg2.Error, match=words):
        server.query(sql)


def test_reads_are_pushed_to_the_shards(citus):
    coordinator, _ = citus
    plan = "\n".join(row[0] for row in coordinator.query(f"SET citus.explain_all_tasks = on; EXPLAIN SELECT id, {TOLD} FROM news"))
    assert plan.count("Qwen Batch") == SHARDS, plan
    rows = coordinator.query(f"SELECT id, {TOLD} FROM news")
    assert len(rows) == 24 and all(summary for _, summary in rows)
    coordinator.query(f"INSERT INTO news (id, body, summary) SELECT id, body, {TOLD} FROM news ON CONFLICT (id) DO UPDATE SET summary = excluded.summary")
    assert sorted(coordinator.query("SELECT id, summary FROM news")) == sorted(rows)


def test_updates_that_citus_refuses_have_a_way_out(citus):
    coordinator, _ = citus
    refused(coordinator, f"UPDATE news SET summary = {TOLD}", "VOLATILE")
    refused(coordinator, "UPDATE news SET e = qwen_embed(body)", "STABLE|IMMUTABLE")
    coordinator.query(f"WITH s AS MATERIALIZED (SELECT id, {TOLD} AS said FROM news) UPDATE news SET summary = said FROM s WHERE s.id = news.id")
    coordinator.query("CREATE FUNCTION embedded(body text) RETURNS real[] IMMUTABLE LANGUAGE sql AS 'SELECT qwen_embed(body)'; UPDATE news SET e = embedded(body)")
    assert coordinator.value("SELECT count(*) FROM news WHERE e IS NOT NULL AND summary IS NOT NULL") == 24


def on_shards(server, table, sql):
    done = server.query("SELECT success, result FROM run_command_on_shards(%s, %s)", (table, sql))
    assert len(done) == SHARDS and all(success for success, _ in done), done
    return [result for _, result in done]


def test_writes_that_are_prepared_on_two_nodes_are_answered(citus):
    """Triggers of the shards queue; the write of all of them is one transaction in two phases."""
    coordinator, _ = citus
    coordinator.query("CREATE TABLE queued (id int PRIMARY KEY, body text, answer text); SELECT create_distributed_table('queued', 'id')")
    on_shards(coordinator, "queued", "CREATE TRIGGER queue AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0')")
    coordinator.query("INSERT INTO queued SELECT i, 'word ' || i FROM generate_series(1, 24) i")
    wait_until(lambda: coordinator.value("SELECT count(answer) FROM queued") == 24, 60, "the answers of all shards")


def test_jobs_are_one_for_each_shard(citus):
    coordinator, _ = citus
    with pytest.raises(psycopg2.Error):
        coordinator.query("SELECT qwen_submit('news', 'body', 'news', 'summary', model => 'chat')")
    coordinator.query("UPDATE news SET summary = NULL")
    on_shards(coordinator, "news", "SELECT qwen_submit('%1$s', 'body', '%1$s', 'summary', max_tokens => 2, temperature => 0)")
    wait_until(lambda: coordinator.value("SELECT count(summary) FROM news") == 24, 60, "the rows of all jobs")


def test_limits_hold_where_they_are_set(citus):
    """They stay on the node; on all nodes, the connections of one query are one session."""
    coordinator, workers = citus
    coordinator.query("CREATE ROLE reader LOGIN; GRANT SELECT ON news TO reader")
    count = "SELECT count(*) FROM qwen_limits WHERE role::text = 'reader'"
    coordinator.query("SELECT qwen_set_limit('reader', max_concurrent => 2)")
    assert [worker.value(count) for worker in workers] == [0, 0]
    for sql in ("SELECT qwen_grant('reader', 'use')", "SELECT qwen_set_limit('reader', max_concurrent => 1)"):
        assert all(success for _, success, _ in coordinator.query("SELECT nodeid, success, result FROM run_command_on_all_nodes(%s)", (sql,)))
    assert [worker.value(count) for worker in workers] == [1, 1]
    assert len(coordinator.query(f"SELECT id, {TOLD} FROM news", user="reader")) == 24


def test_rows_of_a_shard_that_moves_are_queued_again(citus):
    """The queue is the node's that the shard leaves, and its trigger stays behind."""
    coordinator, (one, two) = citus
    coordinator.query("CREATE TABLE moving (id int PRIMARY KEY, body text, answer text); SELECT create_distributed_table('moving', 'id', shard_count => 1)")
    coordinator.query("INSERT INTO moving SELECT i, 'word ' || i FROM generate_series(1, 6) i")
    port, shard = coordinator.query("SELECT nodeport, shardid FROM citus_shards WHERE table_name = 'moving'::regclass")[0]
    source, target = (one, two) if port == one.port else (two, one)
    coordinator.query(f"SELECT citus_move_shard_placement({shard}, '127.0.0.1', {source.port}, '127.0.0.1', {target.port}, 'block_writes')")
    target.query(f"SET citus.enable_manual_changes_to_shards = on; CREATE TRIGGER queue AFTER INSERT ON moving_{shard} FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', 'max_tokens=1', 'temperature=0')")
    assert target.value(f"SELECT qwen_enqueue('moving_{shard}')") == 6
    wait_until(lambda: coordinator.value("SELECT count(answer) FROM moving") == 6, 60, "the answers on the new node")
