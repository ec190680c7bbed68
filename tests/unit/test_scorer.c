/*
 * test_scorer.c - the probabilities of answers are those of decoding that is constrained to them, computed here in the
 * plain way: over every answer, token by token, among the tokens that still lead to one of the answers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/scorer.h"

#define VOCAB 12
#define END_TOKEN 11
#define OTHER_END 7
#define MAX_TOKENS 4
#define MAX_ANSWERS 8

typedef struct Answers
{
	int32_t tokens[MAX_ANSWERS * MAX_TOKENS];
	uint32_t offsets[MAX_ANSWERS + 1];
	uint32_t n;
} Answers;

/* Logits that depend on the whole path. */
static void
logits_after(const int32_t *path, uint32_t n_path, float *logits)
{
	uint32_t state = 12345;

	for (uint32_t i = 0; i < n_path; i++)
		state = state * 1664525u + (uint32_t) path[i] * 97u + 1013904223u;
	for (uint32_t t = 0; t < VOCAB; t++)
	{
		state = state * 1664525u + 1013904223u;
		logits[t] = (float) (state >> 16) / 8192.0f - 4.0f;
	}
}

static uint32_t
length_of(const Answers *answers, uint32_t i)
{
	return answers->offsets[i + 1] - answers->offsets[i];
}

/* Token at depth of answer i; the end token behind its last. */
static int32_t
token_at(const Answers *answers, uint32_t i, uint32_t depth)
{
	return depth < length_of(answers, i) ? answers->tokens[answers->offsets[i] + depth] : END_TOKEN;
}

/* Do answers i and j begin with the same depth tokens? */
static bool
shares(const Answers *answers, uint32_t i, uint32_t j, uint32_t depth)
{
	for (uint32_t d = 0; d < depth; d++)
		if (token_at(answers, i, d) != token_at(answers, j, d))
			return false;
	return depth <= length_of(answers, j);
}

/* The plain way. */
static double
expected_probability(const Answers *answers, uint32_t i)
{
	double probability = 1;

	for (uint32_t depth = 0; depth <= length_of(answers, i); depth++)
	{
		float logits[VOCAB];
		bool allowed[VOCAB] = {false};
		double sum = 0;

		logits_after(answers->tokens + answers->offsets[i], depth, logits);
		for (uint32_t j = 0; j < answers->n; j++)
			if (shares(answers, i, j, depth))
				allowed[token_at(answers, j, depth)] = true;
		allowed[OTHER_END] = allowed[END_TOKEN];
		for (uint32_t t = 0; t < VOCAB; t++)
			sum += allowed[t] ? exp(logits[t]) : 0;
		probability *= exp(logits[token_at(answers, i, depth)]) / sum +
					   (token_at(answers, i, depth) == END_TOKEN ? exp(logits[OTHER_END]) / sum : 0);
	}
	return probability;
}

static void
add_answer(Answers *answers, const int32_t *tokens, uint32_t n)
{
	memcpy(answers->tokens + answers->offsets[answers->n], tokens, n * sizeof *tokens);
	answers->offsets[answers->n + 1] = answers->offsets[answers->n] + n;
	answers->n++;
}

/* Ask all questions; compare. Returns how many there were. */
static uint32_t
check(const Answers *answers)
{
	Scorer *scorer;
	float probabilities[MAX_ANSWERS], logits[VOCAB];
	const int32_t *path;
	uint32_t n_path, n_questions = 0;
	double sum = 0;

	assert_int_equal(
		scorer_create(answers->tokens, answers->offsets, answers->n, (int32_t[]){END_TOKEN, OTHER_END}, 2, &scorer)
			.code,
		STATUS_OK);
	for (; scorer_question(scorer, &path, &n_path); n_questions++)
	{
		assert_true(n_path <= scorer_longest_path(scorer));
		logits_after(path, n_path, logits);
		scorer_answer(scorer, logits);
	}
	scorer_probabilities(scorer, probabilities);
	for (uint32_t i = 0; i < answers->n; i++)
	{
		double expected = expected_probability(answers, i);

		if (fabs(probabilities[i] - expected) > 1e-6)
			fail_msg("answer %u: %f, not %f", i, (double) probabilities[i], expected);
		sum += probabilities[i];
	}
	assert_true(fabs(sum - 1) < 1e-5);
	scorer_destroy(scorer);
	return n_questions;
}

static void
one_answer_is_certain(void **state)
{
	Answers answers = {.n = 0};

	(void) state;
	add_answer(&answers, (int32_t[]){3, 4}, 2);
	assert_int_equal(check(&answers), 0);
}

static void
answers_that_begin_differently_need_one_look(void **state)
{
	Answers answers = {.n = 0};

	(void) state;
	add_answer(&answers, (int32_t[]){3, 4, 5}, 3);
	add_answer(&answers, (int32_t[]){1}, 1);
	add_answer(&answers, (int32_t[]){2, 4, 5}, 3);
	assert_int_equal(check(&answers), 1);
}

static void
a_beginning_competes_by_the_end_of_answers(void **state)
{
	Answers answers = {.n = 0};

	(void) state;
	add_answer(&answers, (int32_t[]){3, 4}, 2);
	add_answer(&answers, (int32_t[]){3}, 1);
	add_answer(&answers, (int32_t[]){3, 4, 5}, 3);
	add_answer(&answers, (int32_t[]){3, 2}, 2);
	assert_int_equal(check(&answers), 2);
}

static void
the_same_answer_twice_is_refused(void **state)
{
	Answers answers = {.n = 0};
	Scorer *scorer;
	Status status;

	(void) state;
	add_answer(&answers, (int32_t[]){3, 4}, 2);
	add_answer(&answers, (int32_t[]){5}, 1);
	add_answer(&answers, (int32_t[]){3, 4}, 2);
	status = scorer_create(answers.tokens, answers.offsets, answers.n, (int32_t[]){END_TOKEN, OTHER_END}, 2, &scorer);
	assert_int_equal(status.code, STATUS_INVALID_ARGUMENT);
	assert_non_null(strstr(status.message, "1"));
	assert_non_null(strstr(status.message, "3"));
	assert_null(scorer);
}

/* True when answers already holds these tokens. */
static bool
has_answer(const Answers *answers, const int32_t *tokens, uint32_t n)
{
	for (uint32_t i = 0; i < answers->n; i++)
		if (length_of(answers, i) == n &&
			memcmp(answers->tokens + answers->offsets[i], tokens, n * sizeof *tokens) == 0)
			return true;
	return false;
}

static void
any_answers_are_scored_as_in_constrained_decoding(void **state)
{
	uint32_t random = 1;

	(void) state;
	for (int round = 0; round < 2000; round++)
	{
		Answers answers = {.n = 0};
		uint32_t wanted;

		random = random * 1664525u + 1013904223u;
		wanted = 1 + (random >> 16) % MAX_ANSWERS;
		for (uint32_t i = 0; i < wanted; i++)
		{
			int32_t tokens[MAX_TOKENS];
			uint32_t n;

			random = random * 1664525u + 1013904223u;
			n = 1 + (random >> 16) % MAX_TOKENS;
			for (uint32_t t = 0; t < n; t++)
			{
				random = random * 1664525u + 1013904223u;
				tokens[t] = (int32_t) (random >> 16) % 3; /* few, so that many begin alike */
			}
			if (!has_answer(&answers, tokens, n))
				add_answer(&answers, tokens, n);
		}
		check(&answers);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_answer_is_certain),
		cmocka_unit_test(answers_that_begin_differently_need_one_look),
		cmocka_unit_test(a_beginning_competes_by_the_end_of_answers),
		cmocka_unit_test(the_same_answer_twice_is_refused),
		cmocka_unit_test(any_answers_are_scored_as_in_constrained_decoding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
