"""With pgvector: embeddings as vectors, an HNSW index, nearest neighbours, and triggers and jobs that fill vector columns. `make check-matrix` has it."""
import os

import psycopg2
import pytest
from cluster import Cluster, wait_until
from conftest import ready

TOPICS = ("a storm over the harbour", "the price of bread", "a match of chess", "an old stone bridge", "the orchestra plays Bach", "snow in the mountains")


@pytest.fixture(scope="module")
def vectors():
    cluster = Cluster()
    try:
        ready(cluster)
        if cluster.query("SELECT 1 FROM pg_available_extension_versions WHERE name = 'vector' AND version >= '0.5'") == []:
            assert os.environ.get("QWEN_TEST_VECTOR") != "required", "pgvector 0.5 or later is not installed"
            pytest.skip("pgvector 0.5 or later (the first with HNSW) is not installed")
        cluster.query("CREATE EXTENSION vector")
        cluster.query("CREATE TABLE notes (id int PRIMARY KEY, body text, v vector(576))")
        for i in range(120):
            cluster.query("INSERT INTO notes VALUES (%s, %s, qwen_embed(%s)::vector)", (i, f"{TOPICS[i % 6]}, number {i}", f"{TOPICS[i % 6]}, number {i}"))
        yield cluster
    finally:
        cluster.remove()


def test_an_embedding_is_a_vector(vectors):
    assert vectors.query("SELECT vector_dims(v), round(vector_norm(v)::numeric, 3) FROM (SELECT qwen_embed('some text')::vector AS v) s") == [(576, 1)]
    assert vectors.value("SELECT 1 - (qwen_embed('a')::vector <=> qwen_embed('b')::vector) - qwen_similarity('a', 'b')") == pytest.approx(0, abs=1e-5)
    with pytest.raises(psycopg2.Error) as failure:
        vectors.query("INSERT INTO notes (id, v) VALUES (-1, qwen_embed('x', dimensions => 64))")
    assert failure.value.pgcode == "22000" and "576" in str(failure.value)


def test_nearest_neighbours_by_an_index(vectors):
    """The index gives what a scan gives; with a sub-select the model is asked once a query."""
    nearest = "SELECT id FROM notes ORDER BY v <=> (SELECT qwen_embed('the price of bread, number 7')::vector) LIMIT 5"
    exact = vectors.query("SET enable_indexscan = off; " + nearest)
    assert exact[0] == (7,)
    vectors.query("CREATE INDEX nearest ON notes USING hnsw (v vector_cosine_ops); ANALYZE notes")
    plan = str(vectors.query("SET enable_seqscan = off; EXPLAIN " + nearest))
    assert "Index Scan using nearest" in plan, plan
    vectors.query("SELECT qwen_stat_reset()")
    assert vectors.query("SET enable_seqscan = off; SET hnsw.ef_search = 200; " + nearest) == exact
    assert vectors.query("SELECT function, calls FROM qwen_stat_requests") == [("qwen_embed", 1)]
    assert vectors.query("SET enable_seqscan = off; SET hnsw.ef_search = 200; " + nearest.replace("(SELECT ", "").replace("vector) LIMIT", "vector LIMIT")) == exact
    # a join: neighbours of each of some rows, by the vectors that are there
    pairs = vectors.query("SELECT n.id, m.id FROM notes n CROSS JOIN LATERAL (SELECT id FROM notes o WHERE o.id <> n.id ORDER BY o.v <=> n.v LIMIT 1) m WHERE n.id < 12")
    assert sum(a % 6 == b % 6 for a, b in pairs) >= 9


def test_triggers_and_jobs_fill_vectors(vectors):
    vectors.query("CREATE TABLE news (id int PRIMARY KEY, body text, at_once vector(576), queued vector(576), by_job vector)")
    vectors.query("CREATE TRIGGER at_once BEFORE INSERT OR UPDATE OF body ON news FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'at_once')")
    vectors.query("CREATE TRIGGER queued AFTER INSERT OR UPDATE OF body ON news FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_embed_trigger('queued', '{body}')")
    vectors.query("CREATE INDEX ON news USING hnsw (queued vector_l2_ops)")
    vectors.query("INSERT INTO news SELECT g, 'news number ' || g FROM generate_series(1, 10) g")
    assert vectors.query("SELECT count(at_once) FROM news") == [(10,)]
    wait_until(lambda: vectors.query("SELECT count(queued) FROM news") == [(10,)], 30, "the queued vectors")
    job = vectors.value("SELECT qwen_submit('news', '{body}', 'news', 'by_job', function => 'embed')")
    assert vectors.value("SELECT qwen_wait(%s, '30 s')", (job,)) == "done"
    # all the same, to what a text form of a number keeps
    assert vectors.value("SELECT max(greatest(at_once <-> queued, at_once <-> by_job, at_once <-> qwen_embed(body)::vector)) FROM news") < 1e-5
    assert vectors.query("SELECT id FROM news ORDER BY queued <-> qwen_embed('news number 4')::vector LIMIT 1") == [(4,)]
