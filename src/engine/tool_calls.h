/*
 * tool_calls.h - finding the calls of tools in what the model wrote.
 *
 * Qwen models write <tool_call>{"name": …, "arguments": {…}}</tool_call>; the Coder ones
 * <tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>. Both become one JSON form, the
 * one that chat templates take back in a message's "tool_calls". A block that is neither stays in the text: nothing is
 * lost.
 */
#ifndef QWEN_TOOL_CALLS_H
#define QWEN_TOOL_CALLS_H

#include "../base/bytes.h"
#include "../base/status.h"

/*
 * Split answer (valid UTF-8) into the text outside of calls (appended to content, with the white space around removed
 * blocks trimmed) and a JSON array [{"type": "function", "function": {"name": …, "arguments": {…}}}, …] (appended to
 * calls only when *n_calls > 0). tools: the request's tools as JSON (or not given): parameters of the Coder form whose
 * schema says that they are no strings are read as JSON.
 */
extern Status tool_calls_extract(ByteSpan answer, ByteSpan tools, ByteWriter *content, ByteWriter *calls,
								 uint32_t *n_calls);

#endif
