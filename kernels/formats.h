/*
 * formats.h - what the files of this room share: block structs of GGUF files and sizes of the packed tiles.
 *
 * Private to kernels/. A packed tile stands for 32 rows; its bytes stand in the order in which the kernels read them.
 * "Byte order of a step": 64 bytes hold 16 rows x 4 inputs, row r's four bytes at 4 r; two such runs (rows 0-15, 16-31)
 * a step.
 *
 *   Q4_0  per 32 inputs:  f16 d[32]; 4 steps of nibbles: low = inputs 4j … 4j+3, high = 16+4j …          576 bytes
 *   Q4_1  per 32 inputs:  f16 d[32]; f16 m[32]; nibbles as Q4_0                                          640
 *   Q5_0  per 32 inputs:  f16 d[32]; high bits; nibbles as Q4_0                                          704
 *   Q5_1  per 32 inputs:  f16 d[32]; f16 m[32]; high bits; nibbles as Q4_0                               768
 *   Q8_0  per 32 inputs:  f16 d[32]; 8 steps of bytes q + 128                                           1088
 *   IQ4_NL per 32 inputs: as Q4_0
 *   Q2_K  per 256 inputs: f16 d[32]; f16 dmin[32]; 8 x { u8 scale + 16 min[2][32]; bit pairs }           2688
 *   Q3_K  per 256 inputs: f16 d[32]; 8 x { s8 scale[2][32]; bit pairs; third bits }                      3648
 *   Q4_K  per 256 inputs: f16 d[32]; f16 dmin[32]; 8 x { u8 scale[32]; u8 min[32]; nibbles as Q4_0 }    4736
 *   Q5_K  per 256 inputs: as Q4_K, with high bits before the nibbles of each sub-block                   5760
 *   Q6_K  per 256 inputs: f16 d[32]; 8 x { s8 scale[2][32]; bit pairs (high bits); nibbles (low) }       6720
 *   IQ4_XS per 256 inputs: f16 d[32]; 4 x { s8 scale[2][32] (of two sub-blocks); 2 x nibbles as Q4_0 }   4416
 *   MXFP4 per 32 inputs:  nibbles as Q4_0; u8 exponent[32], of every other block before the nibbles      544
 *   IQ2, IQ3 per 256 inputs: f16 d[32]; scales; high bits of numbers; 8 x { signs; numbers of points }, see below:
 *             IQ2_XXS 2240, IQ2_XS 2496, IQ2_S 2624, IQ3_XXS 3264, IQ3_S 3520
 *   F32, F16, BF16: [n_cols][32] elements
 *
 * "High bits" (or "third bits") are 128 bytes: byte 4 r + i of the run of a row holds the fifth (third) bits of inputs
 * i, 4 + i … 28 + i, as bits 0 … 7. "Bit pairs" are 256 bytes: run h (0, 1) holds those of steps h, h + 2, h + 4, h +
 * 6, as pairs 0 … 3.
 *
 * IQ2 and IQ3: the quants of 8 (IQ2) or 4 (IQ3) inputs are the number of a point of a codebook, and stay one in a tile,
 * which so has the size of the file. A point is sixteen bits (grids.c): the magnitude of its input j is told by the
 * bits from 8 (j % 2) + 2 (j / 2) on (IQ3: 8 (j % 2) + 4 (j / 2)). So a row's two points fill its four bytes of a step,
 * and one look-up serves four steps (IQ3: two), whose weights are inputs 2 p and 2 p + 1 of the one point and of the
 * other: "turned" order, for which activations are turned, too (b_turn).
 *   scales   one a sub-block (IQ2_XXS, IQ3): 4 x u8[32], of two sub-blocks in the low and the high nibble;
 *            two (IQ2_XS, IQ2_S): 8 x u8[32], of the first half in the low nibble
 *   high bits of numbers that have more than 8: for each sub-block all bits 8, then all bits 9, in the numbers' order
 *   signs    as high bits, in turned order; 1 is negative
 *   numbers  u8, for each two points [32 rows][2]: 256 bytes of all, 128 of IQ2
 */
#ifndef QWEN_KERNEL_FORMATS_H
#define QWEN_KERNEL_FORMATS_H

#include <string.h>

#include "kernels.h"

typedef struct __attribute__((packed)) BlockQ4_0
{
	uint16_t d;
	uint8_t q[16]; /* input i in the low nibble of q[i], 16 + i in its high one; value - 8 */
} BlockQ4_0;

typedef BlockQ4_0 BlockIQ4_NL; /* values from iq4_table */

typedef struct __attribute__((packed)) BlockQ4_1
{
	uint16_t d, m;
	uint8_t q[16];
} BlockQ4_1;

typedef struct __attribute__((packed)) BlockQ5_0
{
	uint16_t d;
	uint32_t high; /* bit i: the fifth bit of input i */
	uint8_t q[16]; /* as Q4_0; value - 16 */
} BlockQ5_0;

typedef struct __attribute__((packed)) BlockQ5_1
{
	uint16_t d, m;
	uint32_t high;
	uint8_t q[16];
} BlockQ5_1;

typedef struct __attribute__((packed)) BlockQ8_0
{
	uint16_t d;
	int8_t q[32];
} BlockQ8_0;

typedef struct __attribute__((packed)) BlockQ4_K
{
	uint16_t d, dmin;
	uint8_t scales[12]; /* eight 6-bit scales and eight 6-bit mins */
	uint8_t q[128];     /* 4 groups of 32 bytes: low nibbles = sub-block 2g, high = 2g+1 */
} BlockQ4_K;

typedef struct __attribute__((packed)) BlockQ5_K
{
	uint16_t d, dmin;
	uint8_t scales[12]; /* as Q4_K */
	uint8_t high[32];   /* bit s of byte l: the fifth bit of input l of sub-block s */
	uint8_t q[128];     /* as Q4_K */
} BlockQ5_K;

typedef struct __attribute__((packed)) BlockQ6_K
{
	uint8_t low[128];
	uint8_t high[64];
	int8_t scales[16];
	uint16_t d;
} BlockQ6_K;

typedef struct __attribute__((packed)) BlockQ2_K
{
	uint8_t scales[16]; /* of 16 inputs each: the scale in the low nibble, the min in the high one */
	uint8_t q[64];      /* two halves of 128 inputs: bit pair p of byte l = input 32 p + l */
	uint16_t d, dmin;
} BlockQ2_K;

typedef struct __attribute__((packed)) BlockQ3_K
{
	uint8_t high[32];   /* bit s of byte l: the third bit of input l of sub-block s */
	uint8_t q[64];      /* as Q2_K; value - 4 */
	uint8_t scales[12]; /* sixteen 6-bit scales, each + 32 */
	uint16_t d;
} BlockQ3_K;

typedef struct __attribute__((packed)) BlockIQ4_XS
{
	uint16_t d;
	uint16_t scales_high; /* bit pair s: the high bits of sub-block s's scale, which is + 32 */
	uint8_t scales_low[4];
	uint8_t q[128]; /* 16 bytes a sub-block, as Q4_0; values from iq4_table */
} BlockIQ4_XS;

typedef struct __attribute__((packed)) BlockMXFP4
{
	uint8_t exponent; /* the scale is 2^(exponent - 128) */
	uint8_t q[16];    /* as Q4_0; values from mxfp4_table */
} BlockMXFP4;

typedef struct __attribute__((packed)) BlockIQ2_XXS
{
	uint16_t d;
	struct
	{
		uint8_t points[4];
		uint32_t signs_scale; /* four times seven signs, of which the parity is an eighth one; four bits of scale */
	} __attribute__((packed)) sub[8];
} BlockIQ2_XXS;

typedef struct __attribute__((packed)) BlockIQ2_XS
{
	uint16_t d;
	uint16_t points[32]; /* nine bits; seven signs, as IQ2_XXS */
	uint8_t scales[8];   /* of the halves of sub-block s */
} BlockIQ2_XS;

typedef struct __attribute__((packed)) BlockIQ2_S
{
	uint16_t d;
	uint8_t points[32];
	uint8_t signs[32];
	uint8_t high[8]; /* bit pair i of byte s: bits 8 and 9 of point 4 s + i */
	uint8_t scales[8];
} BlockIQ2_S;

typedef struct __attribute__((packed)) BlockIQ3_XXS
{
	uint16_t d;
	uint8_t points[64];
	uint32_t signs_scales[8]; /* as IQ2_XXS */
} BlockIQ3_XXS;

typedef struct __attribute__((packed)) BlockIQ3_S
{
	uint16_t d;
	uint8_t points[64];
	uint8_t high[8]; /* bit i of byte s: bit 8 of point 8 s + i */
	uint8_t signs[32];
	uint8_t scales[4]; /* of two sub-blocks */
} BlockIQ3_S;

#define TILE_Q4_0_BYTES 576
#define TILE_Q4_1_BYTES 640
#define TILE_Q5_0_BYTES 704
#define TILE_Q5_1_BYTES 768
#define TILE_Q8_0_BYTES 1088
#define TILE_Q2_K_SUB_BYTES 320
#define TILE_Q2_K_BYTES (128 + 8 * TILE_Q2_K_SUB_BYTES)
#define TILE_Q3_K_SUB_BYTES 448
#define TILE_Q3_K_BYTES (64 + 8 * TILE_Q3_K_SUB_BYTES)
#define TILE_IQ4_XS_PAIR_BYTES 1088 /* two sub-blocks */
#define TILE_IQ4_XS_BYTES (64 + 4 * TILE_IQ4_XS_PAIR_BYTES)
#define TILE_MXFP4_BYTES 544
#define TILE_IQ2_XXS_BYTES 2240
#define TILE_IQ2_XS_BYTES 2496
#define TILE_IQ2_S_BYTES 2624
#define TILE_IQ3_XXS_BYTES 3264
#define TILE_IQ3_S_BYTES 3520
#define TILE_Q4_K_SUB_BYTES 576
#define TILE_Q4_K_BYTES (128 + 8 * TILE_Q4_K_SUB_BYTES)
#define TILE_Q5_K_SUB_BYTES 704
#define TILE_Q5_K_BYTES (128 + 8 * TILE_Q5_K_SUB_BYTES)
#define TILE_Q6_K_SUB_BYTES 832
#define TILE_Q6_K_BYTES (64 + 8 * TILE_Q6_K_SUB_BYTES)

/*
 * The formats that are computed with, a row each, and nothing else tells which there are:
 *
 *   ROW(id, name, inputs of a block, bytes of a block in a file, bytes of a block of 32 rows in a tile, n_scales)
 *
 * The name stands in the functions that a row brings: NAME_expand, NAME_pack, NAME_unpack (format_*.c), and over the
 * lanes NAME_products (ops_formats.h; of floats NAME_weights). n_scales: of formats with sub-blocks, f16 numbers of a
 * row that stand in a tile before eight sub-blocks: d, or d and dmin.
 */
#define QUANTIZED_FORMATS(ROW)                                                                                         \
	ROW(Q4_0, q4_0, 32, 18, TILE_Q4_0_BYTES, 0)                                                                        \
	ROW(Q4_1, q4_1, 32, 20, TILE_Q4_1_BYTES, 0)                                                                        \
	ROW(Q5_0, q5_0, 32, 22, TILE_Q5_0_BYTES, 0)                                                                        \
	ROW(Q5_1, q5_1, 32, 24, TILE_Q5_1_BYTES, 0)                                                                        \
	ROW(Q8_0, q8_0, 32, 34, TILE_Q8_0_BYTES, 0)                                                                        \
	ROW(Q2_K, q2_k, 256, 84, TILE_Q2_K_BYTES, 2)                                                                       \
	ROW(Q3_K, q3_k, 256, 110, TILE_Q3_K_BYTES, 1)                                                                      \
	ROW(Q4_K, q4_k, 256, 144, TILE_Q4_K_BYTES, 2)                                                                      \
	ROW(Q5_K, q5_k, 256, 176, TILE_Q5_K_BYTES, 2)                                                                      \
	ROW(Q6_K, q6_k, 256, 210, TILE_Q6_K_BYTES, 1)                                                                      \
	ROW(IQ4_NL, iq4_nl, 32, 18, TILE_Q4_0_BYTES, 0)                                                                    \
	ROW(IQ4_XS, iq4_xs, 256, 136, TILE_IQ4_XS_BYTES, 1)                                                                \
	ROW(MXFP4, mxfp4, 32, 17, TILE_MXFP4_BYTES, 0)                                                                     \
	ROW(IQ2_XXS, iq2_xxs, 256, 66, TILE_IQ2_XXS_BYTES, 1)                                                              \
	ROW(IQ2_XS, iq2_xs, 256, 74, TILE_IQ2_XS_BYTES, 1)                                                                 \
	ROW(IQ2_S, iq2_s, 256, 82, TILE_IQ2_S_BYTES, 1)                                                                    \
	ROW(IQ3_XXS, iq3_xxs, 256, 98, TILE_IQ3_XXS_BYTES, 1)                                                              \
	ROW(IQ3_S, iq3_s, 256, 110, TILE_IQ3_S_BYTES, 1)

/*
 * What weights that are unpacked once for several tokens become: f32 scale[32] (of halves: [2][32]) and eight steps of
 * bytes in the order of Q8_0, for a block of 32 inputs.
 *
 *   ROW(name, halves: a scale for each half of a block, log2 of what the bytes have more than the weights, how many
 * steps of them a chain of dot products may have)
 */
#define UNPACKED_SHAPES(ROW)                                                                                           \
	ROW(three_bits, true, 2, 4)                                                                                        \
	ROW(points, false, 6, 1)                                                                                           \
	ROW(points_in_halves, true, 6, 1)

/*
 * The formats for which that is faster: ROW(id, name, halves, shape). The name stands in NAME_unpack_block
 * (ops_unpacked.h).
 */
#define UNPACKED_FORMATS(ROW)                                                                                          \
	ROW(Q3_K, q3_k, true, three_bits)                                                                                  \
	ROW(IQ2_XXS, iq2_xxs, false, points)                                                                               \
	ROW(IQ2_XS, iq2_xs, true, points_in_halves)                                                                        \
	ROW(IQ2_S, iq2_s, true, points_in_halves)                                                                          \
	ROW(IQ3_XXS, iq3_xxs, false, points)                                                                               \
	ROW(IQ3_S, iq3_s, false, points)

/* The same for floats, whose blocks are one number. */
#define FLOAT_FORMATS(ROW)                                                                                             \
	ROW(F32, f32, 1, 4, 4 * TILE_ROWS)                                                                                 \
	ROW(F16, f16, 1, 2, 2 * TILE_ROWS)                                                                                 \
	ROW(BF16, bf16, 1, 2, 2 * TILE_ROWS)

/* Known, so that an error can name them: ROW(id, inputs of a block, its bytes) */
#define KNOWN_FORMATS(ROW)                                                                                             \
	ROW(IQ1_S, 256, 50)                                                                                                \
	ROW(IQ1_M, 256, 56)                                                                                                \
	ROW(TQ1_0, 256, 54)                                                                                                \
	ROW(TQ2_0, 256, 66)

typedef struct TensorFormat
{
	TensorTypeInfo info;
	bool takes_panels;
	size_t tile_block_bytes;

	/* The values of one block of a file (any alignment). */
	void (*expand)(const uint8_t *source, float *out);

	/* One block of each of n_rows (1 … TILE_ROWS) rows, row_bytes apart, into a tile's block of zeros. */
	void (*pack)(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile);

	/* The values of one row of a tile's block, exactly as expand() gives them. */
	void (*unpack)(const uint8_t *tile, uint32_t row, float *out);
} TensorFormat;

#define DECLARE_FORMAT(id, name, ...)                                                                                  \
	extern void name##_expand(const uint8_t *source, float *out);                                                      \
	extern void name##_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile);                  \
	extern void name##_unpack(const uint8_t *tile, uint32_t row, float *out);
FLOAT_FORMATS(DECLARE_FORMAT)
QUANTIZED_FORMATS(DECLARE_FORMAT)

/* What quants of four bits stand for: of IQ4_NL and IQ4_XS, + 128; of MXFP4, + 16 */
extern const uint8_t iq4_table[16];
extern const uint8_t mxfp4_table[16];

/* The codebooks, aligned to 64 bytes, and what the numbers in a point stand for, + 64 (16 bytes, for b_values). */
extern const uint16_t grid_iq2_xxs[256], grid_iq2_xs[512], grid_iq2_s[1024], grid_iq3_xxs[256], grid_iq3_s[512];
extern const uint8_t grid_iq2_magnitudes[16], grid_iq3_xxs_magnitudes[16], grid_iq3_s_magnitudes[16];

/* What tells one of these formats from the others. */
typedef struct GridFormat
{
	const uint16_t *points;
	uint32_t n_bits; /* of a point's number */
	uint32_t inputs; /* of a point */
	bool halves;     /* a scale for each half of a sub-block */
	float unit;      /* a scale is d * unit * (2 * its four bits + 1) */
	const uint8_t *magnitudes;
} GridFormat;

#define GRID_IQ2_XXS ((GridFormat){grid_iq2_xxs, 8, 8, false, 0.125f, grid_iq2_magnitudes})
#define GRID_IQ2_XS ((GridFormat){grid_iq2_xs, 9, 8, true, 0.125f, grid_iq2_magnitudes})
#define GRID_IQ2_S ((GridFormat){grid_iq2_s, 10, 8, true, 0.125f, grid_iq2_magnitudes})
#define GRID_IQ3_XXS ((GridFormat){grid_iq3_xxs, 8, 4, false, 0.25f, grid_iq3_xxs_magnitudes})
#define GRID_IQ3_S ((GridFormat){grid_iq3_s, 9, 4, false, 1.0f, grid_iq3_s_magnitudes})

/* Where what they have stands in a tile's block, behind d. */
static inline size_t
grid_scales_bytes(const GridFormat format)
{
	return format.halves ? 256 : 128;
}

/* The high bits of the numbers of one sub-block: so many bytes for each bit. */
static inline size_t
grid_plane_bytes(const GridFormat format)
{
	return 4 * 32 / format.inputs;
}

static inline size_t
grid_planes_bytes(const GridFormat format)
{
	return 8 * (format.n_bits - 8) * grid_plane_bytes(format);
}

/* Signs and numbers of one sub-block. */
static inline size_t
grid_sub_bytes(const GridFormat format)
{
	return 128 + 32 * 32 / format.inputs;
}

/* The points of one run of 32 numbers; planes: where the run's bits 8 stand, and plane_bytes on bits 9. */
static inline void
grid_points_read(const GridFormat format, const uint8_t *numbers, const uint8_t *planes, uint16_t points[32])
{
	uint32_t high[2] = {0, 0};

	for (uint32_t bit = 8; bit < format.n_bits; bit++)
		memcpy(&high[bit - 8], planes + (bit - 8) * grid_plane_bytes(format), 4);
	for (uint32_t i = 0; i < 32; i++)
	{
		uint32_t number = numbers[i];

		for (uint32_t bit = 8; bit < format.n_bits; bit++, high[bit - 9] >>= 1)
			number |= (high[bit - 8] & 1) << bit;
		points[i] = format.points[number];
	}
}

extern const Kernels kernels_portable;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avxvnni;
extern const Kernels kernels_avx512;
extern const Kernels kernels_neon;
extern const Kernels kernels_i8mm;

#endif
