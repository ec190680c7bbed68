/*
 * ops_matmul.h - quantizing activations and multiplying tiles, written once over sixteen lanes; see ops_vector.h for
 * how.
 *
 * n_tokens is a constant in every kernel (the switch at the end makes one copy for each), so that accumulators are
 * registers. For each block of 32 inputs: integer sums start with the correction for the weights' offset, gather the
 * products, and go to the float accumulators with one fused multiply-add: the same order for every output whatever
 * n_tokens is.
 */

#define EACH_TOKEN _Pragma("GCC unroll 8") for (uint32_t t = 0; t < n_tokens; t++)

/*
 * The two groups of 16 rows of a tile go together where accumulators for both fit the registers (LANE_GROUPS 2), one
 * after the other where they do not (1).
 */
#define EACH_PASS for (uint32_t first = 0; first < 2; first += LANE_GROUPS)
#define EACH_GROUP _Pragma("GCC unroll 2") for (uint32_t g = 0; g < LANE_GROUPS; g++)

static void
op_quantize_panel(const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols, uint8_t *panel)
{
	for (uint32_t t = 0; t < n_tokens; t++)
	{
		uint8_t *block = panel;

		for (uint32_t c = 0; c < n_cols; c += 32, block += (size_t) ACTIVATION_BLOCK_BYTES * n_tokens)
		{
			F32x16 a = f_load(x + t * x_stride + c), b = f_load(x + t * x_stride + c + 16);
			float max = f_largest(f_max(f_abs(a), f_abs(b)));
			F32x16 inverse = f_set(max > 0 ? 127.0f / max : 0.0f);
			I32x16 qa = i_from_f32(f_mul(a, inverse)), qb = i_from_f32(f_mul(b, inverse));
			float scale = max / 127.0f;
			int16_t sums[2] = {(int16_t) i_sum(qa), (int16_t) i_sum(qb)};

			i_store_s8(block + t * 32, qa);
			i_store_s8(block + t * 32 + 16, qb);
			memcpy(block + 32 * n_tokens + 4 * t, &scale, 4);
			memcpy(block + 36 * n_tokens + 4 * t, sums, 4);
		}
	}
}

/*
 * The same pointer, unknown to the compiler: what was loaded through it before is loaded again (from the first-level
 * cache) instead of being kept in registers that are not there.
 */
LANE const uint8_t *
load_again(const uint8_t *pointer)
{
	__asm__("" : "+r"(pointer));
	return pointer;
}

/* The panel's members for one block: quants of token t, its scale, its two sums. */
LANE const uint8_t *
panel_quants(const uint8_t *block, uint32_t t)
{
	return block + t * 32;
}

LANE F32x16
panel_scale(const uint8_t *block, uint32_t n_tokens, uint32_t t)
{
	float scale;

	memcpy(&scale, block + 32 * n_tokens + 4 * t, 4);
	return f_set(scale);
}

LANE const int16_t *
panel_sums(const uint8_t *block, uint32_t n_tokens, uint32_t t)
{
	return (const int16_t *) (block + 36 * n_tokens + 4 * t);
}

/* What comes next is asked for a share at a time, so that its reads overlap with this tile's products. */
typedef struct Prefetch
{
	const uint8_t *at;
	size_t lines_per_block;
} Prefetch;

LANE void
prefetch_share(Prefetch *prefetch)
{
	for (size_t i = 0; i < prefetch->lines_per_block; i++, prefetch->at += 64)
		__builtin_prefetch(prefetch->at, 0, 2);
}

/* What a type's weights lack of their offset: integer sums start with minus offset times the sum of activations. */
typedef enum Offset
{
	OFFSET_NONE,
	OFFSET_8,
	OFFSET_16,
} Offset;

LANE I32x16
offset_start(const uint8_t *block, const uint32_t n_tokens, uint32_t t, const Offset offset)
{
	if (offset == OFFSET_NONE)
		return i_zero();
	return i_negative_shifted(i_pair_sum(panel_sums(block, n_tokens, t)), offset == OFFSET_8 ? 3 : 4);
}

/*
 * Steps from … to-1 (of 4) of weights that are nibbles, with fifth bits where there are some (else NULL), of the groups
 * that start at weights and bits: onto dots, for all tokens.
 */
LANE void
add_steps(const uint8_t *weights, const uint8_t *bits, const uint8_t *block, const uint32_t n_tokens,
		  const uint32_t from, const uint32_t to, Dots dots[LANE_GROUPS][PANEL_TOKENS])
{
#pragma GCC unroll 4
	for (uint32_t step = from; step < to; step++)
	{
		U8x64 low[LANE_GROUPS], high[LANE_GROUPS];

		EACH_GROUP
		{
			U8x64 w = b_load(weights + step * 128 + g * 64);

			low[g] = b_low(w);
			high[g] = b_high(w);
			if (bits)
			{
				low[g] = b_or(low[g], b_bit_to_4(b_load(bits + g * 64), (int) step));
				high[g] = b_or(high[g], b_bit_to_4(b_load(bits + g * 64), (int) step + 4));
			}
		}
		EACH_TOKEN
		{
			U8x64 x = b_broadcast4(panel_quants(block, t) + 4 * step);

			EACH_GROUP dots[g][t] = d_add(dots[g][t], low[g], x);
		}
		EACH_TOKEN
		{
			U8x64 x = b_broadcast4(panel_quants(block, t) + 16 + 4 * step);

			EACH_GROUP dots[g][t] = d_add(dots[g][t], high[g], x);
		}
	}
}

/* 32 inputs whose weights are nibbles: sums = start + products with all tokens. One chain of 8 steps. */
LANE void
dot_nibbles(const uint8_t *weights, const uint8_t *block, const uint32_t n_tokens, const Offset offset,
			I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	Dots dots[LANE_GROUPS][PANEL_TOKENS];

	EACH_TOKEN
	{
		I32x16 start = offset_start(block, n_tokens, t, offset);

		EACH_GROUP dots[g][t] = d_begin(start);
	}
	add_steps(weights, NULL, block, n_tokens, 0, 4, dots);
	EACH_TOKEN
	{
		I32x16 start = offset_start(block, n_tokens, t, offset);

		EACH_GROUP sums[g][t] = d_total(dots[g][t], start);
	}
}

/* The same for weights of five bits, whose nibbles stand 128 bytes after bits: two chains of 4 steps. */
LANE void
dot_five_bits(const uint8_t *bits, const uint8_t *block, const uint32_t n_tokens, const Offset offset,
			  I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	EACH_TOKEN
	{
		I32x16 start = offset_start(block, n_tokens, t, offset);

		EACH_GROUP sums[g][t] = start;
	}
#pragma GCC unroll 2
	for (uint32_t chain = 0; chain < 2; chain++)
	{
		Dots dots[LANE_GROUPS][PANEL_TOKENS];

		EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
		add_steps(bits + 128, bits, block, n_tokens, 2 * chain, 2 * chain + 2, dots);
		EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
	}
}

/* Integer sums of weights that hold w + 128. */
LANE void
begin_biased(const uint8_t *block, const uint32_t n_tokens, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	EACH_TOKEN
	{
		I32x16 start = i_start_biased(panel_sums(block, n_tokens, t));

		EACH_GROUP sums[g][t] = start;
	}
}

/* One step of them; x: where the first token's four activations stand. */
LANE void
add_biased(const uint8_t *x, const uint32_t n_tokens, const U8x64 weights[LANE_GROUPS],
		   I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	EACH_TOKEN
	{
		U8x64 four = b_broadcast4(x + 32 * t);

		EACH_GROUP sums[g][t] = i_dot_biased(sums[g][t], weights[g], four);
	}
}

/* acc += integer sums * weight scale * activation scale, for one group of rows */
LANE void
add_scaled(const uint8_t *block, const uint32_t n_tokens, F32x16 scale, const I32x16 sums[PANEL_TOKENS],
		   F32x16 acc[PANEL_TOKENS])
{
	EACH_TOKEN
	acc[t] = f_fma(f_from_i32(sums[t]), f_mul(scale, panel_scale(block, n_tokens, t)), acc[t]);
}

/*
 * acc += (integer sums * weight scale + sum of the block's activations * min) * activation scale, for one group of
 * rows: the sum carries the part of a weight that does not depend on its quant.
 */
LANE void
add_scaled_with_min(const uint8_t *block, const uint32_t n_tokens, F32x16 scale, F32x16 min,
					const I32x16 sums[PANEL_TOKENS], F32x16 acc[PANEL_TOKENS])
{
	EACH_TOKEN
	{
		F32x16 block_sum = f_from_i32(i_pair_sum(panel_sums(block, n_tokens, t)));
		F32x16 value = f_fma(min, block_sum, f_mul(scale, f_from_i32(sums[t])));

		acc[t] = f_fma(value, panel_scale(block, n_tokens, t), acc[t]);
	}
}

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
block_q8_0(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, F32x16 acc[2][PANEL_TOKENS])
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][PANEL_TOKENS];

		block = LANE_GROUPS == 1 ? load_again(block) : block;
		begin_biased(block, n_tokens, sums);
#pragma GCC unroll 8
		for (uint32_t step = 0; step < 8; step++)
		{
			U8x64 w[LANE_GROUPS];

			EACH_GROUP w[g] = b_load(tile + 64 + step * 128 + (first + g) * 64);
			add_biased(panel_quants(block, 0) + 4 * step, n_tokens, w, sums);
		}
		EACH_GROUP add_scaled(block, n_tokens, f_load_f16(tile + 32 * (first + g)), sums[g], acc[first + g]);
	}
}

/* 32 inputs whose weights are nibbles that stand for table values, of the groups that start at weights. */
LANE void
dot_table(const uint8_t *weights, const uint8_t *block, const uint32_t n_tokens, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	begin_biased(block, n_tokens, sums);
#pragma GCC unroll 4
	for (uint32_t step = 0; step < 4; step++)
	{
		U8x64 low[LANE_GROUPS], high[LANE_GROUPS];

		EACH_GROUP
		{
			U8x64 w = b_load(weights + step * 128 + g * 64);

			low[g] = b_table(b_low(w));
			high[g] = b_table(b_high(w));
		}
		add_biased(panel_quants(block, 0) + 4 * step, n_tokens, low, sums);
		add_biased(panel_quants(block, 0) + 16 + 4 * step, n_tokens, high, sums);
	}
}

/* One block of IQ4_NL. */
LANE void
block_iq4_nl(const uint8_t *tile, const uint8_t *block, const uint32_t n_tokens, F32x16 acc[2][PANEL_TOKENS])
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
block_iq4_xs(const uint8_t *scales, const uint8_t *weights, const uint8_t *block, const uint32_t n_tokens,
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

/* Weights of step (0 … 3) of one half of a sub-block of Q2_K, Q3_K or Q6_K, of group group. */
LANE U8x64
half_weights(const TensorType type, const uint8_t *sub, const uint32_t half, const uint32_t step, const uint32_t group)
{
	U8x64 pairs = b_load(sub + 64 + ((step & 1) * 2 + group) * 64);
	const int pair = (int) (step / 2 + 2 * half);
	U8x64 other;

	if (type == TENSOR_Q2_K)
		return b_pair_to_0(pairs, pair);
	if (type == TENSOR_Q3_K)
		return b_or(b_pair_to_0(pairs, pair), b_bit_to_2(b_load(sub + 64 + 256 + group * 64), (int) (step + 4 * half)));
	other = b_load(sub + 64 + 256 + (step * 2 + group) * 64);
	return b_or(half == 0 ? b_low(other) : b_high(other), b_pair_to_4(pairs, pair));
}

/*
 * One half (16 inputs, constant) of a sub-block of Q2_K, Q3_K or Q6_K for the groups from first on. Weights of six bits
 * may be added twice before 16 bits are full, those of two and three as often as there are steps.
 */
LANE void
dot_half(const TensorType type, const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const uint32_t half,
		 const uint32_t first, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	const uint32_t chain = type == TENSOR_Q6_K ? 2 : 4;

	EACH_TOKEN
	{
		I32x16 start = i_zero();

		if (type != TENSOR_Q2_K)
			start = i_negative_shifted(i_pair_half(panel_sums(block, n_tokens, t), half), type == TENSOR_Q6_K ? 5 : 2);
		EACH_GROUP sums[g][t] = start;
	}
#pragma GCC unroll 2
	for (uint32_t from = 0; from < 4; from += chain)
	{
		Dots dots[LANE_GROUPS][PANEL_TOKENS];

		EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
#pragma GCC unroll 4
		for (uint32_t step = from; step < from + chain; step++)
		{
			U8x64 w[LANE_GROUPS];

			EACH_GROUP w[g] = half_weights(type, sub, half, step, first + g);
			EACH_TOKEN
			{
				U8x64 x = b_broadcast4(panel_quants(block, t) + 16 * half + 4 * step);

				EACH_GROUP dots[g][t] = d_add(dots[g][t], w[g], x);
			}
		}
		EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
	}
}

/* One sub-block of 32 inputs of Q3_K or Q6_K: with a scale for each half. */
LANE void
block_halves(const TensorType type, const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens,
			 const F32x16 d[2], F32x16 acc[2][PANEL_TOKENS])
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
		dot_half(type, sub, block, n_tokens, half, first, sums);
		EACH_GROUP add_scaled(block, n_tokens, f_mul(d[first + g], f_load_s8(sub + 32 * half + 16 * (first + g))),
							  sums[g], acc[first + g]);
	}
}

/* One sub-block of 32 inputs of Q2_K: with a scale and a min for each half. */
LANE void
block_q2_k(const uint8_t *sub, const uint8_t *block, const uint32_t n_tokens, const F32x16 d[2], const F32x16 dmin[2],
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
		dot_half(TENSOR_Q2_K, sub, block, n_tokens, half, first, sums);
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

/* All inputs of one tile for n_tokens (constant) tokens. */
LANE void
matmul_rows(const TensorType type, const uint8_t *tile, const uint8_t *panel, const uint32_t n_tokens, uint32_t n_cols,
			float *y, size_t y_stride, Prefetch prefetch)
{
	F32x16 acc[2][PANEL_TOKENS];
	const size_t panel_step = (size_t) ACTIVATION_BLOCK_BYTES * n_tokens;
	const bool has_minimums = type == TENSOR_Q2_K || type == TENSOR_Q4_K || type == TENSOR_Q5_K;
	const bool has_sub_blocks = has_minimums || type == TENSOR_Q3_K || type == TENSOR_Q6_K || type == TENSOR_IQ4_XS;
	uint32_t n_blocks = n_cols / 32;
	F32x16 d[2] = {f_zero(), f_zero()}, dmin[2] = {f_zero(), f_zero()};

	EACH_TOKEN acc[0][t] = acc[1][t] = f_zero();
	for (uint32_t b = 0; b < n_blocks; b++, panel += panel_step)
	{
		prefetch_share(&prefetch);
		if (has_sub_blocks && b % 8 == 0)
		{
			for (uint32_t g = 0; g < 2; g++)
			{
				d[g] = f_load_f16(tile + 32 * g);
				if (has_minimums)
					dmin[g] = f_load_f16(tile + 64 + 32 * g);
			}
			tile += has_minimums ? 128 : 64;
		}
		switch (type)
		{
			case TENSOR_Q4_0:
				block_offset(tile, panel, n_tokens, false, acc);
				tile += TILE_Q4_0_BYTES;
				break;
			case TENSOR_Q5_0:
				block_offset(tile, panel, n_tokens, true, acc);
				tile += TILE_Q5_0_BYTES;
				break;
			case TENSOR_Q4_1:
				block_min(tile, panel, n_tokens, false, acc);
				tile += TILE_Q4_1_BYTES;
				break;
			case TENSOR_Q5_1:
				block_min(tile, panel, n_tokens, true, acc);
				tile += TILE_Q5_1_BYTES;
				break;
			case TENSOR_Q8_0:
				block_q8_0(tile, panel, n_tokens, acc);
				tile += TILE_Q8_0_BYTES;
				break;
			case TENSOR_Q4_K:
				block_k(tile, panel, n_tokens, false, d, dmin, acc);
				tile += TILE_Q4_K_SUB_BYTES;
				break;
			case TENSOR_Q5_K:
				block_k(tile, panel, n_tokens, true, d, dmin, acc);
				tile += TILE_Q5_K_SUB_BYTES;
				break;
			case TENSOR_Q2_K:
				block_q2_k(tile, panel, n_tokens, d, dmin, acc);
				tile += TILE_Q2_K_SUB_BYTES;
				break;
			case TENSOR_Q3_K:
				block_halves(type, tile, panel, n_tokens, d, acc);
				tile += TILE_Q3_K_SUB_BYTES;
				break;
			case TENSOR_IQ4_NL:
				block_iq4_nl(tile, panel, n_tokens, acc);
				tile += TILE_Q4_0_BYTES;
				break;
			case TENSOR_IQ4_XS: /* the scales of two sub-blocks stand before both */
				block_iq4_xs(tile + b % 2 * 32, tile + 64 + b % 2 * 512, panel, n_tokens, d, acc);
				tile += b % 2 * TILE_IQ4_XS_PAIR_BYTES;
				break;
			default:
				block_halves(TENSOR_Q6_K, tile, panel, n_tokens, d, acc);
				tile += TILE_Q6_K_SUB_BYTES;
				break;
		}
	}
	EACH_TOKEN
	{
		f_store(y + t * y_stride, acc[0][t]);
		f_store(y + t * y_stride + 16, acc[1][t]);
	}
}

/* Sixteen weights of a float tile. */
LANE F32x16
float_weights(const TensorType type, const uint8_t *at)
{
	if (type == TENSOR_F32)
		return f_load((const float *) at);
	return type == TENSOR_F16 ? f_load_f16(at) : f_load_bf16(at);
}

/*
 * Float weights and activations: one fused multiply-add an input, in order. n_groups (constant): groups of rows from
 * first_group on, whose weights begin at tile.
 */
LANE void
matmul_float_groups(const TensorType type, const uint8_t *tile, const float *x, size_t x_stride,
					const uint32_t n_tokens, const uint32_t n_groups, uint32_t n_cols, float *y, size_t y_stride)
{
	const size_t element_bytes = type == TENSOR_F32 ? 4 : 2;
	F32x16 acc[2][PANEL_TOKENS];

	EACH_TOKEN for (uint32_t g = 0; g < n_groups; g++) acc[g][t] = f_zero();
	for (uint32_t c = 0; c < n_cols; c++, tile += TILE_ROWS * element_bytes)
	{
		F32x16 w[2];

		for (uint32_t g = 0; g < n_groups; g++)
			w[g] = float_weights(type, tile + g * 16 * element_bytes);
		EACH_TOKEN
		{
			F32x16 value = f_set(x[t * x_stride + c]);

			for (uint32_t g = 0; g < n_groups; g++)
				acc[g][t] = f_fma(w[g], value, acc[g][t]);
		}
	}
	EACH_TOKEN for (uint32_t g = 0; g < n_groups; g++) f_store(y + t * y_stride + g * 16, acc[g][t]);
}

/* Few tokens: both groups in one pass, as the bytes stand in memory. */
LANE void
matmul_float_rows(const TensorType type, const uint8_t *tile, const float *x, size_t x_stride, const uint32_t n_tokens,
				  uint32_t n_cols, float *y, size_t y_stride)
{
	if (LANE_GROUPS == 2 || n_tokens <= 2)
	{
		matmul_float_groups(type, tile, x, x_stride, n_tokens, 2, n_cols, y, y_stride);
		return;
	}
	for (uint32_t g = 0; g < 2; g++)
		matmul_float_groups(type, tile + g * 16 * (type == TENSOR_F32 ? 4 : 2), x, x_stride, n_tokens, 1, n_cols,
							y + g * 16, y_stride);
}

/* A copy of a kernel for each count (1 … 6) of tokens or rows. */
#define FOR_COUNT(count, call)                                                                                         \
	switch (count)                                                                                                     \
	{                                                                                                                  \
		case 1:                                                                                                        \
			call(1);                                                                                                   \
			break;                                                                                                     \
		case 2:                                                                                                        \
			call(2);                                                                                                   \
			break;                                                                                                     \
		case 3:                                                                                                        \
			call(3);                                                                                                   \
			break;                                                                                                     \
		case 4:                                                                                                        \
			call(4);                                                                                                   \
			break;                                                                                                     \
		case 5:                                                                                                        \
			call(5);                                                                                                   \
			break;                                                                                                     \
		default:                                                                                                       \
			call(6);                                                                                                   \
			break;                                                                                                     \
	}

#define QUANTIZED_KERNEL(name, type)                                                                                   \
	static void name(const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens, uint32_t n_cols, float *y,          \
					 size_t y_stride, Prefetch prefetch)                                                               \
	{                                                                                                                  \
		FOR_COUNT(n_tokens, name##_CALL)                                                                               \
	}

#define matmul_q4_0_CALL(T) matmul_rows(TENSOR_Q4_0, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q5_0_CALL(T) matmul_rows(TENSOR_Q5_0, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q4_1_CALL(T) matmul_rows(TENSOR_Q4_1, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q5_1_CALL(T) matmul_rows(TENSOR_Q5_1, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q8_0_CALL(T) matmul_rows(TENSOR_Q8_0, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q4_k_CALL(T) matmul_rows(TENSOR_Q4_K, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q5_k_CALL(T) matmul_rows(TENSOR_Q5_K, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q6_k_CALL(T) matmul_rows(TENSOR_Q6_K, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q2_k_CALL(T) matmul_rows(TENSOR_Q2_K, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_q3_k_CALL(T) matmul_rows(TENSOR_Q3_K, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_iq4_nl_CALL(T) matmul_rows(TENSOR_IQ4_NL, tile, panel, T, n_cols, y, y_stride, prefetch)
#define matmul_iq4_xs_CALL(T) matmul_rows(TENSOR_IQ4_XS, tile, panel, T, n_cols, y, y_stride, prefetch)
QUANTIZED_KERNEL(matmul_q4_0, TENSOR_Q4_0)
QUANTIZED_KERNEL(matmul_q5_0, TENSOR_Q5_0)
QUANTIZED_KERNEL(matmul_q4_1, TENSOR_Q4_1)
QUANTIZED_KERNEL(matmul_q5_1, TENSOR_Q5_1)
QUANTIZED_KERNEL(matmul_q8_0, TENSOR_Q8_0)
QUANTIZED_KERNEL(matmul_q4_k, TENSOR_Q4_K)
QUANTIZED_KERNEL(matmul_q5_k, TENSOR_Q5_K)
QUANTIZED_KERNEL(matmul_q6_k, TENSOR_Q6_K)
QUANTIZED_KERNEL(matmul_iq4_xs, TENSOR_IQ4_XS)
QUANTIZED_KERNEL(matmul_iq4_nl, TENSOR_IQ4_NL)
QUANTIZED_KERNEL(matmul_q3_k, TENSOR_Q3_K)
QUANTIZED_KERNEL(matmul_q2_k, TENSOR_Q2_K)

static void
op_matmul_quantized(TensorType type, const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens, uint32_t n_cols,
					float *y, size_t y_stride, const uint8_t *next, size_t next_bytes)
{
	uint32_t n_blocks = n_cols / 32;
	Prefetch prefetch = {next, next ? (next_bytes / 64 + n_blocks - 1) / n_blocks : 0};

	switch (type)
	{
		case TENSOR_Q4_0:
			matmul_q4_0(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q5_0:
			matmul_q5_0(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q4_1:
			matmul_q4_1(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q5_1:
			matmul_q5_1(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q8_0:
			matmul_q8_0(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q4_K:
			matmul_q4_k(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q5_K:
			matmul_q5_k(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q2_K:
			matmul_q2_k(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_Q3_K:
			matmul_q3_k(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_IQ4_NL:
			matmul_iq4_nl(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		case TENSOR_IQ4_XS:
			matmul_iq4_xs(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
		default:
			matmul_q6_k(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);
			break;
	}
}

#define FLOAT_CALL_F32(T) matmul_float_rows(TENSOR_F32, tile, x, x_stride, T, n_cols, y, y_stride)
#define FLOAT_CALL_F16(T) matmul_float_rows(TENSOR_F16, tile, x, x_stride, T, n_cols, y, y_stride)
#define FLOAT_CALL_BF16(T) matmul_float_rows(TENSOR_BF16, tile, x, x_stride, T, n_cols, y, y_stride)

static void
op_matmul_float(TensorType type, const uint8_t *tile, const float *x, size_t x_stride, uint32_t n_tokens,
				uint32_t n_cols, float *y, size_t y_stride)
{
	if (type == TENSOR_F32)
	{
		FOR_COUNT(n_tokens, FLOAT_CALL_F32)
	}
	else if (type == TENSOR_F16)
	{
		FOR_COUNT(n_tokens, FLOAT_CALL_F16)
	}
	else
	{
		FOR_COUNT(n_tokens, FLOAT_CALL_BF16)
	}
}
