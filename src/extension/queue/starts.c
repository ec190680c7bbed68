/*
 * starts.c - the supervisor starts workers for places that wait for one, and scouts.
 */
#include "starts.h"

#include "../core/pause.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "miscadmin.h"
#include "place_table.h"
#include "places.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"

static BackgroundWorkerHandle *handles[N_PLACES];
static BackgroundWorkerHandle *scout;

bool
job_start_worker(const char *function, const char *name, Datum argument, BackgroundWorkerHandle **handle)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorker worker;
	bool started;

	memset(&worker, 0, sizeof worker);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "qwen_pg", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker.bgw_name, name, BGW_MAXLEN);
	strlcpy(worker.bgw_type, name, BGW_MAXLEN);
	worker.bgw_main_arg = argument;
	worker.bgw_notify_pid = MyProcPid;
	if (*handle)
		pfree(*handle);
	*handle = NULL;
	started = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return started;
}

/* Has a worker that we started ended? */
static bool
has_ended(BackgroundWorkerHandle *handle)
{
	pid_t pid;

	return !handle || GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
}

/* Does a place wait for a worker? */
static bool
waits_for_worker(const Place *place)
{
	return place->state == PLACE_WANTED || place->state == PLACE_NO_SLOT || place->state == PLACE_LIMITED ||
		   (place->state == PLACE_FAILED && !still_pauses(place->next_try, PLACE_LAST_RETRY_MS));
}

/* The place that has waited longest and is to get a worker now; it is marked as starting. -1: there is none. */
static int
take_for_start(void)
{
	int n_workers = 0, first = -1;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &job_places->places[i];

		if (place->state == PLACE_STARTING && has_ended(handles[i]))
			job_place_plan_retry(place);
		n_workers += place->state == PLACE_STARTING || place->state == PLACE_RUNNING;
		if (waits_for_worker(place) && (first < 0 || place->turn < job_places->places[first].turn))
			first = i;
	}
	if (n_workers >= qwen_max_job_workers)
	{
		for (int i = 0; i < N_PLACES; i++)
			if (waits_for_worker(&job_places->places[i]))
				job_places->places[i].state = PLACE_LIMITED;
		first = -1;
	}
	if (first >= 0)
		job_places->places[first].state = PLACE_STARTING;
	LWLockRelease(qwen_shared->lock);
	return first;
}

void
job_scout_has_slot(bool has_slot)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	job_places->scout_has_no_slot = !has_slot;
	LWLockRelease(qwen_shared->lock);
}

static void
launch_scout(void)
{
	bool started;

	if (!job_scout_is_due(!has_ended(scout)))
		return;
	started = job_start_worker("qwen_job_scout_main", "qwen_pg job scout", ObjectIdGetDatum(InvalidOid), &scout);
	if (started)
		return;
	job_scout_has_slot(false);
	job_want_scout();
}

void
job_launch(void)
{
	int i;

	launch_scout();
	while ((i = take_for_start()) >= 0)
		if (!job_start_worker("qwen_job_worker_main", "qwen_pg job worker", Int32GetDatum(i), &handles[i]))
		{
			LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
			job_places->places[i].state = PLACE_NO_SLOT;
			LWLockRelease(qwen_shared->lock);
			break;
		}
}
