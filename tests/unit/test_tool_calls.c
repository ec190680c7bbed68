/*
 * test_tool_calls.c - calls of tools are found in both forms, and text that is none stays text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/tool_calls.h"

/* Extract from answer and compare both parts. calls NULL: none expected. */
static void
check(const char *answer, const char *tools, const char *content, const char *calls)
{
	ByteWriter found_content, found_calls;
	uint32_t n_calls = 99;
	ByteSpan tools_span = {tools, tools ? strlen(tools) : 0};

	byte_writer_init(&found_content);
	byte_writer_init(&found_calls);
	assert_int_equal(
		tool_calls_extract((ByteSpan){answer, strlen(answer)}, tools_span, &found_content, &found_calls, &n_calls).code,
		STATUS_OK);
	write_u8(&found_content, 0);
	write_u8(&found_calls, 0);
	assert_string_equal((char *) found_content.data, content);
	assert_string_equal((char *) found_calls.data, calls ? calls : "");
	assert_int_equal(n_calls > 0, calls != NULL);
	byte_writer_free(&found_content);
	byte_writer_free(&found_calls);
}

static void
json_calls_are_found_in_order(void **state)
{
	(void) state;
	check("Let me look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": \"ü\"}}\n</tool_call>\n"
		  "<tool_call>\n{\"name\": \"g\"}\n</tool_call>",
		  NULL, "Let me look.",
		  "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":\"ü\"}}},"
		  "{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{}}}]");
}

/* The whole of an answer that is one call of f with these arguments. */
static void
check_arguments(const char *written, const char *expected)
{
	char answer[512], calls[512];

	snprintf(answer, sizeof answer, "<tool_call>\n{\"name\": \"f\", \"arguments\": %s}\n</tool_call>", written);
	snprintf(calls, sizeof calls, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%s}}]", expected);
	check(answer, NULL, "", calls);
}

static void
values_stay_what_they_are(void **state)
{
	(void) state;
	check_arguments("{\"a\": 0.1, \"b\": 1.0, \"c\": -2.5e-8, \"d\": 1e22, \"e\": 3}",
					"{\"a\":0.1,\"b\":1.0,\"c\":-2.5e-08,\"d\":1e+22,\"e\":3}");
	check_arguments("{\"z\": [], \"y\": [1, [true, false, null]], \"x\": {}, \"w\": {\"v\": {\"u\": 9007199254740993}}}",
					"{\"z\":[],\"y\":[1,[true,false,null]],\"x\":{},\"w\":{\"v\":{\"u\":9007199254740993}}}");
	check_arguments("{\"k \\\"q\\\" \\\\\": \"line\\nbreak \\t é \\u00e9 日本 \\/ </b>\"}",
					"{\"k \\\"q\\\" \\\\\":\"line\\nbreak \\t é é 日本 / </b>\"}");
	check_arguments("{}", "{}");
	check_arguments("null", "{}");
	/* an object written as a string is that object */
	check_arguments("\"{\\\"city\\\": \\\"Rome\\\"}\"", "{\"city\":\"Rome\"}");
}

static void
words_between_calls_stay(void **state)
{
	const char *f = "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}}";
	char two[256];

	(void) state;
	snprintf(two, sizeof two, "[%s,%s]", f, f);
	check("One. <tool_call>{\"name\":\"f\"}</tool_call> Two. <tool_call>{\"name\":\"f\"}</tool_call>\n\nThree. ", NULL,
		  "One.\nTwo.\nThree. ", two);
	/* a broken block between whole ones stays */
	check("<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{oops</tool_call>\n<tool_call>{\"name\":\"f\"}</tool_call>", NULL,
		  "<tool_call>{oops</tool_call>", two);
}

static void
coder_calls_follow_the_schema(void **state)
{
	const char *tools = "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\","
						"\"properties\":{\"n\":{\"type\":\"integer\"},\"note\":{\"type\":\"string\"}}}}}]";

	(void) state;
	check("<tool_call>\n<function=add>\n<parameter=n>\n42\n</parameter>\n<parameter=note>\n7\nlines\n</parameter>\n"
		  "</function>\n</tool_call>",
		  tools, "",
		  "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":{\"n\":42,\"note\":\"7\\nlines\"}}}]");
}

static void
text_that_is_no_call_is_kept(void **state)
{
	(void) state;
	check("nothing here ", NULL, "nothing here ", NULL);
	check("a <tool_call>not json</tool_call> b", NULL, "a <tool_call>not json</tool_call> b", NULL);
	check("<tool_call>{\"name\": 3}</tool_call>", NULL, "<tool_call>{\"name\": 3}</tool_call>", NULL);
	check("<tool_call><function=></function></tool_call>", NULL, "<tool_call><function=></function></tool_call>", NULL);
	check("", NULL, "", NULL);
	check("<tool_call>", NULL, "<tool_call>", NULL);
	check("</tool_call><tool_call></tool_call>", NULL, "</tool_call><tool_call></tool_call>", NULL);
	check("<tool_call>[]</tool_call>", NULL, "<tool_call>[]</tool_call>", NULL);
	check("<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", NULL,
		  "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", NULL);
	check("<tool_call>{\"name\": \"f\", \"arguments\": \"[1]\"}</tool_call>", NULL,
		  "<tool_call>{\"name\": \"f\", \"arguments\": \"[1]\"}</tool_call>", NULL);
	/* neither a key twice nor a NUL nor half of a character gets into SQL */
	check("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, \"a\": 2}}</tool_call>", NULL,
		  "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, \"a\": 2}}</tool_call>", NULL);
	check("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\u0000\"}}</tool_call>", NULL,
		  "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\u0000\"}}</tool_call>", NULL);
	check("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\ud83d\"}}</tool_call>", NULL,
		  "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\ud83d\"}}</tool_call>", NULL);
}

static void
unclosed_last_call_counts(void **state)
{
	(void) state;
	check("x <tool_call>{\"name\":\"f\",\"arguments\":{}}", NULL, "x",
		  "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_calls_are_found_in_order),
		cmocka_unit_test(values_stay_what_they_are),
		cmocka_unit_test(words_between_calls_stay),
		cmocka_unit_test(coder_calls_follow_the_schema),
		cmocka_unit_test(text_that_is_no_call_is_kept),
		cmocka_unit_test(unclosed_last_call_counts),
	};

	return cmocka_run_group_tests_name("tool_calls", tests, NULL, NULL);
}
