/*
 * test_base.c - Status, Arena and the byte readers keep what their headers say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/base/arena.h"
#include "../../src/base/bytes.h"
#include "../../src/base/status.h"
#include "../../src/base/utf8.h"

static void
long_messages_are_cut_at_a_character(void **state)
{
	char text[STATUS_MESSAGE_BYTES + 100];

	(void) state;
	for (size_t shift = 0; shift < 4; shift++)
	{
		Status status;

		memset(text, 'x', shift);
		for (size_t i = shift; i + 4 < sizeof text; i += 3)
			memcpy(text + i, "\xe2\x82\xac", 4);
		status = status_error(STATUS_INVALID_ARGUMENT, "%s", text);
		assert_true(utf8_is_valid(status.message, strlen(status.message)));
		assert_true(strlen(status.message) >= STATUS_MESSAGE_BYTES - 4);
	}
}

/* A caller's %.*s may cut, too, and what files hold may be no text at all. */
static void
messages_are_text_whatever_they_quote(void **state)
{
	Status status;

	(void) state;
	status = status_error(STATUS_INVALID_ARGUMENT, "architecture \"%.*s\" is not supported", 5, "ab\xe2\x82\xac");
	assert_string_equal(status.message, "architecture \"ab\xe2\x82\xac\" is not supported");
	status = status_error(STATUS_INVALID_ARGUMENT, "architecture \"%.*s\" is not supported", 4, "ab\xe2\x82\xac");
	assert_string_equal(status.message, "architecture \"ab\" is not supported");
	status = status_prefix(status_error(STATUS_INVALID_ARGUMENT, "\xff\xfe"), "file \"%s\"", "\xc3.gguf");
	assert_string_equal(status.message, "file \".gguf\": ");
}

static void
copies_are_cut_at_a_character(void **state)
{
	const char *text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* of 1, 2, 3, 4 and 1 bytes */
	const size_t ends[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
	char copy[16];

	(void) state;
	for (size_t limit = 0; limit < sizeof ends / sizeof *ends; limit++)
	{
		assert_int_equal(utf8_cut(text, strlen(text), limit), ends[limit]);
		memset(copy, 'x', sizeof copy);
		utf8_copy(copy, limit + 1, text);
		assert_int_equal(strlen(copy), ends[limit]);
		assert_memory_equal(copy, text, ends[limit]);
		assert_int_equal(copy[limit + 1], 'x');
	}
	/* bytes that are no text are cut where the room ends */
	assert_int_equal(utf8_cut("\x80\x80\x80\x80\x80\x80", 6, 4), 4);
	assert_int_equal(utf8_cut("ab\xe2\x82", 4, 3), 3);
	assert_int_equal(utf8_cut("", 0, 0), 0);
}

static void
prefix_is_put_in_front_of_failures_only(void **state)
{
	Status status = status_prefix(status_error(STATUS_NOT_FOUND, "no file"), "model \"%s\"", "chat");

	(void) state;
	assert_int_equal(status.code, STATUS_NOT_FOUND);
	assert_string_equal(status.message, "model \"chat\": no file");
	assert_int_equal(status_prefix(status_ok(), "x").code, STATUS_OK);
}

static void
arena_keeps_its_limit_and_alignment(void **state)
{
	Arena *arena = arena_create(100000);
	char *previous = NULL;

	(void) state;
	for (size_t i = 1; i < 200; i++)
	{
		char *piece = arena_alloc(arena, i);

		assert_non_null(piece);
		assert_int_equal((uintptr_t) piece % 16, 0);
		assert_int_equal(piece[i - 1], 0);
		assert_ptr_not_equal(piece, previous);
		memset(piece, 0xAA, i);
		previous = piece;
	}
	assert_null(arena_alloc(arena, 100000));
	assert_null(arena_alloc(arena, SIZE_MAX));
	assert_null(arena_alloc_array(arena, SIZE_MAX / 2, 3));
	arena_reset(arena);
	assert_int_equal(arena_used(arena), 0);
	assert_non_null(arena_alloc(arena, 90000));
	assert_string_equal(arena_copy(arena, "hello", 4), "hell");
	arena_destroy(arena);
}

static void
readers_fail_for_good(void **state)
{
	unsigned char bytes[6] = {1, 2, 3, 4, 5, 6};
	ByteReader reader;

	(void) state;
	byte_reader_init(&reader, bytes, sizeof bytes);
	assert_int_equal(read_u32(&reader), 0x04030201);
	assert_int_equal(byte_reader_left(&reader), 2);
	assert_int_equal(read_u32(&reader), 0);
	assert_true(reader.failed);
	assert_int_equal(read_u8(&reader), 0);
	assert_null(read_raw(&reader, 0));
}

static void
utf8_knows_the_borders(void **state)
{
	(void) state;
	assert_int_equal(utf8_character_bytes("\xf4\x8f\xbf\xbf", 4), 4);
	assert_int_equal(utf8_character_bytes("\xf4\x90\x80\x80", 4), -1);
	assert_int_equal(utf8_character_bytes("\xe0\x9f\x80", 3), -1);
	assert_int_equal(utf8_character_bytes("\xf0\x9f\x98", 3), 0);
	for (uint32_t point = 1; point < 0x110000; point += 7)
	{
		char text[4];
		int n_bytes;

		if (point >= 0xD800 && point < 0xE000)
			continue;
		n_bytes = utf8_write(point, text);
		assert_int_equal(utf8_character_bytes(text, (size_t) n_bytes), n_bytes);
		assert_int_equal(utf8_code_point(text, n_bytes), point);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_messages_are_cut_at_a_character),
		cmocka_unit_test(messages_are_text_whatever_they_quote),
		cmocka_unit_test(copies_are_cut_at_a_character),
		cmocka_unit_test(prefix_is_put_in_front_of_failures_only),
		cmocka_unit_test(arena_keeps_its_limit_and_alignment),
		cmocka_unit_test(readers_fail_for_good),
		cmocka_unit_test(utf8_knows_the_borders),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
