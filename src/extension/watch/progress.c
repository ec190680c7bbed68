/*
 * progress.c - the rows of qwen_progress that are statements: how far each session is that asks the model about rows.
 *
 * An entry a session, which it writes with each row that is done. What is computed of rows that are not is read from
 * the list of requests (activity.c), so that tokens under way count as well.
 */
#include "progress.h"

#include "../core/privileges.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "activity.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "function_name.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "session_list.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#define N_PROGRESS_COLUMNS 12

/* A statement, as its session tells of it. */
typedef struct Listing
{
	Oid role, database;
	int leader; /* pid of the session that a parallel worker works for, or its own */
	TimestampTz started_at;
	char function[FUNCTION_NAME_BYTES];
	WatchedProgress progress;
} Listing;

static SessionList *list;
static int own = -1; /* this session's entry */

static uint32
count_entries(void)
{
	return (uint32) MaxConnections + (uint32) max_worker_processes;
}

Size
progress_memory_bytes(void)
{
	return session_list_bytes(count_entries(), sizeof(Listing));
}

void
progress_init_memory(void)
{
	list = session_list_open("qwen_pg progress", count_entries(), sizeof(Listing));
}

void
watch_progress_end(void)
{
	if (own >= 0)
		session_list_free(list, own);
	own = -1;
}

void
watch_progress(const char *function, TimestampTz started_at, const WatchedProgress *progress)
{
	Listing listing = {.role = GetOuterUserId(), .database = MyDatabaseId, .started_at = started_at};

	/* there may be none left, and then it is not listed */
	if (own < 0)
		own = session_list_take(list);
	if (own < 0)
		return;
	listing.leader = MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pid : MyProcPid;
	watch_function_name(listing.function, function);
	listing.progress = *progress;
	session_list_write(list, own, &listing);
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
	for (uint32 i = 0; i < session_list_size(list); i++)
	{
		Listing entry;
		uint32 pid;

		if (session_list_read(list, i, &entry, &pid) && (everybody || has_privs_of_role(GetUserId(), entry.role)))
			put_row(set, &entry, pid);
	}
	return (Datum) 0;
}
