/*
 * numa_pages.c - what src/base/pages.c promises of NUMA nodes, on a machine that has some.
 *
 *   numa_pages NODES
 *
 * It is the first process of a virtual machine with so many nodes (check_numa.sh), or run by hand on a real one. Pages
 * are asked for the node that they are on (move_pages(2)); a line for each promise, and "held" or "broken" at the end.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/base/pages.h"

#define MAX_NODES 64
#define SMALL_PAGE 4096
#define FILE_BYTES ((size_t) 96 << 20)

static unsigned n_nodes;
static bool broken;

/* Pages of a mapping on each node. */
static void
count_pages(const uint8_t *start, size_t bytes, size_t counts[MAX_NODES])
{
	memset(counts, 0, MAX_NODES * sizeof *counts);
	for (size_t at = 0; at < bytes; at += SMALL_PAGE)
	{
		const void *page = start + at;
		int node = -1;

		if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) == 0 && node >= 0 && node < MAX_NODES)
			counts[node]++;
	}
}

/* Every node has its share of all pages, to a fifth of it. */
static void
expect_spread(const char *what, const uint8_t *start, size_t bytes)
{
	size_t counts[MAX_NODES], share = bytes / SMALL_PAGE / n_nodes;
	bool even = true;

	count_pages(start, bytes, counts);
	printf("%s: pages on each node:", what);
	for (unsigned node = 0; node < n_nodes; node++)
	{
		printf(" %zu", counts[node]);
		even &= counts[node] > share - share / 5 && counts[node] < share + share / 5;
	}
	printf("%s\n", even ? "" : ": NOT EVEN");
	broken |= !even;
}

/* An image: the file is spread, written in pieces as the loader does, and put on huge pages later. */
static void
files_stay_spread_on_huge_pages(void)
{
	static uint8_t piece[1 << 20];
	int fd = memfd_create("image", MFD_CLOEXEC);
	uint8_t *start;

	if (fd < 0 || ftruncate(fd, FILE_BYTES) != 0)
		abort();
	pages_interleave_file(fd, FILE_BYTES);
	memset(piece, 7, sizeof piece);
	for (size_t at = 0; at < FILE_BYTES; at += sizeof piece)
		if (pwrite(fd, piece, sizeof piece, (off_t) at) != sizeof piece)
			abort();
	start = pages_map_shared(fd, FILE_BYTES);
	if (!start)
		abort();
	for (size_t at = 0; at < FILE_BYTES; at += SMALL_PAGE)
		if (*(volatile uint8_t *) (start + at) != 7)
			abort();
	expect_spread("a file", start, FILE_BYTES);
	if (!pages_collapse(start, FILE_BYTES))
	{
		printf("a file cannot be put on huge pages\n");
		broken = true;
	}
	expect_spread("a file on huge pages", start, FILE_BYTES);
	munmap(start, FILE_BYTES);
	close(fd);
}

/* Keys and values: memory of this process, on huge pages where the system has them and on small ones. */
static void
memory_is_spread(int advice, const char *what)
{
	size_t bytes = 48 << 20;
	uint8_t *room =
		mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *start;

	if (room == MAP_FAILED)
		abort();
	start = (uint8_t *) (((uintptr_t) room + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
	(void) madvise(start, bytes, advice);
	pages_interleave(start, bytes);
	memset(start, 1, bytes);
	expect_spread(what, start, bytes);
	munmap(room, bytes + HUGE_PAGE_BYTES);
}

int
main(int argc, char **argv)
{
	bool is_first = getpid() == 1;

	if (is_first)
	{
		(void) mkdir("/proc", 0755);
		(void) mount("proc", "/proc", "proc", 0, NULL);
	}
	n_nodes = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 0;
	if (n_nodes < 2 || n_nodes > MAX_NODES)
		abort();
	setvbuf(stdout, NULL, _IONBF, 0);
	printf("numa: begins\n");
	pages_look();
	files_stay_spread_on_huge_pages();
	memory_is_spread(MADV_HUGEPAGE, "memory on huge pages");
	memory_is_spread(MADV_NOHUGEPAGE, "memory on small pages");
	printf("numa: %s with %u nodes\n", broken ? "broken" : "held", n_nodes);
	if (is_first)
		(void) reboot(RB_POWER_OFF);
	return broken;
}
