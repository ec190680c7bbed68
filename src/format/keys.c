/*
 * keys.c - see keys.h.
 */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"
#include "frames.h"

static uint32_t
key_length(const Machine *machine, uint32_t key)
{
	return key ? interned(&machine->key_texts, key, NULL)[2] : 0;
}

/* The letter at an index of a name. */
static uint32_t
key_letter(const Machine *machine, uint32_t key, uint32_t index)
{
	for (;;)
	{
		const uint32_t *words = interned(&machine->key_texts, key, NULL);

		if (words[2] == index + 1)
			return words[1];
		key = words[0];
	}
}

/* A name with a letter more. */
static uint32_t
key_add(Machine *machine, uint32_t key, uint32_t letter)
{
	uint32_t words[3] = {key, letter, key_length(machine, key) + 1};

	return intern(machine->pool, &machine->key_texts, words, 3, NULL);
}

static uint32_t
key_of_text(Machine *machine, ByteSpan text)
{
	uint32_t key = 0;

	for (size_t at = 0; at < text.length && !pool_failed(machine->pool);)
	{
		int bytes = utf8_character_bytes(text.data + at, text.length - at);

		if (bytes <= 0)
			break;
		key = key_add(machine, key, utf8_code_point(text.data + at, bytes));
		at += (size_t) bytes;
	}
	return key;
}

static uint32_t *
key_letters(Machine *machine, uint32_t key, uint32_t *n)
{
	uint32_t *letters;

	*n = key_length(machine, key);
	letters = pool_alloc(machine->pool, *n, sizeof *letters);
	for (uint32_t i = *n; letters && i-- > 0;)
	{
		const uint32_t *words = interned(&machine->key_texts, key, NULL);

		letters[i] = words[1];
		key = words[0];
	}
	return letters;
}

static int
compare_letters(const uint32_t *a, uint32_t n_a, const uint32_t *b, uint32_t n_b)
{
	for (uint32_t i = 0; i < n_a && i < n_b; i++)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return n_a < n_b ? -1 : n_a > n_b;
}

/* A sorted list of names with one more. */
static uint32_t
key_list_add(Machine *machine, uint32_t list, uint32_t key)
{
	WordList made = {0};
	uint32_t n, n_key, n_other, first = 0, last, *letters = key_letters(machine, key, &n_key);
	const uint32_t *keys = interned(&machine->key_lists, list, &n);

	/* its place: each look takes memory, so there are few */
	for (last = n; first < last && !pool_failed(machine->pool);)
	{
		uint32_t middle = first + (last - first) / 2, *other = key_letters(machine, keys[middle], &n_other);
		int c = other && letters ? compare_letters(other, n_other, letters, n_key) : 0;

		if (c == 0)
			return list;
		if (c < 0)
			first = middle + 1;
		else
			last = middle;
	}
	list_add_all(machine->pool, &made, keys, first);
	list_add(machine->pool, &made, key);
	list_add_all(machine->pool, &made, keys + first, n - first);
	return intern(machine->pool, &machine->key_lists, made.at, made.n, NULL);
}

typedef struct SortedKey
{
	uint32_t key, n, *letters;
} SortedKey;

static int
compare_keys(const void *a, const void *b)
{
	const SortedKey *x = a, *y = b;

	return compare_letters(x->letters, x->n, y->letters, y->n);
}

/* The names of a plan as a list of names that are used. */
uint32_t
key_list_of_plan(Machine *machine, const ObjectPlan *plan)
{
	SortedKey *keys = pool_alloc(machine->pool, plan->n_names, sizeof *keys);
	WordList made = {0};

	if (!keys)
		return 0;
	for (uint32_t i = 0; i < plan->n_names && !pool_failed(machine->pool); i++)
	{
		keys[i].key = key_of_text(machine, schema_span(machine->formulas->schema, plan->names[i]));
		keys[i].letters = key_letters(machine, keys[i].key, &keys[i].n);
	}
	if (pool_failed(machine->pool))
		return 0;
	qsort(keys, plan->n_names, sizeof *keys, compare_keys);
	for (uint32_t i = 0; i < plan->n_names; i++)
		list_add(machine->pool, &made, keys[i].key);
	return intern(machine->pool, &machine->key_lists, made.at, made.n, NULL);
}

/* How many of the names used, of which the first depth letters are those of the name at hand, are words of a language
 * from a state on. */
uint32_t
keys_count_used(const Machine *machine, const Language *language, uint32_t state, uint32_t list, uint32_t range,
				uint32_t depth)
{
	const uint32_t *keys = interned(&machine->key_lists, list, NULL);
	uint32_t n = 0;

	for (uint32_t i = range & 0xFFFF; i < range >> 16; i++)
	{
		uint32_t at = state;

		for (uint32_t k = depth; k < key_length(machine, keys[i]) && at; k++)
			at = language_next(language, at, key_letter(machine, keys[i], k));
		n += at != 0 && language->accepts[at];
	}
	return n;
}

/* Is there a name from here that is not used yet? */
bool
key_lives(const Machine *machine, const Language *language, uint32_t state, uint32_t list, uint32_t range,
		  uint32_t depth)
{
	return state != 0 && (language->n_words[state] == NO_LIMIT ||
						  language->n_words[state] > keys_count_used(machine, language, state, list, range, depth));
}

/* The first name used of first … last - 1 that has a letter at depth, which is not less than letter. */
static uint32_t
find_key(const Machine *machine, const uint32_t *keys, uint32_t first, uint32_t last, uint32_t depth, uint32_t letter)
{
	while (first < last)
	{
		uint32_t middle = first + (last - first) / 2;

		if (key_length(machine, keys[middle]) <= depth || key_letter(machine, keys[middle], depth) < letter)
			first = middle + 1;
		else
			last = middle;
	}
	return first;
}

/* The names used that go on with a letter. */
static uint32_t
narrow_range(const Machine *machine, uint32_t list, uint32_t range, uint32_t depth, uint32_t letter)
{
	const uint32_t *keys = interned(&machine->key_lists, list, NULL);
	uint32_t first = range & 0xFFFF, last = range >> 16, end;

	first = find_key(machine, keys, first, last, depth, letter);
	end = find_key(machine, keys, first, last, depth, letter + 1);
	return end == first ? 0 : first | end << 16;
}

/* After some letter of a range, all of which lead to one state: is there a name that is not used yet? */
static bool
lives_after(const Machine *machine, const Language *language, uint32_t to, LetterRange letters, const uint32_t words[9])
{
	uint32_t list = words[5], range = words[6];
	uint32_t n_used = (range & 0xFFFF) < range >> 16 ? (range >> 16) - (range & 0xFFFF) : 0;

	/* more letters than names are used: behind one of them none is */
	if (language->n_words[to] == NO_LIMIT || letters.last - letters.first >= n_used)
		return language->n_words[to] > 0;
	for (uint32_t letter = letters.first; letter <= letters.last; letter++)
	{
		uint32_t used = narrow_range(machine, list, range, words[7], letter);

		if (key_lives(machine, language, to, list, used, used ? words[7] + 1 : 0))
			return true;
	}
	return false;
}

uint32_t
key_shortest(const Machine *machine, const Language *language, const uint32_t words[9])
{
	LetterPrefix prefix = {words[3], words[4]};
	LetterRange ranges[2];
	uint32_t n = letter_ranges(&prefix, ranges), least = NO_LIMIT;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = language_segment(language, ranges[i].first);
			 k < language->n_segments && language->segment_start[k] <= ranges[i].last; k++)
		{
			uint32_t to = language->next[words[2] * language->n_classes + language->segment_class[k]];
			uint32_t end = k + 1 < language->n_segments ? language->segment_start[k + 1] - 1 : ranges[i].last;
			LetterRange letters = {language->segment_start[k] > ranges[i].first ? language->segment_start[k]
																				: ranges[i].first,
								   end < ranges[i].last ? end : ranges[i].last};

			if (to != 0 && language->shortest[to] < least && lives_after(machine, language, to, letters, words))
				least = language->shortest[to];
		}
	return least;
}

bool
key_is_used(const Machine *machine, const uint32_t words[9])
{
	uint32_t first = words[6] & 0xFFFF;

	return first < words[6] >> 16 &&
		   key_length(machine, interned(&machine->key_lists, words[5], NULL)[first]) == words[7];
}

KeyStep
key_step(Machine *machine, uint32_t words[9], unsigned char byte, uint32_t after[3])
{
	uint32_t rest[4], letter = 0, list = words[5], range = words[6], depth = words[7];
	const Language *language;
	LetterPrefix prefix = {words[3], words[4]};
	LetterStep step = letter_step(&prefix, byte, true, &letter);
	ByteSpan colon = frame_span(machine->colon);

	memcpy(rest, interned(&machine->rests, words[1], NULL), sizeof rest);
	language = machine->formulas->language_list[rest[0]];
	switch (step)
	{
		case LETTER_DEAD:
			return KEY_DEAD;
		case LETTER_QUOTE:
			if (!language->accepts[words[2]] || key_is_used(machine, words))
				return KEY_DEAD;
			if (machine->is_real && words[8] != NO_KEY)
				list = key_list_add(machine, list, words[8]);
			if (!machine->has_colon)
				machine->colon_frame =
					frame_make(machine, FRAME_WORDS, pick_of_texts(machine, &colon, 1), 0, 0, 0, 0, 1);
			machine->has_colon = true;
			after[0] = machine->colon_frame;
			after[1] = frame_of_value(machine, rest[2]);
			after[2] =
				frame_make(machine, FRAME_OBJECT, rest[1], rest[3], machine->plan_list[rest[1]]->n_names, 0, list, 5);
			return KEY_ENDS;
		case LETTER_WHOLE:
			words[2] = language_next(language, words[2], letter);
			range = (range & 0xFFFF) < range >> 16 ? narrow_range(machine, list, range, depth, letter) : 0;
			depth = range ? depth + 1 : 0;
			if (!key_lives(machine, language, words[2], list, range, depth))
				return KEY_DEAD;
			words[6] = range;
			words[7] = depth;
			words[8] = machine->is_real && words[8] != NO_KEY ? key_add(machine, words[8], letter) : NO_KEY;
			break;
		case LETTER_PART:
			words[3] = prefix.mode;
			words[4] = prefix.value;
			if (key_shortest(machine, language, words) == NO_LIMIT)
				return KEY_DEAD;
			if (!machine->is_real)
				words[8] = NO_KEY;
			break;
	}
	words[3] = prefix.mode;
	words[4] = prefix.value;
	return KEY_GOES_ON;
}
