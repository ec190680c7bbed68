/*
 * candidates.h - temperature, filters and one draw over a whole vocabulary, without sorting it.
 *
 * Every filter keeps the first so many candidates in order of probability, and a draw is a place in that order. So all
 * that is asked is how many candidates reach a weight, and which is the last of them: candidates are put into ranges of
 * logits, whole ranges are added up, and only the ranges in which an answer lies are sorted.
 *
 * A weight is exp((logit - best) / temperature) as a whole number of 2^-44: sums are exact in any order, and what is
 * less likely than 2^-44 times the best is never drawn.
 */
#ifndef QWEN_CANDIDATES_H
#define QWEN_CANDIDATES_H

#include <stdint.h>

typedef struct CandidateFilters
{
	float temperature; /* more than 0 */
	int32_t top_k;     /* 0: off */
	float top_p;       /* 1: off; 0 keeps the single best */
	float min_p;       /* 0: off */
} CandidateFilters;

typedef struct Candidates Candidates;

/* Working memory for a vocabulary of n_vocab tokens (more than 2^19 have coarser weights); NULL: no memory. */
extern Candidates *candidates_create(uint32_t n_vocab);
extern void candidates_destroy(Candidates *candidates);

/*
 * Filter by top_k, then top_p, then min_p, and take the candidate at the place uniform (0 <= uniform < 1) of what is
 * left in order of probability, equals in order of token. logits: [n_vocab]; best: the largest finite one; logits that
 * are not finite are passed over.
 */
extern int32_t candidates_draw(Candidates *candidates, const float *logits, float best, const CandidateFilters *filters,
							   double uniform);

#endif
