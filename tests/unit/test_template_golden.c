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
#include <jansson.h>

#include "../../src/base/utf8.h"
#include "../../src/model/chat_template.h"

/* A JSON value as text that the caller frees; an empty span when there is none. */
static ByteSpan
dump(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) : NULL;

	return (ByteSpan){text, text ? strlen(text) : 0};
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
case_holds(json_t *templates, json_t *one, size_t number, int64_t now)
{
	const char *name = json_string_value(json_object_get(one, "template"));
	json_t *source = name ? json_object_get(templates, name) : json_object_get(one, "source");
	json_t *expected = json_object_get(one, "prompt");
	json_t *thinking = json_object_get(one, "enable_thinking");
	ChatTemplate *chat_template;
	ChatPrompt prompt = {0};
	ChatInput input = {.messages = dump(json_object_get(one, "messages")),
					   .tools = dump(json_object_get(one, "tools")),
					   .enable_thinking = thinking ? json_is_true(thinking) : -1,
					   .add_generation_prompt = json_is_true(json_object_get(one, "add_generation_prompt")),
					   .bos_token = "<|bos|>",
					   .eos_token = "<|im_end|>",
					   .now = now};
	Status status = chat_template_create(json_string_value(source), json_string_length(source), &chat_template);
	bool holds;

	if (status_is_ok(&status))
		status = chat_template_render(chat_template, &input, &prompt);
	if (status_is_ok(&status))
	{
		check_runs(&prompt);
		holds = json_is_string(expected) && json_string_length(expected) == prompt.length &&
				memcmp(prompt.text, json_string_value(expected), prompt.length) == 0;
	}
	else
		holds = json_is_null(expected);
	if (!holds)
		print_message("case %zu (%s)\n%s\n--- messages: %s\n--- expected: %s\n--- got: %s\n\n", number,
					  name ? name : "random", name ? "" : json_string_value(source), input.messages.data,
					  json_is_string(expected) ? json_string_value(expected) : "an error",
					  status_is_ok(&status) ? prompt.text : status.message);
	chat_prompt_free(&prompt);
	chat_template_destroy(chat_template);
	free((void *) input.messages.data);
	free((void *) input.tools.data);
	return holds;
}

static void
renders_what_jinja_renders(void **state)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	char path[4096];
	json_error_t error;
	json_t *root, *templates, *cases;
	size_t n_wrong = 0;

	(void) state;
	snprintf(path, sizeof path, "%s/tests/golden/template/cases.json", folder ? folder : ".");
	root = json_load_file(path, 0, &error);
	if (!root)
		fail_msg("%s: %s", path, error.text);
	templates = json_object_get(root, "templates");
	cases = json_object_get(root, "cases");
	assert_true(json_array_size(cases) > 1000);
	for (size_t i = 0; i < json_array_size(cases); i++)
		n_wrong +=
			!case_holds(templates, json_array_get(cases, i), i, json_integer_value(json_object_get(root, "now")));
	json_decref(root);
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
