/*
 * kinds.h - the kinds of requests that are accepted, each with a file of its own (kind_*.c). Immediate ones are none of
 * them (immediate.h).
 */
#ifndef QWEN_KINDS_H
#define QWEN_KINDS_H

#include "prompt.h"
#include "request.h"

extern const EngineKind kind_generate; /* CHAT, GENERATE: an answer, sampled token by token */
extern const EngineKind kind_embed;    /* EMBED: a vector */
extern const EngineKind kind_score;    /* SCORE: how likely each of some answers is */
extern const EngineKind kind_rerank;   /* RERANK: how relevant a document is */
extern const EngineKind kind_logprobs; /* LOGPROBS: how likely each token of a text is */
extern const EngineKind kind_chunk;    /* CHUNK: pieces of a text, ready before GO */

/* What several of them begin with: one sequence, whose prompt these tokens are (taken in any case), with what came of
 * encoding them. */
extern Status kind_take_prompt(EngineRequest *request, const Workplace *place, TokenBuffer *tokens, const char *noun,
							   Status status);

/* Whose cached blocks a sequence may use, and who may use its: as the message says. */
extern Status kind_set_sharing(Sequence *sequence, const Workplace *place, const Request *message);

#endif
