/*
 * worker_place.h - a worker's part: it takes its place, listens there, takes turns and leaves.
 */
#ifndef QWEN_WORKER_PLACE_H
#define QWEN_WORKER_PLACE_H

#include "../core/core.h"

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

/* Do others' places wait for a worker? */
extern bool job_others_wait(void);

/* It is over at once, whoever waits. */
extern void job_worker_end_turn(void);
extern void job_give_turn(void);

/* From here on whoever queues rows wakes the worker. false: somebody has meanwhile. */
extern bool job_worker_listen(const JobWorkerPlace *place, uint64 requests_seen);
extern void job_worker_stop_listening(const JobWorkerPlace *place);

#define JOB_TROUBLE_BYTES 256

/* What the views show of this worker: why nothing moves, or "". Nothing in processes that are no workers. */
extern void job_worker_tell(const char *trouble);

#endif
