/*
 * fair_queue.h - the requests that wait, and whose turn it is.
 *
 * Higher priority goes first; then who was preempted; then the role that was served least; then who came first. What a
 * role was served is counted in tokens, as start-time fair queueing does it (Goyal, Vin, Cheng 1996): a role that has
 * asked for nothing for a while begins at the count of the one served last, so it has no credit from the past, and one
 * that has taken more than its share lately still waits for the others. So a thousand queued requests of one role do
 * not hold up the single one of another. After creation nothing is allocated.
 */
#ifndef QWEN_FAIR_QUEUE_H
#define QWEN_FAIR_QUEUE_H

#include "request.h"

#define FAIR_QUEUE_MOST 2 /* times the size of the queue may wait when roles share it */

typedef struct FairQueue FairQueue;

/* max_requests: between fair_queue_enter and fair_queue_leave at the same time. NULL: out of memory. */
extern FairQueue *fair_queue_create(uint32_t max_requests);
extern void fair_queue_destroy(FairQueue *queue);

/* A request said GO, it belongs to its role's account until it leaves. */
extern void fair_queue_enter(FairQueue *queue, EngineRequest *request);
extern void fair_queue_leave(FairQueue *queue, EngineRequest *request);

/* What a role may still take of its part in steps that roles share (step_shares.h), microseconds; below 0: it has taken
 * more. */
extern double *fair_queue_keys_left(const EngineRequest *request);

/* Has a role any? */
extern bool fair_queue_has(const FairQueue *queue, uint32_t role);

/* Has another role than a request's some, or had its last one end within the last us microseconds? */
extern bool fair_queue_others_lately(const FairQueue *queue, const EngineRequest *request, uint64_t us);

/* It waits; it waits no more. */
extern void fair_queue_add(FairQueue *queue, EngineRequest *request);
extern void fair_queue_remove(FairQueue *queue, EngineRequest *request);

/* Whose turn it is, or NULL. It stays in the queue. */
extern EngineRequest *fair_queue_next(const FairQueue *queue);

/* Others of the same priority that may be taken in its place, those whose turn is next first: some of its own role
 * behind it, the first of each other role. Returns how many were put into out [n]. */
extern uint32_t fair_queue_behind(const FairQueue *queue, const EngineRequest *request, EngineRequest **out,
								  uint32_t n);

/* Of all that wait with less than a priority the one that said GO first, or NULL. */
extern EngineRequest *fair_queue_oldest_below(const FairQueue *queue, int32_t priority);

/* The turn is taken: roles that come back from now on begin where this one stands. */
extern void fair_queue_take_turn(FairQueue *queue, const EngineRequest *request);

/* Tokens that were computed for a request. */
extern void fair_queue_charge(FairQueue *queue, const EngineRequest *request, uint32_t n_tokens);

extern uint32_t fair_queue_n_waiting(const FairQueue *queue);

/*
 * May no request of a role wait any more, where so many are to wait at most? Who has filled the queue finds it full:
 * another role has room until it has its equal share of it, though no more than twice as many ever wait.
 */
extern bool fair_queue_is_full(const FairQueue *queue, uint32_t role, uint32_t size);

#endif
