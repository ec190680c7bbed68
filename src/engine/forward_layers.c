/*
 * forward_layers.c - from a model's layers to the plan that a step walks through: here parts and phases meet.
 *
 * Each part of a layer has a file that adds its phases and says how wide the rows are that it keeps (plan_rows);
 * forward.c takes the memory for them afterwards.
 */
#include "forward_private.h"

static const PartPlan part_plans[N_PART_KINDS] = {
	[PART_ATTENTION] = plan_attention,
	[PART_DELTA] = plan_delta,
	[PART_DENSE] = plan_dense,
	[PART_EXPERTS] = plan_experts,
};

bool
layers_plan(Forward *f)
{
	f->plan.arena = arena_create(0);
	plan_embedding(f);
	for (uint32_t layer = 0; layer < f->model->hyper.n_layers; layer++)
		for (uint32_t part = 0; part < LAYER_PARTS; part++)
			part_plans[f->model->layers[layer].parts[part]](f, layer);
	plan_output(f);
	return !f->plan.failed;
}
