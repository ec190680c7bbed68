/*
 * explain.h - what EXPLAIN says of a batching node.
 */
#ifndef QWEN_EXPLAIN_H
#define QWEN_EXPLAIN_H

#include "batch_state.h"

#include "commands/explain.h"

extern void batch_explain(CustomScanState *node, List *ancestors, ExplainState *es);

#endif
