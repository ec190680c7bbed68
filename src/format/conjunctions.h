/*
 * conjunctions.h - literals and conjunctions of them: what they say of a type of values, and which of them no
 * value satisfies.
 */
#ifndef QWEN_FORMAT_CONJUNCTIONS_H
#define QWEN_FORMAT_CONJUNCTIONS_H

#include "formula.h"

/* What a literal, or a conjunction, says of values of a type. */
extern uint32_t formula_of_literal(Formulas *formulas, uint32_t literal, ValueType type);
extern uint32_t formula_of_conjunction(Formulas *formulas, uint32_t conjunction, ValueType type);

extern uint32_t conjunction_of(Formulas *formulas, uint32_t literal);
extern uint32_t conjunction_join(Formulas *formulas, uint32_t a, uint32_t b);

/* Without literals that the others imply; C_FALSE where it is plain that no value satisfies it. */
extern uint32_t conjunction_reduce(Formulas *formulas, uint32_t conjunction);

/* Is it plain that no value satisfies all of them? */
extern bool conjunction_is_empty(Formulas *formulas, uint32_t conjunction);

static inline uint32_t
formula_of_node(Formulas *formulas, uint32_t node, ValueType type)
{
	return formula_of_literal(formulas, LITERAL(node, false), type);
}

#endif
