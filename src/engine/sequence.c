/*
 * sequence.c - see sequence.h.
 */
#include "sequence.h"

#include <stdlib.h>
#include <string.h>

#include "slots.h"

#define LEAST_GAIN 128   /* positions that keeping one more state must save */
#define LONG_PROMPT 8192 /* in longer ones a state is kept … */
#define LONG_STEP 4096   /* … every so many positions */

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

uint64_t
sequence_keys(const Sequence *sequence, uint32_t n)
{
	return (uint64_t) n * (sequence->n_done + sequence->n_slice) + (uint64_t) n * (n + 1) / 2;
}

bool
sequence_is_prefilling(const Sequence *sequence)
{
	return sequence->n_generated == 0 || sequence_rows_left(sequence) > 1;
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

void
sequence_forget_leaf(Sequence *sequence)
{
	sequence->goes_on = false;
	sequence->leaf_at = 0;
}

/* Positions n behind which the state is kept, as far as its text alone says. */
static bool
is_snapshot_at(const Sequence *sequence, uint32_t n)
{
	return sequence->uses_cache && n > 0 && n % KV_BLOCK_POSITIONS == 0 && n <= n_lasting(sequence) &&
		   (n == sequence->fork_at || n == sequence->leaf_at ||
			(sequence->n_prompt > LONG_PROMPT && n <= sequence->n_prompt && n % LONG_STEP == 0));
}

/* The next position at which a step has to end. */
static uint32_t
next_cut(const Sequence *sequence)
{
	uint32_t cut = UINT32_MAX, steps = (sequence->n_done / LONG_STEP + 1) * LONG_STEP;
	const uint32_t places[] = {sequence->fork_at, sequence->leaf_at, steps};

	if (goes_back(sequence) && sequence->n_done < sequence->n_prompt)
		cut = sequence->n_prompt;
	for (uint32_t i = 0; i < 3; i++)
		if (places[i] > sequence->n_done && places[i] < cut && is_snapshot_at(sequence, places[i]))
			cut = places[i];
	return cut;
}

uint32_t
sequence_rows_until_cut(const Sequence *sequence)
{
	uint32_t left = sequence_rows_left(sequence), cut = states_of(sequence) ? next_cut(sequence) : UINT32_MAX;

	return left < cut - sequence->n_done ? left : cut - sequence->n_done;
}

/* Bring the state to where the next rows begin, by the one that is kept with the block before. */
static void
restore_state(Sequence *sequence)
{
	uint32_t kept;

	if (sequence->state_at == sequence->n_done || sequence->n_done == 0)
		return;
	kept = prefix_cache_use_state(sequence->slot->cache, sequence->blocks[sequence->n_blocks - 1]);
	if (kept == PREFIX_NONE)
		return;
	copy_state(sequence, kept, sequence->state);
	sequence->state_at = sequence->n_done;
}

bool
sequence_snapshot_is_due(const Sequence *sequence, bool *is_leaf)
{
	*is_leaf = sequence->n_done == sequence->leaf_at && sequence->n_done != sequence->fork_at;
	return states_of(sequence) && sequence->has_state && sequence->state_at == sequence->n_done &&
		   is_snapshot_at(sequence, sequence->n_done) &&
		   sequence->n_cached_blocks * KV_BLOCK_POSITIONS == sequence->n_done &&
		   prefix_cache_state(sequence->slot->cache, sequence->blocks[sequence->n_cached_blocks - 1]) == PREFIX_NONE;
}

void
sequence_keep_snapshot(Sequence *sequence, uint32_t state, bool is_leaf)
{
	uint32_t block = sequence->blocks[sequence->n_cached_blocks - 1];

	copy_state(sequence, sequence->state, state);
	if (!prefix_cache_keep_state(sequence->slot->cache, block, state, is_leaf))
		kv_pool_give(states_of(sequence), 1, &state);
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
		restore_state(sequence);
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
sequence_accept_rows(Sequence *sequence, uint32_t n)
{
	if (!states_of(sequence))
		return;
	forward_accept(kv_pool_state(states_of(sequence), sequence->state), n);
	sequence->state_at = sequence->n_done;
}

void
sequence_end_rows(Sequence *sequence, uint32_t n)
{
	sequence->n_done += n;
	sequence->state_at = sequence->n_done;
}

/* Take cached blocks for what comes next, as far as there are any before end. */
static void
take_cached_blocks(Sequence *sequence, uint32_t end)
{
	while (sequence->n_done == sequence->n_blocks * KV_BLOCK_POSITIONS && sequence->n_done + KV_BLOCK_POSITIONS <= end)
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

/* The tail behind the first n_blocks blocks that goes on before end with the sequence's tokens, and how many of them.
 */
static uint32_t
find_tail(const Sequence *sequence, uint32_t n_blocks, uint32_t end, uint32_t *n)
{
	uint32_t at = n_blocks * KV_BLOCK_POSITIONS;

	return prefix_cache_find_tail(sequence->slot->cache, parent_of(sequence, n_blocks), scope_of(sequence, n_blocks),
								  sequence->tokens + at, end - at, n);
}

/* Blocks behind the first n are of no use to it. */
static void
give_back_cached(Sequence *sequence, uint32_t n)
{
	prefix_cache_release(sequence->slot->cache, sequence->n_cached_blocks - n, sequence->blocks + n);
	sequence->n_blocks = sequence->n_cached_blocks = n;
	sequence->n_done = n * KV_BLOCK_POSITIONS;
}

/* A state that is the sequence's own from now on, of where it is. */
static void
adopt_state(Sequence *sequence, uint32_t state)
{
	if (sequence->has_state)
		kv_pool_give(states_of(sequence), 1, &sequence->state);
	sequence->state = state;
	sequence->has_state = true;
	sequence->state_at = sequence->n_done;
}

/*
 * A hybrid goes on from the deepest state that is kept on its way: with a block, or behind a tail. Where cached blocks
 * go on beyond it, others have come this way too, and will: the state at their end is worth keeping.
 */
static void
use_cached_state(Sequence *sequence, uint32_t end)
{
	PrefixCache *cache = sequence->slot->cache;
	uint32_t first = sequence->n_blocks, best = first, tail = PREFIX_NONE, n_tail = 0, reached, n, found;
	bool is_new = sequence->n_done == 0 && !sequence->has_state;

	if (sequence->n_done != first * KV_BLOCK_POSITIONS || sequence->n_cached_blocks != first)
		return;
	take_cached_blocks(sequence, end);
	reached = sequence->n_blocks;
	for (uint32_t i = first; i <= reached; i++)
	{
		if (i > first && prefix_cache_state(cache, sequence->blocks[i - 1]) != PREFIX_NONE)
		{
			best = i;
			tail = PREFIX_NONE;
		}
		found = find_tail(sequence, i, end, &n);
		if (found != PREFIX_NONE)
		{
			best = i;
			tail = found;
			n_tail = n;
		}
	}
	if (is_new && (reached - best) * KV_BLOCK_POSITIONS >= LEAST_GAIN)
		sequence->fork_at = reached * KV_BLOCK_POSITIONS;
	give_back_cached(sequence, best);
	if (tail != PREFIX_NONE)
	{
		uint32_t state = prefix_cache_take_tail(cache, tail);

		sequence->blocks[sequence->n_blocks++] = tail;
		sequence->n_done += n_tail;
		adopt_state(sequence, state);
	}
	else if (best > first)
	{
		uint32_t state = prefix_cache_move_state(cache, sequence->blocks[best - 1]);

		if (state != PREFIX_NONE)
			adopt_state(sequence, state);
		else if (sequence->has_state)
			restore_state(sequence);
	}
}

bool
sequence_give_up_snapshot(Sequence *sequence)
{
	for (uint32_t i = 0; i < sequence->n_cached_blocks; i++)
	{
		uint32_t state = prefix_cache_give_up_state(sequence->slot->cache, sequence->blocks[i]);

		if (state == PREFIX_NONE)
			continue;
		/* the one that it was about to copy */
		if (!sequence->has_state && (i + 1) * KV_BLOCK_POSITIONS == sequence->n_done)
			adopt_state(sequence, state);
		else
			kv_pool_give(states_of(sequence), 1, &state);
		return true;
	}
	return false;
}

void
sequence_use_cached(Sequence *sequence)
{
	uint32_t end = n_lasting(sequence);

	if (end == sequence->n_tokens)
		end--;
	if (!sequence->uses_cache)
		return;
	if (states_of(sequence))
		use_cached_state(sequence, end);
	else
		take_cached_blocks(sequence, end);
}

/*
 * What a sequence has come to, for whoever goes on from there: its state, and the block that is not full. Before its
 * cached blocks are given back.
 */
static void
keep_leaf(Sequence *sequence)
{
	PrefixCache *cache = sequence->slot->cache;
	uint32_t n = sequence->n_cached_blocks, n_tail = sequence->n_done - n * KV_BLOCK_POSITIONS;

	if (!sequence->keeps_leaf || !sequence->uses_cache || !sequence->has_state || sequence->n_done == 0 ||
		sequence->state_at != sequence->n_done || sequence->n_done > n_lasting(sequence) ||
		n_tail >= KV_BLOCK_POSITIONS)
		return;
	if (n_tail == 0)
		sequence->has_state = !prefix_cache_keep_state(cache, sequence->blocks[n - 1], sequence->state, true);
	else
	{
		prefix_cache_add_tail(cache, parent_of(sequence, n), scope_of(sequence, n),
							  sequence->tokens + (size_t) n * KV_BLOCK_POSITIONS, n_tail, sequence->blocks[n],
							  sequence->state);
		memmove(&sequence->blocks[n], &sequence->blocks[n + 1],
				(sequence->n_blocks - n - 1) * sizeof *sequence->blocks);
		sequence->n_blocks--;
		sequence->has_state = false;
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

/* A hybrid waits for the state that another one will keep where both part from others, and for nothing else. */
static bool
waits_for_state(const Sequence *sequence, const Sequence *other)
{
	uint32_t fork = sequence->fork_at;

	return sequence->uses_cache && other->uses_cache && sequence->slot == other->slot && fork > 0 &&
		   fork == other->fork_at && other->n_done < fork && sequence->n_done < fork &&
		   prefix_scopes_are_equal(scope_of(sequence, 0), scope_of(other, 0)) &&
		   prefix_scopes_are_equal(scope_of(sequence, fork / KV_BLOCK_POSITIONS - 1),
								   scope_of(other, fork / KV_BLOCK_POSITIONS - 1)) &&
		   memcmp(sequence->tokens, other->tokens, fork * sizeof *sequence->tokens) == 0;
}

bool
sequence_waits_for(const Sequence *sequence, const Sequence *other)
{
	uint32_t index = sequence->n_done / KV_BLOCK_POSITIONS;
	size_t first = (size_t) index * KV_BLOCK_POSITIONS;

	if (states_of(sequence))
		return waits_for_state(sequence, other);
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
	if (states_of(sequence))
		keep_leaf(sequence);
	kv_pool_give(sequence->slot->pool, sequence->n_blocks - sequence->n_cached_blocks,
				 sequence->blocks + sequence->n_cached_blocks);
	prefix_cache_release(sequence->slot->cache, sequence->n_cached_blocks, sequence->blocks);
	if (sequence->has_state)
		kv_pool_give(states_of(sequence), 1, &sequence->state);
	if (sequence->has_kept)
		kv_pool_give(states_of(sequence), 1, &sequence->kept);
	sequence->has_state = sequence->has_kept = sequence->keeps_leaf = false;
	sequence->fork_at = 0;
	sequence->n_blocks = sequence->n_cached_blocks = 0;
	sequence->n_done = 0;
	sequence_close_draft(sequence);
}

bool
sequence_open_draft(Sequence *sequence, Slot *slot)
{
	Sequence *draft = calloc(1, sizeof *draft);

	if (!draft)
		return false;
	*draft = (Sequence){
		.request = sequence->request,
		.slot = slot,
		.n_prompt = sequence->n_prompt,
		.n_behind = sequence->n_behind,
		.uses_cache = sequence->uses_cache,
		/* an adapter changes the model, not its draft */
		.scope = {.role = sequence->scope.role},
		.n_shared_tokens = sequence->n_shared_tokens,
		.goes_on = sequence->goes_on,
		.blocks = malloc(kv_blocks_for(sequence_positions(sequence)) * sizeof *draft->blocks),
	};
	if (!draft->blocks)
	{
		free(draft);
		return false;
	}
	slot->n_borrowers++;
	sequence->draft = draft;
	return true;
}

void
sequence_follow(Sequence *sequence)
{
	Sequence *draft = sequence->draft;

	draft->tokens = sequence->tokens;
	draft->n_tokens = sequence->n_tokens;
	sequence_use_cached(draft);
}

void
sequence_accept_guesses(Sequence *sequence, uint32_t n_right)
{
	Sequence *draft = sequence->draft;
	uint32_t n = n_right < sequence->n_ahead ? n_right : sequence->n_ahead;

	sequence->n_ahead = 0;
	if (!draft)
		return;
	draft->n_tokens = sequence->n_tokens;
	draft->n_done += n;
	sequence_accept_rows(draft, n);
	sequence_share_blocks(draft);
}

void
sequence_close_draft(Sequence *sequence)
{
	Sequence *draft = sequence->draft;

	if (!draft)
		return;
	sequence->draft = NULL;
	sequence->n_ahead = 0;
	draft->keeps_leaf = draft->goes_on;
	sequence_give_blocks(draft);
	draft->slot->n_borrowers--;
	free(draft->blocks);
	free(draft);
}

uint64_t
sequence_draft_bytes(const Sequence *sequence)
{
	const Sequence *draft = sequence->draft;
	uint32_t n;

	if (!draft)
		return 0;
	n = draft->n_blocks - draft->n_cached_blocks;
	n += prefix_cache_n_own(draft->slot->cache, draft->n_cached_blocks, draft->blocks);
	return n * kv_pool_block_bytes(draft->slot->pool) + state_bytes_held(draft);
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
sequence_room_for_guesses(Sequence *sequence, uint32_t n)
{
	uint32_t in_answer = sequence_positions(sequence) - sequence->n_tokens - 1, in_blocks;

	n = n < in_answer ? n : in_answer;
	if (sequence->n_blocks < kv_blocks_for(sequence->n_tokens + n) &&
		kv_pool_take(sequence->slot->pool, 1, &sequence->blocks[sequence->n_blocks]))
		sequence->n_blocks++;
	in_blocks = sequence->n_blocks * KV_BLOCK_POSITIONS - sequence->n_tokens;
	return n < in_blocks ? n : in_blocks;
}

uint32_t
sequence_guess(Sequence *sequence, uint32_t n, const int32_t *known, uint32_t n_known)
{
	uint32_t wanted;

	if (n == 0)
		return 0;
	wanted = n_known > 0 ? n_known : drafts_wanted(&sequence->drafts);
	n = sequence_room_for_guesses(sequence, n < wanted ? n : wanted);
	if (n_known > 0)
	{
		for (uint32_t i = 0; i < n; i++)
			sequence->tokens[sequence->n_tokens + i] = known[i];
		return n;
	}
	return n > 0 ? drafts_find(sequence->tokens, sequence->n_tokens, n, sequence->tokens + sequence->n_tokens) : 0;
}
