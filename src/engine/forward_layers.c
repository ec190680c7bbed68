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

/* All parts of a layer. */
static void
plan_layer(Forward *f, uint32_t layer)
{
	for (uint32_t part = 0; part < LAYER_PARTS; part++)
		part_plans[f->model->layers[layer].parts[part]](f, layer);
}

bool
layers_plan(Forward *f)
{
	const ModelHyper *hyper = &f->model->hyper;

	f->plan.arena = arena_create(0);
	plan_embedding(f);
	for (uint32_t layer = 0; layer < hyper->n_layers; layer++)
		plan_layer(f, layer);
	if (hyper->n_heads_loaded > 0)
		plan_final_rows(f);
	plan_output(f);
	if (hyper->n_heads_loaded > 0)
		plan_guess_keys(f);
	f->plan.n_step_phases = f->plan.n_phases;
	if (hyper->n_heads_loaded > 0)
	{
		plan_begin_guesses(f);
		plan_layer(f, hyper->n_layers);
		plan_end_guesses(f);
	}
	return !f->plan.failed;
}
