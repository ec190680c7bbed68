/*
 * split.c - expressions whose calls become columns: the calls are made by a node of ours, and what is around them sees
 * their values.
 */
#include "split.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"

Var *
plan_column_var(int varno, int place, Node *expression)
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

Node *
plan_split_expression(Node *node, Split *split)
{
	int number;

	if (!node)
		return NULL;
	if (!split->in_call && (number = call_number(split->calls, node)) > 0)
		return (Node *) plan_column_var(INDEX_VAR, number, node);
	if (IsA(node, Var) || IsA(node, Aggref) || IsA(node, WindowFunc) || IsA(node, GroupingFunc))
	{
		int place = column_place(split, node);

		return (Node *) plan_column_var(split->in_call ? OUTER_VAR : INDEX_VAR,
										split->in_call ? place : list_length(split->calls) + place, node);
	}
	return expression_tree_mutator(node, plan_split_expression, split);
}

Node *
plan_replace_calls(Node *node, Split *split)
{
	int number;

	if (!node)
		return NULL;
	if ((number = call_number(split->calls, node)) > 0)
		return (Node *) plan_column_var(OUTER_VAR, split->first_place + number, node);
	return expression_tree_mutator(node, plan_replace_calls, split);
}

Expr *
plan_call_over_child(const FoundCall *found, Split *split)
{
	FuncExpr *call = copyObject(found->call);

	call->args = (List *) plan_split_expression((Node *) found->call->args, split);
	return (Expr *) call;
}

Node *
plan_guard_of(const FoundCall *found)
{
	return found->guards ? (Node *) make_ands_explicit(list_copy(found->guards)) : makeBoolConst(true, false);
}
