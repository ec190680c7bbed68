/*
 * adapter.h - LoRA adapters: what is added to the products of a model's matrices for some requests and not for others.
 *
 * An adapter changes y = W x into y = W x + scale * B (A x), with A: [rank][columns of W] and B: [rows of W][rank], for
 * as many matrices as its file has (Hu et al. 2021; the file is what llama.cpp's convert_lora_to_gguf.py writes).
 * Embeddings are changed likewise: a token's row by scale * B (row of A of the token).
 *
 * Like a model it lives in a memory file of its own, which a loader fills (adapter_load) and the engine maps read-only
 * (adapter_open). It belongs to one image of one model, against which it is checked.
 */
#ifndef QWEN_ADAPTER_H
#define QWEN_ADAPTER_H

#include "model.h"

#define ADAPTER_MAX_RANK 512

/* What it adds to a matrix, or to each of its experts. */
typedef struct AdapterMatrix
{
	uint32_t rank;  /* 0: nothing */
	uint32_t n_one; /* columns of A: inputs of the matrix; rows of A for the embeddings */
	float scale;    /* alpha / rank, or 1 */
	TensorType rows_type;
	const uint8_t *rows;      /* A, for the kernel dot_rows; of the embeddings: a row of rank elements for each token */
	size_t rows_expert_bytes; /* from an expert's to the next one's */
	PackedMatrix tiles;       /* B, of one expert */
	size_t tiles_expert_bytes;
} AdapterMatrix;

typedef struct Adapter
{
	char name[64];
	uint64_t generation;
	uint64_t base_generation; /* of the model's image that it was checked against */
	uint32_t n_roles;
	AdapterMatrix *matrices; /* [n_roles], as the model's tensors (tensor_roles.h) */
	const void *image;       /* private to adapter.c */
	size_t image_bytes;
} Adapter;

/* What adapter_load shall do. */
typedef struct AdapterLoadRequest
{
	int image_fd;          /* an empty memory file, read-write; on failure it is cut back to 0 bytes */
	int base_fd;           /* the model's image */
	const char *directory; /* files are only below it, after resolving links */
	const char *file;      /* relative to directory */
	const char *name;      /* 1 … 63 bytes */
	const char *model;     /* the model's name, for messages */
	uint64_t generation;   /* not 0 */
	uint64_t base_generation;
	uint64_t memory_limit; /* refuse an image of more bytes; 0: what the system and the cgroup have free */
	void (*progress)(void *argument, uint64_t bytes_done, uint64_t bytes_total); /* or NULL */
	void *progress_argument;
} AdapterLoadRequest;

/* What adapter_load did. */
typedef struct AdapterLoadReport
{
	char architecture[32];
	char quantization[32]; /* the type of most bytes in the file */
	Notices notices;
	uint64_t n_parameters;
	uint64_t file_bytes;
	uint64_t image_bytes;
	uint32_t n_matrices; /* that it changes */
	uint32_t rank;       /* the largest */
} AdapterLoadReport;

/*
 * Read a GGUF file, check all of it against the model, put it into the image. Errors name the file and the tensor, with
 * the codes of model_load; UNAVAILABLE also when the model's image is not that of base_generation.
 */
extern Status adapter_load(const AdapterLoadRequest *request, AdapterLoadReport *report);

/* Map a complete image read-only. INTERNAL: it is damaged, or not of this generation. */
extern Status adapter_open(int image_fd, uint64_t generation, Adapter **adapter);

/* Unmap and free; NULL is fine. */
extern void adapter_close(Adapter *adapter);

/* What an adapter (or NULL) adds to the matrix of a role; NULL: nothing. */
static inline const AdapterMatrix *
adapter_matrix(const Adapter *adapter, uint32_t role)
{
	return adapter && role < adapter->n_roles && adapter->matrices[role].rank > 0 ? &adapter->matrices[role] : NULL;
}

#endif
