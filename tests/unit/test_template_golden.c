/*
 * test_template_golden.c - the template interpreter renders what Jinja renders, byte for byte, or fails where it
 * raises.
 *
 * The cases are in tests/golden/template/cases.json (made by make_golden.py there), below the folder that the
 * environment variable QWEN_TEST_SOURCE_DIR names (default: the present one).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/base/json_tree.h"
#include "../../src/base/utf8.h"
#include "../../src/template/chat_template.h"

/* A JSON value as it stands in the file, or a string's text; an empty span when there is none. */
static ByteSpan
written(const JsonNode *json)
{
	return json ? (ByteSpan){json->source, json->source_bytes} : (ByteSpan){NULL, 0};
}

static ByteSpan
text_of(const JsonNode *json)
{
	return json && json->kind == NODE_IS_STRING ? (ByteSpan){json->text, json->n} : (ByteSpan){"", 0};
}

static bool
is_true(const JsonNode *json)
{
	return json && json->kind == NODE_IS_BOOL && json->boolean;
}

/* The runs are in order, apart from each other, inside the text and at character boundaries. */
static void
check_runs(const ChatPrompt *prompt)
{
	size_t end = 0;

	for (size_t i = 0; i < prompt->n_trusted; i++)
	{
		TextRun run = prompt->trusted[i];

		assert_true(run.length > 0);
		assert_true(i == 0 ? run.start >= end : run.start > end);
		end = run.start + run.length;
		assert_true(end <= prompt->length);
		assert_true(utf8_is_valid(prompt->text + run.start, run.length));
	}
}

/* Does one case come out as expected? Prints what is wrong. */
static bool
case_holds(const JsonNode *templates, const JsonNode *one, size_t number, int64_t now)
{
	ByteSpan name = text_of(json_member_named(one, "template"));
	ByteSpan source = name.length ? text_of(json_member(templates, name.data, name.length))
								  : text_of(json_member_named(one, "source"));
	const JsonNode *expected = json_member_named(one, "prompt");
	const JsonNode *thinking = json_member_named(one, "enable_thinking");
	ChatTemplate *chat_template;
	ChatPrompt prompt = {0};
	ChatInput input = {.messages = written(json_member_named(one, "messages")),
					   .tools = written(json_member_named(one, "tools")),
					   .enable_thinking = thinking ? is_true(thinking) : -1,
					   .add_generation_prompt = is_true(json_member_named(one, "add_generation_prompt")),
					   .bos_token = "<|bos|>",
					   .eos_token = "<|im_end|>",
					   .now = now};
	Status status = chat_template_create(source.data, source.length, &chat_template);
	bool holds;

	if (status_is_ok(&status))
		status = chat_template_render(chat_template, &input, &prompt);
	if (status_is_ok(&status))
	{
		check_runs(&prompt);
		holds = expected->kind == NODE_IS_STRING && expected->n == prompt.length &&
				memcmp(prompt.text, expected->text, prompt.length) == 0;
	}
	else
		holds = expected->kind == NODE_IS_NULL;
	if (!holds)
		print_message("case %zu (%.*s)\n%.*s\n--- messages: %.*s\n--- expected: %.*s\n--- got: %s\n\n", number,
					  (int) name.length, name.data, name.length ? 0 : (int) source.length, source.data,
					  (int) input.messages.length, input.messages.data, (int) expected->source_bytes, expected->source,
					  status_is_ok(&status) ? prompt.text : status.message);
	chat_prompt_free(&prompt);
	chat_template_destroy(chat_template);
	return holds;
}

/* The whole file; the caller frees it. */
static ByteSpan
read_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;
	long length = 0;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET) != 0 ||
		!(text = malloc((size_t) length)) || fread(text, 1, (size_t) length, file) != (size_t) length)
		fail_msg("%s cannot be read", path);
	fclose(file);
	return (ByteSpan){text, (size_t) length};
}

static void
renders_what_jinja_renders(void **state)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	char path[4096];
	JsonError error;
	Arena *arena = arena_create(0);
	const JsonNode *root, *templates, *cases;
	ByteSpan text;
	size_t n_wrong = 0, number = 0;

	(void) state;
	snprintf(path, sizeof path, "%s/tests/golden/template/cases.json", folder ? folder : ".");
	text = read_file(path);
	root = json_tree_read(arena, text, JSON_STRICT, NULL, &error);
	if (!root)
		fail_msg("%s: %s at byte %zu", path, error.what, error.offset);
	templates = json_member_named(root, "templates");
	cases = json_member_named(root, "cases");
	assert_true(cases->n > 1000);
	for (const JsonNode *one = cases->first; one; one = one->next)
		n_wrong += !case_holds(templates, one, number++, atoll(json_member_named(root, "now")->source));
	arena_destroy(arena);
	free((void *) text.data);
	assert_int_equal(n_wrong, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renders_what_jinja_renders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
