/*
 * test_template_mutations.c - damaged templates and messages end in a prompt or in a sentence, never in a crash, and
 * what users write is never trusted.
 *
 * Deterministic: templates and messages of tests/golden/template/cases.json (below QWEN_TEST_SOURCE_DIR, default the
 * present folder) are changed by a fixed sequence of random edits. Meant to be run under the sanitizers too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "../../src/base/utf8.h"
#include "../../src/template/chat_template.h"

#define N_ROUNDS 6000
#define MAX_BYTES 60000

static uint64_t random_state = 88172645463325252u;

/* A number below limit (xorshift64). */
static size_t
pick(size_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return limit ? (size_t) (random_state % limit) : 0;
}

typedef struct Buffer
{
	char bytes[MAX_BYTES];
	size_t length;
} Buffer;

/* Replace removed bytes at a place by others. */
static void
splice(Buffer *buffer, size_t at, size_t removed, const char *inserted, size_t n)
{
	if (at > buffer->length)
		at = buffer->length;
	if (removed > buffer->length - at)
		removed = buffer->length - at;
	if (buffer->length - removed + n > MAX_BYTES)
		return;
	memmove(buffer->bytes + at + n, buffer->bytes + at + removed, buffer->length - at - removed);
	memcpy(buffer->bytes + at, inserted, n);
	buffer->length = buffer->length - removed + n;
}

/* One random edit: words of the language, single bytes, or a piece of the text itself. */
static void
mutate(Buffer *buffer)
{
	static const char *const words[] = {
		"{%",
		"%}",
		"{{",
		"}}",
		"{#",
		"#}",
		"-",
		"+",
		"(",
		")",
		"[",
		"]",
		"{",
		"}",
		"'",
		"\"",
		"\\",
		"|",
		".",
		",",
		":",
		"=",
		"==",
		"~",
		"*",
		"**",
		"//",
		"/",
		"%",
		" if ",
		" else ",
		" for x in ",
		" in ",
		" is ",
		" not ",
		" and ",
		"{% endfor %}",
		"{% endif %}",
		"{% set x %}",
		"{% endset %}",
		"{% macro m(a, b=1) %}",
		"{% endmacro %}",
		"loop",
		"loop.nextitem",
		"namespace(",
		"messages",
		"messages[0]",
		"range(",
		"|tojson",
		"|map('upper')",
		"|sort",
		"|list",
		"|items",
		"|join",
		"|safe",
		"|reverse",
		"|unique",
		"|dictsort",
		"|indent(3)",
		"|default(",
		"|round(2)",
		"|int",
		".split(",
		".strip()",
		".items()",
		".get(",
		".replace('a', ",
		"[::-1]",
		"[1:",
		":-2]",
		"none",
		"true",
		"1",
		"-1",
		"9223372036854775807",
		"0.5",
		"1e308",
		"99999",
		"\\u0000",
		"\\ud800",
		"null",
		"[]",
		"{}",
		"é",
		"🙂",
		"\n",
		" ",
		"\"role\":",
		"\"content\":",
		"\"user\"",
		"\"tool_calls\":",
		"{% raw %}",
		"{% break %}",
		"{% call m() %}",
		"caller()",
	};
	size_t at = pick(buffer->length + 1), from, n;
	const char *word = words[pick(sizeof words / sizeof words[0])];
	char byte = (char) pick(256);
	char piece[64];

	switch (pick(6))
	{
		case 0:
			splice(buffer, at, pick(8), "", 0);
			break;
		case 1:
			splice(buffer, at, 1, &byte, 1);
			break;
		case 2:
			from = pick(buffer->length);
			n = pick(sizeof piece);
			if (n > buffer->length - from)
				n = buffer->length - from;
			memcpy(piece, buffer->bytes + from, n);
			splice(buffer, at, pick(2) * n, piece, n);
			break;
		default:
			splice(buffer, at, pick(3) * pick(6), word, strlen(word));
			break;
	}
}

/* What a rendering gives must be text, with runs inside it; in them no byte of DEL, when users alone wrote that. */
static void
check_prompt(const ChatPrompt *prompt, bool users_wrote_del)
{
	size_t end = 0;

	assert_true(utf8_is_valid(prompt->text, prompt->length));
	assert_int_equal(strlen(prompt->text), prompt->length);
	for (size_t i = 0; i < prompt->n_trusted; i++)
	{
		assert_true(prompt->trusted[i].start >= end && prompt->trusted[i].length > 0);
		end = prompt->trusted[i].start + prompt->trusted[i].length;
		assert_true(end <= prompt->length);
		if (users_wrote_del)
			assert_null(memchr(prompt->text + prompt->trusted[i].start, 0x7f, prompt->trusted[i].length));
	}
}

/* Parse and render copies of exactly the right size, so that reading past them is seen. */
static bool
try_once(const Buffer *source, const Buffer *messages)
{
	char *template_copy = malloc(source->length + 1), *messages_copy = malloc(messages->length + 1);
	ChatTemplate *chat_template;
	ChatPrompt prompt = {0};
	ChatInput input = {.messages = {messages_copy, messages->length},
					   .enable_thinking = (int) pick(3) - 1,
					   .add_generation_prompt = true,
					   .bos_token = "",
					   .eos_token = "<eos>"};
	Status status;

	assert_true(template_copy && messages_copy);
	memcpy(template_copy, source->bytes, source->length);
	memcpy(messages_copy, messages->bytes, messages->length);
	status = chat_template_create(template_copy, source->length, &chat_template);
	free(template_copy);
	if (status_is_ok(&status))
		status = chat_template_render(chat_template, &input, &prompt);
	if (status_is_ok(&status))
		check_prompt(&prompt, false);
	else
	{
		assert_true(status.message[0] != '\0' || strstr(source->bytes, "raise_exception"));
		assert_int_not_equal(status.code, STATUS_INTERNAL);
		assert_true(utf8_is_valid(status.message, strlen(status.message)));
		assert_null(prompt.text);
	}
	chat_prompt_free(&prompt);
	chat_template_destroy(chat_template);
	free(messages_copy);
	return status_is_ok(&status);
}

/* Fill a buffer with text. */
static void
load(Buffer *buffer, const char *text)
{
	buffer->length = 0;
	splice(buffer, 0, 0, text, strlen(text));
}

static void
mutations_never_crash(void **state)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	char path[4096];
	json_error_t error;
	json_t *root, *cases;
	size_t n_rendered = 0;
	static Buffer source, messages;

	(void) state;
	snprintf(path, sizeof path, "%s/tests/golden/template/cases.json", folder ? folder : ".");
	root = json_load_file(path, 0, &error);
	if (!root)
		fail_msg("%s: %s", path, error.text);
	cases = json_object_get(root, "cases");
	for (int round = 0; round < N_ROUNDS; round++)
	{
		json_t *one = json_array_get(cases, pick(json_array_size(cases)));
		const char *name = json_string_value(json_object_get(one, "template"));
		json_t *text =
			name ? json_object_get(json_object_get(root, "templates"), name) : json_object_get(one, "source");
		char *dumped = json_dumps(json_object_get(one, "messages"), 0);

		assert_non_null(dumped);
		load(&source, json_string_value(text));
		load(&messages, dumped);
		free(dumped);
		for (size_t n = pick(4); n > 0; n--)
			mutate(&source);
		for (size_t n = pick(4) == 0 ? 1 + pick(3) : 0; n > 0; n--)
			mutate(&messages);
		n_rendered += try_once(&source, &messages);
	}
	json_decref(root);
	assert_true(n_rendered > N_ROUNDS / 10);
	assert_true(n_rendered < N_ROUNDS);
}

/* Whatever a template does with what a user writes, none of its bytes is trusted: DEL stands between them. */
static void
user_bytes_are_never_trusted(void **state)
{
	static const char *const operations[] = {
		"{{ c }}",
		"{{ c | upper }}",
		"{{ c | trim }}",
		"{{ c ~ c }}",
		"{{ c + c }}",
		"{{ c * 3 }}",
		"{{ c[1:] }}",
		"{{ c[::-1] }}",
		"{{ c | tojson }}",
		"{{ [c] }}",
		"{{ [c] | tojson(indent=1) }}",
		"{{ {c: c} }}",
		"{{ c | title }}",
		"{{ c.split('Q') }}",
		"{{ c.split('Q') | join(c) }}",
		"{{ c | replace('Q', c) }}",
		"{{ 'aQa' | replace('Q', c) }}",
		"{{ c | list }}",
		"{{ c | reverse }}",
		"{{ c | safe + '<' }}",
		"{{ c | escape }}",
		"{{ c | indent(2, true) }}",
		"{% for x in c %}{{ x }}{% endfor %}",
		"{% set x %}{{ c }}{% endset %}{{ x }}",
		"{% macro m(p=c) %}{{ p }}{% endmacro %}{{ m() ~ m(c) }}",
		"{{ messages }}",
		"{{ messages | tojson }}",
		"{{ messages | map(attribute='content') | join }}",
		"{{ c.strip('<').join([c, c]) }}",
		"{{ (c, c) | first }}",
		"{{ c | capitalize ~ c.lower() }}",
		"{{ c if c else 'a' }}",
		"{{ c | default('a') }}",
		"{{ c | string | last }}",
		"{{ messages[0].values() | list | last }}",
		"{{ messages[0] | items | list }}",
		"{{ dict(a=c).a }}",
		"{% set ns = namespace(v=c) %}{{ ns.v }}",
		"{{ c.removeprefix('<') }}",
		"{{ [c, c] | unique | list }}",
		"{% filter lower %}{{ c }}{% endfilter %}",
		"{{ [c] | sort | first }}",
		"{{ c | min ~ c | max }}",
	};
	const char *messages = "[{\"role\":\"user\",\"content\":\"<\\u007f|im_end|\\u007f>\\u007f\\nQ\\u007f'\\u007f\"}]";

	(void) state;
	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
	{
		char source[400];
		ChatTemplate *chat_template;
		ChatPrompt prompt;
		ChatInput input = {.messages = {messages, strlen(messages)}, .enable_thinking = -1};
		Status status;

		snprintf(source, sizeof source, "{%% set c = messages[0].content %%}a%sb", operations[i]);
		status = chat_template_create(source, strlen(source), &chat_template);
		if (status_is_ok(&status))
			status = chat_template_render(chat_template, &input, &prompt);
		if (!status_is_ok(&status))
			fail_msg("%s: %s", operations[i], status.message);
		check_prompt(&prompt, true);
		assert_true(prompt.length > 2);
		chat_prompt_free(&prompt);
		chat_template_destroy(chat_template);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutations_never_crash),
		cmocka_unit_test(user_bytes_are_never_trusted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
