/*
 * filters.h - what the filters' table and the filters over sequences share.
 */
#ifndef QWEN_TEMPLATE_FILTERS_H
#define QWEN_TEMPLATE_FILTERS_H

#include "interpreter.h"

/* One filter: value | name(arguments). */
typedef bool (*FilterFunction)(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);

/* In filter_sequence.c. */
extern bool filter_first(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_last(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_join(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_list(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_reverse(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_items(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_dictsort(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_sort(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_unique(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_min(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_max(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_sum(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_map(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_select(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_reject(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_selectattr(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);
extern bool filter_rejectattr(Interpreter *interpreter, Value input, const Arguments *arguments, Value *out);

#endif
