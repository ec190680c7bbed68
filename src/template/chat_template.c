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
#include "interpreter.h"
#include "json_input.h"

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
	chat_template->takes_reasoning = length && memmem(source, length, "reasoning_content", 17);
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

/* What a rendering was asked for, once messages are read. */
typedef struct Wish
{
	Value messages, tools;
	BegunAnswer begun;
	int enable_thinking;
	bool add_generation_prompt;
} Wish;

/* Read messages and tools. */
static bool
read_input(Interpreter *interpreter, const ChatInput *input, Wish *wish)
{
	Workspace *work = interpreter->work;
	const MessageRules rules = {
		.keep_none = interpreter->chat_template->asks_content_none,
		.takes_reasoning = interpreter->chat_template->takes_reasoning,
		.splits_last = input->continues && input->add_generation_prompt,
		.can_think = input->can_think,
	};

	wish->tools = value_none();
	wish->enable_thinking = input->enable_thinking;
	wish->add_generation_prompt = input->add_generation_prompt;
	if (!input->messages.data)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT, "messages must be a JSON array");
	return read_messages(work, input->messages.data, input->messages.length, &rules, &wish->messages, &wish->begun) &&
		   (!input->tools.data || read_tools(work, input->tools.data, input->tools.length, &wish->tools));
}

/*
 * What the template is to be asked for an answer that has begun: the prompt of a new answer, behind which the begun one
 * is put, as llama.cpp does. One whose content has begun has thought already, or does not think.
 */
static bool
wish_for_begun(Workspace *work, const ChatInput *input, Wish *wish)
{
	BegunAnswer *begun = &wish->begun;

	if (input->can_think && (begun->thinking || begun->is_closed))
		wish->enable_thinking = begun->thinking != NULL;
	if (wish->messages.as.list->n > 0)
		return true;
	/* with nothing before it: the template writes it, and what it writes behind it is cut off */
	if (begun->thinking || begun->content->length == 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "messages must not consist of an answer without content alone");
	wish->messages.as.list->n++;
	wish->add_generation_prompt = false;
	return true;
}

/* The variables that a template starts with. */
static bool
set_variables(Interpreter *interpreter, Scope *scope, const ChatInput *input, const Wish *wish)
{
	if (wish->enable_thinking >= 0 &&
		!scope_set(interpreter, scope, NAME_ENABLE_THINKING, value_bool(wish->enable_thinking)))
		return false;
	return scope_set(interpreter, scope, NAME_MESSAGES, wish->messages) &&
		   scope_set(interpreter, scope, NAME_TOOLS, wish->tools) &&
		   scope_set(interpreter, scope, NAME_DOCUMENTS, value_none()) &&
		   scope_set(interpreter, scope, NAME_ADD_GENERATION_PROMPT, value_bool(wish->add_generation_prompt)) &&
		   set_token(interpreter, scope, NAME_BOS_TOKEN, input->bos_token) &&
		   set_token(interpreter, scope, NAME_EOS_TOKEN, input->eos_token);
}

/* Does what is written end, white space apart, with a <think> of the template's? */
static bool
opens_thinking(const char *text, size_t length, const TextRun *trusted, size_t n_trusted)
{
	static const char tag[] = "<think>";
	size_t tag_bytes = strlen(tag), end = length;

	while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == ' '))
		end--;
	if (end < tag_bytes || memcmp(text + end - tag_bytes, tag, tag_bytes) != 0)
		return false;
	for (size_t i = n_trusted; i-- > 0;)
		if (trusted[i].start <= end - tag_bytes)
			return trusted[i].start + trusted[i].length >= end;
	return false;
}

/* Cut off what the template wrote behind the content of the last message. */
static bool
cut_behind(Workspace *work, TextBuilder *builder, const Text *content)
{
	size_t start = builder->n_runs ? builder->runs[builder->n_runs - 1].start : 0, end = content->length;

	while (end > 0 && start > 0 && (content->bytes[end - 1] == '\n' || content->bytes[end - 1] == ' ') &&
		   builder->bytes[start - 1] != content->bytes[end - 1])
		end--; /* the template leaves out white space at the end */
	if (end > start || memcmp(builder->bytes + start - end, content->bytes, end) != 0)
		return workspace_fail(work, STATUS_INVALID_ARGUMENT,
							  "the chat template does not write an answer that begins the conversation as it is");
	builder->n_runs--;
	builder->length = start;
	return builder_add(work, builder, content->bytes + end, content->length - end, false);
}

static bool
add_own(Workspace *work, TextBuilder *builder, const char *text)
{
	return builder_add(work, builder, text, strlen(text), true);
}

/* A flat text without line ends at its begin and, where told, at its end. */
static bool
add_stripped(Workspace *work, TextBuilder *builder, const Text *text, bool at_end)
{
	size_t start = 0, end = text->length;

	while (start < end && text->bytes[start] == '\n')
		start++;
	while (at_end && end > start && text->bytes[end - 1] == '\n')
		end--;
	return builder_add(work, builder, text->bytes + start, end - start, false);
}

/* Put the answer that has begun behind the prompt. The tags are ours, what stands between them is the caller's. */
static bool
add_begun(Workspace *work, TextBuilder *builder, const Wish *wish, ChatPrompt *prompt)
{
	const BegunAnswer *begun = &wish->begun;
	bool is_open = opens_thinking(builder->bytes, builder->length, builder->runs, builder->n_runs);

	if (!wish->add_generation_prompt)
	{
		prompt->has_begun = true;
		return cut_behind(work, builder, begun->content);
	}
	if (!begun->thinking && begun->content->length == 0)
		return true;
	prompt->has_begun = true;
	prompt->is_thinking = begun->thinking && !begun->is_closed;
	if (begun->thinking)
		return (is_open || add_own(work, builder, "<think>\n")) &&
			   add_stripped(work, builder, begun->thinking, begun->is_closed) &&
			   (!begun->is_closed ||
				(add_own(work, builder, "\n</think>\n\n") && add_stripped(work, builder, begun->content, false)));
	return (!is_open || add_own(work, builder, "\n</think>\n\n")) && builder_add_text(work, builder, begun->content);
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
	Interpreter interpreter = {.work = &work, .chat_template = chat_template, .out = &builder, .now = input->now};
	Wish wish;
	Scope *scope;

	memset(prompt, 0, sizeof *prompt);
	if (!workspace_init(&work, TEMPLATE_MAX_RUN_MEMORY, TEMPLATE_MAX_RUN_DEPTH))
		return status_error(STATUS_UNAVAILABLE, "out of memory");
	work.cancelled = input->cancelled;
	arena_set_cancel(work.arena, input->cancelled);
	scope = scope_create(&interpreter, NULL);
	if (scope && read_input(&interpreter, input, &wish) && (!wish.begun.given || wish_for_begun(&work, input, &wish)) &&
		set_variables(&interpreter, scope, input, &wish) && template_run(&interpreter, scope))
	{
		work.line = 0;
		prompt->n_tools = wish.tools.kind == VALUE_LIST ? wish.tools.as.list->n : 0;
		if (!wish.begun.given || add_begun(&work, &builder, &wish, prompt))
			copy_prompt(&work, &builder, prompt);
	}
	workspace_free(&work);
	return work.status;
}

bool
chat_prompt_opens_thinking(const ChatPrompt *prompt)
{
	return opens_thinking(prompt->text, prompt->length, prompt->trusted, prompt->n_trusted);
}

void
chat_prompt_free(ChatPrompt *prompt)
{
	free(prompt->text);
	free(prompt->trusted);
	memset(prompt, 0, sizeof *prompt);
}
