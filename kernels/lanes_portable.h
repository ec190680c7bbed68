/*
 * lanes_portable.h - sixteen lanes as plain C loops: the definition that the other versions are held against.
 *
 * What a primitive means is written here. f_: floats, i_: 32-bit integers, b_: 64 bytes (lane i has bytes 4 i … 4 i +
 * 3), d_: chains of dot products.
 */
#ifndef QWEN_LANES_H
#define QWEN_LANES_H

#include <math.h>

#define LANES_NAME "portable"
#define LANES_TABLE kernels_portable

typedef struct F32x16
{
	float v[16];
} F32x16;

typedef struct I32x16
{
	int32_t v[16];
} I32x16;

typedef struct U8x64
{
	uint8_t v[64];
} U8x64;

#define LANE static inline
#define LANE_GROUPS 2
#define LANE_SUMS 16
#define LANE_STEPS 1 /* steps of four inputs that one product takes */
#define LANES(i) for (unsigned i = 0; i < 16; i++)

/* A function of lanes with one expression for lane i. */
#define F_OP(name, arguments, expression)                                                                              \
	LANE F32x16 name arguments                                                                                         \
	{                                                                                                                  \
		F32x16 out;                                                                                                    \
		LANES(i) out.v[i] = (expression);                                                                              \
		return out;                                                                                                    \
	}

F_OP(f_zero, (void), 0.0f)
F_OP(f_set, (float x), x)
F_OP(f_load, (const float *p), p[i])
F_OP(f_load_first, (const float *p, unsigned n), i < n ? p[i] : 0.0f)
F_OP(f_add, (F32x16 a, F32x16 b), a.v[i] + b.v[i])
F_OP(f_sub, (F32x16 a, F32x16 b), a.v[i] - b.v[i])
F_OP(f_mul, (F32x16 a, F32x16 b), a.v[i] * b.v[i])
F_OP(f_div, (F32x16 a, F32x16 b), a.v[i] / b.v[i])
F_OP(f_fma, (F32x16 a, F32x16 b, F32x16 c), fmaf(a.v[i], b.v[i], c.v[i]))
F_OP(f_fnma, (F32x16 a, F32x16 b, F32x16 c), fmaf(-a.v[i], b.v[i], c.v[i]))
F_OP(f_max, (F32x16 a, F32x16 b), a.v[i] > b.v[i] ? a.v[i] : b.v[i])
F_OP(f_min, (F32x16 a, F32x16 b), a.v[i] < b.v[i] ? a.v[i] : b.v[i])
F_OP(f_abs, (F32x16 a), fabsf(a.v[i]))
F_OP(f_round, (F32x16 a), rintf(a.v[i]))
F_OP(f_zero_nan, (F32x16 a), a.v[i] == a.v[i] ? a.v[i] : 0.0f)
F_OP(f_first, (F32x16 a, unsigned n, F32x16 other), i < n ? a.v[i] : other.v[i])
F_OP(f_from_i32, (I32x16 a), (float) a.v[i])
F_OP(f_load_u8, (const uint8_t *p), (float) p[i])
F_OP(f_load_u8_low, (const uint8_t *p), (float) (p[i] & 15))
F_OP(f_load_u8_high, (const uint8_t *p), (float) (p[i] >> 4))
F_OP(f_load_s8, (const uint8_t *p), (float) (int8_t) p[i])

/* 2^(byte - 128), the smallest two as denormals */
LANE F32x16
f_load_exponent(const uint8_t *p)
{
	F32x16 out;

	LANES(i)
	{
		uint32_t bits = p[i] < 2 ? 0x00200000u << p[i] : (uint32_t) (p[i] - 1) << 23;

		memcpy(&out.v[i], &bits, 4);
	}
	return out;
}

LANE void
f_store(float *p, F32x16 a)
{
	LANES(i) p[i] = a.v[i];
}

LANE void
f_store_first(float *p, F32x16 a, unsigned n)
{
	LANES(i) if (i < n) p[i] = a.v[i];
}

LANE uint16_t
load_half(const void *p, unsigned i)
{
	uint16_t half;

	memcpy(&half, (const char *) p + 2 * i, 2);
	return half;
}

F_OP(f_load_f16, (const void *p), f16_to_f32(load_half(p, i)))
F_OP(f_round_f16, (F32x16 a), f16_to_f32(f32_to_f16(a.v[i])))
F_OP(f_load_bf16, (const void *p), bf16_to_f32(load_half(p, i)))

LANE void
f_store_f16(void *p, F32x16 a)
{
	LANES(i)
	{
		uint16_t half = f32_to_f16(a.v[i]);

		memcpy((char *) p + 2 * i, &half, 2);
	}
}

LANE I32x16
i_from_f32(F32x16 a)
{
	I32x16 out;

	/* what cvtps does with values that do not fit */
	LANES(i) out.v[i] = a.v[i] >= -0x1p31f && a.v[i] < 0x1p31f ? (int32_t) rintf(a.v[i]) : INT32_MIN;
	return out;
}

LANE F32x16
f_power_of_2(I32x16 n)
{
	F32x16 out;

	LANES(i)
	{
		uint32_t bits = (uint32_t) (n.v[i] + 127) << 23;

		memcpy(&out.v[i], &bits, 4);
	}
	return out;
}

/* Fold 16 lanes: 8, 4, 2, 1 (the order that all versions share). */
LANE float
f_sum(F32x16 a)
{
	for (unsigned width = 8; width > 0; width /= 2)
		for (unsigned i = 0; i < width; i++)
			a.v[i] = a.v[i] + a.v[i + width];
	return a.v[0];
}

LANE float
f_largest(F32x16 a)
{
	for (unsigned width = 8; width > 0; width /= 2)
		for (unsigned i = 0; i < width; i++)
			a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
	return a.v[0];
}

LANE I32x16
i_zero(void)
{
	return (I32x16){{0}};
}

LANE I32x16
i_add(I32x16 a, I32x16 b)
{
	I32x16 out;

	LANES(i) out.v[i] = (int32_t) ((uint32_t) a.v[i] + (uint32_t) b.v[i]);
	return out;
}

LANE int32_t
i_sum(I32x16 a)
{
	uint32_t sum = 0;

	LANES(i) sum += (uint32_t) a.v[i];
	return (int32_t) sum;
}

LANE void
i_store_s8(uint8_t *p, I32x16 a)
{
	LANES(i) p[i] = (uint8_t) (uint32_t) a.v[i];
}

/* Both halves of a pair of sums added up, in every lane. */
LANE I32x16
i_pair_sum(const int16_t *pair)
{
	I32x16 out;

	LANES(i) out.v[i] = pair[0] + pair[1];
	return out;
}

/* One half of a pair of sums, in every lane. */
LANE I32x16
i_pair_half(const int16_t *pair, uint32_t half)
{
	I32x16 out;

	LANES(i) out.v[i] = pair[half];
	return out;
}

/* -(a * 2^bits) */
LANE I32x16
i_negative_shifted(I32x16 a, int bits)
{
	LANES(i) a.v[i] = -(a.v[i] * (1 << bits));
	return a;
}

#define B_OP(name, arguments, expression)                                                                              \
	LANE U8x64 name arguments                                                                                          \
	{                                                                                                                  \
		U8x64 out;                                                                                                     \
		for (unsigned i = 0; i < 64; i++)                                                                              \
			out.v[i] = (uint8_t) (expression);                                                                         \
		return out;                                                                                                    \
	}

B_OP(b_load, (const uint8_t *p), p[i])
B_OP(b_low, (U8x64 a), a.v[i] & 15)
B_OP(b_high, (U8x64 a), a.v[i] >> 4)
B_OP(b_or, (U8x64 a, U8x64 b), a.v[i] | b.v[i])
B_OP(b_broadcast4, (const uint8_t *p), p[i % 4])

/* Bytes 0 … 15 to those of a table. */
B_OP(b_values, (const uint8_t table[16], U8x64 a), table[a.v[i]])

/* 128 - a where bit number bit (0 … 7) of the byte of signs is 1, else a. */
B_OP(b_turn_sign, (U8x64 a, U8x64 signs, int bit), signs.v[i] >> bit & 1 ? 128 - a.v[i] : a.v[i])

/* Bit pair number pair (0 … 3) of each byte, moved to bits 0 and 1. */
B_OP(b_pair_to_0, (U8x64 a, int pair), a.v[i] >> (2 * pair) & 3)

/* Bit pair number pair (0 … 3) of each byte, moved to bits 4 and 5. */
B_OP(b_pair_to_4, (U8x64 a, int pair), (a.v[i] >> (2 * pair) & 3) << 4)

/* Bit number bit (0 … 7) of each byte, moved to bit 2. */
B_OP(b_bit_to_2, (U8x64 a, int bit), (a.v[i] >> bit & 1) << 2)

/* Bit number bit (0 … 7) of each byte, moved to bit 4. */
B_OP(b_bit_to_4, (U8x64 a, int bit), (a.v[i] >> bit & 1) << 4)

/* Of each lane of both the first two bytes, and the last two. */
B_OP(b_join_low, (U8x64 a, U8x64 b), i % 4 < 2 ? a.v[i] : b.v[i - 2])
B_OP(b_join_high, (U8x64 a, U8x64 b), i % 4 < 2 ? a.v[i + 2] : b.v[i])

LANE void
b_store(uint8_t *p, U8x64 a)
{
	memcpy(p, a.v, 64);
}

/* The points of a run of 32 numbers (formats.h). */
LANE U8x64
b_points(const GridFormat format, const uint8_t *numbers, const uint8_t *planes)
{
	uint16_t points[32];
	U8x64 out;

	grid_points_read(format, numbers, planes, points);
	memcpy(out.v, points, 64);
	return out;
}

/* 32 activations in turned order: of each two points, pairs of inputs take turns. */
LANE void
b_turn(const uint8_t *x, const uint32_t inputs, uint8_t *out)
{
	for (uint32_t pair = 0; pair < 16; pair++)
	{
		uint32_t of_points = pair % inputs, from = pair - of_points;

		memcpy(out + 2 * pair, x + 2 * (from + of_points % 2 * (inputs / 2) + of_points / 2), 2);
	}
}

/* Sums of four products of unsigned weights and signed activations in each lane, onto acc. */
LANE I32x16
i_dot(I32x16 acc, U8x64 weights, U8x64 x)
{
	for (unsigned i = 0; i < 64; i++)
		acc.v[i / 4] += weights.v[i] * (int8_t) x.v[i];
	return acc;
}

/*
 * A chain of dot products that begins with start and ends with its total; the same start is to be given to both ends,
 * so that a version may add it where it likes. A chain holds at most 8 steps of weights up to 15, 4 up to 31, 2 up to
 * 64.
 */
typedef I32x16 Dots;

LANE Dots
d_begin(I32x16 start)
{
	return start;
}

LANE Dots
d_add(Dots dots, U8x64 weights, U8x64 x)
{
	return i_dot(dots, weights, x);
}

LANE I32x16
d_total(Dots dots, I32x16 start)
{
	(void) start;
	return dots;
}

/* For weights that hold w + 128: i_start_biased, then i_dot_biased for all steps. */
LANE I32x16
i_dot_biased(I32x16 acc, U8x64 weights, U8x64 x)
{
	return i_dot(acc, weights, x);
}

LANE I32x16
i_start_biased(const int16_t *pair)
{
	return i_negative_shifted(i_pair_sum(pair), 7);
}

/* The same from the start itself, -128 times the sum. */
LANE I32x16
i_start_ready(const int32_t *start)
{
	I32x16 out;

	LANES(i) out.v[i] = *start;
	return out;
}

#endif
