/*
 * tasks.c - qwen_summarize and qwen_translate. The prompts stand in task_prompts.h.
 *
 * Tasks are greedy and without thinking unless told otherwise. A text that is longer than the context is summarised in
 * parts, and then the summaries are, as often as it takes.
 */
#include "functions.h"

#include "../core/texts.h"
#include "catalog/pg_type.h"
#include "map_reduce.h"
#include "registry.h"
#include "task_prompts.h"
#include "task_request.h"
#include "utils/builtins.h"

#define PART_MAX_WORDS 100
#define LONGEST_TASK 1000000 /* tokens, as the argument max_tokens */

static void
check_max_words(int max_words)
{
	if (max_words < 1 || max_words > SUMMARY_WORDS_LIMIT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_words must be between 1 and %d, not %d", SUMMARY_WORDS_LIMIT, max_words)));
}

/* Four tokens a word are enough in any language, and a summary is no longer than its text. */
static int
summary_max_tokens(text *input, int max_words)
{
	return (int) Min((int64) max_words * 4, (int64) VARSIZE_ANY_EXHDR(input));
}

static int
max_words_of(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(1) ? SUMMARY_MAX_WORDS : PG_GETARG_INT32(1);
}

/* The whole text in one request. */
static void
build_summarize(FunctionCallInfo fcinfo, ModelCall *call)
{
	int max_words = max_words_of(fcinfo);
	Request *request;

	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	check_max_words(max_words);
	request = model_call_ask(call);
	request->kind = REQUEST_CHAT;
	task_messages(request, psprintf(PROMPT_SUMMARIZE, max_words), PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 2, request);
	task_options(request);
	task_max_tokens(request, summary_max_tokens(PG_GETARG_TEXT_PP(0), max_words));
}

/* In parts, where it is too long for one. */
static void
summarize_in_parts(FunctionCallInfo fcinfo, ModelCall *call)
{
	text *input = PG_GETARG_TEXT_PP(0);
	int max_words = max_words_of(fcinfo);
	char *prompt = psprintf(PROMPT_SUMMARIZE, max_words);
	Request options;

	check_max_words(max_words);
	memset(&options, 0, sizeof options);
	options_read(fcinfo, 2, &options);
	task_options(&options);
	map_reduce_begin(call, &options, input, prompt, psprintf(PROMPT_SUMMARIZE_PART, PART_MAX_WORDS), prompt,
					 summary_max_tokens(input, max_words));
}

static void
build_translate(FunctionCallInfo fcinfo, ModelCall *call)
{
	Request *request;
	char *language;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return;
	require_text(PG_GETARG_TEXT_PP(1), "target_language");
	language = text_to_cstring(PG_GETARG_TEXT_PP(1));
	request = model_call_ask(call);
	request->kind = REQUEST_CHAT;
	task_messages(request, psprintf(PROMPT_TRANSLATE, language), PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 2, request);
	task_options(request);
	/* three tokens for four bytes are about three times what an English text has itself */
	task_max_tokens(request, (int) Min((int64) VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) * 3 / 4, LONGEST_TASK));
}

const ModelFunction summarize_function = {.symbol = "qwen_summarize",
										  .name = "summarize",
										  .build = build_summarize,
										  .next = map_reduce_next,
										  .too_long = summarize_in_parts,
										  .least = 1,
										  .most = 18,
										  .arguments = {{"input", TEXTOID}, {"max_words", INT4OID}},
										  .has_tail = true};
const ModelFunction translate_function = {.symbol = "qwen_translate",
										  .name = "translate",
										  .build = build_translate,
										  .least = 2,
										  .most = 18,
										  .arguments = {{"input", TEXTOID}, {"target_language", TEXTOID}},
										  .has_tail = true,
										  .fits_length = true};

/* A summary whose text is looked at for parts before it is sent. */
static const ModelFunction summary_function = {
	.symbol = "qwen_summarize", .build = summarize_in_parts, .next = map_reduce_next, .least = 2, .most = 18};

text *
summarize(text *input, int max_words, const NullableDatum *tail)
{
	LOCAL_FCINFO(call, 2 + N_TAIL_ARGUMENTS);
	Datum summary;

	InitFunctionCallInfoData(*call, NULL, tail ? 2 + N_TAIL_ARGUMENTS : 2, InvalidOid, NULL, NULL);
	call->args[0] = (NullableDatum){PointerGetDatum(input), false};
	call->args[1] = (NullableDatum){Int32GetDatum(max_words), false};
	if (tail)
		memcpy(&call->args[2], tail, sizeof *tail * N_TAIL_ARGUMENTS);
	summary = model_call_run(call, &summary_function);
	return call->isnull ? NULL : DatumGetTextPP(summary);
}

QWEN_MODEL_FUNCTION(qwen_summarize, summarize_function)

QWEN_MODEL_FUNCTION(qwen_translate, translate_function)
