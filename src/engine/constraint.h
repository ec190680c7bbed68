/*
 * constraint.h - an answer that has to have a form (response_format), or whose calls of tools have to: which tokens may
 * come, step by step, and how it ends in time.
 *
 * It begins where the thinking is over: that is free. From there on every token's bytes go through the format's
 * machine, tokens that end the answer may come when it is complete, and where nothing can follow it is over without
 * one. When the tokens that are left get few, the answer is completed by the shortest text that completes it. Outside
 * of calls an answer with tools is free: there the machine only waits for what opens one.
 */
#ifndef QWEN_CONSTRAINT_H
#define QWEN_CONSTRAINT_H

#include "answer.h"
#include "drafts.h"
#include "format_cache.h"
#include "request.h"

/* What the sentence says, behind what it is about, when there is no room for an answer of the form. */
#define CONSTRAINT_NO_ROOM "the shortest answer"

/* What may come in one row of a step. */
typedef struct RowMask
{
	const TokenMask *mask; /* NULL: anything; one of a free text says what may not come */
	bool may_end, may_think;
	uint32_t n_forced; /* bytes that have to come first, whichever token is taken; 0: there is a choice */
} RowMask;

typedef struct Constraint
{
	SharedFormat *shared; /* NULL: the answer is free */
	SharedFormat *left;   /* in which it was when the step began: masks of rows that are still to be taken are its */
	Tokenizer *tokenizer;
	FormatState state;
	bool is_open;        /* the format holds: the thinking is over, or may begin now */
	bool has_begun;      /* there are bytes of it */
	bool may_think;      /* the answer may begin with a thinking, which the token opens */
	bool is_cut;         /* it is being completed because few tokens are left */
	bool has_stopped;    /* it is over before a token for which there was no room */
	bool may_be_free;    /* it begins as a free text: thinking is not hurried for it */
	bool is_lenient;     /* where it fails, the answer goes on without it */
	const char *subject; /* what errors are about */
	int32_t think, call_open, call_close, ends[TOKENIZER_MAX_ENDS];
	uint32_t n_ends, n_shortest; /* tokens of the shortest answer … */
	uint32_t n_closing;          /* … and, at most, of what ends a thinking */
	RowMask rows[DRAFT_MAX + 1];
	uint32_t n_rows, row; /* row: the next one that a token is taken of */
	FormCounts counts;
	uint32_t role;           /* whose the answer is */
	TokenBuffer taken;       /* tokens of it, by which it can be walked to again */
	bool is_behind_thinking; /* they are behind a thinking … */
	char *behind;            /* … and this, which stands in the token that ends it */
	size_t n_behind;
	Status status; /* why there are no masks */
	TokenBuffer completion;
	size_t n_completed; /* of it have come */
} Constraint;

/* A message's format, for an answer of at most n_behind tokens behind a prompt that ends so. The constraint is zeroed
 * before, and to be freed after an error too. */
extern Status constraint_init(Constraint *constraint, const Workplace *place, const Request *message, PromptEnd end,
							  bool has_thinking_off, uint32_t n_behind);
extern void constraint_free(Constraint *constraint);

/* Its format, or NULL. */
extern const Format *constraint_format(const Constraint *constraint);

/* Of so many guesses behind the last token, those that the format takes. */
extern uint32_t constraint_check_guesses(Constraint *constraint, const int32_t *guesses, uint32_t n);

/* Guesses of tokens that have to come next, up to n. */
extern uint32_t constraint_guess(Constraint *constraint, uint32_t n, int32_t *guesses);

/* A step begins, with guesses behind the last token: find the masks of its rows. */
extern void constraint_begin_step(Constraint *constraint, const int32_t *guesses, uint32_t n_guesses);

/* Make logits of what may not come into what is never picked. On any thread. */
extern void constraint_apply(const Constraint *constraint, uint32_t row, float *logits, uint32_t n_vocab);

/* The token that completes the answer next. false: it is not being completed. */
extern bool constraint_next(Constraint *constraint, int32_t *token);

/*
 * Take a token, with n_left that may come behind it; *token is changed where the answer has to be completed now, and
 * where the model would end it before it has thought to the end.
 * answer: what it becomes; told when the thinking is over, or has to be.
 */
extern Status constraint_take(Constraint *constraint, Answer *answer, int32_t *token, uint32_t n_left);

/* Is the answer over before that token, for which there was no room? */
extern bool constraint_has_stopped(const Constraint *constraint);

/* After the answer has taken it: is the answer over? */
extern bool constraint_is_over(const Constraint *constraint);

/* After the answer has taken a token: is its thinking over by that, or must it be, with n_left tokens left? */
extern Status constraint_look_at_thinking(Constraint *constraint, Answer *answer, uint32_t n_left);

#endif
