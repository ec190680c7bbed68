/*
 * lanes_i8mm.h - the lanes of lanes_neon.h with ARMv8.6's products of bytes in 32-bit sums (i8mm).
 *
 * usmmla multiplies two rows of weights by two of activations, eight inputs each: twice the products of a dot product.
 * So two steps of weights are taken at once, and tokens in pairs, whose sums stand interleaved meanwhile: register i of
 * the one token's sums has rows 4 i and 4 i + 1 of both tokens, that of the other rows 4 i + 2 and 4 i + 3. A token
 * that is left over takes the mixed dot product. Sums are integers, so that it does not matter who sits beside whom.
 */
#define LANES_NAME "i8mm"
#define LANES_TABLE kernels_i8mm
#define LANE_STEPS 2

#include "lanes_neon.h"

#ifndef QWEN_LANES_I8MM_H
#define QWEN_LANES_I8MM_H

typedef I32x16 Dots;

LANE Dots
d_begin(I32x16 start)
{
	return start;
}
LANE I32x16
d_total(Dots dots, I32x16 start)
{
	(void) start;
	return dots;
}
LANE I32x16
i_start_biased(const int16_t *pair)
{
	return i_negative_shifted(i_pair_sum(pair), 7);
}
LANES_OP(I32x16, i_start_ready, (const int32_t *start), vdupq_n_s32(*start))

/* Sums of two tokens from their own order to the interleaved one, and back. */
LANE void
d_begin_pair(I32x16 *a, I32x16 *b)
{
	QUARTERS(i)
	{
		int32x4_t low = vzip1q_s32(a->v[i], b->v[i]), high = vzip2q_s32(a->v[i], b->v[i]);

		a->v[i] = low;
		b->v[i] = high;
	}
}
LANE void
d_end_pair(I32x16 *a, I32x16 *b)
{
	QUARTERS(i)
	{
		int32x4_t first = vuzp1q_s32(a->v[i], b->v[i]), second = vuzp2q_s32(a->v[i], b->v[i]);

		a->v[i] = first;
		b->v[i] = second;
	}
}

LANES_OP(I32x16, dot_mixed, (I32x16 acc, U8x64 weights, U8x64 x),
		 vusdotq_s32(acc.v[i], weights.v[i], vreinterpretq_s8_u8(x.v[i])))

/* Two steps of weights onto the sums of n (constant) tokens, whose eight activations stand at x[0 … n-1]. Quarter by
 * quarter, so that no more than the sums need to be in registers. */
LANE void
d_add_two(I32x16 *sums, const uint32_t n, U8x64 w, U8x64 next, const uint8_t *const *x)
{
	int8x16_t pairs[6];

#pragma GCC unroll 6
	for (uint32_t p = 0; p < n / 2; p++)
		pairs[p] = vcombine_s8(vld1_s8((const int8_t *) x[2 * p]), vld1_s8((const int8_t *) x[2 * p + 1]));
	if (n >= 2)
		QUARTERS(i)
		{
			uint32x4_t a = vreinterpretq_u32_u8(w.v[i]), b = vreinterpretq_u32_u8(next.v[i]);
			uint8x16_t low = vreinterpretq_u8_u32(vzip1q_u32(a, b)), high = vreinterpretq_u8_u32(vzip2q_u32(a, b));

#pragma GCC unroll 6
			for (uint32_t p = 0; p < n / 2; p++)
			{
				sums[2 * p].v[i] = vusmmlaq_s32(sums[2 * p].v[i], low, pairs[p]);
				sums[2 * p + 1].v[i] = vusmmlaq_s32(sums[2 * p + 1].v[i], high, pairs[p]);
			}
		}
	if (n % 2 == 1)
		sums[n - 1] = dot_mixed(dot_mixed(sums[n - 1], w, b_broadcast4(x[n - 1])), next, b_broadcast4(x[n - 1] + 4));
}

#endif
