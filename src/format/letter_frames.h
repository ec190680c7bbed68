/*
 * letter_frames.h - the frames whose text is letter by letter (strings, whole texts, names), one byte further: the same
 * for a machine, which keeps every place as a state, and for masks, which walk through many places once.
 */
#ifndef QWEN_FORMAT_LETTER_FRAMES_H
#define QWEN_FORMAT_LETTER_FRAMES_H

#include "machine.h"

typedef enum LettersStep
{
	LETTERS_DEAD,
	LETTERS_GO_ON,
	LETTERS_END,
	LETTERS_BOTH, /* it may end here, or go on */
} LettersStep;

/* Where such a frame is: in its language, with between min and max letters still to come, and in a letter. */
typedef struct LettersPlace
{
	uint32_t state, min, max;
	LetterPrefix prefix;
	uint32_t used,
		used_depth; /* of a name: those used that begin so, and how many of their letters are there; 0: none */
} LettersPlace;

/* The language of such a frame's words; NULL: it is of another kind. */
extern const Language *letters_language(const Machine *machine, const uint32_t *words);

/* Its place; and the frame of a place like it. */
extern LettersPlace letters_place(const uint32_t *words);
extern uint32_t letters_frame(Machine *machine, const uint32_t *words, const LettersPlace *place);

/* A byte of such a frame's text; words: the frame's. */
extern LettersStep letters_step(Machine *machine, const Language *language, const uint32_t *words, LettersPlace *place,
								unsigned char byte);

/* Has a place nothing but its state: does the next byte, where it is a letter, lead to another such place? */
static inline bool
letters_is_simple(const LettersPlace *place)
{
	return place->prefix.mode == 0 && place->min == 0 && place->max == NO_LIMIT && place->used == 0;
}

/* Is a byte a letter, wherever one may begin? */
static inline bool
letters_is_letter(unsigned char byte, bool is_text)
{
	return byte >= 0x20 && byte < 0x80 && (is_text || (byte != '"' && byte != '\\'));
}

/* The same for a letter at a simple place. */
static inline LettersStep
letters_step_simple(const Language *language, bool is_text, uint32_t *state, unsigned char byte)
{
	*state = language->next[*state * language->n_classes + language->ascii[byte]];
	return *state == 0 ? LETTERS_DEAD : is_text && language->accepts[*state] ? LETTERS_BOTH : LETTERS_GO_ON;
}

#endif
