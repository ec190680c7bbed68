/*
 * alternatives.c - see alternatives.h.
 */
#include "alternatives.h"

#include "scalars.h"

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
		return scalar_no_strings(formulas, formula_and2(formulas, a, b));
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
uint32_t
alternatives_one_of(Formulas *formulas, const SchemaList *nodes, ValueType type)
{
	WordList alternatives = {0}, made = {0};

	for (uint32_t i = 0; i < nodes->n; i++)
		list_add(formulas->pool, &alternatives, formula_of_node(formulas, nodes->at[i], type));
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

uint32_t
alternatives_any_of(Formulas *formulas, const SchemaList *nodes, ValueType type)
{
	WordList made = {0};

	for (uint32_t i = 0; i < nodes->n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, &made, formula_of_node(formulas, nodes->at[i], type));
	return formula_or(formulas, made.at, made.n);
}

uint32_t
alternatives_if(Formulas *formulas, const SchemaNode *node, ValueType type)
{
	uint32_t condition = formula_of_node(formulas, node->condition, type);
	uint32_t then = node->then == NO_NODE ? F_TRUE : formula_of_node(formulas, node->then, type);
	uint32_t otherwise = node->otherwise == NO_NODE ? F_TRUE : formula_of_node(formulas, node->otherwise, type);

	return formula_or2(formulas, formula_and2(formulas, condition, then),
					   formula_and2(formulas, formula_negate(formulas, condition), otherwise));
}
