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
 *   F32, F16, BF16: [n_cols][32] elements
 *
 * "High bits" (or "third bits") are 128 bytes: byte 4 r + i of the run of a row holds the fifth (third) bits of inputs
 * i, 4 + i … 28 + i, as bits 0 … 7. "Bit pairs" are 256 bytes: run h (0, 1) holds those of steps h, h + 2, h + 4, h +
 * 6, as pairs 0 … 3.
 */
#ifndef QWEN_KERNEL_FORMATS_H
#define QWEN_KERNEL_FORMATS_H

#include "kernels.h"

typedef struct __attribute__((packed)) BlockQ4_0
{
	uint16_t d;
	uint8_t q[16]; /* input i in the low nibble of q[i], 16 + i in its high one; value - 8 */
} BlockQ4_0;

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
	uint8_t q[128]; /* 16 bytes a sub-block, as Q4_0; values from iq4_values */
} BlockIQ4_XS;

#define K_BLOCK 256
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
#define TILE_Q4_K_SUB_BYTES 576
#define TILE_Q4_K_BYTES (128 + 8 * TILE_Q4_K_SUB_BYTES)
#define TILE_Q5_K_SUB_BYTES 704
#define TILE_Q5_K_BYTES (128 + 8 * TILE_Q5_K_SUB_BYTES)
#define TILE_Q6_K_SUB_BYTES 832
#define TILE_Q6_K_BYTES (64 + 8 * TILE_Q6_K_SUB_BYTES)

/* What the quants of IQ4_NL and IQ4_XS stand for. */
extern const int8_t iq4_values[16];

/* One block of 32 inputs (Q4_0 … Q5_1, Q8_0, IQ4_NL) taken apart; m is 0 where the type has none. Q8_0's quants are q +
 * 128. */
typedef struct SmallBlock
{
	uint16_t d, m;
	uint8_t quants[32];
} SmallBlock;

/* Take apart the block that stands at source. */
extern SmallBlock small_block_read(TensorType type, const uint8_t *source);

/* Its 32 values. */
extern void small_block_expand(TensorType type, const SmallBlock *block, float *out);

/* The 32 values of a sub-block of Q4_K or Q5_K. */
extern void k_sub_block_expand(float d, float dmin, uint8_t scale, uint8_t min, const uint8_t quants[32], float *out);

/* 32 quants from 16 bytes of nibbles (the low ones first) and 32 fifth bits. */
extern void nibbles_read(const uint8_t *nibbles, uint32_t high, uint8_t quants[32]);

/* The 32 values of a (sub-)block of IQ4_NL or IQ4_XS. */
extern void iq4_expand(float scale, const uint8_t quants[32], float *out);

/* 16 values of Q2_K or Q3_K: scale * (quant - offset) - min. */
extern void half_sub_block_expand(float scale, float min, const uint8_t quants[16], int offset, float *out);

/* Quants of sub-block s (0 … 7): the bit pairs of Q2_K and Q3_K; with the third bit. */
extern void q2_k_quants(const uint8_t q[64], uint32_t s, uint8_t quants[32]);
extern void q3_k_quants(const BlockQ3_K *block, uint32_t s, uint8_t quants[32]);

/* Scale (-32 … 31) of 16 inputs number j of a Q3_K block; of sub-block s of an IQ4_XS block. */
extern int q3_k_scale(const BlockQ3_K *block, uint32_t j);
extern int iq4_xs_scale(const BlockIQ4_XS *block, uint32_t s);

/* What a quant of a type without minimums has added to it. */
extern int quant_offset(TensorType type);

/* Scale and min of sub-block j (0 … 7) from the twelve bytes of a Q4_K or Q5_K block. */
extern void k_scale_min(const uint8_t scales[12], int j, uint8_t *scale, uint8_t *min);

/* Quants of sub-block s (0 … 7) of a Q4_K (0 … 15), Q5_K (0 … 31) or Q6_K (0 … 63, value + 32) block. */
extern void q4_k_quants(const BlockQ4_K *block, uint32_t s, uint8_t quants[32]);
extern void q5_k_quants(const BlockQ5_K *block, uint32_t s, uint8_t quants[32]);
extern void q6_k_quants(const BlockQ6_K *block, uint32_t s, uint8_t quants[32]);

extern const Kernels kernels_portable;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const Kernels kernels_neon;

#endif
