/*
 * scheduler.c - see scheduler.h.
 *
 * Who waits stands in a fair queue: whoever's turn it is comes next. Where it is a large job that has to wait for
 * memory, a few small ones may pass it, so many and no more: it cannot starve. A job of a higher priority than others
 * that run does not wait for them: they give way, which costs them only time, and each of them so many times and no
 * more. And where some wait for a minute behind ones of higher priority, one place of some goes to the oldest of them.
 * Who runs stands in a list, the most senior first: by priority, then by arrival. Whoever needs a block takes it from
 * cached ones first, then from the most junior job; so the most senior one always gets on, and everybody is that one
 * day. The arrays of a step are allocated once.
 */
#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"
#include "fair_queue.h"
#include "job_blocks.h"
#include "replies.h"
#include "step_shares.h"

#define NOT_FINITE_HINT                                                                                                \
	"Use another file of the model: another quantization, or one that was downloaded again. Text that differs may "    \
	"work."
#define MAX_GIVING_WAY 4 /* so many times a job gives its place to one of higher priority; then it runs to its end */
#define MAX_PASSED 16    /* so many small jobs pass a large one whose turn it is */
#define SMALL_SHARE 4    /* small: with a prompt and answer that need a fourth of the memory, or less */
#define N_SMALL 8        /* jobs that are looked at for a small one */
#define AGED_US ((uint64_t) 60 * 1000 * 1000) /* so long a job waits behind ones of higher priority … */
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
	Job **running; /* [max_running], the most senior first */
	uint32_t n_running;
	uint64_t n_arrivals;
	uint64_t n_turns;       /* of jobs in steps that roles share */
	uint32_t n_since_aged;  /* jobs admitted since one that had waited so long */
	uint64_t aged_looks_us; /* when to look for such a one again */
	uint32_t next_slot;     /* whose turn it is */
	Job **prefilling;       /* [max_running] prompts that want rows of the step */
	Job **in_turn;          /* [max_running] whoever wants rows of a step that roles share */
	RoleShare *shares;      /* [max_running + 1] */
	uint32_t n_roles;       /* that have jobs in the step */
	Job **batch;            /* [max_running] of the step */
	StepSequence *sequences;
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
	scheduler->sequences = calloc(settings->max_running, sizeof *scheduler->sequences);
	if (!scheduler->waiting || !scheduler->running || !scheduler->prefilling || !scheduler->in_turn ||
		!scheduler->shares || !scheduler->batch || !scheduler->sequences)
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
	free(scheduler->sequences);
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
is_senior(const Job *a, const Job *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

/* Into the batch, at its place. */
static void
add_running(Scheduler *scheduler, Job *job)
{
	uint32_t i = scheduler->n_running++;

	for (; i > 0 && is_senior(job, scheduler->running[i - 1]); i--)
		scheduler->running[i] = scheduler->running[i - 1];
	scheduler->running[i] = job;
	job->turn = ++scheduler->n_turns;
	job->state = JOB_RUNNING;
}

/* Take a job out of the batch and give back its blocks. */
static void
remove_running(Scheduler *scheduler, Job *job)
{
	uint32_t i = 0;

	while (scheduler->running[i] != job)
		i++;
	memmove(&scheduler->running[i], &scheduler->running[i + 1],
			(scheduler->n_running - i - 1) * sizeof *scheduler->running);
	scheduler->n_running--;
	job_give_blocks(job);
}

void
scheduler_remove(Scheduler *scheduler, Job *job)
{
	if (job->state == JOB_QUEUED)
		fair_queue_remove(scheduler->waiting, job);
	else if (job->state == JOB_RUNNING)
		remove_running(scheduler, job);
	if (job->account)
		fair_queue_leave(scheduler->waiting, job);
	job->state = JOB_ENDED;
	publish(scheduler);
}

bool
scheduler_has_work(const Scheduler *scheduler)
{
	return scheduler->n_running > 0 || fair_queue_n_waiting(scheduler->waiting) > 0;
}

/* Positions up to n_done are there, computed or from the cache: what is new of the prompt goes into the statistics. */
static void
count_prompt(Scheduler *scheduler, Job *job, bool cached)
{
	uint32_t end = job->n_done < job->n_prompt ? job->n_done : job->n_prompt;
	uint32_t n = end > job->n_counted ? end - job->n_counted : 0;

	job->n_counted += n;
	atomic_fetch_add(&scheduler->page->n_prompt_tokens, n);
	if (!cached)
		return;
	job->n_cached_tokens += n;
	atomic_fetch_add(&scheduler->page->n_cached_tokens, n);
}

/* How much memory is missing for all that the running jobs will soon need, and this one. */
static uint64_t
bytes_missing(const Scheduler *scheduler, const Job *job)
{
	const KvBudget *budget = scheduler->slots->settings.budget;
	uint64_t wanted = job_bytes_wanted(job), there;

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		wanted += job_bytes_wanted(scheduler->running[i]);
	there = kv_budget_limit(budget) - kv_budget_in_use(budget) + slots_idle_bytes(scheduler->slots);
	return wanted > there ? wanted - there : 0;
}

static bool
fits(const Scheduler *scheduler, const Job *job)
{
	return bytes_missing(scheduler, job) == 0;
}

/* Back into the queue with a job; its tokens so far stay. */
static void
preempt(Scheduler *scheduler, Job *job)
{
	remove_running(scheduler, job);
	job->state = JOB_QUEUED;
	job->was_preempted = true;
	fair_queue_add(scheduler->waiting, job);
	atomic_fetch_add(&scheduler->page->n_preemptions, 1);
}

static bool
has_place(const Scheduler *scheduler)
{
	return scheduler->n_running < scheduler->settings.max_running;
}

/* Is there a place and memory for it? Alone it fits: what could never fit was refused. */
static bool
can_run(const Scheduler *scheduler, const Job *job)
{
	return has_place(scheduler) && (scheduler->n_running == 0 || fits(scheduler, job));
}

/* Would a running job give way to another one? */
static bool
gives_way(const Job *running, const Job *job)
{
	return running->priority < job->priority && running->n_gave_way < MAX_GIVING_WAY;
}

/*
 * Have the most junior running jobs of lower priority give way to a job, as many as it takes; none, where all of them
 * together would not be enough. false: it has to wait.
 */
static bool
make_way(Scheduler *scheduler, const Job *job)
{
	uint64_t missing = bytes_missing(scheduler, job), freed = 0;
	uint32_t n = 0, first = scheduler->n_running;

	while (first > 0 && (freed < missing || (n == 0 && !has_place(scheduler))) &&
		   scheduler->running[first - 1]->priority < job->priority)
	{
		first--;
		if (!gives_way(scheduler->running[first], job))
			continue;
		freed += job_bytes_freed(scheduler->running[first]);
		n++;
	}
	if (freed < missing || (n == 0 && !has_place(scheduler)))
		return false;
	for (uint32_t i = scheduler->n_running; i-- > first;)
		if (gives_way(scheduler->running[i], job))
		{
			scheduler->running[i]->n_gave_way++;
			preempt(scheduler, scheduler->running[i]);
		}
	return can_run(scheduler, job);
}

/* Into the batch with a job that waits. */
static void
start(Scheduler *scheduler, Job *job)
{
	if (job == fair_queue_next(scheduler->waiting))
		fair_queue_take_turn(scheduler->waiting, job);
	fair_queue_remove(scheduler->waiting, job);
	add_running(scheduler, job);
	count_prompt(scheduler, job, true);
	if (!job->was_preempted)
		fair_queue_charge(scheduler->waiting, job, job->n_prompt - job->n_cached_tokens);
	scheduler->n_since_aged++;
}

/* Start a job if it can run now, by itself or because others give way. What it finds in the cache it takes first, so
 * that it is neither counted as wanted nor given up for others. */
static bool
try_start(Scheduler *scheduler, Job *job, bool others_give_way)
{
	job_use_cached(job);
	if (can_run(scheduler, job) || (others_give_way && make_way(scheduler, job)))
	{
		start(scheduler, job);
		return true;
	}
	job_give_blocks(job);
	return false;
}

/* Start the oldest of those that have waited long behind ones of higher priority than they have, when it is time. It
 * runs to its end. */
static bool
start_aged(Scheduler *scheduler, const Job *next)
{
	uint64_t now;
	Job *job;

	if (scheduler->n_since_aged < AGED_SHARE - 1 || !has_place(scheduler) ||
		(now = clock_now_us()) < scheduler->aged_looks_us)
		return false;
	job = fair_queue_oldest_below(scheduler->waiting, next->priority);
	if (!job || now - job->go_us < AGED_US)
	{
		scheduler->aged_looks_us = now + AGED_LOOK_US;
		return false;
	}
	if (!try_start(scheduler, job, false))
		return false;
	job->n_gave_way = MAX_GIVING_WAY;
	scheduler->n_since_aged = 0;
	return true;
}

/* Start a small job in the place of a large one that has to wait for memory. */
static bool
start_small(Scheduler *scheduler, Job *large)
{
	Job *others[N_SMALL];
	uint32_t n;

	if (!has_place(scheduler) || large->n_passed >= MAX_PASSED)
		return false;
	n = fair_queue_behind(scheduler->waiting, large, others, N_SMALL);
	for (uint32_t i = 0; i < n; i++)
		if (job_bytes(others[i]) <= job_bytes(large) / SMALL_SHARE && try_start(scheduler, others[i], false))
		{
			large->n_passed++;
			return true;
		}
	return false;
}

/* Move jobs whose turn it is into the batch as long as there is a place and memory. */
static void
admit(Scheduler *scheduler)
{
	Job *job;

	while ((job = fair_queue_next(scheduler->waiting)) != NULL)
	{
		/* the usual thing: there is no place, and nobody who could give way */
		if (!has_place(scheduler) && scheduler->running[scheduler->n_running - 1]->priority >= job->priority)
			return;
		if (!start_aged(scheduler, job) && !try_start(scheduler, job, true) && !start_small(scheduler, job))
			return;
	}
}

Status
scheduler_go(Scheduler *scheduler, Job *job)
{
	/* who can run by now does not count as waiting */
	admit(scheduler);
	if (fair_queue_n_waiting(scheduler->waiting) >= scheduler->settings.queue_size)
		return status_error(STATUS_UNAVAILABLE, "%u requests are waiting already, as many as qwen.queue_size allows",
							fair_queue_n_waiting(scheduler->waiting));
	job->go_us = clock_now_us();
	job->arrival = ++scheduler->n_arrivals;
	job->state = JOB_QUEUED;
	fair_queue_enter(scheduler->waiting, job);
	fair_queue_add(scheduler->waiting, job);
	publish(scheduler);
	return status_ok();
}

/* The most junior job that holds blocks, or the given one. */
static Job *
choose_victim(const Scheduler *scheduler, Job *job)
{
	uint32_t i = scheduler->n_running - 1;

	while (scheduler->running[i] != job && scheduler->running[i]->n_blocks == 0)
		i--;
	return scheduler->running[i];
}

/* A job is over, by its own doing or by an error. */
static void
end_job(Scheduler *scheduler, Job *job, const Status *status)
{
	/* its state may say ENDED already, but it still stands in the batch */
	remove_running(scheduler, job);
	fair_queue_leave(scheduler->waiting, job);
	job->state = JOB_ENDED;
	if (status->code != STATUS_OK)
	{
		reply_error(scheduler->callbacks.output(scheduler->callbacks.argument, job), job->request_id, status, NULL,
					status->code == STATUS_NOT_FINITE ? NOT_FINITE_HINT : NULL);
		atomic_fetch_add(&scheduler->page->n_requests_failed, 1);
	}
	else
		atomic_fetch_add(&scheduler->page->n_requests_done, 1);
	scheduler->callbacks.ended(scheduler->callbacks.argument, job);
}

/* There is no room for a job's next position, and there is nobody to take some from: the system has no memory although
 * the budget has room, or the budget became smaller since the job was accepted. */
static Status
no_room_for_blocks(const Job *job)
{
	if (kv_pool_was_refused(job->slot->pool))
		return status_error(STATUS_UNAVAILABLE,
							"the system has no memory for the keys and values of position %u: a smaller "
							"qwen.kv_cache_size, or more memory",
							job->n_blocks * KV_BLOCK_POSITIONS + 1);
	return status_error(
		STATUS_TOO_LONG,
		"the request needs room for %u tokens, but the KV cache holds %u since another model was loaded",
		job_positions(job), kv_pool_max_blocks(job->slot->pool) * KV_BLOCK_POSITIONS);
}

/* Blocks for all positions before end of a job. false: it had to make room itself, or got none and has ended; it is not
 * running any more. */
static bool
take_blocks(Scheduler *scheduler, Job *job, uint32_t end)
{
	while (job->n_blocks < kv_blocks_for(end))
	{
		Job *victim;

		if (kv_pool_take(job->slot->pool, 1, &job->blocks[job->n_blocks]))
		{
			job->n_blocks++;
			continue;
		}
		if (slots_evict_block(scheduler->slots))
		{
			atomic_fetch_add(&scheduler->page->n_evicted_blocks, 1);
			continue;
		}
		victim = choose_victim(scheduler, job);
		/* it would wait for its own blocks for ever */
		if (victim == job &&
			(kv_pool_was_refused(job->slot->pool) || kv_blocks_for(end) > kv_pool_max_blocks(job->slot->pool)))
		{
			Status status = no_room_for_blocks(job);

			end_job(scheduler, job, &status);
			return false;
		}
		preempt(scheduler, victim);
		if (victim == job)
			return false;
	}
	return true;
}

/* The next slot with running jobs. */
static Slot *
choose_slot(Scheduler *scheduler)
{
	for (uint32_t turn = 0; turn < scheduler->slots->n; turn++)
	{
		Slot *slot = &scheduler->slots->slots[(scheduler->next_slot + turn) % scheduler->slots->n];

		for (uint32_t i = 0; i < scheduler->n_running; i++)
			if (scheduler->running[i]->slot == slot)
			{
				scheduler->next_slot = (scheduler->next_slot + turn + 1) % scheduler->slots->n;
				return slot;
			}
	}
	return NULL;
}

/* Put n rows of a job into the step. */
static void
add_rows(Scheduler *scheduler, Job *job, uint32_t n)
{
	if (job->started_us == 0)
		job->started_us = clock_now_us();
	job_begin_step(job, n);
	scheduler->batch[scheduler->n_batch] = job;
	scheduler->sequences[scheduler->n_batch++] = (StepSequence){
		.tokens = job->tokens + job->n_done,
		.n_tokens = n,
		.first_position = job->n_done,
		.kv_blocks = job->blocks,
		.n_logits = job->n_drafted > 0 ? n : job_logits_wanted(job, n),
		.want_hidden = job->kind == REQUEST_EMBED,
	};
}

/* Is a more senior prompt on the block that this one needs next? */
static bool
waits_for_twin(const Scheduler *scheduler, const Job *job, uint32_t n_prefilling)
{
	for (uint32_t i = 0; i < n_prefilling; i++)
		if (job_waits_for(job, scheduler->prefilling[i]))
			return true;
	return false;
}

/* The prompts that want rows, in order of seniority; each one's n_slice is 0. Returns how many. */
static uint32_t
collect_prefilling(Scheduler *scheduler, const Slot *slot)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < scheduler->n_running; i++)
	{
		Job *job = scheduler->running[i];

		if (job->slot != slot || !job_is_prefilling(job))
			continue;
		/* others may have computed something for it since it was admitted */
		job_use_cached(job);
		count_prompt(scheduler, job, true);
		job->n_slice = 0;
		if (!waits_for_twin(scheduler, job, n))
			scheduler->prefilling[n++] = job;
	}
	return n;
}

/* Give a prompt up to n more rows of the step; returns what it takes. */
static uint32_t
give_rows(Job *job, uint32_t n, uint32_t *left_logprobs)
{
	uint32_t wanted = job_rows_left(job) - job->n_slice;

	n = n < wanted ? n : wanted;
	if (job->kind == REQUEST_LOGPROBS)
	{
		n = n < *left_logprobs ? n : *left_logprobs;
		*left_logprobs -= n;
	}
	job->n_slice += n;
	return n;
}

/* Sort prompts by what is left of them, the shortest first; of equal ones the more senior first. */
static void
sort_by_length(Job **jobs, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
	{
		Job *job = jobs[i];
		uint32_t at = i;

		for (; at > 0 && job_rows_left(job) < job_rows_left(jobs[at - 1]); at--)
			jobs[at] = jobs[at - 1];
		jobs[at] = job;
	}
}

/* Prompt rows of a step whose jobs are all of one role: fewer while another is expected back, which would have to wait
 * for a step that has begun. */
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

/* All of a model's jobs that want rows, n_prefilling prompts and answers: who has waited longest first, then the more
 * senior. Returns how many. */
static uint32_t
collect_in_turn(Scheduler *scheduler, const Slot *slot, uint32_t n_prefilling)
{
	uint32_t n = 0, n_prompts = 0;

	for (uint32_t i = 0; i < scheduler->n_running; i++)
	{
		Job *job = scheduler->running[i];
		uint32_t at = n;

		if (job->slot != slot)
			continue;
		/* both lists are in order of seniority */
		if (n_prompts < n_prefilling && scheduler->prefilling[n_prompts] == job)
			n_prompts++;
		else if (job_is_prefilling(job))
			continue;
		job->n_slice = 0;
		for (; at > 0 && scheduler->in_turn[at - 1]->turn > job->turn; at--)
			scheduler->in_turn[at] = scheduler->in_turn[at - 1];
		scheduler->in_turn[at] = job;
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
		Job *job = scheduler->in_turn[i % n];
		RoleShare *share = shares_find(scheduler->shares, job);
		bool is_prompt = job_is_prefilling(job);
		uint32_t rows = i < n && is_prompt ? (share->left + 1) / 2 : share->left;

		if (is_prompt)
			rows = rows < chunk - given ? rows : chunk - given;
		rows = give_rows(job, rows, &left_logprobs);
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

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		n += scheduler->running[i]->slot == slot && !job_is_prefilling(scheduler->running[i]);
	return n;
}

/*
 * Guess up to n tokens behind the last one of a job. Guesses stay inside the answer, and they take a block only where
 * one is free, which the answer would need next: so they take nothing from anybody.
 */
static uint32_t
guess(Job *job, uint32_t n)
{
	uint32_t in_answer = job->n_prompt + job->max_tokens - job->n_tokens - 1;
	uint32_t in_blocks, wanted;

	if (!job->sampler || n == 0)
		return 0;
	wanted = drafts_wanted(&job->drafts);
	n = n < wanted ? n : wanted;
	n = n < in_answer ? n : in_answer;
	if (job->n_blocks < kv_blocks_for(job->n_tokens + n) &&
		kv_pool_take(job->slot->pool, 1, &job->blocks[job->n_blocks]))
		job->n_blocks++;
	in_blocks = job->n_blocks * KV_BLOCK_POSITIONS - job->n_tokens;
	n = n < in_blocks ? n : in_blocks;
	return n > 0 ? drafts_find(job->tokens, job->n_tokens, n, job->tokens + job->n_tokens) : 0;
}

/*
 * Do a step's prompts go without the answers, which follow in the next step without prompts? Where a prompt ends that
 * somebody waits for, and many answers run: apart they take little longer than together (a tenth where it happens all
 * the time), and the first token of that prompt need not wait for the answers' rows.
 */
static bool
prompts_go_first(const Scheduler *scheduler, const Slot *slot, uint32_t n_decoding)
{
	for (uint32_t i = 0; n_decoding >= ANSWERS_THAT_WAIT && i < scheduler->n_running; i++)
	{
		const Job *job = scheduler->running[i];

		if (job->slot == slot && job->alone && job_is_prefilling(job) && job->n_slice == job_rows_left(job))
			return true;
	}
	return false;
}

/* How many of its rows a job may have in the step. */
static uint32_t
rows_of(const Job *job, const Slot *slot, StepTurn turn)
{
	if (job->slot != slot)
		return 0;
	if (job_is_prefilling(job))
		return turn == TURN_ANSWERS ? 0 : job->n_slice;
	return turn == TURN_PROMPTS ? 0 : job->n_slice;
}

/* An answer takes its row, where no other role asks for some. Returns the rows of prompts. */
static uint32_t
share_in_role(Scheduler *scheduler, const Slot *slot, bool answers_follow)
{
	uint32_t given = answers_follow ? 0 : share_chunk(scheduler, slot);

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		if (scheduler->running[i]->slot == slot && !job_is_prefilling(scheduler->running[i]))
			scheduler->running[i]->n_slice = 1;
	return given;
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
		Job *job = scheduler->running[i];
		uint32_t n = rows_of(job, slot, slot->turn);

		job->n_drafted = 0;
		/* who loses its blocks here is more junior than all that are in the step already, or this job itself */
		if (n > 0 && !take_blocks(scheduler, job, job->n_done + n))
			continue;
		if (n > 0 && !job_is_prefilling(job))
		{
			job->n_drafted = guess(job, n_guesses);
			n += job->n_drafted;
		}
		if (n > 0)
			add_rows(scheduler, job, n);
		rows += n;
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
			return not_finite(scheduler->batch[index]->model, scheduler->sequences[index].first_position + r);
	return status_ok();
}

/* Rows of a prompt, or the one of the last token. */
static Status
take_rows(Scheduler *scheduler, Slot *slot, uint32_t index, ByteWriter *out)
{
	Job *job = scheduler->batch[index];
	const StepSequence *sequence = &scheduler->sequences[index];
	Status status = check_finite(scheduler, slot, index, sequence->n_tokens);

	if (status.code != STATUS_OK)
		return status;
	job->n_done += sequence->n_tokens;
	count_prompt(scheduler, job, false);
	job_share_blocks(job);
	for (uint32_t r = 0; sequence->want_hidden && r < sequence->n_tokens && status.code == STATUS_OK; r++)
		status = job_take_hidden(job, forward_hidden(slot->forward, index, r), sequence->first_position + r, out);
	if (sequence->n_logits > 0 && job->sampler)
	{
		atomic_fetch_add(&scheduler->page->n_generated_tokens, 1);
		fair_queue_charge(scheduler->waiting, job, 1);
	}
	for (uint32_t r = 0; r < sequence->n_logits && status.code == STATUS_OK; r++)
		status = job_take_logits(job, kernels_select(), forward_logits(slot->forward, index, r), out);
	return status;
}

/*
 * Rows of the last token and of guesses behind it, in order: each gives the next token, and the row after it counts
 * only if that was the guess.
 */
static Status
take_guessed(Scheduler *scheduler, Slot *slot, uint32_t index, ByteWriter *out)
{
	Job *job = scheduler->batch[index];
	uint32_t n_guesses = job->n_drafted, n_right = 0;
	Status status = status_ok();

	for (uint32_t r = 0; r <= n_guesses && status.code == STATUS_OK; r++)
	{
		uint32_t at = job->n_tokens;
		int32_t guessed = job->tokens[at];

		if (!forward_is_finite(slot->forward, index, r))
			return not_finite(job->model, job->n_done);
		job->n_done++;
		atomic_fetch_add(&scheduler->page->n_generated_tokens, 1);
		fair_queue_charge(scheduler->waiting, job, 1);
		status = job_take_logits(job, kernels_select(), forward_logits(slot->forward, index, r), out);
		if (job->state == JOB_ENDED || r == n_guesses || job->tokens[at] != guessed)
			break;
		n_right++;
	}
	job_share_blocks(job);
	drafts_learn(&job->drafts, n_guesses, n_right);
	atomic_fetch_add(&scheduler->page->n_guessed_tokens, n_guesses);
	atomic_fetch_add(&scheduler->page->n_guessed_right, n_right);
	job->n_drafted = 0;
	return status;
}

/* Work gets on. */
static void
beat(const Scheduler *scheduler)
{
	atomic_store_explicit(&scheduler->page->heartbeat_us, clock_now_us(), memory_order_relaxed);
}

/* Hand a job what the step computed for it. */
static void
take_results(Scheduler *scheduler, Slot *slot, uint32_t index)
{
	Job *job = scheduler->batch[index];
	ByteWriter *out = scheduler->callbacks.output(scheduler->callbacks.argument, job);
	Status status =
		job->n_drafted > 0 ? take_guessed(scheduler, slot, index, out) : take_rows(scheduler, slot, index, out);

	job_write_meter(job);
	if (status.code != STATUS_OK || job->state == JOB_ENDED)
		end_job(scheduler, job, &status);
}

/* What is done with a row's logits while the team is still at the step. A sampled answer's rows are done in order, one
 * of them as long as the guesses before it are right. */
static void
work_on_logits(void *argument, uint32_t index, uint32_t row, float *logits)
{
	const Scheduler *scheduler = argument;
	Job *job = scheduler->batch[index];

	if (job->kind == REQUEST_LOGPROBS)
		job_score_row(job, logits, row);
	else if (job->sampler && row == 0)
		for (uint32_t r = 0; job_pick(job, kernels_select(), forward_logits(job->slot->forward, index, r), r);)
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
	forward_step(slot->forward, scheduler->sequences, scheduler->n_batch);
	step_cost_learn(&slot->cost, rows, scheduler->n_roles, clock_now_us() - forward_us);
	for (uint32_t i = 0; i < scheduler->n_batch; i++)
	{
		take_results(scheduler, slot, i);
		beat(scheduler);
	}
	atomic_store(&scheduler->page->step_running, 0);
	atomic_fetch_add(&scheduler->page->n_steps, 1);
	atomic_fetch_add(&scheduler->page->step_us_total, clock_now_us() - start);
	publish(scheduler);
}
