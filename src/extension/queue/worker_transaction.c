/*
 * worker_transaction.c - how a worker runs its short transactions, and small things that they share.
 *
 * What a body changes in memory must hold whether its transaction commits or not; what must not is done by the caller
 * after it is told of the commit.
 */
#include "worker_transaction.h"

#include "../core/compat.h"
#include "../limits/limits.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "chain.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "worker_settings.h"

ErrorData *
job_take_error(JobWorker *worker)
{
	MemoryContext old = MemoryContextSwitchTo(worker->scratch);
	ErrorData *error = CopyErrorData();

	FlushErrorState();
	MemoryContextSwitchTo(old);
	/* where no transaction is open, no rollback lets go of them */
	LWLockReleaseAll();
	pgstat_report_wait_end();
	return error;
}

/* Are the extension's tables others than before? Their jobs and rows have nothing to do with those of the same ids. */
static bool
is_replaced(JobWorker *worker, const JobStore *store)
{
	if (!OidIsValid(worker->extension))
	{
		worker->extension = store->extension;
		worker->job_table = store->job_table;
		worker->row_table = store->row_table;
	}
	return worker->extension != store->extension || worker->job_table != store->job_table ||
		   worker->row_table != store->row_table;
}

bool
job_transaction(JobWorker *worker, JobBody body, void *argument, ErrorData **error)
{
	volatile bool committed = false;

	*error = NULL;
	limits_step_aside();
	PG_TRY();
	{
		JobStore store;

		job_settle_session();
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		pgstat_report_activity(STATE_RUNNING, "qwen_pg job worker: reading or writing rows");
		worker->is_gone = !job_store_find(&store) || !job_store_is_workable(&store);
		if (!worker->is_gone && is_replaced(worker, &store))
			worker->is_replaced = worker->is_gone = true;
		worker->is_orphan = !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(worker->place.role));
		if (!worker->is_gone && !worker->is_orphan)
			job_settings_look(&worker->place);
		if (!worker->is_gone)
			body(worker, &store, argument);
		SPI_finish();
		PopActiveSnapshot();
		CommitTransactionCommand();
		committed = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(worker->scratch);
		*error = job_take_error(worker);
		job_chain_end();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(worker->scratch);
	pgstat_report_activity(STATE_IDLE, "qwen_pg job worker: no transaction, the model runs");
	(void) pgstat_report_stat(false);
	return committed;
}

bool
job_subtransaction(JobWorker *worker, const JobStore *store, JobBody body, void *argument, ErrorData **error)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		body(worker, store, argument);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		*error = job_take_error(worker);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return done;
}

bool
job_error_passes(const ErrorData *error)
{
	int class = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE) ||
		   class == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		   class == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		   class == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* A transaction finds the extension's tables at its beginning. What ALTER EXTENSION … SET SCHEMA, or a schema's new
 * name, takes from there before they are read is found by the next one. */
static bool
is_of_moved_tables(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_UNDEFINED_TABLE && strstr(error->message, "qwen_job_");
}

void
job_log_failure(const char *what, const ErrorData *error)
{
	if (!is_of_moved_tables(error))
		ereport(LOG, (errmsg("qwen_pg: %s: %s", what, error->message)));
}

bool
job_lock(const JobStore *store, int64 job, bool *ended)
{
	Oid type = INT8OID;
	Datum value = Int64GetDatum(job);
	JobIdentity identity;
	bool locked;

	job_identity_begin(store, &identity);
	locked = job_execute(psprintf("SELECT id FROM %s WHERE id = $1 AND state IN ('queued', 'running') "
								  "FOR NO KEY UPDATE SKIP LOCKED",
								  store->job),
						 1, &type, &value, NULL, SPI_OK_SELECT, 0) > 0;
	*ended = !locked &&
			 job_execute(psprintf("SELECT id FROM %s WHERE id = $1 AND state IN ('queued', 'running')", store->job), 1,
						 &type, &value, NULL, SPI_OK_SELECT, 0) == 0;
	job_identity_end(&identity);
	return locked;
}
