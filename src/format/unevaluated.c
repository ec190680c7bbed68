/*
 * unevaluated.c - see unevaluated.h.
 */
#include "unevaluated.h"

#define MAX_EVALUATED_DEPTH 64
#define MAX_UNSURE 5

/* A part of an object or array about which it is asked who has looked at it: a name, an index, or all that are not
 * named.
 */
typedef struct PartAsked
{
	bool is_item, is_other, is_pattern, is_contains;
	uint32_t name; /* or index, the pattern that an unnamed member's name matches, or the node that an item satisfies */
} PartAsked;

static uint32_t evaluated(Formulas *formulas, uint32_t id, const PartAsked *asked, bool is_inner, int depth);

static ValueType
type_of(const PartAsked *asked)
{
	return asked->is_item || asked->is_contains ? VALUE_ARRAY : VALUE_OBJECT;
}

/* The keywords of a node itself. */
static bool
evaluates_itself(Formulas *formulas, const SchemaNode *node, const PartAsked *asked, bool is_inner)
{
	if (asked->is_contains)
		return node->contains == asked->name;
	if (asked->is_item)
		return node->items != NO_NODE || (!is_inner && node->unevaluated_items != NO_NODE) ||
			   (!asked->is_other && asked->name < node->prefix.n);
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
	ValueType type = type_of(asked);

	for (uint32_t i = 0; i < nodes->n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, made,
				 formula_and2(formulas, formula_of_node(formulas, nodes->at[i], type),
							  evaluated(formulas, nodes->at[i], asked, false, depth)));
}

static uint32_t
evaluated_by_condition(Formulas *formulas, const SchemaNode *node, const PartAsked *asked, int depth)
{
	uint32_t condition = formula_of_node(formulas, node->condition, type_of(asked));
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
				  type_of(asked) == VALUE_ARRAY ? "Items" : "Properties");
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
	for (uint32_t i = 0; type_of(asked) == VALUE_OBJECT && i < node->dependents.n; i++)
		list_add(formulas->pool, &made,
				 formula_and2(formulas, formula_has_member(formulas, node->dependents.at[2 * i], true),
							  evaluated(formulas, node->dependents.at[2 * i + 1], asked, false, depth + 1)));
	return formula_or(formulas, made.at, made.n);
}

/* Names, patterns and prefixes of a node and all that it applies to the same value. */
typedef struct Looked
{
	WordList names, expressions, contains;
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
	if (node->contains != NO_NODE && node->draft >= 2020)
		list_add(formulas->pool, &looked->contains, node->contains);
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
unevaluated_others(Formulas *f, uint32_t id, const Looked *looked, uint32_t literal)
{
	const char *path = f->schema->nodes[id]->path;
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
	if (unsure.n > MAX_UNSURE)
		pool_fail(f->pool, STATUS_UNSUPPORTED,
				  "\"unevaluatedProperties\" at %s with more than %d patterns under conditions is not supported",
				  *path ? path : "/", MAX_UNSURE);
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

uint32_t
formula_of_unevaluated_members(Formulas *f, uint32_t id)
{
	WordList parts = {0};
	uint32_t literal = LITERAL(f->schema->nodes[id]->unevaluated_members, false);
	Looked looked = {0};

	collect_looked(f, id, &looked, 0);
	list_sort_unique(&looked.names);
	list_sort_unique(&looked.expressions);
	for (uint32_t i = 0; i < looked.names.n && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.name = looked.names.at[i]};

		list_add(f->pool, &parts,
				 formula_or2(f, evaluated(f, id, &asked, true, 0),
							 formula_atom3(f, ATOM_MEMBER, asked.name, literal, 1, 3)));
	}
	list_add(f->pool, &parts, unevaluated_others(f, id, &looked, literal));
	return formula_and(f, parts.at, parts.n);
}

/* Items that nobody has looked at satisfy a node. */
static uint32_t
items_are(Formulas *f, uint32_t id, const Looked *looked, uint32_t node)
{
	WordList parts = {0};
	uint32_t literal = LITERAL(node, false);
	PartAsked others = {.is_item = true, .is_other = true};

	for (uint32_t i = 0; i < looked->n_prefix && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.is_item = true, .name = i};

		list_add(f->pool, &parts,
				 formula_or2(f, evaluated(f, id, &asked, true, 0), formula_atom3(f, ATOM_ITEM, i, literal, 0, 2)));
	}
	list_add(f->pool, &parts,
			 formula_or2(f, evaluated(f, id, &others, true, 0),
						 formula_atom3(f, ATOM_ITEMS, looked->n_prefix, literal, 0, 2)));
	return formula_and(f, parts.at, parts.n);
}

/* One of nodes: the one that is asked for, and of others those whose bits are set. */
static uint32_t
one_of_nodes(Formulas *f, uint32_t first, const WordList *sure, const WordList *unsure, uint32_t set)
{
	WordList nodes = {0};

	list_add(f->pool, &nodes, first);
	list_add_all(f->pool, &nodes, sure->at, sure->n);
	for (uint32_t i = 0; i < unsure->n; i++)
		if (set >> i & 1)
			list_add(f->pool, &nodes, unsure->at[i]);
	return nodes.n < 2 ? first : schema_any_of(f->schema, &nodes);
}

/*
 * What "contains" has found is looked at. Where one counts under a condition: whichever of them do, an item that
 * satisfies one of those need not satisfy more.
 */
uint32_t
formula_of_unevaluated_items(Formulas *f, uint32_t id)
{
	const char *path = f->schema->nodes[id]->path;
	WordList sure = {0}, unsure = {0}, conditions = {0}, made = {0};
	Looked looked = {0};

	collect_looked(f, id, &looked, 0);
	list_sort_unique(&looked.contains);
	for (uint32_t i = 0; i < looked.contains.n && !pool_failed(f->pool); i++)
	{
		PartAsked asked = {.is_contains = true, .name = looked.contains.at[i]};
		uint32_t condition = evaluated(f, id, &asked, true, 0);

		list_add(f->pool, condition == F_TRUE ? &sure : &unsure, asked.name);
		if (condition != F_TRUE)
			list_add(f->pool, &conditions, condition);
	}
	if (unsure.n > MAX_UNSURE)
		pool_fail(f->pool, STATUS_UNSUPPORTED,
				  "\"unevaluatedItems\" at %s with more than %d times \"contains\" under conditions is not supported",
				  *path ? path : "/", MAX_UNSURE);
	for (uint32_t set = 0; !pool_failed(f->pool) && set < 1u << unsure.n; set++)
	{
		WordList all = {0};

		for (uint32_t i = 0; i < unsure.n; i++)
			if (set >> i & 1)
				list_add(f->pool, &all, conditions.at[i]);
		list_add(
			f->pool, &all,
			items_are(f, id, &looked, one_of_nodes(f, f->schema->nodes[id]->unevaluated_items, &sure, &unsure, set)));
		list_add(f->pool, &made, formula_and(f, all.at, all.n));
	}
	return formula_or(f, made.at, made.n);
}
