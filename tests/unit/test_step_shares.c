/*
 * test_step_shares.c - how many rows of a step each role gets, and what is believed of measured times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/step_cost.h"
#include "../../src/engine/step_shares.h"

static void
one_row_is_the_measure_for_all(void **state)
{
	/* an answer beside prompts without end */
	RoleShare two[2] = {{.wanted = 5000}, {.wanted = 1}};
	/* and several that want little */
	RoleShare four[4] = {{.wanted = 1}, {.wanted = 5000}, {.wanted = 4}, {.wanted = 1}};

	(void) state;
	shares_fill(two, 2, 12);
	assert_int_equal(two[1].left, 1);
	assert_int_equal(two[0].left, 11);
	shares_fill(four, 4, 14);
	assert_int_equal(four[0].left, 1);
	assert_int_equal(four[2].left, 4);
	assert_int_equal(four[3].left, 1);
	assert_int_equal(four[1].left, 8);
}

static void
equals_share_evenly(void **state)
{
	RoleShare shares[3] = {{.wanted = 100}, {.wanted = 300}, {.wanted = 200}};

	(void) state;
	shares_fill(shares, 3, 330);
	/* what the least wants, and the rest for those that want more */
	assert_int_equal(shares[0].left, 100);
	assert_int_equal(shares[1].left, 115);
	assert_int_equal(shares[2].left, 115);
}

static void
everybody_gets_on(void **state)
{
	RoleShare shares[200];
	uint32_t total = 0;

	(void) state;
	for (uint32_t i = 0; i < 200; i++)
		shares[i] = (RoleShare){.priority = i % 2 ? 1000 : -1000, .wanted = 1 + 50 * (i % 3)};
	shares_fill(shares, 200, 208);
	for (uint32_t i = 0; i < 200; i++)
	{
		assert_true(shares[i].left >= 1 && shares[i].left <= shares[i].wanted);
		total += shares[i].left;
	}
	assert_int_equal(total, 200 + 8);
}

static void
the_highest_priority_is_not_held_up(void **state)
{
	RoleShare shares[3] = {{.priority = 5, .wanted = 40}, {.priority = 0, .wanted = 1}, {.priority = 0, .wanted = 900}};

	(void) state;
	shares_fill(shares, 3, 130);
	assert_int_equal(shares[0].left, 40);
	assert_int_equal(shares[1].left, 1);
	assert_int_equal(shares[2].left, 3 * 40 + 10 - 41);
	/* beside more than it wants it is not the measure */
	shares[0].wanted = 4000;
	shares[1].priority = 5;
	shares_fill(shares, 3, 13);
	assert_int_equal(shares[0].left, 11);
	assert_int_equal(shares[1].left, 1);
	assert_int_equal(shares[2].left, 1);
}

/* Half as long again as a step of one row. */
static uint32_t
half_again(const StepCost *cost)
{
	return step_cost_rows(cost, 1, HALF_AS_LONG_AGAIN);
}

static void
rows_are_measured(void **state)
{
	StepCost cost = {0};

	(void) state;
	assert_int_equal(half_again(&cost), 1 + FREE_ROWS_USUAL);
	/* 4 ms, and 0.2 for each row */
	for (uint32_t i = 0; i < 1000; i++)
		step_cost_learn(&cost, 1 + i % 100, 1, 4000 + (1 + i % 100) * 200);
	assert_in_range(half_again(&cost), 9, 13);
	assert_in_range(step_cost_rows(&cost, 20, HALF_AS_LONG_AGAIN), 37, 42);
	/* a step whose processors were away for a second is forgotten soon */
	step_cost_learn(&cost, 1, 1, 1000000);
	assert_in_range(half_again(&cost), 9, 20);
	/* another model, or another machine */
	for (uint32_t i = 0; i < 1000; i++)
		step_cost_learn(&cost, 1 + i % 100, 1, 4000 + (1 + i % 100) * 500);
	assert_in_range(half_again(&cost), 4, 6);
	/* times that cannot be */
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1, 1, 1000000);
	assert_int_equal(half_again(&cost), 1 + FREE_ROWS_MAX);
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1 + i, 1 + i % 2, 0);
	assert_in_range(half_again(&cost), 1 + FREE_ROWS_MIN, 1 + FREE_ROWS_MAX);
}

static void
the_fifth_row_may_cost_as_much_as_all_before(void **state)
{
	StepCost cost = {0};
	RoleShare shares[2] = {{.wanted = 5000}, {.wanted = 1}};

	(void) state;
	for (uint32_t i = 0; i < 200; i++)
	{
		step_cost_learn(&cost, 1, 1, 2700);
		step_cost_learn(&cost, 4, 1, 2800);
		step_cost_learn(&cost, 5, 1, 6200);
		step_cost_learn(&cost, 32, 1, 13500);
	}
	/* so one answer's steps have no fifth row of another role */
	assert_int_equal(half_again(&cost), 4);
	shares_fill(shares, 2, step_cost_rows(&cost, shares_least(shares, 2), HALF_AS_LONG_AGAIN));
	assert_int_equal(shares[0].left, 3);
	assert_int_equal(shares[1].left, 1);
	/* a short prompt's have as many of the other as it has itself, and what half as long again allows */
	shares[1].wanted = 8;
	shares_fill(shares, 2, step_cost_rows(&cost, shares_least(shares, 2), HALF_AS_LONG_AGAIN));
	assert_in_range(shares[0].left, 8, 14);
	assert_int_equal(shares[1].left, 8);
}

static void
rows_of_long_texts_count_as_dearer(void **state)
{
	StepCost cost = {0};
	uint32_t usual;

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
		step_cost_learn(&cost, 1 + i % 40, 1, 4000 + (1 + i % 40) * 200);
	usual = half_again(&cost);
	/* another role's rows take 1 ms each */
	for (uint32_t i = 0; i < 200; i++)
	{
		uint32_t rows = half_again(&cost);

		step_cost_learn(&cost, rows, 2, 4200 + (rows - 1) * 1000);
	}
	assert_in_range(usual, 9, 13);
	assert_in_range(half_again(&cost), 1 + FREE_ROWS_MIN, 5);
	/* and are gone */
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 4, 2, 4800);
	assert_int_equal(half_again(&cost), usual);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_row_is_the_measure_for_all),
		cmocka_unit_test(equals_share_evenly),
		cmocka_unit_test(everybody_gets_on),
		cmocka_unit_test(the_highest_priority_is_not_held_up),
		cmocka_unit_test(rows_are_measured),
		cmocka_unit_test(the_fifth_row_may_cost_as_much_as_all_before),
		cmocka_unit_test(rows_of_long_texts_count_as_dearer),
	};

	return cmocka_run_group_tests_name("step_shares", tests, NULL, NULL);
}
