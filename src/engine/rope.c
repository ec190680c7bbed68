/*
 * rope.c - rotary angles; see rope.h. Computed in double: at position 30,000 a float angle would be off by 1e-3.
 */
#include "rope.h"

#include <math.h>

/* The pair whose wave makes n_rotations over the original context (YaRN, equation of "find correction dim"). */
static double
yarn_pair(const ModelHyper *hyper, double n_rotations)
{
	return hyper->n_rotated * log(hyper->rope_original_context / (n_rotations * 2 * M_PI)) /
		   (2 * log(hyper->rope_base));
}

/* How much of pair i keeps its frequency: 1 for fast waves, 0 for slow ones, a ramp between. */
static double
yarn_kept(const ModelHyper *hyper, uint32_t i)
{
	double low = floor(yarn_pair(hyper, hyper->yarn_beta_fast)), high = ceil(yarn_pair(hyper, hyper->yarn_beta_slow));
	double ramp;

	low = low < 0 ? 0 : low;
	high = high > hyper->n_rotated - 1 ? hyper->n_rotated - 1 : high;
	ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
	return 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
}

void
rope_init(Rope *rope, const ModelHyper *hyper)
{
	double factor = hyper->rope_factor > 0 ? hyper->rope_factor : 1;

	rope->n_pairs = hyper->n_rotated / 2;
	rope->magnitude = 1;
	for (uint32_t i = 0; i < rope->n_pairs; i++)
	{
		double frequency = pow(hyper->rope_base, -2.0 * i / hyper->n_rotated);

		if (hyper->rope_scaling == ROPE_SCALING_LINEAR)
			frequency /= factor;
		else if (hyper->rope_scaling == ROPE_SCALING_YARN)
		{
			double kept = yarn_kept(hyper, i);

			frequency = frequency / factor * (1 - kept) + frequency * kept;
		}
		rope->frequencies[i] = frequency;
	}
	/* the paper's 0.1 ln(factor) + 1; a file's rope.scaling.attn_factor is multiplied with it, as llama.cpp does */
	if (hyper->rope_scaling == ROPE_SCALING_YARN)
		rope->magnitude = (factor > 1 ? 1 + 0.1 * log(factor) : 1) *
						  (hyper->yarn_attention_factor > 0 ? hyper->yarn_attention_factor : 1);
}

void
rope_angles(const Rope *rope, uint32_t position, float *cosines, float *sines)
{
	for (uint32_t i = 0; i < rope->n_pairs; i++)
	{
		double angle = position * rope->frequencies[i];

		cosines[i] = (float) (cos(angle) * rope->magnitude);
		sines[i] = (float) (sin(angle) * rope->magnitude);
	}
}
