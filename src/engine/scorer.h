/*
 * scorer.h - how likely each of some given answers is, when the model must give one of them.
 *
 * The answers, as tokens, form a tree. At a node where they part, the model's logits of the tokens that lead on are
 * compared with each other alone, as in decoding that is constrained to the answers; an answer's probability is the
 * product over the nodes on its way. So the probabilities add up to 1, an answer that is the beginning of another one
 * competes by the tokens that end answers, all of them, and answers that part at their first token need the logits
 * after the prompt and nothing more.
 */
#ifndef QWEN_SCORER_H
#define QWEN_SCORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../base/status.h"

#define SCORER_MAX_END_TOKENS 4

#define LOGPROB_ROWS 16 /* rows of a step, beyond one for each request, that can have logits: for LOGPROBS */

/* What a row of logits says about a token: its log-probability (natural) and its rank, 1 for the most likely; of equal
 * ones the first in the vocabulary ranks first, as in greedy decoding. NaN where the logits are not finite. */
typedef struct TokenScore
{
	float log_probability;
	uint32_t rank;
} TokenScore;

extern TokenScore score_token(const float *logits, uint32_t n_vocab, uint32_t token);

typedef struct Scorer Scorer;

/*
 * n answers; answer i is tokens[offsets[i] … offsets[i + 1]), at least one token; all of it is copied. end_tokens
 * [n_end_tokens], 1 to SCORER_MAX_END_TOKENS different ones, end answers. INVALID_ARGUMENT when two answers are the
 * same tokens.
 */
extern Status scorer_create(const int32_t *tokens, const uint32_t *offsets, uint32_t n, const int32_t *end_tokens,
							uint32_t n_end_tokens, Scorer **scorer);
extern void scorer_destroy(Scorer *scorer);

/* Bytes of memory that it takes. */
extern size_t scorer_bytes(const Scorer *scorer);

/*
 * The question at hand: the logits after the prompt and path [*n_path] (which may be empty) are wanted. false: all
 * questions are answered.
 */
extern bool scorer_question(const Scorer *scorer, const int32_t **path, uint32_t *n_path);

/* Answer it; the next question is at hand then. logits: [vocab]. */
extern void scorer_answer(Scorer *scorer, const float *logits);

/* The longest path that can be asked for. */
extern uint32_t scorer_longest_path(const Scorer *scorer);

/* The probabilities of the answers, in the order of creation: [n]. */
extern void scorer_probabilities(const Scorer *scorer, float *out);

#endif
