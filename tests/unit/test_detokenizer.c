/*
 * test_detokenizer.c - streams of bytes become whole characters, wherever the stream is cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/base/utf8.h"
#include "../../src/model/tokenizer.h"

#define FFFD "\xEF\xBF\xBD"

/* Bytes, and what Python's bytes.decode("utf-8", errors="replace") makes of them. */
typedef struct DecodeCase
{
	const char *bytes;
	const char *text;
} DecodeCase;

static const DecodeCase cases[] = {
	{"plain", "plain"},
	{"caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80!", "caf\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80!"},
	{"\xE2\x28\xA1", FFFD "(" FFFD},
	{"\xF0\x9F\x98", FFFD},
	{"\xF0\x9F\x98z", FFFD "z"},
	{"\xF0\x9F\x98\xF0\x9F\x98\x80", FFFD "\xF0\x9F\x98\x80"},
	{"\xF0\x80\x80\x80", FFFD FFFD FFFD FFFD},
	{"\xED\xA0\x80", FFFD FFFD FFFD},
	{"\xC0\xAF", FFFD FFFD},
	{"\xF4\x90\x80\x80", FFFD FFFD FFFD FFFD},
	{"\xF8\x88\x80\x80\x80", FFFD FFFD FFFD FFFD FFFD},
	{"a\x80\x80z", "a" FFFD FFFD "z"},
	/* the example of Unicode 15, table 3-11 */
	{"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", FFFD FFFD FFFD FFFD "A"},
	{"\xC3\xC3\xA9\xC3", FFFD "\xC3\xA9" FFFD},
};

/* Push bytes[from .. to). */
static void
push_part(Detokenizer *detokenizer, const char *bytes, size_t from, size_t to, bool is_last, ByteWriter *out)
{
	ByteSpan span = {bytes + from, to - from};

	detokenizer_push(detokenizer, span, is_last, out);
	assert_false(out->failed);
	assert_true(detokenizer->n_held <= 3);
}

static void
assert_output(const ByteWriter *out, const char *text, size_t length)
{
	assert_int_equal(out->length, length);
	if (length > 0)
		assert_memory_equal(out->data, text, length);
}

static void
every_pair_of_cuts_gives_the_same_text(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		size_t length = strlen(cases[i].bytes);

		for (size_t first = 0; first <= length; first++)
		{
			for (size_t second = first; second <= length; second++)
			{
				Detokenizer detokenizer = {0};
				ByteWriter out;

				byte_writer_init(&out);
				push_part(&detokenizer, cases[i].bytes, 0, first, false, &out);
				push_part(&detokenizer, cases[i].bytes, first, second, false, &out);
				push_part(&detokenizer, cases[i].bytes, second, length, true, &out);
				assert_output(&out, cases[i].text, strlen(cases[i].text));
				assert_int_equal(detokenizer.n_held, 0);
				byte_writer_free(&out);
			}
		}
	}
}

static void
what_is_out_is_always_whole_characters(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		Detokenizer detokenizer = {0};
		ByteWriter out;

		byte_writer_init(&out);
		for (size_t j = 0; j < strlen(cases[i].bytes); j++)
		{
			push_part(&detokenizer, cases[i].bytes, j, j + 1, false, &out);
			assert_true(utf8_is_valid((const char *) out.data, out.length));
		}
		byte_writer_free(&out);
	}
}

static void
characters_come_as_soon_as_they_are_complete(void **state)
{
	Detokenizer detokenizer = {0};
	ByteWriter out;

	(void) state;
	byte_writer_init(&out);
	push_part(&detokenizer, "\xF0\x9F", 0, 2, false, &out);
	assert_int_equal(out.length, 0);
	push_part(&detokenizer, "\x98", 0, 1, false, &out);
	assert_int_equal(out.length, 0);
	push_part(&detokenizer, "\x80q\xC3", 0, 3, false, &out);
	assert_output(&out, "\xF0\x9F\x98\x80q", 5);
	assert_int_equal(detokenizer.n_held, 1);
	push_part(&detokenizer, "", 0, 0, true, &out);
	assert_output(&out, "\xF0\x9F\x98\x80q" FFFD, 8);
	byte_writer_free(&out);
}

static void
an_empty_span_without_data_is_fine(void **state)
{
	Detokenizer detokenizer = {0};
	ByteSpan nothing = {NULL, 0};
	ByteWriter out;

	(void) state;
	byte_writer_init(&out);
	detokenizer_push(&detokenizer, nothing, false, &out);
	detokenizer_push(&detokenizer, nothing, true, &out);
	assert_int_equal(out.length, 0);
	byte_writer_free(&out);
}

/* The decoder of the WHATWG Encoding Standard (UTF-8, "replacement"), written anew. Returns the length. */
static size_t
decode_by_the_standard(const unsigned char *bytes, size_t length, char *out)
{
	unsigned char lower = 0x80, upper = 0xBF;
	size_t n = 0, start = 0;
	int needed = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char byte = bytes[i];

		if (needed > 0 && byte >= lower && byte <= upper)
		{
			lower = 0x80;
			upper = 0xBF;
			if (--needed == 0)
			{
				memcpy(out + n, bytes + start, i + 1 - start);
				n += i + 1 - start;
			}
			continue;
		}
		if (needed > 0)
		{
			memcpy(out + n, FFFD, 3);
			n += 3;
		}
		lower = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80;
		upper = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF;
		start = i;
		needed = byte >= 0xC2 && byte <= 0xDF   ? 1
				 : byte >= 0xE0 && byte <= 0xEF ? 2
				 : byte >= 0xF0 && byte <= 0xF4 ? 3
												: 0;
		if (needed > 0)
			continue;
		lower = 0x80;
		upper = 0xBF;
		if (byte < 0x80)
			out[n++] = (char) byte;
		else
		{
			memcpy(out + n, FFFD, 3);
			n += 3;
		}
	}
	if (needed > 0)
	{
		memcpy(out + n, FFFD, 3);
		n += 3;
	}
	return n;
}

static void
random_bytes_decode_as_the_standard_says(void **state)
{
	static const unsigned char likely[] = {0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xDF,
										   0xE0, 0xE1, 0xED, 0xF0, 0xF1, 0xF4, 0xF5, 0xC1, 0xFF};

	(void) state;
	srand(20240601);
	for (int round = 0; round < 20000; round++)
	{
		unsigned char bytes[24];
		char expected[3 * sizeof bytes];
		size_t length = (size_t) rand() % sizeof bytes;
		Detokenizer detokenizer = {0};
		ByteWriter out;

		for (size_t i = 0; i < length; i++)
			bytes[i] = rand() % 4 ? likely[(size_t) rand() % sizeof likely] : (unsigned char) rand();
		byte_writer_init(&out);
		for (size_t i = 0; i < length;)
		{
			size_t n = 1 + (size_t) rand() % 4;

			n = n > length - i ? length - i : n;
			push_part(&detokenizer, (const char *) bytes, i, i + n, false, &out);
			i += n;
		}
		push_part(&detokenizer, "", 0, 0, true, &out);
		assert_output(&out, expected, decode_by_the_standard(bytes, length, expected));
		byte_writer_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair_of_cuts_gives_the_same_text),
		cmocka_unit_test(what_is_out_is_always_whole_characters),
		cmocka_unit_test(characters_come_as_soon_as_they_are_complete),
		cmocka_unit_test(an_empty_span_without_data_is_fine),
		cmocka_unit_test(random_bytes_decode_as_the_standard_says),
	};

	return cmocka_run_group_tests_name("detokenizer", tests, NULL, NULL);
}
