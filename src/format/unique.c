/*
 * unique.c - see unique.h.
 *
 * Two items can be equal only where both of their places allow the value. So it is asked of each two places which
 * values they share: none is fine, a few become one atom that remembers which of them have been, and what cannot be
 * counted (any string, arrays and objects) is refused.
 */
#include "unique.h"
#include "node_reader.h"

#include <string.h>

#include "conjunctions.h"
#include "node_reader.h"
#include "scalars.h"

#define MAX_UNIQUE_VALUES 256
#define MAX_UNIQUE_PLACES 64 /* each two of them are asked */
#define MAX_UNIQUE_DEPTH 32

/* The values that two places share, as a list in the pool. */
typedef struct Shared
{
	Formulas *formulas;
	const char *path;
	JsonNode *first, *last;
	uint32_t n;
	NumberMap words, numbers; /* texts and numbers that are in it */
	WordList decimals;
	bool has[3]; /* null, false, true */
} Shared;

static void
refuse(const Shared *shared, const char *why)
{
	schema_unsupported(shared->formulas->schema, "uniqueItems", *shared->path ? shared->path : "/", why);
}

static JsonNode *
add_value(Shared *shared, JsonNodeKind kind)
{
	JsonNode *node = pool_alloc(shared->formulas->pool, 1, sizeof *node);

	if (!node)
		return NULL;
	if (shared->n++ == MAX_UNIQUE_VALUES)
		refuse(shared, " for so many values");
	node->kind = (uint8_t) kind;
	if (shared->last)
		shared->last->next = node;
	else
		shared->first = node;
	shared->last = node;
	return node;
}

/* A number, unless it is there. */
static void
add_number(Shared *shared, Decimal value)
{
	char text[NUMBER_TEXT_BYTES];
	uint32_t words[4];
	JsonNode *node;

	decimal_to_words(value, words);
	for (uint32_t i = 0; i < shared->decimals.n; i += 4)
		if (decimal_of_words(shared->decimals.at + i) == value)
			return;
	list_add_all(shared->formulas->pool, &shared->decimals, words, 4);
	node = add_value(shared, NODE_IS_NUMBER);
	if (!node)
		return;
	decimal_write(value, text);
	node->source = arena_copy(shared->formulas->pool->arena, text, strlen(text));
	node->source_bytes = (uint32_t) strlen(text);
	if (!node->source)
		(void) pool_alloc(shared->formulas->pool, SIZE_MAX / 2, 1);
}

static void
add_numbers(Shared *shared, uint32_t formula)
{
	const ScalarSets *sets = scalar_numbers(shared->formulas, formula);
	bool is_exact;

	for (uint32_t i = 0; i < sets->n && !pool_failed(shared->formulas->pool); i++)
	{
		const NumberSet *set = sets->sets[i].numbers;
		Decimal step, value;

		if (!set)
		{
			add_number(shared, decimal_read(sets->sets[i].word.data, sets->sets[i].word.length, &is_exact));
			continue;
		}
		step = set->step ? set->step : set->is_whole ? DECIMAL_ONE : 0;
		if (set->is_plain || step == 0 || (set->hi - set->lo) / step > MAX_UNIQUE_VALUES)
		{
			refuse(shared, " for so many numbers: bound them, or list them by \"enum\"");
			return;
		}
		/* the first multiple that is not below */
		value = set->lo / step * step;
		for (value = value < set->lo ? value + step : value; value <= set->hi; value += step)
			if (number_set_has(set, value))
				add_number(shared, value);
	}
}

static void
add_strings(Shared *shared, uint32_t formula)
{
	Formulas *formulas = shared->formulas;
	const ScalarSets *sets = scalar_strings(formulas, formula);

	for (uint32_t i = 0; i < sets->n && !pool_failed(formulas->pool); i++)
	{
		JsonError error;
		JsonNode *read, *node;
		uint32_t text, known;

		if (sets->sets[i].language)
		{
			refuse(shared, " for strings that \"enum\" does not list");
			return;
		}
		read = json_tree_read(formulas->pool->arena, sets->sets[i].word, JSON_STRICT, NULL, &error);
		if (!read)
		{
			(void) pool_alloc(formulas->pool, SIZE_MAX / 2, 1);
			return;
		}
		text = schema_text(formulas->schema, read->text, read->n);
		if (map_find(&shared->words, text, &known))
			continue;
		map_put(formulas->pool, &shared->words, text, 1);
		node = add_value(shared, NODE_IS_STRING);
		if (node)
		{
			node->text = read->text;
			node->n = read->n;
		}
	}
}

/* All values of a conjunction. */
static void
add_shared(Shared *shared, uint32_t conjunction)
{
	Formulas *formulas = shared->formulas;

	for (int type = VALUE_NULL; type < N_VALUE_TYPES && !pool_failed(formulas->pool); type++)
	{
		uint32_t formula = formula_of_conjunction(formulas, conjunction, (ValueType) type);

		if (formula == F_FALSE)
			continue;
		if (type == VALUE_NUMBER)
			add_numbers(shared, formula);
		else if (type == VALUE_STRING)
			add_strings(shared, formula);
		else if (type >= VALUE_ARRAY)
			refuse(shared, type == VALUE_ARRAY ? " for items that are arrays" : " for items that are objects");
		else if (!shared->has[type])
		{
			JsonNode *node = add_value(shared, type == VALUE_NULL ? NODE_IS_NULL : NODE_IS_BOOL);

			shared->has[type] = true;
			if (node)
				node->boolean = type == VALUE_TRUE;
		}
	}
}

/* How many items a node tells apart by their place; and what it says of the item at one. */
typedef struct Places
{
	uint32_t n, max_items;
} Places;

static void
count_places(Formulas *formulas, uint32_t id, Places *places, int depth)
{
	const SchemaNode *node;

	if (id == NO_NODE || depth > MAX_UNIQUE_DEPTH || !pool_work(formulas->pool, 1))
		return;
	node = formulas->schema->nodes[id];
	places->n = node->prefix.n > places->n ? node->prefix.n : places->n;
	places->max_items = node->max_items < places->max_items ? node->max_items : places->max_items;
	if (node->items == formulas->schema->never && node->prefix.n < places->max_items)
		places->max_items = node->prefix.n;
	count_places(formulas, node->ref, places, depth + 1);
	for (uint32_t i = 0; i < node->all_of.n; i++)
		count_places(formulas, node->all_of.at[i], places, depth + 1);
}

static uint32_t
conjunction_at(Formulas *formulas, uint32_t id, uint32_t place, int depth)
{
	const SchemaNode *node;
	uint32_t made = C_TRUE;

	if (id == NO_NODE || depth > MAX_UNIQUE_DEPTH || !pool_work(formulas->pool, 1))
		return made;
	node = formulas->schema->nodes[id];
	if (place < node->prefix.n)
		made = conjunction_of(formulas, LITERAL(node->prefix.at[place], false));
	else if (node->items != NO_NODE)
		made = conjunction_of(formulas, LITERAL(node->items, false));
	made = conjunction_join(formulas, made, conjunction_at(formulas, node->ref, place, depth + 1));
	for (uint32_t i = 0; i < node->all_of.n; i++)
		made = conjunction_join(formulas, made, conjunction_at(formulas, node->all_of.at[i], place, depth + 1));
	return made;
}

/* The atom of the values: a node that has them all, how many are left, and the literal of each. */
static uint32_t
atom_of_values(const Shared *shared)
{
	Formulas *formulas = shared->formulas;
	JsonNode *values = pool_alloc(formulas->pool, 1, sizeof *values);
	WordList words = {0};

	if (!values || shared->n == 0)
		return F_TRUE;
	values->kind = NODE_IS_ARRAY;
	values->first = shared->first;
	values->n = shared->n;
	list_add(formulas->pool, &words, LITERAL(schema_values(formulas->schema, values), false));
	list_add(formulas->pool, &words, shared->n);
	for (const JsonNode *one = shared->first; one && !pool_failed(formulas->pool); one = one->next)
		list_add(formulas->pool, &words, LITERAL(schema_constant(formulas->schema, one), false));
	return formula_atom(formulas, ATOM_UNIQUE, words.at, words.n);
}

uint32_t
unique_items(Formulas *formulas, uint32_t id)
{
	Shared shared = {.formulas = formulas, .path = formulas->schema->nodes[id]->path};
	Places places = {.max_items = NO_LIMIT};
	bool was_probing = formulas->is_probing, had_failed = formulas->probe_failed;
	uint32_t n;

	count_places(formulas, id, &places, 0);
	/* the places behind those that are told apart are alike: two of them stand for all */
	n = places.n < places.max_items ? places.n + (places.max_items - places.n < 2 ? places.max_items - places.n : 2)
									: places.max_items;
	if (n > MAX_UNIQUE_PLACES)
		refuse(&shared, " for so many items by place");
	/* items may be of the schema at hand, which is not made yet */
	formulas->is_probing = true;
	formulas->probe_failed = false;
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
		for (uint32_t k = i + 1; k < n && !pool_failed(formulas->pool); k++)
			add_shared(&shared, conjunction_join(formulas, conjunction_at(formulas, id, i, 0),
												 conjunction_at(formulas, id, k, 0)));
	if (formulas->probe_failed)
		refuse(&shared, " for items that refer to the array itself");
	formulas->is_probing = was_probing;
	formulas->probe_failed = had_failed;
	return pool_failed(formulas->pool) ? F_FALSE : atom_of_values(&shared);
}
