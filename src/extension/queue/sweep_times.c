/*
 * sweep_times.c - when what is over is swept away, in each database.
 */
#include "sweep_times.h"

#include "../../base/clock.h"

#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "shared_part.h"

#define N_DATABASES 64
#define ASKED_SWEEP_US USECS_PER_SEC /* between two that deletes ask for */

typedef struct Sweeps
{
	struct
	{
		Oid database;
		uint64 next_us; /* when it is swept again */
		bool asked;     /* somebody has deleted rows of a table with dead letters */
	} of[N_DATABASES];
	int next; /* place for another database */
} Sweeps;

static Sweeps *sweeps;

static void
start(void *memory, bool is_new)
{
	sweeps = memory;
}

const SharedPart job_sweeps_part = {sizeof(Sweeps), start};

uint64
job_sweep_pause_us(uint64 least, uint64 most)
{
	uint64 seconds = qwen_job_retention > 0 ? (uint64) qwen_job_retention / 10 : most;

	return Max(least, Min(seconds, most)) * USECS_PER_SEC;
}

/* Where the next sweep of this database is noted. The lock is held. */
static int
find_sweep(void)
{
	int at;

	for (int i = 0; i < N_DATABASES; i++)
		if (sweeps->of[i].database == MyDatabaseId)
			return i;
	at = sweeps->next++ % N_DATABASES;
	memset(&sweeps->of[at], 0, sizeof sweeps->of[at]);
	sweeps->of[at].database = MyDatabaseId;
	return at;
}

long
job_sweep_wait_ms(void)
{
	uint64 now = clock_now_us(), next;
	bool asked;
	int at;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	at = find_sweep();
	next = sweeps->of[at].next_us;
	asked = sweeps->of[at].asked;
	if (now >= next)
	{
		sweeps->of[at].next_us = now + job_sweep_pause_us(1, SECS_PER_MINUTE);
		sweeps->of[at].asked = false;
	}
	LWLockRelease(qwen_shared->lock);
	return now >= next ? 0 : asked ? (long) ((next - now) / 1000 + 1) : -1;
}

void
job_sweep_ask(void)
{
	uint64 soon = clock_now_us() + ASKED_SWEEP_US;
	int at;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	at = find_sweep();
	sweeps->of[at].next_us = Min(sweeps->of[at].next_us, soon);
	sweeps->of[at].asked = true;
	LWLockRelease(qwen_shared->lock);
}
