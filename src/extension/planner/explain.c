/*
 * explain.c - what EXPLAIN says of a batching node: its calls; with ANALYZE also what they have cost. A parallel
 * query shows the leader's share only, as each worker has a window of its own.
 */
#include "explain.h"

#include "../core/compat.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

/* Is an argument there only because the function has a default of NULL? */
static bool
is_left_out(Node *argument)
{
	return IsA(argument, Const) && ((Const *) argument)->constisnull;
}

/* A call as one would write it: arguments behind a NULL that is left out are named. */
static char *
call_text(FuncExpr *call, List *context, bool use_prefix)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	Oid *types;
	char **names = NULL, *modes;
	StringInfoData text;
	ListCell *cell;
	int i = 0, n_written = 0;

	initStringInfo(&text);
	appendStringInfo(&text, "%s(", quote_identifier(get_func_name(call->funcid)));
	if (HeapTupleIsValid(tuple))
		(void) get_func_arg_info(tuple, &types, &names, &modes);
	foreach (cell, call->args)
	{
		if (i == 0 || !is_left_out(lfirst(cell)))
		{
			appendStringInfo(&text, "%s", n_written > 0 ? ", " : "");
			if (n_written < i && names && names[i])
				appendStringInfo(&text, "%s => ", quote_identifier(names[i]));
			appendStringInfoString(&text, deparse_expression(lfirst(cell), context, use_prefix, false));
			n_written++;
		}
		i++;
	}
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	appendStringInfoChar(&text, ')');
	return text.data;
}

static void
explain_calls(BatchState *state, List *ancestors, ExplainState *es)
{
	CustomScan *plan = (CustomScan *) state->custom.ss.ps.plan;
	List *context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, ancestors), *calls = NIL;
	bool use_prefix = list_length(es->rtable) > 1 || es->verbose;

	for (int i = 0; i < state->n_calls; i++)
	{
		TargetEntry *target = list_nth_node(TargetEntry, plan->custom_scan_tlist, i);

		calls = lappend(calls, call_text((FuncExpr *) target->expr, context, use_prefix));
	}
	ExplainPropertyList("Calls", calls, es);
}

/* What was asked, and how long was waited for it. */
static void
explain_counts(const BatchState *state, ExplainState *es)
{
	const ModelCallCounts *counts = &state->window->counts;
	double waited_ms = state->window->waited_us / 1000.0;

	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyInteger("Rows Read", NULL, state->n_read, es);
		ExplainPropertyInteger("Requests", NULL, counts->requests, es);
		ExplainPropertyInteger("Failed Requests", NULL, counts->failed, es);
		ExplainPropertyInteger("Prompt Tokens", NULL, counts->prompt_tokens, es);
		ExplainPropertyInteger("Cached Tokens", NULL, counts->cached_tokens, es);
		ExplainPropertyInteger("Generated Tokens", NULL, counts->completion_tokens, es);
		ExplainPropertyInteger("Largest Window", NULL, state->window->largest, es);
		ExplainPropertyFloat("Waited", "ms", waited_ms, 3, es);
		return;
	}
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Requests: %lld  Prompt Tokens: %lld  Cached Tokens: %lld  Generated Tokens: %lld\n",
					 (long long) counts->requests, (long long) counts->prompt_tokens, (long long) counts->cached_tokens,
					 (long long) counts->completion_tokens);
	if (counts->failed > 0)
		ExplainPropertyInteger("Failed Requests", NULL, counts->failed, es);
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Rows Read: %lld  Largest Window: %d", (long long) state->n_read, state->window->largest);
	if (es->timing)
		appendStringInfo(es->str, "  Waited: %.3f ms", waited_ms);
	appendStringInfoChar(es->str, '\n');
}

void
batch_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	BatchState *state = (BatchState *) node;

	explain_calls(state, ancestors, es);
	if (es->analyze)
		explain_counts(state, es);
}
