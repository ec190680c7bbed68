/*
 * test_chunker.c - what pieces of a text may be and how they overlap, with a vocabulary of bytes: a byte is a token, so
 * that everything can be counted by hand. Pieces by a real vocabulary are in tests/sql/10_tasks.sql, time and memory of
 * large texts in tests/cluster/test_17_growth.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/base/utf8.h"
#include "../../src/model/chunker.h"
#include "tiny_model.h"

#define MAX_PIECES 1024

typedef struct Pieces
{
	const char *text;
	size_t n;
	int32_t at[MAX_PIECES][2]; /* first byte, length */
} Pieces;

static Model *model;

static void
cut_into(Pieces *pieces, const char *text, uint32_t max_tokens, uint32_t overlap)
{
	ByteWriter offsets;
	uint64_t n_tokens;

	byte_writer_init(&offsets);
	assert_int_equal(
		chunk_text(model->tokenizer, (ByteSpan){text, strlen(text)}, max_tokens, overlap, &offsets, &n_tokens).code,
		STATUS_OK);
	pieces->text = text;
	pieces->n = offsets.length / sizeof pieces->at[0];
	assert_true(pieces->n <= MAX_PIECES);
	if (pieces->n > 0)
		memcpy(pieces->at, offsets.data, offsets.length);
	byte_writer_free(&offsets);
}

static uint32_t
count(const char *text, int32_t start, int32_t end)
{
	TokenBuffer tokens = {0};
	uint32_t n;

	assert_int_equal(tokenizer_encode(model->tokenizer, text + start, (size_t) (end - start), false, &tokens).code,
					 STATUS_OK);
	n = (uint32_t) tokens.n;
	token_buffer_free(&tokens);
	return n;
}

/* The pieces are these; NULL after the last. */
static void
expect_pieces(const char *text, uint32_t max_tokens, uint32_t overlap, const char *const *expected)
{
	static Pieces pieces;

	cut_into(&pieces, text, max_tokens, overlap);
	for (size_t i = 0; i < pieces.n; i++)
	{
		char piece[256];

		snprintf(piece, sizeof piece, "%.*s", (int) pieces.at[i][1], text + pieces.at[i][0]);
		assert_non_null(expected[i]);
		assert_string_equal(piece, expected[i]);
	}
	assert_null(expected[pieces.n]);
}

static void
whole_sentences_are_repeated_where_they_fit(void **state)
{
	(void) state;
	expect_pieces("One is here. Two is here. Six is here.", 26, 12,
				  (const char *const[]){"One is here. Two is here.", "Two is here. Six is here.", NULL});
}

static void
of_a_longer_sentence_the_last_words_are_repeated(void **state)
{
	(void) state;
	expect_pieces(
		"The first one has many words. The other one has many too.", 45, 12,
		(const char *const[]){"The first one has many words.", "many words. The other one has many too.", NULL});
	/* also when the sentence is all of the piece, and at the end of a paragraph */
	expect_pieces("The first one has many words.\n\nThe other one has many too.\n\nA third has none at all.", 45, 7,
				  (const char *const[]){"The first one has many words.", "words.\n\nThe other one has many too.",
										"too.\n\nA third has none at all.", NULL});
}

static void
of_a_longer_word_the_last_characters_are_repeated(void **state)
{
	(void) state;
	expect_pieces("It is Donaudampfschifffahrt. The other one has many too.", 45, 8,
				  (const char *const[]){"It is Donaudampfschifffahrt.", "fffahrt. The other one has many too.", NULL});
	/* and when the words of a sentence stand alone */
	expect_pieces("Aa bbbbbbbb cccccccc dddddddd eeeeeeee.", 18, 4,
				  (const char *const[]){"Aa bbbbbbbb", "bbbb cccccccc", "cccc dddddddd", "dddd eeeeeeee.", NULL});
	/* characters stay together with their marks */
	expect_pieces(
		"Donaudampfschifffahx\u0323\u0302. The other one has many too.", 45, 6,
		(const char *const[]){"Donaudampfschifffahx\u0323\u0302.", "x\u0323\u0302. The other one has many too.", NULL});
	expect_pieces("Donaudampfschifffahx\u0323\u0302. The other one has many too.", 45, 5,
				  (const char *const[]){"Donaudampfschifffahx\u0323\u0302.", "The other one has many too.", NULL});
}

static void
the_overlap_takes_the_room_that_the_next_sentence_leaves(void **state)
{
	(void) state;
	expect_pieces("The first one has many words. The other one has many too.", 34, 16,
				  (const char *const[]){"The first one has many words.", "words. The other one has many too.", NULL});
	/* none left, and a sentence is not cut for it */
	expect_pieces("The first one has many words. The other one has many too.", 29, 14,
				  (const char *const[]){"The first one has many words.", "The other one has many too.", NULL});
	/* no overlap was asked for */
	expect_pieces("The first one has many words. The other one has many too.", 45, 0,
				  (const char *const[]){"The first one has many words.", "The other one has many too.", NULL});
}

static uint32_t
random_below(uint32_t n)
{
	static uint64_t seed = 17;

	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t) (seed >> 33) % n;
}

/* Add words until a sentence has n bytes. */
static size_t
add_sentence(char *text, size_t length, uint32_t n)
{
	static const char *const words[] = {"a", "the", "house", "stands", "\u00fcber", "\u4e16\u754c", "42", "e\u0323x"};
	size_t start = length;
	bool is_glued = false;

	text[length++] = 'T';
	for (;;)
	{
		const char *word = words[random_below(8)];

		if (length - start + strlen(word) + 2 > n)
			break;
		is_glued = !is_glued && random_below(4) == 0;
		length += (size_t) sprintf(text + length, "%s%s", is_glued ? "" : " ", word);
	}
	text[length++] = '.';
	length += (size_t) sprintf(text + length, "%s", (const char *[]){" ", "\n", "\n\n", "  \n "}[random_below(4)]);
	return length;
}

/* Pieces keep to their size, go forward, cover the text, and repeat something and not more than the overlap. */
static void
check_pieces(const Pieces *pieces, uint32_t max_tokens, uint32_t overlap)
{
	int32_t start = -1, end = 0;

	for (size_t i = 0; i < pieces->n; i++)
	{
		int32_t next = pieces->at[i][0], next_end = next + pieces->at[i][1];

		assert_true(utf8_is_valid(pieces->text + next, (size_t) pieces->at[i][1]));
		assert_true(count(pieces->text, next, next_end) <= max_tokens);
		assert_true(next > start && next_end > end);
		for (int32_t gap = end; gap < next; gap++)
			assert_true(pieces->text[gap] == ' ' || pieces->text[gap] == '\n');
		if (i > 0 && next < end)
			assert_true(count(pieces->text, next, end) <= overlap);
		if (i > 0)
			assert_true(overlap > 0 ? next < end : next >= end);
		start = next;
		end = next_end;
	}
	for (; pieces->text[end]; end++)
		assert_true(pieces->text[end] == ' ' || pieces->text[end] == '\n');
}

static void
every_piece_repeats_something_and_not_more_than_the_overlap(void **state)
{
	static Pieces pieces;
	static char text[8192];

	(void) state;
	for (int round = 0; round < 2000; round++)
	{
		uint32_t max_tokens = CHUNK_MIN_TOKENS + 8 + random_below(60);
		uint32_t overlap = round % 8 == 0 ? 0 : 8 + random_below((max_tokens + 1) / 2 - 8);
		size_t length = 0;

		/* of sentences that leave room for a character at least, and ones that must be cut */
		for (uint32_t n = 2 + random_below(20); n > 0; n--)
			length = add_sentence(text, length,
								  random_below(4) == 0 ? max_tokens + 12 + random_below(200)
													   : 4 + random_below(max_tokens - 19));
		cut_into(&pieces, text, max_tokens, overlap);
		check_pieces(&pieces, max_tokens, overlap);
	}
}

static int
open_model(void **state)
{
	TinyModel shape = {false, 1, 64, 64, 2, 1, 32, 2048, false, TENSOR_Q8_0, 5, -1};

	(void) state;
	model = tiny_model(&shape);
	return 0;
}

static int
close_model(void **state)
{
	(void) state;
	model_close(model);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_sentences_are_repeated_where_they_fit),
		cmocka_unit_test(of_a_longer_sentence_the_last_words_are_repeated),
		cmocka_unit_test(of_a_longer_word_the_last_characters_are_repeated),
		cmocka_unit_test(the_overlap_takes_the_room_that_the_next_sentence_leaves),
		cmocka_unit_test(every_piece_repeats_something_and_not_more_than_the_overlap),
	};

	return cmocka_run_group_tests(tests, open_model, close_model);
}
