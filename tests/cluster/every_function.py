"""What every model must do through SQL, whatever its architecture and the types of its tensors: each kind of function, alone and in company; job, triggers, adapter, statistics, unloading."""
import os
import sys

import numpy as np
from cluster import model_directory, wait_until
from sessions import wait_idle

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import demo_adapters  # noqa: E402
import demo_model  # noqa: E402

HEAD_BYTES = 16 << 20  # of a model's file: names and shapes stand there
TEXTS = ("The capital of France is", "Water boils at")
LABELS = "{positive,negative,neutral}"
ANSWER = "SELECT qwen_generate(%s, model => %s, temperature => 0, max_tokens => 4)"
CHAT = "SELECT qwen_chat('Name a color of the sky.', model => %s, temperature => 0, max_tokens => 4, adapter => %s, options => %s)"
FUNCTIONS = {
    "qwen_chat", "qwen_chat_stream", "qwen_generate", "qwen_embed", "qwen_similarity", "qwen_rerank_score", "qwen_classify", "qwen_classify_scores", "qwen_logprobs",
    "qwen_submit", "qwen_enqueue_trigger",
}  # fmt: skip


def adapter_for(file, rank=2):
    """The file of an adapter of the first layers' matrices, experts and routers of a model below the folder of models; made anew."""
    with open(os.path.join(model_directory(), file), "rb") as model:
        values, tensors = demo_model.read_gguf(model.read(HEAD_BYTES))
    architecture = values["general.architecture"][1][8:].decode()
    numbers, pairs = np.random.default_rng(1), []
    for name, dims, _, _ in tensors:
        if name.startswith(("blk.0.", "blk.1.")) and name.endswith(".weight") and len(dims) > 1 and "conv1d" not in name:
            more = dims[2:]
            pairs += demo_adapters.pair(name, numbers.normal(size=(*more, rank, dims[0])) / dims[0] ** 0.5, numbers.normal(size=(*more, dims[1], rank)) * 0.3)
    path = os.path.join(model_directory(), "models", f"every-{os.getpid()}.gguf")
    demo_model.write_gguf(path, demo_adapters.keys(architecture, 2.0 * rank), pairs)
    os.chmod(path, 0o644)
    return path


def check_generation(server, name):
    alone = [server.value(ANSWER, (text, name)) for text in TEXTS]
    rows = server.query("SELECT qwen_generate(t, model => %s, temperature => 0, max_tokens => 4) FROM unnest(%s) WITH ORDINALITY u (t, i) ORDER BY i", (name, list(TEXTS) * 2))
    assert rows == [(text,) for text in alone * 2] and all(alone)
    chatted = [server.value("SELECT qwen_chat(%s, model => %s, temperature => 0, max_tokens => 4)", (text, name)) for text in TEXTS]
    together = server.query("SELECT response, error FROM qwen_generate_batch(%s, model => %s, temperature => 0, max_tokens => 4) ORDER BY ordinality", (list(TEXTS), name))
    assert together == [(text, None) for text in chatted] and all(chatted)
    streamed = server.query("SELECT piece FROM qwen_chat_stream('Name a color of the sky.', model => %s, temperature => 0, max_tokens => 4) piece", (name,))
    assert "".join(piece for piece, in streamed) == server.value(CHAT, (name, None, None)) != "" and len(streamed) > 1
    return alone


def check_reading(server, name):
    """What reads and does not write."""
    vectors = [np.array(server.value("SELECT qwen_embed(%s, model => %s)", (text, name))) for text in TEXTS]
    assert all(abs((vector**2).sum() - 1) < 1e-4 for vector in vectors)
    together = server.query("SELECT embedding FROM qwen_embed_batch(%s, model => %s) ORDER BY ordinality", (list(TEXTS), name))
    assert all((np.array(one) == other).all() for (one,), other in zip(together, vectors))
    assert abs(server.value("SELECT qwen_similarity(%s, %s, model => %s)", (*TEXTS[:2], name)) - vectors[0] @ vectors[1]) < 1e-4
    ranked = "SELECT score FROM qwen_rerank('boiling water', %s, model => %s) ORDER BY ordinality"
    assert [score for score, in server.query(ranked, (list(TEXTS), name))] == [server.value("SELECT qwen_rerank_score('boiling water', %s, model => %s)", (text, name)) for text in TEXTS]
    scores = server.query("SELECT label, probability FROM qwen_classify_scores('I love it.', %s, model => %s)", (LABELS, name))
    assert abs(sum(probability for _, probability in scores) - 1) < 1e-5
    assert server.value("SELECT qwen_classify('I love it.', %s, model => %s)", (LABELS, name)) == max(scores, key=lambda score: score[1])[0]
    assert server.value("SELECT sum(logprob) < 0 FROM qwen_logprobs(%s, model => %s)", (TEXTS[0], name))


def check_background(server, name):
    """A job and both kinds of triggers."""
    server.query("DROP TABLE IF EXISTS every; CREATE TABLE every (id int PRIMARY KEY, body text, said text, vector real[])")
    server.query("INSERT INTO every (id, body) SELECT i, t FROM unnest(%s) WITH ORDINALITY u (t, i)", (list(TEXTS),))
    server.query("CREATE TRIGGER v BEFORE INSERT ON every FOR EACH ROW EXECUTE FUNCTION qwen_embed_trigger('body', 'vector', 'model=%s')" % name)
    server.query("CREATE TRIGGER q AFTER INSERT ON every FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('said', '{body}', 'model=%s', 'temperature=0', 'max_tokens=4')" % name)
    job = server.value("SELECT qwen_submit('every', '{body}', 'every', 'said', model => %s, temperature => 0, max_tokens => 4)", (name,))
    server.query("INSERT INTO every (id, body) SELECT 10 + i, t FROM unnest(%s) WITH ORDINALITY u (t, i)", (list(TEXTS),))
    assert server.value("SELECT qwen_wait(%s, '60 s')", (job,)) == "done"
    wait_until(lambda: server.value("SELECT count(*) FROM every WHERE said IS NULL") == 0, 60, "rows of the trigger")
    right = "SELECT qwen_chat(body, model => %s, temperature => 0, max_tokens => 4) = said AND (id < 10 OR vector = qwen_embed(body, model => %s)) FROM every"
    assert server.query(right, (name, name)) == [(True,)] * 2 * len(TEXTS)
    server.query("DROP TABLE every")


def check_adapter(server, name, file):
    path = adapter_for(file)
    try:
        server.query("SELECT qwen_load_adapter('every', %s, %s)", ("models/" + os.path.basename(path), name))
    finally:
        os.unlink(path)
    plain = server.value(CHAT, (name, None, None))
    assert server.value(CHAT, (name, "every", '{"adapter_scale": 0}')) == plain
    embed = "SELECT qwen_embed('a', model => %s, options => %s)"
    assert server.value(embed, (name, None)) != server.value(embed, (name, '{"adapter": "every"}'))
    assert server.value(CHAT, (name, "every", None)) is not None and server.value(CHAT, (name, None, None)) == plain


def check_every_function(server, name, file):
    """file: of the model, below the folder of models. What it answers to TEXTS."""
    server.query("SELECT qwen_stat_reset()")
    checked = dict(row[:2] for row in server.query("SELECT item, value FROM qwen_check_model(%s)", (file,)))
    items = ("architecture", "quantization", "shared_memory_bytes", "kv_bytes_per_token", "context_length")
    assert checked["loads"] == "true"
    assert [str(value) for value in server.query("SELECT %s FROM qwen_models WHERE name = '%s'" % (", ".join(items), name))[0]] == [checked[item] for item in items]
    alone = check_generation(server, name)
    check_reading(server, name)
    check_background(server, name)
    check_adapter(server, name, file)
    wait_idle(server)
    called = dict(server.query("SELECT function, sum(errors) FROM qwen_stat_requests WHERE model = %s GROUP BY function", (name,)))
    assert FUNCTIONS <= set(called) and set(called.values()) == {0}, called
    assert dict(server.query("SELECT function, calls FROM qwen_stat_requests WHERE model = %s", (f"{name}+every",))) == {"qwen_chat": 2, "qwen_embed": 1}
    return alone


def unload(server, name, before):
    """before: weight_bytes of the engine without it."""
    server.query("SELECT qwen_unload_model(%s)", (name,))
    assert server.query("SELECT name FROM qwen_models WHERE name = %s UNION ALL SELECT name FROM qwen_adapters WHERE model = %s", (name, name)) == []
    assert server.value("SELECT weight_bytes FROM qwen_stat_engine") == before
    wait_idle(server)
