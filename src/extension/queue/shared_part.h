/*
 * shared_part.h - the room's parts of PostgreSQL's shared memory; queue.c puts them together.
 */
#ifndef QWEN_SHARED_PART_H
#define QWEN_SHARED_PART_H

#include "../core/core.h"

/* What a file keeps there, zeroed at first. All is guarded by qwen_shared->lock. */
typedef struct SharedPart
{
	Size bytes;
	void (*start)(void *memory, bool is_new); /* use it from here on */
} SharedPart;

extern const SharedPart job_places_part, job_letters_part, job_sweeps_part, job_ends_part, job_prepared_part;

#endif
