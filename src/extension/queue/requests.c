/*
 * requests.c - what a transaction asks for at its commit: workers for work that it queued, a sweep for rows that it
 * deleted. Before the commit nobody could see it, and rolled back it was never there.
 */
#include "requests.h"

#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "places.h"
#include "sweep_times.h"

#define N_REQUESTS 16 /* roles that one transaction can ask for; with more, a scout looks */

/* This transaction's. */
static struct
{
	Oid role;
	bool calls;
	bool queued;          /* work of this transaction's, not only rows that were deleted */
	SubTransactionId sub; /* the outermost that queued: with it this is undone */
} requested[N_REQUESTS];
static int n_requested;
static bool asked_for_sweep;

/* Has this transaction queued work? */
static bool
has_queued(void)
{
	bool queued = n_requested > N_REQUESTS;

	for (int i = 0; i < Min(n_requested, N_REQUESTS); i++)
		queued |= requested[i].queued;
	return queued;
}

/* What was queued is there for others: now a worker can see it. */
static void
at_transaction_end(XactEvent event, void *argument)
{
	int n = n_requested;
	bool sweep;

	if (event == XACT_EVENT_PRE_PREPARE && has_queued())
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has queued work for the model")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	sweep = asked_for_sweep;
	n_requested = 0;
	asked_for_sweep = false;
	if (event == XACT_EVENT_ABORT || !qwen_shared)
		return;
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

/* What a subtransaction queued is its parent's when it ends, and nobody's when it is undone. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *argument)
{
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (int i = 0; i < Min(n_requested, N_REQUESTS); i++)
		if (requested[i].queued && requested[i].sub == sub)
		{
			requested[i].queued = event == SUBXACT_EVENT_COMMIT_SUB;
			requested[i].sub = parent;
		}
}

static void
ask_at_commit(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
	}
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
note_request(Oid role, bool calls, bool queued)
{
	ask_at_commit();
	for (int i = 0; i < Min(n_requested, N_REQUESTS); i++)
		if (requested[i].role == role)
		{
			requested[i].calls |= calls;
			if (queued && !requested[i].queued)
				requested[i].sub = GetCurrentSubTransactionId();
			requested[i].queued |= queued;
			return;
		}
	if (n_requested < N_REQUESTS)
	{
		requested[n_requested].role = role;
		requested[n_requested].calls = calls;
		requested[n_requested].queued = queued;
		requested[n_requested].sub = GetCurrentSubTransactionId();
	}
	n_requested = Min(n_requested + 1, N_REQUESTS + 1);
}

void
job_request_worker(Oid role)
{
	note_request(role, false, true);
}

void
job_call_worker(Oid role)
{
	note_request(role, true, true);
}

void
job_request_sweep(Oid role)
{
	note_request(role, true, false);
	asked_for_sweep = true;
}
