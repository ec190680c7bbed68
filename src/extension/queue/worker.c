/*
 * worker.c - a background worker that works on the jobs and queued rows of one role in one database.
 *
 * It connects as that role. Its life is a loop over three things that never overlap: short transactions that fetch rows
 * (fetch.c), requests to the engine with no transaction, snapshot or lock (calls.c), and short transactions that
 * write answers (write.c). When nothing is left it gives its place back and ends.
 */
#include "../core/core.h"

#include "../client/client.h"
#include "../core/settings.h"
#include "../limits/limits.h"
#include "calls.h"
#include "fetch.h"
#include "floor.h"
#include "job_ends.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "places.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "spec.h"
#include "storage/ipc.h"
#include "store.h"
#include "sweep.h"
#include "sweep_times.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker_rows.h"
#include "worker_specs.h"
#include "write.h"

#define WRITE_EVERY_MS 250 /* answers wait this long for company, unless half a window is there */
#define LOOK_MS 1000       /* how often a worker whose rows are with the engine looks whether that is alive */
#define AGAIN_MS 200       /* how soon it looks again for what it could not get */
#define IDLE_MS 100        /* for which limits must have held up everything before others have its turn */

#ifndef BGWORKER_BYPASS_ROLELOGINCHECK
#define BGWORKER_BYPASS_ROLELOGINCHECK 0
#endif

extern PGDLLEXPORT void qwen_job_worker_main(Datum argument);

/* How many rows are answered or failed and can be written. */
static int
count_writable(const JobWorker *worker)
{
	TimestampTz now = job_clock();
	int n = 0;

	for (const JobRow *row = worker->rows; row; row = row->next)
		n += (row->state == ROW_ANSWERED || row->state == ROW_FAILED) && now >= row->not_before;
	return n;
}

/* Write when it is worth a transaction, or when there is nothing else to wait for. */
static bool
is_time_to_write(const JobWorker *worker, int n_writable)
{
	TimestampTz next = TimestampTzPlusMilliseconds(worker->last_write, WRITE_EVERY_MS);

	return n_writable > 0 && (n_writable >= qwen_job_window / 2 || worker->n_in_flight == 0 || job_clock() >= next);
}

/* Is there a job that is not over? */
static bool
has_jobs(const JobWorker *worker)
{
	ListCell *cell;

	foreach (cell, worker->specs)
	{
		const JobSpec *spec = lfirst(cell);

		if (!spec->trigger && !spec->is_done)
			return true;
	}
	return false;
}

/* Milliseconds until something is due, at most. */
static long
time_to_wait(const JobWorker *worker)
{
	TimestampTz now = job_clock();
	long wait = LOOK_MS, again = limits_again_ms();

	if (again >= 0)
		wait = Min(wait, again);
	if (count_writable(worker) > 0)
		wait = Min(wait, (long) (TimestampTzPlusMilliseconds(worker->last_write, WRITE_EVERY_MS) - now) / 1000);
	else if (worker->n_in_flight == 0)
		wait = Min(wait, AGAIN_MS);
	for (const JobRow *row = worker->rows; row; row = row->next)
		if (row->not_before > now)
			wait = Min(wait, (long) (row->not_before - now) / 1000);
	if (worker->pause_until > now)
		wait = Min(wait, (long) (worker->pause_until - now) / 1000);
	return Max(wait, 0) + 1;
}

/* Rows that it has room for. What waits aside for limits of others than its role takes none. */
static int
room(const JobWorker *worker)
{
	return 2 * qwen_job_window - (worker->n_rows - worker->n_aside);
}

/* Is there room for a good part of a window? */
static bool
has_room(const JobWorker *worker)
{
	return room(worker) >= Max(qwen_job_window / 2, 1);
}

/* Fetch rows when there is room for them. */
static int
fetch(JobWorker *worker)
{
	if (worker->is_orphan || job_turn_is_over() || !has_room(worker) || job_clock() < worker->pause_until)
		return 0;
	return job_rows_fetch(worker, room(worker));
}

/* Wait for the engine, the time, a call, or, with room for them, rows that somebody queues. false: for the time alone.
 */
static bool
wait_for(JobWorker *worker, uint64 requests_seen, long timeout_ms)
{
	bool woken;

	if (has_room(worker) && job_clock() >= worker->pause_until && !job_turn_is_over() &&
		!job_worker_listen(&worker->place, requests_seen))
		return true;
	woken = engine_wait_for(timeout_ms);
	job_worker_stop_listening(&worker->place);
	return woken;
}

/* Milliseconds until the first spec may be worked for, where all of them pause. */
static long
pause_of_all(const JobWorker *worker)
{
	TimestampTz now = job_clock(), first = 0;
	ListCell *cell;

	if (worker->specs == NIL || worker->locked != NIL)
		return AGAIN_MS;
	foreach (cell, worker->specs)
	{
		const JobSpec *spec = lfirst(cell);

		if (spec->pause_until <= now)
			return AGAIN_MS;
		first = first == 0 ? spec->pause_until : Min(first, spec->pause_until);
	}
	return (long) ((first - now) / 1000) + 1;
}

/* Nothing is at hand: wait for the next attempt of a row, or leave. true: the worker has left its place. */
static bool
rest(JobWorker *worker, uint64 requests_seen)
{
	TimestampTz next_try = job_rows_next_try(worker), now = GetCurrentTimestamp();

	if (worker->is_replaced)
		return false;
	if (worker->is_gone || ((next_try == 0 || worker->is_orphan) && !has_jobs(worker)))
	{
		long sweep_ms = worker->is_gone || worker->is_orphan ? -1 : job_sweep_wait_ms();

		if (sweep_ms > 0)
		{
			(void) wait_for(worker, requests_seen, sweep_ms);
			return false;
		}
		if (sweep_ms == 0)
			job_sweep_as_worker(worker);
		/* rows of tables that were given to others before the role was dropped: a scout finds their owners */
		if (worker->is_orphan)
			job_want_scout();
		return job_worker_leave(&worker->place, requests_seen);
	}
	/* it does not listen any more */
	if (job_turn_is_over())
		return false;
	if (next_try == 0 || next_try <= now)
	{
		/* something is there that could not be had just now */
		(void) wait_for(worker, requests_seen, pause_of_all(worker));
		worker->look_for_rows = true;
		return false;
	}
	(void) wait_for(worker, requests_seen, Min((next_try - now) / 1000 + 1, (long) INT_MAX / 2));
	if (GetCurrentTimestamp() >= next_try)
		worker->look_for_rows = true;
	return false;
}

/* Take note of what others asked for. */
static void
look_around(JobWorker *worker, uint64 *requests_seen)
{
	uint64 calls, requests = job_worker_requests(&worker->place, &calls);

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (requests != *requests_seen)
	{
		worker->look_for_rows = true;
		if (calls == worker->calls_seen)
			*requests_seen = requests;
		/* a worker that could not read them, as when its statement was cancelled, must not leave as if it had */
		else if (job_specs_refresh(worker))
		{
			*requests_seen = requests;
			worker->calls_seen = calls;
			worker->last_id = 0;
			job_floor_reset(worker);
		}
		else
			(void) engine_wait_for(AGAIN_MS);
	}
	if (worker->next_try != 0 && GetCurrentTimestamp() >= worker->next_try)
	{
		worker->next_try = 0;
		worker->last_id = 0;
		worker->look_for_rows = true;
	}
}

/* Does a limit, or a model that is not there, stand against what this worker has to do? */
static bool
waits_for_limits(const JobWorker *worker)
{
	ListCell *cell;

	if (limits_again_ms() >= 0 || (worker->waits_for_limit && job_clock() < worker->pause_until))
		return true;
	foreach (cell, worker->specs)
		if (((const JobSpec *) lfirst(cell))->is_held)
			return true;
	return false;
}

/* Has it waited for a moment, with nothing in its hands that would be lost, while others need a worker? */
static bool
waits_for_nothing_else(JobWorker *worker, bool moved)
{
	if (moved || worker->idle_since == 0)
		worker->idle_since = job_clock();
	if (job_clock() < TimestampTzPlusMilliseconds(worker->idle_since, IDLE_MS) || !waits_for_limits(worker))
		return false;
	for (const JobRow *row = worker->rows; row; row = row->next)
		if (row->state == ROW_RUNNING || row->state == ROW_ANSWERED || row->state == ROW_FAILED)
			return false;
	return job_others_wait();
}

static void
work(JobWorker *worker)
{
	uint64 requests_seen = 0;

	for (;;)
	{
		bool moved;

		MemoryContextReset(worker->scratch);
		MemoryContextSwitchTo(worker->scratch);
		if (worker->is_replaced)
		{
			job_specs_start_anew(worker);
			requests_seen = 0;
		}
		look_around(worker, &requests_seen);
		moved = fetch(worker) > 0;
		moved |= job_calls_advance(worker);
		if (is_time_to_write(worker, count_writable(worker)))
			moved |= job_rows_write(worker);
		job_specs_finish(worker);
		if (worker->is_replaced)
			continue;
		if (worker->is_gone && job_worker_leave(&worker->place, requests_seen))
			return;
		if ((worker->n_in_flight == 0 && count_writable(worker) == 0 && job_turn_is_over()) ||
			waits_for_nothing_else(worker, moved))
		{
			job_give_turn();
			return;
		}
		if (worker->is_orphan)
			worker->look_for_rows = false;
		if (moved)
			continue;
		if (worker->n_rows > 0)
		{
			if (!wait_for(worker, requests_seen, time_to_wait(worker)) && worker->n_in_flight > 0)
				job_calls_check(worker);
		}
		else if (!worker->look_for_rows && rest(worker, requests_seen))
			return;
		else if (worker->look_for_rows && job_clock() < worker->pause_until)
			(void) wait_for(worker, requests_seen, time_to_wait(worker));
	}
}

static JobWorker this_worker = {.look_for_rows = true, .calls_seen = UINT64_MAX};

/* Requests wait for a limit, in a round of the worker's or in what it writes, which takes as long. */
static void
tell_of_limit(const char *why)
{
	job_rows_trouble(&this_worker, NULL, why);
	this_worker.trouble_ends_with_answer = true;
	job_worker_tell(this_worker.trouble);
}

void
qwen_job_worker_main(Datum argument)
{
	static const LimitWorker as_worker = {tell_of_limit, job_turn_is_over};
	JobWorker *worker = &this_worker;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!job_worker_arrive(argument, &worker->place))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(worker->place.database, worker->place.role,
											  BGWORKER_BYPASS_ROLELOGINCHECK);
	job_worker_connected(&worker->place);
	limits_set_worker(&as_worker);
	job_settle_session();
	worker->memory = AllocSetContextCreate(TopMemoryContext, "qwen_pg job worker", ALLOCSET_DEFAULT_SIZES);
	worker->scratch = AllocSetContextCreate(TopMemoryContext, "qwen_pg job worker's round", ALLOCSET_DEFAULT_SIZES);
	worker->last_write = job_clock();
	work(worker);
	proc_exit(0);
}
