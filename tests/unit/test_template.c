/*
 * test_template.c - the template interpreter: every construct with its text and its trusted runs, every error with its
 * sentence, every bound. (What Jinja itself makes of many more is in test_template_golden.c.)
 *
 * Expected texts show trusted runs between « and ».
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/template/chat_template.h"
#include "../../src/template/operations.h"

#define HELLO "[{\"role\":\"user\",\"content\":\"Hi\"}]"

/* An input of these messages with a generation prompt and nothing else. */
static ChatInput
input_of(const char *messages)
{
	return (ChatInput){.messages = {messages, strlen(messages)},
					   .enable_thinking = -1,
					   .add_generation_prompt = true,
					   .bos_token = "<bos>",
					   .eos_token = "<eos>",
					   .now = 1754000000};
}

/* Parse and render; the Status of whichever failed. */
static Status
render(const char *source, const ChatInput *input, ChatPrompt *prompt)
{
	ChatTemplate *chat_template;
	Status status = chat_template_create(source, strlen(source), &chat_template);

	memset(prompt, 0, sizeof *prompt);
	if (!status_is_ok(&status))
	{
		assert_null(chat_template);
		return status;
	}
	status = chat_template_render(chat_template, input, prompt);
	chat_template_destroy(chat_template);
	return status;
}

/* The prompt with « and » around its trusted runs; the caller frees it. */
static char *
mark_runs(const ChatPrompt *prompt)
{
	char *marked = calloc(1, prompt->length + prompt->n_trusted * 4 + 1);
	size_t position = 0;

	assert_non_null(marked);
	for (size_t i = 0; i < prompt->n_trusted; i++)
	{
		TextRun run = prompt->trusted[i];

		strncat(marked, prompt->text + position, run.start - position);
		strcat(marked, "«");
		strncat(marked, prompt->text + run.start, run.length);
		strcat(marked, "»");
		position = run.start + run.length;
	}
	strcat(marked, prompt->text + position);
	return marked;
}

/* A template must render this marked text. */
static void
expect_with(const char *source, const char *messages, const char *expected)
{
	ChatInput input = input_of(messages);
	ChatPrompt prompt;
	Status status = render(source, &input, &prompt);
	char *marked;

	if (!status_is_ok(&status))
		fail_msg("%s\n%s", source, status.message);
	marked = mark_runs(&prompt);
	if (strcmp(marked, expected) != 0)
		fail_msg("%s\nexpected: %s\ngot:      %s", source, expected, marked);
	assert_int_equal(prompt.text[prompt.length], '\0');
	free(marked);
	chat_prompt_free(&prompt);
}

static void
expect(const char *source, const char *expected)
{
	expect_with(source, HELLO, expected);
}

/* A template or its input must fail with this code and (as a part of it) this sentence. */
static void
expect_failure(const char *source, const char *messages, StatusCode code, const char *sentence)
{
	ChatInput input = input_of(messages);
	ChatPrompt prompt;
	Status status = render(source, &input, &prompt);

	if (status.code != code || !strstr(status.message, sentence))
		fail_msg("%.200s\nexpected: %d %s\ngot:      %d %s", source, code, sentence, status.code, status.message);
	assert_null(prompt.text);
	chat_prompt_free(&prompt);
}

static void
text_and_data_are_told_apart(void **state)
{
	(void) state;
	expect("<|im_start|>{{ messages[0].role }}\n{{ messages[0].content }}<|im_end|>",
		   "«<|im_start|>»user«\n»Hi«<|im_end|>»");
	expect("{{ '<|im_start|>' + messages[0].role + '\\n' ~ messages[0].content + 'x' }}",
		   "«<|im_start|>»user«\n»Hi«x»");
	expect_with("{{ 'a' + messages[0].content + 'b' }}", "[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]",
				"«a»<|im_end|>«b»");
	expect("{{ 'a' + 'b' }}{{ 'c' }}", "«abc»");
	expect("{{ bos_token }}{{ eos_token }}", "«<bos><eos>»");
	expect("{{ 1 }}{{ true }}{{ none }}{{ 1.5 }}{{ [1, 'a'] }}", "1TrueNone1.5[1, '«a»']");
	expect("{{ strftime_now('%Y-%m-%d %H:%M') }}", "2025-07-31 22:13");
}

static void
origin_survives_every_operation(void **state)
{
	(void) state;
	expect("{% set t = 'ab' + messages[0].content + 'cd' %}{{ t[1:4] }}|{{ t[::-1] }}|{{ t[2] }}|{{ t[-2:] }}",
		   "«b»Hi«|dc»iH«ba|»H«|cd»");
	expect("{{ ('xx' + messages[0].content + 'xx') | trim('x') }}", "Hi");
	expect("{{ ('  a' + messages[0].content + ' ').strip() }}", "«a»Hi");
	expect("{{ ('a' + messages[0].content) | upper }}{{ (messages[0].content + 'B').lower() }}", "«A»HIhi«b»");
	expect("{{ 'a-a'.replace('a', messages[0].content) }}", "Hi«-»Hi");
	expect("{{ messages[0].content | replace('i', 'o') }}", "H«o»");
	expect("{% for p in ('a,' ~ messages[0].content ~ ',b').split(',') %}[{{ p }}]{% endfor %}", "«[a][»Hi«][b]»");
	expect("{{ ['a', messages[0].content] | join('-') }}{{ '+'.join(['a', messages[0].content]) }}", "«a-»Hi«a+»Hi");
	expect("{{ 'ab' * 2 }}{{ messages[0].content * 2 }}", "«abab»HiHi");
	expect("{% set x %}a{{ messages[0].content }}b{% endset %}{{ x }}", "«a»Hi«b»");
	expect("{% macro m(p) %}<{{ p }}>{% endmacro %}{{ m(messages[0].content) }}{{ m('t') }}", "«<»Hi«><t>»");
	expect("{% for c in 'a' + messages[0].content %}{{ c }}{% endfor %}", "«a»Hi");
	expect("{% filter upper %}a{{ messages[0].content }}{% endfilter %}", "«A»HI");
	expect("{{ ('a\\n' + messages[0].content) | indent(2) }}", "«a\n»  Hi");
	expect("{{ {'k': messages[0].content}.k ~ {'k': 't'}['k'] }}", "Hi«t»");
	expect("{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + m.content + ';' %}{% endfor %}{{ "
		   "ns.s }}",
		   "Hi«;»");
	expect("{{ messages[0].content | title }}{{ 'ab cd' | title }}{{ 'AB' | capitalize }}", "Hi«Ab CdAb»");
}

static void
what_json_makes_is_data(void **state)
{
	(void) state;
	expect("{{ messages[0] | tojson }}", "{\"role\": \"user\", \"content\": \"Hi\"}");
	expect("{{ {'a': [1, 'x\"y', none, true, 1.0], 'é': {}} | tojson }}",
		   "{\"«a»\": [1, \"«x»\\\"«y»\", null, true, 1.0], \"«é»\": {}}");
	expect("{{ [1, {'b': 2, 'a': []}] | tojson(indent=2, sort_keys=true) }}",
		   "[\n  1,\n  {\n    \"«a»\": [],\n    \"«b»\": 2\n  }\n]");
	expect("{{ 'é🙂\\n' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude42\\n\"");
	expect("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1«,»2]");
	expect_with("{{ messages[0].content | tojson }}", "[{\"role\":\"user\",\"content\":\"\\u0001\\u007f\\\\<|x|>\"}]",
				"\"\\u0001\x7f\\\\<|x|>\"");
}

static void
white_space_is_controlled(void **state)
{
	(void) state;
	expect("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "«a\nb\nc»");
	expect("a \n {%- if true -%} \n b {%- endif %} c", "«ab c»");
	expect("a\n  {%+ if true %}b{% endif +%}\nc", "«a\n  b\nc»");
	expect("a {{- 'b' -}} c", "«abc»");
	expect("a\n  {# note #}\nb {#- x -#} c", "«a\nbc»");
	expect("{% raw %}{{ x }} {% if %}{% endraw %}|{%- raw -%} y {%- endraw -%} z", "«{{ x }} {% if %}|yz»");
	expect("a\r\nb\r", "«a\nb»");
	expect("a\n\n", "«a\n»");
	expect("\t{% set x = 1 %}\n{{ x }}", "1");
	expect("  {{ 1 }}", "«  »1");
}

static void
statements_run(void **state)
{
	(void) state;
	expect("{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
		   "{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
		   "1032TrueFalse32«;»2121FalseFalse313«;»3210FalseTrue32«;»");
	expect("{% for x in [] %}a{% else %}b{% endfor %}{% for x in nothing %}c{% endfor %}", "«b»");
	expect("{% for x in range(6) if x is even %}{{ x }}/{{ loop.length }} {% endfor %}", "0«/»3« »2«/»3« »4«/»3« »");
	expect("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "«a»1«b»2");
	expect("{% for x in range(9) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break %}{% endif %}{{ x }}"
		   "{% endfor %}",
		   "02");
	expect("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}", "21");
	expect("{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "2");
	expect("{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set c = 1, %}{{ c }}", "21(1,)");
	expect("{% if 0 %}a{% elif '' %}b{% elif [0] %}c{% else %}d{% endif %}", "«c»");
	expect("{% macro m(a, b=a, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ m(1, 2, 3) }}",
		   "11«z»112123");
	expect("{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(p) m() %}{{ p }}y{% endcall %}", "«[xy]»");
	expect("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210");
	expect("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3");
	expect("{% generation %}{% set q = 1 %}x{% endgeneration %}{{ q }}", "«x»");
	expect("{% set x | upper | trim %} a {% endset %}{{ x }}", "«A»");
	expect("{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3");
	expect("{% for i in range(4) %}{{ loop.cycle('a', 'b') }}{% endfor %}", "«abab»");
}

static void
expressions_follow_python(void **state)
{
	(void) state;
	expect("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 7.5 % -2 }} {{ 2 ** -1 }}",
		   "3« »-4« »2« »3.5« »1024« »-0.5« »0.5");
	expect("{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 100.0 }} {{ -0.0 }} {{ 1e22 }} {{ 123456789.125 }} {{ 5e-324 }}",
		   "1e+16« »0.30000000000000004« »1e-05« »100.0« »-0.0« »1e+22« »123456789.125« »5e-324");
	expect("{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 == 1.0 == true }}",
		   "TrueFalseTrueTrueTrue");
	expect("{{ 'a' in 'cat' }}{{ 1 not in [2] }}{{ 'k' in {'k': 1} }}{{ 'x' in nothing }}", "TrueTrueTrueFalse");
	expect("{{ '' or 'b' }}{{ 'a' and 'c' }}{{ not '' }}{{ 'x' if false }}{{ 1 if true else 2 }}", "«bc»True1");
	expect("{{ [1, 2, 3][::-1] }}{{ 'abc'[::-2] }}{{ [1, 2, 3][-2:] }}{{ 'abcd'[1:-1] }}{{ [1][5:] }}",
		   "[3, 2, 1]«ca»[2, 3]«bc»[]");
	expect("{{ nothing }}{{ messages[0].nothing }}{{ messages[9] }}{{ none.x }}{{ [nothing] }}", "[Undefined]");
	expect("{{ 'it\\'s' }}{{ ['it\\'s', '\"', '\\n\\t\\\\', 'é'] }}",
		   "«it's»[\"«it's»\", '«\"»', '\\n\\t\\\\', '«é»']");
	expect("{{ {'a': (1,), 2: none} }}{{ {'x': 1, 'x': 2} }}", "{'«a»': (1,), 2: None}{'«x»': 2}");
	expect("{{ 'a' 'b' \"c\" }}{{ '\\x41\\u00e9\\q' }}", "«abcAé\\q»");
	expect("{{ 0x1f }}{{ 0b11 }}{{ 0o17 }}{{ 1_000 }}{{ 1_0.5e1 }}", "31"
																	 "3"
																	 "15"
																	 "1000"
																	 "105.0");
	expect("{{ 'x'.items }}{{ messages[0].get('zz', 'd') }}{{ messages[0].keys() | list }}", "«d»['role', 'content']");
	expect("{{ ('<a>' | safe) + '<' + 'b' }}", "«<a>»&lt;«b»");
	expect("{{ 'a,b,,c'.split(',', 1) }}{{ ' a  b '.split() }}", "['«a»', '«b,,c»']['«a»', '«b»']");
	expect("{{ 'häßlich'.upper() }}{{ 'ÄB'.lower() }}{{ 'äb'.capitalize() }}{{ \"they're\".title() }}",
		   "«HÄSSLICHäbÄbThey'Re»");
	expect("{{ 'ﬁ ß'.capitalize() }}{{ 'ΑΣ ΑΣΑ'.lower() }}{{ 'ŉa'.title() }}{{ 'İ'.lower() }}{{ 'ﬃ' | upper }}",
		   "«Fi ßας ασαʼNai̇FFI»");
	expect("{{ '\x7f' | tojson(ensure_ascii=true) }}{{ '\x7f' | tojson }}", "\"\\u007f\"\"«\x7f»\"");
}

static void
filters_and_tests_work(void **state)
{
	(void) state;
	expect("{{ [3, 1, 2] | sort }}{{ ['b', 'A'] | sort | join }}{{ [1, 2] | sum }}{{ [1, 5] | max }}{{ [4, 2] | min }}",
		   "[1, 2, 3]«Ab»352");
	/* what is equal needs no order */
	expect("{{ [{}, {}] | sort }}{{ [nothing, missing] | sort | length }}{{ [(1, nothing), (1, missing)] | sort }}",
		   "[{}, {}]2[(1, Undefined), (1, Undefined)]");
	expect_failure("{{ [{}, {'a': 1}] | sort }}", HELLO, STATUS_INVALID_ARGUMENT, "have no order");
	expect_failure("{{ [nothing, 1] | sort }}", HELLO, STATUS_INVALID_ARGUMENT, "\"nothing\" is undefined");
	/* tuples of tuples are keys, of lists they are not */
	expect("{{ ('a', (1, ())) in {} }}{{ {(1, (2, 3)): 'x'}[(1, (2, 3))] }}{{ {}.get((1, (2,)), 'y') }}", "False«xy»");
	expect("{{ {(1, 3): 'x'}[1, 3] }}|{{ {(1,): 2}[(1,)] }}|{{ {1: 2}[[1]] }}{{ {1: 2}[{}] }}{{ [1, 2][0, 1] }}|",
		   "«x|»2«||»");
	expect_failure("{{ [1, 2][0:1, 1] }}", HELLO, STATUS_UNSUPPORTED, "a slice beside a comma");
	expect_failure("{{ (1, (2, [])) in {} }}", HELLO, STATUS_INVALID_ARGUMENT, "a tuple cannot be a key");
	expect("{{ messages | map(attribute='role') | join(',') }}{{ ['a', 'b'] | map('upper') | list }}",
		   "user['«A»', '«B»']");
	expect("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | rejectattr('role') | "
		   "list }}",
		   "1[]");
	expect("{{ [1, none, 2] | select | list }}{{ [1, 2, 3] | reject('odd') | list }}", "[1, 2][2]");
	expect("{{ nothing | default('d') }}{{ '' | d('e', true) }}{{ 0 | default(5) }}", "«de»0");
	expect(
		"{{ '12' | int + 1 }}{{ 'x' | int(7) }}{{ '1.5' | float }}{{ 3.7 | int }}{{ -2 | abs }}{{ 2.567 | round(2) }}",
		"1371.5322.57");
	expect("{{ 'abc' | first }}{{ [1, 2] | last }}{{ [] | first }}{{ {'a': 1} | items | list }}", "«a»2[('«a»', 1)]");
	expect("{{ [1, 2] | reverse | list }}{{ 'ab' | reverse }}{{ [1, 1, 2] | unique | list }}{{ {'b': 1, 'a': 2} | "
		   "dictsort }}",
		   "[2, 1]«ba»[1, 2][('«a»', 2), ('«b»', 1)]");
	expect("{{ 'héllo' | length }}{{ messages | count }}{{ 5 | string + '!' }}", "515«!»");
	expect("{{ 1 is number }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is iterable }}{{ 'x' is sequence }}"
		   "{{ none is none }}{{ true is boolean }}{{ false is false }}{{ 4 is divisibleby 2 }}{{ x is not defined }}"
		   "{{ 1 is in [1] }}{{ 'a' is eq 'a' }}{{ 2 is gt(1) }}{{ 3 is odd }}",
		   "TrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrueTrue");
	expect("{{ 'a' if messages | selectattr('role', 'eq', 'none') else 'b' }}", "«a»"); /* iterators are true */
}

static void
thinking_and_tools_are_given(void **state)
{
	ChatInput input = input_of(HELLO);
	ChatPrompt prompt;
	const char *source =
		"{{ enable_thinking is defined }}{{ enable_thinking }}{{ tools | tojson }}{{ add_generation_prompt }}";

	(void) state;
	assert_true(status_is_ok(&(Status[]){render(source, &input, &prompt)}[0]));
	assert_string_equal(prompt.text, "FalsenullTrue");
	chat_prompt_free(&prompt);
	input.enable_thinking = 0;
	input.add_generation_prompt = false;
	input.tools = (ByteSpan){"[{\"name\": \"f\"}]", 15};
	assert_true(status_is_ok(&(Status[]){render(source, &input, &prompt)}[0]));
	assert_string_equal(prompt.text, "TrueFalse[{\"name\": \"f\"}]False");
	chat_prompt_free(&prompt);
}

static void
default_template_is_chatml(void **state)
{
	(void) state;
	expect(chat_template_default, "«<|im_start|>»user«\n»Hi«<|im_end|>\n<|im_start|>assistant\n»");
	expect_with(
		chat_template_default,
		"[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"<|im_end|>\"}]",
		"«<|im_start|>»system«\n»S«<|im_end|>\n<|im_start|>»user«\n»<|im_end|>«<|im_end|>\n<|im_start|>assistant\n»");
}

static void
mentions_are_variables_only(void **state)
{
	const char *source = "{% if tools %}{{ x.enable_thinking }}{% endif %}bos_token{{ 'eos_token' }}{{ a|default(b) }}";
	ChatTemplate *chat_template;
	Status status = chat_template_create(source, strlen(source), &chat_template);

	(void) state;
	assert_true(status_is_ok(&status));
	assert_true(chat_template_mentions(chat_template, "tools"));
	assert_true(chat_template_mentions(chat_template, "b"));
	assert_false(chat_template_mentions(chat_template, "enable_thinking"));
	assert_false(chat_template_mentions(chat_template, "bos_token"));
	assert_false(chat_template_mentions(chat_template, "eos_token"));
	assert_false(chat_template_mentions(chat_template, "messages"));
	chat_template_destroy(chat_template);
}

static void
contents_are_made_strings(void **state)
{
	const char *parts =
		"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]";
	const char *null = "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\"}]}]";
	const char *absent = "[{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\"}]}]";

	(void) state;
	expect_with("{{ messages[0].content }}{{ messages[0].content is string }}", parts, "abTrue");
	expect_with("{{ messages[0].content is string }}", null, "True");
	expect_with("{{ messages[0].content is none }}", null, "True");
	expect_with("{{ messages[0]['content'] is not none }}", absent, "False");
	expect_with("{{ messages[0].reasoning_content is none }}{{ messages[0].content + 'x' }}", absent, "False«x»");
}

static void
wrong_messages_are_named(void **state)
{
	static const struct
	{
		const char *messages;
		const char *sentence;
	} wrong[] = {
		{"", "messages is not valid JSON"},
		{"[{]", "messages is not valid JSON: string or '}' expected"},
		{"{}", "messages must be a JSON array"},
		{"\"x\"", "messages must be a JSON array"},
		{"[]", "messages must not be empty"},
		{"[1]", "messages[0] must be an object"},
		{"[{\"content\":\"x\"}]", "messages[0] has no \"role\""},
		{"[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"robot\",\"content\":\"\"}]",
		 "messages[1] has the unknown role \"robot\": roles are system, developer, user, assistant and tool"},
		{"[{\"role\":3,\"content\":\"x\"}]", "messages[0].role must be a string"},
		{"[{\"role\":\"user\"}]", "messages[0] has no \"content\""},
		{"[{\"role\":\"user\",\"content\":null}]", "messages[0].content is null"},
		{"[{\"role\":\"user\",\"content\":5}]", "messages[0].content must be a string or an array of text parts"},
		{"[{\"role\":\"user\",\"content\":[5]}]", "messages[0].content[0] must be an object with a \"type\""},
		{"[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]", "messages[0].content[0] has the type \"image\""},
		{"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "messages[0].content[0].text must be a string"},
		{"[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]", "messages[0] contains a NUL character"},
		{"[{\"role\":\"user\",\"content\":\"a\",\"x\":[[\"\\u0000\"]]}]", "messages[0] contains a NUL character"},
		{"[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":5}]", "messages[0].tool_calls must be an array"},
		{"[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[5]}]",
		 "messages[0].tool_calls[0] must be an object"},
		{"[{\"role\":\"user\",\"content\":\"\xff\"}]", "messages is not valid UTF-8"},
		{"[{\"role\":\"user\",\"content\":\"\\ud800\"}]", "messages is not valid JSON"},
	};
	static const struct
	{
		const char *json, *sentence;
	} tools[] = {
		{"{}", "tools must be a JSON array"},
		{"[1]", "tools[0] must be an object"},
		{"[{}]", "tools[0] has no \"name\""},
		{"[{\"name\":\"f\"},{\"type\":\"function\"}]",
		 "tools[1] has no \"function\": {\"type\": \"function\", \"function\": {\"name\": \"...\", \"parameters\": "
		 "{...}}}"},
		{"[{\"type\":\"function\",\"function\":\"f\"}]", "tools[0].function must be an object"},
		{"[{\"type\":\"function\",\"function\":null}]", "tools[0].function must be an object"},
		{"[{\"type\":\"function\",\"function\":{\"parameters\":{}}}]", "tools[0].function has no \"name\""},
		{"[{\"function\":{\"name\":\"\"}}]",
		 "tools[0].function.name must be a string that is not empty and holds no NUL"},
		{"[{\"name\":7}]", "tools[0].name must be a string that is not empty and holds no NUL"},
		{"[{\"name\":\"f\",\"parameters\":[]}]", "tools[0].parameters must be a JSON schema, an object"},
		{"[{\"name\":\"f\",\"strict\":\"yes\"}]", "tools[0].strict must be true or false"},
		{"[{\"function\":{\"name\":\"f\",\"description\":7}}]", "tools[0].function.description must be a string"},
		{"[{\"function\":{\"name\":\"f\",\"input_schema\":\"{}\"}}]",
		 "tools[0].function.input_schema must be a JSON schema, an object"},
	};
	ChatInput input = input_of(HELLO);
	ChatPrompt prompt;
	Status status;

	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		expect_failure("x", wrong[i].messages, STATUS_INVALID_ARGUMENT, wrong[i].sentence);
	for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
	{
		input.tools = (ByteSpan){tools[i].json, strlen(tools[i].json)};
		status = render("x", &input, &prompt);
		assert_string_equal(status.message, tools[i].sentence);
		assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	}
}

static void
deep_messages_are_refused(void **state)
{
	char messages[1200] = "[{\"role\":\"user\",\"content\":\"x\",\"y\":";

	(void) state;
	for (int i = 0; i < 300; i++)
		strcat(messages, "[");
	for (int i = 0; i < 300; i++)
		strcat(messages, "]");
	strcat(messages, "}]");
	expect_failure("x", messages, STATUS_INVALID_ARGUMENT, "messages[0] is nested deeper than 200 levels");
}

static void
unsupported_is_named_with_its_line(void **state)
{
	static const struct
	{
		const char *source;
		const char *sentence;
	} unsupported[] = {
		{"\n{% include 'x' %}", "line 2 of the chat template: the tag include is not supported"},
		{"{% extends 'x' %}", "the tag extends"},
		{"{% block a %}{% endblock %}", "the tag block"},
		{"{% do x %}", "the tag do"},
		{"a\nb\n{{ x | xmlattr }}", "line 3 of the chat template: the filter xmlattr is not supported"},
		{"{{ x is sometest }}", "the test sometest"},
		{"{{ 'a'.format(1) }}", "the method format"},
		{"{{ 'a'.encode }}", "the method encode"},
		{"{{ cycler(1) }}", "the function cycler"},
		{"{{ f(*a) }}", "* and ** before an argument"},
		{"{% for x in y recursive %}{% endfor %}", "a recursive loop"},
		{"{% macro m() %}{{ varargs }}{% endmacro %}", "varargs and kwargs"},
		{"{{ '%s' % 1 }}", "formatting a string with %"},
		{"{{ [1] | map('nope') | list }}", "the filter nope"},
		{"{{ [1] | select('nope') | list }}", "the test nope"},
		{"{{ 9223372036854775807 + 1 }}", "more than 64 bits"},
		{"{{ 2 ** 64 }}", "more than 64 bits"},
		{"{{ 'a\\x00' }}", "a NUL character"},
		{"{{ [1] | map('string') }}", "printing an iterator"},
		{"{{ messages[0].get }}", "printing a method"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
		expect_failure(unsupported[i].source, HELLO, STATUS_UNSUPPORTED, unsupported[i].sentence);
}

static void
what_is_no_template_is_refused(void **state)
{
	static const struct
	{
		const char *source;
		const char *sentence;
	} wrong[] = {
		{"\n\n{% if x %}", "line 3 of the chat template: expected the tag elif, but the template ends"},
		{"{% endif %}", "expected another tag, not \"endif\""},
		{"{{ x", "a tag has no end"},
		{"{# x", "a comment has no end"},
		{"{% raw %}x", "a raw block has no end"},
		{"{{ 'x }}", "a string has no end"},
		{"{{ ) }}", "a closing bracket has no opening one"},
		{"{{ a b }}", "expected \"}}\", not \"b\""},
		{"{{ }}", "expected an expression, not \"}}\""},
		{"{{ a! }}", "an unexpected character in a tag"},
		{"{% for in x %}{% endfor %}", "expected a name to assign to"},
		{"{% set 1 = 2 %}", "expected a name"},
		{"{% break %}", "break and continue inside a loop only"},
		{"{{ f(a=1, 2) }}", "expected a keyword argument"},
		{"{{ 99999999999999999999 }}", "more than 64 bits"},
		{"{{ '\\xZZ' }}", "a wrong escape"},
		{"\xff", "not valid text"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		expect_failure(wrong[i].source, HELLO, STATUS_INVALID_ARGUMENT, wrong[i].sentence);
}

static void
errors_of_a_rendering_name_the_line(void **state)
{
	(void) state;
	expect_failure("a\n{{ nothing.x }}", HELLO, STATUS_INVALID_ARGUMENT,
				   "line 2 of the chat template: \"nothing\" is undefined");
	expect_failure("{{ messages[0].nothing + 'x' }}", HELLO, STATUS_INVALID_ARGUMENT, "\"nothing\" is undefined");
	expect_failure("{{ 1 + 'x' }}", HELLO, STATUS_INVALID_ARGUMENT, "\"+\" does not take an integer and a string");
	expect_failure("{{ 1 // 0 }}", HELLO, STATUS_INVALID_ARGUMENT, "division by zero");
	expect_failure("{{ 1 < 'x' }}", HELLO, STATUS_INVALID_ARGUMENT, "have no order");
	expect_failure("{% for x in 5 %}{% endfor %}", HELLO, STATUS_INVALID_ARGUMENT, "an integer is not iterable");
	expect_failure("{% set a, b = [1] %}", HELLO, STATUS_INVALID_ARGUMENT, "1 values for 2 names");
	expect_failure("{% set x = 1 %}{% set x.y = 2 %}", HELLO, STATUS_INVALID_ARGUMENT, "cannot assign to an attribute");
	expect_failure("{{ [].append(1) }}", HELLO, STATUS_INVALID_ARGUMENT, "\"append\" is undefined");
	expect_failure("{{ nothing | tojson }}", HELLO, STATUS_INVALID_ARGUMENT, "\"nothing\" is undefined");
	expect_failure("{{ 'a' | trim(x=1) }}", HELLO, STATUS_INVALID_ARGUMENT, "does not take the argument \"x\"");
}

static void
raise_exception_gives_its_own_sentence(void **state)
{
	ChatInput input = input_of(HELLO);
	ChatPrompt prompt;
	Status status = render("\n{{ raise_exception('No ' + messages[0].role + '!') }}", &input, &prompt);

	(void) state;
	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	assert_string_equal(status.message, "No user!");
}

static void
sentences_are_whole_characters(void **state)
{
	(void) state;
	expect_failure("{{ ééééééééééééééééééééaéééééééééééééééé | xé }}", HELLO, STATUS_UNSUPPORTED, "the filter xé");
	expect_failure("{{ 1 | xéééééééééééééééééééééééééééééééééé }}", HELLO, STATUS_UNSUPPORTED,
				   "the filter xééééééééééééééééééé is not supported");
	expect_failure("{{ raise_exception('a\nb') }}", HELLO, STATUS_INVALID_ARGUMENT, "a b");
}

static void
bounds_hold(void **state)
{
	static const struct
	{
		const char *source;
		const char *sentence;
	} endless[] = {
		{"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "more than"},
		{"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}", "more than"},
		{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper than 1000 levels"},
		{"{{ range(1000000000000) }}", "a range of 1000000000000 items"},
		{"{{ 'x' * 1000000000 }}", "a text is longer than 32 MiB"},
		{"{{ [0] * 1000000000 }}", "a list has more than"},
		{"{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
		 "a text is longer than 32 MiB"},
		{"{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		 "text is longer"},
		{"{% set ns = namespace(s='abcdefgh') %}{% for i in range(40) %}{% set ns.s = ns.s | replace('a', ns.s) %}{% "
		 "endfor %}",
		 "text is longer"},
		{"{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
		 "more than"},
		{"{% set ns = namespace(l=[1]) %}{% for i in range(3000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
		 "nested deeper than 1000 levels"},
		{"{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "nested deeper than 1000 levels"},
		{"{% set t = 'x' * 1000 * 30000 %}{{ t }}{{ t }}", "a text is longer than 32 MiB"},
		{"{% set t = 'x' * 1000 * 30000 %}{% for i in range(100) %}{% set u = t | upper %}{% endfor %}", "more than"},
		{"{{ [1] | tojson(indent=100000000) }}", "indent over 1000"},
		{"{% set t = 'ab' * 1000000 %}{% for i in range(100000) %}{% set x = t | replace('a', 'c') %}{% endfor %}",
		 "steps"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++)
		expect_failure(endless[i].source, HELLO, STATUS_TOO_LONG, endless[i].sentence);
}

/* n times a text, in parentheses that the caller frees. */
static char *
repeated(const char *before, const char *text, size_t n, const char *after)
{
	size_t length = strlen(text);
	char *all = malloc(strlen(before) + n * length + strlen(after) + 1);
	char *end = all;

	assert_non_null(all);
	end = stpcpy(end, before);
	for (size_t i = 0; i < n; i++)
		end = stpcpy(end, text);
	strcpy(end, after);
	return all;
}

static void
deep_and_large_templates_are_refused(void **state)
{
	static const struct
	{
		const char *before, *text, *after;
		size_t n;
		StatusCode code;
	} large[] = {
		{"{{ ", "(", "1 }}", 5000, STATUS_INVALID_ARGUMENT},  {"{{ ", "[", "1", 200, STATUS_INVALID_ARGUMENT},
		{"{{ ", "-", "1 }}", 5000, STATUS_TOO_LONG},          {"{{ ", "not ", "1 }}", 5000, STATUS_TOO_LONG},
		{"", "{% if 1 %}", "", 5000, STATUS_TOO_LONG},        {"{{ 1 ", "+ 1 ", "}}", 5000, STATUS_TOO_LONG},
		{"{{ x", "|default(1)", "}}", 5000, STATUS_TOO_LONG}, {"{{ x", ".a", "}}", 5000, STATUS_TOO_LONG},
		{"", "0123456789", "", 200000, STATUS_TOO_LONG},
	};
	char *inner = repeated("{{ ", "[", 150, "");
	char *nested = repeated(inner, "]", 150, " }}");

	(void) state;
	expect_failure(nested, HELLO, STATUS_TOO_LONG, "nested deeper than 200 levels");
	free(inner);
	free(nested);
	for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
	{
		char *source = repeated(large[i].before, large[i].text, large[i].n, large[i].after);

		expect_failure(source, HELLO, large[i].code, "");
		free(source);
	}
}

static void
many_names_are_refused(void **state)
{
	char *source = calloc(1, 200000);
	char *end = source;

	(void) state;
	assert_non_null(source);
	for (int i = 0; i < 5000; i++)
		end += sprintf(end, "{{ name%d }}", i);
	expect_failure(source, HELLO, STATUS_TOO_LONG, "more than 4096 different names");
	free(source);
}

static void
one_template_renders_many_times(void **state)
{
	const char *source =
		"{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}";
	ChatTemplate *chat_template;
	Status status = chat_template_create(source, strlen(source), &chat_template);

	(void) state;
	assert_true(status_is_ok(&status));
	for (int i = 0; i < 3; i++)
	{
		ChatInput input = input_of(HELLO);
		ChatPrompt prompt;

		status = chat_template_render(chat_template, &input, &prompt);
		assert_true(status_is_ok(&status));
		assert_string_equal(prompt.text, "1");
		assert_int_equal(prompt.n_trusted, 0);
		chat_prompt_free(&prompt);
	}
	chat_template_destroy(chat_template);
	chat_template_destroy(NULL);
}

/* The table is searched by halving: a row out of order would be a filter that is not there. */
static void
every_operation_is_found_by_its_name(void **state)
{
	const Operation *operation;
	int n = 0;

	(void) state;
	for (; (operation = operation_at(n)); n++)
	{
		int place = operation_find(operation->kind, operation->name, strlen(operation->name));

		assert_in_range(place, 0, n);
		assert_int_equal(operation_at(place)->kind, operation->kind);
		assert_string_equal(operation_at(place)->name, operation->name);
		/* only methods may share a name: each for other values */
		for (int i = place; i < n; i++)
			assert_true(operation->kind == OPERATION_METHOD && !(operation_at(i)->values & operation->values));
		assert_true(operation->n_parameters <= OPERATION_MAX_PARAMETERS);
	}
	assert_true(n > 100);
	assert_int_equal(operation_find(OPERATION_FILTER, "uppe", 4), -1);
	assert_int_equal(operation_find(OPERATION_FILTER, "upperx", 6), -1);
	assert_int_equal(operation_find(OPERATION_TEST, "zzz", 3), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_data_are_told_apart),
		cmocka_unit_test(origin_survives_every_operation),
		cmocka_unit_test(what_json_makes_is_data),
		cmocka_unit_test(white_space_is_controlled),
		cmocka_unit_test(statements_run),
		cmocka_unit_test(expressions_follow_python),
		cmocka_unit_test(filters_and_tests_work),
		cmocka_unit_test(thinking_and_tools_are_given),
		cmocka_unit_test(default_template_is_chatml),
		cmocka_unit_test(mentions_are_variables_only),
		cmocka_unit_test(contents_are_made_strings),
		cmocka_unit_test(wrong_messages_are_named),
		cmocka_unit_test(deep_messages_are_refused),
		cmocka_unit_test(unsupported_is_named_with_its_line),
		cmocka_unit_test(what_is_no_template_is_refused),
		cmocka_unit_test(errors_of_a_rendering_name_the_line),
		cmocka_unit_test(raise_exception_gives_its_own_sentence),
		cmocka_unit_test(sentences_are_whole_characters),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(deep_and_large_templates_are_refused),
		cmocka_unit_test(many_names_are_refused),
		cmocka_unit_test(one_template_renders_many_times),
		cmocka_unit_test(every_operation_is_found_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
