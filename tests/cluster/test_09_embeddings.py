"""Embeddings: against llama.cpp's (tests/golden/embeddings), pooling, instruction, dimensions, the default model, pgvector."""
import math
import os
import sys

import psycopg2
import pytest
import random_models

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "embeddings"))
import cases  # noqa: E402

random_models.MODELS.update(cases.MODELS)
HIDDEN = 64


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.fixture(scope="module")
def embedding_server():
    cluster = random_models.serving("thinker", *cases.MODELS, settings={"qwen.kv_cache_type": "f32", "qwen.default_embedding_model": "embed_last"})
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.mark.parametrize("model", cases.MODELS)
def test_embeddings_are_those_of_llama_cpp(embedding_server, model):
    golden = cases.load()[model]
    assert len(golden) == len(cases.TEXTS)
    for (text, with_instruction), expected in zip(cases.TEXTS, golden):
        instruction = cases.INSTRUCTION if with_instruction else None
        found = embedding_server.value("SELECT qwen_embed(%s, model => %s, instruction => %s)", (text, model, instruction))
        assert len(found) == len(expected) == HIDDEN
        kind = cases.MODELS[model]["kind"]
        assert cosine(found, expected) >= cases.LEAST_COSINE[kind], text
        assert kind != "f32" or max(abs(x - y) for x, y in zip(found, expected)) < 1e-4, text
        assert abs(math.sqrt(sum(x * x for x in found)) - 1) < 1e-6


def test_the_end_is_appended_where_the_file_forgot_it(embedding_server):
    """Old and new files of Qwen3-Embedding, whose weights are the same, give the same."""
    now, early = (embedding_server.value("SELECT qwen_embed('Hello', model => %s)", (model,)) for model in ("embed_last", "embed_last_early"))
    assert now == early
    # the end is one token more than the text has, also of the shortest text
    assert embedding_server.value("SELECT qwen_count_tokens('a', model => 'embed_last')") == 1
    assert {model: prompt_tokens(embedding_server, "a", model) for model in ("embed_last", "embed_last_early", "embed_mean")} == {"embed_last": 2, "embed_last_early": 2, "embed_mean": 1}
    # a text of nothing has no embedding, with an end or without
    assert [embedding_server.value("SELECT qwen_embed('', model => %s)", (model,)) for model in ("embed_last", "embed_mean")] == [None, None]


def prompt_tokens(server, text, model):
    """What one embedding of a text has cost."""
    counted = "SELECT coalesce(sum(prompt_tokens), 0) FROM qwen_stat_requests WHERE model = %s AND function = 'qwen_embed'"
    before = server.value(counted, (model,))
    assert abs(sum(x * x for x in server.value("SELECT qwen_embed(%s, model => %s)", (text, model))) - 1) < 1e-6
    return int(server.value(counted, (model,)) - before)


def test_special_tokens_typed_by_a_user_are_text(embedding_server):
    typed, plain = (embedding_server.value("SELECT qwen_embed(%s, model => 'embed_last')", (text,)) for text in ("Hello<|endoftext|>", "Hello"))
    assert cosine(typed, plain) < 0.999


def test_instruction_is_qwens_form(embedding_server):
    sql = "SELECT qwen_embed(%s, model => %s, instruction => %s)"
    for model in cases.MODELS:
        assert embedding_server.value(sql, ("Where?", model, "Find it")) == embedding_server.value(sql, ("Instruct: Find it\nQuery:Where?", model, None))


@pytest.mark.parametrize("dimensions", [1, 7, 32, 64])
def test_dimensions_are_cut_and_made_unit_length(embedding_server, dimensions):
    whole = embedding_server.value("SELECT qwen_embed('Hello')")
    cut = embedding_server.value("SELECT qwen_embed('Hello', dimensions => %s)", (dimensions,))
    length = math.sqrt(sum(x * x for x in whole[:dimensions]))
    assert len(cut) == dimensions
    assert all(abs(x / length - y) < 1e-6 for x, y in zip(whole, cut))


@pytest.mark.parametrize("dimensions, words", [(0, "dimensions must be at least 1, not 0"), (-3, "not -3"), (65, "dimensions must be between 1 and 64, not 65")])
def test_dimensions_out_of_range(embedding_server, dimensions, words):
    with pytest.raises(psycopg2.Error) as failure:
        embedding_server.value("SELECT qwen_embed('Hello', dimensions => %s)", (dimensions,))
    assert failure.value.pgcode == "22023" and words in str(failure.value)


def test_the_default_embedding_model(embedding_server):
    def embed(setting, model=None):
        connection = embedding_server.connect()
        try:
            cursor = connection.cursor()
            if setting is not None:
                cursor.execute("SELECT set_config('qwen.default_embedding_model', %s, false)", (setting,))
            cursor.execute("SELECT qwen_embed('Hello', model => %s)", (model,))
            return cursor.fetchone()[0]
        finally:
            connection.close()

    by_name = {model: embed(None, model) for model in ("thinker", *cases.MODELS)}
    assert by_name["embed_last"] not in (by_name["thinker"], by_name["embed_mean"], by_name["embed_cls"])
    assert embed(None) == by_name["embed_last"]
    assert embed("embed_cls") == by_name["embed_cls"]
    # nothing set: the default model
    assert embed("") == by_name["thinker"]
    assert embed("embed_cls", "embed_mean") == by_name["embed_mean"]
    with pytest.raises(psycopg2.Error) as failure:
        embed("nobody")
    assert failure.value.pgcode == "42704" and "nobody" in str(failure.value)
    assert embedding_server.value("SELECT qwen_similarity('Hello', 'Hello')") == pytest.approx(1, abs=1e-6)
    found = embedding_server.value("SELECT qwen_similarity('Hello', 'What is it?')")
    vectors = [embedding_server.value("SELECT qwen_embed(%s)", (text,)) for text in ("Hello", "What is it?")]
    assert found == pytest.approx(cosine(*vectors), abs=1e-6)


def test_an_embedding_goes_into_pgvector(embedding_server):
    """pgvector has an assignment cast from real[] that wants one dimension without NULLs; where pgvector is there, it is used."""
    shape = embedding_server.query(
        "SELECT pg_typeof(e)::text, array_ndims(e), array_lower(e, 1), array_upper(e, 1), array_position(e, NULL) FROM qwen_embed('Hello') AS e"
    )[0]
    assert shape == ("real[]", 1, 1, HIDDEN, None)
    if embedding_server.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"):
        embedding_server.query("CREATE EXTENSION vector")
        embedding_server.query("CREATE TABLE searched (id int, v vector(64))")
        embedding_server.query("INSERT INTO searched VALUES (1, qwen_embed('Hello')), (2, qwen_embed('What is it?'))")
        assert embedding_server.value("SELECT id FROM searched ORDER BY v <=> qwen_embed('Hello')::vector LIMIT 1") == 1
