/*
 * active_members.h - how many members of the team a step runs with.
 *
 * Beside a busy processor all members wait at the end of each phase for the one that the system has taken off its
 * processor, a hundred times a token: then one member less is faster, and once the other work is over it is slower
 * again. So the time that members wait is watched: where it is more than a third, one fewer is tried, and from time to
 * time one more; what was tried stays if steps of the same size got faster by it. Results do not depend on it.
 */
#ifndef QWEN_ACTIVE_MEMBERS_H
#define QWEN_ACTIVE_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

/* What is being found out. */
typedef enum MembersTrial
{
	TRIAL_NONE,
	TRIAL_FEWER,
	TRIAL_MORE,
} MembersTrial;

typedef struct ActiveMembers
{
	uint32_t n, n_max;
	MembersTrial trial;

	/* steps of one size in a row, which are compared with each other alone */
	uint32_t size;
	uint32_t n_steps;
	uint64_t steps_ns, waited_ns;

	/* before the trial at hand: the size, and what a step of it took */
	uint32_t size_before;
	uint64_t step_ns_before;

	uint64_t now_ns;                        /* time of steps so far */
	uint64_t trial_ends_ns;                 /* then it is given up */
	uint64_t fewer_after_ns, more_after_ns; /* when the next trials may begin … */
	uint64_t fewer_rest_ns, more_rest_ns;   /* … and how long after one that failed: longer each time */
} ActiveMembers;

/* All of n_max. */
extern void active_members_init(ActiveMembers *members, uint32_t n_max);

/* A step of n_rows has taken so long, of which the member that waited most waited so long. n is that of the next step
 * then. */
extern void active_members_learn(ActiveMembers *members, uint32_t n_rows, uint64_t step_ns, uint64_t waited_ns);

#endif
