/*
 * pause.h - pauses that are over when the wall clock says so, or when it has been set back.
 */
#ifndef QWEN_PAUSE_H
#define QWEN_PAUSE_H

#include "core.h"

/*
 * Is it still before until, the end of a pause of at most longest_ms? One that would last longer than that is over: the
 * wall clock has been set back.
 */
static inline bool
still_pauses(TimestampTz until, int64 longest_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	return now < until && until - now <= longest_ms * 1000;
}

#endif
