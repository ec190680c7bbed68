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

void
f32_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++, source += row_bytes)
		memcpy(tile + 4 * r, source, 4);
}

static inline void
pack_halves(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	for (uint32_t r = 0; r < n_rows; r++, source += row_bytes)
		memcpy(tile + 2 * r, source, 2);
}

void
f16_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_halves(source, row_bytes, n_rows, tile);
}

void
bf16_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)
{
	pack_halves(source, row_bytes, n_rows, tile);
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
