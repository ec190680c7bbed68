"""docs/first-hour.md is pasted, block after block, and prints what it says."""
import os
import re
import subprocess

import pytest

import first_hour
from cluster import MODEL_FILE, Cluster
from sessions import wait_until

DEFAULT_MODEL = MODEL_FILE
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "first-hour.md")


@pytest.fixture(scope="module")
def pasted():
    """[(statements, expected, printed)] of the page, by somebody who has just made a server."""
    with open(PAGE, encoding="utf-8") as file:
        blocks = first_hour.parts(file.read())
    server = Cluster()
    try:
        server.start()
        printed = first_hour.run([statements for statements, _ in blocks], server.environment())
        yield [(statements, expected, text) for (statements, expected), text in zip(blocks, printed)]
    finally:
        server.remove()


def test_the_page_prints_what_it_says(pasted):
    assert len(pasted) >= 12 and sum(expected is not None for _, expected, _ in pasted) >= 10
    for statements, expected, printed in pasted:
        if expected is None:
            assert "ERROR" not in printed and "WARNING" not in printed, (statements, printed)
        else:
            assert first_hour.is_as_expected(expected, printed), f"{statements}\n--- expected\n{expected}\n--- printed\n{printed}"


def test_nothing_is_left_of_it(pasted):
    assert "DROP SCHEMA qwen" in pasted[-1][0] and "ERROR" not in pasted[-1][2]


def test_long_texts_are_broken_into_lines_by_the_short_commands(server):
    """A model that cannot be loaded, and what to do about it: nothing of the texts is lost."""
    file = os.path.join(os.path.dirname(PAGE), "psql", "qwen.psql")
    models = server.value("SHOW qwen.models")
    server.reload(qwen__models=models + ", lost=a-file-that-nobody-has-put-there-and-with-a-name-of-many-letters.gguf")
    try:
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_models WHERE state = 'failed'") == 1, 20, "the model that fails")
        error, (check, action) = server.value("SELECT error FROM qwen_models WHERE name = 'lost'"), server.query("SELECT message, action FROM qwen_health_checks WHERE name = 'models'")[0]
        for name, texts in (("models", [error]), ("health", [check, action])):
            done = subprocess.run(["psql", "-X", "-q", "-f", "-"], input=f"\\i {file}\n:{name}\n", env=server.environment(), text=True, capture_output=True, check=True)
            assert done.stderr == "" and max(map(len, done.stdout.splitlines())) <= 110, done.stdout
            cells = [[cell.strip(" +") for cell in line.split("|")] for line in done.stdout.splitlines() if "|" in line]
            columns = ["".join(column).replace(" ", "") for column in zip(*cells)]
            assert all(any(text.replace(" ", "") in column for column in columns) for text in texts), done.stdout
    finally:
        server.reload(qwen__models=models)
        wait_until(lambda: server.value("SELECT count(*) FROM qwen_models") == 1, 20, "the models as before")


def test_the_short_commands_of_psql_fit_a_terminal(make_server):
    """With something under way, so that each has rows, in a terminal of 110 columns; and a stream that is text."""
    server = make_server()
    file = os.path.join(os.path.dirname(PAGE), "psql", "qwen.psql")
    server.query("CREATE TABLE IF NOT EXISTS short (id int PRIMARY KEY, body text, s text); INSERT INTO short SELECT g, 'Letter ' || g FROM generate_series(1, 40) g")
    job = server.value("SELECT qwen_submit('short', 'Say {body}', 'short', 's', max_tokens => 60)")
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_stat_activity WHERE state = 'running'") > 0, 20, "a running request")
    shown = {}
    for name in ("models", "progress", "jobs", "health", "top"):
        done = subprocess.run(["psql", "-X", "-q", "-f", "-"], input=f"\\i {file}\n:{name}\n", env=server.environment(), text=True, capture_output=True, check=True)
        assert done.stderr == "" and "(0 rows)" not in done.stdout, (name, done.stdout, done.stderr)
        assert max(map(len, done.stdout.splitlines())) <= 110, (name, done.stdout)
        shown[name] = done.stdout
    assert "serving" in shown["models"] and f"job  |  {job}" in shown["progress"] and "kv_cache" in shown["health"] and "keys_and_values" in shown["top"]
    server.query("SELECT qwen_cancel(%s)", (job,))
    streamed = subprocess.run(["psql", "-X", "-q", "-f", "-"], input=f"\\i {file}\n:stream\nSELECT qwen_chat_stream('Name three fruits.', temperature => 0, max_tokens => 16);\n:endstream\nSELECT 1 AS one;\n",
                              env=server.environment(), text=True, capture_output=True, check=True).stdout
    assert streamed == server.value("SELECT qwen_chat('Name three fruits.', temperature => 0, max_tokens => 16)") + "\n one \n-----\n   1\n(1 row)\n\n"
    wait_until(lambda: server.value("SELECT count(*) FROM qwen_jobs WHERE state IN ('queued', 'running')") == 0, 20, "no job")
    server.query("DROP TABLE short")


STRING = re.compile(r'(?:"(?:[^"\\\n]|\\.)*"(?:\s|PRI\w+)*)+')
PLACE = re.compile(r"%[-+ 0#]*\*?\d*(?:\.\d+|\.\*)?(?:hh|h|ll|l|z|j)?[a-zA-Z]")


def said_by_us():
    """The texts in our sources; parts of them may have names."""
    sources = []
    for folder, _, names in os.walk(os.path.join(os.path.dirname(PAGE), "..", "src")):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                sources.append(file.read())
    named = dict(pair for source in sources for pair in re.findall(r'^#define (\w+) ("(?:[^"\\\n]|\\.)*")$', source, re.M))
    for source in sources:
        for name in re.findall(r'\b([A-Z]\w+) "', source):
            source = source.replace(f'{name} "', f'{named[name]} "') if name in named else source
        for literal in STRING.findall(source):
            text = "".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', literal)).replace('\\"', '"')
            yield PLACE.sub("7", text)


def test_messages_of_the_troubleshooting_page_are_ours():
    with open(os.path.join(os.path.dirname(PAGE), "troubleshooting.md"), encoding="utf-8") as file:
        ours = file.read().split("## PostgreSQL's own")[0]
    messages = re.findall(r"^\| `(.+?)`", ours, re.M)
    assert len(messages) >= 12
    texts = list(said_by_us())
    for message in messages:
        pattern = re.compile(re.escape(message).replace("\u2026", ".+"))
        assert any(pattern.search(text) for text in texts), message


def test_a_page_that_says_something_else_is_noticed():
    assert first_hour.is_as_expected(" n\n---\n \u2026\n(1 row)\n", " n\n---\n 12\n(1 row)")
    assert not first_hour.is_as_expected(" n\n---\n 1\n(1 row)\n", " n\n---\n 2\n(1 row)")
    assert not first_hour.is_as_expected(" n\n", " n\nERROR:  x")
