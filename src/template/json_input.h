/*
 * json_input.h - messages and tools from JSON to values, checked so that a template meets what it expects.
 */
#ifndef QWEN_TEMPLATE_JSON_INPUT_H
#define QWEN_TEMPLATE_JSON_INPUT_H

#include "value.h"

/* How messages are to be read. */
typedef struct MessageRules
{
	/* a content that is null or absent beside tool_calls becomes none; otherwise the empty string, which templates that
	 * never ask whether a content is none can add to */
	bool keep_none;
	bool takes_reasoning; /* the template knows reasoning_content: it makes up for a content */
	bool splits_last;     /* take the last message off when it is an answer to go on with */
	bool can_think;       /* such an answer may have, or be, thinking */
} MessageRules;

/* An answer that has begun: the last message, when it is the assistant's and has no calls. It stands in the list behind
 * the last one that counts. */
typedef struct BegunAnswer
{
	bool given;
	Text *content;  /* flat; without its thinking */
	Text *thinking; /* flat, or NULL */
	bool is_closed; /* the thinking is over */
} BegunAnswer;

/*
 * Parse text as JSON (name: "messages" or "tools", for sentences) and check it. The values made of it point into text,
 * and numbers keep their digits. INVALID_ARGUMENT with what is wrong and where.
 *
 * What templates are written for is made of what people send: a content of several text parts becomes one string, the
 * parts joined with nothing between; arguments of calls that are a string, as in the OpenAI interface, become the
 * object that it stands for (empty, null or absent: {}); the role developer is system; an assistant's thinking or
 * reasoning is reasoning_content.
 */
extern bool read_messages(Workspace *work, const char *text, size_t length, const MessageRules *rules, Value *out,
						  BegunAnswer *begun);
extern bool read_tools(Workspace *work, const char *text, size_t length, Value *out);

#endif
