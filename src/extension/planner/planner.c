/*
 * planner.c - plain SQL batched: a plan node that keeps the model calls of many rows in flight.
 *
 * known_functions.c knows which SQL functions are ours; guards.c finds calls that can be taken out of an expression,
 * and under which conditions they would have been reached; rewrite.c puts nodes into finished plans; batch_node.c is
 * the node, batch_state.h what is known of one; read_ahead.c says how far ahead it may read; explain.c shows it.
 * constant_calls.c makes calls whose arguments are the same for all rows once; privilege_hint.c says how EXECUTE is
 * had, literal_messages.c which literals are messages.
 */
#include "planner.h"

#include "literal_messages.h"
#include "privilege_hint.h"
#include "read_ahead.h"
#include "rewrite.h"

void
planner_init(void)
{
	batch_plan_init();
	batch_limit_init();
	privilege_hint_init();
	literal_messages_init();
}
