/*
 * prompt.c - see prompt.h.
 */
#include "prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../base/utf8.h"
#include "replies.h"

#define DEFAULT_MAX_TOKENS 512
#define MAX_PROMPT_TOKENS (1u << 28)

/*
 * Tokens of a prompt beyond which it is not even counted: so many contexts of the model. What is far too long is
 * refused quickly, and what is a little too long with the number.
 */
#define COUNTED_CONTEXTS 4

TokenBuffer
prompt_buffer(const Model *model)
{
	return (TokenBuffer){.limit = (size_t) model->hyper.context_length * COUNTED_CONTEXTS};
}

/* The text of a token id, "" for none, as a NUL-terminated copy in buffer. */
static const char *
token_text(const Model *model, int32_t token, char buffer[64])
{
	ByteSpan bytes = token >= 0 ? tokenizer_token_bytes(model->tokenizer, token) : (ByteSpan){"", 0};

	snprintf(buffer, 64, "%.*s", bytes.length ? (int) utf8_cut(bytes.data, bytes.length, 63) : 0,
			 bytes.length ? bytes.data : "");
	return buffer;
}

/* Thinking cannot be asked of a model that does not. */
static Status
check_thinking(const Model *model, const SamplingOptions *options)
{
	if ((options->given & OPTION_THINKING) && options->thinking && !model->can_think)
		return status_error(STATUS_INVALID_ARGUMENT, "thinking must not be true: model \"%s\" cannot think",
							model->name);
	return status_ok();
}

/*
 * A template that does not ask for tools leaves them out: the model would never see what it may call. Where no call
 * may come nobody misses them.
 */
static Status
check_tools_are_seen(const Model *model, const Request *message, ChatPrompt *prompt)
{
	if (prompt->n_tools == 0 || message->tool_choice == TOOL_CHOICE_NONE ||
		chat_template_mentions(model->chat_template, "tools"))
		return status_ok();
	chat_prompt_free(prompt);
	return status_error(STATUS_UNSUPPORTED,
						"tools cannot be given: the chat template of model \"%s\" writes none into the prompt; take a "
						"model whose template does (Qwen2.5 and later), or leave tools out",
						model->name);
}

Status
prompt_render(const Workplace *place, const Request *message, ChatPrompt *prompt)
{
	const Model *model = place->model;
	char bos[64], eos[64];
	const SamplingOptions *options = &message->options;
	ChatInput input = {
		.messages = message->messages,
		.tools = message->tools,
		.enable_thinking = options->given & OPTION_THINKING ? options->thinking : -1,
		.add_generation_prompt = true,
		.continues = true,
		.can_think = model->can_think,
		.bos_token = token_text(model, tokenizer_bos(model->tokenizer), bos),
		.eos_token = token_text(model, tokenizer_eos(model->tokenizer), eos),
		.now = (int64_t) time(NULL),
		.cancelled = place->cancelled,
	};

	STATUS_TRY(check_thinking(model, options));
	if (!model->chat_template)
		return status_prefix(model->chat_template_error, "the chat template of model \"%s\"", model->name);
	STATUS_TRY(chat_template_render(model->chat_template, &input, prompt));
	return check_tools_are_seen(model, message, prompt);
}

Status
prompt_close_thinking(const Workplace *place, TokenBuffer *tokens)
{
	static const char empty_thinking[] = "\n</think>\n\n";

	return tokenizer_encode(place->tokenizer, empty_thinking, strlen(empty_thinking), true, tokens);
}

Status
prompt_encode_chat(const Workplace *place, const Request *message, TokenBuffer *tokens, PromptEnd *end)
{
	ChatPrompt prompt = {0};
	Status status = prompt_render(place, message, &prompt);

	if (status.code != STATUS_OK)
		return status;
	status =
		tokenizer_encode_runs(place->tokenizer, prompt.text, prompt.length, prompt.trusted, prompt.n_trusted, tokens);
	end->in_thinking = prompt.is_thinking || chat_prompt_opens_thinking(&prompt);
	end->has_begun = prompt.has_begun;
	chat_prompt_free(&prompt);
	return status;
}

Status
prompt_encode_text(const Workplace *place, const Request *message, TokenBuffer *tokens)
{
	const Model *model = place->model;
	int32_t bos = tokenizer_bos(model->tokenizer);
	int32_t first = bos >= 0 ? bos : tokenizer_eos(model->tokenizer);
	bool parses_special = (message->flags & REQUEST_FLAG_PARSE_SPECIAL) != 0;

	STATUS_TRY(check_thinking(model, &message->options));
	if (first >= 0 && ((tokenizer_add_bos(model->tokenizer) && bos >= 0) || message->text.length == 0))
		STATUS_TRY(token_buffer_add(tokens, first));
	STATUS_TRY(tokenizer_encode(place->tokenizer, message->text.data, message->text.length, parses_special, tokens));
	if (tokens->n == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the prompt is empty");
	/* a rendered chat has it already */
	if (parses_special && bos >= 0 && tokens->n > 1 && tokens->tokens[0] == bos && tokens->tokens[1] == bos)
		memmove(tokens->tokens, tokens->tokens + 1, --tokens->n * sizeof *tokens->tokens);
	return status_ok();
}

/* One of the tokens around the parts of a text with a gap. */
static Status
append_mark(const Workplace *place, const char *mark, TokenBuffer *tokens)
{
	int32_t token = tokenizer_find(place->tokenizer, mark, strlen(mark));

	if (token < 0)
		return status_error(
			STATUS_UNSUPPORTED,
			"model \"%s\" was not made to fill gaps: its vocabulary has no token %s (the Coder models' has)",
			place->model->name, mark);
	return token_buffer_add(tokens, token);
}

Status
prompt_encode_gap(const Workplace *place, const Request *message, TokenBuffer *tokens)
{
	Tokenizer *tokenizer = place->tokenizer;

	STATUS_TRY(check_thinking(place->model, &message->options));
	STATUS_TRY(append_mark(place, "<|fim_prefix|>", tokens));
	STATUS_TRY(tokenizer_encode(tokenizer, message->text.data, message->text.length, false, tokens));
	STATUS_TRY(append_mark(place, "<|fim_suffix|>", tokens));
	STATUS_TRY(tokenizer_encode(tokenizer, message->suffix.data, message->suffix.length, false, tokens));
	return append_mark(place, "<|fim_middle|>", tokens);
}

Status
prompt_encode_embedding(const Workplace *place, const Request *message, TokenBuffer *tokens)
{
	const Model *model = place->model;
	static const char first[] = "Instruct: ", second[] = "\nQuery:";
	Tokenizer *tokenizer = place->tokenizer;
	int32_t end = tokenizer_find(tokenizer, "<|endoftext|>", 13);
	/* what Qwen's embedding models were trained to gather a text in, whatever the file calls its end */
	bool gathers = model->hyper.pooling == POOLING_LAST && end >= 0;
	ByteWriter text;
	Status status;

	if (message->dimensions > model->hyper.hidden)
		return status_error(STATUS_INVALID_ARGUMENT, "dimensions must be between 1 and %u, not %u", model->hyper.hidden,
							message->dimensions);
	byte_writer_init(&text);
	if (message->instruction.data)
	{
		write_raw(&text, first, strlen(first));
		write_raw(&text, message->instruction.data, message->instruction.length);
		write_raw(&text, second, strlen(second));
	}
	write_raw(&text, message->text.data, message->text.length);
	status = text.failed ? no_memory() : status_ok();
	if (status.code == STATUS_OK && tokenizer_add_bos(tokenizer) && tokenizer_bos(tokenizer) >= 0)
		status = token_buffer_add(tokens, tokenizer_bos(tokenizer));
	if (status.code == STATUS_OK)
		status = tokenizer_encode(tokenizer, text.data ? (char *) text.data : "", text.length, false, tokens);
	if (status.code == STATUS_OK && gathers)
		status = token_buffer_add(tokens, end);
	else if (status.code == STATUS_OK && tokenizer_add_eos(tokenizer) && tokenizer_eos(tokenizer) >= 0)
		status = token_buffer_add(tokens, tokenizer_eos(tokenizer));
	if (status.code == STATUS_OK && tokens->n == 0)
		status = status_error(STATUS_INVALID_ARGUMENT, "the input is empty");
	byte_writer_free(&text);
	return status;
}

Status
prompt_check(const Workplace *place, const TokenBuffer *tokens, const char *noun, Status status)
{
	if (tokens->is_over)
		return status_error(STATUS_TOO_LONG,
							"the %s has more than %zu tokens, but the context of model \"%s\" holds %u", noun,
							tokens->limit, place->model->name, place->model->hyper.context_length);
	if (status.code != STATUS_OK)
		return status;
	if (tokens->n > MAX_PROMPT_TOKENS)
		return status_error(STATUS_TOO_LONG, "the prompt has %zu tokens, at most %u are possible", tokens->n,
							MAX_PROMPT_TOKENS);
	if (tokens->n == 0)
		return status_error(STATUS_INVALID_ARGUMENT, "the prompt is empty");
	return status;
}

Status
prompt_check_context(const Workplace *place, const char *noun, uint32_t n_tokens, uint32_t n_behind, bool is_answered)
{
	uint32_t context = place->model->hyper.context_length;

	if ((uint64_t) n_tokens + n_behind <= context && !(is_answered && n_tokens == context))
		return status_ok();
	return status_error(STATUS_TOO_LONG, "the %s has %u tokens, but the context of model \"%s\" holds %u", noun,
						n_tokens + n_behind, place->model->name, context);
}

static Status
check_positions(uint64_t positions, uint32_t n_tokens, uint32_t n_behind)
{
	if (n_tokens + n_behind <= positions)
		return status_ok();
	return status_error(STATUS_TOO_LONG,
						REQUEST_NO_CACHE " %u tokens (prompt %u, answer %u), but the KV cache holds %llu; "
										 "qwen.kv_cache_size sets it",
						n_tokens + n_behind, n_tokens, n_behind, (unsigned long long) positions);
}

Status
prompt_check_cache(const Workplace *place, uint32_t n_tokens, uint32_t n_behind)
{
	return check_positions(prompt_cache_positions(place), n_tokens, n_behind);
}

Status
prompt_check_cache_with_copy(const Workplace *place, uint32_t n_tokens, uint32_t n_behind)
{
	const KvPool *states = kv_pool_states(place->pool);
	uint64_t bytes = kv_pool_max_blocks(place->pool) * kv_pool_block_bytes(place->pool);
	uint64_t copy = states && n_behind > 0 ? kv_pool_block_bytes(states) : 0;

	bytes = bytes > copy ? bytes - copy : 0;
	return check_positions(bytes / kv_pool_block_bytes(place->pool) * KV_BLOCK_POSITIONS, n_tokens, n_behind);
}

Status
prompt_count_shared(const Workplace *place, const Request *message, const int32_t *tokens, uint32_t n_tokens,
					uint32_t *n_shared)
{
	Request shared = *message;
	TokenBuffer its_tokens = {0};
	PromptEnd end;
	Status status;

	shared.messages = message->shared_messages;
	status = prompt_encode_chat(place, &shared, &its_tokens, &end);
	*n_shared = 0;
	while (status.code == STATUS_OK && *n_shared < its_tokens.n && *n_shared < n_tokens &&
		   its_tokens.tokens[*n_shared] == tokens[*n_shared])
		++*n_shared;
	token_buffer_free(&its_tokens);
	return status;
}

uint32_t
prompt_answer_tokens(const SamplingOptions *options)
{
	return options->max_tokens > 0 ? (uint32_t) options->max_tokens : DEFAULT_MAX_TOKENS;
}

uint64_t
prompt_cache_positions(const Workplace *place)
{
	return (uint64_t) kv_pool_max_blocks(place->pool) * KV_BLOCK_POSITIONS;
}
