/*
 * nodes.c - nodes that are put into finished plans.
 */
#include "nodes.h"

#include "access/htup_details.h"
#include "batch_node.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/pg_list.h"
#include "optimizer/tlist.h"
#include "utils/syscache.h"

void
plan_inherit(Plan *above, Plan *below, Rewrite *rewrite)
{
	above->startup_cost = below->startup_cost;
	above->total_cost = below->total_cost;
	above->plan_rows = below->plan_rows;
	above->plan_width = below->plan_width;
#if PG_VERSION_NUM >= 180000
	above->disabled_nodes = below->disabled_nodes;
#endif
	/* to have memory that workers share with their leader */
	above->parallel_aware = rewrite->n_gathers > 0 && plan_is_batch(above);
	above->parallel_safe = below->parallel_safe;
	above->plan_node_id = rewrite->next_node_id++;
	above->extParam = bms_copy(below->extParam);
	above->allParam = bms_copy(below->allParam);
	above->initPlan = below->initPlan;
	below->initPlan = NIL;
	above->lefttree = below;
#if PG_VERSION_NUM >= 140000
	/* an Append asks such a node for its rows in a way that ours does not: alone it would say that there are none */
	below->async_capable = false;
#endif
}

/* Is an argument there only because the function has a default of NULL? */
static bool
is_left_out(Node *argument)
{
	return IsA(argument, Const) && ((Const *) argument)->constisnull;
}

/* A call as one would write it, which EXPLAIN shows: without arguments that were left out, those behind them named. */
static Expr *
short_call(const FuncExpr *call)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	FuncExpr *written = copyObject((FuncExpr *) call);
	Oid *types;
	char **names = NULL, *modes;
	ListCell *cell;
	int i = 0, n_needed = list_length(call->args);

	if (!HeapTupleIsValid(tuple))
		return (Expr *) written;
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	n_needed -= ((Form_pg_proc) GETSTRUCT(tuple))->pronargdefaults;
	ReleaseSysCache(tuple);
	written->args = NIL;
	foreach (cell, call->args)
	{
		Node *argument = lfirst(cell);

		if (i < n_needed || !is_left_out(argument))
		{
			if (list_length(written->args) < i && names && names[i][0] != '\0')
			{
				NamedArgExpr *named = makeNode(NamedArgExpr);

				*named = (NamedArgExpr){.xpr = {T_NamedArgExpr}, .arg = (Expr *) argument, .name = names[i]};
				named->argnumber = i;
				named->location = -1;
				argument = (Node *) named;
			}
			written->args = lappend(written->args, argument);
		}
		i++;
	}
	return (Expr *) written;
}

void
plan_describe_calls(CustomScan *node)
{
	List *calls = NIL;

	for (int i = 0; i < intVal(linitial(node->custom_private)); i++)
	{
		TargetEntry *column = list_nth_node(TargetEntry, node->custom_scan_tlist, i);

		calls = lappend(calls, column->expr);
		column->expr = short_call((const FuncExpr *) column->expr);
	}
	node->custom_private = lappend(node->custom_private, calls);
}

/* A target list that passes all columns of a plan on, as varno sees them from place on. */
static List *
pass_columns(const Plan *plan, int varno, int place)
{
	List *targets = NIL;
	ListCell *cell;

	foreach (cell, plan->targetlist)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		target->expr = (Expr *) plan_column_var(varno, place + target->resno, (Node *) target->expr);
		targets = lappend(targets, target);
	}
	return targets;
}

Plan *
plan_add_material(Plan *below, Rewrite *rewrite)
{
	Material *material = makeNode(Material);

	plan_inherit(&material->plan, below, rewrite);
	material->plan.targetlist = pass_columns(below, OUTER_VAR, 0);
	return &material->plan;
}

bool
plan_is_batch(const Plan *plan)
{
	return IsA(plan, CustomScan) && ((const CustomScan *) plan)->methods == &batch_scan_methods;
}

CustomScan *
plan_make_batch(const List *calls, Rewrite *rewrite)
{
	CustomScan *node = makeNode(CustomScan);

	node->methods = &batch_scan_methods;
	node->custom_private = list_make1(makeInteger(list_length(calls)));
	rewrite->n_nodes++;
	return node;
}

Plan *
plan_append_calls(Plan *child, List *calls, Split *split, Rewrite *rewrite)
{
	CustomScan *node = plan_make_batch(calls, rewrite);
	ListCell *cell;
	int place = 0;

	*split = (Split){.calls = calls, .first_place = list_length(child->targetlist)};
	node->scan.plan.targetlist = pass_columns(child, INDEX_VAR, list_length(calls));
	foreach (cell, calls)
	{
		FoundCall *found = lfirst(cell);

		node->custom_scan_tlist =
			lappend(node->custom_scan_tlist, makeTargetEntry(copyObject((Expr *) found->call), ++place, NULL, false));
		node->custom_exprs = lappend(node->custom_exprs, copyObject(plan_guard_of(found)));
		node->scan.plan.targetlist =
			lappend(node->scan.plan.targetlist,
					makeTargetEntry((Expr *) plan_column_var(INDEX_VAR, place, (Node *) found->call),
									split->first_place + place, NULL, false));
	}
	foreach (cell, pass_columns(child, OUTER_VAR, 0))
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		node->custom_scan_tlist = lappend(node->custom_scan_tlist, makeTargetEntry(target->expr, ++place, NULL, false));
	}
	plan_describe_calls(node);
	plan_inherit(&node->scan.plan, child, rewrite);
	return &node->scan.plan;
}
