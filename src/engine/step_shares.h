/*
 * step_shares.h - how many rows of a step each role gets where several ask for some.
 *
 * All wait for a step together, so whoever wants one row would wait as long as whoever wants a chunk of 256. So the
 * role whose rows take least is the measure: a step has as many rows of each role as of that one, or as many in all as
 * make it half as long again as that one's alone. An answer beside another role's prompts takes less than twice as long
 * as alone then, not fifty times. Within that the rows are shared evenly (max-min): who wants less than its part leaves
 * the rest to others. Every role gets at least one. Roles of the highest priority come first.
 *
 * Rows far behind in a long text take many times as long as others, most of it for the keys of the positions before
 * them. So what a role's keys may take has a part of each step, too: what keys the measure looks at itself, or what
 * makes the step a quarter longer. Where one row takes more than that, the role has it and waits until as many steps
 * have paid for it; rows whose keys are few go on meanwhile.
 */
#ifndef QWEN_STEP_SHARES_H
#define QWEN_STEP_SHARES_H

#include "request.h"
#include "step_cost.h"

typedef struct RoleShare
{
	const struct RoleAccount *account;
	int32_t priority;     /* the highest of its requests */
	uint32_t wanted;      /* rows */
	uint64_t wanted_keys; /* that these look at */
	uint32_t left;        /* rows that it may still take */
	double *keys_left_us; /* what it may still take for keys, from step to step; NULL: as much as it likes */
	double part_us;       /* of each step */
} RoleShare;

/* The roles of some requests, with what each wants; shares has room for as many as there are requests. Returns how
 * many. */
extern uint32_t shares_collect(RoleShare *shares, EngineRequest *const *requests, uint32_t n_requests);

/* The one of the highest priority whose rows take least. */
extern uint32_t shares_measure(const RoleShare *shares, uint32_t n, const StepCost *cost);

/* Set what each may take of a step of n_rows, or of as many as the measure wants for each, if that is more. */
extern void shares_fill(RoleShare *shares, uint32_t n, uint32_t measure, uint32_t n_rows);

/* And what its keys may take. */
extern void shares_fill_keys(RoleShare *shares, uint32_t n, uint32_t measure, const StepCost *cost);

/* Of n rows of a role, each of which looks at so many keys, those that it may take; they are taken from what is left.
 */
extern uint32_t share_take(RoleShare *share, const StepCost *cost, uint64_t row_keys, uint32_t n);

/* The share of a request's role, which is there. */
extern RoleShare *shares_find(RoleShare *shares, const EngineRequest *request);

#endif
