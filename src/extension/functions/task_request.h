/*
 * task_request.h - the requests of tasks: chat with a prompt of ours over a text.
 */
#ifndef QWEN_TASK_REQUEST_H
#define QWEN_TASK_REQUEST_H

#include "../call/call.h"

/* A prompt, an empty line and the input as a request's messages. The built-in words that the prompt begins with are
 * marked as what all roles may share. */
extern void task_messages(Request *request, const char *prompt, text *input);

/* An input, and what is to be answered. */
typedef struct Example
{
	text *input, *answer;
} Example;

/* The same behind a conversation in which the prompt was asked about other inputs: [n_examples]. */
extern void task_messages_after(Request *request, const char *prompt, const Example *examples, int n_examples,
								text *input);

/* Greedy and without thinking, where the caller did not say otherwise. */
extern void task_options(Request *request);

/* At least so many tokens for the answer, where the caller did not say how many and the role's limits allow it. */
extern void task_max_tokens(Request *request, int wanted);

#endif
