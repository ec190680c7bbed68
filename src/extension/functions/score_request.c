/*
 * score_request.c - see score_request.h.
 */
#include "score_request.h"

#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "task_request.h"

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
