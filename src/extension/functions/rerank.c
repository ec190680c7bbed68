/*
 * rerank.c - qwen_rerank_score: how relevant a document is for a query. (qwen_rerank, over an array: arrays.c.)
 *
 * The engine gives the logit of "yes" against "no"; the score is its probability, made here in double, so that
 * documents of which the model is almost certain still differ.
 */
#include "../core/core.h"

#include <math.h>

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/settings.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "registry.h"
#include "utils/builtins.h"

/* The setting that holds for rerankers when no model is named. */
static const char *
default_rerank_model(void)
{
	return *qwen_default_rerank_model ? qwen_default_rerank_model : qwen_default_model;
}

static void
build_rerank_score(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)) ||
		text_is_blank(PG_GETARG_TEXT_PP(1)))
		return;
	request = model_call_ask(call);
	request->kind = REQUEST_RERANK;
	request->query = span_from_text(PG_GETARG_TEXT_PP(0));
	request->text = span_from_text(PG_GETARG_TEXT_PP(1));
	options_read_object(fcinfo, 4, request);
	options_set_instruction(fcinfo, 3, request);
	options_set_model(request, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2), default_rerank_model());
}

static Datum
finish_rerank_score(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	const EngineReply *reply = &replies[0];

	if (reply->type != FRAME_RESULT || reply->result.kind != RESULT_FLOATS || reply->result.count != 1)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no score")));
	return Float8GetDatum(1 / (1 + exp(-(double) protocol_float(reply->result.values, 0))));
}

const ModelFunction rerank_score_function = {
	.symbol = "qwen_rerank_score",
	.name = "rerank_score",
	.build = build_rerank_score,
	.finish = finish_rerank_score,
	.result = FLOAT8OID,
	.least = 2,
	.most = 5,
	.arguments = {{"query", TEXTOID}, {"document", TEXTOID}, {"model", TEXTOID}, {"instruction", TEXTOID}},
	.input = 1,
};

QWEN_MODEL_FUNCTION(qwen_rerank_score, rerank_score_function)
