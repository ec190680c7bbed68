"""Fixtures: one server that tests share as long as they leave it well, and a maker of servers of their own.

What a file's tests made on the shared server goes before the next file's begin, so that names of tables and roles are the file's own.
"""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import cluster as cluster_module  # noqa: E402


def ready(cluster):
    """Start, make the extension, wait until the model answers."""
    cluster.start()
    cluster.query("CREATE EXTENSION qwen_pg")
    assert cluster.value("SELECT qwen_chat('Hi', temperature => 0, max_tokens => 1)") is not None
    return cluster


def let_others_in(tmp_path):
    """Let the server's user reach a test's folder: it and those of pytest above it, one more where that runs in several processes."""
    for folder in (tmp_path, *tmp_path.parents):
        if "pytest" in str(folder):
            os.chmod(folder, 0o755)


shared = {}  # by their model: the servers of `server`, from when they are ready

# each question gives statements that drop what is neither the server's nor an extension's, what holds others first (CASCADE may have been there before)
MADE_BY_TESTS = (
    "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', datname) FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')",
    "SELECT format('DROP EVENT TRIGGER IF EXISTS %I', evtname) FROM pg_event_trigger e WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = e.oid AND d.deptype = 'e')",
    "SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_extension WHERE extname NOT IN ('plpgsql', 'qwen_pg')",
    "SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_'",
    """SELECT format('DROP %s IF EXISTS %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
        WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, c.oid::regclass) FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'I', 't')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND (d.deptype = 'e' OR d.deptype IN ('i', 'a') AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid))
        AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_depend d ON d.objid = t.oid AND d.deptype = 'e' WHERE t.oid = c.reltype)""",
    """SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure) FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype IN ('e', 'i'))""",
    """SELECT format('DROP TYPE IF EXISTS %s CASCADE', t.oid::regtype) FROM pg_type t WHERE typnamespace = 'public'::regnamespace AND typrelid = 0
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype IN ('e', 'i'))""",
    "SELECT format('DROP OWNED BY %I CASCADE', rolname) FROM pg_roles WHERE oid >= 16384",
    "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE oid >= 16384",
)


def drop_what_tests_made(cluster):
    """Leave the extension alone in its database, and no role but the server's own."""
    connection = cluster.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '60s'; SET client_min_messages = error")
        for question in MADE_BY_TESTS:
            cursor.execute(question)
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)
        for question in MADE_BY_TESTS:
            cursor.execute(question)
            assert not (left := cursor.fetchall()), f"not dropped: {left}"
    finally:
        connection.close()


@pytest.fixture(scope="session")
def shared_servers():
    yield shared
    for cluster in shared.values():
        cluster.remove()
    shared.clear()


@pytest.fixture(scope="module", autouse=True)
def world_of_its_own(request, shared_servers):
    """The file's model, and none of the names that tests of the file before have left, which its fixtures hold no more.

    A file's DEFAULT_MODEL is the demo model where it looks at that one's words or size; others have plain_model.
    """
    cluster_module.default_model = getattr(request.module, "DEFAULT_MODEL", None) or cluster_module.plain_model()
    for cluster in shared.values():
        drop_what_tests_made(cluster)


@pytest.fixture(scope="module")
def server(world_of_its_own):
    """The server that tests share."""
    model = cluster_module.default_model
    if model not in shared:
        cluster = cluster_module.Cluster()
        try:
            shared[model] = ready(cluster)
        except BaseException:
            cluster.remove()
            raise
    return shared[model]


@pytest.fixture
def make_server():
    made = []

    def make(settings=None, prepared=True, preload=True, may_raise_priorities=False):
        cluster = cluster_module.Cluster(settings=settings, preload=preload)
        cluster.may_raise_priorities = may_raise_priorities
        made.append(cluster)
        return ready(cluster) if prepared else cluster.start()

    yield make
    for cluster in made:
        cluster.remove()
