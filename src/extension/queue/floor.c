/*
 * floor.c - from which id on a worker reads qwen_job_row.
 *
 * Rows leave the queue at its head, and what they leave behind stands in the index until VACUUM may clear it: with an
 * old snapshot somewhere, thousands of dead entries that each look would pass again. So a worker remembers an id up to
 * which there is nothing for it, the floor, and reads from there.
 *
 * Ids do not become visible in their order: a transaction may take a low one and commit late. Whoever inserts holds a
 * lock on the table from before its id is taken until its end. So once an id has been seen, all lower ones belong to
 * transactions that are over or that hold that lock (the writers). When those have ended too, everything up to that id
 * can be seen, and what is left of it says how far the floor may rise. Rows that come back without being inserted
 * (qwen_retry, another owner of the table) call the worker, which begins anew (job_floor_reset).
 */
#include "floor.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"

#define WORTH_A_LOOK 500 /* ids */

void
job_floor_reset(JobWorker *worker)
{
	if (worker->floor.writers)
		pfree(worker->floor.writers);
	memset(&worker->floor, 0, sizeof worker->floor);
}

/* The highest id so far becomes the candidate; remember who may still put lower ones down. */
static void
choose_candidate(JobWorker *worker, const JobStore *store)
{
	JobFloor *floor = &worker->floor;
	VirtualTransactionId *holders;
	LOCKTAG tag;
	int n;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, store->row_table);
	holders = GetLockConflicts(&tag, ShareLock, &n);
	if (floor->writers)
		pfree(floor->writers);
	floor->writers = MemoryContextAlloc(worker->memory, sizeof *holders * Max(n, 1));
	memcpy(floor->writers, holders, sizeof *holders * n);
	floor->n_writers = n;
	floor->candidate = floor->seen;
}

/* Have all writers of the candidate's time ended? */
static bool
writers_ended(JobFloor *floor)
{
	VirtualTransactionId *writers = floor->writers;

	while (floor->n_writers > 0 && VirtualXactLock(writers[floor->n_writers - 1], false))
		floor->n_writers--;
	return floor->n_writers == 0;
}

void
job_floor_raise(JobWorker *worker, const JobStore *store)
{
	JobFloor *floor = &worker->floor;
	Oid types[2] = {OIDOID, INT8OID};
	Datum values[2] = {ObjectIdGetDatum(worker->place.role), Int64GetDatum(floor->id)}, lowest;
	JobIdentity identity;
	bool none;

	if (floor->candidate == 0 && floor->seen - floor->id >= WORTH_A_LOOK)
		choose_candidate(worker, store);
	if (floor->candidate == 0 || !writers_ended(floor))
		return;
	job_identity_begin(store, &identity);
	job_execute(psprintf("SELECT id FROM %s WHERE owner = $1 AND NOT dead AND id > $2 ORDER BY id LIMIT 1", store->row),
				2, types, values, NULL, SPI_OK_SELECT, 1);
	none = SPI_processed == 0;
	lowest = none ? (Datum) 0 : SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &none);
	floor->id = none ? floor->candidate : Min(floor->candidate, DatumGetInt64(lowest) - 1);
	floor->candidate = 0;
	job_identity_end(&identity);
}
