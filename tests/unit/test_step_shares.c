/*
 * test_step_shares.c - how many rows of a step each role gets, and what is believed of measured times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/step_shares.h"

static void
one_row_is_the_measure_for_all(void **state)
{
	/* an answer beside prompts without end */
	RoleShare two[2] = {{.wanted = 5000}, {.wanted = 1}};
	/* and several that want little */
	RoleShare four[4] = {{.wanted = 1}, {.wanted = 5000}, {.wanted = 4}, {.wanted = 1}};

	(void) state;
	shares_fill(two, 2, 10);
	assert_int_equal(two[1].left, 1);
	assert_int_equal(two[0].left, 11);
	shares_fill(four, 4, 10);
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
	shares_fill(shares, 3, 30);
	/* three times what the least wants, and the free ones for those that want more */
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
	shares_fill(shares, 200, 8);
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
	shares_fill(shares, 3, 10);
	assert_int_equal(shares[0].left, 40);
	assert_int_equal(shares[1].left, 1);
	assert_int_equal(shares[2].left, 3 * 40 + 10 - 41);
	/* beside more than it wants it is not the measure */
	shares[0].wanted = 4000;
	shares[1].priority = 5;
	shares_fill(shares, 3, 10);
	assert_int_equal(shares[0].left, 11);
	assert_int_equal(shares[1].left, 1);
	assert_int_equal(shares[2].left, 1);
}

static void
free_rows_are_measured(void **state)
{
	StepCost cost = {0};

	(void) state;
	assert_int_equal(step_cost_free_rows(&cost), FREE_ROWS_USUAL);
	/* 4 ms, and 0.2 for each row */
	for (uint32_t i = 0; i < 200; i++)
	{
		step_cost_learn(&cost, 1, 4200);
		step_cost_learn(&cost, 8 + i, 4200 + (8 + i) * 200);
	}
	assert_in_range(step_cost_free_rows(&cost), 10, 11);
	/* a step whose processors were away for a second is forgotten soon */
	step_cost_learn(&cost, 1, 1000000);
	assert_in_range(step_cost_free_rows(&cost), 10, 13);
	/* another model, or another machine */
	for (uint32_t i = 0; i < 200; i++)
	{
		step_cost_learn(&cost, 1, 4200);
		step_cost_learn(&cost, 100, 54200);
	}
	assert_in_range(step_cost_free_rows(&cost), 4, 5);
	/* times that cannot be */
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1, 1000000);
	assert_int_equal(step_cost_free_rows(&cost), FREE_ROWS_MAX);
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1, 0);
	assert_in_range(step_cost_free_rows(&cost), FREE_ROWS_MIN, FREE_ROWS_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_row_is_the_measure_for_all),
		cmocka_unit_test(equals_share_evenly),
		cmocka_unit_test(everybody_gets_on),
		cmocka_unit_test(the_highest_priority_is_not_held_up),
		cmocka_unit_test(free_rows_are_measured),
	};

	return cmocka_run_group_tests_name("step_shares", tests, NULL, NULL);
}
