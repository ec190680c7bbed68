/*
 * expansions.h - what values, objects and arrays can begin with, what the shortest text of each is, and names that the
 * schema does not have.
 */
#ifndef QWEN_FORMAT_EXPANSIONS_H
#define QWEN_FORMAT_EXPANSIONS_H

#include "machine.h"

#define NO_KEY UINT32_MAX /* the letters of a name are not kept */

typedef enum KeyStep
{
	KEY_DEAD,
	KEY_GOES_ON,
	KEY_ENDS,
} KeyStep;

/* The frames that a frame can begin with, of those whose values need no more than height arrays and objects in one
 * another. NULL after a failure. */
extern const Expansion *expansion_of(Machine *machine, uint32_t frame, uint32_t height);

/* Bytes and height of a frame's shortest and flattest completion. NO_COST: there is none. */
extern FrameCost frame_cost(Machine *machine, uint32_t frame);

/* The next byte of a short completion of a frame that has begun. */
extern unsigned char frame_best_byte(Machine *machine, const uint32_t *words);

/* A byte of a name, of which words is the frame (changed). after: the frames that come behind it. */
extern KeyStep key_step(Machine *machine, uint32_t words[9], unsigned char byte, uint32_t after[3]);

extern uint32_t pick_of_texts(Machine *machine, const ByteSpan *texts, uint32_t n);
extern uint32_t pick_of_blanks(Machine *machine, const uint32_t *cells, uint32_t n);
extern uint32_t language_index(const Machine *machine, const Language *language);
extern uint32_t frame_of_number(Machine *machine, uint32_t set, const NumberPrefix *prefix);

#endif
