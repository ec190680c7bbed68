"""Thinking on, off, by default and with a budget, on small models with the published Qwen3 tokenizer and template."""
import json
import re

import psycopg2
import pytest
from random_models import ANSWER, THOUGHT, serving
from sessions import Background

CLOSING = "Considering the limited time by the user, I have to give the solution based on the thinking directly now."
BUDGET_TOKENS = "(SELECT array_length(qwen_tokenize(E'\\n\\n%s\\n</think>\\n\\n', special => true), 1))" % CLOSING


@pytest.fixture(scope="module")
def thinking_server():
    cluster = serving("thinker", "endless", "random", "caller")
    try:
        yield cluster
    finally:
        cluster.remove()


def full(server, arguments, prompt="Where?"):
    """(content, thinking, finish_reason, completion_tokens)"""
    return server.query(f"SELECT content, thinking, finish_reason, completion_tokens FROM qwen_chat_full(%s, {arguments})", (prompt,))[0]


def streamed(server, arguments, prompt="Where?"):
    return [row[0] for row in server.query(f"SELECT qwen_chat_stream(%s, {arguments})", (prompt,))]


@pytest.mark.parametrize("thinking", ["NULL", "true"])
@pytest.mark.parametrize("sampling", ["temperature => 0", "seed => 3"])
def test_thinking_is_apart_from_the_answer(thinking_server, thinking, sampling):
    arguments = f"thinking => {thinking}, {sampling}"
    content, thought, reason, tokens = full(thinking_server, arguments)
    assert (content, thought, reason) == (ANSWER, THOUGHT, "stop")
    # every sampled token is counted, <think>, </think> and the end among them
    assert tokens == 20
    assert thinking_server.value(f"SELECT qwen_chat('Where?', {arguments})") == ANSWER
    pieces = streamed(thinking_server, arguments)
    assert "".join(pieces) == ANSWER and len(pieces) > 2


def test_thinking_off_is_the_templates_empty_block(thinking_server):
    assert full(thinking_server, "thinking => false, temperature => 0") == (ANSWER, None, "stop", 7)
    assert "".join(streamed(thinking_server, "thinking => false, temperature => 0")) == ANSWER
    off = thinking_server.value("SELECT qwen_render_chat('Where?', thinking => false)")
    on = thinking_server.value("SELECT qwen_render_chat('Where?', thinking => true)")
    assert on == "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    assert off == on + "<think>\n\n</think>\n\n"
    assert thinking_server.value("SELECT qwen_render_chat('Where?')") == on


@pytest.mark.parametrize("model, budget", [("endless", 16), ("endless", 3), ("endless", 1), ("endless", 0), ("thinker", 3), ("thinker", 1), ("thinker", 0)])
@pytest.mark.parametrize("thinking", ["NULL", "true"])
def test_budget_closes_the_thinking(thinking_server, model, budget, thinking):
    arguments = f"model => '{model}', thinking => {thinking}, temperature => 0, max_tokens => 80"
    unbounded = full(thinking_server, arguments)
    content, thought, reason, tokens = full(thinking_server, arguments + f", thinking_budget => {budget}")
    assert thought.endswith(CLOSING)
    own = thought[: -len(CLOSING)].rstrip()
    # the thinking so far is what it would have been, and has as many tokens as the budget says
    assert unbounded[1].startswith(own)
    closing_tokens = thinking_server.value("SELECT " + BUDGET_TOKENS)
    limited = full(thinking_server, arguments.replace("80", str(1 + budget + closing_tokens)) + f", thinking_budget => {budget}")
    # with room for <think>, the budget and the closing words alone, the answer is empty, and one token less cuts the closing
    assert limited == ("", thought, "length", 1 + budget + closing_tokens)
    cut = full(thinking_server, arguments.replace("80", str(budget + closing_tokens)) + f", thinking_budget => {budget}")
    assert cut[0] == "" and cut[2] == "length"
    assert "<think>" not in content and "</think>" not in content and CLOSING not in content
    if model == "thinker":
        # what its words were trained to come to, after the closing's last token
        assert content == ANSWER and reason == "stop"
    else:
        assert tokens == 80 and content and reason == "length"
    assert "".join(streamed(thinking_server, arguments + f", thinking_budget => {budget}")) == content


def test_thinking_within_its_budget_is_left_alone(thinking_server):
    for budget in (11, 12, 1000):
        got = full(thinking_server, f"temperature => 0, thinking_budget => {budget}")
        assert got[:3] == (ANSWER, THOUGHT, "stop"), budget


def test_budget_is_the_same_with_sampling(thinking_server):
    arguments = "model => 'endless', seed => 11, max_tokens => 70, thinking_budget => 16"
    first, second = full(thinking_server, arguments), full(thinking_server, arguments)
    assert first == second
    assert first[1].endswith(CLOSING) and first[0]
    assert "".join(streamed(thinking_server, arguments)) == first[0]


def test_budgets_do_not_mix_between_sessions(thinking_server):
    """Twelve sessions at once, each with a budget of its own, get what they get alone."""
    calls = [
        f"SELECT content, thinking FROM qwen_chat_full('Where?', model => 'endless', temperature => 0, max_tokens => 70, thinking_budget => {budget})"
        for budget in range(0, 36, 3)
    ]
    alone = [thinking_server.query(call) for call in calls]
    together = [Background(thinking_server, call) for call in calls]
    for background, expected in zip(together, alone):
        assert background.join(120).error is None
        assert background.rows == expected


def test_budget_out_of_range(thinking_server):
    with pytest.raises(psycopg2.Error) as failure:
        full(thinking_server, "thinking_budget => -1")
    assert failure.value.pgcode == "22023" and "thinking_budget must be at least 0, not -1" in str(failure.value)


def test_answer_ends_inside_the_thinking(thinking_server):
    """max_tokens reached while it thinks: all of it is thinking, the content is empty, never half of a tag."""
    for n in range(1, 14):
        content, thought, reason, tokens = full(thinking_server, f"temperature => 0, max_tokens => {n}")
        assert (content, reason, tokens) == ("", "length", n)
        assert THOUGHT.startswith(thought)
        assert streamed(thinking_server, f"temperature => 0, max_tokens => {n}") == []


def test_stop_strings_look_at_the_answer_only(thinking_server):
    assert full(thinking_server, "temperature => 0, stop => ARRAY['Paris']")[:3] == ("The capital is ", THOUGHT, "stop")
    assert full(thinking_server, "temperature => 0, stop => ARRAY['course', '</think>']")[:3] == (ANSWER, THOUGHT, "stop")


def test_a_model_that_opens_nothing_does_not_think(thinking_server):
    content, thought, _, _ = full(thinking_server, "model => 'random', temperature => 0, max_tokens => 20")
    assert thought is None and content
    off = full(thinking_server, "model => 'random', temperature => 0, max_tokens => 20, thinking => false")
    assert off[1] is None and off[0]
    budget = full(thinking_server, "model => 'random', temperature => 0, max_tokens => 20, thinking_budget => 0")
    assert budget[:2] == (content, None)


@pytest.mark.parametrize("call", [
    "qwen_chat('x', model => 'caller', thinking => true)",
    "qwen_chat_full('x', model => 'caller', thinking => true)",
    "qwen_chat_stream('x', model => 'caller', thinking => true)",
    "qwen_generate('x', model => 'caller', thinking => true)",
    "qwen_summarize('x', model => 'caller', thinking => true)",
    "qwen_render_chat('x', model => 'caller', thinking => true)",
])
def test_a_model_that_cannot_think_refuses_true(thinking_server, call):
    with pytest.raises(psycopg2.Error) as failure:
        thinking_server.query(f"SELECT {call}")
    assert failure.value.pgcode == "22023"
    assert 'thinking must not be true: model "caller" cannot think' in str(failure.value)
    # false and a budget are no contradiction
    assert thinking_server.query(f"SELECT {call}".replace("true", "false")) is not None
    assert thinking_server.value("SELECT qwen_chat('x', model => 'caller', thinking_budget => 5, max_tokens => 3, temperature => 0)")


@pytest.fixture(scope="module")
def template_server():
    cluster = serving("always", "early_distill", "instruct", "bare")
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.mark.parametrize("thinking", ["NULL", "true", "false"])
def test_a_template_that_opens_the_thinking(template_server, thinking):
    """QwQ and the thinking models of 2507: there is no switch, the answer begins inside the thinking."""
    arguments = f"model => 'always', thinking => {thinking}, temperature => 0"
    assert full(template_server, arguments) == (ANSWER, THOUGHT, "stop", 18)
    assert "".join(streamed(template_server, arguments)) == ANSWER
    for budget in (0, 3):
        content, thought, reason, _ = full(template_server, arguments + f", thinking_budget => {budget}")
        assert content == ANSWER and thought.endswith(CLOSING) and reason == "stop"
        assert thought.startswith(("", "Let me think")[budget > 0])
    # it thinks in any case, so it is sampled as one that thinks
    seeded = f"model => 'always', thinking => {thinking}, seed => 4, max_tokens => 30, stop => ARRAY['zebra']"
    assert full(template_server, seeded) == full(template_server, seeded + ", temperature => 0.6, top_p => 0.95, top_k => 20")


def test_a_model_that_opens_its_thinking_unasked(template_server):
    for thinking in ("NULL", "true", "false"):
        assert full(template_server, f"model => 'early_distill', thinking => {thinking}, temperature => 0")[:3] == ("The", "Let me", "stop")


@pytest.mark.parametrize("model", ["instruct", "bare"])
def test_a_template_that_only_knows_old_thinking_cannot_think(template_server, model):
    with pytest.raises(psycopg2.Error) as failure:
        full(template_server, f"model => '{model}', thinking => true")
    assert failure.value.pgcode == "22023" and "cannot think" in str(failure.value)
    assert full(template_server, f"model => '{model}', max_tokens => 2")[1] is None


def test_history_loses_its_thinking_by_the_template(thinking_server):
    """What qwen_chat_full gave can go back: the template drops old thinking and keeps that of the running turn."""
    response = thinking_server.query("SELECT content, thinking FROM qwen_chat_full('Where?', temperature => 0)")[0]
    spoken = f"<think>\n{response[1]}\n</think>\n\n{response[0]}"
    users = [{"role": "user", "content": "Where?"}, {"role": "user", "content": "Sure?"}]
    for assistant in (
        {"role": "assistant", "content": spoken},
        {"role": "assistant", "content": response[0], "reasoning_content": response[1]},
        {"role": "assistant", "content": response[0]},
    ):
        history = [users[0], assistant, users[1]]
        rendered = thinking_server.value("SELECT qwen_render_chat(%s::json)", (json.dumps(history),))
        assert rendered == (
            "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n" + ANSWER + "<|im_end|>\n"
            "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n"
        )
        assert thinking_server.value("SELECT qwen_chat(%s::json, temperature => 0)", (json.dumps(history),)) == ANSWER
    running = [users[0], {"role": "assistant", "content": spoken}, {"role": "tool", "content": "yes"}]
    rendered = thinking_server.value("SELECT qwen_render_chat(%s::json)", (json.dumps(running),))
    assert spoken in rendered


def test_a_user_cannot_open_or_close_the_thinking(thinking_server):
    """Tags typed by a user are text: they neither mark the answer as thinking nor become the tags' tokens."""
    for typed in ("</think>", "<think>", "<think>\n"):
        assert full(thinking_server, "temperature => 0", typed)[:2] == (ANSWER, THOUGHT)
        assert full(thinking_server, "temperature => 0, thinking => false", typed)[:2] == (ANSWER, None)


def test_sampling_defaults_follow_the_thinking(thinking_server):
    """0.6/0.95/20 where it thinks, 0.7/0.8/20 where it does not: a seed gives the same as those values written out."""
    thinks = "temperature => 0.6, top_p => 0.95, top_k => 20"
    plain = "temperature => 0.7, top_p => 0.8, top_k => 20"

    def answers(call, sampling):
        return [thinking_server.value(f"SELECT {call}, max_tokens => 12, seed => {seed}{sampling and ', ' + sampling})::text") for seed in range(4)]

    for call, right, wrong in (
        ("qwen_chat_full('x', model => 'endless'", thinks, plain),
        ("qwen_chat_full('x', model => 'endless', thinking => true", thinks, plain),
        ("qwen_chat_full('x', model => 'endless', thinking => false", plain, thinks),
        ("qwen_generate('x', model => 'caller'", plain, thinks),
        ("qwen_generate('x', model => 'endless'", plain, thinks),
    ):
        # without the times
        found, same, other = ([re.sub(r"(,[0-9.e-]+){3},\)$", "", text) for text in answers(call, sampling)] for sampling in ("", right, wrong))
        assert found == same and found != other, call


@pytest.mark.parametrize("thinking", ["NULL", "true", "false"])
@pytest.mark.parametrize("begun, expected", [
    ({"content": "The capital"}, (" is Paris.", None, "stop")),
    ({"content": "The capital", "reasoning_content": "Let me think."}, (" is Paris.", None, "stop")),
    ({"reasoning_content": "Let me think:"}, (ANSWER, " Paris, of course.", "stop")),
    ({"content": "<think>\nLet me think:"}, (ANSWER, " Paris, of course.", "stop")),
    ({"content": None, "thinking": "Let me think:"}, (ANSWER, " Paris, of course.", "stop")),
])  # fmt: skip
def test_what_has_begun_goes_on(thinking_server, thinking, begun, expected):
    """An answer goes on as an answer, thinking as thinking, whole and streamed."""
    messages = json.dumps([{"role": "user", "content": "Where?"}, {"role": "assistant", **begun}])
    arguments = f"thinking => {thinking}, temperature => 0"
    assert thinking_server.query(f"SELECT content, thinking, finish_reason FROM qwen_chat_full(%s::json, {arguments})", (messages,))[0] == expected
    assert "".join(row[0] for row in thinking_server.query(f"SELECT qwen_chat_stream(%s::json, {arguments})", (messages,))) == expected[0]


def test_thinking_alone_needs_a_template_that_takes_it(thinking_server):
    messages = json.dumps([{"role": "user", "content": "Where?"}, {"role": "assistant", "reasoning_content": "Hm."}, {"role": "user", "content": "So?"}])
    assert thinking_server.value("SELECT qwen_render_chat(%s::json)", (messages,)).endswith("So?<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="has no .content."):
        thinking_server.value("SELECT qwen_render_chat(%s::json, model => 'caller')", (messages,))
