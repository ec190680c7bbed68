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
} LettersPlace;

/* The language of such a frame's words; NULL: it is of another kind. */
extern const Language *letters_language(const Machine *machine, const uint32_t *words);

/* Its place; and the frame of a place like it. */
extern LettersPlace letters_place(const uint32_t *words);
extern uint32_t letters_frame(Machine *machine, const uint32_t *words, const LettersPlace *place);

/* Are names that are used already of no account here? */
extern bool letters_are_alone(const uint32_t *words);

/* A byte of a string (or of a name that has no other beside it), or of a text. */
extern LettersStep letters_step_string(const Language *language, LettersPlace *place, unsigned char byte);
extern LettersStep letters_step_text(const Language *language, LettersPlace *place, unsigned char byte);

#endif
