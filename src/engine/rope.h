/*
 * rope.h - the angles of rotary position embedding, with linear and YaRN scaling.
 */
#ifndef QWEN_ROPE_H
#define QWEN_ROPE_H

#include "../model/model.h"

/* Angle per position of each pair, and what cosines and sines are multiplied with. Plain data. */
typedef struct Rope
{
	uint32_t n_pairs; /* n_rotated / 2 */
	double frequencies[MODEL_MAX_HEAD_DIM / 2];
	double magnitude;
} Rope;

/* Fill rope from the hyperparameters (Su et al. 2021; YaRN: Peng et al. 2023). */
extern void rope_init(Rope *rope, const ModelHyper *hyper);

/* Cosines and sines for one position: [n_pairs] each. */
extern void rope_angles(const Rope *rope, uint32_t position, float *cosines, float *sines);

#endif
