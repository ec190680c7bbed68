/*
 * tokens.c - qwen_tokenize, qwen_detokenize, qwen_count_tokens, qwen_render_chat: what the engine answers at once.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../client/client.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/settings.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "chat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* Run an immediate request; its RESULT is of this kind. */
static EngineCall *
run_immediate(const Request *request, ResultKind kind, EngineReply *reply)
{
	EngineCall *call = engine_run(request, reply);

	if (reply->type != FRAME_RESULT || reply->result.kind != kind)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	return call;
}

static text *
optional_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : PG_GETARG_TEXT_PP(argument);
}

/* Start a request of a kind over a text argument. */
static void
init_request(Request *request, RequestKind kind, text *model)
{
	memset(request, 0, sizeof *request);
	request->kind = kind;
	options_set_model(request, model, qwen_default_model);
}

QWEN_FUNCTION(qwen_tokenize, 1, 4)
{
	Request request;
	EngineReply reply;
	EngineCall *call;
	Datum *elements;
	uint32 n;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	init_request(&request, REQUEST_TOKENIZE, optional_text(fcinfo, 1));
	options_read_object(fcinfo, 3, &request);
	request.text = span_from_text(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		request.flags |= REQUEST_FLAG_PARSE_SPECIAL;
	call = run_immediate(&request, RESULT_TOKENS, &reply);
	n = reply.result.count;
	elements = palloc(sizeof *elements * Max(n, 1));
	for (uint32 i = 0; i < n; i++)
		elements[i] = Int32GetDatum(protocol_token(reply.result.values, i));
	engine_end(call);
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

QWEN_FUNCTION(qwen_detokenize, 1, 3)
{
	ArrayType *array;
	Request request;
	EngineReply reply;
	EngineCall *call;
	Datum *elements;
	bool *nulls;
	int32 *tokens;
	int n;
	text *answer;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	array = PG_GETARG_ARRAYTYPE_P(0);
	require_one_dimension(array, "tokens");
	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &elements, &nulls, &n);
	tokens = palloc(sizeof *tokens * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("tokens[%d] must not be null", i + 1)));
		tokens[i] = DatumGetInt32(elements[i]);
	}
	init_request(&request, REQUEST_DETOKENIZE, optional_text(fcinfo, 1));
	options_read_object(fcinfo, 2, &request);
	request.tokens = (unsigned char *) tokens;
	request.n_tokens = n;
	call = run_immediate(&request, RESULT_TEXT, &reply);
	answer = text_from_span(reply.result.text);
	engine_end(call);
	PG_RETURN_TEXT_P(answer);
}

QWEN_FUNCTION(qwen_count_tokens, 1, 3)
{
	Request request;
	EngineReply reply;
	EngineCall *call;
	int32 count;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	init_request(&request, REQUEST_COUNT_TOKENS, optional_text(fcinfo, 1));
	options_read_object(fcinfo, 2, &request);
	request.text = span_from_text(PG_GETARG_TEXT_PP(0));
	call = run_immediate(&request, RESULT_COUNT, &reply);
	count = reply.result.count;
	engine_end(call);
	PG_RETURN_INT32(count);
}

/* The exact prompt; arguments 2 and 3 are thinking and model in every form. */
static Datum
render(FunctionCallInfo fcinfo, Request *request)
{
	EngineReply reply;
	EngineCall *call;
	text *answer;

	if (!PG_ARGISNULL(2))
	{
		request->options.given |= OPTION_THINKING;
		request->options.thinking = PG_GETARG_BOOL(2);
	}
	call = run_immediate(request, RESULT_TEXT, &reply);
	answer = text_from_span(reply.result.text);
	engine_end(call);
	return PointerGetDatum(answer);
}

QWEN_FUNCTION(qwen_render_chat_text, 1, 5)
{
	Request request;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	init_request(&request, REQUEST_RENDER_CHAT, optional_text(fcinfo, 3));
	options_read_object(fcinfo, 4, &request);
	request.messages = messages_from_texts(PG_GETARG_TEXT_PP(0), optional_text(fcinfo, 1));
	return render(fcinfo, &request);
}

QWEN_FUNCTION(qwen_render_chat_json, 1, 5)
{
	Request request;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	init_request(&request, REQUEST_RENDER_CHAT, optional_text(fcinfo, 3));
	request.messages = span_from_text(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		request.tools = span_from_text(PG_GETARG_TEXT_PP(1));
	options_read_object(fcinfo, 4, &request);
	return render(fcinfo, &request);
}

static ByteSpan
span_from_jsonb(Jsonb *value)
{
	return span_from_cstring(JsonbToCString(NULL, &value->root, VARSIZE(value)));
}

QWEN_FUNCTION(qwen_render_chat_jsonb, 1, 5)
{
	Request request;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	init_request(&request, REQUEST_RENDER_CHAT, optional_text(fcinfo, 3));
	request.messages = span_from_jsonb(PG_GETARG_JSONB_P(0));
	if (!PG_ARGISNULL(1))
		request.tools = span_from_jsonb(PG_GETARG_JSONB_P(1));
	options_read_object(fcinfo, 4, &request);
	return render(fcinfo, &request);
}
