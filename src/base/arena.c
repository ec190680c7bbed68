/*
 * arena.c - chunked bump allocation; see arena.h.
 */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK_BYTES ((size_t) 64 * 1024)
#define ARENA_ALIGNMENT 16

typedef struct ArenaChunk
{
	struct ArenaChunk *next;
	size_t capacity;
	size_t used;
	char padding[ARENA_ALIGNMENT - (sizeof(void *) + 2 * sizeof(size_t)) % ARENA_ALIGNMENT];
} ArenaChunk;

struct Arena
{
	ArenaChunk *chunks; /* newest first */
	size_t used;
	size_t limit; /* SIZE_MAX: none */
	const CancelFlag *cancelled;
};

Arena *
arena_create(size_t limit_bytes)
{
	Arena *arena = calloc(1, sizeof *arena);

	if (arena)
		arena->limit = limit_bytes ? limit_bytes : SIZE_MAX;
	return arena;
}

void
arena_set_cancel(Arena *arena, const CancelFlag *cancelled)
{
	arena->cancelled = cancelled;
}

/* Put a chunk with room for bytes in front of the list. */
static ArenaChunk *
add_chunk(Arena *arena, size_t bytes)
{
	size_t capacity = bytes > ARENA_CHUNK_BYTES ? bytes : ARENA_CHUNK_BYTES;
	ArenaChunk *chunk;

	if (capacity > SIZE_MAX - sizeof *chunk)
		return NULL;
	chunk = malloc(sizeof *chunk + capacity);
	if (!chunk)
		return NULL;
	chunk->next = arena->chunks;
	chunk->capacity = capacity;
	chunk->used = 0;
	arena->chunks = chunk;
	return chunk;
}

void *
arena_alloc(Arena *arena, size_t bytes)
{
	ArenaChunk *chunk = arena->chunks;
	void *piece;

	if (bytes > SIZE_MAX - ARENA_ALIGNMENT || cancel_is_wanted(arena->cancelled))
		return NULL;
	bytes = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
	if (bytes == 0)
		bytes = ARENA_ALIGNMENT;
	if (bytes > arena->limit - arena->used)
		return NULL;
	if (!chunk || chunk->capacity - chunk->used < bytes)
		chunk = add_chunk(arena, bytes);
	if (!chunk)
		return NULL;
	piece = (char *) (chunk + 1) + chunk->used;
	chunk->used += bytes;
	arena->used += bytes;
	return memset(piece, 0, bytes);
}

void *
arena_alloc_array(Arena *arena, size_t n, size_t size)
{
	if (size && n > SIZE_MAX / size)
		return NULL;
	return arena_alloc(arena, n * size);
}

char *
arena_copy(Arena *arena, const char *text, size_t length)
{
	char *copy = length == SIZE_MAX ? NULL : arena_alloc(arena, length + 1);

	if (copy && length)
		memcpy(copy, text, length);
	return copy;
}

size_t
arena_used(const Arena *arena)
{
	return arena->used;
}

/* Free every chunk from chunk on. */
static void
free_chunks(ArenaChunk *chunk)
{
	while (chunk)
	{
		ArenaChunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

void
arena_reset(Arena *arena)
{
	arena->used = 0;
	if (!arena->chunks)
		return;
	free_chunks(arena->chunks->next);
	arena->chunks->next = NULL;
	arena->chunks->used = 0;
}

void
arena_destroy(Arena *arena)
{
	if (!arena)
		return;
	free_chunks(arena->chunks);
	free(arena);
}
