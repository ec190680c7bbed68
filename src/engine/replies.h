/*
 * replies.h - what the engine says when it cannot answer: the words that several files have for the same, and ERROR.
 */
#ifndef QWEN_REPLIES_H
#define QWEN_REPLIES_H

#include "../model/model.h"
#include "../protocol/protocol.h"

extern Status no_memory(void);
extern Status no_memory_for_answer(void);

/* The numbers that a model gave at a position are not finite: says so, and what to do. */
extern Status not_finite(const Model *model, uint32_t position);

/* Reply with ERROR from a Status. */
extern void reply_error(ByteWriter *out, uint32_t request_id, const Status *status, const char *detail,
						const char *hint);

/* Append text; NUL, which SQL's text cannot hold, becomes the replacement character U+FFFD. */
extern void write_without_nul(ByteWriter *out, const char *text, size_t length);

/* What was written, "" for nothing. */
extern ByteSpan span_of(const ByteWriter *writer);

#endif
