/*
 * format_small.c - Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 inputs with a scale and maybe a minimum of their own.
 *
 * The inline functions are called with constants, so that nothing is decided in their loops.
 */
#include "format_tiles.h"

/* The values of 32 quants: with a minimum m, or less an offset. */
static inline void
values_of(float d, float m, bool has_min, int offset, const uint8_t quants[32], float *out)
{
	for (int i = 0; i < 32; i++)
		out[i] = has_min ? (float) quants[i] * d + m : (float) (quants[i] - offset) * d;
}

/* The quants of a block of a file, which stand behind its scale, its minimum and its fifth bits. */
static inline void
quants_read(const uint8_t *source, bool has_min, bool five_bits, uint8_t quants[32])
{
	uint32_t high = 0;

	source += has_min ? 4 : 2;
	if (five_bits)
	{
		memcpy(&high, source, 4);
		source += 4;
	}
	nibbles_read(source, high, quants);
}

static inline void
expand_nibbles(const uint8_t *source, bool has_min, bool five_bits, int offset, float *out)
{
	uint8_t quants[32];

	quants_read(source, has_min, five_bits, quants);
	values_of(f16_to_f32(get_half(source, 0)), has_min ? f16_to_f32(get_half(source, 1)) : 0, has_min, offset, quants,
			  out);
}

/*
 * A block of 32 inputs of each row of Q4_0, Q4_1 or Q8_0: the file's bytes of quants are the tile's. Called
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

/* One block of 32 inputs of one row of Q5_0 or Q5_1. */
static inline void
pack_five_bits(const uint8_t *source, bool has_min, uint32_t row, uint8_t *tile)
{
	uint8_t *at = tile + (has_min ? 128 : 64), quants[32];

	quants_read(source, has_min, true, quants);
	put_half(tile, row, get_half(source, 0));
	if (has_min)
		put_half(tile + 64, row, get_half(source, 1));
	put_bits(at, row, quants, 4);
	put_nibbles(at + 128, row, quants);
}

static inline void
unpack_nibbles(const uint8_t *tile, bool has_min, bool five_bits, int offset, uint32_t row, float *out)
{
	const uint8_t *at = tile + (has_min ? 128 : 64);
	uint8_t quants[32];

	get_nibbles(at + (five_bits ? 128 : 0), row, quants);
	if (five_bits)
		get_bits(at, row, quants, 4);
	values_of(f16_to_f32(get_half(tile, row)), has_min ? f16_to_f32(get_half(tile + 64, row)) : 0, has_min, offset,
			  quants, out);
}

void
q4_0_expand(const uint8_t *source, float *out)
{
	expand_nibbles(source, false, false, 8, out);
}

void
q4_0_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_plain_blocks(source, row_bytes, n_rows, 1, 4, 0, tile);
}

void
q4_0_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_nibbles(tile, false, false, 8, row, out);
}

void
q4_1_expand(const uint8_t *source, float *out)
{
	expand_nibbles(source, true, false, 0, out);
}

void
q4_1_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_plain_blocks(source, row_bytes, n_rows, 2, 4, 0, tile);
}

void
q4_1_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_nibbles(tile, true, false, 0, row, out);
}

void
q5_0_expand(const uint8_t *source, float *out)
{
	expand_nibbles(source, false, true, 16, out);
}

void
q5_0_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++)
		pack_five_bits(source + r * row_bytes, false, r, tile);
}

void
q5_0_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_nibbles(tile, false, true, 16, row, out);
}

void
q5_1_expand(const uint8_t *source, float *out)
{
	expand_nibbles(source, true, true, 0, out);
}

void
q5_1_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++)
		pack_five_bits(source + r * row_bytes, true, r, tile);
}

void
q5_1_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	unpack_nibbles(tile, true, true, 0, row, out);
}

void
q8_0_expand(const uint8_t *source, float *out)
{
	float d = f16_to_f32(get_half(source, 0));

	for (uint32_t i = 0; i < 32; i++)
		out[i] = (float) (int8_t) source[2 + i] * d;
}

void
q8_0_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_plain_blocks(source, row_bytes, n_rows, 1, 8, 0x80808080, tile);
}

void
q8_0_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	float d = f16_to_f32(get_half(tile, row));

	for (uint32_t i = 0; i < 32; i++)
		out[i] = (float) (tile[64 + step_offset(i / 4, row, i % 4)] - 128) * d;
}
