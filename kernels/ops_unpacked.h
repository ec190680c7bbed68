/*
 * ops_unpacked.h - products with weights that were unpacked before, written once over sixteen lanes; a part of
 * ops_matmul.h, over ops_formats.h.
 *
 * To look up points and to put third bits to pairs takes longer than to multiply what comes of it. With several tokens
 * that is done once for all of them: a block of 32 inputs becomes its scales as floats, just as ops_formats.h makes
 * them, and bytes in the order of inputs. What follows is the same sums of integers and the same operations on floats,
 * so it is the same bits.
 */

/*
 * Up to here weights are used as they stand in a tile. Beyond, a copy of each format's kernel for each count of tokens
 * would be a quarter of all kernels' code, and is not faster.
 */
#define DIRECT_TOKENS 2

/* Is it one of UNPACKED_FORMATS? A constant, so that no code is made of what it excludes. */
#define UNPACKED_BIT(id, ...) | 1ull << TENSOR_##id
#define TYPE_IS_UNPACKED(id) (((0 UNPACKED_FORMATS(UNPACKED_BIT)) >> TENSOR_##id & 1) != 0)

/* Bytes of an unpacked block. */
#define UNPACKED_BLOCK(halves) (((halves) ? 256 : 128) + 1024)

/* A block: scales of both groups of rows (of each half), then the steps. */
LANE float *
unpacked_scales(uint8_t *block, const uint32_t half, const uint32_t group)
{
	return (float *) (void *) block + 32 * half + 16 * group;
}

LANE uint8_t *
unpacked_step(uint8_t *block, const bool halves, const uint32_t step, const uint32_t group)
{
	return block + UNPACKED_BLOCK(halves) - 1024 + 128 * step + 64 * group;
}

/* Block b (of 32 inputs) of a tile of IQ2 or IQ3 (format is constant): from turned order back to that of inputs. */
LANE void
unpack_points(const GridFormat format, const size_t tile_bytes, const uint8_t *tile, const uint32_t b, uint8_t *block)
{
	const uint8_t *head = tile + b / 8 * tile_bytes + 64;
	const uint32_t sub = b % 8, n_steps = format.inputs / 2;
	const uint8_t *planes = head + grid_scales_bytes(format) + sub * (format.n_bits - 8) * grid_plane_bytes(format);
	const uint8_t *signs = head + grid_scales_bytes(format) + grid_planes_bytes(format) + sub * grid_sub_bytes(format);
	const uint8_t *numbers = signs + 128;

	for (uint32_t g = 0; g < 2; g++)
	{
		F32x16 d = f_load_f16(head - 64 + 32 * g);

		for (uint32_t half = 0; half < (format.halves ? 2 : 1); half++)
			f_store(unpacked_scales(block, half, g), point_scale(format, head, sub, half, g, d));
#pragma GCC unroll 4
		for (uint32_t lookup = 0; lookup < 8 / n_steps; lookup++)
		{
			U8x64 points = b_points(format, numbers + 64 * lookup + 32 * g, planes + 8 * lookup + 4 * g);

#pragma GCC unroll 2
			for (uint32_t step = 0; step < n_steps; step += 2)
			{
				U8x64 w = point_weights(format, points, b_load(signs + 64 * g), lookup, step);
				U8x64 next = point_weights(format, points, b_load(signs + 64 * g), lookup, step + 1);
				uint32_t at = n_steps * lookup + step / 2;

				b_store(unpacked_step(block, format.halves, at, g), b_join_low(w, next));
				b_store(unpacked_step(block, format.halves, at + n_steps / 2, g), b_join_high(w, next));
			}
		}
	}
}

/* Block b of a tile of Q3_K. */
LANE void
q3_k_unpack_block(const uint8_t *tile, const uint32_t b, uint8_t *block)
{
	const uint8_t *head = tile + (size_t) (b / 8) * TILE_Q3_K_BYTES;
	const uint8_t *sub = head + 64 + b % 8 * TILE_Q3_K_SUB_BYTES;

	for (uint32_t g = 0; g < 2; g++)
#pragma GCC unroll 2
		for (uint32_t half = 0; half < 2; half++)
		{
			F32x16 d = f_load_f16(head + 32 * g);

			f_store(unpacked_scales(block, half, g), f_mul(d, f_load_s8(sub + 32 * half + 16 * g)));
#pragma GCC unroll 4
			for (uint32_t step = 0; step < 4; step++)
				b_store(unpacked_step(block, true, 4 * half + step, g), half_weights(3, sub, half, step, g));
		}
}

#define UNPACK_POINTS(id, name)                                                                                        \
	LANE void name##_unpack_block(const uint8_t *tile, const uint32_t b, uint8_t *block)                               \
	{                                                                                                                  \
		unpack_points(GRID_##id, TILE_##id##_BYTES, tile, b, block);                                                   \
	}
UNPACK_POINTS(IQ2_XXS, iq2_xxs)
UNPACK_POINTS(IQ2_XS, iq2_xs)
UNPACK_POINTS(IQ2_S, iq2_s)
UNPACK_POINTS(IQ3_XXS, iq3_xxs)
UNPACK_POINTS(IQ3_S, iq3_s)

#define RUN_UNPACK(id, name, halves, ...)                                                                              \
	case TENSOR_##id:                                                                                                  \
		for (uint32_t b = 0; b < n_blocks; b++)                                                                        \
			name##_unpack_block(tile, first_block + b, unpacked + b * UNPACKED_BLOCK(halves));                         \
		break;

static void
op_unpack(TensorType type, const uint8_t *tile, uint32_t first_block, uint32_t n_blocks, uint8_t *unpacked)
{
	switch (type)
	{
		UNPACKED_FORMATS(RUN_UNPACK)
		default:
			break; /* no format of this kind: the caller has looked */
	}
}

/* Steps from … to-1 of a block, in chains of so many (all constant): sums += products with all tokens. */
LANE void
dot_unpacked(uint8_t *block, const bool halves, const uint32_t chain, const uint8_t *panel, const uint32_t n_tokens,
			 const uint32_t from, const uint32_t to, const uint32_t first, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	const uint32_t length = chain > LANE_STEPS ? chain : LANE_STEPS;

#pragma GCC unroll 8
	for (uint32_t begin = from; begin < to; begin += length)
	{
		Dots dots[LANE_GROUPS][PANEL_TOKENS];

		if (chain > 1)
			EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
#pragma GCC unroll 4
		for (uint32_t step = begin; step < begin + length; step += LANE_STEPS)
		{
			U8x64 w[LANE_STEPS][LANE_GROUPS];

			EACH_STEP EACH_GROUP w[s][g] = b_load(unpacked_step(block, halves, step + s, first + g));
			if (chain > 1)
				add_dots(panel_quants(panel, 0) + 4 * step, n_tokens, w, dots);
			else
				add_short_chains(panel_quants(panel, 0) + 4 * step, n_tokens, w, sums);
		}
		if (chain > 1)
			EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
	}
}

/* One block; shape: halves, log2 of the bytes' offset, steps of a chain (all constant). */
LANE void
unpacked_block(uint8_t *block, const bool halves, const int offset_bits, const uint32_t chain, const uint8_t *panel,
			   const uint32_t n_tokens, F32x16 acc[2][PANEL_TOKENS])
{
	const uint32_t n_pieces = halves ? 2 : 1, n_steps = 8 / n_pieces;

	EACH_PASS
#pragma GCC unroll 2
	for (uint32_t piece = 0; piece < n_pieces; piece++)
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		panel = LANE_GROUPS == 1 ? load_again(panel) : panel;
		EACH_TOKEN
		{
			const int16_t *pair = panel_sums(panel, n_tokens, t);
			I32x16 start = i_negative_shifted(halves ? i_pair_half(pair, piece) : i_pair_sum(pair), offset_bits);

			EACH_GROUP sums[g][t] = start;
		}
		EACH_GROUP begin_pairs(n_tokens, sums[g]);
		dot_unpacked(block, halves, chain, panel, n_tokens, piece * n_steps, (piece + 1) * n_steps, first, sums);
		EACH_GROUP end_pairs(n_tokens, sums[g]);
		EACH_GROUP add_scaled(panel, n_tokens, f_load(unpacked_scales(block, piece, first + g)), sums[g],
							  acc[first + g]);
	}
}

/* Blocks one after the other for some tokens (constant). */
LANE void
unpacked_rows(const uint32_t n_tokens, const bool halves, const int offset_bits, const uint32_t chain,
			  const uint8_t *unpacked, const uint8_t *panel, uint32_t n_blocks, float *sums)
{
	F32x16 acc[2][PANEL_TOKENS];

	EACH_TOKEN for (uint32_t g = 0; g < 2; g++) acc[g][t] = f_load(sums + TILE_ROWS * t + 16 * g);
	for (uint32_t b = 0; b < n_blocks; b++)
		unpacked_block((uint8_t *) unpacked + b * UNPACKED_BLOCK(halves), halves, offset_bits, chain,
					   panel + (size_t) b * ACTIVATION_BLOCK_BYTES * n_tokens, n_tokens, acc);
	EACH_TOKEN for (uint32_t g = 0; g < 2; g++) f_store(sums + TILE_ROWS * t + 16 * g, acc[g][t]);
}

/* One kernel for all formats of a shape. */
#define SHAPE_KERNEL(name, halves, offset_bits, chain)                                                                 \
	static void matmul_##name(const uint8_t *unpacked, const uint8_t *panel, uint32_t n_tokens, uint32_t n_blocks,     \
							  float *sums)                                                                             \
	{                                                                                                                  \
		FOR_COUNT(n_tokens, unpacked_rows, halves, offset_bits, chain, unpacked, panel, n_blocks, sums)                \
	}
UNPACKED_SHAPES(SHAPE_KERNEL)

#define RUN_UNPACKED(id, name, halves, shape)                                                                          \
	case TENSOR_##id:                                                                                                  \
		matmul_##shape(unpacked, panel, n_tokens, n_blocks, sums);                                                     \
		break;

static void
op_matmul_unpacked(TensorType type, const uint8_t *unpacked, const uint8_t *panel, uint32_t n_tokens, uint32_t n_blocks,
				   float *sums)
{
	switch (type)
	{
		UNPACKED_FORMATS(RUN_UNPACKED)
		default:
			break;
	}
}

/* A whole tile and a panel: the weights of 256 inputs at a time. */
static void
matmul_piecewise(TensorType type, const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens, uint32_t n_cols,
				 float *y, size_t y_stride, Prefetch prefetch)
{
	_Alignas(64) uint8_t unpacked[8 * UNPACKED_BLOCK(true)];
	_Alignas(64) float sums[PANEL_TOKENS * TILE_ROWS];

	memset(sums, 0, n_tokens * TILE_ROWS * sizeof *sums);
	for (uint32_t b = 0; b < n_cols / 32; b += 8, panel += (size_t) 8 * ACTIVATION_BLOCK_BYTES * n_tokens)
	{
		for (uint32_t share = 0; share < 8; share++)
			prefetch_share(&prefetch);
		op_unpack(type, tile, b, 8, unpacked);
		op_matmul_unpacked(type, unpacked, panel, n_tokens, 8, sums);
	}
	for (uint32_t t = 0; t < n_tokens; t++)
		memcpy(y + t * y_stride, sums + t * TILE_ROWS, TILE_ROWS * sizeof *sums);
}
