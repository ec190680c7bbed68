/*
 * scheduler_statistics.c - the numbers of the status page that the scheduler keeps.
 */
#include "scheduler_private.h"

#include "../base/clock.h"

void
scheduler_publish(Scheduler *scheduler)
{
	atomic_store(&scheduler->page->n_running, scheduler->n_running);
	atomic_store(&scheduler->page->n_waiting, fair_queue_n_waiting(scheduler->waiting));
	slots_publish_memory(scheduler->slots, scheduler->page);
}

void
scheduler_count_prompt(Scheduler *scheduler, Sequence *sequence, bool cached)
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

void
scheduler_count_token(Scheduler *scheduler, const Sequence *sequence)
{
	atomic_fetch_add(&scheduler->page->n_generated_tokens, 1);
	fair_queue_charge(scheduler->waiting, sequence->request, 1);
}

void
scheduler_count_form(Scheduler *scheduler, EngineRequest *request)
{
	const FormCounts *form = &request->form;

	if (form->n_tokens == request->form_counted.n_tokens)
		return;
	atomic_fetch_add(&scheduler->page->n_constrained_tokens, form->n_tokens - request->form_counted.n_tokens);
	atomic_fetch_add(&scheduler->page->n_forced_tokens, form->n_forced - request->form_counted.n_forced);
	atomic_fetch_add(&scheduler->page->mask_ns, form->mask_ns - request->form_counted.mask_ns);
	request->form_counted = *form;
}

void
scheduler_count_guesses(Scheduler *scheduler, uint32_t n_guesses, uint32_t n_right, GuessSource source)
{
	atomic_fetch_add(&scheduler->page->n_guessed_tokens, n_guesses);
	atomic_fetch_add(&scheduler->page->n_guessed_right, n_right);
	if (source == GUESSED_BY_HEAD)
	{
		atomic_fetch_add(&scheduler->page->n_head_steps, 1);
		atomic_fetch_add(&scheduler->page->n_head_guessed, n_guesses);
		atomic_fetch_add(&scheduler->page->n_head_right, n_right);
	}
	else if (source == GUESSED_BY_DRAFT)
	{
		atomic_fetch_add(&scheduler->page->n_draft_guessed, n_guesses);
		atomic_fetch_add(&scheduler->page->n_draft_right[n_right], 1);
	}
}

void
scheduler_beat(const Scheduler *scheduler)
{
	atomic_store_explicit(&scheduler->page->heartbeat_us, clock_now_us(), memory_order_relaxed);
}
