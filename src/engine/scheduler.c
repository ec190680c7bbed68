/*
 * scheduler.c - see scheduler.h.
 *
 * Who waits stands in a fair queue: whoever's turn it is comes next. Where it is a large request that has to wait for
 * memory, a few small ones may pass it, so many and no more: it cannot starve. A request of a higher priority than
 * others that run does not wait for them: they give way, which costs them only time, and each of them so many times and
 * no more. And where some wait for a minute behind ones of higher priority, one place of some goes to the oldest of
 * them. Who runs stands in a list, the most senior first: by priority, then by arrival. Whoever needs a block takes it
 * from cached ones first, then from the most junior request; so the most senior one always gets on, and everybody is
 * that one day. The arrays of a step are allocated once.
 */
#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "fair_queue.h"
#include "replies.h"
#include "step_shares.h"

#define NOT_FINITE_HINT                                                                                                \
	"Use another file of the model: another quantization, or one that was downloaded again. Text that differs may "    \
	"work."
#define MAX_GIVING_WAY                                                                                                 \
	4                 /* so many times a request gives its place to one of higher priority; then it runs to its end */
#define MAX_PASSED 16 /* so many small requests pass a large one whose turn it is */
#define SMALL_SHARE 4 /* small: with a prompt and answer that need a fourth of the memory, or less */
#define N_SMALL 8     /* requests that are looked at for a small one */
#define AGED_US ((uint64_t) 60 * 1000 * 1000) /* so long a request waits behind ones of higher priority … */
#define AGED_SHARE 8                          /* … until one of so many places that become free may be its own */
#define AGED_LOOK_US ((uint64_t) 1000 * 1000) /* where nobody has waited so long, this is looked at again then */
#define RETURN_US ((uint64_t) 500 * 1000)     /* a role that had its answer comes again within so long, or is gone */
#define SOON_US ((uint64_t) 30 * 1000)        /* or in so short a time: an application that asks again and again */
#define RETURN_TIMES 3.0     /* until then a step takes at most so many times as long as one of few rows */
#define ANSWERS_THAT_WAIT 16 /* from so many on a step of theirs is bound by what it computes, not by what it reads */

struct Scheduler
{
	SchedulerSettings settings;
	SchedulerCallbacks callbacks;
	Slots *slots;
	StatusPage *page;
	FairQueue *waiting;
	EngineRequest **running; /* [max_running], the most senior first */
	uint32_t n_running;
	uint32_t n_places; /* of max_running that these take: one a sequence */
	uint64_t n_arrivals;
	uint64_t n_turns;       /* of sequences in steps that roles share */
	uint32_t n_since_aged;  /* requests admitted since one that had waited so long */
	uint64_t aged_looks_us; /* when to look for such a one again */
	uint32_t next_slot;     /* whose turn it is */
	Sequence **prefilling;  /* [max_running] prompts that want rows of the step */
	Sequence **in_turn;     /* [max_running] whoever wants rows of a step that roles share */
	RoleShare *shares;      /* [max_running + 1] */
	uint32_t n_roles;       /* that have requests in the step */
	Sequence **batch;       /* [max_running] of the step; those of one request stand together … */
	StepSequence *parts;    /* … as forward.h has them */
	uint32_t n_batch;
};

Scheduler *
scheduler_create(const SchedulerSettings *settings, const SchedulerCallbacks *callbacks, Slots *slots, StatusPage *page)
{
	Scheduler *scheduler = calloc(1, sizeof *scheduler);

	if (!scheduler)
		return NULL;
	scheduler->settings = *settings;
	scheduler->callbacks = *callbacks;
	scheduler->slots = slots;
	scheduler->page = page;
	scheduler->waiting = fair_queue_create(settings->max_running + settings->queue_size);
	scheduler->running = calloc(settings->max_running, sizeof *scheduler->running);
	scheduler->prefilling = calloc(settings->max_running, sizeof *scheduler->prefilling);
	scheduler->in_turn = calloc(settings->max_running, sizeof *scheduler->in_turn);
	scheduler->shares = calloc((size_t) settings->max_running + 1, sizeof *scheduler->shares);
	scheduler->batch = calloc(settings->max_running, sizeof *scheduler->batch);
	scheduler->parts = calloc(settings->max_running, sizeof *scheduler->parts);
	if (!scheduler->waiting || !scheduler->running || !scheduler->prefilling || !scheduler->in_turn ||
		!scheduler->shares || !scheduler->batch || !scheduler->parts)
	{
		scheduler_destroy(scheduler);
		return NULL;
	}
	return scheduler;
}

void
scheduler_destroy(Scheduler *scheduler)
{
	if (!scheduler)
		return;
	fair_queue_destroy(scheduler->waiting);
	free(scheduler->running);
	free(scheduler->prefilling);
	free(scheduler->in_turn);
	free(scheduler->shares);
	free(scheduler->batch);
	free(scheduler->parts);
	free(scheduler);
}

/* Keep the numbers that others see. */
static void
publish(Scheduler *scheduler)
{
	uint64_t idle = slots_idle_bytes(scheduler->slots);

	atomic_store(&scheduler->page->n_running, scheduler->n_running);
	atomic_store(&scheduler->page->n_waiting, fair_queue_n_waiting(scheduler->waiting));
	atomic_store(&scheduler->page->kv_bytes_resident, kv_budget_resident(scheduler->slots->settings.budget));
	atomic_store(&scheduler->page->kv_bytes_used, kv_budget_in_use(scheduler->slots->settings.budget) - idle);
	atomic_store(&scheduler->page->kv_bytes_cached, idle);
	atomic_store(&scheduler->page->n_cached_blocks, slots_cached_blocks(scheduler->slots));
}

/* Does a come before b? */
static bool
is_senior(const EngineRequest *a, const EngineRequest *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

/* Into the batch, at its place. */
static void
add_running(Scheduler *scheduler, EngineRequest *request)
{
	uint32_t i = scheduler->n_running++;

	for (; i > 0 && is_senior(request, scheduler->running[i - 1]); i--)
		scheduler->running[i] = scheduler->running[i - 1];
	scheduler->running[i] = request;
	scheduler->n_places += request->n_sequences;
	for (i = 0; i < request->n_sequences; i++)
		request->sequences[i].turn = ++scheduler->n_turns;
	request->state = STATE_RUNNING;
}

/* Take a request out of the batch and give back its blocks. */
static void
remove_running(Scheduler *scheduler, EngineRequest *request)
{
	uint32_t i = 0;

	while (scheduler->running[i] != request)
		i++;
	memmove(&scheduler->running[i], &scheduler->running[i + 1],
			(scheduler->n_running - i - 1) * sizeof *scheduler->running);
	scheduler->n_running--;
	scheduler->n_places -= request->n_sequences;
	request_give_blocks(request);
}

void
scheduler_remove(Scheduler *scheduler, EngineRequest *request)
{
	if (request->state == STATE_QUEUED)
		fair_queue_remove(scheduler->waiting, request);
	else if (request->state == STATE_RUNNING)
		remove_running(scheduler, request);
	if (request->account)
		fair_queue_leave(scheduler->waiting, request);
	request->state = STATE_ENDED;
	publish(scheduler);
}

bool
scheduler_has_work(const Scheduler *scheduler)
{
	return scheduler->n_running > 0 || fair_queue_n_waiting(scheduler->waiting) > 0;
}

/* Positions up to n_done are there, computed or from the cache: what is new of the prompt goes into the statistics. */
static void
count_prompt(Scheduler *scheduler, Sequence *sequence, bool cached)
{
	uint32_t end = sequence->n_done < sequence->n_prompt ? sequence->n_done : sequence->n_prompt;
	uint32_t n = end > sequence->n_counted ? end - sequence->n_counted : 0;

	sequence->n_counted += n;
	sequence->request->n_counted += n;
	atomic_fetch_add(&scheduler->page->n_prompt_tokens, n);
	if (!cached)
		return;
	sequence->request->n_cached_tokens += n;
	atomic_fetch_add(&scheduler->page->n_cached_tokens, n);
}

/* How much memory is missing for all that the running requests will soon need, and this one. */
static uint64_t
bytes_missing(const Scheduler *scheduler, const EngineRequest *request)
{
	const KvBudget *budget = scheduler->slots->settings.budget;
	uint64_t wanted = request_bytes_wanted(request), there;

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		wanted += request_bytes_wanted(scheduler->running[i]);
	there = kv_budget_limit(budget) - kv_budget_in_use(budget) + slots_idle_bytes(scheduler->slots);
	return wanted > there ? wanted - there : 0;
}

static bool
fits(const Scheduler *scheduler, const EngineRequest *request)
{
	return bytes_missing(scheduler, request) == 0;
}

/* Back into the queue with a request; its tokens so far stay. */
static void
preempt(Scheduler *scheduler, EngineRequest *request)
{
	remove_running(scheduler, request);
	request->state = STATE_QUEUED;
	request->was_preempted = true;
	fair_queue_add(scheduler->waiting, request);
	atomic_fetch_add(&scheduler->page->n_preemptions, 1);
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
			preempt(scheduler, scheduler->running[i]);
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
	add_running(scheduler, request);
	for (uint32_t i = 0; i < request->n_sequences; i++)
		count_prompt(scheduler, &request->sequences[i], true);
	if (!request->was_preempted)
		fair_queue_charge(scheduler->waiting, request, request->n_prompt - request->n_cached_tokens);
	scheduler->n_since_aged++;
}

/* Start a request if it can run now, by itself or because others give way. What it finds in the cache it takes first,
 * so that it is neither counted as wanted nor given up for others. */
static bool
try_start(Scheduler *scheduler, EngineRequest *request, bool others_give_way)
{
	request_use_cached(request);
	if (can_run(scheduler, request) || (others_give_way && make_way(scheduler, request)))
	{
		start(scheduler, request);
		return true;
	}
	request_give_blocks(request);
	return false;
}

/* Start the oldest of those that have waited long behind ones of higher priority than they have, when it is time. It
 * runs to its end. */
static bool
start_aged(Scheduler *scheduler, const EngineRequest *next)
{
	uint64_t now;
	EngineRequest *request;

	if (scheduler->n_since_aged < AGED_SHARE - 1 || scheduler->n_places >= scheduler->settings.max_running ||
		(now = clock_now_us()) < scheduler->aged_looks_us)
		return false;
	request = fair_queue_oldest_below(scheduler->waiting, next->priority);
	if (!request || now - request->go_us < AGED_US)
	{
		scheduler->aged_looks_us = now + AGED_LOOK_US;
		return false;
	}
	if (!try_start(scheduler, request, false))
		return false;
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

/* Move requests whose turn it is into the batch as long as there is a place and memory. */
static void
admit(Scheduler *scheduler)
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

Status
scheduler_go(Scheduler *scheduler, EngineRequest *request)
{
	/* who can run by now does not count as waiting */
	admit(scheduler);
	if (fair_queue_n_waiting(scheduler->waiting) >= scheduler->settings.queue_size)
		return status_error(STATUS_UNAVAILABLE, "%u requests are waiting already, as many as qwen.queue_size allows",
							fair_queue_n_waiting(scheduler->waiting));
	request->go_us = clock_now_us();
	request->arrival = ++scheduler->n_arrivals;
	request->state = STATE_QUEUED;
	fair_queue_enter(scheduler->waiting, request);
	fair_queue_add(scheduler->waiting, request);
	publish(scheduler);
	return status_ok();
}

/* The most junior request that holds blocks, or the given one. */
static EngineRequest *
choose_victim(const Scheduler *scheduler, EngineRequest *request)
{
	uint32_t i = scheduler->n_running - 1;

	while (scheduler->running[i] != request && !request_has_blocks(scheduler->running[i]))
		i--;
	return scheduler->running[i];
}

/* A request is over, by its own doing or by an error. */
static void
end_request(Scheduler *scheduler, EngineRequest *request, const Status *status)
{
	/* its state may say ENDED already, but it still stands in the batch */
	remove_running(scheduler, request);
	fair_queue_leave(scheduler->waiting, request);
	request->state = STATE_ENDED;
	if (status->code != STATUS_OK)
	{
		reply_error(scheduler->callbacks.output(scheduler->callbacks.argument, request), request->id, status, NULL,
					status->code == STATUS_NOT_FINITE ? NOT_FINITE_HINT : NULL);
		atomic_fetch_add(&scheduler->page->n_requests_failed, 1);
	}
	else
		atomic_fetch_add(&scheduler->page->n_requests_done, 1);
	scheduler->callbacks.ended(scheduler->callbacks.argument, request);
}

/* There is no room for a sequence's next position, and there is nobody to take some from: the system has no memory
 * although the budget has room, or the budget became smaller since the request was accepted. */
static Status
no_room_for_blocks(const Sequence *sequence)
{
	if (kv_pool_was_refused(sequence->slot->pool))
		return status_error(STATUS_UNAVAILABLE,
							"the system has no memory for the keys and values of position %u: a smaller "
							"qwen.kv_cache_size, or more memory",
							sequence->n_blocks * KV_BLOCK_POSITIONS + 1);
	return status_error(
		STATUS_TOO_LONG,
		"the request needs room for %u tokens, but the KV cache holds %u since another model was loaded",
		sequence_positions(sequence), kv_pool_max_blocks(sequence->slot->pool) * KV_BLOCK_POSITIONS);
}

/* Blocks for all positions before end of a sequence. false: its request had to make room itself, or got none and has
 * ended; it is not running any more. */
static bool
take_blocks(Scheduler *scheduler, Sequence *sequence, uint32_t end)
{
	EngineRequest *request = sequence->request;
	KvPool *pool = sequence->slot->pool;

	while (sequence->n_blocks < kv_blocks_for(end))
	{
		EngineRequest *victim;

		if (kv_pool_take(pool, 1, &sequence->blocks[sequence->n_blocks]))
		{
			sequence->n_blocks++;
			continue;
		}
		if (slots_evict_block(scheduler->slots))
		{
			atomic_fetch_add(&scheduler->page->n_evicted_blocks, 1);
			continue;
		}
		victim = choose_victim(scheduler, request);
		/* it would wait for its own blocks for ever */
		if (victim == request && (kv_pool_was_refused(pool) || kv_blocks_for(end) > kv_pool_max_blocks(pool)))
		{
			Status status = no_room_for_blocks(sequence);

			end_request(scheduler, request, &status);
			return false;
		}
		preempt(scheduler, victim);
		if (victim == request)
			return false;
	}
	return true;
}

/* Has a request rows to compute with a slot's model? */
static bool
uses_slot(const EngineRequest *request, const Slot *slot)
{
	for (uint32_t i = 0; i < request->n_sequences; i++)
		if (request->sequences[i].slot == slot)
			return true;
	return false;
}

/* The next slot with running requests. */
static Slot *
choose_slot(Scheduler *scheduler)
{
	for (uint32_t turn = 0; turn < scheduler->slots->n; turn++)
	{
		Slot *slot = &scheduler->slots->slots[(scheduler->next_slot + turn) % scheduler->slots->n];

		for (uint32_t i = 0; i < scheduler->n_running; i++)
			if (uses_slot(scheduler->running[i], slot))
			{
				scheduler->next_slot = (scheduler->next_slot + turn + 1) % scheduler->slots->n;
				return slot;
			}
	}
	return NULL;
}

/* A walk over the running sequences of a slot's model, in order of seniority. All zero at its beginning. */
typedef struct SequenceWalk
{
	Sequence *sequence; /* at hand */
	uint32_t next_request, next_sequence;
} SequenceWalk;

/* On to the next one. false: there is none. */
static bool
next_sequence(const Scheduler *scheduler, const Slot *slot, SequenceWalk *walk)
{
	while (walk->next_request < scheduler->n_running)
	{
		EngineRequest *request = scheduler->running[walk->next_request];

		while (walk->next_sequence < request->n_sequences)
		{
			walk->sequence = &request->sequences[walk->next_sequence++];
			if (walk->sequence->slot == slot)
				return true;
		}
		walk->next_request++;
		walk->next_sequence = 0;
	}
	return false;
}

/* Put n rows of a sequence into the step. */
static void
add_rows(Scheduler *scheduler, Sequence *sequence, uint32_t n)
{
	if (sequence->request->started_us == 0)
		sequence->request->started_us = clock_now_us();
	request_begin_step(sequence, n);
	scheduler->batch[scheduler->n_batch] = sequence;
	scheduler->parts[scheduler->n_batch++] = (StepSequence){
		.tokens = sequence->tokens + sequence->n_done,
		.n_tokens = n,
		.first_position = sequence->n_done,
		.kv_blocks = sequence->blocks,
		.n_logits = request_rows_wanted(sequence, n),
		.want_hidden = sequence->request->kind->wants_hidden,
	};
}

/* Is a more senior prompt on the block that this one needs next? */
static bool
waits_for_twin(const Scheduler *scheduler, const Sequence *sequence, uint32_t n_prefilling)
{
	for (uint32_t i = 0; i < n_prefilling; i++)
		if (sequence_waits_for(sequence, scheduler->prefilling[i]))
			return true;
	return false;
}

/* The prompts that want rows, in order of seniority; each one's n_slice is 0. Returns how many. */
static uint32_t
collect_prefilling(Scheduler *scheduler, const Slot *slot)
{
	uint32_t n = 0;

	for (SequenceWalk walk = {0}; next_sequence(scheduler, slot, &walk);)
	{
		Sequence *sequence = walk.sequence;

		if (!sequence_is_prefilling(sequence))
			continue;
		/* others may have computed something for it since it was admitted */
		sequence_use_cached(sequence);
		count_prompt(scheduler, sequence, true);
		sequence->n_slice = 0;
		if (!waits_for_twin(scheduler, sequence, n))
			scheduler->prefilling[n++] = sequence;
	}
	return n;
}

/* Give a sequence up to n more rows of the step; returns what it takes. */
static uint32_t
give_rows(Sequence *sequence, uint32_t n, uint32_t *left_logprobs)
{
	uint32_t wanted = sequence_rows_left(sequence) - sequence->n_slice;

	n = n < wanted ? n : wanted;
	if (sequence->request->kind->every_row)
	{
		n = n < *left_logprobs ? n : *left_logprobs;
		*left_logprobs -= n;
	}
	sequence->n_slice += n;
	return n;
}

/* Sort prompts by what is left of them, the shortest first; of equal ones the more senior first. */
static void
sort_by_length(Sequence **sequences, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
	{
		Sequence *sequence = sequences[i];
		uint32_t at = i;

		for (; at > 0 && sequence_rows_left(sequence) < sequence_rows_left(sequences[at - 1]); at--)
			sequences[at] = sequences[at - 1];
		sequences[at] = sequence;
	}
}

/* Prompt rows of a step whose requests are all of one role: fewer while another is expected back, which would have to
 * wait for a step that has begun. */
static uint32_t
chunk_of(const Scheduler *scheduler, const Slot *slot)
{
	uint32_t chunk = scheduler->settings.prefill_chunk, shorter = step_cost_rows(&slot->cost, 1, RETURN_TIMES);

	return shorter < chunk && fair_queue_others_lately(scheduler->waiting, scheduler->running[0], RETURN_US) ? shorter
																											 : chunk;
}

/*
 * Share the chunk among the prompts of one role. Half of it goes to the most senior, so that every prompt gets on; the
 * other half to the shortest, so that short ones do not wait behind long ones. Returns the rows.
 */
static uint32_t
share_chunk(Scheduler *scheduler, const Slot *slot)
{
	uint32_t n = collect_prefilling(scheduler, slot), chunk = chunk_of(scheduler, slot);
	uint32_t senior = chunk / 2, given = 0, left_logprobs = LOGPROB_ROWS;

	for (uint32_t i = 0; i < n; i++)
		given += give_rows(scheduler->prefilling[i], senior - given, &left_logprobs);
	sort_by_length(scheduler->prefilling, n);
	for (uint32_t i = 0; i < n; i++)
		given += give_rows(scheduler->prefilling[i], chunk - given, &left_logprobs);
	return given;
}

/* All of a model's sequences that want rows, n_prefilling prompts and answers: who has waited longest first, then the
 * more senior. Returns how many. */
static uint32_t
collect_in_turn(Scheduler *scheduler, const Slot *slot, uint32_t n_prefilling)
{
	uint32_t n = 0, n_prompts = 0;

	for (SequenceWalk walk = {0}; next_sequence(scheduler, slot, &walk);)
	{
		Sequence *sequence = walk.sequence;
		uint32_t at = n;

		/* both lists are in order of seniority */
		if (n_prompts < n_prefilling && scheduler->prefilling[n_prompts] == sequence)
			n_prompts++;
		else if (sequence_is_prefilling(sequence))
			continue;
		sequence->n_slice = 0;
		for (; at > 0 && scheduler->in_turn[at - 1]->turn > sequence->turn; at--)
			scheduler->in_turn[at] = scheduler->in_turn[at - 1];
		scheduler->in_turn[at] = sequence;
		n++;
	}
	return n;
}

/*
 * Share a step among roles. Within a role who has waited longest comes first; a prompt takes at most half of what is
 * left then, so that answers and other prompts get on beside it, and what is over in the end. Returns rows of prompts.
 */
static uint32_t
share_among_roles(Scheduler *scheduler, const Slot *slot, uint32_t n_roles)
{
	uint32_t n = collect_in_turn(scheduler, slot, collect_prefilling(scheduler, slot));
	uint32_t chunk = scheduler->settings.prefill_chunk, given = 0, left_logprobs = LOGPROB_ROWS;

	shares_fill(scheduler->shares, n_roles,
				step_cost_rows(&slot->cost, shares_least(scheduler->shares, n_roles), HALF_AS_LONG_AGAIN));
	for (uint32_t i = 0; i < 2 * n; i++)
	{
		Sequence *sequence = scheduler->in_turn[i % n];
		RoleShare *share = shares_find(scheduler->shares, sequence->request);
		bool is_prompt = sequence_is_prefilling(sequence);
		uint32_t rows = i < n && is_prompt ? (share->left + 1) / 2 : share->left;

		if (is_prompt)
			rows = rows < chunk - given ? rows : chunk - given;
		rows = give_rows(sequence, rows, &left_logprobs);
		share->left -= rows;
		given += is_prompt ? rows : 0;
	}
	for (uint32_t i = 0; i < n; i++)
		if (scheduler->in_turn[i]->n_slice > 0)
			scheduler->in_turn[i]->turn = ++scheduler->n_turns;
	return given;
}

/* The answers that are being sampled with a model: whether guesses pay depends on how many there are. */
static uint32_t
count_decoding(const Scheduler *scheduler, const Slot *slot)
{
	uint32_t n = 0;

	for (SequenceWalk walk = {0}; next_sequence(scheduler, slot, &walk);)
		n += !sequence_is_prefilling(walk.sequence);
	return n;
}

/*
 * Do a step's prompts go without the answers, which follow in the next step without prompts? Where a prompt ends that
 * somebody waits for, and many answers run: apart they take little longer than together (a tenth where it happens all
 * the time), and the first token of that prompt need not wait for the answers' rows.
 */
static bool
prompts_go_first(const Scheduler *scheduler, const Slot *slot, uint32_t n_decoding)
{
	for (SequenceWalk walk = {0}; n_decoding >= ANSWERS_THAT_WAIT && next_sequence(scheduler, slot, &walk);)
	{
		const Sequence *sequence = walk.sequence;

		if (sequence->request->alone && sequence_is_prefilling(sequence) &&
			sequence->n_slice == sequence_rows_left(sequence))
			return true;
	}
	return false;
}

/* How many of its rows a sequence may have in the step. */
static uint32_t
rows_of(const Sequence *sequence, const Slot *slot, StepTurn turn)
{
	if (sequence->slot != slot)
		return 0;
	if (sequence_is_prefilling(sequence))
		return turn == TURN_ANSWERS ? 0 : sequence->n_slice;
	return turn == TURN_PROMPTS ? 0 : sequence->n_slice;
}

/* An answer takes its row, where no other role asks for some. Returns the rows of prompts. */
static uint32_t
share_in_role(Scheduler *scheduler, const Slot *slot, bool answers_follow)
{
	uint32_t given = answers_follow ? 0 : share_chunk(scheduler, slot);

	for (SequenceWalk walk = {0}; next_sequence(scheduler, slot, &walk);)
		if (!sequence_is_prefilling(walk.sequence))
			walk.sequence->n_slice = 1;
	return given;
}

/* Blocks for the rows that a request has in the step. false: it is not running any more. */
static bool
take_all_blocks(Scheduler *scheduler, EngineRequest *request, const Slot *slot)
{
	for (uint32_t i = 0; i < request->n_sequences; i++)
	{
		Sequence *sequence = &request->sequences[i];
		uint32_t n = rows_of(sequence, slot, slot->turn);

		sequence->n_drafted = 0;
		if (n > 0 && !take_blocks(scheduler, sequence, sequence->n_done + n))
			return false;
	}
	return true;
}

/* Put the rows of a request into the step, with up to n_guesses behind an answer's. Returns how many. */
static uint32_t
add_request(Scheduler *scheduler, EngineRequest *request, const Slot *slot, uint32_t n_guesses)
{
	uint32_t rows = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
	{
		Sequence *sequence = &request->sequences[i];
		uint32_t n = rows_of(sequence, slot, slot->turn);

		if (n == 0)
			continue;
		if (request->kind->samples && !sequence_is_prefilling(sequence))
			n += sequence->n_drafted = sequence_guess(sequence, n_guesses);
		add_rows(scheduler, sequence, n);
		rows += n;
	}
	return rows;
}

/* The roles that share the next step, with what each wants. Where there is one, and another one's request ended just
 * now, that one counts too, as whoever wants a row: its next request would wait for the step that begins now. */
static uint32_t
collect_roles(Scheduler *scheduler)
{
	uint32_t n = shares_collect(scheduler->shares, scheduler->running, scheduler->n_running);

	if (n == 1 && fair_queue_others_lately(scheduler->waiting, scheduler->running[0], SOON_US))
		scheduler->shares[n++] = (RoleShare){.priority = scheduler->shares[0].priority, .wanted = 1};
	return n;
}

/* All that decode, and slices of prompts, or one of both. Returns the rows. */
static uint32_t
build_batch(Scheduler *scheduler, Slot *slot)
{
	uint32_t n_roles = collect_roles(scheduler);
	bool answers_follow = slot->turn == TURN_PROMPTS && n_roles == 1 && count_decoding(scheduler, slot) > 0;
	uint32_t rows = 0, n_guesses = 0;
	uint32_t n_prompt_rows =
		n_roles > 1 ? share_among_roles(scheduler, slot, n_roles) : share_in_role(scheduler, slot, answers_follow);
	/* counted now: a prompt whose last block was cached may just have come to its last row */
	uint32_t n_decoding = count_decoding(scheduler, slot);

	scheduler->n_roles = n_roles;
	slot->turn = answers_follow                                                                       ? TURN_ANSWERS
				 : n_prompt_rows > 0 && n_roles == 1 && prompts_go_first(scheduler, slot, n_decoding) ? TURN_PROMPTS
																									  : TURN_BOTH;
	/* beside prompts, or many answers, a step computes more than it reads: then guesses are not free */
	if (n_prompt_rows == 0 && n_decoding > 0 && n_decoding <= DRAFT_ROWS / 2 && scheduler->settings.speculation)
		n_guesses = (DRAFT_ROWS - n_decoding) / n_decoding;
	scheduler->n_batch = 0;
	for (uint32_t i = 0; i < scheduler->n_running;)
	{
		EngineRequest *request = scheduler->running[i];

		/* who loses its blocks here is more junior than all that are in the step already, or this request itself */
		if (!take_all_blocks(scheduler, request, slot))
			continue;
		rows += add_request(scheduler, request, slot, n_guesses);
		i++;
	}
	return rows;
}

/* Has the model overflowed in the first n_rows rows of a sequence? Then what was computed is neither used nor kept for
 * others. */
static Status
check_finite(const Scheduler *scheduler, const Slot *slot, uint32_t index, uint32_t n_rows)
{
	for (uint32_t r = 0; r < n_rows; r++)
		if (!forward_is_finite(slot->forward, index, r))
			return not_finite(slot->model, scheduler->parts[index].first_position + r);
	return status_ok();
}

/* A token more of an answer. */
static void
count_token(Scheduler *scheduler, const Sequence *sequence)
{
	atomic_fetch_add(&scheduler->page->n_generated_tokens, 1);
	fair_queue_charge(scheduler->waiting, sequence->request, 1);
}

/* Rows of a prompt, or the one of the last token. */
static Status
take_rows(Scheduler *scheduler, Slot *slot, uint32_t index, ByteWriter *out)
{
	Sequence *sequence = scheduler->batch[index];
	const StepSequence *part = &scheduler->parts[index];
	uint32_t n_wanted = part->want_hidden ? part->n_tokens : part->n_logits;
	StepRow row = {.position = part->first_position + part->n_tokens - n_wanted};
	Status status = check_finite(scheduler, slot, index, part->n_tokens);

	if (status.code != STATUS_OK)
		return status;
	sequence->n_done += part->n_tokens;
	count_prompt(scheduler, sequence, false);
	sequence_share_blocks(sequence);
	if (n_wanted > 0 && sequence->request->kind->samples)
		count_token(scheduler, sequence);
	for (uint32_t r = 0; r < n_wanted && status.code == STATUS_OK; r++, row.position++)
	{
		row.hidden = part->want_hidden ? forward_hidden(slot->forward, index, r) : NULL;
		row.logits = part->want_hidden ? NULL : forward_logits(slot->forward, index, r);
		status = request_take_row(sequence, &row, out);
	}
	return status;
}

/*
 * Rows of the last token and of guesses behind it, in order: each gives the next token, and the row after it counts
 * only if that was the guess.
 */
static Status
take_guessed(Scheduler *scheduler, Slot *slot, uint32_t index, ByteWriter *out)
{
	Sequence *sequence = scheduler->batch[index];
	uint32_t n_guesses = sequence->n_drafted, n_right = 0;
	Status status = status_ok();

	for (uint32_t r = 0; r <= n_guesses && status.code == STATUS_OK; r++)
	{
		uint32_t at = sequence->n_tokens;
		int32_t guessed = sequence->tokens[at];
		StepRow row;

		if (!forward_is_finite(slot->forward, index, r))
			return not_finite(slot->model, sequence->n_done);
		sequence->n_done++;
		count_token(scheduler, sequence);
		row = (StepRow){.position = at - 1, .logits = forward_logits(slot->forward, index, r)};
		status = request_take_row(sequence, &row, out);
		if (sequence->request->state == STATE_ENDED || r == n_guesses || sequence->tokens[at] != guessed)
			break;
		n_right++;
	}
	sequence_share_blocks(sequence);
	drafts_learn(&sequence->drafts, n_guesses, n_right);
	atomic_fetch_add(&scheduler->page->n_guessed_tokens, n_guesses);
	atomic_fetch_add(&scheduler->page->n_guessed_right, n_right);
	sequence->n_drafted = 0;
	return status;
}

/* Work gets on. */
static void
beat(const Scheduler *scheduler)
{
	atomic_store_explicit(&scheduler->page->heartbeat_us, clock_now_us(), memory_order_relaxed);
}

/* Hand a request what the step computed for its sequences, the first of which is at index in the batch. Returns the
 * index behind the last one. */
static uint32_t
take_results(Scheduler *scheduler, Slot *slot, uint32_t index)
{
	EngineRequest *request = scheduler->batch[index]->request;
	ByteWriter *out = scheduler->callbacks.output(scheduler->callbacks.argument, request);
	Status status = status_ok();

	for (; index < scheduler->n_batch && scheduler->batch[index]->request == request; index++)
		if (status.code == STATUS_OK && request->state != STATE_ENDED)
			status = scheduler->batch[index]->n_drafted > 0 ? take_guessed(scheduler, slot, index, out)
															: take_rows(scheduler, slot, index, out);
	request_write_meter(request);
	if (status.code != STATUS_OK || request->state == STATE_ENDED)
		end_request(scheduler, request, &status);
	return index;
}

/* What is done with a row's logits while the team is still at the step. A sampled answer's rows are done in order, one
 * of them as long as the guesses before it are right. */
static void
work_on_logits(void *argument, uint32_t index, uint32_t row, float *logits)
{
	const Scheduler *scheduler = argument;
	const Sequence *sequence = scheduler->batch[index];

	if (!sequence->request->kind->samples)
		(void) request_look(sequence, logits, row);
	else if (row == 0)
		for (uint32_t r = 0; request_look(sequence, forward_logits(sequence->slot->forward, index, r), r);)
			r++;
}

void
scheduler_step(Scheduler *scheduler)
{
	uint64_t start = clock_now_us(), forward_us;
	Slot *slot;
	uint32_t rows;

	admit(scheduler);
	slot = choose_slot(scheduler);
	if (!slot)
	{
		publish(scheduler);
		return;
	}
	rows = build_batch(scheduler, slot);
	publish(scheduler);
	if (rows == 0)
		return;
	atomic_store(&scheduler->page->batch_tokens, rows);
	atomic_store(&scheduler->page->step_running, 1);
	forward_set_heartbeat(slot->forward, &scheduler->page->heartbeat_us);
	forward_set_logits_work(slot->forward, work_on_logits, scheduler);
	forward_us = clock_now_us();
	forward_step(slot->forward, scheduler->parts, scheduler->n_batch);
	step_cost_learn(&slot->cost, rows, scheduler->n_roles, clock_now_us() - forward_us);
	for (uint32_t i = 0; i < scheduler->n_batch;)
	{
		i = take_results(scheduler, slot, i);
		beat(scheduler);
	}
	atomic_store(&scheduler->page->step_running, 0);
	atomic_fetch_add(&scheduler->page->n_steps, 1);
	atomic_fetch_add(&scheduler->page->step_us_total, clock_now_us() - start);
	publish(scheduler);
}
