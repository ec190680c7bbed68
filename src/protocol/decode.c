/*
 * decode.c - reading frames from bytes that cannot be trusted. Every body must be used up exactly.
 *
 * The layouts mirror encode.c. Text members must be valid UTF-8 without NUL; sizes are bounded by the frame itself.
 */
#include <string.h>

#include "../base/utf8.h"
#include "protocol_private.h"

/* The members that the text of each request kind stands in. */
static bool
request_kind_is_known(uint8_t kind)
{
	return kind >= REQUEST_CHAT && kind <= REQUEST_CHECK_FORMAT;
}

bool
request_kind_is_immediate(uint8_t kind)
{
	return kind == REQUEST_TOKENIZE || kind == REQUEST_DETOKENIZE || kind == REQUEST_COUNT_TOKENS ||
		   kind == REQUEST_RENDER_CHAT || kind == REQUEST_CHECK_FORMAT;
}

uint32_t
result_value_bytes(uint8_t kind)
{
	switch (kind)
	{
		case RESULT_TOKENS:
		case RESULT_FLOATS:
			return 4;
		case RESULT_OFFSETS:
			return 8;
		case RESULT_LOGPROBS:
			return 16;
		default:
			return 0;
	}
}

/* A value of 4 bytes at an address of any alignment. */
static uint32_t
value_at(const unsigned char *values, uint32_t i)
{
	const unsigned char *bytes = values + (size_t) i * 4;

	return (uint32_t) bytes[0] | (uint32_t) bytes[1] << 8 | (uint32_t) bytes[2] << 16 | (uint32_t) bytes[3] << 24;
}

int32_t
protocol_token(const unsigned char *values, uint32_t i)
{
	return (int32_t) value_at(values, i);
}

float
protocol_float(const unsigned char *values, uint32_t i)
{
	uint32_t bits = value_at(values, i);
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

Status
decode_header(const unsigned char *bytes, bool from_client, FrameHeader *header)
{
	ByteReader reader;
	bool known;

	byte_reader_init(&reader, bytes, PROTOCOL_HEADER_BYTES);
	header->body_bytes = read_u32(&reader);
	header->request_id = read_u32(&reader);
	header->type = read_u16(&reader);
	header->version = read_u16(&reader);
	header->zero = read_u32(&reader);
	if (header->version != PROTOCOL_VERSION)
		return status_error(
			STATUS_INVALID_ARGUMENT,
			"protocol version %u, expected %u: library and engine are of two versions, restart the server",
			header->version, PROTOCOL_VERSION);
	if (header->zero != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "frame header is not followed by zeros");
	known = from_client ? header->type >= FRAME_REQUEST && header->type <= FRAME_CANCEL
						: header->type >= FRAME_ACCEPTED && header->type <= FRAME_ERROR;
	if (!known)
		return status_error(STATUS_INVALID_ARGUMENT, "unknown frame type %u", header->type);
	if (header->body_bytes > PROTOCOL_MAX_BODY_BYTES)
		return status_error(STATUS_INVALID_ARGUMENT, "frame body of %u bytes, at most %u are allowed",
							header->body_bytes, PROTOCOL_MAX_BODY_BYTES);
	if ((header->type == FRAME_GO && header->body_bytes != 0 && header->body_bytes != GO_METER_BYTES) ||
		(header->type == FRAME_CANCEL && header->body_bytes != 0))
		return status_error(STATUS_INVALID_ARGUMENT, "frame type %u has a body of %u bytes", header->type,
							header->body_bytes);
	return status_ok();
}

/* A span of bytes that are to be text (request_check_texts, or read_text). */
static ByteSpan
read_span(ByteReader *reader)
{
	ByteSpan span = {NULL, 0};
	uint32_t length = read_u32(reader);

	if (length == NOT_GIVEN_LENGTH || reader->failed)
		return span;
	span.data = read_raw(reader, length);
	span.length = span.data ? length : 0;
	return span;
}

/* Is it text that SQL can hold, or not given? */
static bool
is_text(ByteSpan span)
{
	return !span.data || (!memchr(span.data, 0, span.length) && utf8_is_valid(span.data, span.length));
}

/* A span of valid text; fails the reader when it is not. */
static ByteSpan
read_text(ByteReader *reader)
{
	ByteSpan span = read_span(reader);

	if (!is_text(span))
		reader->failed = true;
	return span;
}

/* ok when the body was read to its end without a failure. */
static Status
finish_body(const ByteReader *reader, const char *what)
{
	if (reader->failed)
		return status_error(STATUS_INVALID_ARGUMENT, "malformed %s at byte %zu of %zu", what, reader->offset,
							reader->length);
	if (byte_reader_left(reader) != 0)
		return status_error(STATUS_INVALID_ARGUMENT, "%zu bytes left over after %s", byte_reader_left(reader), what);
	return status_ok();
}

Status
decode_go(const unsigned char *body, size_t length, uint32_t *meter)
{
	ByteReader reader;

	*meter = PROTOCOL_NO_METER;
	if (length == 0)
		return status_ok();
	byte_reader_init(&reader, body, length);
	*meter = read_u32(&reader);
	return finish_body(&reader, "GO");
}

static void
read_options(ByteReader *reader, SamplingOptions *options)
{
	uint8_t thinking;

	options->given = read_u32(reader);
	options->max_tokens = (int32_t) read_u32(reader);
	options->temperature = read_f64(reader);
	options->top_p = read_f64(reader);
	options->min_p = read_f64(reader);
	options->top_k = (int32_t) read_u32(reader);
	options->repetition_penalty = read_f64(reader);
	options->presence_penalty = read_f64(reader);
	options->frequency_penalty = read_f64(reader);
	options->seed = (int64_t) read_u64(reader);
	thinking = read_u8(reader);
	options->thinking = thinking != 0;
	options->thinking_budget = (int32_t) read_u32(reader);
	options->adapter_scale = read_f64(reader);
	if (thinking > 1 || (options->given & ~OPTIONS_KNOWN))
		reader->failed = true;
}

/* Which texts a kind must and may have; a request with others is malformed. */
static Status
check_members(const Request *request)
{
	bool score = request->kind == REQUEST_SCORE, rerank = request->kind == REQUEST_RERANK;
	bool chat = request->kind == REQUEST_CHAT || request->kind == REQUEST_RENDER_CHAT || score;
	bool wants_text = !chat && request->kind != REQUEST_DETOKENIZE;

	if (chat != (request->messages.data != NULL))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with%s messages", request->kind,
							chat ? "out" : "");
	if (wants_text != (request->text.data != NULL))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with%s text", request->kind,
							wants_text ? "out" : "");
	if (request->prefix_sharing > PREFIX_SHARED)
		return status_error(STATUS_INVALID_ARGUMENT, "unknown sharing of prefixes %u", request->prefix_sharing);
	if (!chat && request->shared_messages.data)
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with shared messages", request->kind);
	if (!chat && request->tools.data)
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with tools", request->kind);
	if (request->tool_choice > TOOL_CHOICE_NAMED || (request->tool_choice && !request->tools.data) ||
		(request->tool_choice == TOOL_CHOICE_NAMED) != (request->tool_name.length > 0))
		return status_error(STATUS_INVALID_ARGUMENT, "a request's choice of tools makes no sense");
	if (request->format.data && request->kind != REQUEST_CHAT && request->kind != REQUEST_GENERATE)
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with a format", request->kind);
	if (score != (request->candidates.data != NULL))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with%s candidates", request->kind,
							score ? "out" : "");
	if (rerank != (request->query.data != NULL))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with%s query", request->kind,
							rerank ? "out" : "");
	if (request->kind != REQUEST_GENERATE && request->suffix.data)
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with a suffix", request->kind);
	if (request->kind != REQUEST_CHUNK && (request->chunk_tokens || request->chunk_overlap))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with sizes of chunks", request->kind);
	if ((request->flags & REQUEST_LOGPROBS_MASK) &&
		((request->kind != REQUEST_CHAT && request->kind != REQUEST_GENERATE) ||
		 REQUEST_N_LOGPROBS(request->flags) > REQUEST_MAX_LOGPROBS))
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with log-probabilities", request->kind);
	if (request->kind != REQUEST_DETOKENIZE && request->n_tokens)
		return status_error(STATUS_INVALID_ARGUMENT, "request kind %u with tokens", request->kind);
	return status_ok();
}

Status
request_check(const Request *request)
{
	if (!request_kind_is_known(request->kind))
		return status_error(STATUS_INVALID_ARGUMENT, "unknown request kind %u", request->kind);
	if (request->flags & ~REQUEST_FLAGS_KNOWN)
		return status_error(STATUS_INVALID_ARGUMENT, "unknown request flags %x", request->flags);
	if (request->model.data && (request->model.length == 0 || request->model.length > PROTOCOL_MAX_NAME_BYTES))
		return status_error(STATUS_INVALID_ARGUMENT, "a model's name has 1 to %d bytes, not %zu",
							PROTOCOL_MAX_NAME_BYTES, request->model.length);
	if (request->adapter.data && (request->adapter.length == 0 || request->adapter.length > PROTOCOL_MAX_NAME_BYTES))
		return status_error(STATUS_INVALID_ARGUMENT, "an adapter's name has 1 to %d bytes, not %zu",
							PROTOCOL_MAX_NAME_BYTES, request->adapter.length);
	if (request->n_stops > PROTOCOL_MAX_STOPS)
		return status_error(STATUS_INVALID_ARGUMENT, "stop must have at most %d elements, not %u", PROTOCOL_MAX_STOPS,
							request->n_stops);
	for (uint32_t i = 0; i < request->n_stops; i++)
		if (!request->stops[i].data || request->stops[i].length == 0 ||
			request->stops[i].length > PROTOCOL_MAX_STOP_BYTES)
			return status_error(STATUS_INVALID_ARGUMENT, "stop[%u] must have between 1 and %d bytes, not %zu", i + 1,
								PROTOCOL_MAX_STOP_BYTES, request->stops[i].length);
	STATUS_TRY(check_members(request));
	return sampling_options_check(&request->options);
}

bool
decode_request_role(const unsigned char *body, size_t length, uint32_t *role)
{
	ByteReader reader;

	byte_reader_init(&reader, body, length);
	(void) read_u8(&reader);
	(void) read_u32(&reader);
	*role = read_u32(&reader);
	return !reader.failed;
}

Status
decode_request_unchecked(const unsigned char *body, size_t length, Request *request)
{
	ByteReader reader;

	memset(request, 0, sizeof *request);
	byte_reader_init(&reader, body, length);
	request->kind = read_u8(&reader);
	request->flags = read_u32(&reader);
	request->role = read_u32(&reader);
	request->model = read_span(&reader);
	request->adapter = read_span(&reader);
	request->text = read_span(&reader);
	request->messages = read_span(&reader);
	request->tools = read_span(&reader);
	request->instruction = read_span(&reader);
	request->query = read_span(&reader);
	request->suffix = read_span(&reader);
	request->candidates = read_span(&reader);
	request->n_tokens = read_u32(&reader);
	request->tokens = read_raw(&reader, (size_t) request->n_tokens * 4);
	request->dimensions = read_u32(&reader);
	request->chunk_tokens = read_u32(&reader);
	request->chunk_overlap = read_u32(&reader);
	request->n_stops = read_u32(&reader);
	if (request->n_stops > PROTOCOL_MAX_STOPS)
		return status_error(STATUS_INVALID_ARGUMENT, "request with %u stops, at most %d", request->n_stops,
							PROTOCOL_MAX_STOPS);
	for (uint32_t i = 0; i < request->n_stops; i++)
		request->stops[i] = read_span(&reader);
	read_options(&reader, &request->options);
	request->priority = (int32_t) read_u32(&reader);
	request->prefix_sharing = read_u8(&reader);
	request->shared_messages = read_span(&reader);
	request->format = read_span(&reader);
	request->tool_choice = read_u8(&reader);
	request->tool_name = read_span(&reader);
	STATUS_TRY(finish_body(&reader, "request"));
	if (((request->flags & REQUEST_FLAG_FORMAT) != 0) != (request->format.data || request->tools.data))
		return status_error(STATUS_INVALID_ARGUMENT, "a request's flag for its format is wrong");
	request->flags &= ~REQUEST_FLAG_FORMAT;
	return request_check(request);
}

Status
request_check_texts(const Request *request)
{
	const ByteSpan texts[] = {request->model,      request->adapter,         request->text,   request->messages,
							  request->tools,      request->instruction,     request->query,  request->suffix,
							  request->candidates, request->shared_messages, request->format, request->tool_name};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (!is_text(texts[i]))
			return status_error(STATUS_INVALID_ARGUMENT, "malformed REQUEST: a text is not valid UTF-8 without NUL");
	for (uint32_t i = 0; i < request->n_stops; i++)
		if (!is_text(request->stops[i]))
			return status_error(STATUS_INVALID_ARGUMENT, "malformed REQUEST: stop[%u] is not valid UTF-8 without NUL",
								i + 1);
	return status_ok();
}

Status
decode_request(const unsigned char *body, size_t length, Request *request)
{
	STATUS_TRY(decode_request_unchecked(body, length, request));
	return request_check_texts(request);
}

Status
decode_accepted(const unsigned char *body, size_t length, Accepted *accepted)
{
	ByteReader reader;

	byte_reader_init(&reader, body, length);
	accepted->prompt_tokens = read_u32(&reader);
	accepted->max_tokens = read_u32(&reader);
	return finish_body(&reader, "accepted");
}

Status
decode_piece(const unsigned char *body, size_t length, Piece *piece)
{
	ByteReader reader;

	byte_reader_init(&reader, body, length);
	piece->kind = read_u8(&reader);
	piece->text = read_text(&reader);
	if (piece->kind > PIECE_THINKING || piece->text.length == 0)
		reader.failed = true;
	return finish_body(&reader, "piece");
}

Status
decode_done(const unsigned char *body, size_t length, Done *done)
{
	ByteReader reader;

	byte_reader_init(&reader, body, length);
	done->finish_reason = read_u8(&reader);
	done->prompt_tokens = read_u32(&reader);
	done->cached_tokens = read_u32(&reader);
	done->completion_tokens = read_u32(&reader);
	done->queue_us = read_u64(&reader);
	done->ttft_us = read_u64(&reader);
	done->total_us = read_u64(&reader);
	done->constrained_tokens = read_u32(&reader);
	done->forced_tokens = read_u32(&reader);
	done->mask_us = read_u64(&reader);
	done->model = read_text(&reader);
	done->content = read_text(&reader);
	done->thinking = read_text(&reader);
	done->tool_calls = read_text(&reader);
	done->logprobs = read_text(&reader);
	if (done->finish_reason > FINISH_TOOL_CALLS)
		reader.failed = true;
	return finish_body(&reader, "done");
}

Status
decode_result(const unsigned char *body, size_t length, RequestResult *result)
{
	ByteReader reader;

	memset(result, 0, sizeof *result);
	byte_reader_init(&reader, body, length);
	result->kind = read_u8(&reader);
	result->prompt_tokens = read_u32(&reader);
	result->cached_tokens = read_u32(&reader);
	result->count = read_u32(&reader);
	if (result->kind < RESULT_TOKENS || result->kind > RESULT_OFFSETS)
		reader.failed = true;
	if (result_value_bytes(result->kind))
		result->values = read_raw(&reader, (size_t) result->count * result_value_bytes(result->kind));
	if (result->kind == RESULT_TEXT || result->kind == RESULT_LOGPROBS)
		result->text = read_text(&reader);
	return finish_body(&reader, "result");
}

Status
decode_error(const unsigned char *body, size_t length, ProtocolError *error)
{
	ByteReader reader;

	byte_reader_init(&reader, body, length);
	error->code = read_u16(&reader);
	error->message = read_text(&reader);
	error->detail = read_text(&reader);
	error->hint = read_text(&reader);
	if (error->code == STATUS_OK || error->code > STATUS_NOT_BEGUN || !error->message.data)
		reader.failed = true;
	return finish_body(&reader, "error");
}
