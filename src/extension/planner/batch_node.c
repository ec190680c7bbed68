/*
 * batch_node.c - the node that keeps the model calls of many rows in flight ("Qwen Batch" in EXPLAIN).
 *
 * It reads rows of its child ahead, as far as read_ahead.c allows, evaluates guards and arguments over each and sends
 * the calls; then it waits for those of the first row, tests its quals over [values] + [columns of the child], and
 * returns its target list. So rows come in the child's order, whatever ends first.
 *
 * A row is copied when it is read and lives, with its arguments and calls, in a memory context of its own until it is
 * returned. What ends the query, a rescan or an error deletes these contexts, which cancels what is in flight.
 */
#include "batch_node.h"

#include "../call/call.h"
#include "../core/compat.h"
#include "../core/settings.h"
#include "../limits/limits.h"
#include "access/htup_details.h"
#include "batch_state.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "explain.h"
#include "known_functions.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "read_ahead.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "worker_counts.h"

/* What a row of the window keeps: the child's row, and the arguments of each call ([n_arguments], NULL: no call). */
typedef struct BatchRow
{
	MinimalTuple tuple;
	NullableDatum *arguments[FLEXIBLE_ARRAY_MEMBER];
} BatchRow;

static Node *create_batch_state(CustomScan *plan);

CustomScanMethods batch_scan_methods = {batch_node_name, create_batch_state};

/* ---- begin ----------------------------------------------------------------------------------------------------------
 */

/* As every call of a function begins: may this role execute it? */
static void
check_execute(Oid function)
{
	AclResult result = function_aclcheck(function, GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
	InvokeFunctionExecuteHook(function);
}

static void
init_call(BatchCall *call, FuncExpr *expression, Expr *guard, PlanState *parent)
{
	ListCell *cell;
	int i = 0;

	check_execute(expression->funcid);
	call->function = batch_function(expression->funcid);
	if (!call->function)
		elog(ERROR, "function %u can no longer be batched", expression->funcid);
	call->n_arguments = list_length(expression->args);
	fmgr_info(expression->funcid, &call->flinfo);
	fmgr_info_set_expr((Node *) expression, &call->flinfo);
	call->fcinfo = palloc0(SizeForFunctionCallInfo(call->n_arguments));
	InitFunctionCallInfoData(*call->fcinfo, &call->flinfo, call->n_arguments, expression->inputcollid, NULL, NULL);
	call->arguments = palloc0(sizeof *call->arguments * Max(call->n_arguments, 1));
	foreach (cell, expression->args)
		call->arguments[i++] = ExecInitExpr(lfirst(cell), parent);
	if (!IsA(guard, Const))
		call->guard = ExecInitExpr(guard, parent);
}

static void
begin_batch(CustomScanState *node, EState *estate, int eflags)
{
	BatchState *state = (BatchState *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;

	outerPlanState(node) = ExecInitNode(outerPlan(plan), estate, eflags & ~(EXEC_FLAG_BACKWARD | EXEC_FLAG_MARK));
	/* arguments see our copies of the child's rows */
	node->ss.ps.outerops = &TTSOpsMinimalTuple;
	node->ss.ps.outeropsfixed = node->ss.ps.outeropsset = true;
	state->n_calls = intVal(linitial(plan->custom_private));
	state->calls = palloc0(sizeof *state->calls * state->n_calls);
	for (int i = 0; i < state->n_calls; i++)
		init_call(&state->calls[i], list_nth_node(FuncExpr, lsecond_node(List, plan->custom_private), i),
				  list_nth(plan->custom_exprs, i), &node->ss.ps);
	state->window = window_create(state->n_calls);
	state->current_context = AllocSetContextCreate(CurrentMemoryContext, "qwen current row", ALLOCSET_SMALL_SIZES);
	state->input_context = CreateExprContext(estate);
	state->input_slot = ExecInitExtraTupleSlot(estate, ExecGetResultType(outerPlanState(node)), &TTSOpsMinimalTuple);
	state->output_slot = ExecInitExtraTupleSlot(estate, ExecGetResultType(outerPlanState(node)), &TTSOpsMinimalTuple);
	/* until read_ahead.c knows better */
	state->may_stop_early = true;
}

/* ---- read ahead -----------------------------------------------------------------------------------------------------
 */

/* Would plain execution reach this call? */
static bool
passes_guard(const BatchState *state, const BatchCall *call)
{
	bool is_null;
	Datum value;

	if (!call->guard)
		return true;
	value = ExecEvalExpr(call->guard, state->input_context, &is_null);
	return !is_null && DatumGetBool(value);
}

/* Arguments over the row in input_context, in the current memory context. true: the function is to be called. */
static bool
evaluate_arguments(const BatchState *state, const BatchCall *call, NullableDatum *arguments)
{
	bool has_null = false;

	for (int i = 0; i < call->n_arguments; i++)
	{
		arguments[i].value = ExecEvalExpr(call->arguments[i], state->input_context, &arguments[i].isnull);
		has_null |= arguments[i].isnull;
	}
	return !(has_null && call->flinfo.fn_strict);
}

/* Send the calls of the row in input_context, in the row's memory context. */
static void
send_calls(BatchState *state, WindowRow *row, BatchRow *content)
{
	for (int i = 0; i < state->n_calls; i++)
	{
		BatchCall *call = &state->calls[i];

		if (!passes_guard(state, call))
			continue;
		content->arguments[i] = palloc(sizeof(NullableDatum) * Max(call->n_arguments, 1));
		if (!evaluate_arguments(state, call, content->arguments[i]))
			continue;
		model_call_start(&row->calls[i], call->function, call->fcinfo, content->arguments[i]);
	}
}

/* Copy the child's row into the window and send its calls. */
static void
take_row(BatchState *state, TupleTableSlot *slot)
{
	MemoryContext old = CurrentMemoryContext;
	WindowRow *row = window_push(state->window);
	BatchRow *content = palloc0(offsetof(BatchRow, arguments) + sizeof(NullableDatum *) * state->n_calls);

	row->content = content;
	content->tuple = ExecCopySlotMinimalTuple(slot);
	/* arguments point into the copy, which lives as long as they do */
	ExecStoreMinimalTuple(content->tuple, state->input_slot, false);
	state->input_context->ecxt_outertuple = state->input_slot;
	send_calls(state, row, content);
	ExecClearTuple(state->input_slot);
	MemoryContextSwitchTo(old);
	window_measure(state->window);
	ResetExprContext(state->input_context);
	batch_expect_by_blocks(state);
	state->n_read++;
}

/* Read rows while there is room for them. */
static void
read_ahead(BatchState *state)
{
	/* a plan that was made while batching was on */
	int max_in_flight = qwen_batch_plans ? Min(qwen_batch_window, limits_window()) : 1;

	if (!state->started)
	{
		state->started = true;
		batch_pass_bound(state);
		batch_expect_no_more_than_limit(state);
	}
	while (!state->child_done && window_has_room(state->window, max_in_flight) &&
		   (state->window->n == 0 || state->window->n < batch_row_limit(state)))
	{
		TupleTableSlot *slot = ExecProcNode(outerPlanState(state));

		if (TupIsNull(slot))
		{
			state->child_done = true;
			batch_expect(state, (double) state->n_read);
		}
		else
			take_row(state, slot);
	}
}

/* The first row, when its calls have ended; NULL: there are no more. */
static WindowRow *
next_row(BatchState *state)
{
	for (;;)
	{
		WindowRow *row = window_advance(state->window);

		read_ahead(state);
		if (state->window->n == 0)
			return NULL;
		if (row || (row = window_advance(state->window)) != NULL)
			return row;
		window_wait(state->window, true);
	}
}

/* ---- return rows ----------------------------------------------------------------------------------------------------
 */

/* Fill the scan slot with [values] + [columns]; the row leaves the window. */
static void
store_row(BatchState *state, WindowRow *row)
{
	TupleTableSlot *scan = state->custom.ss.ss_ScanTupleSlot, *child = state->output_slot;
	BatchRow *content = row->content;
	MemoryContext old;

	ExecClearTuple(scan);
	ExecClearTuple(child);
	MemoryContextReset(state->current_context);
	old = MemoryContextSwitchTo(state->current_context);
	for (int i = 0; i < state->n_calls; i++)
	{
		scan->tts_isnull[i] = true;
		scan->tts_values[i] = (Datum) 0;
		if (!row->calls[i].function)
			continue;
		scan->tts_values[i] = model_call_value(&row->calls[i], &scan->tts_isnull[i], &state->window->counts);
	}
	ExecStoreMinimalTuple(duplicate_minimal_tuple(content->tuple), child, false);
	MemoryContextSwitchTo(old);
	window_pop(state->window);
	state->n_taken++;
	worker_counts_tell(state);
	slot_getallattrs(child);
	for (int i = 0; i < child->tts_tupleDescriptor->natts; i++)
	{
		scan->tts_values[state->n_calls + i] = child->tts_values[i];
		scan->tts_isnull[state->n_calls + i] = child->tts_isnull[i];
	}
	ExecStoreVirtualTuple(scan);
}

static TupleTableSlot *
exec_batch(CustomScanState *node)
{
	BatchState *state = (BatchState *) node;
	ExprContext *context = node->ss.ps.ps_ExprContext;
	ProjectionInfo *projection = node->ss.ps.ps_ProjInfo;

	for (;;)
	{
		WindowRow *row;

		ResetExprContext(context);
		row = next_row(state);
		if (!row)
			return ExecClearTuple(projection ? node->ss.ps.ps_ResultTupleSlot : node->ss.ss_ScanTupleSlot);
		store_row(state, row);
		context->ecxt_scantuple = node->ss.ss_ScanTupleSlot;
		if (node->ss.ps.qual && !ExecQual(node->ss.ps.qual, context))
		{
			InstrCountFiltered1(&node->ss, 1);
			continue;
		}
		return projection ? ExecProject(projection) : node->ss.ss_ScanTupleSlot;
	}
}

/* ---- end ------------------------------------------------------------------------------------------------------------
 */

static void
clear_slots(BatchState *state)
{
	ExecClearTuple(state->custom.ss.ss_ScanTupleSlot);
	ExecClearTuple(state->input_slot);
	ExecClearTuple(state->output_slot);
}

static void
end_batch(CustomScanState *node)
{
	BatchState *state = (BatchState *) node;

	window_clear(state->window);
	worker_counts_tell(state);
	clear_slots(state);
	ExecEndNode(outerPlanState(node));
}

static void
rescan_batch(CustomScanState *node)
{
	BatchState *state = (BatchState *) node;

	window_clear(state->window);
	clear_slots(state);
	state->child_done = state->started = false;
	state->n_taken = state->n_taken_before = 0;
	/* of how many rescans nobody knows */
	progress_expect_more();
	/* a sort that keeps its rows for a rescan must hear of a bound that has changed first */
	batch_pass_bound(state);
	/* with changed parameters the first read of the child does it */
	if (outerPlanState(node)->chgParam == NULL)
		ExecReScan(outerPlanState(node));
}

static const CustomExecMethods batch_exec_methods = {
	.CustomName = batch_node_name,
	.BeginCustomScan = begin_batch,
	.ExecCustomScan = exec_batch,
	.EndCustomScan = end_batch,
	.ReScanCustomScan = rescan_batch,
	.EstimateDSMCustomScan = worker_counts_estimate,
	.InitializeDSMCustomScan = worker_counts_begin,
	.ReInitializeDSMCustomScan = worker_counts_begin_again,
	.InitializeWorkerCustomScan = worker_counts_join,
	.ExplainCustomScan = batch_explain,
};

static Node *
create_batch_state(CustomScan *plan)
{
	BatchState *state = palloc0(sizeof *state);

	NodeSetTag(state, T_CustomScanState);
	state->custom.methods = &batch_exec_methods;
	return (Node *) state;
}
