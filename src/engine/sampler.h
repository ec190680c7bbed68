/*
 * sampler.h - from logits to one token.
 *
 * Order of operations (Hugging Face transformers' logits processors and warpers): repetition penalty over prompt and
 * answer, then presence and frequency penalties over the answer (as OpenAI and vLLM define them), the answer's form
 * (constraint.h: what may not come is no number when it comes here), temperature, top_k,
 * top_p, min_p, one draw. Temperature 0 is greedy: the largest logit after the penalties, the smallest id among equals.
 * The draw for token i of an answer depends on seed and i alone (counter-based generator), so that a seed gives the
 * same text whatever else runs and however the answer was interrupted.
 */
#ifndef QWEN_SAMPLER_H
#define QWEN_SAMPLER_H

#include "../../kernels/kernels.h"
#include "../base/status.h"

typedef struct SamplerSettings
{
	float temperature;                         /* 0 … 2 */
	float top_p;                               /* 0 … 1; 1: off. 0 keeps the single best */
	float min_p;                               /* 0 … 1; 0: off */
	int32_t top_k;                             /* 0: off */
	float repetition_penalty;                  /* 1: off */
	float presence_penalty, frequency_penalty; /* 0: off */
	uint64_t seed;
} SamplerSettings;

typedef struct Sampler Sampler;

/* A sampler for one request over a vocabulary of n tokens; prompt tokens count for the repetition penalty. NULL: no
 * memory. */
extern Sampler *sampler_create(const SamplerSettings *settings, uint32_t n_vocab, const int32_t *prompt,
							   uint32_t n_prompt);
extern void sampler_destroy(Sampler *sampler);

/*
 * Pick the token at index i of the answer and note it for the penalties. logits: [n_vocab], changed. Tokens that
 * are not finite are never picked; -1: none is.
 */
extern int32_t sampler_pick(Sampler *sampler, const Kernels *kernels, float *logits, uint32_t i);

/* The token that it would pick at index i by these logits, without noting it: a guess. */
extern int32_t sampler_guess(Sampler *sampler, const Kernels *kernels, float *logits, uint32_t i);

/* Make room for so many tokens more, so that picking and noting them allocates nothing. */
extern void sampler_reserve(Sampler *sampler, uint32_t n_tokens);

/* Note for the penalties a token of the answer that was not picked but forced. */
extern void sampler_note(Sampler *sampler, int32_t token);

#endif
