/*
 * spans.h - places of a text that the model has marked, each with a kind.
 */
#ifndef QWEN_SPANS_H
#define QWEN_SPANS_H

#include "../call/call.h"
#include "labels.h"

/* A place: bytes start … start + length of the text in UTF-8. */
typedef struct Span
{
	int kind; /* in the array of kinds */
	size_t start, length;
} Span;

/* The same in the server's encoding: bytes, and how many characters stand before it and in it. */
typedef struct ServerSpan
{
	int kind;
	size_t start, length;
	int n_before, n_characters;
} ServerSpan;

/* The characters that enclose a mark's kind: the first of them comes in none of the texts. */
typedef struct Enclosure
{
	char open[5], close[5];
} Enclosure;

extern Enclosure choose_enclosure(ByteSpan sent, const Labels *kinds);

/* response_format of a copy of a text in which such marks are set. */
extern ByteSpan copy_format(ByteSpan text, const Labels *kinds, const Enclosure *enclosure);

/* Read the marks of an answer that copies text [text.length] and stands at offset of the whole: append them to spans
 * (Span *). Raises where the answer is no copy. */
extern List *read_marks(List *spans, ByteSpan answer, ByteSpan text, size_t offset, const Labels *kinds,
						const Enclosure *enclosure);

/* Where they are in the text as it is stored: [n], in order. */
extern ServerSpan *place_spans(text *input, const List *spans);

#endif
