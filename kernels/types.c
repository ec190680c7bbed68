/*
 * types.c - GGUF's tensor types: sizes, names, and the exact expansion of one row of a file to float.
 *
 * The block layouts are facts of the file format (ggml's quantization formats). Packing is in pack.c.
 */
#include <math.h>
#include <string.h>

#include "formats.h"

/* clang-format off */
static const TensorTypeInfo type_table[] = {
	{TENSOR_F32, "F32", 1, 4, true},
	{TENSOR_F16, "F16", 1, 2, true},
	{TENSOR_BF16, "BF16", 1, 2, true},
	{TENSOR_Q4_0, "Q4_0", 32, 18, true},
	{TENSOR_Q4_1, "Q4_1", 32, 20, true},
	{TENSOR_Q5_0, "Q5_0", 32, 22, true},
	{TENSOR_Q5_1, "Q5_1", 32, 24, true},
	{TENSOR_Q8_0, "Q8_0", 32, 34, true},
	{TENSOR_Q2_K, "Q2_K", 256, 84, true},
	{TENSOR_Q3_K, "Q3_K", 256, 110, true},
	{TENSOR_Q4_K, "Q4_K", 256, 144, true},
	{TENSOR_Q5_K, "Q5_K", 256, 176, true},
	{TENSOR_Q6_K, "Q6_K", 256, 210, true},
	{TENSOR_IQ4_NL, "IQ4_NL", 32, 18, true},
	{TENSOR_IQ4_XS, "IQ4_XS", 256, 136, true},
	/* known, so that an error can name them */
	{TENSOR_IQ2_XXS, "IQ2_XXS", 256, 66, false},
	{TENSOR_IQ2_XS, "IQ2_XS", 256, 74, false},
	{TENSOR_IQ3_XXS, "IQ3_XXS", 256, 98, false},
	{TENSOR_IQ1_S, "IQ1_S", 256, 50, false},
	{TENSOR_IQ3_S, "IQ3_S", 256, 110, false},
	{TENSOR_IQ2_S, "IQ2_S", 256, 82, false},
	{TENSOR_IQ1_M, "IQ1_M", 256, 56, false},
	{TENSOR_TQ1_0, "TQ1_0", 256, 54, false},
	{TENSOR_TQ2_0, "TQ2_0", 256, 66, false},
	{TENSOR_MXFP4, "MXFP4", 32, 17, false},
};
/* clang-format on */

const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

const TensorTypeInfo *
tensor_type_info(uint32_t type)
{
	for (size_t i = 0; i < sizeof type_table / sizeof type_table[0]; i++)
		if ((uint32_t) type_table[i].type == type)
			return &type_table[i];
	return NULL;
}

bool
kv_type_by_name(const char *name, KvType *type)
{
	static const char *const names[] = {[KV_F16] = "f16", [KV_F32] = "f32", [KV_Q8_0] = "q8_0"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(names[i], name) == 0)
		{
			*type = (KvType) i;
			return true;
		}
	return false;
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

int
quant_offset(TensorType type)
{
	switch (type)
	{
		case TENSOR_Q4_0:
			return 8;
		case TENSOR_Q5_0:
			return 16;
		case TENSOR_Q8_0:
			return 128;
		default:
			return 0;
	}
}

void
nibbles_read(const uint8_t *nibbles, uint32_t high, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
	{
		uint8_t low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;

		quants[i] = (uint8_t) (low | (high >> i & 1) << 4);
	}
}

SmallBlock
small_block_read(TensorType type, const uint8_t *source)
{
	SmallBlock out = {0};
	bool has_min = type == TENSOR_Q4_1 || type == TENSOR_Q5_1;
	uint32_t high = 0;

	memcpy(&out.d, source, 2);
	if (has_min)
		memcpy(&out.m, source + 2, 2);
	source += has_min ? 4 : 2;
	if (type == TENSOR_Q8_0)
	{
		for (uint32_t i = 0; i < 32; i++)
			out.quants[i] = source[i] ^ 0x80;
		return out;
	}
	if (type == TENSOR_Q5_0 || type == TENSOR_Q5_1)
	{
		memcpy(&high, source, 4);
		source += 4;
	}
	nibbles_read(source, high, out.quants);
	return out;
}

void
q2_k_quants(const uint8_t q[64], uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] = q[s / 4 * 32 + i] >> (s % 4 * 2) & 3;
}

void
q3_k_quants(const BlockQ3_K *block, uint32_t s, uint8_t quants[32])
{
	q2_k_quants(block->q, s, quants);
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((block->high[i] >> s & 1) << 2);
}

int
q3_k_scale(const BlockQ3_K *block, uint32_t j)
{
	int low = block->scales[j % 8] >> (j / 8 * 4) & 15;
	int high = block->scales[8 + j % 4] >> (j / 4 * 2) & 3;

	return (low | high << 4) - 32;
}

int
iq4_xs_scale(const BlockIQ4_XS *block, uint32_t s)
{
	int low = block->scales_low[s / 2] >> (s % 2 * 4) & 15;

	return (low | (block->scales_high >> (2 * s) & 3) << 4) - 32;
}

void
k_scale_min(const uint8_t scales[12], int j, uint8_t *scale, uint8_t *min)
{
	if (j < 4)
	{
		*scale = scales[j] & 63;
		*min = scales[j + 4] & 63;
		return;
	}
	*scale = (uint8_t) ((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
	*min = (uint8_t) ((scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
}

void
q4_k_quants(const BlockQ4_K *block, uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] = s % 2 == 0 ? block->q[s / 2 * 32 + i] & 15 : block->q[s / 2 * 32 + i] >> 4;
}

void
q5_k_quants(const BlockQ5_K *block, uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
	{
		uint8_t low = s % 2 == 0 ? block->q[s / 2 * 32 + i] & 15 : block->q[s / 2 * 32 + i] >> 4;

		quants[i] = (uint8_t) (low | (block->high[i] >> s & 1) << 4);
	}
}

void
q6_k_quants(const BlockQ6_K *block, uint32_t s, uint8_t quants[32])
{
	const uint8_t *low = block->low + s / 4 * 64 + s % 2 * 32, *high = block->high + s / 4 * 32;

	for (uint32_t i = 0; i < 32; i++)
		quants[i] = (uint8_t) ((low[i] >> s % 4 / 2 * 4 & 15) | (high[i] >> s % 4 * 2 & 3) << 4);
}

void
iq4_expand(float scale, const uint8_t quants[32], float *out)
{
	for (int i = 0; i < 32; i++)
		out[i] = scale * (float) iq4_values[quants[i]];
}

void
small_block_expand(TensorType type, const SmallBlock *block, float *out)
{
	float d = f16_to_f32(block->d), m = f16_to_f32(block->m);
	bool has_min = type == TENSOR_Q4_1 || type == TENSOR_Q5_1;
	int offset = quant_offset(type);

	if (type == TENSOR_IQ4_NL)
	{
		iq4_expand(d, block->quants, out);
		return;
	}
	for (int i = 0; i < 32; i++)
		out[i] = has_min ? (float) block->quants[i] * d + m : (float) (block->quants[i] - offset) * d;
}

void
k_sub_block_expand(float d, float dmin, uint8_t scale, uint8_t min, const uint8_t quants[32], float *out)
{
	for (int i = 0; i < 32; i++)
		out[i] = d * scale * (float) quants[i] - dmin * min;
}

void
half_sub_block_expand(float scale, float min, const uint8_t quants[16], int offset, float *out)
{
	for (int i = 0; i < 16; i++)
		out[i] = scale * (float) (quants[i] - offset) - min;
}

static void
dequantize_q2_k(const uint8_t *source, float *out)
{
	BlockQ2_K block;
	uint8_t quants[32];

	memcpy(&block, source, sizeof block);
	for (uint32_t j = 0; j < 16; j++)
	{
		q2_k_quants(block.q, j / 2, quants);
		half_sub_block_expand(f16_to_f32(block.d) * (float) (block.scales[j] & 15),
							  f16_to_f32(block.dmin) * (float) (block.scales[j] >> 4), quants + j % 2 * 16, 0,
							  out + j * 16);
	}
}

static void
dequantize_q3_k(const uint8_t *source, float *out)
{
	BlockQ3_K block;
	uint8_t quants[32];

	memcpy(&block, source, sizeof block);
	for (uint32_t j = 0; j < 16; j++)
	{
		q3_k_quants(&block, j / 2, quants);
		half_sub_block_expand(f16_to_f32(block.d) * (float) q3_k_scale(&block, j), 0, quants + j % 2 * 16, 4,
							  out + j * 16);
	}
}

static void
dequantize_iq4_xs(const uint8_t *source, float *out)
{
	BlockIQ4_XS block;
	uint8_t quants[32];

	memcpy(&block, source, sizeof block);
	for (uint32_t s = 0; s < 8; s++)
	{
		nibbles_read(block.q + s * 16, 0, quants);
		iq4_expand(f16_to_f32(block.d) * (float) iq4_xs_scale(&block, s), quants, out + s * 32);
	}
}

static void
dequantize_q4_k(const uint8_t *source, float *out)
{
	BlockQ4_K block;
	uint8_t quants[32], scale, min;

	memcpy(&block, source, sizeof block);
	for (uint32_t s = 0; s < 8; s++)
	{
		k_scale_min(block.scales, (int) s, &scale, &min);
		q4_k_quants(&block, s, quants);
		k_sub_block_expand(f16_to_f32(block.d), f16_to_f32(block.dmin), scale, min, quants, out + s * 32);
	}
}

static void
dequantize_q5_k(const uint8_t *source, float *out)
{
	BlockQ5_K block;
	uint8_t quants[32], scale, min;

	memcpy(&block, source, sizeof block);
	for (uint32_t s = 0; s < 8; s++)
	{
		k_scale_min(block.scales, (int) s, &scale, &min);
		q5_k_quants(&block, s, quants);
		k_sub_block_expand(f16_to_f32(block.d), f16_to_f32(block.dmin), scale, min, quants, out + s * 32);
	}
}

static void
dequantize_q6_k(const uint8_t *source, float *out)
{
	BlockQ6_K block;

	memcpy(&block, source, sizeof block);
	for (uint32_t s = 0; s < 8; s++)
	{
		uint8_t quants[32];

		q6_k_quants(&block, s, quants);
		for (uint32_t i = 0; i < 32; i++)
			/* NOLINTNEXTLINE(bugprone-integer-division): the number of a scale */
			out[s * 32 + i] = f16_to_f32(block.d) * (float) block.scales[2 * s + i / 16] * (float) (quants[i] - 32);
	}
}

void
dequantize_row(TensorType type, const void *row, uint32_t n_cols, float *out)
{
	const TensorTypeInfo *info = tensor_type_info(type);
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
		default:
			break;
	}
	for (uint32_t b = 0; b < n_cols / info->block_elements; b++)
	{
		const uint8_t *source = bytes + (size_t) b * info->block_bytes;
		float *to = out + (size_t) b * info->block_elements;

		switch (type)
		{
			case TENSOR_Q2_K:
				dequantize_q2_k(source, to);
				break;
			case TENSOR_Q3_K:
				dequantize_q3_k(source, to);
				break;
			case TENSOR_Q4_K:
				dequantize_q4_k(source, to);
				break;
			case TENSOR_Q5_K:
				dequantize_q5_k(source, to);
				break;
			case TENSOR_Q6_K:
				dequantize_q6_k(source, to);
				break;
			case TENSOR_IQ4_XS:
				dequantize_iq4_xs(source, to);
				break;
			default:
			{
				SmallBlock block = small_block_read(type, source);

				small_block_expand(type, &block, to);
			}
		}
	}
}
