"""Answers of a form (response_format): always valid, whatever the model would rather say, however it is cut and whoever runs beside it."""
import json
import os

import jsonschema
import psycopg2
import pytest
from random_models import serving

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "born": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS = {
    "person": PERSON,
    "alternatives": {"anyOf": [{"type": "integer", "minimum": 10, "maximum": 99}, {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4}, {"type": "null"}]},
    "one_of": {"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "circle"}, "radius": {"type": "number", "exclusiveMinimum": 0, "maximum": 10}}, "required": ["kind", "radius"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "square"}, "side": {"type": "number", "multipleOf": 0.25, "minimum": 1}}, "required": ["kind", "side"], "additionalProperties": False}]},
    "recursive": {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"value": {"type": "integer", "minimum": 0, "maximum": 9},
                  "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}}, "required": ["value"], "additionalProperties": False}}},
    "pattern": {"type": "object", "properties": {"code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"}, "word": {"type": "string", "pattern": "o", "maxLength": 12}},
                "required": ["code", "word"], "additionalProperties": False},
    "conditional": {"type": "object", "properties": {"paid": {"type": "boolean"}, "by": {"enum": ["card", "cash"]}}, "required": ["paid"], "additionalProperties": False,
                    "if": {"properties": {"paid": {"const": True}}}, "then": {"required": ["by"]}},
    "other_names": {"type": "object", "propertyNames": {"pattern": "^[a-z]{1,8}$"}, "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 5}, "minProperties": 2, "maxProperties": 3},
    "counted": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "contains": {"const": 7}, "minItems": 2, "maxItems": 6},
}  # fmt: skip


def form(schema):
    return json.dumps({"type": "json_schema", "schema": schema})


def check(text, schema):
    value = json.loads(text)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)
    return value


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_is_of_its_schema(server, name):
    rows = server.query(
        "SELECT t, s, (qwen_chat_full('Tell me about Anna, who is 31.', temperature => t, seed => s, max_tokens => 80, response_format => %s)).content"
        " FROM unnest(ARRAY[0, 1, 1.5]) t, generate_series(1, 4) s", (form(SCHEMAS[name]),))
    assert len(rows) == 12
    for _, _, text in rows:
        check(text, SCHEMAS[name])


def test_an_answer_is_valid_at_every_max_tokens(server):
    """Cut anywhere it is completed, or it is said before it begins that there is no room."""
    n_refused = 0
    for n in range(1, 61):
        try:
            ((text, reason, used),) = server.query(
                "SELECT r.content, r.finish_reason, r.completion_tokens FROM qwen_chat_full('Anna', max_tokens => %s, temperature => 1.5, seed => 3, response_format => %s) r",
                (n, form(PERSON)))
        except psycopg2.errors.ProgramLimitExceeded as error:
            n_refused += 1
            assert n_refused == n and f"there is room for {n}" in str(error)
            continue
        check(text, PERSON)
        assert used <= n and reason in ("stop", "length")
    assert 3 < n_refused < 40


def test_the_same_alone_and_in_a_batch(server):
    """Bit for bit: beside each other, with guesses and alone."""
    sql = "SELECT qwen_generate('Once ' || i, max_tokens => 50, temperature => 1, seed => i, response_format => %s) FROM generate_series({}) i"
    together = [text for (text,) in server.query(sql.format("1, 12"), (form(PERSON),))]
    alone = [server.value(sql.format(f"{i}, {i}"), (form(PERSON),)) for i in range(1, 13)]
    assert together == alone
    for text in together:
        check(text, PERSON)


def test_other_forms(server):
    ask = "SELECT qwen_chat('Say something.', temperature => 1.5, seed => %s, max_tokens => 60, response_format => %s)"
    for seed in range(6):
        assert server.value(ask, (seed, '{"type": "choice", "choices": ["yes", "no", "yes and no"]}')) in ("yes", "no", "yes and no")
        code = server.value(ask, (seed, r'{"type": "regex", "pattern": "[A-Z]{3}-\\d{4}"}'))
        assert len(code) == 8 and code[:3].isupper() and code[3] == "-" and code[4:].isdigit()
        assert isinstance(json.loads(server.value(ask, (seed, '{"type": "json_object"}'))), dict)
        json.loads(server.value(ask, (seed, "{}")))
        wrapped = {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": PERSON}}
        check(server.value(ask, (seed, json.dumps(wrapped))), PERSON)
        compact = server.value(ask, (seed, json.dumps({"type": "json_schema", "schema": PERSON, "whitespace": "compact"})))
        assert ": " not in compact.replace(check(compact, PERSON)["name"], "")
    assert server.value("SELECT qwen_chat('Hi', max_tokens => 2, response_format => %s)", ('{"type": "text"}',))


def test_functions_that_ask_take_a_form(server):
    """Streams, summaries of rows, batches, jobs."""
    small = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    pieces = server.query("SELECT * FROM qwen_chat_stream('Hi', max_tokens => 30, response_format => %s)", (form(small),))
    check("".join(piece for (piece,) in pieces if piece), small)
    check(server.value("SELECT qwen_summarize('It rained all day. Then it snowed.', response_format => %s)", (form(small),)), small)
    check(server.value("SELECT qwen_translate('It rains.', 'French', response_format => %s)", (form(small),)), small)
    for (text,) in server.query("SELECT response FROM qwen_generate_batch(ARRAY['a', 'b', 'c'], max_tokens => 30, response_format => %s)", (form(small),)):
        check(text, small)
    cursor = server.connect().cursor()
    cursor.execute("CREATE TABLE notes (id int PRIMARY KEY, body text, answer text); INSERT INTO notes SELECT i, 'Note ' || i FROM generate_series(1, 5) i")
    try:
        cursor.execute("SELECT qwen_submit('notes', '{body}', 'notes', 'answer', max_tokens => 30, response_format => %s)", (form(small),))
        job = cursor.fetchone()[0]
        cursor.execute("SELECT qwen_wait(%s, '1min')", (job,))
        cursor.execute("SELECT answer FROM notes")
        for (text,) in cursor.fetchall():
            check(text, small)
    finally:
        cursor.execute("DROP TABLE notes")
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match="choose among given answers"):
        server.query("SELECT qwen_classify('x', ARRAY['a', 'b'], response_format => '{}')")


def test_extract_gives_jsonb_of_the_schema(server):
    cursor = server.connect().cursor()
    cursor.execute("CREATE TABLE mails (id int PRIMARY KEY, body text)")
    try:
        cursor.execute("INSERT INTO mails SELECT i, 'Mail ' || i || ' of Anna, who is ' || 30 + i FROM generate_series(1, 6) i UNION ALL SELECT 7, NULL UNION ALL SELECT 8, ' '")
        cursor.execute("SELECT id, qwen_extract(body, %s) FROM mails ORDER BY id", (json.dumps(PERSON),))
        rows = dict(cursor.fetchall())
        for i in range(1, 7):
            check(json.dumps(rows[i]), PERSON)
        assert rows[7] is None and rows[8] is None
        cursor.execute("EXPLAIN SELECT qwen_extract(body, %s) FROM mails", (json.dumps(PERSON),))
        assert "Qwen" in str(cursor.fetchall())
        endless = {"type": "object", "properties": {"all": {"type": "string", "minLength": 40}}, "required": ["all"]}
        with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match="tokens? (is|are) not enough|there is room for 12"):
            cursor.execute("SELECT qwen_extract('x', %s, max_tokens => 12)", (json.dumps(endless),))
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="the schema is the form"):
            cursor.execute("SELECT qwen_extract('x', '{}', response_format => '{}')")
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match='"uniqueItems" at /'):
            cursor.execute("""SELECT qwen_extract('x', '{"uniqueItems": true}')""")
        # a response_format's schema is asked for as the schema by itself
        cursor.execute("SELECT qwen_extract(body, %s) FROM mails WHERE id = 1", (form(PERSON),))
        assert cursor.fetchone()[0] == rows[1]
        for wrapped in ({"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": PERSON}}, {"type": "json_schema", "name": "p", "strict": True, "schema": PERSON}):
            cursor.execute("SELECT qwen_extract(body, %s) FROM mails WHERE id = 1", (json.dumps(wrapped),))
            assert cursor.fetchone()[0] == rows[1]
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match='"json_schema" must have a member "schema"'):
            cursor.execute("""SELECT qwen_extract('x', '{"type": "json_schema", "json_schema": {"name": "p"}}')""")
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="has no keyword of JSON Schema"):
            cursor.execute("""SELECT qwen_extract('x', '{"name": "What is the name?"}')""")
    finally:
        cursor.execute("DROP TABLE mails")


def test_what_cannot_be_kept_is_said_before_it_begins(server):
    for wanted, error, part in (
        ('{"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}}', psycopg2.errors.FeatureNotSupported, '"uniqueItems" at /properties/tags is not supported'),
        ('{"type": "integer", "minimum": 3, "maximum": 2}', psycopg2.errors.InvalidParameterValue, "no value satisfies the schema"),
        ('{"type": "json_schema"}', psycopg2.errors.InvalidParameterValue, 'must have a member "schema"'),
        ('{"type": "grammar"}', psycopg2.errors.FeatureNotSupported, "grammar"),
        ('{"type": "string", "pattern": "^[ -~]*a[ -~]{14}$"}', psycopg2.errors.ProgramLimitExceeded, "limit"),
    ):
        with pytest.raises(error, match="response_format: "):
            server.query("SELECT qwen_chat('x', response_format => %s)", (wanted,))
        ((path, keyword, problem),) = server.query("SELECT * FROM qwen_check_format(%s)", (wanted,))
        assert part in problem
    assert server.query("SELECT path, keyword FROM qwen_check_format(%s)", ('{"properties": {"a": {"pattern": "("}}}',)) == [("/properties/a", "pattern")]
    assert server.query("SELECT * FROM qwen_check_format(%s)", (form(PERSON),)) == []
    assert server.query("SELECT * FROM qwen_check_format(NULL)") == []
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="stop strings would cut JSON"):
        server.query("SELECT qwen_chat('x', stop => ARRAY['}'], response_format => '{}')")


def test_tools_that_the_template_leaves_out_are_refused(server):
    """The model would never see them. Where no call may come nothing is missed."""
    sql = "SELECT qwen_chat(%s::json, %s::json, max_tokens => 2, options => %s)"
    messages, tools = '[{"role": "user", "content": "x"}]', '[{"type": "function", "function": {"name": "f"}}]'
    refused = 'the chat template of model "chat" writes none into the prompt'
    for options in (None, '{"tool_choice": "auto"}', '{"tool_choice": "required"}', '{"tool_choice": "f"}'):
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match=refused):
            server.query(sql, (messages, tools, options))
    with pytest.raises(psycopg2.errors.FeatureNotSupported, match=refused):
        server.query("SELECT qwen_render_chat(%s::json, %s::json)", (messages, tools))
    assert server.value(sql, (messages, tools, '{"tool_choice": "none"}')) is not None
    assert server.value(sql, (messages, "[]", None)) is not None


@pytest.fixture(scope="module")
def thinkers():
    cluster = serving("always", "thinker", "quitter", "random")
    yield cluster
    cluster.remove()


def test_thinking_is_free_and_the_answer_strict(thinkers):
    """Opened by the template or by the model, closed by it, by a budget, or because few tokens are left."""
    ask = "SELECT r.thinking, r.content, r.finish_reason FROM qwen_chat_full('Which?', model => %s, seed => 5, max_tokens => %s, {} response_format => %s) r"
    for model in ("always", "thinker"):
        ((thinking, text, _),) = thinkers.query(ask.format(""), (model, 200, form(PERSON)))
        assert thinking and "think" in thinking
        check(text, PERSON)
        ((thinking, text, _),) = thinkers.query(ask.format("thinking_budget => 3,"), (model, 200, form(PERSON)))
        check(text, PERSON)
    ((thinking, text, reason),) = thinkers.query(ask.format("thinking => false,"), ("thinker", 200, form(PERSON)))
    assert not thinking
    check(text, PERSON)


def test_a_thinking_that_ends_the_turn_still_gives_the_form(thinkers):
    """The model ends its turn inside the thinking: the thinking is closed, and the answer comes."""
    free = "SELECT r.thinking, r.content, r.finish_reason FROM qwen_chat_full('Which?', model => 'quitter', temperature => 0) r"
    assert thinkers.query(free) == [("Let me", "", "stop")]
    ask = (
        "SELECT r.thinking, r.content, r.tool_calls, (SELECT string_agg(t ->> 'token', '' ORDER BY n) FROM jsonb_array_elements(r.logprobs) WITH ORDINALITY e(t, n)),"
        " jsonb_array_length(r.logprobs) = r.completion_tokens FROM qwen_chat_full('[{\"role\": \"user\", \"content\": \"Which?\"}]'::json, %s::json,"
        " model => 'quitter', temperature => %s, seed => 5, max_tokens => %s, response_format => %s, options => %s, logprobs => 0) r"
    )
    for temperature, n in ((0, 200), (1, 60)):
        ((thinking, text, _, tokens, is_each),) = thinkers.query(ask, (None, temperature, n, form(PERSON), None))
        assert thinking == "Let me" and is_each
        assert tokens == "<think> \nLet me\n</think>\n\n" + text
        check(text, PERSON)
    tools = json.dumps([{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}])
    ((thinking, text, calls, _, _),) = thinkers.query(ask, (tools, 0, 60, None, '{"tool_choice": "now"}'))
    assert (thinking, text) == ("Let me", "") and [c["function"] for c in calls] == [{"name": "now", "arguments": {}}]
    assert "age" in thinkers.value("SELECT qwen_extract('Anna is 31.', %s::json, model => 'quitter', thinking => true)", (json.dumps(PERSON),))


def test_log_probabilities_are_of_the_tokens_of_a_cut_answer(server):
    ask = (
        "SELECT r.content, (SELECT string_agg(t ->> 'token', '' ORDER BY n) FROM jsonb_array_elements(r.logprobs) WITH ORDINALITY e(t, n)), r.finish_reason"
        " FROM generate_series(40, 56, 4) n, LATERAL qwen_chat_full('Anna is 31.', temperature => 1.5, seed => 3, max_tokens => n, logprobs => 0, response_format => %s) r"
    )
    rows = server.query(ask, (form({"type": "object", "properties": {"a": {"type": "string", "maxLength": 200}, "b": {"type": "string", "maxLength": 200}}, "required": ["a", "b"]}),))
    assert "length" in [reason for _, _, reason in rows]
    for text, tokens, _ in rows:
        assert tokens.removesuffix("<|im_end|>") == text


def test_a_model_that_says_anything_says_it_in_form(thinkers):
    """Random weights: whatever tokens a vocabulary of 150,000 has."""
    for name, schema in SCHEMAS.items():
        for seed in range(2):
            text = thinkers.value("SELECT qwen_chat('x', model => 'random', thinking => false, temperature => 1.5, seed => %s, max_tokens => 60, response_format => %s)", (seed, form(schema)))
            check(text, schema)


# make check-typed-cuts: all schemas at each place, with guesses and without
LONG = "QWEN_TEST_TYPED_CUTS" in os.environ
CUTS = ("SELECT n, s, qwen_chat('Anna is 31.', model => %s, temperature => t, seed => n, max_tokens => n, response_format => (%s::json ->> s)::json)"
        " FROM unnest(%s::text[]) WITH ORDINALITY u (s, i), unnest(%s::float8[]) t, generate_series(1, 60) n WHERE %s OR n %% %s = i - 1")


def check_cuts(server, model, temperatures, every):
    """Rows beside each other, cut at every max_tokens: each is valid, or has no room for the shortest one; a few again alone."""
    forms = json.dumps({name: form(schema) for name, schema in SCHEMAS.items()})
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("SET qwen.on_error = 'null'")
    cursor.execute(CUTS, (model, forms, list(SCHEMAS), temperatures, every, len(SCHEMAS)))
    rows = cursor.fetchall()
    connection.close()
    assert len(rows) == 60 * len(temperatures) * (len(SCHEMAS) if every else 1)
    alone = "SELECT qwen_chat('Anna is 31.', model => %s, temperature => %s, seed => %s, max_tokens => %s, response_format => %s)"
    for name, schema in SCHEMAS.items():
        refused = [n for n, of, text in rows if of == name and text is None]
        made = [(n, text) for n, of, text in rows if of == name and text is not None]
        for _, text in made:
            check(text, schema)
        assert made and max(refused, default=0) < min(n for n, _ in made), (name, refused)
        if refused:
            with pytest.raises(psycopg2.errors.ProgramLimitExceeded, match=f"there is room for {max(refused)}|tokens? (is|are) not enough"):
                server.value(alone, (model, temperatures[0], max(refused), max(refused), form(schema)))
        n, text = made[len(made) // 2]
        assert text in [server.value(alone, (model, t, n, n, form(schema))) for t in temperatures]
    return len(rows)


def test_rows_cut_at_every_max_tokens_are_valid(server):
    check_cuts(server, "chat", [1, 1.5], LONG)


def test_rows_that_think_cut_at_every_max_tokens_are_valid(thinkers):
    check_cuts(thinkers, "always", [1, 1.5] if LONG else [1.5], LONG)


if LONG:

    def test_rows_cut_without_guesses_are_the_same(server, make_server):
        """Guesses only save steps."""
        plain = make_server({"qwen.speculation": "off"})
        check_cuts(plain, "chat", [1, 1.5], True)
        forms = json.dumps({name: form(schema) for name, schema in SCHEMAS.items()})
        ask = "SELECT qwen_chat('Anna is 31.', temperature => t, seed => 7, max_tokens => 60, response_format => (%s::json ->> s)::json) FROM unnest(%s::text[]) s, unnest(ARRAY[0, 1, 1.5]) t"
        assert server.query(ask, (forms, list(SCHEMAS))) == plain.query(ask, (forms, list(SCHEMAS)))
