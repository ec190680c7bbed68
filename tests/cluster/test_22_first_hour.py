"""docs/first-hour.md is pasted, block after block, and prints what it says."""
import os

import pytest

import first_hour
from cluster import Cluster

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


def test_a_page_that_says_something_else_is_noticed():
    assert first_hour.is_as_expected(" n\n---\n \u2026\n(1 row)\n", " n\n---\n 12\n(1 row)")
    assert not first_hour.is_as_expected(" n\n---\n 1\n(1 row)\n", " n\n---\n 2\n(1 row)")
    assert not first_hour.is_as_expected(" n\n", " n\nERROR:  x")
