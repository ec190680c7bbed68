/*
 * letters.h - the letters of a text, byte by byte: UTF-8, and the escapes of JSON strings.
 */
#ifndef QWEN_FORMAT_LETTERS_H
#define QWEN_FORMAT_LETTERS_H

#include "language.h"

/* What has been read of a letter. All zero: nothing. */
typedef struct LetterPrefix
{
	uint32_t mode, value;
} LetterPrefix;

typedef enum LetterStep
{
	LETTER_DEAD,
	LETTER_PART,  /* more bytes are to come */
	LETTER_WHOLE, /* *letter */
	LETTER_QUOTE, /* the end of a JSON string */
} LetterStep;

/* One byte more, of a JSON string or of plain text. */
extern LetterStep letter_step(LetterPrefix *prefix, unsigned char byte, bool is_json, uint32_t *letter);

/* Letters between two, both counted. */
typedef struct LetterRange
{
	uint32_t first, last;
} LetterRange;

/* The letters that begin so: in how many ranges. */
extern uint32_t letter_ranges(const LetterPrefix *prefix, LetterRange ranges[2]);

/* The fewest letters to an end after a letter that begins so; NO_LIMIT: none can. The text may have between min and max
 * letters more. */
extern uint32_t letter_shortest(const Language *language, uint32_t state, uint32_t min, uint32_t max,
								const LetterPrefix *prefix);

/* The next byte on a short way to the end, which is not here. 0 where there is none. */
extern unsigned char letter_best_byte(const Language *language, uint32_t state, uint32_t min, uint32_t max,
									  const LetterPrefix *prefix, bool is_json);

#endif
