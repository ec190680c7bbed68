/*
 * limits_bench.c - a module for make bench-limits: passes the door of limits many times, without an engine behind it.
 *
 * It calls what engine_go and the end of a request call (limits_enter, limits_leave), which the server has loaded with
 * qwen_pg.so, so nothing but admission is measured.
 */
#include "../../src/extension/limits.h"

#include <time.h>

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_admissions);

extern PGDLLEXPORT Datum bench_admissions(PG_FUNCTION_ARGS);

/* Processor time of this process. */
static double
processor_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int
no_company(void)
{
	return 0;
}

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
		limits_enter(&pass, &demand, no_company);
		(void) limits_leave(&pass, true, &used);
	}
	PG_RETURN_FLOAT8(processor_us() - start);
}
