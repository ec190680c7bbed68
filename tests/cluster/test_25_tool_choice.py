"""tool_choice: calls are of the tools' schemas, in both forms, whatever the model would rather say, however it is cut and whoever runs beside it.

The models are the demo model (dense, with the template of Qwen3-0.6B) and it as a hybrid (with that of Qwen3.5, whose calls are tags), with <tool_call> as
likely as " the" (tests/tools/calling_model.py)."""
import json
import os
import sys

import jsonschema
import psycopg2
import pytest
from cluster import MODEL_FILE, Cluster, model_directory, plain_model, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools"))
import calling_model  # noqa: E402
import reexpress  # noqa: E402

MODEL = plain_model()
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "at": {"type": ["string", "null"], "format": "date"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "required": ["city", "days"],
    "if": {"properties": {"days": {"const": 1}}},
    "then": {"required": ["unit"]},
}
ORDER = {
    "type": "object",
    "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 1, "maxItems": 2},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "integer", "maximum": 99, "minimum": 0}, {"type": "boolean"}]},
        "to": {"type": "object", "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"], "additionalProperties": False},
    },
    "required": ["lines"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[A-Z]{2}[0-9]$"}, "n": {"type": "integer", "minimum": 1, "maximum": 99}},
                       "required": ["sku", "n"], "additionalProperties": False}},
}  # fmt: skip
SCHEMAS = {"get_weather": WEATHER, "order": ORDER, "now": {"type": "object", "properties": {}}}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "order", "parameters": ORDER}},
    {"type": "function", "function": {"name": "now", "description": "The time"}},
]
MESSAGES = json.dumps([{"role": "user", "content": "What is the weather like in Oslo?"}])
SEEDS = int(os.environ.get("QWEN_TEST_SEEDS", 2))  # of each question; more of them: make check-tool-choice
CUTS = range(1, 61, 16 if SEEDS < 5 else 2)  # max_tokens that are tried
MODELS = {"json": "<tool_call>\n{", "tags": "<tool_call>\n<function="}
ASK = (
    "SELECT r.content, r.tool_calls, r.finish_reason, r.completion_tokens FROM generate_series({}) s, LATERAL "
    "qwen_chat_full(%s::json, %s::json, model => %s, temperature => 1.5, seed => s, max_tokens => %s, thinking => {}, options => %s) r"
)


def serve(model=MODEL, **settings):
    folder = model_directory()
    demo = os.path.join(folder, model)
    hybrid = os.path.join(folder, "models", reexpress.cached(folder, demo, "qwen35moe"))
    files = {"json": calling_model.cached(folder, demo, "qwen3-0.6b"), "tags": calling_model.cached(folder, hybrid, "qwen3.5-4b")}
    cluster = Cluster(settings={"qwen.models": ", ".join(f"{name}=models/{file}" for name, file in files.items()), "qwen.max_models": 2, **settings})
    try:
        cluster.start()
        cluster.query("CREATE EXTENSION qwen_pg")
        for name in files:
            cluster.query("SELECT qwen_count_tokens('x', model => %s)", (name,))
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def callers():
    yield from serve()


@pytest.fixture(scope="module")
def talkers():
    """Whose models know when to call, and have several things to say."""
    yield from serve(MODEL_FILE)


@pytest.fixture(scope="module")
def without_guesses():
    yield from serve(**{"qwen.speculation": "off"})


def ask(cluster, model, choice, seeds="1, 8", max_tokens=90, tools=TOOLS, thinking="false"):
    options = None if choice is None else json.dumps({"tool_choice": choice})
    return cluster.query(ASK.format(seeds, thinking), (MESSAGES, json.dumps(tools), model, max_tokens, options))


def check(calls, schemas=SCHEMAS):
    for call in calls:
        function = call["function"]
        assert call["type"] == "function" and set(function) == {"name", "arguments"}
        jsonschema.Draft202012Validator(schemas[function["name"]], format_checker=jsonschema.FormatChecker()).validate(function["arguments"])


@pytest.mark.parametrize("model", MODELS)
def test_required_calls_are_of_their_schemas(callers, model):
    n = SEEDS
    rows = [row for choice in ("required", "get_weather", "order") for row in ask(callers, model, choice, f"1, {n}")]
    assert len(rows) == 3 * n and {calls[0]["function"]["name"] for _, calls, _, _ in rows} >= {"get_weather", "order"}
    for content, calls, reason, _ in rows:
        assert content == "" and calls and reason in ("tool_calls", "length")
        check(calls)
    assert len({json.dumps(calls) for _, calls, _, _ in rows}) >= n


@pytest.mark.parametrize("model", MODELS)
def test_a_free_answer_calls_when_it_likes(talkers, model):
    """And what it calls is kept, with text before and behind it; or never."""
    rows = ask(talkers, model, "auto", f"1, {2 * SEEDS}")
    with_calls = [row for row in rows if row[1]]
    assert with_calls
    for content, calls, reason, _ in with_calls:
        check(calls)
        assert "<tool_call>" not in content and reason in ("tool_calls", "length")
    # the default is the same
    assert ask(talkers, model, None, f"1, {SEEDS}") == rows[:SEEDS]
    for content, calls, reason, _ in ask(talkers, model, "none", f"1, {2 * SEEDS}"):
        assert calls is None and "<tool_call>" not in content and reason in ("stop", "length")


@pytest.mark.parametrize("model", MODELS)
def test_a_name_is_called_once(callers, model):
    for choice in ("order", {"type": "function", "function": {"name": "order"}}, {"type": "function", "name": "order"}):
        for content, calls, _, _ in ask(callers, model, choice, "1, 1"):
            assert content == "" and [call["function"]["name"] for call in calls] == ["order"]
            check(calls)
    ((_, calls, reason, n),) = ask(callers, model, "now", "1, 1")
    assert (calls, reason) == ([{"type": "function", "function": {"name": "now", "arguments": {}}}], "tool_calls") and n < 40


@pytest.mark.parametrize("model", MODELS)
def test_calls_are_whole_at_every_max_tokens(callers, model):
    """Cut anywhere they are completed, or it is said before that there is no room."""
    n_refused = 0
    for i, n in enumerate(CUTS):
        try:
            ((content, calls, reason, used),) = ask(callers, model, "order", "3, 3", n)
        except psycopg2.errors.ProgramLimitExceeded as error:
            n_refused += 1
            assert n_refused == i + 1 and f"there is room for {n}" in str(error)
            continue
        check(calls)
        assert len(calls) == 1 and content == "" and used <= n and reason in ("tool_calls", "length")
    assert 0 < n_refused < len(CUTS)
    # a call that a free answer begins has room, or the answer ends before it
    for n in CUTS:
        for content, calls, reason, used in ask(callers, model, "auto", f"1, {2 * SEEDS}", n):
            check(calls or [])
            assert used <= n and "<tool_call>" not in content


@pytest.mark.parametrize("model", MODELS)
def test_calls_are_the_same_alone_and_in_a_batch(callers, model):
    n = SEEDS
    for choice in ("auto", "required"):
        together = ask(callers, model, choice, f"1, {n}", 50)
        assert [ask(callers, model, choice, f"{seed}, {seed}", 50)[0] for seed in range(1, n + 1)] == together


def test_guesses_do_not_change_calls(callers, without_guesses):
    """What is guessed of a call, from its form, from the text or by the model's own layer, is taken or not; the answer is the same."""
    before = callers.query("SELECT guessed_tokens, guessed_right FROM qwen_stat_engine")[0]
    for model in MODELS:
        for choice in ("auto", "required"):
            assert ask(callers, model, choice, f"1, {SEEDS - 1}", 60) == ask(without_guesses, model, choice, f"1, {SEEDS - 1}", 60)
    made, right = (after - earlier for after, earlier in zip(callers.query("SELECT guessed_tokens, guessed_right FROM qwen_stat_engine")[0], before))
    assert made >= right > 0
    assert without_guesses.value("SELECT guessed_tokens FROM qwen_stat_engine") == 0


@pytest.mark.parametrize("model", MODELS)
def test_a_call_goes_back_into_the_conversation(callers, model):
    """Call, result, answer: what the template writes of a call is what the model was made to say."""
    row = callers.query(
        """WITH asked AS (SELECT %s::jsonb->0 AS message),
            called AS (SELECT r.* FROM asked, qwen_chat_full(jsonb_build_array(message), %s::jsonb, model => %s, thinking => false, temperature => 1.5, seed => 5,
                max_tokens => 150, options => '{"tool_choice": "get_weather"}') r),
            messages AS (SELECT jsonb_build_array(message, jsonb_build_object('role', 'assistant', 'content', content, 'tool_calls', tool_calls),
                jsonb_build_object('role', 'tool', 'content', '21 degrees')) AS all_of_them, tool_calls FROM asked, called)
        SELECT tool_calls, qwen_render_chat(all_of_them, %s::jsonb, model => %s, thinking => false),
            qwen_chat(all_of_them, %s::jsonb, model => %s, thinking => false, max_tokens => 10, temperature => 0, options => '{"tool_choice": "none"}')
        FROM messages""", (MESSAGES, json.dumps(TOOLS), model, json.dumps(TOOLS), model, json.dumps(TOOLS), model))[0]  # fmt: skip
    calls, prompt, answer = row
    check(calls)
    assert MODELS[model] in prompt and calls[0]["function"]["arguments"]["city"] in prompt and "21 degrees" in prompt and answer
    if model == "tags":
        assert f"<parameter=days>\n{calls[0]['function']['arguments']['days']}\n</parameter>\n" in prompt


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_has_a_form_or_calls(callers, model):
    form = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    sql = (f"SELECT r.content, r.tool_calls, r.finish_reason FROM generate_series(1, {2 * SEEDS}) s, LATERAL qwen_chat_full(%s::json, %s::json, model => %s, "
           "temperature => 1.5, seed => s, max_tokens => 60, thinking => false, response_format => %s, options => %s) r")
    seen = {}
    for choice in ("auto", "none", "required"):
        for content, calls, _ in callers.query(sql, (MESSAGES, json.dumps(TOOLS), model, json.dumps(form), json.dumps({"tool_choice": choice}))):
            seen.setdefault(choice, set()).add(bool(calls))
            if calls:
                assert content == ""
                check(calls)
            else:
                jsonschema.validate(json.loads(content), form)
    assert seen["none"] == {False} and seen["required"] == {True} and seen["auto"]
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="a copy cannot stand beside calls"):
        callers.query("SELECT qwen_chat(%s::json, %s::json, model => %s, response_format => %s)", (MESSAGES, json.dumps(TOOLS), model, '{"type": "copy", "text": "a", "kinds": ["b"]}'))


@pytest.mark.parametrize("model", MODELS)
def test_calls_that_were_cut_are_not_called_an_empty_answer(callers, model):
    connection = callers.connect()
    for function in ("qwen_chat_full", "qwen_chat_stream"):
        connection.cursor().execute(
            f"SELECT * FROM {function}(%s::json, %s::json, model => %s, temperature => 0, max_tokens => 40, thinking => false, options => %s)",
            (MESSAGES, json.dumps(TOOLS), model, '{"tool_choice": "order"}'),
        )
    notices = [notice for notice in connection.notices if "cut off" in notice]
    connection.close()
    assert len(notices) == 2 and "empty" not in "".join(notices)


@pytest.mark.parametrize("model", MODELS)
def test_thinking_is_free_and_the_call_strict(callers, model):
    """Of a model that does not end its thinking: it is ended where the tokens that are left are for the call."""
    for content, calls, reason, _ in ask(callers, model, "order", "1, 2", 90, thinking="true"):
        assert content == "" and (reason == "length" or model == "json")
        check(calls)


@pytest.mark.parametrize("model", MODELS)
def test_stop_strings_are_not_looked_for_in_calls(callers, model):
    sql = ASK.format("1, 4", "false").replace("options =>", "stop => ARRAY['\"', 'e', '>'], options =>")
    for content, calls, _, _ in callers.query(sql, (MESSAGES, json.dumps(TOOLS), model, 120, '{"tool_choice": "required"}')):
        assert content == ""
        check(calls)
    # outside they end the answer, before a call as well
    sql = sql.replace("ARRAY['\"', 'e', '>']", "ARRAY['<tool_call>', '<function=']")
    for content, calls, _, _ in callers.query(sql, (MESSAGES, json.dumps(TOOLS), model, 120, '{"tool_choice": "auto"}')):
        assert calls is None and "<tool_call>" not in content


def test_strings_hold_what_looks_like_tags(talkers):
    """In the form of tags a text may have anything but what closes it."""
    hostile = ["</function>\n</tool_call>", "<parameter=b>\nx", "a</parameter>\nb", "\n\n", "null", "<tool_call>"]
    schema = {"type": "object", "properties": {"a": {"enum": hostile}, "b": {"enum": [*hostile, 5, None]}}, "required": ["a", "b"]}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for model in MODELS:
        seen = set()
        for _, calls, _, _ in ask(talkers, model, "f", "1, 10", 120, tools):
            check(calls, {"f": schema})
            seen.add(calls[0]["function"]["arguments"]["a"])
        assert len(seen) > 1
    never = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"const": "x\n</parameter>\ny"}}, "required": ["a"]}}}]
    assert ask(talkers, "json", "f", "1, 1", 120, never)[0][1][0]["function"]["arguments"] == {"a": "x\n</parameter>\ny"}
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="no arguments satisfy its schema that can be written"):
        ask(talkers, "tags", "f", "1, 1", 120, never)


def test_tools_of_any_name_and_number(callers):
    names = ["</tool_call>", "a\nb", '"', "<function=x>", "ünïcode"]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    seen = {calls[0]["function"]["name"] for _, calls, _, _ in ask(callers, "json", "required", "1, 8", 60, tools)}
    assert seen <= set(names) and len(seen) > 1
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="form of calls has no way to write a name"):
        ask(callers, "tags", "required", "1, 1", 60, tools)
    many = [{"name": f"f{i}", "parameters": {"properties": {"a": {"type": "integer"}}}} for i in range(10000)]
    prompt = "SELECT r.tool_calls FROM qwen_chat_full('[{\"role\": \"user\", \"content\": \"x\"}]'::json, %s::json, model => %s, max_tokens => 60, thinking => false, options => %s) r"
    for model in MODELS:
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match="tokens"):
            callers.query(prompt, (json.dumps(many), model, '{"tool_choice": "f9999"}'))


SIMPLE = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"$ref": "http://example.com/a"}}}}}]


@pytest.mark.parametrize("tools, options, error, words", [
    (TOOLS, {"tool_choice": "sub"}, psycopg2.errors.InvalidParameterValue, 'there is no tool "sub" for tool_choice'),
    ([], {"tool_choice": "required"}, psycopg2.errors.InvalidParameterValue, "there is no tool to call"),
    (None, {"tool_choice": "required"}, psycopg2.errors.InvalidParameterValue, "there are no tools"),
    (TOOLS, {"tool_choice": 1}, psycopg2.errors.InvalidParameterValue, 'must be "auto", "none", "required"'),
    (TOOLS, {"tool_choice": ""}, psycopg2.errors.InvalidParameterValue, 'must be "auto", "none", "required"'),
    (TOOLS, {"tool_choice": {"type": "function"}}, psycopg2.errors.InvalidParameterValue, 'must be "auto", "none", "required"'),
    (TOOLS, {"tool_choice": ["now"]}, psycopg2.errors.InvalidParameterValue, 'must be "auto", "none", "required"'),
    (SIMPLE, {"tool_choice": "auto"}, psycopg2.errors.FeatureNotSupported, 'tools: tool "f": "\\$ref" at /properties/a'),
    (SIMPLE, {"tool_choice": "required"}, psycopg2.errors.FeatureNotSupported, '"\\$ref"'),
])  # fmt: skip
def test_what_cannot_be_chosen_is_refused_at_the_door(callers, tools, options, error, words):
    with pytest.raises(error, match=words):
        callers.query("SELECT qwen_chat(%s::json, %s::json, max_tokens => 80, options => %s)", (MESSAGES, tools is not None and json.dumps(tools) or None, json.dumps(options)))


WITHOUT_TOOLS = [
    "SELECT qwen_chat('x', options => {})",
    "SELECT qwen_generate('x', options => {})",
    "SELECT qwen_summarize('x', options => {})",
    "SELECT qwen_classify('x', ARRAY['a', 'b'], options => {})",
    "SELECT qwen_embed('x', options => {})",
    "SELECT qwen_submit('toolless', 'body', 'toolless', 'answer', options => {})",
    "SELECT qwen_submit('toolless', 'body', 'toolless', 'answer', function => 'summarize', options => {})",
    "CREATE TRIGGER t AFTER INSERT ON toolless FOR EACH ROW EXECUTE FUNCTION qwen_enqueue_trigger('answer', 'body', {}); INSERT INTO toolless VALUES (9, 'y')",
    "CREATE TRIGGER t BEFORE INSERT ON toolless FOR EACH ROW EXECUTE FUNCTION qwen_summarize_trigger('body', 'answer', '20', {}); INSERT INTO toolless VALUES (9, 'y')",
]


def test_work_without_tools_takes_no_call(callers):
    """What asks for one is refused before anything is queued, by a trigger's first row; what asks for none, or leaves it to the model, is as without."""
    callers.query("CREATE TABLE toolless (id int PRIMARY KEY, body text, answer text); INSERT INTO toolless VALUES (1, 'x')")

    def run(sql, choice):
        options = json.dumps({"tool_choice": choice})
        return callers.query(sql.replace("{}", "'" + ("options=" if "TRIGGER" in sql else "") + options + "'"))

    for sql in WITHOUT_TOOLS:
        for choice in ("required", "now"):
            with pytest.raises(psycopg2.errors.InvalidParameterValue, match='"tool_choice" asks for a call, but there are no tools'):
                run(sql, choice)
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match='"tool_choice" must be "auto"'):
            run(sql, 1)
    # an array says it of each element
    ((error,),) = run("SELECT error FROM qwen_generate_batch(ARRAY['x'], options => {})", "required")
    assert "there are no tools" in error
    assert callers.query("SELECT count(*) FROM qwen_jobs WHERE target = 'toolless'::regclass") == [(0,)]
    assert callers.query("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'toolless'::regclass") == [(0,)]
    assert callers.query("SELECT id, answer FROM toolless") == [(1, None)]
    for choice in ("auto", "none"):
        job = run("SELECT qwen_submit('toolless', 'body', 'toolless', 'answer', max_tokens => 2, temperature => 0, options => {})", choice)[0][0]
        wait_until(lambda: callers.value("SELECT state = 'done' FROM qwen_jobs WHERE id = %s", (job,)), 30, "the end")  # noqa: B023
    assert callers.query("SELECT id FROM toolless WHERE answer IS NOT NULL") == [(1,)]


def test_schemas_that_cannot_be_kept_are_no_error_unless_they_are_asked_for(callers):
    for model in MODELS:
        assert callers.value("SELECT qwen_chat(%s::json, %s::json, model => %s, max_tokens => 3, thinking => false)", (MESSAGES, json.dumps(SIMPLE), model)) is not None
        loose = [{"type": "function", "function": {**SIMPLE[0]["function"], "strict": False}}]
        for _, calls, _, _ in ask(callers, model, "required", "1, 2", 80, loose):
            assert [call["function"]["name"] for call in calls] == ["f"] * len(calls) and set(calls[0]["function"]["arguments"]) <= {"a"}


def test_a_stream_gives_the_text_around_calls(callers):
    for seed in range(1, 4):
        arguments = (MESSAGES, json.dumps(TOOLS), seed)
        pieces = callers.query("SELECT * FROM qwen_chat_stream(%s::json, %s::json, temperature => 1.5, seed => %s, max_tokens => 90, thinking => false)", arguments)
        whole = callers.value("SELECT qwen_chat(%s::json, %s::json, temperature => 1.5, seed => %s, max_tokens => 90, thinking => false)", arguments)
        assert "".join(piece for (piece,) in pieces if piece) == whole
