/*
 * scheduler_admission.c - who gets into the batch.
 *
 * Who waits stands in a fair queue: whoever's turn it is comes next. Where it is a large request that has to wait for
 * memory, a few small ones may pass it, so many and no more: it cannot starve. A request of a higher priority than
 * others that run does not wait for them: they give way, which costs them only time, and each of them so many times and
 * no more. And where some wait for a minute behind ones of higher priority, one place of some goes to the oldest of
 * them.
 */
#include "scheduler_private.h"

#include "../base/clock.h"

#define MAX_GIVING_WAY                                                                                                 \
	4                 /* so many times a request gives its place to one of higher priority; then it runs to its end */
#define MAX_PASSED 16 /* so many small requests pass a large one whose turn it is */
#define SMALL_SHARE 4 /* small: with a prompt and answer that need a fourth of the memory, or less */
#define N_SMALL 8     /* requests that are looked at for a small one */
#define AGED_US ((uint64_t) 60 * 1000 * 1000) /* so long a request waits behind ones of higher priority … */
#define AGED_SHARE 8                          /* … until one of so many places that become free may be its own */
#define AGED_LOOK_US ((uint64_t) 1000 * 1000) /* where nobody has waited so long, this is looked at again then */

/* How much memory is missing for all that the running requests hold and will soon need, and this one. They may hold
 * more than there is: the budget is smaller since another model was loaded. */
static uint64_t
bytes_missing(const Scheduler *scheduler, const EngineRequest *request)
{
	const KvBudget *budget = scheduler->slots->settings.budget;
	/* drafts give back what they have before anybody gives way */
	uint64_t held = kv_budget_in_use(budget) - slots_idle_bytes(scheduler->slots) - draft_bytes(scheduler);
	uint64_t wanted = held + request_bytes_wanted(request);

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		wanted += request_bytes_wanted(scheduler->running[i]);
	return wanted > kv_budget_limit(budget) ? wanted - kv_budget_limit(budget) : 0;
}

static bool
fits(const Scheduler *scheduler, const EngineRequest *request)
{
	return bytes_missing(scheduler, request) == 0;
}

/* Is there a place for each of its sequences, once so many are free? */
static bool
has_place(const Scheduler *scheduler, const EngineRequest *request, uint32_t n_freed)
{
	return scheduler->n_places - n_freed + request->n_sequences <= scheduler->settings.max_running;
}

/* Is there a place and memory for it? Alone it fits: what could never fit was refused. */
static bool
can_run(const Scheduler *scheduler, const EngineRequest *request)
{
	return has_place(scheduler, request, 0) && (scheduler->n_running == 0 || fits(scheduler, request));
}

/* Would a running request give way to another one? */
static bool
gives_way(const EngineRequest *running, const EngineRequest *request)
{
	return running->priority < request->priority && running->n_gave_way < MAX_GIVING_WAY;
}

/*
 * Have the most junior running requests of lower priority give way to a request, as many as it takes; none, where all
 * of them together would not be enough. false: it has to wait.
 */
static bool
make_way(Scheduler *scheduler, const EngineRequest *request)
{
	uint64_t missing = bytes_missing(scheduler, request), freed = 0;
	uint32_t n_freed = 0, first = scheduler->n_running;

	while (first > 0 && (freed < missing || !has_place(scheduler, request, n_freed)) &&
		   scheduler->running[first - 1]->priority < request->priority)
	{
		first--;
		if (!gives_way(scheduler->running[first], request))
			continue;
		freed += request_bytes_freed(scheduler->running[first]);
		n_freed += scheduler->running[first]->n_sequences;
	}
	if (freed < missing || !has_place(scheduler, request, n_freed))
		return false;
	for (uint32_t i = scheduler->n_running; i-- > first;)
		if (gives_way(scheduler->running[i], request))
		{
			scheduler->running[i]->n_gave_way++;
			running_preempt(scheduler, scheduler->running[i]);
		}
	return can_run(scheduler, request);
}

/* Into the batch with a request that waits. */
static void
start(Scheduler *scheduler, EngineRequest *request)
{
	if (request == fair_queue_next(scheduler->waiting))
		fair_queue_take_turn(scheduler->waiting, request);
	fair_queue_remove(scheduler->waiting, request);
	running_add(scheduler, request);
	for (uint32_t i = 0; i < request->n_sequences; i++)
		scheduler_count_prompt(scheduler, &request->sequences[i], true);
	if (!request->was_preempted)
		fair_queue_charge(scheduler->waiting, request, request->n_prompt - request->n_cached_tokens);
	scheduler->n_since_aged++;
}

/* Start a request if it can run now, by itself or because others give way. What it finds in the cache it takes first,
 * so that it is neither counted as wanted nor given up for others. */
static bool
try_start(Scheduler *scheduler, EngineRequest *request, bool others_give_way)
{
	PrefixCache *cache = request->slot->cache;
	StateCounts before = prefix_cache_state_counts(cache), found, left;

	request_use_cached(request);
	found = prefix_cache_state_counts(cache);
	if (can_run(scheduler, request) || (others_give_way && make_way(scheduler, request)))
	{
		start(scheduler, request);
		return true;
	}
	/* it will look again, and find the same */
	left = prefix_cache_state_counts(cache);
	request_give_blocks(request, true);
	prefix_cache_uncount(cache, left, prefix_cache_state_counts(cache));
	prefix_cache_uncount(cache, before, found);
	return false;
}

/* Start the oldest of those that have waited long behind ones of higher priority than they have, when it is time. It
 * runs to its end, with the priority of the one whose place it has: with its own, memory would be taken from it first,
 * and rows of a step go to the highest. */
static bool
start_aged(Scheduler *scheduler, const EngineRequest *next)
{
	uint64_t now;
	EngineRequest *request;
	int32_t own_priority;

	if (scheduler->n_since_aged < AGED_SHARE - 1 || scheduler->n_places >= scheduler->settings.max_running ||
		(now = clock_now_us()) < scheduler->aged_looks_us)
		return false;
	request = fair_queue_oldest_below(scheduler->waiting, next->priority);
	if (!request || now - request->go_us < AGED_US)
	{
		scheduler->aged_looks_us = now + AGED_LOOK_US;
		return false;
	}
	own_priority = request->priority;
	request->priority = next->priority;
	if (!try_start(scheduler, request, false))
	{
		request->priority = own_priority;
		return false;
	}
	request->n_gave_way = MAX_GIVING_WAY;
	scheduler->n_since_aged = 0;
	return true;
}

/* Start a small request in the place of a large one that has to wait for memory. */
static bool
start_small(Scheduler *scheduler, EngineRequest *large)
{
	EngineRequest *others[N_SMALL];
	uint32_t n;

	if (scheduler->n_places >= scheduler->settings.max_running || large->n_passed >= MAX_PASSED)
		return false;
	n = fair_queue_behind(scheduler->waiting, large, others, N_SMALL);
	for (uint32_t i = 0; i < n; i++)
		if (request_bytes(others[i]) <= request_bytes(large) / SMALL_SHARE && try_start(scheduler, others[i], false))
		{
			large->n_passed++;
			return true;
		}
	return false;
}

void
admission_run(Scheduler *scheduler)
{
	EngineRequest *request;

	while ((request = fair_queue_next(scheduler->waiting)) != NULL)
	{
		/* the usual thing: there is no place, and nobody who could give way */
		if (!has_place(scheduler, request, 0) &&
			scheduler->running[scheduler->n_running - 1]->priority >= request->priority)
			return;
		if (!start_aged(scheduler, request) && !try_start(scheduler, request, true) && !start_small(scheduler, request))
			return;
	}
}
