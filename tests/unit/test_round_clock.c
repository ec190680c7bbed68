/*
 * test_round_clock.c - how long the server waits for a GO between two steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/base/clock.h"
#include "../../src/engine/round_clock.h"

/* A clock whose last step took so long. */
static RoundClock
clock_after(uint64_t step_us)
{
	RoundClock clock = {0};

	round_clock_step(&clock, clock_now_us() - step_us);
	clock.step_us = step_us;
	return clock;
}

static void
the_only_request_of_a_role_has_its_go_waited_for_longer(void **state)
{
	RoundClock clock = clock_after(3200);
	EngineRequest one_of_many = {.state = STATE_ACCEPTED}, only = {.state = STATE_ACCEPTED, .is_only = true};

	(void) state;
	round_clock_add(&clock, &one_of_many);
	assert_int_equal(round_clock_wait_us(&clock), 200);
	round_clock_add(&clock, &only);
	assert_int_equal(round_clock_wait_us(&clock), 1600);
	/* its GO is there, or it is cancelled */
	round_clock_remove(&clock, &only);
	assert_int_equal(round_clock_wait_us(&clock), 200);
	assert_int_equal(clock.n_new, 1);
	round_clock_remove(&clock, &one_of_many);
	assert_int_equal(clock.n_new, 0);
	/* no step of any length has others wait for more than a moment */
	clock = clock_after(1000000);
	round_clock_add(&clock, &only);
	assert_int_equal(round_clock_wait_us(&clock), 2000);
}

static void
a_request_without_go_holds_up_one_step(void **state)
{
	RoundClock clock = clock_after(3200);
	EngineRequest only = {.state = STATE_ACCEPTED, .is_only = true};

	(void) state;
	round_clock_add(&clock, &only);
	round_clock_step(&clock, clock_now_us());
	clock.step_us = 3200;
	assert_int_equal(clock.n_new, 0);
	assert_int_equal(round_clock_wait_us(&clock), 200);
	/* and counts nowhere when it goes */
	round_clock_remove(&clock, &only);
	assert_int_equal(clock.n_new, 0);
	assert_int_equal(round_clock_wait_us(&clock), 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_only_request_of_a_role_has_its_go_waited_for_longer),
		cmocka_unit_test(a_request_without_go_holds_up_one_step),
	};

	return cmocka_run_group_tests_name("round_clock", tests, NULL, NULL);
}
