/*
 * labels.h - arrays of labels, or of kinds, that a caller gives.
 */
#ifndef QWEN_LABELS_H
#define QWEN_LABELS_H

#include "../core/core.h"

#include "../../base/bytes.h"
#include "utils/array.h"

typedef struct Labels
{
	int n;
	Datum *labels; /* text */
} Labels;

/* Take an array apart: at least one, none null, empty or twice; name: of the argument. */
extern Labels read_labels(ArrayType *array, const char *name);

/* One after the other, for a prompt. */
extern char *list_labels(const Labels *labels);

/* For the engine: a JSON array. */
extern ByteSpan json_labels(const Labels *labels);

#endif
