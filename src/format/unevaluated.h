/*
 * unevaluated.h - unevaluatedProperties and unevaluatedItems: under which conditions a node has looked at a
 * part of a value, as formulas.
 */
#ifndef QWEN_FORMAT_UNEVALUATED_H
#define QWEN_FORMAT_UNEVALUATED_H

#include "conjunctions.h"

/* What the keyword of a node says of an object; of an array. */
extern uint32_t formula_of_unevaluated_members(Formulas *formulas, uint32_t node);
extern uint32_t formula_of_unevaluated_items(Formulas *formulas, uint32_t node);

#endif
