#!/usr/bin/env python3
"""Upgrade from the packages of the version before to those of now, on a bare system with a server that runs, as root.

  upgrade_packages.py BEFORE NOW MODEL      folders with .deb files, and a model file
The old server has rows, triggers, limits, jobs that are done and one that works meanwhile. It goes on through apt-get install with its old code; after its restart the
new code serves the old script; after ALTER EXTENSION qwen_pg UPDATE there is the new one, and nothing is lost."""
import glob
import os
import shutil
import subprocess
import sys
import time

CONFIGURATION = """shared_preload_libraries = 'qwen_pg'
qwen.model_directory = '/var/lib/qwen_pg'
qwen.models = 'chat=model.gguf'
qwen.kv_cache_type = f16 # as before by default, for the same answers
"""
# what a house has: an application's view, trigger, grants and limits on top of the extension's functions
HOUSE = """
CREATE EXTENSION qwen_pg;
CREATE ROLE app LOGIN;
GRANT EXECUTE ON FUNCTION qwen_submit TO app;
SELECT qwen_set_limit('app', tokens_per_day => 1000000);
CREATE TABLE mails (id int PRIMARY KEY, body text, summary text);
CREATE TABLE queued (id int PRIMARY KEY, body text, answer text);
CREATE TRIGGER answer AFTER INSERT ON queued FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'Say {body}', 'max_tokens=2', 'temperature=0');
CREATE VIEW short AS SELECT id, qwen_summarize(body, max_words => 5) AS short FROM mails;
INSERT INTO mails SELECT i, 'The shipment number ' || i || ' arrived damaged this morning.' FROM generate_series(1, 400) i;
"""
SERVING = "SELECT count(*) FROM qwen_models WHERE state = 'serving'"
ANSWER = "SELECT qwen_chat('What is the capital of France? Answer in one sentence.', temperature => 0)"


def run(*command, **options):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} fails:\n{done.stdout}{done.stderr}")
    return done.stdout


def psql(script):
    return run("su", "postgres", "-c", "psql -X -v ON_ERROR_STOP=1 -AtqP pager=off", input=script).strip()


def wait(script, value, seconds=90):
    deadline = time.monotonic() + seconds
    while (found := psql(script)) != value:
        if time.monotonic() > deadline:
            sys.exit(f"{script}\nis {found!r}, not {value!r}, after {seconds} s")
        time.sleep(0.1)


def wait_for_job(job, seconds=120):
    """Until a job is done, as long as it gets on: how fast is the machine's matter."""
    rows, deadline = None, 0
    while psql(f"SELECT state FROM qwen_jobs WHERE id = {job}") != "done":
        if (now := psql("SELECT count(summary) FROM mails")) != rows:
            rows, deadline = now, time.monotonic() + seconds
        if time.monotonic() > deadline:
            sys.exit(f"job {job} has not got on for {seconds} s, with {rows} rows:\n" + psql(f"SELECT * FROM qwen_jobs WHERE id = {job}"))
        time.sleep(0.2)


def install(folder):
    return run("apt-get", "install", "-y", "-qq", *sorted(glob.glob(f"{folder}/qwen-pg-engine_*.deb") + glob.glob(f"{folder}/postgresql-*-qwen-pg_*.deb")))


def check(is_so, what):
    if not is_so:
        sys.exit(f"upgrade of packages: {what}")


def cluster():
    version = os.listdir("/usr/lib/postgresql")[0]
    return version, lambda action: run("pg_ctlcluster", version, "main", action)


def engine_version(version):
    return run(f"/usr/lib/postgresql/{version}/bin/qwen_engine", "--version").split()[-1]


def main():
    before, now, model = sys.argv[1:]
    version, ctl = cluster()
    install(before)
    old = engine_version(version)
    shutil.copy(model, "/var/lib/qwen_pg/model.gguf")
    with open(f"/etc/postgresql/{version}/main/conf.d/qwen_pg.conf", "w", encoding="utf-8") as file:
        file.write(CONFIGURATION)
    ctl("restart")
    psql(HOUSE)
    wait(SERVING, "1")
    answer = psql(ANSWER)
    check("Paris" in answer, answer)
    psql("INSERT INTO queued SELECT i, 'word ' || i FROM generate_series(1, 5) i")
    wait("SELECT count(answer) FROM queued", "5")
    job = psql("SELECT qwen_submit('mails', 'Say in other words: {body}', 'mails', 'summary', max_tokens => 20)")
    wait("SELECT count(*) > 0 FROM mails WHERE summary IS NOT NULL", "t")

    # a session that is there before, while the files are replaced
    session = subprocess.Popen(["su", "postgres", "-c", "psql -X -v ON_ERROR_STOP=1 -AtqP pager=off"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    session.stdin.write("SELECT 'here';\n")
    session.stdin.flush()
    check(session.stdout.readline() == "here\n", "no session")
    said = install(now)
    new = engine_version(version)
    check(old != new, f"engines are {old} and {new}")
    check("ALTER EXTENSION qwen_pg UPDATE" in said, f"apt does not say what to do:\n{said}")
    session.stdin.write(ANSWER + ";\n")
    session.stdin.flush()
    check(session.stdout.readline().strip() == answer, "the session of before has another answer after the upgrade of the packages")
    session.stdin.close()
    session.wait()
    check(psql(ANSWER) == answer, "a new session of the old server has another answer")
    check(psql("SELECT extversion FROM pg_extension WHERE extname = 'qwen_pg'") == old, "the extension changed by itself")
    psql("INSERT INTO queued SELECT i, 'word ' || i FROM generate_series(6, 10) i")
    wait("SELECT count(answer) FROM queued", "10")
    in_work = psql(f"SELECT state FROM qwen_jobs WHERE id = {job}")

    ctl("restart")
    wait(SERVING, "1")
    check(psql(ANSWER) == answer, "the new code has another answer by the old script")
    psql("ALTER EXTENSION qwen_pg UPDATE")
    check(psql("SELECT extversion FROM pg_extension WHERE extname = 'qwen_pg'") == new, "no update")
    wait_for_job(job)
    check(psql("SELECT count(*) FROM mails WHERE summary IS NULL OR summary = ''") == "0", "rows of the job are lost")
    check(psql("SELECT count(*) FROM qwen_dead_letters") == "0", "there are dead letters")
    check(psql("SELECT short <> '' FROM short WHERE id = 1") == "t", "a view of before has no answer")
    check(psql("SELECT tokens_per_day FROM qwen_limits WHERE role = 'app'::regrole") == "1000000", "the limit is lost")
    check(psql(ANSWER) == answer, "the new version has another answer")
    psql("INSERT INTO queued SELECT i, 'word ' || i FROM generate_series(11, 15) i")
    wait("SELECT count(answer) FROM queued", "15")
    check(psql("SELECT qwen_classify_multi('It rains.', ARRAY['weather', 'sports']) IS NOT NULL") == "t", "no new function")
    check(psql("SELECT qwen_health()->>'version'") == new, "the health is of another version")
    print(f"upgrade by apt from {old} to {new} with PostgreSQL {version}: 400 rows of a job ({in_work} at the upgrade), a trigger, a view and a limit went on")


if __name__ == "__main__":
    main()
