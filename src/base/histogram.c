/*
 * histogram.c - see histogram.h. A bucket is four to a power of two: the two bits after the highest choose among them.
 */
#include "histogram.h"

/* The bucket of a time. */
static uint32_t
bucket_of(uint64_t us)
{
	uint32_t bit;

	if (us < 1u << HISTOGRAM_FIRST_BIT)
		return 0;
	bit = 63 - (uint32_t) __builtin_clzll(us);
	if (bit > HISTOGRAM_LAST_BIT)
		return HISTOGRAM_BUCKETS - 1;
	return (bit - HISTOGRAM_FIRST_BIT) * 4 + ((us >> (bit - 2)) & 3);
}

/* The shortest time of a bucket; that of the one after the last is the end of the last. */
static double
bucket_start(uint32_t bucket)
{
	return (double) ((uint64_t) (4 + bucket % 4) << (bucket / 4 + HISTOGRAM_FIRST_BIT - 2));
}

void
histogram_add(Histogram *histogram, uint64_t us)
{
	uint32_t *count = &histogram->counts[bucket_of(us)];

	if (*count < UINT32_MAX)
		(*count)++;
}

void
histogram_merge(Histogram *histogram, const Histogram *other)
{
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		uint64_t sum = (uint64_t) histogram->counts[i] + other->counts[i];

		histogram->counts[i] = sum < UINT32_MAX ? (uint32_t) sum : UINT32_MAX;
	}
}

double
histogram_quantile(const Histogram *histogram, double share)
{
	uint64_t n = 0;
	double before = 0, wanted;

	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += histogram->counts[i];
	if (n == 0)
		return -1;
	wanted = share * (double) n;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
	{
		double count = histogram->counts[i];

		/* the times of a bucket are taken to lie evenly in it */
		if (count > 0 && before + count >= wanted)
			return bucket_start(i) + (bucket_start(i + 1) - bucket_start(i)) * (wanted - before) / count;
		before += count;
	}
	return bucket_start(HISTOGRAM_BUCKETS);
}
