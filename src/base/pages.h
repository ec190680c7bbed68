/*
 * pages.h - where memory lies: on which NUMA nodes, and on pages of which size.
 *
 * Nothing here changes what memory holds, and nothing fails: what the system refuses leaves things as they were, and
 * the caller is told where it wants to say so.
 */
#ifndef QWEN_BASE_PAGES_H
#define QWEN_BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HUGE_PAGE_BYTES ((size_t) 2 << 20)
#define PAGES_MAX_NODES 1024

/* A set of NUMA nodes, as mbind(2) takes it. */
typedef struct NodeSet
{
	unsigned long bits[PAGES_MAX_NODES / (8 * sizeof(unsigned long))];
	uint32_t n;
} NodeSet;

/* Read a list like "0-3,8" (Documentation/admin-guide/cgroup-v2.rst, cpuset.mems). false: it is none. */
extern bool pages_parse_nodes(const char *list, NodeSet *nodes);

/*
 * Map a file of shared memory, read-only, at a multiple of HUGE_PAGE_BYTES, so that huge pages can form in it. NULL
 * (and errno): it cannot be mapped. Give it back with munmap(start, bytes).
 */
extern void *pages_map_shared(int fd, size_t bytes);

/*
 * Put what is there on huge pages now, whatever the system's setting for shared memory says (madvise(2), MADV_COLLAPSE,
 * Linux 6.1): some milliseconds for 10 MB. Start at a multiple of HUGE_PAGE_BYTES; what is no whole huge page at the
 * end stays as it is. false (and errno): not all of it could be.
 */
extern bool pages_collapse(void *start, size_t bytes);

/* Find out what nodes there are, where no sandbox is yet. */
extern void pages_look(void);

/*
 * Spread pages of a mapping that have not been touched yet over all nodes that this process may have memory of, so that
 * every core reads at the speed of all of them (mbind(2), MPOL_INTERLEAVE). Of shared memory it is the file's policy:
 * whoever writes a page first puts it there. Nothing on a machine with one node.
 */
extern void pages_interleave(void *start, size_t bytes);

/* The same for the pages of a file of shared memory that have not been written yet, whoever writes them, in stripes of
 * huge pages: they stay spread when they are put on such. */
extern void pages_interleave_file(int fd, size_t bytes);

#endif
