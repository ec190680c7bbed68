/*
 * prefix_cache.h - full KV blocks that can be used again, found by the tokens they were computed from.
 *
 * A block's keys and values depend on its own tokens and on all tokens before it. So a cached block is known by the
 * block before it (its parent), its own tokens, and its scope: in which it may be seen, and the adapter it was computed
 * with. A lookup walks from block to block, and a hit compares parent, scope and tokens, not just a hash of them.
 * Cached blocks are full and never written again. Whoever uses one holds a reference; blocks without references stay
 * until their memory is wanted, least recently used first. One cache a KvPool; used by the event loop's thread only;
 * after creation nothing is allocated.
 */
#ifndef QWEN_PREFIX_CACHE_H
#define QWEN_PREFIX_CACHE_H

#include "kv_cache.h"

typedef struct PrefixCache PrefixCache;

#define PREFIX_NONE UINT32_MAX /* no block: not found; as a parent: the beginning of a text */
#define PREFIX_SCOPE_SHARED 0  /* the role of what everybody may share */

/* Who may see a block, and with what it was computed beside the model. */
typedef struct PrefixScope
{
	uint32_t role;    /* or PREFIX_SCOPE_SHARED */
	uint32_t adapter; /* the number that an adapter has got when it was opened, and no other one; 0: none */
	float scale;      /* of what it adds; 0 without one */
} PrefixScope;

static inline bool
prefix_scopes_are_equal(PrefixScope a, PrefixScope b)
{
	return a.role == b.role && a.adapter == b.adapter && a.scale == b.scale;
}

extern Status prefix_cache_create(KvPool *pool, PrefixCache **cache);

/* Frees the cache, not the blocks: the pool goes next. */
extern void prefix_cache_destroy(PrefixCache *cache);

/*
 * The block that continues parent (PREFIX_NONE: the beginning) with tokens [KV_BLOCK_POSITIONS] in a scope, with a
 * reference for the caller, who holds one of the parent too. PREFIX_NONE: there is none.
 */
extern uint32_t prefix_cache_find(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens);

/*
 * Make a full block of the caller's, computed from tokens after parent, one of the cache's. The caller gets a
 * reference of the block that is returned: his own or, when an equal one was there already, that one; then his own
 * goes back to the pool.
 */
extern uint32_t prefix_cache_add(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens,
								 uint32_t block);

/*
 * A hybrid's cached block is of use with the state behind its last token: keep one (of kv_pool_states) with a block
 * that the caller holds. moves: it is for one who goes on from there, and taken away by the first who does; else it is
 * for many, and copied. false: there was one already, which is for many from now on unless moves; the given one stays
 * the caller's.
 */
extern bool prefix_cache_keep_state(PrefixCache *cache, uint32_t block, uint32_t state, bool moves);

/* The state that is kept with a block, or PREFIX_NONE; it stays as long as the caller holds the block, unless it moves.
 */
extern uint32_t prefix_cache_state(const PrefixCache *cache, uint32_t block);

/* The same for who copies it now: it is counted. */
extern uint32_t prefix_cache_use_state(PrefixCache *cache, uint32_t block);

/* Take the state of a block away, for its memory, if the caller's is the block's only reference; else PREFIX_NONE. */
extern uint32_t prefix_cache_give_up_state(PrefixCache *cache, uint32_t block);

/* Take the state of a block away if it moves; else PREFIX_NONE. */
extern uint32_t prefix_cache_move_state(PrefixCache *cache, uint32_t block);

/*
 * A tail: a block that is not full, of n tokens (1 … KV_BLOCK_POSITIONS - 1) behind parent, with the state behind them.
 * It is for one who goes on with just this text. Block and state are the cache's from now on; the caller still holds
 * the parent.
 */
extern void prefix_cache_add_tail(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens,
								  uint32_t n, uint32_t block, uint32_t state);

/* The tail of a parent with the most tokens, n of them, that tokens [n_most] begin with; PREFIX_NONE: there is none. */
extern uint32_t prefix_cache_find_tail(const PrefixCache *cache, uint32_t parent, PrefixScope scope,
									   const int32_t *tokens, uint32_t n_most, uint32_t *n);

/* Take a tail that was found just now: its block is the caller's then, and its state, which is returned. */
extern uint32_t prefix_cache_take_tail(PrefixCache *cache, uint32_t tail);

/* Give back the references of a chain of blocks: each one's parent stands before it. */
extern void prefix_cache_release(PrefixCache *cache, uint32_t n, const uint32_t *blocks);

/* How many of a chain of blocks nobody else holds a reference of. */
extern uint32_t prefix_cache_n_own(const PrefixCache *cache, uint32_t n, const uint32_t *blocks);

/* Give the memory of the least recently used block without references back to the pool. false: there is none. */
extern bool prefix_cache_evict(PrefixCache *cache);

/* When (clock_now_us) the block that would be evicted next was used last; UINT64_MAX: there is none. */
extern uint64_t prefix_cache_oldest_us(const PrefixCache *cache);

extern uint32_t prefix_cache_n_blocks(const PrefixCache *cache);      /* all cached blocks */
extern uint32_t prefix_cache_n_idle(const PrefixCache *cache);        /* those without references */
extern uint32_t prefix_cache_n_states(const PrefixCache *cache);      /* states that are kept */
extern uint32_t prefix_cache_n_idle_states(const PrefixCache *cache); /* … with blocks without references */

/* What became of states since the cache was made. */
typedef struct StateCounts
{
	uint64_t kept;          /* with a block, or with a tail */
	uint64_t copied, moved; /* found by who goes on from there */
	uint64_t evicted;
} StateCounts;

extern StateCounts prefix_cache_state_counts(const PrefixCache *cache);

/* What was counted as kept or found from one time to another does not count. */
extern void prefix_cache_uncount(PrefixCache *cache, StateCounts from, StateCounts to);

#endif
