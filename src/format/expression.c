/*
 * expression.c - see expression.h.
 */
#include "expression.h"

#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"

#define NULLABLE 0x100u
#define MAX_ANCHORS 64 /* that stand side by side */

/* The words after the kind. */
static const uint32_t *
arguments(const Expressions *e, uint32_t a, uint32_t *n)
{
	const uint32_t *words = interned(&e->interner, a, n);

	if (n)
		(*n)--;
	return words + 1;
}

bool
expression_is_nullable(const Expressions *e, uint32_t a)
{
	return (interned(&e->interner, a, NULL)[0] & NULLABLE) != 0;
}

static uint32_t
make(Expressions *e, ExpressionKind kind, bool nullable, const uint32_t *words, uint32_t n)
{
	uint32_t few[8], *tuple = few, id;

	if (n + 1 > 8)
		tuple = pool_alloc(e->pool, (size_t) n + 1, sizeof *tuple);
	if (!tuple || !pool_work(e->pool, 1))
		return E_NONE;
	tuple[0] = (uint32_t) kind | (nullable ? NULLABLE : 0);
	if (n)
		memcpy(tuple + 1, words, n * sizeof *words);
	id = intern(e->pool, &e->interner, tuple, n + 1, NULL);
	if (e->interner.n > MAX_EXPRESSIONS)
		pool_fail(e->pool, STATUS_TOO_LONG, "patterns and formats have more than %u parts", MAX_EXPRESSIONS);
	return id;
}

void
expressions_open(Expressions *e, Pool *pool)
{
	*e = (Expressions){.pool = pool};
	(void) make(e, EXPRESSION_NONE, false, NULL, 0);
	(void) make(e, EXPRESSION_EMPTY, true, NULL, 0);
	(void) make(e, EXPRESSION_ALL, true, NULL, 0);
}

static int
compare_ranges(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return x[0] != y[0] ? (x[0] > y[0]) - (x[0] < y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

uint32_t
expression_class(Expressions *e, const uint32_t *ranges, uint32_t n_words)
{
	uint32_t *sorted, n = 0, id = E_NONE;

	if (n_words == 0)
		return E_NONE;
	sorted = malloc(n_words * sizeof *sorted);
	if (!sorted)
	{
		pool_fail(e->pool, STATUS_UNAVAILABLE, "out of memory for a format");
		return E_NONE;
	}
	memcpy(sorted, ranges, n_words * sizeof *sorted);
	qsort(sorted, n_words / 2, 2 * sizeof *sorted, compare_ranges);
	for (uint32_t i = 0; i < n_words; i += 2)
	{
		if (n > 0 && sorted[i] <= sorted[n - 1] + 1)
			sorted[n - 1] = sorted[i + 1] > sorted[n - 1] ? sorted[i + 1] : sorted[n - 1];
		else
		{
			sorted[n] = sorted[i];
			sorted[n + 1] = sorted[i + 1];
			n += 2;
		}
	}
	id = make(e, EXPRESSION_CLASS, false, sorted, n);
	free(sorted);
	return id;
}

uint32_t
expression_range(Expressions *e, uint32_t lo, uint32_t hi)
{
	uint32_t range[2] = {lo, hi};

	return expression_class(e, range, 2);
}

uint32_t
expression_invert(Expressions *e, uint32_t class_)
{
	WordList inverted = {0};
	uint32_t n = 0, next = 0;
	const uint32_t *ranges = class_ == E_NONE ? NULL : arguments(e, class_, &n);

	for (uint32_t i = 0; i < n; i += 2)
	{
		if (ranges[i] > next)
		{
			list_add(e->pool, &inverted, next);
			list_add(e->pool, &inverted, ranges[i] - 1);
		}
		next = ranges[i + 1] + 1;
	}
	if (next <= MAX_CODE_POINT)
	{
		list_add(e->pool, &inverted, next);
		list_add(e->pool, &inverted, MAX_CODE_POINT);
	}
	return expression_class(e, inverted.at, inverted.n);
}

uint32_t
expression_cat(Expressions *e, uint32_t a, uint32_t b)
{
	uint32_t words[2] = {a, b};

	if (a == E_NONE || b == E_NONE)
		return E_NONE;
	if (a == E_EMPTY)
		return b;
	if (b == E_EMPTY)
		return a;
	if (a == E_ALL && b == E_ALL)
		return E_ALL;
	if (expression_kind(e, a) == EXPRESSION_CAT)
	{
		const uint32_t *parts = arguments(e, a, NULL);
		uint32_t first = parts[0], rest = parts[1];

		return expression_cat(e, first, expression_cat(e, rest, b));
	}
	return make(e, EXPRESSION_CAT, expression_is_nullable(e, a) && expression_is_nullable(e, b), words, 2);
}

/* Put a part of an OR or AND into a list, which is flat. */
static void
add_part(Expressions *e, WordList *list, ExpressionKind kind, uint32_t part)
{
	if (expression_kind(e, part) == kind)
	{
		uint32_t n;
		const uint32_t *parts = arguments(e, part, &n);

		list_add_all(e->pool, list, parts, n);
	}
	else
		list_add(e->pool, list, part);
}

/* Classes of an OR are one class. */
static void
join_classes(Expressions *e, WordList *list)
{
	WordList ranges = {0};
	uint32_t kept = 0, n_classes = 0;

	for (uint32_t i = 0; i < list->n; i++)
		n_classes += expression_kind(e, list->at[i]) == EXPRESSION_CLASS;
	if (n_classes < 2)
		return;
	for (uint32_t i = 0; i < list->n; i++)
	{
		uint32_t part = list->at[i], n;

		if (expression_kind(e, part) == EXPRESSION_CLASS)
		{
			const uint32_t *more = arguments(e, part, &n);

			list_add_all(e->pool, &ranges, more, n);
		}
		else
			list->at[kept++] = part;
	}
	list->n = kept;
	list_add(e->pool, list, expression_class(e, ranges.at, ranges.n));
	list_sort_unique(list);
}

/* Does a sorted list have both something and its negation? */
static bool
has_opposites(const Expressions *e, const WordList *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		if (expression_kind(e, list->at[i]) == EXPRESSION_NOT)
		{
			uint32_t inner = arguments(e, list->at[i], NULL)[0];

			for (uint32_t k = 0; k < list->n; k++)
				if (list->at[k] == inner)
					return true;
		}
	return false;
}

/* OR or AND of a list of parts. */
static uint32_t
combine(Expressions *e, ExpressionKind kind, WordList *list)
{
	uint32_t absorbing = kind == EXPRESSION_OR ? E_ALL : E_NONE, neutral = kind == EXPRESSION_OR ? E_NONE : E_ALL;
	uint32_t kept = 0;
	bool nullable = kind == EXPRESSION_AND;

	list_sort_unique(list);
	for (uint32_t i = 0; i < list->n; i++)
	{
		if (list->at[i] == absorbing)
			return absorbing;
		if (list->at[i] != neutral)
			list->at[kept++] = list->at[i];
	}
	list->n = kept;
	if (kind == EXPRESSION_OR)
		join_classes(e, list);
	if (has_opposites(e, list))
		return absorbing;
	if (list->n == 0)
		return neutral;
	if (list->n == 1)
		return list->at[0];
	for (uint32_t i = 0; i < list->n; i++)
		nullable = kind == EXPRESSION_OR ? nullable || expression_is_nullable(e, list->at[i])
										 : nullable && expression_is_nullable(e, list->at[i]);
	return make(e, kind, nullable, list->at, list->n);
}

uint32_t
expression_or_all(Expressions *e, const uint32_t *parts, uint32_t n)
{
	WordList list = {0};

	for (uint32_t i = 0; i < n; i++)
		add_part(e, &list, EXPRESSION_OR, parts[i]);
	return combine(e, EXPRESSION_OR, &list);
}

uint32_t
expression_or(Expressions *e, uint32_t a, uint32_t b)
{
	uint32_t parts[2] = {a, b};

	if (a == E_NONE || a == b)
		return b;
	return b == E_NONE ? a : expression_or_all(e, parts, 2);
}

uint32_t
expression_and(Expressions *e, uint32_t a, uint32_t b)
{
	WordList list = {0};

	if (a == E_ALL || a == b)
		return b;
	if (b == E_ALL)
		return a;
	add_part(e, &list, EXPRESSION_AND, a);
	add_part(e, &list, EXPRESSION_AND, b);
	return combine(e, EXPRESSION_AND, &list);
}

uint32_t
expression_not(Expressions *e, uint32_t a)
{
	if (a == E_NONE)
		return E_ALL;
	if (a == E_ALL)
		return E_NONE;
	if (expression_kind(e, a) == EXPRESSION_NOT)
		return arguments(e, a, NULL)[0];
	return make(e, EXPRESSION_NOT, !expression_is_nullable(e, a), &a, 1);
}

uint32_t
expression_repeat(Expressions *e, uint32_t a, uint32_t min, uint32_t max)
{
	uint32_t words[3] = {a, min, max};

	if (max == 0 || a == E_EMPTY)
		return E_EMPTY;
	if (a == E_NONE)
		return min == 0 ? E_EMPTY : E_NONE;
	if (a == E_ALL || (min == 1 && max == 1))
		return a == E_ALL && min == 0 ? E_ALL : a;
	if (expression_is_nullable(e, a))
		words[1] = min = 0;
	return make(e, EXPRESSION_REPEAT, min == 0, words, 3);
}

uint32_t
expression_derive_anchors(Expressions *e, uint32_t a, uint32_t letter)
{
	for (int i = 0; i < MAX_ANCHORS; i++)
	{
		uint32_t next = expression_derive(e, a, letter);

		if (next == a)
			break;
		a = next;
	}
	return a;
}

uint32_t
expression_strip(Expressions *e, uint32_t a)
{
	ExpressionKind kind = expression_kind(e, a);

	if (kind <= EXPRESSION_ALL || kind == EXPRESSION_STRIP)
		return a;
	return make(e, EXPRESSION_STRIP, expression_is_nullable(e, expression_derive_anchors(e, a, LETTER_END)), &a, 1);
}

uint32_t
expression_text(Expressions *e, const char *text, size_t length)
{
	uint32_t *letters = pool_alloc(e->pool, length, sizeof *letters), n = 0, made = E_EMPTY;

	for (size_t at = 0; letters && at < length;)
	{
		int bytes = utf8_character_bytes(text + at, length - at);

		if (bytes <= 0)
			break;
		letters[n++] = utf8_code_point(text + at, bytes);
		at += (size_t) bytes;
	}
	while (n-- > 0)
		made = expression_cat(e, expression_range(e, letters[n], letters[n]), made);
	return made;
}

static bool
class_has(const uint32_t *ranges, uint32_t n, uint32_t letter)
{
	for (uint32_t i = 0; i < n; i += 2)
		if (letter <= ranges[i + 1])
			return letter >= ranges[i];
	return false;
}

/* Derivative of an OR or AND: of all parts. */
static uint32_t
derive_list(Expressions *e, uint32_t a, uint32_t letter, ExpressionKind kind)
{
	WordList list = {0};
	uint32_t n;
	const uint32_t *parts = arguments(e, a, &n);

	for (uint32_t i = 0; i < n && !pool_failed(e->pool); i++)
		add_part(e, &list, kind, expression_derive(e, parts[i], letter));
	return combine(e, kind, &list);
}

static uint32_t
derive_cat(Expressions *e, uint32_t first, uint32_t rest, uint32_t letter)
{
	uint32_t made = expression_cat(e, expression_derive(e, first, letter), rest);

	return expression_is_nullable(e, first) ? expression_or(e, made, expression_derive(e, rest, letter)) : made;
}

static uint32_t
derive_new(Expressions *e, uint32_t a, uint32_t letter)
{
	uint32_t n;
	const uint32_t *words = arguments(e, a, &n);

	switch (expression_kind(e, a))
	{
		case EXPRESSION_NONE:
		case EXPRESSION_EMPTY:
			return E_NONE;
		case EXPRESSION_ALL:
			return E_ALL;
		case EXPRESSION_CLASS:
			return class_has(words, n, letter) ? E_EMPTY : E_NONE;
		case EXPRESSION_CAT:
			return derive_cat(e, words[0], words[1], letter);
		case EXPRESSION_OR:
		case EXPRESSION_AND:
			return derive_list(e, a, letter, expression_kind(e, a));
		case EXPRESSION_NOT:
			return expression_not(e, expression_derive(e, words[0], letter));
		case EXPRESSION_REPEAT:
			return expression_cat(e, expression_derive(e, words[0], letter),
								  expression_repeat(e, words[0], words[1] ? words[1] - 1 : 0,
													words[2] == NO_LIMIT ? NO_LIMIT : words[2] - 1));
		case EXPRESSION_STRIP:
			return expression_strip(e, expression_derive(e, words[0], letter));
	}
	return E_NONE;
}

uint32_t
expression_derive(Expressions *e, uint32_t a, uint32_t letter)
{
	uint32_t made;

	if (a <= E_ALL)
		return a == E_ALL ? E_ALL : E_NONE;
	if (map_find(&e->derivatives, (uint64_t) a << 32 | letter, &made))
		return made;
	if (!pool_work(e->pool, 1))
		return E_NONE;
	made = derive_new(e, a, letter);
	map_put(e->pool, &e->derivatives, (uint64_t) a << 32 | letter, made);
	return made;
}
