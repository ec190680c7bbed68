/*
 * encode.c - writing frames; the layout of each body is the order of the write calls here, read back by decode.c.
 *
 * A span is written as u32 length (NOT_GIVEN_LENGTH for "not given") and the bytes.
 */
#include "protocol_private.h"

/* Begin a frame; returns where its header starts, to be completed by end_frame. */
static size_t
begin_frame(ByteWriter *writer, uint32_t request_id, FrameType type)
{
	size_t start = writer->length;

	write_u32(writer, 0);
	write_u32(writer, request_id);
	write_u16(writer, (uint16_t) type);
	write_u16(writer, PROTOCOL_VERSION);
	write_u32(writer, 0);
	return start;
}

/* Fill in the body's length; a body over the limit is taken back and refused. */
static Status
end_frame(ByteWriter *writer, size_t start)
{
	size_t body_bytes;

	if (writer->failed)
		return status_error(STATUS_UNAVAILABLE, "out of memory for a message");
	body_bytes = writer->length - start - PROTOCOL_HEADER_BYTES;
	if (body_bytes > PROTOCOL_MAX_BODY_BYTES)
	{
		writer->length = start;
		return status_error(STATUS_TOO_LONG,
							"the message has %zu bytes, but at most %u bytes can be sent to the engine", body_bytes,
							PROTOCOL_MAX_BODY_BYTES);
	}
	for (int i = 0; i < 4; i++)
		writer->data[start + (size_t) i] = (unsigned char) (body_bytes >> (8 * i));
	return status_ok();
}

static void
write_span(ByteWriter *writer, ByteSpan span)
{
	if (!span.data)
	{
		write_u32(writer, NOT_GIVEN_LENGTH);
		return;
	}
	write_u32(writer, (uint32_t) span.length);
	write_raw(writer, span.data, span.length);
}

static void
write_options(ByteWriter *writer, const SamplingOptions *options)
{
	write_u32(writer, options->given);
	write_u32(writer, (uint32_t) options->max_tokens);
	write_f64(writer, options->temperature);
	write_f64(writer, options->top_p);
	write_f64(writer, options->min_p);
	write_u32(writer, (uint32_t) options->top_k);
	write_f64(writer, options->repetition_penalty);
	write_f64(writer, options->presence_penalty);
	write_f64(writer, options->frequency_penalty);
	write_u64(writer, (uint64_t) options->seed);
	write_u8(writer, options->thinking);
	write_u32(writer, (uint32_t) options->thinking_budget);
	write_f64(writer, options->adapter_scale);
}

/* The sum of all texts of a request must fit one frame; said with both numbers before anything is copied. */
static Status
check_request_size(const Request *request)
{
	uint64_t total = (uint64_t) request->n_tokens * 4;
	const ByteSpan *spans[] = {&request->model,      &request->adapter,         &request->text,   &request->messages,
							   &request->tools,      &request->instruction,     &request->query,  &request->suffix,
							   &request->candidates, &request->shared_messages, &request->format, &request->tool_name};

	for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
		total += spans[i]->length;
	for (uint32_t i = 0; i < request->n_stops && i < PROTOCOL_MAX_STOPS; i++)
		total += request->stops[i].length;
	if (total > PROTOCOL_MAX_BODY_BYTES - REQUEST_FIXED_BYTES)
		return status_error(STATUS_TOO_LONG,
							"the request has %llu bytes of text, but at most %u bytes can be sent to the engine",
							(unsigned long long) total, PROTOCOL_MAX_BODY_BYTES - REQUEST_FIXED_BYTES);
	return status_ok();
}

Status
encode_request(ByteWriter *writer, uint32_t request_id, const Request *request)
{
	size_t start;

	STATUS_TRY(check_request_size(request));
	STATUS_TRY(request_check(request));
	start = begin_frame(writer, request_id, FRAME_REQUEST);
	write_u8(writer, request->kind);
	write_u32(writer, request->flags | (request->format.data || request->tools.data ? REQUEST_FLAG_FORMAT : 0));
	write_u32(writer, request->role);
	write_span(writer, request->model);
	write_span(writer, request->adapter);
	write_span(writer, request->text);
	write_span(writer, request->messages);
	write_span(writer, request->tools);
	write_span(writer, request->instruction);
	write_span(writer, request->query);
	write_span(writer, request->suffix);
	write_span(writer, request->candidates);
	write_u32(writer, request->n_tokens);
	write_raw(writer, request->tokens, (size_t) request->n_tokens * 4);
	write_u32(writer, request->dimensions);
	write_u32(writer, request->chunk_tokens);
	write_u32(writer, request->chunk_overlap);
	write_u32(writer, request->n_stops);
	for (uint32_t i = 0; i < request->n_stops; i++)
		write_span(writer, request->stops[i]);
	write_options(writer, &request->options);
	write_u32(writer, (uint32_t) request->priority);
	write_u8(writer, request->prefix_sharing);
	write_span(writer, request->shared_messages);
	write_span(writer, request->format);
	write_u8(writer, request->tool_choice);
	write_span(writer, request->tool_name);
	return end_frame(writer, start);
}

Status
encode_empty(ByteWriter *writer, uint32_t request_id, FrameType type)
{
	if (type != FRAME_GO && type != FRAME_CANCEL)
		return status_error(STATUS_INTERNAL, "frame type %d has a body", (int) type);
	return end_frame(writer, begin_frame(writer, request_id, type));
}

Status
encode_go(ByteWriter *writer, uint32_t request_id, uint32_t meter)
{
	size_t start = begin_frame(writer, request_id, FRAME_GO);

	write_u32(writer, meter);
	return end_frame(writer, start);
}

Status
encode_accepted(ByteWriter *writer, uint32_t request_id, const Accepted *accepted)
{
	size_t start = begin_frame(writer, request_id, FRAME_ACCEPTED);

	write_u32(writer, accepted->prompt_tokens);
	write_u32(writer, accepted->max_tokens);
	return end_frame(writer, start);
}

Status
encode_piece(ByteWriter *writer, uint32_t request_id, const Piece *piece)
{
	size_t start = begin_frame(writer, request_id, FRAME_PIECE);

	write_u8(writer, piece->kind);
	write_span(writer, piece->text);
	return end_frame(writer, start);
}

Status
encode_done(ByteWriter *writer, uint32_t request_id, const Done *done)
{
	size_t start = begin_frame(writer, request_id, FRAME_DONE);

	write_u8(writer, done->finish_reason);
	write_u32(writer, done->prompt_tokens);
	write_u32(writer, done->cached_tokens);
	write_u32(writer, done->completion_tokens);
	write_u64(writer, done->queue_us);
	write_u64(writer, done->ttft_us);
	write_u64(writer, done->total_us);
	write_u32(writer, done->constrained_tokens);
	write_u32(writer, done->forced_tokens);
	write_u64(writer, done->mask_us);
	write_span(writer, done->model);
	write_span(writer, done->content);
	write_span(writer, done->thinking);
	write_span(writer, done->tool_calls);
	write_span(writer, done->logprobs);
	return end_frame(writer, start);
}

Status
encode_result(ByteWriter *writer, uint32_t request_id, const RequestResult *result)
{
	size_t start;

	if (result->text.length > PROTOCOL_MAX_BODY_BYTES)
		return status_error(STATUS_TOO_LONG, "the result has %zu bytes, but at most %u bytes can be sent",
							result->text.length, PROTOCOL_MAX_BODY_BYTES);
	start = begin_frame(writer, request_id, FRAME_RESULT);

	write_u8(writer, result->kind);
	write_u32(writer, result->prompt_tokens);
	write_u32(writer, result->cached_tokens);
	write_u32(writer, result->count);
	write_raw(writer, result->values, (size_t) result->count * result_value_bytes(result->kind));
	if (result->kind == RESULT_TEXT || result->kind == RESULT_LOGPROBS)
		write_span(writer, result->text);
	return end_frame(writer, start);
}

Status
encode_error(ByteWriter *writer, uint32_t request_id, const ProtocolError *error)
{
	size_t start = begin_frame(writer, request_id, FRAME_ERROR);

	write_u16(writer, error->code);
	write_span(writer, error->message);
	write_span(writer, error->detail);
	write_span(writer, error->hint);
	return end_frame(writer, start);
}
