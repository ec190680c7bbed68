/*
 * test_prefix_cache.c - cached blocks are found by what they were computed from, shared, and given up in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/prefix_cache.h"

static const ModelHyper hyper = {.n_layers = 1, .n_kv_heads = 1, .head_dim = 32};

typedef struct Fixture
{
	KvBudget *budget;
	KvPool *pool;
	PrefixCache *cache;
} Fixture;

static Fixture
make_fixture(uint32_t n_blocks)
{
	Fixture f;

	f.budget = kv_budget_create((uint64_t) n_blocks * 4096);
	assert_int_equal(kv_pool_create(f.budget, &hyper, KV_F16, false, &f.pool).code, STATUS_OK);
	assert_int_equal(kv_pool_max_blocks(f.pool), n_blocks);
	assert_int_equal(prefix_cache_create(f.pool, &f.cache).code, STATUS_OK);
	return f;
}

static void
free_fixture(Fixture *f)
{
	prefix_cache_destroy(f->cache);
	kv_pool_destroy(f->pool);
	kv_budget_destroy(f->budget);
}

/* Tokens of a block, all made from one number. */
static const int32_t *
block_tokens(int32_t number)
{
	static int32_t tokens[KV_BLOCK_POSITIONS];

	for (int32_t i = 0; i < KV_BLOCK_POSITIONS; i++)
		tokens[i] = number * 1000 + i;
	return tokens;
}

/* The scope of a role, without an adapter. */
static PrefixScope
of_role(uint32_t role)
{
	return (PrefixScope){.role = role};
}

/* A new block from the pool, put into the cache. */
static uint32_t
add(Fixture *f, uint32_t parent, uint32_t scope, int32_t number)
{
	uint32_t block;

	assert_true(kv_pool_take(f->pool, 1, &block));
	return prefix_cache_add(f->cache, parent, of_role(scope), block_tokens(number), block);
}

static void
a_block_is_found_by_parent_tokens_and_scope(void **state)
{
	Fixture f = make_fixture(8);
	uint32_t first = add(&f, PREFIX_NONE, 10, 1), second = add(&f, first, 10, 2);
	int32_t other[KV_BLOCK_POSITIONS];

	(void) state;
	assert_int_not_equal(first, second);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(1)), first);
	assert_int_equal(prefix_cache_find(f.cache, first, of_role(10), block_tokens(2)), second);
	/* other tokens (the last one alone), another place, another scope */
	memcpy(other, block_tokens(1), sizeof other);
	other[KV_BLOCK_POSITIONS - 1]++;
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), other), PREFIX_NONE);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(2)), PREFIX_NONE);
	assert_int_equal(prefix_cache_find(f.cache, second, of_role(10), block_tokens(1)), PREFIX_NONE);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(11), block_tokens(1)), PREFIX_NONE);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(PREFIX_SCOPE_SHARED), block_tokens(1)),
					 PREFIX_NONE);
	free_fixture(&f);
}

static void
a_block_is_of_one_adapter_and_scale(void **state)
{
	static const PrefixScope scopes[] = {
		{10, 0, 0}, {10, 1, 1}, {10, 2, 1}, {10, 1, 0.5f}, {PREFIX_SCOPE_SHARED, 1, 1}};
	Fixture f = make_fixture(8);
	uint32_t blocks[5];

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		uint32_t block;

		assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, scopes[i], block_tokens(1)), PREFIX_NONE);
		assert_true(kv_pool_take(f.pool, 1, &block));
		blocks[i] = prefix_cache_add(f.cache, PREFIX_NONE, scopes[i], block_tokens(1), block);
		assert_int_equal(blocks[i], block);
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, scopes[i], block_tokens(1)), blocks[i]);
	free_fixture(&f);
}

static void
equal_blocks_become_one(void **state)
{
	Fixture f = make_fixture(8);
	uint32_t first = add(&f, PREFIX_NONE, 10, 1);
	uint64_t in_use = kv_budget_in_use(f.budget);

	(void) state;
	assert_int_equal(add(&f, PREFIX_NONE, 10, 1), first);
	assert_int_equal(kv_budget_in_use(f.budget), in_use);
	assert_int_equal(prefix_cache_n_blocks(f.cache), 1);
	/* two references now */
	prefix_cache_release(f.cache, 1, &first);
	assert_int_equal(prefix_cache_n_idle(f.cache), 0);
	prefix_cache_release(f.cache, 1, &first);
	assert_int_equal(prefix_cache_n_idle(f.cache), 1);
	free_fixture(&f);
}

static void
blocks_in_use_are_not_evicted(void **state)
{
	Fixture f = make_fixture(8);
	uint32_t block = add(&f, PREFIX_NONE, 10, 1);

	(void) state;
	assert_false(prefix_cache_evict(f.cache));
	assert_true(prefix_cache_oldest_us(f.cache) == UINT64_MAX);
	prefix_cache_release(f.cache, 1, &block);
	assert_true(prefix_cache_oldest_us(f.cache) != UINT64_MAX);
	/* used again */
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(1)), block);
	assert_false(prefix_cache_evict(f.cache));
	prefix_cache_release(f.cache, 1, &block);
	assert_true(prefix_cache_evict(f.cache));
	assert_int_equal(kv_budget_in_use(f.budget), 0);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(1)), PREFIX_NONE);
	free_fixture(&f);
}

static void
the_least_recently_used_goes_first_and_children_before_parents(void **state)
{
	Fixture f = make_fixture(8);
	uint32_t a[2], b[2];

	(void) state;
	/* 1-2 and 1-3 */
	a[0] = add(&f, PREFIX_NONE, 10, 1);
	a[1] = add(&f, a[0], 10, 2);
	prefix_cache_release(f.cache, 2, a);
	b[0] = prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(1));
	b[1] = add(&f, b[0], 10, 3);
	prefix_cache_release(f.cache, 2, b);
	/* 2 was used before 3, and 1 with both */
	assert_true(prefix_cache_evict(f.cache));
	assert_int_equal(prefix_cache_find(f.cache, a[0], of_role(10), block_tokens(2)), PREFIX_NONE);
	assert_true(prefix_cache_evict(f.cache));
	assert_int_equal(prefix_cache_n_blocks(f.cache), 1);
	assert_int_equal(prefix_cache_find(f.cache, PREFIX_NONE, of_role(10), block_tokens(1)), a[0]);
	prefix_cache_release(f.cache, 1, a);
	assert_true(prefix_cache_evict(f.cache));
	assert_false(prefix_cache_evict(f.cache));
	free_fixture(&f);
}

/* A tree of texts under random use: never a child without its parent, all memory accounted for. */
static void
random_use_keeps_chains_whole(void **state)
{
	Fixture f = make_fixture(24);
	uint32_t chains[4][6], lengths[4] = {0}, hits = 0;
	unsigned int seed = 1;

	(void) state;
	for (int round = 0; round < 20000; round++)
	{
		uint32_t user = (uint32_t) (rand_r(&seed) % 4), depth = 1 + (uint32_t) (rand_r(&seed) % 6);
		uint32_t *chain = chains[user], n = 0, taken;

		prefix_cache_release(f.cache, lengths[user], chain);
		for (; n < depth; n++)
		{
			uint32_t parent = n ? chain[n - 1] : PREFIX_NONE, scope = user % 2;
			int32_t number = (int32_t) (n * 2) + rand_r(&seed) % 2;

			chain[n] = prefix_cache_find(f.cache, parent, of_role(scope), block_tokens(number));
			hits += chain[n] != PREFIX_NONE;
			if (chain[n] != PREFIX_NONE)
				continue;
			while (!kv_pool_take(f.pool, 1, &taken) && prefix_cache_evict(f.cache))
				;
			chain[n] = prefix_cache_add(f.cache, parent, of_role(scope), block_tokens(number), taken);
		}
		lengths[user] = n;
		assert_true(prefix_cache_n_blocks(f.cache) <= 24);
		assert_int_equal(kv_budget_in_use(f.budget), prefix_cache_n_blocks(f.cache) * 4096);
	}
	assert_true(hits > 1000);
	for (int user = 0; user < 4; user++)
		prefix_cache_release(f.cache, lengths[user], chains[user]);
	assert_int_equal(prefix_cache_n_idle(f.cache), prefix_cache_n_blocks(f.cache));
	while (prefix_cache_evict(f.cache))
		;
	assert_int_equal(kv_budget_in_use(f.budget), 0);
	free_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_found_by_parent_tokens_and_scope),
		cmocka_unit_test(a_block_is_of_one_adapter_and_scale),
		cmocka_unit_test(equal_blocks_become_one),
		cmocka_unit_test(blocks_in_use_are_not_evicted),
		cmocka_unit_test(the_least_recently_used_goes_first_and_children_before_parents),
		cmocka_unit_test(random_use_keeps_chains_whole),
	};

	return cmocka_run_group_tests_name("prefix_cache", tests, NULL, NULL);
}
