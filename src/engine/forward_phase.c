/*
 * forward_phase.c - handing out the items of a phase and waiting for its end; see forward_private.h for the idea.
 *
 * A member takes a share of what is left, so that it first works through a long run of neighbouring items (weights are
 * read in order) and all members end together. Waiting is a spin that yields when it lasts.
 */
#include <sched.h>

#include "../base/clock.h"
#include "forward_private.h"

#define SPINS_BEFORE_YIELD 2000

/* Tell the processor that this is a wait. */
static inline void
spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Take some of the items that are left; false when there are none. */
static bool
take_items(Phase *phase, uint32_t n_items, uint32_t n_members, uint32_t *first, uint32_t *end)
{
	uint32_t taken = atomic_load_explicit(&phase->n_taken, memory_order_relaxed), n;

	do
	{
		if (taken >= n_items)
			return false;
		n = (n_items - taken) / (2 * n_members);
		n = n_members == 1 ? n_items : n > 0 ? n : 1;
	} while (!atomic_compare_exchange_weak_explicit(&phase->n_taken, &taken, taken + n, memory_order_relaxed,
													memory_order_relaxed));
	*first = taken;
	*end = taken + n;
	return true;
}

/* Wait until all items are done. */
static void
wait_for_items(Phase *phase, uint32_t n_items)
{
	int spins = 0;

	while (atomic_load_explicit(&phase->n_done, memory_order_acquire) < n_items)
	{
		if (++spins < SPINS_BEFORE_YIELD)
			spin_pause();
		else
			sched_yield();
	}
}

void
phase_run(Member *member, StepPart part, uint32_t n_items, PhaseWork work, const void *argument)
{
	Phase *phase = &member->forward->phases[member->phase];
	uint64_t started = member->times ? clock_now_ns() : 0, worked = 0;
	uint32_t first, end;

	while (take_items(phase, n_items, (uint32_t) member->forward->n_threads, &first, &end))
	{
		work(member, argument, first, end);
		atomic_fetch_add_explicit(&phase->n_done, end - first, memory_order_release);
	}
	if (member->times)
		worked = clock_now_ns();
	wait_for_items(phase, n_items);
	if (member->times)
	{
		uint64_t ended = clock_now_ns();

		member->times->part_ns[part] += ended - started;
		member->times->waited_ns += ended - worked;
	}
	member->phase++;
}
