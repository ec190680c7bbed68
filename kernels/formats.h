/*
 * formats.h - what the files of this room share: block structs of GGUF files and sizes of the packed tiles.
 *
 * Private to kernels/. A packed tile stands for 32 rows; its bytes stand in the order in which the kernels read them.
 * "Byte order of a step": 64 bytes hold 16 rows x 4 inputs, row r's four bytes at 4 r; two such runs (rows 0-15, 16-31)
 * a step.
 *
 *   Q4_0  per 32 inputs:  f16 d[32]; 4 steps of nibbles: low = inputs 4j … 4j+3, high = 16+4j …          576 bytes
 *   Q4_1  per 32 inputs:  f16 d[32]; f16 m[32]; nibbles as Q4_0                                          640
 *   Q8_0  per 32 inputs:  f16 d[32]; 8 steps of bytes q + 128                                           1088
 *   Q4_K  per 256 inputs: f16 d[32]; f16 dmin[32]; 8 x { u8 scale[32]; u8 min[32]; nibbles as Q4_0 }    4736
 *   Q6_K  per 256 inputs: f16 d[32]; 8 x { s8 scale[2][32]; 256 bytes of high bits; 512 of low nibbles } 6720
 *   F32, F16, BF16: [n_cols][32] elements
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

typedef struct __attribute__((packed)) BlockQ6_K
{
	uint8_t low[128];
	uint8_t high[64];
	int8_t scales[16];
	uint16_t d;
} BlockQ6_K;

#define K_BLOCK 256
#define TILE_Q4_0_BYTES 576
#define TILE_Q4_1_BYTES 640
#define TILE_Q8_0_BYTES 1088
#define TILE_Q4_K_SUB_BYTES 576
#define TILE_Q4_K_BYTES (128 + 8 * TILE_Q4_K_SUB_BYTES)
#define TILE_Q6_K_SUB_BYTES 832
#define TILE_Q6_K_BYTES (64 + 8 * TILE_Q6_K_SUB_BYTES)

/* Scale and min of sub-block j (0 … 7) of a Q4_K block. */
extern void q4_k_scale_min(const BlockQ4_K *block, int j, uint8_t *scale, uint8_t *min);

/* Quant (0 … 63, value + 32) of input i (0 … 255) of a Q6_K block. */
extern uint8_t q6_k_quant(const BlockQ6_K *block, uint32_t i);

/* Quant (0 … 15) of input i of a Q4_K block. */
extern uint8_t q4_k_quant(const BlockQ4_K *block, uint32_t i);

extern const Kernels kernels_portable;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;

#endif
