/*
 * test_protocol.c - every message survives the wire, and nothing malformed is accepted.
 *
 * Round trips of all messages, truncation of each at every length, every byte flipped, and the limits of protocol.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/protocol/protocol.h"

static ByteSpan
span(const char *text)
{
	return (ByteSpan){text, strlen(text)};
}

static void
assert_span(ByteSpan found, const char *expected)
{
	assert_non_null(found.data);
	assert_int_equal(found.length, strlen(expected));
	assert_memory_equal(found.data, expected, found.length);
}

/* A chat request with every member that a chat can have. */
static Request
full_request(void)
{
	Request request;

	memset(&request, 0, sizeof request);
	request.kind = REQUEST_CHAT;
	request.flags = REQUEST_FLAG_STREAM;
	request.model = span("chat");
	request.adapter = span("legal");
	request.messages = span("[{\"role\":\"user\",\"content\":\"Grüße\"}]");
	request.tools = span("[]");
	request.tool_choice = TOOL_CHOICE_NAMED;
	request.tool_name = span("look");
	request.n_stops = 2;
	request.stops[0] = span("\n\n");
	request.stops[1] = span("END");
	request.options.given = OPTIONS_KNOWN;
	request.options.max_tokens = 77;
	request.options.temperature = 0.25;
	request.options.top_p = 0.5;
	request.options.min_p = 0.125;
	request.options.top_k = 40;
	request.options.repetition_penalty = 1.5;
	request.options.presence_penalty = -2;
	request.options.frequency_penalty = 2;
	request.options.seed = INT64_MIN;
	request.options.thinking = true;
	request.options.thinking_budget = 16;
	request.options.adapter_scale = -0.5;
	request.role = 4000000000u;
	request.priority = -3;
	request.prefix_sharing = PREFIX_SHARED;
	request.shared_messages = span("[{\"role\":\"user\"}]");
	return request;
}

static FrameHeader
header_of(const ByteWriter *writer, bool from_client)
{
	FrameHeader header;
	Status status = decode_header(writer->data, from_client, &header);

	assert_string_equal(status.message, "");
	assert_int_equal(header.body_bytes + PROTOCOL_HEADER_BYTES, writer->length);
	return header;
}

static void
request_round_trip(void **state)
{
	Request sent = full_request();
	Request received;
	ByteWriter writer;
	FrameHeader header;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_request(&writer, 4711, &sent).code, STATUS_OK);
	header = header_of(&writer, true);
	assert_int_equal(header.type, FRAME_REQUEST);
	assert_int_equal(header.request_id, 4711);
	assert_int_equal(decode_request(writer.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &received).code, STATUS_OK);
	assert_int_equal(received.kind, REQUEST_CHAT);
	assert_int_equal(received.flags, REQUEST_FLAG_STREAM);
	assert_span(received.model, "chat");
	assert_span(received.adapter, "legal");
	assert_true(received.options.adapter_scale == -0.5);
	assert_span(received.messages, "[{\"role\":\"user\",\"content\":\"Grüße\"}]");
	assert_span(received.tools, "[]");
	assert_int_equal(received.tool_choice, TOOL_CHOICE_NAMED);
	assert_span(received.tool_name, "look");
	assert_null(received.text.data);
	assert_int_equal(received.n_stops, 2);
	assert_span(received.stops[1], "END");
	assert_int_equal(received.options.given, OPTIONS_KNOWN);
	assert_int_equal(received.options.max_tokens, 77);
	assert_true(received.options.temperature == 0.25 && received.options.presence_penalty == -2);
	assert_true(received.options.seed == INT64_MIN);
	assert_true(received.options.thinking);
	assert_true(received.role == 4000000000u && received.priority == -3);
	assert_int_equal(received.prefix_sharing, PREFIX_SHARED);
	assert_span(received.shared_messages, "[{\"role\":\"user\"}]");
	byte_writer_free(&writer);
}

static void
detokenize_request_keeps_negative_tokens(void **state)
{
	int32_t tokens[3] = {5, -1, INT32_MAX};
	Request sent, received;
	ByteWriter writer;

	(void) state;
	memset(&sent, 0, sizeof sent);
	sent.kind = REQUEST_DETOKENIZE;
	sent.tokens = (const unsigned char *) tokens;
	sent.n_tokens = 3;
	byte_writer_init(&writer);
	assert_int_equal(encode_request(&writer, 1, &sent).code, STATUS_OK);
	assert_int_equal(
		decode_request(writer.data + PROTOCOL_HEADER_BYTES, writer.length - PROTOCOL_HEADER_BYTES, &received).code,
		STATUS_OK);
	assert_int_equal(received.n_tokens, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(protocol_token(received.tokens, i), tokens[i]);
	byte_writer_free(&writer);
}

/* Encode and decode a request; true when it comes through. */
static bool
survives(const Request *sent, Request *received, ByteWriter *writer)
{
	byte_writer_init(writer);
	if (encode_request(writer, 1, sent).code != STATUS_OK)
		return false;
	return decode_request(writer->data + PROTOCOL_HEADER_BYTES, writer->length - PROTOCOL_HEADER_BYTES, received)
			   .code == STATUS_OK;
}

static void
candidates_and_chunk_sizes_stand_where_they_belong(void **state)
{
	Request sent = {.kind = REQUEST_SCORE, .messages = span("[]"), .candidates = span("[\"a\",\"b\"]")}, received;
	ByteWriter writer;

	(void) state;
	assert_true(survives(&sent, &received, &writer));
	assert_span(received.candidates, "[\"a\",\"b\"]");
	byte_writer_free(&writer);
	sent.kind = REQUEST_CHAT;
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_SCORE, .messages = span("[]")};
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_GENERATE, .text = span("text"), .flags = REQUEST_FLAG_LOGPROBS(20)};
	assert_true(survives(&sent, &received, &writer));
	assert_int_equal(REQUEST_N_LOGPROBS(received.flags), 20);
	byte_writer_free(&writer);
	sent.flags = REQUEST_FLAG_LOGPROBS(21);
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_EMBED, .text = span("text"), .flags = REQUEST_FLAG_LOGPROBS(0)};
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_CHUNK, .text = span("text"), .chunk_tokens = 100, .chunk_overlap = 7};
	assert_true(survives(&sent, &received, &writer));
	assert_int_equal(received.chunk_tokens, 100);
	assert_int_equal(received.chunk_overlap, 7);
	byte_writer_free(&writer);
	sent.kind = REQUEST_COUNT_TOKENS;
	assert_false(survives(&sent, &received, &writer));
}

static void
a_suffix_comes_with_what_is_generated(void **state)
{
	Request sent = {.kind = REQUEST_GENERATE, .text = span("before"), .suffix = span("behind")}, received;
	ByteWriter writer;

	(void) state;
	assert_true(survives(&sent, &received, &writer));
	assert_span(received.suffix, "behind");
	byte_writer_free(&writer);
	sent.kind = REQUEST_EMBED;
	assert_false(survives(&sent, &received, &writer));
}

static void
a_query_comes_with_a_document(void **state)
{
	Request sent = {.kind = REQUEST_RERANK, .text = span("document"), .query = span("query")}, received;
	ByteWriter writer;

	(void) state;
	assert_true(survives(&sent, &received, &writer));
	assert_span(received.query, "query");
	assert_span(received.text, "document");
	byte_writer_free(&writer);
	sent.kind = REQUEST_EMBED;
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_RERANK, .text = span("document")};
	assert_false(survives(&sent, &received, &writer));
	sent = (Request){.kind = REQUEST_RERANK, .query = span("query")};
	assert_false(survives(&sent, &received, &writer));
}

static void
logprobs_round_trip(void **state)
{
	unsigned char values[32] = {1, 0, 0, 0};
	RequestResult sent = {RESULT_LOGPROBS, 2, values, span("pieces"), 2, 0}, received;
	ByteWriter writer;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_result(&writer, 1, &sent).code, STATUS_OK);
	assert_int_equal(
		decode_result(writer.data + PROTOCOL_HEADER_BYTES, writer.length - PROTOCOL_HEADER_BYTES, &received).code,
		STATUS_OK);
	assert_int_equal(received.count, 2);
	assert_memory_equal(received.values, values, sizeof values);
	assert_span(received.text, "pieces");
	byte_writer_free(&writer);
}

static void
answers_round_trip(void **state)
{
	ByteWriter writer;
	Accepted accepted = {12, 500};
	Piece piece = {PIECE_THINKING, span("hm")};
	Done done = {FINISH_LENGTH, 1, 2, 3, 4, 5, 6, 7, 8, 9, span("m"), span("text"), {NULL, 0}, span("[]"), span("[1]")};
	float values[2] = {0.5f, -3.25f};
	RequestResult result = {RESULT_FLOATS, 2, (const unsigned char *) values, {NULL, 0}, 9, 4};
	ProtocolError error = {STATUS_TOO_LONG, span("too long"), {NULL, 0}, span("shorten it")};

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_accepted(&writer, 1, &accepted).code, STATUS_OK);
	accepted = (Accepted){0, 0};
	assert_int_equal(decode_accepted(writer.data + 16, writer.length - 16, &accepted).code, STATUS_OK);
	assert_int_equal(accepted.max_tokens, 500);

	writer.length = 0;
	assert_int_equal(encode_piece(&writer, 1, &piece).code, STATUS_OK);
	assert_int_equal(decode_piece(writer.data + 16, writer.length - 16, &piece).code, STATUS_OK);
	assert_int_equal(piece.kind, PIECE_THINKING);
	assert_span(piece.text, "hm");

	writer.length = 0;
	assert_int_equal(encode_done(&writer, 1, &done).code, STATUS_OK);
	assert_int_equal(decode_done(writer.data + 16, writer.length - 16, &done).code, STATUS_OK);
	assert_int_equal(done.finish_reason, FINISH_LENGTH);
	assert_int_equal(done.total_us, 6);
	assert_int_equal(done.constrained_tokens, 7);
	assert_int_equal(done.forced_tokens, 8);
	assert_int_equal(done.mask_us, 9);
	assert_span(done.content, "text");
	assert_null(done.thinking.data);

	writer.length = 0;
	assert_int_equal(encode_result(&writer, 1, &result).code, STATUS_OK);
	assert_int_equal(decode_result(writer.data + 16, writer.length - 16, &result).code, STATUS_OK);
	assert_int_equal(result.count, 2);
	assert_int_equal(result.cached_tokens, 4);
	assert_true(protocol_float(result.values, 1) == -3.25f);

	writer.length = 0;
	assert_int_equal(encode_error(&writer, 7, &error).code, STATUS_OK);
	assert_int_equal(header_of(&writer, false).type, FRAME_ERROR);
	assert_int_equal(decode_error(writer.data + 16, writer.length - 16, &error).code, STATUS_OK);
	assert_span(error.message, "too long");
	assert_null(error.detail.data);
	byte_writer_free(&writer);
}

static void
truncated_requests_are_refused(void **state)
{
	Request request = full_request();
	ByteWriter writer;
	size_t body;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_request(&writer, 1, &request).code, STATUS_OK);
	body = writer.length - PROTOCOL_HEADER_BYTES;
	for (size_t length = 0; length < body; length++)
	{
		/* a copy of exactly this length, so that a sanitizer sees any read past it */
		unsigned char *copy = malloc(length + !length);

		memcpy(copy, writer.data + PROTOCOL_HEADER_BYTES, length);
		assert_int_not_equal(decode_request(copy, length, &request).code, STATUS_OK);
		free(copy);
	}
	byte_writer_free(&writer);
}

static void
flipped_bits_never_reach_past_the_body(void **state)
{
	Request request = full_request();
	ByteWriter writer;
	unsigned accepted = 0, refused = 0;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_request(&writer, 1, &request).code, STATUS_OK);
	for (size_t bit = PROTOCOL_HEADER_BYTES * 8; bit < writer.length * 8; bit++)
	{
		size_t length = writer.length - PROTOCOL_HEADER_BYTES;
		unsigned char *copy = malloc(length);
		Request received;

		memcpy(copy, writer.data + PROTOCOL_HEADER_BYTES, length);
		copy[bit / 8 - PROTOCOL_HEADER_BYTES] ^= (unsigned char) (1u << bit % 8);
		if (decode_request(copy, length, &received).code == STATUS_OK)
		{
			accepted++;
			if (received.text.data)
				assert_true((const unsigned char *) received.text.data + received.text.length <= copy + length);
			assert_true((const unsigned char *) received.messages.data + received.messages.length <= copy + length);
		}
		else
			refused++;
		free(copy);
	}
	assert_true(accepted > 0 && refused > 200);
	byte_writer_free(&writer);
}

static void
go_carries_its_meter(void **state)
{
	ByteWriter writer;
	FrameHeader header;
	uint32_t meter;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_go(&writer, 3, 77).code, STATUS_OK);
	assert_int_equal(decode_header(writer.data, true, &header).code, STATUS_OK);
	assert_int_equal(header.type, FRAME_GO);
	assert_int_equal(header.body_bytes, writer.length - PROTOCOL_HEADER_BYTES);
	assert_int_equal(decode_go(writer.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &meter).code, STATUS_OK);
	assert_int_equal(meter, 77);
	assert_int_equal(decode_go(NULL, 0, &meter).code, STATUS_OK);
	assert_int_equal(meter, PROTOCOL_NO_METER);
	assert_int_not_equal(decode_go(writer.data, 3, &meter).code, STATUS_OK);
	byte_writer_free(&writer);
}

static void
headers_that_break_a_rule_are_refused(void **state)
{
	ByteWriter writer;
	FrameHeader header;
	unsigned char bytes[PROTOCOL_HEADER_BYTES];

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_empty(&writer, 3, FRAME_GO).code, STATUS_OK);
	assert_int_equal(decode_header(writer.data, true, &header).code, STATUS_OK);
	assert_int_not_equal(decode_header(writer.data, false, &header).code, STATUS_OK); /* engines do not say GO */
	memcpy(bytes, writer.data, sizeof bytes);
	bytes[10] ^= 3; /* version */
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	memcpy(bytes, writer.data, sizeof bytes);
	bytes[8] = 99; /* type */
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	memcpy(bytes, writer.data, sizeof bytes);
	bytes[15] = 1; /* zero */
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	memcpy(bytes, writer.data, sizeof bytes);
	bytes[0] = 1; /* GO with a body that is no meter */
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	bytes[0] = 4;
	assert_int_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	bytes[8] = FRAME_CANCEL;
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	memcpy(bytes, writer.data, sizeof bytes);
	bytes[8] = FRAME_REQUEST;
	bytes[3] = 0xFF; /* 4 GB */
	assert_int_not_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	for (uint32_t more = 0; more < 2; more++)
	{
		uint32_t body_bytes = PROTOCOL_MAX_BODY_BYTES + more;

		for (int i = 0; i < 4; i++)
			bytes[i] = (unsigned char) (body_bytes >> (8 * i));
		assert_int_equal(decode_header(bytes, true, &header).code, more ? STATUS_INVALID_ARGUMENT : STATUS_OK);
	}
	byte_writer_free(&writer);
}

/* The frame in writer with one byte more behind its body must say that one is left over. */
static void
assert_left_over(ByteWriter *writer, Status (*decode)(const unsigned char *body, size_t length))
{
	Status status = decode(writer->data + PROTOCOL_HEADER_BYTES, writer->length - PROTOCOL_HEADER_BYTES);

	assert_string_equal(status.message, "");
	write_u8(writer, 0);
	status = decode(writer->data + PROTOCOL_HEADER_BYTES, writer->length - PROTOCOL_HEADER_BYTES);
	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(status.message, "1 bytes left over"));
	writer->length = 0;
}

#define DECODER(name, Type)                                                                                            \
	static Status only_##name(const unsigned char *body, size_t length)                                                \
	{                                                                                                                  \
		Type message;                                                                                                  \
                                                                                                                       \
		return name(body, length, &message);                                                                           \
	}

DECODER(decode_request, Request)
DECODER(decode_accepted, Accepted)
DECODER(decode_piece, Piece)
DECODER(decode_done, Done)
DECODER(decode_result, RequestResult)
DECODER(decode_error, ProtocolError)

static void
a_byte_behind_a_message_is_refused(void **state)
{
	Request request = full_request();
	Accepted accepted = {5, 7};
	Piece piece = {PIECE_CONTENT, span("piece")};
	Done done = {.finish_reason = FINISH_STOP, .model = span("m"), .content = span("text")};
	RequestResult result = {.kind = RESULT_TEXT, .text = span("text")};
	ProtocolError error = {.code = STATUS_TOO_LONG, .message = span("too long")};
	ByteWriter writer;

	(void) state;
	byte_writer_init(&writer);
	assert_int_equal(encode_request(&writer, 1, &request).code, STATUS_OK);
	assert_left_over(&writer, only_decode_request);
	assert_int_equal(encode_accepted(&writer, 1, &accepted).code, STATUS_OK);
	assert_left_over(&writer, only_decode_accepted);
	assert_int_equal(encode_piece(&writer, 1, &piece).code, STATUS_OK);
	assert_left_over(&writer, only_decode_piece);
	assert_int_equal(encode_done(&writer, 1, &done).code, STATUS_OK);
	assert_left_over(&writer, only_decode_done);
	assert_int_equal(encode_result(&writer, 1, &result).code, STATUS_OK);
	assert_left_over(&writer, only_decode_result);
	assert_int_equal(encode_error(&writer, 1, &error).code, STATUS_OK);
	assert_left_over(&writer, only_decode_error);
	byte_writer_free(&writer);
}

static void
limits_name_both_numbers(void **state)
{
	Request request = full_request();
	char *big = malloc((size_t) PROTOCOL_MAX_BODY_BYTES + 1);
	ByteWriter writer;
	Status status;

	(void) state;
	byte_writer_init(&writer);
	memset(big, 'a', (size_t) PROTOCOL_MAX_BODY_BYTES + 1);
	request.messages = (ByteSpan){big, (size_t) PROTOCOL_MAX_BODY_BYTES + 1};
	status = encode_request(&writer, 1, &request);
	assert_int_equal(status.code, STATUS_TOO_LONG);
	assert_non_null(strstr(status.message, "67108"));
	assert_int_equal(writer.length, 0);
	request = full_request();
	request.stops[1].length = 0;
	status = encode_request(&writer, 1, &request);
	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(status.message, "stop[2]"));
	free(big);
	byte_writer_free(&writer);
}

/* One option out of its range at a time: the message names it. */
static void
options_out_of_range_are_named(void **state)
{
	struct
	{
		SamplingOptions options;
		const char *name;
	} cases[] = {
		{{.given = OPTION_MAX_TOKENS, .max_tokens = 0}, "max_tokens"},
		{{.given = OPTION_TEMPERATURE, .temperature = 2.5}, "temperature"},
		{{.given = OPTION_TEMPERATURE, .temperature = 0.0 / 0.0}, "temperature"},
		{{.given = OPTION_TOP_P, .top_p = -0.1}, "top_p"},
		{{.given = OPTION_MIN_P, .min_p = 1.1}, "min_p"},
		{{.given = OPTION_TOP_K, .top_k = -1}, "top_k"},
		{{.given = OPTION_REPETITION_PENALTY, .repetition_penalty = 0.5}, "repetition_penalty"},
		{{.given = OPTION_PRESENCE_PENALTY, .presence_penalty = 3}, "presence_penalty"},
		{{.given = OPTION_FREQUENCY_PENALTY, .frequency_penalty = -3}, "frequency_penalty"},
		{{.given = OPTION_THINKING_BUDGET, .thinking_budget = -1}, "thinking_budget"},
		{{.given = OPTION_ADAPTER_SCALE, .adapter_scale = 8.5}, "adapter_scale"},
		{{.given = OPTION_ADAPTER_SCALE, .adapter_scale = 0.0 / 0.0}, "adapter_scale"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		Status status = sampling_options_check(&cases[i].options);

		assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
		assert_ptr_equal(strstr(status.message, cases[i].name), status.message);
		cases[i].options.given = 0;
		assert_int_equal(sampling_options_check(&cases[i].options).code, STATUS_OK);
	}
}

static void
text_must_be_utf8_without_nul(void **state)
{
	Request request, received;
	const char *bad[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xc0\x80"};
	ByteWriter writer;

	(void) state;
	memset(&request, 0, sizeof request);
	request.kind = REQUEST_TOKENIZE;
	byte_writer_init(&writer);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
	{
		writer.length = 0;
		request.text = span(bad[i]);
		assert_int_equal(encode_request(&writer, 1, &request).code, STATUS_OK);
		assert_int_not_equal(decode_request(writer.data + 16, writer.length - 16, &received).code, STATUS_OK);
	}
	writer.length = 0;
	request.text = (ByteSpan){"a\0b", 3};
	assert_int_equal(encode_request(&writer, 1, &request).code, STATUS_OK);
	assert_int_not_equal(decode_request(writer.data + 16, writer.length - 16, &received).code, STATUS_OK);
	byte_writer_free(&writer);
}

/* A kept input of the fuzzer, without its first byte, which says which decoder it is for. */
static size_t
read_kept_input(const char *name, uint8_t *bytes, size_t n)
{
	const char *folder = getenv("QWEN_TEST_SOURCE_DIR");
	char path[4096];
	FILE *file;
	size_t length;

	snprintf(path, sizeof path, "%s/tests/fuzz/corpus/protocol/%s", folder ? folder : ".", name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_not_equal(fgetc(file), EOF);
	length = fread(bytes, 1, n, file);
	assert_true(length > 0 && length < n);
	fclose(file);
	return length;
}

/* Inputs of an old layout or version are refused at their first bytes, and what the fuzzer makes of them is, too. */
static void
the_fuzzers_kept_inputs_have_this_layout(void **state)
{
	static const char *const requests[] = {"request_chat",  "request_chunk",    "request_detokenize",
										   "request_embed", "request_generate", "request_score"};
	uint8_t bytes[4096];
	Request request;
	FrameHeader header;

	(void) state;
	for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
	{
		size_t length = read_kept_input(requests[i], bytes, sizeof bytes);

		assert_int_equal(decode_request(bytes, length, &request).code, STATUS_OK);
	}
	assert_true(read_kept_input("stream_client", bytes, sizeof bytes) > PROTOCOL_HEADER_BYTES);
	assert_int_equal(decode_header(bytes, true, &header).code, STATUS_OK);
	assert_true(read_kept_input("stream_engine", bytes, sizeof bytes) > PROTOCOL_HEADER_BYTES);
	assert_int_equal(decode_header(bytes, false, &header).code, STATUS_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_round_trip),
		cmocka_unit_test(detokenize_request_keeps_negative_tokens),
		cmocka_unit_test(candidates_and_chunk_sizes_stand_where_they_belong),
		cmocka_unit_test(a_suffix_comes_with_what_is_generated),
		cmocka_unit_test(a_query_comes_with_a_document),
		cmocka_unit_test(logprobs_round_trip),
		cmocka_unit_test(answers_round_trip),
		cmocka_unit_test(truncated_requests_are_refused),
		cmocka_unit_test(flipped_bits_never_reach_past_the_body),
		cmocka_unit_test(go_carries_its_meter),
		cmocka_unit_test(headers_that_break_a_rule_are_refused),
		cmocka_unit_test(a_byte_behind_a_message_is_refused),
		cmocka_unit_test(limits_name_both_numbers),
		cmocka_unit_test(options_out_of_range_are_named),
		cmocka_unit_test(text_must_be_utf8_without_nul),
		cmocka_unit_test(the_fuzzers_kept_inputs_have_this_layout),
	};

	return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
