/*
 * adapter_image.h - what an adapter's memory file holds: written by adapter_loader.c, read by adapter.c, and by nobody
 * else.
 *
 * Header, a site for each tensor of the model, then the data. state is written last.
 */
#ifndef QWEN_ADAPTER_IMAGE_H
#define QWEN_ADAPTER_IMAGE_H

#include "adapter.h"
#include "image.h"

#define ADAPTER_IMAGE_MAGIC 0x31414951u /* "QIA1" */
#define ADAPTER_IMAGE_VERSION 2

/* What is added to one tensor of the model. */
typedef struct AdapterSite
{
	uint32_t rank; /* 0: nothing, as the members that follow */
	uint32_t rows_type, tiles_type;
	float scale;
	ImagePart rows;  /* A: long rows (kernels.h) of each expert; of the embeddings a long row for each token */
	ImagePart tiles; /* B: packed tiles; of each expert */
} AdapterSite;

typedef struct AdapterHeader
{
	uint32_t magic;
	uint32_t version;
	_Atomic uint32_t state; /* IMAGE_COMPLETE, written last; not in the checksum */
	uint32_t n_sites;
	uint64_t checksum; /* of bytes ADAPTER_UNCHECKED_BYTES … data_start - 1 */
	uint64_t generation;
	uint64_t base_generation;
	uint64_t image_bytes;
	uint64_t data_start;
	char name[64];
	ModelHyper hyper; /* of the model */
	ImagePart sites;  /* AdapterSite[n_sites], as the model's roles */
} AdapterHeader;

/* The part of the header that the checksum leaves out. */
#define ADAPTER_UNCHECKED_BYTES offsetof(AdapterHeader, generation)

/* Where an adapter's rows and tiles for a tensor of the model are, and how large: what its shape says of them. */
typedef struct AdapterShape
{
	uint32_t n_experts;            /* 1 for a matrix */
	uint32_t rows_each, rows_cols; /* A: so many rows, so long; of one expert */
	uint32_t tiles_rows;           /* B: so many rows; of one expert */
	bool is_embedding;
} AdapterShape;

/* The shapes for role number i of a model; false: it is no matrix. */
extern bool adapter_shape(const ModelHyper *hyper, uint32_t i, uint32_t rank, AdapterShape *shape);

/* Bytes of both, of all experts. */
extern uint64_t adapter_rows_bytes(const AdapterShape *shape, TensorType type);
extern uint64_t adapter_tiles_bytes(const AdapterShape *shape, TensorType type, uint32_t rank);

#endif
