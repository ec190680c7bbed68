"""Every ```sql block of README.md and docs/ runs as it stands, in the tables that its page speaks of; lines of the first pages fit a screen."""
import glob
import os
import re
import subprocess

import pytest

import first_hour
from cluster import MODEL_FILE, Cluster

DEFAULT_MODEL = MODEL_FILE
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PAGES = sorted(["README.md"] + [f"docs/{name}" for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md")])
# test_22_first_hour.py, test_22_prompts.py, `make check-packages`, and what takes several servers
ELSEWHERE = {"docs/first-hour.md", "docs/prompts.md", "docs/start.md", "docs/scale.md"}
EXTENSION = "CREATE SCHEMA qwen; CREATE EXTENSION qwen_pg SCHEMA qwen; ALTER DATABASE {page} SET search_path = public, qwen;"
ROLES = "SELECT 'CREATE ROLE ' || r FROM unnest('{analyst,ops,boss}'::text[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) \\gexec\n"
# what a reader has: tables, roles and models that a page takes for granted
GIVEN = {
    "README.md": "CREATE TABLE news (id int PRIMARY KEY, body text); INSERT INTO news VALUES (1, 'The bakery on Main Street has won a prize.');" + EXTENSION,
    "docs/sql.md": EXTENSION + """
        CREATE TABLE articles (id int PRIMARY KEY, body text, summary text, headline text, lang text); INSERT INTO articles VALUES (1, 'The old bridge is closed.', NULL, NULL, 'en');
        CREATE TABLE headlines (id int PRIMARY KEY, headline text); INSERT INTO headlines VALUES (1);
        CREATE TABLE letters (id int PRIMARY KEY, received timestamptz, body text); INSERT INTO letters VALUES (1, now(), 'I am not amused.');
        CREATE TABLE comments (id int PRIMARY KEY, body text); INSERT INTO comments VALUES (1, 'Well said.');
        CREATE TABLE invoices (id int PRIMARY KEY, body text, sender text, total numeric(10, 2), due date);
        CREATE TABLE posts (id int PRIMARY KEY, title text, body text, summary text, headline text, embedding real[], search real[]);""",
    "docs/limits.md": EXTENSION + ROLES, "docs/tasks.md": EXTENSION,
    "docs/privileges.md": ROLES + "SELECT 'CREATE DATABASE app' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'app') \\gexec\n",
    "docs/typed.md": EXTENSION + "CREATE TABLE mails (id int PRIMARY KEY, body text); INSERT INTO mails VALUES (1, 'Please pay 12.50 by 2026-01-31. Anna'), (2, NULL), (3, ' ');",
}
# without pgvector: a domain and an operator of its names, and no index
VECTOR = """CREATE DOMAIN vector AS real[]; CREATE FUNCTION distance(real[], real[]) RETURNS float8 LANGUAGE sql AS 'SELECT 1 - qwen_cosine($1, $2)';
    CREATE OPERATOR <=> (FUNCTION = distance, LEFTARG = real[], RIGHTARG = real[]);"""
PATH = 'SET search_path = "$user", public, qwen;\n'  # as in a session behind the page's ALTER DATABASE
STATEMENT = re.compile(r"^(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|GRANT|REVOKE|SET|EXPLAIN|COPY)\b.*;", re.M)


def text_of(page):
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def fenced(page):
    """(language, content) of each block."""
    return [(match[1], match[2]) for match in first_hour.BLOCK.finditer(text_of(page))]


@pytest.fixture(scope="module")
def house():
    # a form that is to be satisfied takes some tokens; other answers are short
    server = Cluster(settings={"qwen.models": f"chat={MODEL_FILE}, guard={MODEL_FILE}", "qwen.max_models": "2", "qwen.max_tokens": "200"})
    try:
        yield server.start()
    finally:
        server.remove()


def without_pgvector(sql):
    sql = re.sub(r"vector\(\d+\)", "vector", sql)
    return re.sub(r"^CREATE INDEX .* USING hnsw .*\n", "", sql, flags=re.M)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in ELSEWHERE and "```sql\n" in text_of(page)])
def test_every_block_runs_as_it_stands(house, page):
    blocks = [sql for language, sql in fenced(page) if language == "sql"]
    database = re.sub(r"\W", "_", page.split("/")[-1].lower())
    environment = {**house.environment(), "PGDATABASE": database}
    house.query(f"CREATE DATABASE {database}")
    given = GIVEN[page].replace("{page}", database)
    if "::vector" in text_of(page):
        given += PATH + VECTOR
        blocks = [without_pgvector(sql) for sql in blocks]
    printed = first_hour.run([given, *(PATH + sql for sql in blocks)], environment)
    assert len(printed) == len(blocks) + 1
    for sql, output in zip([given, *blocks], printed):
        assert "ERROR" not in output and "FATAL" not in output and "could not" not in output, f"{page}:\n{sql}\n{output}"


def test_statements_stand_in_blocks_that_run():
    for page in PAGES:
        for language, content in fenced(page):
            assert language or not STATEMENT.search(content), f"{page}: a block with statements is not ```sql:\n{content}"


def test_the_contents_of_the_manual_are_its_headings():
    text = text_of("docs/sql.md")
    headings = re.findall(r"^## (.*)$", text, re.M)
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert re.findall(r"^- \[(.*)\]\(#(.*)\)$", text[: text.index("\n## ")], re.M) == list(zip(headings, anchors)) and len(headings) > 10


def anchors(text):
    """Of its headings, as GitHub writes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def test_the_columns_of_jobs_and_dead_letters_are_named():
    views = dict(re.findall(r"^(qwen_\w+)\n((?:\t.*\n)+)", text_of("sql/parts/columns.txt"), re.M))
    for view, least in (("qwen_jobs", 20), ("qwen_dead_letters", 10)):
        columns = re.findall(r"^\t(\w+):", views[view], re.M)
        assert len(columns) >= least and [column for column in columns if f"`{column}`" not in text_of("docs/sql.md")] == [], view


def test_links_lead_somewhere():
    wrong = []
    for page in [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "docs/containers/README.md", "tests/fuzz/README.md"]:
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text_of(page), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            whole = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            if re.match(r"[a-z]+:", target):
                continue
            if not os.path.exists(os.path.join(ROOT, whole)) or (anchor and anchor not in anchors(text_of(whole))):
                wrong.append(f"{page}: {target}")
    assert wrong == []


def test_the_contents_name_every_page():
    contents = text_of("docs/README.md")
    missing = [name for name in os.listdir(os.path.join(ROOT, "docs")) if not name.endswith(".svg") and name not in ("README.md", "man") and f"]({name}" not in contents]
    assert missing == []
    # packages have these where man finds them, and not beside the contents
    assert [name for name in os.listdir(os.path.join(ROOT, "docs", "man")) if f"`man {name.rsplit('.', 1)[0]}`" not in contents] == []


def test_each_make_command_of_the_docs_is_there():
    """`make check-containers` stood in four pages, and was gone from the Makefile."""
    pages = ["README.md", "CONTRIBUTING.md", *(os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True))]
    named = {(page, target) for page in pages for code in re.findall(r"`[^`]*`|^```$.*?^```$", text_of(page), re.M | re.S)
             for target in re.findall(r"(?:^|`|&& |; )make (?:[-A-Z_a-z0-9]*=\S+ |-j\d* )*([a-z][-a-z0-9]*)", code, re.M)}
    assert len(named) > 50
    rules = subprocess.run(["make", "-pn", "-C", ROOT], capture_output=True, text=True).stdout
    known = set(re.findall(r"^([a-z][-a-z0-9]*):", rules, re.M))
    assert sorted((page, target) for page, target in named if target not in known) == []


@pytest.mark.parametrize("clusters", [[], ["15"], ["15", "17"]])
def test_settings_are_written_for_the_clusters_that_there_are(tmp_path, clusters):
    """Where there was none, a folder called * was made."""
    [block] = [content for language, content in fenced("docs/start.md") if language == "sh" and "/etc/postgresql/*/main" in content]
    (tmp_path / "etc").mkdir()
    for version in clusters:
        (tmp_path / "etc" / version / "main").mkdir(parents=True)
    control = tmp_path / "pg_ctlcluster"
    control.write_text(f"#!/bin/sh\necho $* >>{tmp_path}/restarted\n")
    control.chmod(0o755)
    done = subprocess.run(["sh", "-e"], input=block.replace("/etc/postgresql/", f"{tmp_path}/etc/"), text=True, capture_output=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 0 and ("there is no cluster" in done.stdout) == (clusters == []), done
    assert sorted(os.listdir(tmp_path / "etc")) == clusters
    assert all("qwen.models" in (tmp_path / "etc" / version / "main" / "conf.d" / "qwen_pg.conf").read_text() for version in clusters)
    restarted = (tmp_path / "restarted").read_text().splitlines() if clusters else []
    assert restarted == [f"{version} main restart" for version in clusters]


@pytest.mark.parametrize("page", ["README.md", "docs/first-hour.md", "docs/sql.md", "docs/psql.md", "docs/troubleshooting.md"])
def test_lines_fit_a_screen(page):
    """Rows of tables, and marks for what is made, cannot be broken."""
    long = [line[:60] for line in text_of(page).splitlines() if len(line) > 160 and not line.startswith(("|", "<!--"))]
    assert long == [], page
