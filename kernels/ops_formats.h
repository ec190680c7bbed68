/*
 * ops_formats.h - the products of one block of each tensor format, written once over sixteen lanes; ops_matmul.h, which
 * includes it, says how.
 *
 * Blocks of one shape share a function; a format's line in PRODUCTS says which and how far the next block is.
 */

/* One block of Q4_0 or Q5_0 (five_bits constant). */
LANE void
block_offset(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, const bool five_bits,
			 F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		if (five_bits)
			dot_five_bits(tile + 64 + 64 * first, block, n_tokens, OFFSET_16, sums);
		else
			dot_nibbles(tile + 64 + 64 * first, block, n_tokens, OFFSET_8, sums);
		EACH_GROUP add_scaled(block, n_tokens, f_load_f16(tile + 32 * (first + g)), sums[g], acc[first + g]);
	}
}

/* One block of Q4_1 or Q5_1. */
LANE void
block_min(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, const bool five_bits,
		  F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		if (five_bits)
			dot_five_bits(tile + 128 + 64 * first, block, n_tokens, OFFSET_NONE, sums);
		else
			dot_nibbles(tile + 128 + 64 * first, block, n_tokens, OFFSET_NONE, sums);
		EACH_GROUP add_scaled_with_min(block, n_tokens, f_load_f16(tile + 32 * (first + g)),
									   f_load_f16(tile + 64 + 32 * (first + g)), sums[g], acc[first + g]);
	}
}

LANE void
q8_0_block(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		begin_biased(block, n_tokens, sums);
#pragma GCC unroll 8
		for (uint32_t step = 0; step < 8; step += LANE_STEPS)
		{
			U8x64 w[LANE_STEPS][LANE_GROUPS];

			EACH_STEP EACH_GROUP w[s][g] = b_load(tile + 64 + (step + s) * 128 + (first + g) * 64);
			add_biased(panel_quants(block, 0) + 4 * step, n_tokens, w, sums);
		}
		EACH_GROUP end_pairs(n_tokens, sums[g]);
		EACH_GROUP add_scaled(block, n_tokens, f_load_f16(tile + 32 * (first + g)), sums[g], acc[first + g]);
	}
}

/* 32 inputs whose weights are nibbles that stand for table values, of the groups that start at weights. */
LANE void
dot_table(const uint8_t *weights, const uint8_t *block, const uint32_t n_tokens, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	begin_biased(block, n_tokens, sums);
#pragma GCC unroll 4
	for (uint32_t step = 0; step < 4; step += LANE_STEPS)
	{
		U8x64 low[LANE_STEPS][LANE_GROUPS], high[LANE_STEPS][LANE_GROUPS];

		EACH_STEP EACH_GROUP
		{
			U8x64 w = b_load(weights + (step + s) * 128 + g * 64);

			low[s][g] = b_values(iq4_table, b_low(w));
			high[s][g] = b_values(iq4_table, b_high(w));
		}
		add_biased(panel_quants(block, 0) + 4 * step, n_tokens, low, sums);
		add_biased(panel_quants(block, 0) + 16 + 4 * step, n_tokens, high, sums);
	}
	EACH_GROUP end_pairs(n_tokens, sums[g]);
}

/* One block of IQ4_NL. */
LANE void
iq4_nl_block(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		dot_table(tile + 64 + 64 * first, block, n_tokens, sums);
		EACH_GROUP add_scaled(block, n_tokens, f_load_f16(tile + 32 * (first + g)), sums[g], acc[first + g]);
	}
}

/* One sub-block of IQ4_XS: its 32 scales and its nibbles. */
LANE void
iq4_xs_block(const uint8_t *scales, const uint8_t *weights, const uint8_t *block, const uint32_t n_tokens,
			 const F32x16 d[2], F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		dot_table(weights + 64 * first, block, n_tokens, sums);
		EACH_GROUP add_scaled(block, n_tokens, f_mul(d[first + g], f_load_s8(scales + 16 * (first + g))), sums[g],
							  acc[first + g]);
	}
}

/*
 * One block of MXFP4: the exponents stand behind the nibbles, or in every other block before them. Weights are as small
 * as those of five bits: two chains of four steps.
 */
LANE void
mxfp4_block(const uint8_t *nibbles, const uint8_t *exponents, const uint8_t *block, const uint32_t n_tokens,
			F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		EACH_TOKEN
		{
			I32x16 start = offset_start(block, n_tokens, t, OFFSET_16);

			EACH_GROUP sums[g][t] = start;
		}
		EACH_GROUP begin_pairs(n_tokens, sums[g]);
#pragma GCC unroll 2
		for (uint32_t chain = 0; chain < 2; chain++)
		{
			Dots dots[LANE_GROUPS][PANEL_TOKENS];

			EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
#pragma GCC unroll 2
			for (uint32_t step = 2 * chain; step < 2 * chain + 2; step += LANE_STEPS)
			{
				U8x64 low[LANE_STEPS][LANE_GROUPS], high[LANE_STEPS][LANE_GROUPS];

				EACH_STEP EACH_GROUP
				{
					U8x64 w = b_load(nibbles + (step + s) * 128 + (first + g) * 64);

					low[s][g] = b_values(mxfp4_table, b_low(w));
					high[s][g] = b_values(mxfp4_table, b_high(w));
				}
				add_dots(panel_quants(block, 0) + 4 * step, n_tokens, low, dots);
				add_dots(panel_quants(block, 0) + 16 + 4 * step, n_tokens, high, dots);
			}
			EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
		}
		EACH_GROUP end_pairs(n_tokens, sums[g]);
		EACH_GROUP add_scaled(block, n_tokens, f_load_exponent(exponents + 16 * (first + g)), sums[g], acc[first + g]);
	}
}

/* Weights of step step of the four (IQ3: two) that a look-up of points serves. */
LANE U8x64
point_weights(const GridFormat format, U8x64 points, U8x64 signs, const uint32_t lookup, const uint32_t step)
{
	U8x64 numbers = format.inputs == 8 ? b_pair_to_0(points, (int) step) : step == 0 ? b_low(points) : b_high(points);

	return b_turn_sign(b_values(format.magnitudes, numbers), signs, (int) (format.inputs / 2 * lookup + step));
}

/* Scales of one group of rows: of sub-block sub, or of one of its halves. */
LANE F32x16
point_scale(const GridFormat format, const uint8_t *head, const uint32_t sub, const uint32_t half, const uint32_t group,
			F32x16 d)
{
	const uint8_t *at = head + (format.halves ? sub : sub / 2) * 32 + 16 * group;
	F32x16 bits = (format.halves ? half : sub % 2) == 0 ? f_load_u8_low(at) : f_load_u8_high(at);

	return f_mul(d, f_fma(bits, f_set(2 * format.unit), f_set(format.unit)));
}

/*
 * Sub-block sub of IQ2 or IQ3 (format is constant); head: what stands behind d. Weights are 64 + w, up to 126, so that
 * a chain is one step.
 */
LANE void
block_points(const GridFormat format, const uint8_t *head, const uint8_t *block, const uint32_t n_tokens,
			 const uint32_t sub, const F32x16 d[2], F32x16 acc[2][PANEL_TOKENS])
{
	const uint8_t *planes = head + grid_scales_bytes(format) + sub * (format.n_bits - 8) * grid_plane_bytes(format);
	const uint8_t *signs = head + grid_scales_bytes(format) + grid_planes_bytes(format) + sub * grid_sub_bytes(format);
	const uint8_t *numbers = signs + 128;
	const uint32_t n_pieces = format.halves ? 2 : 1, n_steps = format.inputs / 2, n_lookups = 8 / n_steps;
	uint8_t turned[PANEL_TOKENS][32];

	EACH_TOKEN b_turn(panel_quants(block, t), format.inputs, turned[t]);
	EACH_PASS
#pragma GCC unroll 2
	for (uint32_t piece = 0; piece < n_pieces; piece++)
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		EACH_TOKEN
		{
			const int16_t *pair = panel_sums(block, n_tokens, t);
			I32x16 start = i_negative_shifted(format.halves ? i_pair_half(pair, piece) : i_pair_sum(pair), 6);

			EACH_GROUP sums[g][t] = start;
		}
		EACH_GROUP begin_pairs(n_tokens, sums[g]);
#pragma GCC unroll 4
		for (uint32_t lookup = piece * n_lookups / n_pieces; lookup < (piece + 1) * n_lookups / n_pieces; lookup++)
		{
			U8x64 points[LANE_GROUPS];

			EACH_GROUP points[g] =
				b_points(format, numbers + 64 * lookup + 32 * (first + g), planes + 8 * lookup + 4 * (first + g));
#pragma GCC unroll 4
			for (uint32_t step = 0; step < n_steps; step += LANE_STEPS)
			{
				U8x64 w[LANE_STEPS][LANE_GROUPS];

				EACH_STEP EACH_GROUP w[s][g] =
					point_weights(format, points[g], b_load(signs + 64 * (first + g)), lookup, step + s);
				add_short_chains(turned[0] + 4 * (n_steps * lookup + step), n_tokens, w, sums);
			}
		}
		EACH_GROUP end_pairs(n_tokens, sums[g]);
		EACH_GROUP add_scaled(block, n_tokens, point_scale(format, head, sub, piece, first + g, d[first + g]), sums[g],
							  acc[first + g]);
	}
}

/* One sub-block of 32 inputs of Q4_K or Q5_K; d and dmin are those of the 256. */
LANE void
block_k(const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const bool five_bits, const F32x16 d[2],
		const F32x16 dmin[2], F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		if (five_bits)
			dot_five_bits(sub + 64 + 64 * first, block, n_tokens, OFFSET_NONE, sums);
		else
			dot_nibbles(sub + 64 + 64 * first, block, n_tokens, OFFSET_NONE, sums);
		EACH_GROUP
		{
			F32x16 scale = f_mul(d[first + g], f_load_u8(sub + 16 * (first + g)));
			F32x16 min = f_sub(f_zero(), f_mul(dmin[first + g], f_load_u8(sub + 32 + 16 * (first + g))));

			add_scaled_with_min(block, n_tokens, scale, min, sums[g], acc[first + g]);
		}
	}
}

/* Weights of step (0 … 3) of one half of a sub-block of weights of two, three or six bits, of group group. */
LANE U8x64
half_weights(const uint32_t bits, const uint8_t *sub, const uint32_t half, const uint32_t step, const uint32_t group)
{
	U8x64 pairs = b_load(sub + 64 + ((step & 1) * 2 + group) * 64);
	const int pair = (int) (step / 2 + 2 * half);
	U8x64 other;

	if (bits == 2)
		return b_pair_to_0(pairs, pair);
	if (bits == 3)
		return b_or(b_pair_to_0(pairs, pair), b_bit_to_2(b_load(sub + 64 + 256 + group * 64), (int) (step + 4 * half)));
	other = b_load(sub + 64 + 256 + (step * 2 + group) * 64);
	return b_or(half == 0 ? b_low(other) : b_high(other), b_pair_to_4(pairs, pair));
}

/*
 * One half (16 inputs, constant) of such a sub-block for the groups from first on. Weights of six bits may be added
 * twice before 16 bits are full, those of two and three as often as there are steps.
 */
LANE void
dot_half(const uint32_t bits, const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const uint32_t half,
		 const uint32_t first, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	const uint32_t chain = bits == 6 ? 2 : 4;

	EACH_TOKEN
	{
		I32x16 start = i_zero();

		if (bits != 2)
			start = i_negative_shifted(i_pair_half(panel_sums(block, n_tokens, t), half), bits == 6 ? 5 : 2);
		EACH_GROUP sums[g][t] = start;
	}
	EACH_GROUP begin_pairs(n_tokens, sums[g]);
#pragma GCC unroll 2
	for (uint32_t from = 0; from < 4; from += chain)
	{
		Dots dots[LANE_GROUPS][PANEL_TOKENS];

		EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
#pragma GCC unroll 4
		for (uint32_t step = from; step < from + chain; step += LANE_STEPS)
		{
			U8x64 w[LANE_STEPS][LANE_GROUPS];

			EACH_STEP EACH_GROUP w[s][g] = half_weights(bits, sub, half, step + s, first + g);
			add_dots(panel_quants(block, 0) + 16 * half + 4 * step, n_tokens, w, dots);
		}
		EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
	}
	EACH_GROUP end_pairs(n_tokens, sums[g]);
}

/* One sub-block of 32 inputs of Q3_K or Q6_K: with a scale for each half. */
LANE void
block_halves(const uint32_t bits, const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const F32x16 d[2],
			 F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
#pragma GCC unroll 2
	for (uint32_t half = 0; half < 2; half++)
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		if (n_tokens > 2)
		{
			sub = load_again(sub);
			block = load_again(block);
		}
		dot_half(bits, sub, block, n_tokens, half, first, sums);
		EACH_GROUP add_scaled(block, n_tokens, f_mul(d[first + g], f_load_s8(sub + 32 * half + 16 * (first + g))),
							  sums[g], acc[first + g]);
	}
}

/* One sub-block of 32 inputs of Q2_K: with a scale and a min for each half. */
LANE void
q2_k_block(const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const F32x16 d[2], const F32x16 dmin[2],
		   F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
#pragma GCC unroll 2
	for (uint32_t half = 0; half < 2; half++)
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		if (n_tokens > 2)
		{
			sub = load_again(sub);
			block = load_again(block);
		}
		dot_half(2, sub, block, n_tokens, half, first, sums);
		EACH_GROUP
		{
			const uint8_t *scales = sub + 32 * half + 16 * (first + g);
			F32x16 scale = f_mul(d[first + g], f_load_u8_low(scales));
			F32x16 min = f_sub(f_zero(), f_mul(dmin[first + g], f_load_u8_high(scales)));

			EACH_TOKEN
			{
				F32x16 half_sum = f_from_i32(i_pair_half(panel_sums(block, n_tokens, t), half));
				F32x16 value = f_fma(min, half_sum, f_mul(scale, f_from_i32(sums[g][t])));

				acc[first + g][t] = f_fma(value, panel_scale(block, n_tokens, t), acc[first + g][t]);
			}
		}
	}
}

/*
 * What a format's row stands for here: NAME_products() adds the products of block number b (of 32 inputs) to acc and
 * returns where the next block's weights begin. d, dmin: of formats with sub-blocks, as far as they have them.
 */
#define PRODUCTS(name, sum, next)                                                                                      \
	LANE const uint8_t *name##_products(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens,            \
										const uint32_t b, const F32x16 d[2], const F32x16 dmin[2],                     \
										F32x16 acc[2][PANEL_TOKENS])                                                   \
	{                                                                                                                  \
		(void) b, (void) d, (void) dmin;                                                                               \
		sum;                                                                                                           \
		return next;                                                                                                   \
	}

PRODUCTS(q4_0, block_offset(tile, block, n_tokens, false, acc), tile + TILE_Q4_0_BYTES)
PRODUCTS(q5_0, block_offset(tile, block, n_tokens, true, acc), tile + TILE_Q5_0_BYTES)
PRODUCTS(q4_1, block_min(tile, block, n_tokens, false, acc), tile + TILE_Q4_1_BYTES)
PRODUCTS(q5_1, block_min(tile, block, n_tokens, true, acc), tile + TILE_Q5_1_BYTES)
PRODUCTS(q8_0, q8_0_block(tile, block, n_tokens, acc), tile + TILE_Q8_0_BYTES)
PRODUCTS(q2_k, q2_k_block(tile, block, n_tokens, d, dmin, acc), tile + TILE_Q2_K_SUB_BYTES)
PRODUCTS(q3_k, block_halves(3, tile, block, n_tokens, d, acc), tile + TILE_Q3_K_SUB_BYTES)
PRODUCTS(q4_k, block_k(tile, block, n_tokens, false, d, dmin, acc), tile + TILE_Q4_K_SUB_BYTES)
PRODUCTS(q5_k, block_k(tile, block, n_tokens, true, d, dmin, acc), tile + TILE_Q5_K_SUB_BYTES)
PRODUCTS(q6_k, block_halves(6, tile, block, n_tokens, d, acc), tile + TILE_Q6_K_SUB_BYTES)
PRODUCTS(iq4_nl, iq4_nl_block(tile, block, n_tokens, acc), tile + TILE_Q4_0_BYTES)
/* the scales of two sub-blocks stand before both */
PRODUCTS(iq4_xs, iq4_xs_block(tile + b % 2 * 32, tile + 64 + b % 2 * 512, block, n_tokens, d, acc),
		 tile + b % 2 * TILE_IQ4_XS_PAIR_BYTES)
/* an odd block begins in the middle of a line */
PRODUCTS(mxfp4, mxfp4_block(tile + b % 2 * 32, b % 2 ? tile : tile + 512, block, n_tokens, acc),
		 tile + TILE_MXFP4_BYTES)
/* what stands behind d belongs to all eight sub-blocks */
#define POINT_PRODUCTS(id, name)                                                                                       \
	PRODUCTS(name, block_points(GRID_##id, tile, block, n_tokens, b % 8, d, acc),                                      \
			 tile + (b % 8 == 7 ? TILE_##id##_BYTES - 64 : 0))
POINT_PRODUCTS(IQ2_XXS, iq2_xxs)
POINT_PRODUCTS(IQ2_XS, iq2_xs)
POINT_PRODUCTS(IQ2_S, iq2_s)
POINT_PRODUCTS(IQ3_XXS, iq3_xxs)
POINT_PRODUCTS(IQ3_S, iq3_s)

/* Sixteen weights of a float format. */
LANE F32x16
f32_weights(const uint8_t *at)
{
	return f_load((const float *) at);
}

LANE F32x16
f16_weights(const uint8_t *at)
{
	return f_load_f16(at);
}

LANE F32x16
bf16_weights(const uint8_t *at)
{
	return f_load_bf16(at);
}
