/*
 * round_clock.h - what the time between two steps is used for.
 *
 * A round is what happens between two steps. Short requests are prepared in it, and no more of them than take a moment;
 * and a request that was just accepted has its GO waited for, a fraction of a step long: it would miss the step
 * otherwise. It is waited for longer where the request is the only one of its role: the others' step that is about to
 * begin would be one more that it waits for.
 */
#ifndef QWEN_ROUND_CLOCK_H
#define QWEN_ROUND_CLOCK_H

#include "request.h"

typedef struct RoundClock
{
	uint64_t round;      /* counts the steps */
	uint32_t n_new;      /* requests that were accepted in this round and wait for GO */
	uint32_t n_only;     /* of these: that are the only ones of their roles */
	uint64_t step_us;    /* how long the last step took */
	uint64_t at_once_us; /* that were spent since on preparing requests */
} RoundClock;

/* Is there time in this round to prepare one more request? */
extern bool round_clock_has_time(const RoundClock *clock);

/* A request was prepared since start_us. */
extern void round_clock_prepared(RoundClock *clock, uint64_t start_us);

/* A request waits for GO; it does so no more, before its state changes. */
extern void round_clock_add(RoundClock *clock, EngineRequest *request);
extern void round_clock_remove(RoundClock *clock, EngineRequest *request);

/* How long GO is waited for. */
extern uint64_t round_clock_wait_us(const RoundClock *clock);

/* A step that began at start_us has ended; or there was nothing to compute. */
extern void round_clock_step(RoundClock *clock, uint64_t start_us);
extern void round_clock_idle(RoundClock *clock);

#endif
