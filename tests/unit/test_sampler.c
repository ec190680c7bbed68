/*
 * test_sampler.c - penalties and filters against values computed by hand, draws against their distribution and against
 * a plain sampler that sorts the whole vocabulary and adds doubles in order.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/candidates.h"
#include "../../src/engine/sampler.h"

#define N 8

static const SamplerSettings plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

/* One pick of a new sampler. */
static int32_t
pick(SamplerSettings settings, const float logits[N], uint32_t i)
{
	Sampler *sampler = sampler_create(&settings, N, NULL, 0);
	float copy[N];
	int32_t token;

	assert_non_null(sampler);
	memcpy(copy, logits, sizeof copy);
	token = sampler_pick(sampler, kernels_select(), copy, i);
	sampler_destroy(sampler);
	return token;
}

static void
greedy_takes_the_first_of_the_best(void **state)
{
	SamplerSettings greedy = plain;
	float logits[N] = {1, 5, 2, 5, NAN, -INFINITY, 0, 4};

	(void) state;
	greedy.temperature = 0;
	assert_int_equal(pick(greedy, logits, 0), 1);
	logits[6] = INFINITY; /* not finite: never picked */
	assert_int_equal(pick(greedy, logits, 0), 1);
	for (int i = 0; i < N; i++)
		logits[i] = NAN;
	/* none is: that is no token */
	assert_int_equal(pick(greedy, logits, 0), -1);
	assert_int_equal(pick(plain, logits, 0), -1);
}

static void
penalties_follow_their_formulas(void **state)
{
	SamplerSettings settings = plain;
	int32_t prompt[] = {0, 2};
	float logits[N] = {4, 3.5f, -1, 0, 0, 0, 0, 0}, copy[N];
	Sampler *sampler;

	(void) state;
	settings.temperature = 0;
	settings.repetition_penalty = 1.25f;
	settings.presence_penalty = 0.5f;
	settings.frequency_penalty = 0.25f;
	sampler = sampler_create(&settings, N, prompt, 2);
	memcpy(copy, logits, sizeof copy);
	/* token 0 of the prompt: 4 / 1.25 = 3.2, so token 1 wins */
	assert_int_equal(sampler_pick(sampler, kernels_select(), copy, 0), 1);
	assert_true(copy[0] == 3.2f && copy[1] == 3.5f && copy[2] == -1.25f);
	memcpy(copy, logits, sizeof copy);
	/* token 1, once in the answer: 3.5 / 1.25 - 0.5 - 0.25 = 2.05 */
	assert_int_equal(sampler_pick(sampler, kernels_select(), copy, 1), 0);
	assert_true(fabsf(copy[1] - 2.05f) < 1e-6f);
	memcpy(copy, logits, sizeof copy);
	/* token 0, of the prompt and once in the answer: 3.2 - 0.75 */
	assert_int_equal(sampler_pick(sampler, kernels_select(), copy, 2), 0);
	assert_true(fabsf(copy[0] - 2.45f) < 1e-6f);
	memcpy(copy, logits, sizeof copy);
	/* twice: 3.2 - 0.5 - 2 * 0.25 */
	(void) sampler_pick(sampler, kernels_select(), copy, 3);
	assert_true(fabsf(copy[0] - 2.2f) < 1e-6f);
	sampler_destroy(sampler);
}

/* Which tokens are ever drawn, as a bit mask. */
static unsigned
drawn(SamplerSettings settings, const float logits[N])
{
	unsigned mask = 0;

	for (uint32_t i = 0; i < 4000; i++)
	{
		settings.seed = i;
		mask |= 1u << pick(settings, logits, i % 7);
	}
	return mask;
}

static void
filters_keep_what_they_should(void **state)
{
	/* probabilities 0.4, 0.3, 0.2, 0.1 for tokens 3, 1, 6, 0 */
	float logits[N] = {logf(0.1f), logf(0.3f), -100, logf(0.4f), -100, -100, logf(0.2f), -100};
	float equals[N] = {0};
	SamplerSettings settings = plain;

	(void) state;
	assert_int_equal(drawn(plain, logits), 1 << 0 | 1 << 1 | 1 << 3 | 1 << 6);
	settings.top_k = 2;
	assert_int_equal(drawn(settings, logits), 1 << 3 | 1 << 1);
	settings.top_k = 1;
	assert_int_equal(drawn(settings, logits), 1 << 3);
	settings = plain;
	settings.top_p = 0.65f; /* 0.4 + 0.3 reaches it */
	assert_int_equal(drawn(settings, logits), 1 << 3 | 1 << 1);
	settings.top_p = 0.75f;
	assert_int_equal(drawn(settings, logits), 1 << 3 | 1 << 1 | 1 << 6);
	settings.top_p = 0;
	assert_int_equal(drawn(settings, logits), 1 << 3);
	settings = plain;
	settings.top_p = 0.5f; /* reached exactly by four of eight equals */
	assert_int_equal(drawn(settings, equals), 0xF);
	settings = plain;
	settings.min_p = 0.45f; /* at least 0.18 */
	assert_int_equal(drawn(settings, logits), 1 << 3 | 1 << 1 | 1 << 6);
	settings = plain;
	settings.temperature = 0.01f;
	assert_int_equal(drawn(settings, logits), 1 << 3);
}

static void
draws_follow_the_distribution(void **state)
{
	float logits[N] = {0, 1, 2, 0.5f, -1, 1.5f, -2, 0.25f};
	static const float temperatures[] = {0.7f, 1, 1.8f};

	(void) state;
	for (int t = 0; t < 3; t++)
	{
		SamplerSettings settings = plain;
		Sampler *sampler;
		double sum = 0, chi_squared = 0, counts[N] = {0};
		const int n = 100000;

		settings.temperature = temperatures[t];
		settings.seed = 42 + (uint64_t) t;
		sampler = sampler_create(&settings, N, NULL, 0);
		for (int i = 0; i < N; i++)
			sum += exp(logits[i] / settings.temperature);
		for (int i = 0; i < n; i++)
		{
			float copy[N];

			memcpy(copy, logits, sizeof copy);
			counts[sampler_pick(sampler, kernels_select(), copy, (uint32_t) i)]++;
		}
		for (int i = 0; i < N; i++)
		{
			double expected = n * exp(logits[i] / settings.temperature) / sum;

			chi_squared += (counts[i] - expected) * (counts[i] - expected) / expected;
		}
		/* 7 degrees of freedom: 24.3 is exceeded once in a thousand times */
		assert_true(chi_squared < 24.3);
		sampler_destroy(sampler);
	}
}

static void
a_draw_depends_on_seed_and_index_alone(void **state)
{
	float logits[N] = {0, 0, 0, 0, 0, 0, 0, 0};
	SamplerSettings settings = plain;
	int same = 0;

	(void) state;
	for (uint32_t i = 0; i < 200; i++)
	{
		int32_t first;

		settings.seed = 1;
		first = pick(settings, logits, i);
		assert_int_equal(pick(settings, logits, i), first);
		settings.seed = 2;
		same += pick(settings, logits, i) == first;
	}
	assert_true(same < 60); /* an eighth by chance */
}

/* ---- against a plain one ---- */
typedef struct Plain
{
	float logit;
	int32_t token;
} Plain;

static int
compare_plain(const void *a, const void *b)
{
	const Plain *x = a, *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->token < y->token ? -1 : 1;
}

/* What candidates_draw promises, by sorting everything. */
static int32_t
plain_draw(const float *logits, uint32_t n_vocab, const CandidateFilters *filters, double uniform)
{
	Plain *sorted = malloc(n_vocab * sizeof *sorted);
	double *weights = malloc(n_vocab * sizeof *weights), sum = 0, reached = 0;
	uint32_t n = 0, kept = 0, i = 0;
	int32_t token;

	assert_true(sorted && weights);
	for (uint32_t t = 0; t < n_vocab; t++)
		if (isfinite(logits[t]))
			sorted[n++] = (Plain){logits[t], (int32_t) t};
	qsort(sorted, n, sizeof *sorted, compare_plain);
	if (filters->top_k > 0 && (uint32_t) filters->top_k < n)
		n = (uint32_t) filters->top_k;
	for (uint32_t j = 0; j < n; j++)
		sum += weights[j] = exp(((double) sorted[j].logit - sorted[0].logit) / filters->temperature);
	if (filters->top_p < 1)
	{
		do
			reached += weights[kept++];
		while (kept < n && reached < filters->top_p * sum);
		n = kept;
	}
	while (n > 1 && weights[n - 1] < filters->min_p)
		n--;
	sum = 0;
	for (uint32_t j = 0; j < n; j++)
		sum += weights[j];
	for (reached = weights[0]; i + 1 < n && reached <= uniform * sum; i++)
		reached += weights[i + 1];
	token = sorted[i].token;
	free(sorted);
	free(weights);
	return token;
}

/* The next number in [0, 1). */
static double
next_uniform(void)
{
	return (double) rand() / ((double) RAND_MAX + 1);
}

/* Logits of some shape: a bell, one with a few far ahead, steps with many equals, one far ahead of all, holes. */
static float
some_logit(int shape, uint32_t i)
{
	double bell = sqrt(-2 * log(next_uniform() + 1e-9)) * cos(6.28318530718 * next_uniform());

	switch (shape)
	{
		case 0:
			return (float) (3 * bell);
		case 1:
			return (float) (i % 97 == 5 ? 15 + 3 * bell : 2.5 * bell);
		case 2:
			return floorf((float) (2 * bell)) * 0.75f;
		case 3:
			return i == 11 ? 80 : (float) bell;
		default:
			return i % 3 == 0 ? -INFINITY : i % 7 == 0 ? NAN : (float) (bell - 500);
	}
}

static void
draws_agree_with_a_plain_sampler(void **state)
{
	static const uint32_t sizes[] = {1, 2, 13, 300, 5000, 151936};
	static const CandidateFilters all_filters[] = {
		{1, 0, 1, 0},
		{0.7f, 20, 0.8f, 0},
		{0.6f, 20, 0.95f, 0},
		{2, 0, 1, 0},
		{1, 0, 0.95f, 0},
		{1, 0, 0.3f, 0},
		{1, 0, 0, 0},
		{1, 0, 1, 0.05f},
		{1, 0, 1, 1},
		{1, 256, 1, 0},
		{100, 257, 1, 0},
		{1, 1000, 0.9f, 0},
		{200, 4000, 1, 0},
		{1.3f, 0, 0.99f, 0.01f},
		{0.01f, 0, 1, 0},
		{1e-30f, 0, 0.9f, 0.1f},
		{1e-42f, 0, 1, 0},
		{1, 1, 1, 0},
		{1.1f, 300, 0.97f, 0.02f},
		{1, 257, 1, 0},
		{1, 280, 1, 0},
		{1, 290, 1, 0},
		{1, 295, 1, 0},
	};

	(void) state;
	srand(7);
	for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
	{
		Candidates *candidates = candidates_create(sizes[s]);
		float *logits = malloc(sizes[s] * sizeof *logits);

		assert_true(candidates && logits);
		/* sorting the largest takes its time */
		for (int shape = 0; shape < (sizes[s] > 10000 ? 1 : 5); shape++)
		{
			uint32_t n_vocab = sizes[s];
			float best = -INFINITY;

			for (uint32_t i = 0; i < n_vocab; i++)
			{
				logits[i] = some_logit(shape, i);
				best = isfinite(logits[i]) && logits[i] > best ? logits[i] : best;
			}
			if (best == -INFINITY)
				continue;
			for (size_t f = 0; f < sizeof all_filters / sizeof all_filters[0]; f++)
				for (int draw = 0; draw < (n_vocab > 10000 ? 2 : 40); draw++)
				{
					double uniform = draw == 0 ? 0 : draw == 1 ? 0x1.fffffffffffffp-1 : next_uniform();
					int32_t expected = plain_draw(logits, n_vocab, &all_filters[f], uniform);
					int32_t got = candidates_draw(candidates, logits, best, &all_filters[f], uniform);

					/* what weighs less than 2^-44 of the best is never drawn, not even as the last of all */
					if (logits[expected] < best - 30.5f * all_filters[f].temperature)
						assert_int_equal(draw, 1);
					else
						assert_int_equal(got, expected);
				}
		}
		free(logits);
		candidates_destroy(candidates);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_takes_the_first_of_the_best),     cmocka_unit_test(penalties_follow_their_formulas),
		cmocka_unit_test(filters_keep_what_they_should),          cmocka_unit_test(draws_follow_the_distribution),
		cmocka_unit_test(a_draw_depends_on_seed_and_index_alone), cmocka_unit_test(draws_agree_with_a_plain_sampler),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
