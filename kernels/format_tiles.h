/*
 * format_tiles.h - where quants and scales of a row stand in a tile: what packing and unpacking of all formats are made
 * of. Private to format_*.c.
 */
#ifndef QWEN_KERNEL_FORMAT_TILES_H
#define QWEN_KERNEL_FORMAT_TILES_H

#include <string.h>

#include "formats.h"

static inline void
put_half(uint8_t *at, uint32_t row, uint16_t half)
{
	memcpy(at + 2 * row, &half, 2);
}

static inline uint16_t
get_half(const uint8_t *at, uint32_t row)
{
	uint16_t half;

	memcpy(&half, at + 2 * row, 2);
	return half;
}

/* Where input 4 step + i of a row stands in a run of steps. */
static inline size_t
step_offset(uint32_t step, uint32_t row, uint32_t i)
{
	return (size_t) (step * 2 + row / 16) * 64 + row % 16 * 4 + i;
}

/* Four inputs stand together in a file and in a tile: they are moved as one word, each in its own byte. */
static inline uint32_t
load_four(const uint8_t *at)
{
	uint32_t four;

	memcpy(&four, at, 4);
	return four;
}

static inline void
store_four(uint8_t *at, uint32_t step, uint32_t row, uint32_t four)
{
	memcpy(at + step_offset(step, row, 0), &four, 4);
}

/* Write the low four bits of 32 quants of one row as nibbles: inputs 0-15 low, 16-31 high. */
static inline void
put_nibbles(uint8_t *at, uint32_t row, const uint8_t quants[32])
{
	for (uint32_t step = 0; step < 4; step++)
		store_four(at, step, row,
				   (load_four(quants + 4 * step) & 0x0F0F0F0F) | (load_four(quants + 16 + 4 * step) & 0x0F0F0F0F) << 4);
}

static inline void
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
static inline void
put_bits(uint8_t *at, uint32_t row, const uint8_t quants[32], int bit)
{
	uint32_t bits = 0;

	for (uint32_t step = 0; step < 8; step++)
		bits |= (load_four(quants + 4 * step) >> bit & 0x01010101) << step;
	store_four(at, 0, row, bits);
}

static inline void
get_bits(const uint8_t *at, uint32_t row, uint8_t quants[32], int bit)
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((at[step_offset(0, row, i % 4)] >> (i / 4) & 1) << bit);
}

/* Write the two bits from bit on of 32 quants of one row: 256 bytes for all rows. */
static inline void
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

static inline void
get_bit_pairs(const uint8_t *at, uint32_t row, uint8_t quants[32], int bit)
{
	for (uint32_t i = 0; i < 32; i++)
		quants[i] |= (uint8_t) ((at[step_offset(i / 4 % 2, row, i % 4)] >> (i / 8 * 2) & 3) << bit);
}

/* 32 quants of a block of a file from 16 bytes of nibbles (the low ones first) and 32 fifth bits. */
static inline void
nibbles_read(const uint8_t *nibbles, uint32_t high, uint8_t quants[32])
{
	for (uint32_t i = 0; i < 32; i++)
	{
		uint8_t low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;

		quants[i] = (uint8_t) (low | (high >> i & 1) << 4);
	}
}

/* NAME_pack of a format of which NAME_pack_row packs one row's block. */
#define PACK_BY_ROWS(name)                                                                                             \
	void name##_pack(const uint8_t *source, size_t row_bytes, uint32_t n_rows, uint8_t *tile)                          \
	{                                                                                                                  \
		for (uint32_t r = 0; r < n_rows; r++)                                                                          \
			name##_pack_row(source + r * row_bytes, r, tile);                                                          \
	}

#endif
