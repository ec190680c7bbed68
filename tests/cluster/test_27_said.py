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
    seen = {server.query("SELECT state, coalesce(error, '-') FROM qwen_jobs")[0] for _ in range(200)}
    assert not any("no worker" == state or "64" in error for state, error in seen), seen
    assert server.value("SELECT qwen_wait(id, '100 s') FROM qwen_jobs") == "done"
