/*
 * step_shares.h - how many rows of a step each role gets where several ask for some.
 *
 * All wait for a step together, so whoever wants one row would wait as long as whoever wants a chunk of 256. So the
 * role that wants least is the measure: a step has as many rows of each role as of that one, or as many in all as make
 * it half as long again as that one's alone. An answer beside another role's prompts takes less than twice as long as
 * alone then, not fifty times. Within that the rows are shared evenly (max-min): who wants less than its part leaves
 * the rest to others. Every role gets at least one. Roles of the highest priority come first.
 */
#ifndef QWEN_STEP_SHARES_H
#define QWEN_STEP_SHARES_H

#include "request.h"

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
