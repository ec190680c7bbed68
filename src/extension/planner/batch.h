/*
 * batch.h - plain SQL batched: a plan node that keeps the model calls of many rows in flight.
 *
 * known_functions.c knows which SQL functions are ours; guards.c finds calls that can be taken out of an
 * expression, and under which conditions they would have been reached; rewrite.c rewrites finished plans;
 * batch_node.c is the node; read_ahead.c says how far ahead it may read; explain.c shows it.
 *
 * The node, a CustomScan without a relation, stands above the node whose expressions had the calls. Its scan tuple is
 * [the calls' values] + [the columns of its child], so that expressions above see a call's value as a column.
 */
#ifndef QWEN_BATCH_H
#define QWEN_BATCH_H

#include "../call/call_window.h"
#include "commands/explain.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/plannodes.h"

/* ---- known_functions.c ---- */
/* What a SQL function asks of the model, if calls of it can be batched; else NULL. */
extern const ModelFunction *batch_function(Oid function);

/* ---- guards.c ---- */
/* A call that can be made below the expression it stands in. */
typedef struct FoundCall
{
	FuncExpr *call; /* the first of them */
	List *same;     /* of FuncExpr: places that get its value, the first too */
	List *fields;   /* of int: the fields that these places select; empty: not places of (f(x)).* */
	List *guards;   /* of expressions, all of which must be true for the call to be reached; empty: always */
	bool sharable;  /* equal calls elsewhere may have its value */
} FoundCall;

/* Append the innermost calls of an expression (or a list) to *calls, of FoundCall. */
extern void find_calls(Node *expression, List **calls);

/* As find_calls, for an expression that is reached only where guard (may be NULL) is true. */
extern void find_guarded_calls(Node *expression, Node *guard, List **calls);

/* Does an expression call one of our functions anywhere? */
extern bool contains_call(Node *expression);

/* ---- rewrite.c ---- */
extern void batch_plan_init(void);

/* ---- batch_node.c ---- */
extern CustomScanMethods batch_scan_methods;

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
	struct BatchState *above; /* a node between us and limit that holds rows */
	bool passes_bound;        /* limit's count bounds the rows of our child too */
	/* since the last rescan */
	int64 n_taken; /* rows taken off the window */
	/* for EXPLAIN ANALYZE */
	int64 n_read;
} BatchState;

extern bool is_batch_state(const PlanState *state);
extern bool is_batch_plan(const Plan *plan);

/* ---- read_ahead.c ---- */
/* Rows that may be in the window now. */
extern int64 batch_row_limit(const BatchState *state);

/* Tell the child how many rows a LIMIT above takes, or that it takes all: it may sort no more than that. Before the
 * child is read or rescanned. */
extern void batch_pass_bound(BatchState *state);

extern void batch_limit_init(void);

/* ---- explain.c ---- */
extern void batch_explain(CustomScanState *node, List *ancestors, ExplainState *es);

#endif
