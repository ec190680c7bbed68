/*
 * key_outliers.c - which dimensions of keys are far larger than the others, told by the biases of a model's file.
 *
 * A key is W x + b, then rotated; rotation moves length between the two dimensions of a pair (i, i + n_rotated / 2)
 * only, and dimensions behind the rotated ones stay as they are, each by itself. So a pair whose bias is very long is
 * an outlier at every position, whatever the text (Qwen2 and Qwen2.5 have such pairs, with biases of 100 and more
 * beside others of about 1; models with norms on their keys have none).
 */
#include "key_outliers.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_LENGTH 10.0f /* of a unit's bias: below, eight bits are fine */
#define LEAST_RATIO 4.0f   /* to the root mean square of the units that are not outliers */

/* The dimensions of a head whose lengths do not mix with others': rotary pairs, and behind them single ones. */
typedef struct Unit
{
	uint32_t n_dims; /* 1 or 2 */
	uint32_t dims[2];
} Unit;

static Unit
unit_of(const ModelHyper *hyper, uint32_t i)
{
	uint32_t half = hyper->n_rotated / 2;

	return i < half ? (Unit){2, {i, half + i}} : (Unit){1, {half + i, 0}};
}

static bool
is_found(const KeyOutliers *found, uint32_t dim)
{
	for (uint32_t k = 0; k < found->n; k++)
		if (found->dims[k] == dim)
			return true;
	return false;
}

/* The longest unit of one head's bias but those that are outliers already; rms: of the others that are left. */
static Unit
longest_unit(const ModelHyper *hyper, const float *bias, const KeyOutliers *found, float *length, float *rms)
{
	uint32_t n_units = hyper->head_dim - hyper->n_rotated / 2, n = 0;
	Unit longest = unit_of(hyper, 0);
	double squares = 0;

	*length = -1;
	for (uint32_t i = 0; i < n_units; i++)
	{
		Unit unit = unit_of(hyper, i);
		float its = unit.n_dims == 2 ? hypotf(bias[unit.dims[0]], bias[unit.dims[1]]) : fabsf(bias[unit.dims[0]]);

		if (is_found(found, unit.dims[0]))
			continue;
		squares += (double) its * its;
		n++;
		if (its > *length)
		{
			*length = its;
			longest = unit;
		}
	}
	*rms = n > 1 ? (float) sqrt((squares - (double) *length * *length) / (n - 1)) : 0;
	return longest;
}

void
key_outliers_of_head(const ModelHyper *hyper, const float *bias, KeyOutliers *found)
{
	while (found->n < KEY_OUTLIERS)
	{
		float length, rms;
		Unit unit = longest_unit(hyper, bias, found, &length, &rms);

		if (!(length >= LEAST_LENGTH && length >= LEAST_RATIO * rms) || found->n + unit.n_dims > KEY_OUTLIERS)
			return;
		for (uint32_t d = 0; d < unit.n_dims; d++)
			found->dims[found->n++] = (uint8_t) unit.dims[d];
	}
}

Status
key_outliers_find(const ModelHyper *hyper, const ModelLayer *layers, KeyOutliers **outliers)
{
	uint32_t n = 0, n_layers = hyper->n_layers + hyper->n_heads_loaded;
	KeyOutliers *found = calloc((size_t) n_layers * hyper->n_kv_heads, sizeof *found);

	*outliers = NULL;
	if (!found)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %u layers", hyper->n_layers);
	for (uint32_t layer = 0; layer < n_layers; layer++)
		for (uint32_t head = 0; layers[layer].attn_k_bias && head < hyper->n_kv_heads; head++)
		{
			KeyOutliers *of_head = &found[(size_t) layer * hyper->n_kv_heads + head];

			key_outliers_of_head(hyper, layers[layer].attn_k_bias + (size_t) head * hyper->head_dim, of_head);
			n += of_head->n;
		}
	if (n > 0)
		*outliers = found;
	else
		free(found);
	return status_ok();
}
