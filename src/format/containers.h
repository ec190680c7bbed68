/*
 * containers.h - objects and arrays one part at a time: which values the next part may have, and what formula is left
 * then (partial derivatives, as Antimirov's of regular expressions).
 *
 * Members come in the order of the schema; behind them those that it does not name. A formula that is left speaks of
 * what is still to come alone, so that equal rests are one state, whatever was before.
 */
#ifndef QWEN_FORMAT_CONTAINERS_H
#define QWEN_FORMAT_CONTAINERS_H

#include "formula.h"
#include "language.h"
#include "scalars.h"

/* The next part satisfies a conjunction, and the formula is left. */
typedef struct PartOption
{
	uint32_t conjunction, formula;
} PartOption;

typedef struct PartOptions
{
	uint32_t n, capacity;
	PartOption *at;
} PartOptions;

/* An object of a conjunction: names in their order, and the formula at its beginning, in which "all other members" are
 * those that have no name here. */
typedef struct ObjectPlan
{
	uint32_t n_names, formula;
	uint32_t *names;   /* texts */
	uint8_t *kinds;    /* of tags: what each member can be (parameters.h), found when it is asked for; NULL: none */
	uint32_t key_list; /* its names as names that are used (keys.h); set by who makes the first frame of it */
	bool is_closed;    /* no members but those with names */
	bool is_of_tags;   /* written as <parameter=NAME> … instead of JSON */
	bool was_asked, has_many_names; /* object_has_many_names, which was asked */
} ObjectPlan;

#define MAX_PREDICATES 10 /* by which one object tells names apart */

/* Names that the schema does not have, of one kind: they are told apart by the patterns that they match. */
typedef struct KeyKind
{
	const Language *language;
	PartOptions options;
	uint32_t truths; /* which of the patterns, as bits */
} KeyKind;

typedef struct KeyKinds
{
	uint32_t n, capacity;
	KeyKind *at;
	WordList expressions; /* the patterns */
} KeyKinds;

extern ObjectPlan *object_plan(Formulas *formulas, uint32_t conjunction);

/* With, and without, a member of this name. */
extern PartOptions object_with(Formulas *formulas, uint32_t formula, uint32_t name);
extern uint32_t object_without(Formulas *formulas, uint32_t formula, uint32_t name);

/* Does a formula say anything of a member of this name, or count members? */
extern bool object_minds(Formulas *formulas, uint32_t formula, uint32_t name);

/* With one more member that has no name in the schema. */
extern KeyKinds object_with_other(Formulas *formulas, uint32_t formula);

/* Has each kind of names that the schema does not have so many that those used do not matter, here and all the way on?
 */
extern bool object_has_many_names(Formulas *formulas, ObjectPlan *plan);

/* Are there names enough for what has to come, where of each kind so many are left (NO_LIMIT: any number)? */
extern bool object_has_names(Formulas *formulas, uint32_t formula, const KeyKinds *kinds, const uint32_t *left);

/* May an object, or array, end here? */
extern bool container_ends(Formulas *formulas, uint32_t formula);

extern PartOptions array_with(Formulas *formulas, uint32_t formula);

#endif
