/*
 * forward_plan.c - a list of phases in the making; see forward_private.h.
 *
 * The plan owns the list and what its phases are about, which no step writes to. The parts of layers add to it.
 */
#include <stdlib.h>
#include <string.h>

#include "forward_private.h"

const void *
plan_keep(Forward *f, const void *argument, size_t bytes)
{
	void *kept = f->plan.arena ? arena_alloc(f->plan.arena, bytes) : NULL;

	if (kept)
		memcpy(kept, argument, bytes);
	else
		f->plan.failed = true;
	return kept;
}

void
plan_add(Forward *f, StepPart part, PhaseItems items, PhaseWork work, const void *argument)
{
	plan_add_fetching(f, part, items, work, NULL, argument);
}

void
plan_add_fetching(Forward *f, StepPart part, PhaseItems items, PhaseWork work, PhaseFetch fetch, const void *argument)
{
	Plan *plan = &f->plan;

	if (plan->n_phases == plan->n_allocated)
	{
		uint32_t n = plan->n_allocated ? 2 * plan->n_allocated : 64;
		PlanPhase *phases = realloc(plan->phases, n * sizeof *phases);

		if (!phases)
		{
			plan->failed = true;
			return;
		}
		plan->phases = phases;
		plan->n_allocated = n;
	}
	plan->phases[plan->n_phases++] = (PlanPhase){part, items, work, fetch, argument};
}

const RowBuffer *
plan_rows(Forward *f, RowsName name, uint32_t width)
{
	RowBuffer *buffer = &f->rows[name];

	buffer->width = width > buffer->width ? width : buffer->width;
	return buffer;
}

const RowBuffer *
plan_pairs(Forward *f, RowsName name, uint32_t width)
{
	f->rows[name].times = f->model->hyper.n_used_experts;
	return plan_rows(f, name, width);
}

uint32_t
all_rows(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_rows;
}

void
plan_free(Plan *plan)
{
	free(plan->phases);
	arena_destroy(plan->arena);
}
