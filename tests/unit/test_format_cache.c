/*
 * test_format_cache.c - compiled forms have a bound, what is used is its role's memory, and nobody's many forms drive
 * out those of others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "../../src/engine/constraint.h"
#include "../../src/engine/format_cache.h"
#include "../../src/engine/kept_memory.h"
#include "tiny_engine.h"

#define N_FORMS 2000
#define N_ANSWERS 12      /* at once */
#define FORM_BYTES 120000 /* of text: about 2 MB once it is compiled */

static const TinyModel shape = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};
static Model *model;
static Workplace place;
static char text[FORM_BYTES + 1];

/* A form of many values that differs from others by a number. */
static ByteSpan
form(int number)
{
	size_t n = (size_t) snprintf(text, sizeof text, "{\"enum\":[\"n%d\"", number);

	for (int i = 0; n + 32 < FORM_BYTES; i++)
		n += (size_t) snprintf(text + n, sizeof text - n, ",\"a value %06d\"", i * 37 % 9973);
	n += (size_t) snprintf(text + n, sizeof text - n, "]}");
	return (ByteSpan){text, n};
}

static SharedFormat *
get(uint32_t role, int number)
{
	SharedFormat *shared;
	const Request message = {.kind = REQUEST_GENERATE, .role = role, .format = form(number)};
	Status status = format_cache_get(&place, &message, &shared);

	if (status.code != STATUS_OK)
		fail_msg("%s", status.message);
	return shared;
}

/* Is a form compiled now? Asking for one that is not makes one more. */
static bool
is_kept(uint32_t role, int number)
{
	FormatTotals before = format_cache_totals();
	SharedFormat *shared = get(role, number);
	bool is_there = format_cache_totals().n == before.n;

	format_cache_release(shared);
	return is_there;
}

static void
the_same_form_is_compiled_once(void **state)
{
	SharedFormat *first = get(1, 1), *second = get(2, 1);

	(void) state;
	assert_ptr_equal(first, second);
	format_cache_release(first);
	format_cache_release(second);
	assert_true(is_kept(3, 1));
}

static void
forms_of_a_role_do_not_drive_out_those_of_others(void **state)
{
	SharedFormat *used = get(1, 1);
	size_t most = 0;

	(void) state;
	format_cache_release(get(1, 2));
	for (int i = 0; i < N_FORMS / 10; i++)
	{
		size_t bytes;

		format_cache_release(get(2 + i % 3, 100 + i));
		bytes = format_cache_totals().bytes;
		most = bytes > most ? bytes : most;
	}
	/* the one that is used comes on top of the bound, and the last one before something is given up */
	assert_true(most > FORMAT_CACHE_BYTES / 2 && most < FORMAT_CACHE_BYTES + FORMAT_CACHE_BYTES / 4);
	assert_true(is_kept(1, 1) && is_kept(1, 2));
	assert_false(is_kept(2, 100));
	assert_ptr_equal(get(5, 1), used);
	format_cache_release(used);
	format_cache_release(used);
}

static void
forms_in_use_are_their_roles_memory(void **state)
{
	static SharedFormat *used[N_FORMS];
	Status status = status_ok();
	int n = 0;
	size_t bytes;

	(void) state;
	while (n < N_FORMS && status.code == STATUS_OK)
	{
		status = format_cache_get(&place, &(Request){.kind = REQUEST_GENERATE, .role = 7, .format = form(10000 + n)},
								  &used[n]);
		n += status.code == STATUS_OK;
	}
	assert_int_equal(status.code, STATUS_UNAVAILABLE);
	bytes = format_cache_totals().bytes;
	assert_true(bytes > KEPT_MEMORY_BYTES / 4 && bytes < KEPT_MEMORY_BYTES / 2 + 2 * FORMAT_CACHE_BYTES);
	/* others find room, also for a form that this role has */
	format_cache_release(get(8, 9999));
	format_cache_release(get(8, 10000));
	while (n > 0)
		format_cache_release(used[--n]);
	assert_true(format_cache_totals().bytes <= FORMAT_CACHE_BYTES);
	assert_int_equal(kept_memory_take(9, KEPT_MEMORY_BYTES / 2).code, STATUS_OK);
	assert_int_equal(kept_memory_take(7, KEPT_MEMORY_BYTES / 2 - (4 << 20)).code, STATUS_OK);
	kept_memory_give(9, KEPT_MEMORY_BYTES / 2);
	kept_memory_give(7, KEPT_MEMORY_BYTES / 2 - (4 << 20));
}

/* Take some text, token by token, as the model would say it. */
static void
say(Constraint *constraint, Answer *answer, const char *said)
{
	size_t n = strlen(said), length;

	for (; n > 0; said += length, n -= length)
	{
		int32_t guesses[DRAFT_MAX];
		int32_t token = (int32_t) vocabulary_longest(shared_vocabulary(constraint->shared), said, n, &length);
		Status status;

		constraint_begin_step(constraint, guesses, 0);
		(void) constraint_guess(constraint, DRAFT_MAX, guesses);
		assert_true(constraint->n_rows == 1 && constraint->rows[0].mask);
		status = constraint_take(constraint, answer, &token, 1 << 20);
		if (status.code != STATUS_OK)
			fail_msg("%s", status.message);
	}
}

/* What answers find out about a form would fill it: they walk on in another one, and what is said stays the same. */
static void
answers_go_on_where_their_form_is_full(void **state)
{
	static Constraint constraints[N_ANSWERS];
	static Answer answers[N_ANSWERS];
	static const char object[] =
		"{\"type\":\"object\",\"minProperties\":30,\"additionalProperties\":{\"type\":\"integer\"}}";
	const Request message = {.kind = REQUEST_GENERATE, .role = 1, .format = {object, sizeof object - 1}};
	const SharedFormat *first;
	size_t most = 0;

	(void) state;
	format_cache_forget(model);
	for (int i = 0; i < N_ANSWERS; i++)
		assert_int_equal(constraint_init(&constraints[i], &place, &message, (PromptEnd){0}, true, 1 << 20).code,
						 STATUS_OK);
	first = constraints[0].shared;
	for (int name = 0; name < 180; name++)
		for (int i = 0; i < N_ANSWERS; i++)
		{
			char said[60];

			(void) snprintf(said, sizeof said, "%s\"a name %d of %d that is long\": %d", name ? ", " : "{",
							name * 7919 % 1000, i, name % 10);
			say(&constraints[i], &answers[i], said);
			most = format_cache_totals().bytes > most ? format_cache_totals().bytes : most;
		}
	/* it would have been more than one form may take, and none is left that nobody uses */
	assert_ptr_not_equal(constraints[0].shared, first);
	assert_true(most > FORMAT_LIMIT_BYTES / 3);
	assert_true(format_cache_totals().n <= 3);
	for (int i = 0; i < N_ANSWERS; i++)
	{
		/* names that it used before it walked on are used */
		Format *format = shared_format(constraints[i].shared);
		char again[60];

		(void) snprintf(again, sizeof again, ", \"a name 0 of %d that is long\"", i);
		assert_int_equal(format_take(format, constraints[i].state, again, strlen(again)), 0);
		(void) snprintf(again, sizeof again, ", \"a name 0 of %d that is long\"", i + N_ANSWERS);
		assert_int_not_equal(format_take(format, constraints[i].state, again, strlen(again)), 0);
		say(&constraints[i], &answers[i], "}");
		assert_true(constraint_is_over(&constraints[i]));
		constraint_free(&constraints[i]);
	}
}

/* Fill a format with names, as other answers may in the same step. */
static void
fill(Format *format)
{
	FormatState at = format_take(format, format_start(format), "{", 1);

	for (int i = 0; at && format_status(format).code == STATUS_OK; i++)
	{
		char said[600];

		(void) snprintf(said, sizeof said, "%s\"%0500d\": 1", i ? ", " : "", i);
		at = format_take(format, at, said, strlen(said));
	}
}

/* Rows behind a guess are drawn after the row before them was taken, for which a completion was looked for. */
static void
masks_of_a_step_stay_where_the_form_is_left_in_it(void **state)
{
	static const char object[] = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}";
	const Request message = {.kind = REQUEST_GENERATE, .role = 1, .format = {object, sizeof object - 1}};
	static Constraint constraint;
	static Answer answer;
	size_t length;
	int32_t tokens[2];
	TokenMask before;
	const SharedFormat *first;

	(void) state;
	format_cache_forget(model);
	assert_int_equal(constraint_init(&constraint, &place, &message, (PromptEnd){0}, true, 1 << 20).code, STATUS_OK);
	first = constraint.shared;
	tokens[0] = (int32_t) vocabulary_longest(shared_vocabulary(first), "{", 1, &length);
	tokens[1] = (int32_t) vocabulary_longest(shared_vocabulary(first), "\"", 1, &length);
	constraint_begin_step(&constraint, tokens, 1);
	assert_int_equal(constraint.n_rows, 2);
	before = *constraint.rows[1].mask;
	fill(shared_format(constraint.shared));
	assert_int_not_equal(format_status(shared_format(constraint.shared)).code, STATUS_OK);
	assert_int_equal(constraint_take(&constraint, &answer, &tokens[0], 50).code, STATUS_OK);
	assert_ptr_not_equal(constraint.shared, first);
	assert_int_equal(format_cache_totals().n, 2);
	assert_memory_equal(constraint.rows[1].mask, &before, sizeof before);
	assert_int_equal(constraint_take(&constraint, &answer, &tokens[1], 50).code, STATUS_OK);
	constraint_begin_step(&constraint, tokens, 0);
	assert_int_equal(format_cache_totals().n, 1);
	constraint_free(&constraint);
}

static void
a_model_that_goes_takes_its_forms_along(void **state)
{
	(void) state;
	format_cache_release(get(1, 1));
	format_cache_forget(model);
	assert_int_equal(format_cache_totals().n, 0);
	assert_int_equal(format_cache_totals().bytes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_form_is_compiled_once),
		cmocka_unit_test(forms_of_a_role_do_not_drive_out_those_of_others),
		cmocka_unit_test(forms_in_use_are_their_roles_memory),
		cmocka_unit_test(answers_go_on_where_their_form_is_full),
		cmocka_unit_test(masks_of_a_step_stay_where_the_form_is_left_in_it),
		cmocka_unit_test(a_model_that_goes_takes_its_forms_along),
	};
	int failed;

	model = tiny_model(&shape);
	place = (Workplace){.model = model, .tokenizer = model->tokenizer};
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	model_close(model);
	return failed;
}
