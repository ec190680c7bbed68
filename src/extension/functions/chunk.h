/*
 * chunk.h - texts cut into pieces by the engine.
 */
#ifndef QWEN_CHUNK_H
#define QWEN_CHUNK_H

#include "../call/call.h"

/* The request for pieces of at most max_tokens; 0: as large as leaves room for a prompt and an answer. options: a
 * request with model and options alone. */
extern void chunk_request(Request *request, const Request *options, text *input, uint32 max_tokens, uint32 overlap);

/* The pieces (text) of the input that was sent; checks the reply. */
extern List *chunks_of(const EngineReply *reply, text *input);

#endif
