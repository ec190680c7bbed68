/*
 * places.c - when and where job workers run.
 *
 * A worker serves one role in one database: it connects as that role, so all it does is bound by the role's privileges
 * and row-level security. Each pair that has work has a place in shared memory. A commit that queued work asks for
 * a worker there and wakes the supervisor, which starts it; a worker that finds nothing left gives its place back
 * and is gone. Nobody polls. One place means one worker, so no row is worked on twice at a time. Where there are more
 * places than workers may run, they take turns.
 *
 * What was left when nobody was there to hear of it is found by scouts (scout.c).
 */
#include "places.h"

#include "../../base/clock.h"

#include "../core/compat.h"
#include "../core/pause.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/statement.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define N_PLACES 64
#define N_LETTERED 256
#define ASKED_SWEEP_US USECS_PER_SEC /* between two that deletes ask for */
#define N_REQUESTS 16                /* roles that one transaction can ask for; with more, a scout looks */
#define FIRST_RETRY_MS 200
#define LAST_RETRY_MS 30000
#define FAILURES_TO_SCOUT 3
#define SCOUT_PAUSE_MS 5000 /* between two scouts: each is a process a database */
#define TURN_MS 5000        /* a worker that has worked this long goes behind those that wait for one */

typedef enum PlaceState
{
	PLACE_FREE = 0,
	PLACE_WANTED,   /* a worker is asked for */
	PLACE_NO_SLOT,  /* max_worker_processes are used up */
	PLACE_LIMITED,  /* qwen.max_job_workers are there */
	PLACE_STARTING, /* the postmaster has been told */
	PLACE_RUNNING,
	PLACE_FAILED, /* it ended before its work did; next_try says when another starts */
} PlaceState;

static const char *const place_names[] = {"free", "wanted", "no slot", "limited", "starting", "running", "failed"};

typedef struct Place
{
	Oid database, role;
	PlaceState state;
	pid_t pid;
	Latch *latch;
	TimestampTz next_try;
	int n_failures;
	bool connected; /* the worker got as far as that */
	uint64 turn;    /* who has waited longest for a worker has the lowest */
	uint64 started_us;
	char trouble[JOB_TROUBLE_BYTES]; /* of one that runs: why nothing moves; of one that failed: its last words */
	/* changed under the shared lock */
	pg_atomic_uint64 requests; /* how often work was asked for */
	pg_atomic_uint64 calls;    /* how often for more than rows that were queued just now */
	pg_atomic_uint32 listens;  /* it waits, and has room for rows */
} Place;

/* In PostgreSQL's shared memory; guarded by qwen_shared->lock. */
typedef struct JobShared
{
	Place places[N_PLACES];
	bool scout_wanted;
	bool is_full; /* somebody found no place: a scout is to look when one is free */
	uint64 next_turn;
	uint64 swept_us; /* when a scout was last sent to look for what is to be swept away */
	struct
	{
		Oid database;
		uint64 next_us; /* when it is swept again */
		bool asked;     /* somebody has deleted rows of a table with dead letters */
	} sweeps[N_PLACES];
	int next_sweep; /* place for another database */

	/* tables with dead letters of their triggers, as far as there is room; their number is read without the lock */
	struct
	{
		Oid database, role, relation;
	} lettered[N_LETTERED];
	pg_atomic_uint32 n_lettered;
	ConditionVariable ended; /* a job has */
} JobShared;

static JobShared *shared;

/* The supervisor's. */
static BackgroundWorkerHandle *handles[N_PLACES];
static BackgroundWorkerHandle *scout;
static uint64 next_scout_us;

/* A worker's. */
static Place *my_place;

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

/* A worker's. */
static char last_words[JOB_TROUBLE_BYTES];
static emit_log_hook_type previous_log_hook;

void
job_shared_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(JobShared)));
}

void
job_shared_start(void)
{
	bool found;

	shared = ShmemInitStruct("qwen_pg jobs", sizeof *shared, &found);
	if (!found)
	{
		memset(shared, 0, sizeof *shared);
		shared->scout_wanted = true;
		ConditionVariableInit(&shared->ended);
		pg_atomic_init_u32(&shared->n_lettered, 0);
	}
}

/* Nobody wants a place any more: there is room for those that found none. The lock is held. */
static void
free_place(Place *place)
{
	memset(place, 0, sizeof *place);
	shared->scout_wanted |= shared->is_full;
	shared->is_full = false;
}

/* A place stands behind all others that wait for a worker. The lock is held. */
static void
go_behind(Place *place)
{
	place->turn = ++shared->next_turn;
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
	go_behind(place);
}

/* The place of (database, role), or NULL. The lock is held. */
static Place *
find_place(Oid database, Oid role)
{
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &shared->places[i];

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

/*
 * Ask for a worker of (database, role). Never raises. Many a second come here, so a worker that is at work is left
 * alone: it looks by itself before it rests. The supervisor is only woken to start one.
 */
static void
request(Oid database, Oid role, bool calls)
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
		if (shared->places[i].state == PLACE_FREE)
		{
			place = &shared->places[i];
			take_place(place, database, role);
			is_new = true;
		}
	if (place)
		leave_word(place, calls);
	else
		shared->is_full = true; /* a scout finds it when there is room again */
	LWLockRelease(qwen_shared->lock);
	if (is_new)
		wake_supervisor();
}

/* How often ended jobs are looked at: soon enough for how long they are kept. */
static uint64
sweep_pause_us(uint64 least, uint64 most)
{
	uint64 seconds = qwen_job_retention > 0 ? (uint64) qwen_job_retention / 10 : most;

	return Max(least, Min(seconds, most)) * USECS_PER_SEC;
}

/* Where the next sweep of this database is noted. The lock is held. */
static int
find_sweep(void)
{
	int at;

	for (int i = 0; i < N_PLACES; i++)
		if (shared->sweeps[i].database == MyDatabaseId)
			return i;
	at = shared->next_sweep++ % N_PLACES;
	memset(&shared->sweeps[at], 0, sizeof shared->sweeps[at]);
	shared->sweeps[at].database = MyDatabaseId;
	return at;
}

long
job_sweep_wait_ms(void)
{
	uint64 now = clock_now_us(), next;
	bool asked;
	int at;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	at = find_sweep();
	next = shared->sweeps[at].next_us;
	asked = shared->sweeps[at].asked;
	if (now >= next)
	{
		shared->sweeps[at].next_us = now + sweep_pause_us(1, SECS_PER_MINUTE);
		shared->sweeps[at].asked = false;
	}
	LWLockRelease(qwen_shared->lock);
	return now >= next ? 0 : asked ? (long) ((next - now) / 1000 + 1) : -1;
}

/* Soon, but not for each delete. */
static void
ask_for_sweep(void)
{
	uint64 soon = clock_now_us() + ASKED_SWEEP_US;
	int at;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	at = find_sweep();
	shared->sweeps[at].next_us = Min(shared->sweeps[at].next_us, soon);
	shared->sweeps[at].asked = true;
	LWLockRelease(qwen_shared->lock);
}

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
	if (event == XACT_EVENT_ABORT || !shared)
		return;
	if (sweep)
		ask_for_sweep();
	for (int i = 0; i < Min(n, N_REQUESTS); i++)
		request(MyDatabaseId, requested[i].role, requested[i].calls);
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

/* ---- waiting for the end of a job ---- */
void
job_wait_begin(void)
{
	ConditionVariablePrepareToSleep(&shared->ended);
}

void
job_wait_next(long timeout_ms)
{
	(void) ConditionVariableTimedSleep(&shared->ended, timeout_ms, qwen_wait_event());
}

void
job_wait_end(void)
{
	ConditionVariableCancelSleep();
}

void
job_announce_end(void)
{
	ConditionVariableBroadcast(&shared->ended);
}

void
job_notify_end(int64 job, const char *state)
{
	Async_Notify("qwen_job", psprintf("{\"id\": " INT64_FORMAT ", \"state\": \"%s\"}", job, state));
}

/* ---- the supervisor's part ---- */
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

/* The next start of a worker that failed. One that never connects may have lost its role or database: a scout knows.
 * The lock is held. */
static void
plan_retry(Place *place)
{
	int64 wait_ms = (int64) FIRST_RETRY_MS << Min(place->n_failures, 10);

	place->state = PLACE_FAILED;
	go_behind(place);
	place->n_failures++;
	shared->scout_wanted |= place->n_failures >= FAILURES_TO_SCOUT;
	place->pid = 0;
	place->latch = NULL;
	pg_atomic_write_u32(&place->listens, 0);
	place->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(wait_ms, LAST_RETRY_MS));
}

/* Does a place wait for a worker? */
static bool
waits_for_worker(const Place *place)
{
	return place->state == PLACE_WANTED || place->state == PLACE_NO_SLOT || place->state == PLACE_LIMITED ||
		   (place->state == PLACE_FAILED && !still_pauses(place->next_try, LAST_RETRY_MS));
}

/* The place that has waited longest and is to get a worker now; it is marked as starting. -1: there is none. */
static int
take_for_start(void)
{
	int n_workers = 0, first = -1;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &shared->places[i];

		if (place->state == PLACE_STARTING && has_ended(handles[i]))
			plan_retry(place);
		n_workers += place->state == PLACE_STARTING || place->state == PLACE_RUNNING;
		if (waits_for_worker(place) && (first < 0 || place->turn < shared->places[first].turn))
			first = i;
	}
	if (n_workers >= qwen_max_job_workers)
	{
		for (int i = 0; i < N_PLACES; i++)
			if (waits_for_worker(&shared->places[i]))
				shared->places[i].state = PLACE_LIMITED;
		first = -1;
	}
	if (first >= 0)
		shared->places[first].state = PLACE_STARTING;
	LWLockRelease(qwen_shared->lock);
	return first;
}

/* The owner of a table of this database that is among those with dead letters. The lock is held. */
static Oid
lettered_role(Oid relation)
{
	uint32 n = pg_atomic_read_u32(&shared->n_lettered);

	for (uint32 i = 0; i < n; i++)
		if (shared->lettered[i].relation == relation && shared->lettered[i].database == MyDatabaseId)
			return shared->lettered[i].role;
	return InvalidOid;
}

void
job_letters_add(Oid role, Oid relation)
{
	uint32 n;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&shared->n_lettered);
	if (n < N_LETTERED && !OidIsValid(lettered_role(relation)))
	{
		shared->lettered[n].database = MyDatabaseId;
		shared->lettered[n].role = role;
		shared->lettered[n].relation = relation;
		pg_atomic_write_u32(&shared->n_lettered, n + 1);
	}
	LWLockRelease(qwen_shared->lock);
}

void
job_letters_clear(Oid role)
{
	uint32 n, kept = 0;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	n = pg_atomic_read_u32(&shared->n_lettered);
	for (uint32 i = 0; i < n; i++)
		if (shared->lettered[i].database != MyDatabaseId || shared->lettered[i].role != role)
			shared->lettered[kept++] = shared->lettered[i];
	pg_atomic_write_u32(&shared->n_lettered, kept);
	LWLockRelease(qwen_shared->lock);
}

/* May a statement take rows away? */
static bool
may_delete(const PlannedStmt *plan)
{
#if PG_VERSION_NUM >= 150000
	if (plan->commandType == CMD_MERGE)
		return true;
#endif
	return plan->commandType == CMD_DELETE || plan->hasModifyingCTE;
}

/* A statement ends that may have deleted rows with dead letters. */
static void
note_deleted_rows(const PlannedStmt *plan)
{
	ListCell *cell;

	if (!shared || pg_atomic_read_u32(&shared->n_lettered) == 0 || !plan || !may_delete(plan))
		return;
	foreach (cell, plan->resultRelations)
	{
		Oid role;

		LWLockAcquire(qwen_shared->lock, LW_SHARED);
		role = lettered_role(rt_fetch(lfirst_int(cell), plan->rtable)->relid);
		LWLockRelease(qwen_shared->lock);
		if (OidIsValid(role))
		{
			note_request(role, true, false);
			asked_for_sweep = true;
		}
	}
}

void
job_places_init(void)
{
	statement_when_ending(note_deleted_rows);
}

void
job_want_scout(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	shared->scout_wanted = true;
	LWLockRelease(qwen_shared->lock);
}

static void
launch_scout(void)
{
	bool wanted;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	/* the setting counts as it is now: who lowers it does not wait for as long as it was */
	if (shared->swept_us == 0 || clock_now_us() >= shared->swept_us + sweep_pause_us(5, SECS_PER_DAY))
	{
		shared->scout_wanted = true;
		shared->swept_us = clock_now_us();
	}
	wanted = shared->scout_wanted && clock_now_us() >= next_scout_us && (!scout || has_ended(scout));
	if (wanted)
	{
		shared->scout_wanted = false;
		next_scout_us = clock_now_us() + (uint64) SCOUT_PAUSE_MS * 1000;
	}
	LWLockRelease(qwen_shared->lock);
	if (!wanted || job_start_worker("qwen_job_scout_main", "qwen_pg job scout", ObjectIdGetDatum(InvalidOid), &scout))
		return;
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
			shared->places[i].state = PLACE_NO_SLOT;
			LWLockRelease(qwen_shared->lock);
			break;
		}
}

/* ---- a worker's part ---- */
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
	Place *place = &shared->places[at->place];

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
	pg_atomic_write_u32(&shared->places[at->place].listens, 0);
}

/* A worker ends before its work does, for whatever reason: another one will be started. */
static void
leave_place(int code, Datum argument)
{
	Place *place = &shared->places[DatumGetInt32(argument)];

	LWLockReleaseAll();
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	if (place->state == PLACE_RUNNING && place->pid == MyProcPid)
	{
		if (place->connected)
			place->n_failures = 0;
		plan_retry(place);
		memcpy(place->trouble, last_words, sizeof place->trouble);
	}
	LWLockRelease(qwen_shared->lock);
	wake_supervisor();
}

bool
job_worker_arrive(Datum argument, JobWorkerPlace *arrived)
{
	Place *place = &shared->places[DatumGetInt32(argument)];
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
	shared->places[at->place].connected = true;
	LWLockRelease(qwen_shared->lock);
}

uint64
job_worker_requests(const JobWorkerPlace *at, uint64 *calls)
{
	Place *place = &shared->places[at->place];

	*calls = pg_atomic_read_u64(&place->calls);
	return pg_atomic_read_u64(&place->requests);
}

bool
job_worker_leave(const JobWorkerPlace *at, uint64 requests_seen)
{
	Place *place = &shared->places[at->place];
	bool leave;

	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	leave = pg_atomic_read_u64(&place->requests) == requests_seen;
	if (leave)
		free_place(place);
	LWLockRelease(qwen_shared->lock);
	if (leave)
	{
		my_place = NULL;
		wake_supervisor();
	}
	return leave;
}

bool
job_turn_is_over(void)
{
	bool others_wait = false;

	if (!my_place || clock_now_us() < my_place->started_us + (uint64) TURN_MS * 1000)
		return false;
	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	for (int i = 0; i < N_PLACES; i++)
		others_wait |= shared->places[i].state == PLACE_LIMITED;
	LWLockRelease(qwen_shared->lock);
	return others_wait;
}

void
job_give_turn(void)
{
	LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
	my_place->state = PLACE_WANTED;
	go_behind(my_place);
	my_place->pid = 0;
	my_place->latch = NULL;
	my_place->n_failures = 0;
	my_place = NULL;
	LWLockRelease(qwen_shared->lock);
	wake_supervisor();
}

void
job_give_up_places(const List *databases)
{
	Place copy[N_PLACES];

	LWLockAcquire(qwen_shared->lock, LW_SHARED);
	memcpy(copy, shared->places, sizeof copy);
	LWLockRelease(qwen_shared->lock);
	for (int i = 0; i < N_PLACES; i++)
	{
		Place *place = &shared->places[i];
		bool is_gone = databases ? !list_member_oid(databases, copy[i].database)
								 : copy[i].database == MyDatabaseId &&
									   !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(copy[i].role));

		if (copy[i].state != PLACE_FAILED || !is_gone)
			continue;
		LWLockAcquire(qwen_shared->lock, LW_EXCLUSIVE);
		if (place->state == PLACE_FAILED && place->database == copy[i].database && place->role == copy[i].role)
			free_place(place);
		LWLockRelease(qwen_shared->lock);
	}
}

/* ---- what the views show ---- */
/* Does a worker wait for a standby to confirm its commit? */
static bool
waits_for_standby(pid_t pid)
{
	PGPROC *process = pid ? BackendPidGetProc(pid) : NULL;

	return process && process->wait_event_info == WAIT_EVENT_SYNC_REP;
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
			return psprintf("no background worker slot is free: raise max_worker_processes (%d) and restart",
							max_worker_processes);
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
	FuncCallContext *context;
	Place *copy;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;
		TupleDesc descriptor;

		context = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "qwen_job_workers must return rows");
		context->tuple_desc = BlessTupleDesc(descriptor);
		copy = palloc0(sizeof(Place) * N_PLACES);
		if (shared)
		{
			LWLockAcquire(qwen_shared->lock, LW_SHARED);
			memcpy(copy, shared->places, sizeof(Place) * N_PLACES);
			LWLockRelease(qwen_shared->lock);
		}
		context->user_fctx = copy;
		MemoryContextSwitchTo(old);
	}
	context = SRF_PERCALL_SETUP();
	copy = context->user_fctx;
	while (context->call_cntr < N_PLACES)
	{
		const Place *place = &copy[context->call_cntr];
		Datum values[4];
		bool nulls[4] = {false};
		char *trouble;

		if (place->state == PLACE_FREE || place->database != MyDatabaseId)
		{
			context->call_cntr++;
			continue;
		}
		trouble = place_trouble(place);
		values[0] = ObjectIdGetDatum(place->role);
		values[1] = CStringGetTextDatum(place_names[place->state]);
		values[2] = Int32GetDatum(place->pid);
		nulls[2] = place->pid == 0;
		values[3] = trouble ? CStringGetTextDatum(trouble) : (Datum) 0;
		nulls[3] = !trouble;
		SRF_RETURN_NEXT(context, HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(context);
}
