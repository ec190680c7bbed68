/*
 * scheduler.c - see scheduler.h: its beginning and end, who comes and goes, and a step. The arrays of a step are
 * allocated once.
 */
#include "scheduler_private.h"

#include <stdlib.h>

#include "../base/clock.h"

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
	scheduler->waiting = fair_queue_create(settings->max_running + FAIR_QUEUE_MOST * settings->queue_size);
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

void
scheduler_remove(Scheduler *scheduler, EngineRequest *request)
{
	if (request->state == STATE_QUEUED)
		fair_queue_remove(scheduler->waiting, request);
	else if (request->state == STATE_RUNNING)
		running_remove(scheduler, request, false);
	if (request->account)
		fair_queue_leave(scheduler->waiting, request);
	request->state = STATE_ENDED;
	scheduler_publish(scheduler);
}

bool
scheduler_serves(const Scheduler *scheduler, uint32_t role)
{
	return fair_queue_has(scheduler->waiting, role);
}

bool
scheduler_has_work(const Scheduler *scheduler)
{
	return scheduler->n_running > 0 || fair_queue_n_waiting(scheduler->waiting) > 0;
}

Status
scheduler_go(Scheduler *scheduler, EngineRequest *request)
{
	if (request->n_sequences > scheduler->settings.max_running)
		return status_error(STATUS_TOO_LONG,
							"the request has %u texts, but %u at most are computed together; qwen.max_running sets it",
							request->n_sequences, scheduler->settings.max_running);
	/* who can run by now does not count as waiting */
	admission_run(scheduler);
	if (fair_queue_is_full(scheduler->waiting, request->role, scheduler->settings.queue_size))
		return status_error(STATUS_QUEUE_FULL, "%u requests are waiting already, as many as qwen.queue_size allows",
							fair_queue_n_waiting(scheduler->waiting));
	request->go_us = clock_now_us();
	request->arrival = ++scheduler->n_arrivals;
	request->state = STATE_QUEUED;
	fair_queue_enter(scheduler->waiting, request);
	fair_queue_add(scheduler->waiting, request);
	scheduler_publish(scheduler);
	return status_ok();
}

void
scheduler_step(Scheduler *scheduler)
{
	uint64_t start = clock_now_us();
	Slot *slot;
	uint32_t rows;

	draft_settle(scheduler);
	admission_run(scheduler);
	slot = batch_choose_slot(scheduler);
	if (!slot)
	{
		scheduler_publish(scheduler);
		return;
	}
	rows = batch_build(scheduler, slot);
	scheduler_publish(scheduler);
	if (rows == 0)
		return;
	atomic_store(&scheduler->page->batch_tokens, rows);
	atomic_store(&scheduler->page->step_running, 1);
	forward_set_logits_work(slot->forward, results_look, scheduler);
	scheduler_compute(scheduler, slot, scheduler->parts, scheduler->n_batch);
	for (uint32_t i = 0; i < scheduler->n_batch;)
	{
		i = results_take(scheduler, slot, i);
		scheduler_beat(scheduler);
	}
	atomic_store(&scheduler->page->step_running, 0);
	atomic_fetch_add(&scheduler->page->n_steps, 1);
	atomic_fetch_add(&scheduler->page->step_us_total, clock_now_us() - start);
	scheduler_publish(scheduler);
}
