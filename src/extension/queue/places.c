/*
 * places.c - where work waits.
 *
 * A worker serves one role in one database: it connects as that role, so all it does is bound by the role's privileges
 * and row-level security. Each pair that has work has a place in shared memory. A commit that queued work (requests.c)
 * asks for a worker there and wakes the supervisor, which starts it (starts.c); a worker that finds nothing left gives
 * its place back (worker_place.c) and is gone. Nobody polls. One place means one worker, so no row is worked on twice
 * at a time. Where there are more places than workers may run, they take turns.
 *
 * What was left when nobody was there to hear of it is found by scouts (scout.c).
 */
#include "places.h"

#include "../../base/clock.h"

#include "../core/shared_memory.h"
#include "miscadmin.h"
#include "place_table.h"
#include "shared_part.h"
#include "storage/latch.h"
#include "sweep_times.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_MS 200
#define FAILURES_TO_SCOUT 3
#define SCOUT_PAUSE_MS 5000 /* between two scouts: each is a process a database */
#define LOOK_AGAIN_S 60     /* until a scout looks for what no statement may tell of */

PlaceTable *job_places;

/* The supervisor's. */
static uint64 next_scout_us;

static void
start(void *memory, bool is_new)
{
	job_places = memory;
	if (is_new)
		job_places->scout_wanted = true;
}

const SharedPart job_places_part = {sizeof(PlaceTable), start};

void
job_place_free(Place *place)
{
	memset(place, 0, sizeof *place);
	job_places->scout_wanted |= job_places->is_full;
	job_places->is_full = false;
}

void
job_place_go_behind(Place *place)
{
	place->turn = ++job_places->next_turn;
}

/* An empty place of (database, role). The lock is held exclusively. */
static void
take_place(Place *place, Oid database, Oid role)
{
	memset(place, 0, sizeof *place);
	pg_atomic_init_u64(&place->requests, 0);
	pg_atomic_init_u64(&place->calls, 0);
	pg_atomic_init_u32(&place->listens, 0);
	place->database = database;
	place->role = role;
	place->state = PLACE_WANTED;
	job_place_go_behind(place);
}

/* The place of (database, role), or NULL. The lock is held. */
static Place *
find_place(Oid database, Oid role)
{
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &job_places->places[i];

		if (place->state != PLACE_FREE && place->database == database && place->role == role)
			return place;
	}
	return NULL;
}

/* Leave word at a place; its worker is woken when it waits for that, or when it is called. The lock is held. */
static void
leave_word(Place *place, bool calls)
{
	pg_atomic_fetch_add_u64(&place->requests, 1);
	if (calls)
		pg_atomic_fetch_add_u64(&place->calls, 1);
	if ((pg_atomic_exchange_u32(&place->listens, 0) != 0 || calls) && place->latch)
		SetLatch(place->latch);
}

/* Many a second come here, so a worker that is at work is left alone: it looks by itself before it rests. The
 * supervisor is only woken to start one. */
void
job_place_request(Oid database, Oid role, bool calls)
{
	Place *place;
	bool is_new = false;

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	place = find_place(database, role);
	if (place)
		leave_word(place, calls);
	LWLockRelease(qwen_shared->lock);
	if (place)
		return;
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	place = find_place(database, role);
	for (int i = 0; !place && i < N_PLACES; i++)
		if (job_places->places[i].state == PLACE_FREE)
		{
			place = &job_places->places[i];
			take_place(place, database, role);
			is_new = true;
		}
	if (place)
		leave_word(place, calls);
	else
		job_places->is_full = true; /* a scout finds it when there is room again */
	LWLockRelease(qwen_shared->lock);
	if (is_new)
		wake_supervisor();
}

void
job_place_plan_retry(Place *place)
{
	int64 wait_ms = (int64) FIRST_RETRY_MS << Min(place->n_failures, 10);

	place->state = PLACE_FAILED;
	job_place_go_behind(place);
	place->n_failures++;
	job_places->scout_wanted |= place->n_failures >= FAILURES_TO_SCOUT;
	place->pid = 0;
	place->latch = NULL;
	pg_atomic_write_u32(&place->listens, 0);
	place->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(wait_ms, PLACE_LAST_RETRY_MS));
}

void
job_want_scout(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	job_places->scout_wanted = true;
	LWLockRelease(qwen_shared->lock);
}

void
job_scout_later(void)
{
	uint64 us = clock_now_us() + (uint64) LOOK_AGAIN_S * USECS_PER_SEC;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	if (job_places->look_again_us == 0 || us < job_places->look_again_us)
		job_places->look_again_us = us;
	LWLockRelease(qwen_shared->lock);
}

bool
job_scout_is_due(bool is_there)
{
	bool due;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	/* the setting counts as it is now: who lowers it does not wait for as long as it was */
	if (job_places->swept_us == 0 || clock_now_us() >= job_places->swept_us + job_sweep_pause_us(5, SECS_PER_DAY))
	{
		job_places->scout_wanted = true;
		job_places->swept_us = clock_now_us();
	}
	if (job_places->look_again_us != 0 && clock_now_us() >= job_places->look_again_us)
	{
		job_places->scout_wanted = true;
		job_places->look_again_us = 0;
	}
	due = job_places->scout_wanted && clock_now_us() >= next_scout_us && !is_there;
	if (due)
	{
		job_places->scout_wanted = false;
		next_scout_us = clock_now_us() + (uint64) SCOUT_PAUSE_MS * 1000;
	}
	LWLockRelease(qwen_shared->lock);
	return due;
}

bool
job_places_copy(Place copy[N_PLACES])
{
	if (!job_places)
		return false;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	memcpy(copy, job_places->places, sizeof job_places->places);
	LWLockRelease(qwen_shared->lock);
	return true;
}

void
job_give_up_places(const List *databases)
{
	Place copy[N_PLACES];

	if (!job_places_copy(copy))
		return;
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &job_places->places[i];
		bool is_gone = databases ? !list_member_oid(databases, copy[i].database)
								 : copy[i].database == MyDatabaseId &&
									   !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(copy[i].role));

		if (copy[i].state != PLACE_FAILED || !is_gone)
			continue;
		LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
		if (place->state == PLACE_FAILED && place->database == copy[i].database && place->role == copy[i].role)
			job_place_free(place);
		LWLockRelease(qwen_shared->lock);
	}
}
