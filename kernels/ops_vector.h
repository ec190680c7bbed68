/*
 * ops_vector.h - the vector operations of the table, written once over sixteen lanes.
 *
 * Included by kernels_portable.c, kernels_avx2.c, kernels_avx512.c and kernels_neon.c behind their lanes_*.h, which
 * give the primitives their instructions. So all versions do the same operations in the same order, and give the same
 * bits.
 */

/*
 * exp(x) for x clamped to [-87, 88]: 2^n times a polynomial of degree 6 in the rest (Cephes' split of ln 2; relative
 * error below 2e-7).
 */
LANE F32x16
lanes_exp(F32x16 x)
{
	F32x16 clamped = f_min(f_max(x, f_set(-87.0f)), f_set(88.0f));
	F32x16 n = f_round(f_mul(clamped, f_set(1.44269504f)));
	F32x16 r = f_fnma(n, f_set(0.693359375f), clamped);
	F32x16 p = f_set(1.0f / 720);

	r = f_fnma(n, f_set(-2.12194440e-4f), r);
	p = f_fma(p, r, f_set(1.0f / 120));
	p = f_fma(p, r, f_set(1.0f / 24));
	p = f_fma(p, r, f_set(1.0f / 6));
	p = f_fma(p, r, f_set(0.5f));
	p = f_fma(p, r, f_set(1.0f));
	p = f_fma(p, r, f_set(1.0f));
	return f_mul(p, f_power_of_2(i_from_f32(n)));
}

/* The sum of squares in sixteen lanes, lane i taking the elements i mod 16. */
static void
op_rms_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *out)
{
	F32x16 squares = f_zero();
	F32x16 scale;
	uint32_t i;

	for (i = 0; i + 16 <= n; i += 16)
		squares = f_fma(f_load(x + i), f_load(x + i), squares);
	if (i < n)
		squares = f_fma(f_load_first(x + i, n - i), f_load_first(x + i, n - i), squares);
	scale = f_set(1.0f / sqrtf(f_sum(squares) / (float) n + epsilon));
	for (i = 0; i + 16 <= n; i += 16)
		f_store(out + i, f_mul(f_mul(f_load(x + i), scale), f_load(weight + i)));
	if (i < n)
		f_store_first(out + i, f_mul(f_mul(f_load_first(x + i, n - i), scale), f_load_first(weight + i, n - i)), n - i);
}

static void
op_rope(float *head, const float *cosines, const float *sines, uint32_t head_dim)
{
	uint32_t half = head_dim / 2;

	for (uint32_t i = 0; i < half; i += 16)
	{
		unsigned n = half - i < 16 ? half - i : 16;
		F32x16 a = f_load_first(head + i, n), b = f_load_first(head + half + i, n);
		F32x16 c = f_load_first(cosines + i, n), s = f_load_first(sines + i, n);

		f_store_first(head + i, f_fnma(b, s, f_mul(a, c)), n);
		f_store_first(head + half + i, f_fma(b, c, f_mul(a, s)), n);
	}
}

static void
op_silu_mul(float *gate, const float *up, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 16)
	{
		unsigned lanes = n - i < 16 ? n - i : 16;
		F32x16 g = f_load_first(gate + i, lanes), u = f_load_first(up + i, lanes);
		F32x16 sigmoid = f_div(f_set(1.0f), f_add(f_set(1.0f), lanes_exp(f_sub(f_zero(), g))));

		f_store_first(gate + i, f_mul(f_mul(g, sigmoid), u), lanes);
	}
}

/* What goes into the cache is finite: NaN becomes 0, and F16's range is kept. */
LANE F32x16
cache_value(F32x16 x, KvType type)
{
	float largest = type == KV_F16 ? 65504.0f : FLT_MAX;

	return f_min(f_max(f_zero_nan(x), f_set(-largest)), f_set(largest));
}

static void
op_kv_store_k(KvType type, void *slice, uint32_t position, const float *k, uint32_t head_dim)
{
	size_t start = (size_t) (position / 16) * head_dim * 16 + position % 16;

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

/* Query rows that share one conversion of K and V. */
#define ATTENTION_GROUP 4
#define EACH_ROW _Pragma("GCC unroll 4") for (uint32_t r = 0; r < n_rows; r++)
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
 * Scores of n_rows (constant, 1 … ATTENTION_GROUP) query rows against the 32 positions of a block: four partial sums
 * over the dimensions d mod 4, added as (0+1)+(2+3); as many of them at a time as fit the registers. scores:
 * [n_rows][32]
 */
LANE void
attention_scores(KvType type, const void *k_slice, const float *q, const uint32_t n_rows, uint32_t head_dim,
				 float *scores)
{
	const uint32_t n_chains = sums_a_row(n_rows);

	for (uint32_t half = 0; half < 2; half++)
	{
		F32x16 sums[ATTENTION_GROUP][4];
		size_t at = (size_t) half * head_dim * 16;

		for (uint32_t first = 0; first < 4; first += n_chains)
		{
			EACH_ROW EACH_CHAIN sums[r][first + c] = f_zero();
			for (uint32_t d = first; d < head_dim; d += 4)
				EACH_CHAIN
				{
					F32x16 k = cache_load(type, k_slice, at + (size_t) (d + c) * 16);

					EACH_ROW sums[r][first + c] = f_fma(k, f_set(q[(size_t) r * head_dim + d + c]), sums[r][first + c]);
				}
		}
		EACH_ROW f_store(scores + r * 32 + half * 16,
						 f_add(f_add(sums[r][0], sums[r][1]), f_add(sums[r][2], sums[r][3])));
	}
}

/*
 * Scores of one row to weights exp(score - max), masked positions to 0, and the row's running maximum and sum brought
 * up to date. Returns the factor by which what the row has gathered so far shrinks.
 */
LANE float
attention_weights(float *scores, uint32_t n_valid, AttentionState *state)
{
	F32x16 masked = f_set(-INFINITY);
	F32x16 low = f_first(f_load(scores), n_valid < 16 ? n_valid : 16, masked);
	F32x16 high = f_first(f_load(scores + 16), n_valid > 16 ? n_valid - 16 : 0, masked);
	float block_max = f_largest(f_max(low, high));
	float max = block_max > state->max ? block_max : state->max;
	float lanes[16];
	F32x16 weights_low, weights_high;

	f_store(lanes, lanes_exp(f_set(state->max - max)));
	weights_low = f_first(lanes_exp(f_sub(low, f_set(max))), n_valid < 16 ? n_valid : 16, f_zero());
	weights_high = f_first(lanes_exp(f_sub(high, f_set(max))), n_valid > 16 ? n_valid - 16 : 0, f_zero());
	f_store(scores, weights_low);
	f_store(scores + 16, weights_high);
	state->sum = fmaf(state->sum, lanes[0], f_sum(f_add(weights_low, weights_high)));
	state->max = max;
	return lanes[0];
}

/*
 * out[r] = out[r] * shrink[r] + sum over the 32 positions, in order, of weight * v; n_rows and n_chunks (of 16
 * dimensions, up to sums_a_row) constant.
 */
LANE void
attention_values(KvType type, const void *v_slice, const float *weights, const float *shrink, const uint32_t n_rows,
				 const uint32_t n_chunks, uint32_t head_dim, uint32_t first_dim, float *out)
{
	F32x16 sums[ATTENTION_GROUP][4];

	EACH_ROW EACH_CHUNK sums[r][c] = f_mul(f_load(out + (size_t) r * head_dim + first_dim + c * 16), f_set(shrink[r]));
	for (uint32_t p = 0; p < KV_BLOCK_POSITIONS; p++)
		EACH_CHUNK
		{
			F32x16 v = cache_load(type, v_slice, (size_t) p * head_dim + first_dim + c * 16);

			EACH_ROW sums[r][c] = f_fma(f_set(weights[r * 32 + p]), v, sums[r][c]);
		}
	EACH_ROW EACH_CHUNK f_store(out + (size_t) r * head_dim + first_dim + c * 16, sums[r][c]);
}

/* All of one block for n_rows (constant) rows that each see at least one position. */
LANE void
attention_rows(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
			   const uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out)
{
	float scores[ATTENTION_GROUP * 32];
	float shrink[ATTENTION_GROUP];
	const uint32_t n_chunks = sums_a_row(n_rows);
	uint32_t d = 0;

	attention_scores(type, k_slice, q, n_rows, head_dim, scores);
	for (uint32_t r = 0; r < n_rows; r++)
		shrink[r] = attention_weights(scores + r * 32, n_valid[r], &states[r]);
	for (; d + 16 * n_chunks <= head_dim; d += 16 * n_chunks)
		attention_values(type, v_slice, scores, shrink, n_rows, n_chunks, head_dim, d, out);
	for (; d < head_dim; d += 16)
		attention_values(type, v_slice, scores, shrink, n_rows, 1, head_dim, d, out);
}

/* A run of rows that see something, in groups cut as evenly as can be. */
LANE void
attention_run(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
			  uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out)
{
	uint32_t n_groups = (n_rows + ATTENTION_GROUP - 1) / ATTENTION_GROUP;

	for (uint32_t n; n_groups > 0; n_groups--, n_rows -= n)
	{
		n = (n_rows + n_groups - 1) / n_groups;
		if (n == 4)
			attention_rows(type, k_slice, v_slice, q, n_valid, 4, head_dim, states, out);
		else if (n == 3)
			attention_rows(type, k_slice, v_slice, q, n_valid, 3, head_dim, states, out);
		else if (n == 2)
			attention_rows(type, k_slice, v_slice, q, n_valid, 2, head_dim, states, out);
		else
			attention_rows(type, k_slice, v_slice, q, n_valid, 1, head_dim, states, out);
		q += (size_t) n * head_dim;
		out += (size_t) n * head_dim;
		n_valid += n;
		states += n;
	}
}

static void
op_attention_block(KvType type, const void *k_slice, const void *v_slice, const float *q, const uint8_t *n_valid,
				   uint32_t n_rows, uint32_t head_dim, AttentionState *states, float *out)
{
	uint32_t r = 0;

	while (r < n_rows)
	{
		uint32_t end = r;

		while (end < n_rows && n_valid[end] > 0)
			end++;
		if (type == KV_F16)
			attention_run(KV_F16, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim);
		else
			attention_run(KV_F32, k_slice, v_slice, q + (size_t) r * head_dim, n_valid + r, end - r, head_dim,
						  states + r, out + (size_t) r * head_dim);
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

/* Sixteen candidates at a time; a lane keeps the first of its largest values, the smallest index among lanes wins. */
static uint32_t
op_argmax(const float *x, uint32_t n)
{
	float best = -INFINITY;
	uint32_t index = 0;
	bool found = false;

	for (uint32_t i = 0; i < n; i += 16)
	{
		unsigned lanes = n - i < 16 ? n - i : 16;
		F32x16 values = f_first(f_load_first(x + i, lanes), lanes, f_set(-INFINITY));

		/* a chunk without anything better than the best so far is passed over; max drops NaN in favour of its second
		 * operand */
		if (found && !(f_largest(f_max(values, f_set(-INFINITY))) > best))
			continue;
		for (uint32_t j = i; j < i + lanes; j++)
			if (x[j] > best || (!found && x[j] == best))
			{
				best = x[j];
				index = j;
				found = true;
			}
	}
	return index;
}
