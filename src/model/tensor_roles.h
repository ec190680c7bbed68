/*
 * tensor_roles.h - which tensors a model has: name, shape and place of each, in one table.
 *
 * The loader checks a file against it, and an image keeps its tensors in its order, so that opening looks nothing up by
 * name.
 */
#ifndef QWEN_TENSOR_ROLES_H
#define QWEN_TENSOR_ROLES_H

#include "model.h"

#define GGUF_ROLE_NAME_BYTES 65

/* Tensors of the whole model, then those of each layer. */
typedef enum ModelRole
{
	ROLE_TOKEN_EMBEDDING,
	ROLE_OUTPUT,
	ROLE_OUTPUT_NORM,
	ROLE_CLASSIFIER,
	N_MODEL_ROLES,
} ModelRole;

typedef enum LayerRole
{
	ROLE_ATTN_NORM,
	ROLE_FFN_NORM,
	ROLE_ATTN_Q,
	ROLE_ATTN_K,
	ROLE_ATTN_V,
	ROLE_ATTN_OUTPUT,
	ROLE_FFN_GATE,
	ROLE_FFN_UP,
	ROLE_FFN_DOWN,
	ROLE_ATTN_Q_BIAS,
	ROLE_ATTN_K_BIAS,
	ROLE_ATTN_V_BIAS,
	ROLE_ATTN_Q_NORM,
	ROLE_ATTN_K_NORM,
	ROLE_ROUTER,
	ROLE_EXPERT_GATE,
	ROLE_EXPERT_UP,
	ROLE_EXPERT_DOWN,
	ROLE_SHARED_ROUTER,
	ROLE_SHARED_GATE,
	ROLE_SHARED_UP,
	ROLE_SHARED_DOWN,
	ROLE_POST_ATTENTION_NORM, /* in the place of ROLE_FFN_NORM */
	ROLE_DELTA_Q,
	ROLE_DELTA_K,
	ROLE_DELTA_V,
	ROLE_DELTA_GATE,
	ROLE_DELTA_BETA,
	ROLE_DELTA_ALPHA,
	ROLE_DELTA_CONV,
	ROLE_DELTA_DT,
	ROLE_DELTA_DECAY,
	ROLE_DELTA_NORM,
	ROLE_DELTA_OUTPUT,
	ROLE_GUESS_INPUT,
	ROLE_GUESS_TOKEN_NORM,
	ROLE_GUESS_HIDDEN_NORM,
	ROLE_GUESS_OUTPUT_NORM,
	ROLE_GUESS_EMBEDDING,
	ROLE_GUESS_OUTPUT,
	N_LAYER_ROLES,
} LayerRole;

/* Where a file may have a tensor of the table: alone, or together with others in one. Its rows (of vectors: elements)
 * are runs there: all of them in one, or a run for each expert or head that has some of each. */
typedef struct TensorPlace
{
	char name[GGUF_ROLE_NAME_BYTES];
	uint32_t n_rows; /* of that tensor; of one expert, where it has three dimensions */
	uint32_t first;  /* row of the first run */
	uint32_t run;    /* rows of each */
	uint32_t stride; /* from the beginning of one run to the next */
	bool is_shared;  /* other roles have rows there, too */
} TensorPlace;

#define TENSOR_PLACES 3

/* One tensor of the table, as a model of these hyperparameters has it. */
typedef struct TensorRole
{
	char name[GGUF_ROLE_NAME_BYTES]; /* of its first place */
	bool is_known;                   /* false: no tensor of this architecture */
	bool is_required;
	bool is_matrix;     /* packed; else a vector of floats, or n_rows of them, one behind the other */
	bool is_float;      /* must not be quantized */
	uint32_t n_experts; /* that it has, one behind the other; 0: it is no tensor of experts, and has two dimensions at
						   most */
	uint32_t n_rows;    /* 1 for vectors; of all experts */
	uint32_t n_cols;
	TensorPlace places[TENSOR_PLACES]; /* [n_places], the first that the file has is taken */
	uint32_t n_places;
} TensorRole;

/* How many roles there are, and role number i (0 … roles_count - 1): the model's, then layer 0's, layer 1's, …, last
 * those of the layer that guesses. */
extern uint32_t roles_count(const ModelHyper *hyper);
extern TensorRole role_at(const ModelHyper *hyper, uint32_t i);

#endif
