/*
 * limits_bench.c - a module for make bench-limits and bench-statistics: passes the door of limits, or tells the
 * statistics of a request's life, many times, without an engine behind it.
 *
 * It calls what client.c calls for a request (limits_enter and limits_leave; watch_begin to watch_answered), which the
 * server has loaded with qwen_pg.so, so nothing else is measured.
 */
#include "../../src/extension/limits/limits.h"
#include "../../src/extension/watch/watch.h"

#include <time.h>

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_admissions);
PG_FUNCTION_INFO_V1(bench_statistics);

extern PGDLLEXPORT Datum bench_admissions(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum bench_statistics(PG_FUNCTION_ARGS);

/* Processor time of this process. */
static double
processor_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int
none(void)
{
	return 0;
}

static void
no_wait(long timeout_ms)
{
}

static const LimitCompany no_company = {none, no_wait};

/* bench_admissions(n int) -> float8: processor time in microseconds of n requests' admission and release, together. */
Datum
bench_admissions(PG_FUNCTION_ARGS)
{
	int32 n = PG_GETARG_INT32(0);
	LimitDemand demand = {20, 100}, used;
	LimitPass pass = {0};
	double start = processor_us();

	for (int32 i = 0; i < n; i++)
	{
		limits_enter(&pass, &demand, &no_company);
		(void) limits_leave(&pass, true, &used);
	}
	PG_RETURN_FLOAT8(processor_us() - start);
}

/* bench_statistics(n int) -> float8: processor time in microseconds of all that is written down of n requests,
 * together. */
Datum
bench_statistics(PG_FUNCTION_ARGS)
{
	int32 n = PG_GETARG_INT32(0);
	Request request = {.kind = REQUEST_GENERATE, .function = "qwen_generate"};
	Accepted accepted = {.prompt_tokens = 20, .max_tokens = 64};
	EngineReply reply = {.type = FRAME_DONE,
						 .done = {.prompt_tokens = 20, .completion_tokens = 64, .ttft_us = 5000, .total_us = 200000}};
	WatchedRequest watched;
	double start = processor_us();

	for (int32 i = 0; i < n; i++)
	{
		watch_begin(&watched, &request);
		watch_model(&watched, "chat");
		watch_accepted(&watched, &accepted);
		watch_go(&watched, 0);
		watch_end(&watched);
		watch_answered(&watched, &reply);
	}
	PG_RETURN_FLOAT8(processor_us() - start);
}
