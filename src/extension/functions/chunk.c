/*
 * chunk.c - qwen_chunk: a text in pieces of at most so many tokens, at the ends of paragraphs and sentences.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/results.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "chunk.h"
#include "embed.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* A number that the engine checks further: here only that it can be sent. */
static uint32
size_argument(FunctionCallInfo fcinfo, int argument, const char *name, int lowest)
{
	int value;

	if (PG_ARGISNULL(argument))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
	value = PG_GETARG_INT32(argument);
	if (value < lowest)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be at least %d, not %d", name, lowest, value)));
	return value;
}

void
chunk_request(Request *request, const Request *options, text *input, uint32 max_tokens, uint32 overlap)
{
	*request = *options;
	request->kind = REQUEST_CHUNK;
	request->text = span_from_text(input);
	request->chunk_tokens = max_tokens;
	request->chunk_overlap = overlap;
}

List *
chunks_of(const EngineReply *reply, text *input)
{
	/* the engine counts in what it was sent */
	ByteSpan sent = span_from_text(input);
	List *chunks = NIL;

	if (reply->type != FRAME_RESULT || reply->result.kind != RESULT_OFFSETS)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no chunks")));
	for (uint32 i = 0; i < reply->result.count; i++)
	{
		uint32 start = protocol_token(reply->result.values, 2 * i);
		uint32 length = protocol_token(reply->result.values, 2 * i + 1);

		if (start > sent.length || length > sent.length - start)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave malformed chunks")));
		chunks = lappend(chunks, text_from_span((ByteSpan){sent.data + start, length}));
	}
	return chunks;
}

QWEN_FUNCTION(qwen_chunk, 1, 5)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	Request options, request;
	EngineReply reply;
	EngineCall *call;
	uint32 max_tokens, overlap;
	int64 ordinality = 0;
	ListCell *cell;

	require_preloaded();
	init_materialized_set(fcinfo);
	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return (Datum) 0;
	max_tokens = size_argument(fcinfo, 1, "max_tokens", REQUEST_MIN_CHUNK_TOKENS);
	overlap = size_argument(fcinfo, 2, "overlap", 0);
	memset(&options, 0, sizeof options);
	options_read_object(fcinfo, 4, &options);
	options_set_model(&options, PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3), default_embedding_model());
	chunk_request(&request, &options, PG_GETARG_TEXT_PP(0), max_tokens, overlap);
	call = engine_run(&request, &reply);
	foreach (cell, chunks_of(&reply, PG_GETARG_TEXT_PP(0)))
	{
		Datum values[2] = {Int64GetDatum(++ordinality), PointerGetDatum(lfirst(cell))};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	engine_end(call);
	return (Datum) 0;
}
