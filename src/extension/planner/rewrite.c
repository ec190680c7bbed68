/*
 * rewrite.c - puts batching nodes into finished plans.
 *
 * The planner hook lets the plan be made as always and then walks it. A node whose target list or quals call the model
 * gets one of ours above it: the calls are made there, over columns that the node below now returns, and the
 * expressions around them move up and see the calls' values as columns. Calls in arguments of aggregates, window
 * functions and set-returning functions get a node below instead. This happens on the finished plan, because the
 * planner applies targets of scans and joins where no hook reaches them.
 *
 * Whatever is not known to give the same rows stays as it is: outer joins' conditions, INSERT's VALUES, RETURNING, what
 * ON CONFLICT and MERGE do, other extensions' nodes.
 */
#include "rewrite.h"

#include "../core/settings.h"
#include "access/xact.h"
#include "batch_node.h"
#include "executor/executor.h"
#include "guards.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "optimizer/tlist.h"

/* A statement that is rewritten. */
typedef struct Rewrite
{
	PlannedStmt *statement;
	int next_node_id; /* they are keys in shared memory of parallel queries */
	int n_nodes;      /* of ours */
} Rewrite;

/* Where the parts of an expression go when its calls become columns. */
typedef struct Split
{
	List *calls;     /* of FoundCall */
	List *columns;   /* expressions that the child returns */
	bool in_call;    /* inside a call's arguments or a guard, which see the child's row; else the node's scan tuple */
	int first_place; /* of the first call in the scan tuple, less 1 */
} Split;

static planner_hook_type previous_planner;

/* ---- expressions ----------------------------------------------------------------------------------------------------
 */

static Var *
column_var(int varno, int place, Node *expression)
{
	return makeVar(varno, place, exprType(expression), exprTypmod(expression), exprCollation(expression), 0);
}

/* The number of the call that this very node is, from 1; 0: it is none. */
static int
call_number(const List *calls, Node *node)
{
	ListCell *cell;
	int number = 0;

	foreach (cell, calls)
	{
		number++;
		if (list_member_ptr(((FoundCall *) lfirst(cell))->same, node))
			return number;
	}
	return 0;
}

/* The place of an expression among the columns of the child, which gets it if it has not. */
static int
column_place(Split *split, Node *node)
{
	ListCell *cell;
	int place = 0;

	foreach (cell, split->columns)
	{
		place++;
		if (equal(lfirst(cell), node) && !contain_volatile_functions(node))
			return place;
	}
	split->columns = lappend(split->columns, node);
	return place + 1;
}

/*
 * The expression with calls and what comes from below as columns. What stays, stays above: 1/n is not computed for rows
 * that nobody asks for.
 */
static Node *
split_expression(Node *node, Split *split)
{
	int number;

	if (!node)
		return NULL;
	if (!split->in_call && (number = call_number(split->calls, node)) > 0)
		return (Node *) column_var(INDEX_VAR, number, node);
	if (IsA(node, Var) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc))
	{
		int place = column_place(split, node);

		return (Node *) column_var(split->in_call ? OUTER_VAR : INDEX_VAR,
								   split->in_call ? place : list_length(split->calls) + place, node);
	}
	return expression_tree_mutator(node, split_expression, split);
}

/* The expression with calls as columns of the child from first_place on. */
static Node *
replace_calls(Node *node, Split *split)
{
	int number;

	if (!node)
		return NULL;
	if ((number = call_number(split->calls, node)) > 0)
		return (Node *) column_var(OUTER_VAR, split->first_place + number, node);
	return expression_tree_mutator(node, replace_calls, split);
}

/* A call with its arguments over the child's row. */
static Expr *
call_over_child(const FoundCall *found, Split *split)
{
	FuncExpr *call = copyObject(found->call);

	call->args = (List *) split_expression((Node *) found->call->args, split);
	return (Expr *) call;
}

/* The guards of a call as one expression; constant true: none. */
static Node *
guard_of(const FoundCall *found)
{
	return found->guards ? (Node *) make_ands_explicit(list_copy(found->guards)) : makeBoolConst(true, false);
}

/* ---- nodes ----------------------------------------------------------------------------------------------------------
 */

/* What a new node above another takes over. */
static void
inherit_plan(Plan *above, Plan *below, Rewrite *rewrite)
{
	above->startup_cost = below->startup_cost;
	above->total_cost = below->total_cost;
	above->plan_rows = below->plan_rows;
	above->plan_width = below->plan_width;
#if PG_VERSION_NUM >= 180000
	above->disabled_nodes = below->disabled_nodes;
#endif
	above->parallel_aware = false;
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

/* A target list that passes all columns of a plan on, as varno sees them from place on. */
static List *
pass_columns(const Plan *plan, int varno, int place)
{
	List *targets = NIL;
	ListCell *cell;

	foreach (cell, plan->targetlist)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		target->expr = (Expr *) column_var(varno, place + target->resno, (Node *) target->expr);
		targets = lappend(targets, target);
	}
	return targets;
}

static Plan *
add_material(Plan *below, Rewrite *rewrite)
{
	Material *material = makeNode(Material);

	inherit_plan(&material->plan, below, rewrite);
	material->plan.targetlist = pass_columns(below, OUTER_VAR, 0);
	return &material->plan;
}

static bool
is_batch_plan(const Plan *plan)
{
	return IsA(plan, CustomScan) && ((const CustomScan *) plan)->methods == &batch_scan_methods;
}

/* Is it a plan of one row at most, without a table? */
static bool
is_single_row(const Plan *plan)
{
	return IsA(plan, Result) && !plan->lefttree;
}

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
			return !is_batch_plan(plan);
		default:
			return false;
	}
}

static CustomScan *
make_batch_node(const List *calls, Rewrite *rewrite)
{
	CustomScan *node = makeNode(CustomScan);

	node->methods = &batch_scan_methods;
	node->custom_private = list_make1(makeInteger(list_length(calls)));
	rewrite->n_nodes++;
	return node;
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
			return is_batch_plan(plan);
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

		calls = lappend(calls, makeTargetEntry(call_over_child(found, split), ++place, NULL, false));
		node->custom_exprs = lappend(node->custom_exprs, split_expression(guard_of(found), split));
	}
	place = 0;
	foreach (cell, split->columns)
	{
		Node *column = lfirst(cell);

		targets = lappend(targets, makeTargetEntry((Expr *) column, ++place, NULL, false));
		calls = lappend(calls, makeTargetEntry((Expr *) column_var(OUTER_VAR, place, column),
											   list_length(split->calls) + place, NULL, false));
	}
	child->targetlist = targets;
	node->custom_scan_tlist = calls;
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
	node = make_batch_node(calls, rewrite);
	split.calls = calls;
	if (IsA(plan, WindowAgg))
		split.columns = window_columns((WindowAgg *) plan);
	foreach (cell, plan->targetlist)
	{
		TargetEntry *target = flatCopyTargetEntry(lfirst_node(TargetEntry, cell));

		target->expr = (Expr *) split_expression((Node *) target->expr, &split);
		targets = lappend(targets, target);
	}
	node->scan.plan.targetlist = targets;
	node->scan.plan.qual = (List *) split_expression((Node *) moved, &split);
	plan->qual = quals;
	inherit_plan(&node->scan.plan, plan, rewrite);
	describe_scan(node, &split);
	return &node->scan.plan;
}

/* ---- calls in arguments of aggregates, window functions and set-returning functions
 * ----------------------------------- */

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

/* A node above child that makes calls over its rows and passes their values on as further columns, the first of which
 * is split->first_place + 1. */
static Plan *
append_calls(Plan *child, List *calls, Split *split, Rewrite *rewrite)
{
	CustomScan *node = make_batch_node(calls, rewrite);
	ListCell *cell;
	int place = 0;

	*split = (Split){.calls = calls, .first_place = list_length(child->targetlist)};
	node->scan.plan.targetlist = pass_columns(child, INDEX_VAR, list_length(calls));
	foreach (cell, calls)
	{
		FoundCall *found = lfirst(cell);

		node->custom_scan_tlist =
			lappend(node->custom_scan_tlist, makeTargetEntry(copyObject((Expr *) found->call), ++place, NULL, false));
		node->custom_exprs = lappend(node->custom_exprs, copyObject(guard_of(found)));
		node->scan.plan.targetlist = lappend(
			node->scan.plan.targetlist, makeTargetEntry((Expr *) column_var(INDEX_VAR, place, (Node *) found->call),
														split->first_place + place, NULL, false));
	}
	foreach (cell, pass_columns(child, OUTER_VAR, 0))
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		node->custom_scan_tlist = lappend(node->custom_scan_tlist, makeTargetEntry(target->expr, ++place, NULL, false));
	}
	inherit_plan(&node->scan.plan, child, rewrite);
	return &node->scan.plan;
}

/* Put nodes below plan that make the calls of its arguments. */
static void
wrap_input(Plan *plan, Rewrite *rewrite)
{
	List *calls;

	while (plan->lefttree && (calls = calls_over_input(plan)) != NIL)
	{
		Split split;

		plan->lefttree = append_calls(plan->lefttree, calls, &split, rewrite);
		plan->targetlist = (List *) replace_calls((Node *) plan->targetlist, &split);
		plan->qual = (List *) replace_calls((Node *) plan->qual, &split);
	}
}

/* ---- calls in functions of FROM, and in subqueries without FROM, over the row beside them
 * ----------------------------- */

typedef struct Lateral
{
	NestLoop *join;
	Rewrite *rewrite;
	Bitmapset *added; /* parameters that the join has got to set */
} Lateral;

/* The expression with the parameters that the join sets as the columns they are set from. */
static Node *
parameters_to_columns(Node *node, Lateral *lateral)
{
	ListCell *cell;

	if (!node)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		foreach (cell, lateral->join->nestParams)
		{
			NestLoopParam *parameter = lfirst(cell);

			if (parameter->paramno == ((Param *) node)->paramid)
				return copyObject((Node *) parameter->paramval);
		}
	return expression_tree_mutator(node, parameters_to_columns, lateral);
}

/* The parameter that the join sets from a column, a new one if there is none. */
static Node *
parameter_of(Var *column, Lateral *lateral)
{
	NestLoopParam *found = NULL;
	PlannedStmt *statement = lateral->rewrite->statement;
	Param *parameter = makeNode(Param);
	ListCell *cell;

	foreach (cell, lateral->join->nestParams)
		if (equal(((NestLoopParam *) lfirst(cell))->paramval, column))
			found = lfirst(cell);
	if (!found)
	{
		found = makeNode(NestLoopParam);
		found->paramno = list_length(statement->paramExecTypes);
		found->paramval = copyObject(column);
		statement->paramExecTypes = lappend_oid(statement->paramExecTypes, column->vartype);
		lateral->join->nestParams = lappend(lateral->join->nestParams, found);
		lateral->added = bms_add_member(lateral->added, found->paramno);
	}
	parameter->paramkind = PARAM_EXEC;
	parameter->paramid = found->paramno;
	parameter->paramtype = column->vartype;
	parameter->paramtypmod = column->vartypmod;
	parameter->paramcollid = column->varcollid;
	parameter->location = -1;
	return (Node *) parameter;
}

static Node *
columns_to_parameters(Node *node, Lateral *lateral)
{
	if (!node)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == OUTER_VAR)
		return parameter_of((Var *) node, lateral);
	return expression_tree_mutator(node, columns_to_parameters, lateral);
}

static bool
contains_column(Node *node, void *context)
{
	if (!node)
		return false;
	return IsA(node, Var) || expression_tree_walker(node, contains_column, context);
}

/* An expression of the inner side with the values of its calls as parameters; the same when it has no calls that depend
 * on the outer side's row, or none that can be taken out. */
static Node *
calls_to_parameters(Node *expression, Node *guard, Lateral *lateral)
{
	Plan *join = &lateral->join->join.plan;
	Node *rest = parameters_to_columns(expression, lateral);
	bool found = false;

	guard = parameters_to_columns(guard, lateral);
	/* what does not depend on the row is evaluated once */
	while (contains_call(rest) && contains_column(rest, NULL))
	{
		List *calls = NIL;
		Split split;

		find_guarded_calls(rest, guard, &calls);
		if (calls == NIL)
			break;
		join->lefttree = append_calls(join->lefttree, calls, &split, lateral->rewrite);
		rest = replace_calls(rest, &split);
		found = true;
	}
	return found ? columns_to_parameters(rest, lateral) : expression;
}

/*
 * FROM t, LATERAL qwen_chat(t.body): the calls are made over the rows of the outer side, where many can be in flight,
 * and the inner side, which evaluates its expressions once for each of them whatever the kind of the join, gets their
 * values as parameters. The join stays as it is.
 */
static void
wrap_lateral(NestLoop *join, Rewrite *rewrite)
{
	Lateral lateral = {join, rewrite, NULL};
	Plan *inner = join->join.plan.righttree;
	ListCell *cell;

#if PG_VERSION_NUM >= 140000
	/* what it keeps by arguments would not know of the new parameters */
	if (IsA(inner, Memoize))
		inner = inner->lefttree;
#endif
	if (IsA(inner, FunctionScan) && inner->initPlan == NIL)
	{
		foreach (cell, ((FunctionScan *) inner)->functions)
		{
			RangeTblFunction *function = lfirst(cell);

			function->funcexpr = calls_to_parameters(function->funcexpr, NULL, &lateral);
			/* it is called again when one of these has changed */
			function->funcparams = bms_add_members(bms_copy(function->funcparams), lateral.added);
		}
	}
	else if (is_single_row(inner) && inner->initPlan == NIL)
	{
		List *condition = (List *) ((Result *) inner)->resconstantqual;

		inner->targetlist = (List *) calls_to_parameters(
			(Node *) inner->targetlist, condition ? (Node *) make_ands_explicit(list_copy(condition)) : NULL, &lateral);
	}
	if (!lateral.added)
		return;
	inner->extParam = bms_add_members(bms_copy(inner->extParam), lateral.added);
	inner->allParam = bms_add_members(bms_copy(inner->allParam), lateral.added);
	join->join.plan.righttree = inner;
}

/* ---- the whole plan
 * -------------------------------------------------------------------------------------------------- */

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

static Plan *
rewrite_plan(Plan *plan, Rewrite *rewrite)
{
	Plan *inner, *wrapped;
	ListCell *cell;

	if (!plan)
		return NULL;
	check_stack_depth();
	/* what is below a node that we know nothing of may have to be as it was */
	if (IsA(plan, CustomScan) || (IsA(plan, ForeignScan) && ((ForeignScan *) plan)->operation != CMD_SELECT))
		return plan;
	plan->lefttree = rewrite_plan(plan->lefttree, rewrite);
	if (IsA(plan, NestLoop))
		wrap_lateral((NestLoop *) plan, rewrite);
	inner = rewrite_plan(plan->righttree, rewrite);
	if (IsA(plan, MergeJoin) && !((MergeJoin *) plan)->skip_mark_restore && !supports_mark(inner))
		inner = add_material(inner, rewrite);
	plan->righttree = inner;
	foreach (cell, further_children(plan))
		lfirst(cell) = rewrite_plan(lfirst(cell), rewrite);
	if (IsA(plan, SubqueryScan))
		((SubqueryScan *) plan)->subplan = rewrite_plan(((SubqueryScan *) plan)->subplan, rewrite);
	wrap_input(plan, rewrite);
	while ((wrapped = wrap_plan(plan, rewrite)) != NULL)
		plan = wrapped;
	return plan;
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
		statement->planTree = add_material(statement->planTree, &rewrite);
}

static PlannedStmt *
batch_planner(Query *query, const char *text, int cursor_options, ParamListInfo parameters)
{
	PlannedStmt *statement = previous_planner ? previous_planner(query, text, cursor_options, parameters)
											  : standard_planner(query, text, cursor_options, parameters);

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
