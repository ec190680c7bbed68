/*
 * drafts.h - guesses of the tokens that come next, looked up in the text so far, and when guessing pays.
 *
 * Summaries, quotations, code and tables repeat what stands before them. A guess costs a row in a step that reads the
 * weights anyway, and changes nothing in the answer: the step gives the logits after each guess, and a guess stays only
 * where it is what would have been picked.
 */
#ifndef QWEN_DRAFTS_H
#define QWEN_DRAFTS_H

#include <stdint.h>

#define DRAFT_MAX 7 /* guesses at a time */

/* How guessing has gone for one request. All zero at its beginning. */
typedef struct DraftHistory
{
	uint32_t n_guessed, n_right; /* lately: halved now and then */
	uint32_t n_resting;          /* tokens to come before the next try */
	uint32_t n_next;             /* guesses of the next try; 0: the first try's */
} DraftHistory;

/*
 * Guess up to n tokens that follow tokens [n_tokens]: those that followed the latest earlier place where the same three
 * tokens stand as at the end, or the same two. Returns how many were put into out [n]: n or none.
 */
extern uint32_t drafts_find(const int32_t *tokens, uint32_t n_tokens, uint32_t n, int32_t *out);

/* How many guesses to try now, at most DRAFT_MAX; 0: guessing has not paid lately. Called once a token. */
extern uint32_t drafts_wanted(DraftHistory *history);

/* Of n_guessed tokens n_right were right. */
extern void drafts_learn(DraftHistory *history, uint32_t n_guessed, uint32_t n_right);

#endif
