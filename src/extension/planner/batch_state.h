/*
 * batch_state.h - the state of a batching node, for those who run it, show it and say how far it may read ahead.
 *
 * The node, a CustomScan without a relation, stands above the node whose expressions had the calls. Its scan tuple is
 * [the calls' values] + [the columns of its child], so that expressions above see a call's value as a column.
 */
#ifndef QWEN_BATCH_STATE_H
#define QWEN_BATCH_STATE_H

#include "../call/call.h"

#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/plannodes.h"

/* The name of its methods, by which it is known. */
extern const char batch_node_name[];

/* One call of the node. */
typedef struct BatchCall
{
	const ModelFunction *function;
	FmgrInfo flinfo;
	FunctionCallInfo fcinfo;
	int n_arguments;
	ExprState **arguments;
	ExprState *guard; /* NULL: always */
} BatchCall;

/* What a node has done, for EXPLAIN ANALYZE; rescans go on counting. */
typedef struct BatchCounts
{
	ModelCallCounts calls;
	int64 n_read;
	int largest; /* requests in flight at once */
	uint64 waited_us;
} BatchCounts;

typedef struct WorkerCounts WorkerCounts;

typedef struct BatchState
{
	CustomScanState custom;
	int n_calls;
	BatchCall *calls;
	CallWindow *window;
	ExprContext *input_context;  /* arguments and guards are evaluated in it */
	TupleTableSlot *input_slot;  /* a row of the child, for input_context */
	TupleTableSlot *output_slot; /* the same, for what is returned */
	MinimalTuple current;        /* in output_slot */
	MemoryContext current_context;
	bool child_done;
	bool started;
	/* set by read_ahead.c */
	LimitState *limit;        /* that all our rows go to, or NULL */
	bool may_stop_early;      /* who reads from us may not want all rows */
	bool to_portal;           /* all our rows, or those that limit lets through, go to whoever runs the query */
	bool may_be_parted;       /* who reads from us wants all rows only if whoever runs the query does */
	struct BatchState *above; /* a node between us and limit or the portal that holds rows */
	bool passes_bound;        /* limit's count bounds the rows of our child too */
	double expected;          /* rows that qwen_progress was told to expect */
	uint32 n_blocks;          /* of a table below us that have been read, when it was told so last … */
	uint32 n_full_blocks;     /* … with a row that is read … */
	uint32 n_hole_blocks;     /* … and that lie in long stretches without any */
	uint32 n_own_blocks;      /* … of the one that is being read … */
	int which_table;          /* … below an Append */
	/* since the last rescan */
	int64 n_taken;        /* rows taken off the window */
	int64 n_taken_before; /* of these, before the FETCH that runs */
	uint64 run;           /* that FETCH */
	/* for EXPLAIN ANALYZE */
	int64 n_read;
	WorkerCounts *shared;   /* of worker_counts.c; NULL: no parallel query, or no more */
	BatchCounts of_workers; /* that have ended */
} BatchState;

extern bool is_batch_state(const PlanState *state);

#endif
