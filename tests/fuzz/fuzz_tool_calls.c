/*
 * fuzz_tool_calls.c - calls of tools in what a model wrote.
 *
 * Input: tools, up to a NUL, then the answer. Calls come out as JSON of the promised form; an answer without any comes
 * out as it is.
 */
#include <jansson.h>

#include "../../src/engine/tool_calls.h"
#include "fuzz.h"

/* [{"type": "function", "function": {"name": text, "arguments": {…}}}, …] */
static void
check_calls(const ByteWriter *calls, uint32_t n_calls)
{
	json_t *array = json_loadb((char *) calls->data, calls->length, JSON_REJECT_DUPLICATES, NULL);
	json_t *call;
	size_t i;

	PROMISE(json_is_array(array) && json_array_size(array) == n_calls);
	json_array_foreach(array, i, call)
	{
		json_t *function = json_object_get(call, "function");

		PROMISE(json_object_size(call) == 2 && json_object_size(function) == 2);
		PROMISE(strcmp(json_string_value(json_object_get(call, "type")), "function") == 0);
		PROMISE(json_is_string(json_object_get(function, "name")));
		PROMISE(json_is_object(json_object_get(function, "arguments")));
	}
	json_decref(array);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ByteSpan tools, answer;
	ByteWriter content, calls;
	ByteReader input;
	uint32_t n_calls = 0;

	byte_reader_init(&input, data, size);
	tools = fuzz_valid_text(fuzz_part(&input));
	answer = fuzz_valid_text(fuzz_rest(&input));
	byte_writer_init(&content);
	byte_writer_init(&calls);
	PROMISE(tool_calls_extract(answer, tools.length ? tools : (ByteSpan){NULL, 0}, &content, &calls, &n_calls).code ==
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
