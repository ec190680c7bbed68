/*
 * arena.h - memory that lives and dies together (a model, a request, a parsed template).
 *
 * An Arena hands out aligned pieces and frees them all at once. It grows by chunks, refuses to grow
 * past its limit, and returns NULL then or when the system has no memory; it never exits.
 */
#ifndef QWEN_BASE_ARENA_H
#define QWEN_BASE_ARENA_H

#include <stddef.h>

#include "cancel.h"

typedef struct Arena Arena;

/* A new arena that may hold at most limit_bytes (0: no limit), or NULL. Freed by arena_destroy. */
extern Arena *arena_create(size_t limit_bytes);

/* From here on nothing is to be had once the flag is set, so that whoever fills the arena ends soon. NULL: no flag. */
extern void arena_set_cancel(Arena *arena, const CancelFlag *cancelled);

/* bytes of memory set to zero, aligned to 16 bytes, valid until reset or destroy; NULL when over the limit. */
extern void *arena_alloc(Arena *arena, size_t bytes);

/* n * size with the multiplication checked; otherwise as arena_alloc. */
extern void *arena_alloc_array(Arena *arena, size_t n, size_t size);

/* A NUL-terminated copy of text[0 .. length). */
extern char *arena_copy(Arena *arena, const char *text, size_t length);

/* Bytes handed out since creation or the last reset. */
extern size_t arena_used(const Arena *arena);

/* Forget everything handed out; keeps one chunk for reuse. */
extern void arena_reset(Arena *arena);

/* Free the arena and all its memory; NULL is fine. */
extern void arena_destroy(Arena *arena);

#endif
