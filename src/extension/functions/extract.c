/*
 * extract.c - qwen_extract: what a text says, as JSON that satisfies a schema. The prompt stands in task_prompts.h.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "registry.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define EXTRACT_TOKENS 1024 /* of an answer, where nobody says how many */

static void
build_extract(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;
	StringInfoData form;
	char *schema;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	schema = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request = model_call_ask(call);
	request->kind = REQUEST_CHAT;
	task_messages(request, psprintf(PROMPT_EXTRACT, schema), PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 2, request);
	if (request->format.data)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("response_format must not be given: the schema is the form of the answer")));
	initStringInfo(&form);
	appendStringInfo(&form, "{\"type\":\"json_schema\",\"schema\":%s}", schema);
	request->format = span_from_cstring(form.data);
	task_options(request);
	task_max_tokens(request, EXTRACT_TOKENS);
}

/* A value that was completed for want of tokens says what the text does not. */
static Datum
finish_extract(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	if (replies[0].type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	if (replies[0].done.finish_reason == FINISH_LENGTH)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("%u tokens are not enough for what the schema asks for",
							   (unsigned) replies[0].done.completion_tokens),
						errhint("Raise max_tokens, or bound strings and arrays by maxLength and maxItems.")));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(text_from_span(replies[0].done.content))));
}

const ModelFunction extract_function = {.symbol = "qwen_extract",
										.build = build_extract,
										.finish = finish_extract,
										.result = JSONBOID,
										.least = 2,
										.most = 18,
										.arguments = {{"input", TEXTOID}, {"schema", JSONOID}},
										.has_tail = true};

QWEN_MODEL_FUNCTION(qwen_extract, extract_function)
