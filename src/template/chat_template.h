/*
 * chat_template.h - the file's own chat template, rendered by a bounded interpreter of the Jinja subset that
 * Qwen-family templates use (src/template/).
 *
 * Strings carry, byte by byte through every operation, whether the template wrote them or they came as data. So the
 * prompt comes with the runs that the template wrote, and only in those does the tokenizer see special tokens:
 * "<|im_end|>" typed by a user stays ordinary text.
 */
#ifndef QWEN_CHAT_TEMPLATE_H
#define QWEN_CHAT_TEMPLATE_H

#include "../base/bytes.h"
#include "../base/cancel.h"
#include "../base/status.h"

typedef struct ChatTemplate ChatTemplate;

/* What is used where a file has no template: ChatML, a system turn only if given. */
extern const char chat_template_default[];

/*
 * Parse a template. UNSUPPORTED naming the construct and the line when it uses something that is not supported,
 * INVALID_ARGUMENT with the line when it is no template.
 */
extern Status chat_template_create(const char *source, size_t length, ChatTemplate **chat_template);
extern void chat_template_destroy(ChatTemplate *chat_template);

/* True when the template asks for the variable name anywhere (e.g. "enable_thinking", "tools"). */
extern bool chat_template_mentions(const ChatTemplate *chat_template, const char *name);

typedef struct ChatInput
{
	ByteSpan messages;   /* JSON array of objects with a string "role" of system, developer (the same), user, assistant
							or tool, and "content" (string, or an array of parts of type "text"; null or absent beside
							"tool_calls", and beside "reasoning_content" where the template knows that) */
	ByteSpan tools;      /* JSON array of objects with a "name", or with a "function" that has one; or not given */
	int enable_thinking; /* 0, 1, or -1: the variable is not defined */
	bool add_generation_prompt;
	bool continues; /* with add_generation_prompt: when the last message is the assistant's (and has no calls), the
					   prompt ends with what it says, for the model to go on with */
	bool can_think; /* such an answer may have, or be, thinking */
	const char *bos_token; /* texts, "" where there is none */
	const char *eos_token;
	int64_t now;                 /* seconds since 1970 UTC, for strftime_now (rendered in UTC) */
	const CancelFlag *cancelled; /* rendering ends soon after it is set; NULL: nobody does */
} ChatInput;

/* The rendered prompt; free with chat_prompt_free. */
typedef struct ChatPrompt
{
	char *text; /* NUL-terminated UTF-8 */
	size_t length;
	TextRun *trusted; /* runs that the template wrote */
	size_t n_trusted;
	size_t n_tools;   /* that were given, whatever the template made of them */
	bool has_begun;   /* it ends with the beginning of an answer … */
	bool is_thinking; /* … in the middle of its thinking */
} ChatPrompt;

/*
 * Render. INVALID_ARGUMENT: messages or tools are not what ChatInput says ("messages[2] has no \"role\""), or the
 * template called raise_exception (its text is the sentence); TOO_LONG: more steps, depth, memory or output than the
 * bounds; UNSUPPORTED: met something at run time that is not supported. Errors inside the template name the line.
 */
extern Status chat_template_render(const ChatTemplate *chat_template, const ChatInput *input, ChatPrompt *prompt);
extern void chat_prompt_free(ChatPrompt *prompt);

/* True when the prompt ends, white space apart, with a <think> that the template wrote: the answer begins inside the
 * thinking. */
extern bool chat_prompt_opens_thinking(const ChatPrompt *prompt);

#endif
