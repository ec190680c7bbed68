/*
 * entities.c - qwen_entities and qwen_redact: the places of a text that are of some kinds.
 *
 * The model copies the text and marks the places; nothing but that can be its answer (response_format "copy"), so what
 * is outside of marks is the text, byte for byte. A text of more than some sentences is cut, at the ends of paragraphs
 * and sentences, and its parts are copied side by side.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/engine_reply.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "chunk.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "registry.h"
#include "spans.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#define WHOLE_BYTES 1500 /* a text no longer than this is copied as a whole */
#define PART_TOKENS 400  /* of a longer one */
#define MARK_TOKENS 512  /* of an answer, for marks */
#define MAX_KINDS 64
#define MAX_KIND_BYTES 128
#define ARG_TAIL 2

/* A part of the text. */
typedef struct Part
{
	size_t start, length; /* bytes in UTF-8 */
} Part;

/* What is known of a call's text. */
typedef struct Entities
{
	Labels kinds;
	ByteSpan sent; /* the text in UTF-8 */
	Enclosure enclosure;
	Part *parts;
	int n_parts;
	List *spans; /* Span *, in order */
} Entities;

static Labels
read_kinds(FunctionCallInfo fcinfo)
{
	Labels kinds = read_labels(PG_GETARG_ARRAYTYPE_P(1), "kinds");

	if (kinds.n > MAX_KINDS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("kinds has %d elements, and the limit is %d", kinds.n, MAX_KINDS)));
	for (int i = 0; i < kinds.n; i++)
	{
		size_t length = span_from_text(DatumGetTextPP(kinds.labels[i])).length;

		if (length > MAX_KIND_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("kinds[%d] has %zu bytes in UTF-8, and the limit is %d", i + 1, length, MAX_KIND_BYTES)));
	}
	return kinds;
}

/* The common arguments, of which none may take the place of the form or cut the copy. */
static void
read_options(FunctionCallInfo fcinfo, Request *request)
{
	options_read(fcinfo, ARG_TAIL, request);
	if (request->format.data || request->n_stops > 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must not be given: the answer is a copy of the input with marks",
							   request->format.data ? "response_format" : "stop")));
}

static void
begin_entities(FunctionCallInfo fcinfo, Entities *entities)
{
	entities->kinds = read_kinds(fcinfo);
	entities->sent = span_from_text(PG_GETARG_TEXT_PP(0));
	entities->enclosure = choose_enclosure(entities->sent, &entities->kinds);
}

/* Ask for the copy of a part. */
static void
ask_part(FunctionCallInfo fcinfo, ModelCall *call, const Entities *entities, Part part)
{
	const Enclosure *enclosure = &entities->enclosure;
	Request *request = model_call_ask(call);
	ByteSpan text = {entities->sent.data + part.start, part.length};
	/* written as the server can, which of the usual characters all do */
	char *example = server_string(psprintf(PROMPT_MARK_EXAMPLE, enclosure->open, enclosure->close));
	char *prompt = psprintf(PROMPT_MARK, list_labels(&entities->kinds), example);

	request->kind = REQUEST_CHAT;
	task_messages(request, prompt, text_from_span(text));
	read_options(fcinfo, request);
	request->format = copy_format(text, &entities->kinds, enclosure);
	task_options(request);
	task_max_tokens(request, part.length + MARK_TOKENS);
}

static void
build_entities(FunctionCallInfo fcinfo, ModelCall *call)
{
	Entities entities = {.n_parts = 0};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return;
	begin_entities(fcinfo, &entities);
	if (text_is_blank(PG_GETARG_TEXT_PP(0)))
	{
		/* nothing to ask, but a value: what counts tokens is answered without a step */
		Request *request = model_call_ask(call);

		read_options(fcinfo, request);
		request->kind = REQUEST_COUNT_TOKENS;
		request->text = entities.sent;
	}
	else if (entities.sent.length <= WHOLE_BYTES)
		ask_part(fcinfo, call, &entities, (Part){0, entities.sent.length});
	else
	{
		Request options;

		memset(&options, 0, sizeof options);
		read_options(fcinfo, &options);
		chunk_request(model_call_ask(call), &options, PG_GETARG_TEXT_PP(0), PART_TOKENS, 0);
	}
}

/* Ask for all parts of a text that was cut. */
static void
take_parts(FunctionCallInfo fcinfo, ModelCall *call, Entities *entities)
{
	const RequestResult *result = &call->replies[0].result;
	size_t end = 0;

	entities->n_parts = result->count;
	entities->parts = palloc_extended(sizeof *entities->parts * entities->n_parts, MCXT_ALLOC_HUGE);
	for (int i = 0; i < entities->n_parts; i++)
	{
		size_t start = (uint32) protocol_token(result->values, 2 * i);
		size_t length = (uint32) protocol_token(result->values, 2 * i + 1);

		CHECK_FOR_INTERRUPTS();
		if (start < end || start > entities->sent.length || length > entities->sent.length - start || length == 0)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave malformed chunks")));
		end = start + length;
		entities->parts[i] = (Part){start, length};
		ask_part(fcinfo, call, entities, entities->parts[i]);
	}
}

/* Read the copies. */
static void
take_copies(ModelCall *call, Entities *entities)
{
	for (int i = 0; i < call->n_requests; i++)
	{
		const EngineReply *reply = &call->replies[i];
		Part part = entities->parts[i];

		CHECK_FOR_INTERRUPTS();
		if (reply->type != FRAME_DONE)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
		if (reply->done.finish_reason == FINISH_LENGTH)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg_plural("%u token is not enough for the text and its marks",
										  "%u tokens are not enough for the text and its marks",
										  reply->done.completion_tokens, (unsigned) reply->done.completion_tokens),
							errhint("Raise max_tokens, or leave it out.")));
		entities->spans =
			read_marks(entities->spans, reply->done.content, (ByteSpan){entities->sent.data + part.start, part.length},
					   part.start, &entities->kinds, &entities->enclosure);
	}
}

static void
next_entities(FunctionCallInfo fcinfo, ModelCall *call)
{
	Entities *entities = call->state;
	const EngineReply *first = &call->replies[0];

	if (!entities)
	{
		call->state = entities = palloc0(sizeof *entities);
		begin_entities(fcinfo, entities);
		if (first->type == FRAME_RESULT && first->result.kind == RESULT_OFFSETS)
		{
			take_parts(fcinfo, call, entities);
			return;
		}
		if (first->type == FRAME_RESULT && first->result.kind == RESULT_COUNT)
			return;
		entities->parts = palloc(sizeof *entities->parts);
		entities->parts[0] = (Part){0, entities->sent.length};
		entities->n_parts = 1;
	}
	take_copies(call, entities);
}

/* The text with each place as [KIND]; all else is as it was. */
static Datum
finish_redact(FunctionCallInfo fcinfo, const ModelCall *call)
{
	const Entities *entities = call->state;
	text *input = PG_GETARG_TEXT_PP(0);
	ServerSpan *spans = place_spans(input, entities->spans);
	StringInfoData redacted;
	size_t done = 0;

	initStringInfo(&redacted);
	for (int i = 0; i < list_length(entities->spans); i++)
	{
		text *kind = DatumGetTextPP(entities->kinds.labels[spans[i].kind]);

		appendBinaryStringInfo(&redacted, VARDATA_ANY(input) + done, spans[i].start - done);
		appendStringInfoChar(&redacted, '[');
		appendBinaryStringInfo(&redacted, VARDATA_ANY(kind), VARSIZE_ANY_EXHDR(kind));
		appendStringInfoChar(&redacted, ']');
		done = spans[i].start + spans[i].length;
	}
	appendBinaryStringInfo(&redacted, VARDATA_ANY(input) + done, VARSIZE_ANY_EXHDR(input) - done);
	return PointerGetDatum(cstring_to_text_with_len(redacted.data, redacted.len));
}

const ModelFunction redact_function = {.symbol = "qwen_redact",
									   .name = "redact",
									   .build = build_entities,
									   .next = next_entities,
									   .finish_state = finish_redact,
									   .least = 2,
									   .most = 18,
									   .arguments = {{"input", TEXTOID}, {"kinds", TEXTARRAYOID}},
									   .has_tail = true,
									   .fits_length = true};

QWEN_MODEL_FUNCTION(qwen_redact, redact_function)

/* Nobody asks about a blank text, which has no places. */
static void
build_places(FunctionCallInfo fcinfo, ModelCall *call)
{
	if (!PG_ARGISNULL(0) && !text_is_blank(PG_GETARG_TEXT_PP(0)))
		build_entities(fcinfo, call);
}

/* A row for each place. */
static Datum
finish_entities(FunctionCallInfo fcinfo, const ModelCall *call)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const Entities *entities = call->state;
	text *input = PG_GETARG_TEXT_PP(0);
	ServerSpan *spans = place_spans(input, entities->spans);

	for (int i = 0; i < list_length(entities->spans); i++)
	{
		Datum values[4] = {
			entities->kinds.labels[spans[i].kind],
			PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(input) + spans[i].start, spans[i].length)),
			Int32GetDatum(spans[i].n_before + 1), Int32GetDatum(spans[i].n_characters)};
		bool nulls[4] = {false, false, false, false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static const ModelFunction entities_function = {.symbol = "qwen_entities",
												.build = build_places,
												.next = next_entities,
												.finish_state = finish_entities,
												.least = 2,
												.most = 18};

QWEN_FUNCTION(qwen_entities, 2, 18)
{
	return model_call_run_set(fcinfo, &entities_function);
}
