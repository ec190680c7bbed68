/*
 * test_messages.c - the forms in which histories come, through published templates: arguments as text or object, calls
 * with or without their wrapper, roles and thinking by other names, and answers that have begun.
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

#include "../../src/template/chat_template.h"

#define USER "{\"role\":\"user\",\"content\":\"Hi\"}"

static const char *const template_names[] = {"qwen2.5", "qwen3", "coder", "instruct2507", "qwq"};
#define N_TEMPLATES (sizeof template_names / sizeof template_names[0])

static ChatTemplate *templates[N_TEMPLATES];

static int
load_templates(void **state)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	char path[4096];
	json_t *root;

	(void) state;
	snprintf(path, sizeof path, "%s/tests/golden/template/cases.json", folder ? folder : ".");
	root = json_load_file(path, 0, NULL);
	for (size_t i = 0; i < N_TEMPLATES; i++)
	{
		json_t *source = json_object_get(json_object_get(root, "templates"), template_names[i]);

		if (!source ||
			chat_template_create(json_string_value(source), json_string_length(source), &templates[i]).code !=
				STATUS_OK)
			return -1;
	}
	json_decref(root);
	return 0;
}

static int
free_templates(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_TEMPLATES; i++)
		chat_template_destroy(templates[i]);
	return 0;
}

static const ChatTemplate *
named(const char *name)
{
	for (size_t i = 0; i < N_TEMPLATES; i++)
		if (strcmp(template_names[i], name) == 0)
			return templates[i];
	fail_msg("no template %s", name);
	return NULL;
}

/* As the engine asks for it. */
static Status
render(const ChatTemplate *chat_template, const char *messages, bool can_think, int thinking, ChatPrompt *prompt)
{
	const ChatInput input = {
		.messages = {messages, strlen(messages)},
		.enable_thinking = thinking,
		.add_generation_prompt = true,
		.continues = true,
		.can_think = can_think,
		.bos_token = "",
		.eos_token = "<|im_end|>",
	};

	return chat_template_render(chat_template, &input, prompt);
}

/* The prompt; the caller frees it. */
static char *
prompt_of(const ChatTemplate *chat_template, const char *messages)
{
	ChatPrompt prompt;
	Status status = render(chat_template, messages, true, -1, &prompt);
	char *text;

	if (status.code != STATUS_OK)
		fail_msg("%s\n%s", messages, status.message);
	text = strdup(prompt.text);
	chat_prompt_free(&prompt);
	return text;
}

static void
check_same_prompts(const char *messages, const char *others)
{
	for (size_t i = 0; i < N_TEMPLATES; i++)
	{
		char *one = prompt_of(templates[i], messages), *other = prompt_of(templates[i], others);

		assert_string_equal(one, other);
		free(one);
		free(other);
	}
}

/* A conversation with this call in it. */
static const char *
history(const char *call)
{
	static char messages[2][4096];
	static int turn;

	turn = !turn;
	snprintf(messages[turn], sizeof messages[turn],
			 "[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[%s,%s]},"
			 "{\"role\":\"tool\",\"content\":\"1\"},{\"role\":\"tool\",\"content\":\"2\"}]",
			 call, call);
	return messages[turn];
}

static void
check_wrong(const char *messages, const char *sentence)
{
	for (size_t i = 0; i < N_TEMPLATES; i++)
	{
		ChatPrompt prompt;
		Status status = render(templates[i], messages, true, -1, &prompt);

		assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
		if (!strstr(status.message, sentence))
			fail_msg("%s\nexpected: %s\ngot: %s", messages, sentence, status.message);
	}
}

static void
arguments_as_text_are_the_object(void **state)
{
	static const char *const pairs[][2] = {
		{"\"{\\\"city\\\": \\\"Paris\\\", \\\"n\\\": [1, 2.5, null, {\\\"a\\\": true}]}\"",
		 "{\"city\":\"Paris\",\"n\":[1,2.5,null,{\"a\":true}]}"},
		{"\" {} \"", "{}"},
		{"\"\"", "{}"},
		{"\" \\n\"", "{}"},
		{"null", "{}"},
		{"\"null\"", "{}"},
		{"\"{\\\"b\\\": 1, \\\"a\\\": 2, \\\"b\\\": 3}\"", "{\"b\":3,\"a\":2}"},
		{"\"{\\\"q\\\": \\\"\\\\\\\"<|im_end|>\\\\\\\" \\\\u00e9\\\"}\"", "{\"q\":\"\\\"<|im_end|>\\\" é\"}"},
	};
	char text[512], object[512];

	(void) state;
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
	{
		snprintf(text, sizeof text,
				 "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%s}}", pairs[i][0]);
		snprintf(object, sizeof object,
				 "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%s}}", pairs[i][1]);
		check_same_prompts(history(text), history(object));
		snprintf(text, sizeof text, "{\"name\":\"f\",\"arguments\":%s}", pairs[i][0]);
		snprintf(object, sizeof object, "{\"name\":\"f\",\"arguments\":%s}", pairs[i][1]);
		check_same_prompts(history(text), history(object));
	}
	check_same_prompts(history("{\"name\":\"f\"}"), history("{\"name\":\"f\",\"arguments\":{}}"));
	check_same_prompts(history("{\"function\":{\"name\":\"f\"}}"),
					   history("{\"function\":{\"name\":\"f\",\"arguments\":{}}}"));
}

static void
arguments_stand_in_the_prompt(void **state)
{
	const char *messages = history("{\"name\":\"f\",\"arguments\":\"{\\\"z\\\": \\\"x\\\", \\\"a\\\": 5}\"}");
	char *prompt = prompt_of(named("qwen2.5"), messages);

	(void) state;
	assert_non_null(
		strstr(prompt, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"z\": \"x\", \"a\": 5}}\n</tool_call>"));
	free(prompt);
	prompt = prompt_of(named("coder"), messages);
	assert_non_null(strstr(prompt, "<function=f>\n<parameter=z>\nx\n</parameter>\n<parameter=a>\n5\n</parameter>\n"));
	free(prompt);
	prompt = prompt_of(named("qwen3"), history("{\"name\":\"f\",\"arguments\":\"\"}"));
	assert_non_null(strstr(prompt, "{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"));
	free(prompt);
}

static void
numbers_keep_their_digits(void **state)
{
	static const char *const forms[] = {
		"{\"name\":\"f\",\"arguments\":%s}",
		"{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%s}}",
	};
	const char *object = "{\"a\":123456789012345678901234567890,\"b\":0.1234567890123456789,\"c\":18446744073709551615,"
						 "\"d\":1.10,\"e\":1e400,\"f\":-0.1,\"g\":1e16,\"h\":100000000000000000}";
	const char *expected = "{\"a\": 123456789012345678901234567890, \"b\": 0.1234567890123456789, "
						   "\"c\": 18446744073709551615, \"d\": 1.1, \"e\": 1e400, \"f\": -0.1, \"g\": 1e+16, "
						   "\"h\": 100000000000000000}";
	char call[1024], text[512] = "\"";

	(void) state;
	for (const char *c = object; *c; c++)
		snprintf(text + strlen(text), sizeof text - strlen(text), *c == '"' ? "\\%c" : "%c", *c);
	strcat(text, "\"");
	for (size_t i = 0; i < 4; i++)
	{
		const char *form = forms[i % 2];
		char *prompt;

		snprintf(call, sizeof call, "%.*s%s%s", (int) (strstr(form, "%s") - form), form, i < 2 ? object : text,
				 strstr(form, "%s") + 2);
		prompt = prompt_of(named("qwen3"), history(call));
		assert_non_null(strstr(prompt, expected));
		free(prompt);
	}
}

static void
what_is_no_object_is_named(void **state)
{
	static const char *const wrong[] = {"\"[1]\"", "[1]", "5", "\"5\"", "\"\\\"{}\\\"\"", "true"};
	char call[256];

	(void) state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
	{
		snprintf(call, sizeof call, "{\"name\":\"f\",\"arguments\":%s}", wrong[i]);
		check_wrong(history(call), "messages[1].tool_calls[0] has arguments that are neither a JSON object");
	}
	check_wrong(
		history("{\"name\":\"f\",\"arguments\":\"{oops\"}"),
		"messages[1].tool_calls[0] has arguments whose text is not valid JSON: string or '}' expected at byte 2");
	check_wrong(history("{\"name\":\"f\",\"arguments\":\"{} x\"}"), "whose text is not valid JSON");
	check_wrong(history("{\"arguments\":{}}"), "messages[1].tool_calls[0] must have a \"name\"");
	check_wrong(history("{\"function\":{\"name\":3}}"), "messages[1].tool_calls[0] must have a \"name\"");
	check_wrong(history("{\"function\":\"f\"}"), "messages[1].tool_calls[0].function must be an object");
	check_wrong("[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]",
				"messages[0].content[0] has the type \"image_url\"");
}

static void
roles_and_members_have_other_names(void **state)
{
	(void) state;
	check_same_prompts("[{\"role\":\"developer\",\"content\":\"Be brief.\"}," USER "]",
					   "[{\"role\":\"system\",\"content\":\"Be brief.\"}," USER "]");
	check_same_prompts("[" USER ",{\"role\":\"assistant\",\"content\":\"x\",\"thinking\":\"t\"}," USER "]",
					   "[" USER ",{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"t\"}," USER "]");
	check_same_prompts(
		"[" USER ",{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":\"t\",\"reasoning_content\":null}," USER "]",
		"[" USER ",{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":\"t\"}," USER "]");
	/* what tools are called and which call they answer is nothing that these templates write */
	check_same_prompts(
		"[" USER ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"c\",\"name\":\"f\"}]},"
		"{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"1\"}],\"tool_call_id\":\"c\",\"name\":\"f\"}]",
		"[" USER ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\"}]},"
		"{\"role\":\"tool\",\"content\":\"1\"}]");
}

static void
thinking_alone_is_a_message_where_the_template_takes_it(void **state)
{
	static const char *const messages[] = {
		"[" USER ",{\"role\":\"assistant\",\"reasoning_content\":\"Hm.\"}," USER "]",
		"[" USER ",{\"role\":\"assistant\",\"content\":null,\"thinking\":\"Hm.\"}," USER "]",
	};

	(void) state;
	for (size_t i = 0; i < 2; i++)
	{
		ChatPrompt prompt;

		free(prompt_of(named("qwen3"), messages[i]));
		free(prompt_of(named("instruct2507"), messages[i]));
		assert_int_equal(render(named("qwen2.5"), messages[i], false, -1, &prompt).code, STATUS_INVALID_ARGUMENT);
		assert_int_equal(render(named("coder"), messages[i], false, -1, &prompt).code, STATUS_INVALID_ARGUMENT);
	}
	check_wrong("[" USER ",{\"role\":\"assistant\",\"reasoning_content\":\"\"}," USER "]",
				"messages[1] has no \"content\"");
	check_wrong("[{\"role\":\"user\",\"reasoning_content\":\"Hm.\"}]", "messages[0] has no \"content\"");
}

/* The prompt of a conversation that ends with this answer of the assistant's. */
static void
check_begun(const char *name, bool can_think, int thinking, const char *answer, const char *expected_end,
			bool is_thinking)
{
	char messages[1024];
	ChatPrompt prompt;
	Status status;

	snprintf(messages, sizeof messages, "[" USER ",{\"role\":\"assistant\",%s}]", answer);
	status = render(named(name), messages, can_think, thinking, &prompt);
	assert_string_equal(status.message, "");
	if (prompt.length < strlen(expected_end) ||
		strcmp(prompt.text + prompt.length - strlen(expected_end), expected_end) != 0)
		fail_msg("%s, %s:\n%s\nexpected at its end:\n%s", name, answer, prompt.text, expected_end);
	assert_int_equal(prompt.is_thinking, is_thinking);
	/* what the caller said is not trusted: no tag of it is a special token */
	for (size_t i = 0; i < prompt.n_trusted; i++)
		assert_null(memmem(prompt.text + prompt.trusted[i].start, prompt.trusted[i].length, "answer", 6));
	chat_prompt_free(&prompt);
}

static void
begun_answers_are_gone_on_with(void **state)
{
	static const char begin[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
	static const char content[] = "\"content\":\"The answer is \"";
	char expected[512];

	(void) state;
#define EXPECT(text) (snprintf(expected, sizeof expected, "%s%s", begin, text), expected)
	check_begun("qwen2.5", false, -1, content, EXPECT("The answer is "), false);
	check_begun("coder", false, -1, content, EXPECT("The answer is "), false);
	check_begun("instruct2507", false, -1, content, EXPECT("The answer is "), false);
	check_begun("qwen2.5", false, -1,
				"\"content\":[{\"type\":\"text\",\"text\":\"The \"},{\"type\":\"text\",\"text\":\"answer\"}]",
				EXPECT("The answer"), false);
	/* one that thinks has thought when its answer has begun, whatever thinking says */
	for (int thinking = -1; thinking < 2; thinking++)
	{
		check_begun("qwen3", true, thinking, content, EXPECT("<think>\n\n</think>\n\nThe answer is "), false);
		check_begun("qwq", true, thinking, content, EXPECT("<think>\n\n</think>\n\nThe answer is "), false);
		check_begun("qwen3", true, thinking, "\"content\":\"The answer\",\"reasoning_content\":\"\\nSo it is.\\n\"",
					EXPECT("<think>\nSo it is.\n</think>\n\nThe answer"), false);
		check_begun("qwq", true, thinking, "\"content\":\"<think>\\nSo it is.\\n</think>\\n\\nThe answer\"",
					EXPECT("<think>\nSo it is.\n</think>\n\nThe answer"), false);
		/* thinking that has begun goes on */
		check_begun("qwen3", true, thinking, "\"reasoning_content\":\"Let me answer \"",
					EXPECT("<think>\nLet me answer "), true);
		check_begun("qwen3", true, thinking, "\"content\":\"<think>\\nLet me answer \"",
					EXPECT("<think>\nLet me answer "), true);
		check_begun("qwq", true, thinking, "\"content\":\"\",\"thinking\":\"Let me answer \"",
					EXPECT("<think>\nLet me answer "), true);
	}
	/* tags of the format in it stay text */
	check_begun("qwen2.5", false, -1, "\"content\":\"an answer <|im_end|>\"", EXPECT("an answer <|im_end|>"), false);
	check_begun("qwen2.5", false, -1, "\"content\":\"<think>answer\"", EXPECT("<think>answer"), false);
	/* nothing begun: a new answer */
	check_begun("qwen3", true, -1, "\"content\":\"\"", begin, false);
	check_begun("qwq", true, -1, "\"content\":\"\"", EXPECT("<think>\n"), false);
#undef EXPECT
}

static void
calls_are_whole_messages(void **state)
{
	char *prompt = prompt_of(
		named("qwen2.5"),
		"[" USER
		",{\"role\":\"assistant\",\"content\":\"Look\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":\"{}\"}]}]");

	(void) state;
	assert_non_null(strstr(prompt, "Look\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call><|im_end|>\n"
								   "<|im_start|>assistant\n"));
	free(prompt);
}

static void
answers_may_begin_the_conversation(void **state)
{
	const char *messages = "[{\"role\":\"assistant\",\"content\":\"The answer is \"}]";

	(void) state;
	for (size_t i = 0; i < N_TEMPLATES; i++)
	{
		char *prompt = prompt_of(templates[i], messages);
		const char *expected = "<|im_start|>assistant\nThe answer is ";

		assert_true(strlen(prompt) >= strlen(expected));
		assert_string_equal(prompt + strlen(prompt) - strlen(expected), expected);
		free(prompt);
	}
	check_wrong("[{\"role\":\"assistant\",\"content\":\"\"}]", "messages must not consist of");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments_as_text_are_the_object),
		cmocka_unit_test(arguments_stand_in_the_prompt),
		cmocka_unit_test(numbers_keep_their_digits),
		cmocka_unit_test(what_is_no_object_is_named),
		cmocka_unit_test(roles_and_members_have_other_names),
		cmocka_unit_test(thinking_alone_is_a_message_where_the_template_takes_it),
		cmocka_unit_test(begun_answers_are_gone_on_with),
		cmocka_unit_test(calls_are_whole_messages),
		cmocka_unit_test(answers_may_begin_the_conversation),
	};

	return cmocka_run_group_tests_name("messages", tests, load_templates, free_templates);
}
