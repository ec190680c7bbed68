/*
 * model_files.h - the file or files that a model consists of, opened and their heads checked against each other.
 *
 * A split model (llama-gguf-split) has parts NAME-00001-of-0000N.gguf, each a GGUF file of its own: the first has all
 * metadata, each has some of the tensors and says in split.no, split.count and split.tensors.count which part it is.
 * Any part may be named; the others must lie beside it.
 */
#ifndef QWEN_MODEL_FILES_H
#define QWEN_MODEL_FILES_H

#include "gguf.h"

#define MODEL_MAX_FILES 256

typedef struct ModelFiles
{
	uint32_t n_files;
	int fds[MODEL_MAX_FILES];
	Gguf heads[MODEL_MAX_FILES]; /* own what gguf points at */
	uint64_t file_bytes;         /* of all of them */
	Gguf gguf;                   /* the metadata of the first file and the tensors of all: see GgufTensor.file */
} ModelFiles;

/*
 * Open file (relative to directory, any part of a split model) and what belongs to it. Failures are those of
 * model_path_open and gguf_open, and INVALID_ARGUMENT when parts are missing or do not fit together; each names the
 * file. Nothing stays open after a failure.
 */
extern Status model_files_open(const char *directory, const char *file, ModelFiles *files);

/* Close all; a ModelFiles of zeros is fine too. */
extern void model_files_close(ModelFiles *files);

#endif
