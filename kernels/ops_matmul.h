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
 * Products are added for LANE_STEPS steps at a time. Where these are two, tokens sit in pairs: their sums are
 * interleaved once they have their start, and are taken apart behind the last product (lanes_i8mm.h).
 */
#define EACH_STEP _Pragma("GCC unroll 2") for (uint32_t s = 0; s < LANE_STEPS; s++)

#if LANE_STEPS == 2
LANE void
begin_pairs(const uint32_t n, I32x16 *sums)
{
#pragma GCC unroll 6
	for (uint32_t t = 0; t + 1 < n; t += 2)
		d_begin_pair(&sums[t], &sums[t + 1]);
}

LANE void
end_pairs(const uint32_t n, I32x16 *sums)
{
#pragma GCC unroll 6
	for (uint32_t t = 0; t + 1 < n; t += 2)
		d_end_pair(&sums[t], &sums[t + 1]);
}

/* Two steps of all groups for n_tokens tokens, 32 bytes from one's activations to the next one's. */
LANE void
add_two_steps(const uint8_t *x, const uint32_t n_tokens, const U8x64 weights[LANE_STEPS][LANE_GROUPS],
			  I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	const uint8_t *rows[PANEL_TOKENS];

	EACH_TOKEN rows[t] = x + 32 * t;
	EACH_GROUP d_add_two(sums[g], n_tokens, weights[0][g], weights[1][g], rows);
}
#else
#define begin_pairs(n, sums) ((void) (sums))
#define end_pairs(n, sums) ((void) (sums))
#endif

/* LANE_STEPS steps of weights that hold w + 128; x: where the first token's activations for them stand. */
LANE void
add_biased(const uint8_t *x, const uint32_t n_tokens, const U8x64 weights[LANE_STEPS][LANE_GROUPS],
		   I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
#if LANE_STEPS == 2
	add_two_steps(x, n_tokens, weights, sums);
#else
	EACH_TOKEN
	{
		U8x64 four = b_broadcast4(x + 32 * t);

		EACH_GROUP sums[g][t] = i_dot_biased(sums[g][t], weights[0][g], four);
	}
#endif
}

/* LANE_STEPS steps of a chain; x: as there. */
LANE void
add_dots(const uint8_t *x, const uint32_t n_tokens, const U8x64 weights[LANE_STEPS][LANE_GROUPS],
		 Dots dots[LANE_GROUPS][PANEL_TOKENS])
{
#if LANE_STEPS == 2
	add_two_steps(x, n_tokens, weights, dots);
#else
	EACH_TOKEN
	{
		U8x64 four = b_broadcast4(x + 32 * t);

		EACH_GROUP dots[g][t] = d_add(dots[g][t], weights[0][g], four);
	}
#endif
}

/* Chains that are no longer than LANE_STEPS steps; x: as there. */
LANE void
add_short_chains(const uint8_t *x, const uint32_t n_tokens, const U8x64 weights[LANE_STEPS][LANE_GROUPS],
				 I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
#if LANE_STEPS == 2
	add_two_steps(x, n_tokens, weights, sums);
#else
	EACH_TOKEN
	{
		U8x64 four = b_broadcast4(x + 32 * t);

		EACH_GROUP sums[g][t] = d_total(d_add(d_begin(sums[g][t]), weights[0][g], four), sums[g][t]);
	}
#endif
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
	for (uint32_t step = from; step < to; step += LANE_STEPS)
	{
		U8x64 low[LANE_STEPS][LANE_GROUPS], high[LANE_STEPS][LANE_GROUPS];

		EACH_STEP EACH_GROUP
		{
			U8x64 w = b_load(weights + (step + s) * 128 + g * 64);

			low[s][g] = b_low(w);
			high[s][g] = b_high(w);
			if (bits)
			{
				low[s][g] = b_or(low[s][g], b_bit_to_4(b_load(bits + g * 64), (int) (step + s)));
				high[s][g] = b_or(high[s][g], b_bit_to_4(b_load(bits + g * 64), (int) (step + s) + 4));
			}
		}
		add_dots(panel_quants(block, 0) + 4 * step, n_tokens, low, dots);
		add_dots(panel_quants(block, 0) + 16 + 4 * step, n_tokens, high, dots);
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
	EACH_GROUP begin_pairs(n_tokens, dots[g]);
	add_steps(weights, NULL, block, n_tokens, 0, 4, dots);
	EACH_GROUP end_pairs(n_tokens, dots[g]);
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
	EACH_GROUP begin_pairs(n_tokens, sums[g]);
#pragma GCC unroll 2
	for (uint32_t chain = 0; chain < 2; chain++)
	{
		Dots dots[LANE_GROUPS][PANEL_TOKENS];

		EACH_TOKEN EACH_GROUP dots[g][t] = d_begin(sums[g][t]);
		add_steps(bits + 128, bits, block, n_tokens, 2 * chain, 2 * chain + 2, dots);
		EACH_TOKEN EACH_GROUP sums[g][t] = d_total(dots[g][t], sums[g][t]);
	}
	EACH_GROUP end_pairs(n_tokens, sums[g]);
}

/* Where integer sums of weights that hold w + 128 begin. */
LANE void
begin_biased(const uint8_t *block, const uint32_t n_tokens, I32x16 sums[LANE_GROUPS][PANEL_TOKENS])
{
	EACH_TOKEN
	{
		I32x16 start = i_start_biased(panel_sums(block, n_tokens, t));

		EACH_GROUP sums[g][t] = start;
	}
	EACH_GROUP begin_pairs(n_tokens, sums[g]);
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

/* A copy of a kernel for each count (1 … 6) of tokens or rows. */
#define FOR_COUNT(count, call, ...)                                                                                    \
	switch (count)                                                                                                     \
	{                                                                                                                  \
		case 1:                                                                                                        \
			call(1, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
		case 2:                                                                                                        \
			call(2, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
		case 3:                                                                                                        \
			call(3, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
		case 4:                                                                                                        \
			call(4, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
		case 5:                                                                                                        \
			call(5, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
		default:                                                                                                       \
			call(6, __VA_ARGS__);                                                                                      \
			break;                                                                                                     \
	}

#include "ops_formats.h"

/* written over both */
#include "ops_unpacked.h"

#define ADD_PRODUCTS(id, name, ...)                                                                                    \
	case TENSOR_##id:                                                                                                  \
		tile = name##_products(tile, panel, n_tokens, b, d, dmin, acc);                                                \
		break;

/* All inputs of one tile for n_tokens tokens; type, n_scales and n_tokens are constants. */
LANE void
matmul_rows(const TensorType type, const uint32_t n_scales, const uint8_t *tile, const uint8_t *panel,
			const uint32_t n_tokens, uint32_t n_cols, float *y, size_t y_stride, Prefetch prefetch)
{
	F32x16 acc[2][PANEL_TOKENS];
	const size_t panel_step = (size_t) ACTIVATION_BLOCK_BYTES * n_tokens;
	uint32_t n_blocks = n_cols / 32;
	F32x16 d[2] = {f_zero(), f_zero()}, dmin[2] = {f_zero(), f_zero()};

	EACH_TOKEN acc[0][t] = acc[1][t] = f_zero();
	for (uint32_t b = 0; b < n_blocks; b++, panel += panel_step)
	{
		prefetch_share(&prefetch);
		if (n_scales > 0 && b % 8 == 0)
		{
			for (uint32_t g = 0; g < 2; g++)
			{
				d[g] = f_load_f16(tile + 32 * g);
				if (n_scales == 2)
					dmin[g] = f_load_f16(tile + 64 + 32 * g);
			}
			tile += 64 * n_scales;
		}
		switch (type)
		{
			QUANTIZED_FORMATS(ADD_PRODUCTS)
			default:
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
#define LOAD_WEIGHTS(id, name, ...)                                                                                    \
	if (type == TENSOR_##id)                                                                                           \
		return name##_weights(at);
	FLOAT_FORMATS(LOAD_WEIGHTS)
	return f_zero();
}

/*
 * Float weights and activations: one fused multiply-add an input, in order. n_groups (constant): groups of rows from
 * first_group on, whose weights begin at tile.
 */
LANE void
matmul_float_groups(const TensorType type, const size_t element_bytes, const uint8_t *tile, const float *x,
					size_t x_stride, const uint32_t n_tokens, const uint32_t n_groups, uint32_t n_cols, float *y,
					size_t y_stride)
{
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
matmul_float_rows(const TensorType type, const size_t element_bytes, const uint8_t *tile, const float *x,
				  size_t x_stride, const uint32_t n_tokens, uint32_t n_cols, float *y, size_t y_stride)
{
	if (LANE_GROUPS == 2 || n_tokens <= 2)
	{
		matmul_float_groups(type, element_bytes, tile, x, x_stride, n_tokens, 2, n_cols, y, y_stride);
		return;
	}
	for (uint32_t g = 0; g < 2; g++)
		matmul_float_groups(type, element_bytes, tile + g * 16 * element_bytes, x, x_stride, n_tokens, 1, n_cols,
							y + g * 16, y_stride);
}

/* A format's kernel; what comes next is asked for in shares, one a block. Its weights are used as they stand in the
 * tile, but for formats that are unpacked and more than DIRECT_TOKENS tokens. */
#define QUANTIZED_CALL(T, id, n_scales)                                                                                \
	if (T <= DIRECT_TOKENS || !TYPE_IS_UNPACKED(id))                                                                   \
		matmul_rows(TENSOR_##id, n_scales, tile, panel, T, n_cols, y, y_stride, prefetch);                             \
	else                                                                                                               \
		matmul_piecewise(TENSOR_##id, tile, panel, T, n_cols, y, y_stride, prefetch)
#define QUANTIZED_KERNEL(id, name, n_inputs, bytes, tile_bytes, n_scales)                                              \
	static void name##_matmul(const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens, uint32_t n_cols, float *y, \
							  size_t y_stride, Prefetch prefetch)                                                      \
	{                                                                                                                  \
		FOR_COUNT(n_tokens, QUANTIZED_CALL, id, n_scales)                                                              \
	}
QUANTIZED_FORMATS(QUANTIZED_KERNEL)

#define RUN_QUANTIZED(id, name, ...)                                                                                   \
	case TENSOR_##id:                                                                                                  \
		name##_matmul(tile, panel, n_tokens, n_cols, y, y_stride, prefetch);                                           \
		break;

static void
op_matmul_quantized(TensorType type, const uint8_t *tile, const uint8_t *panel, uint32_t n_tokens, uint32_t n_cols,
					float *y, size_t y_stride, const uint8_t *next, size_t next_bytes)
{
	uint32_t n_blocks = n_cols / 32;
	Prefetch prefetch = {next, next ? (next_bytes / 64 + n_blocks - 1) / n_blocks : 0};

	switch (type)
	{
		QUANTIZED_FORMATS(RUN_QUANTIZED)
		default:
			break; /* no format of this kind: the caller has looked */
	}
}

#define FLOAT_CALL(T, id, bytes) matmul_float_rows(TENSOR_##id, bytes, tile, x, x_stride, T, n_cols, y, y_stride)
#define RUN_FLOAT(id, name, n_inputs, bytes, tile_bytes)                                                               \
	case TENSOR_##id:                                                                                                  \
		FOR_COUNT(n_tokens, FLOAT_CALL, id, bytes)                                                                     \
		break;

static void
op_matmul_float(TensorType type, const uint8_t *tile, const float *x, size_t x_stride, uint32_t n_tokens,
				uint32_t n_cols, float *y, size_t y_stride)
{
	switch (type)
	{
		FLOAT_FORMATS(RUN_FLOAT)
		default:
			break;
	}
}
