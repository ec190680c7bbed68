/*
 * copy.h - the form "copy": the answer is a given text byte for byte, in which places are marked, each with one of some
 * kinds: <person>Anna</person> is ill.
 *
 * A state is a place in the text and a node: outside of marks, in the mark that opens or closes, or between them.
 * Marks stand between whole letters with what belongs to them (grapheme clusters), part no word of letters that have
 * capitals and no number, are never around nothing, and neither begin nor end with a blank. The character that opens a
 * mark does not come in the text, so an answer can be read in one way only. Nothing is built on the way: a state is a
 * number that says all.
 */
#ifndef QWEN_FORMAT_COPY_H
#define QWEN_FORMAT_COPY_H

#include "../base/json_tree.h"
#include "format.h"
#include "pool.h"
#include "vocabulary.h"

#define COPY_MAX_BYTES (64 * 1024) /* of the text */
#define COPY_MAX_KINDS 64
#define COPY_MAX_KIND_BYTES 128

typedef struct Copy Copy;

/* Compile {"type": "copy", "text": …, "kinds": […], "open": "<", "close": ">"}; the strings are kept as they are. NULL
 * after a failure, which the pool tells. */
extern Copy *copy_open(Pool *pool, const JsonNode *json);

extern FormatState copy_start(const Copy *copy);
extern FormatState copy_step(const Copy *copy, FormatState state, unsigned char byte);
extern bool copy_is_complete(const Copy *copy, FormatState state);

/* A bound of the bytes of a state's completion: the rest of the text without further marks; and it, written. */
extern uint32_t copy_completion_bound(const Copy *copy, FormatState state);
extern void copy_complete(const Copy *copy, FormatState state, ByteWriter *out);

/* What comes next, probably: the text goes on; in whole characters. */
extern void copy_likely(const Copy *copy, FormatState state, size_t limit, ByteWriter *out);

/* The tokens that may come, into got, which has room for all; how many. */
extern uint32_t copy_tokens(const Copy *copy, const Vocabulary *vocabulary, FormatState state, uint32_t *got);

#endif
