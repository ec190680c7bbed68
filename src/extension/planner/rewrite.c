/*
 * rewrite.c - puts batching nodes into finished plans.
 *
 * The planner hook lets the plan be made as always and then walks it. A node whose target list or quals call the model
 * gets one of ours above it: the calls are made there, over columns that the node below now returns, and the
 * expressions around them move up and see the calls' values as columns. Calls in arguments of aggregates, window
 * functions and set-returning functions get a node below instead. This happens on the finished plan, because the
 * planner applies targets of scans and joins where no hook reaches them.
 * split.c takes expressions apart, nodes.c makes the nodes, lateral.c looks at functions beside a row, append.c makes
 * one node of those of partitions.
 *
 * Whatever is not known to give the same rows stays as it is: outer joins' conditions, INSERT's VALUES, RETURNING, what
 * ON CONFLICT and MERGE do, other extensions' nodes.
 */
#include "rewrite.h"

#include "../core/compat.h"
#include "../core/settings.h"
#include "access/xact.h"
#include "append.h"
#include "batch_node.h"
#include "executor/executor.h"
#include "guards.h"
#include "lateral.h"
#include "miscadmin.h"
#include "nodes.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"
#include "split.h"

static planner_hook_type previous_planner;

/* ---- calls of a node's own target list and quals ---- */
/* Can a plan go back to a row that was marked? As ExecMarkPos does it. */
static bool
supports_mark(const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_Material:
		case T_Sort:
			return true;
		case T_Result:
			return plan->lefttree && supports_mark(plan->lefttree);
		case T_CustomScan:
			/* another extension's: the planner has asked it */
			return !plan_is_batch(plan);
		default:
			return false;
	}
}

/* Nodes whose expressions we understand: target list and quals over the rows of their children. */
static bool
is_understood(const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
#if PG_VERSION_NUM >= 140000
		case T_TidRangeScan:
#endif
		case T_SubqueryScan:
		case T_FunctionScan:
		case T_TableFuncScan:
		case T_ValuesScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_WorkTableScan:
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
		case T_Agg:
		case T_WindowAgg:
		case T_Group:
		case T_Gather:
		case T_GatherMerge:
			return true;
		case T_ForeignScan:
			return ((const ForeignScan *) plan)->operation == CMD_SELECT;
		case T_CustomScan:
			return plan_is_batch(plan);
		case T_Result:
			/* PL/pgSQL's fast way for simple expressions wants a bare Result with one column */
			return plan->lefttree != NULL || list_length(plan->targetlist) > 1;
		default:
			return false;
	}
}

/* Can a clause of the join's own condition move above it? For an inner join only, and not where the join counts on
 * finding one match at most and does not look back. */
static bool
has_movable_condition(const Plan *plan)
{
	if (!IsA(plan, NestLoop) && !IsA(plan, HashJoin) && !IsA(plan, MergeJoin))
		return false;
	return ((const Join *) plan)->jointype == JOIN_INNER &&
		   !(IsA(plan, MergeJoin) && ((const MergeJoin *) plan)->skip_mark_restore);
}

/*
 * Find the first clause that calls the model. It and all after it go to *moved, so that the order, which security
 * barriers count on, stays; those before stay.
 */
static List *
divide_quals(List *quals, List **calls, List **moved)
{
	List *kept = NIL;
	ListCell *cell;

	foreach (cell, quals)
	{
		if (*moved == NIL)
			find_calls(lfirst(cell), calls);
		if (*calls != NIL)
			*moved = lappend(*moved, lfirst(cell));
		else
			kept = lappend(kept, lfirst(cell));
	}
	return kept;
}

/* Positions in a WindowAgg's target list that its run condition refers to stay; calls in it become NULL there. */
static List *
window_columns(const WindowAgg *plan)
{
	List *columns = NIL;
	ListCell *cell;
	bool has_condition = plan->plan.qual != NIL;

#if PG_VERSION_NUM >= 150000
	has_condition |= plan->runCondition != NIL;
#endif
	if (!has_condition)
		return NIL;
	foreach (cell, plan->plan.targetlist)
	{
		Node *expression = (Node *) lfirst_node(TargetEntry, cell)->expr;

		if (contains_call(expression))
			expression =
				(Node *) makeNullConst(exprType(expression), exprTypmod(expression), exprCollation(expression));
		columns = lappend(columns, expression);
	}
	return columns;
}

/* Fill the scan tuple's description and the child's target list: [calls] + [columns]. */
static void
describe_scan(CustomScan *node, Split *split)
{
	Plan *child = node->scan.plan.lefttree;
	List *calls = NIL, *targets = NIL;
	ListCell *cell;
	int place = 0;

	split->in_call = true;
	foreach (cell, split->calls)
	{
		FoundCall *found = lfirst(cell);

		calls = lappend(calls, makeTargetEntry(plan_call_over_child(found, split), ++place, NULL, false));
		node->custom_exprs = lappend(node->custom_exprs, plan_split_expression(plan_guard_of(found), split));
	}
	place = 0;
	foreach (cell, split->columns)
	{
		Node *column = lfirst(cell);

		targets = lappend(targets, makeTargetEntry((Expr *) column, ++place, NULL, false));
		calls = lappend(calls, makeTargetEntry((Expr *) plan_column_var(OUTER_VAR, place, column),
											   list_length(split->calls) + place, NULL, false));
	}
	child->targetlist = targets;
	node->custom_scan_tlist = calls;
	plan_describe_calls(node);
}

/* Put a node above plan for the next calls in its quals, or, when there are none, in its target list. NULL: no calls.
 */
static Plan *
wrap_plan(Plan *plan, Rewrite *rewrite)
{
	List *calls = NIL, *moved = NIL, *targets = NIL, *quals = plan->qual, *conditions = NIL;
	Split split = {0};
	CustomScan *node;
	ListCell *cell;
	bool moves_condition;

	if (!is_understood(plan))
		return NULL;
	moves_condition = has_movable_condition(plan);
	if (moves_condition)
		conditions = divide_quals(((Join *) plan)->joinqual, &calls, &moved);
	if (!IsA(plan, WindowAgg))
		quals = divide_quals(plan->qual, &calls, &moved);
	if (calls == NIL)
		find_calls((Node *) plan->targetlist, &calls);
	if (calls == NIL)
		return NULL;
	if (moves_condition && list_length(conditions) != list_length(((Join *) plan)->joinqual))
	{
		((Join *) plan)->joinqual = conditions;
		((Join *) plan)->inner_unique = false; /* it was proven with what has moved */
	}
	node = plan_make_batch(calls, rewrite);
	split.calls = calls;
	if (IsA(plan, WindowAgg))
		split.columns = window_columns((WindowAgg *) plan);
	foreach (cell, plan->targetlist)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		target->expr = (Expr *) plan_split_expression((Node *) target->expr, &split);
		targets = lappend(targets, target);
	}
	node->scan.plan.targetlist = targets;
	node->scan.plan.qual = (List *) plan_split_expression((Node *) moved, &split);
	plan->qual = quals;
	plan_inherit(&node->scan.plan, plan, rewrite);
	describe_scan(node, &split);
	return &node->scan.plan;
}

/* ---- calls in arguments of aggregates, window functions and set-returning functions ---- */
static bool
find_aggregate_calls(Node *node, List **calls)
{
	if (!node)
		return false;
	if (IsA(node, Aggref))
	{
		Aggref *aggregate = (Aggref *) node;

		/* one that combines partial results has no arguments of its own */
		if (!DO_AGGSPLIT_COMBINE(aggregate->aggsplit))
			find_guarded_calls((Node *) aggregate->args, (Node *) aggregate->aggfilter, calls);
		return false;
	}
	if (IsA(node, WindowFunc))
	{
		find_guarded_calls((Node *) ((WindowFunc *) node)->args, (Node *) ((WindowFunc *) node)->aggfilter, calls);
		return false;
	}
	return expression_tree_walker(node, find_aggregate_calls, calls);
}

/* Calls that plan makes over each row of its child. */
static List *
calls_over_input(Plan *plan)
{
	List *calls = NIL;
	ListCell *cell;

	if (IsA(plan, Agg) || IsA(plan, WindowAgg))
	{
		(void) find_aggregate_calls((Node *) plan->targetlist, &calls);
		(void) find_aggregate_calls((Node *) plan->qual, &calls);
	}
	else if (IsA(plan, ProjectSet))
	{
		foreach (cell, plan->targetlist)
		{
			Expr *expression = lfirst_node(TargetEntry, cell)->expr;

			if (IsA(expression, FuncExpr))
				find_calls((Node *) ((FuncExpr *) expression)->args, &calls);
		}
	}
	return calls;
}

/* Put nodes below plan that make the calls of its arguments. */
static void
wrap_input(Plan *plan, Rewrite *rewrite)
{
	List *calls;

	while (plan->lefttree && (calls = calls_over_input(plan)) != NIL)
	{
		Split split;

		plan->lefttree = plan_append_calls(plan->lefttree, calls, &split, rewrite);
		plan->targetlist = (List *) plan_replace_calls((Node *) plan->targetlist, &split);
		plan->qual = (List *) plan_replace_calls((Node *) plan->qual, &split);
	}
}

/* ---- the whole plan ---- */
/* The lists of children that a node has beside its two subtrees. */
static List *
further_children(Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_Append:
			return ((Append *) plan)->appendplans;
		case T_MergeAppend:
			return ((MergeAppend *) plan)->mergeplans;
		case T_BitmapAnd:
			return ((BitmapAnd *) plan)->bitmapplans;
		case T_BitmapOr:
			return ((BitmapOr *) plan)->bitmapplans;
#if PG_VERSION_NUM < 140000
		case T_ModifyTable:
			return ((ModifyTable *) plan)->plans;
#endif
		case T_CustomScan:
			return ((CustomScan *) plan)->custom_plans;
		default:
			return NIL;
	}
}

/* Is what is below a plan executed by the workers of a parallel query? */
static bool
is_gather(const Plan *plan)
{
	return IsA(plan, Gather) || IsA(plan, GatherMerge);
}

static Plan *
rewrite_plan(Plan *plan, Rewrite *rewrite)
{
	Plan *inner, *wrapped;
	List *async;
	ListCell *cell;

	if (!plan)
		return NULL;
	check_stack_depth();
	/* what is below a node that we know nothing of may have to be as it was */
	if (IsA(plan, CustomScan) || (IsA(plan, ForeignScan) && ((ForeignScan *) plan)->operation != CMD_SELECT))
		return plan;
	rewrite->n_gathers += is_gather(plan);
	plan->lefttree = rewrite_plan(plan->lefttree, rewrite);
	rewrite->n_gathers -= is_gather(plan);
	if (IsA(plan, NestLoop))
		plan_wrap_lateral((NestLoop *) plan, rewrite);
	inner = rewrite_plan(plan->righttree, rewrite);
	if (IsA(plan, MergeJoin) && !((MergeJoin *) plan)->skip_mark_restore && !supports_mark(inner))
		inner = plan_add_material(inner, rewrite);
	plan->righttree = inner;
	async = plan_find_async(plan_appended(plan));
	foreach (cell, further_children(plan))
		lfirst(cell) = rewrite_plan(lfirst(cell), rewrite);
	if (IsA(plan, SubqueryScan))
		((SubqueryScan *) plan)->subplan = rewrite_plan(((SubqueryScan *) plan)->subplan, rewrite);
	wrap_input(plan, rewrite);
	while ((wrapped = wrap_plan(plan, rewrite)) != NULL)
		plan = wrapped;
	return plan_appended(plan) == NIL ? plan : plan_lift_calls(plan, async, rewrite);
}

/* The highest number of a node in a plan. */
static int
highest_node_id(Plan *plan)
{
	int highest;
	ListCell *cell;

	if (!plan)
		return 0;
	highest = Max(plan->plan_node_id, highest_node_id(plan->lefttree));
	highest = Max(highest, highest_node_id(plan->righttree));
	foreach (cell, further_children(plan))
		highest = Max(highest, highest_node_id(lfirst(cell)));
	if (IsA(plan, SubqueryScan))
		highest = Max(highest, highest_node_id(((SubqueryScan *) plan)->subplan));
	return highest;
}

static void
rewrite_statement(PlannedStmt *statement, int cursor_options)
{
	Rewrite rewrite = {.statement = statement, .next_node_id = highest_node_id(statement->planTree) + 1};
	bool is_cursor = (cursor_options & (CURSOR_OPT_FAST_PLAN | CURSOR_OPT_SCROLL)) != 0;
	bool may_go_back = is_cursor && !(cursor_options & CURSOR_OPT_NO_SCROLL) && statement->commandType == CMD_SELECT &&
					   ExecSupportsBackwardScan(statement->planTree);
	ListCell *cell;

	foreach (cell, statement->subplans)
		rewrite.next_node_id = Max(rewrite.next_node_id, highest_node_id(lfirst(cell)) + 1);
	statement->planTree = rewrite_plan(statement->planTree, &rewrite);
	foreach (cell, statement->subplans)
		lfirst(cell) = rewrite_plan(lfirst(cell), &rewrite);
	/*
	 * Our node cannot go back where the plan could; what a cursor has returned can be kept, unless UPDATE … WHERE
	 * CURRENT OF counts on the row that was locked last. (A SCROLL cursor's plan has a Material already where it needs
	 * one.)
	 */
	if (may_go_back && statement->rowMarks == NIL && !ExecSupportsBackwardScan(statement->planTree))
		statement->planTree = plan_add_material(statement->planTree, &rewrite);
}

static PlannedStmt *batch_planner PLANNER_PARAMETERS
{
	PlannedStmt *statement = previous_planner ? previous_planner PLANNER_ARGUMENTS : standard_planner PLANNER_ARGUMENTS;

	if (qwen_batch_plans && IsTransactionState() && statement->commandType != CMD_UTILITY)
		rewrite_statement(statement, cursor_options);
	return statement;
}

void
batch_plan_init(void)
{
	RegisterCustomScanMethods(&batch_scan_methods);
	previous_planner = planner_hook;
	planner_hook = batch_planner;
}
