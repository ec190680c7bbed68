/*
 * outcomes.h - what a statement's calls came to that is no error: values that became NULL, answers that were cut off,
 * prompts that look like messages. They are counted here and told of once, at the statement's end.
 */
#ifndef QWEN_CALL_OUTCOMES_H
#define QWEN_CALL_OUTCOMES_H

#include "../core/core.h"

/* Does an error of this SQLSTATE say that a value is not what its type or a check wants? */
extern bool is_data_error(int sqlstate);

/* Does an error of this SQLSTATE concern the text and arguments of one call only? */
extern bool is_row_error(int sqlstate);

/* A value became NULL, by an error with this message. */
extern void count_null(const char *message);

/* What is left of an answer that was cut off at its max_tokens. */
typedef enum CutAnswer
{
	CUT_IN_TEXT,
	CUT_IN_THINKING, /* nothing: thinking has taken all of them */
	CUT_AT_START,    /* nothing: they end before the first whole character */
} CutAnswer;

/* has_text: of the answer, or of calls of tools. */
extern CutAnswer cut_answer(bool has_text, bool has_thought);

/* An answer was cut off. */
extern void count_cut(CutAnswer left);

/* A prompt looks like messages, and is none. */
extern void count_plain_messages(void);

/* Define how statements end: where these are told of. */
extern void outcomes_init(void);

#endif
