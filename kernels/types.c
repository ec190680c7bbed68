/*
 * types.c - GGUF's tensor types: sizes, names, and the exact expansion of one row of a file to float.
 *
 * The block layouts are facts of the file format (ggml's quantization formats). Packing is in pack.c.
 */
#include <math.h>
#include <string.h>

#include "formats.h"

static const TensorTypeInfo type_table[] = {
	{TENSOR_F32, "F32", 1, 4, true},          {TENSOR_F16, "F16", 1, 2, true},
	{TENSOR_Q4_0, "Q4_0", 32, 18, true},      {TENSOR_Q4_1, "Q4_1", 32, 20, true},
	{TENSOR_Q5_0, "Q5_0", 32, 22, false},     {TENSOR_Q5_1, "Q5_1", 32, 24, false},
	{TENSOR_Q8_0, "Q8_0", 32, 34, true},      {TENSOR_Q2_K, "Q2_K", 256, 84, false},
	{TENSOR_Q3_K, "Q3_K", 256, 110, false},   {TENSOR_Q4_K, "Q4_K", 256, 144, true},
	{TENSOR_Q5_K, "Q5_K", 256, 176, false},   {TENSOR_Q6_K, "Q6_K", 256, 210, true},
	{TENSOR_IQ4_NL, "IQ4_NL", 32, 18, false}, {TENSOR_IQ4_XS, "IQ4_XS", 256, 136, false},
	{TENSOR_BF16, "BF16", 1, 2, true},
};

const TensorTypeInfo *
tensor_type_info(uint32_t type)
{
	for (size_t i = 0; i < sizeof type_table / sizeof type_table[0]; i++)
		if ((uint32_t) type_table[i].type == type)
			return &type_table[i];
	return NULL;
}

size_t
tensor_row_bytes(const TensorTypeInfo *info, uint32_t n_cols)
{
	return (size_t) (n_cols / info->block_elements) * info->block_bytes;
}

bool
tensor_type_takes_panels(TensorType type)
{
	return type != TENSOR_F32 && type != TENSOR_F16 && type != TENSOR_BF16;
}

float
f16_to_f32(uint16_t half)
{
	uint32_t sign = (uint32_t) (half & 0x8000) << 16;
	uint32_t exponent = half >> 10 & 0x1F;
	uint32_t mantissa = half & 0x3FF;
	uint32_t bits;
	float value;

	if (exponent == 0)
	{
		value = (float) mantissa * 0x1p-24f; /* zero and subnormals, exact */
		return sign ? -value : value;
	}
	if (exponent == 31)
		bits = sign | 0x7F800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
	else
		bits = sign | (exponent + 112) << 23 | mantissa << 13;
	memcpy(&value, &bits, sizeof value);
	return value;
}

uint16_t
f32_to_f16(float value)
{
	uint32_t bits, magnitude;
	uint16_t sign;

	memcpy(&bits, &value, sizeof bits);
	sign = (uint16_t) (bits >> 16 & 0x8000);
	magnitude = bits & 0x7FFFFFFF;
	if (magnitude > 0x7F800000) /* NaN: quiet, upper payload kept, as vcvtps2ph */
		return (uint16_t) (sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
	if (magnitude >= 0x477FF000) /* rounds to infinity */
		return sign | 0x7C00;
	if (magnitude < 0x38800000)
	{
		/* subnormal result: let the FPU round at the right place */
		float scaled = fabsf(value) * 0x1p24f;

		return (uint16_t) (sign | (uint16_t) (int) nearbyintf(scaled));
	}
	magnitude += 0xFFF + (magnitude >> 13 & 1);
	return (uint16_t) (sign | (uint16_t) ((magnitude >> 13) - (112u << 10)));
}

float
bf16_to_f32(uint16_t half)
{
	uint32_t bits = (uint32_t) half << 16;
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

void
q4_k_scale_min(const BlockQ4_K *block, int j, uint8_t *scale, uint8_t *min)
{
	const uint8_t *s = block->scales;

	if (j < 4)
	{
		*scale = s[j] & 63;
		*min = s[j + 4] & 63;
		return;
	}
	*scale = (uint8_t) ((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
	*min = (uint8_t) ((s[j + 4] >> 4) | (s[j] >> 6) << 4);
}

uint8_t
q4_k_quant(const BlockQ4_K *block, uint32_t i)
{
	uint8_t pair = block->q[i / 64 * 32 + i % 32];

	return i % 64 < 32 ? pair & 15 : pair >> 4;
}

uint8_t
q6_k_quant(const BlockQ6_K *block, uint32_t i)
{
	uint32_t half = i / 128, group = i % 128 / 32, l = i % 32;
	uint8_t pair = block->low[64 * half + 32 * (group & 1) + l];
	uint8_t low = group < 2 ? pair & 15 : pair >> 4;

	return (uint8_t) (low | (block->high[32 * half + l] >> (2 * group) & 3) << 4);
}

/* Expand the blocks of 32 of one row. */
static void
dequantize_small_blocks(TensorType type, const uint8_t *row, uint32_t n_cols, float *out)
{
	for (uint32_t b = 0; b < n_cols / 32; b++, out += 32)
	{
		if (type == TENSOR_Q8_0)
		{
			BlockQ8_0 block;

			memcpy(&block, row + b * sizeof block, sizeof block);
			for (int i = 0; i < 32; i++)
				out[i] = f16_to_f32(block.d) * (float) block.q[i];
			continue;
		}
		BlockQ4_1 block = {0, 0, {0}};
		bool has_min = type == TENSOR_Q4_1;

		if (has_min)
			memcpy(&block, row + b * sizeof(BlockQ4_1), sizeof(BlockQ4_1));
		else
		{
			memcpy(&block.d, row + b * sizeof(BlockQ4_0), 2);
			memcpy(block.q, row + b * sizeof(BlockQ4_0) + 2, 16);
		}
		for (int i = 0; i < 32; i++)
		{
			int q = i < 16 ? block.q[i] & 15 : block.q[i - 16] >> 4;

			out[i] =
				has_min ? (float) q * f16_to_f32(block.d) + f16_to_f32(block.m) : (float) (q - 8) * f16_to_f32(block.d);
		}
	}
}

/* Expand the blocks of 256 of one row. */
static void
dequantize_k_blocks(TensorType type, const uint8_t *row, uint32_t n_cols, float *out)
{
	for (uint32_t b = 0; b < n_cols / K_BLOCK; b++, out += K_BLOCK)
	{
		if (type == TENSOR_Q4_K)
		{
			BlockQ4_K block;

			memcpy(&block, row + b * sizeof block, sizeof block);
			for (uint32_t i = 0; i < K_BLOCK; i++)
			{
				uint8_t scale, min;

				q4_k_scale_min(&block, (int) (i / 32), &scale, &min);
				out[i] = f16_to_f32(block.d) * scale * (float) q4_k_quant(&block, i) - f16_to_f32(block.dmin) * min;
			}
		}
		else
		{
			BlockQ6_K block;

			memcpy(&block, row + b * sizeof block, sizeof block);
			for (uint32_t i = 0; i < K_BLOCK; i++)
				out[i] = f16_to_f32(block.d) * (float) block.scales[i / 16] * (float) (q6_k_quant(&block, i) - 32);
		}
	}
}

void
dequantize_row(TensorType type, const void *row, uint32_t n_cols, float *out)
{
	const uint8_t *bytes = row;

	switch (type)
	{
		case TENSOR_F32:
			memcpy(out, row, (size_t) n_cols * 4);
			return;
		case TENSOR_F16:
		case TENSOR_BF16:
			for (uint32_t i = 0; i < n_cols; i++)
			{
				uint16_t half;

				memcpy(&half, bytes + (size_t) i * 2, 2);
				out[i] = type == TENSOR_F16 ? f16_to_f32(half) : bf16_to_f32(half);
			}
			return;
		case TENSOR_Q4_K:
		case TENSOR_Q6_K:
			dequantize_k_blocks(type, bytes, n_cols, out);
			return;
		default:
			dequantize_small_blocks(type, bytes, n_cols, out);
			return;
	}
}
