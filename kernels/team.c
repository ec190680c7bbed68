/*
 * team.c - the thread team on OpenMP; see team.h.
 *
 * libgomp keeps its threads between regions (spin, then sleep), which is what a team needs; the barrier is our own
 * because it is the cheapest one measured and yields when there are more threads than processors.
 */
#include "team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "processors.h"

#define SPINS_BEFORE_YIELD 4000
#define TEAM_MAX_THREADS 256

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): a cache line for each of what all threads write */
struct Team
{
	int n_threads;
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

/* How many threads a region of n really gets: OMP_THREAD_LIMIT may grant fewer, and barriers would wait for ever. */
static int
granted_threads(int n)
{
	int granted = 1;

#pragma omp parallel num_threads(n)
	{
#pragma omp single
		granted = omp_get_num_threads();
	}
	return granted;
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
	omp_set_dynamic(0);
	team->n_threads = granted_threads(n_threads);
	return team;
}

void
team_destroy(Team *team)
{
	free(team);
}

int
team_size(const Team *team)
{
	return team->n_threads;
}

void
team_run(Team *team, void (*work)(void *argument, int thread), void *argument)
{
#pragma omp parallel num_threads(team->n_threads)
	{
		work(argument, omp_get_thread_num());
	}
}

void
team_barrier(Team *team)
{
	int generation = atomic_load_explicit(&team->generation, memory_order_acquire);
	int spins = 0;

	if (atomic_fetch_add_explicit(&team->n_arrived, 1, memory_order_acq_rel) == team->n_threads - 1)
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
