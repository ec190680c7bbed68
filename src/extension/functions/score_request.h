/*
 * score_request.h - requests for the probabilities of given answers (REQUEST_SCORE), and what comes back.
 */
#ifndef QWEN_SCORE_REQUEST_H
#define QWEN_SCORE_REQUEST_H

#include "../call/call.h"
#include "nodes/execnodes.h"

/* Are both arguments of a score there, and is there something in the text, which is the first? */
extern bool has_both(FunctionCallInfo fcinfo);

/* A prompt over an input, answered by one of candidates (a JSON array); first: where the common arguments of fcinfo
 * begin. Their model holds, and their sampling is checked and has no effect. */
extern void score_request(FunctionCallInfo fcinfo, int first, const char *prompt, text *input, ByteSpan candidates,
						  Request *request);

/* The common arguments of a request that has its messages. */
extern void score_options(FunctionCallInfo fcinfo, int first, Request *request);

/* The scores of n candidates, or the error that there are none. */
extern const RequestResult *scores_of(const EngineReply *reply, int n);

/* A row of a label (a text) and its probability. */
extern void put_score(ReturnSetInfo *set, Datum label, double probability);

#endif
