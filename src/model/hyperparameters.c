/*
 * hyperparameters.c - hyperparameters; see hyperparameters.h. The keys are those of the GGUF specification.
 */
#include "hyperparameters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "architectures.h"

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
is_integer(const GgufValue *value)
{
	return value->type <= GGUF_I32 || value->type == GGUF_U64 || value->type == GGUF_I64;
}

/* A whole number in low … high; fallback < 0 means that the key is required. */
static Status
read_number(const Gguf *gguf, const ModelHyper *hyper, const char *suffix, int64_t fallback, uint32_t low,
			uint32_t high, uint32_t *out)
{
	char key[128];
	const GgufValue *value = find_in_architecture(gguf, hyper, suffix, key);

	if (!value && fallback < 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	*out = value ? 0 : (uint32_t) fallback;
	if (!value)
		return status_ok();
	if (!is_integer(value) || value->integer < low || value->integer > high)
		return status_error(STATUS_INVALID_ARGUMENT, "%s is %lld, not a number between %u and %u", key,
							(long long) value->integer, low, high);
	*out = (uint32_t) value->integer;
	return status_ok();
}

/* A number in low … high, or the fallback. */
static Status
read_float(const GgufValue *value, const char *key, double fallback, double low, double high, float *out)
{
	*out = (float) fallback;
	if (!value)
		return status_ok();
	if (value->type == GGUF_STRING || value->type == GGUF_ARRAY || !(value->number >= low && value->number <= high))
		return status_error(STATUS_INVALID_ARGUMENT, "%s is %g, not a number between %g and %g", key, value->number,
							low, high);
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

static Status
read_architecture(const Gguf *gguf, ModelHyper *hyper)
{
	const GgufValue *value = gguf_find(gguf, "general.architecture");
	char supported[100];

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
	char key[128];
	const GgufValue *value = find_in_architecture(gguf, hyper, suffix, key);

	if (!value || (value->type != GGUF_STRING && value->type != GGUF_ARRAY && value->number == rule))
		return status_ok();
	return status_error(STATUS_UNSUPPORTED, "%s is %g; architecture %s is supported with %g", key, value->number,
						architecture_name(hyper->architecture), rule);
}

/* Sizes of experts and how they are weighted. Early files do not give the sizes. */
static Status
read_experts(const Gguf *gguf, ModelHyper *hyper)
{
	unsigned traits = architecture_traits(hyper->architecture);
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
	if (hyper->n_used_experts > hyper->n_experts)
		return status_error(STATUS_INVALID_ARGUMENT, "%u experts are used, but there are %u", hyper->n_used_experts,
							hyper->n_experts);
	if (hyper->expert_ffn % TILE_ROWS != 0 || hyper->hidden % TILE_ROWS != 0)
		return status_error(STATUS_UNSUPPORTED,
							"experts of %u elements in a model of %u; supported are multiples of %d", hyper->expert_ffn,
							hyper->hidden, TILE_ROWS);
	return status_ok();
}

static Status
read_rope(const Gguf *gguf, ModelHyper *hyper)
{
	char key[128];
	const GgufValue *type, *value;
	uint32_t n_rotated;

	STATUS_TRY(read_number(gguf, hyper, "rope.dimension_count", hyper->head_dim, 1, 65536, &n_rotated));
	if (n_rotated != hyper->head_dim)
		return status_error(STATUS_UNSUPPORTED,
							"%u of the %u elements of a head are rotated; only all of them are supported", n_rotated,
							hyper->head_dim);
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
	STATUS_TRY(read_experts(gguf, hyper));
	STATUS_TRY(read_heads(gguf, hyper));
	STATUS_TRY(read_rope(gguf, hyper));
	STATUS_TRY(read_number(gguf, hyper, "pooling_type", POOLING_UNSPECIFIED, 0, 4, &hyper->pooling));
	value = find_in_architecture(gguf, hyper, "attention.layer_norm_rms_epsilon", key);
	if (!value)
		return status_error(STATUS_INVALID_ARGUMENT, "the metadata key %s is missing", key);
	STATUS_TRY(read_float(value, key, 0, 0, 1, &hyper->rms_epsilon));
	read_sampling(gguf, hyper, notices);
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
hyper_read_tokenizer(const Gguf *gguf, TokenizerSource *source, char model[32], char pre[32], Notices *notices)
{
	STATUS_TRY(read_name(gguf, "tokenizer.ggml.model", model));
	/* files made before the key was; all of Qwen's split words alike */
	if (gguf_find(gguf, "tokenizer.ggml.pre"))
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
