/*
 * test_copy.c - the form "copy" (src/format/copy.c): whatever an answer is made of, without its marks it is the text,
 * byte for byte, and marks stand around whole letters; over random texts of all of Unicode, kinds and ways of going on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utf8proc.h>

#include "../../src/base/utf8.h"
#include "../../src/format/copy.h"
#include "../../src/format/format.h"
#include "../../src/format/masks.h"

#define N_TEXTS 400
#define MAX_LETTERS 40

static uint64_t seed = 1;

static uint32_t
next_random(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t) (seed >> 33) % n;
}

/* A letter of some script, or what is hard: combining, joining, blank, flags, what encloses marks. */
static uint32_t
random_letter(void)
{
	static const uint32_t hard[] = {' ',     '\n',    '\t',   0x301,  0x200D, 0xFE0F, 0x1F468,  0x1F469,
									0x1F1E9, 0x1F1EA, 0x0E33, 0x1100, 0x1161, 0x11A8, 0x3000,   0xE002,
									'/',     '>',     '"',    '\\',   0xA0,   0x200B, 0x10FFFF, 0x2028,
									0xAC00,  0x0915,  0x094D, '[',    ']',    '{'};
	uint32_t letter;

	switch (next_random(4))
	{
		case 0:
			return hard[next_random(sizeof hard / sizeof *hard)];
		case 1:
			return 'a' + next_random(26);
		default:
			letter = 1 + next_random(next_random(2) ? 0x10FFFF : 0x3000);
			return (letter >= 0xD800 && letter < 0xE000) || letter == '<' || letter == 0xE000 ? 'x' : letter;
	}
}

/* A random text of at least one letter, without the character that opens marks. */
static ByteSpan
random_text(char *to)
{
	size_t n = 0;

	for (uint32_t i = 1 + next_random(MAX_LETTERS); i > 0; i--)
		n += (size_t) utf8_write(random_letter(), to + n);
	return (ByteSpan){to, n};
}

static Format *
compile(ByteSpan text, const char *open, const char *close)
{
	ByteWriter json;
	Format *format = NULL;
	char more[200];
	Status status;

	byte_writer_init(&json);
	write_raw(&json, "{\"type\":\"copy\",\"text\":", 22);
	json_write_string(&json, text.data, text.length);
	snprintf(more, sizeof more, ",\"kinds\":[\"a\",\"ab\",\"\\u00e9 x\"],\"open\":\"%s\",\"close\":\"%s\"}", open,
			 close);
	write_raw(&json, more, strlen(more));
	status = format_compile((ByteSpan){(char *) json.data, json.length}, NULL, &format);
	if (status.code != STATUS_OK)
		fail_msg("%.*s: %s", (int) json.length, (char *) json.data, status.message);
	byte_writer_free(&json);
	return format;
}

static bool
breaks_at(ByteSpan text, size_t place)
{
	utf8proc_int32_t before = 0, state = 0;

	if (place == 0 || place == text.length)
		return true;
	for (size_t i = 0; i <= place;)
	{
		int bytes = utf8_character_bytes(text.data + i, text.length - i);
		utf8proc_int32_t letter = (utf8proc_int32_t) utf8_code_point(text.data + i, bytes);
		bool breaks = i > 0 && utf8proc_grapheme_break_stateful(before, letter, &state);

		if (i == place)
			return breaks;
		before = letter;
		i += (size_t) bytes;
	}
	return false;
}

/* Take an answer apart, and see that it is the text with marks where they may be. */
static uint32_t
check_answer(ByteSpan answer, ByteSpan text, const char *open, const char *close)
{
	static const char *const kinds[] = {"a", "ab", "\xC3\xA9 x"};
	size_t copied = 0, began = 0;
	uint32_t n_marks = 0;
	int kind = -1;

	for (size_t i = 0; i < answer.length;)
	{
		char mark[60];
		int found = -1;

		for (int k = 0; k < 3 && found < 0; k++)
		{
			snprintf(mark, sizeof mark, "%s%s%s%s", open, kind < 0 ? "" : "/", kinds[k], close);
			if (answer.length - i >= strlen(mark) && memcmp(answer.data + i, mark, strlen(mark)) == 0)
				found = k;
		}
		if (found < 0)
		{
			assert_true(copied < text.length);
			assert_int_equal((unsigned char) answer.data[i++], (unsigned char) text.data[copied++]);
			continue;
		}
		assert_true(breaks_at(text, copied));
		if (kind < 0)
		{
			began = copied;
			kind = found;
		}
		else
		{
			assert_int_equal(kind, found);
			assert_true(copied > began);
			assert_true(strchr(" \n\t", text.data[began]) == NULL && strchr(" \n\t", text.data[copied - 1]) == NULL);
			kind = -1;
			n_marks++;
		}
		i += strlen(mark);
	}
	assert_int_equal(kind, -1);
	assert_int_equal(copied, text.length);
	return n_marks;
}

/* Go on at random, more often into marks than a model does, up to so many bytes; then complete it. */
static void
walk(Format *format, uint32_t limit, ByteWriter *answer)
{
	FormatState state = format_start(format);

	for (uint32_t step = 0; step < limit && !format_is_over(format, state); step++)
	{
		unsigned char possible[256];
		uint32_t n = 0, first = next_random(256);

		for (uint32_t i = 0; i < 256; i++)
		{
			char byte = (char) (first + i);

			if (format_take(format, state, &byte, 1) != 0)
				possible[n++] = (unsigned char) byte;
		}
		assert_true(n > 0);
		n = next_random(n);
		write_u8(answer, possible[n]);
		state = format_take(format, state, (char *) &possible[n], 1);
	}
	assert_true(format_completion_bound(format, state) < UINT32_MAX);
	assert_int_equal(format_complete(format, state, answer).code, STATUS_OK);
	assert_true(
		format_is_over(format, format_take(format, format_start(format), (char *) answer->data, answer->length)));
}

static void
an_answer_without_its_marks_is_the_text(void **unused)
{
	static const char *const enclosures[][2] = {{"<", ">"}, {"\xEE\x80\x80", "\xEE\x80\x81"}};
	uint32_t n_marks = 0;

	(void) unused;
	for (int i = 0; i < N_TEXTS; i++)
	{
		char bytes[4 * MAX_LETTERS + 1];
		ByteSpan text = random_text(bytes);
		const char *open = enclosures[i % 2][0], *close = enclosures[i % 2][1];
		Format *format = compile(text, open, close);

		assert_memory_equal(format_shortest(format).data, text.data, text.length);
		for (int times = 0; times < 6; times++)
		{
			ByteWriter answer;

			byte_writer_init(&answer);
			walk(format, times < 3 ? 10000 : next_random(60), &answer);
			n_marks += check_answer((ByteSpan){(char *) answer.data, answer.length}, text, open, close);
			byte_writer_free(&answer);
		}
		format_destroy(format);
	}
	assert_true(n_marks > N_TEXTS);
}

/* What is offered as the likely way on is one. */
static void
what_is_likely_is_allowed(void **unused)
{
	(void) unused;
	for (int i = 0; i < N_TEXTS; i++)
	{
		char bytes[4 * MAX_LETTERS + 1];
		Format *format = compile(random_text(bytes), "<", ">");
		FormatState state = format_start(format);

		for (int step = 0; step < 100 && !format_is_over(format, state); step++)
		{
			ByteWriter likely;
			char byte;

			byte_writer_init(&likely);
			format_forced(format, state, 1 + next_random(64), &likely);
			if (likely.length > 0)
				assert_true(format_take(format, state, (char *) likely.data, likely.length) != 0);
			byte_writer_free(&likely);
			byte = (char) next_random(256);
			for (int tried = 0; format_take(format, state, &byte, 1) == 0; byte++)
				assert_true(tried++ < 256);
			state = format_take(format, state, &byte, 1);
		}
		format_destroy(format);
	}
}

static void
refuses(const char *json, StatusCode code, const char *what)
{
	Format *format = NULL;
	Status status = format_compile((ByteSpan){json, strlen(json)}, NULL, &format);

	if (status.code != code || !strstr(status.message, what))
		fail_msg("%s: %d %s", json, status.code, status.message);
}

static void
what_is_no_copy_is_refused(void **unused)
{
	(void) unused;
	refuses("{\"type\":\"copy\",\"kinds\":[\"a\"]}", STATUS_INVALID_ARGUMENT, "\"text\"");
	refuses("{\"type\":\"copy\",\"text\":\"\",\"kinds\":[\"a\"]}", STATUS_INVALID_ARGUMENT, "not empty");
	refuses("{\"type\":\"copy\",\"text\":\"a\\u0000\",\"kinds\":[\"a\"]}", STATUS_INVALID_ARGUMENT, "\"text\"");
	refuses("{\"type\":\"copy\",\"text\":\"x\"}", STATUS_INVALID_ARGUMENT, "\"kinds\"");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[]}", STATUS_INVALID_ARGUMENT, "\"kinds\"");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a\",7]}", STATUS_INVALID_ARGUMENT, "kind 2");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a\",\"b\",\"a\"]}", STATUS_INVALID_ARGUMENT,
			"kind 3 is the same as kind 1");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a>b\"]}", STATUS_INVALID_ARGUMENT, "enclose");
	refuses("{\"type\":\"copy\",\"text\":\"1 < 2\",\"kinds\":[\"a\"]}", STATUS_INVALID_ARGUMENT, "\"<\"");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a\"],\"open\":\"<<\"}", STATUS_INVALID_ARGUMENT,
			"\"open\" must be one character");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a\"],\"open\":\">\"}", STATUS_INVALID_ARGUMENT,
			"must not be the same");
	refuses("{\"type\":\"copy\",\"text\":\"x\",\"kinds\":[\"a\"],\"more\":1}", STATUS_INVALID_ARGUMENT, "\"more\"");
}

/* A text at its limit compiles and is walked through; one byte more is refused. */
static void
texts_are_bounded(void **unused)
{
	char *letters = malloc(COPY_MAX_BYTES + 1);
	ByteSpan text = {letters, COPY_MAX_BYTES};
	ByteWriter answer;
	Format *format;
	Status status;

	(void) unused;
	memset(letters, 'x', COPY_MAX_BYTES);
	format = compile(text, "<", ">");
	byte_writer_init(&answer);
	assert_int_equal(format_complete(format, format_start(format), &answer).code, STATUS_OK);
	assert_int_equal(answer.length, COPY_MAX_BYTES);
	byte_writer_free(&answer);
	format_destroy(format);
	byte_writer_init(&answer);
	write_raw(&answer, "{\"type\":\"copy\",\"kinds\":[\"a\"],\"text\":\"x", 38);
	write_raw(&answer, letters, COPY_MAX_BYTES);
	write_raw(&answer, "\"}", 2);
	status = format_compile((ByteSpan){(char *) answer.data, answer.length}, NULL, &format);
	assert_int_equal(status.code, STATUS_TOO_LONG);
	byte_writer_free(&answer);
	free(letters);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_without_its_marks_is_the_text),
		cmocka_unit_test(what_is_likely_is_allowed),
		cmocka_unit_test(what_is_no_copy_is_refused),
		cmocka_unit_test(texts_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
