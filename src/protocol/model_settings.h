/*
 * model_settings.h - how one model is served, where that is not as its file and the server's settings say.
 *
 * Written behind the file in qwen.models, "{context=131072, rope_scaling=yarn, rope_factor=4}", and as the keys of
 * qwen_load_model's options. Plain data, part of the status page; knows neither file nor engine: what a model makes of
 * it is settled when it is loaded (src/model/context.h).
 */
#ifndef QWEN_MODEL_SETTINGS_H
#define QWEN_MODEL_SETTINGS_H

#include "../base/status.h"

#include <stddef.h>

/* Values of choices; 0 is always "not given". */
typedef enum ModelRope
{
	MODEL_ROPE_NONE = 1,
	MODEL_ROPE_LINEAR,
	MODEL_ROPE_YARN,
} ModelRope;

typedef enum ModelHugePages
{
	MODEL_HUGE_PAGES_TRY = 1,
	MODEL_HUGE_PAGES_ON, /* qwen_health() complains where it does not come true */
	MODEL_HUGE_PAGES_OFF,
} ModelHugePages;

/* All members are of 4 bytes and 0 where they are not given: two are equal when their bytes are. */
typedef struct ModelSettings
{
	uint32_t context;      /* tokens of prompt and answer */
	uint32_t rope_scaling; /* ModelRope */
	float rope_factor;
	uint32_t rope_original_context;
	uint32_t kv_cache_type; /* model_kv_cache_type names it */
	uint32_t huge_pages;    /* ModelHugePages */
	uint32_t threads;       /* that compute a step at most */
	uint32_t state_type;    /* of a hybrid's states; model_state_type names it */
} ModelSettings;

#define MODEL_SETTINGS_TEXT_BYTES 256

/* Why a state_type is missing that others have. */
#define MODEL_NO_BF16_STATES                                                                                           \
	"in bf16, which has eight bits, what a state gives is off by 2 % after some thousand tokens, in f16 by 0.3 %"

/* "f16", "q8_0" or "f32"; NULL for 0. */
extern const char *model_kv_cache_type(uint32_t kv_cache_type);

/* "f32" or "f16"; NULL for 0. */
extern const char *model_state_type(uint32_t state_type);

/* Set one of them by its name. INVALID_ARGUMENT: there is none of that name, it is given already, or the value is not
 * one that it has. */
extern Status model_settings_set(ModelSettings *settings, const char *name, size_t name_length, const char *value,
								 size_t value_length);

/* Do they go together? INVALID_ARGUMENT with what is missing. */
extern Status model_settings_check(const ModelSettings *settings);

/* "name = value, name = value, ..." of length bytes, which stand at byte first of what somebody has written: an error
 * says at which byte. They go together. */
extern Status model_settings_parse(const char *text, size_t length, size_t first, ModelSettings *settings);

/* As model_settings_parse reads it; "" where nothing is given. */
extern void model_settings_write(const ModelSettings *settings, char out[MODEL_SETTINGS_TEXT_BYTES]);

#endif
