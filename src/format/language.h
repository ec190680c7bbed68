/*
 * language.h - the automaton of an expression: deterministic, over classes of code points, with what has to be known of
 * each state to walk through it without dead ends.
 *
 * State 0 is dead; only states from which the language can be completed have other numbers. NUL and surrogates are no
 * letters here: SQL could not hold them.
 */
#ifndef QWEN_FORMAT_LANGUAGE_H
#define QWEN_FORMAT_LANGUAGE_H

#include "expression.h"

#define LANGUAGE_MAX_STATES 16384
#define FREE_FOR_EVER 255 /* more than 129 letters are this, or not known */

/* Sets of letters of which most tokens are made. */
typedef enum LetterSet
{
	LETTERS_PLAIN,     /* valid in a JSON string as they are, and no line end for patterns */
	LETTERS_WORDS,     /* of these no blanks, and of ASCII the letters, digits and the space only */
	LETTERS_PRINTED,   /* ASCII that is seen, and the space, valid as they are */
	LETTERS_SEEN,      /* as PLAIN, without blanks */
	LETTERS_ALNUM,     /* letters and digits of ASCII */
	LETTERS_LOWER,     /* a to z */
	LETTERS_BLANKLESS, /* as WORDS, without the space */
	N_LETTER_SETS,
} LetterSet;

typedef struct Language
{
	uint32_t n_states, n_classes, start;
	uint32_t n_segments;
	uint32_t *segment_start; /* [n_segments]: first code point of each */
	uint16_t *segment_class; /* class 0 leads nowhere */
	uint16_t ascii[128];
	uint16_t *next;                      /* [n_states * n_classes] */
	uint8_t *accepts;                    /* may end here */
	uint32_t *shortest;                  /* letters to the nearest end */
	uint32_t *longest;                   /* to the farthest; NO_LIMIT */
	uint32_t *n_words;                   /* that lead to an end; NO_LIMIT: very many */
	uint8_t *free_for[N_LETTER_SETS];    /* so many letters of a set, whichever they are, are possible */
	uint8_t *within;                     /* a bit for each set of letters: all that may come is of it */
	uint32_t least_longest;              /* of all states */
	uint32_t most_longest;               /* of those that have one */
	uint32_t *letter_of;                 /* of each class: the one that is written with the fewest bytes */
	uint32_t max_shortest, letter_bytes; /* bytes that a letter takes at most, when the shortest is chosen */
	bool is_dense;                       /* from each state all lengths between shortest and longest are possible */
} Language;

/* NULL after a failure. n_states is 1 where the language is empty. */
extern Language *language_build(Expressions *e, uint32_t expression);

/* Gives each text of a language that has no more than so many, in the order of code points: its letters. */
typedef void (*LanguageText)(void *context, const uint32_t *letters, uint32_t n);
extern void language_texts(Pool *pool, const Language *language, LanguageText text, void *context);

/* The segment that a letter is in. */
static inline uint32_t
language_segment(const Language *language, uint32_t letter)
{
	uint32_t low = 0, high = language->n_segments;

	while (high - low > 1)
	{
		uint32_t middle = (low + high) / 2;

		if (language->segment_start[middle] <= letter)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static inline uint32_t
language_class(const Language *language, uint32_t letter)
{
	return letter < 128 ? language->ascii[letter] : language->segment_class[language_segment(language, letter)];
}

static inline uint32_t
language_next(const Language *language, uint32_t state, uint32_t letter)
{
	return language->next[state * language->n_classes + language_class(language, letter)];
}

/* Does some letter of lo … hi lead on to a text of between min and max more letters, this one included? */
extern bool language_has(const Language *language, uint32_t state, uint32_t lo, uint32_t hi, uint32_t min,
						 uint32_t max);

/* Can a text be completed from state with between min and max letters? */
static inline bool
language_lives(const Language *language, uint32_t state, uint32_t min, uint32_t max)
{
	return state != 0 && language->shortest[state] <= max && language->longest[state] >= min;
}

/* Is a letter beyond ASCII a blank for patterns? */
static inline bool
letter_is_wide_blank(uint32_t letter)
{
	return letter == 0xA0 || letter == 0x1680 || (letter >= 0x2000 && letter <= 0x200A) || letter == 0x2028 ||
		   letter == 0x2029 || letter == 0x202F || letter == 0x205F || letter == 0x3000 || letter == 0xFEFF;
}

static inline bool
letter_is_in(uint32_t letter, LetterSet set)
{
	bool is_alnum = (letter >= '0' && letter <= '9') || ((letter | 32) >= 'a' && (letter | 32) <= 'z');
	bool is_plain = letter >= 0x20 && letter != '"' && letter != '\\' && letter != 0x2028 && letter != 0x2029;

	switch (set)
	{
		case LETTERS_PLAIN:
			return is_plain;
		case LETTERS_PRINTED:
			return is_plain && letter < 0x7F;
		case LETTERS_SEEN:
			return is_plain && letter != ' ' && !letter_is_wide_blank(letter);
		case LETTERS_LOWER:
			return letter >= 'a' && letter <= 'z';
		case LETTERS_ALNUM:
			return is_alnum;
		default:
			if (letter < 0x80)
				return is_alnum || (set == LETTERS_WORDS && letter == ' ');
			return !letter_is_wide_blank(letter);
	}
}

/* The sets that a letter is in, as bits. */
static inline uint8_t
letter_sets(uint32_t letter)
{
	uint8_t sets = 0;

	for (int set = 0; set < N_LETTER_SETS; set++)
		sets |= (uint8_t) (letter_is_in(letter, (LetterSet) set) << set);
	return sets;
}

/* Bytes of a letter in a JSON string. */
extern uint32_t letter_json_bytes(uint32_t letter);

#endif
