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
	shares_fill(two, 2, 1, 12);
	assert_int_equal(two[1].left, 1);
	assert_int_equal(two[0].left, 11);
	shares_fill(four, 4, 0, 14);
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
	shares_fill(shares, 3, 0, 330);
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
	shares_fill(shares, 200, 3, 208);
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
	shares_fill(shares, 3, 0, 130);
	assert_int_equal(shares[0].left, 40);
	assert_int_equal(shares[1].left, 1);
	assert_int_equal(shares[2].left, 3 * 40 + 10 - 41);
	/* beside more than it wants it is not the measure */
	shares[0].wanted = 4000;
	shares[1].priority = 5;
	shares_fill(shares, 3, 1, 13);
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
		step_cost_learn(&cost, 1 + i % 100, 0, 4000 + (1 + i % 100) * 200);
	assert_in_range(half_again(&cost), 9, 13);
	assert_in_range(step_cost_rows(&cost, 20, HALF_AS_LONG_AGAIN), 37, 42);
	/* a step whose processors were away for a second is forgotten soon */
	step_cost_learn(&cost, 1, 0, 1000000);
	assert_in_range(half_again(&cost), 9, 20);
	/* another model, or another machine */
	for (uint32_t i = 0; i < 1000; i++)
		step_cost_learn(&cost, 1 + i % 100, 0, 4000 + (1 + i % 100) * 500);
	assert_in_range(half_again(&cost), 4, 6);
	/* times that cannot be */
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1, 0, 1000000);
	assert_int_equal(half_again(&cost), 1 + FREE_ROWS_MAX);
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1 + i, 0, 0);
	assert_in_range(half_again(&cost), 1 + FREE_ROWS_MIN, 1 + FREE_ROWS_MAX);
}

static void
few_rows_are_not_judged_by_many(void **state)
{
	StepCost cost = {0};

	(void) state;
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, i % 2 ? 9 : 33, 0, i % 2 ? 5000 : 10000);
	/* one row's step may take as long as that of 9, or half of it */
	assert_int_equal(half_again(&cost), 1 + FREE_ROWS_USUAL);
	assert_in_range(step_cost_us(&cost, 1, 0), 1, 5000);
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 2, 0, 3000);
	assert_in_range(half_again(&cost), 4, 8);
	/* they took very long once, when the processors were taken away, and have not come again */
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 2, 0, 50000);
	for (uint32_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 4, 0, 3500);
	assert_in_range(step_cost_us(&cost, 1, 0), 1, 3500);
	assert_in_range(half_again(&cost), 4, 11);
}

static void
the_fifth_row_may_cost_as_much_as_all_before(void **state)
{
	StepCost cost = {0};
	RoleShare shares[2] = {{.wanted = 5000}, {.wanted = 1}};

	(void) state;
	for (uint32_t i = 0; i < 200; i++)
	{
		step_cost_learn(&cost, 1, 0, 2700);
		step_cost_learn(&cost, 4, 0, 2800);
		step_cost_learn(&cost, 5, 0, 6200);
		step_cost_learn(&cost, 32, 0, 13500);
	}
	/* so one answer's steps have no fifth row of another role */
	assert_int_equal(half_again(&cost), 4);
	assert_int_equal(shares_measure(shares, 2, &cost), 1);
	shares_fill(shares, 2, 1, step_cost_rows(&cost, 1, HALF_AS_LONG_AGAIN));
	assert_int_equal(shares[0].left, 3);
	assert_int_equal(shares[1].left, 1);
	/* a short prompt's have as many of the other as it has itself, and what half as long again allows */
	shares[1].wanted = 8;
	shares_fill(shares, 2, 1, step_cost_rows(&cost, 8, HALF_AS_LONG_AGAIN));
	assert_in_range(shares[0].left, 8, 14);
	assert_int_equal(shares[1].left, 8);
}

/* A model whose steps take 4 ms and 0.2 for each row, and 1 us for each key. */
static StepCost
known_cost(void)
{
	StepCost cost = {0};

	for (uint64_t i = 0; i < 2000; i++)
	{
		uint32_t n_rows = 1 + i % 40;
		uint64_t n_keys = n_rows * (10 + i % 7 * 1000);

		step_cost_learn(&cost, n_rows, n_keys, 4000 + n_rows * 200 + n_keys);
		if (step_cost_wants_keys(n_rows, n_keys))
			step_cost_learn_keys(&cost, n_keys, (double) n_keys);
	}
	return cost;
}

static void
keys_are_measured_apart(void **state)
{
	StepCost cost = known_cost();

	(void) state;
	assert_in_range(step_cost_us(&cost, 1, 0), 4000, 4500);
	assert_in_range(step_cost_us(&cost, 1, 6000), 9900, 10600);
	assert_in_range(step_cost_us(&cost, 20, 20 * 3000), 66000, 70000);
	assert_in_range(half_again(&cost), 9, 13);
	/* few keys, and those of rows that share them, tell nothing */
	assert_false(step_cost_wants_keys(1, 300));
	assert_false(step_cost_wants_keys(256, 256 * 3000));
	/* another machine, whose keys take three times as long */
	for (uint64_t i = 0; i < 200; i++)
	{
		step_cost_learn_keys(&cost, 3000, 3 * 3000);
		step_cost_learn(&cost, 1, 3000, 4200 + 3 * 3000);
		step_cost_learn(&cost, 1, 10, 4200 + 3 * 10);
	}
	assert_in_range(step_cost_us(&cost, 1, 6000), 4000 + 17500, 4400 + 18500);
	/* times that cannot be: keys alone would take longer than the step did */
	for (uint64_t i = 0; i < 200; i++)
		step_cost_learn(&cost, 1, 100000, 4000);
	assert_in_range(step_cost_us(&cost, 1, 0), 1, 4300);
}

/* Steps of which another role's row that looks at so many keys is one, of n in which it asks for some. */
static uint32_t
steps_with_row(const StepCost *cost, uint64_t row_keys, uint32_t n_steps, uint32_t *most)
{
	double keys_left_us = 0;
	uint32_t n = 0;

	*most = 0;
	for (uint32_t i = 0; i < n_steps; i++)
	{
		RoleShare shares[2] = {{.wanted = 300, .wanted_keys = 300 * row_keys, .keys_left_us = &keys_left_us},
							   {.wanted = 1, .wanted_keys = 50}};
		uint32_t rows;

		assert_int_equal(shares_measure(shares, 2, cost), 1);
		shares_fill(shares, 2, 1, step_cost_rows(cost, 1, HALF_AS_LONG_AGAIN));
		shares_fill_keys(shares, 2, 1, cost);
		assert_true(shares[0].left >= 1);
		rows = share_take(&shares[0], cost, row_keys, shares[0].left);
		n += rows;
		*most = rows > *most ? rows : *most;
		/* the measure itself waits for nothing */
		assert_int_equal(share_take(&shares[1], cost, 50, 1), 1);
	}
	return n;
}

static void
rows_far_behind_come_as_often_as_they_are_paid_for(void **state)
{
	StepCost cost = known_cost();
	uint32_t most;

	(void) state;
	/* a step of one row takes 4.2 ms: 1.05 more for keys, of which a row that looks at 6,300 takes 6.3 */
	assert_in_range(steps_with_row(&cost, 6300, 300, &most), 48, 54);
	assert_int_equal(most, 1);
	/* rows that take no more than that come in each step, one by one */
	assert_in_range(steps_with_row(&cost, 950, 300, &most), 295, 330);
	/* and near ones as many as rows are to be had */
	assert_in_range(steps_with_row(&cost, 100, 300, &most), 2400, 3600);
	/* the longest texts come to their end, too */
	assert_in_range(steps_with_row(&cost, 1000000, 5000, &most), 5, 7);
}

static void
rows_nearby_do_not_wait_for_those_far_behind(void **state)
{
	StepCost cost = known_cost();
	double keys_left_us = -100000;
	RoleShare shares[2] = {{.wanted = 30, .keys_left_us = &keys_left_us}, {.wanted = 1}};

	(void) state;
	shares_fill(shares, 2, 1, 12);
	shares_fill_keys(shares, 2, 1, &cost);
	assert_int_equal(share_take(&shares[0], &cost, 6000, 1), 0);
	assert_int_equal(share_take(&shares[0], &cost, 60, 1), 1);
	assert_true(keys_left_us < -90000);
}

static void
who_looks_far_behind_lets_others_do_so(void **state)
{
	StepCost cost = known_cost();
	double left_us[2] = {0, 0};
	RoleShare shares[2] = {{.wanted = 4, .wanted_keys = 4 * 5000, .keys_left_us = &left_us[0]},
						   {.wanted = 5, .wanted_keys = 5 * 5000, .keys_left_us = &left_us[1]}};

	(void) state;
	for (uint32_t i = 0; i < 10; i++)
	{
		shares[0].keys_left_us = &left_us[0];
		shares[1].keys_left_us = &left_us[1];
		assert_int_equal(shares_measure(shares, 2, &cost), 0);
		shares_fill(shares, 2, 0, 8);
		shares_fill_keys(shares, 2, 0, &cost);
		assert_int_equal(share_take(&shares[0], &cost, 5000, 4), 4);
		assert_int_equal(share_take(&shares[1], &cost, 5000, 4), 4);
	}
	/* a short prompt is the measure, and not one row that takes longer than all of it */
	shares[0] = (RoleShare){.wanted = 1, .wanted_keys = 6000};
	shares[1] = (RoleShare){.wanted = 10, .wanted_keys = 10 * 40};
	assert_int_equal(shares_measure(shares, 2, &cost), 1);
}

/* What guesses cost: times of so few rows count each by itself, what was not seen is worth a try, and a time that was
 * learnt while the machine was busy is soon corrected, by its own like or by one of more rows. */
static void
few_rows_count_each_by_itself(void **state)
{
	StepCost cost = {0};

	(void) state;
	step_cost_learn(&cost, 1, 0, 100);
	step_cost_learn(&cost, 64, 0, 2000);
	assert_true(step_cost_few_us(&cost, 1) == 100 && step_cost_few_us(&cost, 4) == 100);
	assert_true(step_cost_us(&cost, 4, 0) > 150);
	step_cost_learn(&cost, 2, 0, 400);
	assert_true(step_cost_few_us(&cost, 1) == 100 && step_cost_few_us(&cost, 4) == 400);
	for (int i = 0; i < 3; i++)
		step_cost_learn(&cost, 2, 0, 110);
	assert_true(step_cost_few_us(&cost, 2) < 150);
	step_cost_learn(&cost, 5, 0, 105);
	assert_true(step_cost_few_us(&cost, 2) <= 105 && step_cost_few_us(&cost, 5) == 105);
	/* one that had its processors taken away is not believed */
	step_cost_learn(&cost, 5, 0, 100000);
	assert_true(step_cost_few_us(&cost, 5) < 150);
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
		cmocka_unit_test(few_rows_count_each_by_itself),
		cmocka_unit_test(few_rows_are_not_judged_by_many),
		cmocka_unit_test(the_fifth_row_may_cost_as_much_as_all_before),
		cmocka_unit_test(keys_are_measured_apart),
		cmocka_unit_test(rows_far_behind_come_as_often_as_they_are_paid_for),
		cmocka_unit_test(rows_nearby_do_not_wait_for_those_far_behind),
		cmocka_unit_test(who_looks_far_behind_lets_others_do_so),
	};

	return cmocka_run_group_tests_name("step_shares", tests, NULL, NULL);
}
