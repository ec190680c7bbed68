"""The demo model written in every architecture (tests/tools/reexpress.py) answers through SQL what it answers as it is."""
import os
import sys

import pytest
from cluster import MODEL_FILE, Cluster, model_directory
from conftest import ready
from every_function import ANSWER, TEXTS, check_every_function, unload
from sessions import LONG, Background, wait_idle, wait_running

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import reexpress  # noqa: E402

DEFAULT_MODEL = MODEL_FILE
SAME_BITS = ("qwen", "qwen2vl")  # nothing is computed otherwise
# whose answers are clear: of two tokens that are nearly as likely rounding decides, and it is another one where anything is computed otherwise
QUESTIONS = ("What is the capital of France? Answer in one sentence.", "What is 2 plus 2?", "Name the capital of Italy.", "Say hello in Spanish.", "Count from one to five.")
ANSWERS = "SELECT q, qwen_chat(q, model => %s, temperature => 0, max_tokens => 12) FROM unnest(%s::text[]) q"
STORY = "SELECT qwen_generate('Once upon a time, in a small village, ', temperature => 0, max_tokens => 80, model => %s)"
MIXTURE = "qwen3moe"


@pytest.fixture(scope="module")
def talking():
    """A server of the demo model and, as "mixture", of the demo model as a mixture of experts. Heads that are written in other ways are rounded in other ways where keys
    and values have few bits, so that answers are the same with F16 alone."""
    mixture = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), MIXTURE)
    cluster = Cluster(settings={"qwen.models": f"chat={MODEL_FILE}, mixture={mixture}", "qwen.max_models": 4, "qwen.kv_cache_size": "128MB", "qwen.kv_cache_type": "f16"})
    try:
        yield ready(cluster)
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def answers(talking):
    return dict(talking.query(ANSWERS, ("chat", list(QUESTIONS))))


@pytest.fixture(scope="module", params=reexpress.ARCHITECTURES)
def loaded(request, talking):
    """(architecture, name of the model, its file): loaded, and unloaded when the tests of it are over."""
    file = "models/" + reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), request.param)
    if request.param == MIXTURE:
        yield request.param, "mixture", file
        return
    before = talking.value("SELECT weight_bytes FROM qwen_stat_engine")
    talking.query("SELECT qwen_load_model('same', %s)", (file,))
    yield request.param, "same", file
    unload(talking, "same", before)


def test_each_architecture_answers_as_the_demo_model(talking, answers, loaded):
    assert "Paris" in answers[QUESTIONS[0]]
    architecture, name, _ = loaded
    assert talking.value("SELECT architecture FROM qwen_models WHERE name = %s", (name,)) == architecture.split("+")[0]
    said = dict(talking.query(ANSWERS, (name, list(QUESTIONS))))
    # delta nets that matter say other things than the demo model does, and the same ones whatever goes on beside them
    if architecture.endswith("+states"):
        assert "Paris" in said[QUESTIONS[0]]
        assert {question: talking.query(ANSWERS, (name, [question]))[0][1] for question in QUESTIONS} == said
    else:
        assert said == answers
    if architecture in SAME_BITS:
        assert talking.value(STORY, (name,)) == talking.value(STORY, ("chat",))
    notices = talking.value("SELECT notices FROM qwen_models WHERE name = %s", (name,))
    assert ("tokenizer.ggml.pre is missing" in notices) if architecture == "qwen" else notices is None


def test_every_function_works_with_each_architecture(talking, loaded):
    """Also with an adapter of its matrices, experts and routers."""
    architecture, name, file = loaded
    alone = check_every_function(talking, name, file)
    if architecture in SAME_BITS:
        assert alone == [talking.value(ANSWER, (text, "chat")) for text in TEXTS]
    if name == "mixture":
        talking.query("SELECT qwen_unload_adapter('every', 'mixture')")


def test_rows_of_a_mixture_are_batched_and_are_as_alone(talking):
    rows = "SELECT i, qwen_generate('Thing number ' || i || ' is', model => 'mixture', temperature => 0, max_tokens => 12) FROM generate_series(1, 24) i"
    steps = talking.value("SELECT steps FROM qwen_stat_engine")
    together = dict(talking.query(rows))
    assert talking.value("SELECT steps FROM qwen_stat_engine") - steps < 24 * 12 // 2
    for i in (1, 13, 24):
        alone = talking.value(f"SELECT qwen_generate('Thing number {i} is', model => 'mixture', temperature => 0, max_tokens => 12)")
        assert alone == together[i]
    wait_idle(talking)


def test_embeddings_of_a_mixture_are_near_the_demo_model_s(talking):
    dot = """SELECT sum(a * b) FROM unnest(qwen_embed('A cat sat on a mat.', model => 'chat'), qwen_embed('A cat sat on a mat.', model => 'mixture')) v(a, b)"""
    assert 0.98 < talking.value(dot) < 1.001
    assert talking.value("SELECT array_length(qwen_embed('A cat', model => 'mixture'), 1)") == talking.value("SELECT array_length(qwen_embed('A cat', model => 'chat'), 1)")


def test_cancel_of_a_mixture_frees_its_place(talking):
    call = Background(talking, LONG.replace("4000", "1000, model => 'mixture'"))
    wait_running(talking, 1)
    talking.query("SELECT pg_cancel_backend(%s)", (call.pid,))
    assert getattr(call.join().error, "pgcode", None) == "57014"
    wait_idle(talking)


def test_what_a_qwen_1_cannot_read_is_refused_with_the_numbers(talking):
    file = reexpress.cached(model_directory(), os.path.join(model_directory(), MODEL_FILE), "qwen")
    talking.query("SELECT qwen_load_model('old', %s)", ("models/" + file,))
    with pytest.raises(Exception) as failure:
        talking.query("SELECT qwen_generate(repeat('one two three four ', 2500), model => 'old', max_tokens => 1)")
    assert failure.value.pgcode == "54000" and 'the context of model "old" holds 8192' in str(failure.value)
    talking.query("SELECT qwen_unload_model('old')")
