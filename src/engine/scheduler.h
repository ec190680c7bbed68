/*
 * scheduler.h - which rows go into the next step.
 *
 * Jobs wait in order of arrival for a place in the batch and for KV blocks of prompt and answer, which are taken at
 * once, so that a running job never runs out of them. A step takes one row of every job that decodes and a slice of the
 * prompts that are not done, so a long prompt never stalls running answers. Several models take turns. Knows no
 * sockets.
 */
#ifndef QWEN_SCHEDULER_H
#define QWEN_SCHEDULER_H

#include "job.h"
#include "slots.h"

typedef struct SchedulerSettings
{
	uint32_t max_running;   /* jobs in the batch */
	uint32_t prefill_chunk; /* prompt rows of a step, over all jobs */
	uint32_t queue_size;    /* jobs that wait */
} SchedulerSettings;

/* How the scheduler speaks to who owns the jobs. */
typedef struct SchedulerCallbacks
{
	ByteWriter *(*output)(void *argument, Job *job); /* where a job's frames go */
	void (*ended)(void *argument, Job *job);         /* JOB_ENDED, out of all lists; to be destroyed by the owner */
	void *argument;
} SchedulerCallbacks;

typedef struct Scheduler Scheduler;

extern Scheduler *scheduler_create(const SchedulerSettings *settings, const SchedulerCallbacks *callbacks, Slots *slots,
								   StatusPage *page);
extern void scheduler_destroy(Scheduler *scheduler);

/* The client said GO. UNAVAILABLE when the queue is full (the job is as before). */
extern Status scheduler_go(Scheduler *scheduler, Job *job);

/* Take a job out of all lists and give back its blocks; the owner destroys it. Any state. */
extern void scheduler_remove(Scheduler *scheduler, Job *job);

extern bool scheduler_has_work(const Scheduler *scheduler);

/* Admit what can be admitted and run one step. */
extern void scheduler_step(Scheduler *scheduler);

#endif
