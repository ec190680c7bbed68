/*
 * forward_plan.c - from a model's layers to the list of phases that a step walks through; see forward_private.h.
 *
 * The plan owns the list and what its phases are about, which no step writes to. Each part of a layer has a file that
 * adds its phases and says how wide the rows are that it keeps (plan_rows); forward.c takes the memory for them
 * afterwards.
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
	plan->phases[plan->n_phases++] = (PlanPhase){part, items, work, argument};
}

const RowBuffer *
plan_rows(Forward *f, RowsName name, uint32_t width)
{
	RowBuffer *buffer = &f->rows[name];

	buffer->width = width > buffer->width ? width : buffer->width;
	return buffer;
}

uint32_t
all_rows(const Forward *f, const void *argument)
{
	(void) argument;
	return f->n_rows;
}

static const PartPlan part_plans[N_PART_KINDS] = {
	[PART_ATTENTION] = plan_attention,
	[PART_DENSE] = plan_dense,
};

bool
plan_make(Forward *f)
{
	f->plan.arena = arena_create(0);
	plan_embedding(f);
	for (uint32_t layer = 0; layer < f->model->hyper.n_layers; layer++)
		for (uint32_t part = 0; part < LAYER_PARTS; part++)
			part_plans[f->model->layers[layer].parts[part]](f, layer);
	plan_output(f);
	return !f->plan.failed;
}

void
plan_free(Plan *plan)
{
	free(plan->phases);
	arena_destroy(plan->arena);
}
