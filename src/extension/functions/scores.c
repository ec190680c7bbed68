/*
 * scores.c - functions that read the model's probabilities instead of sampling: qwen_logprobs, qwen_classify,
 * qwen_classify_scores, qwen_filter, qwen_score, qwen_sentiment.
 *
 * The answers of the last five are always among those given: the engine compares them with each other alone
 * (REQUEST_SCORE).
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "examples.h"
#include "funcapi.h"
#include "labels.h"
#include "registry.h"
#include "score_request.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* Where examples stand in a call of today's script; an older one's has none. */
#define ARG_EXAMPLES (2 + N_TAIL_ARGUMENTS - 1)

/* Score the labels of a call's second argument for its first. */
static void
ask_for_labels(FunctionCallInfo fcinfo, Request *request)
{
	Labels labels = read_labels(PG_GETARG_ARRAYTYPE_P(1), "labels");
	const Example *examples = NULL;
	int n_examples = 0;

	if (PG_NARGS() > ARG_EXAMPLES + 1 && !PG_ARGISNULL(ARG_EXAMPLES))
		examples = read_examples(PG_GETARG_TEXT_PP(ARG_EXAMPLES), &labels, &n_examples);
	request->kind = REQUEST_SCORE;
	task_messages_after(request, psprintf(PROMPT_CLASSIFY, list_labels(&labels)), examples, n_examples,
						PG_GETARG_TEXT_PP(0));
	request->candidates = json_labels(&labels);
	score_options(fcinfo, 2, request);
}

static void
build_classify(FunctionCallInfo fcinfo, ModelCall *call)
{
	if (has_both(fcinfo))
		ask_for_labels(fcinfo, model_call_ask(call));
}

/* Which of n candidates has the best score, the first of equal ones. */
static int
best_of(const RequestResult *scores, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (protocol_float(scores->values, i) > protocol_float(scores->values, best))
			best = i;
	return best;
}

/* The label with the best score. */
static Datum
finish_classify(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	Labels labels = read_labels(PG_GETARG_ARRAYTYPE_P(1), "labels");

	return PointerGetDatum(DatumGetTextPCopy(labels.labels[best_of(scores_of(replies, labels.n), labels.n)]));
}

static void
build_filter(FunctionCallInfo fcinfo, ModelCall *call)
{
	char *prompt;

	if (!has_both(fcinfo))
		return;
	require_text(PG_GETARG_TEXT_PP(1), "condition");
	prompt = psprintf(PROMPT_FILTER, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	score_request(fcinfo, 2, prompt, PG_GETARG_TEXT_PP(0), span_from_cstring("[\"Yes\",\"No\"]"), model_call_ask(call));
}

static Datum
finish_filter(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const RequestResult *scores = scores_of(replies, 2);

	return BoolGetDatum(protocol_float(scores->values, 0) > protocol_float(scores->values, 1));
}

#define HIGHEST_DIGIT 9

static void
build_criterion(FunctionCallInfo fcinfo, ModelCall *call)
{
	if (!has_both(fcinfo))
		return;
	require_text(PG_GETARG_TEXT_PP(1), "criterion");
	score_request(fcinfo, 2, psprintf(PROMPT_SCORE, text_to_cstring(PG_GETARG_TEXT_PP(1))), PG_GETARG_TEXT_PP(0),
				  span_from_cstring("[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"),
				  model_call_ask(call));
}

/* The digit that is to be expected, of 0 … 9, as a number of 0 … 1. */
static Datum
finish_criterion(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const RequestResult *scores = scores_of(replies, HIGHEST_DIGIT + 1);
	double expected = 0, sum = 0;

	for (int i = 0; i <= HIGHEST_DIGIT; i++)
	{
		expected += (double) protocol_float(scores->values, i) * i;
		sum += protocol_float(scores->values, i);
	}
	/* the probabilities are rounded, each by itself */
	return Float8GetDatum(Min(expected / sum / HIGHEST_DIGIT, 1));
}

const ModelFunction score_function = {.symbol = "qwen_score",
									  .name = "score",
									  .build = build_criterion,
									  .finish = finish_criterion,
									  .result = FLOAT8OID,
									  .least = 2,
									  .most = 18,
									  .arguments = {{"input", TEXTOID}, {"criterion", TEXTOID}},
									  .has_tail = true};

QWEN_MODEL_FUNCTION(qwen_score, score_function)

static const char *const sentiments[] = {"positive", "negative", "neutral", "mixed"};

static void
build_sentiment(FunctionCallInfo fcinfo, ModelCall *call)
{
	if (!PG_ARGISNULL(0) && !text_is_blank(PG_GETARG_TEXT_PP(0)))
		score_request(fcinfo, 1, PROMPT_SENTIMENT, PG_GETARG_TEXT_PP(0),
					  span_from_cstring("[\"positive\",\"negative\",\"neutral\",\"mixed\"]"), model_call_ask(call));
}

static Datum
finish_sentiment(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	int n = lengthof(sentiments);

	return CStringGetTextDatum(sentiments[best_of(scores_of(replies, n), n)]);
}

const ModelFunction sentiment_function = {.symbol = "qwen_sentiment",
										  .name = "sentiment",
										  .build = build_sentiment,
										  .finish = finish_sentiment,
										  .least = 1,
										  .most = 17,
										  .arguments = {{"input", TEXTOID}},
										  .has_tail = true};
const ModelFunction classify_function = {.symbol = "qwen_classify",
										 .name = "classify",
										 .build = build_classify,
										 .finish = finish_classify,
										 .least = 2,
										 .most = 19,
										 .arguments = {{"input", TEXTOID}, {"labels", TEXTARRAYOID}},
										 .has_tail = true,
										 .later = {"examples", JSONOID}};
const ModelFunction filter_function = {.symbol = "qwen_filter",
									   .name = "filter",
									   .build = build_filter,
									   .finish = finish_filter,
									   .result = BOOLOID,
									   .least = 2,
									   .most = 18,
									   .arguments = {{"input", TEXTOID}, {"condition", TEXTOID}},
									   .has_tail = true};

QWEN_MODEL_FUNCTION(qwen_classify, classify_function)

QWEN_MODEL_FUNCTION(qwen_filter, filter_function)

QWEN_MODEL_FUNCTION(qwen_sentiment, sentiment_function)

QWEN_FUNCTION(qwen_classify_scores, 2, 19)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const RequestResult *scores;
	Request request;
	EngineReply reply;
	EngineCall *call;
	Labels labels;

	require_preloaded();
	init_materialized_set(fcinfo);
	memset(&request, 0, sizeof request);
	if (!has_both(fcinfo))
		return (Datum) 0;
	ask_for_labels(fcinfo, &request);
	call = engine_run(&request, &reply);
	labels = read_labels(PG_GETARG_ARRAYTYPE_P(1), "labels");
	scores = scores_of(&reply, labels.n);
	for (int i = 0; i < labels.n; i++)
		put_score(set, labels.labels[i], protocol_float(scores->values, i));
	engine_end(call);
	return (Datum) 0;
}

/* Columns of qwen_logprobs. */
#define N_LOGPROB_COLUMNS 5

/* Row i of a RESULT_LOGPROBS, whose piece stands at *piece. */
static void
put_logprob(ReturnSetInfo *set, const RequestResult *result, uint32 i, size_t *piece)
{
	uint32 rank = protocol_token(result->values, 4 * i + 2), length = protocol_token(result->values, 4 * i + 3);
	Datum values[N_LOGPROB_COLUMNS];
	bool nulls[N_LOGPROB_COLUMNS] = {false, false, false, rank == 0, rank == 0};

	if (length > result->text.length - *piece)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave malformed log-probabilities")));
	values[0] = Int32GetDatum(i + 1);
	values[1] = Int32GetDatum(protocol_token(result->values, 4 * i));
	values[2] = PointerGetDatum(escaped_text_from_span((ByteSpan){result->text.data + *piece, length}));
	values[3] = Float8GetDatum(protocol_float(result->values, 4 * i + 1));
	values[4] = Int32GetDatum(rank);
	*piece += length;
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

QWEN_FUNCTION(qwen_logprobs, 1, 3)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Request request;
	EngineReply reply;
	EngineCall *call;
	size_t piece = 0;

	require_preloaded();
	init_materialized_set(fcinfo);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	memset(&request, 0, sizeof request);
	request.kind = REQUEST_LOGPROBS;
	request.text = span_from_text(PG_GETARG_TEXT_PP(0));
	options_read_object(fcinfo, 2, &request);
	options_set_model(&request, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1), qwen_default_model);
	if (request.text.length == 0)
		return (Datum) 0;
	call = engine_run(&request, &reply);
	if (reply.type != FRAME_RESULT || reply.result.kind != RESULT_LOGPROBS)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no log-probabilities")));
	for (uint32 i = 0; i < reply.result.count; i++)
		put_logprob(set, &reply.result, i, &piece);
	engine_end(call);
	return (Datum) 0;
}
