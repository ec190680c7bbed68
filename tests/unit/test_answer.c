/*
 * test_answer.c - an answer's tokens become thinking and content, whatever way the text is cut into tokens.
 *
 * A request of a tiny model, whose tokens are single bytes, is made to say given texts (its logits are made here). What
 * comes out, whole or as a stream, is compared with a plain definition over the whole text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "../../src/engine/kind_generate.h"
#include "../../src/engine/prepare.h"
#include "call_grammar.h"
#include "tiny_model.h"

#define MAX_TEXT 400
#define NO_BUDGET UINT32_MAX

typedef struct Fixture
{
	Model *model;
	KvBudget *budget;
	KvPool *pool;
	int32_t token_of[256]; /* by byte */
	int32_t end;
} Fixture;

/* What became of an answer. */
typedef struct Outcome
{
	char content[2 * MAX_TEXT], thinking[2 * MAX_TEXT], calls[8 * MAX_TEXT];
	int n_pieces;
	bool thought;
	uint8_t finish_reason;
	uint32_t n_tokens;
} Outcome;

static int
make_fixture(void **state)
{
	static Fixture fixture;
	const TinyModel shape = {true, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_F32, 5, -1};

	fixture.model = tiny_model(&shape);
	tiny_learn_tools(fixture.model);
	fixture.budget = kv_budget_create(64 << 20);
	assert_string_equal(kv_pool_create(fixture.budget, &fixture.model->hyper, KV_F16, false, &fixture.pool).message,
						"");
	for (int32_t i = 0; i < 256; i++)
		fixture.token_of[(unsigned char) tokenizer_token_bytes(fixture.model->tokenizer, i).data[0]] = i;
	fixture.end = tokenizer_find(fixture.model->tokenizer, "<|im_end|>", 10);
	assert_true(fixture.end >= 0);
	*state = &fixture;
	return 0;
}

static int
free_fixture(void **state)
{
	Fixture *fixture = *state;

	kv_pool_destroy(fixture->pool);
	kv_budget_destroy(fixture->budget);
	model_close(fixture->model);
	return 0;
}

/* Add text behind what is there. */
static void
append(char *to, ByteSpan text)
{
	size_t length = strlen(to);

	assert_true(length + text.length < 2 * MAX_TEXT);
	assert_true(utf8_is_valid(text.data, text.length));
	memcpy(to + length, text.data, text.length);
	to[length + text.length] = '\0';
}

/* Add what the frames say to the outcome, and forget them. */
static void
read_frames(ByteWriter *frames, Outcome *outcome)
{
	for (size_t at = 0; at < frames->length;)
	{
		const unsigned char *body = frames->data + at + PROTOCOL_HEADER_BYTES;
		FrameHeader header;
		Piece piece;
		Done done;

		assert_string_equal(decode_header(frames->data + at, false, &header).message, "");
		if (header.type == FRAME_PIECE)
		{
			assert_string_equal(decode_piece(body, header.body_bytes, &piece).message, "");
			assert_true(piece.text.length > 0);
			append(piece.kind == PIECE_THINKING ? outcome->thinking : outcome->content, piece.text);
			outcome->n_pieces++;
			outcome->thought |= piece.kind == PIECE_THINKING;
		}
		else if (header.type == FRAME_DONE)
		{
			assert_string_equal(decode_done(body, header.body_bytes, &done).message, "");
			append(outcome->content, done.content);
			append(outcome->thinking, (ByteSpan){done.thinking.data ? done.thinking.data : "", done.thinking.length});
			assert_true(done.tool_calls.length < sizeof outcome->calls);
			memcpy(outcome->calls, done.tool_calls.data ? done.tool_calls.data : "", done.tool_calls.length);
			outcome->thought |= done.thinking.data != NULL;
			outcome->finish_reason = done.finish_reason;
			outcome->n_tokens = done.completion_tokens;
		}
		at += PROTOCOL_HEADER_BYTES + header.body_bytes;
	}
	frames->length = 0;
}

/*
 * Have a request say text (then the end), where it may. opened: the template opened the thinking; may_open: the answer
 * may open it.
 */
static Outcome
say_with(const char *tools, const Fixture *fixture, const char *text, bool stream, bool opened, bool may_open,
		 uint32_t budget, uint32_t max_tokens, const char *stop)
{
	static const char messages[] = "[{\"role\": \"user\", \"content\": \"x\"}]";
	Request request = {.kind = REQUEST_CHAT, .flags = stream ? REQUEST_FLAG_STREAM : 0};
	float logits[TINY_VOCAB];
	const char *next = text;
	Outcome outcome = {.content = ""};
	ByteWriter frames;
	EngineRequest *asked;
	Answer *answer;
	StepRow row = {.logits = logits};

	request.messages = (ByteSpan){messages, strlen(messages)};
	request.options.given = OPTION_TEMPERATURE | OPTION_MAX_TOKENS;
	request.options.max_tokens = (int32_t) max_tokens;
	if (stop)
		request.stops[request.n_stops++] = (ByteSpan){stop, strlen(stop)};
	if (tools)
		request.tools = (ByteSpan){tools, strlen(tools)};
	byte_writer_init(&frames);
	assert_string_equal(prepare_in_loop(fixture->model, fixture->pool, NULL, &request, 1, &frames, &asked).message, "");
	/* calls may be written in any way, as of tools whose schemas cannot be kept */
	format_cache_release(generation_of(asked)->constraint.shared);
	generation_of(asked)->constraint.shared = NULL;
	/* as a model with a template of Qwen3's makes it */
	answer = &generation_of(asked)->answer;
	answer->in_thinking = answer->thought = opened;
	answer->beginning = may_open && !opened;
	answer->thinking_budget = budget;
	assert_string_equal(answer_open_thinking(answer, fixture->model->tokenizer).message, "");
	frames.length = 0;
	while (asked->state != STATE_ENDED)
	{
		bool is_forced = answer_is_forced(answer);

		memset(logits, 0, sizeof logits);
		logits[*next ? fixture->token_of[(unsigned char) *next] : fixture->end] = 1;
		if (*next && !is_forced)
			next++;
		assert_string_equal(request_take_row(&asked->sequences[0], &row, &frames).message, "");
		read_frames(&frames, &outcome);
	}
	request_destroy(asked);
	byte_writer_free(&frames);
	return outcome;
}

/* The same without tools. */
static Outcome
say(const Fixture *fixture, const char *text, bool stream, bool opened, bool may_open, uint32_t budget,
	uint32_t max_tokens, const char *stop)
{
	return say_with(NULL, fixture, text, stream, opened, may_open, budget, max_tokens, stop);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\n';
}

/* Copy text without blanks at its begin and, where told, at its end. */
static void
copy_trimmed(char *to, const char *text, size_t length, bool at_end)
{
	for (; length > 0 && is_blank(*text); length--)
		text++;
	while (at_end && length > 0 && is_blank(text[length - 1]))
		length--;
	memcpy(to, text, length);
	to[length] = '\0';
}

/* The definition: what is thinking and what is content of a whole text. */
static Outcome
define(const char *text, bool opened, bool may_open)
{
	Outcome outcome = {.content = ""};
	const char *rest = text, *close;

	while (!opened && is_blank(*rest))
		rest++;
	if (!opened && !(may_open && strncmp(rest, "<think>", 7) == 0))
	{
		strcpy(outcome.content, text);
		return outcome;
	}
	outcome.thought = true;
	rest = opened ? text : rest + 7;
	close = strstr(rest, "</think>");
	copy_trimmed(outcome.thinking, rest, close ? (size_t) (close - rest) : strlen(rest), true);
	if (close)
		copy_trimmed(outcome.content, close + 8, strlen(close + 8), false);
	return outcome;
}

static void
assert_same(const char *text, const Outcome *found, const Outcome *expected)
{
	if (strcmp(found->content, expected->content) != 0 || strcmp(found->thinking, expected->thinking) != 0)
		print_message("of %s\n", text);
	assert_string_equal(found->content, expected->content);
	assert_string_equal(found->thinking, expected->thinking);
	/* DONE of a stream says so too, with an empty text */
	assert_int_equal(found->thought, expected->thought);
}

static void
check(const Fixture *fixture, const char *text)
{
	for (int way = 0; way < 6; way++)
	{
		bool stream = way & 1, opened = way / 2 == 1, may_open = way / 2 != 2;
		Outcome expected = define(text, opened, may_open);
		Outcome found = say(fixture, text, stream, opened, may_open, NO_BUDGET, 2 * MAX_TEXT, NULL);

		assert_same(text, &found, &expected);
		assert_int_equal(found.finish_reason, FINISH_STOP);
		assert_int_equal(found.n_tokens, strlen(text) + 1);
	}
}

static void
thinking_and_content_are_told_apart(void **state)
{
	static const char *const texts[] = {
		"",
		"just an answer",
		"<think>\nHm, 日本 é 👍🏽.\n</think>\n\nThe answer is é.",
		"\n <think></think>x",
		"<think>\n\n</think>\n\n",
		"<think>never closed ",
		"<think>half closed </thin",
		"<think>a < b </ c </thinking> </think> d </think> e",
		"<think>a</think>b<think>c</think>d",
		"<thinking>no</thinking>",
		"<thin",
		"  <",
		" \n",
		"x<think>y</think>z",
		"</think>\n\nat once",
		"<think>  spaces \n inside  \n </think>   \n  kept ",
	};

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		check(*state, texts[i]);
}

static void
random_texts_agree_with_the_definition(void **state)
{
	static const char *const pieces[] = {"<think>", "</think>", "<", "</", "think>", "<thi", " ",
										 "\n",      "a",        "é", "👍",  "nk>",    "bc d"};
	uint64_t seed = 99;

	for (int i = 0; i < 1500; i++)
	{
		char text[MAX_TEXT] = "";

		for (uint64_t n = writer_random(&seed) % 14; n > 0; n--)
			strcat(text, pieces[writer_random(&seed) % (sizeof pieces / sizeof pieces[0])]);
		check(*state, text);
	}
}

/* However early the answer ends, what is there is the beginning of what would have been, and never a part of a tag. */
static void
every_length_is_a_beginning(void **state)
{
	const char *text = "<think>\n one <two> \n</think>\n\nthree </four>";
	Outcome whole = define(text, false, true);

	for (uint32_t n = 7; n <= strlen(text); n++)
		for (int stream = 0; stream < 2; stream++)
		{
			Outcome found = say(*state, text, stream, false, true, NO_BUDGET, n, NULL);
			char cut[MAX_TEXT];
			Outcome expected;

			snprintf(cut, sizeof cut, "%.*s", (int) n, text);
			expected = define(cut, false, true);
			assert_same(cut, &found, &expected);
			assert_int_equal(found.finish_reason, FINISH_LENGTH);
			assert_memory_equal(found.content, whole.content, strlen(found.content));
		}
}

static void
used_up_budget_forces_the_closing_words(void **state)
{
	const char *closing = "Considering the limited time by the user, I have to give the solution based on the thinking "
						  "directly now.";
	const char *text = "<think>0123456789</think>content";

	for (uint32_t budget = 0; budget < 14; budget++)
		for (int stream = 0; stream < 2; stream++)
		{
			/* the tags are spelled in bytes here: the opening one is whole with its last byte, which does not count */
			Outcome found = say(*state, text, stream, false, true, budget, 2 * MAX_TEXT, NULL);
			char expected[MAX_TEXT];

			snprintf(expected, sizeof expected, "%.*s%s%s", (int) budget, "0123456789</think>", budget ? "\n\n" : "",
					 closing);
			assert_string_equal(found.thinking, expected);
			/* what was left to say goes into the content */
			assert_string_equal(found.content, text + 7 + budget);
		}
	/* as long as the thinking and its closing tag, which counts as long as it is no tag: left alone */
	for (uint32_t budget = 18; budget < 20; budget++)
	{
		Outcome found = say(*state, text, false, false, true, budget, 2 * MAX_TEXT, NULL);

		assert_string_equal(found.thinking, "0123456789");
		assert_string_equal(found.content, "content");
	}
	/* opened by the template: closed before anything is said */
	{
		Outcome found = say(*state, "content", true, true, true, 0, 2 * MAX_TEXT, NULL);

		assert_string_equal(found.thinking, closing);
		assert_string_equal(found.content, "content");
	}
	/* no thinking, nothing to close */
	{
		Outcome found = say(*state, "content", true, false, true, 0, 2 * MAX_TEXT, NULL);

		assert_false(found.thought);
		assert_string_equal(found.content, "content");
	}
}

static void
stop_strings_look_at_the_content_only(void **state)
{
	for (int stream = 0; stream < 2; stream++)
	{
		Outcome found =
			say(*state, "<think>a stop b</think>\n c stop d", stream, false, true, NO_BUDGET, 2 * MAX_TEXT, "stop");

		assert_string_equal(found.thinking, "a stop b");
		assert_string_equal(found.content, "c ");
		assert_int_equal(found.finish_reason, FINISH_STOP);
		found = say(*state, "<think>a</think>b", stream, false, true, NO_BUDGET, 2 * MAX_TEXT, "</think>");
		assert_string_equal(found.content, "b");
	}
}

/* Whole and as a stream, up to a stop string: nothing of an answer with calls disappears. */
static void
nothing_of_calls_disappears(void **state)
{
	static Grammar grammar;
	int n_checked = 0;

	for (uint64_t seed = 1; n_checked < 300; seed++)
	{
		const char *stop = seed % 3 == 0 ? "w2x" : NULL;
		char text[MAX_TEXT], all[4 * MAX_TEXT];
		Outcome whole, stream;

		grammar_answer(&grammar, seed);
		if (strlen(grammar.text) > MAX_TEXT - 40)
			continue;
		n_checked++;
		snprintf(text, sizeof text, "%s%s", seed % 2 ? "<think>\nso\n</think>\n\n" : "", grammar.text);
		whole = say_with(grammar_tools, *state, text, false, false, true, NO_BUDGET, 2 * MAX_TEXT, stop);
		stream = say_with(grammar_tools, *state, text, true, false, true, NO_BUDGET, 2 * MAX_TEXT, stop);
		assert_same(text, &stream, &whole);
		assert_string_equal(stream.calls, whole.calls);
		assert_int_equal(stream.finish_reason, whole.finish_reason);
		assert_int_equal(whole.finish_reason, whole.calls[0] ? FINISH_TOOL_CALLS : FINISH_STOP);
		if (stop && strstr(text, stop))
			*strstr(text, stop) = '\0';
		snprintf(all, sizeof all, "%s %s", whole.content, whole.thinking);
		if (!grammar_all_there(text, strlen(text), all, strlen(all), whole.calls, strlen(whole.calls)))
			fail_msg("seed %d of %s\n--- content: %s\n--- calls: %s", (int) seed, text, whole.content, whole.calls);
	}
}

/* What is said before a call does not wait for it. */
static void
words_before_calls_are_streamed(void **state)
{
	Outcome found =
		say_with(grammar_tools, *state, "One <two> three.\n\n<tool_call>\n{\"name\": \"f\"}\n</tool_call>\nFour.", true,
				 false, true, NO_BUDGET, 2 * MAX_TEXT, NULL);

	assert_string_equal(found.content, "One <two> three.\nFour.");
	assert_string_equal(found.calls, "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]");
	assert_true(found.n_pieces > 10);
}

/* Processor time for an answer that is white space all along, inside its thinking or before it is clear whether there
 * is any. */
static double
seconds_of_blanks(const Fixture *fixture, uint32_t n_tokens, bool in_thinking)
{
	static const char messages[] = "[{\"role\": \"user\", \"content\": \"x\"}]";
	Request request = {.kind = REQUEST_CHAT, .messages = {messages, sizeof messages - 1}};
	float logits[TINY_VOCAB];
	ByteWriter frames;
	clock_t start;
	EngineRequest *asked;
	Answer *answer;
	StepRow row = {.logits = logits};

	request.options.given = OPTION_TEMPERATURE | OPTION_MAX_TOKENS;
	request.options.max_tokens = (int32_t) n_tokens;
	byte_writer_init(&frames);
	assert_string_equal(prepare_in_loop(fixture->model, fixture->pool, NULL, &request, 1, &frames, &asked).message, "");
	answer = &generation_of(asked)->answer;
	answer->in_thinking = in_thinking;
	answer->beginning = !in_thinking;
	start = clock();
	while (asked->state != STATE_ENDED)
	{
		memset(logits, 0, sizeof logits);
		logits[fixture->token_of[asked->sequences[0].n_generated % 2 ? ' ' : '\n']] = 1;
		assert_string_equal(request_take_row(&asked->sequences[0], &row, &frames).message, "");
	}
	assert_int_equal(asked->sequences[0].n_generated, n_tokens);
	request_destroy(asked);
	byte_writer_free(&frames);
	return (double) (clock() - start) / CLOCKS_PER_SEC;
}

static void
endless_blanks_are_looked_at_once(void **state)
{
	Fixture *fixture = *state;
	uint32_t context = fixture->model->hyper.context_length;

	fixture->model->hyper.context_length = 200000;
	for (int in_thinking = 0; in_thinking < 2; in_thinking++)
	{
		double few = seconds_of_blanks(fixture, 10000, in_thinking);

		/* sixteen times as many take sixteen times as long; where all were looked at again with each, 256 times */
		assert_true(seconds_of_blanks(fixture, 160000, in_thinking) < 48 * few + 0.2);
	}
	fixture->model->hyper.context_length = context;
}

static void
tools_are_bounded(void **state)
{
	enum
	{
		LIMIT = 1024 * 1024
	};
	static const char messages[] = "[{\"role\": \"user\", \"content\": \"x\"}]";
	const Fixture *fixture = *state;
	Request request = {.kind = REQUEST_CHAT, .messages = {messages, sizeof messages - 1}};
	char *tools = malloc(LIMIT + 1);
	ByteWriter frames;
	EngineRequest *asked;

	/* white space, of which the prompt has nothing */
	memset(tools, ' ', LIMIT + 1);
	tools[0] = '[';
	tools[LIMIT - 1] = ']';
	byte_writer_init(&frames);
	for (size_t length = LIMIT; length <= LIMIT + 1; length++)
	{
		Status status;

		request.tools = (ByteSpan){tools, length};
		status = prepare_in_loop(fixture->model, fixture->pool, NULL, &request, 1, &frames, &asked);
		assert_int_equal(status.code, length > LIMIT ? STATUS_TOO_LONG : STATUS_OK);
		assert_true(length <= LIMIT || strstr(status.message, "tools has 1048577 bytes, the limit is 1048576"));
		request_destroy(asked);
	}
	byte_writer_free(&frames);
	free(tools);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thinking_and_content_are_told_apart),
		cmocka_unit_test(random_texts_agree_with_the_definition),
		cmocka_unit_test(every_length_is_a_beginning),
		cmocka_unit_test(used_up_budget_forces_the_closing_words),
		cmocka_unit_test(stop_strings_look_at_the_content_only),
		cmocka_unit_test(nothing_of_calls_disappears),
		cmocka_unit_test(words_before_calls_are_streamed),
		cmocka_unit_test(endless_blanks_are_looked_at_once),
		cmocka_unit_test(tools_are_bounded),
	};

	return cmocka_run_group_tests_name("answer", tests, make_fixture, free_fixture);
}
