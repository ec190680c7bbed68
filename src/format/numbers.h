/*
 * numbers.h - exact decimal numbers, sets of them, and which digits may come next.
 *
 * A number is a count of units of 10^-18, in 128 bits: 19 digits before the point and 18 behind it. No doubles: bounds
 * such as 9007199254740993 and steps such as 0.01 are what they say.
 *
 * The form in which numbers are written: no exponent, 16 digits before the point (more where a bound has more) and 16
 * behind it, no "-0", nothing behind the point of an integer.
 */
#ifndef QWEN_FORMAT_NUMBERS_H
#define QWEN_FORMAT_NUMBERS_H

#include "pool.h"

typedef __int128 Decimal;
typedef unsigned __int128 UnsignedDecimal;

#define DECIMAL_DIGITS 18 /* behind the point */
#define DECIMAL_INTEGER_DIGITS 19
#define DECIMAL_ONE ((Decimal) 1000000000000000000)
#define DECIMAL_LIMIT (DECIMAL_ONE * 10 * DECIMAL_ONE) /* no number reaches it */
#define NUMBER_MAX_NOTS 8
#define NUMBER_TEXT_BYTES 48

/* A number as RFC 8259 writes it, rounded down. *is_exact: nothing was lost, and it is below the limit. */
extern Decimal decimal_read(const char *text, size_t length, bool *is_exact);

/* Digits of a number, NUL-terminated, without zeros at the end. */
extern void decimal_write(Decimal value, char text[NUMBER_TEXT_BYTES]);

typedef struct NumberSet
{
	Decimal lo, hi; /* both belong to it */
	Decimal step;   /* 0: none */
	bool is_whole;  /* of integers, which have no point */
	bool is_plain;  /* all numbers of the form */
	uint8_t integer_digits, fraction_digits, n_nots;
	Decimal nots[NUMBER_MAX_NOTS]; /* no multiples of these … */
	uint32_t n_except;
	const Decimal *except; /* … and none of these */
} NumberSet;

/* All numbers; then what narrows it is set; then number_set_close. */
extern NumberSet number_set_all(void);
/* Only multiples of step too. */
extern void number_set_step(NumberSet *set, Decimal step);
extern void number_set_close(NumberSet *set);
extern bool number_set_has(const NumberSet *set, Decimal value);
/* Is there a number of the form between lo and hi? */
extern bool number_set_meets(const NumberSet *set, Decimal lo, Decimal hi);

/* What has been written of a number. All zero at its beginning. */
typedef struct NumberPrefix
{
	uint8_t phase, n_integer, n_fraction;
	bool negative;
	UnsignedDecimal value; /* its digits */
} NumberPrefix;

/* Take one more character; false, with nothing changed, when no number of the set begins so. */
extern bool number_step(const NumberSet *set, NumberPrefix *prefix, char c);
/* Is what has been written a number of the set? */
extern bool number_is_complete(const NumberSet *set, const NumberPrefix *prefix);
/* The character to write for a short number; 0: it is complete. */
extern char number_shortest_next(const NumberSet *set, const NumberPrefix *prefix);

#endif
