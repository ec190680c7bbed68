"""The views that are read first fit a terminal of 110 columns, and a job's state says whether its rows have come to their end."""
import json
import subprocess

from sessions import wait_until


def end_of(server, lengths):
    """State, done and failed of a job over texts of so many words, the same in both views, qwen_wait and the notification."""
    server.query("CREATE TABLE short_views (id int PRIMARY KEY, body text, answer text)")
    try:
        server.query("INSERT INTO short_views SELECT n, repeat('word ', w) FROM unnest(%s) WITH ORDINALITY AS l (w, n)", (lengths,))
        listener = server.connect()
        listener.autocommit = True
        listener.cursor().execute("LISTEN qwen_job")
        job = server.value("SELECT qwen_submit('SELECT id, body FROM short_views', 'Say: {body}', 'short_views', 'answer', max_tokens => 3, temperature => 0, max_attempts => 1)")
        wait_until(lambda: server.value("SELECT ended IS NOT NULL FROM qwen_jobs WHERE id = %s", (job,)), 60, "the end of the job")
        row = server.query("SELECT state, done, failed FROM qwen_jobs WHERE id = %s", (job,))[0]
        assert server.query("SELECT state, done, failed FROM qwen_job_list WHERE id = %s", (job,))[0] == row
        assert server.value("SELECT qwen_wait(%s)", (job,)) == row[0]
        wait_until(lambda: listener.poll() == 0 and listener.notifies, 20, "the notification")
        assert json.loads(listener.notifies[-1].payload) == {"id": job, "state": row[0]}
        listener.close()
        server.query("SELECT qwen_forget(%s)", (job,))
        return row
    finally:
        server.query("DROP TABLE short_views")


def psql(server, sql):
    return subprocess.run(["psql", "-X", "-q", "-c", sql], env=server.environment(), text=True, capture_output=True, check=True).stdout


def test_a_job_says_whether_its_rows_failed(server):
    """A text beyond the context fails, and the job goes on."""
    too_long = 200000
    assert end_of(server, [2, 3]) == ("done", 2, 0)
    assert end_of(server, [2, too_long, 3]) == ("done with failures", 2, 1)
    assert end_of(server, [too_long]) == ("failed", 0, 1)


def failed_job(server, error):
    """A job that has ended with an error, as of a table that was dropped."""
    server.query("CREATE TABLE dropped_views (id int PRIMARY KEY, body text, answer text); INSERT INTO dropped_views VALUES (1, 'word')")
    job = server.value("SELECT qwen_submit('dropped_views', 'body', 'dropped_views', 'answer', max_tokens => 1, temperature => 0)")
    wait_until(lambda: server.value("SELECT ended IS NOT NULL FROM qwen_jobs WHERE id = %s", (job,)), 60, "the end of the job")
    server.query("UPDATE qwen_job_table SET error = %s WHERE id = %s; DROP TABLE dropped_views", (error, job))
    return job


def test_what_is_read_first_fits_a_terminal(server):
    """Whatever went wrong: errors stand in lines, and nothing of them is lost."""
    error = "could not do it: " + "a-word-that-has-no-end-" * 10 + " and some words more " * 5
    job = failed_job(server, error)
    try:
        assert "".join(server.value("SELECT error FROM qwen_job_list WHERE id = %s", (job,)).split()) == "".join(error.split())
        pages = [psql(server, f"SELECT * FROM {view}") for view in ("qwen_job_list", "qwen_model_list", "qwen_top", "qwen_progress")]
    finally:
        server.query("SELECT qwen_forget(%s)", (job,))
    for page in pages:
        assert page.count("\n") >= 3 and max(map(len, page.splitlines())) <= 110, page
    assert "serving" in pages[1] and "running" in pages[2]
