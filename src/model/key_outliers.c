/*
 * key_outliers.c - which dimensions of keys are far larger than the others, told by the biases of a model's file.
 *
 * A key is W x + b, then rotated; rotation moves length between the two dimensions of a pair (i, i + head_dim / 2)
 * only. So a pair whose bias is very long is an outlier at every position, whatever the text (Qwen2 and Qwen2.5 have
 * such pairs, with biases of 100 and more beside others of about 1; models with norms on their keys have none).
 */
#include "key_outliers.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_LENGTH 10.0f /* of a pair's bias: below, eight bits are fine */
#define LEAST_RATIO 4.0f   /* to the root mean square of the pairs that are not outliers */
#define MOST_PAIRS (KEY_OUTLIERS / 2)

/* The longest pair of one head's bias but those that are outliers already; rms: of the others that are left. */
static uint32_t
longest_pair(const float *bias, uint32_t head_dim, const KeyOutliers *found, float *length, float *rms)
{
	uint32_t half = head_dim / 2, longest = 0, n = 0;
	double squares = 0;

	*length = -1;
	for (uint32_t i = 0; i < half; i++)
	{
		float pair = hypotf(bias[i], bias[half + i]);
		bool is_found = false;

		for (uint32_t k = 0; k < found->n; k++)
			is_found |= found->dims[k] == i;
		if (is_found)
			continue;
		squares += (double) pair * pair;
		n++;
		if (pair > *length)
		{
			*length = pair;
			longest = i;
		}
	}
	*rms = n > 1 ? (float) sqrt((squares - (double) *length * *length) / (n - 1)) : 0;
	return longest;
}

/* The outliers of one head. */
static void
find_in_head(const float *bias, uint32_t head_dim, KeyOutliers *found)
{
	for (uint32_t pairs = 0; pairs < MOST_PAIRS; pairs++)
	{
		float length, rms;
		uint32_t pair = longest_pair(bias, head_dim, found, &length, &rms);

		if (!(length >= LEAST_LENGTH && length >= LEAST_RATIO * rms))
			return;
		found->dims[found->n++] = (uint8_t) pair;
		found->dims[found->n++] = (uint8_t) (pair + head_dim / 2);
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

			find_in_head(layers[layer].attn_k_bias + (size_t) head * hyper->head_dim, hyper->head_dim, of_head);
			n += of_head->n;
		}
	if (n > 0)
		*outliers = found;
	else
		free(found);
	return status_ok();
}
