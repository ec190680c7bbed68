/*
 * place_views.c - what the views show of workers and of places that wait for one.
 */
#include "../core/core.h"

#include "../core/arguments.h"
#include "../core/compat.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "pgstat.h"
#include "place_table.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "store.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

static const char *const place_names[] = {"free", "wanted", "no slot", "limited", "starting", "running", "failed"};

/* Does a worker wait for a standby to confirm its commit? */
static bool
waits_for_standby(pid_t pid)
{
	PGPROC *process = pid ? BackendPidGetProc(pid) : NULL;

	return process && process->wait_event_info == WAIT_EVENT_SYNC_REP;
}

static char *
no_slot_trouble(void)
{
	return psprintf("no background worker slot is free: raise max_worker_processes (%d) and restart",
					max_worker_processes);
}

/* What is to be done about a place's state, or NULL. Words of errors are for those who have the role's privileges. */
static char *
place_trouble(const Place *place)
{
	bool may_read = superuser() || has_privs_of_role(GetUserId(), place->role);
	const char *words = may_read && place->trouble[0] ? place->trouble : NULL;

	switch (place->state)
	{
		case PLACE_NO_SLOT:
			return no_slot_trouble();
		case PLACE_LIMITED:
			return psprintf("other job workers are at work: raise qwen.max_job_workers (%d)", qwen_max_job_workers);
		case PLACE_FAILED:
			return psprintf("the worker ended too early%s%s; the next one starts at %s; the server log says more",
							words ? ": " : "", words ? words : "", timestamptz_to_str(place->next_try));
		case PLACE_RUNNING:
			if (waits_for_standby(place->pid))
				return pstrdup("the worker's commit waits for a synchronous standby");
			return words ? pstrdup(words) : NULL;
		default:
			return NULL;
	}
}

QWEN_FUNCTION(qwen_job_workers, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Place copy[N_PLACES] = {0};

	init_materialized_set(fcinfo);
	(void) job_places_copy(copy);
	for (int i = 0; i < N_PLACES; i++)
	{
		const Place *place = &copy[i];
		Datum values[4];
		bool nulls[4] = {false};
		char *trouble;

		if (place->state == PLACE_FREE || place->database != MyDatabaseId)
			continue;
		trouble = place_trouble(place);
		values[0] = ObjectIdGetDatum(place->role);
		values[1] = CStringGetTextDatum(place_names[place->state]);
		values[2] = Int32GetDatum(place->pid);
		nulls[2] = place->pid == 0;
		values[3] = trouble ? CStringGetTextDatum(trouble) : (Datum) 0;
		nulls[3] = !trouble;
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Are all places taken? */
static bool
places_are_full(void)
{
	Place copy[N_PLACES];

	if (!job_places_copy(copy))
		return false;
	for (int i = 0; i < N_PLACES; i++)
		if (copy[i].state == PLACE_FREE)
			return false;
	return true;
}

/* Could nobody be sent to look for work that was left? */
static bool
scout_has_no_slot(void)
{
	bool has_none;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	has_none = job_places->scout_has_no_slot;
	LWLockRelease(qwen_shared->lock);
	return has_none;
}

/* Why a role that has work may have no place: what the views say of it. */
QWEN_FUNCTION(qwen_job_unserved, 0, 0)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[2];
	bool nulls[2] = {false};
	const char *trouble;
	JobStore store;

	init_materialized_set(fcinfo);
	if (job_store_find(&store) && !job_store_is_guarded(&store))
		trouble =
			"not worked on: the trigger qwen_guard of qwen_job_table or qwen_job_row has been taken away, or they "
			"have triggers of others; ALTER TABLE ... ENABLE ALWAYS TRIGGER qwen_guard";
	else if (!job_places)
		trouble = "qwen_pg is not in shared_preload_libraries: add it there and restart the server";
	else if (places_are_full())
		trouble = psprintf("%d other roles have workers or wait for one, which is the most: this role has its turn "
						   "when one of them is done",
						   N_PLACES);
	else if (scout_has_no_slot())
		trouble = no_slot_trouble();
	else
	{
		trouble = "the server looks for work that was left, as after a start or a promotion: a worker comes in seconds";
		nulls[0] = true;
	}
	values[0] = CStringGetTextDatum("no worker");
	values[1] = CStringGetTextDatum(trouble);
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	return (Datum) 0;
}
