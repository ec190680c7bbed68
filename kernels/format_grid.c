/*
 * format_grid.c - IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S: quants that are numbers of points of a codebook (grids.c),
 * with a sign for each input.
 *
 * Each format has a function that reads a row's block of a file; what is done with it then is the same for all.
 */
#include "format_tiles.h"

const uint8_t grid_iq2_magnitudes[16] = {64 + 8, 64 + 25, 64 + 43};
const uint8_t grid_iq3_xxs_magnitudes[16] = {64 + 4, 64 + 12, 64 + 20, 64 + 28, 64 + 36, 64 + 44, 64 + 52, 64 + 62};
const uint8_t grid_iq3_s_magnitudes[16] = {64 + 1, 64 + 3, 64 + 5, 64 + 7, 64 + 9, 64 + 11, 64 + 13, 64 + 15};

/* A block of one row: in the order of inputs. */
typedef struct GridRow
{
	uint16_t d;
	uint8_t scales[8];    /* of sub-blocks, or of their halves: in the low and the high nibble */
	uint8_t signs[32];    /* bit i of signs[j]: of input 8 j + i */
	uint16_t numbers[64]; /* of points: 32 of IQ2 */
} GridRow;

/* Eight signs of seven bits: the number of negative ones is even. */
static uint8_t
even_signs(uint32_t seven)
{
	return (uint8_t) (seven | (uint32_t) __builtin_parity(seven) << 7);
}

/* Four times seven signs and four bits of scale. */
static void
signs_scale_read(uint32_t signs_scale, uint32_t sub, GridRow *row)
{
	for (uint32_t i = 0; i < 4; i++)
		row->signs[4 * sub + i] = even_signs(signs_scale >> (7 * i) & 127);
	row->scales[sub] = (uint8_t) (signs_scale >> 28);
}

static void
iq2_xxs_read(const uint8_t *source, GridRow *row)
{
	BlockIQ2_XXS block;

	memcpy(&block, source, sizeof block);
	row->d = block.d;
	for (uint32_t s = 0; s < 8; s++)
	{
		for (uint32_t i = 0; i < 4; i++)
			row->numbers[4 * s + i] = block.sub[s].points[i];
		signs_scale_read(block.sub[s].signs_scale, s, row);
	}
}

static void
iq2_xs_read(const uint8_t *source, GridRow *row)
{
	BlockIQ2_XS block;

	memcpy(&block, source, sizeof block);
	row->d = block.d;
	memcpy(row->scales, block.scales, 8);
	for (uint32_t i = 0; i < 32; i++)
	{
		row->numbers[i] = block.points[i] & 511;
		row->signs[i] = even_signs(block.points[i] >> 9);
	}
}

static void
iq2_s_read(const uint8_t *source, GridRow *row)
{
	BlockIQ2_S block;

	memcpy(&block, source, sizeof block);
	row->d = block.d;
	memcpy(row->scales, block.scales, 8);
	memcpy(row->signs, block.signs, 32);
	for (uint32_t i = 0; i < 32; i++)
		row->numbers[i] = (uint16_t) (block.points[i] | (block.high[i / 4] >> (i % 4 * 2) & 3) << 8);
}

static void
iq3_xxs_read(const uint8_t *source, GridRow *row)
{
	BlockIQ3_XXS block;

	memcpy(&block, source, sizeof block);
	row->d = block.d;
	for (uint32_t i = 0; i < 64; i++)
		row->numbers[i] = block.points[i];
	for (uint32_t s = 0; s < 8; s++)
		signs_scale_read(block.signs_scales[s], s, row);
}

static void
iq3_s_read(const uint8_t *source, GridRow *row)
{
	BlockIQ3_S block;

	memcpy(&block, source, sizeof block);
	row->d = block.d;
	memcpy(row->signs, block.signs, 32);
	for (uint32_t s = 0; s < 8; s++)
		row->scales[s] = block.scales[s / 2] >> (s % 2 * 4) & 15;
	for (uint32_t i = 0; i < 64; i++)
		row->numbers[i] = (uint16_t) (block.points[i] | (block.high[i / 8] >> (i % 8) & 1) << 8);
}

/* Magnitude of input j of a point. */
static int
point_magnitude(const GridFormat *format, uint16_t point, uint32_t j)
{
	uint32_t width = 16 / format->inputs, number = point >> (8 * (j % 2) + width * (j / 2)) & ((1u << width) - 1);

	return format->magnitudes[number] - 64;
}

static void
grid_expand(const GridFormat *format, const GridRow *row, float *out)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t scale = row->scales[i / 32] >> (format->halves ? i / 16 % 2 * 4 : 0) & 15;
		int value = point_magnitude(format, format->points[row->numbers[i / format->inputs]], i % format->inputs);

		out[i] = f16_to_f32(row->d) * format->unit * (float) (2 * scale + 1) *
				 (float) (row->signs[i / 8] >> (i % 8) & 1 ? -value : value);
	}
}

/* Where input i of a sub-block stands in turned order. */
static uint32_t
turned_place(const GridFormat *format, uint32_t i)
{
	uint32_t pair = i / 2, of_points = pair % format->inputs, point = of_points / (format->inputs / 2);

	return 2 * (pair - of_points + of_points % (format->inputs / 2) * 2 + point) + i % 2;
}

/* Where a sub-block's scales, signs, numbers and high bits of numbers stand in a tile's block. */
typedef struct GridPlaces
{
	size_t scales, planes, signs, numbers;
} GridPlaces;

static GridPlaces
grid_places(const GridFormat *format, uint32_t sub)
{
	GridPlaces at;

	at.scales = 64 + (format->halves ? sub : sub / 2) * 32;
	at.planes = 64 + grid_scales_bytes(*format) + sub * (format->n_bits - 8) * grid_plane_bytes(*format);
	at.signs = 64 + grid_scales_bytes(*format) + grid_planes_bytes(*format) + sub * grid_sub_bytes(*format);
	at.numbers = at.signs + 128;
	return at;
}

/* Where number i of a sub-block stands among the numbers, and so its high bits in their planes. */
static uint32_t
number_place(uint32_t i, uint32_t row)
{
	return i / 2 * 64 + row * 2 + i % 2;
}

static void
grid_pack_row(const GridFormat *format, const GridRow *from, uint32_t row, uint8_t *tile)
{
	const uint32_t n_points = 32 / format->inputs;

	put_half(tile, row, from->d);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		GridPlaces at = grid_places(format, sub);
		uint8_t signs[32];

		if (format->halves)
			tile[at.scales + row] = from->scales[sub];
		else
			tile[at.scales + row] =
				(uint8_t) ((sub % 2 ? tile[at.scales + row] : 0) | from->scales[sub] << (sub % 2 * 4));
		for (uint32_t i = 0; i < 32; i++)
			signs[turned_place(format, i)] = from->signs[4 * sub + i / 8] >> (i % 8) & 1;
		put_bits(tile + at.signs, row, signs, 0);
		for (uint32_t i = 0; i < n_points; i++)
		{
			uint32_t number = from->numbers[sub * n_points + i], place = number_place(i, row);

			tile[at.numbers + place] = (uint8_t) number;
			for (uint32_t bit = 8; bit < format->n_bits; bit++)
			{
				uint8_t *byte = tile + at.planes + (bit - 8) * grid_plane_bytes(*format) + place / 8;

				*byte = (uint8_t) ((*byte & ~(1u << place % 8)) | (number >> bit & 1) << place % 8);
			}
		}
	}
}

static void
grid_unpack_row(const GridFormat *format, const uint8_t *tile, uint32_t row, GridRow *to)
{
	const uint32_t n_points = 32 / format->inputs;

	to->d = get_half(tile, row);
	memset(to->signs, 0, sizeof to->signs);
	for (uint32_t sub = 0; sub < 8; sub++)
	{
		GridPlaces at = grid_places(format, sub);
		uint8_t signs[32] = {0};

		to->scales[sub] = format->halves ? tile[at.scales + row] : tile[at.scales + row] >> (sub % 2 * 4) & 15;
		get_bits(tile + at.signs, row, signs, 0);
		for (uint32_t i = 0; i < 32; i++)
			to->signs[4 * sub + i / 8] |= (uint8_t) (signs[turned_place(format, i)] << i % 8);
		for (uint32_t i = 0; i < n_points; i++)
		{
			uint32_t place = number_place(i, row), number = tile[at.numbers + place];

			for (uint32_t bit = 8; bit < format->n_bits; bit++)
				number |=
					(uint32_t) (tile[at.planes + (bit - 8) * grid_plane_bytes(*format) + place / 8] >> place % 8 & 1)
					<< bit;
			to->numbers[sub * n_points + i] = (uint16_t) number;
		}
	}
}

/* What a format's row in the table stands for. */
#define GRID_FORMAT(id, name)                                                                                          \
	void name##_expand(const uint8_t *source, float *out)                                                              \
	{                                                                                                                  \
		GridRow row;                                                                                                   \
                                                                                                                       \
		name##_read(source, &row);                                                                                     \
		grid_expand(&GRID_##id, &row, out);                                                                            \
	}                                                                                                                  \
                                                                                                                       \
	static void name##_pack_row(const uint8_t *source, uint32_t row, uint8_t *tile)                                    \
	{                                                                                                                  \
		GridRow from;                                                                                                  \
                                                                                                                       \
		name##_read(source, &from);                                                                                    \
		grid_pack_row(&GRID_##id, &from, row, tile);                                                                   \
	}                                                                                                                  \
                                                                                                                       \
	PACK_BY_ROWS(name)                                                                                                 \
                                                                                                                       \
	void name##_unpack(const uint8_t *tile, uint32_t row, float *out)                                                  \
	{                                                                                                                  \
		GridRow from;                                                                                                  \
                                                                                                                       \
		grid_unpack_row(&GRID_##id, tile, row, &from);                                                                 \
		grid_expand(&GRID_##id, &from, out);                                                                           \
	}

GRID_FORMAT(IQ2_XXS, iq2_xxs)
GRID_FORMAT(IQ2_XS, iq2_xs)
GRID_FORMAT(IQ2_S, iq2_s)
GRID_FORMAT(IQ3_XXS, iq3_xxs)
GRID_FORMAT(IQ3_S, iq3_s)
