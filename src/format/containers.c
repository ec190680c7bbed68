/*
 * containers.c - see containers.h.
 */
#include "containers.h"

#include <string.h>

#include "../base/utf8.h"
#include "conjunctions.h"

#define MAX_OPTIONS 4096
#define MAX_FEW_PREDICATES 4 /* by which it is found out whether names are many */
#define FEW_NAMES 32u        /* of a kind, that get members of their own */
#define FEW_NAMES_LETTERS 256u

/* What a part is, while formulas are taken one part further. */
typedef struct Projection
{
	Formulas *formulas;
	enum
	{
		PROJECT_MEMBER,
		PROJECT_OTHER,
		PROJECT_ITEM,
	} mode;
	uint32_t name;               /* of the member */
	const WordList *expressions; /* OTHER: predicates of its name … */
	uint32_t truths;             /* … and, as bits, which of them hold */
} Projection;

/* One option more; of equal values the formulas are joined. */
static void
add_option(Formulas *formulas, PartOptions *options, uint32_t conjunction, uint32_t formula)
{
	if (formula == F_FALSE || conjunction == C_FALSE)
		return;
	for (uint32_t i = 0; i < options->n; i++)
		if (options->at[i].conjunction == conjunction)
		{
			options->at[i].formula = formula_or2(formulas, options->at[i].formula, formula);
			return;
		}
	if (!pool_work(formulas->pool, 1 + options->n / 16) ||
		!pool_grow(formulas->pool, &options->at, options->n, &options->capacity, sizeof *options->at))
		return;
	if (options->n >= MAX_OPTIONS)
		pool_fail(formulas->pool, STATUS_TOO_LONG, "a member or item has more than %d alternatives", MAX_OPTIONS);
	options->at[options->n++] = (PartOption){conjunction, formula};
}

/* ---- scopes ---- */

static bool
scope_covers(Formulas *formulas, uint32_t scope, uint32_t name)
{
	uint32_t n;
	const uint32_t *words = interned(&formulas->scopes, scope, &n);
	ByteSpan text = schema_span(formulas->schema, name);

	if (words[0] == SCOPE_PATTERN)
		return expression_matches(formulas, words[1], text);
	for (uint32_t i = 0; i < words[1]; i++)
		if (words[2 + i] == name)
			return false;
	for (uint32_t i = 2 + words[1]; i < n; i++)
		if (expression_matches(formulas, words[i], text))
			return false;
	return true;
}

/* Does predicate expression hold of the other member's name? */
static bool
holds(const Projection *projection, uint32_t expression)
{
	for (uint32_t i = 0; i < projection->expressions->n; i++)
		if (projection->expressions->at[i] == expression)
			return projection->truths >> i & 1;
	return false;
}

static bool
covers_other(const Projection *projection, uint32_t scope)
{
	uint32_t n;
	const uint32_t *words = interned(&projection->formulas->scopes, scope, &n);

	if (words[0] == SCOPE_PATTERN)
		return holds(projection, words[1]);
	for (uint32_t i = 2 + words[1]; i < n; i++)
		if (holds(projection, words[i]))
			return false;
	return true;
}

/* The texts that satisfy a literal. */
static uint32_t
literal_expression(Formulas *formulas, uint32_t literal)
{
	return scalar_expression(formulas, formula_of_literal(formulas, literal, VALUE_STRING));
}

/* ---- one part further ---- */

/* A count, of which one is taken. */
static void
project_count(Formulas *formulas, PartOptions *options, FormulaKind kind, const uint32_t *words)
{
	uint32_t min = words[0] ? words[0] - 1 : 0, max = words[1] == NO_LIMIT ? NO_LIMIT : words[1] - 1;

	if (words[1] > 0)
		add_option(formulas, options, C_TRUE, formula_atom3(formulas, kind, min, max, 0, 2));
}

static void
project_contains(Formulas *formulas, PartOptions *options, const uint32_t *words)
{
	uint32_t max = words[2] == NO_LIMIT ? NO_LIMIT : words[2] - 1;

	if (words[2] > 0)
		add_option(formulas, options, conjunction_of(formulas, words[0]),
				   formula_atom3(formulas, ATOM_CONTAINS, words[0], words[1] ? words[1] - 1 : 0, max, 3));
	/* where only the least counts, an item may match and not be counted */
	add_option(formulas, options, words[2] == NO_LIMIT ? C_TRUE : conjunction_of(formulas, words[0] ^ 1),
			   formula_atom3(formulas, ATOM_CONTAINS, words[0], words[1], words[2], 3));
}

/* One of the values that may still come, or something else. */
static void
project_unique(Formulas *formulas, PartOptions *options, uint32_t atom, const uint32_t *words, uint32_t n)
{
	for (uint32_t i = 0; i < words[1] && pool_work(formulas->pool, 1 + n / 4); i++)
	{
		WordList left = {0};

		list_add(formulas->pool, &left, words[0]);
		list_add(formulas->pool, &left, words[1] - 1);
		list_add_all(formulas->pool, &left, words + 2, i);
		list_add_all(formulas->pool, &left, words + 3 + i, words[1] - i - 1);
		list_add_all(formulas->pool, &left, words + 2 + words[1], n - 2 - words[1]);
		list_add(formulas->pool, &left, words[2 + i]);
		/* the same values are one state, in whatever order they came */
		for (uint32_t k = left.n - 1; k > 1 + words[1] && left.at[k - 1] > left.at[k]; k--)
		{
			uint32_t other = left.at[k - 1];

			left.at[k - 1] = left.at[k];
			left.at[k] = other;
		}
		add_option(formulas, options, conjunction_of(formulas, words[2 + i]),
				   formula_atom(formulas, ATOM_UNIQUE, left.at, left.n));
	}
	add_option(formulas, options, conjunction_of(formulas, words[0] ^ 1), atom);
}

/* An atom about items, of which one is taken. */
static void
project_item(Formulas *formulas, PartOptions *options, uint32_t atom, FormulaKind kind, const uint32_t *words,
			 uint32_t n)
{
	if (kind == ATOM_ITEM_COUNT)
		project_count(formulas, options, kind, words);
	else if (kind == ATOM_CONTAINS)
		project_contains(formulas, options, words);
	else if (kind == ATOM_UNIQUE)
		project_unique(formulas, options, atom, words, n);
	else if (words[0] > 0)
		add_option(formulas, options, C_TRUE, formula_atom3(formulas, kind, words[0] - 1, words[1], 0, 2));
	else if (kind == ATOM_ITEM || kind == ATOM_HAS_ITEM)
		add_option(formulas, options, conjunction_of(formulas, words[1]), F_TRUE);
	else if (kind == ATOM_ITEMS)
		add_option(formulas, options, conjunction_of(formulas, words[1]), atom);
	else
	{
		add_option(formulas, options, conjunction_of(formulas, words[1]), F_TRUE);
		add_option(formulas, options, C_TRUE, atom);
	}
}

/* An atom about members, of which one without a name in the schema is taken. */
static void
project_other(const Projection *projection, PartOptions *options, uint32_t atom, FormulaKind kind,
			  const uint32_t *words)
{
	Formulas *formulas = projection->formulas;
	bool holds_of_name;

	switch (kind)
	{
		case ATOM_REST:
			add_option(formulas, options,
					   covers_other(projection, words[0]) ? conjunction_of(formulas, words[1]) : C_TRUE, atom);
			break;
		case ATOM_SOME:
			if (covers_other(projection, words[0]))
				add_option(formulas, options, conjunction_of(formulas, words[1]), F_TRUE);
			add_option(formulas, options, C_TRUE, atom);
			break;
		case ATOM_NAMES:
		case ATOM_SOME_NAME:
			holds_of_name = holds(projection, literal_expression(formulas, words[0]));
			if (kind == ATOM_SOME_NAME || holds_of_name)
				add_option(formulas, options, C_TRUE, kind == ATOM_SOME_NAME && holds_of_name ? F_TRUE : atom);
			break;
		default:
			add_option(formulas, options, C_TRUE, atom);
	}
}

static PartOptions
project_atom(const Projection *projection, uint32_t atom)
{
	Formulas *formulas = projection->formulas;
	FormulaKind kind = formula_kind(formulas, atom);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, atom, &n);
	PartOptions options = {0};

	if (projection->mode == PROJECT_ITEM)
		project_item(formulas, &options, atom, kind, words, n);
	else if (kind == ATOM_COUNT)
		project_count(formulas, &options, kind, words);
	else if (projection->mode == PROJECT_OTHER)
		project_other(projection, &options, atom, kind, words);
	else if (kind == ATOM_MEMBER && words[0] == projection->name)
		add_option(formulas, &options, conjunction_of(formulas, words[1]), F_TRUE);
	else
		add_option(formulas, &options, C_TRUE, atom);
	return options;
}

static PartOptions project(const Projection *projection, uint32_t formula);

/* Options of both of two lists. */
static PartOptions
multiply(Formulas *formulas, const PartOptions *a, const PartOptions *b)
{
	PartOptions made = {0};

	for (uint32_t i = 0; i < a->n; i++)
		for (uint32_t k = 0; k < b->n && pool_work(formulas->pool, 1); k++)
		{
			uint32_t joined = conjunction_join(formulas, a->at[i].conjunction, b->at[k].conjunction);

			add_option(formulas, &made, conjunction_reduce(formulas, joined),
					   formula_and2(formulas, a->at[i].formula, b->at[k].formula));
		}
	return made;
}

/* AND: what does not mind the part is put aside, and joined once. */
static PartOptions
project_and(const Projection *projection, const uint32_t *parts, uint32_t n)
{
	Formulas *formulas = projection->formulas;
	PartOptions made = {0}, aside = {0};
	WordList unmoved = {0};

	add_option(formulas, &made, C_TRUE, F_TRUE);
	for (uint32_t i = 0; i < n && !pool_failed(formulas->pool); i++)
	{
		PartOptions options = project(projection, parts[i]);

		if (options.n == 1 && options.at[0].conjunction == C_TRUE)
			list_add(formulas->pool, &unmoved, options.at[0].formula);
		else
			made = multiply(formulas, &made, &options);
		if (made.n == 0)
			return made;
	}
	add_option(formulas, &aside, C_TRUE, formula_and(formulas, unmoved.at, unmoved.n));
	return multiply(formulas, &made, &aside);
}

static PartOptions
project(const Projection *projection, uint32_t formula)
{
	Formulas *formulas = projection->formulas;
	FormulaKind kind = formula_kind(formulas, formula);
	PartOptions made = {0};
	WordList unmoved = {0};
	uint32_t n;
	const uint32_t *parts = formula_words(formulas, formula, &n);

	if (pool_failed(formulas->pool))
		return made;
	if (kind == FORMULA_FALSE || kind == FORMULA_TRUE)
		add_option(formulas, &made, C_TRUE, formula);
	else if (kind == FORMULA_AND)
		return project_and(projection, parts, n);
	else if (kind != FORMULA_OR)
		return project_atom(projection, formula);
	for (uint32_t i = 0; kind == FORMULA_OR && i < n && !pool_failed(formulas->pool); i++)
	{
		PartOptions options = project(projection, parts[i]);

		for (uint32_t k = 0; k < options.n; k++)
		{
			if (options.at[k].conjunction == C_TRUE)
				list_add(formulas->pool, &unmoved, options.at[k].formula);
			else
				add_option(formulas, &made, options.at[k].conjunction, options.at[k].formula);
		}
	}
	if (unmoved.n)
		add_option(formulas, &made, C_TRUE, formula_or(formulas, unmoved.at, unmoved.n));
	return made;
}

PartOptions
object_with(Formulas *formulas, uint32_t formula, uint32_t name)
{
	Projection projection = {.formulas = formulas, .mode = PROJECT_MEMBER, .name = name};

	return project(&projection, formula);
}

PartOptions
array_with(Formulas *formulas, uint32_t formula)
{
	Projection projection = {.formulas = formulas, .mode = PROJECT_ITEM};

	return project(&projection, formula);
}

uint32_t
object_without(Formulas *formulas, uint32_t formula, uint32_t name)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);
	WordList parts = {0};
	bool changes = false;

	if (kind == ATOM_MEMBER && words[0] == name)
		return words[2] ? F_TRUE : F_FALSE;
	if ((kind != FORMULA_AND && kind != FORMULA_OR) || !pool_work(formulas->pool, 1 + n / 16))
		return formula;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t part = object_without(formulas, words[i], name);

		changes |= part != words[i];
		list_add(formulas->pool, &parts, part);
	}
	if (!changes)
		return formula;
	return kind == FORMULA_AND ? formula_and(formulas, parts.at, parts.n) : formula_or(formulas, parts.at, parts.n);
}

bool
object_minds(Formulas *formulas, uint32_t formula, uint32_t name)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);

	if (kind == ATOM_COUNT || kind == ATOM_MEMBER)
		return kind == ATOM_COUNT || words[0] == name;
	for (uint32_t i = 0; (kind == FORMULA_AND || kind == FORMULA_OR) && i < n; i++)
		if (object_minds(formulas, words[i], name))
			return true;
	return false;
}

bool
container_ends(Formulas *formulas, uint32_t formula)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);

	switch (kind)
	{
		case FORMULA_TRUE:
		case ATOM_REST:
		case ATOM_NAMES:
		case ATOM_ITEM:
		case ATOM_ITEMS:
		case ATOM_UNIQUE:
			return true;
		case ATOM_MEMBER:
			return words[2];
		case ATOM_COUNT:
		case ATOM_ITEM_COUNT:
			return words[0] == 0;
		case ATOM_CONTAINS:
			return words[1] == 0;
		case FORMULA_AND:
		case FORMULA_OR:
			for (uint32_t i = 0; i < n; i++)
				if (container_ends(formulas, words[i]) == (kind == FORMULA_OR))
					return kind == FORMULA_OR;
			return kind == FORMULA_AND;
		default:
			return false;
	}
}

/* ---- names that the schema does not have ---- */

static void
add_predicate(Formulas *formulas, WordList *expressions, uint32_t expression)
{
	for (uint32_t i = 0; i < expressions->n; i++)
		if (expressions->at[i] == expression)
			return;
	list_add(formulas->pool, expressions, expression);
}

/* All that a formula asks of other members' names. */
static void
collect_predicates(Formulas *formulas, uint32_t formula, WordList *expressions)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n, n_scope;
	const uint32_t *words = formula_words(formulas, formula, &n), *scope;

	if (kind == FORMULA_AND || kind == FORMULA_OR)
		for (uint32_t i = 0; i < n; i++)
			collect_predicates(formulas, words[i], expressions);
	else if (kind == ATOM_REST || kind == ATOM_SOME)
	{
		scope = interned(&formulas->scopes, words[0], &n_scope);
		for (uint32_t i = scope[0] == SCOPE_PATTERN ? 1 : 2 + scope[1]; i < n_scope; i++)
			add_predicate(formulas, expressions, scope[i]);
	}
	else if (kind == ATOM_NAMES || kind == ATOM_SOME_NAME)
		add_predicate(formulas, expressions, literal_expression(formulas, words[0]));
}

/* A walk through the kinds that names are of by some predicates. visit: a kind that has names, by which predicates hold
 * of it, as bits. */
typedef struct KindWalk
{
	Formulas *formulas;
	const WordList *predicates;
	void (*visit)(void *context, const Language *language, uint32_t truths);
	void *context;
} KindWalk;

/* All combinations of predicates that a name of an expression can have, from predicate index on. */
static void
each_kind(const KindWalk *walk, uint32_t index, uint32_t expression, uint32_t truths)
{
	Formulas *formulas = walk->formulas;
	Expressions *e = formulas->schema->expressions;
	const Language *language = formula_language(formulas, expression);
	uint32_t predicate;

	if (!language || language->n_states == 1 || pool_failed(formulas->pool))
		return;
	if (index == walk->predicates->n)
	{
		walk->visit(walk->context, language, truths);
		return;
	}
	predicate = walk->predicates->at[index];
	each_kind(walk, index + 1, expression_and(e, expression, predicate), truths | 1u << index);
	each_kind(walk, index + 1, expression_and(e, expression, expression_not(e, predicate)), truths);
}

/* The kinds of a formula that are being listed. */
typedef struct KindList
{
	Projection *projection;
	uint32_t formula;
	KeyKinds *kinds;
} KindList;

static void
list_kind(void *context, const Language *language, uint32_t truths)
{
	const KindList *list = context;
	KeyKinds *kinds = list->kinds;

	if (!pool_grow(list->projection->formulas->pool, &kinds->at, kinds->n, &kinds->capacity, sizeof *kinds->at))
		return;
	list->projection->truths = truths;
	kinds->at[kinds->n] = (KeyKind){language, project(list->projection, list->formula), truths};
	kinds->n += kinds->at[kinds->n].options.n > 0;
}

KeyKinds
object_with_other(Formulas *formulas, uint32_t formula)
{
	WordList expressions = {0};
	Projection projection = {.formulas = formulas, .mode = PROJECT_OTHER, .expressions = &expressions};
	KeyKinds kinds = {0};
	KindList list = {&projection, formula, &kinds};
	KindWalk walk = {formulas, &expressions, list_kind, &list};

	collect_predicates(formulas, formula, &expressions);
	if (expressions.n > MAX_PREDICATES)
		pool_fail(formulas->pool, STATUS_TOO_LONG, "an object tells names apart by %u patterns, the limit is %d",
				  expressions.n, MAX_PREDICATES);
	else
		each_kind(&walk, 0, E_ALL, 0);
	kinds.expressions = expressions;
	return kinds;
}

/* Is a name left of which an expression holds? */
static bool
has_name_of(const KeyKinds *kinds, const uint32_t *left, uint32_t expression)
{
	for (uint32_t i = 0; i < kinds->n; i++)
		for (uint32_t k = 0; left[i] > 0 && k < kinds->expressions.n; k++)
			if (kinds->expressions.at[k] == expression && (kinds->at[i].truths >> k & 1))
				return true;
	return false;
}

bool
object_has_names(Formulas *formulas, uint32_t formula, const KeyKinds *kinds, const uint32_t *left)
{
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);
	uint64_t sum = 0;

	/* each way by itself: one that there are no names for does not help another one */
	if (kind == FORMULA_AND || kind == FORMULA_OR)
	{
		for (uint32_t i = 0; i < n; i++)
			if (object_has_names(formulas, words[i], kinds, left) == (kind == FORMULA_OR))
				return kind == FORMULA_OR;
		return kind == FORMULA_AND;
	}
	if (kind == ATOM_SOME_NAME)
		return has_name_of(kinds, left, literal_expression(formulas, words[0]));
	if (kind != ATOM_COUNT && kind != ATOM_SOME)
		return true;
	for (uint32_t i = 0; i < kinds->n; i++)
		sum += left[i];
	return sum >= (kind == ATOM_COUNT ? words[0] : 1);
}

/* Of no kind of names there are few, as far as has been seen. */
static void
see_whether_many(void *context, const Language *language, uint32_t truths)
{
	bool *are_many = context;

	(void) truths;
	*are_many &= language->n_words[language->start] == NO_LIMIT;
}

bool
object_has_many_names(Formulas *formulas, ObjectPlan *plan)
{
	WordList expressions = {0};
	bool are_many = true;
	KindWalk walk = {formulas, &expressions, see_whether_many, &are_many};

	if (plan->was_asked)
		return plan->has_many_names;
	plan->was_asked = true;
	/* what is left of a formula further on asks for no more than it does at its beginning */
	collect_predicates(formulas, plan->formula, &expressions);
	if (expressions.n <= MAX_FEW_PREDICATES)
		each_kind(&walk, 0, E_ALL, 0);
	plan->has_many_names = expressions.n <= MAX_FEW_PREDICATES && are_many && !pool_failed(formulas->pool);
	return plan->has_many_names;
}

/* ---- the plan of an object ---- */

typedef struct Planner
{
	Formulas *formulas;
	WordList names;
	NumberMap has_name, visited;
	int depth;
} Planner;

static void
plan_name(Planner *planner, uint32_t name)
{
	uint32_t known;

	if (map_find(&planner->has_name, name, &known))
		return;
	map_put(planner->formulas->pool, &planner->has_name, name, 1);
	list_add(planner->formulas->pool, &planner->names, name);
}

/* Names in the order in which a node and those that it applies to the same value declare them. */
static void
plan_declared(Planner *planner, uint32_t id, bool required)
{
	const SchemaNode *node;
	const SchemaList *lists[3];
	uint64_t key = (uint64_t) id * 2 + required;
	uint32_t known;

	if (id == NO_NODE || map_find(&planner->visited, key, &known) || planner->depth > SCHEMA_MAX_DEPTH)
		return;
	map_put(planner->formulas->pool, &planner->visited, key, 1);
	node = planner->formulas->schema->nodes[id];
	planner->depth++;
	for (uint32_t i = 0; !required && i < node->properties.n; i++)
		plan_name(planner, node->properties.at[2 * i]);
	for (uint32_t i = 0; required && i < node->required.n; i++)
		plan_name(planner, node->required.at[i]);
	for (uint32_t i = 0; required && i < 2 * node->needs.n; i++)
		plan_name(planner, node->needs.at[i]);
	for (uint32_t i = 0; required && i < node->dependents.n; i++)
		plan_name(planner, node->dependents.at[2 * i]);
	plan_declared(planner, node->ref, required);
	lists[0] = &node->all_of;
	lists[1] = &node->any_of;
	lists[2] = &node->one_of;
	for (int list = 0; list < 3; list++)
		for (uint32_t i = 0; i < lists[list]->n; i++)
			plan_declared(planner, lists[list]->at[i], required);
	plan_declared(planner, node->condition, required);
	plan_declared(planner, node->then, required);
	plan_declared(planner, node->otherwise, required);
	for (uint32_t i = 0; i < node->dependents.n; i++)
		plan_declared(planner, node->dependents.at[2 * i + 1], required);
	planner->depth--;
}

/* Names that stand in atoms alone. */
static void
plan_atoms(Planner *planner, uint32_t formula)
{
	Formulas *formulas = planner->formulas;
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n), *scope;

	if (kind == FORMULA_AND || kind == FORMULA_OR)
	{
		uint32_t known;

		if (map_find(&planner->visited, (uint64_t) 1 << 40 | formula, &known))
			return;
		map_put(formulas->pool, &planner->visited, (uint64_t) 1 << 40 | formula, 1);
		for (uint32_t i = 0; i < n; i++)
			plan_atoms(planner, words[i]);
	}
	else if (kind == ATOM_MEMBER)
		plan_name(planner, words[0]);
	else if (kind == ATOM_REST || kind == ATOM_SOME)
	{
		scope = interned(&formulas->scopes, words[0], NULL);
		for (uint32_t i = 0; scope[0] == SCOPE_OTHERS && i < scope[1]; i++)
			plan_name(planner, scope[2 + i]);
	}
}

/* Without the names, which have atoms of their own by then. */
static uint32_t
scope_without_names(Formulas *formulas, uint32_t scope)
{
	uint32_t n;
	const uint32_t *words = interned(&formulas->scopes, scope, &n);
	WordList names = {0}, expressions = {0};

	if (words[0] == SCOPE_PATTERN)
		return scope;
	list_add_all(formulas->pool, &expressions, words + 2 + words[1], n - 2 - words[1]);
	return scope_of_others(formulas, &names, &expressions);
}

/* Take the members that have names out of what is said of all, or some, others. */
static uint32_t
spread_atom(Planner *planner, uint32_t atom, FormulaKind kind, const uint32_t *words)
{
	Formulas *formulas = planner->formulas;
	bool is_all = kind == ATOM_REST || kind == ATOM_NAMES, is_scope = kind == ATOM_REST || kind == ATOM_SOME;
	WordList parts = {0};
	uint32_t literal = is_scope ? words[1] : LITERAL(formulas->schema->never, !is_all);

	list_add(formulas->pool, &parts,
			 is_scope ? formula_atom3(formulas, kind, scope_without_names(formulas, words[0]), words[1], 0, 2) : atom);
	for (uint32_t i = 0; i < planner->names.n && pool_work(formulas->pool, 1); i++)
	{
		uint32_t name = planner->names.at[i];
		bool concerns = is_scope ? scope_covers(formulas, words[0], name)
								 : scalar_text_satisfies(formulas, formula_of_literal(formulas, words[0], VALUE_STRING),
														 schema_span(formulas->schema, name)) != is_all;

		if (concerns)
			list_add(formulas->pool, &parts, formula_atom3(formulas, ATOM_MEMBER, name, literal, is_all, 3));
	}
	return is_all ? formula_and(formulas, parts.at, parts.n) : formula_or(formulas, parts.at, parts.n);
}

static uint32_t
spread(Planner *planner, uint32_t formula)
{
	Formulas *formulas = planner->formulas;
	FormulaKind kind = formula_kind(formulas, formula);
	uint32_t n;
	const uint32_t *words = formula_words(formulas, formula, &n);
	WordList parts = {0};

	if (pool_failed(formulas->pool))
		return F_FALSE;
	if (kind >= ATOM_REST && kind <= ATOM_SOME_NAME)
		return spread_atom(planner, formula, kind, words);
	if (kind != FORMULA_AND && kind != FORMULA_OR)
		return formula;
	for (uint32_t i = 0; i < n; i++)
		list_add(formulas->pool, &parts, spread(planner, words[i]));
	return kind == FORMULA_AND ? formula_and(formulas, parts.at, parts.n) : formula_or(formulas, parts.at, parts.n);
}

static void
plan_text(void *context, const uint32_t *letters, uint32_t n)
{
	Planner *planner = context;
	char bytes[4 * FEW_NAMES_LETTERS];
	size_t length = 0;

	for (uint32_t i = 0; i < n; i++)
		length += (size_t) utf8_write(letters[i], bytes + length);
	plan_name(planner, schema_text(planner->formulas->schema, bytes, length));
}

/* Names of a kind of which there are no more than a few are members with names: only so it is known all the way on
 * which of them are left, and that what has to come still can. */
static void
plan_few_names(void *context, const Language *language, uint32_t truths)
{
	Planner *planner = context;

	(void) truths;
	if (language->n_words[language->start] <= FEW_NAMES && language->longest[language->start] <= FEW_NAMES_LETTERS)
		language_texts(planner->formulas->pool, language, plan_text, planner);
}

ObjectPlan *
object_plan(Formulas *formulas, uint32_t conjunction)
{
	Planner planner = {.formulas = formulas};
	WordList predicates = {0};
	KindWalk walk = {formulas, &predicates, plan_few_names, &planner};
	uint32_t n, formula = formula_of_conjunction(formulas, conjunction, VALUE_OBJECT);
	const uint32_t *literals = interned(&formulas->conjunctions, conjunction, &n);
	ObjectPlan *plan = pool_alloc(formulas->pool, 1, sizeof *plan);

	if (!plan)
		return NULL;
	for (int required = 0; required < 2; required++)
		for (uint32_t i = 0; i < n; i++)
			plan_declared(&planner, LITERAL_NODE(literals[i]), required);
	plan_atoms(&planner, formula);
	collect_predicates(formulas, formula, &predicates);
	if (predicates.n <= MAX_FEW_PREDICATES)
		each_kind(&walk, 0, E_ALL, 0);
	if (planner.names.n > SCHEMA_MAX_MEMBERS)
		pool_fail(formulas->pool, STATUS_TOO_LONG, "an object has %u members with names, the limit is %u",
				  planner.names.n, SCHEMA_MAX_MEMBERS);
	plan->n_names = planner.names.n;
	plan->names = planner.names.at;
	plan->formula = spread(&planner, formula);
	return pool_failed(formulas->pool) ? NULL : plan;
}
