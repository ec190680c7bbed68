/*
 * scheduler_draft.c - another model that guesses for one (qwen.draft_models): a smaller one with the same tokens.
 *
 * A sequence whose answer is being written has the same text in its draft model too (Sequence.draft), with keys, values
 * and states of its own there, in that model's pool and prefix cache and under the same budget. Before a step the draft
 * catches up with the text, then guesses token after token, for all such answers together; the number of chance is the
 * one that the answer will be drawn with, and the form's mask holds. What was right need not be computed again.
 *
 * A draft is a convenience. It takes memory that is free, or that cached blocks have, and is the first to give it back;
 * it begins where reading the text first is worth it, and stands back where its model is wanted for nothing else and
 * leaves.
 */
#include "scheduler_private.h"

#include <math.h>
#include <string.h>

#define LEEWAY_STEPS 2.0 /* of the model: so long a draft may take to read a text before anything was written … */
#define WRITTEN_SHARE 2  /* … and half as long as the answer has taken so far */
#define LEAST_TOKENS 4   /* of an answer to come: for fewer nobody begins */

/* Whether there is a draft model for a slot's, and it is to be asked. */
bool
draft_is_wanted(const Scheduler *scheduler, const Slot *slot)
{
	Speculation speculation = scheduler->settings.speculation;

	return slot->draft &&
		   (speculation == SPECULATION_AUTO || speculation == SPECULATION_DRAFT || speculation == SPECULATION_ALWAYS);
}

void
draft_settle(Scheduler *scheduler)
{
	for (uint32_t i = 0; i < scheduler->n_running; i++)
		for (uint32_t s = 0; s < scheduler->running[i]->n_sequences; s++)
		{
			Sequence *sequence = &scheduler->running[i]->sequences[s];

			if (sequence->draft && sequence->draft->slot != sequence->slot->draft)
				sequence_close_draft(sequence);
		}
	if (slots_have_drained(scheduler->slots))
		slots_look(scheduler->slots);
}

bool
draft_give_up(Scheduler *scheduler)
{
	for (uint32_t i = scheduler->n_running; i-- > 0;)
		for (uint32_t s = 0; s < scheduler->running[i]->n_sequences; s++)
		{
			Sequence *sequence = &scheduler->running[i]->sequences[s];

			if (!sequence->draft)
				continue;
			sequence_close_draft(sequence);
			drafts_head_rest(&sequence->model);
			return true;
		}
	return false;
}

uint64_t
draft_bytes(const Scheduler *scheduler)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		for (uint32_t s = 0; s < scheduler->running[i]->n_sequences; s++)
			bytes += sequence_draft_bytes(&scheduler->running[i]->sequences[s]);
	return bytes;
}

/* Is there room for a draft beside all that the running requests will soon need? */
static bool
has_room(const Scheduler *scheduler, const Sequence *draft)
{
	const KvBudget *budget = scheduler->slots->settings.budget;
	uint64_t held = kv_budget_in_use(budget) - slots_idle_bytes(scheduler->slots);
	uint64_t wanted = held + sequence_bytes_wanted(draft);

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		wanted += request_bytes_wanted(scheduler->running[i]);
	return wanted <= kv_budget_limit(budget);
}

/* Is reading what the draft has not seen of a text worth it? The answer may be over soon, which nobody knows: so the
 * draft takes no longer for it than half of what the answer has taken. */
static bool
is_worth_reading(const Slot *slot, const Sequence *sequence)
{
	const Sequence *draft = sequence->draft;
	uint32_t n = sequence_rows_left(draft), n_left = sequence->n_behind - sequence->n_generated;
	double step_us = step_cost_us(&slot->cost, 1, 0), us = step_cost_us(&draft->slot->cost, n, sequence_keys(draft, n));

	return n <= KV_BLOCK_POSITIONS || (us <= step_us * (LEEWAY_STEPS + sequence->n_generated / WRITTEN_SHARE) &&
									   us <= step_us * n_left / WRITTEN_SHARE);
}

/* Does its draft model know all tokens of a text that it has not seen? */
static bool
knows_tokens(const Sequence *draft)
{
	for (uint32_t i = draft->n_done; i < draft->n_tokens; i++)
		if ((uint32_t) draft->tokens[i] >= draft->slot->model->hyper.vocab)
			return false;
	return true;
}

uint32_t
draft_room(const Scheduler *scheduler, const Slot *slot, Sequence *sequence, uint32_t n)
{
	uint32_t context = slot->draft->model->hyper.context_length;
	bool always = scheduler->settings.speculation == SPECULATION_ALWAYS;

	if (sequence->n_tokens >= context || (!always && sequence->n_behind - sequence->n_generated < LEAST_TOKENS))
		return 0;
	if (!sequence->draft && !sequence_open_draft(sequence, slot->draft))
		return 0;
	sequence_follow(sequence);
	if (!has_room(scheduler, sequence->draft) || !knows_tokens(sequence->draft))
	{
		sequence_close_draft(sequence);
		drafts_head_rest(&sequence->model);
		return 0;
	}
	if (!always && !is_worth_reading(slot, sequence))
		return 0;
	return n < context - sequence->n_tokens ? n : context - sequence->n_tokens;
}

/* What a step of so few rows of a draft model takes; before one was seen, as much less than its model's as it has fewer
 * bytes. */
static double
few_rows_us(const Slot *slot, uint32_t n_rows)
{
	const Slot *draft = slot->draft;

	if (step_cost_knows(&draft->cost, n_rows))
		return step_cost_few_us(&draft->cost, n_rows);
	return step_cost_few_us(&slot->cost, n_rows) * (double) draft->model->image_bytes /
		   (double) slot->model->image_bytes;
}

double
draft_us(const Slot *slot, uint32_t n_guessed, uint32_t n)
{
	bool is_hybrid = kv_pool_states(slot->draft->pool) != NULL;
	double us = 0;

	/* the first one with the rows that the step before has left: what was right and not computed yet, and one */
	for (uint32_t i = 0; i < n; i++)
		us += few_rows_us(slot, n_guessed * (i == 0 ? 2 : is_hybrid ? i : 1));
	return us;
}

/* A block of a pool, of those that are free or cached. */
static bool
take_block(Scheduler *scheduler, KvPool *pool, uint32_t *block)
{
	while (!kv_pool_take(pool, 1, block))
	{
		if (!slots_evict_block(scheduler->slots))
			return false;
		atomic_fetch_add(&scheduler->page->n_evicted_blocks, 1);
	}
	return true;
}

/* Blocks for all positions of a draft before end, and its state. */
static bool
take_blocks(Scheduler *scheduler, Sequence *draft, uint32_t end)
{
	KvPool *pool = draft->slot->pool;
	uint32_t block;

	while (draft->n_blocks < kv_blocks_for(end))
	{
		if (!take_block(scheduler, pool, &block))
			return false;
		draft->blocks[draft->n_blocks++] = block;
	}
	while (sequence_wants_state(draft))
	{
		if (!take_block(scheduler, kv_pool_states(pool), &block))
			return false;
		sequence_take_state(draft, block);
	}
	return true;
}

/* What a draft says comes next of an answer. Where it has fewer logits than the model, the others are no numbers. */
static void
take_guess(void *argument, uint32_t s, uint32_t i, float *logits)
{
	Scheduler *scheduler = argument;
	Sequence *sequence = scheduler->guessing[s];
	uint32_t n = sequence->slot->model->hyper.vocab, n_known = sequence->slot->draft->model->hyper.vocab;
	int32_t token;

	(void) i;
	if (n_known < n)
	{
		float *row = sequence->slot->draft_logits + (size_t) s * n;

		memcpy(row, logits, n_known * sizeof *row);
		for (uint32_t t = n_known; t < n; t++)
			row[t] = NAN;
		logits = row;
	}
	token = request_guess_token(sequence, logits, scheduler->guess_round);
	/* what is no number is no guess: any token may stand there */
	sequence->tokens[sequence->n_tokens + scheduler->guess_round] = token < 0 ? 0 : token;
}

/* Rows of a draft for its model's step. */
static StepSequence
part_of(Sequence *draft, uint32_t first, uint32_t n, bool is_tentative)
{
	return (StepSequence){
		.tokens = draft->tokens + first,
		.n_tokens = n,
		.first_position = first,
		.kv_blocks = draft->blocks,
		.n_logits = 1,
		.state = sequence_begin_rows(draft),
		.is_tentative = is_tentative,
	};
}

/* The texts as they are by now through the draft model, as many rows as a step takes; with the first guess behind those
 * that are there. Only these stay among those that are guessed for. */
static void
read_texts(Scheduler *scheduler, Slot *slot)
{
	uint32_t n = scheduler->n_guessing, left = scheduler->settings.prefill_chunk;
	uint32_t rows[DRAFT_ROWS], n_parts = 0, n_there = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		Sequence *sequence = scheduler->guessing[i], *draft = sequence->draft;
		uint32_t wanted = sequence_rows_left(draft);

		if (left == 0 || !take_blocks(scheduler, draft, draft->n_done + (wanted < left ? wanted : left)))
			continue;
		rows[n_parts] = wanted < left ? wanted : left;
		scheduler->guess_parts[n_parts] = part_of(draft, draft->n_done, rows[n_parts], false);
		scheduler->guess_parts[n_parts].n_logits = rows[n_parts] == wanted;
		left -= rows[n_parts];
		scheduler->guessing[n_parts++] = sequence;
	}
	scheduler->guess_round = 0;
	if (n_parts > 0)
		scheduler_compute(scheduler, slot->draft, scheduler->guess_parts, n_parts);
	for (uint32_t i = 0; i < n_parts; i++)
	{
		Sequence *sequence = scheduler->guessing[i];

		sequence_end_rows(sequence->draft, rows[i]);
		sequence_share_blocks(sequence->draft);
		if (scheduler->guess_parts[i].n_logits > 0)
			scheduler->guessing[n_there++] = sequence;
	}
	scheduler->n_guessing = n_there;
}

/* One more guess behind n guesses of each. A state takes none of them for good, so all of them go through it again. */
static void
guess_behind(Scheduler *scheduler, Slot *slot, uint32_t n)
{
	bool is_hybrid = kv_pool_states(slot->draft->pool) != NULL;

	scheduler->guess_round = n;
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		Sequence *draft = scheduler->guessing[i]->draft;

		request_begin_guess(scheduler->guessing[i], n);
		scheduler->guess_parts[i] = part_of(draft, draft->n_done + (is_hybrid ? 0 : n - 1), is_hybrid ? n : 1, true);
		scheduler->guessing[i]->n_ahead = n;
	}
	scheduler_compute(scheduler, slot->draft, scheduler->guess_parts, scheduler->n_guessing);
}

/* Keep those that have blocks for their guesses. */
static void
take_blocks_for_guesses(Scheduler *scheduler, uint32_t n)
{
	uint32_t n_kept = 0;

	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		Sequence *draft = scheduler->guessing[i]->draft;

		if (take_blocks(scheduler, draft, draft->n_done + n))
			scheduler->guessing[n_kept++] = scheduler->guessing[i];
	}
	scheduler->n_guessing = n_kept;
}

void
draft_ask(Scheduler *scheduler, Slot *slot, uint32_t n)
{
	forward_set_logits_work(slot->draft->forward, take_guess, scheduler);
	for (uint32_t i = 0; i < scheduler->n_guessing; i++)
	{
		scheduler->guessing[i]->n_ahead = 0;
		request_begin_guess(scheduler->guessing[i], 0);
	}
	read_texts(scheduler, slot);
	if (n > 1)
		take_blocks_for_guesses(scheduler, n - 1);
	for (uint32_t i = 1; i < n && scheduler->n_guessing > 0; i++)
		guess_behind(scheduler, slot, i);
}
