/*
 * place_table.h - the places of (database, role) that have work, in shared memory.
 */
#ifndef QWEN_PLACE_TABLE_H
#define QWEN_PLACE_TABLE_H

#include "worker_place.h"

#include "port/atomics.h"

#define N_PLACES 64
#define PLACE_LAST_RETRY_MS 30000

typedef enum PlaceState
{
	PLACE_FREE = 0,
	PLACE_WANTED,   /* a worker is asked for */
	PLACE_NO_SLOT,  /* max_worker_processes are used up */
	PLACE_LIMITED,  /* qwen.max_job_workers are there */
	PLACE_STARTING, /* the postmaster has been told */
	PLACE_RUNNING,
	PLACE_FAILED, /* it ended before its work did; next_try says when another starts */
} PlaceState;

typedef struct Place
{
	Oid database, role;
	PlaceState state;
	pid_t pid;
	Latch *latch;
	TimestampTz next_try;
	int n_failures;
	bool connected; /* the worker got as far as that */
	uint64 turn;    /* who has waited longest for a worker has the lowest */
	uint64 started_us;
	char trouble[JOB_TROUBLE_BYTES]; /* of one that runs: why nothing moves; of one that failed: its last words */
	/* changed under the shared lock */
	pg_atomic_uint64 requests; /* how often work was asked for */
	pg_atomic_uint64 calls;    /* how often for more than rows that were queued just now */
	pg_atomic_uint32 listens;  /* it waits, and has room for rows */
} Place;

typedef struct PlaceTable
{
	Place places[N_PLACES];
	bool scout_wanted;
	bool scout_has_no_slot; /* of background workers: one could not be started */
	bool is_full;           /* somebody found no place: a scout is to look when one is free */
	uint64 next_turn;
	uint64 look_again_us; /* a scout is wanted then; 0: never */
	uint64 swept_us;      /* when a scout was last sent to look for what is to be swept away */
} PlaceTable;

extern PlaceTable *job_places; /* NULL: the library was not preloaded */

/* Nobody wants a place any more: there is room for those that found none. The lock is held. */
extern void job_place_free(Place *place);

/* A place stands behind all others that wait for a worker. The lock is held. */
extern void job_place_go_behind(Place *place);

/* The next start of a worker that failed. One that never connects may have lost its role or database: a scout knows.
 * The lock is held. */
extern void job_place_plan_retry(Place *place);

/* All places as they are now; false: there are none. */
extern bool job_places_copy(Place copy[N_PLACES]);

/* Is a scout to be started now? Then it counts as started. is_there: one is at work. */
extern bool job_scout_is_due(bool is_there);

#endif
