/*
 * ops_cache.h - how keys and values go into a slice of the KV cache, written once over sixteen lanes; see ops_vector.h,
 * which includes it, for how. ops_attention.h reads what is written here; kernels.h says how slices stand in memory.
 *
 * Four bits: heads are rotated first, so that no dimension stands out and the table's sixteen values, which lie as
 * those of a bell curve do, are used well.
 */
#ifndef QWEN_OPS_CACHE_H
#define QWEN_OPS_CACHE_H

/* What goes into the cache is finite: NaN becomes 0, and F16's range is kept. */
LANE F32x16
cache_value(F32x16 x, KvType type)
{
	float largest = type == KV_F32 ? FLT_MAX : 65504.0f;

	return f_min(f_max(f_zero_nan(x), f_set(-largest)), f_set(largest));
}

/* Dimensions d … d+15 of a head that go into the cache; zeros where a head has no more. */
LANE F32x16
cache_values(const float *head, uint32_t d, uint32_t head_dim)
{
	return d < head_dim ? cache_value(f_load(head + d), KV_Q8_0) : f_zero();
}

/* q + 128 of sixteen values, as bytes. */
LANE void
store_biased(uint8_t *out, F32x16 values, float inverse)
{
	i_store_s8(out, i_from_f32(f_mul(values, f_set(inverse))));
	for (uint32_t i = 0; i < 16; i++)
		out[i] ^= 0x80;
}

/* Sixteen times the same scale, as F16, rounded by the version's own instruction; the first of them. */
LANE void
store_scale(uint8_t *out, float scale)
{
	uint8_t halves[32];

	f_store_f16(halves, f_set(scale));
	memcpy(out, halves, 2);
}

/* The first outlier's F16 values of a K slice: [KEY_OUTLIERS][KV_BLOCK_POSITIONS]. */
LANE const uint8_t *
outliers_of(KvType type, const void *k_slice, uint32_t head_dim)
{
	return (const uint8_t *) k_slice + kv_slice_bytes(type, head_dim);
}

/* Put the outliers of a key into their place, and zeros into theirs, so that the rest is for the tile. */
static void
store_outliers(KvType type, void *slice, uint32_t position, float *k, uint32_t head_dim, const KeyOutliers *outliers)
{
	uint8_t *out = (uint8_t *) slice + kv_slice_bytes(type, head_dim);

	for (uint32_t i = 0; i < outliers->n; i++)
	{
		uint8_t halves[32];

		f_store_f16(halves, cache_value(f_set(k[outliers->dims[i]]), KV_Q8_0));
		memcpy(out + (i * KV_BLOCK_POSITIONS + position) * 2, halves, 2);
		k[outliers->dims[i]] = 0;
	}
}

/* A key into row position of the slice's tile. */
LANE void
store_k_q8_0(uint8_t *tile, uint32_t position, const float *k, uint32_t head_dim)
{
	for (uint32_t d = 0; d < head_dim; d += 32, tile += TILE_Q8_0_BYTES)
	{
		F32x16 low = cache_values(k, d, head_dim), high = cache_values(k, d + 16, head_dim);
		float max = f_largest(f_max(f_abs(low), f_abs(high)));
		float inverse = max > 0 ? 127.0f / max : 0.0f;
		uint8_t bytes[32];

		store_biased(bytes, low, inverse);
		store_biased(bytes + 16, high, inverse);
		store_scale(tile + 2 * position, max / 127.0f);
		for (uint32_t step = 0; step < 8; step++)
			memcpy(tile + 64 + step * 128 + position * 4, bytes + step * 4, 4);
	}
}

/* A value into input position of the slice's tiles. */
LANE void
store_v_q8_0(uint8_t *slice, uint32_t position, const float *v, uint32_t head_dim)
{
	F32x16 largest = f_zero();
	float max, inverse;

	for (uint32_t d = 0; d < head_dim; d += 16)
		largest = f_max(largest, f_abs(cache_values(v, d, head_dim)));
	max = f_largest(largest);
	inverse = max > 0 ? 127.0f / max : 0.0f;
	store_scale(slice + 2 * position, max / 127.0f);
	for (uint32_t d = 0; d < head_dim; d += 16)
	{
		uint8_t *run = slice + 64 + (size_t) (d / 32) * 1024 + position / 4 * 128 + d % 32 * 4 + position % 4;
		uint8_t bytes[16];

		store_biased(bytes, cache_values(v, d, head_dim), inverse);
		for (uint32_t i = 0; i < 16; i++)
			run[i * 4] = bytes[i];
	}
}

/* ---- four bits --------------------------------------------------------------------------------------------------- */

/* Hadamard's matrix of 16: minus where i and j have an odd number of bits in common. */
#define HADAMARD(i, j) (__builtin_parity((i) & (j)) ? -1.0f : 1.0f)
#define HADAMARD_4(i, j) HADAMARD(i, j), HADAMARD(i, (j) + 1), HADAMARD(i, (j) + 2), HADAMARD(i, (j) + 3)
#define HADAMARD_ROW(i)                                                                                                \
	{                                                                                                                  \
		HADAMARD_4(i, 0), HADAMARD_4(i, 4), HADAMARD_4(i, 8), HADAMARD_4(i, 12)                                        \
	}
#define HADAMARD_ROWS(i) HADAMARD_ROW(i), HADAMARD_ROW((i) + 1), HADAMARD_ROW((i) + 2), HADAMARD_ROW((i) + 3)
static const float hadamard[16][16] = {HADAMARD_ROWS(0), HADAMARD_ROWS(4), HADAMARD_ROWS(8), HADAMARD_ROWS(12)};

/*
 * Rotate a head by Hadamard's matrix over its root, in pieces of the largest power of two that divides its length:
 * lengths and products of two heads stay, what stood in one dimension is in all of a piece. The same again undoes it.
 */
static void
rotate_head(float *x, uint32_t head_dim)
{
	const uint32_t piece = head_dim & -head_dim;
	const F32x16 scale = f_set(1.0f / sqrtf((float) piece));

	for (uint32_t d = 0; d < head_dim; d += 16)
	{
		F32x16 sum = f_zero();

#pragma GCC unroll 16
		for (uint32_t i = 0; i < 16; i++)
			sum = f_fma(f_set(x[d + i]), f_load(hadamard[i]), sum);
		f_store(x + d, f_mul(sum, scale));
	}
	for (uint32_t stride = 16; stride < piece; stride *= 2)
		for (uint32_t first = 0; first < head_dim; first += 2 * stride)
			for (uint32_t d = first; d < first + stride; d += 16)
			{
				F32x16 a = f_load(x + d), b = f_load(x + d + stride);

				f_store(x + d, f_add(a, b));
				f_store(x + d + stride, f_sub(a, b));
			}
}

/* What goes into the cache of a head, as floats. */
static void
keep_finite(const float *head, uint32_t head_dim, float *out)
{
	for (uint32_t d = 0; d < head_dim; d += 16)
		f_store(out + d, cache_values(head, d, head_dim));
}

/* The scale by which the largest of values (of both signs: pos, neg) is the table's first one, -127. */
LANE float
signed_scale(F32x16 pos, F32x16 neg)
{
	float largest = f_largest(pos), least = f_largest(neg);

	return (least >= largest ? least : -largest) / 127.0f;
}

/* Bytes above which the next value of iq4_table is the nearest one. */
static const uint8_t iq4_middles[15] = {12, 34, 54, 71, 86, 99, 112, 123, 135, 147, 159, 173, 189, 207, 229};

/* The numbers of the values of iq4_table that are nearest to sixteen of a head. */
LANE void
nearest_codes(F32x16 values, float scale, uint8_t *codes)
{
	uint8_t bytes[16];

	store_biased(bytes, values, scale != 0 ? 1.0f / scale : 0.0f);
	memset(codes, 0, 16);
	for (uint32_t t = 0; t < 15; t++)
		for (uint32_t i = 0; i < 16; i++)
			codes[i] += bytes[i] > iq4_middles[t];
}

/* A rotated key into row position of the slice's tile. */
LANE void
store_k_q4(uint8_t *tile, uint32_t position, const float *k, uint32_t head_dim)
{
	for (uint32_t d = 0; d < head_dim; d += 32, tile += TILE_Q4_0_BYTES)
	{
		F32x16 low = cache_values(k, d, head_dim), high = cache_values(k, d + 16, head_dim);
		F32x16 zero = f_zero();
		float scale = signed_scale(f_max(low, high), f_max(f_sub(zero, low), f_sub(zero, high)));
		uint8_t codes[2][16];

		nearest_codes(low, scale, codes[0]);
		nearest_codes(high, scale, codes[1]);
		for (uint32_t i = 0; i < 16; i++)
			codes[0][i] |= (uint8_t) (codes[1][i] << 4);
		store_scale(tile + 2 * position, scale);
		for (uint32_t step = 0; step < 4; step++)
			memcpy(tile + 64 + step * 128 + position * 4, codes[0] + step * 4, 4);
	}
}

/* A rotated value into input position of the slice's tiles. */
LANE void
store_v_q4(uint8_t *slice, uint32_t position, const float *v, uint32_t head_dim)
{
	F32x16 pos = f_zero(), neg = f_zero();
	float scale;

	for (uint32_t d = 0; d < head_dim; d += 16)
	{
		pos = f_max(pos, f_load(v + d));
		neg = f_max(neg, f_sub(f_zero(), f_load(v + d)));
	}
	scale = signed_scale(pos, neg);
	store_scale(slice + 2 * position, scale);
	for (uint32_t d = 0; d < head_dim; d += 32)
	{
		uint8_t *run = slice + 64 + (size_t) (d / 32) * 512 + position / 4 * 64 + position % 4;
		uint8_t codes[2][16];

		nearest_codes(f_load(v + d), scale, codes[0]);
		nearest_codes(cache_values(v, d + 16, head_dim), scale, codes[1]);
		for (uint32_t i = 0; i < 16; i++)
			run[i * 4] = (uint8_t) (codes[0][i] | codes[1][i] << 4);
	}
}

/* ---- any type ---------------------------------------------------------------------------------------------------- */

/* Store a key in a type of integers. */
static void
store_k_quantized(KvType type, void *slice, uint32_t position, const float *k, uint32_t head_dim,
				  const KeyOutliers *outliers)
{
	float rest[256];

	keep_finite(k, head_dim, rest);
	if (outliers)
		store_outliers(type, slice, position, rest, head_dim, outliers);
	if (type == KV_Q8_0)
	{
		store_k_q8_0(slice, position, rest, head_dim);
		return;
	}
	rotate_head(rest, head_dim);
	store_k_q4(slice, position, rest, head_dim);
}

static void
store_v_quantized(KvType type, void *slice, uint32_t position, const float *v, uint32_t head_dim)
{
	float finite[256];

	if (type == KV_Q8_0)
	{
		store_v_q8_0(slice, position, v, head_dim);
		return;
	}
	keep_finite(v, head_dim, finite);
	rotate_head(finite, head_dim);
	store_v_q4(slice, position, finite, head_dim);
}

static void
op_kv_store_k(KvType type, void *slice, uint32_t position, const float *k, uint32_t head_dim,
			  const KeyOutliers *outliers)
{
	size_t start = (size_t) (position / 16) * head_dim * 16 + position % 16;

	if (kv_type_is_quantized(type))
	{
		store_k_quantized(type, slice, position, k, head_dim, outliers);
		return;
	}
	for (uint32_t d = 0; d < head_dim; d += 16)
	{
		F32x16 value = cache_value(f_load(k + d), type);
		size_t at = start + (size_t) d * 16;
		uint16_t halves[16];
		float values[16];

		if (type == KV_F16)
		{
			f_store_f16(halves, value);
			for (uint32_t i = 0; i < 16; i++)
				((uint16_t *) slice)[at + i * 16] = halves[i];
		}
		else
		{
			f_store(values, value);
			for (uint32_t i = 0; i < 16; i++)
				((float *) slice)[at + i * 16] = values[i];
		}
	}
}

static void
op_kv_store_v(KvType type, void *slice, uint32_t position, const float *v, uint32_t head_dim)
{
	if (kv_type_is_quantized(type))
	{
		store_v_quantized(type, slice, position, v, head_dim);
		return;
	}
	for (uint32_t d = 0; d < head_dim; d += 16)
	{
		size_t at = (size_t) position * head_dim + d;
		F32x16 value = cache_value(f_load(v + d), type);

		if (type == KV_F16)
			f_store_f16((uint16_t *) slice + at, value);
		else
			f_store((float *) slice + at, value);
	}
}

#endif
