/*
 * sequence.c - see sequence.h.
 */
#include "sequence.h"

#include <stdlib.h>
#include <string.h>

#include "slots.h"

void
sequence_take_prompt(Sequence *sequence, TokenBuffer *tokens)
{
	sequence->tokens = tokens->tokens;
	sequence->n_prompt = sequence->n_tokens = (uint32_t) tokens->n;
	*tokens = (TokenBuffer){0};
}

bool
sequence_make_room(Sequence *sequence, uint32_t n_behind)
{
	size_t n = (size_t) sequence->n_prompt + n_behind;
	int32_t *tokens = realloc(sequence->tokens, n * sizeof *tokens);

	if (!tokens)
		return false;
	sequence->tokens = tokens;
	sequence->n_behind = n_behind;
	sequence->blocks = malloc(kv_blocks_for((uint32_t) n) * sizeof *sequence->blocks);
	return sequence->blocks != NULL;
}

void
sequence_free(Sequence *sequence)
{
	free(sequence->tokens);
	free(sequence->blocks);
}

uint32_t
sequence_positions(const Sequence *sequence)
{
	return sequence->n_prompt + sequence->n_behind;
}

uint32_t
sequence_rows_left(const Sequence *sequence)
{
	return sequence->n_tokens - sequence->n_done;
}

bool
sequence_is_prefilling(const Sequence *sequence)
{
	return sequence->n_generated == 0 || sequence_rows_left(sequence) > 1;
}

/* The pool of a hybrid's states, or NULL. */
static KvPool *
states_of(const Sequence *sequence)
{
	return kv_pool_states(sequence->slot->pool);
}

/* Does it go back to the end of its prompt again and again? Then the state there has to be kept. */
static bool
goes_back(const Sequence *sequence)
{
	return sequence->is_rewritten && sequence->n_behind > 0;
}

/* Bytes of the states that it has at most, and of those that it holds. */
static uint64_t
state_bytes(const Sequence *sequence)
{
	const KvPool *states = states_of(sequence);

	return states ? kv_pool_block_bytes(states) * (goes_back(sequence) ? 2 : 1) : 0;
}

static uint64_t
state_bytes_held(const Sequence *sequence)
{
	const KvPool *states = states_of(sequence);

	return states ? kv_pool_block_bytes(states) * ((uint64_t) sequence->has_state + sequence->has_kept) : 0;
}

static void
copy_state(const Sequence *sequence, uint32_t from, uint32_t to)
{
	const KvPool *states = states_of(sequence);

	memcpy(kv_pool_state(states, to), kv_pool_state(states, from), kv_pool_block_bytes(states));
}

uint32_t
sequence_rows_until_cut(const Sequence *sequence)
{
	uint32_t left = sequence_rows_left(sequence);

	if (states_of(sequence) && goes_back(sequence) && sequence->n_done < sequence->n_prompt &&
		left > sequence->n_prompt - sequence->n_done)
		left = sequence->n_prompt - sequence->n_done;
	return left;
}

void
sequence_go_back(Sequence *sequence, uint32_t n)
{
	sequence->n_done = sequence->n_done < n ? sequence->n_done : n;
}

bool
sequence_wants_state(const Sequence *sequence)
{
	if (!states_of(sequence))
		return false;
	return !sequence->has_state || (goes_back(sequence) && !sequence->has_kept &&
									sequence->n_done == sequence->n_prompt && sequence_rows_left(sequence) > 0);
}

void
sequence_take_state(Sequence *sequence, uint32_t state)
{
	if (!sequence->has_state)
	{
		sequence->state = state;
		sequence->has_state = true;
		sequence->state_at = 0;
		return;
	}
	sequence->kept = state;
	sequence->has_kept = true;
	copy_state(sequence, sequence->state, state);
}

float *
sequence_begin_rows(Sequence *sequence)
{
	if (!states_of(sequence))
		return NULL;
	if (sequence->state_at > sequence->n_done && sequence->has_kept && sequence->n_done == sequence->n_prompt)
	{
		copy_state(sequence, sequence->kept, sequence->state);
		sequence->state_at = sequence->n_done;
	}
	return kv_pool_state(states_of(sequence), sequence->state);
}

void
sequence_end_rows(Sequence *sequence, uint32_t n)
{
	sequence->n_done += n;
	sequence->state_at = sequence->n_done;
}

/* Who may see block number index. */
static PrefixScope
scope_of(const Sequence *sequence, uint32_t index)
{
	PrefixScope scope = sequence->scope;

	if ((index + 1) * KV_BLOCK_POSITIONS <= sequence->n_shared_tokens)
		scope.role = PREFIX_SCOPE_SHARED;
	return scope;
}

/* The block before number index, as the cache knows it. */
static uint32_t
parent_of(const Sequence *sequence, uint32_t index)
{
	return index == 0 ? PREFIX_NONE : sequence->blocks[index - 1];
}

/* Positions whose blocks can be shared: those that are never written again. */
static uint32_t
n_lasting(const Sequence *sequence)
{
	return sequence->is_rewritten && sequence->n_tokens > sequence->n_prompt ? sequence->n_prompt : sequence->n_tokens;
}

void
sequence_use_cached(Sequence *sequence)
{
	uint32_t end = n_lasting(sequence);

	if (end == sequence->n_tokens)
		end--;
	while (sequence->uses_cache && sequence->n_done == sequence->n_blocks * KV_BLOCK_POSITIONS &&
		   sequence->n_done + KV_BLOCK_POSITIONS <= end)
	{
		uint32_t block = prefix_cache_find(sequence->slot->cache, parent_of(sequence, sequence->n_blocks),
										   scope_of(sequence, sequence->n_blocks), sequence->tokens + sequence->n_done);

		if (block == PREFIX_NONE)
			return;
		sequence->blocks[sequence->n_blocks++] = block;
		sequence->n_cached_blocks++;
		sequence->n_done += KV_BLOCK_POSITIONS;
	}
}

void
sequence_share_blocks(Sequence *sequence)
{
	uint32_t end = n_lasting(sequence);

	if (end > sequence->n_done)
		end = sequence->n_done;
	while (sequence->uses_cache && (sequence->n_cached_blocks + 1) * KV_BLOCK_POSITIONS <= end)
	{
		uint32_t i = sequence->n_cached_blocks++;

		sequence->blocks[i] = prefix_cache_add(sequence->slot->cache, parent_of(sequence, i), scope_of(sequence, i),
											   sequence->tokens + (size_t) i * KV_BLOCK_POSITIONS, sequence->blocks[i]);
	}
}

bool
sequence_waits_for(const Sequence *sequence, const Sequence *other)
{
	uint32_t index = sequence->n_done / KV_BLOCK_POSITIONS;
	size_t first = (size_t) index * KV_BLOCK_POSITIONS;

	/* at the beginning of a whole block of both … */
	if (!sequence->uses_cache || !other->uses_cache || sequence->slot != other->slot ||
		sequence->n_done % KV_BLOCK_POSITIONS != 0 || other->n_done / KV_BLOCK_POSITIONS != index ||
		first + KV_BLOCK_POSITIONS >= sequence->n_tokens || first + KV_BLOCK_POSITIONS > n_lasting(sequence) ||
		first + KV_BLOCK_POSITIONS > n_lasting(other))
		return false;
	/* … that is the same and comes after the same */
	return prefix_scopes_are_equal(scope_of(sequence, index), scope_of(other, index)) &&
		   sequence->n_cached_blocks == index && other->n_cached_blocks == index &&
		   parent_of(sequence, index) == parent_of(other, index) &&
		   memcmp(sequence->tokens + first, other->tokens + first, KV_BLOCK_POSITIONS * sizeof *sequence->tokens) == 0;
}

void
sequence_give_blocks(Sequence *sequence)
{
	kv_pool_give(sequence->slot->pool, sequence->n_blocks - sequence->n_cached_blocks,
				 sequence->blocks + sequence->n_cached_blocks);
	prefix_cache_release(sequence->slot->cache, sequence->n_cached_blocks, sequence->blocks);
	if (sequence->has_state)
		kv_pool_give(states_of(sequence), 1, &sequence->state);
	if (sequence->has_kept)
		kv_pool_give(states_of(sequence), 1, &sequence->kept);
	sequence->has_state = sequence->has_kept = false;
	sequence->n_blocks = sequence->n_cached_blocks = 0;
	sequence->n_done = 0;
}

uint64_t
sequence_bytes_wanted(const Sequence *sequence)
{
	uint32_t positions = sequence->n_tokens + KV_BLOCK_POSITIONS, n;
	uint64_t states = state_bytes(sequence) - state_bytes_held(sequence);

	n = kv_blocks_for(positions < sequence_positions(sequence) ? positions : sequence_positions(sequence));
	n = n > sequence->n_blocks ? n - sequence->n_blocks : 0;
	return states + n * kv_pool_block_bytes(sequence->slot->pool);
}

uint64_t
sequence_bytes_held(const Sequence *sequence)
{
	return state_bytes_held(sequence) + sequence->n_blocks * kv_pool_block_bytes(sequence->slot->pool);
}

uint64_t
sequence_bytes_for(const Sequence *sequence, uint32_t n)
{
	return state_bytes(sequence) + kv_blocks_for(n) * kv_pool_block_bytes(sequence->slot->pool);
}

uint64_t
sequence_bytes(const Sequence *sequence)
{
	return sequence_bytes_for(sequence, sequence_positions(sequence));
}

uint64_t
sequence_bytes_freed(const Sequence *sequence)
{
	uint32_t n = sequence->n_blocks - sequence->n_cached_blocks;

	n += prefix_cache_n_own(sequence->slot->cache, sequence->n_cached_blocks, sequence->blocks);
	return n * kv_pool_block_bytes(sequence->slot->pool) + state_bytes_held(sequence) + sequence_bytes_wanted(sequence);
}

uint32_t
sequence_guess(Sequence *sequence, uint32_t n)
{
	uint32_t in_answer = sequence_positions(sequence) - sequence->n_tokens - 1;
	uint32_t in_blocks, wanted;

	if (n == 0)
		return 0;
	wanted = drafts_wanted(&sequence->drafts);
	n = n < wanted ? n : wanted;
	n = n < in_answer ? n : in_answer;
	if (sequence->n_blocks < kv_blocks_for(sequence->n_tokens + n) &&
		kv_pool_take(sequence->slot->pool, 1, &sequence->blocks[sequence->n_blocks]))
		sequence->n_blocks++;
	in_blocks = sequence->n_blocks * KV_BLOCK_POSITIONS - sequence->n_tokens;
	n = n < in_blocks ? n : in_blocks;
	return n > 0 ? drafts_find(sequence->tokens, sequence->n_tokens, n, sequence->tokens + sequence->n_tokens) : 0;
}
