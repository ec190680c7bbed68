/*
 * usage_memory.h - the memory in which stands what is used, as the files usage*.c share it.
 *
 * Locks, in the order in which they are taken: queue; table (shared while a record is used, exclusive to add or
 * remove one); the records' stripes, the lower first; charges (the list of free ones). None is held while waiting.
 */
#ifndef QWEN_USAGE_MEMORY_H
#define QWEN_USAGE_MEMORY_H

#include "usage.h"

#include "../core/shared_memory.h"

#define N_QUEUE_PLACES 8192
#define MAX_AGE_SECONDS (48 * 3600)

typedef enum ChargeState
{
	CHARGE_FREE = 0,
	CHARGE_HELD, /* a backend waits for the request */
	CHARGE_LEFT, /* nobody does any more, but the engine may still work on it */
	CHARGE_DONE, /* the engine has ended it and it counts no more, but its backend has not looked yet */
} ChargeState;

/* A request under way. Guarded by the stripe of its first record. */
typedef struct Charge
{
	uint32 state; /* ChargeState */
	uint32 next;  /* of the free ones */
	uint32 usage[MAX_LIMITED_ROLES_OF_CALL];
	uint32 prompt_tokens;
	uint32 max_tokens;
	uint32 counted_tokens; /* of the answer, charged already */
	int engine_pid;
	bool undone;  /* it is to count as if it had never been admitted */
	int pid;      /* whose it is */
	uint64 group; /* that it has sisters in */
	uint64 admitted_us;
	uint64 left_us;
} Charge;

/* Somebody who waits. Guarded by the lock of the queue. */
typedef struct QueuePlace
{
	uint64 ticket;                        /* 0: free */
	Oid roles[MAX_LIMITED_ROLES_OF_CALL]; /* for whose limits; InvalidOid: nobody's */
	Latch *latch;
} QueuePlace;

typedef struct UsageMemory
{
	uint32 magic;
	uint32 n_records; /* room */
	uint32 n_chains;  /* a power of two */
	uint32 free_record, n_used;
	uint32 free_charge, n_charges; /* charges from n_charges on were never used */
	uint64 next_ticket;
	uint32 n_places; /* places from there on were never used */
	pg_atomic_uint64 swept_us;
	QueuePlace places[N_QUEUE_PLACES];
	Charge charges[STATUS_PAGE_MAX_METERS];
	/* then chains [n_chains] and records [n_records] */
} UsageMemory;

extern UsageMemory *usage_memory;
extern uint32 *usage_chains;     /* [n_chains] */
extern RoleUsage *usage_records; /* [n_records] */
extern LWLockPadded *usage_locks;

#define QUEUE_LOCK (&usage_locks[0].lock)
#define TABLE_LOCK (&usage_locks[1].lock)
#define CHARGES_LOCK (&usage_locks[2].lock)
#define N_STRIPES 64
#define STRIPE(record) ((record) % N_STRIPES)
#define STRIPE_LOCK(stripe) (&usage_locks[3 + (stripe)].lock)
#define N_LOCKS (3 + N_STRIPES)

/* Monotonic, and far enough from zero that what happened a day ago has a time even when the machine has just started.
 */
extern uint64 usage_now_us(void);

/* All records free, in one list. */
extern void usage_clear_records(void);

/* The locks are there, new ones after a reset. */
extern void usage_find_locks(void);

#endif
