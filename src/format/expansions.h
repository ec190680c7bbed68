/*
 * expansions.h - what values, objects and arrays can begin with, where they can be completed.
 */
#ifndef QWEN_FORMAT_EXPANSIONS_H
#define QWEN_FORMAT_EXPANSIONS_H

#include "machine.h"

/* The frames that a frame can begin with, of those whose values need no more than height arrays and objects in one
 * another. NULL after a failure. */
extern const Expansion *expansion_of(Machine *machine, uint32_t frame, uint32_t height);

#endif
