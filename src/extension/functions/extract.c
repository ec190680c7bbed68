/*
 * extract.c - qwen_extract: what a text says, as JSON that satisfies a schema, or as a value of a type, whose schema is
 * made of the catalog (type_schema.c). The prompt stands in task_prompts.h.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/engine_reply.h"
#include "../core/settings.h"
#include "../core/texts.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "functions.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "registry.h"
#include "task_prompts.h"
#include "task_request.h"
#include "type_parts.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"

#define EXTRACT_TOKENS 1024 /* of an answer, where nobody says how many */

/* The member of an object, as JSON, or NULL. */
static char *
member_of(const char *json, const char *name)
{
	LOCAL_FCINFO(call, 2);
	Datum found;

	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){CStringGetTextDatum(json), false};
	call->args[1] = (NullableDatum){CStringGetTextDatum(name), false};
	found = json_object_field(call);
	return call->isnull ? NULL : TextDatumGetCString(found);
}

/* Is it a response_format, and no schema? */
static bool
is_form(const char *json)
{
	const char *type = member_of(json, "type");

	return type && strcmp(type, "\"json_schema\"") == 0;
}

/* The schema within a response_format; where there is none, all of it, which will be refused. */
static const char *
schema_within(const char *form)
{
	const char *wrapped = member_of(form, "json_schema");
	const char *schema = member_of(wrapped ? wrapped : form, "schema");

	return schema ? schema : form;
}

/*
 * Ask about the first argument in the form of a schema, which may stand in a response_format; the common arguments are
 * behind the second.
 */
static void
ask(FunctionCallInfo fcinfo, ModelCall *call, const char *schema, const char *whose)
{
	Request *request = model_call_ask(call);
	bool is_whole = is_form(schema);
	StringInfoData form;

	request->kind = REQUEST_CHAT;
	task_messages(request, psprintf(PROMPT_EXTRACT, is_whole ? schema_within(schema) : schema), PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 2, request);
	if (request->format.data)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("response_format must not be given: the %s is the form of the answer", whose)));
	initStringInfo(&form);
	/* what it does not name nobody asked for */
	if (!is_whole)
		appendStringInfo(&form, "{\"type\":\"json_schema\",\"closed\":true,\"schema\":%s}", schema);
	else if (member_of(schema, "closed"))
		appendStringInfoString(&form, schema);
	else
		appendStringInfo(&form, "{\"closed\":true,%s", strchr(schema, '{') + 1);
	request->format = span_from_cstring(form.data);
	task_options(request);
	task_max_tokens(request, EXTRACT_TOKENS);
}

/* The expression that an argument is in the statement, or NULL. */
static Node *
argument_expression(FunctionCallInfo fcinfo, int i)
{
	Node *call = fcinfo->flinfo ? fcinfo->flinfo->fn_expr : NULL;

	if (!call || !IsA(call, FuncExpr) || list_length(((FuncExpr *) call)->args) <= i)
		return NULL;
	return list_nth(((FuncExpr *) call)->args, i);
}

/* A schema that is text and a NULL that somebody wrote is more likely the type of an answer that was meant. */
static void
refuse_untyped_null(FunctionCallInfo fcinfo)
{
	Node *schema = argument_expression(fcinfo, 1);

	if (!schema || exprType(schema) != TEXTOID)
		return;
	/* of a domain over a text */
	while (IsA(schema, RelabelType) || IsA(schema, CoerceToDomain))
		schema = IsA(schema, RelabelType) ? (Node *) ((RelabelType *) schema)->arg
										  : (Node *) ((CoerceToDomain *) schema)->arg;
	if (IsA(schema, Const) && ((Const *) schema)->constisnull)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the second argument of qwen_extract must be a schema, or NULL of the type wanted"),
						errhint("Cast it: NULL::date, NULL::my_table. For a text, or a domain over one, name the "
								"argument: type => NULL::text.")));
}

static void
build_extract(FunctionCallInfo fcinfo, ModelCall *call)
{
	char *schema;

	if (PG_ARGISNULL(1))
		refuse_untyped_null(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	schema = text_to_cstring(PG_GETARG_TEXT_PP(1));
	/* it may have come as text */
	(void) DirectFunctionCall1(json_in, CStringGetDatum(schema));
	ask(fcinfo, call, schema, "schema");
}

/* A value that was completed for want of tokens says what the text does not. */
static Jsonb *
whole_answer(const EngineReply *replies, const char *whose)
{
	if (replies[0].type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	if (replies[0].done.finish_reason == FINISH_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg_plural("%u token is not enough for what the %s asks for",
							   "%u tokens are not enough for what the %s asks for", replies[0].done.completion_tokens,
							   (unsigned) replies[0].done.completion_tokens, whose),
				 strcmp(whose, "schema") == 0
					 ? errhint("Raise max_tokens, or bound strings and arrays by maxLength and maxItems.")
					 : errhint("Raise max_tokens, or bound texts: varchar(n) instead of text. Arrays have no bound.")));
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(text_from_span(replies[0].done.content)))));
}

static Datum
finish_extract(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	return JsonbPGetDatum(whole_answer(replies, "schema"));
}

static void
build_extract_type(FunctionCallInfo fcinfo, ModelCall *call)
{
	int32 modifier;
	Oid type = type_wanted(fcinfo, &modifier);
	char *schema;

	/* a domain may have no NULL that could be written */
	if (!PG_ARGISNULL(1) && get_typtype(type) != TYPTYPE_DOMAIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the second argument of qwen_extract says the type of the answer alone: it must be NULL, "
						"not a value of type %s",
						format_type_be(type)),
				 errhint("NULL::%s. A schema is cast to json.", format_type_be(type))));
	schema = type_schema(type, modifier, NIL);
	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	ask(fcinfo, call, schema, "type");
}

/* The value that is being made of an answer. */
typedef struct Making
{
	Jsonb *answer;
	Oid type;
	int32 modifier;
	List *columns; /* or NIL: all */
	Datum value;
	bool is_null;
} Making;

/*
 * CHECKs run what users wrote, and where an error shall become NULL, what that has begun must be undone: so it runs in
 * a subtransaction then.
 */
static void
make_undoably(Making *making)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		making->value = type_value(making->answer, making->type, making->modifier, making->columns, &making->is_null);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		ReThrowError(error);
	}
	PG_END_TRY();
}

static void
make(void *argument)
{
	Making *making = argument;

	if (qwen_on_error == QWEN_ON_ERROR_NULL)
		make_undoably(making);
	else
		making->value = type_value(making->answer, making->type, making->modifier, making->columns, &making->is_null);
}

static Datum
finish_extract_type(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	Making making = {.answer = whole_answer(replies, "type")};

	making.type = type_wanted(fcinfo, &making.modifier);
	make(&making);
	fcinfo->isnull = making.is_null;
	return making.value;
}

const ModelFunction extract_function = {.symbol = "qwen_extract",
										.name = "extract",
										.build = build_extract,
										.finish = finish_extract,
										.result = JSONBOID,
										.least = 2,
										.most = 18,
										.arguments = {{"input", TEXTOID}, {"schema", JSONOID}},
										.form = "schema",
										.has_tail = true};

QWEN_MODEL_FUNCTION(qwen_extract, extract_function)

/* A trigger's: what is asked for are the columns' types, and errors say so. */
static Datum
finish_columns(FunctionCallInfo fcinfo, const EngineReply *replies)
{
	return JsonbPGetDatum(whole_answer(replies, "type"));
}

HeapTupleHeader
extract_row(text *input, Oid type, List *columns, const NullableDatum *tail)
{
	LOCAL_FCINFO(call, 2 + N_TAIL_ARGUMENTS);
	ModelFunction function = extract_function;
	Making making = {.type = type, .modifier = -1, .columns = columns};
	Datum answer;

	InitFunctionCallInfoData(*call, NULL, 2 + N_TAIL_ARGUMENTS, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){PointerGetDatum(input), false};
	call->args[1] = (NullableDatum){CStringGetTextDatum(type_schema(type, -1, columns)), false};
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		call->args[2 + i] = tail ? tail[i] : (NullableDatum){(Datum) 0, true};
	function.finish = finish_columns;
	answer = model_call_run(call, &function);
	if (call->isnull)
		return NULL;
	making.answer = DatumGetJsonbP(answer);
	if (!value_or_null(make, &making) || making.is_null)
		return NULL;
	return DatumGetHeapTupleHeader(making.value);
}

const ModelFunction extract_text_function = {.symbol = "qwen_extract_text",
											 .build = build_extract,
											 .finish = finish_extract,
											 .result = JSONBOID,
											 .least = 2,
											 .most = 18,
											 .arguments = {{"input", TEXTOID}, {"schema", TEXTOID}},
											 .form = "schema",
											 .has_tail = true};

QWEN_MODEL_FUNCTION(qwen_extract_text, extract_text_function)

const ModelFunction extract_type_function = {.symbol = "qwen_extract_type",
											 .build = build_extract_type,
											 .finish = finish_extract_type,
											 .result = ANYELEMENTOID,
											 .least = 2,
											 .most = 18,
											 .arguments = {{"input", TEXTOID}, {"type", ANYELEMENTOID}},
											 .form = "type",
											 .has_tail = true};

QWEN_MODEL_FUNCTION(qwen_extract_type, extract_type_function)
