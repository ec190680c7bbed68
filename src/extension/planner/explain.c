/*
 * explain.c - what EXPLAIN says of a batching node: its calls; with ANALYZE also what they have cost, in all
 * processes of a parallel query together. Each of these has a window of its own: shown are the largest, and the longest
 * time that one of them has waited.
 */
#include "explain.h"

#include "../core/compat.h"
#include "utils/ruleutils.h"
#include "worker_counts.h"

static void
explain_calls(BatchState *state, List *ancestors, ExplainState *es)
{
	CustomScan *plan = (CustomScan *) state->custom.ss.ps.plan;
	List *context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan, ancestors), *calls = NIL;
	bool use_prefix = list_length(es->rtable) > 1 || es->verbose;

	for (int i = 0; i < state->n_calls; i++)
	{
		TargetEntry *target = list_nth_node(TargetEntry, plan->custom_scan_tlist, i);

		calls = lappend(calls, deparse_expression((Node *) target->expr, context, use_prefix, false));
	}
	ExplainPropertyList("Calls", calls, es);
}

/* What the forms of answers have done; nothing where no answer had one. */
static void
explain_forms(const ModelCallCounts *counts, ExplainState *es)
{
	double mask_ms = counts->mask_us / 1000.0;

	if (counts->constrained_tokens == 0)
		return;
	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyInteger("Constrained Tokens", NULL, counts->constrained_tokens, es);
		ExplainPropertyInteger("Forced Tokens", NULL, counts->forced_tokens, es);
		if (es->timing)
			ExplainPropertyFloat("Mask Time", "ms", mask_ms, 3, es);
		return;
	}
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Constrained Tokens: %lld  Forced Tokens: %lld", (long long) counts->constrained_tokens,
					 (long long) counts->forced_tokens);
	if (es->timing)
		appendStringInfo(es->str, "  Mask Time: %.3f ms", mask_ms);
	appendStringInfoChar(es->str, '\n');
}

/* What was asked, and how long was waited for it. */
static void
explain_counts(const BatchState *state, ExplainState *es)
{
	BatchCounts sum = worker_counts_sum(state);
	const ModelCallCounts *counts = &sum.calls;
	double waited_ms = sum.waited_us / 1000.0;

	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		ExplainPropertyInteger("Rows Read", NULL, sum.n_read, es);
		ExplainPropertyInteger("Requests", NULL, counts->requests, es);
		ExplainPropertyInteger("Failed Requests", NULL, counts->failed, es);
		ExplainPropertyInteger("Prompt Tokens", NULL, counts->prompt_tokens, es);
		ExplainPropertyInteger("Cached Tokens", NULL, counts->cached_tokens, es);
		ExplainPropertyInteger("Generated Tokens", NULL, counts->completion_tokens, es);
		explain_forms(counts, es);
		ExplainPropertyInteger("Largest Window", NULL, sum.largest, es);
		ExplainPropertyFloat("Waited", "ms", waited_ms, 3, es);
		return;
	}
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Requests: %lld  Prompt Tokens: %lld  Cached Tokens: %lld  Generated Tokens: %lld\n",
					 (long long) counts->requests, (long long) counts->prompt_tokens, (long long) counts->cached_tokens,
					 (long long) counts->completion_tokens);
	explain_forms(counts, es);
	if (counts->failed > 0)
		ExplainPropertyInteger("Failed Requests", NULL, counts->failed, es);
	appendStringInfoSpaces(es->str, es->indent * 2);
	appendStringInfo(es->str, "Rows Read: %lld  Largest Window: %d", (long long) sum.n_read, sum.largest);
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
