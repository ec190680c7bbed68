/*
 * pack.c - from rows as they stand in a file to tiles as the kernels read them, and one row back.
 *
 * The layouts are described in formats.h. Rows that a last tile lacks are packed as zeros with zero scales.
 */
#include <string.h>

#include "formats.h"

size_t
packed_tile_bytes(TensorType type, uint32_t n_cols)
{
	size_t bytes;

	switch (type)
	{
		case TENSOR_F32:
			return (size_t) n_cols * TILE_ROWS * 4;
		case TENSOR_F16:
		case TENSOR_BF16:
			return (size_t) n_cols * TILE_ROWS * 2;
		case TENSOR_Q4_0:
		case TENSOR_IQ4_NL:
			bytes = TILE_Q4_0_BYTES;
			break;
		case TENSOR_Q4_1:
			bytes = TILE_Q4_1_BYTES;
			break;
		case TENSOR_Q5_0:
			bytes = TILE_Q5_0_BYTES;
			break;
		case TENSOR_Q5_1:
			bytes = TILE_Q5_1_BYTES;
			break;
		case TENSOR_Q8_0:
			bytes = TILE_Q8_0_BYTES;
			break;
		case TENSOR_Q2_K:
			return (size_t) (n_cols / K_BLOCK) * TILE_Q2_K_BYTES;
		case TENSOR_Q3_K:
			return (size_t) (n_cols / K_BLOCK) * TILE_Q3_K_BYTES;
		case TENSOR_IQ4_XS:
			return (size_t) (n_cols / K_BLOCK) * TILE_IQ4_XS_BYTES;
		case TENSOR_Q4_K:
			return (size_t) (n_cols / K_BLOCK) * TILE_Q4_K_BYTES;
		case TENSOR_Q5_K:
			return (size_t) (n_cols / K_BLOCK) * TILE_Q5_K_BYTES;
		case TENSOR_Q6_K:
			return (size_t) (n_cols / K_BLOCK) * TILE_Q6_K_BYTES;
		default:
			return 0;
	}
	return (size_t) (n_cols / 32) * bytes;
}

static void
put_half(uint8_t *at, uint32_t row, uint16_t half)
{
	memcpy(at + 2 * row, &half, 2);
}

static uint16_t
get_half(const uint8_t *at, uint32_t row)
{
	uint16_t half;

	memcpy(&half, at + 2 * row, 2);
	return half;
}

/* Where input 4 step + i of a row stands in a run of steps. */
static size_t
step_offset(uint32_t step, uint32_t row, uint32_t i)
{
	return (size_t) (step * 2 + row / 16) * 64 + row % 16 * 4 + i;
}

/* Four inputs stand together in a file and in a tile: they are moved as one word, each in its own byte. */
static uint32_t
load_four(const uint8_t *at)
{
	uint32_t four;

	memcpy(&four, at, 4);
	return four;
}

static void
store_four(uint8_t *at, uint32_t step, uint32_t row, uint32_t four)
{
	memcpy(at + step_offset(step, row, 0), &four, 4);
}

/* Write the low four bits of 32 quants of one row as nibbles: inputs 0-15 low, 16-31 high. */
static void
put_nibbles(uint8_t *at, uint32_t row, const uint8_t quants[32])
{
	for (uint32_t step = 0; step < 4; step++)
		store_four(at, step, row,
				   (load_four(quants + 4 * step) & 0x0F0F0F0F) | (load_four(quants + 16 + 4 * step) & 0x0F0F0F0F) << 4);
}

static void
get_nibbles(const uint8_t *at, uint32_t row, uint8_t quants[32])
{
	for (uint32_t step = 0; step < 4; step++)
		for (uint32_t i = 0; i < 4; i++)
		{
			quants[4 * step + i] = at[step_offset(step, row, i)] & 15;
			quants[16 + 4 * step + i] = at[step_offset(step, row, i)] >> 4;
		}
}

/* Write bit number bit of 32 quants of one row: 128 bytes for all rows. */
static void
put_bits(uint8_t *at, uint32_t row, const uint8_t quants[32], int bit)
{
	uint32_t bits = 0;

	for (uint32_t step = 0; step < 8; step++)
		bits |= (load_four(quants + 4 * step) >> bit & 0x01010101) << step;
	store_four(at, 0, row, bits);
}

static void
get_bits(const uint8_t *at, uint32_t row, uint8_t quants[32], int bit)
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((at[step_offset(0, row, i % 4)] >> (i / 4) & 1) << bit);
}

/* Write the two bits from bit on of 32 quants of one row: 256 bytes for all rows. */
static void
put_bit_pairs(uint8_t *at, uint32_t row, const uint8_t quants[32], int bit)
{
	for (uint32_t h = 0; h < 2; h++)
	{
		uint32_t bits = 0;

		for (uint32_t k = 0; k < 4; k++)
			bits |= (load_four(quants + 4 * (h + 2 * k)) >> bit & 0x03030303) << (2 * k);
		store_four(at, h, row, bits);
	}
}

static void
get_bit_pairs(const uint8_t *at, uint32_t row, uint8_t quants[32], int bit)
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((at[step_offset(i / 4 % 2, row, i % 4)] >> (i / 8 * 2) & 3) << bit);
}

static bool
has_minimums(TensorType type)
{
	return type == TENSOR_Q4_1 || type == TENSOR_Q5_1;
}

static bool
has_fifth_bits(TensorType type)
{
	return type == TENSOR_Q5_0 || type == TENSOR_Q5_1 || type == TENSOR_Q5_K;
}

/*
 * A block of 32 inputs of each row of Q4_0, Q4_1, Q8_0 or IQ4_NL: the file's bytes of quants are the tile's. Called
 * with constants, so that nothing is decided in the loops.
 */
static inline void
pack_plain_blocks(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint32_t n_scales, uint32_t n_steps,
				  uint32_t sign, uint8_t *tile)
{
	uint8_t *quants = tile + 64 * n_scales;

	for (uint32_t r = 0; r < n_rows; r++, source += row_bytes)
	{
		for (uint32_t i = 0; i < n_scales; i++)
			memcpy(tile + 64 * i + 2 * r, source + 2 * i, 2);
		for (uint32_t step = 0; step < n_steps; step++)
			store_four(quants, step, r, load_four(source + 2 * n_scales + 4 * step) ^ sign);
	}
}

/* One block of 32 inputs of Q5_0 or Q5_1. */
static void
pack_fifth_bit_block(TensorType type, const uint8_t *source, uint32_t row, uint8_t *tile)
{
	SmallBlock block = small_block_read(type, source);
	uint8_t *at = tile + (has_minimums(type) ? 128 : 64);

	put_half(tile, row, block.d);
	if (has_minimums(type))
		put_half(tile + 64, row, block.m);
	put_bits(at, row, block.quants, 4);
	put_nibbles(at + 128, row, block.quants);
}

/* One block of Q4_K or Q5_K: they have their scales in the same place. */
static void
pack_k_block(TensorType type, const uint8_t *source, uint32_t row, uint8_t *tile)
{
	BlockQ4_K four;
	BlockQ5_K five;
	const size_t sub_bytes = type == TENSOR_Q4_K ? TILE_Q4_K_SUB_BYTES : TILE_Q5_K_SUB_BYTES;

	memcpy(&four, source, sizeof four);
	if (type == TENSOR_Q5_K)
		memcpy(&five, source, sizeof five);
	put_half(tile, row, four.d);
	put_half(tile + 64, row, four.dmin);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 128 + sub * sub_bytes;
		uint8_t quants[32];

		k_scale_min(four.scales, (int) sub, &at[row], &at[32 + row]);
		at += 64;
		if (type == TENSOR_Q5_K)
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

static void
pack_q6_k_block(const uint8_t *source, uint32_t row, uint8_t *tile)
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

static void
pack_q2_k_block(const uint8_t *source, uint32_t row, uint8_t *tile)
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

static void
pack_q3_k_block(const uint8_t *source, uint32_t row, uint8_t *tile)
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

static void
pack_iq4_xs_block(const uint8_t *source, uint32_t row, uint8_t *tile)
{
	BlockIQ4_XS block;

	memcpy(&block, source, sizeof block);
	put_half(tile, row, block.d);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		uint8_t *at = tile + 64 + sub / 2 * TILE_IQ4_XS_PAIR_BYTES;
		uint8_t quants[32];

		at[sub % 2 * 32 + row] = (uint8_t) iq4_xs_scale(&block, sub);
		nibbles_read(block.q + sub * 16, 0, quants);
		put_nibbles(at + 64 + sub % 2 * 512, row, quants);
	}
}

/* One block of a file, of a type whose quants are put together anew. */
static void
pack_block(TensorType type, const uint8_t *source, uint32_t row, uint8_t *tile)
{
	switch (type)
	{
		case TENSOR_Q2_K:
			pack_q2_k_block(source, row, tile);
			break;
		case TENSOR_Q3_K:
			pack_q3_k_block(source, row, tile);
			break;
		case TENSOR_Q4_K:
		case TENSOR_Q5_K:
			pack_k_block(type, source, row, tile);
			break;
		case TENSOR_Q6_K:
			pack_q6_k_block(source, row, tile);
			break;
		case TENSOR_IQ4_XS:
			pack_iq4_xs_block(source, row, tile);
			break;
		default:
			pack_fifth_bit_block(type, source, row, tile);
			break;
	}
}

/* One block of each row. */
static void
pack_blocks(TensorType type, const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	switch (type)
	{
		case TENSOR_Q8_0:
			pack_plain_blocks(source, row_bytes, n_rows, 1, 8, 0x80808080, tile);
			break;
		case TENSOR_Q4_0:
		case TENSOR_IQ4_NL:
			pack_plain_blocks(source, row_bytes, n_rows, 1, 4, 0, tile);
			break;
		case TENSOR_Q4_1:
			pack_plain_blocks(source, row_bytes, n_rows, 2, 4, 0, tile);
			break;
		default:
			for (uint32_t r = 0; r < n_rows; r++)
				pack_block(type, source + r * row_bytes, r, tile);
			break;
	}
}

/* Transpose float rows to [n_cols][32]. */
static void
pack_float_rows(uint32_t element_bytes, const uint8_t *rows, uint32_t n_rows, uint32_t n_cols, uint8_t *tile)
{
	for (uint32_t c = 0; c < n_cols; c++)
		for (uint32_t r = 0; r < n_rows; r++)
		{
			const uint8_t *from = rows + ((size_t) r * n_cols + c) * element_bytes;
			uint8_t *to = tile + ((size_t) c * TILE_ROWS + r) * element_bytes;

			/* sizes that the compiler knows: a move each */
			if (element_bytes == 2)
				memcpy(to, from, 2);
			else
				memcpy(to, from, 4);
		}
}

void
pack_tile(TensorType type, const void *rows, uint32_t n_rows, uint32_t n_cols, uint8_t *tile)
{
	const TensorTypeInfo *info = tensor_type_info(type);
	uint32_t n_blocks = n_cols / info->block_elements;
	size_t row_bytes = tensor_row_bytes(info, n_cols);
	size_t tile_bytes = packed_tile_bytes(type, n_cols);

	if (n_rows < TILE_ROWS)
		memset(tile, 0, tile_bytes);
	if (!tensor_type_takes_panels(type))
	{
		pack_float_rows(info->block_bytes, rows, n_rows, n_cols, tile);
		return;
	}
	for (uint32_t b = 0; b < n_blocks; b++)
		pack_blocks(type, (const uint8_t *) rows + (size_t) b * info->block_bytes, row_bytes, n_rows,
					tile + tile_bytes / n_blocks * b);
}

/* Expand 32 inputs of a row of a tile without sub-blocks. */
static void
expand_small_block(TensorType type, const uint8_t *tile, uint32_t row, float *out)
{
	SmallBlock block = {0};
	const uint8_t *at = tile + (has_minimums(type) ? 128 : 64);

	block.d = get_half(tile, row);
	if (has_minimums(type))
		block.m = get_half(tile + 64, row);
	if (type == TENSOR_Q8_0)
		for (uint32_t i = 0; i < 32; i++)
			block.quants[i] = at[step_offset(i / 4, row, i % 4)];
	else
	{
		get_nibbles(at + (has_fifth_bits(type) ? 128 : 0), row, block.quants);
		if (has_fifth_bits(type))
			get_bits(at, row, block.quants, 4);
	}
	small_block_expand(type, &block, out);
}

static void
expand_k_block(TensorType type, const uint8_t *tile, uint32_t row, float *out)
{
	const size_t sub_bytes = type == TENSOR_Q4_K ? TILE_Q4_K_SUB_BYTES : TILE_Q5_K_SUB_BYTES;

	for (uint32_t sub = 0; sub < 8; sub++, out += 32)
	{
		const uint8_t *at = tile + 128 + sub * sub_bytes;
		uint8_t quants[32];

		get_nibbles(at + 64 + (has_fifth_bits(type) ? 128 : 0), row, quants);
		if (has_fifth_bits(type))
			get_bits(at + 64, row, quants, 4);
		k_sub_block_expand(f16_to_f32(get_half(tile, row)), f16_to_f32(get_half(tile + 64, row)), at[row], at[32 + row],
						   quants, out);
	}
}

static void
expand_q6_k_block(const uint8_t *tile, uint32_t row, float *out)
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

static void
expand_q2_k_block(const uint8_t *tile, uint32_t row, float *out)
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

static void
expand_q3_k_block(const uint8_t *tile, uint32_t row, float *out)
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

static void
expand_iq4_xs_block(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row));

	for (uint32_t sub = 0; sub < 8; sub++)
	{
		const uint8_t *at = tile + 64 + sub / 2 * TILE_IQ4_XS_PAIR_BYTES;
		uint8_t quants[32];

		get_nibbles(at + 64 + sub % 2 * 512, row, quants);
		iq4_expand(d * (float) (int8_t) at[sub % 2 * 32 + row], quants, out + sub * 32);
	}
}

void
packed_row_expand(const PackedMatrix *matrix, uint32_t row, float *out)
{
	const TensorTypeInfo *info = tensor_type_info(matrix->type);
	const uint8_t *tile = matrix->tiles + row / TILE_ROWS * matrix->tile_bytes;
	uint32_t n_blocks = matrix->n_cols / info->block_elements;
	uint32_t r = row % TILE_ROWS;

	if (!tensor_type_takes_panels(matrix->type))
	{
		for (uint32_t c = 0; c < matrix->n_cols; c++)
			dequantize_row(matrix->type, tile + ((size_t) c * TILE_ROWS + r) * info->block_bytes, 1, &out[c]);
		return;
	}
	for (uint32_t b = 0; b < n_blocks; b++)
	{
		const uint8_t *at = tile + matrix->tile_bytes / n_blocks * b;

		float *to = out + (size_t) b * info->block_elements;

		switch (matrix->type)
		{
			case TENSOR_Q2_K:
				expand_q2_k_block(at, r, to);
				break;
			case TENSOR_Q3_K:
				expand_q3_k_block(at, r, to);
				break;
			case TENSOR_Q4_K:
			case TENSOR_Q5_K:
				expand_k_block(matrix->type, at, r, to);
				break;
			case TENSOR_Q6_K:
				expand_q6_k_block(at, r, to);
				break;
			case TENSOR_IQ4_XS:
				expand_iq4_xs_block(at, r, to);
				break;
			default:
				expand_small_block(matrix->type, at, r, to);
				break;
		}
	}
}
