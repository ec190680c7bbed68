/*
 * openings.h - what a value, object or array can begin with, and what stands behind that: all of it, be it that
 * it can be completed or not.
 */
#ifndef QWEN_FORMAT_OPENINGS_H
#define QWEN_FORMAT_OPENINGS_H

#include "machine.h"

/* NULL after a failure. */
extern const Pick *opening_words(Machine *machine, uint32_t frame);

#endif
