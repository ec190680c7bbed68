/*
 * test_memory.c - what keys and values take where nobody has said how much, and which NUMA nodes a list names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "../../src/base/memory.h"
#include "../../src/base/pages.h"

#define MB ((uint64_t) 1 << 20)

static void
a_share_of_memory_that_leaves_room(void **state)
{
	(void) state;
	/* an eighth of a machine with enough */
	assert_int_equal(memory_cache_limit(0, 24576 * MB, 20000 * MB, 0), 3072 * MB);
	/* of a small one 256 MB, if they are there */
	assert_int_equal(memory_cache_limit(0, 1024 * MB, 800 * MB, 0), 256 * MB);
	/* never more than three quarters of what models leave; what is resident already counts as left */
	assert_int_equal(memory_cache_limit(0, 24576 * MB, 1000 * MB, 0), 750 * MB);
	assert_int_equal(memory_cache_limit(0, 24576 * MB, 1000 * MB, 600 * MB), 1200 * MB);
	assert_int_equal(memory_cache_limit(0, 1024 * MB, 200 * MB, 0), 150 * MB);
	/* and never nothing */
	assert_int_equal(memory_cache_limit(0, 1024 * MB, 0, 0), 16 * MB);
	/* what is wanted, but no more than there is */
	assert_int_equal(memory_cache_limit(512 * MB, 24576 * MB, 20000 * MB, 0), 512 * MB);
	assert_int_equal(memory_cache_limit(16000 * MB, 24576 * MB, 20000 * MB, 0), 15000 * MB);
	assert_int_equal(memory_cache_limit(512 * MB, UINT64_MAX, UINT64_MAX, 0), 512 * MB);
	/* where nobody says what there is */
	assert_int_equal(memory_cache_limit(0, UINT64_MAX, UINT64_MAX, 0), 256 * MB);
	assert_int_equal(memory_cache_limit(0, 24576 * MB, UINT64_MAX, 0), 3072 * MB);
}

static void
this_machine_says_what_it_has(void **state)
{
	uint64_t total = memory_total(), left = memory_available();

	(void) state;
	assert_true(total > 64 * MB && total < UINT64_MAX);
	assert_true(left > 0 && left <= total);
}

static void
node_lists_are_read(void **state)
{
	static const struct
	{
		const char *list;
		uint32_t n;
	} good[] = {{"0", 1}, {"0-3", 4}, {"0,2", 2}, {"0-1,8-9\n", 4}, {"1023", 1}, {"0-2,1-3", 4}};
	static const char *const bad[] = {"", "-", "a", "0-", "3-1", "0,", "1024", "0 1", "0-1024"};
	NodeSet nodes;

	(void) state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
	{
		assert_true(pages_parse_nodes(good[i].list, &nodes));
		assert_int_equal(nodes.n, good[i].n);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(pages_parse_nodes(bad[i], &nodes));
	assert_true(pages_parse_nodes("0,64-65", &nodes));
	assert_int_equal(nodes.bits[0], 1);
	assert_int_equal(nodes.bits[1], 3);
}

static void
memory_that_was_spread_is_as_good_as_any(void **state)
{
	size_t bytes = 4 << 20;
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void) state;
	assert_true(memory != MAP_FAILED);
	pages_interleave(memory, bytes);
	for (size_t i = 0; i < bytes; i += 4096)
		memory[i] = 1;
	assert_int_equal(munmap(memory, bytes), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_share_of_memory_that_leaves_room),
		cmocka_unit_test(this_machine_says_what_it_has),
		cmocka_unit_test(node_lists_are_read),
		cmocka_unit_test(memory_that_was_spread_is_as_good_as_any),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
