/*
 * guards.c - calls that can be taken out of an expression.
 *
 * A call is taken out when it is known when plain execution would reach it: always, or where conditions hold that can
 * be tested beforehand without side effects, its guards. CASE: the conditions before are not true, its own is; OR: what
 * stands before is not true; AND: not false; COALESCE: NULL. Its arguments must not be volatile: reading ahead changes
 * the order in which they are evaluated. What is below a kind of node that is not listed here stays where it is.
 *
 * Only innermost calls are found; once they are columns, those around them are innermost.
 */
#include "guards.h"

#include "catalog/pg_proc.h"
#include "known_functions.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

typedef struct Search
{
	List **calls;
	List *guards; /* of the place where we are */
} Search;

static void search(Node *node, Search *state);

/* Does an expression use a value that only exists while one around it is evaluated? */
static bool
contains_passing_value(Node *node, void *context)
{
	if (!node)
		return false;
	/* these bring the value that their parts use */
	if (IsA(node, CaseExpr) && ((CaseExpr *) node)->arg)
		return contains_passing_value((Node *) ((CaseExpr *) node)->arg, context);
	if (IsA(node, ArrayCoerceExpr))
		return contains_passing_value((Node *) ((ArrayCoerceExpr *) node)->arg, context);
	if (IsA(node, CaseTestExpr) || IsA(node, CoerceToDomainValue))
		return true;
	return expression_tree_walker(node, contains_passing_value, context);
}

static bool
contains_call_walker(Node *node, void *context)
{
	if (!node)
		return false;
	if (IsA(node, FuncExpr) && batch_function(((FuncExpr *) node)->funcid))
		return true;
	return expression_tree_walker(node, contains_call_walker, context);
}

bool
contains_call(Node *expression)
{
	return contains_call_walker(expression, NULL);
}

/* Can an expression be evaluated beforehand, and once more? One that asks the model becomes a column first. */
static bool
is_repeatable(Node *node)
{
	return !contains_call(node) && !contain_volatile_functions(node) && !contain_subplans(node) &&
		   !contains_passing_value(node, NULL);
}

static Node *
make_boolean_test(Node *argument, BoolTestType type)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = (Expr *) argument;
	test->booltesttype = type;
	test->location = -1;
	return (Node *) test;
}

static Node *
make_is_null(Node *argument)
{
	NullTest *test = makeNode(NullTest);

	test->arg = (Expr *) argument;
	test->nulltesttype = IS_NULL;
	test->argisrow = false;
	test->location = -1;
	return (Node *) test;
}

/* Search an expression that is reached under one more condition. */
static void
search_under(Node *node, Search *state, Node *guard)
{
	Search inner = {state->calls, lappend(list_copy(state->guards), guard)};

	search(node, &inner);
}

static void
search_list(List *list, Search *state)
{
	ListCell *cell;

	foreach (cell, list)
		search(lfirst(cell), state);
}

/*
 * Elements of which each is reached only while test (of the one before) holds. The guards of later ones repeat the
 * earlier, so where one cannot be repeated the rest stays plain.
 */
static void
search_in_turn(List *list, Search *state, Node *(*guard)(Node *) )
{
	Search inner = {state->calls, list_copy(state->guards)};
	ListCell *cell;

	foreach (cell, list)
	{
		search(lfirst(cell), &inner);
		if (!is_repeatable(lfirst(cell)))
			return;
		inner.guards = lappend(inner.guards, guard(lfirst(cell)));
	}
}

static Node *
is_not_true(Node *node)
{
	return make_boolean_test(node, IS_NOT_TRUE);
}

static Node *
is_not_false(Node *node)
{
	return make_boolean_test(node, IS_NOT_FALSE);
}

static void
search_case(CaseExpr *node, Search *state)
{
	Search inner = {state->calls, list_copy(state->guards)};
	ListCell *cell;

	if (node->arg)
	{
		/* what is compared comes first; the rest refers to it */
		search((Node *) node->arg, state);
		return;
	}
	foreach (cell, node->args)
	{
		CaseWhen *when = lfirst_node(CaseWhen, cell);

		search((Node *) when->expr, &inner);
		if (!is_repeatable((Node *) when->expr))
			return;
		search_under((Node *) when->result, &inner, make_boolean_test((Node *) when->expr, IS_TRUE));
		inner.guards = lappend(inner.guards, is_not_true((Node *) when->expr));
	}
	search((Node *) node->defresult, &inner);
}

/* A call that was found already and whose value this one may have, or NULL. field: that is selected of it, or 0. */
static FoundCall *
find_same(FuncExpr *call, int field, Search *state)
{
	ListCell *cell;

	foreach (cell, *state->calls)
	{
		FoundCall *found = lfirst(cell);

		if (!equal(found->call, call) || !equal(found->guards, state->guards))
			continue;
		if (found->sharable)
			return found;
		/* (f(x)).* is written once: its copies stand at one place of the text and select different fields */
		if (field > 0 && call->location >= 0 && found->call->location == call->location && found->fields != NIL &&
			!list_member_int(found->fields, field))
			return found;
	}
	return NULL;
}

/* One of our functions, whose arguments have no more calls of ours. */
static void
add_call(FuncExpr *call, int field, Search *state)
{
	FoundCall *found = find_same(call, field, state);

	if (!found)
	{
		found = palloc0(sizeof *found);
		found->call = call;
		found->guards = list_copy(state->guards);
		found->sharable = func_volatile(call->funcid) != PROVOLATILE_VOLATILE;
		*state->calls = lappend(*state->calls, found);
	}
	found->same = lappend(found->same, call);
	if (field > 0)
		found->fields = lappend_int(found->fields, field);
}

/* A function: its arguments first; itself if it is ours and they are settled. */
static void
search_function(FuncExpr *call, int field, Search *state)
{
	int n_before = list_length(*state->calls);
	List *shared_before = NIL;
	ListCell *cell;

	foreach (cell, *state->calls)
		shared_before = lappend_int(shared_before, list_length(((FoundCall *) lfirst(cell))->same));
	search_list(call->args, state);
	if (call->funcretset || !batch_function(call->funcid) || list_length(*state->calls) != n_before)
		return;
	/* an argument may have joined a call that was there already */
	for (int i = 0; i < n_before; i++)
		if (list_length(((FoundCall *) list_nth(*state->calls, i))->same) != list_nth_int(shared_before, i))
			return;
	if (is_repeatable((Node *) call->args))
		add_call(call, field, state);
}

/* Long, for it has a case for each kind of expression that decides what is reached. */
static void
search(Node *node, Search *state)
{
	if (!node)
		return;
	switch (nodeTag(node))
	{
		case T_List:
			search_list((List *) node, state);
			break;
		case T_TargetEntry:
			search((Node *) ((TargetEntry *) node)->expr, state);
			break;
		case T_FuncExpr:
			search_function((FuncExpr *) node, 0, state);
			break;
		case T_FieldSelect:
			if (IsA(((FieldSelect *) node)->arg, FuncExpr))
				search_function((FuncExpr *) ((FieldSelect *) node)->arg, ((FieldSelect *) node)->fieldnum, state);
			else
				search((Node *) ((FieldSelect *) node)->arg, state);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			search_list(((OpExpr *) node)->args, state);
			break;
		case T_ScalarArrayOpExpr:
			search_list(((ScalarArrayOpExpr *) node)->args, state);
			break;
		case T_RelabelType:
			search((Node *) ((RelabelType *) node)->arg, state);
			break;
		case T_CoerceViaIO:
			search((Node *) ((CoerceViaIO *) node)->arg, state);
			break;
		case T_ArrayCoerceExpr:
			search((Node *) ((ArrayCoerceExpr *) node)->arg, state);
			break;
		case T_CoerceToDomain:
			search((Node *) ((CoerceToDomain *) node)->arg, state);
			break;
		case T_CollateExpr:
			search((Node *) ((CollateExpr *) node)->arg, state);
			break;
		case T_NullTest:
			search((Node *) ((NullTest *) node)->arg, state);
			break;
		case T_BooleanTest:
			search((Node *) ((BooleanTest *) node)->arg, state);
			break;
		case T_ArrayExpr:
			search_list(((ArrayExpr *) node)->elements, state);
			break;
		case T_RowExpr:
			search_list(((RowExpr *) node)->args, state);
			break;
		case T_MinMaxExpr:
			search_list(((MinMaxExpr *) node)->args, state);
			break;
		case T_ConvertRowtypeExpr:
			search((Node *) ((ConvertRowtypeExpr *) node)->arg, state);
			break;
		case T_SubscriptingRef:
			/* subscripts are not reached where the container is NULL */
			if (!((SubscriptingRef *) node)->refassgnexpr)
				search((Node *) ((SubscriptingRef *) node)->refexpr, state);
			break;
		case T_CoalesceExpr:
			search_in_turn(((CoalesceExpr *) node)->args, state, make_is_null);
			break;
		case T_BoolExpr:
			if (((BoolExpr *) node)->boolop == NOT_EXPR)
				search_list(((BoolExpr *) node)->args, state);
			else
				search_in_turn(((BoolExpr *) node)->args, state,
							   ((BoolExpr *) node)->boolop == OR_EXPR ? is_not_true : is_not_false);
			break;
		case T_CaseExpr:
			search_case((CaseExpr *) node, state);
			break;
		default:
			/* not known to evaluate all of its parts: calls in it stay plain */
			break;
	}
}

void
find_calls(Node *expression, List **calls)
{
	Search state = {calls, NIL};

	search(expression, &state);
}

void
find_guarded_calls(Node *expression, Node *guard, List **calls)
{
	Search state = {calls, NIL};

	if (!guard)
		search(expression, &state);
	else if (is_repeatable(guard))
		search_under(expression, &state, guard);
}
