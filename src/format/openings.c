/*
 * openings.c - see openings.h.
 */
#include "openings.h"

#include <string.h>

#include "conjunctions.h"
#include "frames.h"
#include "keys.h"
#include "parameters.h"
#include "scalars.h"

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
			pick_add(machine, pick, sets->sets[i].word, 0, 0, 0);
			continue;
		}
		if (!pool_grow(machine->pool, &machine->set_list, machine->n_sets, &machine->sets_capacity,
					   sizeof *machine->set_list))
			return;
		machine->set_list[machine->n_sets++] = sets->sets[i].numbers;
		/* a word of no bytes: the frame itself */
		pick_add(machine, pick, frame_span(""), 1, frame_of_number(machine, machine->n_sets - 1, &prefix), 0);
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
			pick_add(machine, pick, set->word, 0, 0, 0);
			continue;
		}
		words[1] = language_index(machine, set->language);
		words[2] = set->language->start;
		pick_add(machine, pick, frame_span("\""), 1, intern(machine->pool, &machine->frames, words, 7, NULL), 0);
	}
}

/* Strings as they are. */
static void
add_texts(Machine *machine, Pick *pick, uint32_t formula, uint32_t kinds)
{
	const ScalarSets *sets = scalar_texts(machine->formulas, formula, parameter_texts(machine, kinds));

	for (uint32_t i = 0; i < sets->n && !pool_failed(machine->pool); i++)
	{
		const ScalarSet *set = &sets->sets[i];
		uint32_t words[7] = {FRAME_RAW, 0, 0, set->min, set->max, 0, 0};

		if (!set->language)
		{
			pick_add(machine, pick, set->word, 0, 0, 0);
			continue;
		}
		words[1] = language_index(machine, set->language);
		words[2] = set->language->start;
		if (set->language->accepts[words[2]] && set->min == 0)
			pick_add(machine, pick, frame_span(""), 0, 0, 0);
		pick_add(machine, pick, frame_span(""), 1, intern(machine->pool, &machine->frames, words, 7, NULL), 0);
	}
}

/* A value of one of some kinds. is_bare: with strings as they are. */
static void
add_value_words(Machine *machine, Pick *pick, uint32_t conjunction, uint32_t kinds, bool is_bare)
{
	Formulas *formulas = machine->formulas;
	static const char *const constants[] = {"null", "false", "true"};
	uint32_t formula;

	for (int type = VALUE_NULL; type <= VALUE_TRUE; type++)
		if ((kinds & (type == VALUE_NULL ? KIND_NULL : KIND_BOOLEAN)) &&
			formula_of_conjunction(formulas, conjunction, (ValueType) type) == F_TRUE)
			pick_add(machine, pick, frame_span(constants[type]), 0, 0, 0);
	if (kinds & KIND_NUMBER)
		add_numbers(machine, pick, formula_of_conjunction(formulas, conjunction, VALUE_NUMBER));
	formula = formula_of_conjunction(formulas, conjunction, VALUE_STRING);
	if ((kinds & KIND_STRING) && is_bare)
		add_texts(machine, pick, formula, kinds);
	else if (kinds & KIND_STRING)
		add_strings(machine, pick, formula);
	formula = formula_of_conjunction(formulas, conjunction, VALUE_ARRAY);
	if ((kinds & KIND_ARRAY) && formula != F_FALSE && !pool_failed(machine->pool))
		pick_add(machine, pick, frame_span("["), 1, frame_make(machine, FRAME_ARRAY, formula, 1, 0, 0, 0, 2), 0);
	formula = formula_of_conjunction(formulas, conjunction, VALUE_OBJECT);
	if ((kinds & KIND_OBJECT) && formula != F_FALSE && !pool_failed(machine->pool))
	{
		uint32_t plan = plan_of(machine, conjunction);

		if (!pool_failed(machine->pool) && machine->plan_list[plan]->formula != F_FALSE)
		{
			machine->plan_list[plan]->key_list = key_list_of_plan(machine, machine->plan_list[plan]);
			pick_add(machine, pick, frame_span("{"), 1,
					 frame_make(machine, FRAME_OBJECT, plan, machine->plan_list[plan]->formula, 0, 1,
								machine->plan_list[plan]->key_list, 5),
					 0);
		}
	}
}

/* ---- what objects and arrays go on with ---- */

static void
add_array_words(Machine *machine, Pick *pick, uint32_t formula, bool is_first)
{
	PartOptions options = array_with(machine->formulas, formula);

	if (container_ends(machine->formulas, formula))
		pick_add(machine, pick, frame_span("]"), 0, 0, 0);
	for (uint32_t i = 0; i < options.n && !pool_failed(machine->pool); i++)
	{
		uint32_t conjunction = conjunction_reduce(machine->formulas, options.at[i].conjunction);

		if (conjunction != C_FALSE)
			pick_add(machine, pick, frame_span(is_first ? "" : machine->separator), 2,
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
	uint32_t left[1 << MAX_PREDICATES], n_keys;

	(void) interned(&machine->key_lists, list, &n_keys);
	for (uint32_t i = 0; i < kinds->n; i++)
	{
		const Language *language = kinds->at[i].language;

		left[i] = language->n_words[language->start];
		if (left[i] == NO_LIMIT)
			return true;
		left[i] -= keys_count_used(machine, language, language->start, list, n_keys << 16, 0);
	}
	return object_has_names(machine->formulas, formula, kinds, left);
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
			pick_add(machine, pick, frame_join(machine, is_first ? "" : machine->separator, frame_span("\""), ""), 1,
					 intern(machine->pool, &machine->frames, words, 9, NULL), 0);
		}
}

/* A member of an object: how its name is written, and whether it is the object's first. */
typedef struct MemberName
{
	ByteSpan spelled;
	bool is_first;
	uint32_t index;
} MemberName;

/* What closes a parameter, before the frame of the rest. */
static uint32_t
parameter_end(Machine *machine, uint32_t rest)
{
	uint32_t pick = pick_new(machine);

	if (pool_failed(machine->pool))
		return 0;
	pick_add(machine, machine->picks[pick], frame_span("\n</parameter>\n"), 1, rest, 0);
	return frame_make(machine, FRAME_WORDS, pick, 0, 0, 0, 0, 1);
}

/* A member with a value, and the rest of its object. */
static void
add_member(Machine *machine, Pick *pick, ObjectPlan *plan, const MemberName *name, uint32_t conjunction, uint32_t rest)
{
	if (plan->is_of_tags)
		pick_add(machine, pick, name->spelled, 2,
				 frame_make(machine, FRAME_BARE, conjunction, parameter_kinds(machine, plan, name->index), 0, 0, 0, 2),
				 parameter_end(machine, rest));
	else
		pick_add(machine, pick,
				 frame_join(machine, name->is_first ? "" : machine->separator, name->spelled, machine->colon), 2,
				 frame_of_value(machine, conjunction), rest);
}

/* How a member's name is written; data NULL: it cannot be. */
static ByteSpan
spell_name(Machine *machine, const ObjectPlan *plan, uint32_t name)
{
	ByteSpan text = schema_span(machine->formulas->schema, name);

	if (!plan->is_of_tags)
		return scalar_spell(machine->pool, text);
	return tag_takes_name(text) ? frame_join(machine, "<parameter=", text, ">\n") : (ByteSpan){NULL, 0};
}

static void
add_object_words(Machine *machine, Pick *pick, const uint32_t *words)
{
	Formulas *formulas = machine->formulas;
	uint32_t index = words[1], formula = words[2], list = words[5];
	ObjectPlan *plan = machine->plan_list[index];

	for (uint32_t i = words[3]; i < plan->n_names && pool_work(machine->pool, 1); i++)
	{
		MemberName name = {spell_name(machine, plan, plan->names[i]), words[4], i};
		PartOptions options = {0};

		if (name.spelled.data)
			options = object_with(formulas, formula, plan->names[i]);
		for (uint32_t k = 0; k < options.n && !pool_failed(machine->pool); k++)
		{
			uint32_t conjunction = conjunction_reduce(formulas, options.at[k].conjunction);

			if (conjunction != C_FALSE)
				add_member(machine, pick, plan, &name, conjunction,
						   frame_make(machine, FRAME_OBJECT, index, options.at[k].formula, i + 1, 0, list, 5));
		}
		formula = object_without(formulas, formula, plan->names[i]);
		if (formula == F_FALSE)
			return;
	}
	if (!plan->is_closed)
		add_other_words(machine, pick, index, formula, words[4], list);
	if (container_ends(formulas, formula))
		pick_add(machine, pick, frame_span(plan->is_of_tags ? "" : "}"), 0, 0, 0);
}

/* All words that a frame that has not begun can begin with. */
const Pick *
opening_words(Machine *machine, uint32_t frame)
{
	const uint32_t *words = interned(&machine->frames, frame, NULL);
	uint32_t index;

	if (words[0] == FRAME_WORDS)
		return machine->picks[words[1]];
	if (map_find(&machine->raw_picks, frame, &index))
		return machine->picks[index];
	index = pick_new(machine);
	if (pool_failed(machine->pool))
		return NULL;
	map_put(machine->pool, &machine->raw_picks, frame, index);
	if (words[0] == FRAME_VALUE)
		add_value_words(machine, machine->picks[index], words[1], ~0u, false);
	else if (words[0] == FRAME_BARE)
		add_value_words(machine, machine->picks[index], words[1], words[2], true);
	else if (words[0] == FRAME_ARRAY)
		add_array_words(machine, machine->picks[index], words[1], words[2]);
	else
		add_object_words(machine, machine->picks[index], words);
	return pool_failed(machine->pool) ? NULL : machine->picks[index];
}
