/*
 * queue_gate.c - see queue_gate.h.
 */
#include "queue_gate.h"

#include "../../base/clock.h"

#define OPEN (-1)
#define SHORTEST_PAUSE_MS 10
#define LONGEST_PAUSE_MS 250
#define MOST_TRIED 64 /* so many at once without a refusal: the queue has room again */

static int n_may_pass = OPEN;
static int n_to_try;   /* with the next pause's end */
static bool has_tried; /* with the last one's, and none of these was refused until now */
static uint64 next_try_us;
static long pause_ms;

/* The next ones to try come after a pause that begins now. */
static void
begin_pause(long ms)
{
	pause_ms = ms;
	next_try_us = clock_now_us() + (uint64) ms * 1000;
}

void
queue_gate_refused(void)
{
	/* many may be refused at once: that is one refusal */
	if (n_may_pass == OPEN)
		begin_pause(SHORTEST_PAUSE_MS);
	else if (has_tried)
		begin_pause(Min(pause_ms * 2, LONGEST_PAUSE_MS));
	n_may_pass = 0;
	n_to_try = 1;
	has_tried = false;
}

void
queue_gate_ended(void)
{
	if (n_may_pass != OPEN)
		n_may_pass++;
}

void
queue_gate_reset(void)
{
	n_may_pass = OPEN;
}

bool
queue_gate_pass(void)
{
	if (n_may_pass == OPEN)
		return true;
	if (n_may_pass == 0 && clock_now_us() >= next_try_us)
	{
		if (has_tried)
			n_to_try *= 2;
		if (n_to_try > MOST_TRIED)
		{
			queue_gate_reset();
			return true;
		}
		n_may_pass = n_to_try;
		begin_pause(has_tried ? SHORTEST_PAUSE_MS : pause_ms);
		has_tried = true;
	}
	if (n_may_pass == 0)
		return false;
	n_may_pass--;
	return true;
}

long
queue_gate_pause_ms(void)
{
	uint64 now_us = clock_now_us();

	return now_us < next_try_us ? (long) ((next_try_us - now_us) / 1000) + 1 : 1;
}
