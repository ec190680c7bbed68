"""What copies a server: base backups leave out what belongs to one server alone, and pg_upgrade's server is left alone."""
import os
import shutil
import subprocess
import time

from cluster import Cluster, as_server_user, wait_until


def ours(folder):
    return [name for name in os.listdir(folder) if "qwen" in name and name != "qwen_models"]


def test_a_base_backup_has_nothing_of_this_server_alone(make_server):
    primary = make_server({"wal_level": "replica", "max_wal_senders": 4})
    role = primary.environment()["PGUSER"]
    used = "SELECT used FROM qwen_usage WHERE limit_name = 'tokens_per_day'"
    primary.query(f"SELECT qwen_set_limit('{role}', tokens_per_day => 1000000); SELECT qwen_chat('Hi', max_tokens => 2)")
    primary.restart()
    assert primary.value(used) > 0, "a restart keeps what was used"
    assert len(ours(primary.data)) == 2
    copy = Cluster()
    try:
        if os.geteuid() == 0:
            shutil.chown(copy.folder, "postgres", "postgres")
        os.chmod(copy.folder, 0o755)
        backup = [f"{primary.programs}/pg_basebackup", "-h", primary.folder, "-p", str(primary.port), "-D", copy.data, "-X", "stream", "-c", "fast"]
        done = subprocess.run(as_server_user(backup), cwd="/tmp", check=True, capture_output=True, text=True)
        assert "WARNING" not in done.stderr
        assert ours(copy.data) == []
        copy.start()
        assert copy.value(used) == 0
    finally:
        copy.remove()


def test_files_of_0_1_0_are_taken_over(make_server):
    server = make_server()
    role = server.environment()["PGUSER"]
    used = "SELECT used FROM qwen_usage WHERE limit_name = 'tokens_per_day'"
    server.query(f"SELECT qwen_set_limit('{role}', tokens_per_day => 1000000); SELECT qwen_chat('Hi', max_tokens => 2)")
    server.stop()
    os.rename(os.path.join(server.data, "pgsql_tmp_qwen_pg_usage"), os.path.join(server.data, "qwen_pg_usage"))
    open(os.path.join(server.data, "qwen_pg.sock"), "w").close()
    server.start()
    assert server.value(used) > 0
    wait_until(lambda: not {"qwen_pg_usage", "qwen_pg.sock"} & set(os.listdir(server.data)), 20, "only the new names")


def test_nothing_of_ours_runs_while_pg_upgrade_works(make_server):
    """The mode in which pg_upgrade starts a server: work that waits is left alone, and not one transaction is begun."""
    server = make_server()
    server.query("CREATE TABLE waiting (id int PRIMARY KEY, body text, answer text); INSERT INTO waiting SELECT i, 'word ' || i FROM generate_series(1, 200) i")
    server.query("SELECT qwen_submit('waiting', 'Say {body}', 'waiting', 'answer', max_tokens => 2, temperature => 0)")
    server.stop()
    server.run([f"{server.programs}/pg_ctl", "-D", server.data, "-l", server.log, "-w", "-o", "-b", "start"])
    next_xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    first = server.value(next_xid)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert server.query("SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'qwen%'") == []
    assert server.value(next_xid) == first
    assert server.value("SELECT state IN ('queued', 'running') FROM qwen_jobs")
    server.stop()
    server.start()
    wait_until(lambda: server.value("SELECT count(*) FROM waiting WHERE answer IS NULL") == 0, 60, "the rows")
