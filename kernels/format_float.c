/*
 * format_float.c - F32, F16 and BF16: a block is one number, a tile the transposed rows.
 */
#include "format_tiles.h"

void
f32_expand(const uint8_t *source, float *out)
{
	memcpy(out, source, 4);
}

void
f16_expand(const uint8_t *source, float *out)
{
	*out = f16_to_f32(get_half(source, 0));
}

void
bf16_expand(const uint8_t *source, float *out)
{
	*out = bf16_to_f32(get_half(source, 0));
}

/* A number of each row, of so many bytes (constant). */
static inline void
pack_numbers(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint32_t bytes, uint8_t *tile)
{
	if (n_rows == TILE_ROWS) /* a count that the compiler knows: all tiles but the last */
	{
		for (uint32_t r = 0; r < TILE_ROWS; r++)
			memcpy(tile + bytes * r, source + r * row_bytes, bytes);
		return;
	}
	for (uint32_t r = 0; r < n_rows; r++)
		memcpy(tile + bytes * r, source + r * row_bytes, bytes);
}

void
f32_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_numbers(source, row_bytes, n_rows, 4, tile);
}

void
f16_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_numbers(source, row_bytes, n_rows, 2, tile);
}

void
bf16_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_numbers(source, row_bytes, n_rows, 2, tile);
}

void
f32_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	f32_expand(tile + 4 * row, out);
}

void
f16_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	f16_expand(tile + 2 * row, out);
}

void
bf16_unpack(const uint8_t *tile, uint32_t row, float *out)
{
	bf16_expand(tile + 2 * row, out);
}
