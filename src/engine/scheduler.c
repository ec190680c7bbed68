/*
 * scheduler.c - see scheduler.h.
 *
 * Two lists: waiting (first come, first served: a large job is not passed by smaller ones, so it cannot starve) and
 * running. The arrays of a step are allocated once.
 */
#include "scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "../base/clock.h"

struct Scheduler
{
	SchedulerSettings settings;
	SchedulerCallbacks callbacks;
	Slots *slots;
	StatusPage *page;
	Job *waiting, *waiting_tail;
	uint32_t n_waiting;
	Job **running; /* [max_running], in order of admission */
	uint32_t n_running;
	uint32_t next_slot; /* whose turn it is */
	Job **batch;        /* [max_running] of the step */
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
	scheduler->running = calloc(settings->max_running, sizeof *scheduler->running);
	scheduler->batch = calloc(settings->max_running, sizeof *scheduler->batch);
	scheduler->sequences = calloc(settings->max_running, sizeof *scheduler->sequences);
	if (!scheduler->running || !scheduler->batch || !scheduler->sequences)
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
	free(scheduler->running);
	free(scheduler->batch);
	free(scheduler->sequences);
	free(scheduler);
}

/* Keep the numbers that others see. */
static void
publish(Scheduler *scheduler)
{
	atomic_store(&scheduler->page->n_running, scheduler->n_running);
	atomic_store(&scheduler->page->n_waiting, scheduler->n_waiting);
	atomic_store(&scheduler->page->kv_bytes_used, kv_budget_in_use(scheduler->slots->settings.budget));
}

/* Unlink a job from the waiting list. */
static void
remove_waiting(Scheduler *scheduler, Job *job)
{
	Job **link = &scheduler->waiting, *previous = NULL;

	while (*link != job)
	{
		previous = *link;
		link = &(*link)->next;
	}
	*link = job->next;
	if (scheduler->waiting_tail == job)
		scheduler->waiting_tail = previous;
	scheduler->n_waiting--;
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
	kv_pool_give(job->slot->pool, job->n_blocks, job->blocks);
}

void
scheduler_remove(Scheduler *scheduler, Job *job)
{
	if (job->state == JOB_QUEUED)
		remove_waiting(scheduler, job);
	else if (job->state == JOB_RUNNING)
		remove_running(scheduler, job);
	job->state = JOB_ENDED;
	publish(scheduler);
}

bool
scheduler_has_work(const Scheduler *scheduler)
{
	return scheduler->waiting || scheduler->n_running > 0;
}

/* Move jobs from the head of the queue into the batch as long as there is a place and memory. */
static void
admit(Scheduler *scheduler)
{
	Job *job;

	while ((job = scheduler->waiting) != NULL && scheduler->n_running < scheduler->settings.max_running &&
		   kv_pool_take(job->slot->pool, job->n_blocks, job->blocks))
	{
		remove_waiting(scheduler, job);
		job->state = JOB_RUNNING;
		scheduler->running[scheduler->n_running++] = job;
	}
}

Status
scheduler_go(Scheduler *scheduler, Job *job)
{
	/* who can run by now does not count as waiting */
	admit(scheduler);
	if (scheduler->n_waiting >= scheduler->settings.queue_size)
		return status_error(STATUS_UNAVAILABLE, "%u requests are waiting already, as many as qwen.queue_size allows",
							scheduler->n_waiting);
	job->state = JOB_QUEUED;
	job->go_us = clock_now_us();
	job->next = NULL;
	if (scheduler->waiting_tail)
		scheduler->waiting_tail->next = job;
	else
		scheduler->waiting = job;
	scheduler->waiting_tail = job;
	scheduler->n_waiting++;
	publish(scheduler);
	return status_ok();
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
	if (job->n_done == 0)
		job->started_us = clock_now_us();
	scheduler->batch[scheduler->n_batch] = job;
	scheduler->sequences[scheduler->n_batch++] = (StepSequence){
		.tokens = job->tokens + job->n_done,
		.n_tokens = n,
		.first_position = job->n_done,
		.kv_blocks = job->blocks,
		.n_logits = job_logits_wanted(job, n),
		.want_hidden = job->kind == REQUEST_EMBED,
	};
}

/* All that decode, then prompts in order up to the chunk. Returns the rows. */
static uint32_t
build_batch(Scheduler *scheduler, const Slot *slot)
{
	uint32_t left = scheduler->settings.prefill_chunk, left_logprobs = LOGPROB_ROWS, rows = 0;

	scheduler->n_batch = 0;
	for (uint32_t i = 0; i < scheduler->n_running; i++)
	{
		Job *job = scheduler->running[i];
		uint32_t n = job_rows_left(job);

		if (job->slot != slot)
			continue;
		if (job->n_generated == 0)
		{
			n = n < left ? n : left;
			if (job->kind == REQUEST_LOGPROBS)
			{
				n = n < left_logprobs ? n : left_logprobs;
				left_logprobs -= n;
			}
			left -= n;
		}
		if (n == 0)
			continue;
		add_rows(scheduler, job, n);
		rows += n;
	}
	return rows;
}

/* A job is over, by its own doing or by an error. */
static void
end_job(Scheduler *scheduler, Job *job, const Status *status)
{
	/* its state may say ENDED already, but it still stands in the batch */
	remove_running(scheduler, job);
	job->state = JOB_ENDED;
	if (status->code != STATUS_OK)
	{
		job_reply_error(scheduler->callbacks.output(scheduler->callbacks.argument, job), job->request_id, status, NULL,
						NULL);
		atomic_fetch_add(&scheduler->page->n_requests_failed, 1);
	}
	else
		atomic_fetch_add(&scheduler->page->n_requests_done, 1);
	scheduler->callbacks.ended(scheduler->callbacks.argument, job);
}

/* Hand a job what the step computed for it. */
static void
take_results(Scheduler *scheduler, Slot *slot, uint32_t index)
{
	Job *job = scheduler->batch[index];
	const StepSequence *sequence = &scheduler->sequences[index];
	ByteWriter *out = scheduler->callbacks.output(scheduler->callbacks.argument, job);
	Status status = status_ok();

	job->n_done += sequence->n_tokens;
	if (job->n_generated == 0)
		atomic_fetch_add(&scheduler->page->n_prompt_tokens, sequence->n_tokens);
	for (uint32_t r = 0; sequence->want_hidden && r < sequence->n_tokens && status.code == STATUS_OK; r++)
		status = job_take_hidden(job, forward_hidden(slot->forward, index, r), sequence->first_position + r, out);
	if (sequence->n_logits > 0 && job->sampler)
		atomic_fetch_add(&scheduler->page->n_generated_tokens, 1);
	for (uint32_t r = 0; r < sequence->n_logits && status.code == STATUS_OK; r++)
		status = job_take_logits(job, kernels_select(), forward_logits(slot->forward, index, r), out);
	job_write_meter(job);
	if (status.code != STATUS_OK || job->state == JOB_ENDED)
		end_job(scheduler, job, &status);
}

void
scheduler_step(Scheduler *scheduler)
{
	uint64_t start = clock_now_us();
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
	atomic_store(&scheduler->page->batch_tokens, rows);
	atomic_store(&scheduler->page->step_running, 1);
	forward_step(slot->forward, scheduler->sequences, scheduler->n_batch);
	for (uint32_t i = 0; i < scheduler->n_batch; i++)
		take_results(scheduler, slot, i);
	atomic_store(&scheduler->page->step_running, 0);
	atomic_fetch_add(&scheduler->page->n_steps, 1);
	atomic_fetch_add(&scheduler->page->step_us_total, clock_now_us() - start);
	publish(scheduler);
}
