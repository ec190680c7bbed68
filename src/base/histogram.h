/*
 * histogram.h - how often times of each length occurred, from 64 µs to 71 minutes, in buckets of which each is at most
 * a quarter longer than the one before.
 *
 * A fixed array, so that it can live in shared memory, be added to in a few nanoseconds and be summed with others.
 */
#ifndef QWEN_HISTOGRAM_H
#define QWEN_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_FIRST_BIT 6 /* all below 2^6 µs fall into the first bucket */
#define HISTOGRAM_LAST_BIT 31 /* all from 2^32 µs on into the last */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_LAST_BIT - HISTOGRAM_FIRST_BIT + 1) * 4)

typedef struct Histogram
{
	uint32_t counts[HISTOGRAM_BUCKETS]; /* stop at UINT32_MAX */
} Histogram;

/* Count one time. */
extern void histogram_add(Histogram *histogram, uint64_t us);

/* Add the counts of other. */
extern void histogram_merge(Histogram *histogram, const Histogram *other);

/* The time in µs that a share (0 … 1) of all times does not exceed, exact to the bucket; -1: there are none. */
extern double histogram_quantile(const Histogram *histogram, double share);

#endif
