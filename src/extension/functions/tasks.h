/*
 * tasks.h - what tasks share: chat with a prompt of ours over a text of any length.
 */
#ifndef QWEN_TASKS_H
#define QWEN_TASKS_H

#include "../call/call.h"

/* A prompt, an empty line and the input as a request's messages. The built-in words that the prompt begins with are
 * marked as what all roles may share. */
extern void task_messages(Request *request, const char *prompt, text *input);

/*
 * The answer to a prompt over an input of any length. options: a request with model and options alone; max_tokens: for
 * the whole answer, as task_max_tokens takes it. An input that is longer than the context is cut into parts,
 * part_prompt is asked about each, and combine_prompt about what comes out, again in parts if need be. An answer that
 * was cut off is counted.
 */
extern text *task_map_reduce(const Request *options, text *input, const char *whole_prompt, const char *part_prompt,
							 const char *combine_prompt, int max_tokens);

/* Pieces (text) of at most max_tokens; 0: as large as leaves room for a prompt and an answer. */
extern List *chunk_text(text *input, const Request *options, uint32 max_tokens, uint32 overlap);

#endif
