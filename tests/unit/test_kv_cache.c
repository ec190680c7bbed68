/*
 * test_kv_cache.c - blocks are taken all or none, the budget is never exceeded, pools trade memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "../../src/engine/kv_cache.h"

static const ModelHyper small = {.n_layers = 2, .n_kv_heads = 2, .head_dim = 64};
static const ModelHyper large = {.n_layers = 4, .n_kv_heads = 4, .head_dim = 128};

static void
blocks_come_all_or_none(void **state)
{
	KvBudget *budget = kv_budget_create(1 << 20);
	KvPool *pool;
	uint32_t blocks[64], n;

	(void) state;
	assert_int_equal(kv_pool_create(budget, &small, KV_F16, false, &pool).code, STATUS_OK);
	n = kv_pool_max_blocks(pool);
	assert_int_equal(n, (1 << 20) / kv_pool_block_bytes(pool));
	assert_true(n >= 8 && n <= 64);
	assert_true(kv_pool_take(pool, n - 1, blocks));
	assert_false(kv_pool_take(pool, 2, blocks + n - 1));
	assert_int_equal(kv_budget_in_use(budget), (n - 1) * kv_pool_block_bytes(pool));
	assert_true(kv_pool_take(pool, 1, blocks + n - 1));
	assert_false(kv_pool_take(pool, 1, blocks));
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			assert_int_not_equal(blocks[i], blocks[j]);
	kv_pool_give(pool, n, blocks);
	assert_int_equal(kv_budget_in_use(budget), 0);
	assert_true(kv_pool_take(pool, n, blocks));
	kv_pool_destroy(pool);
	assert_int_equal(kv_budget_in_use(budget), 0);
	kv_budget_destroy(budget);
}

static void
slices_do_not_overlap(void **state)
{
	KvBudget *budget = kv_budget_create(1 << 20);
	KvPool *pool;
	uint32_t blocks[3];

	(void) state;
	assert_int_equal(kv_pool_create(budget, &small, KV_F32, false, &pool).code, STATUS_OK);
	assert_true(kv_pool_take(pool, 3, blocks));
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t b = 0; b < 3; b++)
			for (uint32_t layer = 0; layer < 2; layer++)
				for (uint32_t head = 0; head < 2; head++)
					for (int kind = 0; kind < 2; kind++)
					{
						unsigned char mark = (unsigned char) (1 + ((b * 2 + layer) * 2 + head) * 2 + (uint32_t) kind);
						unsigned char *slice =
							kind ? kv_pool_v(pool, blocks[b], layer, head) : kv_pool_k(pool, blocks[b], layer, head);
						size_t bytes = kv_slice_bytes(KV_F32, 64);

						assert_int_equal((uintptr_t) slice % 64, 0);
						if (pass == 0)
							memset(slice, mark, bytes);
						else
							assert_true(slice[0] == mark && slice[bytes - 1] == mark);
					}
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
}

static void
pools_trade_memory_under_one_budget(void **state)
{
	KvBudget *budget = kv_budget_create(4 << 20);
	KvPool *a, *b;
	uint32_t from_a[256], from_b[256], n_a, n_b;

	(void) state;
	assert_int_equal(kv_pool_create(budget, &small, KV_F16, false, &a).code, STATUS_OK);
	assert_int_equal(kv_pool_create(budget, &large, KV_F16, false, &b).code, STATUS_OK);
	n_a = kv_pool_max_blocks(a);
	n_b = kv_pool_max_blocks(b);
	assert_true(n_a <= 256 && n_b <= 256);
	/* a takes everything, so b gets nothing; a gives back, and b gets it although a's blocks are resident */
	assert_true(kv_pool_take(a, n_a, from_a));
	assert_false(kv_pool_take(b, 1, from_b));
	kv_pool_give(a, n_a, from_a);
	assert_true(kv_pool_take(b, n_b, from_b));
	assert_true(kv_budget_in_use(budget) <= kv_budget_limit(budget));
	assert_false(kv_pool_take(a, n_a, from_a));
	kv_pool_give(b, n_b / 2, from_b);
	assert_true(kv_pool_take(a, n_a / 3, from_a));
	assert_true(kv_budget_in_use(budget) <= kv_budget_limit(budget));
	/* what comes from another pool's memory begins as zeros */
	assert_int_equal(*(unsigned char *) kv_pool_k(a, from_a[0], 0, 0), 0);
	kv_pool_destroy(a);
	kv_pool_destroy(b);
	assert_int_equal(kv_budget_in_use(budget), 0);
	kv_budget_destroy(budget);
}

/* Bytes of a range that can be written, which is what the system has promised memory for (/proc/self/maps). */
static uint64_t
writable_bytes(const void *start, uint64_t bytes)
{
	uint64_t from = (uint64_t) (uintptr_t) start, to = from + bytes, sum = 0;
	unsigned long long low, high;
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[4096], rights[8];

	assert_non_null(maps);
	while (fgets(line, sizeof line, maps))
		if (sscanf(line, "%llx-%llx %4s", &low, &high, rights) == 3 && rights[1] == 'w' && low < to && high > from)
			sum += (high < to ? high : to) - (low > from ? low : from);
	fclose(maps);
	return sum;
}

static void
only_blocks_that_were_taken_are_promised_memory(void **state)
{
	KvBudget *budget = kv_budget_create((uint64_t) 256 << 20);
	KvPool *a, *b;
	uint32_t blocks[4], *all, n;
	const uint64_t slack = 2 << 20; /* up to the end of a huge page */
	uint64_t bytes;

	(void) state;
	assert_int_equal(kv_pool_create(budget, &large, KV_F16, false, &a).code, STATUS_OK);
	assert_int_equal(kv_pool_create(budget, &small, KV_F16, false, &b).code, STATUS_OK);
	n = kv_pool_max_blocks(a);
	bytes = kv_pool_block_bytes(a);
	all = calloc(n, sizeof *all);
	assert_true(n > 100 && all);
	assert_true(kv_pool_take(a, 4, blocks));
	assert_true(writable_bytes(kv_pool_k(a, 0, 0, 0), n * bytes) <= 4 * bytes + slack);
	for (int i = 0; i < 4; i++)
		memset(kv_pool_k(a, blocks[i], 0, 0), 1, bytes);
	kv_pool_give(a, 4, blocks);
	assert_true(kv_pool_take(a, n, all));
	assert_true(writable_bytes(kv_pool_k(a, 0, 0, 0), n * bytes) == n * bytes);
	memset(kv_pool_k(a, all[n - 1], 0, 0), 1, bytes);
	kv_pool_give(a, n, all);
	/* another pool wants nearly all of it: then nothing is promised for it here any more */
	free(all);
	all = calloc(kv_pool_max_blocks(b), sizeof *all);
	assert_non_null(all);
	assert_true(kv_pool_take(b, kv_pool_max_blocks(b), all));
	assert_true(writable_bytes(kv_pool_k(a, 0, 0, 0), n * bytes) <= slack);
	free(all);
	kv_pool_destroy(a);
	kv_pool_destroy(b);
	kv_budget_destroy(budget);
}

static void
a_refusal_of_the_system_is_told_from_a_full_budget(void **state)
{
	KvBudget *budget = kv_budget_create((uint64_t) 64 << 20);
	struct rlimit before, none;
	KvPool *pool;
	uint32_t block, *all;

	(void) state;
	assert_int_equal(kv_pool_create(budget, &large, KV_F16, false, &pool).code, STATUS_OK);
	assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
	none = before;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_DATA, &none), 0);
	assert_false(kv_pool_take(pool, 1, &block));
	assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
	assert_true(kv_pool_was_refused(pool));
	assert_int_equal(kv_budget_in_use(budget), 0);
	assert_int_equal(kv_budget_resident(budget), 0);
	all = calloc(kv_pool_max_blocks(pool), sizeof *all);
	assert_non_null(all);
	assert_true(kv_pool_take(pool, kv_pool_max_blocks(pool), all));
	assert_false(kv_pool_take(pool, 1, &block));
	assert_false(kv_pool_was_refused(pool));
	free(all);
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
}

static void
a_lower_limit_holds_for_what_is_taken_next(void **state)
{
	KvBudget *budget = kv_budget_create((uint64_t) 64 << 20);
	KvPool *pool;
	uint32_t blocks[4], n;

	(void) state;
	assert_int_equal(kv_pool_create(budget, &large, KV_F16, false, &pool).code, STATUS_OK);
	n = kv_pool_max_blocks(pool);
	assert_true(kv_pool_take(pool, 4, blocks));
	kv_budget_set_limit(budget, 2 * kv_pool_block_bytes(pool));
	assert_int_equal(kv_pool_max_blocks(pool), 2);
	assert_false(kv_pool_take(pool, 1, blocks));
	kv_pool_give(pool, 4, blocks);
	assert_true(kv_pool_take(pool, 4, blocks)); /* they have their memory already */
	kv_pool_give(pool, 4, blocks);
	kv_budget_set_limit(budget, (uint64_t) 64 << 20);
	assert_int_equal(kv_pool_max_blocks(pool), n);
	kv_pool_destroy(pool);
	kv_budget_destroy(budget);
}

static void
a_budget_below_one_block_is_refused(void **state)
{
	KvBudget *budget = kv_budget_create(4096);
	KvPool *pool;
	Status status = kv_pool_create(budget, &large, KV_F32, false, &pool);

	(void) state;
	assert_int_equal(status.code, STATUS_TOO_LONG);
	assert_non_null(strstr(status.message, "4096"));
	kv_budget_destroy(budget);
}

static void
blocks_are_counted(void **state)
{
	(void) state;
	assert_int_equal(kv_blocks_for(0), 0);
	assert_int_equal(kv_blocks_for(1), 1);
	assert_int_equal(kv_blocks_for(32), 1);
	assert_int_equal(kv_blocks_for(33), 2);
	assert_int_equal(kv_blocks_for(UINT32_MAX), (UINT32_MAX - 31) / 32 + 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_come_all_or_none),
		cmocka_unit_test(slices_do_not_overlap),
		cmocka_unit_test(pools_trade_memory_under_one_budget),
		cmocka_unit_test(only_blocks_that_were_taken_are_promised_memory),
		cmocka_unit_test(a_refusal_of_the_system_is_told_from_a_full_budget),
		cmocka_unit_test(a_lower_limit_holds_for_what_is_taken_next),
		cmocka_unit_test(a_budget_below_one_block_is_refused),
		cmocka_unit_test(blocks_are_counted),
	};

	return cmocka_run_group_tests_name("kv_cache", tests, NULL, NULL);
}
