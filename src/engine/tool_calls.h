/*
 * tool_calls.h - finding the calls of tools in what the model wrote.
 *
 * Qwen models write <tool_call>{"name": …, "arguments": {…}}</tool_call>; the Coder ones
 * <tool_call><function=NAME><parameter=KEY>VALUE</parameter>…</function></tool_call>. Both become one JSON form, the
 * one that chat templates take back in a message's "tool_calls". Read too is what models make of these forms: several
 * calls in a block, "parameters" for "arguments", a Coder call without <tool_call>, tags that are not closed, brackets
 * that are missing at the end, Python's spellings (json_tree.h). Values are typed by the tools' schemas
 * (tool_schema.h).
 *
 * Nothing that the model wrote is lost: all but tags and white space stands in the calls or in the content. What is no
 * call stays in the content as it is.
 */
#ifndef QWEN_TOOL_CALLS_H
#define QWEN_TOOL_CALLS_H

#include "../base/bytes.h"
#include "../base/status.h"
#include "../format/format.h"
#include "tool_schema.h"

/*
 * Split answer (valid UTF-8) into the text outside of calls (appended to content, with the white space around removed
 * blocks trimmed) and a JSON array [{"type": "function", "function": {"name": …, "arguments": {…}}}, …] (appended to
 * calls only when *n_calls > 0); members of a call that are none of these stand behind "function". is_ended: the model
 * itself ended the answer. When it was cut, what is open at its end may lack something, and is no call. tools: the
 * request's, or NULL. Time grows with the length of the answer and the size of the tools, memory with the answer.
 */
extern Status tool_calls_extract(ByteSpan answer, bool is_ended, const ToolSet *tools, ByteWriter *content,
								 ByteWriter *calls, uint32_t *n_calls);

/*
 * The same of an answer whose calls a format has kept in form (format_calls): they are where it began them, and values
 * are what they were made as. *is_read: false where the answer is not of the format.
 */
extern Status tool_calls_read(ByteSpan answer, const Format *format, const ToolSet *tools, ByteWriter *content,
							  ByteWriter *calls, uint32_t *n_calls, bool *is_read);

/*
 * Bytes at the beginning of text, a part of an answer, that are no part of a call, nor of the white space before one,
 * however it goes on. *n_looked: what is before need not be looked at again. *found: there is a tag; what stands from
 * there on only the whole answer tells.
 */
extern size_t tool_calls_plain_bytes(ByteSpan text, size_t *n_looked, bool *found);

#endif
