/*
 * schema_formula.h - what the keywords of a node say of one type of values.
 */
#ifndef QWEN_FORMAT_SCHEMA_FORMULA_H
#define QWEN_FORMAT_SCHEMA_FORMULA_H

#include "formula.h"

extern uint32_t schema_formula(Formulas *formulas, uint32_t node, ValueType type);

#endif
