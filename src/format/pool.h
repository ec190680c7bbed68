/*
 * pool.h - the memory of one compiled format: an arena with a limit, things that are stored once (interned), and the
 * first thing that went wrong.
 *
 * Everything in this room is a small tuple of 32-bit words that is interned: expressions, formulas, states. Equal
 * tuples have one number, so equality is a comparison of numbers and what was found out about one is kept beside it.
 *
 * Failing is sticky: after the first failure (no memory, a limit) every function gives something harmless, and whoever
 * began the work looks at pool->status once. All limits count the work that a format is, never time.
 */
#ifndef QWEN_FORMAT_POOL_H
#define QWEN_FORMAT_POOL_H

#include "../base/arena.h"
#include "../base/bytes.h"
#include "../base/status.h"

#define FORMAT_ARENA_BYTES ((size_t) 64 << 20) /* FORMAT_LIMIT_BYTES */
#ifndef FORMAT_MAX_WORK                        /* a fuzzer takes less */
#define FORMAT_MAX_WORK ((uint64_t) 4000000)   /* steps of building; about 0.2 s */
#endif
#define NO_LIMIT UINT32_MAX

typedef struct Pool
{
	Arena *arena;
	Status status;
	uint64_t work;
} Pool;

/* Tuples of words, numbered from 0 in the order in which they came. */
typedef struct Interner
{
	uint32_t n, capacity, n_slots;
	uint32_t **words; /* words[i][-1] is how many there are */
	uint32_t *slots;  /* number + 1; 0: free */
} Interner;

/* From a number of 64 bits to one of 32. */
typedef struct NumberMap
{
	uint32_t n, n_slots;
	uint64_t *keys; /* key + 1 */
	uint32_t *values;
} NumberMap;

/* A growing list of words in the pool's memory. Zero at its beginning. */
typedef struct WordList
{
	uint32_t *at;
	uint32_t n, capacity;
} WordList;

extern bool pool_open(Pool *pool);
extern void pool_close(Pool *pool);
extern bool pool_failed(const Pool *pool);

/* Note a failure, unless there was one before. */
extern void pool_fail(Pool *pool, StatusCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Count steps of work; false once there were too many. */
extern bool pool_work(Pool *pool, uint64_t steps);

/* Zeroed memory, or NULL after noting the failure. */
extern void *pool_alloc(Pool *pool, size_t n, size_t size);

/* Room for one more element of size bytes in an array of n; false without memory. */
extern bool pool_grow(Pool *pool, void *array, uint32_t n, uint32_t *capacity, size_t size);

/* The number of a tuple; *is_new (may be NULL): it came for the first time. 0 after a failure. */
extern uint32_t intern(Pool *pool, Interner *interner, const uint32_t *words, uint32_t n, bool *is_new);

static inline const uint32_t *
interned(const Interner *interner, uint32_t id, uint32_t *n)
{
	if (n)
		*n = interner->words[id][-1];
	return interner->words[id];
}

extern bool map_find(const NumberMap *map, uint64_t key, uint32_t *value);
extern void map_put(Pool *pool, NumberMap *map, uint64_t key, uint32_t value);

extern void list_add(Pool *pool, WordList *list, uint32_t word);
extern void list_add_all(Pool *pool, WordList *list, const uint32_t *words, uint32_t n);

/* Sort a list and drop what stands in it twice. */
extern void list_sort_unique(WordList *list);

#endif
