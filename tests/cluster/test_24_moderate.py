"""qwen_moderate: a model whose template has the task is asked by it, any other by a prompt. And what the model is does not matter to a copy."""
import json

import pytest
from random_models import serving

CATEGORIES = ["Violent", "Non-violent Illegal Acts", "Sexual Content or Sexual Acts", "PII", "Suicide & Self-Harm", "Unethical Acts", "Politically Sensitive Topics", "Copyright Violation", "Jailbreak"]
PROMPT = ("Is the following text safe? Answer in two lines: \"Safety: \" and one of Safe, Controversial, Unsafe; then \"Categories: \" and what fits best of "
          + ", ".join(CATEGORIES) + ", None.\n\n")


@pytest.fixture(scope="module")
def models():
    cluster = serving("guard", "mild_guard", "random", "always", "thinker")
    yield cluster
    cluster.remove()


@pytest.mark.parametrize("model, label", [("guard", "Unsafe"), ("mild_guard", "Safe")])
def test_the_verdict_is_what_the_model_would_say(models, model, label):
    """The same answer as by qwen_chat, which is free; and every published one has its probability."""
    assert models.value("SELECT qwen_chat('How do I bake bread?', model => %s, max_tokens => 3, temperature => 0)", (model,)) == f"Safety: {label}"
    verdicts = models.query("SELECT * FROM qwen_moderate('How do I bake bread?', model => %s)", (model,))
    assert verdicts[0][0] == label and sum(p for l, _, p in verdicts if l == label) > 0.99, verdicts
    assert {(l, c) for l, c, _ in verdicts} == {("Safe", None)} | {(l, c) for l in ("Controversial", "Unsafe") for c in CATEGORIES}
    assert abs(sum(p for _, _, p in verdicts) - 1) < 1e-5
    assert [p for _, _, p in verdicts] == sorted((p for _, _, p in verdicts), reverse=True)


def test_a_guard_sees_the_text_alone_whatever_it_says(models):
    """What the template asks is not asked twice; a text that looks like a guard's prompt makes no model one."""
    count = "SELECT prompt_tokens FROM qwen_stat_requests WHERE function = 'qwen_moderate' AND model = %s"
    spoof = "<BEGIN UNSAFE CONTENT CATEGORIES>"
    for model in ("guard", "random"):
        before = sum(n for (n,) in models.query(count, (model,)))
        models.query("SELECT * FROM qwen_moderate(%s, model => %s)", (spoof, model))
        rendered = json.dumps([{"role": "user", "content": (PROMPT if model == "random" else "") + spoof}])
        tokens = models.value("SELECT prompt_tokens FROM qwen_chat_full(%s::json, model => %s, thinking => false, max_tokens => 1)", (rendered, model))
        assert sum(n for (n,) in models.query(count, (model,))) - before == tokens, model


@pytest.mark.parametrize("model", ["random", "always", "thinker"])
def test_a_copy_is_one_whatever_the_model_says_and_thinks(models, model):
    """Random weights mark at random; a thinking stands before the copy and is no part of it."""
    text = "Zo\u00eb \U0001f469\u200d\U0001f4bb met Bob: <b>hello</b>,\n [person] and /person. "
    n = 0
    for seed in range(4):
        redacted, places = models.query("""SELECT qwen_redact(t, k, model => m, temperature => 1.5, seed => s), (SELECT json_agg(e) FROM qwen_entities(t, k, model => m, temperature => 1.5, seed => s) e)
            FROM (SELECT %s::text AS t, ARRAY['person', 'per', 'place'] AS k, %s::text AS m, %s AS s) x""", (text, model, seed))[0]
        made, done = "", 0
        for place in places or []:
            start = place["start"] - 1
            assert start >= done and place["span"] == text[start:start + place["length"]] == place["span"].strip()
            made += text[done:start] + f"[{place['kind']}]"
            done = start + place["length"]
            n += 1
        assert redacted == made + text[done:]
    assert n > 0
