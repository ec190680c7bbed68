/*
 * loader_private.h - what looking at a model's file and loading it have in common: loader.c has the steps, in this
 * order; model_check.c takes those that need no memory for tensors.
 */
#ifndef QWEN_LOADER_PRIVATE_H
#define QWEN_LOADER_PRIVATE_H

#include "gguf.h"
#include "image.h"
#include "model_files.h"
#include "reader.h"
#include "tensor_roles.h"

/* Where a role's data stand in the file. */
typedef struct TensorSource
{
	const GgufTensor *tensor; /* NULL where the file has none */
	TensorPlace place;        /* of the role's rows in it */
} TensorSource;

typedef struct Loader
{
	const ModelLoadRequest *request;
	ModelLoadReport *report;
	ModelFiles files;
	ImageHeader header;    /* as it will stand at the image's beginning */
	TensorSource *sources; /* [n_tensors] by role */
	ImageTensor *tensors;
	TokenizerSource names; /* scalar settings */
	char tokenizer_model[32], tokenizer_pre[32];
	ReadJob *jobs;
	uint32_t n_jobs;
	uint64_t data_bytes; /* of all jobs */

	uint8_t *meta; /* the image up to its data, mapped */

	/* the head is only looked at: all tensors that are wrong are told, not the first alone; NULL: it is loaded */
	const ModelCheck *check;
	uint32_t n_wrong;
	Status first_wrong;
} Loader;

/* Hyperparameters and the fixed part of the header, with the files open. */
extern Status loader_read_head(Loader *loader);

/* Has the file the tensors of a layer that guesses tokens ahead? Some have its number, and left them out. What it goes
 * on from stands behind a sequence's state: a model without delta nets has none. */
extern bool loader_file_has_head(const Loader *loader);

/* Find every role's tensor, and nothing that is none's. */
extern Status loader_match_tensors(Loader *loader);

/* Offsets of everything in the image. */
extern Status loader_lay_out(Loader *loader);

/* Is there memory for it? Both numbers before any is taken. */
extern Status loader_check_memory(const Loader *loader);

/* Everything before the tensor data, with its checksum, to meta: [header.data_start] */
extern void loader_write_meta(Loader *loader);

/* Where n tiles of role number i stand in the file, from a tile on; a vector is one tile. After loader_lay_out. */
extern ReadJob loader_job_of(const Loader *loader, uint32_t i, uint32_t tile, uint32_t n);

/* The type that holds most bytes of the file. */
extern const char *loader_main_type(const Gguf *gguf);

#endif
