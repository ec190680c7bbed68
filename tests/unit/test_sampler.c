/*
 * test_sampler.c - penalties and filters against values computed by hand, draws against their distribution.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

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
	assert_int_equal(pick(greedy, logits, 0), 0);
	assert_int_equal(pick(plain, logits, 0), 0);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_takes_the_first_of_the_best),     cmocka_unit_test(penalties_follow_their_formulas),
		cmocka_unit_test(filters_keep_what_they_should),          cmocka_unit_test(draws_follow_the_distribution),
		cmocka_unit_test(a_draw_depends_on_seed_and_index_alone),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
