/*
 * test_scheduler.c - sharing of prefixes, preemption, the bounded queue; and that answers depend on none of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

static const TinyModel shape = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};
static const SchedulerSettings usual = {.max_running = 16, .prefill_chunk = 64, .queue_size = 1000};

static TinyEngine *
make_engine(uint32_t n_blocks, SchedulerSettings settings)
{
	return tiny_engine(&shape, 1, n_blocks, settings);
}

/* A text of n characters that depends on a number. */
static const char *
make_text(char *text, uint32_t n, uint64_t number)
{
	uint64_t state = number * 7919 + 17;

	for (uint32_t i = 0; i < n; i++)
		text[i] = (char) ('a' + writer_random(&state) % 26);
	text[n] = '\0';
	return text;
}

/* One request alone in an engine of its own with room for everything and nothing cached: what it must always answer. */
static char *
answer_alone(const Request *asked)
{
	TinyEngine *engine = make_engine(1000, usual);
	Request request = *asked;
	TinyCall call;
	char *answer;

	request.prefix_sharing = PREFIX_OFF;
	tiny_submit(engine, &request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	answer = strndup(tiny_done(&call).content.data, tiny_done(&call).content.length);
	tiny_call_free(&call);
	tiny_engine_free(engine);
	return answer;
}

static void
assert_answer(const TinyCall *call, const char *expected)
{
	Done done = tiny_done(call);

	assert_int_equal(done.content.length, strlen(expected));
	assert_memory_equal(done.content.data, expected, done.content.length);
}

/* No job is left and all memory that is taken is cached and free to be given up. */
static void
assert_idle(TinyEngine *engine)
{
	assert_false(scheduler_has_work(engine->scheduler));
	assert_int_equal(atomic_load(&engine->page->n_running), 0);
	assert_int_equal(atomic_load(&engine->page->n_waiting), 0);
	assert_int_equal(atomic_load(&engine->page->kv_bytes_used), 0);
	while (slots_evict_block(&engine->slots))
		;
	assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), 0);
}

/* Run one request alone in an engine that may hold cached blocks; the tokens that came from the cache. */
static uint32_t
run_one(TinyEngine *engine, const Request *request, const char *expected)
{
	TinyCall call;
	uint32_t cached;

	tiny_submit(engine, request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	assert_answer(&call, expected);
	cached = tiny_done(&call).cached_tokens;
	tiny_call_free(&call);
	return cached;
}

static void
a_repeated_prompt_is_computed_once(void **state)
{
	TinyEngine *engine = make_engine(100, usual);
	char text[301];

	(void) state;
	for (uint32_t n = 30; n <= 300; n += n == 30 || n == 65 ? 1 : 17)
	{
		Request request = tiny_request(make_text(text, n, n), 20, 10);
		char *expected = answer_alone(&request);

		assert_int_equal(run_one(engine, &request, expected), 0);
		/* all whole blocks, but the last token of a prompt is always computed */
		assert_int_equal(run_one(engine, &request, expected), (n - 1) / KV_BLOCK_POSITIONS * KV_BLOCK_POSITIONS);
		free(expected);
	}
	assert_true(atomic_load(&engine->page->n_cached_tokens) > 0);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
an_answer_s_blocks_stay_cached_too(void **state)
{
	TinyEngine *engine = make_engine(100, usual);
	char text[101];
	Request request = tiny_request(make_text(text, 100, 5), 60, 10);
	TinyCall call;

	(void) state;
	tiny_submit(engine, &request, &call);
	tiny_run(engine);
	/* the last token's keys and values were never computed */
	assert_int_equal(tiny_done(&call).completion_tokens, 60);
	assert_int_equal(slots_cached_blocks(&engine->slots), (100 + 60 - 1) / KV_BLOCK_POSITIONS);
	tiny_call_free(&call);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
roles_do_not_see_each_other_s_prefixes(void **state)
{
	TinyEngine *engine = make_engine(100, usual);
	char text[101];
	Request request = tiny_request(make_text(text, 100, 1), 4, 10);
	char *expected = answer_alone(&request);

	(void) state;
	assert_int_equal(run_one(engine, &request, expected), 0);
	request.role = 11;
	assert_int_equal(run_one(engine, &request, expected), 0);
	assert_int_equal(run_one(engine, &request, expected), 96);
	request.prefix_sharing = PREFIX_SHARED;
	assert_int_equal(run_one(engine, &request, expected), 0);
	request.role = 12;
	assert_int_equal(run_one(engine, &request, expected), 96);
	request.prefix_sharing = PREFIX_ROLE;
	assert_int_equal(run_one(engine, &request, expected), 0);
	request.prefix_sharing = PREFIX_OFF;
	assert_int_equal(run_one(engine, &request, expected), 0);
	request.role = 13;
	assert_int_equal(run_one(engine, &request, expected), 0);
	request.prefix_sharing = PREFIX_ROLE;
	assert_int_equal(run_one(engine, &request, expected), 0);
	free(expected);
	tiny_engine_free(engine);
}

static void
the_part_that_is_nobody_s_secret_is_everybody_s(void **state)
{
	TinyEngine *engine = make_engine(100, usual);
	char instruction[101], json[400], shared[300];
	Request request = tiny_request("", 4, 10);
	uint32_t whole = 0;
	char *expected;

	(void) state;
	make_text(instruction, 100, 3);
	snprintf(json, sizeof json,
			 "[{\"role\":\"user\",\"content\":\"%sand the secret of somebody, which is long enough\"}]", instruction);
	snprintf(shared, sizeof shared, "[{\"role\":\"user\",\"content\":\"%s\"}]", instruction);
	request.kind = REQUEST_CHAT;
	request.text = (ByteSpan){NULL, 0};
	request.messages = tiny_span(json);
	request.shared_messages = tiny_span(shared);
	expected = answer_alone(&request);
	assert_int_equal(run_one(engine, &request, expected), 0);
	whole = run_one(engine, &request, expected);
	request.role = 11;
	/* "<|im_start|>user\n" is 6 tokens of this vocabulary, the instruction 100: three blocks of both */
	assert_int_equal(run_one(engine, &request, expected), 96);
	assert_true(whole > 96);
	assert_int_equal(run_one(engine, &request, expected), whole);
	free(expected);
	tiny_engine_free(engine);
}

static void
equal_prompts_at_the_same_time_are_computed_once(void **state)
{
	TinyEngine *engine = make_engine(200, usual);
	TinyCall calls[12];
	char instruction[401], texts[12][420];
	uint32_t cached = 0;

	(void) state;
	make_text(instruction, 400, 9);
	for (int i = 0; i < 12; i++)
	{
		Request request;

		sprintf(texts[i], "%s row %d", instruction, i);
		request = tiny_request(texts[i], 5, 10);
		tiny_submit(engine, &request, &calls[i]);
	}
	tiny_run(engine);
	for (int i = 0; i < 12; i++)
	{
		Request request = tiny_request(texts[i], 5, 10);
		char *expected = answer_alone(&request);

		assert_answer(&calls[i], expected);
		cached += tiny_done(&calls[i]).cached_tokens;
		tiny_call_free(&calls[i]);
		free(expected);
	}
	assert_int_equal(cached, 11 * 384);
	assert_int_equal(atomic_load(&engine->page->n_cached_tokens), cached);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
a_full_cache_preempts_and_answers_stay_the_same(void **state)
{
	/* 12 blocks = 384 positions for six requests of 40 + 150, seeded and greedy, cached and not */
	TinyEngine *engine = make_engine(12, usual);
	TinyCall calls[6];
	char texts[6][41];

	(void) state;
	for (int i = 0; i < 6; i++)
	{
		Request request = tiny_request(make_text(texts[i], 40, (uint64_t) i), 150, 10);

		request.options.temperature = i % 2;
		request.options.given |= OPTION_SEED;
		request.options.seed = i;
		request.prefix_sharing = i % 3 ? PREFIX_ROLE : PREFIX_OFF;
		tiny_submit(engine, &request, &calls[i]);
	}
	tiny_run(engine);
	assert_true(atomic_load(&engine->page->n_preemptions) > 0);
	for (int i = 0; i < 6; i++)
	{
		Request request = tiny_request(texts[i], 150, 10);
		char *expected;

		request.options.temperature = i % 2;
		request.options.given |= OPTION_SEED;
		request.options.seed = i;
		expected = answer_alone(&request);
		assert_answer(&calls[i], expected);
		assert_int_equal(tiny_done(&calls[i]).prompt_tokens, 40);
		tiny_call_free(&calls[i]);
		free(expected);
	}
	/* recomputing is not counted again */
	assert_int_equal(atomic_load(&engine->page->n_prompt_tokens), 6 * 40);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
the_oldest_is_never_preempted(void **state)
{
	TinyEngine *engine = make_engine(8, usual);
	TinyCall first, others[5];
	char text[41], other_texts[5][41];
	Request request = tiny_request(make_text(text, 40, 77), 150, 10);
	uint64_t alone;

	(void) state;
	tiny_submit(engine, &request, &first);
	tiny_run(engine);
	alone = first.ended_at;
	tiny_call_free(&first);
	engine->n_steps = 0;
	request.prefix_sharing = PREFIX_OFF;
	tiny_submit(engine, &request, &first);
	for (int i = 0; i < 5; i++)
	{
		request = tiny_request(make_text(other_texts[i], 40, (uint64_t) i), 150, 10);
		tiny_submit(engine, &request, &others[i]);
	}
	tiny_run(engine);
	assert_int_equal(first.ended_at, alone);
	tiny_call_free(&first);
	for (int i = 0; i < 5; i++)
	{
		(void) tiny_done(&others[i]);
		tiny_call_free(&others[i]);
	}
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
what_can_never_fit_is_refused_with_the_numbers(void **state)
{
	TinyEngine *engine = make_engine(4, usual);
	char text[101];
	Request request = tiny_request(make_text(text, 100, 1), 29, 10);
	TinyCall call;

	(void) state;
	tiny_submit(engine, &request, &call);
	assert_int_equal(call.status.code, STATUS_TOO_LONG);
	assert_non_null(strstr(call.status.message, "129"));
	assert_non_null(strstr(call.status.message, "128"));
	tiny_call_free(&call);
	request.options.max_tokens = 28;
	tiny_submit(engine, &request, &call);
	tiny_run(engine);
	(void) tiny_done(&call);
	tiny_call_free(&call);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
cancel_frees_blocks_in_every_state(void **state)
{
	SchedulerSettings two = {.max_running = 2, .prefill_chunk = 16, .queue_size = 100};
	TinyEngine *engine = make_engine(50, two);
	TinyCall calls[4];
	char texts[4][201];

	(void) state;
	for (uint32_t steps = 0; steps < 40; steps += 3)
	{
		for (int i = 0; i < 4; i++)
		{
			Request request = tiny_request(make_text(texts[i], 200, steps * 4 + (uint32_t) i), 100, 10);

			tiny_submit(engine, &request, &calls[i]);
		}
		for (uint32_t s = 0; s < steps; s++)
			tiny_step(engine);
		for (int i = 0; i < 4; i++)
			if (calls[i].job)
				tiny_cancel(engine, &calls[i]);
		for (int i = 0; i < 4; i++)
			tiny_call_free(&calls[i]);
		assert_idle(engine);
	}
	tiny_engine_free(engine);
}

static void
the_queue_is_bounded(void **state)
{
	SchedulerSettings small = {.max_running = 2, .prefill_chunk = 16, .queue_size = 3};
	TinyEngine *engine = make_engine(50, small);
	Request request = tiny_request("once upon a time", 30, 10);
	TinyCall calls[6];

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		tiny_submit(engine, &request, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
	}
	tiny_submit(engine, &request, &calls[5]);
	assert_int_equal(calls[5].status.code, STATUS_UNAVAILABLE);
	assert_non_null(strstr(calls[5].status.message, "3 requests are waiting already"));
	assert_non_null(strstr(calls[5].status.message, "qwen.queue_size"));
	tiny_call_free(&calls[5]);
	tiny_run(engine);
	tiny_submit(engine, &request, &calls[5]);
	assert_string_equal(calls[5].status.message, "");
	tiny_run(engine);
	for (int i = 0; i < 6; i++)
		tiny_call_free(&calls[i]);
	assert_idle(engine);
	tiny_engine_free(engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repeated_prompt_is_computed_once),
		cmocka_unit_test(an_answer_s_blocks_stay_cached_too),
		cmocka_unit_test(roles_do_not_see_each_other_s_prefixes),
		cmocka_unit_test(the_part_that_is_nobody_s_secret_is_everybody_s),
		cmocka_unit_test(equal_prompts_at_the_same_time_are_computed_once),
		cmocka_unit_test(a_full_cache_preempts_and_answers_stay_the_same),
		cmocka_unit_test(the_oldest_is_never_preempted),
		cmocka_unit_test(what_can_never_fit_is_refused_with_the_numbers),
		cmocka_unit_test(cancel_frees_blocks_in_every_state),
		cmocka_unit_test(the_queue_is_bounded),
	};

	return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
