/*
 * schema_formula.c - see schema_formula.h.
 */
#include "schema_formula.h"

#include <string.h>

#include "scalars.h"

#define MAX_EVALUATED_DEPTH 64
#define MAX_UNSURE_PATTERNS 5

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
of_node(Formulas *formulas, uint32_t node, ValueType type)
{
	return formula_of_literal(formulas, LITERAL(node, false), type);
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

	add(parts, formula_atom3(parts->formulas, ATOM_LENGTH, node->min_length, node->max_length, 0, 2));
	if (node->pattern != NO_EXPRESSION)
		add(parts, formula_atom3(parts->formulas, ATOM_PATTERN, node->pattern, 0, 0, 1));
	if (node->format != NO_EXPRESSION && node->format != E_ALL)
		add(parts, formula_atom3(parts->formulas, ATOM_PATTERN, node->format, 0, 0, 1));
}

/* ---- objects ---- */

static uint32_t
has_member(Formulas *formulas, uint32_t name, bool wanted)
{
	Schema *schema = formulas->schema;

	return formula_atom3(formulas, ATOM_MEMBER, name, LITERAL(wanted ? schema->always : schema->never, false), !wanted,
						 3);
}

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
		add(parts, has_member(f, node->required.at[i], true));
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
		add(parts, formula_or2(f, has_member(f, node->needs.at[2 * i], false),
							   has_member(f, node->needs.at[2 * i + 1], true)));
	for (uint32_t i = 0; i < node->dependents.n; i++)
		add(parts, formula_or2(f, has_member(f, node->dependents.at[2 * i], false),
							   of_node(f, node->dependents.at[2 * i + 1], VALUE_OBJECT)));
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

/* ---- alternatives ---- */

static bool are_disjoint(Formulas *formulas, uint32_t a, uint32_t b, ValueType type, int depth);

/* What two conjunctions of atoms say of one member, as a conjunction of literals. */
static uint32_t
literals_of_member(Formulas *formulas, const WordList *atoms, uint32_t name)
{
	uint32_t made = C_TRUE;

	for (uint32_t i = 0; i < atoms->n; i++)
	{
		uint32_t n, n_scope;
		const uint32_t *words = formula_words(formulas, atoms->at[i], &n), *scope;
		FormulaKind kind = formula_kind(formulas, atoms->at[i]);
		bool covers = kind == ATOM_MEMBER && words[0] == name;

		if (kind == ATOM_REST)
		{
			scope = interned(&formulas->scopes, words[0], &n_scope);
			covers = scope[0] == SCOPE_OTHERS && n_scope == 2 + scope[1];
			for (uint32_t k = 0; covers && k < scope[1]; k++)
				covers = scope[2 + k] != name;
		}
		if (covers)
			made = conjunction_join(formulas, made, conjunction_of(formulas, words[1]));
	}
	return made;
}

static void
list_atoms(Formulas *formulas, uint32_t formula, WordList *atoms)
{
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);

	if (formula_kind(formulas, formula) == FORMULA_AND)
		list_add_all(formulas->pool, atoms, words, n);
	else
		list_add(formulas->pool, atoms, formula);
}

/* Objects exclude each other where one must have a member whose value cannot suit both. */
static bool
objects_are_disjoint(Formulas *formulas, const WordList *atoms)
{
	for (uint32_t i = 0; i < atoms->n; i++)
	{
		const uint32_t *words = formula_words(formulas, atoms->at[i], NULL);

		if (formula_kind(formulas, atoms->at[i]) == ATOM_MEMBER && !words[2] &&
			conjunction_is_empty(formulas, literals_of_member(formulas, atoms, words[0])))
			return true;
	}
	return false;
}

static bool
arrays_are_disjoint(const Formulas *formulas, const WordList *atoms)
{
	uint32_t min = 0, max = NO_LIMIT;

	for (uint32_t i = 0; i < atoms->n; i++)
	{
		const uint32_t *words = formula_words(formulas, atoms->at[i], NULL);

		if (formula_kind(formulas, atoms->at[i]) == ATOM_ITEM_COUNT)
		{
			min = words[0] > min ? words[0] : min;
			max = words[1] < max ? words[1] : max;
		}
	}
	return min > max;
}

/* Do all alternatives of an OR exclude another formula? */
static bool
all_are_disjoint(Formulas *formulas, uint32_t a, uint32_t b, ValueType type, int depth)
{
	uint32_t n;
	const uint32_t *parts = formula_words(formulas, a, &n);

	for (uint32_t i = 0; i < n; i++)
		if (!are_disjoint(formulas, parts[i], b, type, depth + 1))
			return false;
	return true;
}

/* Is it plain that no value satisfies both? */
static bool
are_disjoint(Formulas *formulas, uint32_t a, uint32_t b, ValueType type, int depth)
{
	WordList atoms = {0};

	if (a == F_FALSE || b == F_FALSE)
		return true;
	if (a == F_TRUE || b == F_TRUE || a == b || type < VALUE_NUMBER || depth > 6 || !pool_work(formulas->pool, 4))
		return false;
	if (type == VALUE_NUMBER)
		return scalar_numbers(formulas, formula_and2(formulas, a, b))->n == 0;
	if (type == VALUE_STRING)
		return scalar_strings(formulas, formula_and2(formulas, a, b))->n == 0;
	if (formula_kind(formulas, a) == FORMULA_OR)
		return all_are_disjoint(formulas, a, b, type, depth);
	if (formula_kind(formulas, b) == FORMULA_OR)
		return all_are_disjoint(formulas, b, a, type, depth);
	list_atoms(formulas, a, &atoms);
	list_atoms(formulas, b, &atoms);
	if (formula_and(formulas, atoms.at, atoms.n) == F_FALSE)
		return true;
	return type == VALUE_OBJECT ? objects_are_disjoint(formulas, &atoms) : arrays_are_disjoint(formulas, &atoms);
}

/* The same, asked while formulas are being made: what is not made yet excludes nothing. */
static bool
probe_disjoint(Formulas *formulas, uint32_t a, uint32_t b, ValueType type)
{
	bool was_probing = formulas->is_probing, disjoint;

	formulas->is_probing = true;
	formulas->probe_failed = false;
	disjoint = are_disjoint(formulas, a, b, type, 0) && !formulas->probe_failed;
	formulas->is_probing = was_probing;
	formulas->probe_failed = false;
	return disjoint;
}

/* Exactly one of them: each, and none of those that it does not exclude anyway. */
static uint32_t
one_of(Formulas *formulas, const SchemaList *nodes, ValueType type)
{
	WordList alternatives = {0}, made = {0};

	for (uint32_t i = 0; i < nodes->n; i++)
		list_add(formulas->pool, &alternatives, of_node(formulas, nodes->at[i], type));
	for (uint32_t i = 0; i < nodes->n && !pool_failed(formulas->pool); i++)
	{
		WordList parts = {0};

		if (alternatives.at[i] == F_FALSE)
			continue;
		list_add(formulas->pool, &parts, alternatives.at[i]);
		for (uint32_t k = 0; k < nodes->n && !pool_failed(formulas->pool); k++)
			if (k != i && alternatives.at[k] != F_FALSE &&
				!probe_disjoint(formulas, alternatives.at[i], alternatives.at[k], type))
				list_add(formulas->pool, &parts, formula_negate(formulas, alternatives.at[k]));
		list_add(formulas->pool, &made, formula_and(formulas, parts.at, parts.n));
	}
	return formula_or(formulas, made.at, made.n);
}

static uint32_t
any_of(Formulas *formulas, const SchemaList *nodes, ValueType type)
{
	WordList made = {0};

	for (uint32_t i = 0; i < nodes->n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, &made, of_node(formulas, nodes->at[i], type));
	return formula_or(formulas, made.at, made.n);
}

static uint32_t
if_then(Formulas *formulas, const SchemaNode *node, ValueType type)
{
	uint32_t condition = of_node(formulas, node->condition, type);
	uint32_t then = node->then == NO_NODE ? F_TRUE : of_node(formulas, node->then, type);
	uint32_t otherwise = node->otherwise == NO_NODE ? F_TRUE : of_node(formulas, node->otherwise, type);

	return formula_or2(formulas, formula_and2(formulas, condition, then),
					   formula_and2(formulas, formula_negate(formulas, condition), otherwise));
}

static void
add_applicators(Parts *parts)
{
	Formulas *f = parts->formulas;
	const SchemaNode *node = parts->node;

	if (node->ref != NO_NODE)
		add(parts, of_node(f, node->ref, parts->type));
	for (uint32_t i = 0; i < node->all_of.n; i++)
		add(parts, of_node(f, node->all_of.at[i], parts->type));
	if (node->any_of.n)
		add(parts, any_of(f, &node->any_of, parts->type));
	if (node->one_of.n)
		add(parts, one_of(f, &node->one_of, parts->type));
	if (node->not != NO_NODE)
		add(parts, formula_negate(f, of_node(f, node->not, parts->type)));
	if (node->condition != NO_NODE && (node->then != NO_NODE || node->otherwise != NO_NODE))
		add(parts, if_then(f, node, parts->type));
}

/* ---- unevaluatedProperties and unevaluatedItems ---- */

/* A part of an object or array about which it is asked who has looked at it: a name, an index, or all that are not
 * named.
 */
typedef struct PartAsked
{
	bool is_item, is_other, is_pattern;
	uint32_t name; /* or index, or the pattern that an unnamed member's name matches */
} PartAsked;

static uint32_t evaluated(Formulas *formulas, uint32_t id, const PartAsked *asked, bool is_inner, int depth);

/* The keywords of a node itself. */
static bool
evaluates_itself(Formulas *formulas, const SchemaNode *node, const PartAsked *asked, bool is_inner)
{
	if (asked->is_item)
	{
		if (node->contains != NO_NODE && formulas->schema->draft >= 2020)
			pool_fail(formulas->pool, STATUS_UNSUPPORTED,
					  "\"unevaluatedItems\" with \"contains\" at %s is not supported", node->path);
		return node->items != NO_NODE || (!is_inner && node->unevaluated_items != NO_NODE) ||
			   (!asked->is_other && asked->name < node->prefix.n);
	}
	if (node->additional != NO_NODE || (!is_inner && node->unevaluated_members != NO_NODE))
		return true;
	for (uint32_t i = 0; asked->is_pattern && i < node->patterns.n; i++)
		if (node->patterns.at[2 * i] == asked->name)
			return true;
	if (asked->is_pattern || asked->is_other)
		return false;
	for (uint32_t i = 0; i < node->properties.n; i++)
		if (node->properties.at[2 * i] == asked->name)
			return true;
	for (uint32_t i = 0; i < node->patterns.n; i++)
		if (expression_matches(formulas, node->patterns.at[2 * i], schema_span(formulas->schema, asked->name)))
			return true;
	return false;
}

/* Where a node in a list holds and has looked at it. */
static void
add_evaluated(Formulas *formulas, WordList *made, const SchemaList *nodes, const PartAsked *asked, int depth)
{
	ValueType type = asked->is_item ? VALUE_ARRAY : VALUE_OBJECT;

	for (uint32_t i = 0; i < nodes->n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, made,
				 formula_and2(formulas, of_node(formulas, nodes->at[i], type),
							  evaluated(formulas, nodes->at[i], asked, false, depth)));
}

static uint32_t
evaluated_by_condition(Formulas *formulas, const SchemaNode *node, const PartAsked *asked, int depth)
{
	uint32_t condition = of_node(formulas, node->condition, asked->is_item ? VALUE_ARRAY : VALUE_OBJECT);
	uint32_t yes = evaluated(formulas, node->condition, asked, false, depth), no = F_FALSE;

	if (node->then != NO_NODE)
		yes = formula_or2(formulas, yes, evaluated(formulas, node->then, asked, false, depth));
	if (node->otherwise != NO_NODE)
		no = evaluated(formulas, node->otherwise, asked, false, depth);
	return formula_or2(formulas, formula_and2(formulas, condition, yes),
					   formula_and2(formulas, formula_negate(formulas, condition), no));
}

/* The formula under which a node, given that it holds, has looked at a part. */
static uint32_t
evaluated(Formulas *formulas, uint32_t id, const PartAsked *asked, bool is_inner, int depth)
{
	const SchemaNode *node = formulas->schema->nodes[id];
	WordList made = {0};

	if (depth > MAX_EVALUATED_DEPTH)
	{
		pool_fail(formulas->pool, STATUS_UNSUPPORTED, "\"unevaluated%s\" through a schema that refers to itself",
				  asked->is_item ? "Items" : "Properties");
		return F_FALSE;
	}
	if (!pool_work(formulas->pool, 1))
		return F_FALSE;
	if (evaluates_itself(formulas, node, asked, is_inner))
		return F_TRUE;
	if (node->ref != NO_NODE)
		list_add(formulas->pool, &made, evaluated(formulas, node->ref, asked, false, depth + 1));
	for (uint32_t i = 0; i < node->all_of.n; i++)
		list_add(formulas->pool, &made, evaluated(formulas, node->all_of.at[i], asked, false, depth + 1));
	add_evaluated(formulas, &made, &node->any_of, asked, depth + 1);
	add_evaluated(formulas, &made, &node->one_of, asked, depth + 1);
	if (node->condition != NO_NODE)
		list_add(formulas->pool, &made, evaluated_by_condition(formulas, node, asked, depth + 1));
	for (uint32_t i = 0; !asked->is_item && i < node->dependents.n; i++)
		list_add(formulas->pool, &made,
				 formula_and2(formulas, has_member(formulas, node->dependents.at[2 * i], true),
							  evaluated(formulas, node->dependents.at[2 * i + 1], asked, false, depth + 1)));
	return formula_or(formulas, made.at, made.n);
}

/* Names, patterns and prefixes of a node and all that it applies to the same value. */
typedef struct Looked
{
	WordList names, expressions;
	uint32_t n_prefix;
} Looked;

static void
collect_looked(Formulas *formulas, uint32_t id, Looked *looked, int depth)
{
	const SchemaNode *node;
	const SchemaList *lists[3];

	if (id == NO_NODE || depth > MAX_EVALUATED_DEPTH || !pool_work(formulas->pool, 1))
		return;
	node = formulas->schema->nodes[id];
	for (uint32_t i = 0; i < node->properties.n; i++)
		list_add(formulas->pool, &looked->names, node->properties.at[2 * i]);
	for (uint32_t i = 0; i < node->patterns.n; i++)
		list_add(formulas->pool, &looked->expressions, node->patterns.at[2 * i]);
	looked->n_prefix = node->prefix.n > looked->n_prefix ? node->prefix.n : looked->n_prefix;
	collect_looked(formulas, node->ref, looked, depth + 1);
	lists[0] = &node->all_of;
	lists[1] = &node->any_of;
	lists[2] = &node->one_of;
	for (int list = 0; list < 3; list++)
		for (uint32_t i = 0; i < lists[list]->n; i++)
			collect_looked(formulas, lists[list]->at[i], looked, depth + 1);
	collect_looked(formulas, node->condition, looked, depth + 1);
	collect_looked(formulas, node->then, looked, depth + 1);
	collect_looked(formulas, node->otherwise, looked, depth + 1);
	for (uint32_t i = 0; i < node->dependents.n; i++)
		collect_looked(formulas, node->dependents.at[2 * i + 1], looked, depth + 1);
}

/*
 * All others are evaluated, or satisfy the literal. Patterns that count under a condition: whichever of them do, what
 * matches none of those does.
 */
static uint32_t
unevaluated_others(Parts *parts, uint32_t id, const Looked *looked, uint32_t literal)
{
	Formulas *f = parts->formulas;
	WordList sure = {0}, unsure = {0}, conditions = {0}, made = {0};
	PartAsked others = {.is_other = true};

	for (uint32_t i = 0; i < looked->expressions.n && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.is_pattern = true, .name = looked->expressions.at[i]};
		uint32_t condition = evaluated(f, id, &asked, true, 0);

		list_add(f->pool, condition == F_TRUE ? &sure : &unsure, asked.name);
		if (condition != F_TRUE)
			list_add(f->pool, &conditions, condition);
	}
	if (unsure.n > MAX_UNSURE_PATTERNS)
		pool_fail(f->pool, STATUS_UNSUPPORTED,
				  "\"unevaluatedProperties\" at %s with more than %d patterns under conditions is not supported",
				  *parts->node->path ? parts->node->path : "/", MAX_UNSURE_PATTERNS);
	list_add(f->pool, &made, evaluated(f, id, &others, true, 0));
	for (uint32_t set = 0; !pool_failed(f->pool) && set < 1u << unsure.n; set++)
	{
		WordList expressions = {0}, all = {0};

		list_add_all(f->pool, &expressions, sure.at, sure.n);
		for (uint32_t i = 0; i < unsure.n; i++)
			if (set >> i & 1)
			{
				list_add(f->pool, &expressions, unsure.at[i]);
				list_add(f->pool, &all, conditions.at[i]);
			}
		list_add(f->pool, &all,
				 formula_atom3(f, ATOM_REST, scope_of_others(f, &looked->names, &expressions), literal, 0, 2));
		list_add(f->pool, &made, formula_and(f, all.at, all.n));
	}
	return formula_or(f, made.at, made.n);
}

static void
add_unevaluated_members(Parts *parts, uint32_t id)
{
	Formulas *f = parts->formulas;
	uint32_t literal = LITERAL(parts->node->unevaluated_members, false);
	Looked looked = {0};

	collect_looked(f, id, &looked, 0);
	list_sort_unique(&looked.names);
	list_sort_unique(&looked.expressions);
	for (uint32_t i = 0; i < looked.names.n && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.name = looked.names.at[i]};

		add(parts, formula_or2(f, evaluated(f, id, &asked, true, 0),
							   formula_atom3(f, ATOM_MEMBER, asked.name, literal, 1, 3)));
	}
	add(parts, unevaluated_others(parts, id, &looked, literal));
}

static void
add_unevaluated_items(Parts *parts, uint32_t id)
{
	Formulas *f = parts->formulas;
	uint32_t literal = LITERAL(parts->node->unevaluated_items, false);
	Looked looked = {0};
	PartAsked others = {.is_item = true, .is_other = true};

	collect_looked(f, id, &looked, 0);
	for (uint32_t i = 0; i < looked.n_prefix && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.is_item = true, .name = i};

		add(parts, formula_or2(f, evaluated(f, id, &asked, true, 0), formula_atom3(f, ATOM_ITEM, i, literal, 0, 2)));
	}
	add(parts, formula_or2(f, evaluated(f, id, &others, true, 0),
						   formula_atom3(f, ATOM_ITEMS, looked.n_prefix, literal, 0, 2)));
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
		add_unevaluated_members(&parts, id);
	if (type == VALUE_ARRAY && node->unevaluated_items != NO_NODE)
		add_unevaluated_items(&parts, id);
	return formula_and(formulas, parts.list.at, parts.list.n);
}
