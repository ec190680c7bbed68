/*
 * aggregates.c - qwen_summarize_agg and qwen_chat_agg: one answer about the texts of many rows. Rows that are more than
 * the context holds are worked on in parts (task_map_reduce). Rows that are NULL are passed over; no rows give NULL.
 */
#include "qwen_pg.h"

#include "model_call.h"
#include "task_prompts.h"
#include "utils/builtins.h"

/* Lives in the aggregate's memory. */
typedef struct Gathered
{
	StringInfoData texts; /* one after the other, an empty line between two */
	text *instruction;
	text *answer;
} Gathered;

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
	if (gathered->texts.len > 0)
		appendStringInfoString(&gathered->texts, "\n\n");
	appendBinaryStringInfo(&gathered->texts, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

QWEN_FUNCTION(qwen_agg_add, 2, 2)
{
	MemoryContext context;
	Gathered *gathered = gathered_state(fcinfo, &context);

	gather(fcinfo, gathered);
	PG_RETURN_POINTER(gathered);
}

QWEN_FUNCTION(qwen_agg_add_with_instruction, 3, 3)
{
	MemoryContext context, old;
	Gathered *gathered = gathered_state(fcinfo, &context);

	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("instruction must not be null")));
	if (!gathered->instruction)
	{
		old = MemoryContextSwitchTo(context);
		gathered->instruction = DatumGetTextPCopy(PG_GETARG_DATUM(2));
		MemoryContextSwitchTo(old);
	}
	gather(fcinfo, gathered);
	PG_RETURN_POINTER(gathered);
}

/* What was gathered, or NULL when there was nothing. */
static Gathered *
gathered_rows(FunctionCallInfo fcinfo)
{
	Gathered *gathered = PG_ARGISNULL(0) ? NULL : (Gathered *) PG_GETARG_POINTER(0);

	require_preloaded();
	return gathered && gathered->texts.len > 0 ? gathered : NULL;
}

static void
summarize_rows(void *argument)
{
	Gathered *gathered = argument;

	gathered->answer =
		summarize(cstring_to_text_with_len(gathered->texts.data, gathered->texts.len), SUMMARY_MAX_WORDS, NULL, 0);
}

static void
answer_about_rows(void *argument)
{
	Gathered *gathered = argument;
	Request options;
	char *instruction;

	memset(&options, 0, sizeof options);
	options.function = "qwen_chat_agg";
	options_default(&options);
	task_options(&options);
	instruction = text_to_cstring(gathered->instruction);
	gathered->answer = task_map_reduce(&options, cstring_to_text_with_len(gathered->texts.data, gathered->texts.len),
									   instruction, instruction, psprintf(PROMPT_COMBINE, instruction));
}

/* The answer about all rows, as body makes it; NULL without any, and where it fails by itself and may. */
static Datum
final_answer(FunctionCallInfo fcinfo, void (*body)(void *argument))
{
	Gathered *gathered = gathered_rows(fcinfo);

	if (!gathered || !value_or_null(body, gathered))
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
