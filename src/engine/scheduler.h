/*
 * scheduler.h - which rows go into the next step.
 *
 * Requests wait, fairly between roles (fair_queue.h), for a place in the batch and for KV blocks. A request is admitted
 * when its prompt and a little more fit, and where there is no place or no room running ones of lower priority go back
 * into the queue for it; blocks are taken as they are needed. When there are none left, cached ones are given up, then
 * the most junior running request goes back into the queue and computes its tokens again later, with the same result. A
 * step takes one row of every request that decodes and slices of the prompts that are not done, short ones first, so a
 * long prompt stalls neither running answers nor short prompts; beside many answers the end of a prompt that somebody
 * waits for goes in a step before theirs. Where several roles ask they share each step (step_shares.h), and for a while
 * after that a role's prompts come in short slices. Several models take turns. Knows no sockets.
 */
#ifndef QWEN_SCHEDULER_H
#define QWEN_SCHEDULER_H

#include "request.h"
#include "slots.h"

typedef struct SchedulerSettings
{
	uint32_t max_running;    /* sequences of requests in the batch */
	uint32_t prefill_chunk;  /* prompt rows of a step, over all requests */
	uint32_t queue_size;     /* requests that wait */
	Speculation speculation; /* guess tokens (drafts.h) while few answers are sampled */
	bool leaves_processor;   /* to programs of roles that are expected back: while we compute they would get none */
} SchedulerSettings;

/* How the scheduler speaks to who owns the requests. */
typedef struct SchedulerCallbacks
{
	ByteWriter *(*output)(void *argument, EngineRequest *request); /* where a request's frames go */
	void (*ended)(void *argument,
				  EngineRequest *request); /* STATE_ENDED, out of all lists; to be destroyed by the owner */
	void *argument;
} SchedulerCallbacks;

typedef struct Scheduler Scheduler;

extern Scheduler *scheduler_create(const SchedulerSettings *settings, const SchedulerCallbacks *callbacks, Slots *slots,
								   StatusPage *page);
extern void scheduler_destroy(Scheduler *scheduler);

/* The client said GO. UNAVAILABLE when the queue is full, TOO_LONG when it has more sequences than there are places
 * (the request is as before). */
extern Status scheduler_go(Scheduler *scheduler, EngineRequest *request);

/* Take a request out of all lists and give back its blocks; the owner destroys it. Any state. */
extern void scheduler_remove(Scheduler *scheduler, EngineRequest *request);

/* Does a role have requests that wait or run? */
extern bool scheduler_serves(const Scheduler *scheduler, uint32_t role);

extern bool scheduler_has_work(const Scheduler *scheduler);

/* Admit what can be admitted and run one step. */
extern void scheduler_step(Scheduler *scheduler);

#endif
