/*
 * test_scheduler.c - sharing of prefixes, preemption, the bounded queue, fairness; and that answers depend on none of
 * it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "tiny_engine.h"

static const TinyModel shape = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};
static const SchedulerSettings usual = {
	.max_running = 16, .prefill_chunk = 64, .queue_size = 1000, .speculation = true};

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
	SchedulerSettings plain = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1};
	TinyEngine *engine = make_engine(1000, plain);
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

/* No request is left and all memory that is taken is cached and free to be given up. */
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
	/* a chunk that has room for several of them in one step */
	SchedulerSettings wide = {.max_running = 16, .prefill_chunk = 1000, .queue_size = 1000};
	TinyEngine *engine = make_engine(200, wide);
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

/* A question with tools, whose choice, temperature and seed depend on a number. */
static Request
calling_request(uint32_t i)
{
	static const char tools[] =
		"[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\",\"properties\":{"
		"\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":30},\"note\":{\"type\":\"string\",\"maxLength\":20},"
		"\"kind\":{\"enum\":[\"small\",\"large\"]}},\"required\":[\"n\",\"note\",\"kind\"]}}},"
		"{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";
	static const ToolChoice choices[] = {TOOL_CHOICE_REQUIRED, TOOL_CHOICE_NAMED, TOOL_CHOICE_AUTO,
										 TOOL_CHOICE_NOT_GIVEN};
	Request request = tiny_request("", 150, 10);

	request.kind = REQUEST_CHAT;
	request.text = (ByteSpan){NULL, 0};
	request.messages = tiny_span("[{\"role\":\"user\",\"content\":\"Add this, this and this.\"}]");
	request.tools = tiny_span(tools);
	request.tool_choice = choices[i % 4];
	if (request.tool_choice == TOOL_CHOICE_NAMED)
		request.tool_name = tiny_span("add");
	request.options.temperature = i % 3 * 0.75;
	request.options.given |= OPTION_SEED;
	request.options.seed = i;
	return request;
}

/* An engine whose model writes its calls in one form. */
static TinyEngine *
calling_engine(bool is_of_tags, uint32_t n_blocks, SchedulerSettings settings)
{
	TinyEngine *engine = make_engine(n_blocks, settings);
	Model *model = engine->slots.slots[0].model;

	tiny_learn_tools(model);
	model->calls_by_tags = is_of_tags;
	return engine;
}

#define N_CALLING 12
#define N_URGENT 32

/* The answers of all calling requests together; again and again somebody urgent takes the blocks of those that run. */
static void
call_among_urgent_ones(TinyEngine *engine, TinyCall *calls)
{
	TinyCall urgent[N_URGENT];
	char texts[N_URGENT][1401];
	uint32_t n_urgent = 0;

	for (uint32_t i = 0; i < N_CALLING; i++)
	{
		Request request = calling_request(i);

		request.priority = -1000;
		request.prefix_sharing = i % 3 ? PREFIX_ROLE : PREFIX_OFF;
		tiny_submit(engine, &request, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
	}
	while (scheduler_has_work(engine->scheduler))
	{
		bool is_quiet = n_urgent == 0 || !urgent[n_urgent - 1].request;

		/* the next one a while after the last has ended, at another place of the calls each time */
		if (is_quiet && n_urgent < N_URGENT &&
			engine->n_steps >= (n_urgent ? urgent[n_urgent - 1].ended_at : 0) + 4 + n_urgent % 13)
		{
			Request request = tiny_request(make_text(texts[n_urgent], 1400, n_urgent), 1, 10);

			request.priority = 1000;
			request.prefix_sharing = PREFIX_OFF;
			tiny_submit(engine, &request, &urgent[n_urgent++]);
		}
		tiny_step(engine);
	}
	for (uint32_t i = 0; i < n_urgent; i++)
		tiny_call_free(&urgent[i]);
}

static void
assert_same_done(const Done *a, const Done *b)
{
	assert_int_equal(a->finish_reason, b->finish_reason);
	assert_int_equal(a->completion_tokens, b->completion_tokens);
	assert_int_equal(a->content.length, b->content.length);
	assert_memory_equal(a->content.data, b->content.data, a->content.length);
	assert_int_equal(a->tool_calls.length, b->tool_calls.length);
	if (a->tool_calls.length)
		assert_memory_equal(a->tool_calls.data, b->tool_calls.data, a->tool_calls.length);
}

/* In both forms, for each way to choose, as free text too; cut off in the middle of calls, between their bytes. */
static void
calls_are_the_same_guessed_and_preempted(void **state)
{
	SchedulerSettings plain = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1};

	(void) state;
	for (int is_of_tags = 0; is_of_tags < 2; is_of_tags++)
	{
		TinyCall alone[N_CALLING], calls[N_CALLING];
		uint32_t n_called = 0;

		for (uint32_t i = 0; i < N_CALLING; i++)
		{
			TinyEngine *engine = calling_engine(is_of_tags, 1000, plain);
			Request request = calling_request(i);

			tiny_submit(engine, &request, &alone[i]);
			assert_string_equal(alone[i].status.message, "");
			tiny_run(engine);
			tiny_engine_free(engine);
		}
		for (int guesses = 0; guesses < 2; guesses++)
		{
			SchedulerSettings settings = usual;
			TinyEngine *engine;

			/* so few that there is room for runs of guesses */
			settings.max_running = 2;
			settings.prefill_chunk = 512;
			settings.speculation = guesses ? SPECULATION_AUTO : SPECULATION_OFF;
			engine = calling_engine(is_of_tags, 60, settings);
			call_among_urgent_ones(engine, calls);
			assert_true(atomic_load(&engine->page->n_preemptions) >= N_CALLING);
			assert_true(guesses ? atomic_load(&engine->page->n_guessed_right) > 50
								: atomic_load(&engine->page->n_guessed_tokens) == 0);
			for (uint32_t i = 0; i < N_CALLING; i++)
			{
				Done expected = tiny_done(&alone[i]), done = tiny_done(&calls[i]);

				assert_same_done(&done, &expected);
				n_called += done.tool_calls.length > 0;
				tiny_call_free(&calls[i]);
			}
			assert_idle(engine);
			tiny_engine_free(engine);
		}
		/* those that have to call do, with guesses and without */
		assert_true(n_called >= N_CALLING);
		for (uint32_t i = 0; i < N_CALLING; i++)
			tiny_call_free(&alone[i]);
	}
}

/* The one frame that a request without DONE gets. */
static ByteWriter
result_alone(const TinyModel *model, const Request *asked)
{
	TinyEngine *engine = tiny_engine(model, 1, 1000, usual);
	Request request = *asked;
	TinyCall call;

	request.prefix_sharing = PREFIX_OFF;
	tiny_submit(engine, &request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	tiny_engine_free(engine);
	return call.out;
}

static void
what_is_preempted_in_its_prompt_gives_the_same(void **state)
{
	static const uint8_t kinds[2] = {REQUEST_LOGPROBS, REQUEST_EMBED};
	/* a prompt of 1000 tokens takes 63 steps of 16 rows; meanwhile a more senior answer grows into its memory */
	SchedulerSettings slow = {.max_running = 4, .prefill_chunk = 16, .queue_size = 10};
	TinyModel mean = shape;
	char text[41], long_text[1001];

	(void) state;
	mean.pooling = POOLING_MEAN;
	make_text(text, 40, 3);
	make_text(long_text, 1000, 4);
	for (int k = 0; k < 2; k++)
	{
		TinyEngine *engine = tiny_engine(&mean, 1, 35, slow);
		Request answer = tiny_request(text, 200, 10), request = tiny_request(long_text, 1, 10);
		TinyCall calls[2];
		ByteWriter expected;

		request.kind = kinds[k];
		expected = result_alone(&mean, &request);
		answer.prefix_sharing = PREFIX_OFF;
		tiny_submit(engine, &answer, &calls[0]);
		tiny_submit(engine, &request, &calls[1]);
		tiny_run(engine);
		assert_true(atomic_load(&engine->page->n_preemptions) > 0);
		assert_true(tiny_same_result(&calls[1].out, &expected));
		byte_writer_free(&expected);
		tiny_call_free(&calls[0]);
		tiny_call_free(&calls[1]);
		assert_idle(engine);
		tiny_engine_free(engine);
	}
}

static void
scores_leave_no_block_that_they_write_again(void **state)
{
	TinyEngine *engine = make_engine(100, usual);
	Request request = tiny_request("", 1, 10), chat = tiny_request("", 20, 10);
	static const char question[] = "What is it, after all, and why not?";
	static const char first[] = "never, at no time and for no reason that anybody could give, ";
	static const char second[] = "yonder over the hills and far away in a long valley, ";
	char messages[400], candidates[400], *answer;
	ByteWriter expected;

	(void) state;
	request.kind = REQUEST_SCORE;
	request.text = (ByteSpan){NULL, 0};
	snprintf(messages, sizeof messages, "[{\"role\":\"user\",\"content\":\"%s\"}]", question);
	request.messages = tiny_span(messages);
	/* ways of more than one block behind the prompt, one of which is put over the other */
	snprintf(candidates, sizeof candidates, "[\"%sthere\", \"%shere\", \"%sthere\", \"%shere\"]", first, first, second,
			 second);
	request.candidates = tiny_span(candidates);
	expected = result_alone(&shape, &request);
	for (int i = 0; i < 3; i++)
	{
		TinyCall call;

		tiny_submit(engine, &request, &call);
		tiny_run(engine);
		assert_true(tiny_same_result(&call.out, &expected));
		tiny_call_free(&call);
	}
	assert_true(atomic_load(&engine->page->n_cached_tokens) > 0);
	byte_writer_free(&expected);
	/* conversations that go on with these very tokens */
	for (int i = 0; i < 2; i++)
	{
		snprintf(messages, sizeof messages,
				 "[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"content\":\"%sthere\"}]", question,
				 i ? first : second);
		chat.kind = REQUEST_CHAT;
		chat.text = (ByteSpan){NULL, 0};
		chat.messages = tiny_span(messages);
		answer = answer_alone(&chat);
		assert_int_equal(run_one(engine, &chat, answer), 32);
		free(answer);
	}
	assert_idle(engine);
	tiny_engine_free(engine);
}

/* The score of a document's request as it was said, and how many tokens of it were cached. */
static float
rank(TinyEngine *engine, const char *query, const char *document, uint32_t role, uint32_t *n_cached)
{
	Request request = {.kind = REQUEST_RERANK,
					   .query = tiny_span(query),
					   .text = tiny_span(document),
					   .role = role,
					   .prefix_sharing = PREFIX_ROLE};
	RequestResult result;
	FrameHeader header;
	TinyCall call;
	float score;

	tiny_submit(engine, &request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	assert_int_equal(decode_header(call.out.data, false, &header).code, STATUS_OK);
	assert_int_equal(header.type, FRAME_RESULT);
	assert_int_equal(decode_result(call.out.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &result).code, STATUS_OK);
	assert_int_equal(result.count, 1);
	*n_cached = result.cached_tokens;
	score = protocol_float(result.values, 0);
	tiny_call_free(&call);
	return score;
}

static void
a_query_is_computed_once_for_its_role(void **state)
{
	TinyModel ranks = shape;
	/* with the template's words before it ("Is it about "), two blocks and some */
	const char *query = "rivers that flow from the mountains to the sea without any lake between";
	TinyEngine *engine;
	uint32_t n_cached;
	float first;

	(void) state;
	ranks.kind = TINY_CLASSES;
	engine = tiny_engine(&ranks, 1, 100, usual);
	first = rank(engine, query, "The Rhine", 10, &n_cached);
	assert_int_equal(n_cached, 0);
	assert_true(rank(engine, query, "A bicycle", 10, &n_cached) != first);
	assert_int_equal(n_cached, 64);
	assert_true(rank(engine, query, "The Rhine", 10, &n_cached) == first);
	assert_true(n_cached >= 64);
	/* nobody learns from the time it takes what others ask */
	assert_true(rank(engine, query, "The Rhine", 11, &n_cached) == first);
	assert_int_equal(n_cached, 0);
	assert_true(rank(engine, "lakes", "The Rhine", 10, &n_cached) != first);
	tiny_engine_free(engine);
}

static void
the_oldest_is_never_preempted(void **state)
{
	/* without guesses, whose number depends on how many run */
	SchedulerSettings settings = {.max_running = 16, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(8, settings);
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
	SchedulerSettings two = {.max_running = 2, .prefill_chunk = 16, .queue_size = 100, .speculation = true};
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
			if (calls[i].request)
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
	assert_int_equal(calls[5].status.code, STATUS_QUEUE_FULL);
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

/* Submit a request that is refused; what was said. */
static Status
refusal_of(TinyEngine *engine, const Request *request)
{
	TinyCall call;
	Status status;

	tiny_submit(engine, request, &call);
	status = call.status;
	assert_int_equal(status.code, STATUS_QUEUE_FULL);
	tiny_call_free(&call);
	return status;
}

/* Whoever has filled the queue finds it full, another role does not: it has as much of it as its share. */
static void
who_fills_the_queue_does_not_close_it_to_others(void **state)
{
	/* one of role 10 runs and four wait; two of role 11 wait, which are its half of four, and one each of two more */
	static const uint32_t roles[] = {10, 10, 10, 10, 10, 11, 11, 12, 13};
	SchedulerSettings small = {.max_running = 1, .prefill_chunk = 16, .queue_size = 4};
	TinyEngine *engine = make_engine(50, small);
	TinyCall calls[sizeof roles / sizeof roles[0]];

	(void) state;
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
	{
		Request request = tiny_request("once upon a time", 4, roles[i]), same = tiny_request("there was", 4, roles[i]);

		tiny_submit(engine, &request, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
		if (i == 4 || i == 6 || i == 7)
			(void) refusal_of(engine, &same);
	}
	/* the bound of all together */
	for (uint32_t role = 10; role < 16; role++)
	{
		Request request = tiny_request("there was", 4, role);

		assert_non_null(strstr(refusal_of(engine, &request).message, "8 requests are waiting already"));
	}
	tiny_run(engine);
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
	{
		assert_int_equal(tiny_done(&calls[i]).completion_tokens, 4);
		tiny_call_free(&calls[i]);
	}
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
a_thousand_requests_of_one_role_do_not_hold_up_another_s(void **state)
{
	SchedulerSettings four = {.max_running = 4, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, four);
	TinyCall *many = calloc(1000, sizeof *many), one;
	char text[31];
	Request request = tiny_request(make_text(text, 30, 1), 10, 10);
	uint64_t asked_at;

	(void) state;
	for (int i = 0; i < 1000; i++)
		tiny_submit(engine, &request, &many[i]);
	for (int i = 0; i < 25; i++)
		tiny_step(engine);
	request.role = 11;
	tiny_submit(engine, &request, &one);
	asked_at = engine->n_steps;
	tiny_run(engine);
	/* it waits for one that runs to end (10 steps at most) and then takes 10 itself */
	assert_true(one.ended_at - asked_at <= 21);
	tiny_call_free(&one);
	for (int i = 0; i < 1000; i++)
	{
		(void) tiny_done(&many[i]);
		tiny_call_free(&many[i]);
	}
	free(many);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
roles_get_equal_shares_of_tokens(void **state)
{
	SchedulerSettings two = {.max_running = 2, .prefill_chunk = 64, .queue_size = 1000};
	/* role 10 asks for answers of 40 tokens, role 11 for such of 10 */
	static const int32_t lengths[2] = {40, 10};
	TinyEngine *engine = make_engine(100, two);
	TinyCall calls[2][60];
	uint32_t tokens[2] = {0, 0};
	char text[31];

	(void) state;
	make_text(text, 10, 2);
	for (int role = 0; role < 2; role++)
		for (int i = 0; i < 60; i++)
		{
			Request request = tiny_request(text, lengths[role], 10 + (uint32_t) role);

			tiny_submit(engine, &request, &calls[role][i]);
		}
	for (int i = 0; i < 300; i++)
		tiny_step(engine);
	for (int role = 0; role < 2; role++)
		for (int i = 0; i < 60; i++)
		{
			if (!calls[role][i].request)
				tokens[role] += 10 + tiny_done(&calls[role][i]).completion_tokens;
			else
				tiny_cancel(engine, &calls[role][i]);
			tiny_call_free(&calls[role][i]);
		}
	assert_true(tokens[0] > 200 && tokens[1] > 200);
	assert_true(tokens[0] < tokens[1] + 110 && tokens[1] < tokens[0] + 110);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
who_was_preempted_pays_for_the_prompt_once(void **state)
{
	/* 8 blocks hold one of two answers whole: the junior one starts again when the other has ended */
	SchedulerSettings two = {.max_running = 2, .prefill_chunk = 64, .queue_size = 100};
	static const uint32_t roles[] = {14, 12, 10}, lengths[] = {90, 40, 60};
	TinyEngine *engine = make_engine(8, two);
	TinyCall calls[3], blockers[2], later, earlier;
	char texts[3][91];
	Request request;

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		request = tiny_request(make_text(texts[i], lengths[i], (uint64_t) i), 150, roles[i]);
		request.prefix_sharing = PREFIX_OFF;
		tiny_submit(engine, &request, &calls[i]);
		if (i == 0)
			tiny_run(engine);
	}
	tiny_run(engine);
	assert_true(atomic_load(&engine->page->n_preemptions) > 0);
	/* role 10 was served 60 + 150 by now, role 14 more: 90 + 150 */
	for (int i = 0; i < 2; i++)
	{
		request = tiny_request("once", i ? 30 : 10, 20 + (uint32_t) i);
		tiny_submit(engine, &request, &blockers[i]);
	}
	tiny_step(engine);
	request = tiny_request("upon a time", 5, 14);
	tiny_submit(engine, &request, &later);
	request.role = 10;
	tiny_submit(engine, &request, &earlier);
	tiny_run(engine);
	assert_true(earlier.number < later.number);
	for (int i = 0; i < 3; i++)
		tiny_call_free(&calls[i]);
	for (int i = 0; i < 2; i++)
		tiny_call_free(&blockers[i]);
	tiny_call_free(&earlier);
	tiny_call_free(&later);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
a_role_s_rest_is_no_credit(void **state)
{
	SchedulerSettings single = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, single);
	Request request = tiny_request("once upon a time", 10, 10);
	TinyCall calls[40], late[20];
	uint32_t later_ones = 0;

	(void) state;
	for (int i = 0; i < 40; i++)
		tiny_submit(engine, &request, &calls[i]);
	while (calls[19].request)
		tiny_step(engine);
	/* a role that comes now takes turns with the other one, it does not go first until it has had as much */
	request.role = 11;
	for (int i = 0; i < 20; i++)
		tiny_submit(engine, &request, &late[i]);
	tiny_run(engine);
	for (int i = 20; i < 30; i++)
		for (int j = 0; j < 20; j++)
			later_ones += late[j].number > calls[i].number;
	/* each of ten finds about 20, 19, 18 … of them behind it */
	assert_in_range(later_ones, 130, 170);
	for (int i = 0; i < 40; i++)
		tiny_call_free(&calls[i]);
	for (int i = 0; i < 20; i++)
		tiny_call_free(&late[i]);
	tiny_engine_free(engine);
}

static void
priority_goes_first(void **state)
{
	SchedulerSettings single = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, single);
	/* which one comes at which turn */
	static const int32_t priorities[6] = {0, 0, -1, 5, 0, 5};
	static const uint32_t turns[6] = {2, 3, 5, 0, 4, 1};
	TinyCall calls[6];

	(void) state;
	tiny_n_ended = 0;
	for (int i = 0; i < 6; i++)
	{
		Request request = tiny_request("once upon a time", 5, 10);

		request.priority = priorities[i];
		tiny_submit(engine, &request, &calls[i]);
		if (i == 0)
			tiny_step(engine);
	}
	tiny_run(engine);
	for (int i = 0; i < 6; i++)
	{
		assert_int_equal(calls[i].number, turns[i]);
		tiny_call_free(&calls[i]);
	}
	tiny_engine_free(engine);
}

/* Run until a call has its first token; how many steps that took. */
static uint32_t
steps_to_first_token(TinyEngine *engine, const TinyCall *call)
{
	uint32_t n = 0;

	for (; call->request && call->request->sequences[0].n_generated == 0; n++)
		tiny_step(engine);
	return n;
}

/* Running answers of low priority, as many as there are places (or blocks), and then one of high priority. */
static void
run_against_priority(uint32_t max_running, uint32_t n_blocks, uint32_t n_running)
{
	SchedulerSettings settings = {.max_running = max_running, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(n_blocks, settings);
	TinyCall low[64], high;
	char texts[64][31], *expected[64];
	Request urgent = tiny_request("somebody is waiting for this one", 20, 20);

	for (uint32_t i = 0; i < n_running; i++)
	{
		Request request = tiny_request(make_text(texts[i], 30, i), 100, 10);

		expected[i] = answer_alone(&request);
		request.priority = -1000;
		tiny_submit(engine, &request, &low[i]);
	}
	for (uint32_t i = 0; i < n_running; i++)
		while (low[i].request->sequences[0].n_generated < 20)
			tiny_step(engine);
	assert_int_equal(atomic_load(&engine->page->n_running), n_running);
	urgent.priority = 1000;
	tiny_submit(engine, &urgent, &high);
	assert_true(steps_to_first_token(engine, &high) <= 2);
	/* where memory was missing, the others run into that later among themselves */
	assert_true(max_running > n_running || atomic_load(&engine->page->n_preemptions) == 1);
	assert_true(atomic_load(&engine->page->n_preemptions) >= 1);
	tiny_run(engine);
	assert_int_equal(tiny_done(&high).completion_tokens, 20);
	tiny_call_free(&high);
	/* who gave way has the answer that it always has */
	for (uint32_t i = 0; i < n_running; i++)
	{
		assert_answer(&low[i], expected[i]);
		tiny_call_free(&low[i]);
		free(expected[i]);
	}
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
who_has_a_higher_priority_does_not_wait_for_running_answers(void **state)
{
	(void) state;
	run_against_priority(16, 1000, 16);
	/* places enough, but no blocks: 16 answers of 30 + 100 tokens are 5 blocks each, and 2 are enough by then */
	run_against_priority(64, 33, 16);
}

static void
equal_priority_gives_no_way(void **state)
{
	SchedulerSettings single = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, single);
	TinyCall first, second;
	Request request = tiny_request("once upon a time", 50, 10);

	(void) state;
	request.priority = 7;
	tiny_submit(engine, &request, &first);
	tiny_step(engine);
	request.role = 20;
	tiny_submit(engine, &request, &second);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	assert_true(first.ended_at < second.ended_at);
	tiny_call_free(&first);
	tiny_call_free(&second);
	tiny_engine_free(engine);
}

static void
nobody_gives_way_for_ever(void **state)
{
	SchedulerSettings single = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, single);
	TinyCall low, high;
	Request request = tiny_request("once upon a time", 100, 10), urgent = tiny_request("now", 3, 20);
	uint32_t n = 0;

	(void) state;
	tiny_submit(engine, &request, &low);
	urgent.priority = 5;
	/* urgent ones without end: each of them has the place at once, until the first one has given way so many times */
	for (; low.request && n < 1000; n++)
	{
		while (low.request && low.request->state != STATE_RUNNING)
			tiny_step(engine);
		tiny_step(engine);
		if (!low.request)
			break;
		tiny_submit(engine, &urgent, &high);
		while (high.request)
			tiny_step(engine);
		tiny_call_free(&high);
	}
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 4);
	assert_int_equal(tiny_done(&low).completion_tokens, 100);
	tiny_call_free(&low);
	tiny_engine_free(engine);
}

static void
who_has_waited_long_has_a_place_in_spite_of_priority(void **state)
{
	SchedulerSettings single = {.max_running = 1, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(100, single);
	TinyCall low, urgent[20];
	Request request = tiny_request("once upon a time", 10, 10);

	(void) state;
	request.priority = 5;
	tiny_n_ended = 0;
	for (int i = 0; i < 20; i++)
		tiny_submit(engine, &request, &urgent[i]);
	request.priority = -5;
	request.role = 20;
	tiny_submit(engine, &request, &low);
	low.request->go_us -= (uint64_t) 61 * 1000 * 1000;
	tiny_run(engine);
	/* one place of eight, and nobody takes it away again */
	assert_true(low.number >= 6 && low.number <= 8);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	for (int i = 0; i < 20; i++)
		tiny_call_free(&urgent[i]);
	tiny_call_free(&low);
	tiny_engine_free(engine);
}

/* The place alone is of no use: it needs blocks and rows as well, as those do behind which it has waited. */
static void
who_has_waited_long_keeps_its_place_when_memory_is_short(void **state)
{
	SchedulerSettings two = {.max_running = 2, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(6, two);
	TinyCall low, urgent[20];
	Request request = tiny_request("once upon a time", 130, 10), aged = tiny_request("there was", 130, 20);

	(void) state;
	request.priority = 5;
	request.prefix_sharing = PREFIX_OFF;
	aged.priority = -5;
	tiny_n_ended = 0;
	for (int i = 0; i < 20; i++)
	{
		tiny_submit(engine, &request, &urgent[i]);
		if (i != 1)
			continue;
		tiny_submit(engine, &aged, &low);
		low.request->go_us -= (uint64_t) 61 * 1000 * 1000;
	}
	while (low.request)
	{
		assert_false(low.request->was_preempted);
		tiny_step(engine);
	}
	assert_true(low.number < 12);
	assert_int_equal(tiny_done(&low).completion_tokens, 130);
	tiny_run(engine);
	for (int i = 0; i < 20; i++)
		tiny_call_free(&urgent[i]);
	tiny_call_free(&low);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
small_ones_pass_a_large_one_so_many_times(void **state)
{
	SchedulerSettings settings = {.max_running = 16, .prefill_chunk = 64, .queue_size = 1000};
	TinyEngine *engine = make_engine(20, settings);
	TinyCall first, large, small[40];
	char texts[2][401];
	Request request = tiny_request(make_text(texts[0], 200, 1), 200, 10);
	Request large_request = tiny_request(make_text(texts[1], 400, 2), 100, 20);
	uint32_t n_before = 0;

	(void) state;
	/* 13 blocks of 20, and then one that wants 13 at once */
	tiny_submit(engine, &request, &first);
	while (first.request->sequences[0].n_generated < 50)
		tiny_step(engine);
	tiny_submit(engine, &large_request, &large);
	for (int i = 0; i < 40; i++)
	{
		Request one = tiny_request("a", 1, 30 + (uint32_t) i % 3);

		tiny_submit(engine, &one, &small[i]);
	}
	tiny_run(engine);
	for (int i = 0; i < 40; i++)
		n_before += small[i].ended_at < first.ended_at;
	assert_int_equal(n_before, 16);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	for (int i = 0; i < 40; i++)
		tiny_call_free(&small[i]);
	tiny_call_free(&first);
	tiny_call_free(&large);
	assert_idle(engine);
	tiny_engine_free(engine);
}

/* A model in which everything overflows at the characters from space to ?: their embeddings are infinite, in a copy
 * that the caller frees. */
static Model *
overflowing_model(uint8_t **copy)
{
	Model *model = tiny_model(&shape);
	PackedMatrix *embedding = &model->token_embedding;
	size_t bytes = packed_n_tiles(embedding->n_rows) * embedding->tile_bytes;
	float infinity = INFINITY;

	*copy = aligned_alloc(64, (bytes + 63) / 64 * 64);
	memcpy(*copy, embedding->tiles, bytes);
	/* the tile of rows 32 … 63 */
	for (size_t i = 0; i < embedding->tile_bytes; i += sizeof infinity)
		memcpy(*copy + embedding->tile_bytes + i, &infinity, sizeof infinity);
	embedding->tiles = *copy;
	return model;
}

/* What became of a call. */
static ProtocolError
error_of(const TinyCall *call)
{
	ProtocolError error = {0};
	FrameHeader header;

	if (call->request || decode_header(call->out.data, false, &header).code != STATUS_OK ||
		header.type != FRAME_ERROR ||
		decode_error(call->out.data + PROTOCOL_HEADER_BYTES, header.body_bytes, &error).code != STATUS_OK)
		abort();
	return error;
}

static void
numbers_that_are_not_finite_are_an_error_of_every_kind_of_request(void **state)
{
	static const uint8_t kinds[] = {REQUEST_GENERATE, REQUEST_EMBED, REQUEST_LOGPROBS, REQUEST_GENERATE};
	uint8_t *copy;
	Model *model = overflowing_model(&copy);
	TinyEngine *engine = tiny_engine_of(&model, 1, KV_F16, 2, 100, usual);
	char text[101], bad_text[101];
	Request good = tiny_request(make_text(text, 100, 1), 20, 10);

	(void) state;
	memcpy(bad_text, text, sizeof text);
	bad_text[70] = '!';
	for (size_t k = 0; k < sizeof kinds; k++)
	{
		Request request = tiny_request(bad_text, 20, 10);
		TinyCall call, beside;
		uint32_t cached;

		request.kind = kinds[k];
		/* once with the log-probabilities of the answer's tokens, of which there is none */
		request.flags = k == 3 ? REQUEST_FLAG_LOGPROBS(5) : 0;
		tiny_submit(engine, &request, &call);
		assert_string_equal(call.status.message, "");
		/* what runs in the same steps has its answer */
		tiny_submit(engine, &good, &beside);
		tiny_run(engine);
		assert_int_equal(error_of(&call).code, STATUS_NOT_FINITE);
		assert_non_null(memmem(error_of(&call).message.data, error_of(&call).message.length, "at position 71", 14));
		assert_non_null(memmem(error_of(&call).message.data, error_of(&call).message.length, "\"m\"", 3));
		assert_true(error_of(&call).hint.length > 0);
		assert_int_equal(tiny_done(&beside).completion_tokens, 20);
		tiny_call_free(&call);
		tiny_call_free(&beside);
		/* blocks before the overflow may stay, that of it and what comes after may not */
		request.kind = REQUEST_GENERATE;
		tiny_submit(engine, &request, &call);
		tiny_step(engine);
		cached = call.request ? call.request->n_cached_tokens : 64;
		assert_true(cached <= 64);
		tiny_run(engine);
		assert_int_equal(error_of(&call).code, STATUS_NOT_FINITE);
		tiny_call_free(&call);
	}
	assert_idle(engine);
	tiny_engine_free(engine);
	free(copy);
}

/* What a request gets of an engine with so many threads, beside others that sample in other ways. */
static void
collect_answers(int n_threads, TinyCall calls[12])
{
	Model *model = tiny_model(&shape);
	TinyEngine *engine = tiny_engine_of(&model, 1, KV_F16, n_threads, 400, usual);
	char texts[12][101];

	for (uint32_t i = 0; i < 12; i++)
	{
		Request request = tiny_request(make_text(texts[i], 40 + 5 * i, i), 60, 10);

		request.kind = i % 4 == 3 ? REQUEST_LOGPROBS : REQUEST_GENERATE;
		request.options.given |= OPTION_SEED | OPTION_TOP_K | OPTION_TOP_P |
								 (i % 2 ? OPTION_REPETITION_PENALTY | OPTION_FREQUENCY_PENALTY : 0);
		request.options.temperature = i % 3 ? 0.9f : 0;
		request.options.seed = (int64_t) i;
		request.options.top_k = i % 5 ? 0 : 20;
		request.options.top_p = 0.95f;
		request.options.repetition_penalty = 1.1f;
		request.options.frequency_penalty = 0.2f;
		if (i == 4)
		{
			request.options.given |= OPTION_THINKING_BUDGET;
			request.options.thinking_budget = 3;
		}
		tiny_submit(engine, &request, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
	}
	tiny_run(engine);
	tiny_engine_free(engine);
}

static void
draws_do_not_depend_on_who_draws(void **state)
{
	static const int n_threads[] = {2, 3, 8};
	TinyCall one[12], more[12];

	(void) state;
	collect_answers(1, one);
	for (size_t k = 0; k < 3; k++)
	{
		collect_answers(n_threads[k], more);
		for (int i = 0; i < 12; i++)
		{
			if (i % 4 == 3)
				assert_true(tiny_same_result(&one[i].out, &more[i].out));
			else
			{
				assert_int_equal(tiny_done(&one[i]).content.length, tiny_done(&more[i]).content.length);
				assert_memory_equal(tiny_done(&one[i]).content.data, tiny_done(&more[i]).content.data,
									tiny_done(&one[i]).content.length);
			}
			tiny_call_free(&more[i]);
		}
	}
	for (int i = 0; i < 12; i++)
		tiny_call_free(&one[i]);
}

/* Answers and short prompts beside long ones; alone: somebody waits for each of the short ones. */
static void
run_beside_long_prompts(bool alone)
{
	SchedulerSettings chunk = {.max_running = 64, .prefill_chunk = 64, .queue_size = 100};
	TinyEngine *engine = make_engine(1000, chunk);
	TinyCall answers[32], prompts[4], shorts[3];
	char texts[32][41], long_texts[4][1501], short_texts[3][21];
	uint64_t first_short;

	for (int i = 0; i < 32; i++)
	{
		Request request = tiny_request(make_text(texts[i], 40, (uint64_t) i), 200, 10);

		tiny_submit(engine, &request, &answers[i]);
	}
	for (int i = 0; i < 60; i++)
		tiny_step(engine);
	for (int i = 0; i < 32; i++)
		assert_true(answers[i].request && answers[i].request->sequences[0].n_generated > 0);
	for (int i = 0; i < 4; i++)
	{
		Request request = tiny_request(make_text(long_texts[i], 1500, 100 + (uint64_t) i), 5, 10);

		tiny_submit(engine, &request, &prompts[i]);
	}
	tiny_step(engine);
	for (int i = 0; i < 3; i++)
	{
		Request request = tiny_request(make_text(short_texts[i], 20, 200 + (uint64_t) i), 100, 10);

		tiny_submit(engine, &request, &shorts[i]);
		shorts[i].request->alone = alone;
	}
	first_short = engine->n_steps;
	for (bool stood = false; shorts[0].request->sequences[0].n_generated == 0 ||
							 shorts[1].request->sequences[0].n_generated == 0 ||
							 shorts[2].request->sequences[0].n_generated == 0;)
	{
		uint32_t before = answers[7].request->sequences[0].n_generated;

		tiny_step(engine);
		/* an answer gets its token in every step, or stands for one slice at most */
		assert_true(answers[7].request->sequences[0].n_generated == before + 1 || (alone && !stood));
		stood = answers[7].request->sequences[0].n_generated == before;
		assert_true(atomic_load(&engine->page->batch_tokens) <= 35 + 64);
	}
	/* 60 tokens of prompts in halves of 32, and where they go first the answers' turn between them */
	assert_true(engine->n_steps - first_short < (alone ? 4 : 3));
	/* and the long ones get on meanwhile */
	assert_true(prompts[0].request->sequences[0].n_done > 64);
	for (int i = 0; i < 32; i++)
		tiny_cancel(engine, &answers[i]);
	tiny_run(engine);
	for (int i = 0; i < 32; i++)
		tiny_call_free(&answers[i]);
	for (int i = 0; i < 4; i++)
		tiny_call_free(&prompts[i]);
	for (int i = 0; i < 3; i++)
		tiny_call_free(&shorts[i]);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
long_prompts_stall_neither_answers_nor_short_prompts(void **state)
{
	(void) state;
	run_beside_long_prompts(false);
	run_beside_long_prompts(true);
}

/* Rows of the next step. */
static uint32_t
step_rows(TinyEngine *engine)
{
	tiny_step(engine);
	return atomic_load(&engine->page->batch_tokens);
}

/* An answer to a long prompt, where a row that sees so many positions takes twice as long as the first. max_rows: of
 * prompts in a step far behind. */
static char *
answer_far_behind(uint32_t even_positions, uint32_t *max_rows, uint32_t *max_rows_far)
{
	SchedulerSettings chunk = {.max_running = 64, .prefill_chunk = 64, .queue_size = 100};
	TinyEngine *engine = make_engine(1000, chunk);
	char text[1501], *answer;
	Request request = tiny_request(make_text(text, 1500, 7), 20, 10);
	TinyCall call;

	engine->slots.slots[0].even_positions = even_positions;
	tiny_submit(engine, &request, &call);
	*max_rows = *max_rows_far = 0;
	while (call.request && sequence_is_prefilling(&call.request->sequences[0]))
	{
		uint32_t at = call.request->sequences[0].n_done, rows = step_rows(engine);

		*max_rows = rows > *max_rows ? rows : *max_rows;
		if (at >= 1000)
			*max_rows_far = rows > *max_rows_far ? rows : *max_rows_far;
	}
	tiny_run(engine);
	answer = strndup(tiny_done(&call).content.data, tiny_done(&call).content.length);
	tiny_call_free(&call);
	tiny_engine_free(engine);
	return answer;
}

static void
far_behind_a_step_has_fewer_rows_of_a_prompt(void **state)
{
	uint32_t all, far;
	char *plainly, *bounded;

	(void) state;
	plainly = answer_far_behind(0, &all, &far);
	assert_true(all == 64 && far == 64);
	/* at position 1,000 a row counts as eleven: 16 for the first half of what it may take, eleven for the second */
	bounded = answer_far_behind(100, &all, &far);
	assert_true(all == 64 && far >= 20 && far <= 27);
	assert_string_equal(plainly, bounded);
	free(bounded);
	/* and never fewer than a few, which read together */
	bounded = answer_far_behind(1, &all, &far);
	assert_true(far == 16);
	assert_string_equal(plainly, bounded);
	free(bounded);
	free(plainly);
}

static void
beside_many_answers_a_prompt_s_end_goes_first(void **state)
{
	SchedulerSettings chunk = {.max_running = 64, .prefill_chunk = 64, .queue_size = 100};
	TinyEngine *engine = make_engine(1000, chunk);
	TinyCall answers[16], prompts[3];
	char texts[16][21], prompt_texts[3][101];
	static const uint32_t lengths[3] = {20, 30, 100};

	(void) state;
	for (int i = 0; i < 16; i++)
	{
		/* one of them ends early */
		Request request = tiny_request(make_text(texts[i], 20, (uint64_t) i), i == 15 ? 40 : 400, 10);

		tiny_submit(engine, &request, &answers[i]);
	}
	while (answers[15].request->sequences[0].n_generated < 10)
		tiny_step(engine);
	assert_int_equal(step_rows(engine), 16);
	for (int i = 0; i < 3; i++)
	{
		Request request = tiny_request(make_text(prompt_texts[i], lengths[i], 100 + (uint64_t) i), 300, 10);

		tiny_submit(engine, &request, &prompts[i]);
		prompts[i].request->alone = true;
		if (i == 2)
			break;
		/* the prompt alone, then all answers and its own second token; nobody's token is left out or comes twice */
		assert_int_equal(step_rows(engine), lengths[i]);
		assert_int_equal(prompts[i].request->sequences[0].n_generated, 1);
		if (i == 1)
			continue;
		assert_int_equal(step_rows(engine), 17);
		assert_int_equal(prompts[i].request->sequences[0].n_generated, 2);
	}
	/* a prompt that came in the answers' turn waits for it */
	assert_int_equal(step_rows(engine), 18);
	assert_int_equal(prompts[2].request->sequences[0].n_done, 0);
	/* what is not a prompt's end goes beside the answers */
	assert_int_equal(step_rows(engine), 64 + 18);
	assert_int_equal(step_rows(engine), 100 - 64);
	assert_int_equal(prompts[2].request->sequences[0].n_generated, 1);
	assert_int_equal(step_rows(engine), 19);
	/* one of many that its client has asked for goes beside the answers */
	{
		Request request = tiny_request(make_text(texts[1], 20, 300), 1, 10);
		TinyCall one_of_many;

		tiny_submit(engine, &request, &one_of_many);
		assert_int_equal(step_rows(engine), 20 + 19);
		tiny_call_free(&one_of_many);
	}
	/* beside fewer answers nobody waits for the other */
	for (int i = 0; i < 4; i++)
		tiny_cancel(engine, &answers[i]);
	{
		Request request = tiny_request(make_text(texts[0], 20, 200), 30, 10);

		tiny_call_free(&answers[0]);
		tiny_submit(engine, &request, &answers[0]);
		answers[0].request->alone = true;
	}
	assert_int_equal(step_rows(engine), 20 + 15);
	tiny_run(engine);
	for (int i = 0; i < 16; i++)
		tiny_call_free(&answers[i]);
	for (int i = 0; i < 3; i++)
		tiny_call_free(&prompts[i]);
	assert_idle(engine);
	tiny_engine_free(engine);
}

/* Rows of prompts that were computed since the last call. */
static uint32_t
prompt_rows(const TinyCall *prompts, uint32_t n, uint32_t *before)
{
	uint32_t now = 0, new;

	for (uint32_t i = 0; i < n; i++)
		now += prompts[i].request ? prompts[i].request->sequences[0].n_done : 0;
	new = now - *before;
	*before = now;
	return new;
}

static void
a_role_s_prompts_do_not_slow_down_another_s_answer(void **state)
{
	SchedulerSettings chunk = {.max_running = 16, .prefill_chunk = 256, .queue_size = 100, .speculation = false};
	TinyEngine *engine = make_engine(2000, chunk);
	TinyCall prompts[4], answer;
	char texts[4][2001], text[31];
	uint64_t deadline;
	uint32_t done = 0, beside = 0;

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		Request request = tiny_request(make_text(texts[i], 2000, 100 + (uint64_t) i), 5, 10);

		tiny_submit(engine, &request, &prompts[i]);
	}
	/* alone they have the whole chunk */
	for (int i = 0; i < 4; i++)
		assert_int_equal(step_rows(engine), 256);
	(void) prompt_rows(prompts, 4, &done);
	{
		Request request = tiny_request(make_text(text, 30, 1), 40, 11);

		tiny_submit(engine, &request, &answer);
	}
	/* the other role's prompt is read at once, and then it gets a token a step; the rows beside it are bounded by its
	 * own ones, and there are some: far behind in a long text not in every step, but as often as others pay for them */
	assert_true(step_rows(engine) <= 2 * 30 + FREE_ROWS_MAX);
	assert_int_equal(answer.request->sequences[0].n_generated, 1);
	assert_in_range(prompt_rows(prompts, 4, &done), 1, 30 + FREE_ROWS_MAX);
	for (uint32_t n = 1; answer.request; n++)
	{
		assert_int_equal(answer.request->sequences[0].n_generated, n);
		assert_true(step_rows(engine) <= 2 + FREE_ROWS_MAX);
		beside += prompt_rows(prompts, 4, &done);
	}
	assert_in_range(beside, 8, 39 * (1 + FREE_ROWS_MAX));
	assert_int_equal(tiny_done(&answer).completion_tokens, 40);
	/* it may come again at once: until it is gone a step is no long one, and then the chunk is whole again */
	assert_true(step_rows(engine) <= 4 * FREE_ROWS_MAX);
	for (int i = 0; i < 4; i++)
		tiny_cancel(engine, &prompts[i]);
	deadline = clock_now_us() + 20 * 1000 * 1000;
	do
	{
		Request request = tiny_request(make_text(texts[0], 300, clock_now_us()), 1, 10);

		tiny_call_free(&prompts[0]);
		tiny_submit(engine, &request, &prompts[0]);
		done = step_rows(engine);
		tiny_run(engine);
	} while (done < 256 && clock_now_us() < deadline);
	assert_int_equal(done, 256);
	for (int i = 0; i < 4; i++)
		tiny_call_free(&prompts[i]);
	tiny_call_free(&answer);
	assert_idle(engine);
	tiny_engine_free(engine);
}

static void
a_processor_is_left_to_who_is_expected_back(void **state)
{
	SchedulerSettings settings = {.max_running = 16, .prefill_chunk = 64, .queue_size = 100, .leaves_processor = true};

	(void) state;
	for (int leaves = 1; leaves >= 0; leaves--)
	{
		Model *model = tiny_model(&shape);
		TinyEngine *engine;
		TinyCall one, other;
		char texts[2][21];
		Request request;
		Forward *forward;
		uint64_t deadline = clock_now_us() + 20 * 1000 * 1000;

		settings.leaves_processor = leaves;
		engine = tiny_engine_of(&model, 1, KV_F16, 2, 1000, settings);
		forward = engine->slots.slots[0].forward;
		request = tiny_request(make_text(texts[0], 20, 1), 2000, 10);
		tiny_submit(engine, &request, &one);
		tiny_step(engine);
		assert_int_equal(forward_members(forward), 2);
		request = tiny_request(make_text(texts[1], 20, 2), 3, 11);
		tiny_submit(engine, &request, &other);
		while (other.request)
		{
			tiny_step(engine);
			assert_int_equal(forward_members(forward), 2);
		}
		/* its program has to be told of the answer, and may ask again at once */
		tiny_step(engine);
		assert_int_equal(forward_members(forward), leaves ? 1 : 2);
		/* and if it does not, all processors compute again */
		while (forward_members(forward) < 2 && one.request && clock_now_us() < deadline)
			tiny_step(engine);
		assert_int_equal(forward_members(forward), 2);
		tiny_cancel(engine, &one);
		tiny_call_free(&one);
		tiny_call_free(&other);
		assert_idle(engine);
		tiny_engine_free(engine);
	}
}

static void
a_role_s_answers_take_turns_beside_another_s(void **state)
{
	SchedulerSettings wide = {.max_running = 200, .prefill_chunk = 256, .queue_size = 100};
	TinyEngine *engine = make_engine(2000, wide);
	TinyCall answers[150], one;
	char texts[150][21], text[21];
	uint32_t before[150], least = UINT32_MAX, most = 0;
	uint64_t deadline;
	Request request;

	(void) state;
	for (int i = 0; i < 150; i++)
	{
		request = tiny_request(make_text(texts[i], 20, (uint64_t) i), 400, 10);
		tiny_submit(engine, &request, &answers[i]);
	}
	for (int i = 0; i < 40; i++)
		tiny_step(engine);
	assert_int_equal(step_rows(engine), 150);
	request = tiny_request(make_text(text, 20, 500), 300, 11);
	tiny_submit(engine, &request, &one);
	tiny_step(engine);
	for (int i = 0; i < 150; i++)
		before[i] = answers[i].request->sequences[0].n_generated;
	for (uint32_t n = 1; n <= 150; n++)
	{
		assert_int_equal(one.request->sequences[0].n_generated, n);
		assert_true(step_rows(engine) <= 2 + FREE_ROWS_MAX);
	}
	/* each had its turns, as often as every other one */
	for (int i = 0; i < 150; i++)
	{
		uint32_t n = answers[i].request->sequences[0].n_generated - before[i];

		assert_in_range(n, 1, 150);
		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	assert_true(most - least <= 2);
	tiny_cancel(engine, &one);
	/* nobody of another role, and it does not come again at once: all have theirs again */
	assert_in_range(step_rows(engine), 1, 1 + FREE_ROWS_MAX);
	deadline = clock_now_us() + 10 * 1000 * 1000;
	while (step_rows(engine) < 150 && clock_now_us() < deadline)
		;
	assert_int_equal(step_rows(engine), 150);
	for (int i = 0; i < 150; i++)
		tiny_cancel(engine, &answers[i]);
	for (int i = 0; i < 150; i++)
		tiny_call_free(&answers[i]);
	tiny_call_free(&one);
	assert_idle(engine);
	tiny_engine_free(engine);
}

/* Another model was loaded meanwhile and takes memory that keys and values had. */
static void
who_does_not_fit_a_smaller_cache_ends_with_an_error(void **state)
{
	static const TinyModel small_cache = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};
	static const SchedulerSettings plain = {.max_running = 4, .prefill_chunk = 64, .queue_size = 100};
	TinyEngine *engine = tiny_engine(&small_cache, 1, 20, plain);
	static char text[401];
	Request large, small;
	TinyCall first, second;

	(void) state;
	for (int i = 0; i < 400; i++)
		text[i] = (char) ('a' + i % 26);
	large = tiny_request(text, 200, 10);
	small = tiny_request("short text", 20, 11);
	tiny_submit(engine, &large, &first);
	for (int i = 0; i < 20; i++)
		tiny_step(engine);
	assert_non_null(first.request);
	kv_budget_set_limit(engine->slots.settings.budget, kv_budget_limit(engine->slots.settings.budget) / 4 * 3);
	tiny_submit(engine, &small, &second);
	for (int i = 0; i < 1000 && (first.request || second.request); i++)
		tiny_step(engine);
	assert_null(first.request);
	assert_null(second.request);
	assert_true(atomic_load(&engine->page->n_requests_failed) == 1);
	assert_true(atomic_load(&engine->page->n_requests_done) == 1);
	tiny_call_free(&first);
	tiny_call_free(&second);
	tiny_engine_free(engine);
}

/* The same, where what runs still holds more than there may be: nobody is begun whose memory is not there. */
static void
who_has_to_wait_for_a_smaller_cache_is_not_begun_in_vain(void **state)
{
	static const TinyModel small_cache = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};
	static const SchedulerSettings plain = {.max_running = 4, .prefill_chunk = 64, .queue_size = 100};
	TinyEngine *engine = tiny_engine(&small_cache, 1, 20, plain);
	static char text[401];
	Request large, small;
	TinyCall first, second;

	(void) state;
	for (int i = 0; i < 400; i++)
		text[i] = (char) ('a' + i % 26);
	large = tiny_request(text, 15, 10);
	small = tiny_request("short text", 20, 11);
	tiny_submit(engine, &large, &first);
	for (int i = 0; i < 9; i++)
		tiny_step(engine);
	assert_non_null(first.request);
	kv_budget_set_limit(engine->slots.settings.budget, kv_budget_in_use(engine->slots.settings.budget) / 2);
	tiny_submit(engine, &small, &second);
	for (int i = 0; i < 5; i++)
		tiny_step(engine);
	assert_non_null(first.request);
	assert_int_equal(atomic_load(&engine->page->n_running), 1);
	assert_int_equal(atomic_load(&engine->page->n_waiting), 1);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	assert_int_equal(atomic_load(&engine->page->n_requests_done), 2);
	tiny_call_free(&first);
	tiny_call_free(&second);
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
		cmocka_unit_test(calls_are_the_same_guessed_and_preempted),
		cmocka_unit_test(what_is_preempted_in_its_prompt_gives_the_same),
		cmocka_unit_test(scores_leave_no_block_that_they_write_again),
		cmocka_unit_test(a_query_is_computed_once_for_its_role),
		cmocka_unit_test(the_oldest_is_never_preempted),
		cmocka_unit_test(what_can_never_fit_is_refused_with_the_numbers),
		cmocka_unit_test(cancel_frees_blocks_in_every_state),
		cmocka_unit_test(the_queue_is_bounded),
		cmocka_unit_test(who_fills_the_queue_does_not_close_it_to_others),
		cmocka_unit_test(a_thousand_requests_of_one_role_do_not_hold_up_another_s),
		cmocka_unit_test(roles_get_equal_shares_of_tokens),
		cmocka_unit_test(who_was_preempted_pays_for_the_prompt_once),
		cmocka_unit_test(a_role_s_rest_is_no_credit),
		cmocka_unit_test(priority_goes_first),
		cmocka_unit_test(who_has_a_higher_priority_does_not_wait_for_running_answers),
		cmocka_unit_test(equal_priority_gives_no_way),
		cmocka_unit_test(who_does_not_fit_a_smaller_cache_ends_with_an_error),
		cmocka_unit_test(who_has_to_wait_for_a_smaller_cache_is_not_begun_in_vain),
		cmocka_unit_test(nobody_gives_way_for_ever),
		cmocka_unit_test(who_has_waited_long_has_a_place_in_spite_of_priority),
		cmocka_unit_test(who_has_waited_long_keeps_its_place_when_memory_is_short),
		cmocka_unit_test(small_ones_pass_a_large_one_so_many_times),
		cmocka_unit_test(draws_do_not_depend_on_who_draws),
		cmocka_unit_test(numbers_that_are_not_finite_are_an_error_of_every_kind_of_request),
		cmocka_unit_test(long_prompts_stall_neither_answers_nor_short_prompts),
		cmocka_unit_test(far_behind_a_step_has_fewer_rows_of_a_prompt),
		cmocka_unit_test(beside_many_answers_a_prompt_s_end_goes_first),
		cmocka_unit_test(a_role_s_prompts_do_not_slow_down_another_s_answer),
		cmocka_unit_test(a_processor_is_left_to_who_is_expected_back),
		cmocka_unit_test(a_role_s_answers_take_turns_beside_another_s),
	};

	return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
