/*
 * test_draft_models.c - another model that guesses for one: answers stay as they are, greedy and drawn, with any draft,
 * in any company and memory; and what it has is counted and given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

static const TinyModel target = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_Q8_0, 21, POOLING_LAST};
static const TinyModel coarser = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_Q4_0, 21, POOLING_LAST};
static const TinyModel stranger = {false, 1, 32, 64, 2, 1, 16, 2048, false, TENSOR_Q8_0, 77, POOLING_LAST};
static const TinyModel forgetful = {false, 2, 64, 96, 4, 2, 16, 48, false, TENSOR_Q8_0, 21, POOLING_LAST};
static const TinyModel hybrid = {TINY_HYBRID, 4, 64, 64, 2, 1, 32, 12000, true, TENSOR_F32, 6, -1};
static const TinyModel hybrid_coarser = {TINY_HYBRID, 4, 64, 64, 2, 1, 32, 12000, true, TENSOR_F16, 6, -1};
static const TinyModel with_head = {
	TINY_HYBRID | TINY_BESIDE | TINY_COPIES, 4, 64, 64, 2, 1, 32, 12000, true, TENSOR_F32, 8, -1};

/* Who answers and who guesses. */
typedef struct Pair
{
	const TinyModel *target, *draft;
	bool agrees;    /* often, and not always */
	uint32_t n_few; /* blocks of the target's: few, with room for the draft's state */
} Pair;

static const Pair pairs[] = {
	{&target, &coarser, true, 12},    {&target, &stranger, false, 12},      {&target, &forgetful, true, 12},
	{&target, &hybrid, false, 100},   {&hybrid, &hybrid_coarser, true, 12}, {&hybrid, &target, false, 12},
	{&with_head, &hybrid, false, 12},
};
#define N_PAIRS (sizeof pairs / sizeof pairs[0])

/* An engine in which the second model guesses for the first. */
static TinyEngine *
engine_of(const Pair *pair, Speculation speculation, uint32_t n_blocks)
{
	SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 24, .queue_size = 10, .speculation = speculation};
	TinyEngine *engine = tiny_engine((TinyModel[]){*pair->target, *pair->draft}, 2, n_blocks, settings);

	engine->slots.slots[0].draft = &engine->slots.slots[1];
	return engine;
}

static uint64_t
n_right(const TinyEngine *engine)
{
	uint64_t n = 0;

	for (uint32_t i = 1; i < STATUS_PAGE_DRAFT_LENGTHS; i++)
		n += i * atomic_load(&engine->page->n_draft_right[i]);
	return n;
}

/* Nothing of any draft is left. */
static void
expect_nothing_held(const TinyEngine *engine)
{
	assert_int_equal(engine->slots.slots[1].n_borrowers, 0);
	assert_int_equal(atomic_load(&engine->page->kv_bytes_used), 0);
}

/* Submit a request n times, with seeds of their own. */
static void
submit(TinyEngine *engine, const Request *request, TinyCall *calls, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		Request one = *request;

		one.options.seed += i;
		tiny_submit(engine, &one, &calls[i]);
		assert_string_equal(calls[i].status.message, "");
	}
}

/* The answers to a request and two like it. n: guesses of drafts, and right ones, are added. */
static char *
answers(const Pair *pair, const Request *request, Speculation speculation, uint32_t n_blocks, uint64_t n[2])
{
	TinyEngine *engine = engine_of(pair, speculation, n_blocks);
	TinyCall calls[3];
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	submit(engine, request, calls, 3);
	tiny_run(engine);
	for (uint32_t i = 0; i < 3; i++)
	{
		fwrite(tiny_done(&calls[i]).content.data, 1, tiny_done(&calls[i]).content.length, out);
		fputc('|', out);
		tiny_call_free(&calls[i]);
	}
	fclose(out);
	n[0] += atomic_load(&engine->page->n_draft_guessed);
	n[1] += n_right(engine);
	expect_nothing_held(engine);
	tiny_engine_free(engine);
	return text;
}

/* Greedy, drawn, with penalties. */
static Request
request_number(uint32_t i)
{
	static const char *const prompts[] = {"a rose is a rose is a rose is a rose, and what else would a rose be", "x",
										  "the same words and others"};
	Request request = tiny_request(prompts[i % 3], 60, 1);

	request.options.temperature = (double[]){0, 0.8, 0.5}[i / 3 % 3];
	request.options.seed = i;
	request.options.given |= OPTION_SEED;
	if (i / 3 % 3 == 2)
	{
		request.options.given |= OPTION_REPETITION_PENALTY | OPTION_FREQUENCY_PENALTY;
		request.options.repetition_penalty = 1.1;
		request.options.frequency_penalty = 0.3;
	}
	return request;
}

static void
answers_do_not_change(void **state)
{
	(void) state;
	for (uint32_t p = 0; p < N_PAIRS; p++)
	{
		uint64_t n[2] = {0, 0}, none[2] = {0, 0};

		for (uint32_t i = 0; i < 9; i++)
		{
			Request request = request_number(i);
			char *plain = answers(&pairs[p], &request, SPECULATION_OFF, 1000, none);

			for (uint32_t way = 0; way < 3; way++)
			{
				char *guessed = answers(&pairs[p], &request,
										(Speculation[]){SPECULATION_ALWAYS, SPECULATION_ALWAYS, SPECULATION_AUTO}[way],
										way == 1 ? pairs[p].n_few : 1000, n);

				if (strcmp(guessed, plain) != 0)
					fail_msg("pair %u, request %u, way %u: \"%s\", not \"%s\"", p, i, way, guessed, plain);
				free(guessed);
			}
			free(plain);
		}
		assert_int_equal(none[0], 0);
		/* some are right and others are not, which is where a wrong key or state would show */
		if (n[0] < 300 || (pairs[p].draft != &forgetful && n[1] == n[0]) || (pairs[p].agrees && n[1] < n[0] / 4))
			fail_msg("pair %u: %llu guesses, %llu right", p, (unsigned long long) n[0], (unsigned long long) n[1]);
	}
}

/* A draft that is the model itself guesses what comes, also behind guesses that were right, wrong ones of the text, and
 * after it had to begin again. */
static void
a_twin_is_always_right(void **state)
{
	static const Pair twins[] = {
		{&target, &target, true, 40}, {&hybrid, &hybrid, true, 40}, {&with_head, &with_head, true, 40}};

	(void) state;
	for (uint32_t p = 0; p < sizeof twins / sizeof twins[0]; p++)
		for (uint32_t i = 0; i < 6; i++)
		{
			uint64_t n[2] = {0, 0};
			Request request = request_number(i);

			free(answers(&twins[p], &request, SPECULATION_ALWAYS, i < 3 ? 1000 : twins[p].n_few, n));
			/* but for what would come behind an answer's last token */
			if (n[0] < 30 || n[1] + 3 * DRAFT_MAX < n[0])
				fail_msg("twins %u, request %u: %llu guesses, %llu right", p, i, (unsigned long long) n[0],
						 (unsigned long long) n[1]);
		}
}

/* The draft model's own answers, behind a text that it has guessed along with: its cached blocks are what it would have
 * computed. */
static void
blocks_of_drafts_are_as_computed(void **state)
{
	(void) state;
	for (uint32_t p = 0; p < N_PAIRS; p++)
		for (uint32_t i = 0; i < 4; i++)
		{
			Request request = request_number(i), next;
			TinyEngine *engine = engine_of(&pairs[p], SPECULATION_ALWAYS, 1000), *alone;
			TinyCall call, behind, expected;
			char *text;

			request.options.max_tokens = 150;
			submit(engine, &request, &call, 1);
			tiny_run(engine);
			if (asprintf(&text, "%.*s%.*s.", (int) request.text.length, request.text.data,
						 (int) tiny_done(&call).content.length, tiny_done(&call).content.data) < 0)
				abort();
			next = tiny_request(text, 40, 1);
			alone = engine_of(&pairs[p], SPECULATION_OFF, 1000);
			if (strlen(text) < pairs[p].draft->context - 41u)
			{
				tiny_submit_to(engine, 1, &next, &behind);
				tiny_submit_to(alone, 1, &next, &expected);
				tiny_run(engine);
				tiny_run(alone);
				assert_int_equal(tiny_done(&behind).content.length, tiny_done(&expected).content.length);
				assert_memory_equal(tiny_done(&behind).content.data, tiny_done(&expected).content.data,
									tiny_done(&expected).content.length);
				tiny_call_free(&behind);
				tiny_call_free(&expected);
			}
			tiny_call_free(&call);
			tiny_engine_free(engine);
			tiny_engine_free(alone);
			free(text);
		}
}

/* The next turn of a conversation finds what its draft has seen of it. */
static void
drafts_use_the_prefix_cache(void **state)
{
	TinyEngine *engine = engine_of(&pairs[0], SPECULATION_ALWAYS, 1000);
	char prompt[400];
	Request request;
	TinyCall call;
	uint32_t before;

	(void) state;
	for (uint32_t i = 0; i < sizeof prompt - 1; i++)
		prompt[i] = (char) ('a' + i * i % 23);
	prompt[sizeof prompt - 1] = '\0';
	request = tiny_request(prompt, 40, 1);
	submit(engine, &request, &call, 1);
	tiny_run(engine);
	tiny_call_free(&call);
	assert_true(prefix_cache_n_blocks(engine->slots.slots[1].cache) >= 12);
	before = (uint32_t) atomic_load(&engine->page->n_draft_guessed);
	submit(engine, &request, &call, 1);
	/* its own prompt is cached but for the last block; without a cache the draft would read 400 tokens in 24s */
	for (uint32_t i = 0; i < 4; i++)
		tiny_step(engine);
	assert_true(atomic_load(&engine->page->n_draft_guessed) > before);
	tiny_run(engine);
	tiny_call_free(&call);
	tiny_engine_free(engine);
}

/* Drafts give back what they have before a request gives way. */
static void
drafts_give_way_first(void **state)
{
	TinyEngine *engine = engine_of(&pairs[0], SPECULATION_ALWAYS, 14);
	Request request = tiny_request("some text of forty letters or a little more", 150, 1);
	TinyCall calls[2];
	bool had_drafts = false;

	(void) state;
	/* two texts of 193 tokens take 14 blocks, all that there are */
	submit(engine, &request, calls, 2);
	while (scheduler_has_work(engine->scheduler))
	{
		tiny_step(engine);
		had_drafts |= engine->slots.slots[1].n_borrowers == 2;
	}
	assert_true(had_drafts);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	assert_int_equal(tiny_done(&calls[0]).completion_tokens, 150);
	assert_int_equal(tiny_done(&calls[1]).completion_tokens, 150);
	tiny_call_free(&calls[0]);
	tiny_call_free(&calls[1]);
	expect_nothing_held(engine);
	tiny_engine_free(engine);
}

/* A request that comes later finds the room that a draft has, and nobody gives way for it. */
static void
drafts_give_way_to_who_comes(void **state)
{
	TinyEngine *engine = engine_of(&pairs[0], SPECULATION_ALWAYS, 10);
	char long_text[151], longer_text[151];
	Request request, later;
	TinyCall calls[2];

	(void) state;
	for (uint32_t i = 0; i < 150; i++)
	{
		long_text[i] = (char) ('a' + i % 7);
		longer_text[i] = (char) ('a' + i * i % 23);
	}
	long_text[100] = longer_text[150] = '\0';
	/* texts of 140 and 155 tokens take 5 blocks each, all that there are */
	request = tiny_request(long_text, 40, 1);
	later = tiny_request(longer_text, 5, 1);
	submit(engine, &request, &calls[0], 1);
	while (atomic_load(&engine->page->n_draft_guessed) == 0)
		tiny_step(engine);
	submit(engine, &later, &calls[1], 1);
	tiny_step(engine);
	assert_int_equal(atomic_load(&engine->page->n_running), 2);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_preemptions), 0);
	tiny_call_free(&calls[0]);
	tiny_call_free(&calls[1]);
	expect_nothing_held(engine);
	tiny_engine_free(engine);
}

/* A request that is cancelled, or whose draft model leaves, lets go of it. */
static void
drafts_let_go(void **state)
{
	for (uint32_t p = 0; p < N_PAIRS; p++)
	{
		TinyEngine *engine = engine_of(&pairs[p], SPECULATION_ALWAYS, 1000);
		Request request = tiny_request("some", 40, 1);
		TinyCall calls[2];

		(void) state;
		submit(engine, &request, calls, 2);
		for (uint32_t i = 0; i < 3; i++)
			tiny_step(engine);
		assert_int_equal(engine->slots.slots[1].n_borrowers, 2);
		tiny_cancel(engine, &calls[0]);
		assert_int_equal(engine->slots.slots[1].n_borrowers, 1);
		/* as slots_look does for a model that is unloaded */
		engine->slots.slots[1].draining = true;
		engine->slots.slots[0].draft = NULL;
		assert_false(slots_have_drained(&engine->slots));
		tiny_step(engine);
		assert_int_equal(engine->slots.slots[1].n_borrowers, 0);
		assert_true(slots_have_drained(&engine->slots));
		tiny_run(engine);
		assert_int_equal(tiny_done(&calls[1]).completion_tokens, 40);
		tiny_call_free(&calls[0]);
		tiny_call_free(&calls[1]);
		expect_nothing_held(engine);
		tiny_engine_free(engine);
	}
}

/* The requests of a draft model themselves are not guessed for by it, and many at once are not guessed for at all. */
static void
many_answers_have_no_draft(void **state)
{
	SchedulerSettings settings = {
		.max_running = 8, .prefill_chunk = 64, .queue_size = 10, .speculation = SPECULATION_ALWAYS};
	TinyEngine *engine = tiny_engine((TinyModel[]){target, coarser}, 2, 1000, settings);
	Request request = tiny_request("some", 20, 1);
	TinyCall calls[8];

	(void) state;
	engine->slots.slots[0].draft = &engine->slots.slots[1];
	submit(engine, &request, calls, 8);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_draft_guessed), 0);
	for (uint32_t i = 0; i < 8; i++)
		tiny_call_free(&calls[i]);
	tiny_submit_to(engine, 1, &request, &calls[0]);
	tiny_run(engine);
	assert_int_equal(atomic_load(&engine->page->n_draft_guessed), 0);
	tiny_call_free(&calls[0]);
	tiny_engine_free(engine);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_do_not_change),
		cmocka_unit_test(a_twin_is_always_right),
		cmocka_unit_test(blocks_of_drafts_are_as_computed),
		cmocka_unit_test(drafts_use_the_prefix_cache),
		cmocka_unit_test(drafts_give_way_first),
		cmocka_unit_test(drafts_give_way_to_who_comes),
		cmocka_unit_test(drafts_let_go),
		cmocka_unit_test(many_answers_have_no_draft),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
