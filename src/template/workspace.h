/*
 * workspace.h - what every part of the template interpreter shares: the arena it allocates from, the first failure,
 * and the bounds (steps, depth, memory, length of a string) that keep a hostile template or input from running away.
 *
 * Functions of this room return false (or NULL) after a failure; the Status with the sentence is kept here, as
 * ByteReader keeps its "failed". The first failure stays; the public functions hand it out as their Status.
 */
#ifndef QWEN_TEMPLATE_WORKSPACE_H
#define QWEN_TEMPLATE_WORKSPACE_H

#include "../base/arena.h"
#include "../base/cancel.h"
#include "../base/status.h"

#include <stddef.h>

#define TEMPLATE_MAX_SOURCE_BYTES ((size_t) 1 << 20)   /* of a template */
#define TEMPLATE_MAX_NAMES 4096                        /* distinct names in a template */
#define TEMPLATE_MAX_PARSE_DEPTH 200                   /* nested blocks, brackets and operators */
#define TEMPLATE_MAX_RUN_DEPTH 1000                    /* nested evaluations, macro calls and values */
#define TEMPLATE_MAX_STEPS 10000000                    /* evaluated nodes; long operations count as more */
#define TEMPLATE_MAX_TEXT_BYTES ((size_t) 32 << 20)    /* of one string, and of the prompt */
#define TEMPLATE_MAX_PARSE_MEMORY ((size_t) 256 << 20) /* of a parsed template */
#define TEMPLATE_MAX_RUN_MEMORY ((size_t) 256 << 20)   /* of one rendering */
#define TEMPLATE_MAX_RANGE 100000                      /* items of range(), as in Jinja's sandbox */
#define TEMPLATE_MAX_JSON_DEPTH 200                    /* nested arrays and objects in messages and tools */

typedef struct Workspace
{
	Arena *arena;
	size_t memory_limit;         /* of the arena, for the sentence */
	Status status;               /* the first failure */
	const CancelFlag *cancelled; /* looked at with every step and allocation; NULL: nobody cancels */
	uint64_t steps;
	uint32_t depth;
	uint32_t max_depth;
	uint32_t line; /* of the template, 1-based; 0: none, errors name no line */
} Workspace;

/* Start with an arena of memory_limit bytes; false: no memory (nothing to free). */
extern bool workspace_init(Workspace *work, size_t memory_limit, uint32_t max_depth);
extern void workspace_free(Workspace *work);

/* n * size bytes of zeros, or NULL and a failure (TOO_LONG over the limit, UNAVAILABLE without memory). */
extern void *workspace_alloc(Workspace *work, size_t n, size_t size);

/* Keep the failure, with the line in front; returns false for the caller to return. */
extern bool workspace_fail(Workspace *work, StatusCode code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__
/* what it cannot see from the other files: false, always */
#define workspace_fail(work_, code_, ...) ((void) (work_), (void) (code_), status_seen(__VA_ARGS__), false)
#endif

/* Count n steps of work; false when there were too many, or when the work is not wanted any more. */
extern bool workspace_step(Workspace *work, size_t n);

/* One level deeper; false when too deep. Each success is paired with workspace_leave. */
extern bool workspace_enter(Workspace *work);
extern void workspace_leave(Workspace *work);

#endif
