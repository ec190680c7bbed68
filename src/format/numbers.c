/*
 * numbers.c - see numbers.h.
 */
#include "numbers.h"

#include <stdio.h>
#include <string.h>

#define MAX_TRIES 4096 /* numbers of a set that are looked at, one after the other, for one that is not excepted */

enum
{
	PHASE_START,
	PHASE_MINUS,
	PHASE_INTEGER,
	PHASE_POINT,
	PHASE_FRACTION,
};

/* The exponent of a number's text, kept within what matters. */
static long
read_exponent(const char *text, size_t length)
{
	size_t at = 0;
	long exponent = 0;
	bool negative = false;

	while (at < length && text[at] != 'e' && text[at] != 'E')
		at++;
	if (at++ >= length)
		return 0;
	if (at < length && (text[at] == '-' || text[at] == '+'))
		negative = text[at++] == '-';
	for (; at < length; at++)
		exponent = exponent < 1000000 ? exponent * 10 + (text[at] - '0') : exponent;
	return negative ? -exponent : exponent;
}

Decimal
decimal_read(const char *text, size_t length, bool *is_exact)
{
	bool negative = length > 0 && text[0] == '-', behind_point = false, lost = false, over = false;
	long scale = DECIMAL_DIGITS + read_exponent(text, length);
	Decimal value = 0;

	/* scale: how many more digits of the value are to come */
	for (size_t i = 0; i < length && text[i] != 'e' && text[i] != 'E'; i++)
		scale += text[i] >= '0' && text[i] <= '9' && !behind_point ? 1 : 0, behind_point |= text[i] == '.';
	for (size_t i = 0; i < length && text[i] != 'e' && text[i] != 'E'; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			continue;
		if (scale > 0 && !over)
		{
			value = value * 10 + (text[i] - '0');
			over = value >= DECIMAL_LIMIT;
		}
		else if (scale <= 0)
			lost |= text[i] != '0';
		scale--;
	}
	for (; scale > 0 && value > 0 && !over; scale--)
	{
		value *= 10;
		over = value >= DECIMAL_LIMIT;
	}
	if (over)
		value = DECIMAL_LIMIT;
	*is_exact = !over && !lost;
	if (!negative)
		return value;
	return lost ? -value - 1 : -value;
}

void
decimal_write(Decimal value, char text[NUMBER_TEXT_BYTES])
{
	UnsignedDecimal rest = value < 0 ? (UnsignedDecimal) -value : (UnsignedDecimal) value;
	char digits[NUMBER_TEXT_BYTES];
	int n = 0, at = 0, first = 0;

	for (; n < DECIMAL_DIGITS + 1 || rest > 0; n++, rest /= 10)
		digits[n] = (char) ('0' + (int) (rest % 10));
	while (first < DECIMAL_DIGITS && digits[first] == '0')
		first++;
	if (value < 0)
		text[at++] = '-';
	while (n-- > first)
	{
		text[at++] = digits[n];
		if (n == DECIMAL_DIGITS && first < DECIMAL_DIGITS)
			text[at++] = '.';
	}
	text[at] = 0;
}

NumberSet
number_set_all(void)
{
	return (NumberSet){.lo = -DECIMAL_LIMIT + 1, .hi = DECIMAL_LIMIT - 1};
}

static Decimal
greatest_common(Decimal a, Decimal b)
{
	while (b)
	{
		Decimal rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The least common multiple; the limit where it is beyond it, of which only 0 is a multiple in reach. */
static Decimal
least_common(Decimal a, Decimal b)
{
	a /= greatest_common(a, b);
	return a > DECIMAL_LIMIT / b ? DECIMAL_LIMIT : a * b;
}

void
number_set_step(NumberSet *set, Decimal step)
{
	set->step = set->step ? least_common(set->step, step) : step;
}

/* Digits before the point that a bound needs. */
static int
digits_of(Decimal bound)
{
	int n = 1;

	bound = bound < 0 ? -bound : bound;
	for (bound /= DECIMAL_ONE; bound >= 10; bound /= 10)
		n++;
	return n;
}

static Decimal
power_of_ten(int n)
{
	Decimal power = 1;

	while (n-- > 0)
		power *= 10;
	return power;
}

/* The farthest from zero that can be written. */
static Decimal
farthest(const NumberSet *set)
{
	return power_of_ten(set->integer_digits) * DECIMAL_ONE - 1;
}

/* Is there a number that can be written? */
static bool
has_written(const NumberSet *set)
{
	return number_set_meets(set, -farthest(set), farthest(set));
}

void
number_set_close(NumberSet *set)
{
	NumberSet all = number_set_all();
	int digits = 16;

	if (set->lo != all.lo && digits_of(set->lo) > digits)
		digits = digits_of(set->lo);
	if (set->hi != all.hi && digits_of(set->hi) > digits)
		digits = digits_of(set->hi);
	set->integer_digits = (uint8_t) (digits < DECIMAL_INTEGER_DIGITS ? digits : DECIMAL_INTEGER_DIGITS);
	set->fraction_digits = set->step % 100 || (set->lo == set->hi && set->lo % 100) ? DECIMAL_DIGITS : 16;
	set->is_plain = set->lo == all.lo && set->hi == all.hi && !set->step && !set->n_nots && !set->n_except;
	/* the least multiple may have a digit more than its bound, and what lies between two bounds more behind the point
	 */
	if (!has_written(set))
	{
		int integer_digits = set->integer_digits, fraction_digits = set->fraction_digits;

		set->integer_digits = DECIMAL_INTEGER_DIGITS;
		if (has_written(set))
			return;
		set->fraction_digits = DECIMAL_DIGITS;
		set->integer_digits = (uint8_t) integer_digits;
		if (has_written(set))
			return;
		set->integer_digits = DECIMAL_INTEGER_DIGITS;
		if (!has_written(set))
			set->fraction_digits = (uint8_t) fraction_digits;
	}
}

static bool
is_excepted(const NumberSet *set, Decimal value)
{
	for (uint32_t i = 0; i < set->n_nots; i++)
		if (value % set->nots[i] == 0)
			return true;
	for (uint32_t i = 0; i < set->n_except; i++)
		if (set->except[i] == value)
			return true;
	return false;
}

bool
number_set_has(const NumberSet *set, Decimal value)
{
	return value >= set->lo && value <= set->hi && (!set->step || value % set->step == 0) &&
		   (!set->is_whole || value % DECIMAL_ONE == 0) && !is_excepted(set, value);
}

/* The distance of the numbers that can be written. */
static Decimal
grid_of(const NumberSet *set)
{
	Decimal grid = set->is_whole ? DECIMAL_ONE : set->fraction_digits == DECIMAL_DIGITS ? 1 : 100;

	return set->step ? least_common(grid, set->step) : grid;
}

bool
number_set_meets(const NumberSet *set, Decimal lo, Decimal hi)
{
	Decimal grid = grid_of(set), at;

	lo = lo > set->lo ? lo : set->lo;
	hi = hi < set->hi ? hi : set->hi;
	if (lo > hi)
		return false;
	at = lo / grid * grid;
	if (at < lo)
		at += grid;
	for (int i = 0; i < MAX_TRIES && at <= hi; i++, at += grid)
		if (!is_excepted(set, at))
			return true;
	return false;
}

/* Is there a number of the set whose absolute value lies between lo and hi, and that is not "-0"? */
static bool
meets_signed(const NumberSet *set, bool negative, Decimal lo, Decimal hi)
{
	if (!negative)
		return number_set_meets(set, lo, hi);
	return number_set_meets(set, -hi, lo > 0 ? -lo : -1);
}

/* Can a prefix become a number of the set? */
static bool
prefix_lives(const NumberSet *set, const NumberPrefix *prefix)
{
	Decimal value = (Decimal) prefix->value, size;

	switch (prefix->phase)
	{
		case PHASE_MINUS:
			return number_set_meets(set, -farthest(set), -1);
		case PHASE_INTEGER:
			if (set->is_plain)
				return !set->is_whole || !prefix->negative || value > 0;
			for (int more = 0; more + prefix->n_integer <= set->integer_digits && (more == 0 || value > 0); more++)
			{
				size = power_of_ten(more) * DECIMAL_ONE;
				if (meets_signed(set, prefix->negative, value * size, (value + 1) * size - 1))
					return true;
			}
			return false;
		case PHASE_POINT:
		case PHASE_FRACTION:
			size = power_of_ten(DECIMAL_DIGITS - prefix->n_fraction);
			if (set->is_plain)
				return !prefix->negative || value > 0 || prefix->n_fraction < set->fraction_digits;
			return meets_signed(set, prefix->negative, value * size, (value + 1) * size - 1);
		default:
			return true;
	}
}

bool
number_step(const NumberSet *set, NumberPrefix *prefix, char c)
{
	NumberPrefix next = *prefix;

	if (c == '-' && prefix->phase == PHASE_START)
	{
		next.negative = true;
		next.phase = PHASE_MINUS;
	}
	else if (c == '.' && prefix->phase == PHASE_INTEGER && !set->is_whole)
		next.phase = PHASE_POINT;
	else if (c >= '0' && c <= '9')
	{
		if (prefix->phase >= PHASE_POINT)
		{
			if (prefix->n_fraction == set->fraction_digits)
				return false;
			next.n_fraction++;
			next.phase = PHASE_FRACTION;
		}
		else
		{
			if (prefix->n_integer == set->integer_digits || (prefix->phase == PHASE_INTEGER && prefix->value == 0))
				return false;
			next.n_integer++;
			next.phase = PHASE_INTEGER;
		}
		next.value = next.value * 10 + (UnsignedDecimal) (c - '0');
		/* of a set of all numbers it only matters whether it is 0 */
		if (set->is_plain && next.value > 1)
			next.value = 1;
	}
	else
		return false;
	if (!prefix_lives(set, &next))
		return false;
	*prefix = next;
	return true;
}

bool
number_is_complete(const NumberSet *set, const NumberPrefix *prefix)
{
	Decimal value = (Decimal) prefix->value;

	if (prefix->phase != PHASE_INTEGER && prefix->phase != PHASE_FRACTION)
		return false;
	if (prefix->negative && value == 0)
		return false;
	if (set->is_plain)
		return true;
	value *= power_of_ten(DECIMAL_DIGITS - prefix->n_fraction);
	return number_set_has(set, prefix->negative ? -value : value);
}

char
number_shortest_next(const NumberSet *set, const NumberPrefix *prefix)
{
	static const char order[] = "0123456789.-";
	char first = 0;

	if (number_is_complete(set, prefix))
		return 0;
	for (const char *c = order; *c; c++)
	{
		NumberPrefix next = *prefix;

		if (!number_step(set, &next, *c))
			continue;
		if (number_is_complete(set, &next))
			return *c;
		if (!first)
			first = *c;
	}
	return first;
}
