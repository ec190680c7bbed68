/*
 * hyperparameters.h - from a GGUF file's metadata to checked hyperparameters and the tokenizer's arrays.
 */
#ifndef QWEN_HYPERPARAMETERS_H
#define QWEN_HYPERPARAMETERS_H

#include "gguf.h"
#include "model.h"

/*
 * Read and check everything but tensors. UNSUPPORTED naming what was found and what is supported; INVALID_ARGUMENT
 * naming the key. The vocabulary's size comes from tokenizer.ggml.tokens.
 */
extern Status hyper_read(const Gguf *gguf, ModelHyper *hyper, Notices *notices);

/* The scalar settings of the tokenizer (ids, flags, names); arrays are left to the loader. model and pre point into the
 * Gguf's head and are not NUL-terminated there, so they are copied to the given buffers. */
extern Status hyper_read_tokenizer(const Gguf *gguf, const ModelHyper *hyper, TokenizerSource *source, char model[32],
								   char pre[32], Notices *notices);

#endif
