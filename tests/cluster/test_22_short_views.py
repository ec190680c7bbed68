"""The views that are read first fit a terminal of 110 columns, and a job's state says whether its rows have come to their end."""
import json
import subprocess

from sessions import wait_until


def end_of(server, lengths):
    """State, done and failed of a job over texts of so many words, in both views, and qwen_job_list as psql prints it."""
    server.query("CREATE TABLE short_views (id int PRIMARY KEY, body text, answer text)")
    try:
        server.query("INSERT INTO short_views SELECT n, repeat('word ', w) FROM unnest(%s) WITH ORDINALITY AS l (w, n)", (lengths,))
        listener = server.connect()
        listener.autocommit = True
        listener.cursor().execute("LISTEN qwen_job")
        job = server.value("SELECT qwen_submit('SELECT id, body FROM short_views', 'Say: {body}', 'short_views', 'answer', max_tokens => 3, max_attempts => 1)")
        wait_until(lambda: server.value("SELECT ended IS NOT NULL FROM qwen_jobs WHERE id = %s", (job,)), 60, "the end of the job")
        row = server.query("SELECT state, done, failed FROM qwen_jobs WHERE id = %s", (job,))[0]
        assert server.query("SELECT state, done, failed FROM qwen_job_list WHERE id = %s", (job,))[0] == row
        assert server.value("SELECT qwen_wait(%s)", (job,)) == row[0]
        wait_until(lambda: listener.poll() == 0 and listener.notifies, 20, "the notification")
        assert json.loads(listener.notifies[-1].payload) == {"id": job, "state": row[0]}
        listener.close()
        printed = psql(server, "SELECT * FROM qwen_job_list")
        server.query("SELECT qwen_forget(%s)", (job,))
        return row, printed
    finally:
        server.query("DROP TABLE short_views")


def psql(server, sql):
    return subprocess.run(["psql", "-X", "-q", "-c", sql], env=server.environment(), text=True, capture_output=True, check=True).stdout


def test_a_job_says_whether_its_rows_failed(server):
    """A text beyond the context fails, and the job goes on."""
    too_long = 200000
    assert end_of(server, [2, 3])[0] == ("done", 2, 0)
    assert end_of(server, [2, too_long, 3])[0] == ("done with failures", 2, 1)
    assert end_of(server, [too_long])[0] == ("failed", 0, 1)


def test_what_is_read_first_fits_a_terminal(server):
    _, jobs = end_of(server, [2, 3])
    pages = [jobs] + [psql(server, f"SELECT * FROM {view}") for view in ("qwen_model_list", "qwen_top", "qwen_progress")]
    for page in pages:
        assert page.count("\n") >= 3 and max(map(len, page.splitlines())) <= 110, page
    assert "serving" in pages[1] and "running" in pages[2]
