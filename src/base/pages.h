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

/* Find out what nodes there are, where no sandbox is yet. */
extern void pages_look(void);

/*
 * Spread pages of a mapping that have not been touched yet over all nodes that this process may have memory of, so that
 * every core reads at the speed of all of them (mbind(2), MPOL_INTERLEAVE). Of shared memory it is the file's policy:
 * whoever writes a page first puts it there. Nothing on a machine with one node.
 */
extern void pages_interleave(void *start, size_t bytes);

#endif
