/*
 * test_kept_memory.c - what requests keep until their end has a bound, leaves room to other roles and goes back; equal
 * tools are held once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#include "../../src/engine/kept_memory.h"
#include "../../src/engine/tool_set.h"
#include "tiny_engine.h"

#define TOOLS_BYTES ((size_t) 400000) /* of many values: they take some megabytes once they are read */
#define MOST_SETS 500

static const TinyModel shape = {false, 2, 64, 96, 4, 2, 16, 2048, false, TENSOR_F32, 21, POOLING_LAST};

/* Tools of many values that differ by a number. */
static ByteSpan
make_tools(char *text, size_t bytes, int number)
{
	static const char tail[] = "]}}]";
	size_t head = (size_t) snprintf(text, bytes, "[{\"name\":\"f%d\",\"parameters\":{\"enum\":[1", number);
	size_t end = bytes - strlen(tail);

	memset(text + head, ' ', end - head);
	for (size_t i = head; i + 1 < end; i += 2)
		memcpy(text + i, ",2", 2);
	memcpy(text + end, tail, strlen(tail));
	return (ByteSpan){text, bytes};
}

/* How many bytes more a role may take where another one has half of all; half of all if it has none itself. */
static size_t
room_of(uint32_t role)
{
	size_t low = 0, high = KEPT_MEMORY_BYTES;

	assert_int_equal(kept_memory_take(UINT32_MAX, KEPT_MEMORY_BYTES / 2).code, STATUS_OK);
	while (high - low > 1)
	{
		size_t middle = low + (high - low) / 2;
		bool ok = kept_memory_take(role, middle).code == STATUS_OK;

		if (ok)
			kept_memory_give(role, middle);
		*(ok ? &low : &high) = middle;
	}
	kept_memory_give(UINT32_MAX, KEPT_MEMORY_BYTES / 2);
	return low;
}

static void
equal_tools_of_a_role_are_held_once(void **state)
{
	char *text = malloc(TOOLS_BYTES), *copy = malloc(TOOLS_BYTES);
	ByteSpan tools = make_tools(text, TOOLS_BYTES, 1), same = make_tools(copy, TOOLS_BYTES, 1);
	ToolSet *sets[3];

	(void) state;
	assert_int_equal(tool_set_share(1, tools, NULL, &sets[0]).code, STATUS_OK);
	assert_int_equal(tool_set_share(1, same, NULL, &sets[1]).code, STATUS_OK);
	assert_ptr_equal(sets[0], sets[1]);
	/* nothing is to be learnt of another role's */
	assert_int_equal(tool_set_share(2, same, NULL, &sets[2]).code, STATUS_OK);
	assert_ptr_not_equal(sets[0], sets[2]);
	tool_set_destroy(sets[0]);
	assert_true(room_of(1) < KEPT_MEMORY_BYTES / 2);
	tool_set_destroy(sets[1]);
	tool_set_destroy(sets[2]);
	assert_int_equal(room_of(1), KEPT_MEMORY_BYTES / 2);
	free(text);
	free(copy);
}

/* A role's requests with tools of megabytes, as many as it likes. */
static void
tools_of_requests_that_wait_have_a_bound(void **state)
{
	char *text = malloc(TOOLS_BYTES);
	ToolSet *sets[MOST_SETS];
	uint32_t n[3] = {0}, all = 0;
	size_t bytes = 0, largest = 0;

	(void) state;
	for (uint32_t role = 0; role < 3; role++)
	{
		Status status = status_ok();

		for (; status.code == STATUS_OK; n[role]++, all++)
		{
			assert_true(all < MOST_SETS);
			status = tool_set_share(role, make_tools(text, TOOLS_BYTES, (int) all), NULL, &sets[all]);
			if (status.code != STATUS_OK)
				break;
			bytes += tool_set_bytes(sets[all]);
			largest = largest > tool_set_bytes(sets[all]) ? largest : tool_set_bytes(sets[all]);
		}
		assert_int_equal(status.code, STATUS_UNAVAILABLE);
		assert_null(sets[all]);
		/* what another role finds room for is as much as is left to all others then */
		assert_true(n[role] > 0);
		assert_true(bytes <= KEPT_MEMORY_BYTES - (KEPT_MEMORY_BYTES >> (role + 1)));
		assert_true(bytes + 2 * largest > KEPT_MEMORY_BYTES - (KEPT_MEMORY_BYTES >> (role + 1)));
	}
	while (all > 0)
		tool_set_destroy(sets[--all]);
	assert_int_equal(room_of(0), KEPT_MEMORY_BYTES / 2);
	free(text);
}

static void
what_alone_is_too_much_is_no_matter_of_time(void **state)
{
	(void) state;
	assert_int_equal(kept_memory_take(1, KEPT_MEMORY_BYTES / 2 + 1).code, STATUS_TOO_LONG);
	assert_int_equal(kept_memory_take(1, SIZE_MAX).code, STATUS_TOO_LONG);
	assert_int_equal(room_of(1), KEPT_MEMORY_BYTES / 2);
}

/* Answers to choose from and pieces of texts count from ACCEPTED on, and no more when the request has gone. */
static void
a_request_s_work_counts_until_its_end(void **state)
{
	const SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 64, .queue_size = 10};
	TinyEngine *engine = tiny_engine(&shape, 1, 100, settings);
	char *text = calloc(1, 20001), *candidates = malloc(200000);
	Request requests[2] = {tiny_request("", 1, 7), tiny_request("", 1, 7)};
	size_t at = 1;

	(void) state;
	memset(text, 'a', 20000);
	requests[0].kind = REQUEST_CHUNK;
	requests[0].options.given = 0;
	requests[0].text = tiny_span(text);
	requests[0].chunk_tokens = REQUEST_MIN_CHUNK_TOKENS;
	candidates[0] = '[';
	for (int i = 0; i < 5000; i++)
		at += (size_t) sprintf(candidates + at, "%s\"answer %d\"", i ? "," : "", i);
	candidates[at++] = ']';
	requests[1].kind = REQUEST_SCORE;
	requests[1].options.given = 0;
	requests[1].text = (ByteSpan){NULL, 0};
	requests[1].messages = tiny_span("[{\"role\":\"user\",\"content\":\"which?\"}]");
	requests[1].candidates = (ByteSpan){candidates, at};
	for (int i = 0; i < 2; i++)
	{
		const Slot *slot = &engine->slots.slots[0];
		EngineRequest *request;
		ByteWriter out;

		byte_writer_init(&out);
		assert_string_equal(prepare_in_loop(slot->model, slot->pool, NULL, &requests[i], 1, &out, &request).message,
							"");
		/* a range for each piece; the tokens of each answer */
		assert_true(room_of(7) < KEPT_MEMORY_BYTES / 2 - (i == 0 ? 20000 / 16 * 4 : 5000 * 7 * 4 / 2));
		request_destroy(request);
		assert_int_equal(room_of(7), KEPT_MEMORY_BYTES / 2);
		byte_writer_free(&out);
	}
	free(text);
	free(candidates);
	tiny_engine_free(engine);
}

/* Take and give back a few sets over and over. */
static void *
hold_and_let_go(void *argument)
{
	uint64_t random = *(const uint64_t *) argument;
	char text[200];

	for (int i = 0; i < 2000; i++)
	{
		ToolSet *sets[3];

		for (int j = 0; j < 3; j++)
		{
			ByteSpan tools = make_tools(text, sizeof text, (int) (writer_random(&random) % 4));

			if (tool_set_share(1, tools, NULL, &sets[j]).code != STATUS_OK)
				return NULL;
		}
		for (int j = 0; j < 3; j++)
			tool_set_destroy(sets[j]);
	}
	return argument;
}

static void
threads_share_sets(void **state)
{
	pthread_t threads[4];
	uint64_t seeds[4] = {11, 12, 13, 14};
	void *ok;

	(void) state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_and_let_go, &seeds[i]), 0);
	for (int i = 0; i < 4; i++)
	{
		assert_int_equal(pthread_join(threads[i], &ok), 0);
		assert_non_null(ok);
	}
	assert_int_equal(room_of(1), KEPT_MEMORY_BYTES / 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_tools_of_a_role_are_held_once),
		cmocka_unit_test(tools_of_requests_that_wait_have_a_bound),
		cmocka_unit_test(what_alone_is_too_much_is_no_matter_of_time),
		cmocka_unit_test(a_request_s_work_counts_until_its_end),
		cmocka_unit_test(threads_share_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
