/*
 * fuzz_tool_calls.c - calls of tools in what a model wrote.
 *
 * Input: tools, up to a NUL, then the answer, read as ended where the size is odd, else as cut. Calls come out as JSON
 * of the promised form; an answer without any comes out as it is.
 */
#include "../../src/base/json_tree.h"
#include "../unit/extract_calls.h"
#include "fuzz.h"

/* [{"type": "function", "function": {"name": text, "arguments": {…}}, …}, …], which SQL can hold */
static void
check_calls(const ByteWriter *calls, uint32_t n_calls)
{
	Arena *arena = arena_create(0);
	JsonError error;
	size_t end = 0;
	const JsonNode *array =
		json_tree_read(arena, (ByteSpan){(char *) calls->data, calls->length}, JSON_AS_WRITTEN, &end, &error);

	PROMISE(array && end == calls->length && !array->is_open && array->kind == NODE_IS_ARRAY && array->n == n_calls);
	for (const JsonNode *call = array->first; call; call = call->next)
	{
		const JsonNode *function = json_member_named(call, "function");
		const JsonNode *name = json_member_named(function, "name"),
					   *arguments = json_member_named(function, "arguments");

		PROMISE(json_string_is(json_member_named(call, "type"), "function") && function && function->n == 2);
		PROMISE(name && name->kind == NODE_IS_STRING && name->n > 0);
		PROMISE(arguments && arguments->kind == NODE_IS_OBJECT);
	}
	arena_destroy(arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ByteSpan tools, answer;
	bool is_ended = size % 2;
	ByteWriter content, calls;
	ByteReader input;
	uint32_t n_calls = 0;

	byte_reader_init(&input, data, size);
	tools = fuzz_valid_text(fuzz_part(&input));
	answer = fuzz_valid_text(fuzz_rest(&input));
	byte_writer_init(&content);
	byte_writer_init(&calls);
	PROMISE(
		extract_calls(answer, is_ended, tools.length ? tools : (ByteSpan){NULL, 0}, &content, &calls, &n_calls).code ==
		STATUS_OK);
	PROMISE(utf8_is_valid((char *) content.data, content.length) && utf8_is_valid((char *) calls.data, calls.length));
	if (n_calls)
		check_calls(&calls, n_calls);
	else
	{
		PROMISE(calls.length == 0 && content.length == answer.length);
		PROMISE(answer.length == 0 || memcmp(content.data, answer.data, answer.length) == 0);
	}
	byte_writer_free(&content);
	byte_writer_free(&calls);
	fuzz_free(tools);
	fuzz_free(answer);
	return 0;
}
