/*
 * pool.c - see pool.h.
 */
#include "pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
pool_open(Pool *pool)
{
	*pool = (Pool){.arena = arena_create(FORMAT_ARENA_BYTES), .status = status_ok()};
	return pool->arena != NULL;
}

void
pool_close(Pool *pool)
{
	arena_destroy(pool->arena);
	pool->arena = NULL;
}

bool
pool_failed(const Pool *pool)
{
	return pool->status.code != STATUS_OK;
}

void
pool_fail(Pool *pool, StatusCode code, const char *format, ...)
{
	char text[STATUS_MESSAGE_BYTES];
	va_list arguments;

	if (pool_failed(pool))
		return;
	va_start(arguments, format);
	(void) vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	pool->status = status_error(code, "%s", text);
}

bool
pool_work(Pool *pool, uint64_t steps)
{
	pool->work += steps;
	if (pool->work > FORMAT_MAX_WORK)
		pool_fail(pool, STATUS_TOO_LONG, "the format takes more than %llu steps to build, which is the limit",
				  (unsigned long long) FORMAT_MAX_WORK);
	return !pool_failed(pool);
}

void *
pool_alloc(Pool *pool, size_t n, size_t size)
{
	void *memory = pool_failed(pool) || !pool->arena ? NULL : arena_alloc_array(pool->arena, n ? n : 1, size);

	if (!memory && !pool_failed(pool))
	{
		if (pool->arena && (n > FORMAT_ARENA_BYTES / (size ? size : 1) ||
							arena_used(pool->arena) + n * size > FORMAT_ARENA_BYTES - 4096))
			pool_fail(pool, STATUS_TOO_LONG, "the format takes more than %zu MB of memory, which is the limit",
					  FORMAT_ARENA_BYTES >> 20);
		else
			pool_fail(pool, STATUS_UNAVAILABLE, "out of memory for a format, or it was cancelled");
	}
	return memory;
}

bool
pool_grow(Pool *pool, void *array, uint32_t n, uint32_t *capacity, size_t size)
{
	uint32_t wanted = *capacity ? *capacity * 2 : 8;
	void *old, *grown;

	if (n < *capacity)
		return !pool_failed(pool);
	grown = pool_alloc(pool, wanted, size);
	if (!grown)
		return false;
	memcpy(&old, array, sizeof old);
	if (n)
		memcpy(grown, old, n * size);
	memcpy(array, &grown, sizeof grown);
	*capacity = wanted;
	return true;
}

static uint64_t
mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xD6E8FEB86659FD93ull;
	x ^= x >> 32;
	x *= 0xD6E8FEB86659FD93ull;
	return x ^ x >> 32;
}

static uint64_t
hash_words(const uint32_t *words, uint32_t n)
{
	uint64_t hash = n;

	for (uint32_t i = 0; i < n; i++)
		hash = mix(hash * 31 + words[i]);
	return hash;
}

/* A table of slots twice as large. */
static bool
grow_slots(Pool *pool, Interner *interner)
{
	uint32_t n_slots = interner->n_slots ? interner->n_slots * 2 : 64;
	uint32_t *slots = pool_alloc(pool, n_slots, sizeof *slots);

	if (!slots)
		return false;
	for (uint32_t i = 0; i < interner->n; i++)
	{
		uint64_t at = hash_words(interner->words[i], interner->words[i][-1]);

		while (slots[at & (n_slots - 1)])
			at++;
		slots[at & (n_slots - 1)] = i + 1;
	}
	interner->slots = slots;
	interner->n_slots = n_slots;
	return true;
}

uint32_t
intern(Pool *pool, Interner *interner, const uint32_t *words, uint32_t n, bool *is_new)
{
	uint64_t at = hash_words(words, n);
	uint32_t *copy;

	if (is_new)
		*is_new = false;
	if (interner->n * 2 >= interner->n_slots && !grow_slots(pool, interner))
		return 0;
	for (; interner->slots[at & (interner->n_slots - 1)]; at++)
	{
		uint32_t id = interner->slots[at & (interner->n_slots - 1)] - 1;

		if (interner->words[id][-1] == n && (n == 0 || memcmp(interner->words[id], words, n * sizeof *words) == 0))
			return id;
	}
	if (!pool_grow(pool, &interner->words, interner->n, &interner->capacity, sizeof *interner->words))
		return 0;
	copy = pool_alloc(pool, (size_t) n + 1, sizeof *copy);
	if (!copy)
		return 0;
	copy[0] = n;
	if (n)
		memcpy(copy + 1, words, n * sizeof *words);
	interner->words[interner->n] = copy + 1;
	interner->slots[at & (interner->n_slots - 1)] = interner->n + 1;
	if (is_new)
		*is_new = true;
	return interner->n++;
}

bool
map_find(const NumberMap *map, uint64_t key, uint32_t *value)
{
	if (map->n_slots == 0)
		return false;
	for (uint64_t at = mix(key);; at++)
	{
		uint32_t slot = (uint32_t) at & (map->n_slots - 1);

		if (!map->keys[slot])
			return false;
		if (map->keys[slot] == key + 1)
		{
			*value = map->values[slot];
			return true;
		}
	}
}

static void
put_slot(NumberMap *map, uint64_t key, uint32_t value)
{
	uint64_t at = mix(key);

	while (map->keys[at & (map->n_slots - 1)] && map->keys[at & (map->n_slots - 1)] != key + 1)
		at++;
	map->n += !map->keys[at & (map->n_slots - 1)];
	map->keys[at & (map->n_slots - 1)] = key + 1;
	map->values[at & (map->n_slots - 1)] = value;
}

void
map_put(Pool *pool, NumberMap *map, uint64_t key, uint32_t value)
{
	if (map->n * 2 >= map->n_slots)
	{
		NumberMap grown = {.n_slots = map->n_slots ? map->n_slots * 2 : 64};

		grown.keys = pool_alloc(pool, grown.n_slots, sizeof *grown.keys);
		grown.values = pool_alloc(pool, grown.n_slots, sizeof *grown.values);
		if (!grown.keys || !grown.values)
			return;
		for (uint32_t i = 0; i < map->n_slots; i++)
			if (map->keys[i])
				put_slot(&grown, map->keys[i] - 1, map->values[i]);
		*map = grown;
	}
	put_slot(map, key, value);
}

void
list_add(Pool *pool, WordList *list, uint32_t word)
{
	if (pool_grow(pool, &list->at, list->n, &list->capacity, sizeof *list->at))
		list->at[list->n++] = word;
}

void
list_add_all(Pool *pool, WordList *list, const uint32_t *words, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		list_add(pool, list, words[i]);
}

static int
compare_words(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

	return (x > y) - (x < y);
}

void
list_sort_unique(WordList *list)
{
	uint32_t kept = 0;

	if (list->n < 2)
		return;
	qsort(list->at, list->n, sizeof *list->at, compare_words);
	for (uint32_t i = 0; i < list->n; i++)
		if (kept == 0 || list->at[kept - 1] != list->at[i])
			list->at[kept++] = list->at[i];
	list->n = kept;
}
