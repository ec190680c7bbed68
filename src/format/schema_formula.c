/*
 * schema_formula.c - see schema_formula.h.
 */
#include "schema_formula.h"

#include "alternatives.h"
#include "conjunctions.h"
#include "unevaluated.h"
#include "unique.h"

/* A node and type at hand, and the parts that its formula is the conjunction of. */
typedef struct Parts
{
	Formulas *formulas;
	Schema *schema;
	const SchemaNode *node;
	ValueType type;
	WordList list;
} Parts;

static void
add(Parts *parts, uint32_t formula)
{
	list_add(parts->formulas->pool, &parts->list, formula);
}

static uint32_t
decimal_atom(Formulas *formulas, FormulaKind kind, Decimal value)
{
	uint32_t words[4];

	decimal_to_words(value, words);
	return formula_atom(formulas, kind, words, 4);
}

static bool
allows_type(const SchemaNode *node, ValueType type)
{
	static const uint8_t bits[N_VALUE_TYPES] = {TYPE_NULL,   TYPE_BOOLEAN, TYPE_BOOLEAN, TYPE_NUMBER,
												TYPE_STRING, TYPE_ARRAY,   TYPE_OBJECT};

	return (node->types & bits[type]) != 0;
}

/* ---- values ---- */

static uint32_t value_formula(Formulas *formulas, const JsonNode *value, ValueType type);

/* An object that is one value: these members, and no others. */
static uint32_t
object_value(Formulas *formulas, const JsonNode *value)
{
	Schema *schema = formulas->schema;
	WordList parts = {0}, names = {0}, none = {0};

	for (const JsonNode *member = value->first; member && !pool_failed(formulas->pool); member = member->next)
	{
		uint32_t name = schema_text(schema, member->key, member->key_bytes);

		list_add(formulas->pool, &names, name);
		list_add(formulas->pool, &parts,
				 formula_atom3(formulas, ATOM_MEMBER, name, LITERAL(schema_constant(schema, member), false), 0, 3));
	}
	list_add(formulas->pool, &parts,
			 formula_atom3(formulas, ATOM_REST, scope_of_others(formulas, &names, &none), LITERAL(schema->never, false),
						   0, 2));
	return formula_and(formulas, parts.at, parts.n);
}

static uint32_t
array_value(Formulas *formulas, const JsonNode *value)
{
	Schema *schema = formulas->schema;
	WordList parts = {0};
	uint32_t n = 0;

	for (const JsonNode *item = value->first; item && !pool_failed(formulas->pool); item = item->next, n++)
		list_add(formulas->pool, &parts,
				 formula_atom3(formulas, ATOM_ITEM, n, LITERAL(schema_constant(schema, item), false), 0, 2));
	list_add(formulas->pool, &parts, formula_atom3(formulas, ATOM_ITEM_COUNT, n, n, 0, 2));
	return formula_and(formulas, parts.at, parts.n);
}

static bool
is_of_type(const JsonNode *value, ValueType type)
{
	switch (type)
	{
		case VALUE_NULL:
			return value->kind == NODE_IS_NULL;
		case VALUE_FALSE:
		case VALUE_TRUE:
			return value->kind == NODE_IS_BOOL && value->boolean == (type == VALUE_TRUE);
		case VALUE_NUMBER:
			return value->kind == NODE_IS_NUMBER;
		case VALUE_STRING:
			return value->kind == NODE_IS_STRING;
		case VALUE_ARRAY:
			return value->kind == NODE_IS_ARRAY;
		default:
			return value->kind == NODE_IS_OBJECT;
	}
}

/* Add a number's or text's words to a list of values. */
static void
add_value(Formulas *formulas, WordList *words, const JsonNode *value)
{
	uint32_t decimal[4];
	bool is_exact;
	Decimal number;

	if (value->kind == NODE_IS_STRING)
	{
		list_add(formulas->pool, words, schema_text(formulas->schema, value->text, value->n));
		return;
	}
	number = decimal_read(value->source, value->source_bytes, &is_exact);
	if (!is_exact)
		pool_fail(formulas->pool, STATUS_UNSUPPORTED,
				  "the value %.*s is not supported: it has more than 19 digits before the point or 18 behind it",
				  (int) (value->source_bytes < 60 ? value->source_bytes : 60), value->source);
	decimal_to_words(number, decimal);
	list_add_all(formulas->pool, words, decimal, 4);
}

static uint32_t
value_formula(Formulas *formulas, const JsonNode *value, ValueType type)
{
	WordList words = {0};

	if (!is_of_type(value, type))
		return F_FALSE;
	if (type == VALUE_OBJECT)
		return object_value(formulas, value);
	if (type == VALUE_ARRAY)
		return array_value(formulas, value);
	if (type < VALUE_NUMBER)
		return F_TRUE;
	add_value(formulas, &words, value);
	return formula_atom(formulas, type == VALUE_NUMBER ? ATOM_VALUES : ATOM_WORDS, words.at, words.n);
}

/* One of a list of values: numbers and texts are one atom. */
static uint32_t
values_formula(Formulas *formulas, const JsonNode *values, ValueType type)
{
	WordList words = {0};

	for (const JsonNode *value = values->first; value && pool_work(formulas->pool, 1); value = value->next)
	{
		if (!is_of_type(value, type))
			continue;
		if (type == VALUE_NUMBER || type == VALUE_STRING)
			add_value(formulas, &words, value);
		else
			list_add(formulas->pool, &words, value_formula(formulas, value, type));
	}
	if (words.n == 0)
		return F_FALSE;
	if (type == VALUE_STRING)
		list_sort_unique(&words);
	if (type == VALUE_NUMBER || type == VALUE_STRING)
		return formula_atom(formulas, type == VALUE_NUMBER ? ATOM_VALUES : ATOM_WORDS, words.at, words.n);
	return formula_or(formulas, words.at, words.n);
}

/* ---- scalars ---- */

static void
add_numbers(Parts *parts)
{
	const SchemaNode *node = parts->node;

	if ((node->types & TYPE_NUMBER) == TYPE_INTEGER)
		add(parts, formula_atom(parts->formulas, ATOM_WHOLE, NULL, 0));
	if (node->has_lower)
		add(parts, decimal_atom(parts->formulas, ATOM_LOWER, node->lower));
	if (node->has_upper)
		add(parts, decimal_atom(parts->formulas, ATOM_UPPER, node->upper));
	for (uint32_t i = 0; i < node->steps.n; i++)
		add(parts, decimal_atom(parts->formulas, ATOM_STEP, parts->schema->steps[node->steps.at[i]]));
}

static void
add_strings(Parts *parts)
{
	const SchemaNode *node = parts->node;

	add(parts, formula_atom3(parts->formulas, ATOM_LENGTH, node->min_length, node->max_length, LENGTH_EXACT, 3));
	if (node->format_length != NO_LIMIT)
		add(parts, formula_atom3(parts->formulas, ATOM_LENGTH, 0, node->format_length, LENGTH_BELOW, 3));
	if (node->pattern != NO_EXPRESSION)
		add(parts, formula_atom3(parts->formulas, ATOM_PATTERN, node->pattern, node->pattern, 0, 2));
	if (node->format != NO_EXPRESSION && node->format != E_ALL)
		add(parts, formula_atom3(parts->formulas, ATOM_PATTERN, node->format, node->format_bound, 0, 2));
}

/* ---- objects ---- */

/* Names of properties, and expressions of patterns. */
static void
list_keys(const Parts *parts, const SchemaList *pairs, WordList *keys)
{
	for (uint32_t i = 0; i < pairs->n; i++)
		list_add(parts->formulas->pool, keys, pairs->at[2 * i]);
}

static void
add_members(Parts *parts)
{
	Formulas *f = parts->formulas;
	const SchemaNode *node = parts->node;

	for (uint32_t i = 0; i < node->properties.n; i++)
		add(parts, formula_atom3(f, ATOM_MEMBER, node->properties.at[2 * i],
								 LITERAL(node->properties.at[2 * i + 1], false), 1, 3));
	for (uint32_t i = 0; i < node->required.n; i++)
		add(parts, formula_has_member(f, node->required.at[i], true));
	for (uint32_t i = 0; i < node->patterns.n; i++)
		add(parts, formula_atom3(f, ATOM_REST, scope_of_pattern(f, node->patterns.at[2 * i]),
								 LITERAL(node->patterns.at[2 * i + 1], false), 0, 2));
	if (node->additional != NO_NODE)
	{
		WordList names = {0}, expressions = {0};

		list_keys(parts, &node->properties, &names);
		list_keys(parts, &node->patterns, &expressions);
		add(parts, formula_atom3(f, ATOM_REST, scope_of_others(f, &names, &expressions),
								 LITERAL(node->additional, false), 0, 2));
	}
	if (node->names != NO_NODE)
		add(parts, formula_atom3(f, ATOM_NAMES, LITERAL(node->names, false), 0, 0, 1));
	add(parts, formula_atom3(f, ATOM_COUNT, node->min_members, node->max_members, 0, 2));
	for (uint32_t i = 0; i < node->needs.n; i++)
		add(parts, formula_or2(f, formula_has_member(f, node->needs.at[2 * i], false),
							   formula_has_member(f, node->needs.at[2 * i + 1], true)));
	for (uint32_t i = 0; i < node->dependents.n; i++)
		add(parts, formula_or2(f, formula_has_member(f, node->dependents.at[2 * i], false),
							   formula_of_node(f, node->dependents.at[2 * i + 1], VALUE_OBJECT)));
}

/* ---- arrays ---- */

static void
add_items(Parts *parts)
{
	Formulas *f = parts->formulas;
	const SchemaNode *node = parts->node;

	for (uint32_t i = 0; i < node->prefix.n; i++)
		add(parts, formula_atom3(f, ATOM_ITEM, i, LITERAL(node->prefix.at[i], false), 0, 2));
	if (node->items != NO_NODE)
		add(parts, formula_atom3(f, ATOM_ITEMS, node->prefix.n, LITERAL(node->items, false), 0, 2));
	add(parts, formula_atom3(f, ATOM_ITEM_COUNT, node->min_items, node->max_items, 0, 2));
	if (node->contains != NO_NODE)
		add(parts,
			formula_atom3(f, ATOM_CONTAINS, LITERAL(node->contains, false), node->min_contains, node->max_contains, 3));
}

/* ---- all ---- */

static void
add_applicators(Parts *parts)
{
	Formulas *f = parts->formulas;
	const SchemaNode *node = parts->node;

	if (node->ref != NO_NODE)
		add(parts, formula_of_node(f, node->ref, parts->type));
	for (uint32_t i = 0; i < node->all_of.n; i++)
		add(parts, formula_of_node(f, node->all_of.at[i], parts->type));
	if (node->any_of.n)
		add(parts, alternatives_any_of(f, &node->any_of, parts->type));
	if (node->one_of.n)
		add(parts, alternatives_one_of(f, &node->one_of, parts->type));
	if (node->not != NO_NODE)
		add(parts, formula_negate(f, formula_of_node(f, node->not, parts->type)));
	if (node->condition != NO_NODE && (node->then != NO_NODE || node->otherwise != NO_NODE))
		add(parts, alternatives_if(f, node, parts->type));
}

uint32_t
schema_formula(Formulas *formulas, uint32_t id, ValueType type)
{
	Parts parts = {.formulas = formulas, .schema = formulas->schema, .node = formulas->schema->nodes[id], .type = type};
	const SchemaNode *node = parts.node;

	if (node->is_false || !allows_type(node, type))
		return F_FALSE;
	if (node->constant)
		add(&parts, value_formula(formulas, node->constant, type));
	if (node->values)
		add(&parts, values_formula(formulas, node->values, type));
	if (type == VALUE_NUMBER)
		add_numbers(&parts);
	else if (type == VALUE_STRING)
		add_strings(&parts);
	else if (type == VALUE_OBJECT)
		add_members(&parts);
	else if (type == VALUE_ARRAY)
		add_items(&parts);
	add_applicators(&parts);
	if (type == VALUE_OBJECT && node->unevaluated_members != NO_NODE)
		add(&parts, formula_of_unevaluated_members(formulas, id));
	if (type == VALUE_ARRAY && node->is_unique && node->max_items > 1)
		add(&parts, unique_items(formulas, id));
	if (type == VALUE_ARRAY && node->unevaluated_items != NO_NODE)
		add(&parts, formula_of_unevaluated_items(formulas, id));
	return formula_and(formulas, parts.list.at, parts.list.n);
}
