/*
 * kv_cache.c - blocks of keys and values, one pool a model under one budget; see kv_cache.h.
 *
 * A pool reserves addresses for as many blocks as the whole budget could hold, without any right to touch them: where
 * the system commits memory before it is used (vm.overcommit_memory = 2), only what can be touched counts. A block that
 * is taken for the first time is made accessible, memory comes with the first write, and what is given back to the
 * system is made inaccessible again. A block is taken, free and resident, or free and not resident; "resident" is what
 * the budget counts. Used by the event loop's thread only.
 */
#include "kv_cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../base/pages.h"

struct KvBudget
{
	_Atomic uint64_t limit; /* the desk reads it */
	uint64_t resident;      /* bytes of all blocks that have memory: never over limit */
	uint64_t in_use;        /* bytes of taken blocks */
	KvPool *pools;
};

struct KvPool
{
	KvBudget *budget;
	KvPool *next;
	KvPool *states; /* NULL: the model's sequences have none, or these are the states */
	KvType type;
	uint32_t n_layers, n_kv_heads;
	size_t k_bytes, v_bytes; /* of a slice */
	uint64_t block_bytes;
	uint32_t n_blocks;
	uint8_t *base; /* n_blocks * block_bytes of address space, at a multiple of HUGE_PAGE_BYTES */
	void *mapping; /* what base lies in */
	size_t mapping_bytes;
	bool was_refused;               /* the system, not the budget, had no memory when blocks were last wanted */
	uint32_t *resident, n_resident; /* stack of free blocks that have memory */
	uint32_t *fresh, n_fresh;       /* stack of free blocks that have none */
};

KvBudget *
kv_budget_create(uint64_t limit_bytes)
{
	KvBudget *budget = calloc(1, sizeof *budget);

	if (budget)
		budget->limit = limit_bytes;
	return budget;
}

void
kv_budget_destroy(KvBudget *budget)
{
	free(budget);
}

void
kv_budget_set_limit(KvBudget *budget, uint64_t limit_bytes)
{
	budget->limit = limit_bytes;
}

/* Bytes that may become resident beside those that are. */
static uint64_t
budget_room(const KvBudget *budget)
{
	return budget->limit > budget->resident ? budget->limit - budget->resident : 0;
}

uint64_t
kv_budget_limit(const KvBudget *budget)
{
	return budget->limit;
}

uint64_t
kv_budget_resident(const KvBudget *budget)
{
	return budget->resident;
}

uint64_t
kv_budget_in_use(const KvBudget *budget)
{
	return budget->in_use;
}

uint32_t
kv_blocks_for(uint32_t n_positions)
{
	return n_positions / KV_BLOCK_POSITIONS + (n_positions % KV_BLOCK_POSITIONS != 0);
}

/* Bytes of whole pages, so that memory can be given back. */
static uint64_t
whole_pages(uint64_t bytes)
{
	return (bytes + 4095) / 4096 * 4096;
}

/* Addresses for blocks of block_bytes that fill the budget but for some bytes. */
static Status
create_pool(KvBudget *budget, uint64_t block_bytes, uint64_t beside, KvPool **pool_out)
{
	KvPool *pool = calloc(1, sizeof *pool);
	uint64_t n_blocks = (budget->limit - beside) / block_bytes;

	if (!pool)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a KV pool");
	pool->budget = budget;
	pool->block_bytes = block_bytes;
	pool->n_blocks = n_blocks > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t) n_blocks;
	pool->resident = calloc(pool->n_blocks, sizeof *pool->resident);
	pool->fresh = calloc(pool->n_blocks, sizeof *pool->fresh);
	pool->mapping_bytes = pool->n_blocks * pool->block_bytes + HUGE_PAGE_BYTES;
	pool->mapping = mmap(NULL, pool->mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!pool->resident || !pool->fresh || pool->mapping == MAP_FAILED)
	{
		if (pool->mapping != MAP_FAILED)
			munmap(pool->mapping, pool->mapping_bytes);
		free(pool->resident);
		free(pool->fresh);
		free(pool);
		return status_error(STATUS_UNAVAILABLE, "out of memory for a KV pool of %llu bytes of address space",
							(unsigned long long) budget->limit);
	}
	pool->base = (uint8_t *) (((uintptr_t) pool->mapping + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
	(void) madvise(pool->base, pool->n_blocks * pool->block_bytes, MADV_DONTDUMP);
	(void) madvise(pool->base, pool->n_blocks * pool->block_bytes, MADV_HUGEPAGE);
	pages_interleave(pool->base, pool->n_blocks * pool->block_bytes);
	/* taken from the end of the stack: low addresses first */
	while (pool->n_fresh < pool->n_blocks)
	{
		pool->fresh[pool->n_fresh] = pool->n_blocks - 1 - pool->n_fresh;
		pool->n_fresh++;
	}
	pool->next = budget->pools;
	budget->pools = pool;
	*pool_out = pool;
	return status_ok();
}

static size_t
k_slice_bytes(const ModelHyper *hyper, KvType type, bool key_outliers)
{
	return kv_slice_bytes(type, hyper->head_dim) + (key_outliers && kv_type_is_quantized(type) ? KEY_OUTLIER_BYTES : 0);
}

uint64_t
kv_block_bytes(const ModelHyper *hyper, KvType type, bool key_outliers)
{
	size_t both = k_slice_bytes(hyper, type, key_outliers) + kv_slice_bytes(type, hyper->head_dim);

	return whole_pages((uint64_t) model_n_cache_layers(hyper) * hyper->n_kv_heads * both);
}

Status
kv_pool_create(KvBudget *budget, const ModelHyper *hyper, KvType type, bool key_outliers, KvPool **pool_out)
{
	size_t v_bytes = kv_slice_bytes(type, hyper->head_dim), k_bytes = k_slice_bytes(hyper, type, key_outliers);
	uint32_t n_layers = model_n_cache_layers(hyper);
	uint64_t block_bytes = kv_block_bytes(hyper, type, key_outliers);
	uint64_t state_bytes = whole_pages(model_state_bytes(hyper));
	KvPool *pool;

	if (budget->limit < state_bytes || (budget->limit - state_bytes) / block_bytes == 0)
	{
		if (state_bytes == 0)
			return status_error(
				STATUS_TOO_LONG, "one block of %d positions needs %llu bytes, but the KV cache has %llu",
				KV_BLOCK_POSITIONS, (unsigned long long) block_bytes, (unsigned long long) budget->limit);
		return status_error(STATUS_TOO_LONG,
							"a sequence's state needs %llu bytes and one block of %d positions %llu, but the KV cache "
							"has %llu; qwen.kv_cache_size sets it",
							(unsigned long long) state_bytes, KV_BLOCK_POSITIONS, (unsigned long long) block_bytes,
							(unsigned long long) budget->limit);
	}
	STATUS_TRY(create_pool(budget, block_bytes, state_bytes, &pool));
	pool->type = type;
	pool->n_layers = n_layers;
	pool->n_kv_heads = hyper->n_kv_heads;
	pool->k_bytes = k_bytes;
	pool->v_bytes = v_bytes;
	if (state_bytes > 0)
	{
		Status status = create_pool(budget, state_bytes, 0, &pool->states);

		if (status.code != STATUS_OK)
		{
			kv_pool_destroy(pool);
			return status;
		}
	}
	*pool_out = pool;
	return status_ok();
}

void
kv_pool_destroy(KvPool *pool)
{
	KvPool **link;
	uint64_t n_taken;

	if (!pool)
		return;
	for (link = &pool->budget->pools; *link != pool; link = &(*link)->next)
		;
	*link = pool->next;
	n_taken = kv_pool_n_taken(pool);
	pool->budget->resident -= (n_taken + pool->n_resident) * pool->block_bytes;
	pool->budget->in_use -= n_taken * pool->block_bytes;
	munmap(pool->mapping, pool->mapping_bytes);
	free(pool->resident);
	free(pool->fresh);
	kv_pool_destroy(pool->states);
	free(pool);
}

uint32_t
kv_pool_n_taken(const KvPool *pool)
{
	return pool->n_blocks - pool->n_fresh - pool->n_resident;
}

uint32_t
kv_pool_n_resident(const KvPool *pool)
{
	return pool->n_blocks - pool->n_fresh;
}

KvPool *
kv_pool_states(const KvPool *pool)
{
	return pool->states;
}

float *
kv_pool_state(const KvPool *states, uint32_t state)
{
	return (float *) (void *) (states->base + state * states->block_bytes);
}

uint64_t
kv_pool_block_bytes(const KvPool *pool)
{
	return pool->block_bytes;
}

uint32_t
kv_pool_max_blocks(const KvPool *pool)
{
	uint64_t beside = pool->states ? pool->states->block_bytes : 0;
	uint64_t n = pool->budget->limit > beside ? (pool->budget->limit - beside) / pool->block_bytes : 0;

	return n < pool->n_blocks ? (uint32_t) n : pool->n_blocks;
}

bool
kv_pool_was_refused(const KvPool *pool)
{
	return pool->was_refused;
}

KvType
kv_pool_type(const KvPool *pool)
{
	return pool->type;
}

/* Bytes that other pools hold for free blocks. */
static uint64_t
reclaimable_bytes(const KvPool *pool)
{
	uint64_t bytes = 0;

	for (const KvPool *other = pool->budget->pools; other; other = other->next)
		if (other != pool)
			bytes += other->n_resident * other->block_bytes;
	return bytes;
}

/* Let a block's memory go: new pages without any right, in the place of the old ones. */
static void
release_block(const KvPool *pool, uint32_t block)
{
	uint8_t *start = pool->base + block * pool->block_bytes;

	if (mmap(start, pool->block_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
		MAP_FAILED)
	{
		(void) madvise(start, pool->block_bytes, MADV_DONTDUMP);
		(void) madvise(start, pool->block_bytes, MADV_HUGEPAGE);
		pages_interleave(start, pool->block_bytes);
	}
	else
		(void) madvise(start, pool->block_bytes, MADV_DONTNEED);
}

/* Make a block that has no memory accessible, and what lies behind it up to the end of its last huge page, so that such
 * a page can form. false: the system has no memory to promise. */
static bool
commit_block(const KvPool *pool, uint32_t block)
{
	uint64_t start = block * pool->block_bytes, end = start + pool->block_bytes;
	uint64_t whole = (end + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
	uint64_t last = pool->n_blocks * pool->block_bytes;

	whole = whole < last ? whole : last;
	return mprotect(pool->base + start, whole - start, PROT_READ | PROT_WRITE) == 0 ||
		   mprotect(pool->base + start, end - start, PROT_READ | PROT_WRITE) == 0;
}

/* Give back memory of other pools' free blocks until bytes fit into the budget. */
static void
make_room(KvPool *pool, uint64_t bytes)
{
	KvBudget *budget = pool->budget;

	for (KvPool *other = budget->pools; other; other = other->next)
		while (other != pool && other->n_resident > 0 && budget_room(budget) < bytes)
		{
			uint32_t block = other->resident[--other->n_resident];

			release_block(other, block);
			other->fresh[other->n_fresh++] = block;
			budget->resident -= other->block_bytes;
		}
}

bool
kv_pool_take(KvPool *pool, uint32_t n, uint32_t *blocks)
{
	KvBudget *budget = pool->budget;
	uint32_t n_fresh = n > pool->n_resident ? n - pool->n_resident : 0;
	uint64_t fresh_bytes = n_fresh * pool->block_bytes;

	pool->was_refused = false;
	if (n_fresh > pool->n_fresh || fresh_bytes > budget_room(budget) + reclaimable_bytes(pool))
		return false;
	make_room(pool, fresh_bytes);
	for (uint32_t i = 0; i < n_fresh; i++)
		if (!commit_block(pool, pool->fresh[pool->n_fresh - 1 - i]))
		{
			pool->was_refused = true;
			return false;
		}
	for (uint32_t i = 0; i < n; i++)
		blocks[i] = pool->n_resident > 0 ? pool->resident[--pool->n_resident] : pool->fresh[--pool->n_fresh];
	budget->resident += fresh_bytes;
	budget->in_use += n * pool->block_bytes;
	return true;
}

void
kv_pool_give(KvPool *pool, uint32_t n, const uint32_t *blocks)
{
	for (uint32_t i = 0; i < n; i++)
		pool->resident[pool->n_resident++] = blocks[i];
	pool->budget->in_use -= n * pool->block_bytes;
}

void *
kv_pool_k(const KvPool *pool, uint32_t block, uint32_t layer, uint32_t kv_head)
{
	return pool->base + block * pool->block_bytes +
		   ((size_t) layer * pool->n_kv_heads + kv_head) * (pool->k_bytes + pool->v_bytes);
}

void *
kv_pool_v(const KvPool *pool, uint32_t block, uint32_t layer, uint32_t kv_head)
{
	return (uint8_t *) kv_pool_k(pool, block, layer, kv_head) + pool->k_bytes;
}
