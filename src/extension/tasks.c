/*
 * tasks.c - tasks over chat, each with its prompt in one visible place. Greedy and without thinking unless told
 * otherwise.
 */
#include "qwen_pg.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(qwen_summarize);

/* What the model is asked; the text follows. */
static const char summarize_prompt[] = "Summarize the following text in one short sentence of at most %d words.\n\n";

text *
summarize(text *input, int max_words, FunctionCallInfo fcinfo, int first)
{
	StringInfoData prompt;
	Request request;
	EngineReply reply;
	EngineCall *call;
	text *answer;

	if (max_words < 1 || max_words > SUMMARY_WORDS_LIMIT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("max_words must be between 1 and %d, not %d", SUMMARY_WORDS_LIMIT, max_words)));
	memset(&request, 0, sizeof request);
	request.kind = REQUEST_CHAT;
	initStringInfo(&prompt);
	appendStringInfo(&prompt, summarize_prompt, max_words);
	appendStringInfoString(&prompt, text_to_cstring(input));
	request.messages = messages_from_texts(cstring_to_text_with_len(prompt.data, prompt.len), NULL);
	if (fcinfo)
		options_read(fcinfo, first, &request);
	else
	{
		options_set_model(&request, NULL, qwen_default_model);
		request.options.given = OPTION_MAX_TOKENS;
		request.options.max_tokens = qwen_max_tokens;
	}
	if (!(request.options.given & OPTION_TEMPERATURE))
		request.options.temperature = 0;
	if (!(request.options.given & OPTION_THINKING))
		request.options.thinking = false;
	request.options.given |= OPTION_TEMPERATURE | OPTION_THINKING;
	call = engine_run(&request, &reply);
	if (reply.type != FRAME_DONE)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("the qwen engine gave no answer")));
	answer = text_from_span(reply.done.content);
	engine_end(call);
	return answer;
}

Datum
qwen_summarize(PG_FUNCTION_ARGS)
{
	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(
		summarize(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? SUMMARY_MAX_WORDS : PG_GETARG_INT32(1), fcinfo, 2));
}
