#!/usr/bin/env python3
"""upgrade_server.py OLD_BINDIR NEW_BINDIR: pg_upgrade a server with a job and queued rows that wait; they go on in the new one.

Run by check_upgrade.sh, where both versions have the extension. What waits is there because the old server's engine cannot start.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, as_server_user, server_user, wait_until  # noqa: E402

N = 50


def next_xid(cluster):
    done = cluster.run([f"{cluster.programs}/pg_controldata", cluster.data])
    return [line for line in done.stdout.splitlines() if "NextXID" in line][0].split(":")[-1].strip()


def make_cluster(programs, settings=None):
    cluster = Cluster(settings=settings)
    cluster.programs = programs
    cluster.init()
    return cluster


def make_work(server):
    server.query(
        f"""
        CREATE EXTENSION qwen_pg;
        CREATE TABLE jobbed (id int PRIMARY KEY, body text, answer text);
        INSERT INTO jobbed SELECT i, 'word ' || i FROM generate_series(1, {N}) i;
        CREATE TABLE queued (id int PRIMARY KEY, body text, answer text, e real[]);
        CREATE TRIGGER answer AFTER INSERT OR UPDATE ON queued FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Say {{body}}', 'max_tokens=2', 'temperature=0');
        CREATE TRIGGER embed AFTER INSERT OR UPDATE ON queued FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('e', '{{body}}');
        INSERT INTO queued SELECT i, 'word ' || i FROM generate_series(1, {N}) i;
        """
    )
    return server.value("SELECT qwen_submit('jobbed', 'Say {body}', 'jobbed', 'answer', max_tokens => 2, temperature => 0)")


def upgrade(old, new):
    command = [f"{new.programs}/pg_upgrade", "-b", old.programs, "-B", new.programs, "-d", old.data, "-D", new.data, "-U", server_user()]
    done = subprocess.run(as_server_user(command), cwd=new.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def main():
    old_programs, new_programs = sys.argv[1:]
    # Debian's pg_upgrade wants the same checksums on both sides; those of 18 differ from those before
    old = make_cluster(old_programs, {"qwen.engine_path": "/nonexistent/qwen_engine"})
    new = make_cluster(new_programs)
    try:
        old.start()
        job = make_work(old)
        old.stop()
        new.write_settings()
        before = next_xid(old)
        upgrade(old, new)
        assert next_xid(old) == before, f"transactions were begun in the old server: {before} and then {next_xid(old)}"
        new.start()
        version = new.value("SHOW server_version")
        state = lambda: new.value("SELECT state FROM qwen_jobs WHERE id = %s", (job,))  # noqa: E731
        wait_until(lambda: state() == "done", 120, "the end of the job")
        wait_until(lambda: new.value("SELECT count(*) FROM queued WHERE answer IS NULL OR e IS NULL") == 0, 120, "the queued rows")
        assert new.value("SELECT count(*) FROM jobbed WHERE answer IS NULL") == 0
        assert new.query("SELECT * FROM qwen_dead_letters") == []
        print(f"pg_upgrade to {version}: no transaction in the old server; {N} rows of a job and {2 * N} queued ones went on")
    finally:
        old.remove()
        new.remove()


if __name__ == "__main__":
    main()
