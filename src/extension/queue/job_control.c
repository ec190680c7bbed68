/*
 * job_control.c - qwen_cancel, qwen_retry, qwen_forget and qwen_wait: what users do with jobs that are there, and with
 * dead letters of a table.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "ends.h"
#include "executor/spi.h"
#include "parameters.h"
#include "requests.h"
#include "rights.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "values.h"

#define WAIT_LOOK_MS 1000 /* how often a waiter looks even when nobody wakes it */
#define LONGEST_WAIT_MS (INT64CONST(100) * 365 * SECS_PER_DAY * 1000)

/* A job's argument, by name. */
static int64
job_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("id must not be null")));
	return PG_GETARG_INT64(0);
}

/* Is a job with this state not over? */
static bool
is_active(const char *state)
{
	return strcmp(state, "queued") == 0 || strcmp(state, "running") == 0;
}

/* A table's argument, whose owner the caller may act as; the owner. */
static Oid
own_relation_argument(FunctionCallInfo fcinfo, Datum *relation)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("relation must not be null")));
	*relation = PG_GETARG_DATUM(0);
	return job_own_relation(DatumGetObjectId(*relation));
}

QWEN_WRITING_FUNCTION(qwen_cancel, 1, 1)
{
	int64 job = job_argument(fcinfo);
	Oid type = INT8OID, owner;
	Datum value = Int64GetDatum(job);
	JobStore store;
	JobIdentity identity;
	char *state;
	bool ended;

	require_preloaded();
	job_store_require(&store);
	SPI_connect();
	owner = job_find_own(&store, job, &state, true);
	ended = !is_active(state);
	if (!ended)
	{
		job_identity_begin(&store, &identity);
		job_execute(psprintf("UPDATE %s SET state = 'cancelled', ended = now(), error = NULL WHERE id = $1", store.job),
					1, &type, &value, NULL, SPI_OK_UPDATE, 0);
		job_identity_end(&identity);
		job_notify_end(job, "cancelled");
		job_call_worker(owner);
	}
	SPI_finish();
	PG_RETURN_BOOL(!ended);
}

QWEN_WRITING_FUNCTION(qwen_retry, 1, 1)
{
	int64 job = job_argument(fcinfo), n;
	Oid type = INT8OID, owner;
	Datum value = Int64GetDatum(job);
	JobStore store;
	JobIdentity identity;
	char *state;

	require_preloaded();
	job_store_require(&store);
	SPI_connect();
	owner = job_find_own(&store, job, &state, true);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the role that owns job " INT64_FORMAT " was dropped", job),
				 errdetail("A background worker does a job's work as its owner."),
				 errhint("Submit the job anew as another role; qwen_forget(" INT64_FORMAT ") removes this one.", job)));
	job_identity_begin(&store, &identity);
	n = job_execute(
		psprintf("UPDATE %s SET dead = false, attempts = 0, next_try = NULL WHERE job = $1 AND dead", store.row), 1,
		&type, &value, NULL, SPI_OK_UPDATE, 0);
	job_execute(psprintf("UPDATE %s SET state = 'queued', ended = NULL, error = NULL, failed = failed - $2 "
						 "WHERE id = $1 AND (state IN ('failed', 'cancelled') OR $2 > 0)",
						 store.job),
				2, (Oid[]){INT8OID, INT8OID}, (Datum[]){value, Int64GetDatum(n)}, NULL, SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
	SPI_finish();
	job_call_worker(owner);
	PG_RETURN_INT64(n);
}

/* A table whose rows nothing queues is another one than was meant. */
static void
require_queueing_trigger(const JobStore *store, Oid table)
{
	Relation relation = relation_open(table, AccessShareLock);
	/* a copy: looking at their functions may bring news that build the relation's own anew */
	const TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);
	bool queues = false;

	for (int i = 0; triggers && i < triggers->numtriggers && !queues; i++)
		queues = job_store_queues(store, triggers->triggers[i].tgfoid);
	if (!queues)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("table \"%s\" has no trigger that queues its rows, and no dead letters",
							   RelationGetRelationName(relation)),
						errhint("qwen_dead_letters lists what failed, and qwen_retry(id) tries rows of a job again.")));
	relation_close(relation, NoLock);
}

/* A table and its partitions, which are itself: a list of Oid. */
static List *
with_partitions(Oid table)
{
	List *tables = list_make1_oid(table);
	ListCell *cell;

	foreach (cell, find_all_inheritors(table, AccessShareLock, NULL))
		if (lfirst_oid(cell) != table && get_rel_relispartition(lfirst_oid(cell)))
			tables = lappend_oid(tables, lfirst_oid(cell));
	return tables;
}

/* Call the workers of the roles that own these tables. */
static void
call_workers_of(const List *tables)
{
	ListCell *cell;

	foreach (cell, tables)
	{
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));

		if (!HeapTupleIsValid(tuple))
			continue;
		job_call_worker(((Form_pg_class) GETSTRUCT(tuple))->relowner);
		ReleaseSysCache(tuple);
	}
}

QWEN_WRITING_FUNCTION(qwen_retry_table, 1, 1)
{
	Oid type = OIDARRAYOID;
	Datum relation, value;
	List *tables;
	JobStore store;
	JobIdentity identity;
	int64 n;

	require_preloaded();
	job_store_require(&store);
	(void) own_relation_argument(fcinfo, &relation);
	tables = with_partitions(DatumGetObjectId(relation));
	value = job_oid_array(tables);
	SPI_connect();
	job_identity_begin(&store, &identity);
	n = job_execute(
		psprintf("UPDATE %s SET dead = false, attempts = 0, next_try = NULL WHERE relation = ANY ($1) AND dead",
				 store.row),
		1, &type, &value, NULL, SPI_OK_UPDATE, 0);
	job_identity_end(&identity);
	if (n == 0)
		require_queueing_trigger(&store, DatumGetObjectId(relation));
	SPI_finish();
	call_workers_of(tables);
	PG_RETURN_INT64(n);
}

QWEN_WRITING_FUNCTION(qwen_forget, 1, 1)
{
	Oid type = INT8OID;
	JobStore store;
	JobIdentity identity;
	Datum value;
	char *state;
	int64 job;

	require_preloaded();
	job_store_require(&store);
	job = job_argument(fcinfo);
	value = Int64GetDatum(job);
	SPI_connect();
	(void) job_find_own(&store, job, &state, true);
	if (is_active(state))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("job " INT64_FORMAT " has not ended", job),
				 errhint("End it first: SELECT qwen_cancel(" INT64_FORMAT ").", job)));
	job_identity_begin(&store, &identity);
	job_execute(psprintf("DELETE FROM %s WHERE job = $1", store.row), 1, &type, &value, NULL, SPI_OK_DELETE, 0);
	job_execute(psprintf("DELETE FROM %s WHERE id = $1", store.job), 1, &type, &value, NULL, SPI_OK_DELETE, 0);
	job_identity_end(&identity);
	SPI_finish();
	PG_RETURN_VOID();
}

QWEN_WRITING_FUNCTION(qwen_forget_table, 1, 1)
{
	Oid type = OIDARRAYOID;
	JobStore store;
	JobIdentity identity;
	Datum relation, value;
	int64 n;

	require_preloaded();
	job_store_require(&store);
	(void) own_relation_argument(fcinfo, &relation);
	value = job_oid_array(with_partitions(DatumGetObjectId(relation)));
	SPI_connect();
	job_identity_begin(&store, &identity);
	n = job_execute(psprintf("DELETE FROM %s WHERE relation = ANY ($1) AND dead", store.row), 1, &type, &value, NULL,
					SPI_OK_DELETE, 0);
	job_identity_end(&identity);
	SPI_finish();
	PG_RETURN_INT64(n);
}

/* A job's state as it is committed now, whatever snapshot the statement has; raises for one that is not committed. */
static char *
committed_state(const JobStore *store, int64 job)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(job);
	SPIPlanPtr plan;
	JobIdentity identity;
	TransactionId writer;
	char *state;

	job_identity_to_read(store, &identity);
	plan = SPI_prepare(psprintf("SELECT " JOB_SHOWN_STATE ", xmin FROM %s WHERE id = $1", store->job), 1, &type);
	if (!plan ||
		SPI_execute_snapshot(plan, &value, NULL, GetLatestSnapshot(), InvalidSnapshot, true, false, 1) != SPI_OK_SELECT)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the state of the job could not be read")));
	SPI_freeplan(plan);
	job_identity_end(&identity);
	if (SPI_processed == 0)
		job_raise_none(job);
	state = result_string(0, 1);
	writer = DatumGetTransactionId(result_value(0, 2));
	if (TransactionIdIsCurrentTransactionId(writer) && is_active(state))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("job " INT64_FORMAT " was submitted by this transaction", job),
						errhint("Commit first: it starts at the commit.")));
	return state;
}

/*
 * Locks that a look at a job takes are let go of after it: who waits holds none. Whoever wants the tables for itself
 * would wait for us, the job's worker for that, and we for the worker, and nobody would see that it goes round.
 */
typedef struct Look
{
	ResourceOwner before, own;
} Look;

static void
look_begin(Look *look)
{
	look->before = CurrentResourceOwner;
	look->own = ResourceOwnerCreate(look->before, "qwen_pg look at a job");
	CurrentResourceOwner = look->own;
}

static void
look_end(const Look *look)
{
	CurrentResourceOwner = look->before;
	ResourceOwnerRelease(look->own, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(look->own, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(look->own, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(look->own);
}

/* The state of a job, waiting for its end or until the time is over. */
static char *
wait_for_end(const JobStore *store, int64 job, int64 timeout_ms)
{
	TimestampTz deadline = timeout_ms < 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	for (;;)
	{
		long left = WAIT_LOOK_MS;
		char *state;
		Look look;

		look_begin(&look);
		state = committed_state(store, job);
		look_end(&look);
		if (!is_active(state))
			return state;
		if (deadline)
			left = Min(left, (long) ((deadline - GetCurrentTimestamp()) / 1000 + 1));
		if (left <= 0)
			return state;
		SPI_freetuptable(SPI_tuptable);
		job_wait_next(left);
	}
}

QWEN_FUNCTION(qwen_wait, 1, 2)
{
	int64 job = job_argument(fcinfo), timeout_ms = -1;
	MemoryContext caller = CurrentMemoryContext;
	JobStore store;
	char *state;
	Look look;
	text *result;

	require_preloaded();
	job_store_require(&store);
	if (!PG_ARGISNULL(1))
	{
		Interval *timeout = PG_GETARG_INTERVAL_P(1);

		timeout_ms =
			timeout->time / 1000 + (timeout->day + timeout->month * (int64) DAYS_PER_MONTH) * SECS_PER_DAY * 1000;
		if (timeout_ms < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout must not be negative")));
		timeout_ms = Min(timeout_ms, LONGEST_WAIT_MS);
	}
	SPI_connect();
	look_begin(&look);
	(void) job_find_own(&store, job, &state, false);
	look_end(&look);
	job_wait_begin();
	state = wait_for_end(&store, job, timeout_ms);
	job_wait_end();
	MemoryContextSwitchTo(caller);
	result = cstring_to_text(state);
	SPI_finish();
	PG_RETURN_TEXT_P(result);
}
