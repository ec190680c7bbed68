/*
 * team.h - the thread team: threads that live as long as the engine and work together on one region a step.
 *
 * The caller's thread is member 0. Between regions the others sleep after a short spin, so an idle engine costs
 * nothing. A region may be given to some of the members: the others are not woken, so that one whose processor is busy
 * with something else holds nobody up. Inside a region team_barrier() is the only meeting point: a spin that yields
 * when it lasts.
 */
#ifndef QWEN_TEAM_H
#define QWEN_TEAM_H

typedef struct Team Team;

/* How many threads to use when nobody says: physical cores this process may run on, at most the cgroup's CPU quota, at
 * least 1. */
extern int team_default_threads(void);

/* A team of n_threads (1 … 256), fewer where the system grants fewer threads (see team_size), or NULL without memory.
 * Freed by team_destroy, which ends its threads. */
extern Team *team_create(int n_threads);
extern void team_destroy(Team *team);
extern int team_size(const Team *team);

/* Run work(argument, thread) on every member, thread 0 … size-1; returns when all have ended. One region at a time. */
extern void team_run(Team *team, void (*work)(void *argument, int thread), void *argument);

/* The same on members 0 … n_members-1 alone (1 … size). */
extern void team_run_some(Team *team, int n_members, void (*work)(void *argument, int thread), void *argument);

/* Meet all members of the region; to be called by all or none of them inside work. */
extern void team_barrier(Team *team);

/* This member's part [*first, *end) of n items: contiguous, as even as can be. */
extern void team_share(unsigned n, int thread, int n_threads, unsigned *first, unsigned *end);

#endif
