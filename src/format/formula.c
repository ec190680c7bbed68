/*
 * formula.c - see formula.h: formulas and their negation. What keywords become is in schema_formula.c.
 */
#include "formula.h"

#include <string.h>

#include "../base/utf8.h"
#include "language.h"

#define MAX_ABSORBED 64 /* parts of a list in which one is looked for that another implies */

void
formulas_open(Formulas *formulas, Schema *schema, NodeFormula *of_node)
{
	uint32_t never = LITERAL(schema->never, false);

	*formulas = (Formulas){.schema = schema, .pool = schema->pool, .of_node = of_node};
	(void) formula_atom(formulas, FORMULA_FALSE, NULL, 0);
	(void) formula_atom(formulas, FORMULA_TRUE, NULL, 0);
	(void) intern(formulas->pool, &formulas->conjunctions, NULL, 0, NULL);
	(void) intern(formulas->pool, &formulas->conjunctions, &never, 1, NULL);
}

uint32_t
formula_atom(Formulas *formulas, FormulaKind kind, const uint32_t *words, uint32_t n)
{
	uint32_t few[8], *tuple = few;

	if (n + 1 > 8)
		tuple = pool_alloc(formulas->pool, (size_t) n + 1, sizeof *tuple);
	if (!tuple || !pool_work(formulas->pool, 1))
		return F_FALSE;
	tuple[0] = kind;
	if (n)
		memcpy(tuple + 1, words, n * sizeof *words);
	return intern(formulas->pool, &formulas->formulas, tuple, n + 1, NULL);
}

uint32_t
formula_atom3(Formulas *formulas, FormulaKind kind, uint32_t a, uint32_t b, uint32_t c, uint32_t n)
{
	uint32_t words[3] = {a, b, c};
	uint32_t always = LITERAL(formulas->schema->always, false), never = LITERAL(formulas->schema->never, false);

	/* what every value or no value satisfies has one name */
	for (uint32_t i = 0; i < 3; i++)
	{
		bool is_literal = (kind >= ATOM_MEMBER && kind <= ATOM_SOME && i == 1) ||
						  (kind >= ATOM_ITEM && kind <= ATOM_SOME_ITEM && i == 1) ||
						  ((kind == ATOM_NAMES || kind == ATOM_SOME_NAME || kind == ATOM_CONTAINS) && i == 0);

		if (is_literal && words[i] == (never ^ 1))
			words[i] = always;
		if (is_literal && words[i] == (always ^ 1))
			words[i] = never;
	}
	if (kind == ATOM_MEMBER && words[1] == always && words[2])
		return F_TRUE;
	if (kind == ATOM_MEMBER && words[1] == never && !words[2])
		return F_FALSE;
	if ((kind == ATOM_REST || kind == ATOM_ITEMS || kind == ATOM_ITEM) && words[1] == always)
		return F_TRUE;
	if ((kind == ATOM_SOME || kind == ATOM_SOME_ITEM || kind == ATOM_HAS_ITEM) && words[1] == never)
		return F_FALSE;
	if (kind == ATOM_NAMES && words[0] == always)
		return F_TRUE;
	if (kind == ATOM_SOME_NAME && words[0] == never)
		return F_FALSE;
	if (kind == ATOM_CONTAINS && words[1] == 0 && words[2] == NO_LIMIT)
		return F_TRUE;
	if (kind == ATOM_CONTAINS && words[1] > words[2])
		return F_FALSE;
	if (kind == ATOM_COUNT || kind == ATOM_ITEM_COUNT || (kind == ATOM_LENGTH && words[2] == LENGTH_EXACT))
	{
		if (words[0] == 0 && words[1] == NO_LIMIT)
			return F_TRUE;
		if (words[0] > words[1])
			return F_FALSE;
	}
	return formula_atom(formulas, kind, words, n);
}

uint32_t
formula_has_member(Formulas *formulas, uint32_t name, bool wanted)
{
	Schema *schema = formulas->schema;

	return formula_atom3(formulas, ATOM_MEMBER, name, LITERAL(wanted ? schema->always : schema->never, false), !wanted,
						 3);
}

static bool
has_word(const uint32_t *sorted, uint32_t n, uint32_t word)
{
	while (n > 0)
	{
		uint32_t middle = n / 2;

		if (sorted[middle] == word)
			return true;
		if (sorted[middle] < word)
		{
			sorted += middle + 1;
			n -= middle + 1;
		}
		else
			n = middle;
	}
	return false;
}

/* Does a part of a list of the other kind hold another part of the list, or all parts of one? Then x or (x and y) is x.
 */
static bool
is_absorbed(const Formulas *formulas, FormulaKind kind, const WordList *list, uint32_t index)
{
	uint32_t n, n_other, part = list->at[index];
	const uint32_t *words = formula_words(formulas, part, &n);

	if (formula_kind(formulas, part) != (kind == FORMULA_OR ? FORMULA_AND : FORMULA_OR))
		return false;
	for (uint32_t i = 0; i < list->n; i++)
	{
		const uint32_t *other;
		uint32_t k = 0;

		if (i == index)
			continue;
		if (has_word(words, n, list->at[i]))
			return true;
		if (formula_kind(formulas, list->at[i]) != formula_kind(formulas, part))
			continue;
		other = formula_words(formulas, list->at[i], &n_other);
		while (k < n_other && n_other < n && has_word(words, n, other[k]))
			k++;
		if (k == n_other && n_other < n)
			return true;
	}
	return false;
}

static uint32_t
combine(Formulas *formulas, FormulaKind kind, const uint32_t *parts, uint32_t n)
{
	uint32_t absorbing = kind == FORMULA_OR ? F_TRUE : F_FALSE, neutral = kind == FORMULA_OR ? F_FALSE : F_TRUE;
	WordList list = {0};
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t n_inner;

		if (parts[i] == absorbing)
			return absorbing;
		if (parts[i] == neutral)
			continue;
		if (formula_kind(formulas, parts[i]) == kind)
		{
			const uint32_t *inner = formula_words(formulas, parts[i], &n_inner);

			list_add_all(formulas->pool, &list, inner, n_inner);
		}
		else
			list_add(formulas->pool, &list, parts[i]);
	}
	list_sort_unique(&list);
	if (!pool_work(formulas->pool, list.n / 4 + 1))
		return F_FALSE;
	if (list.n > 1 && list.n <= MAX_ABSORBED)
	{
		bool gone[MAX_ABSORBED];

		for (uint32_t i = 0; i < list.n; i++)
			gone[i] = is_absorbed(formulas, kind, &list, i);
		for (uint32_t i = 0; i < list.n; i++)
			if (!gone[i])
				list.at[kept++] = list.at[i];
		list.n = kept;
	}
	if (list.n == 0)
		return neutral;
	return list.n == 1 ? list.at[0] : formula_atom(formulas, kind, list.at, list.n);
}

uint32_t
formula_and(Formulas *formulas, const uint32_t *parts, uint32_t n)
{
	return combine(formulas, FORMULA_AND, parts, n);
}

uint32_t
formula_or(Formulas *formulas, const uint32_t *parts, uint32_t n)
{
	return combine(formulas, FORMULA_OR, parts, n);
}

uint32_t
formula_and2(Formulas *formulas, uint32_t a, uint32_t b)
{
	uint32_t parts[2] = {a, b};

	return combine(formulas, FORMULA_AND, parts, 2);
}

uint32_t
formula_or2(Formulas *formulas, uint32_t a, uint32_t b)
{
	uint32_t parts[2] = {a, b};

	return combine(formulas, FORMULA_OR, parts, 2);
}

/* The opposite of a length between min and max: less, or more. What holds above does not below. */
static uint32_t
negate_length(Formulas *formulas, const uint32_t *words)
{
	static const uint32_t opposites[] = {
		[LENGTH_EXACT] = LENGTH_EXACT, [LENGTH_BELOW] = LENGTH_ABOVE, [LENGTH_ABOVE] = LENGTH_BELOW};
	uint32_t min = words[0], max = words[1], side = opposites[words[2]], less = F_FALSE, more = F_FALSE;

	if (min > 0)
		less = formula_atom3(formulas, ATOM_LENGTH, 0, min - 1, side, 3);
	if (max != NO_LIMIT)
		more = formula_atom3(formulas, ATOM_LENGTH, max + 1, NO_LIMIT, side, 3);
	return formula_or2(formulas, less, more);
}

static uint32_t
negate_pattern(Formulas *formulas, const uint32_t *words)
{
	Expressions *e = formulas->schema->expressions;

	return formula_atom3(formulas, ATOM_PATTERN, expression_not(e, words[1]), expression_not(e, words[0]), 0, 2);
}

/* The opposite of a count between min and max: less, or more. */
static uint32_t
negate_count(Formulas *formulas, FormulaKind kind, const uint32_t *words)
{
	uint32_t less = F_FALSE, more = F_FALSE;
	uint32_t at = kind == ATOM_CONTAINS ? 1 : 0, min = words[at], max = words[at + 1], first = words[0];

	if (min > 0)
		less =
			at ? formula_atom3(formulas, kind, first, 0, min - 1, 3) : formula_atom3(formulas, kind, 0, min - 1, 0, 2);
	if (max != NO_LIMIT)
		more = at ? formula_atom3(formulas, kind, first, max + 1, NO_LIMIT, 3)
				  : formula_atom3(formulas, kind, max + 1, NO_LIMIT, 0, 2);
	return formula_or2(formulas, less, more);
}

static uint32_t
negate_bound(Formulas *formulas, FormulaKind kind, const uint32_t *words)
{
	uint32_t other[4];

	decimal_to_words(decimal_of_words(words) + (kind == ATOM_LOWER ? -1 : 1), other);
	return formula_atom(formulas, kind == ATOM_LOWER ? ATOM_UPPER : ATOM_LOWER, other, 4);
}

static uint32_t
negate_whole(Formulas *formulas)
{
	uint32_t one[4];

	decimal_to_words(DECIMAL_ONE, one);
	return formula_atom(formulas, ATOM_NO_STEP, one, 4);
}

static uint32_t
negate_member(Formulas *formulas, const uint32_t *words)
{
	uint32_t other = formula_atom3(formulas, ATOM_MEMBER, words[0], words[1] ^ 1, 0, 3);

	if (words[2])
		return other;
	return formula_or2(formulas, other,
					   formula_atom3(formulas, ATOM_MEMBER, words[0], LITERAL(formulas->schema->never, false), 1, 3));
}

/* Some value comes twice, or one more time. */
static uint32_t
negate_unique(Formulas *formulas, const uint32_t *words, uint32_t n)
{
	WordList parts = {0};

	for (uint32_t i = 2; i < n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, &parts,
				 formula_atom3(formulas, ATOM_CONTAINS, words[i], i < 2 + words[1] ? 2 : 1, NO_LIMIT, 3));
	return formula_or(formulas, parts.at, parts.n);
}

/* AND and OR: of the opposites of all parts. */
static uint32_t
negate_list(Formulas *formulas, uint32_t formula)
{
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);
	WordList parts = {0};

	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, &parts, formula_negate(formulas, words[i]));
	return combine(formulas, formula_kind(formulas, formula) == FORMULA_AND ? FORMULA_OR : FORMULA_AND, parts.at,
				   parts.n);
}

static uint32_t
negate_new(Formulas *formulas, uint32_t formula)
{
	static const FormulaKind opposites[] = {
		[ATOM_STEP] = ATOM_NO_STEP,     [ATOM_NO_STEP] = ATOM_STEP,    [ATOM_VALUES] = ATOM_NO_VALUES,
		[ATOM_NO_VALUES] = ATOM_VALUES, [ATOM_WORDS] = ATOM_NO_WORDS,  [ATOM_NO_WORDS] = ATOM_WORDS,
		[ATOM_REST] = ATOM_SOME,        [ATOM_SOME] = ATOM_REST,       [ATOM_NAMES] = ATOM_SOME_NAME,
		[ATOM_SOME_NAME] = ATOM_NAMES,  [ATOM_ITEM] = ATOM_HAS_ITEM,   [ATOM_HAS_ITEM] = ATOM_ITEM,
		[ATOM_ITEMS] = ATOM_SOME_ITEM,  [ATOM_SOME_ITEM] = ATOM_ITEMS,
	};
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);
	FormulaKind kind = formula_kind(formulas, formula);

	switch (kind)
	{
		case FORMULA_FALSE:
			return F_TRUE;
		case FORMULA_TRUE:
			return F_FALSE;
		case FORMULA_AND:
		case FORMULA_OR:
			return negate_list(formulas, formula);
		case ATOM_LOWER:
		case ATOM_UPPER:
			return negate_bound(formulas, kind, words);
		case ATOM_WHOLE:
			return negate_whole(formulas);
		case ATOM_STEP:
		case ATOM_NO_STEP:
		case ATOM_VALUES:
		case ATOM_NO_VALUES:
		case ATOM_WORDS:
		case ATOM_NO_WORDS:
			return formula_atom(formulas, opposites[kind], words, n);
		case ATOM_PATTERN:
			return negate_pattern(formulas, words);
		case ATOM_REST:
		case ATOM_SOME:
		case ATOM_ITEM:
		case ATOM_HAS_ITEM:
		case ATOM_ITEMS:
		case ATOM_SOME_ITEM:
			return formula_atom3(formulas, opposites[kind], words[0], words[1] ^ 1, 0, 2);
		case ATOM_NAMES:
		case ATOM_SOME_NAME:
			return formula_atom3(formulas, opposites[kind], words[0] ^ 1, 0, 0, 1);
		case ATOM_MEMBER:
			return negate_member(formulas, words);
		case ATOM_LENGTH:
			return negate_length(formulas, words);
		case ATOM_COUNT:
		case ATOM_ITEM_COUNT:
		case ATOM_CONTAINS:
			return negate_count(formulas, kind, words);
		case ATOM_UNIQUE:
			return negate_unique(formulas, words, n);
	}
	return F_FALSE;
}

uint32_t
formula_negate(Formulas *formulas, uint32_t formula)
{
	uint32_t made;

	if (map_find(&formulas->negations, formula, &made))
		return made;
	if (!pool_work(formulas->pool, 1))
		return F_FALSE;
	made = negate_new(formulas, formula);
	map_put(formulas->pool, &formulas->negations, formula, made);
	return made;
}

/* ---- scopes and languages ---- */

uint32_t
scope_of_pattern(Formulas *formulas, uint32_t expression)
{
	uint32_t words[2] = {SCOPE_PATTERN, expression};

	return intern(formulas->pool, &formulas->scopes, words, 2, NULL);
}

uint32_t
scope_of_others(Formulas *formulas, const WordList *names, const WordList *expressions)
{
	WordList words = {0};

	list_add(formulas->pool, &words, SCOPE_OTHERS);
	list_add(formulas->pool, &words, names->n);
	list_add_all(formulas->pool, &words, names->at, names->n);
	list_add_all(formulas->pool, &words, expressions->at, expressions->n);
	return intern(formulas->pool, &formulas->scopes, words.at, words.n, NULL);
}

Language *
formula_language(Formulas *formulas, uint32_t expression)
{
	uint32_t index;
	Language *language;

	if (map_find(&formulas->languages, expression, &index))
		return formulas->language_list[index];
	language = language_build(formulas->schema->expressions, expression);
	if (!language || !pool_grow(formulas->pool, &formulas->language_list, formulas->n_languages,
								&formulas->language_capacity, sizeof *formulas->language_list))
		return NULL;
	map_put(formulas->pool, &formulas->languages, expression, formulas->n_languages);
	formulas->language_list[formulas->n_languages++] = language;
	return language;
}

bool
expression_matches(Formulas *formulas, uint32_t expression, ByteSpan text)
{
	const Language *language = formula_language(formulas, expression);
	uint32_t state = language ? language->start : 0;

	for (size_t at = 0; state && at < text.length;)
	{
		int bytes = utf8_character_bytes(text.data + at, text.length - at);

		if (bytes <= 0)
			return false;
		state = language_next(language, state, utf8_code_point(text.data + at, bytes));
		at += (size_t) bytes;
	}
	return state && language->accepts[state];
}
