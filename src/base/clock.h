/*
 * clock.h - monotonic time, in microseconds or nanoseconds, for measuring and for deadlines. Never the wall clock.
 */
#ifndef QWEN_BASE_CLOCK_H
#define QWEN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds of CLOCK_MONOTONIC: the same clock in every process of the machine. */
static inline uint64_t
clock_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* Nanoseconds of the same clock. */
static inline uint64_t
clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

#endif
