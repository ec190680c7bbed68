/*
 * letter_frames.c - see letter_frames.h. Names of members, which must not come twice, are in keys.c.
 */
#include "letter_frames.h"

#include <string.h>

#include "frames.h"
#include "keys.h"

const Language *
letters_language(const Machine *machine, const uint32_t *words)
{
	switch ((FrameKind) words[0])
	{
		case FRAME_STRING:
		case FRAME_RAW:
		case FRAME_TEXT:
			return machine->formulas->language_list[words[1]];
		case FRAME_KEY:
			return machine->formulas->language_list[interned(&machine->rests, words[1], NULL)[0]];
		default:
			return NULL;
	}
}

LettersPlace
letters_place(const uint32_t *words)
{
	bool is_string = words[0] == FRAME_STRING || words[0] == FRAME_RAW;

	LettersPlace place = {words[2],
						  is_string ? words[3] : 0,
						  is_string ? words[4] : NO_LIMIT,
						  is_string ? (LetterPrefix){words[5], words[6]} : (LetterPrefix){words[3], words[4]},
						  0,
						  0};

	if (words[0] == FRAME_KEY && (words[6] & 0xFFFF) < words[6] >> 16)
	{
		place.used = words[6];
		place.used_depth = words[7];
	}
	return place;
}

uint32_t
letters_frame(Machine *machine, const uint32_t *words, const LettersPlace *place)
{
	bool is_string = words[0] == FRAME_STRING || words[0] == FRAME_RAW;
	uint32_t made[9], n = is_string ? 7 : words[0] == FRAME_TEXT ? 5 : 9, at = is_string ? 5 : 3;

	memcpy(made, words, n * sizeof *made);
	made[2] = place->state;
	if (is_string)
	{
		made[3] = place->min;
		made[4] = place->max;
	}
	made[at] = place->prefix.mode;
	made[at + 1] = place->prefix.value;
	/* letters of it have come that nobody keeps */
	if (words[0] == FRAME_KEY)
	{
		made[6] = place->used;
		made[7] = place->used_depth;
		made[8] = NO_KEY;
	}
	return frame_of_words(machine, made, n);
}

/* Take a letter off a count. */
static uint32_t
count_down(uint32_t count)
{
	return count == 0 || count == NO_LIMIT ? count : count - 1;
}

/* A whole letter of a string. */
static LettersStep
take_letter(const Language *language, LettersPlace *place, uint32_t letter)
{
	if (place->max == 0)
		return LETTERS_DEAD;
	place->state = language_next(language, place->state, letter);
	place->min = count_down(place->min);
	place->max = count_down(place->max);
	return language_lives(language, place->state, place->min, place->max) ? LETTERS_GO_ON : LETTERS_DEAD;
}

static LettersStep
step_string(const Language *language, LettersPlace *place, unsigned char byte)
{
	uint32_t letter = 0;

	/* most bytes are a letter each */
	if (place->prefix.mode == 0 && byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\')
		return take_letter(language, place, byte);
	switch (letter_step(&place->prefix, byte, true, &letter))
	{
		case LETTER_QUOTE:
			return language->accepts[place->state] && place->min == 0 ? LETTERS_END : LETTERS_DEAD;
		case LETTER_PART:
			return letter_shortest(language, place->state, place->min, place->max, &place->prefix) == NO_LIMIT
					   ? LETTERS_DEAD
					   : LETTERS_GO_ON;
		case LETTER_WHOLE:
			return take_letter(language, place, letter);
		default:
			return LETTERS_DEAD;
	}
}

static LettersStep
step_text(const Language *language, LettersPlace *place, unsigned char byte)
{
	uint32_t letter = 0;
	LetterStep step = letter_step(&place->prefix, byte, false, &letter);

	if (step == LETTER_PART &&
		letter_shortest(language, place->state, place->min, place->max, &place->prefix) != NO_LIMIT)
		return LETTERS_GO_ON;
	if (step != LETTER_WHOLE || take_letter(language, place, letter) == LETTERS_DEAD)
		return LETTERS_DEAD;
	return language->accepts[place->state] && place->min == 0 ? LETTERS_BOTH : LETTERS_GO_ON;
}

/* A byte of a name beside which others are used. */
static LettersStep
step_key(Machine *machine, const uint32_t *words, LettersPlace *place, unsigned char byte)
{
	uint32_t next[9], after[3];
	KeyStep step;

	memcpy(next, words, sizeof next);
	next[2] = place->state;
	next[3] = place->prefix.mode;
	next[4] = place->prefix.value;
	next[6] = place->used;
	next[7] = place->used_depth;
	next[8] = NO_KEY;
	step = key_step(machine, next, byte, after);
	if (step == KEY_GOES_ON)
		*place = letters_place(next);
	return step == KEY_GOES_ON ? LETTERS_GO_ON : step == KEY_ENDS ? LETTERS_END : LETTERS_DEAD;
}

LettersStep
letters_step(Machine *machine, const Language *language, const uint32_t *words, LettersPlace *place, unsigned char byte)
{
	if (words[0] == FRAME_TEXT || words[0] == FRAME_RAW)
		return step_text(language, place, byte);
	return place->used ? step_key(machine, words, place, byte) : step_string(language, place, byte);
}
