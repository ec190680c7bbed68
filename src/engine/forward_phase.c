/*
 * forward_phase.c - handing out the items of a phase and waiting for its end; see forward_private.h for the idea.
 *
 * Half of the items are members' first shares, so that each knows where it will begin before a phase does: what it
 * reads there is asked for while it waits for the phase before, and nobody waits for a counter that all write to. Of
 * the others a member takes a share of what is left, so that all end together. A member says once in a phase how many
 * items it has done. The first share of a member that is not there is taken by who waits. Waiting is a spin that yields
 * when it lasts.
 */
#include <sched.h>

#include "../../kernels/team.h"
#include "../base/clock.h"
#include "forward_private.h"

#define SPINS_BEFORE_HELP 64 /* about a microsecond: who is only a little late does its share itself */
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

/* Items that members' first shares are made of; the others are handed out as members come for them. One member alone
 * has all of them. */
static uint32_t
shared_out(uint32_t n_items, uint32_t n_members)
{
	return n_members == 1 ? n_items : n_items / 2;
}

/* Is this the one that takes a member's first share of a phase? */
static bool
take_share(MemberShare *share, uint32_t phase)
{
	uint32_t taken = atomic_load_explicit(&share->taken, memory_order_relaxed);

	/* a later phase: this one is over */
	while (taken <= phase)
		if (atomic_compare_exchange_weak_explicit(&share->taken, &taken, phase + 1, memory_order_relaxed,
												  memory_order_relaxed))
			return true;
	return false;
}

/* Take some of the items behind the first shares, n of which are left to be taken at first; false when there are none.
 * A share of what is left, so that members work on runs of neighbours and end together. */
static bool
take_items(PhaseProgress *progress, uint32_t n, uint32_t n_members, uint32_t *first, uint32_t *end)
{
	uint32_t taken = atomic_load_explicit(&progress->n_taken, memory_order_relaxed), some;

	do
	{
		if (taken >= n)
			return false;
		some = (n - taken) / (2 * n_members);
		some = some > 0 ? some : 1;
	} while (!atomic_compare_exchange_weak_explicit(&progress->n_taken, &taken, taken + some, memory_order_relaxed,
													memory_order_relaxed));
	*first = taken;
	*end = taken + some;
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

/* Do the first share of a member, unless somebody has taken it. Returns how many items that were. */
static uint32_t
do_share(Member *member, const PlanPhase *phase, uint32_t whose, uint32_t n_shared)
{
	const Forward *forward = member->forward;
	unsigned first, end;

	team_share(n_shared, (int) whose, (int) forward->n_members, &first, &end);
	if (first == end || !take_share(&forward->shares[whose], member->phase))
		return 0;
	do_items(member, phase, first, end);
	return end - first;
}

/* Do items until all are taken, but for other members' first shares. Returns how many that were. */
static uint32_t
do_own_part(Member *member, const PlanPhase *phase, PhaseProgress *progress, uint32_t n_items)
{
	uint32_t n_members = member->forward->n_members, n_shared = shared_out(n_items, n_members);
	uint32_t n = do_share(member, phase, member->number, n_shared), first, end;

	while (take_items(progress, n_items - n_shared, n_members, &first, &end))
	{
		do_items(member, phase, n_shared + first, n_shared + end);
		n += end - first;
	}
	return n;
}

/* Do the first shares of members that have not come. */
static void
do_shares_of_absent(Member *member, const PlanPhase *phase, PhaseProgress *progress, uint32_t n_items)
{
	uint32_t n_members = member->forward->n_members, n_shared = shared_out(n_items, n_members);

	for (uint32_t i = 1; i < n_members; i++)
	{
		uint32_t n = do_share(member, phase, (member->number + i) % n_members, n_shared);

		if (n > 0)
			atomic_fetch_add_explicit(&progress->n_done, n, memory_order_release);
	}
}

/* Ask for what this member will read first in the next phase that has anything to do. */
static void
fetch_ahead(const Member *member)
{
	const Forward *f = member->forward;
	unsigned first, end;

	for (uint32_t p = member->phase + 1; p < f->end_phase; p++)
	{
		const PlanPhase *phase = &f->plan.phases[p];

		if (!phase->items || (f->n_items[p] > 0 && !phase->fetch))
			return;
		if (f->n_items[p] == 0)
			continue;
		team_share(shared_out(f->n_items[p], f->n_members), (int) member->number, (int) f->n_members, &first, &end);
		if (first < end)
			phase->fetch(f, phase->argument, first);
		return;
	}
}

/* Wait until all items of a phase are done, or do what others have left. Returns how long it has waited. */
static uint64_t
wait_for_phase(Member *member, const PlanPhase *phase, PhaseProgress *progress, uint32_t n_items)
{
	uint64_t started, waited;

	if (atomic_load_explicit(&progress->n_done, memory_order_acquire) >= n_items)
		return 0;
	started = clock_now_ns();
	for (int spins = 0; spins < SPINS_BEFORE_HELP; spins++)
		if (atomic_load_explicit(&progress->n_done, memory_order_acquire) >= n_items)
			return clock_now_ns() - started;
		else
			spin_pause();
	waited = clock_now_ns() - started;
	do_shares_of_absent(member, phase, progress, n_items);
	return waited + wait_for_items(&progress->n_done, n_items);
}

/* Take part in a phase until all its items are done. */
static void
run_phase(Member *member, const PlanPhase *phase, PhaseProgress *progress, uint32_t n_items)
{
	uint64_t started = member->times ? clock_now_ns() : 0, waited;
	uint32_t n = do_own_part(member, phase, progress, n_items);

	if (n > 0)
		atomic_fetch_add_explicit(&progress->n_done, n, memory_order_release);
	fetch_ahead(member);
	waited = wait_for_phase(member, phase, progress, n_items);
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
