/*
 * places.h - when and where job workers run: the places of (database, role) in shared memory.
 */
#ifndef QWEN_PLACES_H
#define QWEN_PLACES_H

#include "../core/core.h"

/* When this database is to be swept: 0: now, and nobody else does for a while; -1: not before others come by. */
extern long job_sweep_wait_ms(void);

/* Tables of a role of this database whose triggers have dead letters, so that deletes from them ask for a sweep. */
extern void job_letters_add(Oid role, Oid relation);
extern void job_letters_clear(Oid role);

/* In this transaction rows were queued for a role of this database: at its commit a worker is asked for. */
extern void job_request_worker(Oid role);

/* The same for all else: a worker that runs looks at once at its jobs, and for rows from the beginning of the queue. */
extern void job_call_worker(Oid role);

/* Ask PostgreSQL for memory, and begin with it (under AddinShmemInitLock). */
extern void job_shared_request(void);
extern void job_shared_start(void);

/* In the postmaster: hear of statements that end. */
extern void job_places_init(void);

/* The supervisor's turn to start what is wanted. */
extern void job_launch(void);

/* Tell the postmaster of a worker; false: no slot is free. *handle: of the last one, or NULL; the new one's then. */
struct BackgroundWorkerHandle;
extern bool job_start_worker(const char *function, const char *name, Datum argument,
							 struct BackgroundWorkerHandle **handle);

/* A scout is wanted. May be called while a process ends. */
extern void job_want_scout(void);

/* Give up places whose worker can never connect again: of databases that are not among these, or, with NIL, of roles of
 * this database that are gone. */
extern void job_give_up_places(const List *databases);

/* Somebody waits for the end of a job: woken when any ends. */
extern void job_wait_begin(void);
extern void job_wait_next(long timeout_ms);
extern void job_wait_end(void);
extern void job_announce_end(void);

/* In a transaction: at its commit those who LISTEN to qwen_job hear of the end. */
extern void job_notify_end(int64 job, const char *state);

/* A worker's place among those that are there. */
typedef struct JobWorkerPlace
{
	int place;
	Oid database, role;
} JobWorkerPlace;

/* Take the place that the argument names; false: another has it. */
extern bool job_worker_arrive(Datum argument, JobWorkerPlace *place);

/* The connection stands: what goes wrong from here on is not the login's fault. */
extern void job_worker_connected(const JobWorkerPlace *place);

/* How often work was asked for until now, and by job_call_worker; leaving works only when nobody asked since. */
extern uint64 job_worker_requests(const JobWorkerPlace *place, uint64 *calls);
extern bool job_worker_leave(const JobWorkerPlace *place, uint64 requests_seen);

/*
 * Has this worker worked for long enough, while others' places wait for one? Then it begins nothing more and leaves,
 * and its place stands behind them.
 */
extern bool job_turn_is_over(void);
extern void job_give_turn(void);

/* From here on whoever queues rows wakes the worker. false: somebody has meanwhile. */
extern bool job_worker_listen(const JobWorkerPlace *place, uint64 requests_seen);
extern void job_worker_stop_listening(const JobWorkerPlace *place);

#define JOB_TROUBLE_BYTES 256

/* What the views show of this worker: why nothing moves, or "". Nothing in processes that are no workers. */
extern void job_worker_tell(const char *trouble);

#endif
