/*
 * append.c - one batching node above an Append instead of one above each of its children.
 *
 * The planner puts target lists and conditions over partitions, foreign tables and branches of UNION ALL into the
 * children of an Append, so each of them gets a node of ours. With a window each they follow one another: the last rows
 * of a partition keep the engine half idle; and a foreign scan below a node is not asked asynchronously, so servers
 * that could work side by side take turns. What our nodes do over the rows of their children is said by positions of
 * columns alone. So where all of them do the same over columns of the same types, it can be done above the Append, over
 * the children's rows. The order of rows stays the Append's; a MergeAppend must find the columns that it sorts by among
 * those that come from below.
 *
 * Children that differ (another constant in the call, a condition that only one has, a whole row, whose type is each
 * table's own, one without calls, one of another extension) keep their own nodes.
 */
#include "append.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"

List *
plan_appended(Plan *plan)
{
	if (IsA(plan, Append))
		return ((Append *) plan)->appendplans;
	if (IsA(plan, MergeAppend))
		return ((MergeAppend *) plan)->mergeplans;
	return NIL;
}

List *
plan_find_async(const List *plans)
{
	List *found = NIL;
#if PG_VERSION_NUM >= 140000
	ListCell *cell;

	foreach (cell, plans)
		if (((Plan *) lfirst(cell))->async_capable)
			found = lappend(found, lfirst(cell));
#endif
	return found;
}

/* Have two target lists equal expressions? Names and where columns come from are each table's own. */
static bool
same_expressions(const List *a, const List *b)
{
	ListCell *cell_a, *cell_b;

	if (list_length(a) != list_length(b))
		return false;
	forboth(cell_a, a, cell_b, b)
	{
		const TargetEntry *of_a = lfirst_node(TargetEntry, cell_a), *of_b = lfirst_node(TargetEntry, cell_b);

		if (!equal(of_a->expr, of_b->expr) || of_a->resjunk != of_b->resjunk)
			return false;
	}
	return true;
}

/* Do two nodes of ours make the same calls, over columns of the same types, and return the same? */
static bool
are_alike(const CustomScan *a, const CustomScan *b)
{
	return same_expressions(a->scan.plan.targetlist, b->scan.plan.targetlist) &&
		   same_expressions(a->custom_scan_tlist, b->custom_scan_tlist) &&
		   equal(a->scan.plan.qual, b->scan.plan.qual) && equal(a->custom_exprs, b->custom_exprs) &&
		   equal(a->custom_private, b->custom_private);
}

/* The node that all of these plans are; NULL: they are not all ours, or not alike. */
static CustomScan *
common_node(const List *plans)
{
	CustomScan *first = NULL;
	ListCell *cell;

	foreach (cell, plans)
	{
		Plan *plan = lfirst(cell);

		if (!plan_is_batch(plan) || plan->initPlan != NIL)
			return NULL;
		if (!first)
			first = (CustomScan *) plan;
		else if (!are_alike(first, (const CustomScan *) plan))
			return NULL;
	}
	return first;
}

/* The columns that a MergeAppend sorts by, as its children have them once node is above; false: it computes some. */
static bool
move_sort_columns(MergeAppend *append, const CustomScan *node)
{
	AttrNumber *moved = palloc(sizeof *moved * Max(append->numCols, 1));
	int n_calls = intVal(linitial(node->custom_private));

	for (int i = 0; i < append->numCols; i++)
	{
		const TargetEntry *target = list_nth_node(TargetEntry, node->scan.plan.targetlist, append->sortColIdx[i] - 1);
		const Var *column = (const Var *) target->expr;

		if (!IsA(column, Var) || column->varno != INDEX_VAR || column->varattno <= n_calls)
			return false;
		moved[i] = column->varattno - n_calls;
	}
	append->sortColIdx = moved;
	return true;
}

/* The node's targets with the names and the marks that the Append's have. */
static List *
named_targets(const CustomScan *node, const Plan *append)
{
	List *targets = NIL;
	ListCell *cell_own, *cell_named;

	forboth(cell_own, node->scan.plan.targetlist, cell_named, append->targetlist)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell_named));

		target->expr = lfirst_node(TargetEntry, cell_own)->expr;
		targets = lappend(targets, target);
	}
	return targets;
}

/* What an Append over the children of node passes on. */
static List *
passed_targets(const CustomScan *node)
{
	List *targets = NIL;
	ListCell *cell;

	foreach (cell, outerPlan(&node->scan.plan)->targetlist)
	{
		const TargetEntry *column = lfirst_node(TargetEntry, cell);

		targets =
			lappend(targets, makeTargetEntry((Expr *) plan_column_var(OUTER_VAR, column->resno, (Node *) column->expr),
											 column->resno, NULL, false));
	}
	return targets;
}

/* Asked as they were before a node stood above them. */
static void
restore_async(const List *plans, const List *async)
{
#if PG_VERSION_NUM >= 140000
	ListCell *cell;

	foreach (cell, plans)
		if (list_member_ptr(async, lfirst(cell)))
			((Plan *) lfirst(cell))->async_capable = true;
#endif
}

/* One node above for the topmost ones of all children; NULL: these differ. */
static Plan *
lift_once(Plan *append, Rewrite *rewrite)
{
	CustomScan *node = common_node(plan_appended(append));
	List *targets;
	ListCell *cell;

	if (!node || append->qual != NIL || list_length(node->scan.plan.targetlist) != list_length(append->targetlist) ||
		(IsA(append, MergeAppend) && !move_sort_columns((MergeAppend *) append, node)))
		return NULL;
	targets = passed_targets(node);
	foreach (cell, plan_appended(append))
		lfirst(cell) = ((Plan *) lfirst(cell))->lefttree;
	node->scan.plan.targetlist = named_targets(node, append);
	append->targetlist = targets;
	plan_inherit(&node->scan.plan, append, rewrite);
	return &node->scan.plan;
}

Plan *
plan_lift_calls(Plan *append, const List *async, Rewrite *rewrite)
{
	Plan *top = append, **place = &top, *lifted;

	/* the ones further in follow, each below the one before */
	while ((lifted = lift_once(append, rewrite)) != NULL)
	{
		*place = lifted;
		place = &lifted->lefttree;
	}
	restore_async(plan_appended(append), async);
	return top;
}
