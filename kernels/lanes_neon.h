/*
 * lanes_neon.h - sixteen lanes in four q registers of ARM's NEON; see lanes_portable.h for what each primitive means.
 *
 * The dot product of bytes (sdot, ARMv8.2's "dotprod") takes both sides signed. Weights up to 63 are the same number
 * either way; the biased bytes of Q8_0 (0 … 255) are made signed again by turning their highest bit over, and then have
 * no bias to be taken off. lanes_i8mm.h, which includes this file, brings the mixed product, and that of two rows.
 */
#ifndef QWEN_LANES_H
#define QWEN_LANES_H

#include <arm_neon.h>

#ifndef LANES_NAME
#define LANES_NAME "neon"
#define LANES_TABLE kernels_neon
#define LANES_SIGNED_PRODUCTS /* weights are made signed */
#define LANE_STEPS 1
#endif
#define LANE_GROUPS 1 /* 32 registers, four for sixteen lanes */
#define LANE_SUMS 4   /* running sums of sixteen lanes that fit the registers beside what they are made of */

typedef struct F32x16
{
	float32x4_t v[4];
} F32x16;

typedef struct I32x16
{
	int32x4_t v[4];
} I32x16;

typedef struct U8x64
{
	uint8x16_t v[4];
} U8x64;

#define LANE static inline __attribute__((always_inline))
#define QUARTERS(i) _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)

/* A function of lanes with one expression for quarter i. */
#define LANES_OP(type, name, arguments, expression)                                                                    \
	LANE type name arguments                                                                                           \
	{                                                                                                                  \
		type out;                                                                                                      \
		QUARTERS(i) out.v[i] = (expression);                                                                           \
		return out;                                                                                                    \
	}

/* Four bytes, halves or lane numbers of quarter i, widened. */
LANE uint32x4_t
quarter_u8(const uint8_t *p, int i)
{
	uint32_t four;

	memcpy(&four, p + 4 * i, 4);
	return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
LANE int32x4_t
quarter_s8(const uint8_t *p, int i)
{
	uint32_t four;

	memcpy(&four, p + 4 * i, 4);
	return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four))));
}
LANE uint16x4_t
quarter_halves(const void *p, int i)
{
	uint64_t four;

	memcpy(&four, (const char *) p + 8 * i, 8);
	return vcreate_u16(four);
}

/* All ones in the lanes 4 i + j < n. */
LANE uint32x4_t
quarter_mask(int i, unsigned n)
{
	const uint32x4_t numbers = {0, 1, 2, 3};

	return vcltq_u32(vaddq_u32(numbers, vdupq_n_u32(4 * (uint32_t) i)), vdupq_n_u32(n));
}

/* a > b ? a : b, so that NaN and zeros of both signs come out as in the other versions (fmax would not do that). */
LANE float32x4_t
larger(float32x4_t a, float32x4_t b)
{
	return vbslq_f32(vcgtq_f32(a, b), a, b);
}

LANES_OP(F32x16, f_zero, (void), vdupq_n_f32(0))
LANES_OP(F32x16, f_set, (float x), vdupq_n_f32(x))
LANES_OP(F32x16, f_load, (const float *p), vld1q_f32(p + 4 * i))
LANES_OP(F32x16, f_load_f16, (const void *p), vcvt_f32_f16(vreinterpret_f16_u16(quarter_halves(p, i))))
LANES_OP(F32x16, f_round_f16, (F32x16 a), vcvt_f32_f16(vcvt_f16_f32(a.v[i])))
LANES_OP(F32x16, f_load_bf16, (const void *p), vreinterpretq_f32_u32(vshll_n_u16(quarter_halves(p, i), 16)))
LANES_OP(F32x16, f_load_u8, (const uint8_t *p), vcvtq_f32_u32(quarter_u8(p, i)))
LANES_OP(F32x16, f_load_u8_low, (const uint8_t *p), vcvtq_f32_u32(vandq_u32(quarter_u8(p, i), vdupq_n_u32(15))))
LANES_OP(F32x16, f_load_u8_high, (const uint8_t *p), vcvtq_f32_u32(vshrq_n_u32(quarter_u8(p, i), 4)))
LANES_OP(F32x16, f_load_s8, (const uint8_t *p), vcvtq_f32_s32(quarter_s8(p, i)))
/* The denormals are larger than what the shift makes of 0 and 1, and smaller than all others. */
LANE uint32x4_t
quarter_exponent(const uint8_t *p, int i)
{
	int32x4_t e = vreinterpretq_s32_u32(quarter_u8(p, i));
	int32x4_t normal = vshlq_n_s32(vsubq_s32(e, vdupq_n_s32(1)), 23);

	/* a shift by 32 or more, or by what is a negative byte, leaves nothing that is larger */
	return vreinterpretq_u32_s32(vmaxq_s32(normal, vshlq_s32(vdupq_n_s32(0x00200000), e)));
}
LANES_OP(F32x16, f_load_exponent, (const uint8_t *p), vreinterpretq_f32_u32(quarter_exponent(p, i)))
LANES_OP(F32x16, f_add, (F32x16 a, F32x16 b), vaddq_f32(a.v[i], b.v[i]))
LANES_OP(F32x16, f_sub, (F32x16 a, F32x16 b), vsubq_f32(a.v[i], b.v[i]))
LANES_OP(F32x16, f_mul, (F32x16 a, F32x16 b), vmulq_f32(a.v[i], b.v[i]))
LANES_OP(F32x16, f_div, (F32x16 a, F32x16 b), vdivq_f32(a.v[i], b.v[i]))
LANES_OP(F32x16, f_fma, (F32x16 a, F32x16 b, F32x16 c), vfmaq_f32(c.v[i], a.v[i], b.v[i]))
LANES_OP(F32x16, f_fnma, (F32x16 a, F32x16 b, F32x16 c), vfmsq_f32(c.v[i], a.v[i], b.v[i]))
LANES_OP(F32x16, f_max, (F32x16 a, F32x16 b), larger(a.v[i], b.v[i]))
LANES_OP(F32x16, f_min, (F32x16 a, F32x16 b), vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]))
LANES_OP(F32x16, f_abs, (F32x16 a), vabsq_f32(a.v[i]))
LANES_OP(F32x16, f_round, (F32x16 a), vrndnq_f32(a.v[i]))
LANES_OP(F32x16, f_zero_nan, (F32x16 a), vbslq_f32(vceqq_f32(a.v[i], a.v[i]), a.v[i], vdupq_n_f32(0)))
LANES_OP(F32x16, f_first, (F32x16 a, unsigned n, F32x16 other), vbslq_f32(quarter_mask(i, n), a.v[i], other.v[i]))
LANES_OP(F32x16, f_from_i32, (I32x16 a), vcvtq_f32_s32(a.v[i]))
LANES_OP(F32x16, f_power_of_2, (I32x16 n), vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n.v[i], vdupq_n_s32(127)), 23)))

/* What does not fit is INT32_MIN, as everywhere; the instruction alone would give the nearest number, and 0 for NaN. */
LANES_OP(I32x16, i_from_f32, (F32x16 a),
		 vbslq_s32(vcaltq_f32(a.v[i], vdupq_n_f32(0x1p31f)), vcvtnq_s32_f32(a.v[i]), vdupq_n_s32(INT32_MIN)))

LANE void
f_store(float *p, F32x16 x)
{
	QUARTERS(i) vst1q_f32(p + 4 * i, x.v[i]);
}

/* There are no masked loads and stores: what is not whole goes through memory of our own. */
LANE F32x16
f_load_first(const float *p, unsigned n)
{
	float lanes[16] = {0};

	if (n == 16)
		return f_load(p);
	memcpy(lanes, p, n * sizeof(float));
	return f_load(lanes);
}
LANE void
f_store_first(float *p, F32x16 x, unsigned n)
{
	float lanes[16];

	if (n == 16)
	{
		f_store(p, x);
		return;
	}
	f_store(lanes, x);
	memcpy(p, lanes, n * sizeof(float));
}

LANE void
f_store_f16(void *p, F32x16 x)
{
	QUARTERS(i)
	{
		uint16x4_t halves = vreinterpret_u16_f16(vcvt_f16_f32(x.v[i]));

		memcpy((char *) p + 8 * i, &halves, 8);
	}
}

/* Fold 16 lanes: 8, 4, 2, 1 (the order that all versions share). */
LANE float
f_sum(F32x16 a)
{
	float32x4_t four = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));

	return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

LANE float
f_largest(F32x16 a)
{
	float32x4_t four = larger(larger(a.v[0], a.v[2]), larger(a.v[1], a.v[3]));
	float32x4_t two = larger(four, vextq_f32(four, four, 2));

	return vgetq_lane_f32(larger(two, vextq_f32(two, two, 1)), 0);
}

LANES_OP(I32x16, i_zero, (void), vdupq_n_s32(0))
LANES_OP(I32x16, i_add, (I32x16 a, I32x16 b), vaddq_s32(a.v[i], b.v[i]))
LANES_OP(I32x16, i_pair_sum, (const int16_t *pair), vdupq_n_s32(pair[0] + pair[1]))
LANES_OP(I32x16, i_pair_half, (const int16_t *pair, uint32_t half), vdupq_n_s32(pair[half]))
LANES_OP(I32x16, i_negative_shifted, (I32x16 a, int bits), vnegq_s32(a.v[i] << bits))

LANE int32_t
i_sum(I32x16 a)
{
	return vaddvq_s32(vaddq_s32(vaddq_s32(a.v[0], a.v[1]), vaddq_s32(a.v[2], a.v[3])));
}

/* The low byte of each lane. */
LANE void
i_store_s8(uint8_t *p, I32x16 a)
{
	int16x8_t low = vcombine_s16(vmovn_s32(a.v[0]), vmovn_s32(a.v[1]));
	int16x8_t high = vcombine_s16(vmovn_s32(a.v[2]), vmovn_s32(a.v[3]));

	vst1q_s8((int8_t *) p, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

LANES_OP(U8x64, b_load, (const uint8_t *p), vld1q_u8(p + 16 * i))
LANES_OP(U8x64, b_low, (U8x64 a), vandq_u8(a.v[i], vdupq_n_u8(15)))
LANES_OP(U8x64, b_high, (U8x64 a), vshrq_n_u8(a.v[i], 4))
LANES_OP(U8x64, b_or, (U8x64 a, U8x64 b), vorrq_u8(a.v[i], b.v[i]))

/* Bytes 0 … 15 to those of a table. */
LANES_OP(U8x64, b_values, (const uint8_t table[16], U8x64 a), vqtbl1q_u8(vld1q_u8(table), a.v[i]))

/* 128 - a where bit number bit (0 … 7) of the byte of signs is 1, else a. */
LANES_OP(U8x64, b_turn_sign, (U8x64 a, U8x64 signs, int bit),
		 vbslq_u8(vtstq_u8(signs.v[i], vdupq_n_u8((uint8_t) (1u << bit))), vsubq_u8(vdupq_n_u8(128), a.v[i]), a.v[i]))

LANE void
b_store(uint8_t *p, U8x64 a)
{
	QUARTERS(i) vst1q_u8(p + 16 * i, a.v[i]);
}

/* Of each lane of both the first two bytes, and the last two. */
LANES_OP(U8x64, b_join_low, (U8x64 a, U8x64 b),
		 vreinterpretq_u8_u16(vtrn1q_u16(vreinterpretq_u16_u8(a.v[i]), vreinterpretq_u16_u8(b.v[i]))))
LANES_OP(U8x64, b_join_high, (U8x64 a, U8x64 b),
		 vreinterpretq_u8_u16(vtrn2q_u16(vreinterpretq_u16_u8(a.v[i]), vreinterpretq_u16_u8(b.v[i]))))

/* The points of a run of 32 numbers (formats.h). */
LANE U8x64
b_points(const GridFormat format, const uint8_t *numbers, const uint8_t *planes)
{
	uint16_t points[32];

	grid_points_read(format, numbers, planes, points);
	return b_load((const uint8_t *) points);
}

/* 32 activations in turned order. */
LANE void
b_turn(const uint8_t *x, const uint32_t inputs, uint8_t *out)
{
	const uint8x16_t eight = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};
	const uint8x16_t four = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};

	for (int i = 0; i < 2; i++)
		vst1q_u8(out + 16 * i, vqtbl1q_u8(vld1q_u8(x + 16 * i), inputs == 8 ? eight : four));
}

/* Bit pair number pair (0 … 3) of each byte, moved to bits 0 and 1, and to bits 4 and 5. */
LANES_OP(U8x64, b_pair_to_0, (U8x64 a, int pair), vandq_u8(a.v[i] >> 2 * pair, vdupq_n_u8(3)))
LANES_OP(U8x64, b_pair_to_4, (U8x64 a, int pair),
		 vandq_u8(pair < 2 ? a.v[i] << (4 - 2 * pair) : a.v[i] >> (2 * pair - 4), vdupq_n_u8(0x30)))

/* Bit number bit (0 … 7) of each byte, moved to bit 2, and to bit 4. */
LANES_OP(U8x64, b_bit_to_2, (U8x64 a, int bit),
		 vandq_u8(bit < 2 ? a.v[i] << (2 - bit) : a.v[i] >> (bit - 2), vdupq_n_u8(4)))
LANES_OP(U8x64, b_bit_to_4, (U8x64 a, int bit),
		 vandq_u8(bit < 4 ? a.v[i] << (4 - bit) : a.v[i] >> (bit - 4), vdupq_n_u8(16)))

LANE U8x64
b_broadcast4(const uint8_t *p)
{
	uint32_t four;
	uint8x16_t all;

	memcpy(&four, p, 4);
	all = vreinterpretq_u8_u32(vdupq_n_u32(four));
	return (U8x64){{all, all, all, all}};
}

#ifdef LANES_SIGNED_PRODUCTS

/* Both sides as signed bytes. */
LANE int32x4_t
dot_signed(int32x4_t acc, uint8x16_t weights, uint8x16_t x)
{
	return vdotq_s32(acc, vreinterpretq_s8_u8(weights), vreinterpretq_s8_u8(x));
}

typedef I32x16 Dots;

LANE Dots
d_begin(I32x16 start)
{
	return start;
}
LANES_OP(Dots, d_add, (Dots dots, U8x64 weights, U8x64 x), dot_signed(dots.v[i], weights.v[i], x.v[i]))
LANE I32x16
d_total(Dots dots, I32x16 start)
{
	(void) start;
	return dots;
}

LANES_OP(I32x16, i_dot_biased, (I32x16 acc, U8x64 weights, U8x64 x),
		 dot_signed(acc.v[i], veorq_u8(weights.v[i], vdupq_n_u8(0x80)), x.v[i]))

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
