/*
 * test_utf8.c - UTF-8 well-formedness, held against brute force: every scalar value is encoded by the plain bit layout
 * of RFC 3629, and what those encodings begin with is all that may be called well-formed or cut off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/base/utf8.h"

/* What strings of 1, 2 and 3 bytes are, big-endian index: 0 nothing, 1 a character, 2 the beginning of one. */
static unsigned char *kinds[4];

/* RFC 3629, section 3; returns the number of bytes. */
static int
encode_plainly(uint32_t code_point, unsigned char *out)
{
	int n = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
	static const unsigned char leads[5] = {0, 0, 0xC0, 0xE0, 0xF0};

	for (int i = n - 1; i > 0; i--)
	{
		out[i] = (unsigned char) (0x80 | (code_point & 0x3F));
		code_point >>= 6;
	}
	out[0] = (unsigned char) (leads[n] | code_point);
	return n;
}

/* Fill kinds from all scalar values. */
static int
build_kinds(void **state)
{
	(void) state;
	for (int n = 1; n <= 3; n++)
	{
		kinds[n] = calloc((size_t) 1 << 8 * n, 1);
		assert_non_null(kinds[n]);
	}
	for (uint32_t code_point = 0; code_point <= 0x10FFFF; code_point++)
	{
		unsigned char bytes[4];
		uint32_t index = 0;
		int n;

		if (code_point >= 0xD800 && code_point <= 0xDFFF)
			continue;
		n = encode_plainly(code_point, bytes);
		for (int i = 0; i < n && i < 3; i++)
		{
			index = index << 8 | bytes[i];
			kinds[i + 1][index] = i + 1 == n ? 1 : 2;
		}
	}
	return 0;
}

static int
free_kinds(void **state)
{
	(void) state;
	for (int n = 1; n <= 3; n++)
		free(kinds[n]);
	return 0;
}

/* What utf8_character_bytes must say of n bytes (1 to 3). */
static int
expected_bytes(const unsigned char *bytes, int n)
{
	uint32_t index = 0;

	for (int i = 0; i < n; i++)
	{
		index = index << 8 | bytes[i];
		if (kinds[i + 1][index] == 1)
			return i + 1;
		if (kinds[i + 1][index] == 0)
			return -1;
	}
	return 0;
}

static void
every_scalar_value_round_trips(void **state)
{
	(void) state;
	for (uint32_t code_point = 0; code_point <= 0x10FFFF; code_point++)
	{
		unsigned char plain[4];
		char written[4];
		int n;

		if (code_point >= 0xD800 && code_point <= 0xDFFF)
			continue;
		n = encode_plainly(code_point, plain);
		if (utf8_write(code_point, written) != n || memcmp(plain, written, (size_t) n) != 0 ||
			utf8_character_bytes(written, (size_t) n) != n || utf8_code_point(written, n) != code_point)
			fail_msg("U+%04X does not round-trip", (unsigned) code_point);
	}
}

static void
all_strings_of_up_to_three_bytes_are_judged_right(void **state)
{
	(void) state;
	assert_int_equal(utf8_character_bytes("", 0), 0);
	for (int n = 1; n <= 3; n++)
	{
		for (uint32_t index = 0; index < (uint32_t) 1 << 8 * n; index++)
		{
			unsigned char bytes[3];

			for (int i = 0; i < n; i++)
				bytes[i] = (unsigned char) (index >> 8 * (n - 1 - i));
			if (utf8_character_bytes((const char *) bytes, (size_t) n) != expected_bytes(bytes, n))
				fail_msg("%d bytes %0*X are misjudged", n, 2 * n, (unsigned) index);
		}
	}
}

static void
a_fourth_byte_must_continue(void **state)
{
	(void) state;
	for (int byte = 0; byte < 256; byte++)
	{
		char bytes[4] = {(char) 0xF0, (char) 0x9F, (char) 0x98, (char) byte};

		assert_int_equal(utf8_character_bytes(bytes, 4), byte >= 0x80 && byte <= 0xBF ? 4 : -1);
	}
}

static void
bytes_behind_the_character_do_not_matter(void **state)
{
	(void) state;
	assert_int_equal(utf8_character_bytes("a\xFF", 2), 1);
	assert_int_equal(utf8_character_bytes("\xC3\xA9\xFF", 3), 2);
	assert_int_equal(utf8_character_bytes("\xE2\x82\xAC\xFF", 4), 3);
}

static void
whole_texts_are_valid_or_not(void **state)
{
	static const char valid[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\x00z";

	(void) state;
	assert_true(utf8_is_valid("", 0));
	assert_true(utf8_is_valid(valid, sizeof valid - 1));
	assert_false(utf8_is_valid("abc\xE2\x82", 5));
	assert_false(utf8_is_valid("\xED\xA0\x80", 3));
	assert_false(utf8_is_valid("\xC0\x80", 2));
	assert_false(utf8_is_valid("\xF4\x90\x80\x80", 4));
	assert_false(utf8_is_valid("a\x80z", 3));
}

/* By hand from Unicode's lists, not from the table that is tested. */
static void
blank_is_what_cannot_be_seen(void **state)
{
	static const char *const blank[] = {"",
										" ",
										"\t\n\r\v\f",
										"\x01\x1F\x7F",
										"\xC2\x85",
										"\xC2\xA0",
										"\xE1\x9A\x80",
										"\xE2\x80\x8B",
										"\xE2\x80\xA8 \xE2\x80\xAF",
										"\xE3\x80\x80",
										"\xEF\xBB\xBF"};
	static const char *const seen[] = {
		"a",    " .",       "\xC2\xA1", "\xC2\xA0\xC3\xA9", "\xE2\x80\x90", "\xE3\x80\x81", "\xF0\x9F\x98\x80",
		"\x80", " \xE2\x80"};

	(void) state;
	for (size_t i = 0; i < sizeof blank / sizeof blank[0]; i++)
		assert_true(utf8_is_blank(blank[i], strlen(blank[i])));
	for (size_t i = 0; i < sizeof seen / sizeof seen[0]; i++)
		assert_false(utf8_is_blank(seen[i], strlen(seen[i])));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_scalar_value_round_trips),
		cmocka_unit_test(all_strings_of_up_to_three_bytes_are_judged_right),
		cmocka_unit_test(a_fourth_byte_must_continue),
		cmocka_unit_test(bytes_behind_the_character_do_not_matter),
		cmocka_unit_test(whole_texts_are_valid_or_not),
		cmocka_unit_test(blank_is_what_cannot_be_seen),
	};

	return cmocka_run_group_tests_name("utf8", tests, build_kinds, free_kinds);
}
