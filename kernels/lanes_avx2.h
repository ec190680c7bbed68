/*
 * lanes_avx2.h - sixteen lanes in two ymm registers; see lanes_portable.h for what each primitive means.
 *
 * There is no dot product of bytes here (lanes_avxvnni.h, which includes this file, brings one): maddubs adds pairs in
 * 16 bits, which is exact for weights up to 128 (128 * 127 * 2 < 2^15). Chains of smaller weights stay in 16 bits as
 * long as they fit. The biased bytes of Q8_0 (0 … 255) are made signed again and the sign is moved to the activations.
 */
#ifndef QWEN_LANES_H
#define QWEN_LANES_H

#include <immintrin.h>

#ifndef LANES_NAME
#define LANES_NAME "avx2"
#define LANES_TABLE kernels_avx2
#define LANES_PAIRED_PRODUCTS /* dot products are made of maddubs */
#endif
#define LANE_GROUPS 1 /* 16 registers */
#define LANE_SUMS 4   /* running sums of sixteen lanes that fit the registers beside what they are made of */
#define LANE_STEPS 1

typedef struct F32x16
{
	__m256 a, b;
} F32x16;

typedef struct I32x16
{
	__m256i a, b;
} I32x16;

typedef I32x16 U8x64;

#define LANE static inline __attribute__((always_inline))

LANE F32x16
f_pair(__m256 a, __m256 b)
{
	return (F32x16){a, b};
}
LANE I32x16
i_pair(__m256i a, __m256i b)
{
	return (I32x16){a, b};
}
LANE F32x16
f_zero(void)
{
	return f_pair(_mm256_setzero_ps(), _mm256_setzero_ps());
}
LANE F32x16
f_set(float x)
{
	return f_pair(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
LANE F32x16
f_load(const float *p)
{
	return f_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
LANE void
f_store(float *p, F32x16 x)
{
	_mm256_storeu_ps(p, x.a);
	_mm256_storeu_ps(p + 8, x.b);
}

/* All ones in the lanes base + i < n. */
LANE __m256i
lane_mask(int base, unsigned n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int) n - base), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LANE F32x16
f_load_first(const float *p, unsigned n)
{
	return f_pair(_mm256_maskload_ps(p, lane_mask(0, n)), _mm256_maskload_ps(p + 8, lane_mask(8, n)));
}
LANE void
f_store_first(float *p, F32x16 x, unsigned n)
{
	_mm256_maskstore_ps(p, lane_mask(0, n), x.a);
	_mm256_maskstore_ps(p + 8, lane_mask(8, n), x.b);
}
LANE __m128i
load128(const void *p)
{
	return _mm_loadu_si128((const __m128i *) p);
}
LANE F32x16
f_load_f16(const void *p)
{
	return f_pair(_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128((const char *) p + 16)));
}

LANE __m256
half_round_f16(__m256 x)
{
	return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LANE F32x16
f_round_f16(F32x16 x)
{
	return f_pair(half_round_f16(x.a), half_round_f16(x.b));
}

LANE void
f_store_f16(void *p, F32x16 x)
{
	_mm_storeu_si128((__m128i *) p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
	_mm_storeu_si128((__m128i *) ((char *) p + 16),
					 _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LANE __m256
half_bf16(const void *p)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
}
LANE F32x16
f_load_bf16(const void *p)
{
	return f_pair(half_bf16(p), half_bf16((const char *) p + 16));
}
LANE __m128i
load64(const void *p)
{
	return _mm_loadl_epi64((const __m128i *) p);
}
LANE __m256
half_exponent(const uint8_t *p)
{
	__m256i e = _mm256_cvtepu8_epi32(load64(p));
	__m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);

	/* the denormals are larger than what the shift makes of 0 and 1, and smaller than all others */
	return _mm256_castsi256_ps(_mm256_max_epi32(normal, _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e)));
}
LANE F32x16
f_load_exponent(const uint8_t *p)
{
	return f_pair(half_exponent(p), half_exponent(p + 8));
}
LANE F32x16
f_load_u8(const uint8_t *p)
{
	return f_pair(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load64(p))),
				  _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load64(p + 8))));
}
LANE __m256
load_nibbles(const uint8_t *p, int shift)
{
	__m256i x = _mm256_srli_epi32(_mm256_cvtepu8_epi32(load64(p)), shift);

	return _mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(15)));
}
LANE F32x16
f_load_u8_low(const uint8_t *p)
{
	return f_pair(load_nibbles(p, 0), load_nibbles(p + 8, 0));
}
LANE F32x16
f_load_u8_high(const uint8_t *p)
{
	return f_pair(load_nibbles(p, 4), load_nibbles(p + 8, 4));
}
LANE F32x16
f_load_s8(const uint8_t *p)
{
	return f_pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load64(p))),
				  _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load64(p + 8))));
}
LANE F32x16
f_add(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
LANE F32x16
f_sub(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b));
}
LANE F32x16
f_mul(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
LANE F32x16
f_div(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
LANE F32x16
f_fma(F32x16 x, F32x16 y, F32x16 z)
{
	return f_pair(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
LANE F32x16
f_fnma(F32x16 x, F32x16 y, F32x16 z)
{
	return f_pair(_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b));
}
LANE F32x16
f_max(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
LANE F32x16
f_min(F32x16 x, F32x16 y)
{
	return f_pair(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b));
}
LANE __m256
abs256(__m256 x)
{
	return _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF)));
}
LANE F32x16
f_abs(F32x16 x)
{
	return f_pair(abs256(x.a), abs256(x.b));
}
LANE F32x16
f_round(F32x16 x)
{
	return f_pair(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
				  _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LANE F32x16
f_zero_nan(F32x16 x)
{
	return f_pair(_mm256_and_ps(x.a, _mm256_cmp_ps(x.a, x.a, _CMP_ORD_Q)),
				  _mm256_and_ps(x.b, _mm256_cmp_ps(x.b, x.b, _CMP_ORD_Q)));
}
LANE F32x16
f_first(F32x16 x, unsigned n, F32x16 other)
{
	return f_pair(_mm256_blendv_ps(other.a, x.a, _mm256_castsi256_ps(lane_mask(0, n))),
				  _mm256_blendv_ps(other.b, x.b, _mm256_castsi256_ps(lane_mask(8, n))));
}
LANE F32x16
f_from_i32(I32x16 x)
{
	return f_pair(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}
LANE I32x16
i_from_f32(F32x16 x)
{
	return i_pair(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
}
LANE __m256
power256(__m256i n)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
LANE F32x16
f_power_of_2(I32x16 n)
{
	return f_pair(power256(n.a), power256(n.b));
}

/* Fold 16 lanes: 8, 4, 2, 1 (the order that all versions share). */
LANE float
f_sum(F32x16 v)
{
	__m256 x = _mm256_add_ps(v.a, v.b);
	__m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

	y = _mm_add_ps(y, _mm_movehl_ps(y, y));
	return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

LANE float
f_largest(F32x16 v)
{
	__m256 x = _mm256_max_ps(v.a, v.b);
	__m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

	y = _mm_max_ps(y, _mm_movehl_ps(y, y));
	return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

LANE I32x16
i_zero(void)
{
	return i_pair(_mm256_setzero_si256(), _mm256_setzero_si256());
}
LANE I32x16
i_add(I32x16 x, I32x16 y)
{
	return i_pair(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}

LANE int32_t
i_sum(I32x16 v)
{
	__m256i x = _mm256_add_epi32(v.a, v.b);
	__m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));

	y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4E));
	return _mm_cvtsi128_si32(_mm_add_epi32(y, _mm_shuffle_epi32(y, 0xB1)));
}

/* The low byte of each lane. */
LANE void
i_store_s8(uint8_t *p, I32x16 v)
{
	const __m256i low = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
										 -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
	__m256i a = _mm256_shuffle_epi8(v.a, low), b = _mm256_shuffle_epi8(v.b, low);
	int32_t four[4] = {_mm256_extract_epi32(a, 0), _mm256_extract_epi32(a, 4), _mm256_extract_epi32(b, 0),
					   _mm256_extract_epi32(b, 4)};

	memcpy(p, four, 16);
}

LANE __m256i
broadcast_pair(const int16_t *pair)
{
	int32_t both;

	memcpy(&both, pair, 4);
	return _mm256_set1_epi32(both);
}
LANE I32x16
i_pair_sum(const int16_t *pair)
{
	__m256i both = broadcast_pair(pair);
	__m256i sum = _mm256_srai_epi32(_mm256_add_epi32(both, _mm256_slli_epi32(both, 16)), 16);

	return i_pair(sum, sum);
}
LANE I32x16
i_pair_half(const int16_t *pair, uint32_t half)
{
	__m256i both = broadcast_pair(pair);
	__m256i value = _mm256_srai_epi32(half == 0 ? _mm256_slli_epi32(both, 16) : both, 16);

	return i_pair(value, value);
}
LANE I32x16
i_negative_shifted(I32x16 a, int bits)
{
	return i_pair(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(a.a, bits)),
				  _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(a.b, bits)));
}

LANE U8x64
b_load(const uint8_t *p)
{
	return i_pair(_mm256_load_si256((const __m256i *) p), _mm256_load_si256((const __m256i *) (p + 32)));
}
LANE __m256i
and256(__m256i x, int mask)
{
	return _mm256_and_si256(x, _mm256_set1_epi8((char) mask));
}
LANE U8x64
b_low(U8x64 x)
{
	return i_pair(and256(x.a, 15), and256(x.b, 15));
}
LANE U8x64
b_high(U8x64 x)
{
	return i_pair(and256(_mm256_srli_epi16(x.a, 4), 15), and256(_mm256_srli_epi16(x.b, 4), 15));
}
LANE U8x64
b_or(U8x64 x, U8x64 y)
{
	return i_pair(_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b));
}

/* Bytes 0 … 15 to those of a table. */
LANE U8x64
b_values(const uint8_t table[16], U8x64 x)
{
	__m256i values = _mm256_broadcastsi128_si256(load128(table));

	return i_pair(_mm256_shuffle_epi8(values, x.a), _mm256_shuffle_epi8(values, x.b));
}

LANE __m256i
turn_sign256(__m256i x, __m256i signs, int bit)
{
	__m256i negated = _mm256_sub_epi8(_mm256_set1_epi8((char) 128), x);

	return _mm256_blendv_epi8(x, negated, _mm256_slli_epi16(signs, 7 - bit));
}

/* 128 - a where bit number bit (0 … 7) of the byte of signs is 1, else a. */
LANE U8x64
b_turn_sign(U8x64 x, U8x64 signs, int bit)
{
	return i_pair(turn_sign256(x.a, signs.a, bit), turn_sign256(x.b, signs.b, bit));
}

LANE void
b_store(uint8_t *p, U8x64 x)
{
	_mm256_store_si256((__m256i *) p, x.a);
	_mm256_store_si256((__m256i *) (p + 32), x.b);
}

/* Of each lane of both the first two bytes, and the last two. */
LANE U8x64
b_join_low(U8x64 x, U8x64 y)
{
	return i_pair(_mm256_blend_epi16(x.a, _mm256_slli_epi32(y.a, 16), 0xAA),
				  _mm256_blend_epi16(x.b, _mm256_slli_epi32(y.b, 16), 0xAA));
}
LANE U8x64
b_join_high(U8x64 x, U8x64 y)
{
	return i_pair(_mm256_blend_epi16(_mm256_srli_epi32(x.a, 16), y.a, 0xAA),
				  _mm256_blend_epi16(_mm256_srli_epi32(x.b, 16), y.b, 0xAA));
}

/* Sixteen numbers, of which bit bit stands in plane. */
LANE __m256i
with_bit(__m256i numbers, const uint8_t *plane, int bit)
{
	const __m256i each =
		_mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, INT16_MIN);
	int16_t bits;
	__m256i is_set;

	memcpy(&bits, plane, 2);
	is_set = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16(bits), each), each);
	return _mm256_or_si256(numbers, _mm256_and_si256(is_set, _mm256_set1_epi16((int16_t) (1 << bit))));
}

/* The points of a run of 32 numbers (formats.h), looked up one by one: gathers are no faster. */
LANE U8x64
b_points(const GridFormat format, const uint8_t *low, const uint8_t *planes)
{
	uint16_t numbers[32] __attribute__((aligned(32)));
	uint32_t pairs[16] __attribute__((aligned(32)));

	if (format.n_bits == 8)
	{
		grid_points_read(format, low, planes, numbers);
		return b_load((const uint8_t *) numbers);
	}
	for (int half = 0; half < 2; half++)
	{
		__m256i sixteen = _mm256_cvtepu8_epi16(load128(low + 16 * half));

		for (uint32_t bit = 8; bit < format.n_bits; bit++)
			sixteen = with_bit(sixteen, planes + (bit - 8) * grid_plane_bytes(format) + 2 * half, (int) bit);
		_mm256_store_si256((__m256i *) (numbers + 16 * half), sixteen);
	}
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		pairs[i] = format.points[numbers[2 * i]] | (uint32_t) format.points[numbers[2 * i + 1]] << 16;
	return b_load((const uint8_t *) pairs);
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
b_pair_to_0(U8x64 x, int pair)
{
	return i_pair(and256(_mm256_srli_epi16(x.a, 2 * pair), 3), and256(_mm256_srli_epi16(x.b, 2 * pair), 3));
}

LANE __m256i
pair_to_4(__m256i x, int pair)
{
	return and256(pair < 2 ? _mm256_slli_epi16(x, 4 - 2 * pair) : _mm256_srli_epi16(x, 2 * pair - 4), 0x30);
}

/* Bit pair number pair (0 … 3) of each byte, moved to bits 4 and 5. */
LANE U8x64
b_pair_to_4(U8x64 x, int pair)
{
	return i_pair(pair_to_4(x.a, pair), pair_to_4(x.b, pair));
}

LANE __m256i
bit_to_2(__m256i x, int bit)
{
	return and256(bit < 2 ? _mm256_slli_epi16(x, 2 - bit) : _mm256_srli_epi16(x, bit - 2), 4);
}

/* Bit number bit (0 … 7) of each byte, moved to bit 2. */
LANE U8x64
b_bit_to_2(U8x64 x, int bit)
{
	return i_pair(bit_to_2(x.a, bit), bit_to_2(x.b, bit));
}

LANE __m256i
bit_to_4(__m256i x, int bit)
{
	return and256(bit < 4 ? _mm256_slli_epi16(x, 4 - bit) : _mm256_srli_epi16(x, bit - 4), 0x10);
}

/* Bit number bit (0 … 7) of each byte, moved to bit 4. */
LANE U8x64
b_bit_to_4(U8x64 x, int bit)
{
	return i_pair(bit_to_4(x.a, bit), bit_to_4(x.b, bit));
}

LANE U8x64
b_broadcast4(const uint8_t *p)
{
	int32_t four;
	__m256i all;

	memcpy(&four, p, 4);
	all = _mm256_set1_epi32(four);
	return i_pair(all, all);
}

#ifdef LANES_PAIRED_PRODUCTS

/* Sums of 16 bits; the start comes in at the end. */
typedef U8x64 Dots;

LANE Dots
d_begin(I32x16 start)
{
	(void) start;
	return i_zero();
}
/* One step; the empty asm keeps gcc from turning the chain into a tree, whose leaves would not fit the registers. */
LANE __m256i
chain256(__m256i dots, __m256i weights, __m256i x)
{
	__m256i sum = _mm256_add_epi16(dots, _mm256_maddubs_epi16(weights, x));

	__asm__("" : "+x"(sum));
	return sum;
}
LANE Dots
d_add(Dots dots, U8x64 weights, U8x64 x)
{
	return i_pair(chain256(dots.a, weights.a, x.a), chain256(dots.b, weights.b, x.b));
}
LANE I32x16
d_total(Dots dots, I32x16 start)
{
	const __m256i ones = _mm256_set1_epi16(1);

	return i_pair(_mm256_add_epi32(start.a, _mm256_madd_epi16(dots.a, ones)),
				  _mm256_add_epi32(start.b, _mm256_madd_epi16(dots.b, ones)));
}

/* weights hold w + 128: |w| times x with w's sign. */
LANE __m256i
dot_biased256(__m256i acc, __m256i weights, __m256i x)
{
	__m256i w = _mm256_xor_si256(weights, _mm256_set1_epi8((char) 0x80));

	__m256i products = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));

	acc = _mm256_add_epi32(acc, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
	__asm__("" : "+x"(acc)); /* as in chain256 */
	return acc;
}

LANE I32x16
i_dot_biased(I32x16 acc, U8x64 weights, U8x64 x)
{
	return i_pair(dot_biased256(acc.a, weights.a, x.a), dot_biased256(acc.b, weights.b, x.b));
}

LANE I32x16
i_start_biased(const int16_t *pair)
{
	(void) pair; /* the bias is taken off the weights themselves */
	return i_zero();
}

LANE I32x16
i_start_ready(const int32_t *start)
{
	(void) start;
	return i_zero();
}

#endif

#endif
