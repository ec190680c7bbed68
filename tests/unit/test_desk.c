/*
 * test_desk.c - the desk's threads: papers come back whole, in turns, and soon after nobody wants them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/base/clock.h"
#include "../../src/engine/desk.h"
#include "tiny_engine.h"

#define MOMENT_MS 30000 /* nothing takes so long; a poll with a deadline */

static const TinyModel tiny = {true, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_Q8_0, 5, -1};

typedef struct Fixture
{
	TinyEngine *engine;
	Tokenizer *tokenizers[N_DESK_LANES];
	Desk *desk;
} Fixture;

static int
set_up(void **state)
{
	static Fixture fixture;
	const SchedulerSettings settings = {.max_running = 4, .prefill_chunk = 32, .queue_size = 4};

	fixture.engine = tiny_engine(&tiny, 1, 64, settings);
	for (int i = 0; i < N_DESK_LANES; i++)
		assert_string_equal(
			tokenizer_share(fixture.engine->slots.slots[0].model->tokenizer, &fixture.tokenizers[i]).message, "");
	fixture.desk = desk_create();
	assert_non_null(fixture.desk);
	*state = &fixture;
	return 0;
}

static int
tear_down(void **state)
{
	Fixture *fixture = *state;

	desk_destroy(fixture->desk);
	for (int i = 0; i < N_DESK_LANES; i++)
		tokenizer_destroy(fixture->tokenizers[i]);
	tiny_engine_free(fixture->engine);
	return 0;
}

/* A paper with a text of its own. */
static DeskPaper *
make_paper(const Fixture *fixture, RequestKind kind, uint32_t role, const void *line, const char *unit, size_t n)
{
	DeskPaper *paper = calloc(1, sizeof *paper);
	Slot *slot = &fixture->engine->slots.slots[0];

	assert_non_null(paper);
	for (size_t i = 0; i < n; i++)
		write_raw(&paper->body, unit, strlen(unit));
	paper->message = (Request){.kind = (uint8_t) kind,
							   .text = {(char *) paper->body.data, paper->body.length},
							   .role = role,
							   .chunk_tokens = kind == REQUEST_CHUNK ? 16 : 0};
	paper->lane = paper->body.length > DESK_LONG_BYTES ? DESK_LANE_LONG : DESK_LANE_SHORT;
	paper->place = (Workplace){.model = slot->model, .tokenizer = fixture->tokenizers[paper->lane], .pool = slot->pool};
	paper->line = line;
	paper->request_id = role;
	return paper;
}

/* The next paper that is done. */
static DeskPaper *
wait_for_paper(Desk *desk)
{
	struct pollfd events = {.fd = desk_descriptor(desk), .events = POLLIN};
	DeskPaper *paper = desk_take(desk);

	while (!paper)
	{
		assert_int_equal(poll(&events, 1, MOMENT_MS), 1);
		paper = desk_take(desk);
	}
	return paper;
}

static void
papers_come_back_with_their_answers(void **state)
{
	Fixture *fixture = *state;
	const uint8_t kinds[] = {REQUEST_COUNT_TOKENS, REQUEST_TOKENIZE, REQUEST_CHUNK, REQUEST_GENERATE, REQUEST_EMBED};
	const size_t n_kinds = sizeof kinds / sizeof kinds[0];

	for (uint32_t i = 0; i < 200; i++)
		assert_true(desk_give(fixture->desk,
							  make_paper(fixture, kinds[i % n_kinds], i % 7, fixture + i % 3, "Some words. ", 1 + i)));
	for (uint32_t i = 0; i < 200; i++)
	{
		DeskPaper *paper = wait_for_paper(fixture->desk);
		bool is_accepted = paper->message.kind == REQUEST_CHUNK || paper->message.kind == REQUEST_GENERATE ||
						   paper->message.kind == REQUEST_EMBED;

		if (paper->status.code == STATUS_OK)
		{
			assert_true(paper->out.length > PROTOCOL_HEADER_BYTES);
			assert_int_equal(paper->request != NULL, is_accepted);
		}
		else
			assert_int_equal(paper->status.code, STATUS_TOO_LONG);
		desk_paper_free(paper);
	}
	assert_null(desk_take(fixture->desk));
}

/* A giant of one role, and short papers of it and of another: none waits for the giant. */
static void
short_papers_do_not_wait_for_giants(void **state)
{
	Fixture *fixture = *state;
	DeskPaper *giant = make_paper(fixture, REQUEST_CHUNK, 1, fixture, "x.", 16 << 20);

	assert_true(desk_give(fixture->desk, giant));
	for (uint32_t i = 0; i < 20; i++)
	{
		DeskPaper *paper = make_paper(fixture, REQUEST_COUNT_TOKENS, i % 2 + 1, fixture, "word ", 1000);

		assert_true(desk_give(fixture->desk, paper));
		assert_ptr_equal(wait_for_paper(fixture->desk), paper);
		desk_paper_free(paper);
	}
	/* where the machine has other work it may not have been begun */
	if (!desk_withdraw(fixture->desk, giant))
	{
		assert_ptr_equal(wait_for_paper(fixture->desk), giant);
		assert_int_equal(giant->status.code, STATUS_CANCELLED);
	}
	desk_paper_free(giant);
}

/* Behind one that is worked on: 20 of role 1 from two clients, then one of role 2, which is second. */
static void
roles_and_clients_take_turns(void **state)
{
	Fixture *fixture = *state;
	DeskPaper *first = make_paper(fixture, REQUEST_CHUNK, 9, fixture, "x.", 2 << 20), *papers[22], *paper;
	const void *lines[3] = {fixture, fixture + 1, fixture + 2};
	uint32_t roles[22];
	const void *order[22];

	for (uint32_t i = 0; i < 22; i++)
		papers[i] =
			make_paper(fixture, REQUEST_COUNT_TOKENS, i < 20 ? 1 : 2, lines[i / 10], "a b ", DESK_LONG_BYTES / 2);
	assert_true(desk_give(fixture->desk, first));
	for (uint32_t i = 0; i < 22; i++)
		assert_true(desk_give(fixture->desk, papers[i]));
	if (!desk_withdraw(fixture->desk, first))
		assert_ptr_equal(wait_for_paper(fixture->desk), first);
	desk_paper_free(first);
	for (uint32_t i = 0; i < 22; i++)
	{
		paper = wait_for_paper(fixture->desk);
		roles[i] = paper->message.role;
		order[i] = paper->line;
		desk_paper_free(paper);
	}
	assert_int_equal(roles[1], 2);
	assert_int_equal(roles[3], 2);
	assert_ptr_equal(order[0], lines[0]);
	assert_ptr_equal(order[2], lines[1]);
	assert_ptr_equal(order[4], lines[0]);
}

/* What is withdrawn ends soon, wherever the work is: splitting, merging, cutting. */
static void
withdrawn_papers_end_within_milliseconds(void **state)
{
	static const char *const units[] = {"x.", "qwertz", " \t", "Aa. \t \t\t  \t", "e\xCC\x81"};
	Fixture *fixture = *state;

	for (size_t i = 0; i < 2 * sizeof units / sizeof units[0]; i++)
	{
		const char *unit = units[i / 2];
		RequestKind kind = i % 2 ? REQUEST_CHUNK : REQUEST_COUNT_TOKENS;
		size_t bytes = kind == REQUEST_CHUNK ? 4 << 20 : 8 << 20;
		DeskPaper *paper = make_paper(fixture, kind, 1, fixture, unit, bytes / strlen(unit));
		uint64_t start;

		assert_true(desk_give(fixture->desk, paper));
		(void) poll(NULL, 0, 2 + rand() % 30);
		start = clock_now_us();
		/* where the machine has other work it may not have been begun */
		if (!desk_withdraw(fixture->desk, paper))
			assert_ptr_equal(wait_for_paper(fixture->desk), paper);
		/* milliseconds of work; the rest is for machines with other work and for sanitizers */
		if (clock_now_us() - start > 1000000)
			fail_msg("%s %d: %llu us", unit, (int) kind, (unsigned long long) (clock_now_us() - start));
		desk_paper_free(paper);
	}
}

static void
waiting_papers_are_given_back_at_once(void **state)
{
	Fixture *fixture = *state;
	DeskPaper *giant = make_paper(fixture, REQUEST_CHUNK, 1, fixture, "x.", 16 << 20), *papers[6];

	assert_true(desk_give(fixture->desk, giant));
	for (uint32_t i = 0; i < 6; i++)
	{
		papers[i] = make_paper(fixture, REQUEST_COUNT_TOKENS, i / 2, fixture + i % 2, "a b ", DESK_LONG_BYTES);
		assert_true(desk_give(fixture->desk, papers[i]));
	}
	for (uint32_t i = 0; i < 6; i++)
	{
		assert_true(desk_withdraw(fixture->desk, papers[(i * 5) % 6]));
		desk_paper_free(papers[(i * 5) % 6]);
	}
	if (!desk_withdraw(fixture->desk, giant))
		assert_ptr_equal(wait_for_paper(fixture->desk), giant);
	desk_paper_free(giant);
	assert_null(desk_take(fixture->desk));
}

/* The desk goes while it has work, and forgets all of it. */
static void
the_end_waits_for_nothing(void **state)
{
	Fixture *fixture = *state;
	uint64_t start = clock_now_us();

	for (uint32_t i = 0; i < 8; i++)
		assert_true(desk_give(fixture->desk, make_paper(fixture, REQUEST_CHUNK, i, fixture, "x.", 4 << 20)));
	desk_destroy(fixture->desk);
	assert_true(clock_now_us() - start < 10000000);
	fixture->desk = desk_create();
	assert_non_null(fixture->desk);
}

static void
texts_that_are_none_are_found_here(void **state)
{
	Fixture *fixture = *state;
	DeskPaper *paper = make_paper(fixture, REQUEST_COUNT_TOKENS, 1, fixture, "\xFF", 1000);

	assert_true(desk_give(fixture->desk, paper));
	assert_ptr_equal(wait_for_paper(fixture->desk), paper);
	assert_true(paper->is_broken);
	desk_paper_free(paper);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(papers_come_back_with_their_answers),
		cmocka_unit_test(short_papers_do_not_wait_for_giants),
		cmocka_unit_test(roles_and_clients_take_turns),
		cmocka_unit_test(withdrawn_papers_end_within_milliseconds),
		cmocka_unit_test(waiting_papers_are_given_back_at_once),
		cmocka_unit_test(the_end_waits_for_nothing),
		cmocka_unit_test(texts_that_are_none_are_found_here),
	};

	return cmocka_run_group_tests_name("desk", tests, set_up, tear_down);
}
