/*
 * test_states.c - what a hybrid's requests find of others' states, and what they must not find.
 *
 * Every byte of a prompt is one token. An answer's last token is never computed, so a request of one token leaves the
 * state behind its prompt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

static const TinyModel shape = {TINY_HYBRID, 4, 64, 64, 2, 1, 32, 12000, false, TENSOR_F32, 5, -1};
static const SchedulerSettings usual = {.max_running = 16, .prefill_chunk = 64, .queue_size = 100, .speculation = true};

static TinyEngine *
make_engine(uint32_t n_blocks, SchedulerSettings settings)
{
	return tiny_engine(&shape, 1, n_blocks, settings);
}

/* n - 1 letters that depend on seed, and a NUL. */
static char *
letters(char *text, uint32_t n, uint64_t seed)
{
	uint64_t state = seed * 77 + 12345;

	for (uint32_t i = 0; i + 1 < n; i++)
		text[i] = (char) ('a' + writer_random(&state) % 26);
	text[n - 1] = '\0';
	return text;
}

/* A raw completion that is drawn from all tokens, so that other logits give another text. */
static Request
drawn(const char *prompt, int32_t max_tokens, uint32_t role)
{
	Request request = tiny_request(prompt, max_tokens, role);

	request.options.given |= OPTION_SEED | OPTION_TOP_K | OPTION_TOP_P;
	request.options.temperature = 1;
	request.options.seed = 7;
	request.options.top_k = 0;
	request.options.top_p = 1;
	return request;
}

static TinyCall
run(TinyEngine *engine, const Request *request)
{
	TinyCall call;

	tiny_submit(engine, request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	return call;
}

/* Run a request, hold its answer against that of an engine that knows nothing, and say how many tokens were cached. */
static uint32_t
cached_of(TinyEngine *engine, const Request *request)
{
	TinyEngine *fresh = make_engine(1000, usual);
	Request alone = *request;
	TinyCall found = run(engine, request), expected;
	Done a, b;

	alone.prefix_sharing = PREFIX_OFF;
	expected = run(fresh, &alone);
	a = tiny_done(&found);
	b = tiny_done(&expected);
	assert_int_equal(a.completion_tokens, b.completion_tokens);
	assert_int_equal(a.content.length, b.content.length);
	assert_memory_equal(a.content.data, b.content.data, a.content.length);
	assert_int_equal(b.cached_tokens, 0);
	tiny_call_free(&found);
	tiny_call_free(&expected);
	tiny_engine_free(fresh);
	return a.cached_tokens;
}

/* Nothing is taken, and all that is cached can be given up. */
static void
free_idle(TinyEngine *engine)
{
	assert_int_equal(atomic_load(&engine->page->kv_bytes_used), 0);
	while (slots_evict_block(&engine->slots))
		;
	assert_int_equal(kv_budget_in_use(engine->slots.settings.budget), 0);
	assert_int_equal(prefix_cache_n_states(engine->slots.slots[0].cache), 0);
	tiny_engine_free(engine);
}

static void
a_conversation_computes_what_is_new_alone(void **state)
{
	TinyEngine *engine = make_engine(200, usual);
	char text[1200];
	uint32_t before = 0;

	(void) state;
	letters(text, sizeof text, 1);
	for (uint32_t turn = 0, n = 5; turn < 10; turn++, n += 32 + 9 * turn)
	{
		char prompt[1200];
		Request request;

		snprintf(prompt, sizeof prompt, "%.*s", (int) n, text);
		request = drawn(prompt, 1, 10);
		assert_int_equal(cached_of(engine, &request), before);
		before = n;
	}
	/* one state has moved from turn to turn */
	assert_int_equal(prefix_cache_n_states(engine->slots.slots[0].cache), 1);
	/* who asks again what was asked in the middle finds that the state has gone on, and a longer answer is right too */
	text[before / 2] = '\0';
	assert_int_equal(
		cached_of(engine, &(Request){.kind = REQUEST_GENERATE,
									 .text = tiny_span(text),
									 .options = {.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE, .max_tokens = 40},
									 .role = 10,
									 .prefix_sharing = PREFIX_ROLE}),
		0);
	free_idle(engine);
}

static void
a_beginning_of_many_is_computed_twice(void **state)
{
	TinyEngine *engine = make_engine(300, usual);
	uint32_t expected[] = {0, 0, 288, 288, 288};

	(void) state;
	for (uint32_t i = 0; i < 5; i++)
	{
		char text[401];
		Request request;

		letters(text, 401, 3);
		/* few of its own: what is forgotten would not show */
		letters(text + 290, 4, 100 + i);
		request = drawn(text, 30, 10);
		assert_int_equal(cached_of(engine, &request), expected[i]);
	}
	/* found by the last three, and copied; each of the five leaves the state at its end */
	assert_int_equal(atomic_load(&engine->page->n_snapshots_copied), 3);
	assert_int_equal(atomic_load(&engine->page->n_snapshots_moved), 0);
	assert_int_equal(atomic_load(&engine->page->n_snapshots_kept), 6);
	assert_int_equal(atomic_load(&engine->page->n_snapshots), 6);
	assert_int_equal(atomic_load(&engine->page->n_states), 0);
	free_idle(engine);
}

static void
rows_of_a_table_keep_only_what_they_share(void **state)
{
	TinyEngine *engine = make_engine(300, usual);
	TinyCall calls[6];
	char texts[6][301];

	(void) state;
	for (uint32_t round = 0; round < 3; round++)
	{
		uint32_t n_cached = 0;

		for (uint32_t i = 0; i < 6; i++)
		{
			Request request;

			letters(texts[i], 301, 3);
			letters(texts[i] + 200, 101, 10 * round + i);
			request = drawn(texts[i], 5, 10);
			tiny_submit(engine, &request, &calls[i]);
			assert_string_equal(calls[i].status.message, "");
			sequence_forget_leaf(&calls[i].request->sequences[0]);
		}
		tiny_run(engine);
		for (uint32_t i = 0; i < 6; i++)
		{
			n_cached += tiny_done(&calls[i]).cached_tokens;
			tiny_call_free(&calls[i]);
		}
		/* the second one finds where others have come, and leaves the state for which the others wait */
		assert_int_equal(n_cached, (round == 0 ? 4 : 6) * 192);
		assert_int_equal(prefix_cache_n_states(engine->slots.slots[0].cache), 1);
	}
	free_idle(engine);
}

static void
nobody_sees_a_state_of_another_role(void **state)
{
	TinyEngine *engine = make_engine(300, usual);
	char text[301];
	Request request = drawn(letters(text, 301, 7), 1, 10);

	(void) state;
	assert_int_equal(cached_of(engine, &request), 0);
	request.role = 11;
	assert_int_equal(cached_of(engine, &request), 0);
	request.prefix_sharing = PREFIX_OFF;
	assert_int_equal(cached_of(engine, &request), 0);
	free_idle(engine);
}

static void
long_prompts_keep_states_on_their_way(void **state)
{
	static char text[9001];
	SchedulerSettings wide = {.max_running = 4, .prefill_chunk = 1000, .queue_size = 10};
	TinyEngine *engine = make_engine(1000, wide);
	Request request;

	(void) state;
	letters(text, 9001, 9);
	request = drawn(text, 3, 10);
	assert_int_equal(cached_of(engine, &request), 0);
	letters(text + 8500, 501, 10);
	assert_int_equal(cached_of(engine, &request), 8192);
	letters(text + 5000, 4001, 11);
	assert_int_equal(cached_of(engine, &request), 4096);
	free_idle(engine);
}

static void
who_was_preempted_goes_on_where_it_was(void **state)
{
	SchedulerSettings one = {.max_running = 1, .prefill_chunk = 64, .queue_size = 10};
	TinyEngine *engine = make_engine(300, one);
	char text[601], urgent[101];
	Request request = drawn(letters(text, 601, 21), 40, 10), first = drawn(letters(urgent, 101, 22), 3, 11);
	TinyCall call, other;
	uint32_t n_done;

	(void) state;
	first.priority = 5;
	tiny_submit(engine, &request, &call);
	for (uint32_t i = 0; i < 30; i++)
		tiny_step(engine);
	tiny_submit(engine, &first, &other);
	while (other.request)
		tiny_step(engine);
	assert_int_equal(call.request->state, STATE_QUEUED);
	assert_int_equal(call.request->sequences[0].n_done, 0);
	n_done = call.request->sequences[0].n_tokens - 1;
	tiny_step(engine);
	/* its next token, and nothing else, was computed */
	assert_int_equal(call.request->sequences[0].n_done, n_done + 1);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 1);
	tiny_call_free(&call);
	tiny_call_free(&other);
	free_idle(engine);
}

static void
an_answer_with_thinking_is_left_before_it(void **state)
{
	TinyEngine *engine = make_engine(300, usual);
	char messages[600];
	Request request = {
		.kind = REQUEST_CHAT,
		.options = {.given = OPTION_MAX_TOKENS | OPTION_TEMPERATURE, .max_tokens = 20},
		.role = 10,
		.prefix_sharing = PREFIX_ROLE,
	};
	TinyCall call;
	uint32_t n_prompt;

	(void) state;
	engine->slots.slots[0].model->can_think = true;
	snprintf(messages, sizeof messages, "[{\"role\":\"user\",\"content\":\"%s\"}]",
			 "a question of some length, so that it fills blocks");
	request.messages = tiny_span(messages);
	call = run(engine, &request);
	n_prompt = tiny_done(&call).prompt_tokens;
	tiny_call_free(&call);
	snprintf(
		messages, sizeof messages,
		"[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"content\":\"as it was without thinking\"},"
		"{\"role\":\"user\",\"content\":\"and another one\"}]",
		"a question of some length, so that it fills blocks");
	request.messages = tiny_span(messages);
	call = run(engine, &request);
	/* <|im_start|>assistant and a line break come last */
	assert_int_equal(tiny_done(&call).cached_tokens, (n_prompt - 11) / KV_BLOCK_POSITIONS * KV_BLOCK_POSITIONS);
	assert_true(tiny_done(&call).cached_tokens > 0);
	tiny_call_free(&call);
	free_idle(engine);
}

static void
more_conversations_than_memory_are_right_and_leave_nothing(void **state)
{
	TinyEngine *engine;
	uint32_t n_cached = 0;

	(void) state;
	tiny_n_states = 3;
	/* as much memory beside the states as many of these take */
	engine = make_engine(tiny_state_type == STATE_F16 ? 20 : 40, usual);
	for (uint32_t turn = 1; turn < 5; turn++)
		for (uint32_t user = 0; user < 6; user++)
		{
			char text[501];
			Request request;

			letters(text, 501, 40 + user);
			text[turn * 90 + user] = '\0';
			request = drawn(text, 1 + user, 10 + user);
			n_cached += cached_of(engine, &request);
		}
	assert_true(atomic_load(&engine->page->n_evicted_blocks) > 0 && n_cached == 0);
	free_idle(engine);
	tiny_n_states = 6;
}

/* Until nothing is left to do, or for ever. */
static bool
runs_to_its_end(TinyEngine *engine, uint32_t most)
{
	for (uint32_t i = 0; i < most && scheduler_has_work(engine->scheduler); i++)
		tiny_step(engine);
	return !scheduler_has_work(engine->scheduler);
}

/* Memory for one state and all blocks, and not for the states that are worth keeping on the way. */
static void
who_needs_all_memory_keeps_no_states_on_its_way(void **state)
{
	static char text[9001];
	SchedulerSettings wide = {.max_running = 4, .prefill_chunk = 1000, .queue_size = 10};
	TinyEngine *engine;
	TinyCall call;
	Request request = drawn(letters(text, 9001, 9), 40, 10);

	(void) state;
	tiny_n_states = 1;
	engine = make_engine(kv_blocks_for(9000 + 40), wide);
	tiny_submit(engine, &request, &call);
	assert_string_equal(call.status.message, "");
	assert_true(runs_to_its_end(engine, 2000));
	assert_int_equal(tiny_done(&call).completion_tokens, 40);
	tiny_call_free(&call);
	free_idle(engine);
	/* the same for the state behind a beginning of many, which is found, and copied where there is room for a copy */
	for (uint32_t n_more = 0; n_more < 40; n_more += 13)
	{
		engine = make_engine(kv_blocks_for(400 + 30) + n_more, usual);
		for (uint32_t i = 0; i < 5; i++)
		{
			letters(text, 401, 3);
			letters(text + 390, 11, 100 + i);
			request = drawn(text, 30, 10);
			tiny_submit(engine, &request, &call);
			sequence_forget_leaf(&call.request->sequences[0]);
			assert_true(runs_to_its_end(engine, 2000));
			assert_int_equal(tiny_done(&call).completion_tokens, 30);
			tiny_call_free(&call);
			(void) cached_of(engine, &request);
		}
		free_idle(engine);
	}
	tiny_n_states = 6;
}

/* Who goes back to its prompt's end needs two states; and what cannot fit is refused before it begins. */
static void
a_score_that_has_no_room_for_its_second_state_is_refused(void **state)
{
	Request request = {.kind = REQUEST_SCORE, .role = 10, .prefix_sharing = PREFIX_ROLE};
	char letters_of[300], messages[400];
	uint32_t n_refused = 0, n_done = 0;

	(void) state;
	tiny_n_states = 1;
	snprintf(messages, sizeof messages, "[{\"role\":\"user\",\"content\":\"%s\"}]", letters(letters_of, 300, 9));
	request.messages = tiny_span(messages);
	request.candidates = tiny_span("[\"never here\", \"never there\", \"always\"]");
	for (uint32_t n_blocks = 8; n_blocks < 30; n_blocks++)
	{
		TinyEngine *engine = make_engine(n_blocks, usual);
		TinyCall call;

		tiny_submit(engine, &request, &call);
		if (call.status.code != STATUS_OK)
		{
			assert_int_equal(call.status.code, STATUS_TOO_LONG);
			assert_non_null(strstr(call.status.message, "qwen.kv_cache_size sets it"));
			/* nothing that is refused would have fitted */
			assert_int_equal(n_done, 0);
			n_refused++;
		}
		else
		{
			assert_true(runs_to_its_end(engine, 2000));
			assert_true(tiny_same_result(&call.out, &call.out));
			n_done++;
		}
		tiny_call_free(&call);
		free_idle(engine);
	}
	assert_true(n_refused > 0 && n_done > 0);
	tiny_n_states = 6;
}

/* A request that waits for memory looks again and again at what it would find: that counts only when it begins. */
static void
states_are_found_by_who_begins(void **state)
{
	TinyEngine *engine;
	char text[601], other[501];
	Request request = drawn(letters(text, 601, 5), 1, 10), first = drawn(letters(other, 501, 6), 60, 11);
	TinyCall call, waiting;
	uint64_t n_kept, n_moved;

	(void) state;
	tiny_n_states = 2;
	engine = make_engine(24, usual);
	text[120] = '\0';
	request = drawn(text, 1, 10);
	call = run(engine, &request);
	tiny_call_free(&call);
	tiny_submit(engine, &first, &call);
	for (uint32_t i = 0; i < 12; i++)
		tiny_step(engine);
	letters(text, 601, 5);
	request = drawn(text, 1, 10);
	tiny_submit(engine, &request, &waiting);
	n_kept = atomic_load(&engine->page->n_snapshots_kept);
	n_moved = atomic_load(&engine->page->n_snapshots_moved);
	for (uint32_t i = 0; i < 20; i++)
		tiny_step(engine);
	assert_int_equal(call.request->state, STATE_RUNNING);
	assert_int_equal(waiting.request->state, STATE_QUEUED);
	assert_int_equal(atomic_load(&engine->page->n_snapshots), 1);
	assert_int_equal(atomic_load(&engine->page->n_snapshots_kept), n_kept);
	assert_int_equal(atomic_load(&engine->page->n_snapshots_moved), n_moved);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_snapshots_moved), n_moved + 1);
	tiny_call_free(&call);
	tiny_call_free(&waiting);
	free_idle(engine);
	tiny_n_states = 6;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_conversation_computes_what_is_new_alone),
		cmocka_unit_test(a_beginning_of_many_is_computed_twice),
		cmocka_unit_test(rows_of_a_table_keep_only_what_they_share),
		cmocka_unit_test(nobody_sees_a_state_of_another_role),
		cmocka_unit_test(long_prompts_keep_states_on_their_way),
		cmocka_unit_test(who_was_preempted_goes_on_where_it_was),
		cmocka_unit_test(an_answer_with_thinking_is_left_before_it),
		cmocka_unit_test(who_needs_all_memory_keeps_no_states_on_its_way),
		cmocka_unit_test(a_score_that_has_no_room_for_its_second_state_is_refused),
		cmocka_unit_test(states_are_found_by_who_begins),
		cmocka_unit_test(more_conversations_than_memory_are_right_and_leave_nothing),
	};

	int failed = cmocka_run_group_tests_name("states", tests, NULL, NULL);

	tiny_state_type = STATE_F16;
	return failed + cmocka_run_group_tests_name("states in f16", tests, NULL, NULL);
}
