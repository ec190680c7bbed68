/*
 * scheduler_compute.c - a step of a model, once it is put together: runs it, and learns what it takes.
 */
#include "scheduler_private.h"

#include "../base/clock.h"

void
scheduler_compute(Scheduler *scheduler, Slot *slot, const StepSequence *parts, uint32_t n_parts)
{
	StepTimes times = {0};
	uint64_t n_keys = 0, start;
	uint32_t n_rows = 0;
	bool wants_keys;

	for (uint32_t i = 0; i < n_parts; i++)
	{
		uint64_t first = parts[i].first_position, n = parts[i].n_tokens;

		n_keys += n * first + n * (n + 1) / 2;
		n_rows += parts[i].n_tokens;
	}
	forward_set_heartbeat(slot->forward, &scheduler->page->heartbeat_us);
	forward_spare(slot->forward, scheduler->settings.leaves_processor && scheduler->expects_other);
	wants_keys = step_cost_wants_keys(n_rows, n_keys);
	forward_measure(slot->forward, wants_keys ? &times : NULL);
	start = clock_now_us();
	forward_step(slot->forward, parts, n_parts);
	step_cost_learn(&slot->cost, n_rows, n_keys, clock_now_us() - start);
	forward_measure(slot->forward, NULL);
	if (wants_keys)
		step_cost_learn_keys(&slot->cost, n_keys, (double) times.part_ns[STEP_ATTENTION] / 1000);
}
