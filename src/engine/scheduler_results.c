/*
 * scheduler_results.c - what a step has computed goes to the requests it was computed for.
 */
#include "scheduler_private.h"

#include "replies.h"

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

/* Keep a copy of a hybrid's state, where it has come to a place behind which that is worth its memory. Others' that
 * were not used for longer make room. */
static void
keep_snapshot(Scheduler *scheduler, Sequence *sequence)
{
	KvPool *states = kv_pool_states(sequence->slot->pool);
	uint32_t state;
	bool is_leaf;

	if (!states || !sequence_snapshot_is_due(sequence, &is_leaf))
		return;
	while (!kv_pool_take(states, 1, &state))
	{
		if (!slots_evict_block(scheduler->slots))
			return;
		atomic_fetch_add(&scheduler->page->n_evicted_blocks, 1);
	}
	sequence_keep_snapshot(sequence, state, is_leaf);
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
	sequence_end_rows(sequence, part->n_tokens);
	scheduler_count_prompt(scheduler, sequence, false);
	sequence_share_blocks(sequence);
	keep_snapshot(scheduler, sequence);
	if (n_wanted > 0 && sequence->request->kind->samples)
		scheduler_count_token(scheduler, sequence);
	for (uint32_t r = 0; r < n_wanted && status.code == STATUS_OK; r++, row.position++)
	{
		row.hidden = part->want_hidden ? forward_hidden(slot->forward, index, r) : NULL;
		row.logits = part->want_hidden ? NULL : forward_logits(slot->forward, index, r);
		status = request_take_row(sequence, &row, out);
	}
	scheduler_count_form(scheduler, sequence->request);
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
	uint32_t n_guesses = sequence->n_drafted, n_right = 0, first = sequence->n_done;
	Status status = status_ok();

	for (uint32_t r = 0; r <= n_guesses && status.code == STATUS_OK; r++)
	{
		uint32_t at = sequence->n_tokens;
		int32_t guessed = sequence->tokens[at];
		StepRow row;

		if (!forward_is_finite(slot->forward, index, r))
			return not_finite(slot->model, sequence->n_done);
		sequence->n_done++;
		scheduler_count_token(scheduler, sequence);
		row = (StepRow){.position = at - 1, .logits = forward_logits(slot->forward, index, r)};
		status = request_take_row(sequence, &row, out);
		if (sequence->request->state == STATE_ENDED || r == n_guesses || sequence->tokens[at] != guessed)
			break;
		n_right++;
	}
	sequence_accept_rows(sequence, sequence->n_done - first);
	sequence_share_blocks(sequence);
	guesses_learn(sequence, n_guesses, n_right);
	scheduler_count_guesses(scheduler, n_guesses, n_right, sequence->guessed_by);
	scheduler_count_form(scheduler, sequence->request);
	sequence->n_drafted = 0;
	return status;
}

uint32_t
results_take(Scheduler *scheduler, Slot *slot, uint32_t index)
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
		running_end(scheduler, request, &status);
	return index;
}

void
results_look(void *argument, uint32_t index, uint32_t row, float *logits)
{
	const Scheduler *scheduler = argument;
	const Sequence *sequence = scheduler->batch[index];

	if (!sequence->request->kind->samples)
		(void) request_look(sequence, logits, row);
	else if (row == 0)
		for (uint32_t r = 0; request_look(sequence, forward_logits(sequence->slot->forward, index, r), r);)
			r++;
}
