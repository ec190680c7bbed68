/*
 * stats.h - what became of requests that have ended, by role, model and function.
 */
#ifndef QWEN_STATS_H
#define QWEN_STATS_H

#include "watch.h"

/* How a request ended. */
typedef enum RequestEnd
{
	ENDED_WELL,
	ENDED_BY_ERROR,
	ENDED_BY_CANCEL, /* its session gave it up: cancelled, terminated, rolled back, or a LIMIT was reached */
	ENDED_BY_LIMIT,  /* a limit of its role refused it */
} RequestEnd;

/* What a request that has ended adds to the statistics. */
typedef struct RequestOutcome
{
	RequestEnd end;
	int error_class; /* of ENDED_BY_ERROR: by stats_error_class */
	uint32 prompt_tokens, cached_tokens, completion_tokens;
	bool has_first_token;
	uint64 total_us, queue_us, ttft_us;
	uint32 constrained_tokens, forced_tokens; /* by the form of the answer */
	uint64 mask_us;
} RequestOutcome;

extern Size stats_memory_bytes(void);
extern void stats_init_memory(void);

/* Count a request that has ended. */
extern void stats_count(const WatchedRequest *watched, const RequestOutcome *outcome);

/* Which counter of errors a SQLSTATE belongs to. */
extern int stats_error_class(int sqlstate);

#endif
