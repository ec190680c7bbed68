/*
 * classify_multi.c - qwen_classify_multi and qwen_classify_multi_scores: which of some labels fit a text, each asked by
 * itself, so that none, one or several may.
 *
 * A label is one question, answered by the probability of Yes against No (REQUEST_SCORE), so its probability does not
 * depend on which others are asked about. The text stands before the question, and the first label's request goes
 * ahead: the others find the text's keys and values in the prefix cache.
 */
#include "../core/core.h"

#include <math.h>

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "labels.h"
#include "miscadmin.h"
#include "registry.h"
#include "score_request.h"
#include "task_prompts.h"
#include "utils/builtins.h"

#define DEFAULT_THRESHOLD 0.5
#define LABELS_AT_ONCE 64 /* requests of one step */

/* What is known of a call's labels. */
typedef struct LabelScores
{
	Labels labels;
	int n_asked, n_known;
	double *probabilities; /* [labels.n] */
} LabelScores;

static double
threshold_of(FunctionCallInfo fcinfo)
{
	double threshold = PG_ARGISNULL(2) ? DEFAULT_THRESHOLD : PG_GETARG_FLOAT8(2);

	if (!(threshold >= 0 && threshold <= 1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("threshold must be between 0 and 1, not %g", threshold)));
	return threshold;
}

/* Ask whether the next labels fit, up to n of them. */
static void
ask_labels(FunctionCallInfo fcinfo, ModelCall *call, LabelScores *scores, int n)
{
	/* the common arguments are the last ones of either function */
	int first = call->function->most - N_TAIL_ARGUMENTS;

	for (; n > 0 && scores->n_asked < scores->labels.n; n--)
	{
		char *label = TextDatumGetCString(scores->labels.labels[scores->n_asked++]);
		char *question = psprintf("%s\n\n" PROMPT_LABEL_QUESTION, text_to_cstring(PG_GETARG_TEXT_PP(0)), label);

		CHECK_FOR_INTERRUPTS();
		score_request(fcinfo, first, PROMPT_LABEL_TEXT, cstring_to_text(question),
					  span_from_cstring("[\"Yes\",\"No\"]"), model_call_ask(call));
	}
}

/* Begin with the first label of an array: the others follow as far as the session has room for them. */
static void
build_scores(FunctionCallInfo fcinfo, ModelCall *call)
{
	LabelScores scores;

	if (!has_both(fcinfo))
		return;
	/* the state is made anew with each attempt: see take_labels */
	scores = (LabelScores){.labels = read_labels(PG_GETARG_ARRAYTYPE_P(1), "labels")};
	ask_labels(fcinfo, call, &scores, 1);
}

/* Take the answers of a step. */
static LabelScores *
take_labels(FunctionCallInfo fcinfo, ModelCall *call)
{
	LabelScores *scores = call->state;

	if (!scores)
	{
		scores = palloc0(sizeof *scores);
		scores->labels = read_labels(PG_GETARG_ARRAYTYPE_P(1), "labels");
		scores->probabilities = palloc_extended(sizeof *scores->probabilities * scores->labels.n, MCXT_ALLOC_HUGE);
		scores->n_asked = call->n_requests;
		call->state = scores;
	}
	for (int i = 0; i < call->n_requests; i++)
		scores->probabilities[scores->n_known++] = protocol_float(scores_of(&call->replies[i], 2)->values, 0);
	return scores;
}

static void
next_labels(FunctionCallInfo fcinfo, ModelCall *call)
{
	ask_labels(fcinfo, call, take_labels(fcinfo, call), LABELS_AT_ONCE);
}

static void
build_fitting(FunctionCallInfo fcinfo, ModelCall *call)
{
	(void) threshold_of(fcinfo);
	build_scores(fcinfo, call);
}

/* The labels that fit, in their order. */
static Datum
finish_multi(FunctionCallInfo fcinfo, const ModelCall *call)
{
	const LabelScores *scores = call->state;
	double threshold = threshold_of(fcinfo);
	Datum *fitting = palloc_extended(sizeof *fitting * scores->labels.n, MCXT_ALLOC_HUGE);
	int n = 0;

	for (int i = 0; i < scores->n_known; i++)
		if (scores->probabilities[i] >= threshold)
			fitting[n++] = scores->labels.labels[i];
	/* a job's worker has no transaction in which the type could be looked up */
	return PointerGetDatum(construct_array(fitting, n, TEXTOID, -1, false, TYPALIGN_INT));
}

const ModelFunction classify_multi_function = {
	.symbol = "qwen_classify_multi",
	.name = "classify_multi",
	.build = build_fitting,
	.next = next_labels,
	.finish_state = finish_multi,
	.result = TEXTARRAYOID,
	.least = 2,
	.most = 19,
	.arguments = {{"input", TEXTOID}, {"labels", TEXTARRAYOID}, {"threshold", FLOAT8OID}},
	.has_tail = true};

QWEN_MODEL_FUNCTION(qwen_classify_multi, classify_multi_function)

/* A row for each label. */
static Datum
finish_multi_scores(FunctionCallInfo fcinfo, const ModelCall *call)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const LabelScores *scores = call->state;

	for (int i = 0; i < scores->n_known; i++)
		put_score(set, scores->labels.labels[i], scores->probabilities[i]);
	return (Datum) 0;
}

static const ModelFunction classify_multi_scores_function = {.symbol = "qwen_classify_multi_scores",
															 .build = build_scores,
															 .next = next_labels,
															 .finish_state = finish_multi_scores,
															 .least = 2,
															 .most = 18};

QWEN_FUNCTION(qwen_classify_multi_scores, 2, 18)
{
	return model_call_run_set(fcinfo, &classify_multi_scores_function);
}
