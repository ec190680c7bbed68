/*
 * prepare.h - what a client asks: answered at once, or made a request that waits for GO.
 */
#ifndef QWEN_PREPARE_H
#define QWEN_PREPARE_H

#include "request.h"

/*
 * Answer an immediate request into out, or make an EngineRequest of another one and write ACCEPTED. *request stays NULL
 * when it was answered. An error is for the caller to reply with.
 */
extern Status prepare_request(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out,
							  EngineRequest **request);

/* The same with the model's own tokenizer, to the end. adapter: that the message names, or NULL. */
extern Status prepare_in_loop(Model *model, const KvPool *pool, struct AdapterSlot *adapter, const Request *message,
							  uint32_t request_id, ByteWriter *out, EngineRequest **request);

#endif
