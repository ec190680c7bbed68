"""qwen_classify over labels that begin each other, and over very many."""
import string
import time

import psycopg2
import pytest
from random_models import serving


@pytest.fixture(scope="module")
def other_end():
    cluster = serving("other_end")
    yield cluster
    cluster.remove()


def test_every_token_that_ends_an_answer_counts(other_end):
    """The file's end of text is another token than the one that ends a turn, which is what the model says after '1'."""
    for letter in string.ascii_lowercase:
        assert other_end.value("SELECT qwen_classify('Which one?', ARRAY[%s, '1'])", ("1" + letter,)) == "1"
        scores = dict(other_end.query("SELECT * FROM qwen_classify_scores('Which one?', ARRAY['1', %s])", ("1" + letter,)))
        assert scores["1"] > 0.99 and sum(scores.values()) == pytest.approx(1)


MANY = "ARRAY(SELECT repeat('l', 40) || i FROM generate_series(1, {}) i)"


@pytest.mark.parametrize("function", ["qwen_classify", "qwen_classify_scores"])
def test_labels_are_compared_in_n_log_n(server, function):
    """The label that repeats another one is found and named, in hardly more time than it takes to make the labels."""
    start = time.monotonic()
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=r"labels\[60001\] must not be the same as labels\[30000\]"):
        server.query(f"SELECT {function}('x', {MANY.format(60000)} || (repeat('l', 40) || 30000) || 'y'::text || 'y'::text)")
    assert time.monotonic() - start < 3


def test_many_labels_can_be_cancelled(server):
    start = time.monotonic()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        server.query(f"SET statement_timeout = 300; SELECT count(qwen_classify('x', {MANY.format(400000)})) FROM generate_series(1, 50)")
    assert time.monotonic() - start < 3
    assert server.value("SELECT qwen_classify('x', ARRAY['a', 'b'])") in ("a", "b")
