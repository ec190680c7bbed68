"""What copies a server: base backups leave out what belongs to one server alone, and pg_upgrade's server is left alone."""
import os
import shutil
import subprocess
import time

import pytest

from cluster import Cluster, as_server_user, server_user, wait_until


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
        # the files of a copy are synchronized at its start: one that gets another name meanwhile would be told of in the log
        usage = os.path.join(copy.data, "pgsql_tmp_qwen_pg_usage")
        wait_until(lambda: os.path.exists(usage), 25, "the file of usage")
        assert os.stat(usage).st_mtime - copy.value("SELECT extract(epoch FROM pg_postmaster_start_time())::float8") > 9
        assert "pgsql_tmp_qwen_pg" not in copy.read_log()
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


@pytest.mark.parametrize("schema", ["public", "qwen"])
def test_dumps_of_both_versions_are_restored_with_limits_and_grants(server, schema):
    """As docs/operations.md says: a dump of 0.1.0 into that version in the dump's schema, which is updated then; one of 0.2.0 as it is; by whoever may read all tables."""
    run = lambda program, *options, user=server_user(), given=None: subprocess.run(  # noqa: E731
        [os.path.join(server.programs, program), "-h", server.folder, "-p", str(server.port), "-U", user, *options], input=given, capture_output=True, text=True, check=False)
    roles, databases = ("dumper", "reader"), ("dumped", "updated", "restored", "unpacked")
    # the schema is made before the dump makes it, which is the one error that is to be expected
    first = "" if schema == "public" else f"CREATE SCHEMA {schema}; "
    first += f"CREATE EXTENSION qwen_pg SCHEMA {schema} VERSION '0.1.0';"
    expected = "" if schema == "public" else f'ERROR:  schema "{schema}" already exists\n'
    asked = f"SET search_path = {schema}; "
    try:
        for name in roles:
            server.query(f"CREATE ROLE {name} LOGIN")
        for name in databases:
            server.query(f"CREATE DATABASE {name}")
        made = run("psql", "-qv", "ON_ERROR_STOP=1", "dumped", given=f"{first} {asked} GRANT EXECUTE ON FUNCTION qwen_chunk(text, int, int, text) TO reader; SELECT qwen_set_limit('reader', 7);")
        assert made.stderr == "", made.stderr
        old = run("pg_dump", "dumped").stdout
        stops = "ON_ERROR_STOP=" + ("0" if expected else "1")
        updated = run("psql", "-qv", stops, "updated", given=f"{first}\n{old}\nALTER EXTENSION qwen_pg UPDATE;")
        assert updated.stderr == expected, updated.stderr
        # an archive goes the same way
        archive = os.path.join(server.folder, "dumped.archive")
        assert run("pg_dump", "-Fc", "-f", archive, "dumped").returncode == 0
        assert run("psql", "-qv", "ON_ERROR_STOP=1", "unpacked", given=first).stderr == ""
        unpacked = run("pg_restore", "-d", "unpacked", archive)
        assert unpacked.stderr.count("ERROR:") == bool(expected) and expected in unpacked.stderr, unpacked.stderr
        assert run("psql", "-qv", "ON_ERROR_STOP=1", "unpacked", given="ALTER EXTENSION qwen_pg UPDATE").stderr == ""
        run("psql", "updated", given=f"GRANT USAGE ON SCHEMA {schema} TO dumper, reader; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO dumper, reader; GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO dumper, reader")
        new = run("pg_dump", "updated", user="dumper")
        assert new.returncode == 0, new.stderr
        restored = run("psql", "-qv", "ON_ERROR_STOP=1", "restored", given=new.stdout)
        assert restored.stderr == "", restored.stderr
        for name in databases[1:]:
            kept = run("psql", "-qAt", name, given=f"{asked}SELECT role, requests_per_minute FROM qwen_limits; SELECT proacl::text LIKE '%reader=X%' FROM pg_proc WHERE proname = 'qwen_chunk'; SELECT extversion FROM pg_extension WHERE extname = 'qwen_pg'")
            assert kept.stdout.split() == ["reader|7", "t", "0.2.0"], (name, kept)
    finally:
        for name in databases:
            wait_until(lambda name=name: server.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)) == 0, 20, "nobody in the database")
            server.query(f"DROP DATABASE IF EXISTS {name}")
        for name in roles:
            server.query(f"DROP ROLE IF EXISTS {name}")
