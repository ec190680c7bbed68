/*
 * stop_matcher.h - finding stop strings in text that comes in pieces.
 *
 * Text that may be the beginning of a stop string is held back until it is clear. The match that begins first wins, of
 * those that begin at the same place the longest. Text before the match is delivered, the match and what follows is
 * not.
 */
#ifndef QWEN_STOP_MATCHER_H
#define QWEN_STOP_MATCHER_H

#include "../base/bytes.h"
#include "../protocol/protocol.h"

typedef struct StopMatcher
{
	uint32_t n_stops;
	ByteSpan stops[PROTOCOL_MAX_STOPS]; /* owned by the caller, none empty */
	ByteWriter held;                    /* text that is not clear yet */
	bool matched;
} StopMatcher;

extern void stop_matcher_init(StopMatcher *matcher, uint32_t n_stops, const ByteSpan *stops);
extern void stop_matcher_free(StopMatcher *matcher);

/*
 * Take a piece of text; append what is clear to out. Returns true once a stop string was found (and from then on takes
 * nothing). is_last: nothing follows, so everything that is held is clear.
 */
extern bool stop_matcher_push(StopMatcher *matcher, ByteSpan text, bool is_last, ByteWriter *out);

#endif
