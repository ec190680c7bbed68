/*
 * sampler.c - penalties and the choice between greedy and drawn; see sampler.h for the order of operations.
 *
 * Temperature, filters and the draw are in candidates.c. Everything a request needs is allocated when it is created.
 */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "candidates.h"

struct Sampler
{
	SamplerSettings settings;
	uint32_t n_vocab;
	bool has_penalties;
	/* with penalties: per token, bit 31 = seen in the prompt or answer, the rest = times in the answer */
	uint32_t *counts;
	uint32_t *seen; /* the tokens with counts != 0, in order of appearance */
	uint32_t n_seen, seen_capacity;
	Candidates *candidates; /* unless greedy */
};

#define SEEN 0x80000000u

/* Room for n more tokens that were not seen before; false without memory. */
static bool
reserve_seen(Sampler *sampler, uint32_t n)
{
	uint32_t capacity = sampler->seen_capacity ? sampler->seen_capacity : 256;
	uint32_t *grown;

	if (sampler->n_seen + n <= sampler->seen_capacity)
		return true;
	while (capacity < sampler->n_seen + n)
		capacity *= 2;
	grown = realloc(sampler->seen, capacity * sizeof *grown);
	if (!grown)
		return false;
	sampler->seen = grown;
	sampler->seen_capacity = capacity;
	return true;
}

/* Note that a token has appeared; false without memory. */
static bool
note_token(Sampler *sampler, int32_t token, uint32_t times)
{
	if (token < 0 || (uint32_t) token >= sampler->n_vocab)
		return true;
	if (sampler->counts[token] == 0)
	{
		if (!reserve_seen(sampler, 1))
			return false;
		sampler->seen[sampler->n_seen++] = (uint32_t) token;
	}
	sampler->counts[token] = (sampler->counts[token] | SEEN) + times;
	return true;
}

/* What penalties need: tokens of the prompt noted, room for all of an answer's. */
static bool
create_penalties(Sampler *sampler, const int32_t *prompt, uint32_t n_prompt)
{
	sampler->counts = calloc(sampler->n_vocab, sizeof *sampler->counts);
	if (!sampler->counts)
		return false;
	for (uint32_t i = 0; i < n_prompt; i++)
		if (!note_token(sampler, prompt[i], 0))
			return false;
	return true;
}

Sampler *
sampler_create(const SamplerSettings *settings, uint32_t n_vocab, const int32_t *prompt, uint32_t n_prompt)
{
	Sampler *sampler = calloc(1, sizeof *sampler);
	bool ok = true;

	if (!sampler)
		return NULL;
	sampler->settings = *settings;
	sampler->n_vocab = n_vocab;
	sampler->has_penalties =
		settings->repetition_penalty != 1 || settings->presence_penalty != 0 || settings->frequency_penalty != 0;
	if (sampler->has_penalties)
		ok = create_penalties(sampler, prompt, n_prompt);
	if (ok && settings->temperature > 0)
	{
		sampler->candidates = candidates_create(n_vocab);
		ok = sampler->candidates != NULL;
	}
	if (!ok)
	{
		sampler_destroy(sampler);
		return NULL;
	}
	return sampler;
}

void
sampler_destroy(Sampler *sampler)
{
	if (!sampler)
		return;
	free(sampler->counts);
	free(sampler->seen);
	candidates_destroy(sampler->candidates);
	free(sampler);
}

/* Repetition penalty over everything seen, then presence and frequency over the answer. */
static void
apply_penalties(const Sampler *sampler, float *logits)
{
	const SamplerSettings *s = &sampler->settings;

	for (uint32_t i = 0; i < sampler->n_seen; i++)
	{
		uint32_t token = sampler->seen[i], times = sampler->counts[token] & ~SEEN;
		float logit = logits[token];

		logit = logit > 0 ? logit / s->repetition_penalty : logit * s->repetition_penalty;
		if (times > 0)
			logit -= s->presence_penalty + s->frequency_penalty * (float) times;
		logits[token] = logit;
	}
}

/* A number in [0, 1) that depends on seed and i alone: two rounds of splitmix64's finalizer (Steele et al. 2014). */
static double
uniform(uint64_t seed, uint32_t i)
{
	uint64_t x = seed ^ ((uint64_t) i + 1) * 0x9E3779B97F4A7C15ull;

	for (int round = 0; round < 2; round++)
	{
		x += 0x9E3779B97F4A7C15ull;
		x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
		x = (x ^ x >> 27) * 0x94D049BB133111EBull;
		x ^= x >> 31;
	}
	return (double) (x >> 11) * 0x1p-53;
}

int32_t
sampler_guess(Sampler *sampler, const Kernels *kernels, float *logits, uint32_t i)
{
	const SamplerSettings *s = &sampler->settings;
	CandidateFilters filters = {s->temperature, s->top_k, s->top_p, s->min_p};
	uint32_t best;

	if (sampler->has_penalties)
		apply_penalties(sampler, logits);
	best = kernels->argmax(logits, sampler->n_vocab);
	if (logits[best] == INFINITY)
	{
		/* not finite: never picked, so look for the best of the others */
		for (uint32_t j = 0; j < sampler->n_vocab; j++)
			if (logits[j] == INFINITY)
				logits[j] = NAN;
		best = kernels->argmax(logits, sampler->n_vocab);
	}
	if (!isfinite(logits[best]))
		return -1;
	if (s->temperature > 0)
		return candidates_draw(sampler->candidates, logits, logits[best], &filters, uniform(s->seed, i));
	return (int32_t) best;
}

int32_t
sampler_pick(Sampler *sampler, const Kernels *kernels, float *logits, uint32_t i)
{
	int32_t token = sampler_guess(sampler, kernels, logits, i);

	if (token >= 0)
		sampler_note(sampler, token);
	return token;
}

void
sampler_reserve(Sampler *sampler, uint32_t n_tokens)
{
	if (sampler->has_penalties)
		(void) reserve_seen(sampler, n_tokens);
}

void
sampler_note(Sampler *sampler, int32_t token)
{
	/* without memory a token is not noted: the answer goes on with weaker penalties rather than not at all */
	if (sampler->has_penalties)
		(void) note_token(sampler, token, 1);
}
