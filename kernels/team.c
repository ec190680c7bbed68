/*
 * team.c - the thread team; see team.h.
 *
 * Each member has a word of its own that says which region it is called to: it watches it for a while and then sleeps
 * on it (futex). Threads of a library's pool would all be woken for every region, or end when a region has fewer of
 * them; here a member that is not called stays asleep.
 */
#include "team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processors.h"

#define SPINS_BEFORE_YIELD 4000
#define SPINS_BEFORE_SLEEP 4000
#define TEAM_MAX_THREADS 256

/* One of the threads beside the caller's. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): its own line */
typedef struct TeamMember
{
	_Alignas(64) _Atomic uint32_t called; /* counts the regions it was called to; it sleeps on this */
	atomic_bool sleeps;
	pthread_t thread;
	Team *team;
	int number;
} TeamMember;

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): a cache line for each of what all threads write */
struct Team
{
	int n_threads;
	bool ends;
	TeamMember *members; /* [n_threads]; that of the caller is not used */

	/* the region at hand; written before members are called */
	int n_members;
	void (*work)(void *argument, int thread);
	void *argument;
	_Alignas(64) atomic_int n_at_work; /* members beside the caller that have not ended */

	_Alignas(64) atomic_int n_arrived;
	_Alignas(64) atomic_int generation;
};

/* Tell the processor that this is a wait. */
static inline void
spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

int
team_default_threads(void)
{
	int n_cores = processors_cores();
	int limit = processors_quota("/proc/self/cgroup", "/sys/fs/cgroup");

	if (limit > 0 && n_cores > limit)
		n_cores = limit;
	return n_cores > TEAM_MAX_THREADS ? TEAM_MAX_THREADS : n_cores;
}

/* Until the member is called to more regions than it has seen. */
static void
wait_for_call(TeamMember *member, uint32_t seen)
{
	for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++)
	{
		if (atomic_load_explicit(&member->called, memory_order_acquire) != seen)
			return;
		spin_pause();
	}
	atomic_store(&member->sleeps, true);
	/* who calls changes the word first and looks at sleeps then: one of the two sees the other */
	while (atomic_load(&member->called) == seen)
		(void) syscall(SYS_futex, &member->called, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	atomic_store(&member->sleeps, false);
}

static void
call(TeamMember *member)
{
	atomic_fetch_add(&member->called, 1);
	if (atomic_load(&member->sleeps))
		(void) syscall(SYS_futex, &member->called, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* The life of a member. */
static void *
live(void *argument)
{
	TeamMember *member = argument;
	Team *team = member->team;

	for (uint32_t seen = 0;; seen++)
	{
		wait_for_call(member, seen);
		if (team->ends)
			return NULL;
		team->work(team->argument, member->number);
		atomic_fetch_sub_explicit(&team->n_at_work, 1, memory_order_release);
	}
}

/* Make the threads; the system may grant fewer. */
static void
start_members(Team *team, int n_threads)
{
	for (team->n_threads = 1; team->n_threads < n_threads; team->n_threads++)
	{
		TeamMember *member = &team->members[team->n_threads];

		member->team = team;
		member->number = team->n_threads;
		if (pthread_create(&member->thread, NULL, live, member) != 0)
			return;
	}
}

Team *
team_create(int n_threads)
{
	Team *team;

	if (n_threads < 1 || n_threads > TEAM_MAX_THREADS)
		return NULL;
	team = aligned_alloc(64, sizeof *team);
	if (!team)
		return NULL;
	memset(team, 0, sizeof *team);
	team->members = aligned_alloc(64, (size_t) n_threads * sizeof *team->members);
	if (!team->members)
	{
		free(team);
		return NULL;
	}
	memset(team->members, 0, (size_t) n_threads * sizeof *team->members);
	start_members(team, n_threads);
	return team;
}

void
team_destroy(Team *team)
{
	if (!team)
		return;
	team->ends = true;
	for (int i = 1; i < team->n_threads; i++)
		call(&team->members[i]);
	for (int i = 1; i < team->n_threads; i++)
		pthread_join(team->members[i].thread, NULL);
	free(team->members);
	free(team);
}

int
team_size(const Team *team)
{
	return team->n_threads;
}

void
team_run_some(Team *team, int n_members, void (*work)(void *argument, int thread), void *argument)
{
	int spins = 0;

	team->n_members = n_members;
	team->work = work;
	team->argument = argument;
	atomic_store_explicit(&team->n_at_work, n_members - 1, memory_order_relaxed);
	for (int i = 1; i < n_members; i++)
		call(&team->members[i]);
	work(argument, 0);
	while (atomic_load_explicit(&team->n_at_work, memory_order_acquire) > 0)
	{
		if (++spins < SPINS_BEFORE_YIELD)
			spin_pause();
		else
			sched_yield();
	}
}

void
team_run(Team *team, void (*work)(void *argument, int thread), void *argument)
{
	team_run_some(team, team->n_threads, work, argument);
}

void
team_barrier(Team *team)
{
	int generation = atomic_load_explicit(&team->generation, memory_order_acquire);
	int spins = 0;

	if (atomic_fetch_add_explicit(&team->n_arrived, 1, memory_order_acq_rel) == team->n_members - 1)
	{
		atomic_store_explicit(&team->n_arrived, 0, memory_order_relaxed);
		atomic_store_explicit(&team->generation, generation + 1, memory_order_release);
		return;
	}
	while (atomic_load_explicit(&team->generation, memory_order_acquire) == generation)
	{
		if (++spins < SPINS_BEFORE_YIELD)
			spin_pause();
		else
			sched_yield();
	}
}

void
team_share(unsigned n, int thread, int n_threads, unsigned *first, unsigned *end)
{
	*first = (unsigned) ((unsigned long long) n * (unsigned) thread / (unsigned) n_threads);
	*end = (unsigned) ((unsigned long long) n * ((unsigned) thread + 1) / (unsigned) n_threads);
}
