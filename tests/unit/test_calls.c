/*
 * test_calls.c - answers that call tools (src/format/tools.c): what may be called, with which arguments, in both forms
 * of calls; that nothing else comes, and that all that is let through can be completed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/format/format.h"
#include "../../src/format/masks.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define O "\xFE" /* the tokens <tool_call> and </tool_call> */
#define C "\xFF"

/* An integer that must be there, a text, one of two words, a text or null, a list; a tool without arguments. */
static const char tools[] =
	"[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\",\"properties\":{"
	"\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":30},\"note\":{\"type\":\"string\",\"maxLength\":20},"
	"\"kind\":{\"enum\":[\"a\",\"b\"]},\"who\":{\"type\":[\"string\",\"null\"]},"
	"\"list\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"maxItems\":2}},\"required\":[\"n\"]}}},"
	"{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

static Format *
compiled_beside(const char *text, const char *format_text, CallForm form)
{
	Format *format = NULL;
	Status status =
		format_compile_calls((ByteSpan){text, strlen(text)},
							 (ByteSpan){format_text, format_text ? strlen(format_text) : 0}, &form, NULL, &format);

	if (status.code != STATUS_OK)
		fail_msg("%s", status.message);
	assert_non_null(format);
	return format;
}

static Format *
compiled(const char *text, CallForm form)
{
	return compiled_beside(text, NULL, form);
}

static CallForm
form_of(bool is_of_tags, CallChoice choice, const char *name)
{
	return (CallForm){
		.is_of_tags = is_of_tags, .has_open = true, .has_close = true, .choice = choice, .name = {name, strlen(name)}};
}

static bool
accepts(Format *format, const char *text)
{
	FormatState state = format_take(format, format_start(format), text, strlen(text));

	assert_int_equal(format_status(format).code, STATUS_OK);
	return state && format_is_complete(format, state);
}

typedef struct CallCase
{
	bool is_of_tags;
	CallChoice choice;
	const char *name;
	const char *good[12], *bad[24];
} CallCase;

#define JSON_CALL(name, arguments) O "\n{\"name\": \"" name "\", \"arguments\": {" arguments "}}\n" C
#define TAG_CALL(name, parameters) O "\n<function=" name ">\n" parameters "</function>\n" C
#define PARAMETER(name, value) "<parameter=" name ">\n" value "\n</parameter>\n"

static const CallCase cases[] = {
	{false,
	 CALLS_MUST,
	 "",
	 {JSON_CALL("add", "\"n\": 7"), JSON_CALL("now", ""), JSON_CALL("now", "") "\n" JSON_CALL("add", "\"n\": 30"),
	  JSON_CALL("add", "\"n\": 1, \"note\": \"</tool_call>\\n\", \"kind\": \"b\", \"who\": null, \"list\": [true]"),
	  NULL},
	 {"", "x", "add", JSON_CALL("add", ""), JSON_CALL("add", "\"n\": 31"), JSON_CALL("add", "\"n\": \"7\""),
	  JSON_CALL("sub", ""), JSON_CALL("add", "\"n\": 7, \"m\": 1"), JSON_CALL("now", "\"n\": 1"),
	  JSON_CALL("add", "\"n\": 7, \"kind\": \"c\""), JSON_CALL("now", "") JSON_CALL("now", ""),
	  JSON_CALL("now", "") " ", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
	  O "{\"name\": \"now\", \"arguments\": {}}" C, JSON_CALL("add", "\"n\": 7, \"note\": \"123456789012345678901\""),
	  NULL}},
	{false,
	 CALLS_ONE,
	 "now",
	 {JSON_CALL("now", ""), NULL},
	 {"", JSON_CALL("add", "\"n\": 7"), JSON_CALL("now", "") "\n" JSON_CALL("now", ""), NULL}},
	{false,
	 CALLS_MAY,
	 "",
	 {"", "x", "a <tool_cal <tool_response> " JSON_CALL("now", "") " and " JSON_CALL("add", "\"n\": 2") "\nend",
	  "<<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n" C, "<function=f> is a word here", "\x80\xF8 broken",
	  NULL},
	 {O, "x" O "x", JSON_CALL("add", ""), "<tool_call>x", "<tool_<tool_call>x", "<tool_call>\n{\"name\": \"sub\"",
	  NULL}},
	{false,
	 CALLS_NONE,
	 "",
	 {"", "x", "<tool_cal <function=f>", "{\"name\": \"now\"}", NULL},
	 {O, JSON_CALL("now", ""), "<tool_call>", "<<tool_call>", "<tool_tool<tool_call>", NULL}},
	{true,
	 CALLS_MUST,
	 "",
	 {TAG_CALL("add", PARAMETER("n", "7")), TAG_CALL("now", ""),
	  TAG_CALL("add", PARAMETER("n", "7")) "\n" TAG_CALL("now", ""),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("note", "") PARAMETER("kind", "a") PARAMETER("who", "null")
						  PARAMETER("list", "[true, false]")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("note", "a\n\n\"</parameter>\\n")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("note", "\n</para\n")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("who", "</function>\n</tool_call>\n<parameter=x>")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("who", "12")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("who", "nullify")), NULL},
	 {"", TAG_CALL("add", ""), TAG_CALL("add", PARAMETER("n", "31")), TAG_CALL("add", PARAMETER("n", "\"7\"")),
	  TAG_CALL("sub", ""), TAG_CALL("add", PARAMETER("n", "7") PARAMETER("m", "7")),
	  TAG_CALL("now", PARAMETER("n", "7")), TAG_CALL("add", PARAMETER("n", "7") PARAMETER("kind", "c")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("kind", "\"a\"")),
	  TAG_CALL("add", PARAMETER("note", "x") PARAMETER("n", "7")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("n", "7")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("note", "123456789012345678901")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("note", "x\n</parameter>y")),
	  TAG_CALL("add", PARAMETER("n", "7") PARAMETER("list", "[1]")),
	  TAG_CALL("add", PARAMETER("n", "7") "<parameter=note>\nx</parameter>\n"), O "\n<function=now></function>\n" C,
	  "<function=now>\n</function>", NULL}},
	{true,
	 CALLS_MAY,
	 "",
	 {"", "Look: " TAG_CALL("now", "") "x", "Look: <function=now>\n</function>\n</tool_call> more",
	  "<tool_call>\n<function=add>\n" PARAMETER("n", "3") "</function>\n" C, NULL},
	 {"<function=sub", "<function=add>\n</function>", O "\n{", NULL}},
	{true, CALLS_NONE, "", {"<functio", NULL}, {"<function=", O, "a <tool_call>", NULL}},
};

static void
calls_are_what_their_tools_say(void **unused)
{
	(void) unused;
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		const CallCase *one = &cases[i];
		Format *format = compiled(tools, form_of(one->is_of_tags, one->choice, one->name));

		for (const char *const *text = one->good; *text; text++)
			if (!accepts(format, *text))
				fail_msg("case %zu refuses %s", i, *text);
		for (const char *const *text = one->bad; *text; text++)
			if (accepts(format, *text))
				fail_msg("case %zu takes %s", i, *text);
		format_destroy(format);
	}
}

/* Where a model has no tokens for them, what opens and closes a call is text. */
static void
tags_that_are_no_tokens_are_spelled(void **unused)
{
	CallForm form = {.choice = CALLS_MUST};
	Format *format = compiled(tools, form);

	(void) unused;
	assert_true(accepts(format, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
	assert_false(accepts(format, JSON_CALL("now", "")));
	format_destroy(format);
}

/* Beside a form an answer has it, or calls; or one of them alone. */
static void
an_answer_has_a_form_or_calls(void **unused)
{
	static const struct
	{
		CallChoice choice;
		bool takes_form, takes_call;
	} choices[] = {{CALLS_MAY, true, true}, {CALLS_NONE, true, false}, {CALLS_MUST, false, true}};

	(void) unused;
	for (int tags = 0; tags < 2; tags++)
		for (size_t i = 0; i < LENGTH(choices); i++)
		{
			Format *format = compiled_beside(tools, "{\"type\":\"integer\"}", form_of(tags, choices[i].choice, ""));

			assert_int_equal(accepts(format, "12"), choices[i].takes_form);
			assert_int_equal(accepts(format, tags ? TAG_CALL("now", "") : JSON_CALL("now", "")), choices[i].takes_call);
			assert_false(accepts(format, "x"));
			assert_false(accepts(format, "12" JSON_CALL("now", "")));
			format_destroy(format);
		}
}

/* What a form is told to pass over is its own: a tool beside it has its formats kept, or refused. */
static void
a_form_passes_over_nothing_of_tools(void **unused)
{
	static const char *const form = "{\"type\":\"json_schema\",\"ignore\":[\"format\",\"uniqueItems\"],\"relax\":["
									"\"oneOf\"],\"schema\":{\"type\":\"string\",\"format\":\"date\"}}";
	static const char *const dated = "[{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"
									 "\"a\":{\"type\":\"string\",\"format\":\"date\"}}}}]";
	Format *format = compiled_beside(dated, form, form_of(false, CALLS_MAY, ""));

	(void) unused;
	assert_true(accepts(format, "\"no date\""));
	assert_true(accepts(format, JSON_CALL("f", "\"a\": \"2024-02-29\"")));
	assert_false(accepts(format, JSON_CALL("f", "\"a\": \"no date\"")));
	format_destroy(format);
}

/* References and drafts are of each tool's own schema; members that a schema leaves open come where it says so. */
static void
schemas_of_tools_stand_alone(void **unused)
{
	Format *format =
		compiled("[{\"name\":\"f\",\"parameters\":{\"$defs\":{\"x\":{\"type\":\"integer\"}},\"type\":\"object\","
				 "\"properties\":{\"a\":{"
				 "\"$ref\":\"#/$defs/x\"}}}},"
				 "{\"name\":\"g\",\"parameters\":{\"$schema\":\"http://json-schema.org/draft-07/"
				 "schema#\",\"definitions\":{\"x\":{"
				 "\"type\":\"boolean\"}},\"properties\":{\"a\":{\"$ref\":\"#/definitions/"
				 "x\"}},\"additionalProperties\":{\"type\":"
				 "\"null\"}}},"
				 "{\"name\":\"h\",\"parameters\":{\"type\":\"object\",\"properties\":{\"h\":{\"$ref\":\"#\"}}}}]",
				 form_of(false, CALLS_MUST, ""));

	(void) unused;
	assert_true(accepts(format, JSON_CALL("f", "\"a\": 1")));
	assert_false(accepts(format, JSON_CALL("f", "\"a\": true")));
	assert_true(accepts(format, JSON_CALL("g", "\"a\": true, \"b\": null")));
	assert_false(accepts(format, JSON_CALL("g", "\"a\": 1")));
	assert_false(accepts(format, JSON_CALL("f", "\"b\": null")));
	assert_true(accepts(format, JSON_CALL("h", "\"h\": {\"h\": {}, \"x\": 1}")));
	assert_false(accepts(format, JSON_CALL("h", "\"h\": {}, \"x\": 1")));
	format_destroy(format);
}

static void
expect_error(const char *text, CallForm form, StatusCode code, const char *part)
{
	Format *format = NULL;
	Status status = format_compile_calls((ByteSpan){text, strlen(text)}, (ByteSpan){NULL, 0}, &form, NULL, &format);

	if (status.code != code || !strstr(status.message, part))
		fail_msg("%s: %d %s", text, (int) status.code, status.message);
	assert_null(format);
}

#define TOOL(schema) "[{\"name\": \"f\", \"parameters\": " schema "}, {\"name\": \"g\"}]"

static void
what_cannot_be_kept_is_an_error_of_its_tool(void **unused)
{
	static const struct
	{
		const char *tools;
		StatusCode code;
		const char *part;
	} bad[] = {
		{TOOL("{\"properties\":{\"a\":{\"$ref\":\"http://x/y\"}}}"), STATUS_UNSUPPORTED,
		 "tools: tool \"f\": \"$ref\" at /properties/a"},
		{TOOL("{\"type\":\"str\"}"), STATUS_INVALID_ARGUMENT, "tools: tool \"f\": \"type\" at /"},
		{TOOL("{\"type\":\"string\"}"), STATUS_INVALID_ARGUMENT, "tool \"f\": no arguments satisfy"},
		{TOOL("{\"required\":[\"a\"],\"properties\":{\"a\":false}}"), STATUS_INVALID_ARGUMENT, "no arguments satisfy"},
		{TOOL("3"), STATUS_INVALID_ARGUMENT, "tool \"f\": the schema at / must be"},
		{TOOL("{\"$ref\":\"http://x/y\"}"), STATUS_UNSUPPORTED, "nothing is fetched"},
	};

	(void) unused;
	for (size_t i = 0; i < LENGTH(bad); i++)
		for (int tags = 0; tags < 2; tags++)
		{
			CallForm form = form_of(tags, CALLS_MAY, "");
			Format *format;

			expect_error(bad[i].tools, form, bad[i].code, bad[i].part);
			/* the other tool alone, and without tools, and where it is no promise */
			form = form_of(tags, CALLS_ONE, "g");
			format_destroy(compiled(bad[i].tools, form));
			format_destroy(compiled(bad[i].tools, form_of(tags, CALLS_NONE, "")));
			form = form_of(tags, CALLS_MAY, "");
			form.is_lenient = true;
			format = compiled(bad[i].tools, form);
			assert_false(format_keeps_tool(format, (ByteSpan){"f", 1}));
			assert_true(format_keeps_tool(format, (ByteSpan){"g", 1}));
			format_destroy(format);
		}
	expect_error(tools, form_of(false, CALLS_ONE, "sub"), STATUS_INVALID_ARGUMENT, "tools: there is no tool \"sub\"");
	expect_error("[]", form_of(false, CALLS_MUST, ""), STATUS_INVALID_ARGUMENT, "tools: there is no tool to call");
	expect_error("{}", form_of(false, CALLS_MUST, ""), STATUS_INVALID_ARGUMENT, "tools: it must be an array");
	expect_error(TOOL("{\"properties\":{\"a\":{\"format\":\"colour\"}}}"), form_of(true, CALLS_MUST, ""),
				 STATUS_UNSUPPORTED, "set \"strict\": false beside the tool's name");
	expect_error("[{\"name\":\"a>b\"}]", form_of(true, CALLS_MAY, ""), STATUS_INVALID_ARGUMENT, "tool \"a>b\"");
	format_destroy(compiled("[{\"name\":\"a>b\"}]", form_of(false, CALLS_MAY, "")));
}

/* A tool that says that its schema is no promise takes any arguments of its names. */
static void
loose_tools_take_any_values(void **unused)
{
	static const char loose[] = "[{\"name\":\"f\",\"strict\":false,\"parameters\":{\"properties\":{\"a\":{\"type\":"
								"\"integer\"}},\"required\":[\"a\"]}}]";
	Format *format = compiled(loose, form_of(false, CALLS_MUST, ""));

	(void) unused;
	assert_true(accepts(format, JSON_CALL("f", "\"a\": \"x\"")));
	assert_true(accepts(format, JSON_CALL("f", "")));
	assert_false(accepts(format, JSON_CALL("f", "\"b\": 1")));
	format_destroy(format);
	format = compiled(loose, form_of(true, CALLS_MUST, ""));
	assert_true(accepts(format, TAG_CALL("f", PARAMETER("a", "[x"))));
	assert_true(accepts(format, TAG_CALL("f", PARAMETER("a", "3"))));
	format_destroy(format);
}

/* A value that stands in a parameter is read as it was written. */
static void
values_of_parameters_are_read_in_one_way(void **unused)
{
	static const char mixed[] =
		"[{\"name\":\"f\",\"parameters\":{\"properties\":{\"text\":{\"type\":\"string\"},\"number\":{\"type\":"
		"\"number\"},"
		"\"both\":{\"type\":[\"string\",\"integer\"]},\"any\":{}},\"additionalProperties\":false}}]";
	static const struct
	{
		const char *parameter, *value;
		bool is_text;
	} values[] = {
		{"text", "12", true},   {"text", "null", true},     {"text", "[", true},    {"number", "12", false},
		{"both", "12", false},  {"both", "-0.5e+3", false}, {"both", "012", true},  {"both", "1.", true},
		{"both", "-", true},    {"both", "", true},         {"both", "null", true}, {"both", "1e", true},
		{"any", "null", false}, {"any", "nul", true},       {"any", "[x", false},   {"any", "{}", false},
		{"any", "true", false}, {"any", "True", true},
	};
	Format *format = compiled(mixed, form_of(true, CALLS_MUST, ""));

	(void) unused;
	for (size_t i = 0; i < LENGTH(values); i++)
	{
		char call[200];
		bool is_text = format_argument_is_text(format, (ByteSpan){"f", 1},
											   (ByteSpan){values[i].parameter, strlen(values[i].parameter)},
											   (ByteSpan){values[i].value, strlen(values[i].value)});

		if (is_text != values[i].is_text)
			fail_msg("%s in %s", values[i].value, values[i].parameter);
		snprintf(call, sizeof call, TAG_CALL("f", PARAMETER("%s", "%s")), values[i].parameter, values[i].value);
		/* as a text it is taken where it will be read as one */
		if (is_text && !accepts(format, call))
			fail_msg("%s is refused", call);
		if (!is_text && strcmp(values[i].value, "-0.5e+3") == 0 && accepts(format, call))
			fail_msg("%s is taken, as a number and no integer", call);
	}
	format_destroy(format);
}

static const char *const longer_tokens[] = {"<tool_call>",
											"</tool_call>",
											"<function=",
											"x<tool_call>",
											"<tool_call>\n",
											"<tool_call>x",
											"_call>\n{\"",
											">\n",
											">y",
											"\n</parameter>\n",
											"\n</parameter>x",
											"add",
											"n\": 7",
											"\": \"",
											"</",
											"</function>",
											"</function>\n",
											"</function>x",
											"a note",
											"123456789",
											", \"",
											"}}\n",
											"tool",
											"null",
											"[true",
											"now>\n",
											"<parameter=n",
											"ote>\n",
											"\n\n",
											"call>\nx",
											"=now>\n",
											"=sub"};

#define N_TOKENS (256 + LENGTH(longer_tokens))

static char single_bytes[256];

static ByteSpan
token_bytes(uint32_t token)
{
	if (token < 256)
		return (ByteSpan){&single_bytes[token], 1};
	return (ByteSpan){longer_tokens[token - 256], strlen(longer_tokens[token - 256])};
}

static Vocabulary *
small_vocabulary(void)
{
	ByteSpan tokens[N_TOKENS];

	for (uint32_t i = 0; i < 256; i++)
		single_bytes[i] = (char) i;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		tokens[i] = token_bytes(i);
	return vocabulary_create(tokens, N_TOKENS);
}

static bool
mask_has(const TokenMask *mask, uint32_t token)
{
	if (mask->bits)
		return mask->is_free != (mask->bits[token / 64] >> token % 64 & 1);
	for (uint32_t i = 0; i < mask->n; i++)
		if (mask->list[i] == token)
			return !mask->is_free;
	return mask->is_free;
}

static uint64_t
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* From a place on at random: the mask is what its tokens are one by one, and what is let through can be completed. */
static void
walk_at_random(Format *format, Masks *masks, FormatState state, size_t name, uint64_t seed)
{
	for (int step = 0; step < 60 && !format_is_over(format, state); step++)
	{
		const TokenMask *mask = masks_get(masks, state);
		uint32_t allowed[N_TOKENS], n = 0;
		ByteWriter rest;
		ByteSpan taken;

		assert_non_null(mask);
		assert_int_equal(mask->is_free, format_is_free(format, state));
		for (uint32_t token = 0; token < N_TOKENS; token++)
		{
			ByteSpan bytes = token_bytes(token);
			bool is_allowed = format_take(format, state, bytes.data, bytes.length) != 0;

			if (is_allowed != mask_has(mask, token))
				fail_msg("case %zu: token %u (%.*s) is %s one by one, but not in the mask", name, token,
						 (int) bytes.length, bytes.data, is_allowed ? "allowed" : "refused");
			/* a free text goes where it matters more often */
			if (is_allowed && (!mask->is_free || token >= 254))
				allowed[n++] = token;
		}
		if (n == 0 && !format_is_complete(format, state))
			fail_msg("case %zu: a dead end", name);
		byte_writer_init(&rest);
		assert_int_equal(format_complete(format, state, &rest).code, STATUS_OK);
		if (format_completion_bound(format, state) + 64 < rest.length)
			fail_msg("case %zu: a completion of %zu bytes, promised were %u", name, rest.length,
					 format_completion_bound(format, state));
		if (rest.length > 0)
			assert_true(format_is_complete(format, format_take(format, state, (char *) rest.data, rest.length)));
		byte_writer_free(&rest);
		if (n == 0)
			break;
		taken = token_bytes(allowed[next_random(&seed) % n]);
		state = format_take(format, state, taken.data, taken.length);
	}
}

static void
masks_of_calls_are_what_their_tokens_are_one_by_one(void **unused)
{
	Vocabulary *vocabulary = small_vocabulary();
	MaskScratch *scratch = vocabulary ? mask_scratch_create(vocabulary) : NULL;

	(void) unused;
	assert_non_null(scratch);
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Format *format = compiled(tools, form_of(cases[i].is_of_tags, cases[i].choice, cases[i].name));
		Masks *masks = masks_create(format, vocabulary, scratch);

		assert_non_null(masks);
		for (uint64_t seed = 1; seed <= 8; seed++)
			walk_at_random(format, masks, format_start(format), i, seed * 7919 + i);
		/* and from each place of the texts that belong to it */
		for (const char *const *text = cases[i].good; *text; text++)
			for (size_t n = 0; n < strlen(*text); n += 3)
				walk_at_random(format, masks, format_take(format, format_start(format), *text, n), i, n);
		masks_destroy(masks);
		format_destroy(format);
	}
	mask_scratch_destroy(scratch);
	vocabulary_destroy(vocabulary);
}

/* The shortest answer, in which what cannot be left out stands. */
static void
completions_are_calls(void **unused)
{
	Format *format = compiled(tools, form_of(false, CALLS_ONE, "add"));
	ByteSpan shortest = format_shortest(format);

	(void) unused;
	assert_int_equal(shortest.length, strlen(JSON_CALL("add", "\"n\": 7")));
	assert_memory_equal(shortest.data, JSON_CALL("add", "\"n\": "),
						strlen(O "\n{\"name\": \"add\", \"arguments\": {\"n\": "));
	format_destroy(format);
	format = compiled(tools, form_of(true, CALLS_ONE, "add"));
	shortest = format_shortest(format);
	assert_int_equal(shortest.length, strlen(TAG_CALL("add", PARAMETER("n", "7"))));
	format_destroy(format);
	format = compiled(tools, form_of(true, CALLS_MAY, ""));
	assert_int_equal(format_shortest(format).length, 0);
	format_destroy(format);
}

/* Ten thousand tools are a form like any other. */
static void
many_tools_are_taken(void **unused)
{
	char *text = malloc(10000 * 100), *at = text;
	Format *format;

	(void) unused;
	assert_non_null(text);
	*at++ = '[';
	for (int i = 0; i < 10000; i++)
		at += sprintf(at, "%s{\"name\":\"f%d\",\"parameters\":{\"properties\":{\"a\":{\"type\":\"integer\"}}}}",
					  i ? "," : "", i);
	strcpy(at, "]");
	for (int tags = 0; tags < 2; tags++)
	{
		format = compiled(text, form_of(tags, CALLS_MUST, ""));
		assert_true(accepts(format, tags ? TAG_CALL("f9999", PARAMETER("a", "-5")) : JSON_CALL("f9999", "\"a\": -5")));
		assert_false(accepts(format, tags ? TAG_CALL("f10000", "") : JSON_CALL("f10000", "")));
		format_destroy(format);
	}
	free(text);
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(calls_are_what_their_tools_say),
		cmocka_unit_test(tags_that_are_no_tokens_are_spelled),
		cmocka_unit_test(an_answer_has_a_form_or_calls),
		cmocka_unit_test(a_form_passes_over_nothing_of_tools),
		cmocka_unit_test(schemas_of_tools_stand_alone),
		cmocka_unit_test(what_cannot_be_kept_is_an_error_of_its_tool),
		cmocka_unit_test(loose_tools_take_any_values),
		cmocka_unit_test(values_of_parameters_are_read_in_one_way),
		cmocka_unit_test(masks_of_calls_are_what_their_tokens_are_one_by_one),
		cmocka_unit_test(completions_are_calls),
		cmocka_unit_test(many_tools_are_taken),
	};

	return cmocka_run_group_tests(all, NULL, NULL);
}
