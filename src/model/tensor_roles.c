/*
 * tensor_roles.c - the table of tensors; see tensor_roles.h.
 */
#include "tensor_roles.h"

#include <stdio.h>

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
	EXTENT_CLASSES,
} Extent;

/* A tensor that a file may have instead of some others: their rows (elements of vectors), one behind the other; where
 * each expert has a matrix, those of each expert. */
typedef struct FusedTensor
{
	const char *name;
	Extent parts[3];
} FusedTensor;

static const FusedTensor qkv_rows = {"attn_qkv.weight", {EXTENT_Q, EXTENT_KV, EXTENT_KV}};
static const FusedTensor qkv_biases = {"attn_qkv.bias", {EXTENT_Q, EXTENT_KV, EXTENT_KV}};
static const FusedTensor gate_and_up = {"ffn_gate_up_exps.weight", {EXTENT_EXPERT_FFN, EXTENT_EXPERT_FFN, EXTENT_NONE}};

/* What kind of tensor it is. */
typedef enum Form
{
	FORM_VECTOR,
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
} RoleRow;

static const RoleRow model_roles[N_MODEL_ROLES] = {
	[ROLE_TOKEN_EMBEDDING] = {"token_embd.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_ALWAYS},
	[ROLE_OUTPUT] = {"output.weight", FORM_MATRIX, EXTENT_VOCAB, EXTENT_HIDDEN, TRAIT_OWN_OUTPUT},
	[ROLE_OUTPUT_NORM] = {"output_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_ALWAYS},
	[ROLE_CLASSIFIER] = {"cls.output.weight", FORM_MATRIX, EXTENT_CLASSES, EXTENT_HIDDEN, TRAIT_CLASSIFIER},
};

static const RoleRow layer_roles[N_LAYER_ROLES] = {
	[ROLE_ATTN_NORM] = {"attn_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_ATTENTION},
	[ROLE_FFN_NORM] = {"ffn_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_DENSE | TRAIT_EXPERTS},
	[ROLE_ATTN_Q] = {"attn_q.weight", FORM_MATRIX, EXTENT_Q, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 0},
	[ROLE_ATTN_K] = {"attn_k.weight", FORM_MATRIX, EXTENT_KV, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 1},
	[ROLE_ATTN_V] = {"attn_v.weight", FORM_MATRIX, EXTENT_KV, EXTENT_HIDDEN, TRAIT_ATTENTION, &qkv_rows, 2},
	[ROLE_ATTN_OUTPUT] = {"attn_output.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_Q, TRAIT_ATTENTION},
	[ROLE_FFN_GATE] = {"ffn_gate.weight", FORM_MATRIX, EXTENT_FFN, EXTENT_HIDDEN, TRAIT_DENSE},
	[ROLE_FFN_UP] = {"ffn_up.weight", FORM_MATRIX, EXTENT_FFN, EXTENT_HIDDEN, TRAIT_DENSE},
	[ROLE_FFN_DOWN] = {"ffn_down.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_FFN, TRAIT_DENSE},
	[ROLE_ATTN_Q_BIAS] = {"attn_q.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_Q, TRAIT_QKV_BIAS, &qkv_biases, 0},
	[ROLE_ATTN_K_BIAS] = {"attn_k.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_KV, TRAIT_QKV_BIAS, &qkv_biases, 1},
	[ROLE_ATTN_V_BIAS] = {"attn_v.bias", FORM_VECTOR, EXTENT_ONE, EXTENT_KV, TRAIT_QKV_BIAS, &qkv_biases, 2},
	[ROLE_ATTN_Q_NORM] = {"attn_q_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HEAD, TRAIT_QK_NORM},
	[ROLE_ATTN_K_NORM] = {"attn_k_norm.weight", FORM_VECTOR, EXTENT_ONE, EXTENT_HEAD, TRAIT_QK_NORM},
	[ROLE_ROUTER] = {"ffn_gate_inp.weight", FORM_ROUTER, EXTENT_EXPERTS, EXTENT_HIDDEN, TRAIT_EXPERTS},
	[ROLE_EXPERT_GATE] = {"ffn_gate_exps.weight", FORM_EXPERTS, EXTENT_EXPERT_FFN, EXTENT_HIDDEN, TRAIT_EXPERTS,
						  &gate_and_up, 0},
	[ROLE_EXPERT_UP] = {"ffn_up_exps.weight", FORM_EXPERTS, EXTENT_EXPERT_FFN, EXTENT_HIDDEN, TRAIT_EXPERTS,
						&gate_and_up, 1},
	[ROLE_EXPERT_DOWN] = {"ffn_down_exps.weight", FORM_EXPERTS, EXTENT_HIDDEN, EXTENT_EXPERT_FFN, TRAIT_EXPERTS},
	[ROLE_SHARED_ROUTER] = {"ffn_gate_inp_shexp.weight", FORM_ROUTER, EXTENT_ONE, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_GATE] = {"ffn_gate_shexp.weight", FORM_MATRIX, EXTENT_SHARED_FFN, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_UP] = {"ffn_up_shexp.weight", FORM_MATRIX, EXTENT_SHARED_FFN, EXTENT_HIDDEN, TRAIT_SHARED},
	[ROLE_SHARED_DOWN] = {"ffn_down_shexp.weight", FORM_MATRIX, EXTENT_HIDDEN, EXTENT_SHARED_FFN, TRAIT_SHARED},
};

static uint32_t
extent_of(const ModelHyper *hyper, Extent extent)
{
	switch (extent)
	{
		case EXTENT_NONE:
			return 0;
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
		case EXTENT_CLASSES:
			return hyper->n_classes;
		default:
			return hyper->vocab;
	}
}

uint32_t
roles_count(const ModelHyper *hyper)
{
	return N_MODEL_ROLES + hyper->n_layers * N_LAYER_ROLES;
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
	TensorRole role = {.fused = ""};

	/* whatever the architecture */
	required |= hyper->n_classes > 0 ? TRAIT_CLASSIFIER : 0;
	write_name(role.name, in_layer, layer, row->name);
	role.is_required = (row->traits & required) != 0;
	role.is_known = (row->traits & (required | optional)) != 0;
	role.is_matrix = row->form != FORM_VECTOR;
	role.is_float = row->form == FORM_VECTOR || row->form == FORM_ROUTER;
	role.n_experts = row->form == FORM_EXPERTS ? hyper->n_experts : 0;
	role.n_rows = extent_of(hyper, row->rows) * (row->form == FORM_EXPERTS ? hyper->n_experts : 1);
	role.n_cols = extent_of(hyper, row->cols);
	if (row->fused)
		write_name(role.fused, in_layer, layer, row->fused->name);
	for (uint32_t p = 0; row->fused && p < 3; p++)
	{
		role.fused_first += p < row->part ? extent_of(hyper, row->fused->parts[p]) : 0;
		role.fused_n += extent_of(hyper, row->fused->parts[p]);
	}
	return role;
}
