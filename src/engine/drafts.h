/*
 * drafts.h - guesses of the tokens that come next, looked up in the text so far, and when guessing pays.
 *
 * Summaries, quotations, code and tables repeat what stands before them. A guess costs a row in a step that reads the
 * weights anyway, and changes nothing in the answer: the step gives the logits after each guess, and a guess stays only
 * where it is what would have been picked.
 */
#ifndef QWEN_DRAFTS_H
#define QWEN_DRAFTS_H

#include <stdbool.h>
#include <stdint.h>

#define DRAFT_MAX 7 /* guesses at a time */

/* Who guesses. */
typedef enum Speculation
{
	SPECULATION_OFF = 0,
	SPECULATION_AUTO = 1,   /* whoever makes the answer come fastest: the text, the model's layer, its draft model */
	SPECULATION_NGRAM = 2,  /* the text alone */
	SPECULATION_MTP = 3,    /* the layer alone */
	SPECULATION_DRAFT = 4,  /* the draft model alone */
	SPECULATION_ALWAYS = 5, /* the draft model, or the layer where there is none, whatever it costs: for tests */
} Speculation;

/* Who has made the guesses of a step. */
typedef enum GuessSource
{
	GUESSED_BY_FORM, /* they have to come */
	GUESSED_BY_TEXT,
	GUESSED_BY_HEAD,  /* the model's layer for that */
	GUESSED_BY_DRAFT, /* its draft model */
} GuessSource;

/* How a model that guesses, or a layer of one, has gone for one request. All zero at its beginning. */
typedef struct HeadHistory
{
	double n_tried, n_right; /* guesses that were looked at, and those that were right: the older ones count less */
	uint32_t n_resting;      /* steps to come before the next try … */
	uint32_t n_rested;       /* how long it rested last … */
	uint32_t n_looks;        /* … and tries that follow whatever was learnt, since that may be over */
} HeadHistory;

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

/* The share of guesses that a model's layer is expected to have right. */
extern double drafts_of_head(const HeadHistory *history);

/* Of n_guessed guesses of the layer the first n_right were right; those behind the first wrong one tell nothing. */
extern void drafts_head_learn(HeadHistory *history, uint32_t n_guessed, uint32_t n_right);

/* How many guesses to make at a time, at most n, where each is right in such a share of cases as long as those before
 * it are, and a step takes us[i] with i of them [n + 1], making them counted. 0: none, it would be slower. */
extern uint32_t drafts_that_pay(double share, uint32_t n, const double *us);

/* Tokens that come of n guesses, on average, with the one that comes in any case. */
extern double drafts_tokens(double share, uint32_t n);

/* Others were asked instead: what was learnt counts a little less each time, so that it is tried again. */
extern void drafts_head_fade(HeadHistory *history);

/* They do not pay: leave it alone for a while. */
extern void drafts_head_rest(HeadHistory *history);

/* Is it left alone now? Called once a step. */
extern bool drafts_head_rests(HeadHistory *history);

/* Of n_guessed tokens n_right were right. */
extern void drafts_learn(DraftHistory *history, uint32_t n_guessed, uint32_t n_right);

#endif
