/*
 * test_drafts.c - guesses are what followed the same tokens before, guessing stops where it does not pay, and answers
 * are the same with it, greedy and drawn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_engine.h"

static const TinyModel shape = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_Q8_0, 21, POOLING_LAST};

static void
what_followed_the_same_tokens_is_guessed(void **state)
{
	int32_t tokens[] = {1, 2, 3, 4, 5, 6, 9, 2, 3, 7, 8, 1, 2, 3}, out[DRAFT_MAX];

	(void) state;
	/* three tokens count for more than the later place where only two are the same */
	assert_int_equal(drafts_find(tokens, 14, 3, out), 3);
	assert_memory_equal(out, ((int32_t[]){4, 5, 6}), 3 * sizeof *out);
	/* two where three are nowhere: the latest place */
	tokens[11] = 30;
	assert_int_equal(drafts_find(tokens, 14, 4, out), 4);
	assert_memory_equal(out, ((int32_t[]){7, 8, 30, 2}), 4 * sizeof *out);
	/* from the end on, what was guessed is repeated */
	assert_int_equal(drafts_find(tokens, 14, DRAFT_MAX, out), DRAFT_MAX);
	assert_memory_equal(out, ((int32_t[]){7, 8, 30, 2, 3, 7, 8}), DRAFT_MAX * sizeof *out);
	tokens[13] = 40;
	assert_int_equal(drafts_find(tokens, 14, DRAFT_MAX, out), 0);
	assert_int_equal(drafts_find(tokens, 2, DRAFT_MAX, out), 0);
	assert_int_equal(drafts_find(tokens, 0, DRAFT_MAX, out), 0);
}

static void
a_run_of_one_token_goes_on(void **state)
{
	int32_t tokens[] = {5, 5, 5, 5, 5}, out[DRAFT_MAX];

	(void) state;
	assert_int_equal(drafts_find(tokens, 5, DRAFT_MAX, out), DRAFT_MAX);
	for (int i = 0; i < DRAFT_MAX; i++)
		assert_int_equal(out[i], 5);
}

static void
guessing_rests_when_it_does_not_pay(void **state)
{
	DraftHistory history = {0};
	uint32_t n_tries = 0, n_rests = 0;

	(void) state;
	for (int i = 0; i < 1000; i++)
	{
		uint32_t n = drafts_wanted(&history);

		n_tries += n > 0;
		n_rests += n == 0;
		if (n > 0)
			drafts_learn(&history, n, 0);
	}
	assert_true(n_rests > 900);
	assert_true(n_tries > 10);
	history = (DraftHistory){0};
	for (int i = 0; i < 1000; i++)
	{
		uint32_t n = drafts_wanted(&history);

		assert_true(n > 0);
		assert_int_equal(n, i == 0 ? n : DRAFT_MAX);
		drafts_learn(&history, n, n);
	}
}

/* The answer to a request in an engine with or without guesses; how many of them were right is added to *n_right. */
static char *
answer(const Request *request, bool speculation, uint64_t *n_right)
{
	SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 64, .queue_size = 10, .speculation = speculation};
	TinyEngine *engine = tiny_engine(&shape, 1, 1000, settings);
	TinyCall call;
	char *text;

	tiny_submit(engine, request, &call);
	assert_string_equal(call.status.message, "");
	tiny_run(engine);
	text = strndup(tiny_done(&call).content.data, tiny_done(&call).content.length);
	*n_right += atomic_load(&engine->page->n_guessed_right);
	if (!speculation)
		assert_int_equal(atomic_load(&engine->page->n_guessed_tokens), 0);
	tiny_call_free(&call);
	tiny_engine_free(engine);
	return text;
}

static void
answers_do_not_change(void **state)
{
	static const char *const prompts[] = {"a rose is a rose is a rose is", "abcabcabcabcabcabcabcabc", "x",
										  "the same words and the same words again, the same words and"};
	uint64_t n_right = 0, none = 0;

	(void) state;
	for (uint32_t i = 0; i < 4 * sizeof prompts / sizeof prompts[0]; i++)
	{
		Request request = tiny_request(prompts[i / 4], 120, 1);
		char *plain, *guessed;

		/* greedy, drawn close to greedy, drawn freely, with penalties */
		request.options.temperature = (double[]){0, 0.2, 1, 0.5}[i % 4];
		request.options.seed = i;
		request.options.given |= OPTION_SEED;
		if (i % 4 == 3)
		{
			request.options.given |= OPTION_REPETITION_PENALTY | OPTION_FREQUENCY_PENALTY;
			request.options.repetition_penalty = 1.1;
			request.options.frequency_penalty = 0.3;
		}
		plain = answer(&request, false, &none);
		guessed = answer(&request, true, &n_right);
		assert_string_equal(guessed, plain);
		free(plain);
		free(guessed);
	}
	/* and there was something to be wrong about */
	assert_true(n_right > 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_followed_the_same_tokens_is_guessed),
		cmocka_unit_test(a_run_of_one_token_goes_on),
		cmocka_unit_test(guessing_rests_when_it_does_not_pay),
		cmocka_unit_test(answers_do_not_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
