/*
 * score_request.c - see score_request.h.
 */
#include "score_request.h"

#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "task_request.h"
#include "utils/tuplestore.h"

bool
has_both(FunctionCallInfo fcinfo)
{
	return !PG_ARGISNULL(0) && !PG_ARGISNULL(1) && !text_is_blank(PG_GETARG_TEXT_PP(0));
}

void
score_options(FunctionCallInfo fcinfo, int first, Request *request)
{
	options_read(fcinfo, first, request);
	if (request->format.data)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("response_format is not supported by functions that choose among given answers")));
	task_options(request);
}

void
score_request(FunctionCallInfo fcinfo, int first, const char *prompt, text *input, ByteSpan candidates,
			  Request *request)
{
	request->kind = REQUEST_SCORE;
	task_messages(request, prompt, input);
	request->candidates = candidates;
	score_options(fcinfo, first, request);
}

const RequestResult *
scores_of(const EngineReply *reply, int n)
{
	if (reply->type != FRAME_RESULT || reply->result.kind != RESULT_FLOATS || reply->result.count != (uint32) n)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no scores")));
	return &reply->result;
}

void
put_score(ReturnSetInfo *set, Datum label, double probability)
{
	Datum values[2] = {label, Float8GetDatum(probability)};
	bool nulls[2] = {false, false};

	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}
