/*
 * chat_template.c - the doors of the template interpreter: create, mention, render; see chat_template.h.
 *
 * A template is parsed once, into an arena of its own, and is read-only from then on. A rendering has an arena of its
 * own too, in which everything lives until the prompt is copied out of it. What variables a template gets is settled
 * here: messages, tools and documents (none when not given), add_generation_prompt, enable_thinking (where asked for),
 * bos_token and eos_token, as transformers sets them.
 */
#include "chat_template.h"

#include "../base/utf8.h"
#include "template/interpreter.h"
#include "template/json_input.h"

#include <stdlib.h>
#include <string.h>

const char chat_template_default[] = "{%- for message in messages %}"
									 "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
									 "{%- endfor %}"
									 "{%- if add_generation_prompt %}"
									 "{{- '<|im_start|>assistant\\n' }}"
									 "{%- endif %}";

/* A copy of the source with all line ends as \n and the last one left out, as Jinja reads templates. */
static char *
normalize_source(Workspace *work, const char *source, size_t length, size_t *n)
{
	char *copy = workspace_alloc(work, length + 1, 1);

	*n = 0;
	for (size_t i = 0; copy && i < length; i++)
	{
		if (source[i] == '\r' && i + 1 < length && source[i + 1] == '\n')
			continue;
		copy[(*n)++] = source[i] == '\r' ? '\n' : source[i];
	}
	if (copy && *n > 0 && copy[*n - 1] == '\n')
		--*n;
	return copy;
}

/* Check and parse a source into a template whose workspace is ready. */
static bool
build(ChatTemplate *chat_template, const char *source, size_t length)
{
	Workspace *work = &chat_template->work;
	char *copy;
	size_t n;

	if (length > TEMPLATE_MAX_SOURCE_BYTES)
		return workspace_fail(work, STATUS_TOO_LONG, "the chat template has %zu bytes, the limit is %zu", length,
							  TEMPLATE_MAX_SOURCE_BYTES);
	if (!utf8_is_valid(source, length) || (length && memchr(source, '\0', length)))
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "the chat template is not valid text");
	copy = normalize_source(work, source, length, &n);
	return copy && template_parse(chat_template, copy, n);
}

Status
chat_template_create(const char *source, size_t length, ChatTemplate **chat_template)
{
	ChatTemplate *created = calloc(1, sizeof *created);

	*chat_template = NULL;
	if (!created || !workspace_init(&created->work, TEMPLATE_MAX_PARSE_MEMORY, TEMPLATE_MAX_PARSE_DEPTH))
	{
		free(created);
		return status_error(STATUS_UNAVAILABLE, "out of memory");
	}
	if (!build(created, source, length))
	{
		Status status = created->work.status;

		chat_template_destroy(created);
		return status;
	}
	*chat_template = created;
	return status_ok();
}

void
chat_template_destroy(ChatTemplate *chat_template)
{
	if (!chat_template)
		return;
	workspace_free(&chat_template->work);
	free(chat_template);
}

bool
chat_template_mentions(const ChatTemplate *chat_template, const char *name)
{
	for (uint32_t i = 0; i < chat_template->n_names; i++)
		if (chat_template->is_asked[i] && text_is(chat_template->names[i], name))
			return true;
	return false;
}

/* A variable that is a text of the model's own, and so trusted. */
static bool
set_token(Interpreter *interpreter, Scope *scope, uint32_t name, const char *token)
{
	Text *text = text_from_bytes(interpreter->work, token ? token : "", token ? strlen(token) : 0, true);

	return text && scope_set(interpreter, scope, name, value_text(text));
}

/* The variables that a template starts with. */
static bool
set_variables(Interpreter *interpreter, Scope *scope, const ChatInput *input, json_t **roots)
{
	Workspace *work = interpreter->work;
	Value messages, tools = value_none();

	if (!input->messages.data)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages must be a JSON array");
	if (!read_messages(work, input->messages.data, input->messages.length,
					   interpreter->chat_template->asks_content_none, &roots[0], &messages))
		return false;
	if (input->tools.data && !read_tools(work, input->tools.data, input->tools.length, &roots[1], &tools))
		return false;
	if (input->enable_thinking >= 0 &&
		!scope_set(interpreter, scope, NAME_ENABLE_THINKING, value_bool(input->enable_thinking)))
		return false;
	return scope_set(interpreter, scope, NAME_MESSAGES, messages) && scope_set(interpreter, scope, NAME_TOOLS, tools) &&
		   scope_set(interpreter, scope, NAME_DOCUMENTS, value_none()) &&
		   scope_set(interpreter, scope, NAME_ADD_GENERATION_PROMPT, value_bool(input->add_generation_prompt)) &&
		   set_token(interpreter, scope, NAME_BOS_TOKEN, input->bos_token) &&
		   set_token(interpreter, scope, NAME_EOS_TOKEN, input->eos_token);
}

/* Copy what was rendered out of the arena. */
static bool
copy_prompt(Workspace *work, const TextBuilder *builder, ChatPrompt *prompt)
{
	prompt->text = malloc(builder->length + 1);
	prompt->trusted = malloc((builder->n_runs + 1) * sizeof *prompt->trusted);
	if (!prompt->text || !prompt->trusted)
	{
		chat_prompt_free(prompt);
		return workspace_fail(work, STATUS_UNAVAILABLE, "out of memory");
	}
	if (builder->length)
		memcpy(prompt->text, builder->bytes, builder->length);
	if (builder->n_runs)
		memcpy(prompt->trusted, builder->runs, builder->n_runs * sizeof *prompt->trusted);
	prompt->text[builder->length] = '\0';
	prompt->length = builder->length;
	prompt->n_trusted = builder->n_runs;
	return true;
}

Status
chat_template_render(const ChatTemplate *chat_template, const ChatInput *input, ChatPrompt *prompt)
{
	Workspace work;
	TextBuilder builder = {0};
	json_t *roots[2] = {NULL, NULL};
	Interpreter interpreter = {.work = &work, .chat_template = chat_template, .out = &builder, .now = input->now};
	Scope *scope;

	memset(prompt, 0, sizeof *prompt);
	if (!workspace_init(&work, TEMPLATE_MAX_RUN_MEMORY, TEMPLATE_MAX_RUN_DEPTH))
		return status_error(STATUS_UNAVAILABLE, "out of memory");
	scope = scope_create(&interpreter, NULL);
	if (scope && set_variables(&interpreter, scope, input, roots) && template_run(&interpreter, scope))
	{
		work.line = 0;
		copy_prompt(&work, &builder, prompt);
	}
	json_decref(roots[0]);
	json_decref(roots[1]);
	workspace_free(&work);
	return work.status;
}

bool
chat_prompt_opens_thinking(const ChatPrompt *prompt)
{
	static const char tag[] = "<think>";
	size_t length = strlen(tag), end = prompt->length;

	while (end > 0 && (prompt->text[end - 1] == '\n' || prompt->text[end - 1] == ' '))
		end--;
	if (end < length || memcmp(prompt->text + end - length, tag, length) != 0)
		return false;
	for (size_t i = prompt->n_trusted; i-- > 0;)
		if (prompt->trusted[i].start <= end - length)
			return prompt->trusted[i].start + prompt->trusted[i].length >= end;
	return false;
}

void
chat_prompt_free(ChatPrompt *prompt)
{
	free(prompt->text);
	free(prompt->trusted);
	memset(prompt, 0, sizeof *prompt);
}
