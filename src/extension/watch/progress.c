/*
 * progress.c - the rows of qwen_progress that are statements: how far each session is that asks the model about rows.
 *
 * A list in shared memory, an entry a session; the session writes its own with each row that is done. What is computed
 * of rows that are not is read from the list of requests (activity.c), so that tokens under way count as well.
 */
#include "progress.h"

#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "activity.h"
#include "commands/dbcommands.h"
#include "function_name.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#define N_PROGRESS_COLUMNS 12

/* A statement, as its session tells of it. */
typedef struct Listing
{
	bool listed;
	Oid role, database;
	int leader; /* pid of the session that a parallel worker works for, or its own */
	TimestampTz started_at;
	char function[FUNCTION_NAME_BYTES];
	WatchedProgress progress;
} Listing;

typedef struct Entry
{
	pg_atomic_uint32 pid; /* of the session that owns it; 0: free */
	slock_t lock;         /* guards listing, which the owner alone writes; held for copies only */
	Listing listing;
} Entry;

typedef struct ProgressList
{
	uint32 n_entries;
	Entry entries[FLEXIBLE_ARRAY_MEMBER];
} ProgressList;

static ProgressList *list;
static int own = -1; /* this session's entry */
static bool will_clean_up;

static uint32
count_entries(void)
{
	return (uint32) MaxConnections + (uint32) max_worker_processes;
}

Size
progress_memory_bytes(void)
{
	return MAXALIGN(offsetof(ProgressList, entries) + sizeof(Entry) * count_entries());
}

void
progress_init_memory(void)
{
	bool found;

	list = ShmemInitStruct("qwen_pg progress", progress_memory_bytes(), &found);
	if (found)
		return;
	memset(list, 0, progress_memory_bytes());
	list->n_entries = count_entries();
	for (uint32 i = 0; i < list->n_entries; i++)
	{
		pg_atomic_init_u32(&list->entries[i].pid, 0);
		SpinLockInit(&list->entries[i].lock);
	}
}

void
watch_progress_end(void)
{
	Entry *entry;

	if (own < 0)
		return;
	entry = &list->entries[own];
	SpinLockAcquire(&entry->lock);
	entry->listing.listed = false;
	SpinLockRelease(&entry->lock);
	pg_atomic_write_u32(&entry->pid, 0);
	own = -1;
}

static void
end_with_session(int code, Datum argument)
{
	watch_progress_end();
}

/* Make an entry this session's; there may be none left, and then it is not listed. */
static void
take_entry(void)
{
	if (!will_clean_up)
	{
		on_shmem_exit(end_with_session, 0);
		will_clean_up = true;
	}
	for (uint32 i = 0; i < list->n_entries && own < 0; i++)
	{
		uint32 nobody = 0;

		if (pg_atomic_read_u32(&list->entries[i].pid) == 0 &&
			pg_atomic_compare_exchange_u32(&list->entries[i].pid, &nobody, MyProcPid))
			own = (int) i;
	}
}

void
watch_progress(const char *function, TimestampTz started_at, const WatchedProgress *progress)
{
	Listing listing = {.listed = true, .role = GetOuterUserId(), .database = MyDatabaseId, .started_at = started_at};
	Entry *entry;

	if (own < 0)
		take_entry();
	if (own < 0)
		return;
	listing.leader = MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pid : MyProcPid;
	watch_function_name(listing.function, function);
	listing.progress = *progress;
	entry = &list->entries[own];
	SpinLockAcquire(&entry->lock);
	entry->listing = listing;
	SpinLockRelease(&entry->lock);
}

/* A copy of an entry that is listed, and its owner's pid; false: it is not. */
static bool
read_entry(uint32 i, Listing *copy, uint32 *pid)
{
	Entry *entry = &list->entries[i];

	*pid = pg_atomic_read_u32(&entry->pid);
	if (*pid == 0)
		return false;
	SpinLockAcquire(&entry->lock);
	*copy = entry->listing;
	SpinLockRelease(&entry->lock);
	return copy->listed;
}

static void
put_row(ReturnSetInfo *set, const Listing *entry, uint32 pid)
{
	Datum values[N_PROGRESS_COLUMNS];
	bool nulls[N_PROGRESS_COLUMNS] = {false};
	char *database = get_database_name(entry->database), *role = GetUserNameFromId(entry->role, true);
	ActivityTokens under_way = activity_tokens_of(pid);

	values[0] = Int32GetDatum((int32) pid);
	values[1] = Int32GetDatum(entry->leader);
	nulls[2] = database == NULL;
	values[2] = database ? CStringGetTextDatum(database) : (Datum) 0;
	nulls[3] = role == NULL;
	values[3] = role ? CStringGetTextDatum(role) : (Datum) 0;
	values[4] = CStringGetTextDatum(server_string(entry->function));
	values[5] = Int64GetDatum(entry->progress.rows_done);
	nulls[6] = entry->progress.rows_expected < 0;
	values[6] = Float8GetDatum(entry->progress.rows_expected);
	values[7] = Int64GetDatum(entry->progress.prompt_tokens);
	values[8] = Int64GetDatum(entry->progress.completion_tokens);
	values[9] = Int64GetDatum(under_way.prompt);
	values[10] = Int64GetDatum(under_way.completion);
	values[11] = TimestampTzGetDatum(entry->started_at);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

QWEN_FUNCTION(qwen_statement_progress, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	bool everybody;

	require_preloaded();
	init_materialized_set(fcinfo);
	everybody = may_see_others(fcinfo->flinfo->fn_oid);
	for (uint32 i = 0; i < list->n_entries; i++)
	{
		Listing entry;
		uint32 pid;

		if (read_entry(i, &entry, &pid) && (everybody || has_privs_of_role(GetUserId(), entry.role)))
			put_row(set, &entry, pid);
	}
	return (Datum) 0;
}
