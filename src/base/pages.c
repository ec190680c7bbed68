/*
 * pages.c - see pages.h.
 */
#include "pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MPOL_PREFERRED_MODE 1 /* of linux/mempolicy.h, which not every system has */
#define MPOL_INTERLEAVE_MODE 3
#define MOST_STRIPES 1024 /* each is a mapping of its own to the kernel while they are made */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* headers of an older C library do not know it, a running kernel may */
#endif
#define BITS_OF_LONG (8 * sizeof(unsigned long))

/* One number of a list; false: there is none, or it is too large. */
static bool
parse_node(const char **at, uint32_t *node)
{
	char *end;
	unsigned long value;

	if (**at < '0' || **at > '9')
		return false;
	value = strtoul(*at, &end, 10);
	if (value >= PAGES_MAX_NODES)
		return false;
	*node = (uint32_t) value;
	*at = end;
	return true;
}

bool
pages_parse_nodes(const char *list, NodeSet *nodes)
{
	uint32_t first, last;

	memset(nodes, 0, sizeof *nodes);
	for (;;)
	{
		if (!parse_node(&list, &first))
			return false;
		last = first;
		if (*list == '-')
		{
			list++;
			if (!parse_node(&list, &last) || last < first)
				return false;
		}
		for (uint32_t node = first; node <= last; node++)
		{
			unsigned long *word = &nodes->bits[node / BITS_OF_LONG], bit = 1ul << node % BITS_OF_LONG;

			nodes->n += (*word & bit) == 0;
			*word |= bit;
		}
		if (*list != ',')
			return *list == '\0' || *list == '\n';
		list++;
	}
}

/* The nodes that this process may have memory of; one where nobody says. Asked once: the file cannot be opened inside
 * the sandbox. */
static const NodeSet *
allowed_nodes(void)
{
	static const char key[] = "Mems_allowed_list:";
	static NodeSet nodes;
	char line[4096];
	FILE *file;

	if (nodes.n > 0)
		return &nodes;
	file = fopen("/proc/self/status", "re");
	while (file && nodes.n == 0 && fgets(line, sizeof line, file))
		if (strncmp(line, key, sizeof key - 1) == 0 &&
			!pages_parse_nodes(line + sizeof key - 1 + strspn(line + sizeof key - 1, " \t"), &nodes))
			nodes.n = 0;
	if (file)
		fclose(file);
	nodes.n = nodes.n > 0 ? nodes.n : 1;
	return &nodes;
}

void *
pages_map_shared(int fd, size_t bytes)
{
	size_t room = bytes + HUGE_PAGE_BYTES;
	uint8_t *place = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *start, *end;
	size_t page = (size_t) sysconf(_SC_PAGESIZE);

	if (place == MAP_FAILED)
		return NULL;
	start = (uint8_t *) (((uintptr_t) place + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES);
	if (mmap(start, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
	{
		int error = errno;

		munmap(place, room);
		errno = error;
		return NULL;
	}
	end = start + (bytes + page - 1) / page * page;
	if (start > place)
		munmap(place, (size_t) (start - place));
	if (end < place + room)
		munmap(end, (size_t) (place + room - end));
	return start;
}

bool
pages_collapse(void *start, size_t bytes)
{
	bytes = bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
	return bytes == 0 || madvise(start, bytes, MADV_COLLAPSE) == 0;
}

void
pages_look(void)
{
	(void) allowed_nodes();
}

void
pages_interleave(void *start, size_t bytes)
{
	const NodeSet *nodes = allowed_nodes();

	if (nodes->n > 1)
		(void) syscall(SYS_mbind, start, bytes, MPOL_INTERLEAVE_MODE, nodes->bits, (unsigned long) PAGES_MAX_NODES, 0u);
}

/* The node of a set behind this one, the first one again behind the last. */
static uint32_t
node_after(const NodeSet *nodes, uint32_t node)
{
	do
		node = (node + 1) % PAGES_MAX_NODES;
	while ((nodes->bits[node / BITS_OF_LONG] & 1ul << node % BITS_OF_LONG) == 0);
	return node;
}

/*
 * Stripe by stripe, not page by page: pages_collapse takes the memory of a huge page from the node that most of its
 * small pages are on, and among equals always from the first (Linux 6.1 to 6.18), so that pages which alternate would
 * all end up there.
 */
void
pages_interleave_file(int fd, size_t bytes)
{
	const NodeSet *nodes = allowed_nodes();
	size_t stripe = HUGE_PAGE_BYTES;
	uint32_t node = PAGES_MAX_NODES - 1;
	uint8_t *start = nodes->n > 1 ? pages_map_shared(fd, bytes) : NULL;

	if (!start)
		return;
	while (bytes / stripe >= MOST_STRIPES)
		stripe *= 2;
	for (size_t at = 0; at < bytes; at += stripe)
	{
		NodeSet one = {.n = 1};

		node = node_after(nodes, node);
		one.bits[node / BITS_OF_LONG] = 1ul << node % BITS_OF_LONG;
		(void) syscall(SYS_mbind, start + at, bytes - at < stripe ? bytes - at : stripe, MPOL_PREFERRED_MODE, one.bits,
					   (unsigned long) PAGES_MAX_NODES, 0u);
	}
	munmap(start, bytes);
}
