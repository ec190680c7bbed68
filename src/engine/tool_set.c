/*
 * tool_set.c - see tool_set.h.
 *
 * Sets that are held together stand in chains by a hash of their text, under one lock, which nobody keeps while a set
 * is read. A set itself never changes.
 */
#include "tool_set.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kept_memory.h"

/* Of a set of tools: its text, and about 240000 values. */
#define MAX_TOOL_SET_BYTES ((size_t) 16 << 20)

#define N_CHAINS 1024           /* a power of two */
#define SET_OVERHEAD_BYTES 4096 /* what a set takes beside what is in it: the system gives memory by pages */

struct ToolSet
{
	Arena *arena; /* this, the text and its tree */
	ByteSpan text;
	const JsonNode **tools; /* without their wrappers, in order of their names */
	size_t n;

	bool is_shared; /* others may hold it too; then: */
	ToolSet *next;
	uint32_t role, n_holders;
	uint64_t hash;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ToolSet *chains[N_CHAINS];

/* For qsort: by name, then by place. */
static int
compare_tools(const void *left, const void *right)
{
	const JsonNode *a = *(const JsonNode *const *) left, *b = *(const JsonNode *const *) right;
	const JsonNode *a_name = json_member_named(a, "name"), *b_name = json_member_named(b, "name");
	int order = json_compare(a_name->text, a_name->n, b_name->text, b_name->n);

	return order ? order : a->source < b->source ? -1 : a->source > b->source;
}

/* Put the tools of an array in order; false: no memory. */
static bool
index_tools(ToolSet *set, const JsonNode *array)
{
	if (!array || array->kind != NODE_IS_ARRAY || array->n == 0)
		return true;
	set->tools = arena_alloc_array(set->arena, array->n, sizeof *set->tools);
	if (!set->tools)
		return false;
	for (const JsonNode *tool = array->first; tool; tool = tool->next)
	{
		const JsonNode *inner = json_member_named(tool, "function");
		const JsonNode *name = json_member_named(inner ? inner : tool, "name");

		if (name && name->kind == NODE_IS_STRING)
			set->tools[set->n++] = inner ? inner : tool;
	}
	qsort(set->tools, set->n, sizeof *set->tools, compare_tools);
	return true;
}

/* Why an arena had no room: no piece of a set is as large as an eighth of what it may have. */
static Status
no_room(const Arena *arena)
{
	if (arena && arena_used(arena) > MAX_TOOL_SET_BYTES - MAX_TOOL_SET_BYTES / 8)
		return status_error(STATUS_TOO_LONG,
							"tools holds too many values: they take more than %zu bytes of memory (the limit); give "
							"fewer tools, or shorter lists in their schemas",
							MAX_TOOL_SET_BYTES);
	return status_error(STATUS_UNAVAILABLE, "out of memory for tools");
}

Status
tool_set_create(ByteSpan text, const CancelFlag *cancelled, ToolSet **set)
{
	Arena *arena = arena_create(MAX_TOOL_SET_BYTES);
	JsonError error = {.what = NULL};
	ToolSet *made = NULL;
	const JsonNode *array;
	char *copy = NULL;
	Status status;

	*set = NULL;
	if (arena)
	{
		arena_set_cancel(arena, cancelled);
		made = arena_alloc(arena, sizeof *made);
		copy = arena_copy(arena, text.data, text.length);
	}
	if (made && copy)
	{
		made->arena = arena;
		array = json_tree_read(arena, (ByteSpan){copy, text.length}, JSON_STRICT, NULL, &error);
		if (!error.out_of_memory && index_tools(made, array))
		{
			made->text = (ByteSpan){copy, text.length};
			arena_set_cancel(arena, NULL);
			*set = made;
			return status_ok();
		}
	}
	status = text.length > MAX_TOOL_SET_BYTES
				 ? status_error(STATUS_TOO_LONG, "tools has %zu bytes, more than the %zu of memory it may take",
								text.length, MAX_TOOL_SET_BYTES)
				 : no_room(arena);
	arena_destroy(arena);
	return status;
}

size_t
tool_set_bytes(const ToolSet *set)
{
	return set ? arena_used(set->arena) : 0;
}

/* What a set that is held together counts for. */
static size_t
kept_bytes(const ToolSet *set)
{
	return tool_set_bytes(set) + SET_OVERHEAD_BYTES;
}

/* FNV-1a. A collision costs a comparison. */
static uint64_t
hash_of(ByteSpan text)
{
	uint64_t hash = 0xCBF29CE484222325ull;

	for (size_t i = 0; i < text.length; i++)
		hash = (hash ^ (unsigned char) text.data[i]) * 0x100000001B3ull;
	return hash ^ hash >> 32;
}

/* One that is held already, with one holder more, or NULL. Under the lock. */
static ToolSet *
hold(uint32_t role, uint64_t hash, ByteSpan text)
{
	for (ToolSet *set = chains[hash % N_CHAINS]; set; set = set->next)
		if (set->hash == hash && set->role == role && set->text.length == text.length &&
			memcmp(set->text.data, text.data, text.length) == 0)
		{
			set->n_holders++;
			return set;
		}
	return NULL;
}

/* Make a new set one that others may hold too. Under the lock. */
static void
offer(ToolSet *set, uint32_t role, uint64_t hash)
{
	set->role = role;
	set->hash = hash;
	set->n_holders = 1;
	set->is_shared = true;
	set->next = chains[hash % N_CHAINS];
	chains[hash % N_CHAINS] = set;
}

Status
tool_set_share(uint32_t role, ByteSpan text, const CancelFlag *cancelled, ToolSet **out)
{
	uint64_t hash = hash_of(text);
	ToolSet *made = NULL, *held;
	Status status;

	*out = NULL;
	pthread_mutex_lock(&lock);
	held = hold(role, hash, text);
	pthread_mutex_unlock(&lock);
	if (!held)
	{
		STATUS_TRY(tool_set_create(text, cancelled, &made));
		pthread_mutex_lock(&lock);
		/* another thread may have read the same meanwhile */
		held = hold(role, hash, text);
		status = held ? status_ok() : kept_memory_take(role, kept_bytes(made));
		if (!held && status.code == STATUS_OK)
		{
			held = made;
			made = NULL;
			offer(held, role, hash);
		}
		pthread_mutex_unlock(&lock);
		tool_set_destroy(made);
		STATUS_TRY(status);
	}
	*out = held;
	return status_ok();
}

/* One holder less. true: it was the last, and nobody finds the set any more. */
static bool
let_go(ToolSet *set)
{
	ToolSet **link = &chains[set->hash % N_CHAINS];
	bool was_last;

	pthread_mutex_lock(&lock);
	was_last = --set->n_holders == 0;
	while (was_last && *link != set)
		link = &(*link)->next;
	if (was_last)
		*link = set->next;
	pthread_mutex_unlock(&lock);
	if (was_last)
		kept_memory_give(set->role, kept_bytes(set));
	return was_last;
}

void
tool_set_destroy(ToolSet *set)
{
	if (set && (!set->is_shared || let_go(set)))
		arena_destroy(set->arena);
}

const JsonNode *
tool_find(const ToolSet *set, ByteSpan name)
{
	size_t low = 0, high = set ? set->n : 0;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;
		const JsonNode *its = json_member_named(set->tools[middle], "name");

		if (json_compare(its->text, its->n, name.data, name.length) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (set && low < set->n)
	{
		const JsonNode *its = json_member_named(set->tools[low], "name");

		if (its->n == name.length && memcmp(its->text, name.data, name.length) == 0)
			return set->tools[low];
	}
	return NULL;
}

const JsonNode *
tool_parameters(const JsonNode *tool)
{
	const JsonNode *parameters = json_member_named(tool, "parameters");

	return parameters ? parameters : json_member_named(tool, "input_schema");
}
