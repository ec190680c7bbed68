/*
 * rerank_prompt.h - what a model that ranks documents is asked: query and document in the words that it was trained
 * with.
 */
#ifndef QWEN_RERANK_PROMPT_H
#define QWEN_RERANK_PROMPT_H

#include "../protocol/protocol.h"
#include "workplace.h"

/*
 * The tokens of a RERANK message, in the file's rerank template or the published one. What the user wrote is text, with
 * special tokens or without. *n_shared: how many of the first tokens are the template's own, which are nobody's secret.
 */
extern Status rerank_prompt_encode(const Workplace *place, const Request *message, TokenBuffer *tokens,
								   uint32_t *n_shared);

#endif
