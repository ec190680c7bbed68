/*
 * kv_cache.h - keys and values of past tokens, in blocks of KV_BLOCK_POSITIONS positions.
 *
 * One KvBudget for the engine (qwen.kv_cache_size: never more), one KvPool a model. A pool reserves address space for
 * as many blocks as the whole budget could hold and makes them resident one by one; a block that is given back stays
 * resident for the pool until another pool needs its bytes.
 *
 * A hybrid's sequences have a state of fixed size beside their blocks. These are a pool of their own under the same
 * budget, whose blocks are states.
 */
#ifndef QWEN_KV_CACHE_H
#define QWEN_KV_CACHE_H

#include "../model/model.h"

typedef struct KvBudget KvBudget;
typedef struct KvPool KvPool;

extern KvBudget *kv_budget_create(uint64_t limit_bytes);
extern void kv_budget_destroy(KvBudget *budget); /* after its pools */
/* A new limit; what is resident above it stays until it is given back. */
extern void kv_budget_set_limit(KvBudget *budget, uint64_t limit_bytes);
extern uint64_t kv_budget_limit(const KvBudget *budget);
extern uint64_t kv_budget_resident(const KvBudget *budget); /* bytes of all blocks that have memory */
extern uint64_t kv_budget_in_use(const KvBudget *budget);   /* bytes of blocks that are taken */

/* key_outliers: heads of this model have some (kernels.h); a K slice has room for them then where the type keeps them
 * apart. */
extern Status kv_pool_create(KvBudget *budget, const ModelHyper *hyper, KvType type, bool key_outliers, KvPool **pool);
extern void kv_pool_destroy(KvPool *pool);

/* Blocks for n_positions. */
extern uint32_t kv_blocks_for(uint32_t n_positions);

/* Bytes of one block: all layers, all KV heads, K and V. */
extern uint64_t kv_pool_block_bytes(const KvPool *pool);

/* The same of a model's keys and values in some type; key_outliers as for kv_pool_create. */
extern uint64_t kv_block_bytes(const ModelHyper *hyper, KvType type, bool key_outliers);

/* The pool of the states of a model's sequences, made and destroyed with its own; NULL: they have none. */
extern KvPool *kv_pool_states(const KvPool *pool);

/* The memory of a state. */
extern float *kv_pool_state(const KvPool *states, uint32_t state);

/* The most blocks that this pool could ever have, were the budget all its own; with one state beside them. */
extern uint32_t kv_pool_max_blocks(const KvPool *pool);

/* Take n blocks, all or none (false: not now). blocks: [n] */
extern bool kv_pool_take(KvPool *pool, uint32_t n, uint32_t *blocks);

/* Was it the system that had no memory, when blocks were last wanted, though the budget had room? */
extern bool kv_pool_was_refused(const KvPool *pool);
extern void kv_pool_give(KvPool *pool, uint32_t n, const uint32_t *blocks);

/* Blocks that are taken, and those that have memory, taken or not. */
extern uint32_t kv_pool_n_taken(const KvPool *pool);
extern uint32_t kv_pool_n_resident(const KvPool *pool);

extern KvType kv_pool_type(const KvPool *pool);

/* The K or V slice of one block, layer and KV head (layout: kernels.h). */
extern void *kv_pool_k(const KvPool *pool, uint32_t block, uint32_t layer, uint32_t kv_head);
extern void *kv_pool_v(const KvPool *pool, uint32_t block, uint32_t layer, uint32_t kv_head);

#endif
