/*
 * expansions.c - see expansions.h.
 *
 * A frame that has not begun has a list of words: what it can begin with, and the frames behind. Costs are the least
 * fixed point over these lists, by rounds: a frame that needs itself has no cost until there is a way without. What has
 * no cost in the end cannot be completed, and is never begun.
 */
#include "expansions.h"

#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"

#define MAX_NESTING 6000 /* frames that wait for others' costs */
#define NO_HEIGHT UINT32_MAX

/* ---- names ---- */

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
	uint32_t n, n_key, n_other, *letters = key_letters(machine, key, &n_key);
	const uint32_t *keys = interned(&machine->key_lists, list, &n);
	bool is_in = false;

	for (uint32_t i = 0; letters && i < n; i++)
	{
		uint32_t *other = is_in ? NULL : key_letters(machine, keys[i], &n_other);

		if (keys[i] == key)
			return list;
		if (other && compare_letters(other, n_other, letters, n_key) > 0)
		{
			list_add(machine->pool, &made, key);
			is_in = true;
		}
		list_add(machine->pool, &made, keys[i]);
	}
	if (!is_in)
		list_add(machine->pool, &made, key);
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
static uint32_t
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
static uint32_t
count_used(const Machine *machine, const Language *language, uint32_t state, uint32_t list, uint32_t range,
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
static bool
key_lives(const Machine *machine, const Language *language, uint32_t state, uint32_t list, uint32_t range,
		  uint32_t depth)
{
	return state != 0 && (language->n_words[state] == NO_LIMIT ||
						  language->n_words[state] > count_used(machine, language, state, list, range, depth));
}

/* The names used that go on with a letter. */
static uint32_t
narrow_range(const Machine *machine, uint32_t list, uint32_t range, uint32_t depth, uint32_t letter)
{
	const uint32_t *keys = interned(&machine->key_lists, list, NULL);
	uint32_t first = range & 0xFFFF, last = range >> 16, end;

	while (first < last &&
		   (key_length(machine, keys[first]) <= depth || key_letter(machine, keys[first], depth) < letter))
		first++;
	for (end = first; end < last && key_letter(machine, keys[end], depth) == letter; end++)
		;
	return end == first ? 0 : first | end << 16;
}

/* ---- frames ---- */

static uint32_t
frame_make(Machine *machine, FrameKind kind, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t n)
{
	uint32_t words[6] = {kind, a, b, c, d, e};

	return intern(machine->pool, &machine->frames, words, n + 1, NULL);
}

uint32_t
frame_of_number(Machine *machine, uint32_t set, const NumberPrefix *prefix)
{
	uint32_t words[7] = {FRAME_NUMBER, set,
						 prefix->phase | (uint32_t) prefix->negative << 3 | (uint32_t) prefix->n_integer << 8 |
							 (uint32_t) prefix->n_fraction << 16};

	decimal_to_words((Decimal) prefix->value, words + 3);
	return intern(machine->pool, &machine->frames, words, 7, NULL);
}

static uint32_t
frame_of_value(Machine *machine, uint32_t conjunction)
{
	return frame_make(machine, FRAME_VALUE, conjunction, 0, 0, 0, 0, 1);
}

uint32_t
language_index(const Machine *machine, const Language *language)
{
	uint32_t i = machine->formulas->n_languages;

	while (i-- > 0)
		if (machine->formulas->language_list[i] == language)
			return i;
	return 0;
}

static uint32_t
new_pick(Machine *machine)
{
	Pick *pick = pool_alloc(machine->pool, 1, sizeof *pick);

	if (!pick ||
		!pool_grow(machine->pool, &machine->picks, machine->n_picks, &machine->picks_capacity, sizeof *machine->picks))
		return 0;
	machine->picks[machine->n_picks] = pick;
	return machine->n_picks++;
}

static void
add_word(Machine *machine, Pick *pick, ByteSpan text, uint32_t n_frames, uint32_t first, uint32_t second)
{
	if (pool_grow(machine->pool, &pick->words, pick->n, &pick->capacity, sizeof *pick->words))
		pick->words[pick->n++] = (PickWord){text.data, (uint32_t) text.length, {first, second}, (uint8_t) n_frames};
}

static ByteSpan
span_of(const char *text)
{
	return (ByteSpan){text, strlen(text)};
}

/* The members of texts, one behind the other. */
static ByteSpan
join(Machine *machine, const char *before, ByteSpan text, const char *behind)
{
	size_t n_before = strlen(before), n_behind = strlen(behind);
	char *made = pool_alloc(machine->pool, n_before + text.length + n_behind + 1, 1);

	if (!made)
		return (ByteSpan){"", 0};
	memcpy(made, before, n_before);
	memcpy(made + n_before, text.data, text.length);
	memcpy(made + n_before + text.length, behind, n_behind);
	return (ByteSpan){made, n_before + text.length + n_behind};
}

uint32_t
pick_of_texts(Machine *machine, const ByteSpan *texts, uint32_t n)
{
	uint32_t index = new_pick(machine);

	for (uint32_t i = 0; i < n && !pool_failed(machine->pool); i++)
		add_word(machine, machine->picks[index], texts[i], 0, 0, 0);
	return index;
}

uint32_t
pick_of_blanks(Machine *machine, const uint32_t *cells, uint32_t n)
{
	uint32_t index = new_pick(machine);

	for (uint32_t i = 0; i < n && !pool_failed(machine->pool); i++)
		if (cells[i] >= N_SPECIAL_CELLS)
		{
			uint32_t frame = interned(&machine->cells, cells[i], NULL)[0];

			add_word(machine, machine->picks[index], span_of("\n"), 1, frame, 0);
			add_word(machine, machine->picks[index], span_of("\n\n"), 1, frame, 0);
		}
	return index;
}

/* ---- what values begin with ---- */

static uint32_t
plan_of(Machine *machine, uint32_t conjunction)
{
	uint32_t index;
	ObjectPlan *plan;

	if (map_find(&machine->plans, conjunction, &index))
		return index;
	plan = object_plan(machine->formulas, conjunction);
	if (!plan || !pool_grow(machine->pool, &machine->plan_list, machine->n_plans, &machine->plans_capacity,
							sizeof *machine->plan_list))
		return 0;
	map_put(machine->pool, &machine->plans, conjunction, machine->n_plans);
	machine->plan_list[machine->n_plans] = plan;
	return machine->n_plans++;
}

static void
add_numbers(Machine *machine, Pick *pick, uint32_t formula)
{
	const ScalarSets *sets = scalar_numbers(machine->formulas, formula);

	for (uint32_t i = 0; i < sets->n && !pool_failed(machine->pool); i++)
	{
		NumberPrefix prefix = {0};

		if (!sets->sets[i].numbers)
		{
			add_word(machine, pick, sets->sets[i].word, 0, 0, 0);
			continue;
		}
		if (!pool_grow(machine->pool, &machine->set_list, machine->n_sets, &machine->sets_capacity,
					   sizeof *machine->set_list))
			return;
		machine->set_list[machine->n_sets++] = sets->sets[i].numbers;
		/* a word of no bytes: the frame itself */
		add_word(machine, pick, span_of(""), 1, frame_of_number(machine, machine->n_sets - 1, &prefix), 0);
	}
}

static void
add_strings(Machine *machine, Pick *pick, uint32_t formula)
{
	const ScalarSets *sets = scalar_strings(machine->formulas, formula);

	for (uint32_t i = 0; i < sets->n && !pool_failed(machine->pool); i++)
	{
		const ScalarSet *set = &sets->sets[i];
		uint32_t words[7] = {FRAME_STRING, 0, 0, set->min, set->max, 0, 0};

		if (!set->language)
		{
			add_word(machine, pick, set->word, 0, 0, 0);
			continue;
		}
		words[1] = language_index(machine, set->language);
		words[2] = set->language->start;
		add_word(machine, pick, span_of("\""), 1, intern(machine->pool, &machine->frames, words, 7, NULL), 0);
	}
}

static void
add_value_words(Machine *machine, Pick *pick, uint32_t conjunction)
{
	Formulas *formulas = machine->formulas;
	static const char *const constants[] = {"null", "false", "true"};
	uint32_t formula;

	for (int type = VALUE_NULL; type <= VALUE_TRUE; type++)
		if (formula_of_conjunction(formulas, conjunction, (ValueType) type) == F_TRUE)
			add_word(machine, pick, span_of(constants[type]), 0, 0, 0);
	add_numbers(machine, pick, formula_of_conjunction(formulas, conjunction, VALUE_NUMBER));
	add_strings(machine, pick, formula_of_conjunction(formulas, conjunction, VALUE_STRING));
	formula = formula_of_conjunction(formulas, conjunction, VALUE_ARRAY);
	if (formula != F_FALSE && !pool_failed(machine->pool))
		add_word(machine, pick, span_of("["), 1, frame_make(machine, FRAME_ARRAY, formula, 1, 0, 0, 0, 2), 0);
	formula = formula_of_conjunction(formulas, conjunction, VALUE_OBJECT);
	if (formula != F_FALSE && !pool_failed(machine->pool))
	{
		uint32_t plan = plan_of(machine, conjunction);

		if (!pool_failed(machine->pool) && machine->plan_list[plan]->formula != F_FALSE)
			add_word(machine, pick, span_of("{"), 1,
					 frame_make(machine, FRAME_OBJECT, plan, machine->plan_list[plan]->formula, 0, 1,
								key_list_of_plan(machine, machine->plan_list[plan]), 5),
					 0);
	}
}

/* ---- what objects and arrays go on with ---- */

static void
add_array_words(Machine *machine, Pick *pick, uint32_t formula, bool is_first)
{
	PartOptions options = array_with(machine->formulas, formula);

	if (container_ends(machine->formulas, formula))
		add_word(machine, pick, span_of("]"), 0, 0, 0);
	for (uint32_t i = 0; i < options.n && !pool_failed(machine->pool); i++)
	{
		uint32_t conjunction = conjunction_reduce(machine->formulas, options.at[i].conjunction);

		if (conjunction != C_FALSE)
			add_word(machine, pick, span_of(is_first ? "" : machine->separator), 2,
					 frame_of_value(machine, conjunction),
					 frame_make(machine, FRAME_ARRAY, options.at[i].formula, 0, 0, 0, 0, 2));
	}
}

/* The kinds of further names, with what is left of a formula by each. */
static const KeyKinds *
other_kinds(Machine *machine, uint32_t formula)
{
	uint32_t index;
	KeyKinds *kinds;

	if (map_find(&machine->other_kinds, formula, &index))
		return machine->kind_lists[index];
	kinds = pool_alloc(machine->pool, 1, sizeof *kinds);
	if (!kinds || !pool_grow(machine->pool, &machine->kind_lists, machine->n_kind_lists, &machine->kind_lists_capacity,
							 sizeof *machine->kind_lists))
		return NULL;
	*kinds = object_with_other(machine->formulas, formula);
	machine->kind_lists[machine->n_kind_lists] = kinds;
	map_put(machine->pool, &machine->other_kinds, formula, machine->n_kind_lists++);
	return kinds;
}

/* Are there as many names as there must be members? */
static bool
names_suffice(Machine *machine, const KeyKinds *kinds, uint32_t formula, uint32_t list)
{
	uint32_t least = object_least(machine->formulas, formula), n_keys, range;
	uint64_t n = 0;

	(void) interned(&machine->key_lists, list, &n_keys);
	range = n_keys << 16;
	for (uint32_t i = 0; i < kinds->n && least > 0; i++)
	{
		const Language *language = kinds->at[i].language;

		if (language->n_words[language->start] == NO_LIMIT)
			return true;
		n += language->n_words[language->start] - count_used(machine, language, language->start, list, range, 0);
	}
	return n >= least;
}

static void
add_other_words(Machine *machine, Pick *pick, uint32_t plan, uint32_t formula, bool is_first, uint32_t list)
{
	const KeyKinds *kinds = other_kinds(machine, formula);
	uint32_t n_keys;

	(void) interned(&machine->key_lists, list, &n_keys);
	if (!kinds || !names_suffice(machine, kinds, formula, list) ||
		(n_keys >= machine->plan_list[plan]->n_names + MACHINE_MAX_KEYS && container_ends(machine->formulas, formula)))
		return;
	for (uint32_t i = 0; i < kinds->n && !pool_failed(machine->pool); i++)
		for (uint32_t k = 0; k < kinds->at[i].options.n && !pool_failed(machine->pool); k++)
		{
			const PartOption *option = &kinds->at[i].options.at[k];
			uint32_t conjunction = conjunction_reduce(machine->formulas, option->conjunction);
			uint32_t rest[4] = {language_index(machine, kinds->at[i].language), plan, conjunction, option->formula};
			uint32_t words[9] = {FRAME_KEY, 0, kinds->at[i].language->start, 0, 0, list, n_keys << 16, 0, 0};

			if (conjunction == C_FALSE)
				continue;
			words[1] = intern(machine->pool, &machine->rests, rest, 4, NULL);
			add_word(machine, pick, join(machine, is_first ? "" : machine->separator, span_of("\""), ""), 1,
					 intern(machine->pool, &machine->frames, words, 9, NULL), 0);
		}
}

static void
add_object_words(Machine *machine, Pick *pick, const uint32_t *words)
{
	Formulas *formulas = machine->formulas;
	uint32_t plan = words[1], formula = words[2], list = words[5];
	bool is_first = words[4];

	for (uint32_t i = words[3]; i < machine->plan_list[plan]->n_names && pool_work(machine->pool, 1); i++)
	{
		uint32_t name = machine->plan_list[plan]->names[i];
		ByteSpan spelled = scalar_spell(machine->pool, schema_span(formulas->schema, name));
		PartOptions options = {0};

		if (spelled.data)
			options = object_with(formulas, formula, name);
		for (uint32_t k = 0; k < options.n && !pool_failed(machine->pool); k++)
		{
			uint32_t conjunction = conjunction_reduce(formulas, options.at[k].conjunction);

			if (conjunction != C_FALSE)
				add_word(machine, pick, join(machine, is_first ? "" : machine->separator, spelled, machine->colon), 2,
						 frame_of_value(machine, conjunction),
						 frame_make(machine, FRAME_OBJECT, plan, options.at[k].formula, i + 1, 0, list, 5));
		}
		formula = object_without(formulas, formula, name);
		if (formula == F_FALSE)
			return;
	}
	add_other_words(machine, pick, plan, formula, is_first, list);
	if (container_ends(formulas, formula))
		add_word(machine, pick, span_of("}"), 0, 0, 0);
}

/* All words that a frame that has not begun can begin with. */
static const Pick *
raw_words(Machine *machine, uint32_t frame)
{
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	uint32_t index;

	if (words[0] == FRAME_WORDS)
		return machine->picks[words[1]];
	if (map_find(&machine->raw_picks, frame, &index))
		return machine->picks[index];
	index = new_pick(machine);
	if (pool_failed(machine->pool))
		return NULL;
	map_put(machine->pool, &machine->raw_picks, frame, index);
	if (words[0] == FRAME_VALUE)
		add_value_words(machine, machine->picks[index], words[1]);
	else if (words[0] == FRAME_ARRAY)
		add_array_words(machine, machine->picks[index], words[1], words[2]);
	else
		add_object_words(machine, machine->picks[index], words);
	return pool_failed(machine->pool) ? NULL : machine->picks[index];
}

/* ---- costs ---- */

static FrameCost evaluate(Machine *machine, uint32_t frame);

static uint32_t
plus(uint32_t a, uint32_t b)
{
	return a == NO_COST || b == NO_COST || a + b < a ? NO_COST : a + b;
}

static FrameCost *
cost_at(Machine *machine, uint32_t frame)
{
	while (machine->n_costs <= frame)
	{
		if (!pool_grow(machine->pool, &machine->costs, machine->n_costs, &machine->costs_capacity,
					   sizeof *machine->costs))
			return NULL;
		machine->costs[machine->n_costs++] = (FrameCost){.bytes = NO_COST, .height = NO_HEIGHT};
	}
	return &machine->costs[frame];
}

/* A word and the frames behind it, of which so many bytes are there already. */
static FrameCost
word_cost(Machine *machine, const PickWord *word, uint32_t depth)
{
	FrameCost cost = {.bytes = word->length - depth};

	for (uint32_t i = 0; i < word->n_frames; i++)
	{
		FrameCost part = evaluate(machine, word->frames[i]);
		uint32_t kind = interned(&machine->frames, word->frames[i], NULL)[0];

		/* [ and { stand before a frame of their own */
		if (i == 0 && (kind == FRAME_OBJECT || kind == FRAME_ARRAY))
			part.height = plus(part.height, 1);
		cost.bytes = plus(cost.bytes, part.bytes);
		cost.height = part.height > cost.height ? part.height : cost.height;
	}
	return cost;
}

static FrameCost
words_cost(Machine *machine, const Pick *pick, uint32_t first, uint32_t last, uint32_t depth)
{
	FrameCost least = {.bytes = NO_COST, .height = NO_HEIGHT};

	for (uint32_t i = first; pick && i < last && !pool_failed(machine->pool); i++)
	{
		FrameCost cost = word_cost(machine, &pick->words[i], depth);

		if (cost.bytes == NO_COST)
			continue;
		least.bytes = cost.bytes < least.bytes ? cost.bytes : least.bytes;
		least.height = cost.height < least.height ? cost.height : least.height;
	}
	return least;
}

/* Bytes to the end of a language's text. */
static uint32_t
text_cost(const Language *language, uint32_t state, uint32_t min, uint32_t mode)
{
	uint64_t letters = language->shortest[state] > min ? language->shortest[state] : min;

	letters = letters * language->letter_bytes + (mode ? 12 : 0);
	return letters < NO_COST ? (uint32_t) letters : NO_COST - 1;
}

static uint32_t
number_cost(const NumberSet *set, NumberPrefix prefix)
{
	uint32_t n = 0;
	char c;

	while (n < NUMBER_TEXT_BYTES && (c = number_shortest_next(set, &prefix)) != 0 && number_step(set, &prefix, c))
		n++;
	/* what is complete already goes on better without it */
	return n ? n : 1;
}

static FrameCost
key_cost(Machine *machine, const uint32_t *words)
{
	const uint32_t *rest = interned(&machine->rests, words[1], NULL);
	const Language *language = machine->formulas->language_list[rest[0]];
	FrameCost value, behind, none = {.bytes = NO_COST, .height = NO_HEIGHT};
	uint32_t n_names;

	if (!key_lives(machine, language, words[2], words[5], words[6], words[7]))
		return none;
	value = evaluate(machine, frame_of_value(machine, rest[2]));
	n_names = machine->plan_list[rest[1]]->n_names;
	behind = evaluate(machine, frame_make(machine, FRAME_OBJECT, rest[1], rest[3], n_names, 0, words[5], 5));
	value.bytes = plus(plus(value.bytes, behind.bytes),
					   text_cost(language, words[2], 0, words[3]) + 1 + (uint32_t) strlen(machine->colon));
	value.height = value.height > behind.height ? value.height : behind.height;
	return value;
}

static FrameCost
evaluate_new(Machine *machine, uint32_t frame)
{
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	const Pick *pick;

	switch ((FrameKind) words[0])
	{
		case FRAME_OBJECT:
		case FRAME_ARRAY:
			if (container_ends(machine->formulas, words[words[0] == FRAME_OBJECT ? 2 : 1]))
				return (FrameCost){.bytes = 1};
			/* fall through */
		case FRAME_VALUE:
		case FRAME_WORDS:
			pick = raw_words(machine, frame);
			return words_cost(machine, pick, 0, pick ? pick->n : 0, 0);
		case FRAME_PICK:
			return words_cost(machine, machine->picks[words[1]], words[2], words[3], words[4]);
		case FRAME_NUMBER:
		{
			NumberPrefix prefix = {.phase = words[2] & 7,
								   .negative = words[2] >> 3 & 1,
								   .n_integer = words[2] >> 8 & 0xFF,
								   .n_fraction = words[2] >> 16 & 0xFF,
								   .value = (UnsignedDecimal) decimal_of_words(words + 3)};

			return (FrameCost){.bytes = number_cost(machine->set_list[words[1]], prefix)};
		}
		case FRAME_STRING:
			return (FrameCost){
				.bytes = text_cost(machine->formulas->language_list[words[1]], words[2], words[3], words[5]) + 1};
		case FRAME_TEXT:
			return (FrameCost){.bytes = text_cost(machine->formulas->language_list[words[1]], words[2], 0, words[3])};
		case FRAME_KEY:
			return key_cost(machine, words);
	}
	return (FrameCost){.bytes = NO_COST, .height = NO_HEIGHT};
}

/* What is known of a frame's cost in this round. */
static FrameCost
evaluate(Machine *machine, uint32_t frame)
{
	FrameCost none = {.bytes = NO_COST, .height = NO_HEIGHT}, cost, *known = cost_at(machine, frame);

	if (!known || pool_failed(machine->pool))
		return none;
	if (known->is_final || known->round == machine->round)
		return *known;
	known->round = machine->round;
	list_add(machine->pool, &machine->touched, frame);
	if (++machine->depth > MAX_NESTING)
		pool_fail(machine->pool, STATUS_TOO_LONG,
				  "the schema's least value is too deep: more than %d parts in one another", MAX_NESTING);
	cost = pool_work(machine->pool, 1) ? evaluate_new(machine, frame) : none;
	machine->depth--;
	known = cost_at(machine, frame);
	if (!known)
		return none;
	if (cost.bytes < known->bytes || cost.height < known->height)
		machine->changed = true;
	known->bytes = cost.bytes < known->bytes ? cost.bytes : known->bytes;
	known->height = cost.height < known->height ? cost.height : known->height;
	return *known;
}

FrameCost
frame_cost(Machine *machine, uint32_t frame)
{
	FrameCost none = {.bytes = NO_COST, .height = NO_HEIGHT}, *known = cost_at(machine, frame);

	if (!known)
		return none;
	if (known->is_final)
		return *known;
	if (machine->in_rounds)
		return evaluate(machine, frame);
	machine->in_rounds = true;
	do
	{
		machine->changed = false;
		machine->touched.n = 0;
		machine->round++;
		(void) evaluate(machine, frame);
	} while (machine->changed && !pool_failed(machine->pool));
	machine->in_rounds = false;
	for (uint32_t i = 0; i < machine->touched.n && !pool_failed(machine->pool); i++)
		machine->costs[machine->touched.at[i]].is_final = true;
	return pool_failed(machine->pool) ? none : machine->costs[frame];
}

/* ---- expansions ---- */

static int
compare_picks(const void *a, const void *b)
{
	const PickWord *x = a, *y = b;
	uint32_t n = x->length < y->length ? x->length : y->length;
	int c = n ? memcmp(x->text, y->text, n) : 0;

	if (c == 0)
		c = x->length < y->length ? -1 : x->length > y->length;
	if (c == 0)
		c = x->frames[0] < y->frames[0] ? -1 : x->frames[0] > y->frames[0];
	return c != 0 ? c : x->frames[1] < y->frames[1] ? -1 : x->frames[1] > y->frames[1];
}

/* The words that can be completed within a height, in order. */
static void
add_living_words(Machine *machine, Expansion *expansion, const Pick *raw, uint32_t height)
{
	Pick *pick = machine->picks[expansion->pick];
	uint32_t kept = 0;

	for (uint32_t i = 0; i < raw->n && pool_work(machine->pool, 1); i++)
	{
		const PickWord *word = &raw->words[i];
		FrameCost cost;

		for (uint32_t k = 0; k < word->n_frames; k++)
			(void) frame_cost(machine, word->frames[k]);
		cost = word_cost(machine, word, 0);
		if (cost.bytes == NO_COST || cost.height > height)
			continue;
		if (cost.height > expansion->max_height)
			expansion->max_height = cost.height;
		add_word(machine, pick, (ByteSpan){word->text, word->length}, word->n_frames, word->frames[0], word->frames[1]);
	}
	if (pick->n > 1)
		qsort(pick->words, pick->n, sizeof(PickWord), compare_picks);
	for (uint32_t i = 0; i < pick->n; i++)
		if (kept == 0 || compare_picks(&pick->words[kept - 1], &pick->words[i]) != 0)
			pick->words[kept++] = pick->words[i];
	pick->n = kept;
}

/* The expansion of a frame with what needs no more than a height. */
static Expansion *
make_expansion(Machine *machine, uint32_t frame, uint32_t height, uint64_t key)
{
	const Pick *raw = raw_words(machine, frame);
	Expansion *expansion = pool_alloc(machine->pool, 1, sizeof *expansion);
	const Pick *pick;

	if (!expansion || !raw)
		return NULL;
	expansion->pick = new_pick(machine);
	if (!pool_failed(machine->pool))
		add_living_words(machine, expansion, raw, height);
	if (pool_failed(machine->pool) || !pool_grow(machine->pool, &machine->expansion_list, machine->n_expansions,
												 &machine->expansions_capacity, sizeof *machine->expansion_list))
		return NULL;
	pick = machine->picks[expansion->pick];
	while (expansion->n_empty < pick->n && pick->words[expansion->n_empty].length == 0)
		expansion->n_empty++;
	expansion->frame = NO_FRAME;
	if (expansion->n_empty < pick->n)
		expansion->frame = frame_make(machine, FRAME_PICK, expansion->pick, expansion->n_empty, pick->n, 0, 0, 4);
	if (expansion->max_height > machine->max_height)
		machine->max_height = expansion->max_height;
	map_put(machine->pool, &machine->expansions, key, machine->n_expansions);
	machine->expansion_list[machine->n_expansions++] = expansion;
	return expansion;
}

const Expansion *
expansion_of(Machine *machine, uint32_t frame, uint32_t height)
{
	uint64_t key = (uint64_t) frame << 8 | 0xFF;
	uint32_t index;
	const Expansion *all;

	if (map_find(&machine->expansions, key, &index))
		all = machine->expansion_list[index];
	else
		all = make_expansion(machine, frame, NO_HEIGHT - 1, key);
	if (!all || all->max_height <= height)
		return all;
	key = (uint64_t) frame << 8 | height;
	if (map_find(&machine->expansions, key, &index))
		return machine->expansion_list[index];
	return make_expansion(machine, frame, height, key);
}

/* ---- names, and bytes of completions ---- */

KeyStep
key_step(Machine *machine, uint32_t words[9], unsigned char byte, uint32_t after[3])
{
	uint32_t rest[4], letter = 0, list = words[5], range = words[6], depth = words[7];
	const Language *language;
	LetterPrefix prefix = {words[3], words[4]};
	LetterStep step = letter_step(&prefix, byte, true, &letter);
	ByteSpan colon = span_of(machine->colon);

	memcpy(rest, interned(&machine->rests, words[1], NULL), sizeof rest);
	language = machine->formulas->language_list[rest[0]];
	switch (step)
	{
		case LETTER_DEAD:
			return KEY_DEAD;
		case LETTER_QUOTE:
			if (!language->accepts[words[2]] ||
				((range & 0xFFFF) < range >> 16 &&
				 key_length(machine, interned(&machine->key_lists, list, NULL)[range & 0xFFFF]) == depth))
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
			if (letter_shortest(language, words[2], 0, NO_LIMIT, &prefix) == NO_LIMIT)
				return KEY_DEAD;
			if (!machine->is_real)
				words[8] = NO_KEY;
	}
	words[3] = prefix.mode;
	words[4] = prefix.value;
	return KEY_GOES_ON;
}

static unsigned char
pick_best_byte(Machine *machine, const uint32_t *words)
{
	const Pick *pick = machine->picks[words[1]];
	uint32_t least = NO_COST, best = words[2];

	for (uint32_t i = words[2]; i < words[3]; i++)
	{
		FrameCost cost = word_cost(machine, &pick->words[i], words[4]);

		if (cost.bytes < least)
		{
			least = cost.bytes;
			best = i;
		}
	}
	return (unsigned char) pick->words[best].text[words[4]];
}

/* The quote, if the name may end here; otherwise a letter after which it can. */
static unsigned char
key_best_byte(Machine *machine, const uint32_t *words)
{
	const Language *language = machine->formulas->language_list[interned(&machine->rests, words[1], NULL)[0]];
	uint32_t least = NO_COST, after[3];
	unsigned char best = 0;

	for (unsigned byte = 1; byte < 256; byte++)
	{
		uint32_t next[9], letters;
		LetterPrefix prefix;
		KeyStep step;

		memcpy(next, words, sizeof next);
		step = key_step(machine, next, (unsigned char) byte, after);
		if (step == KEY_ENDS)
			return '"';
		if (step == KEY_DEAD)
			continue;
		prefix = (LetterPrefix){next[3], next[4]};
		letters = prefix.mode ? letter_shortest(language, next[2], 0, NO_LIMIT, &prefix) : language->shortest[next[2]];
		if (letters < least)
		{
			least = letters;
			best = (unsigned char) byte;
		}
	}
	return best;
}

unsigned char
frame_best_byte(Machine *machine, const uint32_t *words)
{
	const Language *language;
	LetterPrefix prefix;
	NumberPrefix number;

	switch ((FrameKind) words[0])
	{
		case FRAME_PICK:
			return pick_best_byte(machine, words);
		case FRAME_KEY:
			return key_best_byte(machine, words);
		case FRAME_NUMBER:
			number = (NumberPrefix){.phase = words[2] & 7,
									.negative = words[2] >> 3 & 1,
									.n_integer = words[2] >> 8 & 0xFF,
									.n_fraction = words[2] >> 16 & 0xFF,
									.value = (UnsignedDecimal) decimal_of_words(words + 3)};
			return (unsigned char) number_shortest_next(machine->set_list[words[1]], &number);
		case FRAME_STRING:
			language = machine->formulas->language_list[words[1]];
			prefix = (LetterPrefix){words[5], words[6]};
			if (!prefix.mode && language->accepts[words[2]] && words[3] == 0)
				return '"';
			return letter_best_byte(language, words[2], words[3], words[4], &prefix, true);
		case FRAME_TEXT:
			language = machine->formulas->language_list[words[1]];
			prefix = (LetterPrefix){words[3], words[4]};
			return letter_best_byte(language, words[2], 0, NO_LIMIT, &prefix, false);
		default:
			return 0;
	}
}
