/*
 * ops_vector.h - the vector operations of the table, written once over sixteen lanes.
 *
 * Included (by ops_table.h) by each kernels_*.c behind its lanes_*.h, which gives the primitives their instructions. So
 * all versions do the same operations in the same order, and give the same bits.
 */

/* exp(x) for x in [-87, 88]: 2^n times a polynomial of degree 6 in the rest (Cephes' split of ln 2; relative error
 * below 2e-7). */
LANE F32x16
exp_of_clamped(F32x16 x)
{
	F32x16 n = f_round(f_mul(x, f_set(1.44269504f)));
	F32x16 r = f_fnma(n, f_set(0.693359375f), x);
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

/* exp(x) for x clamped to [-87, 88]; NaN counts as the least. */
LANE F32x16
lanes_exp(F32x16 x)
{
	return exp_of_clamped(f_min(f_max(x, f_set(-87.0f)), f_set(88.0f)));
}

/* The same for x that is never above 88, as differences from a maximum. */
LANE F32x16
lanes_exp_below(F32x16 x)
{
	return exp_of_clamped(f_max(x, f_set(-87.0f)));
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

#include "ops_attention.h"
#include "ops_delta.h"
