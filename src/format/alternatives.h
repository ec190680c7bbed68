/*
 * alternatives.h - anyOf, oneOf and if as formulas; which alternatives exclude each other.
 */
#ifndef QWEN_FORMAT_ALTERNATIVES_H
#define QWEN_FORMAT_ALTERNATIVES_H

#include "conjunctions.h"

/* At least one of the nodes. */
extern uint32_t alternatives_any_of(Formulas *formulas, const SchemaList *nodes, ValueType type);

/* Exactly one of them. */
extern uint32_t alternatives_one_of(Formulas *formulas, const SchemaList *nodes, ValueType type);

/* A node's if, then and else. */
extern uint32_t alternatives_if(Formulas *formulas, const SchemaNode *node, ValueType type);

#endif
