/*
 * context.h - how far a model reads, where somebody has set that otherwise than its file says.
 *
 * The image keeps what the file says; this is applied to a copy whenever the image is opened.
 */
#ifndef QWEN_CONTEXT_H
#define QWEN_CONTEXT_H

#include "model.h"

/* What was set; 0 where nothing was. */
typedef struct ContextSettings
{
	uint32_t context;
	bool sets_rope; /* then rope_scaling and rope_factor hold; else those of the file */
	RopeScaling rope_scaling;
	float rope_factor;              /* at least 1 */
	uint32_t rope_original_context; /* 0: the file's, or its context where it has none */
} ContextSettings;

/*
 * Apply what was set to a file's hyperparameters. A context that was not set is what the rotation reaches then.
 * INVALID_ARGUMENT with both numbers where more is wanted than that.
 */
extern Status context_apply(ModelHyper *hyper, const ContextSettings *settings);

/* "none", "linear" or "yarn". */
extern const char *rope_scaling_name(uint32_t rope_scaling);

#endif
