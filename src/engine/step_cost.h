/*
 * step_cost.h - what steps of one model take, by how many rows they have.
 *
 * How long a step of so many rows takes is measured while one role has the engine (StepCost). It does not grow evenly:
 * most of a step of few rows goes into reading the weights, and from the fifth row on the kernels are others. Rows far
 * behind in a long text take longer than others; so what steps of several roles take beyond that is measured too, and
 * their rows are counted as that much dearer.
 */
#ifndef QWEN_STEP_COST_H
#define QWEN_STEP_COST_H

#include <stdint.h>

/* Steps of up to 1, 2, 4, 8 … rows. */
#define N_STEP_CLASSES 10

/* Moving averages of the steps of one class; 0: none was seen. */
typedef struct StepClass
{
	double rows, us;
} StepClass;

/* What steps of one model take. */
typedef struct StepCost
{
	StepClass classes[N_STEP_CLASSES]; /* while one role asks */
	double dearness;                   /* while several do: so many times as long as such a step of one; 0: not known */
} StepCost;

/* So many more rows at least and at most, and what holds before times were measured. */
#define FREE_ROWS_MIN 2u
#define FREE_ROWS_MAX 32u
#define FREE_ROWS_USUAL 8u
#define HALF_AS_LONG_AGAIN 1.5

/* A step of n_rows rows of n_roles roles took so long. */
extern void step_cost_learn(StepCost *cost, uint32_t n_rows, uint32_t n_roles, uint64_t step_us);

/* The rows of a step that takes so many times as long as one of n_rows: FREE_ROWS_MIN more at least, FREE_ROWS_MAX more
 * at most.
 */
extern uint32_t step_cost_rows(const StepCost *cost, uint32_t n_rows, double times);

#endif
