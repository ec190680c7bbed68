/*
 * results.h - functions that return all their rows at once.
 */
#ifndef QWEN_RESULTS_H
#define QWEN_RESULTS_H

#include "core.h"

/* Prepare the tuplestore of a set-returning function (fcinfo->resultinfo) for tuplestore_putvalues. */
extern void init_materialized_set(FunctionCallInfo fcinfo);

#endif
