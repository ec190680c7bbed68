/*
 * json_memory.c - see json_memory.h.
 */
#include "json_memory.h"

#include <stdlib.h>

static uint64_t n_failures;

static void *
counted_malloc(size_t bytes)
{
	void *memory = malloc(bytes);

	n_failures += !memory;
	return memory;
}

uint64_t
json_memory_failures(void)
{
	static bool is_set;

	/* what was allocated before is freed by the same free() */
	if (!is_set)
		json_set_alloc_funcs(counted_malloc, free);
	is_set = true;
	return n_failures;
}

json_t *
json_memory_load(const char *text, size_t length, size_t flags, json_error_t *error, bool *out_of_memory)
{
	uint64_t before = json_memory_failures();
	json_t *root = json_loadb(text, length, flags, error);

	*out_of_memory = json_memory_failures() != before;
	if (!*out_of_memory)
		return root;
	json_decref(root);
	return NULL;
}
