/*
 * map_reduce.h - the steps of a prompt over a text of any length.
 */
#ifndef QWEN_MAP_REDUCE_H
#define QWEN_MAP_REDUCE_H

#include "../call/call.h"

/*
 * Begin with the answer to a prompt over an input of any length, in a step of a function whose next is map_reduce_next.
 * options: a request with model and options alone; max_tokens: for the whole answer, as task_max_tokens takes it, or 0.
 * An input that is longer than the context is cut into parts, part_prompt is asked about each, and combine_prompt about
 * what comes out, again in parts if need be. The texts are kept as they are.
 */
extern void map_reduce_begin(ModelCall *call, const Request *options, text *input, const char *whole_prompt,
							 const char *part_prompt, const char *combine_prompt, int max_tokens);

/* Go on; nothing to do for a call that did not begin with it. */
extern void map_reduce_next(FunctionCallInfo fcinfo, ModelCall *call);

#endif
