/*
 * format_iq4.c - IQ4_NL, IQ4_XS and MXFP4: quants of four bits that stand for the values of a table.
 */
#include "format_tiles.h"

/* -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 */
const uint8_t iq4_table[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};

/* Twice the values of e2m1: 0, 1, 2, 3, 4, 6, 8, 12 and the same below zero; -0 is 0 */
const uint8_t mxfp4_table[16] = {16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4};

/* The 32 values of a block, or a sub-block. */
static void
table_values_of(const uint8_t table[16], int offset, float scale, const uint8_t quants[32], float *out)
{
	for (int i = 0; i < 32; i++)
		out[i] = scale * (float) (table[quants[i]] - offset);
}

static void
iq4_values_of(float scale, const uint8_t quants[32], float *out)
{
	table_values_of(iq4_table, 128, scale, quants, out);
}

/* Scale (-32 … 31) of sub-block s. */
static int
iq4_xs_scale(const BlockIQ4_XS *block, uint32_t s)
{
	int low = block->scales_low[s / 2] >> (s % 2 * 4) & 15;

	return (low | (block->scales_high >> (2 * s) & 3) << 4) - 32;
}

void
iq4_nl_expand(const uint8_t *source, float *out)
{
	uint8_t quants[32];

	nibbles_read(source + 2, 0, quants);
	iq4_values_of(f16_to_f32(get_half(source, 0)), quants, out);
}

/* As Q4_0: the quants are the same, what they stand for is not. */
void
iq4_nl_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	q4_0_pack(source, row_bytes, n_rows, tile);
}

void
iq4_nl_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	uint8_t quants[32];

	get_nibbles(tile + 64, row, quants);
	iq4_values_of(f16_to_f32(get_half(tile, row)), quants, out);
}

void
iq4_xs_expand(const uint8_t *source, float *out)
{
	BlockIQ4_XS block;
	uint8_t quants[32];

	memcpy(&block, source, sizeof block);
	for (uint32_t s = 0; s < 8; s++)
	{
		nibbles_read(block.q + s * 16, 0, quants);
		iq4_values_of(f16_to_f32(block.d) * (float) iq4_xs_scale(&block, s), quants, out + s * 32);
	}
}

static void
iq4_xs_pack_row(const uint8_t *source, uint32_t row, uint8_t *tile)
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

PACK_BY_ROWS(iq4_xs)

void
iq4_xs_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row));

	for (uint32_t sub = 0; sub < 8; sub++)
	{
		const uint8_t *at = tile + 64 + sub / 2 * TILE_IQ4_XS_PAIR_BYTES;
		uint8_t quants[32];

		get_nibbles(at + 64 + sub % 2 * 512, row, quants);
		iq4_values_of(d * (float) (int8_t) at[sub % 2 * 32 + row], quants, out + sub * 32);
	}
}

/*
 * 2^(exponent - 128): half of what the exponent says, as values are doubled. The smallest two are denormals; there is
 * no NaN.
 */
static float
mxfp4_scale(uint8_t exponent)
{
	uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (uint32_t) (exponent - 1) << 23;
	float scale;

	memcpy(&scale, &bits, 4);
	return scale;
}

void
mxfp4_expand(const uint8_t *source, float *out)
{
	uint8_t quants[32];

	nibbles_read(source + 1, 0, quants);
	table_values_of(mxfp4_table, 16, mxfp4_scale(source[0]), quants, out);
}

/* Nibbles of a tile's block; its exponents stand where it does not fill a line: behind them, or in front. */
static const uint8_t *
mxfp4_nibbles(const uint8_t *block)
{
	return block + (uintptr_t) block % 64;
}

static const uint8_t *
mxfp4_exponents(const uint8_t *block)
{
	return (uintptr_t) block % 64 == 0 ? block + 512 : block;
}

void
mxfp4_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	uint8_t *nibbles = tile + (mxfp4_nibbles(tile) - tile), *exponents = tile + (mxfp4_exponents(tile) - tile);

	for (uint32_t r = 0; r < n_rows; r++, source += row_bytes)
	{
		exponents[r] = source[0];
		for (uint32_t step = 0; step < 4; step++)
			store_four(nibbles, step, r, load_four(source + 1 + 4 * step));
	}
}

void
mxfp4_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	uint8_t quants[32];

	get_nibbles(mxfp4_nibbles(tile), row, quants);
	table_values_of(mxfp4_table, 16, mxfp4_scale(mxfp4_exponents(tile)[row]), quants, out);
}
