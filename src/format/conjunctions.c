/*
 * conjunctions.c - see conjunctions.h.
 */
#include "conjunctions.h"

#include "scalars.h"

#define MAX_REDUCED 24 /* literals */
#define MAX_CLOSED_DEPTH 400

uint32_t
formula_of_literal(Formulas *formulas, uint32_t literal, ValueType type)
{
	uint64_t key = (uint64_t) (literal >> 1) << 3 | type;
	uint32_t made, open;

	if (!map_find(&formulas->of_literal, key, &made))
	{
		/* a schema that refers to itself without a member or item in between */
		if ((map_find(&formulas->is_open, key, &open) && open) || formulas->depth > 2 * MAX_CLOSED_DEPTH)
		{
			const char *path = formulas->schema->nodes[literal >> 1]->path;

			formulas->probe_failed = formulas->is_probing;
			if (formulas->is_probing)
				return F_TRUE;

			pool_fail(formulas->pool, STATUS_INVALID_ARGUMENT,
					  "the schema at %s refers to itself for the same value, or too deeply",
					  path && *path ? path : "/");
			return F_FALSE;
		}
		map_put(formulas->pool, &formulas->is_open, key, 1);
		formulas->depth++;
		made = formulas->of_node(formulas, literal >> 1, type);
		formulas->depth--;
		map_put(formulas->pool, &formulas->is_open, key, 0);
		if (!formulas->probe_failed)
			map_put(formulas->pool, &formulas->of_literal, key, made);
	}
	return literal & 1 ? formula_negate(formulas, made) : made;
}

uint32_t
formula_of_conjunction(Formulas *formulas, uint32_t conjunction, ValueType type)
{
	uint64_t key = (uint64_t) conjunction << 3 | type;
	WordList parts = {0};
	uint32_t made, n;
	const uint32_t *literals;

	if (map_find(&formulas->of_conjunction, key, &made))
		return made;
	literals = interned(&formulas->conjunctions, conjunction, &n);
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
		list_add(formulas->pool, &parts, formula_of_literal(formulas, literals[i], type));
	made = formula_and(formulas, parts.at, parts.n);
	if (!formulas->probe_failed)
		map_put(formulas->pool, &formulas->of_conjunction, key, made);
	return made;
}

/* ---- conjunctions ---- */

static uint32_t
conjunction_make(Formulas *formulas, WordList *literals)
{
	const Schema *schema = formulas->schema;
	uint32_t kept = 0;

	list_sort_unique(literals);
	for (uint32_t i = 0; i < literals->n; i++)
	{
		uint32_t literal = literals->at[i];

		if (literal == LITERAL(schema->never, false) || literal == LITERAL(schema->always, true))
			return C_FALSE;
		/* sorted, so that a node and its negation are neighbours */
		if (kept > 0 && (literal ^ 1) == literals->at[kept - 1])
			return C_FALSE;
		if (literal != LITERAL(schema->always, false) && literal != LITERAL(schema->never, true))
			literals->at[kept++] = literal;
	}
	return intern(formulas->pool, &formulas->conjunctions, literals->at, kept, NULL);
}

uint32_t
conjunction_of(Formulas *formulas, uint32_t literal)
{
	WordList list = {0};

	list_add(formulas->pool, &list, literal);
	return conjunction_make(formulas, &list);
}

uint32_t
conjunction_join(Formulas *formulas, uint32_t a, uint32_t b)
{
	WordList list = {0};
	uint32_t n;
	const uint32_t *literals;

	if (a == C_TRUE || a == b)
		return b;
	if (b == C_TRUE)
		return a;
	literals = interned(&formulas->conjunctions, a, &n);
	list_add_all(formulas->pool, &list, literals, n);
	literals = interned(&formulas->conjunctions, b, &n);
	list_add_all(formulas->pool, &list, literals, n);
	return conjunction_make(formulas, &list);
}

bool
conjunction_is_empty(Formulas *formulas, uint32_t conjunction)
{
	uint32_t known;
	bool empty = true;

	if (conjunction == C_FALSE)
		return true;
	if (map_find(&formulas->emptiness, conjunction, &known))
		return known;
	for (int type = 0; type < N_VALUE_TYPES && empty && !pool_failed(formulas->pool); type++)
	{
		uint32_t formula = formula_of_conjunction(formulas, conjunction, (ValueType) type);

		if (formula == F_FALSE)
			continue;
		empty = (type == VALUE_NUMBER && scalar_numbers(formulas, formula)->n == 0) ||
				(type == VALUE_STRING && scalar_no_strings(formulas, formula));
	}
	if (!formulas->probe_failed)
		map_put(formulas->pool, &formulas->emptiness, conjunction, empty);
	return empty;
}

/* Without literal number index, or with its opposite instead. */
static uint32_t
conjunction_without(Formulas *formulas, uint32_t conjunction, uint32_t index, bool opposite)
{
	WordList list = {0};
	uint32_t n;
	const uint32_t *literals = interned(&formulas->conjunctions, conjunction, &n);

	for (uint32_t i = 0; i < n; i++)
		if (i != index || opposite)
			list_add(formulas->pool, &list, i == index ? literals[i] ^ 1 : literals[i]);
	return conjunction_make(formulas, &list);
}

uint32_t
conjunction_reduce(Formulas *formulas, uint32_t conjunction)
{
	uint32_t n, made = conjunction, known;

	(void) interned(&formulas->conjunctions, conjunction, &n);
	if (n > MAX_REDUCED || conjunction <= C_FALSE || formulas->depth > MAX_CLOSED_DEPTH)
		return conjunction;
	if (map_find(&formulas->reduced, conjunction, &known))
		return known;
	if (conjunction_is_empty(formulas, conjunction))
		made = C_FALSE;
	for (uint32_t i = 0; i < n && n > 1 && made != C_FALSE && !pool_failed(formulas->pool);)
	{
		if (conjunction_is_empty(formulas, conjunction_without(formulas, made, i, true)))
		{
			made = conjunction_without(formulas, made, i, false);
			n--;
		}
		else
			i++;
	}
	if (!formulas->probe_failed)
		map_put(formulas->pool, &formulas->reduced, conjunction, made);
	return made;
}
