/*
 * fuzz_protocol.c - what comes over the socket, on both sides: frames cut out of a stream, and each body by itself.
 *
 * First byte: which decoder (0 and 1: a stream from a client, from an engine; then the bodies). What a decoder takes
 * is encoded again and must be the same bytes: nothing that was read got lost, and nothing has two spellings.
 */
#include "../../src/protocol/protocol.h"
#include "fuzz.h"

#define N_DECODERS 9

static void
check_text(ByteSpan text)
{
	PROMISE(text.data || text.length == 0);
	PROMISE(!text.data || (utf8_is_valid(text.data, text.length) && !memchr(text.data, 0, text.length)));
}

/* The frame in writer has this body. */
static void
check_same(Status status, ByteWriter *writer, const uint8_t *body, size_t length, bool from_client)
{
	FrameHeader header;

	PROMISE(status.code == STATUS_OK && !writer->failed);
	PROMISE(writer->length == PROTOCOL_HEADER_BYTES + length);
	PROMISE(decode_header(writer->data, from_client, &header).code == STATUS_OK);
	PROMISE(header.body_bytes == length && header.request_id == 7);
	PROMISE(length == 0 || memcmp(writer->data + PROTOCOL_HEADER_BYTES, body, length) == 0);
}

static void
check_request(const uint8_t *body, size_t length, ByteWriter *writer)
{
	Request request;

	if (decode_request(body, length, &request).code != STATUS_OK)
		return;
	PROMISE(sampling_options_check(&request.options).code == STATUS_OK);
	PROMISE(request.n_stops <= PROTOCOL_MAX_STOPS);
	for (uint32_t i = 0; i < request.n_stops; i++)
	{
		check_text(request.stops[i]);
		PROMISE(request.stops[i].length > 0);
	}
	for (uint32_t i = 0; i < request.n_tokens; i++)
		(void) protocol_token(request.tokens, i);
	check_text(request.model);
	check_text(request.adapter);
	check_text(request.text);
	check_text(request.messages);
	check_text(request.query);
	check_text(request.suffix);
	check_text(request.tools);
	check_text(request.shared_messages);
	check_same(encode_request(writer, 7, &request), writer, body, length, true);
}

static void
check_go(const uint8_t *body, size_t length, ByteWriter *writer)
{
	uint32_t meter;

	if (decode_go(body, length, &meter).code != STATUS_OK)
		return;
	check_same(length ? encode_go(writer, 7, meter) : encode_empty(writer, 7, FRAME_GO), writer, body, length, true);
}

static void
check_done(const uint8_t *body, size_t length, ByteWriter *writer)
{
	Done done;

	if (decode_done(body, length, &done).code != STATUS_OK)
		return;
	PROMISE(done.finish_reason <= FINISH_TOOL_CALLS);
	check_text(done.content);
	check_text(done.thinking);
	check_text(done.tool_calls);
	check_same(encode_done(writer, 7, &done), writer, body, length, false);
}

static void
check_result(const uint8_t *body, size_t length, ByteWriter *writer)
{
	RequestResult result;

	if (decode_result(body, length, &result).code != STATUS_OK)
		return;
	for (uint32_t i = 0; i < result.count && result_value_bytes(result.kind) >= 4; i++)
		(void) protocol_float(result.values, i * (result_value_bytes(result.kind) / 4));
	check_text(result.text);
	check_same(encode_result(writer, 7, &result), writer, body, length, false);
}

static void
check_body(uint8_t decoder, const uint8_t *body, size_t length)
{
	Accepted accepted;
	ByteWriter writer;
	ProtocolError error;
	Piece piece;

	byte_writer_init(&writer);
	switch (decoder)
	{
		case FRAME_REQUEST:
			check_request(body, length, &writer);
			break;
		case FRAME_GO:
			check_go(body, length, &writer);
			break;
		case FRAME_ACCEPTED:
			if (decode_accepted(body, length, &accepted).code == STATUS_OK)
				check_same(encode_accepted(&writer, 7, &accepted), &writer, body, length, false);
			break;
		case FRAME_PIECE:
			if (decode_piece(body, length, &piece).code == STATUS_OK)
			{
				PROMISE(piece.text.length > 0);
				check_same(encode_piece(&writer, 7, &piece), &writer, body, length, false);
			}
			break;
		case FRAME_DONE:
			check_done(body, length, &writer);
			break;
		case FRAME_RESULT:
			check_result(body, length, &writer);
			break;
		case FRAME_ERROR:
			if (decode_error(body, length, &error).code == STATUS_OK)
			{
				PROMISE(error.code != STATUS_OK && error.message.data);
				check_same(encode_error(&writer, 7, &error), &writer, body, length, false);
			}
			break;
		default:
			break;
	}
	byte_writer_free(&writer);
}

/* Frame after frame, as both sides cut them out of what they have received. */
static void
check_stream(bool from_client, const uint8_t *data, size_t size)
{
	FrameHeader header;

	while (size >= PROTOCOL_HEADER_BYTES && decode_header(data, from_client, &header).code == STATUS_OK)
	{
		PROMISE(header.body_bytes <= PROTOCOL_MAX_BODY_BYTES);
		PROMISE((header.type <= FRAME_CANCEL) == from_client);
		if (size - PROTOCOL_HEADER_BYTES < header.body_bytes)
			return;
		check_body((uint8_t) header.type, data + PROTOCOL_HEADER_BYTES, header.body_bytes);
		data += PROTOCOL_HEADER_BYTES + header.body_bytes;
		size -= PROTOCOL_HEADER_BYTES + header.body_bytes;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t types[N_DECODERS] = {0,           0,          FRAME_REQUEST, FRAME_GO,   FRAME_ACCEPTED,
											  FRAME_PIECE, FRAME_DONE, FRAME_RESULT,  FRAME_ERROR};
	uint8_t decoder;

	if (size == 0)
		return 0;
	decoder = data[0] % N_DECODERS;
	if (decoder < 2)
		check_stream(decoder == 0, data + 1, size - 1);
	else
		check_body(types[decoder], data + 1, size - 1);
	return 0;
}
