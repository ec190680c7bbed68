/*
 * chat.c - qwen_chat, qwen_chat_full, qwen_chat_stream and qwen_generate, each over a prompt, json or jsonb
 * messages.
 */
#include "chat.h"

#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "registry.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* How the first two arguments are to be read. */
typedef enum InputForm
{
	INPUT_TEXT,  /* prompt, system */
	INPUT_JSON,  /* messages, tools */
	INPUT_JSONB, /* messages_jsonb, tools_jsonb */
} InputForm;

void
append_message(StringInfo json, const char *role, text *content)
{
	appendStringInfo(json, "%s{\"role\": \"%s\", \"content\": ", json->len > 1 ? ", " : "", role);
	escape_json(json, text_to_cstring(content));
	appendStringInfoChar(json, '}');
}

ByteSpan
messages_from_texts(text *prompt, text *system_prompt)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	if (system_prompt)
		append_message(&json, "system", system_prompt);
	append_message(&json, "user", prompt);
	appendStringInfoChar(&json, ']');
	return span_from_cstring(json.data);
}

/* A prompt that looks like messages was probably meant to be some. (A literal that is some is not taken for a prompt.)
 */
static bool
looks_like_messages(text *prompt)
{
	const char *start = VARDATA_ANY(prompt);
	size_t length = VARSIZE_ANY_EXHDR(prompt);

	while (length > 0 && (*start == ' ' || *start == '\n' || *start == '\t'))
	{
		start++;
		length--;
	}
	return length > 12 && *start == '[' && memchr(start, '{', Min(length, 8)) &&
		   strstr(text_to_cstring(prompt), "\"role\"");
}

/* A json or jsonb argument as UTF-8 text. */
static ByteSpan
json_argument(FunctionCallInfo fcinfo, int argument, InputForm form)
{
	if (form == INPUT_JSON)
		return span_from_text(PG_GETARG_TEXT_PP(argument));
	{
		Jsonb *value = PG_GETARG_JSONB_P(argument);

		return span_from_cstring(JsonbToCString(NULL, &value->root, VARSIZE(value)));
	}
}

/* Is there something to be answered: is the main argument neither NULL nor blank? */
static bool
has_input(FunctionCallInfo fcinfo, InputForm form)
{
	return !PG_ARGISNULL(0) && !(form == INPUT_TEXT && text_is_blank(PG_GETARG_TEXT_PP(0)));
}

/* The request of a chat function that has an input. */
static void
read_chat(FunctionCallInfo fcinfo, InputForm form, Request *request)
{
	memset(request, 0, sizeof *request);
	request->kind = REQUEST_CHAT;
	if (form == INPUT_TEXT)
	{
		if (looks_like_messages(PG_GETARG_TEXT_PP(0)))
			count_plain_messages();
		request->messages = messages_from_texts(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	}
	else
	{
		request->messages = json_argument(fcinfo, 0, form);
		if (!PG_ARGISNULL(1))
			request->tools = json_argument(fcinfo, 1, form);
	}
	options_read(fcinfo, 2, request);
}

static void
build_chat(FunctionCallInfo fcinfo, InputForm form, ModelCall *call)
{
	if (has_input(fcinfo, form))
		read_chat(fcinfo, form, model_call_ask(call));
}

static void
build_chat_text(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_chat(fcinfo, INPUT_TEXT, call);
}

static void
build_chat_json(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_chat(fcinfo, INPUT_JSON, call);
}

static void
build_chat_jsonb(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_chat(fcinfo, INPUT_JSONB, call);
}

static void
build_generate(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;

	if (!has_input(fcinfo, INPUT_TEXT))
		return;
	request = model_call_ask(call);
	request->kind = REQUEST_GENERATE;
	request->text = span_from_text(PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 1, request);
	/* behind the common ones, before options */
	if (!PG_ARGISNULL(N_TAIL_ARGUMENTS) && PG_GETARG_BOOL(N_TAIL_ARGUMENTS))
		request->flags |= REQUEST_FLAG_PARSE_SPECIAL;
}

/* What ends the text in a gap beside the ends of answers: marks of Coder models, which are text in some vocabularies.
 */
static const char *const gap_ends[] = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
									   "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>"};

static void
build_fill_in(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;
	bool has_prefix = !PG_ARGISNULL(0) && !text_is_blank(PG_GETARG_TEXT_PP(0));
	bool has_suffix = !PG_ARGISNULL(1) && !text_is_blank(PG_GETARG_TEXT_PP(1));

	if (!has_prefix && !has_suffix)
		return;
	request = model_call_ask(call);
	request->kind = REQUEST_GENERATE;
	request->text = PG_ARGISNULL(0) ? span_from_cstring("") : span_from_text(PG_GETARG_TEXT_PP(0));
	request->suffix = PG_ARGISNULL(1) ? span_from_cstring("") : span_from_text(PG_GETARG_TEXT_PP(1));
	options_read(fcinfo, 2, request);
	if (request->n_stops + lengthof(gap_ends) > PROTOCOL_MAX_STOPS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("stop must have at most %d elements beside those that end a gap, not %u",
							   PROTOCOL_MAX_STOPS - (int) lengthof(gap_ends), request->n_stops)));
	for (int i = 0; i < (int) lengthof(gap_ends); i++)
		request->stops[request->n_stops++] = span_from_cstring(gap_ends[i]);
}

const ModelFunction fill_in_function = {.symbol = "qwen_fill_in",
										.name = "fill_in",
										.build = build_fill_in,
										.least = 18,
										.most = 18,
										.arguments = {{"prefix", TEXTOID}, {"suffix", TEXTOID}},
										.has_tail = true};
const ModelFunction chat_text_function = {.symbol = "qwen_chat_text",
										  .name = "chat",
										  .build = build_chat_text,
										  .least = 1,
										  .most = 18,
										  .arguments = {{"prompt", TEXTOID}, {"system", TEXTOID}},
										  .has_tail = true};
const ModelFunction chat_json_function = {.symbol = "qwen_chat_json", .build = build_chat_json, .least = 1, .most = 18};
const ModelFunction chat_jsonb_function = {
	.symbol = "qwen_chat_jsonb", .build = build_chat_jsonb, .least = 1, .most = 18};
const ModelFunction generate_function = {.symbol = "qwen_generate",
										 .name = "generate",
										 .build = build_generate,
										 .least = 1,
										 .most = 18,
										 .arguments = {{"prompt", TEXTOID}},
										 .has_tail = true};

QWEN_MODEL_FUNCTION(qwen_chat_text, chat_text_function)

QWEN_MODEL_FUNCTION(qwen_chat_json, chat_json_function)

QWEN_MODEL_FUNCTION(qwen_chat_jsonb, chat_jsonb_function)

QWEN_MODEL_FUNCTION(qwen_generate, generate_function)

QWEN_MODEL_FUNCTION(qwen_fill_in, fill_in_function)

#define ARG_LOGPROBS (2 + N_TAIL_ARGUMENTS - 1)
#define N_RESPONSE_COLUMNS 12

static const char *
finish_reason_name(uint8 reason)
{
	return reason == FINISH_STOP ? "stop" : reason == FINISH_LENGTH ? "length" : "tool_calls";
}

/* A qwen_response from DONE. */
static Datum
response_tuple(FunctionCallInfo fcinfo, const Done *done)
{
	TupleDesc descriptor;
	Datum values[N_RESPONSE_COLUMNS];
	bool nulls[N_RESPONSE_COLUMNS] = {false};

	/* an older script's has no logprobs */
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE ||
		descriptor->natts < N_RESPONSE_COLUMNS - 1 || descriptor->natts > N_RESPONSE_COLUMNS)
		elog(ERROR, "qwen_response has an unexpected shape");
	values[0] = PointerGetDatum(text_from_span(done->content));
	nulls[1] = done->thinking.data == NULL;
	values[1] = nulls[1] ? (Datum) 0 : PointerGetDatum(text_from_span(done->thinking));
	nulls[2] = done->tool_calls.data == NULL;
	values[2] = nulls[2] ? (Datum) 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(server_text(done->tool_calls)));
	values[3] = CStringGetTextDatum(finish_reason_name(done->finish_reason));
	values[4] = PointerGetDatum(text_from_span(done->model));
	values[5] = Int32GetDatum(done->prompt_tokens);
	values[6] = Int32GetDatum(done->cached_tokens);
	values[7] = Int32GetDatum(done->completion_tokens);
	values[8] = Float8GetDatum(done->queue_us / 1000.0);
	values[9] = Float8GetDatum(done->ttft_us / 1000.0);
	values[10] = Float8GetDatum(done->total_us / 1000.0);
	nulls[11] = done->logprobs.data == NULL;
	values[11] = nulls[11] ? (Datum) 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(server_text(done->logprobs)));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

static Datum
finish_response(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	if (replies->type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	return response_tuple(fcinfo, &replies->done);
}

/* The request of a chat, with log-probabilities where they are wanted. */
static void
build_full(FunctionCallInfo fcinfo, InputForm form, ModelCall *call)
{
	Request *request;

	if (!has_input(fcinfo, form))
		return;
	request = model_call_ask(call);
	read_chat(fcinfo, form, request);
	/* behind the common arguments, before options */
	if (PG_NARGS() > ARG_LOGPROBS + 1 && !PG_ARGISNULL(ARG_LOGPROBS))
	{
		int32 n = PG_GETARG_INT32(ARG_LOGPROBS);

		if (n < 0 || n > REQUEST_MAX_LOGPROBS)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("logprobs must be between 0 and %d, not %d", REQUEST_MAX_LOGPROBS, n)));
		request->flags |= REQUEST_FLAG_LOGPROBS(n);
	}
}

static void
build_full_text(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_full(fcinfo, INPUT_TEXT, call);
}

static void
build_full_json(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_full(fcinfo, INPUT_JSON, call);
}

static void
build_full_jsonb(FunctionCallInfo fcinfo, ModelCall *call)
{
	build_full(fcinfo, INPUT_JSONB, call);
}

const ModelFunction chat_full_text_function = {.symbol = "qwen_chat_full_text",
											   .build = build_full_text,
											   .finish = finish_response,
											   .result = RECORDOID,
											   .least = 1,
											   .most = 19};
const ModelFunction chat_full_json_function = {.symbol = "qwen_chat_full_json",
											   .build = build_full_json,
											   .finish = finish_response,
											   .result = RECORDOID,
											   .least = 1,
											   .most = 19};
const ModelFunction chat_full_jsonb_function = {.symbol = "qwen_chat_full_jsonb",
												.build = build_full_jsonb,
												.finish = finish_response,
												.result = RECORDOID,
												.least = 1,
												.most = 19};

QWEN_MODEL_FUNCTION(qwen_chat_full_text, chat_full_text_function)

QWEN_MODEL_FUNCTION(qwen_chat_full_json, chat_full_json_function)

QWEN_MODEL_FUNCTION(qwen_chat_full_jsonb, chat_full_jsonb_function)

/* A stream that runs. */
typedef struct Stream
{
	EngineCall *call;
	bool has_pieces; /* of the answer, which its end does not have whole */
} Stream;

/* Start a stream: the call lives in the function's multi-call memory and is cancelled with it. reply: its first frame.
 */
static Stream *
start_stream(FuncCallContext *context, Request *request, EngineReply *reply)
{
	Stream *stream = MemoryContextAllocZero(context->multi_call_memory_ctx, sizeof *stream);

	request->flags |= REQUEST_FLAG_STREAM;
	request->function = "qwen_chat_stream";
	stream->call = engine_begin(request, context->multi_call_memory_ctx, reply, true);
	return stream;
}

/* A piece of an answer, and the text that is made of it. */
typedef struct StreamPiece
{
	ByteSpan span;
	text *value;
} StreamPiece;

static void
make_piece(void *argument)
{
	StreamPiece *piece = argument;

	piece->value = text_from_span(piece->span);
}

/* A row a piece, as they are sampled. Thinking is passed over: what reaches the client is the answer. */
static Datum
chat_stream(FunctionCallInfo fcinfo, InputForm form)
{
	FuncCallContext *context;
	EngineReply reply;
	Stream *stream;
	bool has_reply = false;

	if (SRF_IS_FIRSTCALL())
	{
		Request request;

		require_preloaded();
		context = SRF_FIRSTCALL_INIT();
		context->user_fctx = NULL;
		if (has_input(fcinfo, form))
		{
			read_chat(fcinfo, form, &request);
			context->user_fctx = start_stream(context, &request, &reply);
			has_reply = true;
		}
	}
	context = SRF_PERCALL_SETUP();
	if (!context->user_fctx)
		SRF_RETURN_DONE(context);
	stream = context->user_fctx;
	for (;; has_reply = false)
	{
		if (!has_reply)
			engine_next(stream->call, &reply, true);
		if (reply.type == FRAME_PIECE && reply.piece.kind == PIECE_CONTENT)
		{
			StreamPiece piece = {reply.piece.text, NULL};

			stream->has_pieces |= piece.span.length > 0;
			if (!value_or_null(make_piece, &piece))
				SRF_RETURN_NEXT_NULL(context);
			SRF_RETURN_NEXT(context, PointerGetDatum(piece.value));
		}
		if (reply.type == FRAME_DONE)
		{
			if (reply.done.finish_reason == FINISH_LENGTH)
				count_cut(cut_answer(stream->has_pieces || reply.done.tool_calls.length > 0,
									 reply.done.thinking.data != NULL));
			break;
		}
	}
	engine_end(stream->call);
	SRF_RETURN_DONE(context);
}

QWEN_FUNCTION(qwen_chat_stream_text, 1, 18)
{
	return chat_stream(fcinfo, INPUT_TEXT);
}

QWEN_FUNCTION(qwen_chat_stream_json, 1, 18)
{
	return chat_stream(fcinfo, INPUT_JSON);
}

QWEN_FUNCTION(qwen_chat_stream_jsonb, 1, 18)
{
	return chat_stream(fcinfo, INPUT_JSONB);
}
