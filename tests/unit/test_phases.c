/*
 * test_phases.c - how the items of a step's phases are handed out: each is done once, and nobody waits for a member
 * that is not there. Phases are made up here; what real ones compute is in test_forward.c.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/forward_private.h"

#define MAX_MEMBERS 8
#define N_PHASES 6
#define MOST_ITEMS 100
#define NOBODY 0xff

/* A step of phases that write down who did which item, and which item a member asked for. */
typedef struct MadeStep
{
	Forward forward;
	PlanPhase phases[N_PHASES];
	uint32_t n_items[N_PHASES];
	PhaseProgress progress[N_PHASES];
	MemberShare shares[MAX_MEMBERS];
	atomic_uint n_times[N_PHASES][MOST_ITEMS]; /* an item was done */
	uint8_t by[N_PHASES][MOST_ITEMS];
	atomic_uint fetched[N_PHASES]; /* the item that was asked for last */
	uint32_t numbers[N_PHASES];    /* arguments of the phases */
} MadeStep;

static void
note_items(Member *member, const void *argument, uint32_t first, uint32_t end)
{
	MadeStep *step = (MadeStep *) (void *) member->forward;
	uint32_t phase = *(const uint32_t *) argument;

	/* everything before is done when a phase begins */
	for (uint32_t p = 0; p < phase; p++)
		for (uint32_t i = 0; i < step->n_items[p]; i++)
			assert_int_equal(atomic_load_explicit(&step->n_times[p][i], memory_order_relaxed), 1);
	for (uint32_t i = first; i < end; i++)
	{
		atomic_fetch_add_explicit(&step->n_times[phase][i], 1, memory_order_relaxed);
		step->by[phase][i] = (uint8_t) member->number;
	}
}

static void
note_fetch(const Forward *forward, const void *argument, uint32_t item)
{
	MadeStep *step = (MadeStep *) (void *) (Forward *) forward;

	atomic_store_explicit(&step->fetched[*(const uint32_t *) argument], item, memory_order_relaxed);
}

static uint32_t
known_before(const Forward *forward, const void *argument)
{
	(void) forward;
	(void) argument;
	return 0;
}

/* As forward.c leaves things before the members begin. */
static MadeStep *
make_step(uint32_t n_members, const uint32_t n_items[N_PHASES])
{
	MadeStep *step = aligned_alloc(64, (sizeof *step + 63) / 64 * 64);

	assert_non_null(step);
	memset(step, 0, sizeof *step);
	memset(step->by, NOBODY, sizeof step->by);
	memset(step->fetched, 0xff, sizeof step->fetched);
	for (uint32_t p = 0; p < N_PHASES; p++)
	{
		step->numbers[p] = p;
		step->n_items[p] = n_items[p];
		step->phases[p] = (PlanPhase){STEP_PRODUCTS, known_before, note_items, note_fetch, &step->numbers[p]};
	}
	step->forward.plan.phases = step->phases;
	step->forward.n_items = step->n_items;
	step->forward.progress = step->progress;
	step->forward.shares = step->shares;
	step->forward.n_members = n_members;
	step->forward.n_rows = 1;
	step->forward.end_phase = N_PHASES;
	return step;
}

static void
run_member(MadeStep *step, uint32_t number)
{
	Member member = {.forward = &step->forward, .number = number};

	phases_run(&member);
}

static void
expect_all_done_once(const MadeStep *step)
{
	for (uint32_t p = 0; p < N_PHASES; p++)
		for (uint32_t i = 0; i < step->n_items[p]; i++)
			assert_int_equal(step->n_times[p][i], 1);
}

static const uint32_t some_items[N_PHASES] = {100, 1, 0, 7, 33, 2};

static void
members_that_never_come_hold_up_nobody(void **state)
{
	(void) state;
	for (uint32_t n_members = 1; n_members <= MAX_MEMBERS; n_members++)
		for (uint32_t present = 0; present < n_members; present++)
		{
			MadeStep *step = make_step(n_members, some_items);

			run_member(step, present);
			expect_all_done_once(step);
			/* who comes when all is over finds nothing to do */
			for (uint32_t late = 0; late < n_members; late++)
				run_member(step, late);
			expect_all_done_once(step);
			for (uint32_t i = 0; i < some_items[0]; i++)
				assert_int_equal(step->by[0][i], present);
			free(step);
		}
}

typedef struct OneMember
{
	MadeStep *step;
	uint32_t number;
} OneMember;

static void *
live(void *argument)
{
	const OneMember *one = argument;

	run_member(one->step, one->number);
	return NULL;
}

static void
members_together_do_each_item_once(void **state)
{
	(void) state;
	for (int round = 0; round < 200; round++)
	{
		uint32_t n_members = 2 + (uint32_t) round % (MAX_MEMBERS - 1);
		MadeStep *step = make_step(n_members, some_items);
		pthread_t threads[MAX_MEMBERS];
		OneMember members[MAX_MEMBERS];

		for (uint32_t m = 0; m < n_members; m++)
		{
			members[m] = (OneMember){step, m};
			assert_int_equal(pthread_create(&threads[m], NULL, live, &members[m]), 0);
		}
		for (uint32_t m = 0; m < n_members; m++)
			assert_int_equal(pthread_join(threads[m], NULL), 0);
		expect_all_done_once(step);
		free(step);
	}
}

/* What a member asks for at the end of a phase is where it begins the next one that has anything to do. */
static void
members_ask_for_what_they_read_next(void **state)
{
	static const uint32_t n_items[N_PHASES] = {4, 0, 40, 8, 3, 40};
	MadeStep *step = make_step(2, n_items);

	(void) state;
	/* phase 3 gets its items from phase 2, and nobody knows before what those will be; phase 4 reads nothing */
	step->phases[3].items = NULL;
	step->phases[4].fetch = NULL;
	run_member(step, 1);
	assert_int_equal(step->fetched[1], UINT32_MAX);
	assert_int_equal(step->fetched[2], 10);
	assert_int_equal(step->by[2][10], 1);
	assert_int_equal(step->fetched[3], UINT32_MAX);
	assert_int_equal(step->fetched[4], UINT32_MAX);
	assert_int_equal(step->fetched[5], 10);
	free(step);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_that_never_come_hold_up_nobody),
		cmocka_unit_test(members_together_do_each_item_once),
		cmocka_unit_test(members_ask_for_what_they_read_next),
	};

	return cmocka_run_group_tests_name("phases", tests, NULL, NULL);
}
