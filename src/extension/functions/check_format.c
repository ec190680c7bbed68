/*
 * check_format.c - qwen_check_format: what is wrong with a response_format, without asking the model anything.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../client/client.h"
#include "../core/engine_reply.h"
#include "../core/results.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

/* One row: the members of an object, whose beginning has been read. */
static void
put_problem(ReturnSetInfo *set, JsonbIterator **iterator)
{
	static const char *const columns[] = {"path", "keyword", "problem"};
	Datum values[lengthof(columns)] = {0};
	bool nulls[lengthof(columns)] = {true, true, true};
	JsonbValue key, value;

	while (JsonbIteratorNext(iterator, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(iterator, &value, true);
		for (int i = 0; i < (int) lengthof(columns); i++)
			if (value.type == jbvString && key.val.string.len == (int) strlen(columns[i]) &&
				memcmp(key.val.string.val, columns[i], key.val.string.len) == 0)
			{
				values[i] = PointerGetDatum(cstring_to_text_with_len(value.val.string.val, value.val.string.len));
				nulls[i] = false;
			}
	}
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

QWEN_FUNCTION(qwen_check_format, 1, 1)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Request request;
	EngineReply reply;
	EngineCall *call;
	Jsonb *problems;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue value;

	require_preloaded();
	init_materialized_set(fcinfo);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	memset(&request, 0, sizeof request);
	request.kind = REQUEST_CHECK_FORMAT;
	options_set_model(&request, NULL, qwen_default_model);
	request.text = span_from_text(PG_GETARG_TEXT_PP(0));
	call = engine_run(&request, &reply);
	if (reply.type != FRAME_RESULT || reply.result.kind != RESULT_TEXT)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	problems = DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(text_from_span(reply.result.text)))));
	engine_end(call);
	iterator = JsonbIteratorInit(&problems->root);
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
		if (token == WJB_BEGIN_OBJECT)
			put_problem(set, &iterator);
	return (Datum) 0;
}
