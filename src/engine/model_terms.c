/*
 * model_terms.c - see model_terms.h. The settings come out of shared memory: a number that means nothing counts as not
 * given.
 */
#include "model_terms.h"

ContextSettings
model_terms_context(const ModelSettings *settings)
{
	ContextSettings context = {
		.context = settings->context,
		.rope_factor = settings->rope_factor,
		.rope_original_context = settings->rope_original_context,
		.sets_rope = true,
	};

	switch (settings->rope_scaling)
	{
		case MODEL_ROPE_NONE:
			context.rope_scaling = ROPE_SCALING_NONE;
			break;
		case MODEL_ROPE_LINEAR:
			context.rope_scaling = ROPE_SCALING_LINEAR;
			break;
		case MODEL_ROPE_YARN:
			context.rope_scaling = ROPE_SCALING_YARN;
			break;
		default:
			context.sets_rope = false;
			break;
	}
	return context;
}

KvType
model_terms_kv_type(const ModelSettings *settings, KvType of_all)
{
	const char *name = model_kv_cache_type(settings->kv_cache_type);
	KvType type;

	return name && kv_type_by_name(name, &type) ? type : of_all;
}

StateType
model_terms_state_type(const ModelSettings *settings, StateType of_all)
{
	const char *name = model_state_type(settings->state_type);
	StateType type;

	return name && state_type_by_name(name, &type) ? type : of_all;
}

bool
model_terms_huge_pages(const ModelSettings *settings, bool of_all)
{
	return settings->huge_pages == 0 ? of_all : settings->huge_pages != MODEL_HUGE_PAGES_OFF;
}
