/*
 * test_tool_calls_random.c - nothing that the model wrote disappears from both content and calls, in 100,000 random
 * answers with whole and broken calls (QWEN_TEST_ANSWERS sets how many); what comes out is JSON that SQL can hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/base/json_tree.h"
#include "call_grammar.h"
#include "extract_calls.h"

static long
n_answers(void)
{
	const char *n = getenv("QWEN_TEST_ANSWERS");

	return n ? atol(n) : 100000;
}

/* [{"type": "function", "function": {"name": text, "arguments": {…}}, …}, …] */
static bool
are_calls(const ByteWriter *calls, uint32_t n_calls, Arena *arena)
{
	JsonError error;
	size_t end = 0;
	ByteSpan text = {(const char *) calls->data, calls->length};
	/* this way of reading also refuses a key that comes twice, whose first value SQL would forget */
	const JsonNode *array = json_tree_read(arena, text, JSON_AS_WRITTEN, &end, &error);

	if (!array || end != text.length || array->is_open || array->kind != NODE_IS_ARRAY || array->n != n_calls)
		return false;
	for (const JsonNode *call = array->first; call; call = call->next)
	{
		const JsonNode *function = json_member_named(call, "function");
		const JsonNode *name = json_member_named(function, "name"),
					   *arguments = json_member_named(function, "arguments");

		if (!json_string_is(json_member_named(call, "type"), "function") || !name || name->kind != NODE_IS_STRING ||
			name->n == 0 || !arguments || arguments->kind != NODE_IS_OBJECT || function->n != 2)
			return false;
	}
	return true;
}

static void
nothing_disappears(void **state)
{
	static Grammar grammar;
	Arena *arena = arena_create(0);
	long n_with_calls = 0, n_with_text = 0;

	(void) state;
	for (long i = 0; i < n_answers(); i++)
	{
		ByteWriter content, calls;
		ByteSpan answer;
		uint32_t n_calls = 0;
		bool is_ended, has_tools, all_there, well_formed;

		grammar_answer(&grammar, (uint64_t) i);
		answer = (ByteSpan){grammar.text, strlen(grammar.text)};
		is_ended = grammar_random(&grammar, 4) > 0;
		has_tools = grammar_random(&grammar, 5) > 0;
		byte_writer_init(&content);
		byte_writer_init(&calls);
		assert_int_equal(
			extract_calls(answer, is_ended,
						  has_tools ? (ByteSpan){grammar_tools, strlen(grammar_tools)} : (ByteSpan){NULL, 0}, &content,
						  &calls, &n_calls)
				.code,
			STATUS_OK);
		all_there = grammar_all_there(answer.data, answer.length, (char *) content.data, content.length,
									  (char *) calls.data, calls.length);
		arena_reset(arena);
		well_formed =
			n_calls ? are_calls(&calls, n_calls, arena) : calls.length == 0 && content.length == answer.length;
		if (!all_there || !well_formed)
			print_message("seed %ld, ended %d, tools %d: %s\n--- content: %.*s\n--- calls: %.*s\n", i, is_ended,
						  has_tools, answer.data, (int) content.length, content.data ? (char *) content.data : "",
						  (int) calls.length, calls.data ? (char *) calls.data : "");
		assert_true(all_there && well_formed);
		n_with_calls += n_calls > 0;
		n_with_text += content.length > 0;
		byte_writer_free(&content);
		byte_writer_free(&calls);
	}
	arena_destroy(arena);
	/* both ways are taken often */
	assert_true(n_with_calls > n_answers() / 4);
	assert_true(n_with_text > n_answers() / 4);
	print_message("%ld answers: %ld with calls, %ld with text\n", n_answers(), n_with_calls, n_with_text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_disappears),
	};

	return cmocka_run_group_tests_name("tool_calls_random", tests, NULL, NULL);
}
