/*
 * step_shares.h - how many rows of a step each role gets where several ask for some.
 *
 * All wait for a step together, so whoever wants one row would wait as long as whoever wants a chunk of 256. So the
 * role that wants least is the measure: a step has as many rows of each role as of that one, and beyond them as many as
 * make it half as long again. An answer beside another role's prompts takes less than twice as long as alone then, not
 * fifty times. Within that the rows are shared evenly (max-min): who wants less than its part leaves the rest to
 * others. Every role gets at least one. Roles of the highest priority come first.
 *
 * How many rows take half the time of a step of few, most of which goes into reading the weights, is measured
 * (StepCost).
 */
#ifndef QWEN_STEP_SHARES_H
#define QWEN_STEP_SHARES_H

#include "job.h"

/* What steps of one model take, moving averages. */
typedef struct StepCost
{
	double few_us; /* a step of few rows; 0: none was seen */
	double row_us; /* one more row; 0: not known */
} StepCost;

/* Bounds of what is believed of measured times, and what holds before there are some. */
#define FREE_ROWS_MIN 2u
#define FREE_ROWS_MAX 32u
#define FREE_ROWS_USUAL 8u

extern void step_cost_learn(StepCost *cost, uint32_t n_rows, uint64_t step_us);

/* So many more rows make a step of few half as long again. */
extern uint32_t step_cost_free_rows(const StepCost *cost);

typedef struct RoleShare
{
	const struct RoleAccount *account;
	int32_t priority; /* the highest of its jobs */
	uint32_t wanted;  /* rows */
	uint32_t left;    /* rows that it may still take */
} RoleShare;

/* The roles of some jobs, with what each wants; shares has room for as many as there are jobs. Returns how many. */
extern uint32_t shares_collect(RoleShare *shares, Job *const *jobs, uint32_t n_jobs);

/* Set what each may take of a step, with n_free rows more than as many of each as of the one that wants least. */
extern void shares_fill(RoleShare *shares, uint32_t n, uint32_t n_free);

/* The share of a job's role, which is there. */
extern RoleShare *shares_find(RoleShare *shares, const Job *job);

#endif
