/*
 * sampler.c - penalties, temperature, filters and one draw; see sampler.h for the order.
 *
 * Sums are in double and in order of probability, so that a seed gives the same token everywhere. Everything a request
 * needs is allocated when it is created.
 */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Candidates this far below the best (in units of temperature) have a probability below 1e-26: they are not even
 * sorted. */
#define NEGLIGIBLE 60.0f

typedef struct Candidate
{
	float logit;
	uint32_t token;
} Candidate;

struct Sampler
{
	SamplerSettings settings;
	uint32_t n_vocab;
	bool has_penalties;
	/* with penalties: per token, bit 31 = seen in the prompt or answer, the rest = times in the answer */
	uint32_t *counts;
	uint32_t *seen; /* the tokens with counts != 0, in order of appearance */
	uint32_t n_seen, seen_capacity;
	Candidate *candidates; /* [n_vocab], unless greedy */
	double *weights;
};

#define SEEN 0x80000000u

/* Note that a token has appeared; false without memory. */
static bool
note_token(Sampler *sampler, int32_t token, uint32_t times)
{
	if (token < 0 || (uint32_t) token >= sampler->n_vocab)
		return true;
	if (sampler->counts[token] == 0)
	{
		if (sampler->n_seen == sampler->seen_capacity)
		{
			uint32_t capacity = sampler->seen_capacity ? sampler->seen_capacity * 2 : 256;
			uint32_t *grown = realloc(sampler->seen, capacity * sizeof *grown);

			if (!grown)
				return false;
			sampler->seen = grown;
			sampler->seen_capacity = capacity;
		}
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
		sampler->candidates = malloc(n_vocab * sizeof *sampler->candidates);
		sampler->weights = malloc(n_vocab * sizeof *sampler->weights);
		ok = sampler->candidates && sampler->weights;
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
	free(sampler->candidates);
	free(sampler->weights);
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

/* Better candidates first; equal ones by token. */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->token < y->token ? -1 : 1;
}

static bool
is_better(Candidate a, Candidate b)
{
	return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/* Let heap[i] sink: the worst candidate is on top. */
static void
sink_worst(Candidate *heap, uint32_t n, uint32_t i)
{
	Candidate moved = heap[i];

	for (;;)
	{
		uint32_t child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && is_better(heap[child], heap[child + 1]))
			child++;
		if (!is_better(moved, heap[child]))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = moved;
}

/* The k best of all logits above floor, sorted; returns how many. Logits that are not finite are passed over. */
static uint32_t
best_candidates(const float *logits, uint32_t n_vocab, uint32_t k, float floor, Candidate *out)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_vocab; i++)
	{
		Candidate candidate = {logits[i], i};

		if (!(candidate.logit >= floor) || candidate.logit == INFINITY)
			continue;
		if (n < k)
		{
			out[n++] = candidate;
			if (n == k && k < n_vocab)
				for (uint32_t j = k / 2; j-- > 0;)
					sink_worst(out, k, j);
		}
		else if (is_better(candidate, out[0]))
		{
			out[0] = candidate;
			sink_worst(out, k, 0);
		}
	}
	qsort(out, n, sizeof *out, compare_candidates);
	return n;
}

/* Keep the fewest best candidates whose probabilities reach top_p; weights: [n], sum: their sum. */
static uint32_t
filter_top_p(const double *weights, uint32_t n, double sum, double top_p)
{
	double reached = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		reached += weights[i];
		if (reached >= top_p * sum)
			return i + 1;
	}
	return n;
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

static double
sum_of(const double *weights, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += weights[i];
	return sum;
}

/* Temperature, filters and the draw. best: the largest logit. */
static int32_t
draw(Sampler *sampler, const float *logits, float best, uint32_t i)
{
	const SamplerSettings *s = &sampler->settings;
	uint32_t k = s->top_k > 0 && (uint32_t) s->top_k < sampler->n_vocab ? (uint32_t) s->top_k : sampler->n_vocab;
	uint32_t n = best_candidates(logits, sampler->n_vocab, k, best - NEGLIGIBLE * s->temperature, sampler->candidates);
	double *weights = sampler->weights;
	double point;

	if (n == 0)
		return 0;
	for (uint32_t j = 0; j < n; j++)
		weights[j] = exp(((double) sampler->candidates[j].logit - best) / s->temperature);
	if (s->top_p < 1)
		n = filter_top_p(weights, n, sum_of(weights, n), s->top_p);
	while (n > 1 && weights[n - 1] < s->min_p * weights[0])
		n--;
	point = uniform(s->seed, i) * sum_of(weights, n);
	for (uint32_t j = 0; j + 1 < n; j++)
	{
		point -= weights[j];
		if (point < 0)
			return (int32_t) sampler->candidates[j].token;
	}
	return (int32_t) sampler->candidates[n - 1].token;
}

int32_t
sampler_pick(Sampler *sampler, const Kernels *kernels, float *logits, uint32_t i)
{
	uint32_t best;
	int32_t token;

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
	token = sampler->settings.temperature > 0 && isfinite(logits[best]) ? draw(sampler, logits, logits[best], i)
																		: (int32_t) best;
	sampler_note(sampler, token);
	return token;
}

void
sampler_note(Sampler *sampler, int32_t token)
{
	/* without memory a token is not noted: the answer goes on with weaker penalties rather than not at all */
	if (sampler->has_penalties)
		(void) note_token(sampler, token, 1);
}
