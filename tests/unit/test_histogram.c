/*
 * test_histogram.c - quantiles of known times, the ends of the range, sums.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/base/histogram.h"

/* As exact as a bucket is wide. */
static void
check_near(double got, double wanted)
{
	assert_true(fabs(got - wanted) <= wanted * 0.25);
}

static void
quantiles_of_an_even_spread(void **state)
{
	Histogram histogram = {{0}};

	(void) state;
	for (uint64_t us = 1; us <= 100000; us++)
		histogram_add(&histogram, us * 10);
	check_near(histogram_quantile(&histogram, 0.5), 500000);
	check_near(histogram_quantile(&histogram, 0.95), 950000);
	check_near(histogram_quantile(&histogram, 0.99), 990000);
}

static void
one_time_is_all_quantiles(void **state)
{
	(void) state;
	for (uint64_t us = 64; us < UINT64_C(1) << 32; us = us * 3 / 2 + 1)
	{
		Histogram histogram = {{0}};

		histogram_add(&histogram, us);
		for (double share = 0.01; share < 1; share += 0.07)
			check_near(histogram_quantile(&histogram, share), (double) us);
	}
}

static void
ends_of_the_range(void **state)
{
	Histogram histogram = {{0}};

	(void) state;
	assert_true(histogram_quantile(&histogram, 0.5) < 0);
	histogram_add(&histogram, 0);
	assert_true(histogram.counts[0] == 1);
	histogram_add(&histogram, UINT64_MAX);
	assert_true(histogram.counts[HISTOGRAM_BUCKETS - 1] == 1);
	histogram.counts[0] = UINT32_MAX;
	histogram_add(&histogram, 3);
	assert_true(histogram.counts[0] == UINT32_MAX);
}

static void
sums(void **state)
{
	Histogram one = {{0}}, other = {{0}};

	(void) state;
	for (int i = 0; i < 10; i++)
		histogram_add(&one, 1000);
	for (int i = 0; i < 90; i++)
		histogram_add(&other, 1000000);
	histogram_merge(&one, &other);
	check_near(histogram_quantile(&one, 0.05), 1000);
	check_near(histogram_quantile(&one, 0.5), 1000000);
	one.counts[5] = UINT32_MAX;
	other.counts[5] = 7;
	histogram_merge(&one, &other);
	assert_true(one.counts[5] == UINT32_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantiles_of_an_even_spread),
		cmocka_unit_test(one_time_is_all_quantiles),
		cmocka_unit_test(ends_of_the_range),
		cmocka_unit_test(sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
