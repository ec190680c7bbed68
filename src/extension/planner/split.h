/*
 * split.h - expressions whose calls become columns.
 */
#ifndef QWEN_SPLIT_H
#define QWEN_SPLIT_H

#include "guards.h"

/* Where the parts of an expression go when its calls become columns. */
typedef struct Split
{
	List *calls;     /* of FoundCall */
	List *columns;   /* expressions that the child returns */
	bool in_call;    /* inside a call's arguments or a guard, which see the child's row; else the node's scan tuple */
	int first_place; /* of the first call in the scan tuple, less 1 */
} Split;

/* A column of a node's input, or of its scan tuple, with the type of an expression. */
extern Var *plan_column_var(int varno, int place, Node *expression);

/*
 * The expression with calls and what comes from below as columns. What stays, stays above: 1/n is not computed for rows
 * that nobody asks for.
 */
extern Node *plan_split_expression(Node *node, Split *split);

/* The expression with calls as columns of the child from first_place on. */
extern Node *plan_replace_calls(Node *node, Split *split);

/* A call with its arguments over the child's row. */
extern Expr *plan_call_over_child(const FoundCall *found, Split *split);

/* The guards of a call as one expression; constant true: none. */
extern Node *plan_guard_of(const FoundCall *found);

#endif
