/*
 * test_stop_matcher.c - stop strings are found however the text is cut, and text that is no stop comes through whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/engine/stop_matcher.h"

/* Push text in pieces of size; compare what comes out and whether a stop was found. */
static void
check(const char *text, size_t size, const char *const *stops, uint32_t n_stops, const char *expected, bool matched)
{
	ByteSpan spans[PROTOCOL_MAX_STOPS];
	StopMatcher matcher;
	ByteWriter out;
	bool found = false;

	for (uint32_t i = 0; i < n_stops; i++)
		spans[i] = (ByteSpan){stops[i], strlen(stops[i])};
	stop_matcher_init(&matcher, n_stops, spans);
	byte_writer_init(&out);
	for (size_t at = 0; at < strlen(text); at += size)
	{
		size_t n = strlen(text) - at < size ? strlen(text) - at : size;

		found = stop_matcher_push(&matcher, (ByteSpan){text + at, n}, false, &out);
	}
	found = stop_matcher_push(&matcher, (ByteSpan){"", 0}, true, &out);
	write_u8(&out, 0);
	assert_string_equal((char *) out.data, expected);
	assert_int_equal(found, matched);
	byte_writer_free(&out);
	stop_matcher_free(&matcher);
}

static void
stops_are_found_however_the_text_is_cut(void **state)
{
	static const char *const stops[] = {"\n\n", "END", "ENDING"};

	(void) state;
	for (size_t size = 1; size < 20; size++)
	{
		check("one\ntwo\n\nthree", size, stops, 3, "one\ntwo", true);
		check("so it ENDs here", size, stops, 3, "so it ", true);
		check("the ENDING", size, stops, 3, "the ", true);
		check("EN EN E\n", size, stops, 3, "EN EN E\n", false);
		check("ENENEND", size, stops, 3, "ENEN", true);
		check("END", size, stops, 3, "", true);
		check("no stop at all", size, stops, 3, "no stop at all", false);
		check("no stops given", size, stops, 0, "no stops given", false);
	}
}

static void
text_is_held_only_as_long_as_needed(void **state)
{
	ByteSpan stop = {"abc", 3};
	StopMatcher matcher;
	ByteWriter out;

	(void) state;
	stop_matcher_init(&matcher, 1, &stop);
	byte_writer_init(&out);
	assert_false(stop_matcher_push(&matcher, (ByteSpan){"xab", 3}, false, &out));
	assert_int_equal(out.length, 1);
	assert_false(stop_matcher_push(&matcher, (ByteSpan){"a", 1}, false, &out));
	assert_int_equal(out.length, 3); /* "ab" is clear, "a" is held */
	assert_true(stop_matcher_push(&matcher, (ByteSpan){"bc", 2}, false, &out));
	assert_true(stop_matcher_push(&matcher, (ByteSpan){"more", 4}, false, &out));
	assert_int_equal(out.length, 3);
	byte_writer_free(&out);
	stop_matcher_free(&matcher);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stops_are_found_however_the_text_is_cut),
		cmocka_unit_test(text_is_held_only_as_long_as_needed),
	};

	return cmocka_run_group_tests_name("stop_matcher", tests, NULL, NULL);
}
