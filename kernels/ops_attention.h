/*
 * ops_attention.h - attention over slices of the KV cache, written once over sixteen lanes; see ops_vector.h, which
 * includes it, for how. ops_cache.h fills the slices.
 *
 * F16 and F32: all in floats. Q8_0 and Q4: scores are integer products of bytes, as in a matrix product; the softmax
 * and its running maximum and sum are floats; the weights times the values' scales become bytes again, in two planes so
 * that they lose nothing that counts beside the values' own eight bits. Either way a row's result depends on that row
 * alone.
 */
#ifndef QWEN_OPS_ATTENTION_H
#define QWEN_OPS_ATTENTION_H

#include "ops_cache.h"

/* What is asked for while a block is computed: its values beside its scores, then the next block's keys. Slices of a
 * head lie far from each other, and no processor guesses where the next one is. NULL: nothing. */
typedef struct Ahead
{
	const uint8_t *v, *next_k;
} Ahead;

/* n bytes asked for in n_shares shares. */
LANE Prefetch
prefetch_bytes(const uint8_t *next, size_t n, size_t n_shares)
{
	return (Prefetch){next, next ? (n / 64 + n_shares - 1) / n_shares : 0};
}

/* A slice asked for in n_shares shares. */
LANE Prefetch
prefetch_slice(const uint8_t *next, KvType type, uint32_t head_dim, size_t n_shares)
{
	return prefetch_bytes(next, kv_slice_bytes(type, head_dim), n_shares);
}

/* All of a slice at once. */
LANE void
prefetch_whole_slice(const uint8_t *next, KvType type, uint32_t head_dim)
{
	Prefetch prefetch = prefetch_slice(next, type, head_dim, 1);

	prefetch_share(&prefetch);
}

/* Up to so many rows wait for memory more than they compute, and ask in shares; for more, whose loops have no room for
 * anything else, slices are asked for at once. */
#define AHEAD_IN_SHARES 4

/* Query rows that share one conversion of K and V. */
#if LANE_SUMS >= 24
#define ATTENTION_GROUP 6
#else
#define ATTENTION_GROUP 4
#endif
/* What has no constants to gain from, in one copy instead of one for each count of rows and type. */
#define NOT_INLINED __attribute__((noinline))

#define EACH_ROW _Pragma("GCC unroll 6") for (uint32_t r = 0; r < n_rows; r++)
#define EACH_HALF _Pragma("GCC unroll 2") for (uint32_t h = 0; h < n_halves; h++)
#define EACH_CHAIN _Pragma("GCC unroll 4") for (uint32_t c = 0; c < n_chains; c++)
#define EACH_CHUNK _Pragma("GCC unroll 4") for (uint32_t c = 0; c < n_chunks; c++)

/* How many running sums (1, 2 or 4) each of n_rows rows may have in registers. */
LANE uint32_t
sums_a_row(const uint32_t n_rows)
{
	return 4 * n_rows <= LANE_SUMS ? 4 : 2 * n_rows <= LANE_SUMS ? 2 : 1;
}

/* Sixteen cached values from element at of a slice. */
LANE F32x16
cache_load(KvType type, const void *slice, size_t at)
{
	return type == KV_F16 ? f_load_f16((const uint16_t *) slice + at) : f_load((const float *) slice + at);
}

/*
 * Scores of n_rows (constant, 1 … ATTENTION_GROUP) query rows against n_halves (constant) halves of a block of 16
 * positions, from half on: four partial sums over the dimensions d mod 4, added as (0+1)+(2+3); as many of them at a
 * time as fit the registers. scores: [n_rows][32]
 */
LANE void
score_halves(KvType type, const void *k_slice, const float *q, const uint32_t n_rows, uint32_t half,
			 const uint32_t n_halves, uint32_t head_dim, float *scores, Prefetch *prefetch)
{
	const uint32_t n_chains = sums_a_row(n_halves * n_rows);
	F32x16 sums[2][ATTENTION_GROUP][4];
	size_t at = (size_t) half * head_dim * 16;

	for (uint32_t first = 0; first < 4; first += n_chains)
	{
		F32x16 chains[2][ATTENTION_GROUP][4]; /* sums themselves would be stored again and again */

		EACH_HALF EACH_ROW EACH_CHAIN chains[h][r][c] = f_zero();
		for (uint32_t d = first; d < head_dim; d += 4)
		{
			prefetch_share(prefetch);
			EACH_CHAIN
			{
				F32x16 k[2];

				EACH_HALF k[h] = cache_load(type, k_slice, at + (size_t) (h * head_dim + d + c) * 16);
				EACH_ROW
				{
					F32x16 x = f_set(q[(size_t) r * head_dim + d + c]);

					EACH_HALF chains[h][r][c] = f_fma(k[h], x, chains[h][r][c]);
				}
			}
		}
		EACH_HALF EACH_ROW EACH_CHAIN sums[h][r][first + c] = chains[h][r][c];
	}
	EACH_HALF EACH_ROW f_store(scores + r * 32 + (half + h) * 16,
							   f_add(f_add(sums[h][r][0], sums[h][r][1]), f_add(sums[h][r][2], sums[h][r][3])));
}

/*
 * Scores of n_rows (constant) query rows against the first n_seen positions of a block; those of positions that no row
 * sees may be missing (zeros). Where it can be, a query's dimension that is at hand meets both halves of the block: it
 * is the loads that this waits for.
 */
LANE void
attention_scores(KvType type, const void *k_slice, const float *q, const uint32_t n_rows, uint32_t n_seen,
				 uint32_t head_dim, float *scores, const uint8_t *next, size_t next_bytes)
{
	const bool both = 4 * n_rows <= LANE_SUMS && n_seen > 16;
	const uint32_t n_chains = sums_a_row((both ? 2 : 1) * n_rows);
	uint32_t n_halves = n_seen > 16 ? 2 : 1;
	Prefetch prefetch = prefetch_bytes(next, next_bytes, head_dim / 4 * (4 / n_chains) * (both ? 1 : n_halves));

	if (both)
	{
		score_halves(type, k_slice, q, n_rows, 0, 2, head_dim, scores, &prefetch);
		return;
	}
	if (n_seen <= 16)
		EACH_ROW f_store(scores + r * 32 + 16, f_zero());
#pragma GCC unroll 1
	for (uint32_t half = 0; half < n_halves; half++)
		score_halves(type, k_slice, q, n_rows, half, 1, head_dim, scores, &prefetch);
}

/*
 * Scores of n_rows rows to weights exp(score - max), masked positions to 0, and the rows' running maxima and
 * sums brought up to date. shrink: [16], the factors by which what the rows have gathered so far shrinks, of all rows
 * by one vector of exponentials. One copy for all types and counts: a row after the other is no slower.
 */
static NOT_INLINED void
attention_weights(float *scores, const uint8_t *n_valid, uint32_t n_rows, AttentionState *states, float *shrink)
{
	f_store(shrink, f_zero());
	for (uint32_t r = 0; r < n_rows; r++)
	{
		F32x16 low = f_load(scores + r * 32), high = f_load(scores + r * 32 + 16);
		float largest, max;

		if (n_valid[r] < KV_BLOCK_POSITIONS)
		{
			low = f_first(low, n_valid[r] < 16 ? n_valid[r] : 16, f_set(-INFINITY));
			high = f_first(high, n_valid[r] > 16 ? n_valid[r] - 16 : 0, f_set(-INFINITY));
		}
		largest = f_largest(f_max(low, high));
		max = largest > states[r].max ? largest : states[r].max;
		shrink[r] = states[r].max - max;
		states[r].max = max;
	}
	f_store(shrink, lanes_exp_below(f_load(shrink)));
	for (uint32_t r = 0; r < n_rows; r++)
	{
		F32x16 max = f_set(states[r].max);
		F32x16 low = lanes_exp_below(f_sub(f_load(scores + r * 32), max));
		F32x16 high = lanes_exp_below(f_sub(f_load(scores + r * 32 + 16), max));

		if (n_valid[r] < KV_BLOCK_POSITIONS)
		{
			low = f_first(low, n_valid[r] < 16 ? n_valid[r] : 16, f_zero());
			high = f_first(high, n_valid[r] > 16 ? n_valid[r] - 16 : 0, f_zero());
		}
		f_store(scores + r * 32, low);
		f_store(scores + r * 32 + 16, high);
		states[r].sum = fmaf(states[r].sum, shrink[r], f_sum(f_add(low, high)));
	}
}

/*
 * out[r] = out[r] * shrink[r] + sum over the first n_seen positions, in order, of weight * v; n_rows and n_chunks (of
 * 16 dimensions, up to sums_a_row) constant.
 */
LANE void
attention_values(KvType type, const void *v_slice, const float *weights, const float *shrink, const uint32_t n_rows,
				 uint32_t n_seen, const uint32_t n_chunks, uint32_t head_dim, uint32_t first_dim, float *out,
				 Prefetch *prefetch)
{
	F32x16 sums[ATTENTION_GROUP][4];

	EACH_ROW EACH_CHUNK sums[r][c] = f_mul(f_load(out + (size_t) r * head_dim + first_dim + c * 16), f_set(shrink[r]));
	for (uint32_t p = 0; p < n_seen; p++)
	{
		prefetch_share(prefetch);
		EACH_CHUNK
		{
			F32x16 v = cache_load(type, v_slice, (size_t) p * head_dim + first_dim + c * 16);

			EACH_ROW sums[r][c] = f_fma(f_set(weights[r * 32 + p]), v, sums[r][c]);
		}
	}
	EACH_ROW EACH_CHUNK f_store(out + (size_t) r * head_dim + first_dim + c * 16, sums[r][c]);
}

/* The same from first_dim on, for heads whose dimensions are no multiple of what a group of rows takes at a time: row
 * by row, so that there is one copy of it. */
static NOT_INLINED void
attention_values_behind(KvType type, const void *v_slice, const float *weights, const float *shrink, uint32_t n_rows,
						uint32_t n_seen, uint32_t head_dim, uint32_t first_dim, float *out)
{
	Prefetch nothing = {NULL, 0};

	for (; n_rows > 0; n_rows--, weights += 32, shrink++, out += head_dim)
		for (uint32_t d = first_dim; d < head_dim; d += 16)
			if (type == KV_F16)
				attention_values(KV_F16, v_slice, weights, shrink, 1, n_seen, 1, head_dim, d, out, &nothing);
			else
				attention_values(KV_F32, v_slice, weights, shrink, 1, n_seen, 1, head_dim, d, out, &nothing);
}

/* ---- integers -----------------------------------------------------------------------------------------------------
 */

#define QUERY_BLOCK_BYTES ACTIVATION_BLOCK_BYTES /* of a panel of one token: q[32], scale, two sums */
#define Q8_0_TILE_STEPS 8

/* In the place of a panel's two sums of a block: where integer products with stored bytes, which are q + 128, begin. */
LANE void
begin_query_block(uint8_t *block)
{
	const int16_t *sums = panel_sums(block, 1, 0);
	int32_t start = -128 * (sums[0] + sums[1]);

	memcpy(block + 36, &start, sizeof start);
}

LANE const int32_t *
query_start(const uint8_t *block)
{
	return (const int32_t *) (const void *) (block + 36);
}

static void
op_attention_queries(KvType type, float *q, uint32_t n_rows, uint32_t head_dim, const KeyOutliers *outliers)
{
	uint32_t padded = (head_dim + 31) / 32 * 32;
	float row[256], apart[KEY_OUTLIERS];

	for (uint32_t r = 0; kv_type_is_quantized(type) && r < n_rows; r++, q += head_dim)
	{
		memcpy(row, q, head_dim * sizeof *row);
		memset(row + head_dim, 0, (padded - head_dim) * sizeof *row);
		for (uint32_t i = 0; outliers && i < outliers->n; i++)
		{
			apart[i] = row[outliers->dims[i]];
			row[outliers->dims[i]] = 0;
		}
		if (type == KV_Q4)
			rotate_head(row, head_dim);
		op_quantize_panel(row, padded, 1, padded, (uint8_t *) q);
		for (uint32_t b = 0; b < padded / 32; b++)
			begin_query_block((uint8_t *) q + b * QUERY_BLOCK_BYTES);
		if (outliers)
			memcpy((uint8_t *) q + padded / 32 * QUERY_BLOCK_BYTES, apart, outliers->n * sizeof *apart);
	}
}

static void
op_attention_output(KvType type, float *out, uint32_t head_dim)
{
	if (type == KV_Q4)
		rotate_head(out, head_dim);
}

/* How the weights of a tile stand in the 8 steps of a slice (kernels.h). */
typedef enum Weights
{
	WEIGHTS_BYTES,
	WEIGHTS_OF_KEYS,   /* nibbles, inputs 16 apart in a byte */
	WEIGHTS_OF_VALUES, /* nibbles, rows 16 apart in a byte */
} Weights;

/* One step of one group (constants) as bytes w + 128. */
LANE U8x64
biased_weights(const Weights kind, const uint8_t *steps, const uint32_t step, const uint32_t group)
{
	U8x64 both;

	if (kind == WEIGHTS_BYTES)
		return b_load(steps + step * 128 + group * 64);
	both = b_load(kind == WEIGHTS_OF_KEYS ? steps + step % 4 * 128 + group * 64 : steps + step * 64);
	return b_values(iq4_table, (kind == WEIGHTS_OF_KEYS ? step / 4 : group) == 0 ? b_low(both) : b_high(both));
}

/*
 * Integer sums of one pass over 8 steps of a tile (its groups from first on) with n (constant) vectors of 32 bytes at
 * x[0 … n-1], whose sums begin with starts[…].
 */
LANE void
dot_biased_tile(const Weights kind, const uint8_t *steps, const uint32_t first, const uint8_t *const *x,
				const int32_t *const *starts, const uint32_t n, I32x16 sums[LANE_GROUPS][2 * ATTENTION_GROUP])
{
#pragma GCC unroll 12
	for (uint32_t i = 0; i < n; i++)
	{
		I32x16 start = i_start_ready(starts[i]);

		EACH_GROUP sums[g][i] = start;
	}
	EACH_GROUP begin_pairs(n, sums[g]);
#pragma GCC unroll 8
	for (uint32_t step = 0; step < Q8_0_TILE_STEPS; step += LANE_STEPS)
	{
		U8x64 w[LANE_STEPS][LANE_GROUPS];

		EACH_STEP EACH_GROUP w[s][g] = biased_weights(kind, steps, step + s, first + g);
#if LANE_STEPS == 2
		const uint8_t *eight[2 * ATTENTION_GROUP];

		for (uint32_t i = 0; i < n; i++)
			eight[i] = x[i] + 4 * step;
		EACH_GROUP d_add_two(sums[g], n, w[0][g], w[1][g], eight);
#else
#pragma GCC unroll 12
		for (uint32_t i = 0; i < n; i++)
		{
			U8x64 four = b_broadcast4(x[i] + 4 * step);

			EACH_GROUP sums[g][i] = i_dot_biased(sums[g][i], w[0][g], four);
		}
#endif
	}
	EACH_GROUP end_pairs(n, sums[g]);
}

/* As attention_scores, for a tile of keys and queries as attention_queries left them (rows of stride bytes). */
LANE void
attention_scores_quantized(const KvType type, const uint8_t *tile, const uint8_t *q, size_t stride,
						   const uint32_t n_rows, uint32_t head_dim, float *scores, const uint8_t *next,
						   uint32_t n_outliers)
{
	const uint8_t *outliers = outliers_of(type, tile, head_dim);
	F32x16 acc[2][ATTENTION_GROUP];
	Prefetch prefetch = prefetch_slice(next, type, head_dim, (head_dim + 31) / 32);

	EACH_ROW acc[0][r] = acc[1][r] = f_zero();
	for (uint32_t d = 0; d < head_dim; d += 32, tile += kv_slice_bytes(type, 32), q += QUERY_BLOCK_BYTES)
	{
		prefetch_share(&prefetch);
		EACH_PASS
		{
			I32x16 sums[LANE_GROUPS][2 * ATTENTION_GROUP];
			const uint8_t *x[2 * ATTENTION_GROUP];
			const int32_t *starts[2 * ATTENTION_GROUP];

			EACH_ROW
			{
				x[r] = q + r * stride;
				starts[r] = query_start(q + r * stride);
			}
			dot_biased_tile(type == KV_Q4 ? WEIGHTS_OF_KEYS : WEIGHTS_BYTES, tile + 64, first, x, starts, n_rows, sums);
			EACH_GROUP
			{
				F32x16 scale = f_load_f16(tile + 32 * (first + g));

				EACH_ROW acc[first + g][r] =
					f_fma(f_from_i32(sums[g][r]), f_mul(scale, panel_scale(q + r * stride, 1, 0)), acc[first + g][r]);
			}
		}
	}
	for (uint32_t i = 0; i < n_outliers; i++, outliers += 2 * KV_BLOCK_POSITIONS)
	{
		F32x16 low = f_load_f16(outliers), high = f_load_f16(outliers + 32);

		EACH_ROW
		{
			float x;

			memcpy(&x, q + r * stride + i * sizeof x, sizeof x); /* q stands behind the panels now */
			acc[0][r] = f_fma(low, f_set(x), acc[0][r]);
			acc[1][r] = f_fma(high, f_set(x), acc[1][r]);
		}
	}
	EACH_ROW
	{
		f_store(scores + r * 32, acc[0][r]);
		f_store(scores + r * 32 + 16, acc[1][r]);
	}
}

/*
 * A row's weights times the values' scales, in two planes of bytes: w = scale * (q[0] + q[1] / 254), which keeps 15
 * bits of the largest.
 */
typedef struct WeightPlanes
{
	float scale;
	int32_t starts[2]; /* -128 times the sum of a plane: see query_start */
	uint8_t q[2][32];
} WeightPlanes;

static NOT_INLINED void
make_planes(const float *weights, uint32_t n_valid, const uint8_t *scales, WeightPlanes *planes)
{
	F32x16 low = f_first(f_mul(f_load(weights), f_load_f16(scales)), n_valid < 16 ? n_valid : 16, f_zero());
	F32x16 high =
		f_first(f_mul(f_load(weights + 16), f_load_f16(scales + 32)), n_valid > 16 ? n_valid - 16 : 0, f_zero());
	float max = f_largest(f_max(f_abs(low), f_abs(high)));
	F32x16 inverse = f_set(max > 0 ? 127.0f / max : 0.0f);
	I32x16 sums[2];
	int32_t both;

	low = f_mul(low, inverse);
	high = f_mul(high, inverse);
#pragma GCC unroll 2
	for (uint32_t plane = 0; plane < 2; plane++)
	{
		I32x16 a = i_from_f32(low), b = i_from_f32(high);

		i_store_s8(planes->q[plane], a);
		i_store_s8(planes->q[plane] + 16, b);
		sums[plane] = i_add(a, b);
		low = f_mul(f_sub(low, f_from_i32(a)), f_set(254.0f));
		high = f_mul(f_sub(high, f_from_i32(b)), f_set(254.0f));
	}
	/* one sum for both: that of 32 bytes is far below 2^15 either way */
	both = i_sum(i_add(sums[0], i_negative_shifted(sums[1], 16)));
	planes->starts[0] = -128 * (int16_t) (both & 0xFFFF);
	planes->starts[1] = 128 * ((both + 0x8000) >> 16);
	planes->scale = max / 127.0f;
}

/* out[r] = out[r] * shrink[r] + sum over the 32 positions of weight * v, for the 32 dimensions of a tile, or for n_dims
 * (16) at the end of a head. */
LANE void
attention_values_quantized(const KvType type, const uint8_t *steps, const WeightPlanes *planes, const float *shrink,
						   const uint32_t n_rows, uint32_t n_dims, uint32_t head_dim, float *out)
{
	EACH_PASS
	{
		I32x16 sums[LANE_GROUPS][2 * ATTENTION_GROUP];
		const uint8_t *x[2 * ATTENTION_GROUP];
		const int32_t *starts[2 * ATTENTION_GROUP];

		/* else gcc keeps all weights in memory, sixteen times as long, from one tile to the next */
		planes = (const WeightPlanes *) (const void *) load_again((const uint8_t *) planes);
		EACH_ROW for (uint32_t plane = 0; plane < 2; plane++)
		{
			x[2 * r + plane] = planes[r].q[plane];
			starts[2 * r + plane] = &planes[r].starts[plane];
		}
		dot_biased_tile(type == KV_Q4 ? WEIGHTS_OF_VALUES : WEIGHTS_BYTES, steps, first, x, starts, 2 * n_rows, sums);
		EACH_GROUP if (16 * (first + g) < n_dims)
		{
			EACH_ROW
			{
				float *to = out + (size_t) r * head_dim + 16 * (first + g);
				F32x16 value = f_fma(f_from_i32(sums[g][2 * r + 1]), f_set(1.0f / 254), f_from_i32(sums[g][2 * r]));

				f_store(to, f_fma(value, f_set(planes[r].scale), f_mul(f_load(to), f_set(shrink[r]))));
			}
		}
	}
}

/* Rows whose planes meet a tile of values together: for more there are no registers. */
#define PLANE_ROWS (ATTENTION_GROUP / 2)

/* The same for all dimensions, n_rows constant. */
LANE void
attention_tiles(const KvType type, const uint8_t *v_slice, const WeightPlanes *planes, const float *shrink,
				const uint32_t n_rows, uint32_t head_dim, float *out, Prefetch prefetch)
{
	const uint8_t *steps = v_slice + 64;

	for (uint32_t d = 0; d < head_dim; d += 32, steps += 32 * (type == KV_Q4 ? 16 : 32))
	{
		prefetch_share(&prefetch);
		attention_values_quantized(type, steps, planes, shrink, n_rows, head_dim - d, head_dim, out + d);
	}
}

/* For 1 … PLANE_ROWS rows: one copy of each, whatever the groups are that they come from. */
static NOT_INLINED void
attention_in_planes(KvType type, const uint8_t *v_slice, const WeightPlanes *planes, const float *shrink,
					uint32_t n_rows, uint32_t head_dim, float *out, Prefetch prefetch)
{
#define TILES_CALL(n, type) attention_tiles(type, v_slice, planes, shrink, n, head_dim, out, prefetch)
#define EACH_PLANE_ROWS(type)                                                                                          \
	if (n_rows == 1)                                                                                                   \
		TILES_CALL(1, type);                                                                                           \
	else if (n_rows < PLANE_ROWS)                                                                                      \
		TILES_CALL(2, type);                                                                                           \
	else                                                                                                               \
		TILES_CALL(PLANE_ROWS, type)

	if (type == KV_Q4)
	{
		EACH_PLANE_ROWS(KV_Q4);
	}
	else
	{
		EACH_PLANE_ROWS(KV_Q8_0);
	}
}

/* As attention_rows, for types of integers. */
LANE void
attention_rows_quantized(const KvType type, const uint8_t *k_slice, const uint8_t *v_slice, const float *q,
						 const uint8_t *n_valid, const uint32_t n_rows, uint32_t head_dim, AttentionState *states,
						 float *out, Ahead ahead, uint32_t n_outliers)
{
	Prefetch prefetch = prefetch_slice(ahead.next_k, type, head_dim, (head_dim + 31) / 32);
	float scores[ATTENTION_GROUP * 32];
	float shrink[16];
	WeightPlanes planes[ATTENTION_GROUP];
	const uint32_t n_first = n_rows < PLANE_ROWS ? n_rows : PLANE_ROWS;

	attention_scores_quantized(type, k_slice, (const uint8_t *) q, head_dim * sizeof *q, n_rows, head_dim, scores,
							   ahead.v, n_outliers);
	attention_weights(scores, n_valid, n_rows, states, shrink);
	for (uint32_t r = 0; r < n_rows; r++)
		make_planes(scores + r * 32, n_valid[r], v_slice, &planes[r]);
	attention_in_planes(type, v_slice, planes, shrink, n_first, head_dim, out, prefetch);
	if (n_rows > n_first)
		attention_in_planes(type, v_slice, planes + n_first, shrink + n_first, n_rows - n_first, head_dim,
							out + (size_t) n_first * head_dim, (Prefetch){NULL, 0});
}

/* All of one block for n_rows (constant) rows that each see at least one position. */
LANE void
attention_rows(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
			   const uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out, Ahead ahead,
			   uint32_t n_outliers)
{
	float scores[ATTENTION_GROUP * 32];
	float shrink[16];
	const uint32_t n_chunks = sums_a_row(n_rows);
	uint32_t n_seen = n_valid[0], d = 0;
	Prefetch prefetch;

	EACH_ROW n_seen = n_valid[r] > n_seen ? n_valid[r] : n_seen;

	if (n_rows > AHEAD_IN_SHARES)
	{
		prefetch_whole_slice(ahead.v, type, head_dim);
		prefetch_whole_slice(ahead.next_k, type, head_dim);
		ahead = (Ahead){NULL, NULL};
	}
	if (kv_type_is_quantized(type))
	{
		attention_rows_quantized(type, k_slice, v_slice, q, n_valid, n_rows, head_dim, states, out, ahead, n_outliers);
		return;
	}
	prefetch = prefetch_slice(ahead.next_k, type, head_dim, n_seen * ((head_dim / 16 + n_chunks - 1) / n_chunks));
	attention_scores(type, k_slice, q, n_rows, n_seen, head_dim, scores, ahead.v,
					 kv_slice_bytes(type, head_dim) * n_seen / KV_BLOCK_POSITIONS);
	attention_weights(scores, n_valid, n_rows, states, shrink);
	for (; d + 16 * n_chunks <= head_dim; d += 16 * n_chunks)
		attention_values(type, v_slice, scores, shrink, n_rows, n_seen, n_chunks, head_dim, d, out, &prefetch);
	if (d < head_dim)
		attention_values_behind(type, v_slice, scores, shrink, n_rows, n_seen, head_dim, d, out);
}

#define ATTENTION_CALL(n)                                                                                              \
	attention_rows(type, k_slice, v_slice, q, n_valid, n, head_dim, states, out, ahead, n_outliers)

/* A run of rows that see something, in groups cut as evenly as can be. */
LANE void
attention_run(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
			  uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out, const void *next_k,
			  uint32_t n_outliers)
{
	uint32_t n_groups = (n_rows + ATTENTION_GROUP - 1) / ATTENTION_GROUP;
	Ahead ahead = {v_slice, next_k};

	for (uint32_t n; n_groups > 0; n_groups--, n_rows -= n)
	{
		n = (n_rows + n_groups - 1) / n_groups;
		switch (n)
		{
#if ATTENTION_GROUP == 6
			case 6:
				ATTENTION_CALL(6);
				break;
			case 5:
				ATTENTION_CALL(5);
				break;
#endif
			case 4:
				ATTENTION_CALL(4);
				break;
			case 3:
				ATTENTION_CALL(3);
				break;
			case 2:
				ATTENTION_CALL(2);
				break;
			default:
				ATTENTION_CALL(1);
				break;
		}
		q += (size_t) n * head_dim;
		out += (size_t) n * head_dim;
		n_valid += n;
		states += n;
		ahead = (Ahead){NULL, NULL};
	}
}

static void
op_attention_block(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
				   uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out, const void *next_k,
				   uint32_t n_outliers)
{
	uint32_t r = 0;

	while (r < n_rows)
	{
		uint32_t end = r;

		while (end < n_rows && n_valid[end] > 0)
			end++;
		if (type == KV_F16)
			attention_run(KV_F16, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim, next_k, 0);
		else if (type == KV_Q8_0)
			attention_run(KV_Q8_0, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim, next_k, n_outliers);
		else if (type == KV_Q4)
			attention_run(KV_Q4, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim, next_k, n_outliers);
		else
			attention_run(KV_F32, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim, next_k, 0);
		r = end + 1;
	}
}

static void
op_attention_merge(AttentionState *state, float *out, const AttentionState *later, const float *later_out,
				   uint32_t head_dim)
{
	float max = later->max > state->max ? later->max : state->max;
	float own[16], other[16];

	if (later->max == -INFINITY)
		return;
	f_store(own, lanes_exp(f_set(state->max - max)));
	f_store(other, lanes_exp(f_set(later->max - max)));
	for (uint32_t d = 0; d < head_dim; d += 16)
		f_store(out + d, f_fma(f_load(later_out + d), f_set(other[0]), f_mul(f_load(out + d), f_set(own[0]))));
	state->sum = fmaf(later->sum, other[0], state->sum * own[0]);
	state->max = max;
}

#endif
