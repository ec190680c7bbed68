/*
 * drafts.c - see drafts.h. The look-up walks backwards through the text: some microseconds beside a step of
 * milliseconds, and nothing to keep up to date.
 */
#include "drafts.h"

#include <string.h>

#define FIRST_TRY 3       /* with the row of the last token, what the kernels stream without more work */
#define LONGEST_KEY 3     /* tokens that must be the same … */
#define SHORTEST_KEY 2    /* … at least */
#define ENOUGH 16         /* guesses that tell whether it pays */
#define LEAST_RIGHT 4     /* one guess in so many must be right */
#define REST_TOKENS 64    /* how long to leave it alone when it does not pay */
#define MEMORY_GUESSES 64 /* what was longer ago counts half */
#define HEAD_SHARE 0.7    /* of guesses of a model's layer are right, before any was seen … */
#define HEAD_WEIGHT 3.0   /* … which counts like so many that were seen: wrong ones are soon left */
#define HEAD_MEMORY 0.97  /* what a guess counts after the next one */
#define HEAD_KEPT 8.0     /* so many count still after a rest … */
#define HEAD_LONGEST_REST 512
#define HEAD_LOOKS 1   /* … behind which it is tried so often */
#define LEAST_GAIN 1.1 /* so much faster it must be: what steps take is not known well */

/* The latest place before the end where the last key_length tokens stand too: the position after them. 0: none. */
static uint32_t
find_key(const int32_t *tokens, uint32_t n_tokens, uint32_t key_length)
{
	const int32_t *key = tokens + n_tokens - key_length;
	int32_t last = key[key_length - 1];

	for (uint32_t end = n_tokens - 1; end >= key_length; end--)
		if (tokens[end - 1] == last && memcmp(tokens + end - key_length, key, key_length * sizeof *key) == 0)
			return end;
	return 0;
}

uint32_t
drafts_find(const int32_t *tokens, uint32_t n_tokens, uint32_t n, int32_t *out)
{
	for (uint32_t key_length = LONGEST_KEY; key_length >= SHORTEST_KEY; key_length--)
	{
		uint32_t from = n_tokens > key_length ? find_key(tokens, n_tokens, key_length) : 0;

		if (from == 0)
			continue;
		/* at the end of the text what is guessed goes on as the text does: a repetition that has a period */
		for (uint32_t i = 0; i < n; i++)
			out[i] = from + i < n_tokens ? tokens[from + i] : out[from + i - n_tokens];
		return n;
	}
	return 0;
}

uint32_t
drafts_wanted(DraftHistory *history)
{
	if (history->n_resting > 0)
	{
		history->n_resting--;
		return 0;
	}
	return history->n_next ? history->n_next : FIRST_TRY;
}

void
drafts_learn(DraftHistory *history, uint32_t n_guessed, uint32_t n_right)
{
	bool all_right = n_right == n_guessed;

	history->n_guessed += n_guessed;
	history->n_right += n_right;
	history->n_next = all_right ? DRAFT_MAX : FIRST_TRY;
	if (history->n_guessed >= ENOUGH && history->n_right * LEAST_RIGHT < history->n_guessed)
		*history = (DraftHistory){.n_resting = REST_TOKENS};
	if (history->n_guessed >= MEMORY_GUESSES)
	{
		history->n_guessed /= 2;
		history->n_right /= 2;
	}
}

double
drafts_of_head(const HeadHistory *history)
{
	return (history->n_right + HEAD_SHARE * HEAD_WEIGHT) / (history->n_tried + HEAD_WEIGHT);
}

void
drafts_head_learn(HeadHistory *history, uint32_t n_guessed, uint32_t n_right)
{
	uint32_t n_tried = n_right < n_guessed ? n_right + 1 : n_right;

	for (uint32_t i = 0; i < n_tried; i++)
	{
		history->n_tried = history->n_tried * HEAD_MEMORY + 1;
		history->n_right = history->n_right * HEAD_MEMORY + (i < n_right);
	}
}

void
drafts_head_fade(HeadHistory *history)
{
	history->n_tried *= HEAD_MEMORY;
	history->n_right *= HEAD_MEMORY;
}

double
drafts_tokens(double share, uint32_t n)
{
	double tokens = 1, likely = 1;

	for (uint32_t i = 0; i < n; i++)
		tokens += likely *= share;
	return tokens;
}

uint32_t
drafts_that_pay(double share, uint32_t n, const double *us)
{
	double tokens = 1, likely = 1, fastest = LEAST_GAIN / us[0];
	uint32_t best = 0;

	for (uint32_t i = 1; i <= n; i++)
	{
		likely *= share;
		tokens += likely;
		if (tokens / us[i] > fastest)
		{
			fastest = tokens / us[i];
			best = i;
		}
	}
	return best;
}

void
drafts_head_rest(HeadHistory *history)
{
	double kept = history->n_tried > HEAD_KEPT ? HEAD_KEPT / history->n_tried : 1;

	history->n_tried *= kept;
	history->n_right *= kept;
	history->n_rested = history->n_rested == 0 || history->n_right > 1 ? REST_TOKENS
						: history->n_rested < HEAD_LONGEST_REST        ? 2 * history->n_rested
																	   : history->n_rested;
	history->n_resting = history->n_rested;
	history->n_looks = HEAD_LOOKS;
}

bool
drafts_head_rests(HeadHistory *history)
{
	if (history->n_resting == 0)
		return false;
	history->n_resting--;
	return true;
}
