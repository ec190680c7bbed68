/*
 * nodes.h - nodes that are put into finished plans.
 */
#ifndef QWEN_NODES_H
#define QWEN_NODES_H

#include "split.h"

#include "nodes/plannodes.h"

/* A statement that is rewritten. */
typedef struct Rewrite
{
	PlannedStmt *statement;
	int next_node_id; /* they are keys in shared memory of parallel queries */
	int n_nodes;      /* of ours */
	int n_gathers;    /* above what is being rewritten */
} Rewrite;

/* What a new node above another takes over. */
extern void plan_inherit(Plan *above, Plan *below, Rewrite *rewrite);

/* A Material above a plan: it can go back. */
extern Plan *plan_add_material(Plan *below, Rewrite *rewrite);

/* One of ours that makes these calls (FoundCall). */
extern CustomScan *plan_make_batch(const List *calls, Rewrite *rewrite);

/* Once its custom_scan_tlist is there: what is executed goes behind the number of calls in custom_private, and in the
 * list, which names its columns in EXPLAIN, stands what one would have written. */
extern void plan_describe_calls(CustomScan *node);
extern bool plan_is_batch(const Plan *plan);

/* A node above child that makes calls over its rows and passes their values on as further columns, the first of which
 * is split->first_place + 1. */
extern Plan *plan_append_calls(Plan *child, List *calls, Split *split, Rewrite *rewrite);

#endif
