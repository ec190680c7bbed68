/*
 * ops_delta.h - the operations of gated delta nets (Yang et al. 2024), written once over sixteen lanes.
 *
 * Included at the end of ops_vector.h. The state of a value head is kept in slices of DELTA_COLUMNS of its values. Rows
 * of a sequence go one after the other; the chunked form would round by where chunks begin, and computes as much. The
 * order of every sum over keys: even and odd ones apart, each in order with fused multiply-add, then added. What the
 * next row needs of the state, S^T k, is summed in the pass that changes it, which is the same order in one pass less.
 * The state may be kept in F16: then S is rounded where it is written, after every row, and the next row reads what it
 * would find in memory.
 */
#define COLUMN_LANES (DELTA_COLUMNS / 16)
#define EACH_LANES(c) _Pragma("GCC unroll 2") for (uint32_t c = 0; c < COLUMN_LANES; c++)
#define PARITIES 2

/* Sixteen elements of a state, from number at on. */
LANE F32x16
state_lanes(const StateType type, const void *state, size_t at)
{
	return type == STATE_F16 ? f_load_f16((const uint16_t *) state + at) : f_load((const float *) state + at);
}

/* F16's range, at which x is kept. */
LANE F32x16
state_clamp(F32x16 x)
{
	return f_min(f_max(x, f_set(-65504.0f)), f_set(65504.0f));
}

LANE void
state_put(const StateType type, void *state, size_t at, F32x16 x)
{
	if (type == STATE_F16)
		f_store_f16((uint16_t *) state + at, state_clamp(x));
	else
		f_store((float *) state + at, x);
}

/* What is left of x when a state has kept it. */
LANE F32x16
state_value(const StateType type, F32x16 x)
{
	return type == STATE_F16 ? f_round_f16(state_clamp(x)) : x;
}

/* p = S^T k; floats: what was read, where it is kept otherwise. */
LANE void
delta_read(const StateType type, const void *state, float *floats, const float *k, uint32_t dim, F32x16 p[COLUMN_LANES])
{
	F32x16 sum[PARITIES][COLUMN_LANES];

	for (uint32_t h = 0; h < PARITIES; h++)
		EACH_LANES(c) sum[h][c] = f_zero();
	for (uint32_t i = 0; i < dim; i += PARITIES)
	{
		_Pragma("GCC unroll 2") for (uint32_t h = 0; h < PARITIES; h++)
		{
			F32x16 key = f_set(k[i + h]);

			EACH_LANES(c)
			{
				size_t at = (i + h) * DELTA_COLUMNS + 16 * c;
				F32x16 x = state_lanes(type, state, at);

				if (type != STATE_F32)
					f_store(floats + at, x);
				sum[h][c] = f_fma(x, key, sum[h][c]);
			}
		}
	}
	EACH_LANES(c) p[c] = f_add(sum[0][c], sum[1][c]);
}

/* Bytes of row i of a slice, and of the one behind it, into the cache. */
LANE void
delta_fetch(const StateType type, const uint8_t *next, uint32_t i)
{
	const size_t bytes = PARITIES * DELTA_COLUMNS * state_type_bytes(type);

	_Pragma("GCC unroll 4") for (size_t at = 0; at < bytes; at += 64)
		__builtin_prefetch(next + i / PARITIES * bytes + at);
}

/* S = decay S + k u^T; o = S^T q; and, if there is a next row (a constant), p = S^T k_next. S is read from floats, and
 * written there for the next row, or to the state where there is none; then another slice is fetched meanwhile, as
 * memory has nothing to do in this pass. */
LANE void
delta_write(const StateType type, float *floats, void *state, const float *q, const float *k, const float *k_next,
			uint32_t dim, const bool next, const uint8_t *fetch, const F32x16 u[COLUMN_LANES], F32x16 decay,
			F32x16 o[COLUMN_LANES], F32x16 p[COLUMN_LANES])
{
	F32x16 sum[PARITIES][COLUMN_LANES], ahead[PARITIES][COLUMN_LANES];

	for (uint32_t h = 0; h < PARITIES; h++)
		EACH_LANES(c) sum[h][c] = ahead[h][c] = f_zero();
	for (uint32_t i = 0; i < dim; i += PARITIES)
	{
		if (!next && fetch)
			delta_fetch(type, fetch, i);
		_Pragma("GCC unroll 2") for (uint32_t h = 0; h < PARITIES; h++)
		{
			F32x16 key = f_set(k[i + h]), x[COLUMN_LANES], kept[COLUMN_LANES];

			EACH_LANES(c)
			{
				size_t at = (i + h) * DELTA_COLUMNS + 16 * c;

				x[c] = f_fma(key, u[c], f_mul(f_load(floats + at), decay));
				if (!next)
					state_put(type, state, at, x[c]);
				else
					f_store(floats + at, kept[c] = state_value(type, x[c]));
			}
			key = f_set(q[i + h]);
			EACH_LANES(c) sum[h][c] = f_fma(x[c], key, sum[h][c]);
			if (next)
			{
				key = f_set(k_next[i + h]);
				EACH_LANES(c) ahead[h][c] = f_fma(kept[c], key, ahead[h][c]);
			}
		}
	}
	EACH_LANES(c) o[c] = f_add(sum[0][c], sum[1][c]);
	if (next)
		EACH_LANES(c) p[c] = f_add(ahead[0][c], ahead[1][c]);
}

/* floats: the state itself, or room for it. */
LANE void
delta_rows(const StateType type, void *state, float *floats, const DeltaRows *rows)
{
	const uint32_t dim = rows->dim;
	F32x16 p[COLUMN_LANES], u[COLUMN_LANES], o[COLUMN_LANES];

	if (rows->n > 0)
		delta_read(type, state, floats, rows->k, dim, p);
	for (uint32_t t = 0; t < rows->n; t++)
	{
		const float *k = rows->k + t * rows->qk_stride, *q = rows->q + t * rows->qk_stride;
		const float *v = rows->v + t * rows->v_stride;
		F32x16 decay = f_set(rows->decay[t * rows->gate_stride]), beta = f_set(rows->beta[t * rows->gate_stride]);

		EACH_LANES(c) u[c] = f_mul(f_fnma(decay, p[c], f_load(v + 16 * c)), beta);
		if (t + 1 < rows->n)
			delta_write(type, floats, state, q, k, k + rows->qk_stride, dim, true, NULL, u, decay, o, p);
		else
			delta_write(type, floats, state, q, k, NULL, dim, false, rows->next, u, decay, o, p);
		EACH_LANES(c) f_store(rows->o + t * rows->o_stride + 16 * c, o[c]);
	}
}

static void
op_delta_rows(StateType type, void *state, const DeltaRows *rows)
{
	_Alignas(64) float room[DELTA_MAX_DIM * DELTA_COLUMNS];

	if (type == STATE_F16)
		delta_rows(STATE_F16, state, room, rows);
	else
		delta_rows(STATE_F32, state, state, rows);
}

static void
op_state_store(StateType type, const float *x, uint32_t n, void *out)
{
	for (uint32_t i = 0; i < n; i += 16)
	{
		unsigned lanes = n - i < 16 ? n - i : 16;
		F32x16 value = f_load_first(x + i, lanes);
		uint16_t halves[16];

		if (type == STATE_F32)
			f_store_first((float *) out + i, value, lanes);
		else
		{
			state_put(STATE_F16, halves, 0, value);
			memcpy((uint16_t *) out + i, halves, lanes * sizeof *halves);
		}
	}
}

static void
op_state_load(StateType type, const void *state, uint32_t n, float *out)
{
	for (uint32_t i = 0; i < n; i += 16)
		f_store(out + i, type == STATE_F16 ? state_lanes(STATE_F16, state, i) : state_lanes(STATE_F32, state, i));
}

LANE F32x16
lanes_sigmoid(F32x16 x)
{
	return f_div(f_set(1.0f), f_add(f_set(1.0f), lanes_exp(f_sub(f_zero(), x))));
}

static void
op_sigmoid_mul(float *x, const float *gate, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 16)
	{
		unsigned lanes = n - i < 16 ? n - i : 16;

		f_store_first(x + i, f_mul(f_load_first(x + i, lanes), lanes_sigmoid(f_load_first(gate + i, lanes))), lanes);
	}
}

LANE void
delta_conv(const StateType type, const float *const rows[4], const float *taps, size_t tap_stride, uint32_t n,
		   float *out)
{
	for (uint32_t j = 0; j < n; j += 16)
	{
		F32x16 x = f_mul(state_value(type, f_load(rows[0] + j)), f_load(taps + j));

		for (uint32_t i = 1; i < 4; i++)
			x = f_fma(state_value(type, f_load(rows[i] + j)), f_load(taps + i * tap_stride + j), x);
		f_store(out + j, f_mul(x, lanes_sigmoid(x)));
	}
}

static void
op_delta_conv(StateType type, const float *const rows[4], const float *taps, size_t tap_stride, uint32_t n, float *out)
{
	if (type == STATE_F16)
		delta_conv(STATE_F16, rows, taps, tap_stride, n, out);
	else
		delta_conv(STATE_F32, rows, taps, tap_stride, n, out);
}

static void
op_unit_norm(float *x, uint32_t n, float scale)
{
	F32x16 squares = f_zero(), factor;

	for (uint32_t i = 0; i < n; i += 16)
		squares = f_fma(f_load(x + i), f_load(x + i), squares);
	factor = f_set(scale / sqrtf(f_sum(squares) + 1e-6f));
	for (uint32_t i = 0; i < n; i += 16)
		f_store(x + i, f_mul(f_load(x + i), factor));
}

/*
 * log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), and log(1 + y) of y in (0, 1] is 2 atanh(y / (2 + y)): an odd series in s
 * <= 1/3 up to s^15, what is left out being less than 2 * 3^-17 / 17 = 1e-9.
 */
LANE F32x16
lanes_softplus(F32x16 x)
{
	F32x16 y = lanes_exp(f_sub(f_zero(), f_abs(x)));
	F32x16 s = f_div(y, f_add(f_set(2.0f), y)), s2 = f_mul(s, s), p = f_set(1.0f / 15);

	for (int d = 13; d > 0; d -= 2)
		p = f_fma(p, s2, f_set(1.0f / (float) d));
	return f_add(f_max(x, f_zero()), f_mul(f_add(s, s), p));
}

static void
op_delta_gates(float *alpha, float *beta, const float *dt, const float *decay, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 16)
	{
		unsigned lanes = n - i < 16 ? n - i : 16;
		F32x16 a = f_add(f_load_first(alpha + i, lanes), f_load_first(dt + i, lanes));
		F32x16 g = f_mul(lanes_softplus(a), f_load_first(decay + i, lanes));

		f_store_first(alpha + i, lanes_exp(g), lanes);
		f_store_first(beta + i, lanes_sigmoid(f_load_first(beta + i, lanes)), lanes);
	}
	/* what is left of a state then is nothing, and must not be subnormal, with which some processors are slow */
	for (uint32_t i = 0; i < n; i++)
		alpha[i] = alpha[i] < DELTA_LEAST_DECAY ? 0 : alpha[i];
}

static void
op_delta_output(float *o, const float *weight, const float *gate, uint32_t n, float epsilon)
{
	F32x16 squares = f_zero(), factor;

	for (uint32_t i = 0; i < n; i += 16)
		squares = f_fma(f_load(o + i), f_load(o + i), squares);
	factor = f_set(1.0f / sqrtf(f_sum(squares) / (float) n + epsilon));
	for (uint32_t i = 0; i < n; i += 16)
	{
		F32x16 z = f_load(gate + i);

		f_store(o + i, f_mul(f_mul(f_mul(f_load(o + i), factor), f_load(weight + i)), f_mul(z, lanes_sigmoid(z))));
	}
}
