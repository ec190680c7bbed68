/*
 * functions.h - the room's door: the table of functions that ask the model, the summary that triggers make, and
 * types as what an answer looks like (type_parts.h).
 */
#ifndef QWEN_FUNCTIONS_H
#define QWEN_FUNCTIONS_H

#include "registry.h"
#include "type_parts.h"

#include "access/htup.h"

#define SUMMARY_MAX_WORDS 60 /* unless told otherwise */
#define SUMMARY_WORDS_LIMIT 10000

/* A summary of a text of any length, as qwen_summarize makes it; tail: [N_TAIL_ARGUMENTS], or NULL. NULL where an error
 * is to be NULL. */
extern text *summarize(text *input, int max_words, const NullableDatum *tail);

/* Columns of a row of a type, as qwen_extract of the type fills them in; tail as above. NULL: there is none, as of a
 * blank text, or where an error is to be NULL. */
extern HeapTupleHeader extract_row(text *input, Oid type, List *columns, const NullableDatum *tail);

#endif
