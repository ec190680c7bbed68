/*
 * context.c - see context.h.
 */
#include "context.h"

#include <math.h>

#define LONGEST_CONTEXT (1u << 24)

const char *
rope_scaling_name(uint32_t rope_scaling)
{
	return rope_scaling == ROPE_SCALING_YARN ? "yarn" : rope_scaling == ROPE_SCALING_LINEAR ? "linear" : "none";
}

/* Turn by other angles than the file says; the context becomes what they reach. */
static Status
set_rope(ModelHyper *hyper, const ContextSettings *settings)
{
	uint32_t files = hyper->context_length;
	uint32_t original = hyper->rope_original_context > 0 ? hyper->rope_original_context : files;
	double reach;

	if (settings->rope_original_context > files)
		return status_error(STATUS_INVALID_ARGUMENT, "rope_original_context is %u, but the file's context is %u",
							settings->rope_original_context, files);
	if (settings->rope_original_context > 0)
		original = settings->rope_original_context;
	if (settings->rope_scaling == ROPE_SCALING_YARN && hyper->rope_scaling != ROPE_SCALING_YARN)
	{
		/* the paper's */
		hyper->yarn_beta_fast = 32;
		hyper->yarn_beta_slow = 1;
		hyper->yarn_attention_factor = 0;
	}
	hyper->rope_scaling = settings->rope_scaling;
	hyper->rope_factor = settings->rope_scaling == ROPE_SCALING_NONE ? 1 : settings->rope_factor;
	hyper->rope_original_context = settings->rope_scaling == ROPE_SCALING_NONE ? 0 : original;
	reach = floor((double) original * hyper->rope_factor);
	hyper->context_length = reach < LONGEST_CONTEXT ? (uint32_t) reach : LONGEST_CONTEXT;
	return status_ok();
}

/* More is wanted than the angles reach. */
static Status
refuse_context(const ModelHyper *hyper, uint32_t wanted)
{
	uint32_t reach = hyper->context_length;

	if (hyper->rope_scaling == ROPE_SCALING_NONE)
		return status_error(STATUS_INVALID_ARGUMENT,
							"context is %u, but the model reaches %u; for more its rotation is stretched: "
							"rope_scaling=yarn, rope_factor=%u",
							wanted, reach, (wanted + reach - 1) / reach);
	return status_error(
		STATUS_INVALID_ARGUMENT, "context is %u, but rope_scaling=%s with rope_factor=%g reaches %u from %u", wanted,
		rope_scaling_name(hyper->rope_scaling), hyper->rope_factor, reach, hyper->rope_original_context);
}

Status
context_apply(ModelHyper *hyper, const ContextSettings *settings)
{
	if (settings->sets_rope)
		STATUS_TRY(set_rope(hyper, settings));
	if (settings->context > hyper->context_length)
		return refuse_context(hyper, settings->context);
	if (settings->context > 0)
		hyper->context_length = settings->context;
	return status_ok();
}
