/*
 * guards.h - calls that can be taken out of an expression, and under which conditions they would have been reached.
 */
#ifndef QWEN_GUARDS_H
#define QWEN_GUARDS_H

#include "../core/core.h"

#include "nodes/primnodes.h"

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

#endif
