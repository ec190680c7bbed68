/*
 * hyperparameters.c - hyperparameters; see hyperparameters.h. The keys are those of the GGUF specification.
 */
#include "hyperparameters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "architectures.h"
#include "ranking.h"

static bool
span_equals(ByteSpan span, const char *text)
{
	return span.length == strlen(text) && memcmp(span.data, text, span.length) == 0;
}

/* "ARCHITECTURE.suffix" in key. */
static const GgufValue *
find_in_architecture(const Gguf *gguf, const ModelHyper *hyper, const char *suffix, char key[128])
{
	snprintf(key, 128, "%s.%s", architecture_name(hyper->architecture), suffix);
	return gguf_find(gguf, key);
}

static bool
is_integer_type(GgufType type)
{
	return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

static bool
is_integer(const GgufValue *value)
{
	return is_integer_type(value->type);
}

#define SHOWN_BYTES 40 /* of a text that should be a number */

/* What stands there, for an error: a number as it is, anything else so that it is seen to be none. */
static const char *
show_value(const GgufValue *value, char out[64])
{
	size_t length = value->string.length < SHOWN_BYTES ? value->string.length : SHOWN_BYTES;

	if (value->type == GGUF_STRING)
		snprintf(out, 64, "the text \"%.*s\"", (int) length, value->string.data);
	else if (value->type == GGUF_ARRAY)
		snprintf(out, 64, "a list of %llu", (unsigned long long) value->n_elements);
	else if (value->type == GGUF_BOOL)
		snprintf(out, 64, "%s", value->integer != 0 ? "true" : "false");
	else if (is_integer(value))
		snprintf(out, 64, "%lld", (long long) value->integer);
	else
		snprintf(out, 64, "%g", value->number);
	return out;
}

/* The one number that stands in a list for each layer. Layers of which each has its own are not supported. */
static Status
read_per_layer(const GgufValue *value, const ModelHyper *hyper, const char *key, GgufValue *number)
{
	*number = (GgufValue){.key = value->key, .type = value->element_type};
	if (!is_integer_type(value->element_type) || hyper->n_layers == 0 || value->n_elements != hyper->n_layers)
		return status_error(STATUS_INVALID_ARGUMENT, "%s is a list of %llu, not a number or a list of %u numbers", key,
							(unsigned long long) value->n_elements, hyper->n_layers);
	number->integer = gguf_integer_at(value, 0);
	for (uint64_t i = 1; i < value->n_elements; i++)
		if (gguf_integer_at(value, i) != number->integer)
			return status_error(
				STATUS_UNSUPPORTED, "%s is %lld in layer 0 and %lld in layer %llu; supported are layers that are alike",
				key, (long long) number->integer, (long long) gguf_integer_at(value, i), (unsigned long long) i);
	return status_ok();
}

/* A whole number in low … high, also as a list of one for each layer; fallback < 0 means that the key is required. */
static Status
read_number(const Gguf *gguf, const ModelHyper *hyper, const char *suffix, int64_t fallback, uint32_t low,
			uint32_t high, uint32_t *out)
{
	char key[128], shown[64];
	const GgufValue *value = find_in_architecture(gguf, hyper, suffix, key);
	GgufValue listed;

	if (value && value->type == GGUF_ARRAY)
	{
		STATUS_TRY(read_per_layer(value, hyper, key, &listed));
		value = &listed;
	}
	if (!value && fallback < 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	*out = value ? 0 : (uint32_t) fallback;
	if (!value)
		return status_ok();
	if (!is_integer(value) || value->integer < low || value->integer > high)
		return status_error(STATUS_INVALID_ARGUMENT, "%s is %s, not a %snumber between %u and %u", key,
							show_value(value, shown), is_integer(value) ? "" : "whole ", low, high);
	*out = (uint32_t) value->integer;
	return status_ok();
}

/* A number in low … high, or the fallback. */
static Status
read_float(const GgufValue *value, const char *key, double fallback, double low, double high, float *out)
{
	char shown[64];

	*out = (float) fallback;
	if (!value)
		return status_ok();
	if (value->type == GGUF_STRING || value->type == GGUF_ARRAY || value->type == GGUF_BOOL ||
		!(value->number >= low && value->number <= high))
		return status_error(STATUS_INVALID_ARGUMENT, "%s is %s, not a number between %g and %g", key,
							show_value(value, shown), low, high);
	*out = (float) value->number;
	return status_ok();
}

/* A size that a model has: a whole number of the metadata. */
typedef struct SizeKey
{
	const char *suffix; /* behind "ARCHITECTURE." */
	size_t member;      /* uint32_t of ModelHyper */
	Trait trait;        /* of the models that must have it; others may, or it is 0 */
	uint32_t low, high;
} SizeKey;

static const SizeKey size_keys[] = {
	{"block_count", offsetof(ModelHyper, n_layers), TRAIT_ALWAYS, 1, MODEL_MAX_LAYERS},
	{"embedding_length", offsetof(ModelHyper, hidden), TRAIT_ALWAYS, 1, 65536},
	{"feed_forward_length", offsetof(ModelHyper, ffn), TRAIT_DENSE, 1, 1 << 20},
	{"context_length", offsetof(ModelHyper, context_length), TRAIT_ALWAYS, 1, 1 << 24},
	{"expert_count", offsetof(ModelHyper, n_experts), TRAIT_EXPERTS, 1, MODEL_MAX_EXPERTS},
	{"expert_used_count", offsetof(ModelHyper, n_used_experts), TRAIT_EXPERTS, 1, MODEL_MAX_USED_EXPERTS},
};

static Status
read_sizes(const Gguf *gguf, ModelHyper *hyper)
{
	for (size_t i = 0; i < sizeof size_keys / sizeof size_keys[0]; i++)
	{
		const SizeKey *key = &size_keys[i];
		bool required = (architecture_traits(hyper->architecture) & key->trait) != 0;
		uint32_t *member = (uint32_t *) (void *) ((char *) hyper + key->member);

		STATUS_TRY(read_number(gguf, hyper, key->suffix, required ? -1 : 0, key->low, key->high, member));
	}
	return status_ok();
}

/*
 * Qwen 1.0 was trained on 8,192 tokens, and its files may promise more: there its own programs change the rotation and
 * the scores with the length of the text (dynamic NTK, log-n), of which the files say nothing. The one that was trained
 * on more (72B) has another base.
 */
#define QWEN_TRAINED_CONTEXT 8192
#define QWEN_TRAINED_BASE 10000

static void
limit_context(ModelHyper *hyper, Notices *notices)
{
	if (hyper->architecture != ARCHITECTURE_QWEN || hyper->rope_base > QWEN_TRAINED_BASE ||
		hyper->context_length <= QWEN_TRAINED_CONTEXT)
		return;
	notice_add(notices, "the file says %u tokens of context, of which the model was trained on %d: these are used",
			   hyper->context_length, QWEN_TRAINED_CONTEXT);
	hyper->context_length = QWEN_TRAINED_CONTEXT;
}

/* What counts gate and up together, as two. */
static Status
halve_ffn(ModelHyper *hyper)
{
	if (!(architecture_traits(hyper->architecture) & TRAIT_DOUBLED_FFN))
		return status_ok();
	if (hyper->ffn % 2 != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "%s.feed_forward_length is %u, which is not twice a size",
							architecture_name(hyper->architecture), hyper->ffn);
	hyper->ffn /= 2;
	return status_ok();
}

static Status
read_architecture(const Gguf *gguf, ModelHyper *hyper)
{
	const GgufValue *value = gguf_find(gguf, "general.architecture"), *type = gguf_find(gguf, "general.type");
	ByteSpan none = {"", 0}, name = value && value->type == GGUF_STRING ? value->string : none;
	const char *other = architecture_other(type && type->type == GGUF_STRING ? type->string : none, name);
	char supported[ARCHITECTURE_LIST_BYTES];

	if (other)
		return status_error(STATUS_UNSUPPORTED, "it is no model that can be loaded, but %s", other);
	if (!value || value->type != GGUF_STRING)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key general.architecture is missing");
	hyper->architecture = architecture_find(value->string.data, value->string.length);
	if (hyper->architecture != 0)
		return status_ok();
	architecture_list(supported, sizeof supported);
	return status_error(STATUS_UNSUPPORTED, "architecture \"%.*s\" is not supported; supported are %s",
						(int) (value->string.length > 60 ? 60 : value->string.length), value->string.data, supported);
}

static Status
read_heads(const Gguf *gguf, ModelHyper *hyper)
{
	uint32_t value_length;

	STATUS_TRY(read_number(gguf, hyper, "attention.head_count", -1, 1, 1024, &hyper->n_heads));
	STATUS_TRY(read_number(gguf, hyper, "attention.head_count_kv", hyper->n_heads, 1, 1024, &hyper->n_kv_heads));
	STATUS_TRY(
		read_number(gguf, hyper, "attention.key_length", hyper->hidden / hyper->n_heads, 1, 65536, &hyper->head_dim));
	STATUS_TRY(read_number(gguf, hyper, "attention.value_length", hyper->head_dim, 1, 65536, &value_length));
	if (hyper->n_heads % hyper->n_kv_heads != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "%u heads cannot share %u key and value heads", hyper->n_heads,
							hyper->n_kv_heads);
	if (value_length != hyper->head_dim)
		return status_error(STATUS_UNSUPPORTED,
							"keys of %u and values of %u elements a head; only equal sizes are supported",
							hyper->head_dim, value_length);
	if (hyper->head_dim % 16 != 0 || hyper->head_dim > MODEL_MAX_HEAD_DIM)
		return status_error(STATUS_UNSUPPORTED, "heads of %u elements; supported are multiples of 16 up to %d",
							hyper->head_dim, MODEL_MAX_HEAD_DIM);
	return status_ok();
}

/* A key that is there must have the value that the architecture's rule is. */
static Status
check_rule(const Gguf *gguf, const ModelHyper *hyper, const char *suffix, double rule)
{
	char key[128], shown[64];
	const GgufValue *value = find_in_architecture(gguf, hyper, suffix, key);

	if (!value || (value->type != GGUF_STRING && value->type != GGUF_ARRAY && value->number == rule))
		return status_ok();
	return status_error(STATUS_UNSUPPORTED, "%s is %s; architecture %s is supported with %g", key,
						show_value(value, shown), architecture_name(hyper->architecture), rule);
}

/* Sizes of experts and how they are weighted. Early files do not give the sizes. */
static Status
read_experts(const Gguf *gguf, ModelHyper *hyper)
{
	unsigned traits = architecture_traits(hyper->architecture);
	uint32_t n_groups;
	int64_t early = hyper->n_used_experts > 0 ? (int64_t) hyper->ffn / hyper->n_used_experts : 0;

	if (!(traits & TRAIT_EXPERTS))
	{
		hyper->n_experts = hyper->n_used_experts = 0;
		return status_ok();
	}
	STATUS_TRY(
		read_number(gguf, hyper, "expert_feed_forward_length", early > 0 ? early : -1, 1, 1 << 20, &hyper->expert_ffn));
	if (traits & TRAIT_SHARED)
		STATUS_TRY(read_number(gguf, hyper, "expert_shared_feed_forward_length",
							   hyper->ffn > 0 ? (int64_t) hyper->ffn : -1, 1, 1 << 20, &hyper->shared_ffn));
	hyper->experts_sum_to_1 = (traits & TRAIT_SUM_TO_1) != 0;
	STATUS_TRY(check_rule(gguf, hyper, "expert_weights_norm", hyper->experts_sum_to_1));
	STATUS_TRY(check_rule(gguf, hyper, "expert_weights_scale", 1));
	STATUS_TRY(check_rule(gguf, hyper, "expert_gating_func", 1)); /* softmax */
	STATUS_TRY(read_number(gguf, hyper, "expert_group_count", 0, 0, MODEL_MAX_EXPERTS, &n_groups));
	if (n_groups > 1)
		return status_error(STATUS_UNSUPPORTED, "experts are chosen within %u groups; supported are those of one group",
							n_groups);
	if (hyper->n_used_experts > hyper->n_experts)
		return status_error(STATUS_INVALID_ARGUMENT, "%u experts are used, but there are %u", hyper->n_used_experts,
							hyper->n_experts);
	if (hyper->expert_ffn % TILE_ROWS != 0 || hyper->hidden % TILE_ROWS != 0)
		return status_error(STATUS_UNSUPPORTED,
							"experts of %u elements in a model of %u; supported are multiples of %d", hyper->expert_ffn,
							hyper->hidden, TILE_ROWS);
	return status_ok();
}

/* The axes' shares of a head's rotary pairs. Text has one position for all of them, but each pair must be of one. */
static Status
check_axes(const Gguf *gguf, const ModelHyper *hyper, uint32_t n_rotated)
{
	char key[128];
	const GgufValue *value = find_in_architecture(gguf, hyper, "rope.dimension_sections", key);
	uint64_t sum = 0;

	if (!(architecture_traits(hyper->architecture) & TRAIT_AXES))
		return status_ok();
	if (!value)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	if (value->type != GGUF_ARRAY || !is_integer_type(value->element_type) || value->n_elements < 3 ||
		value->n_elements > 4)
		return status_error(STATUS_INVALID_ARGUMENT, "%s is not a list of 3 or 4 numbers", key);
	for (uint64_t i = 0; i < value->n_elements; i++)
	{
		uint64_t section = gguf_integer_at(value, i);

		if (section > n_rotated || (i == 3 && section != 0))
			return status_error(STATUS_UNSUPPORTED, "%s has %lld pairs for axis %llu of a head of %u elements", key,
								(long long) section, (unsigned long long) i, hyper->head_dim);
		sum += section;
	}
	if (sum != n_rotated / 2)
		return status_error(STATUS_INVALID_ARGUMENT, "%s has %llu pairs together, not the %u that are rotated", key,
							(unsigned long long) sum, n_rotated / 2);
	return status_ok();
}

/* Say which layers have a delta net: by a list, or all but one of so many. */
static Status
read_delta_layers(const Gguf *gguf, ModelHyper *hyper)
{
	char key[128];
	const GgufValue *list = find_in_architecture(gguf, hyper, "attention.recurrent_layers", key);
	uint32_t interval, n_listed = hyper->n_layers + hyper->n_guess_layers;

	if (list && !(list->type == GGUF_BOOL ||
				  (list->type == GGUF_ARRAY && list->element_type == GGUF_BOOL && list->n_elements == n_listed)))
		return status_error(STATUS_INVALID_ARGUMENT, "%s is not a list of %u flags", key, n_listed);
	STATUS_TRY(read_number(gguf, hyper, "full_attention_interval", 4, 1, MODEL_MAX_LAYERS, &interval));
	for (uint32_t i = 0; i < hyper->n_layers; i++)
	{
		bool is_delta = !list                     ? (i + 1) % interval != 0
						: list->type == GGUF_BOOL ? list->integer != 0
												  : ((const uint8_t *) list->elements.data)[i] != 0;

		if (is_delta)
			hyper->delta_layers[i / 64] |= (uint64_t) 1 << i % 64;
	}
	if (model_n_delta_layers(hyper) == hyper->n_layers)
		return status_error(STATUS_UNSUPPORTED, "none of the %u layers has attention", hyper->n_layers);
	return status_ok();
}

/* A hybrid's delta nets, and what its file has behind the layers that run. */
static Status
read_hybrid(const Gguf *gguf, ModelHyper *hyper)
{
	unsigned traits = architecture_traits(hyper->architecture);
	uint32_t n_taps, inner;

	if (!(traits & TRAIT_HYBRID))
		return status_ok();
	STATUS_TRY(read_number(gguf, hyper, "nextn_predict_layers", 0, 0, MODEL_MAX_LAYERS, &hyper->n_guess_layers));
	if (hyper->n_guess_layers >= hyper->n_layers)
		return status_error(STATUS_UNSUPPORTED, "all of the %u layers guess tokens ahead; there is no model with them",
							hyper->n_layers);
	hyper->n_layers -= hyper->n_guess_layers;
	STATUS_TRY(read_number(gguf, hyper, "ssm.conv_kernel", -1, 1, 65536, &n_taps));
	STATUS_TRY(read_number(gguf, hyper, "ssm.state_size", -1, 1, 65536, &hyper->delta_dim));
	STATUS_TRY(read_number(gguf, hyper, "ssm.group_count", -1, 1, 1024, &hyper->n_delta_keys));
	STATUS_TRY(read_number(gguf, hyper, "ssm.time_step_rank", -1, 1, 1024, &hyper->n_delta_values));
	STATUS_TRY(read_number(gguf, hyper, "ssm.inner_size", -1, 1, 1 << 20, &inner));
	if (n_taps != DELTA_TAPS)
		return status_error(STATUS_UNSUPPORTED, "delta nets with a convolution of %u; %d is supported", n_taps,
							DELTA_TAPS);
	if (hyper->delta_dim % DELTA_COLUMNS != 0 || hyper->delta_dim > MODEL_MAX_DELTA_DIM)
		return status_error(STATUS_UNSUPPORTED,
							"delta nets with heads of %u elements; supported are multiples of %d up to %d",
							hyper->delta_dim, DELTA_COLUMNS, MODEL_MAX_DELTA_DIM);
	if (hyper->n_delta_values % hyper->n_delta_keys != 0 || inner != hyper->n_delta_values * hyper->delta_dim)
		return status_error(STATUS_INVALID_ARGUMENT,
							"delta nets of %u key heads, %u value heads of %u elements and %u elements together",
							hyper->n_delta_keys, hyper->n_delta_values, hyper->delta_dim, inner);
	hyper->delta_is_grouped = (traits & TRAIT_GROUPED) != 0;
	hyper->gated_attention = (traits & TRAIT_GATED) != 0;
	return read_delta_layers(gguf, hyper);
}

static Status
read_rope(const Gguf *gguf, ModelHyper *hyper)
{
	char key[128];
	const GgufValue *type, *value;

	STATUS_TRY(read_number(gguf, hyper, "rope.dimension_count", hyper->head_dim, 1, 65536, &hyper->n_rotated));
	if (hyper->n_rotated != hyper->head_dim && !(architecture_traits(hyper->architecture) & TRAIT_HYBRID))
		return status_error(STATUS_UNSUPPORTED,
							"%u of the %u elements of a head are rotated; only all of them are supported",
							hyper->n_rotated, hyper->head_dim);
	if (hyper->n_rotated % 2 != 0 || hyper->n_rotated > hyper->head_dim)
		return status_error(STATUS_INVALID_ARGUMENT, "%u of the %u elements of a head are rotated", hyper->n_rotated,
							hyper->head_dim);
	STATUS_TRY(check_axes(gguf, hyper, hyper->n_rotated));
	value = find_in_architecture(gguf, hyper, "rope.freq_base", key);
	STATUS_TRY(read_float(value, key, 10000, 1, 1e12, &hyper->rope_base));
	type = find_in_architecture(gguf, hyper, "rope.scaling.type", key);
	hyper->rope_factor = 1;
	if (!type || type->type != GGUF_STRING || span_equals(type->string, "none"))
		return status_ok();
	if (span_equals(type->string, "linear"))
		hyper->rope_scaling = ROPE_SCALING_LINEAR;
	else if (span_equals(type->string, "yarn"))
		hyper->rope_scaling = ROPE_SCALING_YARN;
	else
		return status_error(STATUS_UNSUPPORTED, "%s is \"%.*s\"; supported are none, linear and yarn", key,
							(int) (type->string.length > 60 ? 60 : type->string.length), type->string.data);
	value = find_in_architecture(gguf, hyper, "rope.scaling.factor", key);
	STATUS_TRY(read_float(value, key, 1, 0.001, 1e6, &hyper->rope_factor));
	STATUS_TRY(read_number(gguf, hyper, "rope.scaling.original_context_length", hyper->context_length, 1,
						   UINT32_MAX / 2, &hyper->rope_original_context));
	value = find_in_architecture(gguf, hyper, "rope.scaling.attn_factor", key);
	STATUS_TRY(read_float(value, key, 0, 0, 100, &hyper->yarn_attention_factor));
	value = find_in_architecture(gguf, hyper, "rope.scaling.yarn_beta_fast", key);
	STATUS_TRY(read_float(value, key, 32, 0.001, 1e6, &hyper->yarn_beta_fast));
	value = find_in_architecture(gguf, hyper, "rope.scaling.yarn_beta_slow", key);
	return read_float(value, key, 1, 0.001, 1e6, &hyper->yarn_beta_slow);
}

/*
 * A sampling default of the file. What is no number in low ... high is not worth refusing a model for: it is brought
 * into these bounds, or left out where it is no number at all (-1).
 */
static float
read_sampling_default(const Gguf *gguf, const char *name, double low, double high, Notices *notices)
{
	char key[64];
	const GgufValue *value;
	double used;

	snprintf(key, sizeof key, "general.sampling.%s", name);
	value = gguf_find(gguf, key);
	if (!value)
		return -1;
	if (value->type == GGUF_STRING || value->type == GGUF_ARRAY || isnan(value->number))
	{
		notice_add(notices, "%s is not a number and is not used", key);
		return -1;
	}
	used = value->number < low ? low : value->number > high ? high : value->number;
	if (used != value->number)
		notice_add(notices, "%s is %g, not a number between %g and %g: %g is used", key, value->number, low, high,
				   used);
	return (float) used;
}

/* The generation config that newer converters put into general.sampling.*. */
static void
read_sampling(const Gguf *gguf, ModelHyper *hyper, Notices *notices)
{
	float top_k = read_sampling_default(gguf, "top_k", 0, 1 << 24, notices);

	hyper->temperature = read_sampling_default(gguf, "temp", 0, 2, notices);
	hyper->top_p = read_sampling_default(gguf, "top_p", 0, 1, notices);
	hyper->min_p = read_sampling_default(gguf, "min_p", 0, 1, notices);
	hyper->repetition_penalty = read_sampling_default(gguf, "penalty_repeat", 1, 2, notices);
	hyper->top_k = top_k >= 0 ? (int32_t) top_k : -1;
	hyper->has_sampling = hyper->temperature >= 0 || hyper->top_p >= 0 || hyper->min_p >= 0 ||
						  hyper->repetition_penalty >= 0 || hyper->top_k >= 0;
}

Status
hyper_read(const Gguf *gguf, ModelHyper *hyper, Notices *notices)
{
	const GgufValue *tokens = gguf_find(gguf, "tokenizer.ggml.tokens");
	const GgufValue *value;
	char key[128];

	memset(hyper, 0, sizeof *hyper);
	STATUS_TRY(read_architecture(gguf, hyper));
	STATUS_TRY(read_sizes(gguf, hyper));
	STATUS_TRY(halve_ffn(hyper));
	STATUS_TRY(read_experts(gguf, hyper));
	STATUS_TRY(read_heads(gguf, hyper));
	STATUS_TRY(read_hybrid(gguf, hyper));
	STATUS_TRY(read_rope(gguf, hyper));
	limit_context(hyper, notices);
	STATUS_TRY(read_number(gguf, hyper, "pooling_type", POOLING_UNSPECIFIED, 0, 4, &hyper->pooling));
	value = find_in_architecture(gguf, hyper, "attention.layer_norm_rms_epsilon", key);
	if (!value)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	STATUS_TRY(read_float(value, key, 0, 0, 1, &hyper->rms_epsilon));
	read_sampling(gguf, hyper, notices);
	ranking_read(gguf, hyper, notices);
	if (!tokens || tokens->type != GGUF_ARRAY || tokens->element_type != GGUF_STRING || tokens->n_elements == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key tokenizer.ggml.tokens is missing");
	hyper->vocab = (uint32_t) tokens->n_elements;
	return status_ok();
}

/* A token id of the metadata, or -1. */
static int32_t
read_token_id(const Gguf *gguf, const char *key)
{
	const GgufValue *value = gguf_find(gguf, key);

	return value && is_integer(value) && value->integer <= INT32_MAX ? (int32_t) value->integer : -1;
}

static bool
read_flag(const Gguf *gguf, const char *key)
{
	const GgufValue *value = gguf_find(gguf, key);

	return value && value->type == GGUF_BOOL && value->integer != 0;
}

/* A short name to a buffer. */
static Status
read_name(const Gguf *gguf, const char *key, char out[32])
{
	const GgufValue *value = gguf_find(gguf, key);

	if (!value || value->type != GGUF_STRING)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	if (value->string.length > 31 || memchr(value->string.data, 0, value->string.length))
		return status_error(STATUS_UNSUPPORTED, "%s has %zu bytes", key, value->string.length);
	memcpy(out, value->string.data, value->string.length);
	out[value->string.length] = '\0';
	return status_ok();
}

Status
hyper_read_tokenizer(const Gguf *gguf, const ModelHyper *hyper, TokenizerSource *source, char model[32], char pre[32],
					 Notices *notices)
{
	STATUS_TRY(read_name(gguf, "tokenizer.ggml.model", model));
	/* files made before the key was; all of Qwen's that are so old split words alike */
	if (gguf_find(gguf, "tokenizer.ggml.pre") || !(architecture_traits(hyper->architecture) & TRAIT_EARLY))
		STATUS_TRY(read_name(gguf, "tokenizer.ggml.pre", pre));
	else
	{
		snprintf(pre, 32, "qwen2");
		notice_add(notices, "the metadata key tokenizer.ggml.pre is missing: qwen2 is taken");
	}
	source->model = model;
	source->pre = pre;
	source->bos = read_token_id(gguf, "tokenizer.ggml.bos_token_id");
	source->eos = read_token_id(gguf, "tokenizer.ggml.eos_token_id");
	source->eot = read_token_id(gguf, "tokenizer.ggml.eot_token_id");
	source->padding = read_token_id(gguf, "tokenizer.ggml.padding_token_id");
	source->add_bos = read_flag(gguf, "tokenizer.ggml.add_bos_token");
	source->add_eos = read_flag(gguf, "tokenizer.ggml.add_eos_token");
	return status_ok();
}
