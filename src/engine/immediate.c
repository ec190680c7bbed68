/*
 * immediate.c - see immediate.h.
 */
#include "immediate.h"

#include "../format/format.h"
#include "../model/chunker.h"
#include "prompt.h"
#include "replies.h"

_Static_assert(CHUNK_MIN_TOKENS == REQUEST_MIN_CHUNK_TOKENS, "clients know the smallest size of a chunk");

#define CANCEL_LOOK_TOKENS 4096 /* detokenized between two looks at whether anybody still wants them */

/* Tokens that are kept free for the words around a chunk when CHUNK itself chooses the size. */
#define CHUNK_PROMPT_TOKENS 192

static Status
reply_tokens(const TokenBuffer *tokens, uint32_t request_id, ByteWriter *out)
{
	RequestResult result = {
		.kind = RESULT_TOKENS,
		.count = (uint32_t) tokens->n,
		.values = (const unsigned char *) tokens->tokens,
	};

	return encode_result(out, request_id, &result);
}

static Status
reply_text(ByteSpan text, uint32_t request_id, ByteWriter *out)
{
	RequestResult result = {.kind = RESULT_TEXT, .text = {text.data ? text.data : "", text.length}};

	return encode_result(out, request_id, &result);
}

/* TOKENIZE and COUNT_TOKENS. */
static Status
answer_tokenize(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out)
{
	TokenBuffer tokens = {0};
	Status status = tokenizer_encode(place->tokenizer, message->text.data, message->text.length,
									 (message->flags & REQUEST_FLAG_PARSE_SPECIAL) != 0, &tokens);

	if (status.code == STATUS_OK && message->kind == REQUEST_TOKENIZE)
		status = reply_tokens(&tokens, request_id, out);
	else if (status.code == STATUS_OK)
		status = encode_result(out, request_id, &(RequestResult){.kind = RESULT_COUNT, .count = (uint32_t) tokens.n});
	token_buffer_free(&tokens);
	return status;
}

static Status
answer_detokenize(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out)
{
	const Model *model = place->model;
	uint32_t n_vocab = tokenizer_n_tokens(model->tokenizer);
	Detokenizer detokenizer = {{0}, 0};
	ByteWriter raw, text;
	Status status = status_ok();

	byte_writer_init(&raw);
	byte_writer_init(&text);
	for (uint32_t i = 0; i < message->n_tokens && status.code == STATUS_OK; i++)
	{
		int32_t token = protocol_token(message->tokens, i);

		if (i % CANCEL_LOOK_TOKENS == 0 && cancel_is_wanted(place->cancelled))
			status = status_error(STATUS_CANCELLED, "the request was cancelled");
		else if (token < 0 || (uint32_t) token >= n_vocab)
			status = status_error(STATUS_INVALID_ARGUMENT, "tokens[%u] must be between 0 and %u, not %d", i + 1,
								  n_vocab - 1, token);
		else
			detokenizer_push(&detokenizer, tokenizer_token_bytes(model->tokenizer, token), false, &raw);
	}
	detokenizer_push(&detokenizer, (ByteSpan){"", 0}, true, &raw);
	write_without_nul(&text, (char *) raw.data, raw.length);
	if (status.code == STATUS_OK && (raw.failed || text.failed))
		status = no_memory();
	if (status.code == STATUS_OK)
		status = reply_text((ByteSpan){(char *) text.data, text.length}, request_id, out);
	byte_writer_free(&raw);
	byte_writer_free(&text);
	return status;
}

static Status
answer_render(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out)
{
	ChatPrompt prompt = {0};
	Status status = prompt_render(place, message, &prompt);

	if (status.code == STATUS_OK)
		status = reply_text((ByteSpan){prompt.text, prompt.length}, request_id, out);
	chat_prompt_free(&prompt);
	return status;
}

static Status
answer_check_format(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out)
{
	ByteWriter found;
	Status status;

	byte_writer_init(&found);
	status = format_check(message->text, place->cancelled, &found);
	if (status.code == STATUS_OK)
		status = reply_text((ByteSpan){(char *) found.data, found.length}, request_id, out);
	byte_writer_free(&found);
	return status;
}

Status
immediate_answer(const Workplace *place, const Request *message, uint32_t request_id, ByteWriter *out)
{
	switch (message->kind)
	{
		case REQUEST_DETOKENIZE:
			return answer_detokenize(place, message, request_id, out);
		case REQUEST_CHECK_FORMAT:
			return answer_check_format(place, message, request_id, out);
		case REQUEST_RENDER_CHAT:
			return answer_render(place, message, request_id, out);
		default:
			return answer_tokenize(place, message, request_id, out);
	}
}

/* The size of chunks that the caller leaves to us: what the context and the KV cache hold beside prompt and answer. */
static uint32_t
default_chunk_tokens(const Workplace *place, const SamplingOptions *options)
{
	uint64_t positions = prompt_cache_positions(place);
	uint32_t context = place->model->hyper.context_length;
	uint32_t room = positions < context ? (uint32_t) positions : context;
	uint32_t answer = prompt_answer_tokens(options);

	room = room > 2 * CHUNK_PROMPT_TOKENS ? room - CHUNK_PROMPT_TOKENS : room / 2;
	room -= answer < room / 2 ? answer : room / 2;
	return room > CHUNK_MIN_TOKENS ? room : CHUNK_MIN_TOKENS;
}

Status
immediate_cut(const Workplace *place, const Request *message, ByteWriter *pieces, uint32_t *n_tokens)
{
	uint32_t max_tokens =
		message->chunk_tokens ? message->chunk_tokens : default_chunk_tokens(place, &message->options);
	uint64_t n;

	STATUS_TRY(chunk_text(place->tokenizer, message->text, max_tokens, message->chunk_overlap, pieces, &n));
	*n_tokens = n < UINT32_MAX ? (uint32_t) n : UINT32_MAX;
	return status_ok();
}
