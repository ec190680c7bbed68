/*
 * tasks.c - qwen_summarize, qwen_translate and what tasks share. The prompts stand in task_prompts.h.
 *
 * Tasks are greedy and without thinking unless told otherwise. A text that is longer than the context is summarised in
 * parts, and then the summaries are, as often as it takes.
 */
#include "tasks.h"

#include "../core/texts.h"
#include "../limits/limits.h"
#include "chat.h"
#include "functions.h"
#include "miscadmin.h"
#include "task_prompts.h"
#include "utils/builtins.h"

#define WHOLE_BYTES 256 /* a text no longer than this fits in any context */
#define PART_MAX_WORDS 100
#define LONGEST_TASK 1000000 /* tokens, as the argument max_tokens */

/* The words of a prompt that are ours and everybody's: its beginning, up to what the caller filled in. */
static int
builtin_length(const char *prompt)
{
	static const char *const builtin[] = {PROMPT_SUMMARIZE, PROMPT_SUMMARIZE_PART, PROMPT_TRANSLATE,
										  PROMPT_CLASSIFY,  PROMPT_FILTER,         PROMPT_COMBINE};

	for (int i = 0; i < (int) lengthof(builtin); i++)
	{
		int length = strcspn(builtin[i], "%");

		if (strncmp(prompt, builtin[i], length) == 0)
			return length;
	}
	return 0;
}

void
task_messages(Request *request, const char *prompt, text *input)
{
	StringInfoData content;
	int n_builtin = builtin_length(prompt);

	initStringInfo(&content);
	appendStringInfo(&content, "%s\n\n", prompt);
	appendBinaryStringInfo(&content, VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input));
	request->messages = messages_from_texts(cstring_to_text_with_len(content.data, content.len), NULL);
	if (n_builtin > 0)
		request->shared_messages = messages_from_texts(cstring_to_text_with_len(prompt, n_builtin), NULL);
}

void
task_max_tokens(Request *request, int wanted)
{
	if (!(request->options.given & OPTION_MAX_TOKENS))
		request->options.max_tokens = Max(request->options.max_tokens, limits_roomy_max_tokens(wanted));
}

void
task_options(Request *request)
{
	if (!(request->options.given & OPTION_TEMPERATURE))
		request->options.temperature = 0;
	if (!(request->options.given & OPTION_THINKING))
		request->options.thinking = false;
	request->options.given |= OPTION_TEMPERATURE | OPTION_THINKING;
}

/* Start a request of which DONE is wanted, as one of several. */
static EngineCall *
start_call(const Request *options, const char *prompt, text *input)
{
	Request request = *options;

	request.kind = REQUEST_CHAT;
	task_messages(&request, prompt, input);
	return engine_submit(&request, CurrentMemoryContext);
}

/* Say GO once the engine has looked at it. */
static void
accept_call(EngineCall *call)
{
	EngineReply reply;

	engine_next(call, &reply, false);
	if (reply.type != FRAME_ACCEPTED)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine did not accept the request")));
	engine_go(call);
}

/* Was an answer of the task that runs cut off? A task counts as one answer, in how many parts it may have been made. */
static bool was_cut;

/* The answer of a call that has its GO. */
static text *
finish_call(EngineCall *call)
{
	EngineReply reply;
	text *answer;

	engine_next(call, &reply, false);
	if (reply.type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	answer = text_from_span(reply.done.content);
	was_cut |= reply.done.finish_reason == FINISH_LENGTH;
	engine_end(call);
	return answer;
}

/* The answer to a prompt over an input. options: a request with model and options alone. */
static text *
task_run(const Request *options, const char *prompt, text *input)
{
	EngineCall *call = start_call(options, prompt, input);

	accept_call(call);
	return finish_call(call);
}

List *
chunk_text(text *input, const Request *options, uint32 max_tokens, uint32 overlap)
{
	Request request = *options;
	EngineReply reply;
	EngineCall *call;
	List *chunks = NIL;

	request.kind = REQUEST_CHUNK;
	request.text = span_from_text(input);
	request.chunk_tokens = max_tokens;
	request.chunk_overlap = overlap;
	call = engine_run(&request, &reply);
	if (reply.type != FRAME_RESULT || reply.result.kind != RESULT_OFFSETS)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no chunks")));
	for (uint32 i = 0; i < reply.result.count; i++)
	{
		uint32 start = protocol_token(reply.result.values, 2 * i);
		uint32 length = protocol_token(reply.result.values, 2 * i + 1);

		if (start > request.text.length || length > request.text.length - start)
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave malformed chunks")));
		chunks = lappend(chunks, text_from_span((ByteSpan){request.text.data + start, length}));
	}
	engine_end(call);
	return chunks;
}

/* One prompt over each of some texts, all of them at once; the answers one after the other. */
static text *
run_parts(const Request *options, const char *prompt, List *parts)
{
	EngineCall **calls = palloc(sizeof *calls * list_length(parts));
	StringInfoData joined;
	int n_calls = 0;
	ListCell *cell;

	foreach (cell, parts)
		calls[n_calls++] = start_call(options, prompt, lfirst(cell));
	for (int i = 0; i < n_calls; i++)
		accept_call(calls[i]);
	initStringInfo(&joined);
	for (int i = 0; i < n_calls; i++)
	{
		text *answer = finish_call(calls[i]);

		if (i > 0)
			appendStringInfoString(&joined, "\n\n");
		appendBinaryStringInfo(&joined, VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
	}
	return cstring_to_text_with_len(joined.data, joined.len);
}

/* As run_parts, with not more than so many at once. */
#define PARTS_AT_ONCE 32

static text *
run_all_parts(const Request *options, const char *prompt, List *parts)
{
	List *answers = NIL, *some = NIL;
	StringInfoData joined;
	ListCell *cell;

	foreach (cell, parts)
	{
		some = lappend(some, lfirst(cell));
		if (list_length(some) == PARTS_AT_ONCE || lnext(parts, cell) == NULL)
		{
			answers = lappend(answers, run_parts(options, prompt, some));
			some = NIL;
		}
	}
	initStringInfo(&joined);
	foreach (cell, answers)
	{
		text *answer = lfirst(cell);

		if (joined.len > 0)
			appendStringInfoString(&joined, "\n\n");
		appendBinaryStringInfo(&joined, VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
	}
	return cstring_to_text_with_len(joined.data, joined.len);
}

text *
task_map_reduce(const Request *options, text *input, const char *whole_prompt, const char *part_prompt,
				const char *combine_prompt, int max_tokens)
{
	const char *prompt = whole_prompt;
	Request whole = *options;
	text *answer;

	was_cut = false;
	if (max_tokens > 0)
		task_max_tokens(&whole, max_tokens);
	while (VARSIZE_ANY_EXHDR(input) > WHOLE_BYTES)
	{
		List *parts = chunk_text(input, options, 0, 0);
		text *shorter;

		CHECK_FOR_INTERRUPTS();
		if (list_length(parts) < 2)
			break;
		shorter = run_all_parts(options, part_prompt, parts);
		if (VARSIZE_ANY_EXHDR(shorter) >= VARSIZE_ANY_EXHDR(input))
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the text is longer than the model's context, and its parts' answers are no shorter"),
					 errhint("Lower max_tokens, so that the answers about the parts are shorter.")));
		input = shorter;
		prompt = combine_prompt;
	}
	answer = task_run(&whole, prompt, input);
	if (was_cut)
		count_cut(VARSIZE_ANY_EXHDR(answer) == 0);
	return answer;
}

void
summary_messages(Request *request, text *input, int max_words)
{
	task_messages(request, psprintf(PROMPT_SUMMARIZE, max_words), input);
}

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

text *
summarize_with(const Request *options, text *input, int max_words)
{
	char *prompt = psprintf(PROMPT_SUMMARIZE, max_words);

	return task_map_reduce(options, input, prompt, psprintf(PROMPT_SUMMARIZE_PART, PART_MAX_WORDS), prompt,
						   summary_max_tokens(input, max_words));
}

text *
summarize(text *input, int max_words, FunctionCallInfo fcinfo, int first)
{
	Request options;

	check_max_words(max_words);
	memset(&options, 0, sizeof options);
	options.function = "qwen_summarize";
	if (fcinfo)
		options_read(fcinfo, first, &options);
	else
		options_default(&options);
	task_options(&options);
	return summarize_with(&options, input, max_words);
}

static int
max_words_of(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(1) ? SUMMARY_MAX_WORDS : PG_GETARG_INT32(1);
}

/* The whole text in one request. */
static int
build_summarize(FunctionCallInfo fcinfo, Request *requests)
{
	if (PG_ARGISNULL(0) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return 0;
	check_max_words(max_words_of(fcinfo));
	requests->kind = REQUEST_CHAT;
	summary_messages(requests, PG_GETARG_TEXT_PP(0), max_words_of(fcinfo));
	options_read(fcinfo, 2, requests);
	task_options(requests);
	task_max_tokens(requests, summary_max_tokens(PG_GETARG_TEXT_PP(0), max_words_of(fcinfo)));
	return 1;
}

/* In parts. */
static Datum
summarize_long(FunctionCallInfo fcinfo)
{
	return PointerGetDatum(summarize(PG_GETARG_TEXT_PP(0), max_words_of(fcinfo), fcinfo, 2));
}

static int
build_translate(FunctionCallInfo fcinfo, Request *requests)
{
	char *language;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || text_is_blank(PG_GETARG_TEXT_PP(0)))
		return 0;
	require_text(PG_GETARG_TEXT_PP(1), "target_language");
	language = text_to_cstring(PG_GETARG_TEXT_PP(1));
	requests->kind = REQUEST_CHAT;
	task_messages(requests, psprintf(PROMPT_TRANSLATE, language), PG_GETARG_TEXT_PP(0));
	options_read(fcinfo, 2, requests);
	task_options(requests);
	/* three tokens for four bytes are about three times what an English text has itself */
	task_max_tokens(requests, (int) Min((int64) VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) * 3 / 4, LONGEST_TASK));
	return 1;
}

const ModelFunction summarize_function = {"qwen_summarize", build_summarize, finish_answer, summarize_long, 1, 18};
const ModelFunction translate_function = {"qwen_translate", build_translate, finish_answer, NULL, 2, 18};

QWEN_MODEL_FUNCTION(qwen_summarize, summarize_function)

QWEN_MODEL_FUNCTION(qwen_translate, translate_function)
