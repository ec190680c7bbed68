"""Tools: what reaches the prompt, what comes back, and the way back into a conversation; published Qwen2.5 and Qwen3 templates."""
import json

import psycopg2
import pytest
from random_models import ANSWER, CALL, CALL_WORDS, serving

# keys in no order that a sort or jsonb would give, numbers and characters that JSON writers treat differently
TOOLS = (
    '[{"type": "function", "function": {"name": "get_weather", "description": "Wie ist das Wetter? 天気 \\u00e9 <b>&\\"\\\\/\\/\\n",'
    ' "parameters": {"type":"object","required":["city"],"properties":{"unit":{"enum":["°C","°F"],"type":"string"},'
    '"city":{"type":"string","description":"where"},"days":{"default":1.0,"maximum":1e16,"minimum":-0.5,"a":1e-7,"n":100000000000000000}}}}},\n'
    '   {"name": "bare", "x": null, "a": [true, false, []], "": {}}]'
)
TOOL_LINES = (
    '{"type": "function", "function": {"name": "get_weather", "description": "Wie ist das Wetter? 天気 é <b>&\\"\\\\//\\n", '
    '"parameters": {"type": "object", "required": ["city"], "properties": {"unit": {"enum": ["°C", "°F"], "type": "string"}, '
    '"city": {"type": "string", "description": "where"}, "days": {"default": 1.0, "maximum": 1e+16, "minimum": -0.5, "a": 1e-07, "n": 100000000000000000}}}}}\n'
    '{"name": "bare", "x": null, "a": [true, false, []], "": {}}'
)
TOOLS_HEAD = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
TOOLS_FOOT = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
    '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
)
SYSTEM = {
    "caller": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n\n",
    "thinking_caller": "",
}
ONE_TOOL = (
    '[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}}}]'
)
# one whose schema cannot be kept
UNKEPT_TOOL = ONE_TOOL.replace('"enum": ["Paris"]', '"$ref": "http://example.com/city"')


@pytest.fixture(scope="module")
def tool_server():
    cluster = serving("caller", "thinking_caller", "thinker", "control_caller")
    try:
        yield cluster
    finally:
        cluster.remove()


def render(server, model, messages, tools=None, kind="json"):
    return server.value(f"SELECT qwen_render_chat(%s::{kind}, %s::{kind}, model => %s)", (json.dumps(messages), tools, model))


@pytest.mark.parametrize("model", SYSTEM)
def test_tools_reach_the_prompt_as_the_template_writes_them(tool_server, model):
    question = "<|im_start|>user\nWarm?<|im_end|>\n<|im_start|>assistant\n"
    expected = "<|im_start|>system\n" + SYSTEM[model] + TOOLS_HEAD + TOOL_LINES + TOOLS_FOOT + question
    assert render(tool_server, model, [{"role": "user", "content": "Warm?"}], TOOLS) == expected
    with_system = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Warm?"}]
    expected = "<|im_start|>system\nBe brief.\n\n" + TOOLS_HEAD + TOOL_LINES + TOOLS_FOOT + question
    assert render(tool_server, model, with_system, TOOLS) == expected
    # an empty array is no tools
    assert TOOLS_HEAD not in render(tool_server, model, with_system, "[]")


def test_jsonb_reorders_the_keys(tool_server):
    """Why the manual says to use json: jsonb has forgotten the order."""
    text = render(tool_server, "caller", [{"role": "user", "content": "x"}], TOOLS, "jsonb")
    assert TOOL_LINES not in text and '{"a": 1' in text.replace("1E-7", "1e-07")


def test_the_prompt_is_counted_as_rendered(tool_server):
    messages = json.dumps([{"role": "user", "content": "Warm?"}])
    counted = tool_server.value(
        "SELECT (qwen_chat_full(%s::json, %s::json, max_tokens => 1, temperature => 0)).prompt_tokens", (messages, TOOLS)
    )
    assert counted == tool_server.value("SELECT array_length(qwen_tokenize(qwen_render_chat(%s::json, %s::json), special => true), 1)", (messages, TOOLS))


@pytest.mark.parametrize("model, thinking", [("caller", None), ("thinking_caller", CALL_WORDS), ("control_caller", CALL_WORDS)])
def test_calls_come_back_as_jsonb(tool_server, model, thinking):
    messages = '[{"role": "user", "content": "Is it warm in Paris?"}]'
    columns = "content, thinking, tool_calls, finish_reason, pg_typeof(tool_calls)::text"
    row = tool_server.query(f"SELECT {columns} FROM qwen_chat_full(%s::json, %s::json, model => %s, temperature => 0)", (messages, ONE_TOOL, model))[0]
    assert row == ("" if thinking else CALL_WORDS, thinking, [CALL], "tool_calls", "jsonb")
    # the text alone, and in pieces: without the call
    assert tool_server.value("SELECT qwen_chat(%s::json, %s::json, model => %s, temperature => 0)", (messages, ONE_TOOL, model)) == row[0]
    pieces = tool_server.query("SELECT qwen_chat_stream(%s::json, %s::json, model => %s, temperature => 0)", (messages, ONE_TOOL, model))
    assert "".join(piece[0] for piece in pieces) == row[0]


def test_without_tools_the_text_stays_as_it_is(tool_server):
    content, calls, reason = tool_server.query("SELECT content, tool_calls, finish_reason FROM qwen_chat_full('x', temperature => 0)")[0]
    assert calls is None and reason == "stop"
    assert content == CALL_WORDS + '\n\n<tool_call>{"name":"get_weather","arguments":{"city":"Paris"}}</tool_call>'


def test_tools_without_a_call(tool_server):
    content, calls, reason = tool_server.query(
        """SELECT content, tool_calls, finish_reason FROM qwen_chat_full('[{"role": "user", "content": "x"}]'::json, %s::json,
        model => 'thinker', temperature => 0)""", (ONE_TOOL,))[0]  # fmt: skip
    assert (content, calls, reason) == (ANSWER, None, "stop")


CUT = "SELECT content, tool_calls, finish_reason FROM qwen_chat_full('[{\"role\": \"user\", \"content\": \"x\"}]'::json, %s::json, temperature => 0, max_tokens => %s)"


def test_a_call_for_which_there_is_no_room_does_not_begin(tool_server):
    for n in (7, 12, 18):
        assert tool_server.query(CUT, (ONE_TOOL, n))[0] == (CALL_WORDS + "\n\n", None, "length")


def test_a_schema_that_cannot_be_kept_leaves_the_arguments_to_the_model(tool_server):
    ((_, calls, _),) = tool_server.query(CUT, (UNKEPT_TOOL, 60))
    assert [call["function"]["name"] for call in calls] == ["get_weather"] and set(calls[0]["function"]["arguments"]) <= {"city"}


CALL_TEXT = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.mark.parametrize("model", SYSTEM)
@pytest.mark.parametrize("words", [CALL_WORDS, "", None])
@pytest.mark.parametrize("form", ["as given", "bare", "arguments as text"])
def test_calls_and_results_go_back_into_a_conversation(tool_server, model, words, form):
    call = {"as given": CALL, "bare": CALL["function"], "arguments as text": {"id": "1", "type": "function", "function": {
        "name": "get_weather", "arguments": json.dumps(CALL["function"]["arguments"])}}}[form]  # fmt: skip
    messages = [
        {"role": "user", "content": "Is it warm in Paris?"},
        {"role": "assistant", "content": words, "tool_calls": [call, call]},
        {"role": "tool", "content": "21 °C"},
        {"role": "tool", "content": '{"sky": "<clear>"}'},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And in Rome?"},
    ]
    calls = f"{words}\n{CALL_TEXT}\n{CALL_TEXT}" if words else f"{CALL_TEXT}\n{CALL_TEXT}"
    expected = (
        "<|im_start|>user\nIs it warm in Paris?<|im_end|>\n"
        f"<|im_start|>assistant\n{calls}<|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n21 °C\n</tool_response>\n<tool_response>\n{"sky": "<clear>"}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nAnd in Rome?<|im_end|>\n<|im_start|>assistant\n"
    )
    rendered = render(tool_server, model, messages)
    if SYSTEM[model]:
        rendered = rendered.replace("<|im_start|>system\n" + SYSTEM[model].strip() + "<|im_end|>\n", "")
    assert rendered == expected


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_numbers_of_any_length_reach_the_prompt(tool_server, kind):
    number = "123456789012345678901234567890.5"
    tools = f'[{{"name": "f", "maximum": {number}}}]'
    call = {"name": "f", "arguments": f'{{"n": {number}}}'}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "1"}]
    text = render(tool_server, "caller", messages, tools, kind)
    assert f'"maximum": {number}}}' in text and f'"arguments": {{"n": {number}}}' in text


ASSISTANT = "<|im_start|>assistant\n"


@pytest.mark.parametrize("kind", ["json", "jsonb"])
@pytest.mark.parametrize("model, thoughts", [("caller", ""), ("thinking_caller", "<think>\n\n</think>\n\n")])
def test_a_last_message_of_the_assistant_is_gone_on_with(tool_server, kind, model, thoughts):
    """The prompt ends with it; what comes back is what follows."""
    begun = [{"role": "user", "content": "Is it warm?"}, {"role": "assistant", "content": "\nI will"}]
    assert render(tool_server, model, begun, kind=kind).endswith(f"<|im_end|>\n{ASSISTANT}{thoughts}\nI will")
    if model == "caller":
        answer = tool_server.value(f"SELECT qwen_chat(%s::{kind}, model => %s, temperature => 0, max_tokens => 2)", (json.dumps(begun), model))
        assert answer == " look."
    row = tool_server.query(
        f"SELECT thinking, prompt_tokens = array_length(qwen_tokenize(qwen_render_chat(%s::{kind}, model => %s), special => true, model => %s), 1) "
        f"FROM qwen_chat_full(%s::{kind}, model => %s, max_tokens => 1)", (json.dumps(begun), model, model, json.dumps(begun), model))[0]  # fmt: skip
    assert row == (None, True)


def test_calls_are_no_beginning(tool_server):
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "Look.", "tool_calls": [CALL]}]
    assert render(tool_server, "caller", messages).endswith(f"{CALL_TEXT}<|im_end|>\n{ASSISTANT}")


def test_developer_is_system(tool_server):
    for model in SYSTEM:
        texts = [render(tool_server, model, [{"role": role, "content": "Be brief."}, {"role": "user", "content": "x"}]) for role in ("developer", "system")]
        assert texts[0] == texts[1]


def test_a_whole_round_in_sql(tool_server):
    """Call, result, answer: the response's own jsonb goes into the next messages."""
    row = tool_server.query(
        """WITH asked AS (SELECT '{"role": "user", "content": "Is it warm in Paris?"}'::jsonb AS message),
			called AS (SELECT r.* FROM asked, qwen_chat_full(jsonb_build_array(message), %s::jsonb, temperature => 0) r)
		SELECT qwen_render_chat(jsonb_build_array(message, jsonb_build_object('role', 'assistant', 'content', content, 'tool_calls', tool_calls),
			jsonb_build_object('role', 'tool', 'content', '21')), %s::jsonb)
		FROM asked, called""", (ONE_TOOL, ONE_TOOL))[0][0]  # fmt: skip
    assert f"<|im_start|>assistant\n{CALL_WORDS}\n{CALL_TEXT}<|im_end|>\n<|im_start|>user\n<tool_response>\n21\n</tool_response><|im_end|>\n" in row


@pytest.mark.parametrize("messages, tools, words", [
    ('[{"role": "user", "content": "x"}]', '{"name": "f"}', "tools must be a JSON array"),
    ('[{"role": "user", "content": "x"}]', "[1]", "tools[0]"),
    ('[{"role": "user", "content": "x"}]', '[{"type": "function"}]', 'tools[0] has no "function"'),
    ('[{"role": "user", "content": "x"}]', '[{"type": "function", "function": {"description": "f"}}]', 'tools[0].function has no "name"'),
    ('[{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}]', None, "messages[1].tool_calls[0]"),
    ('[{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}]', None, "messages[1].tool_calls[0]"),
    ('[{"role": "assistant", "reasoning_content": "x"}, {"role": "user", "content": "x"}]', None, "content"),
    ('[{"role": "assistant", "tool_calls": 3}]', None, "tool_calls"),
    ('[{"role": "assistant"}]', None, "content"),
    ('[{"role": "helper", "content": "x"}]', None, "role"),
])  # fmt: skip
def test_what_is_no_tool_or_message_is_refused(tool_server, messages, tools, words):
    with pytest.raises(psycopg2.Error) as failure:
        tool_server.query("SELECT qwen_chat(%s::json, %s::json)", (messages, tools))
    assert failure.value.pgcode == "22023" and words in str(failure.value), failure.value
