/*
 * roles.c - the table of tensors; see roles.h.
 */
#include "roles.h"

#include <stdio.h>

typedef enum Extent
{
	EXTENT_ONE,
	EXTENT_HIDDEN,
	EXTENT_Q,
	EXTENT_KV,
	EXTENT_FFN,
	EXTENT_HEAD,
	EXTENT_VOCAB,
} Extent;

#define REQUIRED_QWEN2 1u
#define REQUIRED_QWEN3 2u
#define REQUIRED 3u
#define OPTIONAL 0u

typedef struct RoleRow
{
	const char *name; /* of a layer's tensor: without "blk.N." */
	bool is_matrix;
	Extent rows, cols;
	unsigned required; /* by which architectures */
} RoleRow;

static const RoleRow model_roles[N_MODEL_ROLES] = {
	[ROLE_TOKEN_EMBEDDING] = {"token_embd.weight", true, EXTENT_VOCAB, EXTENT_HIDDEN, REQUIRED},
	[ROLE_OUTPUT] = {"output.weight", true, EXTENT_VOCAB, EXTENT_HIDDEN, OPTIONAL}, /* else tied to token_embd */
	[ROLE_OUTPUT_NORM] = {"output_norm.weight", false, EXTENT_ONE, EXTENT_HIDDEN, REQUIRED},
};

static const RoleRow layer_roles[N_LAYER_ROLES] = {
	[ROLE_ATTN_NORM] = {"attn_norm.weight", false, EXTENT_ONE, EXTENT_HIDDEN, REQUIRED},
	[ROLE_FFN_NORM] = {"ffn_norm.weight", false, EXTENT_ONE, EXTENT_HIDDEN, REQUIRED},
	[ROLE_ATTN_Q] = {"attn_q.weight", true, EXTENT_Q, EXTENT_HIDDEN, REQUIRED},
	[ROLE_ATTN_K] = {"attn_k.weight", true, EXTENT_KV, EXTENT_HIDDEN, REQUIRED},
	[ROLE_ATTN_V] = {"attn_v.weight", true, EXTENT_KV, EXTENT_HIDDEN, REQUIRED},
	[ROLE_ATTN_OUTPUT] = {"attn_output.weight", true, EXTENT_HIDDEN, EXTENT_Q, REQUIRED},
	[ROLE_FFN_GATE] = {"ffn_gate.weight", true, EXTENT_FFN, EXTENT_HIDDEN, REQUIRED},
	[ROLE_FFN_UP] = {"ffn_up.weight", true, EXTENT_FFN, EXTENT_HIDDEN, REQUIRED},
	[ROLE_FFN_DOWN] = {"ffn_down.weight", true, EXTENT_HIDDEN, EXTENT_FFN, REQUIRED},
	[ROLE_ATTN_Q_BIAS] = {"attn_q.bias", false, EXTENT_ONE, EXTENT_Q, REQUIRED_QWEN2},
	[ROLE_ATTN_K_BIAS] = {"attn_k.bias", false, EXTENT_ONE, EXTENT_KV, REQUIRED_QWEN2},
	[ROLE_ATTN_V_BIAS] = {"attn_v.bias", false, EXTENT_ONE, EXTENT_KV, REQUIRED_QWEN2},
	[ROLE_ATTN_Q_NORM] = {"attn_q_norm.weight", false, EXTENT_ONE, EXTENT_HEAD, REQUIRED_QWEN3},
	[ROLE_ATTN_K_NORM] = {"attn_k_norm.weight", false, EXTENT_ONE, EXTENT_HEAD, REQUIRED_QWEN3},
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
		default:
			return hyper->vocab;
	}
}

uint32_t
roles_count(const ModelHyper *hyper)
{
	return N_MODEL_ROLES + hyper->n_layers * N_LAYER_ROLES;
}

TensorRole
role_at(const ModelHyper *hyper, uint32_t i)
{
	bool in_layer = i >= N_MODEL_ROLES;
	const RoleRow *row = in_layer ? &layer_roles[(i - N_MODEL_ROLES) % N_LAYER_ROLES] : &model_roles[i];
	unsigned architecture = hyper->architecture == ARCHITECTURE_QWEN3 ? REQUIRED_QWEN3 : REQUIRED_QWEN2;
	TensorRole role;

	if (in_layer)
		snprintf(role.name, sizeof role.name, "blk.%u.%s", (i - N_MODEL_ROLES) / N_LAYER_ROLES, row->name);
	else
		snprintf(role.name, sizeof role.name, "%s", row->name);
	role.is_matrix = row->is_matrix;
	role.is_required = (row->required & architecture) != 0;
	role.n_rows = extent_of(hyper, row->rows);
	role.n_cols = extent_of(hyper, row->cols);
	return role;
}
