/*
 * immediate.h - requests that the model itself is not needed for: what is asked is read, and answered with RESULT.
 *
 * They never see the scheduler. CHUNK belongs here too, except that its client is told first how long the text is and
 * has its answer with GO.
 */
#ifndef QWEN_IMMEDIATE_H
#define QWEN_IMMEDIATE_H

#include "../protocol/protocol.h"
#include "workplace.h"

/* Answer a request whose kind is immediate (request_kind_is_immediate). An error is for the caller to reply with. */
extern Status immediate_answer(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out);

/* Cut a CHUNK's text: first byte and length of each piece into pieces, as RESULT_OFFSETS has them, and how many tokens
 * the text has. */
extern Status immediate_cut(const Workplace *place, const Request *message, ByteWriter *pieces, uint32_t *n_tokens);

#endif
