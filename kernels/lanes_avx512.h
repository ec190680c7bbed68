/*
 * lanes_avx512.h - sixteen lanes in one zmm register; see lanes_portable.h for what each primitive means.
 */
#ifndef QWEN_LANES_H
#define QWEN_LANES_H

#include <immintrin.h>

#define LANES_NAME "avx512"
#define LANES_TABLE kernels_avx512
#define LANE_GROUPS 2 /* 32 registers */
#define LANE_SUMS 24  /* running sums of sixteen lanes that fit the registers beside what they are made of */
#define LANE_STEPS 1

typedef __m512 F32x16;
typedef __m512i I32x16;
typedef __m512i U8x64;

#define LANE static inline __attribute__((always_inline))

LANE F32x16
f_zero(void)
{
	return _mm512_setzero_ps();
}
LANE F32x16
f_set(float x)
{
	return _mm512_set1_ps(x);
}
LANE F32x16
f_load(const float *p)
{
	return _mm512_loadu_ps(p);
}
LANE void
f_store(float *p, F32x16 x)
{
	_mm512_storeu_ps(p, x);
}
LANE F32x16
f_load_first(const float *p, unsigned n)
{
	return _mm512_maskz_loadu_ps((__mmask16) ((1u << n) - 1), p);
}
LANE void
f_store_first(float *p, F32x16 x, unsigned n)
{
	_mm512_mask_storeu_ps(p, (__mmask16) ((1u << n) - 1), x);
}
LANE F32x16
f_load_f16(const void *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}
LANE void
f_store_f16(void *p, F32x16 x)
{
	_mm256_storeu_si256((__m256i *) p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/* What f_load_f16 finds where f_store_f16 has put x; alike in the other versions. */
LANE F32x16
f_round_f16(F32x16 x)
{
	return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LANE F32x16
f_load_bf16(const void *p)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p)), 16));
}
LANE F32x16
f_load_u8(const uint8_t *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p)));
}
LANE F32x16
load_nibbles(const uint8_t *p, unsigned shift)
{
	__m512i x = _mm512_srli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p)), shift);

	return _mm512_cvtepi32_ps(_mm512_and_si512(x, _mm512_set1_epi32(15)));
}
LANE F32x16
f_load_u8_low(const uint8_t *p)
{
	return load_nibbles(p, 0);
}
LANE F32x16
f_load_u8_high(const uint8_t *p)
{
	return load_nibbles(p, 4);
}
LANE F32x16
f_load_s8(const uint8_t *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p)));
}
LANE F32x16
f_load_exponent(const uint8_t *p)
{
	__m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p));
	__m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);

	/* the denormals are larger than what the shift makes of 0 and 1, and smaller than all others */
	return _mm512_castsi512_ps(_mm512_max_epi32(normal, _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e)));
}
LANE F32x16
f_add(F32x16 a, F32x16 b)
{
	return _mm512_add_ps(a, b);
}
LANE F32x16
f_sub(F32x16 a, F32x16 b)
{
	return _mm512_sub_ps(a, b);
}
LANE F32x16
f_mul(F32x16 a, F32x16 b)
{
	return _mm512_mul_ps(a, b);
}
LANE F32x16
f_div(F32x16 a, F32x16 b)
{
	return _mm512_div_ps(a, b);
}
LANE F32x16
f_fma(F32x16 a, F32x16 b, F32x16 c)
{
	return _mm512_fmadd_ps(a, b, c);
}
LANE F32x16
f_fnma(F32x16 a, F32x16 b, F32x16 c)
{
	return _mm512_fnmadd_ps(a, b, c);
}
LANE F32x16
f_max(F32x16 a, F32x16 b)
{
	return _mm512_max_ps(a, b);
}
LANE F32x16
f_min(F32x16 a, F32x16 b)
{
	return _mm512_min_ps(a, b);
}
LANE F32x16
f_abs(F32x16 a)
{
	return _mm512_abs_ps(a);
}
LANE F32x16
f_round(F32x16 a)
{
	return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LANE F32x16
f_zero_nan(F32x16 a)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a);
}
LANE F32x16
f_first(F32x16 a, unsigned n, F32x16 other)
{
	return _mm512_mask_mov_ps(other, (__mmask16) ((1u << n) - 1), a);
}
LANE F32x16
f_from_i32(I32x16 a)
{
	return _mm512_cvtepi32_ps(a);
}
LANE I32x16
i_from_f32(F32x16 a)
{
	return _mm512_cvtps_epi32(a);
}
LANE F32x16
f_power_of_2(I32x16 n)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

/* Fold 16 lanes: 8, 4, 2, 1 (the order that all versions share). */
LANE float
f_sum(F32x16 a)
{
	__m256 x = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
	__m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

	y = _mm_add_ps(y, _mm_movehl_ps(y, y));
	return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

LANE float
f_largest(F32x16 a)
{
	__m256 x = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
	__m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

	y = _mm_max_ps(y, _mm_movehl_ps(y, y));
	return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

LANE I32x16
i_zero(void)
{
	return _mm512_setzero_si512();
}
LANE I32x16
i_add(I32x16 a, I32x16 b)
{
	return _mm512_add_epi32(a, b);
}
/* Wraps; _mm512_reduce_add_epi32 is written with C's own additions, which may not. */
LANE int32_t
i_sum(I32x16 a)
{
	__m256i x = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
	__m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));

	y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4E));
	return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xB1)));
}
LANE void
i_store_s8(uint8_t *p, I32x16 a)
{
	_mm_storeu_si128((__m128i *) p, _mm512_cvtepi32_epi8(a));
}

/* Shifts and adds, not multiplications: those would take turns with the dot products. */
LANE I32x16
broadcast_pair(const int16_t *pair)
{
	int32_t both;

	memcpy(&both, pair, 4);
	return _mm512_set1_epi32(both);
}
LANE I32x16
i_pair_sum(const int16_t *pair)
{
	I32x16 both = broadcast_pair(pair);

	return _mm512_srai_epi32(_mm512_add_epi32(both, _mm512_slli_epi32(both, 16)), 16);
}
LANE I32x16
i_pair_half(const int16_t *pair, uint32_t half)
{
	I32x16 both = broadcast_pair(pair);

	return _mm512_srai_epi32(half == 0 ? _mm512_slli_epi32(both, 16) : both, 16);
}
LANE I32x16
i_negative_shifted(I32x16 a, int bits)
{
	return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(a, (unsigned) bits));
}

LANE U8x64
b_load(const uint8_t *p)
{
	return _mm512_load_si512(p);
}
LANE U8x64
b_low(U8x64 a)
{
	return _mm512_and_si512(a, _mm512_set1_epi8(15));
}
LANE U8x64
b_high(U8x64 a)
{
	return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15));
}
LANE U8x64
b_or(U8x64 a, U8x64 b)
{
	return _mm512_or_si512(a, b);
}

/* Bytes 0 … 15 to those of a table. */
LANE U8x64
b_values(const uint8_t table[16], U8x64 a)
{
	return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) table)), a);
}

/* 128 - a where bit number bit (0 … 7) of the byte of signs is 1, else a. */
LANE U8x64
b_turn_sign(U8x64 a, U8x64 signs, int bit)
{
	__mmask64 negative = _mm512_test_epi8_mask(signs, _mm512_set1_epi8((char) (1u << bit)));

	return _mm512_mask_sub_epi8(a, negative, _mm512_set1_epi8((char) 128), a);
}

LANE void
b_store(uint8_t *p, U8x64 a)
{
	_mm512_store_si512(p, a);
}

/* Of each lane of both the first two bytes, and the last two. */
LANE U8x64
b_join_low(U8x64 a, U8x64 b)
{
	return _mm512_mask_blend_epi16(0xAAAAAAAA, a, _mm512_slli_epi32(b, 16));
}
LANE U8x64
b_join_high(U8x64 a, U8x64 b)
{
	return _mm512_mask_blend_epi16(0xAAAAAAAA, _mm512_srli_epi32(a, 16), b);
}

/* The points of a part of a codebook that the low 6 to 10 bits of numbers choose: a table of 64, or one of two halves.
 */
LANE __m512i
points_of_64(const uint16_t *points, __m512i numbers)
{
	return _mm512_permutex2var_epi16(_mm512_load_si512(points), numbers, _mm512_load_si512(points + 32));
}
LANE __m512i
points_of_256(const uint16_t *points, __m512i numbers, const __mmask32 bits[4])
{
	__m512i low = _mm512_mask_blend_epi16(bits[0], points_of_64(points, numbers), points_of_64(points + 64, numbers));
	__m512i high =
		_mm512_mask_blend_epi16(bits[0], points_of_64(points + 128, numbers), points_of_64(points + 192, numbers));

	return _mm512_mask_blend_epi16(bits[1], low, high);
}
LANE __m512i
points_of_512(const uint16_t *points, __m512i numbers, const __mmask32 bits[4])
{
	return _mm512_mask_blend_epi16(bits[2], points_of_256(points, numbers, bits),
								   points_of_256(points + 256, numbers, bits));
}

/* The points of a run of 32 numbers (formats.h). */
LANE U8x64
b_points(const GridFormat format, const uint8_t *low, const uint8_t *planes)
{
	__m512i numbers = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *) low));
	/* bits 6 to 9 of the numbers; a table takes those below by itself */
	__mmask32 bits[4] = {_mm512_test_epi16_mask(numbers, _mm512_set1_epi16(64)),
						 _mm512_test_epi16_mask(numbers, _mm512_set1_epi16(128)), 0, 0};
	uint32_t plane;

	for (uint32_t bit = 8; bit < format.n_bits; bit++)
	{
		memcpy(&plane, planes + (bit - 8) * grid_plane_bytes(format), 4);
		bits[bit - 6] = plane;
	}
	if (format.n_bits == 8)
		return points_of_256(format.points, numbers, bits);
	if (format.n_bits == 9)
		return points_of_512(format.points, numbers, bits);
	return _mm512_mask_blend_epi16(bits[3], points_of_512(format.points, numbers, bits),
								   points_of_512(format.points + 512, numbers, bits));
}

/* 32 activations in turned order. */
LANE void
b_turn(const uint8_t *x, const uint32_t inputs, uint8_t *out)
{
	const __m128i eight = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
	const __m128i four = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
	__m256i order = _mm256_broadcastsi128_si256(inputs == 8 ? eight : four);

	_mm256_storeu_si256((__m256i *) out, _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *) x), order));
}

/* Bit pair number pair (0 … 3) of each byte, moved to bits 0 and 1. */
LANE U8x64
b_pair_to_0(U8x64 a, int pair)
{
	return _mm512_and_si512(_mm512_srli_epi16(a, (unsigned) (2 * pair)), _mm512_set1_epi8(3));
}

/* Bit pair number pair (0 … 3) of each byte, moved to bits 4 and 5. */
LANE U8x64
b_pair_to_4(U8x64 a, int pair)
{
	U8x64 moved = pair < 2 ? _mm512_slli_epi16(a, 4 - 2 * pair) : _mm512_srli_epi16(a, 2 * pair - 4);

	return _mm512_and_si512(moved, _mm512_set1_epi8(0x30));
}

/* Bit number bit (0 … 7) of each byte, moved to bit 2. */
LANE U8x64
b_bit_to_2(U8x64 a, int bit)
{
	U8x64 moved = bit < 2 ? _mm512_slli_epi16(a, (unsigned) (2 - bit)) : _mm512_srli_epi16(a, (unsigned) (bit - 2));

	return _mm512_and_si512(moved, _mm512_set1_epi8(4));
}

/* Bit number bit (0 … 7) of each byte, moved to bit 4. */
LANE U8x64
b_bit_to_4(U8x64 a, int bit)
{
	U8x64 moved = bit < 4 ? _mm512_slli_epi16(a, (unsigned) (4 - bit)) : _mm512_srli_epi16(a, (unsigned) (bit - 4));

	return _mm512_and_si512(moved, _mm512_set1_epi8(0x10));
}

LANE U8x64
b_broadcast4(const uint8_t *p)
{
	int32_t four;

	memcpy(&four, p, 4);
	return _mm512_set1_epi32(four);
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
	return _mm512_dpbusd_epi32(dots, weights, x);
}
LANE I32x16
d_total(Dots dots, I32x16 start)
{
	(void) start;
	return dots;
}
LANE I32x16
i_dot_biased(I32x16 acc, U8x64 weights, U8x64 x)
{
	return _mm512_dpbusd_epi32(acc, weights, x);
}
LANE I32x16
i_start_biased(const int16_t *pair)
{
	return i_negative_shifted(i_pair_sum(pair), 7);
}
LANE I32x16
i_start_ready(const int32_t *start)
{
	return _mm512_set1_epi32(*start);
}

#endif
