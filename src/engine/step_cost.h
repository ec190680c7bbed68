/*
 * step_cost.h - what steps of one model take: by how many rows they have, and how far behind in their texts these are.
 *
 * What the rows take does not grow evenly: most of a step of few rows goes into reading the weights, and from the fifth
 * row on the kernels are others. So it is learnt by classes of steps. Beside that a row looks at the key of each
 * position before it: far behind in a long text that takes longer than all the rest. A step's keys are those of all of
 * its rows together, and what one takes is learnt from the time of the attention.
 */
#ifndef QWEN_STEP_COST_H
#define QWEN_STEP_COST_H

#include <stdbool.h>
#include <stdint.h>

/* Steps of up to 1, 2, 4, 8 … rows. */
#define N_STEP_CLASSES 10

/* Of so few rows each number has a time of its own: guesses come to as many. */
#define STEP_FEW_ROWS 8

/* Moving averages of the steps of one class; 0: none was seen. */
typedef struct StepClass
{
	double rows, us; /* us: without keys */
} StepClass;

/* What steps of one model take. */
typedef struct StepCost
{
	StepClass classes[N_STEP_CLASSES];
	double key_us; /* a key that a row looks at; 0: not known */

	/* of so many rows exactly, without keys, as fast as they are when no processor is taken away; 0: none was seen */
	double few_us[STEP_FEW_ROWS + 1];
} StepCost;

/* So many more rows at least and at most, and what holds before times were measured. */
#define FREE_ROWS_MIN 2u
#define FREE_ROWS_MAX 32u
#define FREE_ROWS_USUAL 8u
#define HALF_AS_LONG_AGAIN 1.5

/* A step of n_rows rows and n_keys keys took so long. */
extern void step_cost_learn(StepCost *cost, uint32_t n_rows, uint64_t n_keys, uint64_t step_us);

/* Is the time of such a step's attention worth knowing? Then it took so long for so many keys. */
extern bool step_cost_wants_keys(uint32_t n_rows, uint64_t n_keys);
extern void step_cost_learn_keys(StepCost *cost, uint64_t n_keys, double attention_us);

/* What so many keys take, and a step of rows and keys; where nothing is known a row counts as a microsecond. */
extern double step_cost_keys_us(const StepCost *cost, uint64_t n_keys);
extern double step_cost_us(const StepCost *cost, uint32_t n_rows, uint64_t n_keys);

/* What a step of so many rows takes, keys apart, as far as guesses are concerned: of more rows than were seen, what the
 * most that were seen take. So they are tried, and then it is known. */
extern double step_cost_few_us(const StepCost *cost, uint32_t n_rows);

/* Were steps of so few rows seen, or nearly so? What many take does not tell what few do. */
extern bool step_cost_knows(const StepCost *cost, uint32_t n_rows);

/* The rows of a step that takes so many times as long as one of n_rows, keys apart: FREE_ROWS_MIN more at least,
 * FREE_ROWS_MAX more at most.
 */
extern uint32_t step_cost_rows(const StepCost *cost, uint32_t n_rows, double times);

#endif
