/*
 * append.h - one batching node above an Append instead of one above each of its children.
 */
#ifndef QWEN_APPEND_H
#define QWEN_APPEND_H

#include "nodes.h"

/* The plans that an Append or MergeAppend reads one after the other or side by side; NIL: it is neither. */
extern List *plan_appended(Plan *plan);

/* Of these plans the ones that an Append asks asynchronously, before they are rewritten. */
extern List *plan_find_async(const List *plans);

/*
 * Where all children of an Append or MergeAppend are nodes of ours that make the same calls, make them once above it.
 * The plan that stands there now, or append itself. async: plan_find_async of its children as they were.
 */
extern Plan *plan_lift_calls(Plan *append, const List *async, Rewrite *rewrite);

#endif
