/*
 * worker_place.c - a worker's part: it takes its place, listens there, takes turns and leaves.
 */
#include "worker_place.h"

#include "../../base/clock.h"

#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "miscadmin.h"
#include "place_table.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#define TURN_MS 5000 /* a worker that has worked this long goes behind those that wait for one */

static Place *my_place;
static bool turn_was_ended;
static char last_words[JOB_TROUBLE_BYTES];
static emit_log_hook_type previous_log_hook;

/* What a worker dies of is shown to those whose work waits for the next one. */
static void
remember_last_words(ErrorData *error)
{
	if (error->elevel >= ERROR && error->message)
		copy_server_text(last_words, error->message, sizeof last_words);
	if (previous_log_hook)
		previous_log_hook(error);
}

void
job_worker_tell(const char *trouble)
{
	static char told[JOB_TROUBLE_BYTES];
	Place *place;

	if (!my_place || strcmp(told, trouble) == 0)
		return;
	copy_server_text(told, trouble, sizeof told);
	place = my_place;
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	memcpy(place->trouble, told, sizeof place->trouble);
	LWLockRelease(qwen_shared->lock);
}

bool
job_worker_listen(const JobWorkerPlace *at, uint64 requests_seen)
{
	Place *place = &job_places->places[at->place];

	/* whoever leaves word looks at this after it has counted, and we count after we have set it */
	pg_atomic_exchange_u32(&place->listens, 1);
	if (pg_atomic_fetch_add_u64(&place->requests, 0) == requests_seen)
		return true;
	pg_atomic_write_u32(&place->listens, 0);
	return false;
}

void
job_worker_stop_listening(const JobWorkerPlace *at)
{
	pg_atomic_write_u32(&job_places->places[at->place].listens, 0);
}

/* A worker ends before its work does, for whatever reason: another one will be started. */
static void
leave_place(int code, Datum argument)
{
	Place *place = &job_places->places[DatumGetInt32(argument)];

	LWLockReleaseAll();
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	if (place->state == PLACE_RUNNING && place->pid == MyProcPid)
	{
		if (place->connected)
			place->n_failures = 0;
		job_place_plan_retry(place);
		memcpy(place->trouble, last_words, sizeof place->trouble);
	}
	LWLockRelease(qwen_shared->lock);
	wake_supervisor();
}

bool
job_worker_arrive(Datum argument, JobWorkerPlace *arrived)
{
	Place *place = &job_places->places[DatumGetInt32(argument)];
	bool taken;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	taken = place->state == PLACE_STARTING;
	if (taken)
	{
		place->state = PLACE_RUNNING;
		place->pid = MyProcPid;
		place->latch = MyLatch;
		place->connected = false;
		place->started_us = clock_now_us();
		my_place = place;
		place->trouble[0] = '\0';
		arrived->place = DatumGetInt32(argument);
		arrived->database = place->database;
		arrived->role = place->role;
	}
	LWLockRelease(qwen_shared->lock);
	if (taken)
	{
		before_shmem_exit(leave_place, argument);
		previous_log_hook = emit_log_hook;
		emit_log_hook = remember_last_words;
	}
	return taken;
}

void
job_worker_connected(const JobWorkerPlace *at)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	job_places->places[at->place].connected = true;
	LWLockRelease(qwen_shared->lock);
}

uint64
job_worker_requests(const JobWorkerPlace *at, uint64 *calls)
{
	Place *place = &job_places->places[at->place];

	*calls = pg_atomic_read_u64(&place->calls);
	return pg_atomic_read_u64(&place->requests);
}

bool
job_worker_leave(const JobWorkerPlace *at, uint64 requests_seen)
{
	Place *place = &job_places->places[at->place];
	bool leave;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	leave = pg_atomic_read_u64(&place->requests) == requests_seen;
	if (leave)
		job_place_free(place);
	LWLockRelease(qwen_shared->lock);
	if (leave)
	{
		my_place = NULL;
		wake_supervisor();
	}
	return leave;
}

bool
job_others_wait(void)
{
	bool others_wait = false;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < N_PLACES; i++)
		others_wait |= job_places->places[i].state == PLACE_LIMITED;
	LWLockRelease(qwen_shared->lock);
	return others_wait;
}

bool
job_turn_is_over(void)
{
	if (!my_place || turn_was_ended)
		return my_place != NULL;
	return clock_now_us() >= my_place->started_us + (uint64) TURN_MS * 1000 && job_others_wait();
}

void
job_worker_end_turn(void)
{
	turn_was_ended = true;
}

void
job_give_turn(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	my_place->state = PLACE_WANTED;
	job_place_go_behind(my_place);
	my_place->pid = 0;
	my_place->latch = NULL;
	my_place->n_failures = 0;
	my_place = NULL;
	LWLockRelease(qwen_shared->lock);
	wake_supervisor();
}
