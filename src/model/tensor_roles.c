/*
 * tensor_roles.c - the table of tensors; see tensor_roles.h.
 */
#include "tensor_roles.h"

#include <stdio.h>
#include <string.h>

#include "architectures.h"

typedef enum Extent
{
	EXTENT_NONE,
	EXTENT_ONE,
	EXTENT_HIDDEN,
	EXTENT_Q,
	EXTENT_KV,
	EXTENT_FFN,
	EXTENT_HEAD,
	EXTENT_VOCAB,
	EXTENT_EXPERTS,
	EXTENT_EXPERT_FFN,
	EXTENT_SHARED_FFN,
	EXTENT_QUERIES,    /* as EXTENT_Q, twice as many where they have gates */
	EXTENT_DELTA_KEYS, /* of all heads … */
	EXTENT_DELTA_VALUES,
	EXTENT_DELTA_HEADS,    /* value heads */
	EXTENT_DELTA_HEAD,     /* elements of one */
	EXTENT_DELTA_CHANNELS, /* of the convolution */
	EXTENT_DELTA_SHARING,  /* value heads of a key head … */
	EXTENT_DELTA_SHARED,   /* … and their elements */
	EXTENT_DELTA_TAPS,
	EXTENT_CLASSES,
	EXTENT_TWO_HIDDEN,
} Extent;

/* A tensor that a file may have instead of some others: their rows (elements of vectors), one behind the other; or, one
 * behind the other, some rows of each for every expert or key head. */
typedef struct FusedTensor
{
	const char *name;
	Extent parts[4]; /* EXTENT_NONE: no more */
	enum
	{
		RUNS_WHOLE,
		RUNS_OF_EXPERTS,   /* which are its third dimension */
		RUNS_OF_KEY_HEADS, /* of a delta net */
	} runs;
} FusedTensor;

static const FusedTensor qkv_rows = {"attn_qkv.weight", {EXTENT_QUERIES, EXTENT_KV, EXTENT_KV}, RUNS_WHOLE};
static const FusedTensor qkv_biases = {"attn_qkv.bias", {EXTENT_QUERIES, EXTENT_KV, EXTENT_KV}, RUNS_WHOLE};
static const FusedTensor gate_up = {"ffn_gate_up_exps.weight", {EXTENT_EXPERT_FFN, EXTENT_EXPERT_FFN}, RUNS_OF_EXPERTS};
static const FusedTensor delta_rows = {
	"attn_qkv.weight", {EXTENT_DELTA_KEYS, EXTENT_DELTA_KEYS, EXTENT_DELTA_VALUES}, RUNS_WHOLE};
/* of early files of qwen3next */
static const FusedTensor delta_all_rows = {
	"ssm_in.weight",
	{EXTENT_DELTA_HEAD, EXTENT_DELTA_HEAD, EXTENT_DELTA_SHARED, EXTENT_DELTA_SHARED},
	RUNS_OF_KEY_HEADS};
static const FusedTensor delta_beta_alpha = {
	"ssm_ba.weight", {EXTENT_DELTA_SHARING, EXTENT_DELTA_SHARING}, RUNS_OF_KEY_HEADS};

/* What kind of tensor it is. */
typedef enum Form
{
	FORM_VECTOR,
	FORM_VECTORS, /* n_rows of them, as a tensor of two dimensions */
	FORM_MATRIX,
	FORM_ROUTER,  /* a matrix that must not be quantized: who is chosen would depend on it */
	FORM_EXPERTS, /* a matrix for each expert */
} Form;

typedef struct RoleRow
{
	const char *name; /* of a layer's tensor: without "blk.N." */
	Form form;
	Extent rows, cols;
	unsigned traits;          /* it belongs to one of them */
	const FusedTensor *fused; /* or NULL: it stands alone */
	uint32_t part;            /* of the fused tensor */
	const FusedTensor *other; /* another one that it may be in, or NULL … */
	uint32_t part_of_other;
	unsigned except; /* it does not belong to layers that must have these traits */
} RoleRow;

static const RoleRow model_roles[N_MODEL_ROLES] = {
	[ROLE_TOKEN_EMBEDDING] = {"token_embd.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_ALWAYS},
	[ROLE_OUTPUT] = {"output.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_OWN_OUTPUT},
	[ROLE_OUTPUT_NORM] = {"output_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_ALWAYS},
	[ROLE_CLASSIFIER] = {"cls.output.weight", FORM_MATRIX, EXTENT_CLASSES, EXTENT_HIDDEN, TRAIT_CLASSIFIER},
};

static const RoleRow layer_roles[N_LAYER_ROLES] = {
	[ROLE_ATTN_NORM] = {"attn_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_ATTENTION | TRAIT_DELTA},
	[ROLE_FFN_NORM] = {"ffn_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_DENSE | TRAIT_EXPERTS,
					   .except = TRAIT_POST_NORM},
	[ROLE_ATTN_Q] = {"attn_q.weight", FORM_MATRIX, EXTENT_QUERIES, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 0},
	[ROLE_ATTN_K] = {"attn_k.weight", FORM_MATRIX, EXTENT_KV, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 1},
	[ROLE_ATTN_V] = {"attn_v.weight", FORM_MATRIX, EXTENT_KV, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 2},
	[ROLE_ATTN_OUTPUT] = {"attn_output.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_Q, TRAIT_ATTENTION},
	[ROLE_FFN_GATE] = {"ffn_gate.weight", FORM_MATRIX, EXTENT_FFN, EXTENT_HIDDEN, TRAIT_DENSE},
	[ROLE_FFN_UP] = {"ffn_up.weight", FORM_MATRIX, EXTENT_FFN, EXTENT_HIDDEN, TRAIT_DENSE},
	[ROLE_FFN_DOWN] = {"ffn_down.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_FFN, TRAIT_DENSE},
	[ROLE_ATTN_Q_BIAS] = {"attn_q.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_QUERIES, TRAIT_QKV_BIAS, &qkv_biases, 0},
	[ROLE_ATTN_K_BIAS] = {"attn_k.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_KV, TRAIT_QKV_BIAS, &qkv_biases, 1},
	[ROLE_ATTN_V_BIAS] = {"attn_v.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_KV, TRAIT_QKV_BIAS, &qkv_biases, 2},
	[ROLE_ATTN_Q_NORM] = {"attn_q_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HEAD, TRAIT_QK_NORM},
	[ROLE_ATTN_K_NORM] = {"attn_k_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HEAD, TRAIT_QK_NORM},
	[ROLE_ROUTER] = {"ffn_gate_inp.weight", FORM_ROUTER, EXTENT_EXPERTS, EXTENT_HIDDEN, TRAIT_EXPERTS},
	[ROLE_EXPERT_GATE] = {"ffn_gate_exps.weight", FORM_EXPERTS, EXTENT_EXPERT_FFN, EXTENT_HIDDEN, TRAIT_EXPERTS,
						  &gate_up, 0},
	[ROLE_EXPERT_UP] = {"ffn_up_exps.weight", FORM_EXPERTS, EXTENT_EXPERT_FFN, EXTENT_HIDDEN, TRAIT_EXPERTS, &gate_up,
						1},
	[ROLE_EXPERT_DOWN] = {"ffn_down_exps.weight", FORM_EXPERTS, EXTENT_HIDDEN, EXTENT_EXPERT_FFN, TRAIT_EXPERTS},
	[ROLE_SHARED_ROUTER] = {"ffn_gate_inp_shexp.weight", FORM_ROUTER, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_GATE] = {"ffn_gate_shexp.weight", FORM_MATRIX, EXTENT_SHARED_FFN, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_UP] = {"ffn_up_shexp.weight", FORM_MATRIX, EXTENT_SHARED_FFN, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_DOWN] = {"ffn_down_shexp.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_SHARED_FFN, TRAIT_SHARED},
	[ROLE_POST_ATTENTION_NORM] = {"post_attention_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN,
								  TRAIT_POST_NORM},
	/* a delta net's; those without a name stand in fused tensors only */
	[ROLE_DELTA_Q] = {NULL, FORM_MATRIX, EXTENT_DELTA_KEYS, EXTENT_HIDDEN, TRAIT_DELTA, &delta_rows, 0, &delta_all_rows,
					  0},
	[ROLE_DELTA_K] = {NULL, FORM_MATRIX, EXTENT_DELTA_KEYS, EXTENT_HIDDEN, TRAIT_DELTA, &delta_rows, 1, &delta_all_rows,
					  1},
	[ROLE_DELTA_V] = {NULL, FORM_MATRIX, EXTENT_DELTA_VALUES, EXTENT_HIDDEN, TRAIT_DELTA, &delta_rows, 2,
					  &delta_all_rows, 2},
	[ROLE_DELTA_GATE] = {"attn_gate.weight", FORM_MATRIX, EXTENT_DELTA_VALUES, EXTENT_HIDDEN, TRAIT_DELTA,
						 &delta_all_rows, 3},
	[ROLE_DELTA_BETA] = {"ssm_beta.weight", FORM_MATRIX, EXTENT_DELTA_HEADS, EXTENT_HIDDEN, TRAIT_DELTA,
						 &delta_beta_alpha, 0},
	[ROLE_DELTA_ALPHA] = {"ssm_alpha.weight", FORM_MATRIX, EXTENT_DELTA_HEADS, EXTENT_HIDDEN, TRAIT_DELTA,
						  &delta_beta_alpha, 1},
	[ROLE_DELTA_CONV] = {"ssm_conv1d.weight", FORM_VECTORS, EXTENT_DELTA_CHANNELS, EXTENT_DELTA_TAPS, TRAIT_DELTA},
	[ROLE_DELTA_DT] = {"ssm_dt.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_DELTA_HEADS, TRAIT_DELTA},
	[ROLE_DELTA_DECAY] = {"ssm_a", FORM_VECTOR, EXTENT_ONE, EXTENT_DELTA_HEADS, TRAIT_DELTA},
	[ROLE_DELTA_NORM] = {"ssm_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_DELTA_HEAD, TRAIT_DELTA},
	[ROLE_DELTA_OUTPUT] = {"ssm_out.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_DELTA_VALUES, TRAIT_DELTA},
	[ROLE_GUESS_INPUT] = {"nextn.eh_proj.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_TWO_HIDDEN, TRAIT_GUESS},
	[ROLE_GUESS_TOKEN_NORM] = {"nextn.enorm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_GUESS},
	[ROLE_GUESS_HIDDEN_NORM] = {"nextn.hnorm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_GUESS},
	[ROLE_GUESS_OUTPUT_NORM] = {"nextn.shared_head_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN,
								TRAIT_GUESS_OWN},
	[ROLE_GUESS_EMBEDDING] = {"nextn.embed_tokens.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_GUESS_OWN},
	[ROLE_GUESS_OUTPUT] = {"nextn.shared_head_head.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_GUESS_OWN},
};

static uint32_t
extent_of(const ModelHyper *hyper, Extent extent)
{
	switch (extent)
	{
		case EXTENT_ONE:
			return 1;
		case EXTENT_HIDDEN:
			return hyper->hidden;
		case EXTENT_Q:
			return hyper->n_heads * hyper->head_dim;
		case EXTENT_KV:
			return hyper->n_kv_heads * hyper->head_dim;
		case EXTENT_FFN:
			return hyper->ffn;
		case EXTENT_HEAD:
			return hyper->head_dim;
		case EXTENT_EXPERTS:
			return hyper->n_experts;
		case EXTENT_EXPERT_FFN:
			return hyper->expert_ffn;
		case EXTENT_SHARED_FFN:
			return hyper->shared_ffn;
		case EXTENT_QUERIES:
			return hyper->n_heads * hyper->head_dim * (hyper->gated_attention ? 2 : 1);
		case EXTENT_DELTA_KEYS:
			return hyper->n_delta_keys * hyper->delta_dim;
		case EXTENT_DELTA_VALUES:
			return hyper->n_delta_values * hyper->delta_dim;
		case EXTENT_DELTA_HEADS:
			return hyper->n_delta_values;
		case EXTENT_DELTA_HEAD:
			return hyper->delta_dim;
		case EXTENT_DELTA_CHANNELS:
			return model_delta_channels(hyper);
		case EXTENT_DELTA_SHARING:
			return hyper->n_delta_keys > 0 ? hyper->n_delta_values / hyper->n_delta_keys : 0;
		case EXTENT_DELTA_SHARED:
			return hyper->n_delta_keys > 0 ? hyper->n_delta_values / hyper->n_delta_keys * hyper->delta_dim : 0;
		case EXTENT_DELTA_TAPS:
			return DELTA_TAPS;
		case EXTENT_NONE:
			return 0;
		case EXTENT_CLASSES:
			return hyper->n_classes;
		case EXTENT_TWO_HIDDEN:
			return 2 * hyper->hidden;
		default:
			return hyper->vocab;
	}
}

uint32_t
roles_count(const ModelHyper *hyper)
{
	return N_MODEL_ROLES + (hyper->n_layers + hyper->n_heads_loaded) * N_LAYER_ROLES;
}

/* "blk.N.name" of a layer's tensor, or the name as it is. */
static void
write_name(char out[GGUF_ROLE_NAME_BYTES], bool in_layer, uint32_t layer, const char *name)
{
	if (in_layer)
		snprintf(out, GGUF_ROLE_NAME_BYTES, "blk.%u.%s", layer, name);
	else
		snprintf(out, GGUF_ROLE_NAME_BYTES, "%s", name);
}

/* The place of a role of so many rows (elements, of a vector) as a part of a fused tensor. */
static TensorPlace
place_in(const ModelHyper *hyper, const FusedTensor *fused, uint32_t part, uint32_t n_rows)
{
	TensorPlace place = {.name = ""};
	uint32_t all = 0;

	for (uint32_t p = 0; p < sizeof fused->parts / sizeof fused->parts[0]; p++)
	{
		place.first += p < part ? extent_of(hyper, fused->parts[p]) : 0;
		all += extent_of(hyper, fused->parts[p]);
	}
	place.n_rows = all * (fused->runs == RUNS_OF_KEY_HEADS ? hyper->n_delta_keys : 1);
	place.run = fused->runs == RUNS_WHOLE ? n_rows : extent_of(hyper, fused->parts[part]);
	place.stride = all;
	place.is_shared = true;
	return place;
}

/* All places of a role, by its row of the table. */
static void
find_places(const ModelHyper *hyper, const RoleRow *row, bool in_layer, uint32_t layer, TensorRole *role)
{
	const FusedTensor *fused[] = {row->fused, row->other};
	const uint32_t parts[] = {row->part, row->part_of_other};
	uint32_t n_rows = role->is_matrix ? role->n_rows : row->form == FORM_VECTOR ? role->n_cols : role->n_rows;

	if (row->name)
	{
		TensorPlace *place = &role->places[role->n_places++];

		*place = (TensorPlace){.n_rows = n_rows / (role->n_experts > 0 ? role->n_experts : 1), .run = n_rows};
		write_name(place->name, in_layer, layer, row->name);
	}
	for (uint32_t i = 0; i < 2; i++)
		if (fused[i])
		{
			role->places[role->n_places] = place_in(hyper, fused[i], parts[i], n_rows);
			write_name(role->places[role->n_places++].name, in_layer, layer, fused[i]->name);
		}
	memcpy(role->name, role->places[0].name, sizeof role->name);
}

TensorRole
role_at(const ModelHyper *hyper, uint32_t i)
{
	bool in_layer = i >= N_MODEL_ROLES;
	const RoleRow *row = in_layer ? &layer_roles[(i - N_MODEL_ROLES) % N_LAYER_ROLES] : &model_roles[i];
	uint32_t layer = in_layer ? (i - N_MODEL_ROLES) / N_LAYER_ROLES : 0;
	const ArchitectureRow *architecture = architecture_row(hyper->architecture);
	const LayerKind *kind = architecture_layer(hyper, layer);
	unsigned required = in_layer ? kind->required : architecture->required;
	unsigned optional = in_layer ? kind->optional : architecture->optional;
	TensorRole role = {.name = ""};

	/* whatever the architecture */
	required |= hyper->n_classes > 0 ? TRAIT_CLASSIFIER : 0;
	required |= in_layer && layer >= hyper->n_layers ? TRAIT_GUESS : 0;
	optional |= in_layer && layer >= hyper->n_layers ? TRAIT_GUESS_OWN : 0;
	role.is_required = (row->traits & required) != 0 && (row->except & required) == 0;
	role.is_known = (row->traits & (required | optional)) != 0 && (row->except & required) == 0;
	role.is_matrix = row->form != FORM_VECTOR && row->form != FORM_VECTORS;
	role.is_float = !role.is_matrix || row->form == FORM_ROUTER;
	role.n_experts = row->form == FORM_EXPERTS ? hyper->n_experts : 0;
	role.n_rows = extent_of(hyper, row->rows) * (row->form == FORM_EXPERTS ? hyper->n_experts : 1);
	role.n_cols = extent_of(hyper, row->cols);
	find_places(hyper, row, in_layer, layer, &role);
	return role;
}
