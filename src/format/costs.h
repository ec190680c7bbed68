/*
 * costs.h - the shortest and the flattest completion of frames.
 *
 * Costs are the least fixed point over what frames can begin with, by rounds: a frame that needs itself has no cost
 * until there is a way without. What has no cost in the end cannot be completed.
 */
#ifndef QWEN_FORMAT_COSTS_H
#define QWEN_FORMAT_COSTS_H

#include "machine.h"

/* Bytes and height of a frame's shortest and flattest completion. NO_COST: there is none. */
extern FrameCost frame_cost(Machine *machine, uint32_t frame);

/* The same of a word, of which so many bytes are there already, and the frames behind it, whose costs are known. */
extern FrameCost word_cost(Machine *machine, const PickWord *word, uint32_t depth);

#endif
