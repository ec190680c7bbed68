/*
 * render_stdin.c - prompts of many conversations, for check_jinja.py to compare with Jinja's.
 *
 * render_stdin NOW < REQUESTS > PROMPTS
 *
 * REQUESTS has a JSON object a line: "template" (its text), "messages" and "tools" (JSON as text; tools may be absent),
 * "add_generation_prompt", and "enable_thinking" where it is to be defined. PROMPTS has a line for each: the prompt as
 * a JSON string, or {"error": …, "unsupported": whether the template has something that the interpreter says it does
 * not know}. NOW is the time that strftime_now tells, in seconds since 1970.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../src/template/chat_template.h"

static ByteSpan
text_member(json_t *request, const char *name)
{
	json_t *text = json_object_get(request, name);

	return (ByteSpan){json_string_value(text), json_string_length(text)};
}

/* The prompt as a JSON string, or an object with the error. */
static json_t *
answer(json_t *request, int64_t now)
{
	ByteSpan source = text_member(request, "template");
	json_t *thinking = json_object_get(request, "enable_thinking");
	ChatInput input = {
		.messages = text_member(request, "messages"),
		.tools = text_member(request, "tools"),
		.enable_thinking = thinking ? json_is_true(thinking) : -1,
		.add_generation_prompt = json_is_true(json_object_get(request, "add_generation_prompt")),
		.bos_token = "<|bos|>",
		.eos_token = "<|im_end|>",
		.now = now,
	};
	ChatTemplate *chat_template = NULL;
	ChatPrompt prompt = {0};
	Status status = chat_template_create(source.data, source.length, &chat_template);
	json_t *result;

	if (status_is_ok(&status))
		status = chat_template_render(chat_template, &input, &prompt);
	result = status_is_ok(&status)
				 ? json_stringn(prompt.text, prompt.length)
				 : json_pack("{s:s, s:b}", "error", status.message, "unsupported", status.code == STATUS_UNSUPPORTED);
	chat_prompt_free(&prompt);
	chat_template_destroy(chat_template);
	return result;
}

int
main(int argc, char **argv)
{
	char *line = NULL;
	size_t capacity = 0;

	if (argc != 2)
	{
		fprintf(stderr, "usage: render_stdin NOW < REQUESTS > PROMPTS\n");
		return 1;
	}
	while (getline(&line, &capacity, stdin) > 0)
	{
		json_t *request = json_loads(line, 0, NULL);
		json_t *result = request ? answer(request, atoll(argv[1])) : NULL;

		if (!result || json_dumpf(result, stdout, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) != 0)
		{
			fprintf(stderr, "render_stdin: a request that is no JSON object, or a prompt that is no text\n");
			return 1;
		}
		putchar('\n');
		json_decref(result);
		json_decref(request);
	}
	free(line);
	return 0;
}
