/*
 * stop_matcher.c - see stop_matcher.h. The held text is shorter than the longest stop (1 KB), so plain comparison is
 * enough.
 */
#include "stop_matcher.h"

#include <string.h>

void
stop_matcher_init(StopMatcher *matcher, uint32_t n_stops, const ByteSpan *stops)
{
	memset(matcher, 0, sizeof *matcher);
	matcher->n_stops = n_stops;
	if (n_stops)
		memcpy(matcher->stops, stops, n_stops * sizeof *stops);
	byte_writer_init(&matcher->held);
}

void
stop_matcher_free(StopMatcher *matcher)
{
	byte_writer_free(&matcher->held);
}

typedef enum PlaceState
{
	PLACE_CLEAR,   /* no stop begins here */
	PLACE_MATCHED, /* one does, and no longer one can */
	PLACE_UNCLEAR, /* more text is needed */
} PlaceState;

/* What can begin at text[0 .. length)? */
static PlaceState
look_at(const StopMatcher *matcher, const char *text, size_t length, bool is_last)
{
	PlaceState state = PLACE_CLEAR;

	for (uint32_t i = 0; i < matcher->n_stops; i++)
	{
		const ByteSpan *stop = &matcher->stops[i];
		bool whole = stop->length <= length;

		if (memcmp(text, stop->data, whole ? stop->length : length) != 0)
			continue;
		if (whole)
			return PLACE_MATCHED; /* which of several does not matter: all begin here, and nothing from here on is
									 delivered */
		if (!is_last)
			state = PLACE_UNCLEAR;
	}
	return state;
}

bool
stop_matcher_push(StopMatcher *matcher, ByteSpan text, bool is_last, ByteWriter *out)
{
	size_t at = 0;

	if (matcher->matched)
		return true;
	if (matcher->n_stops == 0)
	{
		write_raw(out, text.data, text.length);
		return false;
	}
	write_raw(&matcher->held, text.data, text.length);
	if (matcher->held.failed)
	{
		out->failed = true;
		return false;
	}
	for (; at < matcher->held.length; at++)
	{
		PlaceState state = look_at(matcher, (char *) matcher->held.data + at, matcher->held.length - at, is_last);

		if (state == PLACE_MATCHED)
			matcher->matched = true;
		if (state != PLACE_CLEAR)
			break;
	}
	write_raw(out, matcher->held.data, at);
	if (at)
		memmove(matcher->held.data, matcher->held.data + at, matcher->held.length - at);
	matcher->held.length -= at;
	return matcher->matched;
}
