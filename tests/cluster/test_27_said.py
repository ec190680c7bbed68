"""What views and errors say of jobs and triggers to somebody who has just begun: which cause it is, and what is to be done."""
ROWS = """CREATE TABLE {0} AS SELECT g AS id, 'row ' || g AS body, NULL::text AS answer FROM generate_series(1, {1}) g; ALTER TABLE {0} ADD PRIMARY KEY (id)"""


def test_a_server_without_the_library_says_why_nothing_moves(make_server):
    server = make_server()
    server.query(ROWS.format("waiting", 30))
    server.query("""CREATE TABLE filled (id int PRIMARY KEY, body text, answer text);
        CREATE TRIGGER fill AFTER INSERT ON filled FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', '{body}', 'max_tokens=60')""")
    server.query("SELECT qwen_submit('waiting', 'Say {body}', 'waiting', 'answer', max_tokens => 60)")
    server.query("INSERT INTO filled SELECT id, body FROM waiting")
    preload = server.settings.pop("shared_preload_libraries")
    server.restart()
    missing = "qwen_pg is not in shared_preload_libraries: add it there and restart the server"
    assert server.query("SELECT state, error FROM qwen_jobs") == [("no worker", missing)]
    assert server.query("SELECT worker FROM qwen_trigger_backlog") == [(missing,)]
    server.settings["shared_preload_libraries"] = preload
    server.restart()
    session, seen = server.connect().cursor(), set()
    for _ in range(100):
        session.execute("SELECT state, coalesce(error, '-') FROM qwen_jobs")
        seen.add(session.fetchone())
    assert not any(state == "no worker" or "64" in error for state, error in seen), seen
    assert server.value("SELECT qwen_wait(id, '100 s') FROM qwen_jobs") == "done"


def test_a_job_whose_rows_all_failed_says_the_first_error(server):
    server.query(ROWS.format("unfilled", 3) + "; ALTER TABLE unfilled ADD CHECK (answer IS NULL)")
    job = server.value("SELECT qwen_submit('unfilled', 'Say {body}', 'unfilled', 'answer', max_tokens => 2, max_attempts => 1)")
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "failed"
    first = server.value("SELECT error FROM qwen_dead_letters WHERE job = %s ORDER BY failed_at, id LIMIT 1", (job,))
    said = "all rows failed: qwen_dead_letters has them; the first: " + first
    assert "unfilled_answer_check" in first
    assert server.query("SELECT state, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [("failed", 3, said)]
    assert " ".join(server.value("SELECT error FROM qwen_job_list WHERE id = %s", (job,)).split()).startswith("all rows failed: qwen_dead_letters has them;")
    # one row that is filled in makes it another story, which state and failed tell
    server.query("ALTER TABLE unfilled DROP CONSTRAINT unfilled_answer_check; ALTER TABLE unfilled ADD CHECK (id = 1 OR answer IS NULL); SELECT qwen_retry(%s)", (job,))
    server.value("SELECT qwen_wait(%s, '60 s')", (job,))
    assert server.query("SELECT state, done, failed, error FROM qwen_jobs WHERE id = %s", (job,)) == [("done with failures", 1, 2, None)]
    server.query("DROP TABLE unfilled")
