/*
 * fuzz_stop_matcher.c - stop strings in text that comes in pieces, against a plain search in the whole text.
 *
 * Input: how many stops (byte), each as length (byte) and bytes, then the size of the pieces (byte), then the text.
 */
#include "../../src/engine/stop_matcher.h"
#include "fuzz.h"

/* The definition: text before the first place where any stop stands, or all of it. */
static size_t
clear_bytes(ByteSpan text, const ByteSpan *stops, uint32_t n_stops, bool *found)
{
	for (size_t at = 0; at < text.length; at++)
		for (uint32_t i = 0; i < n_stops; i++)
			if (stops[i].length <= text.length - at && memcmp(text.data + at, stops[i].data, stops[i].length) == 0)
			{
				*found = true;
				return at;
			}
	*found = false;
	return text.length;
}

/* Text is held only where it may be the beginning of a stop. */
static bool
may_begin(ByteSpan text, const ByteSpan *stops, uint32_t n_stops)
{
	for (uint32_t i = 0; i < n_stops; i++)
		if (stops[i].length > text.length && memcmp(text.data, stops[i].data, text.length) == 0)
			return true;
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ByteSpan stops[PROTOCOL_MAX_STOPS], text;
	uint32_t n_stops = 0, n_wanted;
	StopMatcher matcher;
	ByteReader input;
	ByteWriter out;
	bool expected_found, found = false;
	size_t step, expected;

	byte_reader_init(&input, data, size);
	for (n_wanted = read_u8(&input) % (PROTOCOL_MAX_STOPS + 1); n_wanted > 0; n_wanted--)
	{
		size_t length = (size_t) read_u8(&input) % 32 + 1;
		const char *bytes = read_raw(&input, length);

		if (!bytes)
			return 0;
		stops[n_stops++] = (ByteSpan){bytes, length};
	}
	step = (size_t) read_u8(&input) % 16 + 1;
	text = fuzz_rest(&input);
	expected = clear_bytes(text, stops, n_stops, &expected_found);
	stop_matcher_init(&matcher, n_stops, stops);
	byte_writer_init(&out);
	for (size_t at = 0; at < text.length && !found; at += step)
	{
		size_t n = text.length - at < step ? text.length - at : step;

		found = stop_matcher_push(&matcher, (ByteSpan){text.data + at, n}, false, &out);
		PROMISE(found || out.length + matcher.held.length == at + n);
		PROMISE(found || matcher.held.length == 0 ||
				may_begin((ByteSpan){(char *) matcher.held.data, matcher.held.length}, stops, n_stops));
	}
	found = stop_matcher_push(&matcher, (ByteSpan){"", 0}, true, &out);
	PROMISE(found == expected_found);
	PROMISE(out.length == expected && (expected == 0 || memcmp(out.data, text.data, expected) == 0));
	byte_writer_free(&out);
	stop_matcher_free(&matcher);
	return 0;
}
