"""Fixtures: one server that tests share as long as they leave it well, and a maker of servers of their own."""
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


@pytest.fixture(scope="session")
def server():
    cluster = cluster_module.Cluster()
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


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
