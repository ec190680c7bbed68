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
take_items(PhaseProgress *phase, uint32_t n_items, uint32_t n_members, uint32_t *first, uint32_t *end)
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

uint64_t
wait_for_items(atomic_uint *n_done, uint32_t n_items)
{
	uint64_t started;
	int spins = 0;

	if (atomic_load_explicit(n_done, memory_order_acquire) >= n_items)
		return 0;
	started = clock_now_ns();
	while (atomic_load_explicit(n_done, memory_order_acquire) < n_items)
	{
		if (++spins < SPINS_BEFORE_YIELD)
			spin_pause();
		else
			sched_yield();
	}
	return clock_now_ns() - started;
}

void
member_beat(Member *member, uint32_t work)
{
	member->unsaid += work;
	if (member->unsaid < BEAT_ROWS || !member->forward->heartbeat_us)
		return;
	member->unsaid = 0;
	atomic_store_explicit(member->forward->heartbeat_us, clock_now_us(), memory_order_relaxed);
}

/* Items first … end-1, no more at once than can be done without a sign of life. */
static void
do_items(Member *member, const PlanPhase *phase, uint32_t first, uint32_t end)
{
	uint32_t n_rows = member->forward->n_rows, n;

	for (uint32_t at = first; at < end; at += n)
	{
		n = n_rows < BEAT_ROWS ? BEAT_ROWS / n_rows : 1;
		n = n < end - at ? n : end - at;
		phase->work(member, phase->argument, at, at + n);
		member_beat(member, n * n_rows);
	}
}

/* Take part in a phase until all its items are done. */
static void
run_phase(Member *member, const PlanPhase *phase, PhaseProgress *progress, uint32_t n_items)
{
	uint64_t started = member->times ? clock_now_ns() : 0, waited;
	uint32_t first, end;

	while (take_items(progress, n_items, member->forward->n_members, &first, &end))
	{
		do_items(member, phase, first, end);
		atomic_fetch_add_explicit(&progress->n_done, end - first, memory_order_release);
	}
	waited = wait_for_items(&progress->n_done, n_items);
	member->waited_ns += waited;
	if (member->times)
	{
		member->times->part_ns[phase->part] += clock_now_ns() - started;
		member->times->waited_ns += waited;
	}
}

void
phases_run(Member *member)
{
	Forward *forward = member->forward;

	for (member->phase = forward->first_phase; member->phase < forward->end_phase; member->phase++)
		if (forward->n_items[member->phase] > 0)
			run_phase(member, &forward->plan.phases[member->phase], &forward->progress[member->phase],
					  forward->n_items[member->phase]);
}
