/*
 * extract_calls.h - calls of tools read out of an answer, with tools given as JSON.
 */
#ifndef QWEN_TEST_EXTRACT_CALLS_H
#define QWEN_TEST_EXTRACT_CALLS_H

#include "../../src/engine/tool_calls.h"

/* tool_calls_extract with the tools (data NULL: none) read before. */
static inline Status
extract_calls(ByteSpan answer, bool is_ended, ByteSpan tools, ByteWriter *content, ByteWriter *calls, uint32_t *n_calls)
{
	ToolSet *set = NULL;
	Status status = tools.data ? tool_set_create(tools, NULL, &set) : status_ok();

	if (status.code == STATUS_OK)
		status = tool_calls_extract(answer, is_ended, set, content, calls, n_calls);
	tool_set_destroy(set);
	return status;
}

#endif
