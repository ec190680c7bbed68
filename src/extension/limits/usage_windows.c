/*
 * usage_windows.c - the sliding windows of one record, and whether there is room in them.
 *
 * A minute is 61 buckets of one second, a day 145 of ten minutes; limits.h says why.
 */
#include "usage_windows.h"

void
usage_advance(RoleUsage *usage, uint64 now_us)
{
	uint64 second = now_us / 1000000;
	uint64 slot = second / DAY_BUCKET_SECONDS, old_slot = usage->second / DAY_BUCKET_SECONDS;

	if (second <= usage->second)
		return;
	if (second - usage->second >= MINUTE_BUCKETS)
	{
		memset(usage->requests, 0, sizeof usage->requests);
		memset(usage->tokens, 0, sizeof usage->tokens);
	}
	else
		for (uint64 s = usage->second + 1; s <= second; s++)
			usage->requests[s % MINUTE_BUCKETS] = usage->tokens[s % MINUTE_BUCKETS] = 0;
	if (slot - old_slot >= DAY_BUCKETS)
		memset(usage->day_tokens, 0, sizeof usage->day_tokens);
	else
		for (uint64 s = old_slot + 1; s <= slot; s++)
			usage->day_tokens[s % DAY_BUCKETS] = 0;
	usage->second = second;
}

static int64
sum_buckets(const uint32 *buckets, int n)
{
	int64 sum = 0;

	for (int i = 0; i < n; i++)
		sum += buckets[i];
	return sum;
}

int64
usage_used(const RoleUsage *usage, LimitKind kind)
{
	switch (kind)
	{
		case LIMIT_REQUESTS_PER_MINUTE:
			return sum_buckets(usage->requests, MINUTE_BUCKETS);
		case LIMIT_TOKENS_PER_MINUTE:
			return sum_buckets(usage->tokens, MINUTE_BUCKETS);
		case LIMIT_TOKENS_PER_DAY:
			return sum_buckets(usage->day_tokens, DAY_BUCKETS);
		case LIMIT_MAX_CONCURRENT:
			return usage->n_running;
		default:
			return 0;
	}
}

/* When have buckets that hold excess in sum left their window? The newest bucket is newest. */
static int64
time_until_free(const uint32 *buckets, int n, uint64 newest, uint64 bucket_us, int64 excess, uint64 now_us)
{
	for (int age = n - 1; age >= 0; age--)
	{
		if (newest < (uint64) age)
			continue;
		excess -= buckets[(newest - age) % n];
		if (excess <= 0)
			return (int64) ((newest - age + n) * bucket_us - now_us);
	}
	return FREES_WITH_A_REQUEST;
}

/* What a request asks of one kind of limit. */
static int64
asked_of(const LimitDemand *demand, LimitKind kind)
{
	switch (kind)
	{
		case LIMIT_TOKENS_PER_MINUTE:
		case LIMIT_TOKENS_PER_DAY:
			return (int64) demand->prompt_tokens + demand->max_tokens + demand->more_tokens;
		case LIMIT_MAX_TOKENS:
			return demand->max_tokens;
		case LIMIT_REQUESTS_PER_MINUTE:
			return 1 + demand->more_requests;
		default:
			return 1;
	}
}

/* The time until there is room of one kind. */
static int64
frees_in(const RoleUsage *usage, LimitKind kind, int64 excess, uint64 now_us)
{
	uint64 slot = usage->second / DAY_BUCKET_SECONDS;

	switch (kind)
	{
		case LIMIT_REQUESTS_PER_MINUTE:
			return time_until_free(usage->requests, MINUTE_BUCKETS, usage->second, 1000000, excess, now_us);
		case LIMIT_TOKENS_PER_MINUTE:
			return time_until_free(usage->tokens, MINUTE_BUCKETS, usage->second, 1000000, excess, now_us);
		case LIMIT_TOKENS_PER_DAY:
			return time_until_free(usage->day_tokens, DAY_BUCKETS, slot, (uint64) DAY_BUCKET_SECONDS * 1000000, excess,
								   now_us);
		default:
			return FREES_WITH_A_REQUEST;
	}
}

bool
usage_has_room(const RoleUsage *usage, Oid role, const RoleLimits *limits, const LimitDemand *demand, uint64 now_us,
			   LimitRefusal *refusal)
{
	bool has_room = true;

	for (int kind = 0; kind < N_LIMITS; kind++)
	{
		int64 allowed = limits->allowed[kind], asked = asked_of(demand, kind), used;

		if (allowed == NO_LIMIT)
			continue;
		used = usage ? usage_used(usage, kind) : 0;
		if (usage && (kind == LIMIT_TOKENS_PER_MINUTE || kind == LIMIT_TOKENS_PER_DAY))
			used += usage->reserved_tokens;
		/* what is never met counts before what frees again */
		if (used + asked <= allowed || (!has_room && asked <= allowed))
			continue;
		*refusal = (LimitRefusal){
			.role = role,
			.kind = kind,
			.source = limits->sources[kind],
			.used = used,
			.asked = asked,
			.allowed = allowed,
			.frees_in_us = FREES_NEVER,
		};
		if (asked > allowed)
			return false;
		refusal->frees_in_us = frees_in(usage, kind, used + asked - allowed, now_us);
		has_room = false;
	}
	return has_room;
}

bool
usage_may_ever_admit(const LimitSubject *subject, const LimitDemand *demand, LimitRefusal *refusal)
{
	for (int i = 0; i < subject->n; i++)
		if (!usage_has_room(NULL, subject->roles[i], &subject->limits[i], demand, 0, refusal))
			return false;
	return true;
}

void
usage_count_tokens(RoleUsage *usage, uint32 tokens)
{
	usage->tokens[usage->second % MINUTE_BUCKETS] += tokens;
	usage->day_tokens[usage->second / DAY_BUCKET_SECONDS % DAY_BUCKETS] += tokens;
	usage->n_tokens += tokens;
}

/* Take back from a bucket what was charged but not used, if the bucket still counts. */
static void
take_from(uint32 *buckets, int n, uint64 newest, uint64 bucket, uint32 tokens)
{
	if (newest < bucket + n)
		buckets[bucket % n] -= Min(tokens, buckets[bucket % n]);
}

void
usage_give_back(RoleUsage *usage, uint64 second, uint32 tokens)
{
	take_from(usage->tokens, MINUTE_BUCKETS, usage->second, second, tokens);
	take_from(usage->day_tokens, DAY_BUCKETS, usage->second / DAY_BUCKET_SECONDS, second / DAY_BUCKET_SECONDS, tokens);
	usage->n_tokens -= tokens;
}

void
usage_give_back_request(RoleUsage *usage, uint64 second)
{
	take_from(usage->requests, MINUTE_BUCKETS, usage->second, second, 1);
	usage->n_requests--;
}
