/*
 * unique.h - uniqueItems, where the values that could come twice are few enough to be told one by one.
 */
#ifndef QWEN_FORMAT_UNIQUE_H
#define QWEN_FORMAT_UNIQUE_H

#include "formula.h"

/* Items of an array that a node describes, none of which are equal. Notes a failure where it cannot be kept. */
extern uint32_t unique_items(Formulas *formulas, uint32_t id);

#endif
