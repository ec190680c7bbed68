/*
 * format_k.c - Q2_K to Q6_K: blocks of 256 inputs in eight sub-blocks, whose scales (and minimums) are integers.
 */
#include "format_tiles.h"

/* Quants of sub-block s (0 … 7). */
static void
q2_k_quants(const uint8_t q[64], uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] = q[s / 4 * 32 + i] >> (s % 4 * 2) & 3;
}

static void
q3_k_quants(const BlockQ3_K *block, uint32_t s, uint8_t quants[32])
{
	q2_k_quants(block->q, s, quants);
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((block->high[i] >> s & 1) << 2);
}

/* Scale (-32 … 31) of 16 inputs number j. */
static int
q3_k_scale(const BlockQ3_K *block, uint32_t j)
{
	int low = block->scales[j % 8] >> (j / 8 * 4) & 15;
	int high = block->scales[8 + j % 4] >> (j / 4 * 2) & 3;

	return (low | high << 4) - 32;
}

/* Scale and min of sub-block j (0 … 7) from the twelve bytes of a Q4_K or Q5_K block. */
static void
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

static void
q4_k_quants(const BlockQ4_K *block, uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] = s % 2 == 0 ? block->q[s / 2 * 32 + i] & 15 : block->q[s / 2 * 32 + i] >> 4;
}

static void
q5_k_quants(const BlockQ5_K *block, uint32_t s, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
	{
		uint8_t low = s % 2 == 0 ? block->q[s / 2 * 32 + i] & 15 : block->q[s / 2 * 32 + i] >> 4;

		quants[i] = (uint8_t) (low | (block->high[i] >> s & 1) << 4);
	}
}

static void
q6_k_quants(const BlockQ6_K *block, uint32_t s, uint8_t quants[32])
{
	const uint8_t *low = block->low + s / 4 * 64 + s % 2 * 32, *high = block->high + s / 4 * 32;

	for (uint32_t i = 0; i < 32; i++)
		quants[i] = (uint8_t) ((low[i] >> s % 4 / 2 * 4 & 15) | (high[i] >> s % 4 * 2 & 3) << 4);
}

/* The 32 values of a sub-block of Q4_K or Q5_K. */
static void
k_sub_block_expand(float d, float dmin, uint8_t scale, uint8_t min, const uint8_t quants[32], float *out)
{
	for (int i = 0; i < 32; i++)
		out[i] = d * scale * (float) quants[i] - dmin * min;
}

/* 16 values of Q2_K or Q3_K. */
static void
half_sub_block_expand(float scale, float min, const uint8_t quants[16], int offset, float *out)
{
	for (int i = 0; i < 16; i++)
		out[i] = scale * (float) (quants[i] - offset) - min;
}

void
q2_k_expand(const uint8_t *source, float *out)
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
q2_k_pack_row(const uint8_t *source, uint32_t row, uint8_t *tile)
{
	BlockQ2_K block;

	memcpy(&block, source, sizeof block);
	put_half(tile, row, block.d);
	put_half(tile + 64, row, block.dmin);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 128 + sub * TILE_Q2_K_SUB_BYTES;
		uint8_t quants[32];

		at[row] = block.scales[2 * sub];
		at[32 + row] = block.scales[2 * sub + 1];
		q2_k_quants(block.q, sub, quants);
		put_bit_pairs(at + 64, row, quants, 0);
	}
}

PACK_BY_ROWS(q2_k)

void
q2_k_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row)), dmin = f16_to_f32(get_half(tile + 64, row));

	for (uint32_t j = 0; j < 16; j++)
	{
		const uint8_t *at = tile + 128 + j / 2 * TILE_Q2_K_SUB_BYTES;
		uint8_t quants[32] = {0}, scale_min = at[j % 2 * 32 + row];

		get_bit_pairs(at + 64, row, quants, 0);
		half_sub_block_expand(d * (float) (scale_min & 15), dmin * (float) (scale_min >> 4), quants + j % 2 * 16, 0,
							  out + j * 16);
	}
}

void
q3_k_expand(const uint8_t *source, float *out)
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
q3_k_pack_row(const uint8_t *source, uint32_t row, uint8_t *tile)
{
	BlockQ3_K block;

	memcpy(&block, source, sizeof block);
	put_half(tile, row, block.d);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 64 + sub * TILE_Q3_K_SUB_BYTES;
		uint8_t quants[32];

		at[row] = (uint8_t) q3_k_scale(&block, 2 * sub);
		at[32 + row] = (uint8_t) q3_k_scale(&block, 2 * sub + 1);
		q3_k_quants(&block, sub, quants);
		put_bit_pairs(at + 64, row, quants, 0);
		put_bits(at + 64 + 256, row, quants, 2);
	}
}

PACK_BY_ROWS(q3_k)

void
q3_k_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row));

	for (uint32_t j = 0; j < 16; j++)
	{
		const uint8_t *at = tile + 64 + j / 2 * TILE_Q3_K_SUB_BYTES;
		uint8_t quants[32] = {0};

		get_bit_pairs(at + 64, row, quants, 0);
		get_bits(at + 64 + 256, row, quants, 2);
		half_sub_block_expand(d * (float) (int8_t) at[j % 2 * 32 + row], 0, quants + j % 2 * 16, 4, out + j * 16);
	}
}

void
q4_k_expand(const uint8_t *source, float *out)
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

/* One block of one row of Q4_K or Q5_K (five_bits constant): they have their scales in the same place. */
static inline void
pack_k_row(const uint8_t *source, bool five_bits, uint32_t row, uint8_t *tile)
{
	const size_t sub_bytes = five_bits ? TILE_Q5_K_SUB_BYTES : TILE_Q4_K_SUB_BYTES;
	BlockQ4_K four;
	BlockQ5_K five;

	memcpy(&four, source, sizeof four);
	if (five_bits)
		memcpy(&five, source, sizeof five);
	put_half(tile, row, four.d);
	put_half(tile + 64, row, four.dmin);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 128 + sub * sub_bytes;
		uint8_t quants[32];

		k_scale_min(four.scales, (int) sub, &at[row], &at[32 + row]);
		at += 64;
		if (five_bits)
		{
			q5_k_quants(&five, sub, quants);
			put_bits(at, row, quants, 4);
			at += 128;
		}
		else
			q4_k_quants(&four, sub, quants);
		put_nibbles(at, row, quants);
	}
}

static inline void
unpack_k_row(const uint8_t *tile, bool five_bits, uint32_t row, float *out)
{
	const size_t sub_bytes = five_bits ? TILE_Q5_K_SUB_BYTES : TILE_Q4_K_SUB_BYTES;

	for (uint32_t sub = 0; sub < 8; sub++, out += 32)
	{
		const uint8_t *at = tile + 128 + sub * sub_bytes;
		uint8_t quants[32];

		get_nibbles(at + 64 + (five_bits ? 128 : 0), row, quants);
		if (five_bits)
			get_bits(at + 64, row, quants, 4);
		k_sub_block_expand(f16_to_f32(get_half(tile, row)), f16_to_f32(get_half(tile + 64, row)), at[row], at[32 + row],
						   quants, out);
	}
}

void
q4_k_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++)
		pack_k_row(source + r * row_bytes, false, r, tile);
}

void
q4_k_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_k_row(tile, false, row, out);
}

void
q5_k_expand(const uint8_t *source, float *out)
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

void
q5_k_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++)
		pack_k_row(source + r * row_bytes, true, r, tile);
}

void
q5_k_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_k_row(tile, true, row, out);
}

void
q6_k_expand(const uint8_t *source, float *out)
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

static void
q6_k_pack_row(const uint8_t *source, uint32_t row, uint8_t *tile)
{
	BlockQ6_K block;

	memcpy(&block, source, sizeof block);
	put_half(tile, row, block.d);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 64 + sub * TILE_Q6_K_SUB_BYTES;
		uint8_t quants[32];

		at[row] = (uint8_t) block.scales[2 * sub];
		at[32 + row] = (uint8_t) block.scales[2 * sub + 1];
		q6_k_quants(&block, sub, quants);
		put_bit_pairs(at + 64, row, quants, 4);
		put_nibbles(at + 64 + 256, row, quants);
	}
}

PACK_BY_ROWS(q6_k)

void
q6_k_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row));

	for (uint32_t sub = 0; sub < 8; sub++, out += 32)
	{
		const uint8_t *at = tile + 64 + sub * TILE_Q6_K_SUB_BYTES;
		uint8_t quants[32];

		get_nibbles(at + 64 + 256, row, quants);
		get_bit_pairs(at + 64, row, quants, 4);
		for (uint32_t i = 0; i < 32; i++)
			out[i] = d * (float) (int8_t) at[i < 16 ? row : 32 + row] * (float) (quants[i] - 32);
	}
}
