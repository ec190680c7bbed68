/*
 * test_pages.c - what is asked of the system for memory on several NUMA nodes, on a machine that says it has some.
 *
 * /proc/self/status and mbind(2) are replaced. What becomes of the pages is seen in a machine with nodes: make
 * check-numa.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/base/pages.h"

#define MOST_CALLS 2000
#define PREFERRED 1
#define INTERLEAVE 3

typedef struct BindCall
{
	uintptr_t start;
	size_t bytes;
	int mode;
	unsigned long first_nodes;
} BindCall;

static BindCall calls[MOST_CALLS];
static size_t n_calls;

FILE *__wrap_fopen(const char *path, const char *mode);
long __wrap_syscall(long number, void *start, size_t bytes, int mode, const unsigned long *nodes, unsigned long n_bits,
					unsigned flags);

/* A machine with nodes 0, 2 and 3. */
FILE *
__wrap_fopen(const char *path, const char *mode)
{
	static char status[] = "Name:\ttest\nMems_allowed:\td\nMems_allowed_list:\t0,2-3\nThreads:\t1\n";

	assert_string_equal(path, "/proc/self/status");
	return fmemopen(status, sizeof status - 1, mode[0] == 'r' ? "r" : mode);
}

long
__wrap_syscall(long number, void *start, size_t bytes, int mode, const unsigned long *nodes, unsigned long n_bits,
			   unsigned flags)
{
	assert_int_equal(number, SYS_mbind);
	assert_int_equal(n_bits, PAGES_MAX_NODES);
	assert_int_equal(flags, 0);
	assert_true(n_calls < MOST_CALLS);
	for (size_t i = 1; i < PAGES_MAX_NODES / (8 * sizeof *nodes); i++)
		assert_int_equal(nodes[i], 0);
	calls[n_calls++] = (BindCall){(uintptr_t) start, bytes, mode, nodes[0]};
	return 0;
}

static void
memory_alternates_between_all_nodes(void **state)
{
	static char memory[4096];

	(void) state;
	n_calls = 0;
	pages_interleave(memory, sizeof memory);
	assert_int_equal(n_calls, 1);
	assert_int_equal(calls[0].start, (uintptr_t) memory);
	assert_int_equal(calls[0].bytes, sizeof memory);
	assert_int_equal(calls[0].mode, INTERLEAVE);
	assert_int_equal(calls[0].first_nodes, 0xd);
}

/* A file of n bytes: each stripe is whole huge pages of one node, in turn, and nothing is left out. */
static void
expect_stripes(size_t bytes)
{
	static const unsigned long in_turn[] = {1, 4, 8};
	int fd = memfd_create("image", MFD_CLOEXEC);
	size_t seen = 0;

	assert_true(fd >= 0 && ftruncate(fd, (off_t) bytes) == 0);
	n_calls = 0;
	pages_interleave_file(fd, bytes);
	assert_true(n_calls > 0);
	for (size_t i = 0; i < n_calls; i++)
	{
		assert_int_equal(calls[i].start, calls[0].start + seen);
		assert_int_equal(calls[i].start % HUGE_PAGE_BYTES, 0);
		assert_int_equal(calls[i].mode, PREFERRED);
		assert_int_equal(calls[i].first_nodes, in_turn[i % 3]);
		if (i > 0 && i + 1 < n_calls)
			assert_int_equal(calls[i].bytes, calls[0].bytes);
		seen += calls[i].bytes;
	}
	assert_int_equal(seen, bytes);
	close(fd);
}

static void
files_alternate_by_huge_pages(void **state)
{
	(void) state;
	expect_stripes(4096);
	expect_stripes(HUGE_PAGE_BYTES);
	expect_stripes(13 * HUGE_PAGE_BYTES + 12345);
	assert_int_equal(calls[0].bytes, HUGE_PAGE_BYTES);
	/* of so much that each would be a mapping too many, larger ones */
	expect_stripes((size_t) 40 << 30);
	assert_true(n_calls <= 1024);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_alternates_between_all_nodes),
		cmocka_unit_test(files_alternate_by_huge_pages),
	};

	return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
