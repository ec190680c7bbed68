/*
 * language.c - see language.h.
 */
#include "language.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CELLS ((uint64_t) 2 << 20) /* states times classes */

typedef struct Builder
{
	Expressions *e;
	Language *language;
	WordList classes;  /* expressions of the kind */
	NumberMap visited; /* expressions */
	WordList states;   /* expressions; index is the state */
	NumberMap state_of;
	uint32_t *representatives; /* of each class */
	uint32_t *class_letters;   /* how many letters it has */
} Builder;

uint32_t
letter_json_bytes(uint32_t letter)
{
	if (letter == '"' || letter == '\\' || letter == '\n' || letter == '\r' || letter == '\t' || letter == 8 ||
		letter == 12)
		return 2;
	return letter < 0x20 ? 6 : letter < 0x80 ? 1 : letter < 0x800 ? 2 : letter < 0x10000 ? 3 : 4;
}

/* All classes that an expression is made of. */
static void
collect_classes(Builder *builder, uint32_t expression)
{
	Expressions *e = builder->e;
	WordList todo = {0};

	list_add(e->pool, &todo, expression);
	while (todo.n > 0 && pool_work(e->pool, 1))
	{
		uint32_t a = todo.at[--todo.n], n, found;
		const uint32_t *words = interned(&e->interner, a, &n);
		ExpressionKind kind = expression_kind(e, a);

		if (map_find(&builder->visited, a, &found))
			continue;
		map_put(e->pool, &builder->visited, a, 1);
		if (kind == EXPRESSION_CLASS)
			list_add(e->pool, &builder->classes, a);
		else if (kind == EXPRESSION_REPEAT)
			list_add(e->pool, &todo, words[1]);
		else if (kind > EXPRESSION_CLASS)
			list_add_all(e->pool, &todo, words + 1, n - 1);
	}
}

static bool
class_expression_has(const Expressions *e, uint32_t class_, uint32_t letter)
{
	uint32_t n;
	const uint32_t *words = interned(&e->interner, class_, &n);

	for (uint32_t i = 1; i < n; i += 2)
		if (letter <= words[i + 1])
			return letter >= words[i];
	return false;
}

/* Is a segment that begins here one of letters that are never made? */
static bool
is_forbidden(uint32_t letter)
{
	return letter == 0 || (letter >= 0xD800 && letter < 0xE000);
}

/* Where the letters' treatment may change. */
static void
collect_bounds(Builder *builder, WordList *bounds)
{
	static const uint32_t always[] = {0,      1,      0x20,   0x21,   0x22,   0x23,   0x30,   0x3A,   0x41,
									  0x5B,   0x5C,   0x5D,   0x61,   0x7B,   0x7F,   0x80,   0xA0,   0xA1,
									  0x800,  0x1680, 0x1681, 0x2000, 0x200B, 0x2028, 0x202A, 0x202F, 0x2030,
									  0x205F, 0x2060, 0x3000, 0x3001, 0xD800, 0xE000, 0xFEFF, 0xFF00, 0x10000};
	Expressions *e = builder->e;

	list_add_all(e->pool, bounds, always, sizeof always / sizeof *always);
	for (uint32_t i = 0; i < builder->classes.n; i++)
	{
		uint32_t n;
		const uint32_t *words = interned(&e->interner, builder->classes.at[i], &n);

		for (uint32_t k = 1; k < n; k += 2)
			if (words[k] <= MAX_CODE_POINT)
			{
				list_add(e->pool, bounds, words[k]);
				if (words[k + 1] < MAX_CODE_POINT)
					list_add(e->pool, bounds, words[k + 1] + 1);
			}
	}
	list_sort_unique(bounds);
}

/* What is always apart, so that classes are wholly in a set or not at all, and have one size of spelling. */
static uint32_t
spelling_of(uint32_t letter)
{
	uint32_t spelling = letter_json_bytes(letter);

	for (int set = 0; set < N_LETTER_SETS; set++)
		spelling = spelling * 2 + letter_is_in(letter, (LetterSet) set);
	return spelling;
}

/* Letters that no class tells apart are one class. */
static bool
partition(Builder *builder)
{
	Expressions *e = builder->e;
	Language *language = builder->language;
	WordList bounds = {0};
	Interner signatures = {0};
	uint32_t n_words = (builder->classes.n + 31) / 32 + 1, *signature;

	collect_bounds(builder, &bounds);
	signature = pool_alloc(e->pool, n_words, sizeof *signature);
	language->n_segments = bounds.n;
	language->segment_start = bounds.at;
	language->segment_class = pool_alloc(e->pool, bounds.n, sizeof *language->segment_class);
	builder->representatives = pool_alloc(e->pool, (size_t) bounds.n + 1, sizeof *builder->representatives);
	builder->class_letters = pool_alloc(e->pool, (size_t) bounds.n + 1, sizeof *builder->class_letters);
	if (!pool_work(e->pool, (uint64_t) bounds.n * builder->classes.n / 8 + 1) || !builder->class_letters)
		return false;
	language->n_classes = 1;
	for (uint32_t i = 0; i < bounds.n; i++)
	{
		uint32_t letter = bounds.at[i], size = (i + 1 < bounds.n ? bounds.at[i + 1] : MAX_CODE_POINT + 1) - letter;
		uint32_t class_ = 0;
		bool is_new;

		if (!is_forbidden(letter))
		{
			memset(signature, 0, n_words * sizeof *signature);
			for (uint32_t k = 0; k < builder->classes.n; k++)
				if (class_expression_has(e, builder->classes.at[k], letter))
					signature[k / 32] |= 1u << k % 32;
			signature[n_words - 1] = spelling_of(letter);
			class_ = intern(e->pool, &signatures, signature, n_words, &is_new) + 1;
			if (is_new)
			{
				builder->representatives[class_] = letter;
				language->n_classes = class_ + 1;
			}
			builder->class_letters[class_] += size;
		}
		language->segment_class[i] = (uint16_t) class_;
	}
	for (uint32_t letter = 0; letter < 128; letter++)
	{
		uint32_t i = 0;

		while (i + 1 < bounds.n && bounds.at[i + 1] <= letter)
			i++;
		language->ascii[letter] = language->segment_class[i];
	}
	language->letter_of = builder->representatives;
	return !pool_failed(e->pool);
}

/* The state of an expression, a new one at the end. */
static uint32_t
state_of(Builder *builder, uint32_t expression)
{
	uint32_t state;

	if (map_find(&builder->state_of, expression, &state))
		return state;
	state = builder->states.n;
	map_put(builder->e->pool, &builder->state_of, expression, state);
	list_add(builder->e->pool, &builder->states, expression);
	if (state > LANGUAGE_MAX_STATES)
		pool_fail(builder->e->pool, STATUS_TOO_LONG,
				  "a pattern or format needs an automaton of more than %d states, which is the limit",
				  LANGUAGE_MAX_STATES);
	return state;
}

/* Classes that differ in their spelling alone lead to the same: derive once for each group of them. */
static void
fill_row(Builder *builder, uint32_t state, WordList *rows)
{
	for (uint32_t class_ = 0; class_ < builder->language->n_classes; class_++)
	{
		uint32_t to = 0;

		if (class_ > 0)
			to = state_of(builder,
						  expression_derive(builder->e, builder->states.at[state], builder->representatives[class_]));
		list_add(builder->e->pool, rows, to);
	}
}

/* The letters to the nearest end, by breadth from all ends backwards. */
static bool
find_shortest(Builder *builder, const uint32_t *rows, uint32_t n, uint32_t *shortest)
{
	Pool *pool = builder->e->pool;
	uint32_t n_classes = builder->language->n_classes, n_queue = 0;
	uint32_t *starts = pool_alloc(pool, (size_t) n + 2, sizeof *starts);
	uint32_t *from = pool_alloc(pool, (size_t) n * n_classes, sizeof *from);
	uint32_t *queue = pool_alloc(pool, n, sizeof *queue);

	if (!rows || !starts || !from || !queue || !pool_work(pool, (uint64_t) n * n_classes / 8))
		return false;
	for (uint32_t i = 0; i < n * n_classes; i++)
		starts[rows[i] + 2]++;
	for (uint32_t i = 2; i < n + 2; i++)
		starts[i] += starts[i - 1];
	for (uint32_t i = 0; i < n * n_classes; i++)
		from[starts[rows[i] + 1]++] = i / n_classes;
	for (uint32_t i = 0; i < n; i++)
	{
		shortest[i] = NO_LIMIT;
		if (expression_is_nullable(builder->e, builder->states.at[i]))
		{
			shortest[i] = 0;
			queue[n_queue++] = i;
		}
	}
	for (uint32_t at = 0; at < n_queue; at++)
		for (uint32_t k = starts[queue[at]]; k < starts[queue[at] + 1]; k++)
			if (shortest[from[k]] == NO_LIMIT)
			{
				shortest[from[k]] = shortest[queue[at]] + 1;
				queue[n_queue++] = from[k];
			}
	return true;
}

/* Add without passing NO_LIMIT. */
static uint32_t
add_words(uint32_t a, uint64_t b)
{
	return a == NO_LIMIT || a + b >= NO_LIMIT ? NO_LIMIT : (uint32_t) (a + b);
}

/* The longest way and the number of words: of states behind which no circle is, those that lead to it first. */
static bool
find_longest(Builder *builder)
{
	Language *language = builder->language;
	Pool *pool = builder->e->pool;
	uint32_t n = language->n_states, n_classes = language->n_classes, n_ready = 0;
	uint32_t *n_open = pool_alloc(pool, n, sizeof *n_open), *ready = pool_alloc(pool, n, sizeof *ready);
	uint32_t *starts = pool_alloc(pool, (size_t) n + 2, sizeof *starts);
	uint32_t *from = pool_alloc(pool, (size_t) n * n_classes, sizeof *from);

	if (!n_open || !ready || !starts || !from)
		return false;
	for (uint32_t i = 0; i < n * n_classes; i++)
		starts[language->next[i] + 2]++;
	for (uint32_t i = 2; i < n + 2; i++)
		starts[i] += starts[i - 1];
	for (uint32_t i = 0; i < n * n_classes; i++)
		from[starts[language->next[i] + 1]++] = i / n_classes;
	for (uint32_t state = 1; state < n; state++)
	{
		language->longest[state] = language->n_words[state] = NO_LIMIT;
		for (uint32_t class_ = 1; class_ < n_classes; class_++)
			n_open[state] += language->next[state * n_classes + class_] != 0;
		if (n_open[state] == 0)
			ready[n_ready++] = state;
	}
	for (uint32_t at = 0; at < n_ready; at++)
	{
		uint32_t state = ready[at], longest = 0, words = language->accepts[state];

		for (uint32_t class_ = 1; class_ < n_classes; class_++)
		{
			uint32_t to = language->next[state * n_classes + class_];

			if (to == 0)
				continue;
			longest = language->longest[to] + 1 > longest ? language->longest[to] + 1 : longest;
			words = add_words(words, (uint64_t) language->n_words[to] * builder->class_letters[class_]);
		}
		language->longest[state] = longest;
		language->n_words[state] = words;
		for (uint32_t k = starts[state]; k < starts[state + 1]; k++)
			if (from[k] != 0 && --n_open[from[k]] == 0)
				ready[n_ready++] = from[k];
	}
	return true;
}

/* Are from every state all lengths between the shortest and the longest possible? Where it holds step by step it holds
 * for all. */
static bool
lengths_are_dense(const Language *language)
{
	for (uint32_t state = 1; state < language->n_states; state++)
	{
		uint32_t reached = language->shortest[state], n_classes = language->n_classes;
		bool grows = true;

		/* the next length that is known to be possible grows as long as some way on covers it */
		if (language->accepts[state] && reached == 0)
			reached = 1;
		while (grows && reached != NO_LIMIT && reached <= language->longest[state])
		{
			grows = false;
			for (uint32_t class_ = 1; class_ < n_classes; class_++)
			{
				uint32_t to = language->next[state * n_classes + class_];

				if (to == 0 || language->shortest[to] + 1 > reached)
					continue;
				if (language->longest[to] == NO_LIMIT || language->longest[to] + 2 > reached)
				{
					grows = true;
					reached = language->longest[to] == NO_LIMIT ? NO_LIMIT : language->longest[to] + 2;
				}
			}
		}
		if (reached != NO_LIMIT && (language->longest[state] == NO_LIMIT || reached <= language->longest[state]))
			return false;
	}
	return true;
}

/* How many letters of a set are possible from each state, whichever they are. */
static void
find_free(Language *language, LetterSet set)
{
	uint8_t *free_for = language->free_for[set];
	bool changes = language->n_states <= 4096;

	memset(free_for, changes ? FREE_FOR_EVER : 0, language->n_states);
	free_for[0] = 0;
	for (int pass = 0; changes; pass++)
	{
		changes = false;
		for (uint32_t state = language->n_states - 1; state > 0; state--)
		{
			uint32_t least = FREE_FOR_EVER;

			for (uint32_t class_ = 1; class_ < language->n_classes && free_for[state] > 0; class_++)
			{
				uint32_t to = language->next[state * language->n_classes + class_];
				uint32_t letters = to == 0 ? 0 : free_for[to] == FREE_FOR_EVER ? FREE_FOR_EVER : free_for[to] + 1u;

				if (letter_is_in(language->letter_of[class_], set) && letters < least)
					least = letters;
			}
			if (least < free_for[state])
			{
				free_for[state] = (uint8_t) (least < 129 ? least : 129);
				changes = true;
			}
		}
		/* what is not settled by then is not free, for it could still be less */
		if (pass == 132 && changes)
		{
			for (uint32_t state = 1; state < language->n_states; state++)
				if (free_for[state] == FREE_FOR_EVER || free_for[state] > 128)
					free_for[state] = 0;
			return;
		}
	}
}

/* Of which sets all letters are that may come from each state. */
static void
find_within(Language *language)
{
	bool changes = language->n_states <= 4096;

	memset(language->within, changes ? UINT8_MAX : 0, language->n_states);
	while (changes)
	{
		changes = false;
		for (uint32_t state = language->n_states - 1; state > 0; state--)
		{
			uint8_t sets = language->within[state];

			for (uint32_t class_ = 1; class_ < language->n_classes && sets != 0; class_++)
			{
				uint32_t to = language->next[state * language->n_classes + class_];

				sets &= to ? letter_sets(language->letter_of[class_]) & language->within[to] : UINT8_MAX;
			}
			changes |= sets != language->within[state];
			language->within[state] = sets;
		}
	}
}

/* Only what can be completed stays. */
static bool
keep_living(Builder *builder, const uint32_t *rows, uint32_t n)
{
	Language *language = builder->language;
	Pool *pool = builder->e->pool;
	uint32_t *shortest = pool_alloc(pool, n, sizeof *shortest), *number = pool_alloc(pool, n, sizeof *number);
	uint32_t n_classes = language->n_classes;

	if (!shortest || !number || !find_shortest(builder, rows, n, shortest))
		return false;
	language->n_states = 1;
	for (uint32_t i = 0; i < n; i++)
		number[i] = shortest[i] == NO_LIMIT ? 0 : language->n_states++;
	language->start = number[1];
	language->next = pool_alloc(pool, (size_t) language->n_states * n_classes, sizeof *language->next);
	language->accepts = pool_alloc(pool, language->n_states, 1);
	for (int set = 0; set < N_LETTER_SETS; set++)
		language->free_for[set] = pool_alloc(pool, language->n_states, 1);
	language->within = pool_alloc(pool, language->n_states, 1);
	language->shortest = pool_alloc(pool, language->n_states, sizeof *language->shortest);
	language->longest = pool_alloc(pool, language->n_states, sizeof *language->longest);
	language->n_words = pool_alloc(pool, language->n_states, sizeof *language->n_words);
	if (pool_failed(pool))
		return false;
	language->shortest[0] = NO_LIMIT;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t state = number[i];

		if (state == 0)
			continue;
		language->shortest[state] = shortest[i];
		language->accepts[state] = shortest[i] == 0;
		if (shortest[i] > language->max_shortest)
			language->max_shortest = shortest[i];
		for (uint32_t class_ = 1; class_ < n_classes; class_++)
		{
			uint32_t to = number[rows[i * n_classes + class_]];

			language->next[state * n_classes + class_] = (uint16_t) to;
			if (to && letter_json_bytes(language->letter_of[class_]) > language->letter_bytes)
				language->letter_bytes = letter_json_bytes(language->letter_of[class_]);
		}
	}
	return true;
}

Language *
language_build(Expressions *e, uint32_t expression)
{
	Builder builder = {.e = e};
	Language *language = builder.language = pool_alloc(e->pool, 1, sizeof *language);
	WordList rows = {0};

	if (!language)
		return NULL;
	language->letter_bytes = 1;
	collect_classes(&builder, expression);
	if (!partition(&builder))
		return NULL;
	(void) state_of(&builder, E_NONE);
	(void) state_of(&builder, expression);
	for (uint32_t state = 0; state < builder.states.n && !pool_failed(e->pool); state++)
	{
		fill_row(&builder, state, &rows);
		if (rows.n > MAX_CELLS)
			pool_fail(e->pool, STATUS_TOO_LONG,
					  "a pattern or format needs too large an automaton: %u classes of letters", language->n_classes);
	}
	if (expression == E_NONE)
		builder.states.n = 1, list_add(e->pool, &builder.states, E_NONE);
	if (pool_failed(e->pool) || rows.n < builder.states.n * language->n_classes)
	{
		/* the empty language has state 0 alone; give it a start that is dead too */
		while (!pool_failed(e->pool) && rows.n < builder.states.n * language->n_classes)
			list_add(e->pool, &rows, 0);
	}
	if (pool_failed(e->pool) || !rows.at || !keep_living(&builder, rows.at, builder.states.n) ||
		!find_longest(&builder))
		return NULL;
	for (int set = 0; set < N_LETTER_SETS; set++)
		find_free(language, (LetterSet) set);
	find_within(language);
	language->least_longest = NO_LIMIT;
	for (uint32_t state = 1; state < language->n_states; state++)
	{
		uint32_t longest = language->longest[state];

		if (longest < language->least_longest)
			language->least_longest = longest;
		if (longest != NO_LIMIT && longest > language->most_longest)
			language->most_longest = longest;
	}
	language->is_dense = lengths_are_dense(language);
	return language;
}

bool
language_has(const Language *language, uint32_t state, uint32_t lo, uint32_t hi, uint32_t min, uint32_t max)
{
	if (max == 0)
		return false;
	for (uint32_t i = language_segment(language, lo); i < language->n_segments && language->segment_start[i] <= hi; i++)
	{
		uint32_t to = language->next[state * language->n_classes + language->segment_class[i]];

		if (language_lives(language, to, min ? min - 1 : 0, max == NO_LIMIT ? NO_LIMIT : max - 1))
			return true;
	}
	return false;
}

/* The texts from a state on, behind the letters that are there: those of a state have no more letters than its longest.
 */
static void
texts_from(const Language *language, uint32_t state, uint32_t *letters, uint32_t n, LanguageText text, void *context)
{
	if (language->accepts[state])
		text(context, letters, n);
	for (uint32_t k = 0; k < language->n_segments && language->longest[state] > 0; k++)
	{
		uint32_t to = language->next[state * language->n_classes + language->segment_class[k]];
		uint32_t end = k + 1 < language->n_segments ? language->segment_start[k + 1] : MAX_CODE_POINT + 1;

		for (letters[n] = language->segment_start[k]; to != 0 && letters[n] < end; letters[n]++)
			texts_from(language, to, letters, n + 1, text, context);
	}
}

void
language_texts(Pool *pool, const Language *language, LanguageText text, void *context)
{
	uint32_t longest = language->longest[language->start], *letters = pool_alloc(pool, longest + 1, sizeof *letters);

	if (letters && pool_work(pool, (uint64_t) language->n_words[language->start] * (longest + 1)))
		texts_from(language, language->start, letters, 0, text, context);
}
