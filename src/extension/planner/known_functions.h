/*
 * known_functions.h - which SQL functions are ours, and can be batched.
 */
#ifndef QWEN_KNOWN_FUNCTIONS_H
#define QWEN_KNOWN_FUNCTIONS_H

#include "../call/call.h"
#include "access/htup.h"

/* What a SQL function asks of the model, if calls of it can be batched; else NULL. */
extern const ModelFunction *batch_function(Oid function);

/* Is a row of pg_proc one of the C function of this library that has this name? */
extern bool is_function_of_symbol(HeapTuple tuple, const char *symbol);

#endif
