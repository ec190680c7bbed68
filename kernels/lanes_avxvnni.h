/*
 * lanes_avxvnni.h - the lanes of lanes_avx2.h with the dot product of bytes of AVX-VNNI: for processors that have it
 * and no AVX-512, or none that is used.
 *
 * vpdpbusd is encoded by VEX there. Where the compiler is told of AVX-512 instead (make check-evex), the same source
 * takes the same instruction encoded by EVEX: so a processor that lacks the one can run the tests by the other.
 */
#define LANES_NAME "avxvnni"
#define LANES_TABLE kernels_avxvnni

#include "lanes_avx2.h"

#ifndef QWEN_LANES_AVXVNNI_H
#define QWEN_LANES_AVXVNNI_H

LANE __m256i
dot256(__m256i acc, __m256i weights, __m256i x)
{
#ifdef __AVXVNNI__
	acc = _mm256_dpbusd_avx_epi32(acc, weights, x);
#else
	acc = _mm256_dpbusd_epi32(acc, weights, x);
#endif
	__asm__("" : "+x"(acc)); /* as in chain256: else gcc loads what comes later first, and spills it */
	return acc;
}

LANE I32x16
i_dot_biased(I32x16 acc, U8x64 weights, U8x64 x)
{
	return i_pair(dot256(acc.a, weights.a, x.a), dot256(acc.b, weights.b, x.b));
}

LANE I32x16
i_start_biased(const int16_t *pair)
{
	return i_negative_shifted(i_pair_sum(pair), 7);
}

LANE I32x16
i_start_ready(const int32_t *start)
{
	return i_pair(_mm256_set1_epi32(*start), _mm256_set1_epi32(*start));
}

typedef I32x16 Dots;

LANE Dots
d_begin(I32x16 start)
{
	return start;
}

LANE Dots
d_add(Dots dots, U8x64 weights, U8x64 x)
{
	return i_dot_biased(dots, weights, x);
}

LANE I32x16
d_total(Dots dots, I32x16 start)
{
	(void) start;
	return dots;
}

#endif
