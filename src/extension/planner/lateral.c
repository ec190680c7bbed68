/*
 * lateral.c - calls in functions of FROM, and in subqueries without FROM, over the row beside them.
 */
#include "lateral.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pg_list.h"
#include "optimizer/clauses.h"

/* Is it a plan of one row at most, without a table? */
static bool
is_single_row(const Plan *plan)
{
	return IsA(plan, Result) && !plan->lefttree;
}

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
		join->lefttree = plan_append_calls(join->lefttree, calls, &split, lateral->rewrite);
		rest = plan_replace_calls(rest, &split);
		found = true;
	}
	return found ? columns_to_parameters(rest, lateral) : expression;
}

void
plan_wrap_lateral(NestLoop *join, Rewrite *rewrite)
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
