/*
 * scalars.c - see scalars.h. A formula is made a list of cubes, each a conjunction of atoms.
 */
#include "scalars.h"

#include <string.h>

#include "../base/utf8.h"

#define MAX_CUBES 4096
#define MAX_EXCEPTED_WORDS 512

/* Cubes: lists of atoms, one after the other, each before its length. */
typedef struct Cubes
{
	WordList *cubes;
	uint32_t n, capacity;
} Cubes;

static void
add_cube(Formulas *formulas, Cubes *cubes, const WordList *a, const WordList *b)
{
	WordList joined = {0};

	list_add_all(formulas->pool, &joined, a->at, a->n);
	if (b)
		list_add_all(formulas->pool, &joined, b->at, b->n);
	list_sort_unique(&joined);
	if (!pool_work(formulas->pool, 1 + joined.n / 4) ||
		!pool_grow(formulas->pool, &cubes->cubes, cubes->n, &cubes->capacity, sizeof *cubes->cubes))
		return;
	if (cubes->n >= MAX_CUBES)
		pool_fail(formulas->pool, STATUS_TOO_LONG, "a number or string has more than %d alternatives", MAX_CUBES);
	cubes->cubes[cubes->n++] = joined;
}

/* The alternatives of a formula. */
static Cubes
cubes_of(Formulas *formulas, uint32_t formula)
{
	FormulaKind kind = formula_kind(formulas, formula);
	Cubes cubes = {0};
	WordList none = {0};
	uint32_t n;
	const uint32_t *parts = formula_words(formulas, formula, &n);

	if (formula == F_FALSE || pool_failed(formulas->pool))
		return cubes;
	if (kind != FORMULA_OR)
		add_cube(formulas, &cubes, &none, NULL);
	if (formula == F_TRUE)
		return cubes;
	if (kind != FORMULA_AND && kind != FORMULA_OR)
	{
		list_add(formulas->pool, &cubes.cubes[0], formula);
		return cubes;
	}
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
	{
		Cubes part = cubes_of(formulas, parts[i]), product = {0};

		if (kind == FORMULA_OR)
		{
			for (uint32_t k = 0; k < part.n; k++)
				add_cube(formulas, &cubes, &part.cubes[k], NULL);
			continue;
		}
		for (uint32_t a = 0; a < cubes.n; a++)
			for (uint32_t b = 0; b < part.n; b++)
				add_cube(formulas, &product, &cubes.cubes[a], &part.cubes[b]);
		cubes = product;
	}
	return cubes;
}

static void
add_set(Formulas *formulas, ScalarSets *sets, uint32_t *capacity, ScalarSet set)
{
	if (pool_grow(formulas->pool, &sets->sets, sets->n, capacity, sizeof *sets->sets))
		sets->sets[sets->n++] = set;
}

static const ScalarSets no_sets;

/* ---- numbers ---- */

/* One atom narrows a set; values is the atom that lists values, if there is one. */
static void
narrow(Formulas *formulas, NumberSet *set, uint32_t atom, WordList *except)
{
	uint32_t n;
	const uint32_t *words = formula_words(formulas, atom, &n);
	Decimal value = n >= 4 ? decimal_of_words(words) : 0;

	switch (formula_kind(formulas, atom))
	{
		case ATOM_LOWER:
			set->lo = value > set->lo ? value : set->lo;
			break;
		case ATOM_UPPER:
			set->hi = value < set->hi ? value : set->hi;
			break;
		case ATOM_STEP:
			number_set_step(set, value);
			break;
		case ATOM_WHOLE:
			set->is_whole = true;
			number_set_step(set, DECIMAL_ONE);
			break;
		case ATOM_NO_STEP:
			if (set->n_nots < NUMBER_MAX_NOTS)
				set->nots[set->n_nots++] = value;
			else
				pool_fail(formulas->pool, STATUS_UNSUPPORTED, "a number that is no multiple of more than %d others",
						  NUMBER_MAX_NOTS);
			break;
		case ATOM_NO_VALUES:
			list_add_all(formulas->pool, except, words, n);
			break;
		default:
			break;
	}
}

static void
add_number(Formulas *formulas, ScalarSets *sets, uint32_t *capacity, Decimal value)
{
	char text[NUMBER_TEXT_BYTES];
	char *copy;

	decimal_write(value, text);
	copy = arena_copy(formulas->pool->arena, text, strlen(text));
	if (copy)
		add_set(formulas, sets, capacity, (ScalarSet){.word = {copy, strlen(text)}});
}

/* Is a value in all lists of values of a cube? */
static bool
all_have(const Formulas *formulas, const WordList *cube, Decimal value)
{
	for (uint32_t i = 0; i < cube->n; i++)
	{
		uint32_t n;
		const uint32_t *words = formula_words(formulas, cube->at[i], &n);
		bool has = formula_kind(formulas, cube->at[i]) != ATOM_VALUES;

		for (uint32_t k = 0; k < n && !has; k += 4)
			has = decimal_of_words(words + k) == value;
		if (!has)
			return false;
	}
	return true;
}

/* The numbers of one cube. */
static void
add_number_cube(Formulas *formulas, ScalarSets *sets, uint32_t *capacity, const WordList *cube)
{
	NumberSet *set = pool_alloc(formulas->pool, 1, sizeof *set);
	WordList except = {0};
	uint32_t values = NO_LIMIT, n;
	Decimal *list;

	if (!set)
		return;
	*set = number_set_all();
	for (uint32_t i = 0; i < cube->n; i++)
	{
		narrow(formulas, set, cube->at[i], &except);
		if (formula_kind(formulas, cube->at[i]) == ATOM_VALUES)
			values = cube->at[i];
	}
	/* an integer is a multiple of 1, and of that alone: no step to mind */
	if (set->is_whole && set->step == DECIMAL_ONE)
		set->step = 0;
	list = pool_alloc(formulas->pool, except.n / 4, sizeof *list);
	for (uint32_t i = 0; list && i < except.n / 4; i++)
		list[i] = decimal_of_words(except.at + 4 * i);
	set->except = list;
	set->n_except = except.n / 4;
	number_set_close(set);
	if (values != NO_LIMIT)
	{
		const uint32_t *words = formula_words(formulas, values, &n);

		for (uint32_t i = 0; i < n; i += 4)
		{
			Decimal value = decimal_of_words(words + i);

			if (number_set_has(set, value) && all_have(formulas, cube, value))
				add_number(formulas, sets, capacity, value);
		}
		return;
	}
	if (!pool_failed(formulas->pool) && number_set_meets(set, set->lo, set->hi))
		add_set(formulas, sets, capacity, (ScalarSet){.numbers = set});
}

const ScalarSets *
scalar_numbers(Formulas *formulas, uint32_t formula)
{
	Cubes cubes = cubes_of(formulas, formula);
	ScalarSets *sets = pool_alloc(formulas->pool, 1, sizeof *sets);
	uint32_t capacity = 0;

	for (uint32_t i = 0; sets && i < cubes.n && !pool_failed(formulas->pool); i++)
		add_number_cube(formulas, sets, &capacity, &cubes.cubes[i]);
	return sets ? sets : &no_sets;
}

/* ---- strings ---- */

ByteSpan
scalar_spell(Pool *pool, ByteSpan text)
{
	static const char hex[] = "0123456789abcdef", letters[] = "\"\\bfnrt";
	static const char escaped[7] = {'"', '\\', '\b', '\f', '\n', '\r', '\t'};
	char *out = pool_alloc(pool, text.length * 6 + 3, 1);
	size_t n = 0;

	if (!out || (text.length && memchr(text.data, 0, text.length)))
		return (ByteSpan){NULL, 0};
	out[n++] = '"';
	for (size_t i = 0; i < text.length; i++)
	{
		unsigned char c = (unsigned char) text.data[i];
		const char *known = memchr(escaped, c, sizeof escaped);

		if (known)
		{
			out[n++] = '\\';
			out[n++] = letters[known - escaped];
		}
		else if (c < 0x20)
		{
			out[n++] = '\\';
			out[n++] = 'u';
			out[n++] = '0';
			out[n++] = '0';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
		else
			out[n++] = (char) c;
	}
	out[n++] = '"';
	return (ByteSpan){out, n};
}

static uint32_t
count_letters(ByteSpan text)
{
	uint32_t n = 0;

	for (size_t i = 0; i < text.length; i++)
		n += (text.data[i] & 0xC0) != 0x80;
	return n;
}

/* The least and most letters of a length, below or above; false: none. */
static bool
length_of_atom(const Formulas *formulas, const uint32_t *words, uint32_t *min, uint32_t *max)
{
	bool is_open = words[2] == LENGTH_BELOW && formulas->is_above;

	*min = is_open ? 0 : words[0];
	*max = is_open ? NO_LIMIT : words[1];
	return words[2] != LENGTH_ABOVE || formulas->is_above;
}

static bool
atom_satisfied(Formulas *formulas, uint32_t atom, ByteSpan text)
{
	uint32_t n, length, min, max;
	const uint32_t *words = formula_words(formulas, atom, &n);
	FormulaKind kind = formula_kind(formulas, atom);

	if (kind == ATOM_LENGTH)
	{
		length = count_letters(text);
		return length_of_atom(formulas, words, &min, &max) && length >= min && length <= max;
	}
	if (kind == ATOM_PATTERN)
		return expression_matches(formulas, words[formulas->is_above], text);
	for (uint32_t i = 0; i < n; i++)
	{
		ByteSpan word = schema_span(formulas->schema, words[i]);

		if (word.length == text.length && memcmp(word.data, text.data, text.length) == 0)
			return kind == ATOM_WORDS;
	}
	return kind == ATOM_NO_WORDS;
}

bool
scalar_text_satisfies(Formulas *formulas, uint32_t formula, ByteSpan text)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *parts = formula_words(formulas, formula, &n);

	if (formula <= F_TRUE)
		return formula == F_TRUE;
	if (kind != FORMULA_AND && kind != FORMULA_OR)
		return atom_satisfied(formulas, formula, text);
	for (uint32_t i = 0; i < n; i++)
		if (scalar_text_satisfies(formulas, parts[i], text) == (kind == FORMULA_OR))
			return kind == FORMULA_OR;
	return kind == FORMULA_AND;
}

/* All texts of so many letters. */
static uint32_t
expression_of_length(Formulas *formulas, uint32_t min, uint32_t max)
{
	Expressions *e = formulas->schema->expressions;

	if (min > LANGUAGE_MAX_STATES || (max != NO_LIMIT && max > LANGUAGE_MAX_STATES))
	{
		pool_fail(formulas->pool, STATUS_TOO_LONG,
				  "a pattern beside a length of %u to %u letters needs more than %d states, which is the limit", min,
				  max, LANGUAGE_MAX_STATES);
		return E_NONE;
	}
	return expression_repeat(e, expression_range(e, 0, MAX_CODE_POINT), min, max);
}

static uint32_t
expression_of_words(Formulas *formulas, const uint32_t *words, uint32_t n)
{
	Expressions *e = formulas->schema->expressions;
	WordList parts = {0};

	if (n > MAX_EXCEPTED_WORDS)
		pool_fail(formulas->pool, STATUS_TOO_LONG, "a string that must not be one of %u values: the limit is %d", n,
				  MAX_EXCEPTED_WORDS);
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
	{
		ByteSpan word = schema_span(formulas->schema, words[i]);

		list_add(formulas->pool, &parts, expression_text(e, word.data, word.length));
	}
	return expression_or_all(e, parts.at, parts.n);
}

uint32_t
scalar_expression(Formulas *formulas, uint32_t formula)
{
	Expressions *e = formulas->schema->expressions;
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n, made, min, max;
	const uint32_t *words = formula_words(formulas, formula, &n);

	switch (kind)
	{
		case FORMULA_FALSE:
			return E_NONE;
		case FORMULA_TRUE:
			return E_ALL;
		case ATOM_LENGTH:
			return length_of_atom(formulas, words, &min, &max) ? expression_of_length(formulas, min, max) : E_NONE;
		case ATOM_PATTERN:
			return words[formulas->is_above];
		case ATOM_WORDS:
			return expression_of_words(formulas, words, n);
		case ATOM_NO_WORDS:
			return expression_not(e, expression_of_words(formulas, words, n));
		default:
			break;
	}
	made = kind == FORMULA_AND ? E_ALL : E_NONE;
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
	{
		uint32_t part = scalar_expression(formulas, words[i]);

		made = kind == FORMULA_AND ? expression_and(e, made, part) : expression_or(e, made, part);
	}
	return made;
}

/* How strings are written: as JSON, or as they are, where an expression has them. */
typedef struct Writing
{
	bool is_plain;
	uint32_t bound;
} Writing;

/* The words of a cube that has a list of them. */
static void
add_words(Formulas *formulas, ScalarSets *sets, uint32_t *capacity, const WordList *cube, uint32_t list,
		  const Writing *writing)
{
	uint32_t n;
	const uint32_t *words = formula_words(formulas, list, &n);

	for (uint32_t i = 0; i < n && pool_work(formulas->pool, 1); i++)
	{
		ByteSpan text = schema_span(formulas->schema, words[i]), spelled;
		bool has = !memchr(text.data, 0, text.length);

		for (uint32_t k = 0; k < cube->n && has; k++)
			has = cube->at[k] == list || atom_satisfied(formulas, cube->at[k], text);
		if (has && writing->is_plain)
			has = expression_matches(formulas, writing->bound, text);
		if (!has)
			continue;
		spelled = writing->is_plain ? text : scalar_spell(formulas->pool, text);
		if (spelled.data)
			add_set(formulas, sets, capacity, (ScalarSet){.word = spelled});
	}
}

/* The texts of one cube. */
static void
add_string_cube(Formulas *formulas, ScalarSets *sets, uint32_t *capacity, const WordList *cube, const Writing *writing)
{
	Expressions *e = formulas->schema->expressions;
	ScalarSet set = {.max = NO_LIMIT};
	uint32_t expression = writing->bound;

	for (uint32_t i = 0; i < cube->n; i++)
	{
		uint32_t n, min, max, atom = cube->at[i];
		const uint32_t *words = formula_words(formulas, atom, &n);

		if (formula_kind(formulas, atom) == ATOM_WORDS)
		{
			add_words(formulas, sets, capacity, cube, atom, writing);
			return;
		}
		if (formula_kind(formulas, atom) == ATOM_LENGTH)
		{
			if (!length_of_atom(formulas, words, &min, &max))
				return;
			set.min = min > set.min ? min : set.min;
			set.max = max < set.max ? max : set.max;
		}
		else
			expression = expression_and(e, expression, scalar_expression(formulas, atom));
	}
	if (set.min > set.max)
		return;
	set.language = formula_language(formulas, expression);
	if (set.language && set.min <= set.language->shortest[set.language->start])
		set.min = 0;
	/* the shortest end alone tells whether one is near enough; whether one is far enough, only where none is left out
	 */
	if (set.language && !set.language->is_dense && set.min > 0)
	{
		expression = expression_and(e, expression, expression_of_length(formulas, set.min, NO_LIMIT));
		set.language = formula_language(formulas, expression);
		set.min = 0;
	}
	if (set.language && language_lives(set.language, set.language->start, set.min, set.max))
		add_set(formulas, sets, capacity, set);
}

static const ScalarSets *
strings_of(Formulas *formulas, uint32_t formula, Writing writing)
{
	Cubes cubes = cubes_of(formulas, formula);
	ScalarSets *sets = pool_alloc(formulas->pool, 1, sizeof *sets);
	uint32_t capacity = 0;

	for (uint32_t i = 0; sets && i < cubes.n && !pool_failed(formulas->pool); i++)
		add_string_cube(formulas, sets, &capacity, &cubes.cubes[i], &writing);
	return sets ? sets : &no_sets;
}

bool
scalar_no_strings(Formulas *formulas, uint32_t formula)
{
	bool was_above = formulas->is_above, none;

	formulas->is_above = true;
	none = scalar_strings(formulas, formula)->n == 0;
	formulas->is_above = was_above;
	return none;
}

const ScalarSets *
scalar_strings(Formulas *formulas, uint32_t formula)
{
	return strings_of(formulas, formula, (Writing){false, E_ALL});
}

const ScalarSets *
scalar_texts(Formulas *formulas, uint32_t formula, uint32_t bound)
{
	return strings_of(formulas, formula, (Writing){true, bound});
}
