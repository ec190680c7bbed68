/*
 * keys.h - names of members that the schema does not have: letter by letter, and never one that is there
 * already.
 */
#ifndef QWEN_FORMAT_KEYS_H
#define QWEN_FORMAT_KEYS_H

#include "machine.h"

#define NO_KEY UINT32_MAX /* the letters of a name are not kept */

typedef enum KeyStep
{
	KEY_DEAD,
	KEY_GOES_ON,
	KEY_ENDS,
} KeyStep;

/* The names of a plan as a list of names that are used. */
extern uint32_t key_list_of_plan(Machine *machine, const ObjectPlan *plan);

/* How many of the names used (those of a range), of which the first depth letters are those of the name at hand, are
 * words of a language from a state on. */
extern uint32_t keys_count_used(const Machine *machine, const Language *language, uint32_t state, uint32_t list,
								uint32_t range, uint32_t depth);

/* Is there a name from here that is not used yet? */
extern bool key_lives(const Machine *machine, const Language *language, uint32_t state, uint32_t list, uint32_t range,
					  uint32_t depth);

/* The fewest letters to an end of a name, behind what has been read of a letter: a whole one after which some name is
 * not used yet. NO_LIMIT: there is none. */
extern uint32_t key_shortest(const Machine *machine, const Language *language, const uint32_t words[9]);

/* Is the name so far, of which words is the frame, used already? */
extern bool key_is_used(const Machine *machine, const uint32_t words[9]);

/* A byte of a name, of which words is the frame (changed). after: the frames that come behind it. */
extern KeyStep key_step(Machine *machine, uint32_t words[9], unsigned char byte, uint32_t after[3]);

#endif
