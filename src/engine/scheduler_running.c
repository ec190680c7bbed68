/*
 * scheduler_running.c - who runs: a list, the most senior first, by priority, then by arrival.
 */
#include "scheduler_private.h"

#include <string.h>

#include "replies.h"

#define NOT_FINITE_HINT                                                                                                \
	"Use another file of the model: another quantization, or one that was downloaded again. Text that differs may "    \
	"work."

/* Does a come before b? */
static bool
is_senior(const EngineRequest *a, const EngineRequest *b)
{
	return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

void
running_add(Scheduler *scheduler, EngineRequest *request)
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

void
running_remove(Scheduler *scheduler, EngineRequest *request, bool keeps_leaves)
{
	uint32_t i = 0;

	while (scheduler->running[i] != request)
		i++;
	memmove(&scheduler->running[i], &scheduler->running[i + 1],
			(scheduler->n_running - i - 1) * sizeof *scheduler->running);
	scheduler->n_running--;
	scheduler->n_places -= request->n_sequences;
	request_give_blocks(request, keeps_leaves);
}

void
running_preempt(Scheduler *scheduler, EngineRequest *request)
{
	/* unless others need the memory, it goes on where it was */
	running_remove(scheduler, request, true);
	request->state = STATE_QUEUED;
	request->was_preempted = true;
	fair_queue_add(scheduler->waiting, request);
	atomic_fetch_add(&scheduler->page->n_preemptions, 1);
}

/* Will the next one of its conversation begin with all that it has? */
static bool
goes_on(const EngineRequest *request)
{
	return request->n_sequences == 1 && request->sequences[0].goes_on;
}

void
running_end(Scheduler *scheduler, EngineRequest *request, const Status *status)
{
	/* its state may say ENDED already, but it still stands in the batch */
	running_remove(scheduler, request, status->code == STATUS_OK && goes_on(request));
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

bool
running_next(const Scheduler *scheduler, const Slot *slot, RunningWalk *walk)
{
	while (walk->next_request < scheduler->n_running)
	{
		EngineRequest *request = scheduler->running[walk->next_request];

		while (walk->next_sequence < request->n_sequences)
		{
			walk->sequence = &request->sequences[walk->next_sequence++];
			if (walk->sequence->slot == slot && sequence_rows_left(walk->sequence) > 0)
				return true;
		}
		walk->next_request++;
		walk->next_sequence = 0;
	}
	return false;
}
