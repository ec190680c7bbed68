/*
 * scout.c - looks for work that is left, where nobody was there to hear of it.
 *
 * After a start of the server, a reset or a promotion somebody must find the work that is left: a scout goes through
 * the databases, one after the other, and reads the extension's tables. No file says where work is, so none can be
 * wrong after a restored backup, an upgrade or a crash.
 */
#include "../core/core.h"

#include "../core/compat.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "ends.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "places.h"
#include "postmaster/bgworker.h"
#include "prepared.h"
#include "requests.h"
#include "starts.h"
#include "storage/ipc.h"
#include "store.h"
#include "sweep.h"
#include "utils/snapmgr.h"
#include "values.h"

extern PGDLLEXPORT void qwen_job_scout_main(Datum argument);

/* Databases that there are, or those of them that can be connected to. */
static List *
list_databases(bool all)
{
	MemoryContext caller = CurrentMemoryContext;
	List *databases = NIL;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (all || (database->datallowconn && !database->datistemplate))
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			databases = lappend_oid(databases, database->oid);
			MemoryContextSwitchTo(old);
		}
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return databases;
}

/* Rows and jobs that no worker can have any more, and the owners of those that one can. In SPI, as the tables' owner */
static void
ask_for_owners(const JobStore *store)
{
	int n;

	job_execute(psprintf("DELETE FROM %s r WHERE r.job IS NULL AND NOT EXISTS "
						 "(SELECT 1 FROM pg_class c WHERE c.oid = r.relation)",
						 store->row),
				0, NULL, NULL, NULL, SPI_OK_DELETE, 0);
	job_execute(psprintf("UPDATE %s r SET owner = c.relowner FROM pg_class c WHERE r.job IS NULL AND NOT r.dead AND "
						 "c.oid = r.relation AND c.relowner <> r.owner",
						 store->row),
				0, NULL, NULL, NULL, SPI_OK_UPDATE, 0);
	n = job_execute(
		psprintf("UPDATE %s j SET state = 'failed', ended = now(), error = 'the owner of the job was dropped' "
				 "WHERE state IN ('queued', 'running') AND NOT EXISTS "
				 "(SELECT 1 FROM pg_catalog.pg_roles a WHERE a.oid = j.owner) RETURNING id",
				 store->job),
		0, NULL, NULL, NULL, SPI_OK_UPDATE_RETURNING, 0);
	for (int i = 0; i < n; i++)
		job_notify_end(result_int8(i, 1), "failed");
	n = job_execute(psprintf("SELECT DISTINCT owner FROM %s WHERE state IN ('queued', 'running') UNION "
							 "SELECT DISTINCT owner FROM %s WHERE job IS NULL",
							 store->job, store->row),
					0, NULL, NULL, NULL, SPI_OK_SELECT, 0);
	for (int i = 0; i < n; i++)
		job_call_worker(DatumGetObjectId(result_value(i, 1)));
}

/* What is over in the scout's database goes, in small transactions. */
static void
sweep_database(void)
{
	int64 n = 1;

	while (n > 0)
	{
		JobStore store;

		CHECK_FOR_INTERRUPTS();
		StartTransactionCommand();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		n = job_store_find(&store) && job_store_is_workable(&store) ? job_sweep(&store) : 0;
		SPI_finish();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
}

/* A scout that could not look into its database is followed by another, after a while. It stays registered to the end:
 * what PostgreSQL registers after it keeps it from being taken back. */
static bool scout_is_done;

static void
scout_again(int code, Datum argument)
{
	if (scout_is_done)
		return;
	LWLockReleaseAll();
	job_want_scout();
}

/* In one database: whose work is left? */
static void
scout_database(Oid database)
{
	JobStore store;
	JobIdentity identity;

	before_shmem_exit(scout_again, 0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	job_settle_session();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	job_give_up_places(NIL);
	job_prepared_look();
	if (job_store_find(&store) && job_store_is_workable(&store))
	{
		job_identity_begin(&store, &identity);
		ask_for_owners(&store);
		job_identity_end(&identity);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	sweep_database();
	scout_is_done = true;
}

void
qwen_job_scout_main(Datum argument)
{
	Oid database = DatumGetObjectId(argument);
	List *databases;
	ListCell *cell;

	BackgroundWorkerUnblockSignals();
	if (OidIsValid(database))
	{
		scout_database(database);
		proc_exit(0);
	}
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	job_give_up_places(list_databases(true));
	databases = list_databases(false);
	foreach (cell, databases)
	{
		BackgroundWorkerHandle *handle = NULL;

		while (
			!job_start_worker("qwen_job_scout_main", "qwen_pg job scout", ObjectIdGetDatum(lfirst_oid(cell)), &handle))
		{
			job_scout_has_slot(false);
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, qwen_wait_event());
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		job_scout_has_slot(true);
		(void) WaitForBackgroundWorkerShutdown(handle);
	}
	job_scout_has_slot(true);
	proc_exit(0);
}
