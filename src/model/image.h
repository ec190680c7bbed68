/*
 * image.h - what a model's memory file holds: written by loader.c, read by model.c, and by nobody else.
 *
 * Header, tensor table (one entry a role, tensor_roles.h), tokenizer arrays, chat template, then tensor data. The
 * checksum covers all that stands before the data. state is written last. The layout is the same for every instruction
 * set.
 */
#ifndef QWEN_IMAGE_H
#define QWEN_IMAGE_H

#include <stdatomic.h>

#include "model.h"

#define IMAGE_MAGIC 0x314D4951u /* "QIM1" */
#define IMAGE_VERSION 7
#define IMAGE_COMPLETE 0x600DF00Du
#define IMAGE_ALIGNMENT 4096 /* of each tensor's data */

/* A part of the image. */
typedef struct ImagePart
{
	uint64_t offset;
	uint64_t bytes; /* 0: not there */
} ImagePart;

typedef struct ImageTensor
{
	uint32_t type; /* TensorType of a matrix; vectors are F32 */
	uint32_t n_rows, n_cols;
	uint32_t unused;
	ImagePart data;
} ImageTensor;

typedef struct ImageTokenizer
{
	char model[32];
	char pre[32];
	uint32_t n_tokens, n_merges;
	ImagePart token_offsets, token_bytes, token_types, merge_offsets, merge_bytes;
	int32_t bos, eos, eot, padding;
	uint32_t add_bos, add_eos;
} ImageTokenizer;

typedef struct ImageHeader
{
	uint32_t magic;
	uint32_t version;
	_Atomic uint32_t state; /* IMAGE_COMPLETE, written last; not in the checksum */
	uint32_t n_tensors;
	uint64_t checksum; /* of bytes IMAGE_UNCHECKED_BYTES … data_start - 1 */
	uint64_t generation;
	uint64_t image_bytes;
	uint64_t data_start;
	char name[64];
	ModelHyper hyper;
	ImageTokenizer tokenizer;
	ImagePart chat_template, rerank_template;
	ImagePart tensors; /* ImageTensor[n_tensors] */
} ImageHeader;

/* The part of the header that the checksum leaves out. */
#define IMAGE_UNCHECKED_BYTES offsetof(ImageHeader, generation)

/* Can tokenizer and template be made of what stands before the tensors' data? As model_open does, without a mapping. */
typedef struct ImageTexts
{
	Status template_error; /* of the template; the model loads with it, but does not chat */
	bool can_think;
	Notices notices; /* the tokenizer's */
} ImageTexts;
extern Status image_check_texts(const ImageHeader *header, ImageTexts *texts);

/* FNV-1a over 8 bytes at a time; bytes is a multiple of 8. Against accidents, not against malice. */
static inline uint64_t
image_checksum(const void *data, size_t bytes)
{
	const uint64_t *words = data;
	uint64_t hash = 0xCBF29CE484222325ull;

	for (size_t i = 0; i < bytes / 8; i++)
	{
		hash = (hash ^ words[i]) * 0x100000001B3ull;
		hash ^= hash >> 29;
	}
	return hash;
}

#endif
