/*
 * test_active_members.c - how many members a step runs with, beside processors that have other work and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/active_members.h"

#define MS ((uint64_t) 1000 * 1000)

/* A machine: what a step of one member takes, how many processors have other work, and what is lost to phases with too
 * few items, which no neighbour is to blame for. */
typedef struct Machine
{
	uint64_t alone_ns;
	uint32_t n_processors, n_busy;
	double idle_share; /* of a step with all members */
} Machine;

/* Steps for so long; the time that they took together. */
static uint64_t
run(const Machine *machine, ActiveMembers *members, uint32_t n_rows, uint32_t n_steps)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < n_steps; i++)
	{
		uint64_t step_ns = machine->alone_ns / members->n,
				 waited_ns = (uint64_t) (machine->idle_share * (double) step_ns);

		/* each phase meets the member whose processor does something else */
		if (members->n > machine->n_processors - machine->n_busy)
		{
			step_ns *= 3;
			waited_ns = step_ns / 2;
		}
		active_members_learn(members, n_rows, step_ns, waited_ns);
		assert_in_range(members->n, 1, members->n_max);
		total += step_ns;
	}
	return total;
}

static void
all_work_where_nothing_else_does(void **state)
{
	Machine machine = {20 * MS, 4, 0, 0.1};
	ActiveMembers members;

	(void) state;
	active_members_init(&members, 4);
	for (int i = 0; i < 1000; i++)
	{
		run(&machine, &members, 1, 1);
		assert_int_equal(members.n, 4);
	}
}

static void
one_fewer_beside_a_busy_processor_and_all_again_afterwards(void **state)
{
	Machine machine = {20 * MS, 2, 1, 0.1};
	ActiveMembers members;
	uint64_t beside;

	(void) state;
	active_members_init(&members, 2);
	run(&machine, &members, 1, 20);
	assert_int_equal(members.n, 1);
	/* trials with the other one cost little */
	beside = run(&machine, &members, 1, 2000);
	assert_true(beside < 2000 * 20 * MS * 11 / 10);
	machine.n_busy = 0;
	run(&machine, &members, 1, 4000);
	assert_int_equal(members.n, 2);
}

static void
waits_that_nobody_is_to_blame_for_change_nothing(void **state)
{
	Machine machine = {160 * MS, 16, 0, 0.5};
	ActiveMembers members;
	uint64_t total;

	(void) state;
	active_members_init(&members, 16);
	total = run(&machine, &members, 1, 2000);
	/* one fewer is tried again and again, more and more seldom, and was slower each time */
	assert_true(total < 2000 * 10 * MS * 102 / 100);
	assert_true(members.n >= 15);
}

static void
several_fewer_beside_several(void **state)
{
	Machine machine = {80 * MS, 8, 3, 0.1};
	ActiveMembers members;

	(void) state;
	active_members_init(&members, 8);
	/* one fewer is no faster here as long as one of them waits: then nothing is known, and all stay */
	run(&machine, &members, 1, 4000);
	assert_in_range(members.n, 5, 8);
}

static void
steps_of_different_sizes_are_not_compared(void **state)
{
	Machine short_steps = {10 * MS, 2, 0, 0.4}, long_steps = {400 * MS, 2, 0, 0.4};
	ActiveMembers members;
	uint32_t n_fewer = 0;

	(void) state;
	active_members_init(&members, 2);
	/* a window of long steps, and short ones during the trial */
	for (int i = 0; i < 200; i++)
	{
		run(&long_steps, &members, 300, 3);
		run(&short_steps, &members, 1, 30);
		n_fewer += members.n == 1;
	}
	assert_true(n_fewer < 60);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_work_where_nothing_else_does),
		cmocka_unit_test(one_fewer_beside_a_busy_processor_and_all_again_afterwards),
		cmocka_unit_test(waits_that_nobody_is_to_blame_for_change_nothing),
		cmocka_unit_test(several_fewer_beside_several),
		cmocka_unit_test(steps_of_different_sizes_are_not_compared),
	};

	return cmocka_run_group_tests_name("active_members", tests, NULL, NULL);
}
