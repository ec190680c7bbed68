/*
 * answer.h - what becomes of an answer's tokens: text, thinking apart from content, stop strings, pieces, calls of
 * tools.
 *
 * A token's bytes pass in turn: detokenizer (whole characters), thinking parser, stop matcher (content only), then a
 * PIECE or the buffer for DONE. An answer knows neither the request nor the sequence that its tokens come from.
 */
#ifndef QWEN_ANSWER_H
#define QWEN_ANSWER_H

#include "../format/format.h"
#include "prompt.h"
#include "stop_matcher.h"

struct ToolSet;

typedef struct Answer
{
	Tokenizer *tokenizer; /* the model's: the event loop's handle */
	uint32_t request_id;  /* of its pieces */
	bool is_streamed;

	Detokenizer detokenizer;
	StopMatcher stops;
	char *stop_text; /* the stop strings */
	ByteWriter content, thinking;
	ByteWriter raw, whole, clear; /* of one token: its bytes, its whole characters, what no stop string may begin in */

	bool in_thinking, thinking_begun, after_thinking, thought;
	uint32_t thinking_budget, n_thinking; /* tokens; UINT32_MAX: no budget */
	ByteWriter pending;                   /* text that may become <think> or </think>, and white space before it */
	size_t n_pending_blanks;              /* at its beginning, which are known to be white space */
	bool beginning;                       /* still at the beginning */
	bool in_call;                         /* the next token is a call's: stop strings are not looked for in it */
	ByteWriter behind;                    /* what stood behind the thinking in its last token */
	bool is_strict;                       /* what stands behind the thinking in its last token is dropped */
	TokenBuffer forced;                   /* tokens that come next whatever the model says */
	size_t n_forced;                      /* of these have come */

	struct ToolSet *tools;       /* for reading calls; see tool_set.h */
	bool has_no_calls;           /* there cannot be any in it */
	size_t n_looked, n_streamed; /* of the content of a stream with tools: searched for calls; sent */
	bool has_tag;                /* there may be calls in it: the rest is sent at the end */
} Answer;

/* Megabytes of tools are refused: they stay, read, until an answer's calls are typed by them, and may not be so large
 * that this costs others memory, whatever the template makes of them. */
extern Status answer_check_tools(const Request *message);

/* An answer to a message, whose texts it copies, behind a prompt that ends so. The answer is zeroed before, and to be
 * freed after an error too. */
extern Status answer_init(Answer *answer, const Workplace *place, const Request *message, uint32_t request_id,
						  PromptEnd end);
extern void answer_free(Answer *answer);

/* Once, before the first token: a budget of 0 closes the thinking that is open at once. tokenizer: a handle of the
 * calling thread. */
extern Status answer_open_thinking(Answer *answer, Tokenizer *tokenizer);

/* It does not begin with a thinking: what comes is content. */
extern void answer_begin_content(Answer *answer);

/* Words that end the thinking come next, unless others that do so come already. */
extern Status answer_close_thinking(Answer *answer);

/* What stood behind the thinking in the token that ended it. */
extern ByteSpan answer_text_behind(const Answer *answer);

/* May what the text says force the next token? */
extern bool answer_may_be_forced(const Answer *answer);

/* The token that has to come next whatever the model says. false: there is none. */
extern bool answer_is_forced(const Answer *answer);
extern int32_t answer_next_forced(Answer *answer);

/* Take the next token, and send what is clear of it. True when a stop string was found: the answer has ended then. */
extern bool answer_push(Answer *answer, int32_t token, ByteWriter *out);

/* After a token that did not end it, was_thinking: it stood inside the thinking. Where the thinking's budget is used up
 * now, the closing words come next. */
extern Status answer_count_thinking(Answer *answer, bool was_thinking);

/* Has memory run out for any part of it, or of out? */
extern bool answer_is_lost(const Answer *answer, const ByteWriter *out);

/* The end: what is held comes out, a stream's rest is sent, calls of tools are taken out of the content and into calls
 * (then *reason says so). is_ended: the model itself ended it; format: that has kept its calls in form, or NULL. */
extern Status answer_finish(Answer *answer, bool is_ended, const Format *format, ByteWriter *calls,
							FinishReason *reason, ByteWriter *out);

#endif
