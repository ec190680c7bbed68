/*
 * task_request.c - the requests of tasks; see task_request.h. The prompts stand in task_prompts.h.
 */
#include "task_request.h"

#include "../core/texts.h"
#include "../limits/limits.h"
#include "chat.h"
#include "task_prompts.h"
#include "utils/builtins.h"

/* The words of a prompt that are ours and everybody's: its beginning, up to what the caller filled in. */
static int
builtin_length(const char *prompt)
{
	static const char *const builtin[] = {PROMPT_SUMMARIZE, PROMPT_SUMMARIZE_PART, PROMPT_TRANSLATE, PROMPT_CLASSIFY,
										  PROMPT_FILTER,    PROMPT_COMBINE,        PROMPT_SENTIMENT, PROMPT_EXTRACT,
										  PROMPT_SCORE,     PROMPT_LABEL_TEXT,     PROMPT_MARK,      PROMPT_MODERATE};

	for (int i = 0; i < (int) lengthof(builtin); i++)
	{
		int length = strcspn(builtin[i], "%");

		if (strncmp(prompt, builtin[i], length) == 0)
			return length;
	}
	return 0;
}

/* A prompt, an empty line and the input. */
static text *
question(const char *prompt, text *input)
{
	StringInfoData content;

	initStringInfo(&content);
	appendStringInfo(&content, "%s\n\n", prompt);
	appendBinaryStringInfo(&content, VARDATA_ANY(input), VARSIZE_ANY_EXHDR(input));
	return cstring_to_text_with_len(content.data, content.len);
}

void
task_messages(Request *request, const char *prompt, text *input)
{
	task_messages_after(request, prompt, NULL, 0, input);
}

void
task_messages_after(Request *request, const char *prompt, const Example *examples, int n_examples, text *input)
{
	StringInfoData json;
	int n_builtin = builtin_length(prompt);

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < n_examples; i++)
	{
		append_message(&json, "user", question(prompt, examples[i].input));
		append_message(&json, "assistant", examples[i].answer);
	}
	append_message(&json, "user", question(prompt, input));
	appendStringInfoChar(&json, ']');
	request->messages = span_from_cstring(json.data);
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
