/*
 * step_shares.h - how many rows of a step each role gets where several ask for some.
 *
 * All wait for a step together, so whoever wants one row would wait as long as whoever wants a chunk of 256. So the
 * role that wants least is the measure: a step has as many rows of each role as of that one, or as many in all as make
 * it half as long again as that one's alone. An answer beside another role's prompts takes less than twice as long as
 * alone then, not fifty times. Within that the rows are shared evenly (max-min): who wants less than its part leaves
 * the rest to others. Every role gets at least one. Roles of the highest priority come first.
 *
 * How long a step of so many rows takes is measured while one role has the engine (StepCost). It does not grow evenly:
 * most of a step of few rows goes into reading the weights, and from the fifth row on the kernels are others. Rows far
 * behind in a long text take longer than others; so what steps of several roles take beyond that is measured too, and
 * their rows are counted as that much dearer.
 */
#ifndef QWEN_STEP_SHARES_H
#define QWEN_STEP_SHARES_H

#include "request.h"

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

typedef struct RoleShare
{
	const struct RoleAccount *account;
	int32_t priority; /* the highest of its requests */
	uint32_t wanted;  /* rows */
	uint32_t left;    /* rows that it may still take */
} RoleShare;

/* The roles of some requests, with what each wants; shares has room for as many as there are requests. Returns how
 * many. */
extern uint32_t shares_collect(RoleShare *shares, EngineRequest *const *requests, uint32_t n_requests);

/* The fewest rows that a role of the highest priority wants. */
extern uint32_t shares_least(const RoleShare *shares, uint32_t n);

/* Set what each may take of a step of n_rows, or of as many as the one that wants least for each, if that is more. */
extern void shares_fill(RoleShare *shares, uint32_t n, uint32_t n_rows);

/* The share of a request's role, which is there. */
extern RoleShare *shares_find(RoleShare *shares, const EngineRequest *request);

#endif
