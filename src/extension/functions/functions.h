/*
 * functions.h - the room's door: the table of functions that ask the model, and the summary that triggers make.
 */
#ifndef QWEN_FUNCTIONS_H
#define QWEN_FUNCTIONS_H

#include "registry.h"

#define SUMMARY_MAX_WORDS 60 /* unless told otherwise */
#define SUMMARY_WORDS_LIMIT 10000

/* A summary of a text of any length, as qwen_summarize makes it; tail: [N_TAIL_ARGUMENTS], or NULL. NULL where an error
 * is to be NULL. */
extern text *summarize(text *input, int max_words, const NullableDatum *tail);

#endif
