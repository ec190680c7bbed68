/*
 * round_clock.c - see round_clock.h.
 */
#include "round_clock.h"

#include "../base/clock.h"

#define GO_WAIT_US 2000   /* a request that was accepted has its GO waited for so long at most */
#define GO_WAIT_SHARE 16  /* and for this part of a step … */
#define ONLY_WAIT_SHARE 2 /* … or this one, where it is the only one of its role */
#define NO_ROUND UINT64_MAX
#define AT_ONCE_US 2000 /* requests are prepared as long as those of the round have taken less than this */

bool
round_clock_has_time(const RoundClock *clock)
{
	return clock->at_once_us < AT_ONCE_US;
}

void
round_clock_prepared(RoundClock *clock, uint64_t start_us)
{
	clock->at_once_us += clock_now_us() - start_us;
}

void
round_clock_add(RoundClock *clock, EngineRequest *request)
{
	request->round = clock->round;
	clock->n_new++;
	clock->n_only += request->is_only;
}

void
round_clock_remove(RoundClock *clock, EngineRequest *request)
{
	if (request->state != STATE_ACCEPTED || request->round != clock->round)
		return;
	clock->n_new--;
	clock->n_only -= request->is_only;
	/* a GO that found the queue full is not the last one */
	request->round = NO_ROUND;
}

uint64_t
round_clock_wait_us(const RoundClock *clock)
{
	uint64_t wait_us = clock->step_us / (clock->n_only > 0 ? ONLY_WAIT_SHARE : GO_WAIT_SHARE);

	return wait_us < GO_WAIT_US ? wait_us : GO_WAIT_US;
}

void
round_clock_step(RoundClock *clock, uint64_t start_us)
{
	clock->step_us = clock_now_us() - start_us;
	clock->round++;
	clock->n_new = clock->n_only = 0;
	clock->at_once_us = 0;
}

void
round_clock_idle(RoundClock *clock)
{
	clock->at_once_us = 0;
}
