/*
 * key_outliers.h - the dimensions of a model's keys that a cache in eight bits keeps apart (kernels.h, KeyOutliers).
 */
#ifndef QWEN_KEY_OUTLIERS_H
#define QWEN_KEY_OUTLIERS_H

#include "model.h"

/* The outliers of one head, whose bias is [head_dim], into a KeyOutliers of zeros. */
extern void key_outliers_of_head(const ModelHyper *hyper, const float *bias, KeyOutliers *found);

/* *outliers: [n_layers][n_kv_heads], the caller frees it; NULL where no head has any. Layers must point at their
 * tensors. UNAVAILABLE: out of memory. */
extern Status key_outliers_find(const ModelHyper *hyper, const ModelLayer *layers, KeyOutliers **outliers);

#endif
