/*
 * prefix_cache.c - see prefix_cache.h.
 *
 * One entry a block of the pool, in arrays made at creation and indexed by the block's number. Entries of a bucket are
 * linked by next; those without references stand in a list from the least to the most recently used.
 *
 * Why the head of that list never has a cached child: who holds a reference of a block holds one of its parent, and
 * gives the child's back first. So a block enters the list after its children, and an entry's parent is there as long
 * as the entry is: its number says which one it is. A tail is put into the list by who holds its parent, and has no
 * children.
 */
#include "prefix_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../base/clock.h"

#define NO_ENTRY UINT32_MAX
#define TAIL_MARK 0x5441494Cull /* in a tail's hash, in the place of tokens */

typedef struct Entry
{
	uint64_t hash; /* over all tokens from the beginning to the block's end, and its scope */
	uint64_t used_us;
	uint32_t parent; /* a block, or PREFIX_NONE */
	PrefixScope scope;
	uint32_t n_references;
	uint32_t next;         /* in the bucket */
	uint32_t older, newer; /* in the list of blocks without references */
	uint32_t n_tokens;     /* fewer than a block's: a tail */
	uint32_t state;        /* of a hybrid, behind its last token; PREFIX_NONE: there is none */
	bool moves;            /* who finds the state takes it away */
	int32_t tokens[KV_BLOCK_POSITIONS];
} Entry;

struct PrefixCache
{
	KvPool *pool;
	Entry *entries;     /* [pool's blocks]; memory comes with the first use */
	uint32_t *buckets;  /* [n_buckets]: a block + 1, or 0 */
	uint32_t n_buckets; /* a power of two */
	uint64_t seed;
	uint32_t oldest, newest;
	uint32_t n_blocks, n_idle, n_states, n_idle_states;
	StateCounts counts;
};

Status
prefix_cache_create(KvPool *pool, PrefixCache **out)
{
	PrefixCache *cache = calloc(1, sizeof *cache);
	uint32_t n = kv_pool_max_blocks(pool);

	*out = NULL;
	if (!cache)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a prefix cache");
	cache->pool = pool;
	cache->oldest = cache->newest = NO_ENTRY;
	for (cache->n_buckets = 1; cache->n_buckets < n && cache->n_buckets < 1u << 31;)
		cache->n_buckets *= 2;
	/* so that nobody can choose texts that fall into one bucket; without it a hit is still certain */
	if (getrandom(&cache->seed, sizeof cache->seed, GRND_NONBLOCK) != sizeof cache->seed)
		cache->seed = clock_now_us();
	cache->entries = calloc(n, sizeof *cache->entries);
	cache->buckets = calloc(cache->n_buckets, sizeof *cache->buckets);
	if (!cache->entries || !cache->buckets)
	{
		prefix_cache_destroy(cache);
		return status_error(STATUS_UNAVAILABLE, "out of memory for a prefix cache of %u blocks", n);
	}
	*out = cache;
	return status_ok();
}

void
prefix_cache_destroy(PrefixCache *cache)
{
	if (!cache)
		return;
	free(cache->entries);
	free(cache->buckets);
	free(cache);
}

/* Stir a value into a hash (the finalizer of MurmurHash3). */
static uint64_t
mix(uint64_t hash, uint64_t value)
{
	hash ^= value + 0x9E3779B97F4A7C15ull;
	hash = (hash ^ hash >> 33) * 0xFF51AFD7ED558CCDull;
	hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53ull;
	return hash ^ hash >> 33;
}

static uint64_t
chain_hash(const PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens)
{
	uint64_t hash = mix(parent == PREFIX_NONE ? cache->seed : cache->entries[parent].hash, scope.role);
	uint32_t scale;

	memcpy(&scale, &scope.scale, sizeof scale);
	hash = mix(hash, (uint64_t) scope.adapter << 32 | scale);
	for (uint32_t i = 0; i < KV_BLOCK_POSITIONS; i += 2)
		hash = mix(hash, (uint64_t) (uint32_t) tokens[i] << 32 | (uint32_t) tokens[i + 1]);
	return hash;
}

/* The block of a bucket that is exactly this one, or PREFIX_NONE. */
static uint32_t
look_up(const PrefixCache *cache, uint64_t hash, uint32_t parent, PrefixScope scope, const int32_t *tokens)
{
	uint32_t at = cache->buckets[hash & (cache->n_buckets - 1)];

	while (at)
	{
		const Entry *entry = &cache->entries[at - 1];

		if (entry->hash == hash && entry->n_tokens == KV_BLOCK_POSITIONS && entry->parent == parent &&
			prefix_scopes_are_equal(entry->scope, scope) && memcmp(entry->tokens, tokens, sizeof entry->tokens) == 0)
			return at - 1;
		at = entry->next;
	}
	return PREFIX_NONE;
}

/* Out of the list of blocks without references. */
static void
unlink_idle(PrefixCache *cache, Entry *entry)
{
	if (entry->older == NO_ENTRY)
		cache->oldest = entry->newer;
	else
		cache->entries[entry->older].newer = entry->newer;
	if (entry->newer == NO_ENTRY)
		cache->newest = entry->older;
	else
		cache->entries[entry->newer].older = entry->older;
	cache->n_idle--;
	cache->n_idle_states -= entry->state != PREFIX_NONE;
}

/* Into it, as the most recently used. */
static void
link_idle(PrefixCache *cache, uint32_t block)
{
	Entry *entry = &cache->entries[block];

	entry->used_us = clock_now_us();
	entry->newer = NO_ENTRY;
	entry->older = cache->newest;
	if (cache->newest == NO_ENTRY)
		cache->oldest = block;
	else
		cache->entries[cache->newest].newer = block;
	cache->newest = block;
	cache->n_idle++;
	cache->n_idle_states += entry->state != PREFIX_NONE;
}

/* One more reference of a cached block. */
static uint32_t
refer(PrefixCache *cache, uint32_t block)
{
	Entry *entry = &cache->entries[block];

	if (entry->n_references++ == 0)
		unlink_idle(cache, entry);
	return block;
}

uint32_t
prefix_cache_find(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens)
{
	uint32_t block = look_up(cache, chain_hash(cache, parent, scope, tokens), parent, scope, tokens);

	return block == PREFIX_NONE ? PREFIX_NONE : refer(cache, block);
}

uint32_t
prefix_cache_add(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens, uint32_t block)
{
	uint64_t hash = chain_hash(cache, parent, scope, tokens);
	uint32_t *bucket = &cache->buckets[hash & (cache->n_buckets - 1)];
	uint32_t equal = look_up(cache, hash, parent, scope, tokens);
	Entry *entry = &cache->entries[block];

	if (equal != PREFIX_NONE)
	{
		kv_pool_give(cache->pool, 1, &block);
		return refer(cache, equal);
	}
	entry->hash = hash;
	entry->parent = parent;
	entry->scope = scope;
	entry->n_references = 1;
	entry->n_tokens = KV_BLOCK_POSITIONS;
	entry->state = PREFIX_NONE;
	memcpy(entry->tokens, tokens, sizeof entry->tokens);
	entry->next = *bucket;
	*bucket = block + 1;
	cache->n_blocks++;
	return block;
}

bool
prefix_cache_keep_state(PrefixCache *cache, uint32_t block, uint32_t state, bool moves)
{
	Entry *entry = &cache->entries[block];

	if (entry->state != PREFIX_NONE)
	{
		entry->moves &= moves;
		return false;
	}
	entry->state = state;
	entry->moves = moves;
	cache->n_states++;
	cache->counts.kept++;
	return true;
}

uint32_t
prefix_cache_state(const PrefixCache *cache, uint32_t block)
{
	return cache->entries[block].state;
}

uint32_t
prefix_cache_use_state(PrefixCache *cache, uint32_t block)
{
	uint32_t state = prefix_cache_state(cache, block);

	cache->counts.copied += state != PREFIX_NONE;
	return state;
}

StateCounts
prefix_cache_state_counts(const PrefixCache *cache)
{
	return cache->counts;
}

void
prefix_cache_uncount(PrefixCache *cache, StateCounts from, StateCounts to)
{
	cache->counts.kept -= to.kept - from.kept;
	cache->counts.copied -= to.copied - from.copied;
	cache->counts.moved -= to.moved - from.moved;
}

uint32_t
prefix_cache_move_state(PrefixCache *cache, uint32_t block)
{
	Entry *entry = &cache->entries[block];
	uint32_t state = entry->state;

	if (!entry->moves)
		return PREFIX_NONE;
	if (state != PREFIX_NONE)
	{
		cache->n_states--;
		cache->counts.moved++;
	}
	entry->state = PREFIX_NONE;
	return state;
}

uint32_t
prefix_cache_give_up_state(PrefixCache *cache, uint32_t block)
{
	Entry *entry = &cache->entries[block];
	uint32_t state = entry->n_references == 1 ? entry->state : PREFIX_NONE;

	if (state == PREFIX_NONE)
		return PREFIX_NONE;
	entry->state = PREFIX_NONE;
	cache->n_states--;
	cache->counts.evicted++;
	return state;
}

/* All tails of a parent are in one bucket, whatever their tokens. */
static uint64_t
tail_hash(const PrefixCache *cache, uint32_t parent)
{
	return mix(parent == PREFIX_NONE ? cache->seed : cache->entries[parent].hash, TAIL_MARK);
}

void
prefix_cache_add_tail(PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens, uint32_t n,
					  uint32_t block, uint32_t state)
{
	uint64_t hash = tail_hash(cache, parent);
	uint32_t *bucket = &cache->buckets[hash & (cache->n_buckets - 1)];
	Entry *entry = &cache->entries[block];

	*entry = (Entry){.hash = hash, .parent = parent, .scope = scope, .n_tokens = n, .state = state, .moves = true};
	memcpy(entry->tokens, tokens, n * sizeof *tokens);
	entry->next = *bucket;
	*bucket = block + 1;
	cache->n_blocks++;
	cache->n_states++;
	cache->counts.kept++;
	link_idle(cache, block);
}

uint32_t
prefix_cache_find_tail(const PrefixCache *cache, uint32_t parent, PrefixScope scope, const int32_t *tokens,
					   uint32_t n_most, uint32_t *n)
{
	uint64_t hash = tail_hash(cache, parent);
	uint32_t found = PREFIX_NONE;

	*n = 0;
	for (uint32_t at = cache->buckets[hash & (cache->n_buckets - 1)]; at; at = cache->entries[at - 1].next)
	{
		const Entry *entry = &cache->entries[at - 1];

		if (entry->hash == hash && entry->n_tokens < KV_BLOCK_POSITIONS && entry->parent == parent &&
			prefix_scopes_are_equal(entry->scope, scope) && entry->n_tokens <= n_most && entry->n_tokens > *n &&
			memcmp(entry->tokens, tokens, entry->n_tokens * sizeof *tokens) == 0)
		{
			found = at - 1;
			*n = entry->n_tokens;
		}
	}
	return found;
}

/* Out of the bucket; its memory is whoever's calls. */
static void
forget(PrefixCache *cache, uint32_t block)
{
	const Entry *entry = &cache->entries[block];
	uint32_t *link = &cache->buckets[entry->hash & (cache->n_buckets - 1)];

	while (*link != block + 1)
		link = &cache->entries[*link - 1].next;
	*link = entry->next;
	cache->n_blocks--;
}

uint32_t
prefix_cache_take_tail(PrefixCache *cache, uint32_t tail)
{
	unlink_idle(cache, &cache->entries[tail]);
	forget(cache, tail);
	cache->n_states--;
	cache->counts.moved++;
	return cache->entries[tail].state;
}

void
prefix_cache_release(PrefixCache *cache, uint32_t n, const uint32_t *blocks)
{
	while (n-- > 0)
		if (--cache->entries[blocks[n]].n_references == 0)
			link_idle(cache, blocks[n]);
}

uint32_t
prefix_cache_n_own(const PrefixCache *cache, uint32_t n, const uint32_t *blocks)
{
	uint32_t n_own = 0;

	for (uint32_t i = 0; i < n; i++)
		n_own += cache->entries[blocks[i]].n_references == 1;
	return n_own;
}

bool
prefix_cache_evict(PrefixCache *cache)
{
	uint32_t block = cache->oldest;
	Entry *entry;

	if (block == NO_ENTRY)
		return false;
	entry = &cache->entries[block];
	unlink_idle(cache, entry);
	forget(cache, block);
	if (entry->state != PREFIX_NONE)
	{
		kv_pool_give(kv_pool_states(cache->pool), 1, &entry->state);
		cache->n_states--;
		cache->counts.evicted++;
	}
	kv_pool_give(cache->pool, 1, &block);
	return true;
}

uint64_t
prefix_cache_oldest_us(const PrefixCache *cache)
{
	return cache->oldest == NO_ENTRY ? UINT64_MAX : cache->entries[cache->oldest].used_us;
}

uint32_t
prefix_cache_n_blocks(const PrefixCache *cache)
{
	return cache->n_blocks;
}

uint32_t
prefix_cache_n_states(const PrefixCache *cache)
{
	return cache->n_states;
}

uint32_t
prefix_cache_n_idle_states(const PrefixCache *cache)
{
	return cache->n_idle_states;
}

uint32_t
prefix_cache_n_idle(const PrefixCache *cache)
{
	return cache->n_idle;
}
