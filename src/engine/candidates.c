/*
 * candidates.c - see candidates.h.
 *
 * Range r holds the candidates whose logit is between r and r + 1 parts of SPAN below the best, where a part is
 * temperature * SPAN / N_RANGES. The range of a logit never decreases with it, whatever is rounded, so ranges in order
 * are candidates in order. A small top_k takes another way to the same state: a heap of the k best, sorted, as one
 * range.
 */
#include "candidates.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define N_RANGES 1024
#define WEIGHT_BITS 44
#define SPAN 30.6f     /* -ln(2^-44), rounded up: further below the best a weight is 0 */
#define HEAP_MAX_K 256 /* for more a heap is slower than ranges */

typedef struct Candidate
{
	float logit;
	uint32_t token;
} Candidate;

struct Candidates
{
	uint32_t n_vocab;
	Candidate *list;               /* [n_vocab], by range */
	uint32_t starts[N_RANGES + 1]; /* of each range in list */
	uint32_t n_ranges;
	uint64_t sums[N_RANGES]; /* of a range's weights, where is_summed */
	bool is_summed[N_RANGES], is_sorted[N_RANGES];
	double one;               /* the weight of the best: 2^44, or less where sums would not fit */
	double best, temperature; /* of this draw */
};

Candidates *
candidates_create(uint32_t n_vocab)
{
	Candidates *candidates = calloc(1, sizeof *candidates);
	int bits = WEIGHT_BITS;

	if (!candidates)
		return NULL;
	while ((uint64_t) n_vocab << bits >> bits != n_vocab || (uint64_t) n_vocab << bits > (uint64_t) 1 << 63)
		bits--;
	candidates->one = (double) ((uint64_t) 1 << bits);
	candidates->n_vocab = n_vocab;
	candidates->list = malloc(n_vocab * sizeof *candidates->list);
	if (!candidates->list)
	{
		free(candidates);
		return NULL;
	}
	return candidates;
}

void
candidates_destroy(Candidates *candidates)
{
	if (!candidates)
		return;
	free(candidates->list);
	free(candidates);
}

static bool
is_better(Candidate a, Candidate b)
{
	return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

/* Better candidates first. */
static int
compare_candidates(const void *a, const void *b)
{
	return is_better(*(const Candidate *) a, *(const Candidate *) b) ? -1 : 1;
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

#define LOOK_AT 64 /* logits that are looked at together */

/* Sixteen bytes of floats: as many as every instruction set compares at once. */
typedef float Floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t Truths __attribute__((vector_size(16)));

/* Is one of LOOK_AT logits at least so much? NaN is not. */
static inline bool
has_at_least(const float *logits, float least)
{
	const Floats *at = (const Floats *) logits, all = {least, least, least, least};
	Truths any = {0};

	for (size_t i = 0; i < LOOK_AT / 4; i++)
		any |= at[i] >= all;
	return (any[0] | any[1] | any[2] | any[3]) != 0;
}

/* The first logit from number i on that is at least so much, or n. */
static uint32_t
find_at_least(const float *logits, uint32_t n, uint32_t i, float least)
{
	while (i + LOOK_AT <= n && !has_at_least(logits + i, least))
		i += LOOK_AT;
	while (i < n && !(logits[i] >= least))
		i++;
	return i;
}

/* The k best candidates, sorted, as one range. Once there are k, most of the vocabulary is passed over. */
static void
gather_few(Candidates *candidates, const float *logits, float floor, uint32_t k)
{
	Candidate *heap = candidates->list;
	uint32_t n_vocab = candidates->n_vocab, n = 0;

	for (uint32_t i = find_at_least(logits, n_vocab, 0, floor); i < n_vocab;
		 i = find_at_least(logits, n_vocab, i + 1, floor))
	{
		Candidate candidate = {logits[i], i};

		if (candidate.logit == INFINITY)
			continue;
		if (n < k)
		{
			heap[n++] = candidate;
			if (n < k)
				continue;
			for (uint32_t j = k / 2; j-- > 0;)
				sink_worst(heap, k, j);
			floor = heap[0].logit;
		}
		else if (is_better(candidate, heap[0]))
		{
			heap[0] = candidate;
			sink_worst(heap, k, 0);
			floor = heap[0].logit;
		}
	}
	qsort(heap, n, sizeof *heap, compare_candidates);
	candidates->n_ranges = 1;
	candidates->starts[0] = 0;
	candidates->starts[1] = n;
	candidates->is_sorted[0] = true;
	candidates->is_summed[0] = false;
}

/* The range of a logit between floor and best. */
static inline uint32_t
range_of(float logit, float best, float per_range)
{
	uint32_t range = (uint32_t) ((best - logit) * per_range);

	return range < N_RANGES ? range : N_RANGES - 1;
}

/* All candidates above floor, by range; with top_k only the ranges that the k best lie in. */
static void
gather_all(Candidates *candidates, const float *logits, float best, float floor, uint32_t k)
{
	float per_range = fminf(N_RANGES / (best - floor), FLT_MAX);
	uint32_t counts[N_RANGES] = {0}, n = 0, n_ranges = 0;

	for (uint32_t i = 0; i < candidates->n_vocab; i++)
		if (logits[i] >= floor && logits[i] <= best)
			counts[range_of(logits[i], best, per_range)]++;
	while (n_ranges < N_RANGES && n < k)
	{
		candidates->starts[n_ranges] = n;
		candidates->is_sorted[n_ranges] = candidates->is_summed[n_ranges] = false;
		n += counts[n_ranges];
		counts[n_ranges] = candidates->starts[n_ranges]; /* from here on: where the next one goes */
		n_ranges++;
	}
	candidates->starts[n_ranges] = n;
	candidates->n_ranges = n_ranges;
	for (uint32_t i = 0; i < candidates->n_vocab; i++)
		if (logits[i] >= floor && logits[i] <= best)
		{
			uint32_t range = range_of(logits[i], best, per_range);

			if (range < n_ranges)
				candidates->list[counts[range]++] = (Candidate){logits[i], i};
		}
}

static inline uint64_t
weight_of(const Candidates *candidates, float logit)
{
	return (uint64_t) (exp((logit - candidates->best) / candidates->temperature) * candidates->one);
}

/* The weight of all candidates of a range. */
static uint64_t
range_weight(Candidates *candidates, uint32_t range)
{
	if (!candidates->is_summed[range])
	{
		uint64_t sum = 0;

		for (uint32_t i = candidates->starts[range]; i < candidates->starts[range + 1]; i++)
			sum += weight_of(candidates, candidates->list[i].logit);
		candidates->sums[range] = sum;
		candidates->is_summed[range] = true;
	}
	return candidates->sums[range];
}

/* Put the candidates of a range in order. Equals stand in order of token already. */
static void
sort_range(Candidates *candidates, uint32_t range)
{
	Candidate *first = candidates->list + candidates->starts[range];
	uint32_t n = candidates->starts[range + 1] - candidates->starts[range], i = 1;

	if (candidates->is_sorted[range])
		return;
	while (i < n && is_better(first[i - 1], first[i]))
		i++;
	if (i < n)
		qsort(first, n, sizeof *first, compare_candidates);
	candidates->is_sorted[range] = true;
}

/* The weight of the n best. */
static uint64_t
weight_of_best(Candidates *candidates, uint32_t n)
{
	uint64_t sum = 0;
	uint32_t range = 0;

	for (; range < candidates->n_ranges && candidates->starts[range + 1] <= n; range++)
		sum += range_weight(candidates, range);
	if (range < candidates->n_ranges && candidates->starts[range] < n)
	{
		sort_range(candidates, range);
		for (uint32_t i = candidates->starts[range]; i < n; i++)
			sum += weight_of(candidates, candidates->list[i].logit);
	}
	return sum;
}

/* How many of the best have at least this weight together, which all of them have; list[that - 1] is the last one. */
static uint32_t
count_reaching(Candidates *candidates, uint64_t weight)
{
	uint64_t sum = 0;
	uint32_t range = 0, i;

	while (range + 1 < candidates->n_ranges && sum + range_weight(candidates, range) < weight)
		sum += range_weight(candidates, range++);
	sort_range(candidates, range);
	for (i = candidates->starts[range]; i + 1 < candidates->starts[range + 1]; i++)
	{
		sum += weight_of(candidates, candidates->list[i].logit);
		if (sum >= weight)
			break;
	}
	return i + 1;
}

/* How many have at least this weight each. */
static uint32_t
count_weighing(const Candidates *candidates, double weight)
{
	uint32_t n = 0;

	for (uint32_t range = 0; range < candidates->n_ranges && n == candidates->starts[range]; range++)
		for (uint32_t i = candidates->starts[range]; i < candidates->starts[range + 1]; i++)
			n += (double) weight_of(candidates, candidates->list[i].logit) >= weight;
	return n;
}

int32_t
candidates_draw(Candidates *candidates, const float *logits, float best, const CandidateFilters *filters,
				double uniform)
{
	uint32_t k = filters->top_k > 0 ? (uint32_t) filters->top_k : UINT32_MAX;
	float floor = best - SPAN * filters->temperature;
	uint64_t total, place;
	uint32_t n;

	/* a temperature so low that it vanishes beside the logit: the best ones alone */
	if (!(floor < best))
		floor = nextafterf(best, -INFINITY);
	candidates->best = best;
	candidates->temperature = filters->temperature;
	if (k <= HEAP_MAX_K)
		gather_few(candidates, logits, floor, k);
	else
		gather_all(candidates, logits, best, floor, k);
	n = candidates->starts[candidates->n_ranges];
	n = n < k ? n : k;
	if (filters->top_p < 1)
	{
		uint64_t wanted = (uint64_t) ceil(filters->top_p * (double) weight_of_best(candidates, n));
		uint32_t n_top_p = count_reaching(candidates, wanted);

		n = n < n_top_p ? n : n_top_p;
	}
	if (filters->min_p > 0)
	{
		uint32_t n_min_p = count_weighing(candidates, filters->min_p * candidates->one);

		n = n < n_min_p ? n : n_min_p;
	}
	total = weight_of_best(candidates, n);
	place = (uint64_t) (uniform * (double) total);
	n = count_reaching(candidates, (place < total ? place : total - 1) + 1);
	return (int32_t) candidates->list[n - 1].token;
}
