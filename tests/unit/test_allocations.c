/*
 * test_allocations.c - every allocation fails once, and from every one on all do: loading a model, opening it, serving
 * each kind of request, and a whole server over its socket.
 *
 * What is promised: a clear error (UNAVAILABLE) or the very answer that comes with enough memory, nothing in between;
 * nothing leaks; and the next request is answered as if nothing had been.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/format_cache.h"
#include "extract_calls.h"
#include "failing_allocations.h"
#include "tiny_engine.h"

static const TinyModel tiny = {TINY_QWEN3 | TINY_CLASSES, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_Q8_0, 5, -1};

static char folder[] = "/tmp/qwen_test_allocations_XXXXXX";

static int
make_folder(void **state)
{
	ByteWriter file = writer_model(&tiny, NULL);

	(void) state;
	if (!mkdtemp(folder))
		return -1;
	writer_save(folder, "m.gguf", file.data, file.length);
	byte_writer_free(&file);
	return 0;
}

static int
remove_folder(void **state)
{
	char command[128];

	(void) state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

/* A failure must say that memory ran out, a success must be one. */
static void
check_status(const Status *status, long n, const char *what)
{
	if (status->code != STATUS_OK && (status->code != STATUS_UNAVAILABLE || !strstr(status->message, "memory")))
		fail_msg("%s with allocation %ld failing: code %d, \"%s\"", what, n, status->code, status->message);
}

static void
loading_says_so_and_leaves_nothing(void **state)
{
	long n_failed = 0;

	(void) state;
	for (int way = 0; way < 4; way++)
		for (long n = 1;; n++)
		{
			long live = atomic_load(&allocations_live);
			int image_fd = memfd_create("image", 0);
			uint64_t generation;
			Status status;
			bool came;

			allocations_arm(n, way & 1);
			status = tiny_load(folder, image_fd, 1, way & 2, true);
			came = allocations_disarm();
			check_status(&status, n, "loading");
			assert_int_equal(model_image_is_complete(image_fd, &generation), status.code == STATUS_OK);
			assert_true(status.code == STATUS_OK || lseek(image_fd, 0, SEEK_END) == 0);
			assert_int_equal(atomic_load(&allocations_live), live);
			close(image_fd);
			n_failed += status.code != STATUS_OK;
			if (!came)
				break;
		}
	assert_true(n_failed > 20);
}

static void
opening_says_so_and_leaves_nothing(void **state)
{
	int image_fd = memfd_create("image", 0);
	long n_failed = 0;

	(void) state;
	assert_string_equal(tiny_load(folder, image_fd, 1, true, true).message, "");
	for (int way = 0; way < 2; way++)
		for (long n = 1;; n++)
		{
			long live = atomic_load(&allocations_live);
			Model *model = NULL;
			Status status;
			bool came;

			allocations_arm(n, way & 1);
			status = model_open(image_fd, &model);
			came = allocations_disarm();
			check_status(&status, n, "opening");
			/* half a model would go on being half of one until it is loaded again */
			if (status.code == STATUS_OK && !model->chat_template)
				fail_msg("opened without a template with allocation %ld failing", n);
			if (status.code == STATUS_OK)
				model_close(model);
			assert_int_equal(atomic_load(&allocations_live), live);
			n_failed += status.code != STATUS_OK;
			if (!came)
				break;
		}
	assert_true(n_failed > 10);
	close(image_fd);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* What an answer is, without its times. */
typedef struct Answer
{
	bool failed; /* an error, or the connection would be closed */
	Status status;
	ByteWriter text;
} Answer;

static void
note(ByteWriter *text, ByteSpan span)
{
	write_u8(text, span.data ? '+' : '-');
	write_raw(text, span.data, span.length);
}

/* Take what the frames say. */
static void
read_answer(const ByteWriter *frames, Answer *answer)
{
	for (size_t at = 0; at + PROTOCOL_HEADER_BYTES <= frames->length;)
	{
		const unsigned char *body = frames->data + at + PROTOCOL_HEADER_BYTES;
		FrameHeader header;
		ProtocolError error;
		Done done;

		assert_string_equal(decode_header(frames->data + at, false, &header).message, "");
		at += PROTOCOL_HEADER_BYTES + header.body_bytes;
		if (at > frames->length)
			return; /* cut off: out of memory for the frame, which the writer says too */
		if (header.type == FRAME_ERROR)
		{
			assert_string_equal(decode_error(body, header.body_bytes, &error).message, "");
			answer->failed = true;
			answer->status =
				status_error((StatusCode) error.code, "%.*s", (int) error.message.length, error.message.data);
		}
		else if (header.type == FRAME_DONE)
		{
			assert_string_equal(decode_done(body, header.body_bytes, &done).message, "");
			write_u8(&answer->text, done.finish_reason);
			write_u32(&answer->text, done.completion_tokens);
			note(&answer->text, done.content);
			note(&answer->text, done.thinking);
			note(&answer->text, done.tool_calls);
		}
		else
		{
			write_u16(&answer->text, header.type);
			write_raw(&answer->text, body, header.body_bytes);
		}
	}
}

/* One request through prepare.c and scheduler, its n-th allocation failing (0: none). *came: it was reached. */
static Answer
ask(TinyEngine *engine, const Request *request, long n, bool stay, bool *came)
{
	TinyCall call = {.engine = engine};
	Answer answer = {.failed = false};
	Slot *slot = &engine->slots.slots[0];

	byte_writer_init(&call.out);
	allocations_arm(n, stay);
	answer.status = prepare_in_loop(slot->model, slot->pool, NULL, request, 1, &call.out, &call.request);
	if (answer.status.code == STATUS_OK && call.request && request_is_ready(call.request))
	{
		answer.status = request_give_ready(call.request, &call.out);
		request_destroy(call.request);
	}
	else if (answer.status.code == STATUS_OK && call.request)
	{
		request_use_slot(call.request, slot);
		call.request->client = &call;
		answer.status = scheduler_go(engine->scheduler, call.request);
		if (answer.status.code != STATUS_OK)
			request_destroy(call.request);
		else
			tiny_run(engine);
	}
	*came = allocations_disarm();
	answer.failed = answer.status.code != STATUS_OK || call.out.failed;
	read_answer(&call.out, &answer);
	byte_writer_free(&call.out);
	return answer;
}

static void
check_answer(const char *what, long n, const Answer *answer, const Answer *expected)
{
	if (answer->failed)
	{
		check_status(&answer->status, n, what);
		return;
	}
	if (answer->text.length != expected->text.length ||
		memcmp(answer->text.data, expected->text.data, expected->text.length) != 0)
		fail_msg("%s: another answer with allocation %ld failing", what, n);
}

/* All of a request's allocations, one at a time. */
static void
check_request(TinyEngine *engine, const char *what, const Request *request)
{
	bool came;
	Answer expected = ask(engine, request, 0, false, &came);
	long n_failed = 0;

	if (expected.failed)
		fail_msg("%s: %s", what, expected.status.message);
	for (int stay = 0; stay < 2; stay++)
		for (long n = 1;; n++)
		{
			Answer answer = ask(engine, request, n, stay, &came), after;
			bool none;

			check_answer(what, n, &answer, &expected);
			n_failed += answer.failed;
			byte_writer_free(&answer.text);
			assert_false(scheduler_has_work(engine->scheduler));
			assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), slots_idle_bytes(&engine->slots));
			after = ask(engine, request, 0, false, &none);
			if (after.failed)
				fail_msg("%s: the next one failed after allocation %ld: %s", what, n, after.status.message);
			check_answer(what, n, &after, &expected);
			byte_writer_free(&after.text);
			if (!came)
				break;
		}
	byte_writer_free(&expected.text);
	assert_true(n_failed > 0);
}

static Request
request_of(RequestKind kind, const char *text, int32_t max_tokens)
{
	Request request = {.kind = (uint8_t) kind, .prefix_sharing = PREFIX_OFF, .role = 10};
	bool chat = kind == REQUEST_CHAT || kind == REQUEST_RENDER_CHAT || kind == REQUEST_SCORE;

	if (chat)
		request.messages = tiny_span(text);
	else if (kind != REQUEST_DETOKENIZE)
		request.text = tiny_span(text);
	request.options = (SamplingOptions){
		.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE | OPTION_SEED, .max_tokens = max_tokens, .seed = 3};
	return request;
}

static void
requests_fail_whole_or_not_at_all(void **state)
{
	static const char messages[] =
		"[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"Hi \\u00e9\"}]";
	static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";
	static const unsigned char tokens[] = {1, 0, 0, 0, 7, 0, 0, 0, 99, 0, 0, 0};
	const SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 32, .queue_size = 4};
	long live = atomic_load(&allocations_live);
	TinyEngine *engine = tiny_engine(&tiny, 1, 64, settings);
	Request request;

	(void) state;
	tiny_learn_tools(engine->slots.slots[0].model);
	request = request_of(REQUEST_CHAT, messages, 12);
	check_request(engine, "chat", &request);
	/* what fails with the last token has no later one to be noticed at */
	for (int32_t n = 1; n < 4; n++)
	{
		request.options.max_tokens = n;
		check_request(engine, "a short chat", &request);
	}
	request.flags = REQUEST_FLAG_STREAM;
	request.stops[request.n_stops++] = tiny_span("zq");
	request.options.temperature = 1;
	request.options.given |= OPTION_REPETITION_PENALTY | OPTION_THINKING_BUDGET;
	request.options.repetition_penalty = 1.2;
	request.options.thinking_budget = 0;
	check_request(engine, "chat as a stream", &request);
	request = request_of(REQUEST_CHAT, messages, 8);
	request.tools = tiny_span(tools);
	check_request(engine, "chat with tools", &request);
	request.tools.data = NULL;
	request.shared_messages = tiny_span("[{\"role\":\"system\",\"content\":\"s\"}]");
	request.prefix_sharing = PREFIX_ROLE;
	check_request(engine, "chat with a shared prefix", &request);
	request = request_of(REQUEST_GENERATE,
						 "Once upon a time there was a text that is longer than one block of positions", 40);
	check_request(engine, "generate", &request);
	request = request_of(REQUEST_EMBED, "e\xCC\x81mbed", 1);
	request.instruction = tiny_span("find");
	check_request(engine, "embed", &request);
	request = request_of(REQUEST_TOKENIZE, "some e\xCC\x81 text", 1);
	check_request(engine, "tokenize", &request);
	request = request_of(REQUEST_DETOKENIZE, "", 1);
	request.tokens = tokens;
	request.n_tokens = 3;
	check_request(engine, "detokenize", &request);
	request = request_of(REQUEST_RENDER_CHAT, messages, 1);
	request.tools = tiny_span(tools);
	check_request(engine, "render", &request);
	request = request_of(REQUEST_LOGPROBS, "how likely", 1);
	check_request(engine, "logprobs", &request);
	request = request_of(REQUEST_SCORE, messages, 1);
	request.candidates = tiny_span("[\"yes\",\"no\",\"yesterday\"]");
	check_request(engine, "score", &request);
	request = request_of(REQUEST_RERANK, "a document", 1);
	request.query = tiny_span("a query");
	check_request(engine, "rerank", &request);
	request = request_of(REQUEST_CHUNK, "One sentence. Another sentence, which is longer. And a third one.", 1);
	request.chunk_tokens = 20;
	request.chunk_overlap = 4;
	check_request(engine, "chunk", &request);
	format_cache_forget(engine->slots.slots[0].model);
	tiny_engine_free(engine);
	assert_int_equal(atomic_load(&allocations_live), live);
}

/* An answer with calls in both forms, which a tiny model does not say by itself. */
static void
calls_of_tools_are_read_whole_or_not_at_all(void **state)
{
	static const char answer[] =
		"so <tool_call>{\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,\"a text that is longer than sixteen\"]}}"
		"</tool_call> and <tool_call><function=g><parameter=n>12</parameter><parameter=s>x</parameter>"
		"</function></tool_call> end <tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"b\\\":null}\"}</tool_call>";
	static const char tools[] =
		"[{\"function\":{\"name\":\"g\",\"parameters\":{\"properties\":{\"n\":{\"type\":\"integer\"}}}}}]";
	ByteWriter expected_content, expected_calls;
	uint32_t n_expected, n_failed = 0;

	(void) state;
	byte_writer_init(&expected_content);
	byte_writer_init(&expected_calls);
	assert_string_equal(
		extract_calls(tiny_span(answer), true, tiny_span(tools), &expected_content, &expected_calls, &n_expected)
			.message,
		"");
	assert_int_equal(n_expected, 3);
	for (int stay = 0; stay < 2; stay++)
		for (long n = 1;; n++)
		{
			long live = atomic_load(&allocations_live);
			ByteWriter content, calls;
			uint32_t n_calls;
			Status status;
			bool came;

			byte_writer_init(&content);
			byte_writer_init(&calls);
			allocations_arm(n, stay);
			status = extract_calls(tiny_span(answer), true, tiny_span(tools), &content, &calls, &n_calls);
			came = allocations_disarm();
			check_status(&status, n, "reading calls");
			if (status.code == STATUS_OK)
			{
				assert_int_equal(n_calls, n_expected);
				assert_int_equal(content.length, expected_content.length);
				assert_memory_equal(content.data, expected_content.data, content.length);
				assert_int_equal(calls.length, expected_calls.length);
				assert_memory_equal(calls.data, expected_calls.data, calls.length);
			}
			n_failed += status.code != STATUS_OK;
			byte_writer_free(&content);
			byte_writer_free(&calls);
			assert_int_equal(atomic_load(&allocations_live), live);
			if (!came)
				break;
		}
	assert_true(n_failed >= 10); /* arenas take chunks: there are no more */
	byte_writer_free(&expected_content);
	byte_writer_free(&expected_calls);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loading_says_so_and_leaves_nothing),
		cmocka_unit_test(opening_says_so_and_leaves_nothing),
		cmocka_unit_test(requests_fail_whole_or_not_at_all),
		cmocka_unit_test(calls_of_tools_are_read_whole_or_not_at_all),
	};

	return cmocka_run_group_tests_name("allocations", tests, make_folder, remove_folder);
}
