/*
 * test_sequences.c - a request may hold several sequences: they are computed, make room and end as one.
 *
 * A kind of the test's own has a sequence for each part of its text ("…|…|…") and wants the logits behind each of them;
 * they are compared with those of the same parts alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../src/engine/kinds.h"
#include "tiny_engine.h"

#define MAX_PARTS 8

static const TinyModel shape = {true, 2, 64, 64, 2, 1, 32, 2048, false, TENSOR_F32, 5, -1};

/* The request's own work: the logits behind each part. */
typedef struct Ends
{
	bool taken[MAX_PARTS];
	float logits[MAX_PARTS * TINY_VOCAB];
} Ends;

static Status
ends_prepare(EngineRequest *request, const Workplace *place, const Request *message)
{
	const char *part = message->text.data;
	uint32_t n = 1;

	for (size_t i = 0; i < message->text.length; i++)
		n += part[i] == '|';
	assert_true(n <= MAX_PARTS && request_add_sequences(request, n));
	request->work = calloc(1, sizeof(Ends));
	for (uint32_t i = 0; i < n; i++)
	{
		Request its = *message;
		TokenBuffer tokens = prompt_buffer(place->model);

		its.text = (ByteSpan){part, strcspn(part, "|")};
		assert_string_equal(prompt_encode_text(place, &its, &tokens).message, "");
		sequence_take_prompt(&request->sequences[i], &tokens);
		assert_true(sequence_make_room(&request->sequences[i], 0));
		assert_string_equal(kind_set_sharing(&request->sequences[i], place, message).message, "");
		request->n_prompt += request->sequences[i].n_prompt;
		part += its.text.length + 1;
	}
	return status_ok();
}

static uint32_t
ends_rows_wanted(const EngineRequest *request, const Sequence *sequence, uint32_t n)
{
	(void) request;
	return n == sequence_rows_left(sequence);
}

static Status
ends_take_row(EngineRequest *request, Sequence *sequence, const StepRow *row, ByteWriter *out)
{
	Ends *ends = request->work;
	uint32_t index = (uint32_t) (sequence - request->sequences);

	(void) out;
	assert_false(ends->taken[index]);
	assert_int_equal(row->position, sequence->n_prompt - 1);
	memcpy(ends->logits + index * TINY_VOCAB, row->logits, TINY_VOCAB * sizeof *row->logits);
	ends->taken[index] = true;
	request->is_complete = true;
	for (uint32_t i = 0; i < request->n_sequences; i++)
		request->is_complete &= ends->taken[i];
	return status_ok();
}

static void
ends_restart(EngineRequest *request, const Sequence *sequence)
{
	((Ends *) request->work)->taken[sequence - request->sequences] = false;
}

static Status
ends_finish(EngineRequest *request, ByteWriter *out)
{
	const Ends *ends = request->work;

	return encode_result(out, request->id,
						 &(RequestResult){.kind = RESULT_FLOATS,
										  .count = request->n_sequences * TINY_VOCAB,
										  .values = (const unsigned char *) ends->logits,
										  .prompt_tokens = request->n_prompt});
}

static void
ends_destroy(EngineRequest *request)
{
	free(request->work);
}

static const EngineKind kind_ends = {
	.prepare = ends_prepare,
	.rows_wanted = ends_rows_wanted,
	.take_row = ends_take_row,
	.finish = ends_finish,
	.restart = ends_restart,
	.destroy = ends_destroy,
};

/* REQUEST of this kind. */
static void
prepare(TinyEngine *engine, const char *text, PrefixSharing sharing, int32_t priority, TinyCall *call)
{
	Slot *slot = &engine->slots.slots[0];
	Workplace place = {.model = slot->model, .tokenizer = slot->model->tokenizer, .pool = slot->pool};
	Request message = {.text = tiny_span(text), .role = 10, .priority = priority, .prefix_sharing = (uint8_t) sharing};

	*call = (TinyCall){.engine = engine};
	byte_writer_init(&call->out);
	call->request = request_new(&kind_ends, &place, &message, 1);
	assert_string_equal(call->request->kind->prepare(call->request, &place, &message).message, "");
	request_use_slot(call->request, slot);
	call->request->client = call;
}

/* And GO. */
static void
submit(TinyEngine *engine, const char *text, PrefixSharing sharing, int32_t priority, TinyCall *call)
{
	prepare(engine, text, sharing, priority, call);
	call->status = scheduler_go(engine->scheduler, call->request);
	assert_string_equal(call->status.message, "");
}

/* The logits of a call that has ended; they live as long as it. */
static const unsigned char *
logits_of(const TinyCall *call, uint32_t n_parts)
{
	FrameHeader header;
	RequestResult result;

	assert_null(call->request);
	assert_string_equal(decode_header(call->out.data, false, &header).message, "");
	assert_int_equal(header.type, FRAME_RESULT);
	assert_string_equal(decode_result(call->out.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &result).message, "");
	assert_int_equal(result.count, n_parts * TINY_VOCAB);
	return result.values;
}

/* Are a call's logits those of each part alone? */
static void
assert_as_alone(const TinyCall *call, const char *text)
{
	SchedulerSettings plain = {.max_running = 1, .prefill_chunk = 1000, .queue_size = 1};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, plain);
	uint32_t n_parts = 1;

	for (size_t i = 0; text[i]; i++)
		n_parts += text[i] == '|';
	for (uint32_t i = 0; i < n_parts; i++)
	{
		char part[1000];
		TinyCall alone;

		snprintf(part, sizeof part, "%.*s", (int) strcspn(text, "|"), text);
		submit(engine, part, PREFIX_OFF, 0, &alone);
		tiny_run(engine);
		assert_memory_equal(logits_of(&alone, 1), logits_of(call, n_parts) + i * TINY_VOCAB * sizeof(float),
							TINY_VOCAB * sizeof(float));
		tiny_call_free(&alone);
		text += strlen(part) + 1;
	}
	tiny_engine_free(engine);
}

static void
assert_idle(TinyEngine *engine)
{
	assert_false(scheduler_has_work(engine->scheduler));
	while (slots_evict_block(&engine->slots))
		;
	assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), 0);
}

/* n parts of about length characters each, all different. */
static const char *
make_parts(char *text, uint32_t n, uint32_t length, uint64_t number)
{
	uint64_t state = number * 7919 + 17;
	char *at = text;

	for (uint32_t i = 0; i < n; i++)
	{
		for (uint32_t k = 0; k < length + 7 * i; k++)
			*at++ = (char) ('a' + writer_random(&state) % 26);
		*at++ = i + 1 < n ? '|' : '\0';
	}
	return text;
}

static void
parts_of_a_request_are_computed_as_alone(void **state)
{
	static const uint32_t chunks[] = {16, 33, 1000};

	(void) state;
	for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++)
	{
		SchedulerSettings settings = {.max_running = 8, .prefill_chunk = chunks[c], .queue_size = 10};
		TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
		char text[1000], other[1000];
		Request chat = tiny_request("the quick brown fox", 20, 11);
		TinyCall call, second, answer;

		tiny_submit(engine, &chat, &answer);
		submit(engine, make_parts(text, 4, 60, c), PREFIX_ROLE, 0, &call);
		submit(engine, make_parts(other, 2, 30, c + 10), PREFIX_ROLE, 0, &second);
		tiny_run(engine);
		assert_as_alone(&call, text);
		assert_as_alone(&second, other);
		assert_int_equal(tiny_done(&answer).completion_tokens, 20);
		tiny_call_free(&call);
		tiny_call_free(&second);
		tiny_call_free(&answer);
		assert_idle(engine);
		tiny_engine_free(engine);
	}
}

static void
every_sequence_takes_a_place(void **state)
{
	SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 16, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
	char text[1000], other[1000];
	TinyCall call, second;

	(void) state;
	submit(engine, make_parts(text, 3, 60, 1), PREFIX_OFF, 0, &call);
	submit(engine, make_parts(other, 2, 60, 2), PREFIX_OFF, 0, &second);
	while (call.request)
	{
		/* three of four places are taken, and the second one needs two */
		assert_int_equal(second.request->state, STATE_QUEUED);
		tiny_step(engine);
	}
	tiny_run(engine);
	assert_as_alone(&call, text);
	assert_as_alone(&second, other);
	tiny_call_free(&call);
	tiny_call_free(&second);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
more_sequences_than_places_are_refused(void **state)
{
	SchedulerSettings settings = {.max_running = 2, .prefill_chunk = 16, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
	char text[1000];
	TinyCall call;

	(void) state;
	prepare(engine, make_parts(text, 3, 20, 7), PREFIX_OFF, 0, &call);
	assert_int_equal(scheduler_go(engine->scheduler, call.request).code, STATUS_TOO_LONG);
	request_destroy(call.request);
	tiny_call_free(&call);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
preempted_sequences_start_again_together(void **state)
{
	SchedulerSettings settings = {.max_running = 8, .prefill_chunk = 16, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 12, settings);
	char text[1000], other[1000];
	TinyCall low, high;

	(void) state;
	/* its short parts are done when one of higher priority wants all of the memory */
	submit(engine, make_parts(text, 4, 20, 3), PREFIX_OFF, 0, &low);
	while (!((Ends *) low.request->work)->taken[0])
		tiny_step(engine);
	submit(engine, make_parts(other, 3, 90, 4), PREFIX_OFF, 1, &high);
	tiny_step(engine);
	assert_int_equal(low.request->state, STATE_QUEUED);
	assert_false(((Ends *) low.request->work)->taken[0]);
	tiny_run(engine);
	assert_as_alone(&high, other);
	assert_as_alone(&low, text);
	assert_true(high.number < low.number);
	tiny_call_free(&low);
	tiny_call_free(&high);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
sequences_that_never_fit_together_end_with_an_error(void **state)
{
	SchedulerSettings settings = {.max_running = 8, .prefill_chunk = 16, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 8, settings);
	char text[1000];
	FrameHeader header;
	TinyCall call;

	(void) state;
	/* each of them fits, all of them do not */
	submit(engine, make_parts(text, 3, 120, 5), PREFIX_OFF, 0, &call);
	for (int i = 0; i < 1000 && call.request; i++)
		tiny_step(engine);
	assert_null(call.request);
	assert_string_equal(decode_header(call.out.data, false, &header).message, "");
	assert_int_equal(header.type, FRAME_ERROR);
	tiny_call_free(&call);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
cancel_frees_the_blocks_of_all_sequences(void **state)
{
	SchedulerSettings settings = {.max_running = 8, .prefill_chunk = 16, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
	char text[1000];
	TinyCall call;

	(void) state;
	submit(engine, make_parts(text, 4, 60, 6), PREFIX_OFF, 0, &call);
	for (int i = 0; i < 6; i++)
		tiny_step(engine);
	assert_true(kv_budget_in_use(engine->slots.settings.budget) > 0);
	tiny_cancel(engine, &call);
	tiny_call_free(&call);
	assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), 0);
	assert_idle(engine);
	tiny_engine_free(engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_of_a_request_are_computed_as_alone),
		cmocka_unit_test(every_sequence_takes_a_place),
		cmocka_unit_test(more_sequences_than_places_are_refused),
		cmocka_unit_test(preempted_sequences_start_again_together),
		cmocka_unit_test(sequences_that_never_fit_together_end_with_an_error),
		cmocka_unit_test(cancel_frees_the_blocks_of_all_sequences),
	};

	return cmocka_run_group_tests_name("sequences", tests, NULL, NULL);
}
