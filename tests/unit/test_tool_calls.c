/*
 * test_tool_calls.c - calls of tools are found in both forms, and text that is none stays text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "extract_calls.h"

/* Extract from answer and compare both parts. calls NULL: none expected. */
static void
check_way(const char *answer, bool is_ended, const char *tools, const char *content, const char *calls)
{
	ByteWriter found_content, found_calls;
	uint32_t n_calls = 99;
	ByteSpan tools_span = {tools, tools ? strlen(tools) : 0};

	byte_writer_init(&found_content);
	byte_writer_init(&found_calls);
	assert_int_equal(
		extract_calls((ByteSpan){answer, strlen(answer)}, is_ended, tools_span, &found_content, &found_calls, &n_calls)
			.code,
		STATUS_OK);
	write_u8(&found_content, 0);
	write_u8(&found_calls, 0);
	assert_string_equal((char *) found_content.data, content);
	assert_string_equal((char *) found_calls.data, calls ? calls : "");
	assert_int_equal(n_calls > 0, calls != NULL);
	byte_writer_free(&found_content);
	byte_writer_free(&found_calls);
}

/* An answer that the model itself ended. */
static void
check(const char *answer, const char *tools, const char *content, const char *calls)
{
	check_way(answer, true, tools, content, calls);
}

/* One that max_tokens or a stop string ended. */
static void
check_cut(const char *answer, const char *tools, const char *content, const char *calls)
{
	check_way(answer, false, tools, content, calls);
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
					"{\"a\":0.1,\"b\":1.0,\"c\":-2.5e-8,\"d\":1e22,\"e\":3}");
	/* as they were written, whatever a double or 64 bits could hold */
	check_arguments(
		"{\"a\": 123456789012345678901234567890, \"b\": 3.14159265358979323846264338, \"c\": -0.10, \"d\": 1e400}",
		"{\"a\":123456789012345678901234567890,\"b\":3.14159265358979323846264338,\"c\":-0.10,\"d\":1e400}");
	check_arguments(
		"{\"z\": [], \"y\": [1, [true, false, null]], \"x\": {}, \"w\": {\"v\": {\"u\": 9007199254740993}}}",
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
	check("<tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{oops</tool_call>\n<tool_call>{\"name\":\"f\"}</"
		  "tool_call>",
		  NULL, "<tool_call>{oops</tool_call>", two);
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

/* Several functions, for what follows. */
static const char typed_tools[] =
	"[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
	"\"$defs\":{\"Level\":{\"enum\":[1,2,3]},\"Self\":{\"$ref\":\"#/$defs/Self\"},\"Point\":{\"type\":\"object\","
	"\"properties\":{\"x\":{\"type\":\"number\"},\"tag\":{\"type\":\"string\"}}}},"
	"\"properties\":{\"n\":{\"type\":\"integer\"},\"s\":{\"type\":\"string\"},\"t\":{\"type\":\"string\"},"
	"\"b\":{\"type\":\"boolean\"},\"r\":{\"type\":\"number\"},\"l\":{\"type\":[\"integer\",\"null\"]},"
	"\"u\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]},\"o\":{\"oneOf\":[{\"enum\":[\"auto\",\"5\"]},"
	"{\"type\":\"integer\"}]},\"a\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},\"ref\":{\"$ref\":\"#/$defs/"
	"Level\"},\"self\":{\"$ref\":\"#/$defs/Self\"},\"p\":{\"allOf\":[{\"$ref\":\"#/$defs/Point\"}]},"
	"\"e\":{\"enum\":[\"1\",\"2\"]},\"ei\":{\"enum\":[1,2]},\"ns\":{\"type\":\"string\",\"nullable\":true},"
	"\"any\":{},\"d\":{\"type\":\"object\"},\"c\":{\"const\":7},\"ln\":{\"type\":[\"string\",\"null\"]}}}}},"
	"{\"name\":\"bare\",\"parameters\":{\"properties\":{\"n\":{\"type\":\"integer\"}}}},"
	"{\"name\":\"big\",\"maximum\":18446744073709551615,\"parameters\":{\"properties\":{\"n\":{\"type\":\"integer\","
	"\"maximum\":"
	"18446744073709551615}}}}]";

/* One call of a function, as it comes back. */
static char *
call_of(const char *function, const char *arguments)
{
	static char calls[4096];

	snprintf(calls, sizeof calls, "[{\"type\":\"function\",\"function\":{\"name\":\"%s\",\"arguments\":%s}}]", function,
			 arguments);
	return calls;
}

/* A whole answer that is one call of f with these arguments. */
static void
check_typed(const char *answer, const char *arguments)
{
	check(answer, typed_tools, "", call_of("f", arguments));
}

/* One parameter of the Coder form and its value. */
static void
check_parameter(const char *key, const char *text, const char *value)
{
	char answer[1024], arguments[1024];

	snprintf(answer, sizeof answer,
			 "<tool_call>\n<function=f>\n<parameter=%s>\n%s\n</parameter>\n</function>\n</tool_call>", key, text);
	snprintf(arguments, sizeof arguments, "{\"%s\":%s}", key, value);
	check_typed(answer, arguments);
}

/* One argument of the JSON form, as written and as typed. */
static void
check_argument(const char *key, const char *written, const char *value)
{
	char answer[1024], arguments[1024];

	snprintf(answer, sizeof answer, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"%s\": %s}}\n</tool_call>", key,
			 written);
	snprintf(arguments, sizeof arguments, "{\"%s\":%s}", key, value);
	check_typed(answer, arguments);
}

static void
parameters_become_what_the_schema_says(void **state)
{
	static const char *const cases[][3] = {
		{"n", "5", "5"},
		{"n", " 5 ", "5"},
		{"n", "123456789012345678901234567890", "123456789012345678901234567890"},
		{"n", "five", "\"five\""},
		{"n", "null", "null"},
		{"s", "5", "\"5\""},
		{"s", "007", "\"007\""},
		{"s", "true", "\"true\""},
		{"s", "null", "\"null\""},
		{"s", "{\"a\": 1}", "\"{\\\"a\\\": 1}\""},
		{"s", "\nfirst\n\n", "\"\\nfirst\\n\\n\""},
		{"s", "", "\"\""},
		{"b", "true", "true"},
		{"b", "False", "false"},
		{"b", "yes", "\"yes\""},
		{"r", "3.14159265358979323846264338", "3.14159265358979323846264338"},
		{"r", "5", "5"},
		{"r", "1e-7", "1e-7"},
		{"l", "5", "5"},
		{"l", "None", "null"},
		{"u", "5", "5"},
		{"u", "null", "null"},
		{"o", "auto", "\"auto\""},
		{"o", "5", "\"5\""},
		{"o", "6", "6"},
		{"a", "[1, 2,]", "[1,2]"},
		{"a", "['1', 2]", "[1,2]"},
		{"a", "1, 2", "\"1, 2\""},
		{"ref", "2", "2"},
		{"self", "2", "\"2\""},
		{"p", "{'x': '1.5', 'tag': 3, 'y': True}", "{\"x\":1.5,\"tag\":\"3\",\"y\":true}"},
		{"p", "{\"x\": 1", "\"{\\\"x\\\": 1\""},
		{"e", "1", "\"1\""},
		{"ei", "1", "1"},
		{"ns", "null", "null"},
		{"ns", "none", "\"none\""},
		{"ln", "5", "\"5\""},
		{"ln", "None", "null"},
		{"any", "5", "\"5\""},
		{"d", "{\"k\": [None, 1.50]}", "{\"k\":[null,1.50]}"},
		{"c", "7", "7"},
		{"unknown", "5", "\"5\""},
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check_parameter(cases[i][0], cases[i][1], cases[i][2]);
	/* a schema with numbers that no 64 bits hold is a schema */
	check("<tool_call>\n<function=big>\n<parameter=n>\n18446744073709551615\n</parameter>\n</function>\n</tool_call>",
		  typed_tools, "", call_of("big", "{\"n\":18446744073709551615}"));
	check("<tool_call><function=bare><parameter=n>5</parameter></function></tool_call>", typed_tools, "",
		  call_of("bare", "{\"n\":5}"));
	/* nothing is known of it */
	check("<tool_call><function=other><parameter=n>5</parameter></function></tool_call>", typed_tools, "",
		  call_of("other", "{\"n\":\"5\"}"));
	check("<tool_call><function=f><parameter=n>5</parameter></function></tool_call>", NULL, "",
		  call_of("f", "{\"n\":\"5\"}"));
}

static void
arguments_become_what_the_schema_says(void **state)
{
	static const char *const cases[][3] = {
		{"n", "\"5\"", "5"},
		{"n", "5", "5"},
		{"b", "\"true\"", "true"},
		{"b", "True", "true"},
		{"n", "\"five\"", "\"five\""},
		{"s", "5", "\"5\""},
		{"s", "5.10", "\"5.10\""},
		{"s", "null", "null"},
		{"u", "None", "null"},
		{"u", "\"7\"", "7"},
		{"a", "\"[1,2]\"", "[1,2]"},
		{"a", "[\"1\", \"x\"]", "[1,\"x\"]"},
		{"ln", "\"5\"", "\"5\""},
		{"ei", "\"2\"", "2"},
		{"e", "2", "\"2\""},
		{"d", "\"{'k': 1}\"", "{\"k\":1}"},
		{"any", "\"5\"", "\"5\""},
		{"any", "5", "5"},
		{"unknown", "\"5\"", "\"5\""},
		{"p", "{\"x\": \"2\", \"tag\": 0.10}", "{\"x\":2,\"tag\":\"0.10\"}"},
		{"r", "\"12345678901234567890.123456789\"", "12345678901234567890.123456789"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check_argument(cases[i][0], cases[i][1], cases[i][2]);
}

static void
tags_within_values_are_values(void **state)
{
	(void) state;
	check_typed(
		"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"write </tool_call> at the end\"}}\n</tool_call>",
		"{\"s\":\"write </tool_call> at the end\"}");
	check_typed("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"<tool_call>{\\\"name\\\": "
				"\\\"g\\\"}</tool_call>\"}}</tool_call>",
				"{\"s\":\"<tool_call>{\\\"name\\\": \\\"g\\\"}</tool_call>\"}");
	check_parameter("s", "write </tool_call> at the end", "\"write </tool_call> at the end\"");
	check_parameter("s", "a </parameter> b </function> c", "\"a </parameter> b </function> c\"");
	check_parameter("s", "say <parameter=n> so", "\"say <parameter=n> so\"");
	check_parameter("s", "<b>bold</b> & <i>", "\"<b>bold</b> & <i>\"");
	/* a whole call as a value */
	check_parameter("s", "<tool_call>\n<function=g>\n<parameter=x>\n5\n</parameter>\n</function>\n</tool_call>",
					"\"<tool_call>\\n<function=g>\\n<parameter=x>\\n5\\n</parameter>\\n</function>\\n</tool_call>\"");
	check_parameter("s", "one\n<parameter=x> is how it begins", "\"one\\n<parameter=x> is how it begins\"");
}

static void
what_is_not_closed_is_read(void **state)
{
	(void) state;
	check_typed(
		"<tool_call>\n<function=f>\n<parameter=n>\n5\n<parameter=s>\nhi\n</parameter>\n</function>\n</tool_call>",
		"{\"n\":5,\"s\":\"hi\"}");
	check_typed("<tool_call>\n<function=f>\n<parameter=s>\nhi\n<parameter=n>\n5\n</function>\n</tool_call>",
				"{\"s\":\"hi\",\"n\":5}");
	check_typed("<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n</tool_call>", "{\"n\":5}");
	check_typed("<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n", "{\"n\":5}");
	check_typed("<tool_call>\n<function=f>\n<parameter=s>\nhi", "{\"s\":\"hi\"}");
	check("<tool_call>\n<function=g>\n<parameter=n>\n5\n<parameter=s>\nhi\n</parameter>\n</function>\n</tool_call>",
		  typed_tools, "", call_of("g", "{\"n\":\"5\",\"s\":\"hi\"}"));
	/* without the tag that opens the block */
	check_typed("<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool_call>", "{\"n\":5}");
	check("I will.\n<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\nDone.", typed_tools, "I will.\nDone.",
		  call_of("f", "{\"n\":5}"));
	/* brackets that are missing at the end */
	check_typed("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5}\n</tool_call>", "{\"n\":5}");
	check_typed("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2", "{\"a\":[1,2]}");
	/* one too many is kept */
	check("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5}}}\n</tool_call>", typed_tools, "}",
		  call_of("f", "{\"n\":5}"));
}

static void
cut_answers_make_no_half_calls(void **state)
{
	static const char *const answers[] = {
		"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5",
		"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"hi\"",
		"<tool_call>\n<function=f>\n<parameter=n>\n5",
		"<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n",
		"<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n</func",
		"<function=f>\n<parameter=s>\nhi\n",
		"<tool_call>",
	};
	static const char *const whole[] = {
		"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5}",
		"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 5}}\n</tool_c",
		"<tool_call>\n<function=f>\n<parameter=n>\n5\n</parameter>\n</function>\n</tool",
	};

	(void) state;
	for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
		check_cut(answers[i], typed_tools, answers[i], NULL);
	/* all of the arguments are there */
	for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
		check_cut(whole[i], typed_tools, "", call_of("f", "{\"n\":5}"));
}

static void
forms_of_calls_are_known(void **state)
{
	const char *two = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"n\":1}}},"
					  "{\"type\":\"function\",\"function\":{\"name\":\"bare\",\"arguments\":{\"n\":2}}}]";

	(void) state;
	check("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n{\"name\": \"bare\", \"arguments\": {\"n\": "
		  "2}}\n</tool_call>",
		  typed_tools, "", two);
	check("<tool_call>\n[{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"bare\", \"arguments\": {\"n\": "
		  "2}}]\n</tool_call>",
		  typed_tools, "", two);
	check("<tool_call>\n<function=f>\n<parameter=n>\n1\n</parameter>\n</function>\n<function=bare>\n<parameter=n>\n2\n"
		  "</parameter>\n</function>\n</tool_call>",
		  typed_tools, "", two);
	check("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n<tool_call>\n{\"name\": \"bare\", \"arguments\": "
		  "{\"n\": 2}}",
		  typed_tools, "", two);
	check_typed("<tool_call>{\"name\": \"f\", \"parameters\": {\"n\": 1}}</tool_call>", "{\"n\":1}");
	check_typed(
		"<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"n\": 1}}}</tool_call>",
		"{\"n\":1}");
	check_typed(
		"<tool_call>{'name': 'f', 'arguments': {'n': 1, 's': 'it\\'s \"so\"', 'u': None, 'b': True,}}</tool_call>",
		"{\"n\":1,\"s\":\"it's \\\"so\\\"\",\"u\":null,\"b\":true}");
	check_typed("<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"two\nlines \\d+\"}}</tool_call>",
				"{\"s\":\"two\\nlines \\\\d+\"}");
	check_typed("<tool_call><function=f>{\"n\": 1}</function></tool_call>", "{\"n\":1}");
	/* what has no place in a call is kept beside it */
	check(
		"<tool_call>{\"id\": \"c1\", \"name\": \"f\", \"arguments\": {\"n\": 1}, \"why\": \"so\"}</tool_call>",
		typed_tools, "",
		"[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"n\":1}},\"id\":\"c1\",\"why\":\"so\"}]");
	check("<tool_call>{\"name\": \"f\", \"type\": \"tool\"}</tool_call>", typed_tools,
		  "<tool_call>{\"name\": \"f\", \"type\": \"tool\"}</tool_call>", NULL);
}

static void
words_about_tags_are_words(void **state)
{
	const char *f = call_of("f", "{\"n\":1}");

	(void) state;
	check("I write <tool_call> tags. <tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1}}</tool_call>", typed_tools,
		  "I write <tool_call> tags.", f);
	check("Between <tool_call> and </tool_call> stands JSON:\n<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": "
		  "1}}</tool_call>",
		  typed_tools, "Between <tool_call> and </tool_call> stands JSON:", f);
	check("Use <function=NAME> and <parameter=KEY> for it.", typed_tools,
		  "Use <function=NAME> and <parameter=KEY> for it.", NULL);
	check("Use <function=NAME></function> for it.", typed_tools, "Use <function=NAME></function> for it.", NULL);
	check("<tool_call>{\"name\": \"f\", \"arguments\": {\"n\": 1}} and words</tool_call> more", typed_tools,
		  "and words\nmore", f);
	/* words within a function would be lost */
	check("<tool_call><function=f>words<parameter=n>1</parameter></function></tool_call>", typed_tools,
		  "<tool_call><function=f>words<parameter=n>1</parameter></function></tool_call>", NULL);
	check("<tool_call><function=f><parameter=n>1</parameter><parameter=n>2</parameter></function></tool_call>",
		  typed_tools,
		  "<tool_call><function=f><parameter=n>1</parameter><parameter=n>2</parameter></function></tool_call>", NULL);
}

/* What SQL's numeric does not hold, or what would be pages of zeros. */
static void
monstrous_numbers_stay_text(void **state)
{
	const char *answer = "<tool_call>{\"name\": \"f\", \"arguments\": {\"r\": 1e99999}}</tool_call>";

	(void) state;
	check(answer, typed_tools, answer, NULL);
	check_parameter("r", "1e99999", "\"1e99999\"");
	check_parameter("n", "-", "\"-\"");
}

static void
hostile_answers_take_linear_time(void **state)
{
	static const char *const units[] = {
		"<tool_call>",
		"<tool_call>{\"a\":\"",
		"<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":[\"",
		"<tool_call>[",
		"<tool_call><function=f><parameter=s>",
		"<tool_call><function=x><parameter=y>\n",
		"<function=f>\n<parameter=s>\n",
		"\n<parameter=q>",
		"<parameter=",
		"<function=f",
		"<",
		"<tool_call>{\"name\":\"f\",\"arguments\":{",
		"<tool_call>{'",
		"<tool_call><function=f>{\"a\":",
		"</tool_call>",
		"<tool_call>\n<function=f>\n<parameter=s>\n</function>\n",
		"<tool_call>{\"name\":\"f\"}",
		"                                ",
	};
	const size_t bytes = 4 << 20;
	char *answer = malloc(bytes + 1);

	(void) state;
	assert_non_null(answer);
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
		for (size_t head = 0; head < 3; head++)
		{
			static const char *const heads[] = {"", "<tool_call><function=f>\n<parameter=s>\n",
												"<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\""};
			ByteWriter content, calls;
			uint32_t n_calls;
			clock_t begin = clock();
			size_t length = 0;

			memcpy(answer, heads[head], strlen(heads[head]));
			length = strlen(heads[head]);
			for (; length + strlen(units[i]) <= bytes; length += strlen(units[i]))
				memcpy(answer + length, units[i], strlen(units[i]));
			byte_writer_init(&content);
			byte_writer_init(&calls);
			assert_int_equal(extract_calls((ByteSpan){answer, length}, true,
										   (ByteSpan){typed_tools, strlen(typed_tools)}, &content, &calls, &n_calls)
								 .code,
							 STATUS_OK);
			/* processor time, 4 MB: 100 times what it takes; reading it again at each tag would be hours */
			assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
			byte_writer_free(&content);
			byte_writer_free(&calls);
		}
	free(answer);
}

/* Tools whose one parameter may be what each of so many references to one enum says. */
static void
write_enum_tools(ByteWriter *tools, const char *element, size_t n_elements, size_t n_references)
{
	static const char head[] = "[{\"function\":{\"name\":\"f\",\"parameters\":{\"$defs\":{\"e\":{\"enum\":[",
					  middle[] = "]}},\"properties\":{\"v\":{\"type\":\"array\",\"items\":{\"anyOf\":[{}",
					  reference[] = ",{\"$ref\":\"#/$defs/e\"}", tail[] = "]}}}}}}]";

	write_raw(tools, head, strlen(head));
	for (size_t i = 0; i < n_elements; i++)
	{
		write_raw(tools, ",", i > 0);
		write_raw(tools, element, strlen(element));
	}
	write_raw(tools, middle, strlen(middle));
	for (size_t i = 0; i < n_references; i++)
		write_raw(tools, reference, strlen(reference));
	write_raw(tools, tail, strlen(tail));
}

/* Milliseconds of processor time to read one call with n values typed by these tools (where only_text: as text). */
static double
time_typed_values(const ByteWriter *tools, bool only_text, const char *value, size_t n)
{
	static const char head[] = "<tool_call>{\"name\":\"f\",\"arguments\":{\"v\":[1", tail[] = "]}}</tool_call>";
	ByteWriter answer, content, calls;
	uint32_t n_calls;
	ToolSet *set;
	clock_t begin;

	byte_writer_init(&answer);
	byte_writer_init(&content);
	byte_writer_init(&calls);
	write_raw(&answer, head, strlen(head));
	for (size_t i = 0; i < n; i++)
	{
		write_raw(&answer, ",", 1);
		write_raw(&answer, value, strlen(value));
	}
	write_raw(&answer, tail, strlen(tail));
	assert_int_equal(tool_set_create((ByteSpan){(char *) tools->data, tools->length}, NULL, &set).code, STATUS_OK);
	begin = clock();
	assert_int_equal(
		tool_calls_extract((ByteSpan){(char *) answer.data, answer.length}, true, set, &content, &calls, &n_calls).code,
		STATUS_OK);
	begin = clock() - begin;
	assert_int_equal(n_calls, 1);
	assert_int_equal(content.length, 0);
	write_u8(&calls, 0);
	assert_non_null(strstr((char *) calls.data, only_text ? "[\"1\"," : "[1,"));
	/* all values are still there */
	assert_true(calls.length > 2 * n);
	tool_set_destroy(set);
	byte_writer_free(&answer);
	byte_writer_free(&content);
	byte_writer_free(&calls);
	return (double) begin * 1000 / CLOCKS_PER_SEC;
}

/* However the schemas refer to each other: hours (and an engine that gives no sign of life) where each value of the
 * answer walked all of them. */
static void
hostile_tools_take_linear_time(void **state)
{
	static const char *const elements[] = {"\"\"", "\"5\""}, *const values[] = {"1", "\"5\"", "\"6\"", "{\"a\":\"7\"}"};
	char *number = malloc(500001);
	ByteWriter tools;

	(void) state;
	for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
		for (size_t j = 0; j < sizeof values / sizeof values[0]; j++)
		{
			byte_writer_init(&tools);
			write_enum_tools(&tools, elements[i], 150000, 99);
			assert_true(time_typed_values(&tools, true, values[j], 20000) < 500);
			byte_writer_free(&tools);
		}
	/* texts where integers are wanted are looked for in every list */
	byte_writer_init(&tools);
	write_enum_tools(&tools, "1", 20000, 99);
	assert_true(time_typed_values(&tools, false, "\"5\"", 1000) < 500);
	byte_writer_free(&tools);
	/* a number of half a million digits costs a value what any other does */
	assert_non_null(number);
	memset(number, '0', 500000);
	memcpy(number, "1.", 2);
	number[500000] = '\0';
	byte_writer_init(&tools);
	write_enum_tools(&tools, number, 2, 99);
	assert_true(time_typed_values(&tools, false, "1", 20000) < 500);
	byte_writer_free(&tools);
	free(number);
}

/* An enum of many strings beside another type still decides for every value. */
static void
long_lists_still_type_values(void **state)
{
	static const char head[] = "[{\"name\":\"f\",\"parameters\":{\"properties\":{\"v\":{\"enum\":[1",
					  tail[] = ",\"5\"]}}}}]";
	ByteWriter tools;

	(void) state;
	byte_writer_init(&tools);
	write_raw(&tools, head, strlen(head));
	for (int i = 0; i < 1000; i++)
		write_raw(&tools, ",\"x\"", 4);
	write_raw(&tools, tail, strlen(tail));
	write_u8(&tools, 0);
	check("<function=f><parameter=v>5</parameter></function>", (char *) tools.data, "",
		  "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"v\":\"5\"}}}]");
	check("<function=f><parameter=v>6</parameter></function>", (char *) tools.data, "",
		  "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"v\":6}}}]");
	byte_writer_free(&tools);
}

/* A megabyte of the smallest values would be thirty of memory. */
static void
tools_of_too_many_values_are_refused(void **state)
{
	const size_t bytes = 1 << 20;
	char *text = malloc(bytes);
	ToolSet *set;
	Status status;

	(void) state;
	assert_non_null(text);
	for (size_t i = 0; i < bytes; i++)
		text[i] = i == 0 ? '[' : i == bytes - 1 ? ']' : i % 2 ? '1' : ',';
	text[bytes - 2] = '1';
	text[bytes - 3] = ',';
	text[bytes - 4] = '1';
	status = tool_set_create((ByteSpan){text, bytes}, NULL, &set);
	assert_int_equal(status.code, STATUS_TOO_LONG);
	assert_non_null(strstr(status.message, "16777216"));
	assert_null(set);
	free(text);
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
		cmocka_unit_test(parameters_become_what_the_schema_says),
		cmocka_unit_test(arguments_become_what_the_schema_says),
		cmocka_unit_test(tags_within_values_are_values),
		cmocka_unit_test(what_is_not_closed_is_read),
		cmocka_unit_test(cut_answers_make_no_half_calls),
		cmocka_unit_test(forms_of_calls_are_known),
		cmocka_unit_test(words_about_tags_are_words),
		cmocka_unit_test(monstrous_numbers_stay_text),
		cmocka_unit_test(hostile_answers_take_linear_time),
		cmocka_unit_test(hostile_tools_take_linear_time),
		cmocka_unit_test(long_lists_still_type_values),
		cmocka_unit_test(tools_of_too_many_values_are_refused),
	};

	return cmocka_run_group_tests_name("tool_calls", tests, NULL, NULL);
}
