/*
 * scheduler_batch.c - which rows go into the next step.
 *
 * Whoever needs a block takes it from cached ones first, then from drafts, then from the most junior request, then from
 * states that are kept on its own way; so the most senior one always gets on, and everybody is that one day.
 */
#include "scheduler_private.h"

#include <math.h>

#include "../base/clock.h"
#include "prompt.h"

#define RETURN_US ((uint64_t) 500 * 1000) /* a role that had its answer comes again within so long, or is gone */
#define SOON_US ((uint64_t) 30 * 1000)    /* or in so short a time: an application that asks again and again */
#define RETURN_TIMES 3.0                  /* until then a step takes at most so many times as long as one of few rows */
#define DEEP_TIMES                                                                                                     \
	4 /* prompt rows of a step take so many times as long as a whole chunk at a text's beginning at most */
#define DEEP_ROWS 16         /* … but there are as many rows as share what they read */
#define ANSWERS_THAT_WAIT 16 /* from so many on a step of theirs is bound by what it computes, not by what it reads */

/* The most junior request that holds blocks, or the given one. */
static EngineRequest *
choose_victim(const Scheduler *scheduler, EngineRequest *request)
{
	uint32_t i = scheduler->n_running - 1;

	while (scheduler->running[i] != request && !request_has_blocks(scheduler->running[i]))
		i--;
	return scheduler->running[i];
}

/* There is no room for a sequence's next position, and there is nobody to take some from: the system has no memory
 * although the budget has room, or the budget became smaller since the request was accepted. */
static Status
no_room_for_blocks(const Sequence *sequence, const KvPool *pool)
{
	if (kv_pool_was_refused(pool))
		return status_error(STATUS_UNAVAILABLE,
							"the system has no memory for the keys and values of position %u: a smaller "
							"qwen.kv_cache_size, or more memory",
							sequence->n_blocks * KV_BLOCK_POSITIONS + 1);
	return status_error(STATUS_TOO_LONG,
						REQUEST_NO_CACHE " %u tokens, but the KV cache holds %u since another model was loaded",
						sequence_positions(sequence), kv_pool_max_blocks(sequence->slot->pool) * KV_BLOCK_POSITIONS);
}

/* Would all blocks together be enough for the positions before end of a sequence and what its request holds for others?
 */
static bool
fits_at_all(const Sequence *sequence, uint32_t end)
{
	const EngineRequest *request = sequence->request;
	const KvPool *pool = sequence->slot->pool, *states = kv_pool_states(pool);
	uint64_t bytes = sequence_bytes_for(sequence, end), all = kv_pool_max_blocks(pool) * kv_pool_block_bytes(pool);

	for (uint32_t i = 0; i < request->n_sequences; i++)
		if (&request->sequences[i] != sequence)
			bytes += sequence_bytes_held(&request->sequences[i]);
	return bytes <= all + (states ? kv_pool_block_bytes(states) : 0);
}

/* Blocks for all positions before end of a sequence, and its states. false: its request had to make room itself, or got
 * none and has ended; it is not running any more. */
static bool
take_blocks(Scheduler *scheduler, Sequence *sequence, uint32_t end)
{
	EngineRequest *request = sequence->request;
	bool is_state;

	while ((is_state = sequence_wants_state(sequence)) || sequence->n_blocks < kv_blocks_for(end))
	{
		KvPool *pool = is_state ? kv_pool_states(sequence->slot->pool) : sequence->slot->pool;
		EngineRequest *victim;
		uint32_t block;

		if (kv_pool_take(pool, 1, &block))
		{
			if (is_state)
				sequence_take_state(sequence, block);
			else
				sequence->blocks[sequence->n_blocks++] = block;
			continue;
		}
		if (slots_evict_block(scheduler->slots))
		{
			atomic_fetch_add(&scheduler->page->n_evicted_blocks, 1);
			continue;
		}
		if (draft_give_up(scheduler))
			continue;
		victim = choose_victim(scheduler, request);
		/* states on its own way, which it would find again and hold as long as it runs */
		if (victim == request && sequence_give_up_snapshot(sequence))
			continue;
		/* it would wait for its own blocks for ever */
		if (victim == request && (kv_pool_was_refused(pool) || !fits_at_all(sequence, end)))
		{
			Status status = no_room_for_blocks(sequence, pool);

			running_end(scheduler, request, &status);
			return false;
		}
		running_preempt(scheduler, victim);
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
		if (request->sequences[i].slot == slot && sequence_rows_left(&request->sequences[i]) > 0)
			return true;
	return false;
}

Slot *
batch_choose_slot(Scheduler *scheduler)
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
		.adapter = sequence->adapter,
		.adapter_scale = sequence->scope.scale,
		.state = sequence_begin_rows(sequence),
		.is_tentative = sequence->n_drafted > 0,
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

	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
	{
		Sequence *sequence = walk.sequence;

		if (!sequence_is_prefilling(sequence))
			continue;
		/* others may have computed something for it since it was admitted */
		sequence_use_cached(sequence);
		scheduler_count_prompt(scheduler, sequence, true);
		sequence->n_slice = 0;
		if (!waits_for_twin(scheduler, sequence, n))
			scheduler->prefilling[n++] = sequence;
	}
	return n;
}

/* Of n more rows of the step, those that a sequence would take. */
static uint32_t
could_take(const Sequence *sequence, uint32_t n, uint32_t left_logprobs)
{
	uint32_t wanted = sequence_rows_until_cut(sequence) - sequence->n_slice;

	n = n < wanted ? n : wanted;
	return sequence->request->kind->every_row && n > left_logprobs ? left_logprobs : n;
}

/* Give a sequence up to n more rows of the step; returns what it takes. */
static uint32_t
give_rows(Sequence *sequence, uint32_t n, uint32_t *left_logprobs)
{
	n = could_take(sequence, n, *left_logprobs);
	if (sequence->request->kind->every_row)
		*left_logprobs -= n;
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

/* What is left of half a step's chunk: rows, and time, counted in rows at a text's beginning. */
typedef struct Chunk
{
	uint32_t rows;
	double time;
	double keys_us; /* of the whole step: what keys may take as far as that was measured */
	bool is_first;  /* nothing of the step is given yet */
	uint32_t left_logprobs;
} Chunk;

/* The whole of a step whose requests are all of one role: less while another is expected back, which would have to wait
 * for a step that has begun. */
static Chunk
chunk_of(const Scheduler *scheduler, const Slot *slot)
{
	Chunk chunk = {scheduler->settings.prefill_chunk, 0, INFINITY, true, LOGPROB_ROWS};
	uint32_t shorter = step_cost_rows(&slot->cost, 1, RETURN_TIMES);

	if (!fair_queue_others_lately(scheduler->waiting, scheduler->running[0], RETURN_US))
		return chunk;
	chunk.rows = shorter < chunk.rows ? shorter : chunk.rows;
	chunk.keys_us = RETURN_TIMES * step_cost_us(&slot->cost, 1, 0);
	return chunk;
}

/*
 * Rows of a chunk for a prompt. Far behind in a long text a row takes many times as long as at its beginning, so there
 * are fewer of them, and a step ends in bounded time: whoever cancels, comes or writes an answer waits for it. Returns
 * what it takes.
 */
static uint32_t
give_of_chunk(const Slot *slot, Sequence *sequence, Chunk *chunk)
{
	double row_time = 1, row_us = step_cost_keys_us(&slot->cost, sequence_keys(sequence, 1)), rows;
	uint32_t given;

	if (slot->even_positions > 0)
		row_time += (double) (sequence->n_done + sequence->n_slice) / slot->even_positions;
	rows = chunk->time > 0 ? chunk->time / row_time : 0;
	if (rows < DEEP_ROWS && chunk->is_first)
		rows = DEEP_ROWS;
	/* where somebody is expected who would wait, not even these, but one */
	if (rows * row_us > chunk->keys_us)
		rows = chunk->keys_us > row_us ? chunk->keys_us / row_us : chunk->is_first;
	given = give_rows(sequence, rows < chunk->rows ? (uint32_t) rows : chunk->rows, &chunk->left_logprobs);
	chunk->rows -= given;
	chunk->time -= given * row_time;
	chunk->keys_us -= given * row_us;
	chunk->is_first &= given == 0;
	return given;
}

/*
 * Share the chunk among the prompts of one role. Half of it goes to the most senior, so that every prompt gets on; the
 * other half to the shortest, so that short ones do not wait behind long ones. Returns the rows.
 */
static uint32_t
share_chunk(Scheduler *scheduler, const Slot *slot)
{
	uint32_t n = collect_prefilling(scheduler, slot), given = 0;
	Chunk chunk = chunk_of(scheduler, slot);
	uint32_t rows = chunk.rows;

	chunk.rows = rows / 2;
	chunk.time = DEEP_TIMES / 2.0 * rows;
	for (uint32_t i = 0; i < n; i++)
		given += give_of_chunk(slot, scheduler->prefilling[i], &chunk);
	sort_by_length(scheduler->prefilling, n);
	chunk.rows = rows - given;
	chunk.time = DEEP_TIMES / 2.0 * rows;
	for (uint32_t i = 0; i < n; i++)
		given += give_of_chunk(slot, scheduler->prefilling[i], &chunk);
	return given;
}

/* All of a model's sequences that want rows, n_prefilling prompts and answers: who has waited longest first, then the
 * more senior. Returns how many. */
static uint32_t
collect_in_turn(Scheduler *scheduler, const Slot *slot, uint32_t n_prefilling)
{
	uint32_t n = 0, n_prompts = 0;

	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
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
	uint32_t chunk = scheduler->settings.prefill_chunk, given = 0, left_logprobs = LOGPROB_ROWS, any = 0;
	uint32_t measure = shares_measure(scheduler->shares, n_roles, &slot->cost);

	shares_fill(scheduler->shares, n_roles, measure,
				step_cost_rows(&slot->cost, scheduler->shares[measure].wanted, HALF_AS_LONG_AGAIN));
	shares_fill_keys(scheduler->shares, n_roles, measure, &slot->cost);
	for (uint32_t i = 0; i < 2 * n; i++)
	{
		Sequence *sequence = scheduler->in_turn[i % n];
		RoleShare *share = shares_find(scheduler->shares, sequence->request);
		bool is_prompt = sequence_is_prefilling(sequence);
		uint32_t rows = i < n && is_prompt ? (share->left + 1) / 2 : share->left;

		if (is_prompt)
			rows = rows < chunk - given ? rows : chunk - given;
		rows = could_take(sequence, rows, left_logprobs);
		rows = share_take(share, &slot->cost, sequence_keys(sequence, 1), rows);
		(void) give_rows(sequence, rows, &left_logprobs);
		given += is_prompt ? rows : 0;
		any += rows;
	}
	/* all wait until their keys are paid for, but nobody waits for them here */
	if (any == 0 && n > 0)
		given += give_rows(scheduler->in_turn[0], 1, &left_logprobs);
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

	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
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
	for (RunningWalk walk = {0}; n_decoding >= ANSWERS_THAT_WAIT && running_next(scheduler, slot, &walk);)
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
	if (sequence->slot != slot || sequence_rows_left(sequence) == 0)
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

	for (RunningWalk walk = {0}; running_next(scheduler, slot, &walk);)
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

/* Put the rows of a request into the step, with guesses behind an answer's. Returns how many. */
static uint32_t
add_request(Scheduler *scheduler, EngineRequest *request, const Slot *slot)
{
	uint32_t rows = 0;

	for (uint32_t i = 0; i < request->n_sequences; i++)
	{
		Sequence *sequence = &request->sequences[i];
		uint32_t n = rows_of(sequence, slot, slot->turn);

		if (n == 0)
			continue;
		n += sequence->n_drafted;
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

	for (uint32_t i = 0; i < scheduler->n_running; i++)
		shares_find(scheduler->shares, scheduler->running[i])->keys_left_us =
			fair_queue_keys_left(scheduler->running[i]);

	scheduler->expects_other = n == 1 && fair_queue_others_lately(scheduler->waiting, scheduler->running[0], SOON_US);
	if (scheduler->expects_other)
		scheduler->shares[n++] = (RoleShare){.priority = scheduler->shares[0].priority, .wanted = 1};
	return n;
}

uint32_t
batch_build(Scheduler *scheduler, Slot *slot)
{
	uint32_t n_roles = collect_roles(scheduler);
	bool answers_follow = slot->turn == TURN_PROMPTS && n_roles == 1 && count_decoding(scheduler, slot) > 0;
	uint32_t rows = 0, n_guesses = 0;
	uint32_t n_prompt_rows =
		n_roles > 1 ? share_among_roles(scheduler, slot, n_roles) : share_in_role(scheduler, slot, answers_follow);
	/* counted now: a prompt whose last block was cached may just have come to its last row */
	uint32_t n_decoding = count_decoding(scheduler, slot);

	slot->turn = answers_follow                                                                       ? TURN_ANSWERS
				 : n_prompt_rows > 0 && n_roles == 1 && prompts_go_first(scheduler, slot, n_decoding) ? TURN_PROMPTS
																									  : TURN_BOTH;
	/* beside prompts, or many answers, a step computes more than it reads: then guesses are not free; and a state
	 * cannot give back those that were wrong */
	if (n_prompt_rows == 0 && n_decoding > 0 && n_decoding <= DRAFT_ROWS / 2 &&
		scheduler->settings.speculation != SPECULATION_OFF)
		n_guesses = (DRAFT_ROWS - n_decoding) / n_decoding;
	scheduler->n_batch = 0;
	/* who loses its blocks here is more junior than all that have theirs already, or this request itself */
	for (uint32_t i = 0; i < scheduler->n_running;)
		i += take_all_blocks(scheduler, scheduler->running[i], slot);
	if (n_guesses > 0)
		guesses_make(scheduler, slot, n_decoding, n_guesses);
	for (uint32_t i = 0; i < scheduler->n_running; i++)
		rows += add_request(scheduler, scheduler->running[i], slot);
	return rows;
}
