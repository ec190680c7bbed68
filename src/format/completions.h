/*
 * completions.h - how frames that have begun are completed in few bytes.
 */
#ifndef QWEN_FORMAT_COMPLETIONS_H
#define QWEN_FORMAT_COMPLETIONS_H

#include "machine.h"

/* The next byte of a short completion of a frame that has begun. */
extern unsigned char frame_best_byte(Machine *machine, const uint32_t *words);

#endif
