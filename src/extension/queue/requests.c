/*
 * requests.c - what a transaction asks for at its commit: workers for work that it queued, a sweep for rows that it
 * deleted. Before the commit nobody could see it, and rolled back it was never there; prepared, it waits (prepared.c).
 */
#include "requests.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "places.h"
#include "prepared.h"
#include "sweep_times.h"
#include "utils/syscache.h"

#define N_REQUESTS 16 /* roles that one transaction can ask for; with more, a scout looks */

/* This transaction's. */
static PreparedRequest requested[N_REQUESTS];
static int n_requested;
static bool asked_for_sweep;

/* What was queued is there for others: now a worker can see it. */
static void
at_transaction_end(XactEvent event, void *argument)
{
	int n = n_requested;
	bool sweep;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	sweep = asked_for_sweep;
	n_requested = 0;
	asked_for_sweep = false;
	if (event == XACT_EVENT_ABORT || !qwen_shared)
		return;
	if (event == XACT_EVENT_PREPARE)
	{
		if (n > 0)
			job_prepared_keep(requested, Min(n, N_REQUESTS), n > N_REQUESTS, sweep);
		return;
	}
	if (sweep)
		job_sweep_ask();
	for (int i = 0; i < Min(n, N_REQUESTS); i++)
		job_place_request(MyDatabaseId, requested[i].role, requested[i].calls);
	if (n > N_REQUESTS)
	{
		job_want_scout();
		wake_supervisor();
	}
}

static void
ask_at_commit(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(at_transaction_end, NULL);
	registered = true;
}

/* At the end of this transaction there may be work of any role. */
QWEN_FUNCTION(qwen_look_for_work, 0, 0)
{
	require_preloaded();
	ask_at_commit();
	n_requested = N_REQUESTS + 1;
	PG_RETURN_VOID();
}

/* Note a role for the commit. */
static void
note_request(Oid role, bool calls)
{
	ask_at_commit();
	for (int i = 0; i < Min(n_requested, N_REQUESTS); i++)
		if (requested[i].role == role)
		{
			requested[i].calls |= calls;
			return;
		}
	if (n_requested < N_REQUESTS)
		requested[n_requested] = (PreparedRequest){role, calls};
	n_requested = Min(n_requested + 1, N_REQUESTS + 1);
}

void
job_request_worker(Oid role)
{
	note_request(role, false);
}

void
job_call_worker(Oid role)
{
	/* one that was dropped has no worker ever: each start would be a FATAL of the log */
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		note_request(role, true);
}

void
job_request_sweep(Oid role)
{
	note_request(role, true);
	asked_for_sweep = true;
}
