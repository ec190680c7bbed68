/*
 * scalars.h - the values of numbers and strings that satisfy a formula, as a list of sets.
 */
#ifndef QWEN_FORMAT_SCALARS_H
#define QWEN_FORMAT_SCALARS_H

#include "formula.h"
#include "language.h"

typedef struct ScalarSet
{
	/* one of these: */
	const NumberSet *numbers;
	const Language *language; /* texts, of min … max letters */
	ByteSpan word;            /* one value, as it is written */
	uint32_t min, max;
} ScalarSet;

typedef struct ScalarSets
{
	uint32_t n;
	ScalarSet *sets;
} ScalarSets;

/* Never NULL; without what is empty. */
extern const ScalarSets *scalar_numbers(Formulas *formulas, uint32_t formula);
extern const ScalarSets *scalar_strings(Formulas *formulas, uint32_t formula);

/* Is it plain that no string satisfies it, those that are never made counted? */
extern bool scalar_no_strings(Formulas *formulas, uint32_t formula);

/* Strings that are written without quotes and escapes, of those that an expression has. */
extern const ScalarSets *scalar_texts(Formulas *formulas, uint32_t formula, uint32_t bound);

/* Does a text satisfy a formula of strings? */
extern bool scalar_text_satisfies(Formulas *formulas, uint32_t formula, ByteSpan text);

/* All texts that satisfy it, as an expression. */
extern uint32_t scalar_expression(Formulas *formulas, uint32_t formula);

/* A string as JSON, in the spelling of keys; data NULL where SQL could not hold it. */
extern ByteSpan scalar_spell(Pool *pool, ByteSpan text);

#endif
