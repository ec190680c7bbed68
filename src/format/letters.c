/*
 * letters.c - see letters.h.
 */
#include "letters.h"

#include <string.h>

#include "../base/utf8.h"

enum
{
	MODE_NONE,
	MODE_ESCAPE,      /* a backslash */
	MODE_HEX,         /* \u and 0 … 3 digits: 4 modes */
	MODE_HIGH = 6,    /* the first of a pair; value is it */
	MODE_HIGH_ESCAPE, /* and a backslash */
	MODE_LOW,         /* and u with 0 … 3 digits: 4 modes; value has the first in its upper half */
	MODE_UTF8 = 12,   /* so many bytes are still to come: MODE_UTF8 + 0 … 2; value: the bits so far */
};

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The first byte of a letter in UTF-8. */
static LetterStep
begin_utf8(LetterPrefix *prefix, unsigned char byte, uint32_t *letter)
{
	if (byte < 0x80)
	{
		*letter = byte;
		return LETTER_WHOLE;
	}
	if (byte < 0xC2 || byte > 0xF4)
		return LETTER_DEAD;
	prefix->mode = byte < 0xE0 ? MODE_UTF8 : byte < 0xF0 ? MODE_UTF8 + 1 : MODE_UTF8 + 2;
	prefix->value = byte < 0xE0 ? byte & 31u : byte < 0xF0 ? byte & 15u : byte & 7u;
	return LETTER_PART;
}

static LetterStep
continue_utf8(LetterPrefix *prefix, unsigned char byte, uint32_t *letter)
{
	uint32_t left = prefix->mode - MODE_UTF8, value = prefix->value << 6 | (byte & 63u);

	if ((byte & 0xC0) != 0x80)
		return LETTER_DEAD;
	/* too long a form, a surrogate, beyond Unicode */
	if (left == 1 && prefix->value < 16 && (value < 0x20 || (value >= 0x360 && value < 0x380)))
		return LETTER_DEAD;
	if (left == 2 && (value < 0x10 || value > 0x10F))
		return LETTER_DEAD;
	if (left > 0)
	{
		/* three bytes of four look like two of three from here on, but for their checks */
		*prefix = (LetterPrefix){prefix->mode - 1, left == 2 ? value | 0x10000 : value};
		return LETTER_PART;
	}
	*letter = value & 0x3FFFFF;
	*prefix = (LetterPrefix){0};
	return LETTER_WHOLE;
}

static LetterStep
after_backslash(LetterPrefix *prefix, unsigned char byte, uint32_t *letter)
{
	if (byte == 'u')
	{
		*prefix = (LetterPrefix){MODE_HEX, 0};
		return LETTER_PART;
	}
	if (!byte || !strchr("\"\\/bfnrt", byte))
		return LETTER_DEAD;
	switch (byte)
	{
		case 'b':
			*letter = 8;
			break;
		case 'f':
			*letter = 12;
			break;
		case 'n':
			*letter = 10;
			break;
		case 'r':
			*letter = 13;
			break;
		case 't':
			*letter = 9;
			break;
		default:
			*letter = byte;
	}
	*prefix = (LetterPrefix){0};
	return LETTER_WHOLE;
}

/* A hexadecimal digit of \u. */
static LetterStep
hex_step(LetterPrefix *prefix, unsigned char byte, uint32_t *letter)
{
	int digit = hex_digit(byte);
	bool is_low = prefix->mode >= MODE_LOW;
	uint32_t n = prefix->mode - (is_low ? MODE_LOW : MODE_HEX), value;

	if (digit < 0)
		return LETTER_DEAD;
	value = (is_low ? (prefix->value & 0xFFFF) : prefix->value) << 4 | (uint32_t) digit;
	if (n < 3)
	{
		*prefix = (LetterPrefix){prefix->mode + 1, is_low ? (prefix->value & 0xFFFF0000) | value : value};
		return LETTER_PART;
	}
	if (is_low)
	{
		if (value < 0xDC00 || value > 0xDFFF)
			return LETTER_DEAD;
		*letter = 0x10000 + (((prefix->value >> 16) - 0xD800) << 10) + (value - 0xDC00);
	}
	else if (value >= 0xD800 && value < 0xDC00)
	{
		*prefix = (LetterPrefix){MODE_HIGH, value};
		return LETTER_PART;
	}
	else if (value == 0 || (value >= 0xDC00 && value < 0xE000))
		return LETTER_DEAD;
	else
		*letter = value;
	*prefix = (LetterPrefix){0};
	return LETTER_WHOLE;
}

LetterStep
letter_step(LetterPrefix *prefix, unsigned char byte, bool is_json, uint32_t *letter)
{
	switch (prefix->mode)
	{
		case MODE_NONE:
			if (is_json && byte == '"')
				return LETTER_QUOTE;
			if (is_json && byte == '\\')
			{
				prefix->mode = MODE_ESCAPE;
				return LETTER_PART;
			}
			if (byte < 0x20 && (is_json || byte == 0))
				return LETTER_DEAD;
			return begin_utf8(prefix, byte, letter);
		case MODE_ESCAPE:
			return after_backslash(prefix, byte, letter);
		case MODE_HIGH:
			if (byte != '\\')
				return LETTER_DEAD;
			prefix->mode = MODE_HIGH_ESCAPE;
			return LETTER_PART;
		case MODE_HIGH_ESCAPE:
			if (byte != 'u')
				return LETTER_DEAD;
			*prefix = (LetterPrefix){MODE_LOW, prefix->value << 16};
			return LETTER_PART;
		default:
			return prefix->mode >= MODE_UTF8 ? continue_utf8(prefix, byte, letter) : hex_step(prefix, byte, letter);
	}
}

/* The fewest letters to an end after one of lo … hi, that one not counted. */
static uint32_t
shortest_of(const Language *language, uint32_t state, uint32_t lo, uint32_t hi, uint32_t min, uint32_t max)
{
	uint32_t least = NO_LIMIT;

	if (max == 0 || lo > hi)
		return NO_LIMIT;
	for (uint32_t i = language_segment(language, lo); i < language->n_segments && language->segment_start[i] <= hi; i++)
	{
		uint32_t to = language->next[state * language->n_classes + language->segment_class[i]];

		if (language_lives(language, to, min ? min - 1 : 0, max == NO_LIMIT ? NO_LIMIT : max - 1) &&
			language->shortest[to] < least)
			least = language->shortest[to];
	}
	return least;
}

static uint32_t
less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t
letter_ranges(const LetterPrefix *prefix, LetterRange ranges[2])
{
	uint32_t mode = prefix->mode, value = prefix->value, bits, lo, hi, n = 0;

	if (mode <= MODE_ESCAPE)
	{
		ranges[0] = (LetterRange){1, MAX_CODE_POINT};
		return 1;
	}
	if (mode < MODE_HIGH)
	{
		bits = 4 * (4 - (mode - MODE_HEX));
		lo = value << bits;
		hi = lo | ((1u << bits) - 1);
		ranges[n++] = (LetterRange){lo, hi};
		/* first parts of pairs among them */
		if (lo < 0xDC00 && hi >= 0xD800)
			ranges[n++] = (LetterRange){0x10000 + (((lo > 0xD800 ? lo : 0xD800) - 0xD800) << 10),
										0x10000 + (((hi < 0xDBFF ? hi : 0xDBFF) - 0xD800) << 10) + 0x3FF};
		return n;
	}
	if (mode < MODE_LOW)
	{
		lo = 0x10000 + ((value - 0xD800) << 10);
		ranges[0] = (LetterRange){lo, lo + 0x3FF};
		return 1;
	}
	if (mode < MODE_UTF8)
	{
		uint32_t first = 0x10000 + (((value >> 16) - 0xD800) << 10);

		bits = 4 * (4 - (mode - MODE_LOW));
		lo = (value & 0xFFFF) << bits;
		hi = lo | ((1u << bits) - 1);
		lo = lo > 0xDC00 ? lo : 0xDC00;
		hi = hi < 0xDFFF ? hi : 0xDFFF;
		ranges[0] = (LetterRange){first + (lo - 0xDC00), first + (hi - 0xDC00)};
		return lo <= hi;
	}
	bits = 6 * (mode - MODE_UTF8 + 1);
	lo = (value & 0xFFFF) << bits;
	hi = lo | ((1u << bits) - 1);
	if (bits == 12 && !(value & 0x10000) && value < 16)
		lo = lo > 0x800 ? lo : 0x800;
	if (bits == 18)
	{
		lo = lo > 0x10000 ? lo : 0x10000;
		hi = hi < MAX_CODE_POINT ? hi : MAX_CODE_POINT;
	}
	ranges[0] = (LetterRange){lo, hi};
	return 1;
}

uint32_t
letter_shortest(const Language *language, uint32_t state, uint32_t min, uint32_t max, const LetterPrefix *prefix)
{
	LetterRange ranges[2];
	uint32_t n = letter_ranges(prefix, ranges), least = NO_LIMIT;

	for (uint32_t i = 0; i < n; i++)
		least = less(least, shortest_of(language, state, ranges[i].first, ranges[i].last, min, max));
	return least;
}

/* The first byte of the letter that leads to an end soonest, where no letter has begun: one of each class is looked at.
 */
static unsigned char
best_beginning(const Language *language, uint32_t state, uint32_t min, uint32_t max, bool is_json)
{
	uint32_t best = NO_LIMIT, spelled = NO_LIMIT, letter = 0;
	char bytes[4] = {0};

	for (uint32_t class_ = 1; class_ < language->n_classes && max > 0; class_++)
	{
		uint32_t to = language->next[state * language->n_classes + class_];

		bool lives = language_lives(language, to, min ? min - 1 : 0, max == NO_LIMIT ? NO_LIMIT : max - 1);
		uint32_t bytes_of = letter_json_bytes(language->letter_of[class_]);

		/* of equally near ones that with the shortest spelling */
		if (lives && (language->shortest[to] < best || (language->shortest[to] == best && bytes_of < spelled)))
		{
			best = language->shortest[to];
			spelled = bytes_of;
			letter = language->letter_of[class_];
		}
	}
	if (is_json && (letter < 0x20 || letter == '"' || letter == '\\'))
		return best == NO_LIMIT ? 0 : '\\';
	(void) utf8_write(letter, bytes);
	return (unsigned char) bytes[0];
}

unsigned char
letter_best_byte(const Language *language, uint32_t state, uint32_t min, uint32_t max, const LetterPrefix *prefix,
				 bool is_json)
{
	uint32_t best = NO_LIMIT;
	unsigned char chosen = 0;

	if (prefix->mode == MODE_NONE)
		return best_beginning(language, state, min, max, is_json);
	for (unsigned byte = 1; byte < 256; byte++)
	{
		LetterPrefix next = *prefix;
		uint32_t letter = 0, score;
		LetterStep step = letter_step(&next, (unsigned char) byte, is_json, &letter);

		if (step == LETTER_DEAD || step == LETTER_QUOTE)
			continue;
		score = step == LETTER_WHOLE ? shortest_of(language, state, letter, letter, min, max)
									 : letter_shortest(language, state, min, max, &next);
		if (score < best)
		{
			best = score;
			chosen = (unsigned char) byte;
		}
	}
	return chosen;
}
