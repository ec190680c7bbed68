/*
 * aggregates.c - qwen_summarize_agg and qwen_chat_agg: one answer about the texts of many rows. Rows that are more than
 * the context holds are worked on in parts (map_reduce.c). Rows that are NULL or blank are passed over; no rows
 * give NULL.
 *
 * An aggregate's arguments have no defaults, so the common ones come in an object, {"max_tokens": 20}. Instruction and
 * options are those of the whole group: rows that differ in them are an error.
 */
#include "../core/core.h"

#include "../call/call.h"
#include "../core/arguments.h"
#include "../core/shared_memory.h"
#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "functions.h"
#include "map_reduce.h"
#include "miscadmin.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

/* An answer about rows may need as many tokens as they have themselves, about a quarter of their bytes, within reason.
 */
#define LONGEST_ANSWER 4096

/* Lives in the aggregate's memory. */
typedef struct Gathered
{
	StringInfoData texts; /* one after the other, an empty line between two */
	bool has_rows;
	text *instruction, *options; /* NULL: none */
	text *answer;
} Gathered;

/* ---- options as an object
 * ------------------------------------------------------------------------------------------ */

static void
refuse_option(const char *key, bool is_summary)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", tail_arguments[i].name);
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options: the key \"%s\" is not known", key),
					errdetail("The known keys are: %s%s.", is_summary ? "max_words, " : "", known.data)));
}

/* The common arguments, as options_read takes them from 0 on; max_words of a summary. */
static FunctionCallInfo
read_tail(const text *options, bool is_summary, int *max_words)
{
	FunctionCallInfo tail = palloc0(SizeForFunctionCallInfo(N_TAIL_ARGUMENTS));
	JsonbIterator *iterator;
	JsonbValue key, value;
	Jsonb *object;

	InitFunctionCallInfoData(*tail, NULL, N_TAIL_ARGUMENTS, InvalidOid, NULL, NULL);
	for (int i = 0; i < N_TAIL_ARGUMENTS; i++)
		tail->args[i].isnull = true;
	*max_words = SUMMARY_MAX_WORDS;
	if (!options)
		return tail;
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(options))));
	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("options must be a JSON object"),
						errhint("options => '{\"max_tokens\": 20}'")));
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		char *name = pnstrdup(key.val.string.val, key.val.string.len);
		int i = 0;

		CHECK_FOR_INTERRUPTS();
		(void) JsonbIteratorNext(&iterator, &value, true);
		while (i < N_TAIL_ARGUMENTS && strcmp(tail_arguments[i].name, name) != 0)
			i++;
		if (i == N_TAIL_ARGUMENTS && !(is_summary && strcmp(name, "max_words") == 0))
			refuse_option(name, is_summary);
		if (value.type == jbvNull)
			continue;
		if (i == N_TAIL_ARGUMENTS)
			*max_words = DatumGetInt32(options_value("options", name, &value, INT4OID));
		else
		{
			tail->args[i].value = options_value("options", name, &value, tail_arguments[i].type);
			tail->args[i].isnull = false;
		}
	}
	return tail;
}

/* ---- rows
 * ---------------------------------------------------------------------------------------------------------- */

/* The state so far, made when there is none; context: the aggregate's memory. */
static Gathered *
gathered_state(FunctionCallInfo fcinfo, MemoryContext *context)
{
	MemoryContext old;
	Gathered *gathered;

	if (!AggCheckCallContext(fcinfo, context))
		elog(ERROR, "called outside of an aggregate");
	if (!PG_ARGISNULL(0))
		return (Gathered *) PG_GETARG_POINTER(0);
	old = MemoryContextSwitchTo(*context);
	gathered = palloc0(sizeof *gathered);
	initStringInfo(&gathered->texts);
	MemoryContextSwitchTo(old);
	return gathered;
}

/* Add the row's text. */
static void
gather(FunctionCallInfo fcinfo, Gathered *gathered)
{
	text *value;

	if (PG_ARGISNULL(1))
		return;
	value = PG_GETARG_TEXT_PP(1);
	if (text_is_blank(value))
		return;
	if (gathered->texts.len > 0)
		appendStringInfoString(&gathered->texts, "\n\n");
	appendBinaryStringInfo(&gathered->texts, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

/* An argument that all rows of a group must have in common; kept from the first. */
static void
keep_common(FunctionCallInfo fcinfo, int argument, const char *name, const Gathered *gathered, text **kept,
			MemoryContext context)
{
	text *value = PG_ARGISNULL(argument) ? NULL : PG_GETARG_TEXT_PP(argument);
	MemoryContext old;

	if (!gathered->has_rows)
	{
		old = MemoryContextSwitchTo(context);
		*kept = value ? DatumGetTextPCopy(PointerGetDatum(value)) : NULL;
		MemoryContextSwitchTo(old);
	}
	else if ((value == NULL) != (*kept == NULL) ||
			 (value && (VARSIZE_ANY_EXHDR(value) != VARSIZE_ANY_EXHDR(*kept) ||
						memcmp(VARDATA_ANY(value), VARDATA_ANY(*kept), VARSIZE_ANY_EXHDR(value)) != 0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be the same for all rows of a group", name),
				 errhint("GROUP BY it, or put what differs into the input.")));
}

/* One row: its input is argument 1; instruction and options, 0 for none, are the group's. */
static Datum
add_row(FunctionCallInfo fcinfo, int instruction, int options)
{
	MemoryContext context;
	Gathered *gathered = gathered_state(fcinfo, &context);
	int max_words;

	if (instruction && PG_ARGISNULL(instruction))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("instruction must not be null")));
	if (instruction && !gathered->has_rows)
		require_text(PG_GETARG_TEXT_PP(instruction), "instruction");
	if (instruction)
		keep_common(fcinfo, instruction, "instruction", gathered, &gathered->instruction, context);
	if (options)
		keep_common(fcinfo, options, "options", gathered, &gathered->options, context);
	/* what is wrong with them is said before the rows are read */
	if (options && !gathered->has_rows)
		(void) read_tail(gathered->options, instruction == 0, &max_words);
	gathered->has_rows = true;
	gather(fcinfo, gathered);
	PG_RETURN_POINTER(gathered);
}

QWEN_FUNCTION(qwen_agg_add, 2, 2)
{
	return add_row(fcinfo, 0, 0);
}

QWEN_FUNCTION(qwen_agg_add_with_options, 3, 3)
{
	return add_row(fcinfo, 0, 2);
}

QWEN_FUNCTION(qwen_agg_add_with_instruction, 3, 3)
{
	return add_row(fcinfo, 2, 0);
}

QWEN_FUNCTION(qwen_agg_add_with_both, 4, 4)
{
	return add_row(fcinfo, 2, 3);
}

/* What was gathered, or NULL when there was nothing. */
static Gathered *
gathered_rows(FunctionCallInfo fcinfo)
{
	Gathered *gathered = PG_ARGISNULL(0) ? NULL : (Gathered *) PG_GETARG_POINTER(0);

	require_preloaded();
	return gathered && gathered->texts.len > 0 ? gathered : NULL;
}

/* What was gathered as a text. */
static text *
gathered_text(const Gathered *gathered)
{
	return cstring_to_text_with_len(gathered->texts.data, gathered->texts.len);
}

static void
summarize_rows(void *argument)
{
	Gathered *gathered = argument;
	int max_words;
	FunctionCallInfo tail = read_tail(gathered->options, true, &max_words);

	gathered->answer = summarize(gathered_text(gathered), max_words, tail->args);
}

/* Arguments: the rows' texts, the instruction, the tail. */
static void
build_chat_agg(FunctionCallInfo fcinfo, ModelCall *call)
{
	text *rows = PG_GETARG_TEXT_PP(0);
	char *instruction = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Request options;

	memset(&options, 0, sizeof options);
	options_read(fcinfo, 2, &options);
	task_options(&options);
	map_reduce_begin(call, &options, rows, instruction, instruction, psprintf(PROMPT_COMBINE, instruction),
					 Min(VARSIZE_ANY_EXHDR(rows) / 4, LONGEST_ANSWER));
}

static const ModelFunction chat_agg_function = {
	.symbol = "qwen_chat_agg", .build = build_chat_agg, .next = map_reduce_next, .least = 18, .most = 18};

static void
answer_about_rows(void *argument)
{
	Gathered *gathered = argument;
	LOCAL_FCINFO(call, 2 + N_TAIL_ARGUMENTS);
	int max_words;
	Datum answer;

	InitFunctionCallInfoData(*call, NULL, 2 + N_TAIL_ARGUMENTS, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){PointerGetDatum(gathered_text(gathered)), false};
	call->args[1] = (NullableDatum){PointerGetDatum(gathered->instruction), false};
	memcpy(&call->args[2], read_tail(gathered->options, false, &max_words)->args,
		   sizeof(NullableDatum) * N_TAIL_ARGUMENTS);
	answer = model_call_run(call, &chat_agg_function);
	gathered->answer = call->isnull ? NULL : DatumGetTextPP(answer);
}

/* The answer about all rows, as body makes it; NULL without any, and where it fails by itself and may. */
static Datum
final_answer(FunctionCallInfo fcinfo, void (*body)(void *argument))
{
	Gathered *gathered = gathered_rows(fcinfo);

	if (!gathered || !value_or_null(body, gathered) || !gathered->answer)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(gathered->answer);
}

QWEN_FUNCTION(qwen_summarize_agg_final, 1, 1)
{
	return final_answer(fcinfo, summarize_rows);
}

QWEN_FUNCTION(qwen_chat_agg_final, 1, 1)
{
	return final_answer(fcinfo, answer_about_rows);
}
