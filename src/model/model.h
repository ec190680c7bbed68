/*
 * model.h - the door of the room: a model, as the engine sees it.
 *
 * A model lives in an image: one memory file (memfd) that a loader process fills (model_load) and the engine maps
 * read-only (model_open). The image holds a header, hyperparameters, tokenizer, chat template and the tensors packed
 * for the kernels, so that opening reads no file and copies no weight. A half-filled image is never opened:
 * its state word is written last.
 */
#ifndef QWEN_MODEL_H
#define QWEN_MODEL_H

#include "../../kernels/kernels.h"
#include "../base/notices.h"
#include "../base/status.h"
#include "../template/chat_template.h"
#include "tokenizer.h"

typedef enum Architecture
{
	ARCHITECTURE_QWEN2 = 1,      /* bias on Q, K, V */
	ARCHITECTURE_QWEN3 = 2,      /* per-head RMS norm on Q and K, no bias */
	ARCHITECTURE_QWEN2MOE = 3,   /* qwen2's attention, experts and a shared one */
	ARCHITECTURE_QWEN3MOE = 4,   /* qwen3's attention, experts */
	ARCHITECTURE_QWEN = 5,       /* Qwen 1.0: qwen2's forward pass */
	ARCHITECTURE_QWEN2VL = 6,    /* of files that look at images, the text's half: as qwen2 … */
	ARCHITECTURE_QWEN3VL = 7,    /* … as qwen3 … */
	ARCHITECTURE_QWEN3VLMOE = 8, /* … as qwen3moe */
	ARCHITECTURE_QWEN35 = 9,     /* gated delta nets, and gated attention in some layers */
	ARCHITECTURE_QWEN35MOE = 10, /* … with experts and a shared one */
	ARCHITECTURE_QWEN3NEXT = 11, /* the same, its value heads in another order */
} Architecture;

/* What layers are made of, one part after the other; each adds to the residual stream what it makes of its norm. */
typedef enum LayerPart
{
	PART_ATTENTION, /* attn_*, with keys and values in the cache */
	PART_DELTA,     /* ssm_*: a gated delta net, with a state of fixed size for each sequence */
	PART_DENSE,     /* ffn_*: down(silu(gate x) * (up x)) */
	PART_EXPERTS,   /* ffn_*_exps: the same by some of many, which a router chooses for each row */
	N_PART_KINDS
} LayerPart;

#define LAYER_PARTS 2 /* of a layer: one that mixes positions, one that does not */

typedef enum RopeScaling
{
	ROPE_SCALING_NONE = 0,
	ROPE_SCALING_LINEAR = 1,
	ROPE_SCALING_YARN = 2,
} RopeScaling;

typedef enum Pooling
{
	POOLING_UNSPECIFIED = 0, /* the file does not say: mean */
	POOLING_MEAN = 1,
	POOLING_CLS = 2,
	POOLING_LAST = 3,
	POOLING_RANK = 4, /* a reranker */
} Pooling;

/* By what a model says how relevant a document is. */
typedef enum Ranking
{
	RANKING_BY_TOKENS = 0,  /* the rows of "yes" and "no" in the output matrix */
	RANKING_BY_CLASSES = 1, /* a classifier of these two, or of "yes" alone */
	RANKING_NONE = 2,       /* its classes are others */
} Ranking;

#define MODEL_MAX_LAYERS 256
#define MODEL_MAX_HEAD_DIM 256
#define MODEL_MAX_EXPERTS 1024
#define MODEL_MAX_USED_EXPERTS 64
#define MODEL_MAX_DELTA_DIM DELTA_MAX_DIM

/* Hyperparameters, from the file's metadata; plain data, part of the image. */
typedef struct ModelHyper
{
	uint32_t architecture; /* Architecture */
	uint32_t n_layers;
	uint32_t hidden;
	uint32_t ffn;
	uint32_t n_heads;
	uint32_t n_kv_heads; /* divides n_heads */
	uint32_t head_dim;   /* multiple of 16, at most MODEL_MAX_HEAD_DIM; the same for K and V */
	uint32_t vocab;      /* rows of token_embd */
	uint32_t context_length;
	float rms_epsilon;
	float rope_base;
	uint32_t rope_scaling; /* RopeScaling */
	float rope_factor;     /* 1: none */
	uint32_t rope_original_context;
	float yarn_attention_factor; /* multiplied with the paper's magnitude; 0: not given */
	float yarn_beta_fast, yarn_beta_slow;
	uint32_t n_experts;        /* of a layer; 0: none, as the members that follow */
	uint32_t n_used_experts;   /* for each row */
	uint32_t expert_ffn;       /* of one; a multiple of TILE_ROWS, as hidden is where there are experts */
	uint32_t shared_ffn;       /* of the expert that all rows have; 0: there is none */
	uint32_t experts_sum_to_1; /* 1: the weights of a row's experts are divided by their sum */
	uint32_t n_rotated;        /* elements of a head that are turned, from the first on; the others stay as they are */
	uint32_t gated_attention;  /* 1: a query head has as many elements again behind it, which gate what it attended */
	/* delta nets; 0: there are none, as the members that follow */
	uint32_t delta_dim;        /* elements of a head, keys and values alike: a multiple of DELTA_COLUMNS */
	uint32_t n_delta_keys;     /* heads of queries and keys */
	uint32_t n_delta_values;   /* heads of values: a multiple of them */
	uint32_t delta_is_grouped; /* 1: value heads that share a key head stand together; 0: they take turns */
	uint32_t state_type;       /* StateType; not of the file: whoever opens the image says it, unless it is 0 */
	uint64_t delta_layers[MODEL_MAX_LAYERS / 64]; /* bit: the layer has one instead of attention */
	uint32_t n_guess_layers;                      /* of the file, behind the n_layers: they guess tokens ahead */
	uint32_t n_heads_loaded;                      /* of these: the first one, or none */
	uint32_t pooling;                             /* Pooling */
	uint32_t ranking;                             /* Ranking */
	uint32_t n_classes;                           /* of a classifier that ranks: 1 or 2; 0: there is none */
	uint32_t yes_class;                           /* of two: which one is "yes" */
	uint32_t has_sampling; /* 1: the file carries a generation config in general.sampling.*; only the given ones are set
							  below */
	float temperature, top_p, min_p, repetition_penalty; /* -1: not given */
	int32_t top_k;                                       /* -1: not given */
} ModelHyper;

typedef struct ModelLayer
{
	LayerPart parts[LAYER_PARTS];
	PackedMatrix attn_q, attn_k, attn_v,
		attn_output;                         /* [n_heads*head_dim][hidden] (twice as many rows where it is gated),
											  * [n_kv_heads*head_dim][hidden] x2, [hidden][n_heads*head_dim] */
	PackedMatrix ffn_gate, ffn_up, ffn_down; /* [ffn][hidden] x2, [hidden][ffn] */
	/* experts, one behind the other: [n_experts*expert_ffn][hidden] x2, [n_experts*hidden][expert_ffn] */
	PackedMatrix expert_gate, expert_up, expert_down;
	PackedMatrix router;                              /* [n_experts][hidden] */
	PackedMatrix shared_gate, shared_up, shared_down; /* [shared_ffn][hidden] x2, [hidden][shared_ffn] */
	PackedMatrix shared_router;                       /* [1][hidden]: how much of the shared one */
	/* a delta net: [n_delta_keys*delta_dim][hidden] x2, [n_delta_values*delta_dim][hidden] x2, [n_delta_values][hidden]
	 * x2, [hidden][n_delta_values*delta_dim] */
	PackedMatrix delta_q, delta_k, delta_v, delta_gate, delta_beta, delta_alpha, delta_output;
	const float *delta_conv;             /* [channels of q, k and v][DELTA_TAPS], the row itself last */
	const float *delta_dt, *delta_decay; /* [n_delta_values]; decay is negative */
	const float *delta_norm;             /* [delta_dim] */
	const float *attn_norm, *ffn_norm;   /* [hidden] */
	const float *attn_q_bias, *attn_k_bias, *attn_v_bias; /* NULL where the file has none */
	const float *attn_q_norm, *attn_k_norm;               /* [head_dim]; NULL where the file has none */
	/* of the layer that guesses: what joins a token and the hidden state before it, [hidden][2*hidden] */
	PackedMatrix guess_input;
	const float *guess_token_norm, *guess_hidden_norm; /* [hidden]; NULL in all other layers */
} ModelLayer;

typedef struct Model
{
	char name[64];
	uint64_t generation;
	ModelHyper hyper;
	PackedMatrix token_embedding; /* [vocab][hidden] */
	PackedMatrix output;          /* [vocab][hidden]; the same tiles as token_embedding where the file ties them */
	const float *output_norm;     /* [hidden] */
	bool has_output;              /* false: the file has the classifier alone, and the matrix above is none */
	float *rank_rows;             /* [2][hidden]: of "yes" and "no"; NULL: it cannot rank, and rank_error says why */
	Status rank_error;
	ByteSpan rerank_template;  /* of the file, with {query} and {document}; not given: the published one */
	ModelLayer *layers;        /* [n_layers + n_heads_loaded] */
	KeyOutliers *key_outliers; /* [the same][n_kv_heads]; NULL: no head has any */
	/* of the layer that guesses, its own or the model's */
	PackedMatrix guess_embedding, guess_output;
	const float *guess_output_norm;
	Tokenizer *tokenizer;
	ChatTemplate *chat_template; /* NULL where the template could not be parsed; then chat_template_error says why */
	Status chat_template_error;
	bool can_think;           /* its answers may begin with thinking, by its template */
	bool calls_by_tags;       /* its template writes calls of tools as <function=NAME>, else as JSON */
	bool has_thinking_switch; /* the template asks for enable_thinking; else a model that can think always does */
	const void *image;        /* the mapping and its length; private to model.c */
	size_t image_bytes;
} Model;

/* Has a layer a delta net instead of attention? */
static inline bool
model_layer_is_delta(const ModelHyper *hyper, uint32_t layer)
{
	return layer < MODEL_MAX_LAYERS && (hyper->delta_layers[layer / 64] >> layer % 64 & 1) != 0;
}

/* Layers that have one. The others have attention, and keys and values in the cache. */
static inline uint32_t
model_n_delta_layers(const ModelHyper *hyper)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < hyper->n_layers; i++)
		n += model_layer_is_delta(hyper, i);
	return n;
}

/* Channels of a delta net's convolution: its queries, keys and values. */
static inline uint32_t
model_delta_channels(const ModelHyper *hyper)
{
	return (2 * hyper->n_delta_keys + hyper->n_delta_values) * hyper->delta_dim;
}

/* Layers that have keys and values in the cache. */
static inline uint32_t
model_n_cache_layers(const ModelHyper *hyper)
{
	return hyper->n_layers - model_n_delta_layers(hyper) + hyper->n_heads_loaded;
}

#define STATE_HEAD 16 /* floats of room for what is told of a state */
#define STATE_ROWS 8  /* that a state may have behind it without being changed by them */

/* Floats of room for n (even) elements of a state's type. */
static inline uint64_t
model_state_floats(const ModelHyper *hyper, uint64_t n)
{
	return n * state_type_bytes((StateType) hyper->state_type) / sizeof(float);
}

/* Floats of room for a layer in a state: its matrices, one for each value head; the rows that the convolution needs
 * before the next one; and of STATE_ROWS rows what went into the convolution, decay and beta. Decays and betas are
 * floats, all else is of the state's type. */
static inline uint64_t
model_state_layer_floats(const ModelHyper *hyper)
{
	uint64_t matrices = (uint64_t) hyper->n_delta_values * hyper->delta_dim * hyper->delta_dim;
	uint64_t channels = model_delta_channels(hyper), gates = (2 * (uint64_t) hyper->n_delta_values + 15) / 16 * 16;

	return model_state_floats(hyper, matrices + (DELTA_TAPS - 1 + STATE_ROWS) * channels) + STATE_ROWS * gates;
}

/* Floats of the hidden states in a state: the one behind its rows and those of STATE_ROWS rows behind it, which the
 * layer that guesses goes on from. */
static inline uint64_t
model_state_hidden_floats(const ModelHyper *hyper)
{
	return hyper->n_heads_loaded > 0 ? (1 + (uint64_t) STATE_ROWS) * hyper->hidden : 0;
}

/* Bytes of what is kept of a hybrid's sequence, the same at every position. 0: the model has no delta nets. */
static inline uint64_t
model_state_bytes(const ModelHyper *hyper)
{
	uint32_t n = model_n_delta_layers(hyper);

	return n > 0 ? (STATE_HEAD + n * model_state_layer_floats(hyper) + model_state_hidden_floats(hyper)) * sizeof(float)
				 : 0;
}

/* What model_load shall do. */
typedef struct ModelLoadRequest
{
	int image_fd;                          /* an empty memory file, read-write; on failure it is cut back to 0 bytes */
	const char *directory;                 /* files are only below it, after resolving links */
	const char *file;                      /* relative to directory */
	const char *name;                      /* of the model, 1 … 63 bytes */
	uint64_t generation;                   /* not 0 */
	bool allow_io_uring;                   /* false: pread */
	bool allow_direct_io;                  /* false: buffered */
	const struct ContextSettings *context; /* that the file must be able to; NULL: its own (context.h) */
	int n_threads;                         /* that pack; 0: team_default_threads() */
	bool without_heads;                    /* layers that guess tokens ahead are passed over */
	uint64_t memory_limit; /* refuse an image of more bytes; 0: what the system and the cgroup have free */
	uint64_t cache_bytes;  /* that keys and values may still take: they must fit beside the image */
	void (*progress)(void *argument, uint64_t bytes_done,
					 uint64_t bytes_total); /* or NULL; called from the calling thread */
	void *progress_argument;
} ModelLoadRequest;

/* What model_load did. */
typedef struct ModelLoadReport
{
	uint32_t
		load_io; /* LoadIo of status_page.h: 1 io_uring direct, 2 io_uring buffered, 3 pread direct, 4 pread buffered */
	char io_note[256]; /* why not io_uring with O_DIRECT; "" otherwise */
	char architecture[32];
	char quantization[32]; /* the type of most bytes */
	Notices notices;       /* of the head */
	uint64_t n_parameters;
	uint64_t file_bytes;
	uint64_t image_bytes;
	ModelHyper hyper;
} ModelLoadReport;

/*
 * Read a GGUF file, check all of it, pack it into the image. Errors name the file, the offset and what is wrong:
 * NOT_FOUND no such file, NOT_ALLOWED outside the directory, INVALID_ARGUMENT corrupt, UNSUPPORTED architecture or
 * type, TOO_LONG larger than memory (both numbers), UNAVAILABLE I/O error or out of memory.
 */
extern Status model_load(const ModelLoadRequest *request, ModelLoadReport *report);

#define MODEL_CHECK_TENSORS 20 /* tensors that are wrong of which model_check tells; of others how many they are */

/* What model_check shall look at. */
typedef struct ModelCheck
{
	const char *directory, *file; /* as in ModelLoadRequest */
	bool without_heads;
	uint64_t memory_limit, cache_bytes;
	/* called for each thing that is found, in a sensible order: an item, what it is, what is wrong with it (NULL:
	 * nothing that keeps the model from being loaded). Values are as the file has them: bytes of any kind. */
	void (*line)(void *argument, const char *item, const char *value, const char *problem);
	void *argument;
} ModelCheck;

/*
 * Look at a file's head and tell what would be loaded, without loading it. Returns what model_load and model_open would
 * say, as far as that does not depend on the tensors' data; NOT_FOUND and NOT_ALLOWED only of the file that was named,
 * and then nothing was told. *hyper: what it has; of architecture 0 where it cannot be
 * told. *key_outliers: heads have some (KeyOutliers), for which caches of few bits have room; the one thing that is
 * read of the data.
 */
extern Status model_check(const ModelCheck *check, ModelHyper *hyper, bool *key_outliers);

/* True and *generation when fd holds a complete image. */
extern bool model_image_is_complete(int image_fd, uint64_t *generation);

/* Map a complete image read-only and make a Model of it (tokenizer tables and template are built in private memory). */
extern Status model_open(int image_fd, Model **model);

/* Unmap and free; NULL is fine. */
extern void model_close(Model *model);

#define MODEL_NO_ROLE UINT32_MAX

/* The number of a matrix' tensor among the model's (tensor_roles.h). MODEL_NO_ROLE: it is none of them, or the
 * embeddings, which may serve as the output matrix too. */
extern uint32_t model_role_of(const Model *model, const PackedMatrix *matrix);

/*
 * What an adapter must know of the image that it is for, without mapping it, so that it may be let go of at any time:
 * hyperparameters, and which tensors there are (has: [roles_count], freed by the caller). UNAVAILABLE: it is not, or
 * not any more, the complete image of this generation.
 */
extern Status model_image_describe(int image_fd, uint64_t generation, ModelHyper *hyper, bool **has);

#endif
