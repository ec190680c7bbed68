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
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPINS_BEFORE_YIELD 4000

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

/* Read two numbers of a small file, e.g. cgroup v2's cpu.max; false when they are not there. */
static bool
read_pair(const char *path, double *first, double *second)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fscanf(file, "%lf %lf", first, second) == 2;

	if (file)
		fclose(file);
	return ok;
}

static bool
read_single(const char *path, double *value)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fscanf(file, "%lf", value) == 1;

	if (file)
		fclose(file);
	return ok;
}

/* Processors that the cgroup grants (v2, then v1), or 0 when it does not limit them. */
static int
cgroup_processors(void)
{
	double quota, period;

	if (read_pair("/sys/fs/cgroup/cpu.max", &quota, &period) ||
		(read_single("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota) &&
		 read_single("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period)))
	{
		if (quota > 0 && period > 0)
			return quota / period < 1 ? 1 : (int) (quota / period);
	}
	return 0;
}

/* True when cpu is the first of the processors that share its core. */
static bool
leads_its_core(int cpu)
{
	char path[96];
	double first;

	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	return !read_single(path, &first) || (int) first == cpu;
}

int
team_default_threads(void)
{
	cpu_set_t allowed;
	int n_cores = 0, n_allowed = 0, limit = cgroup_processors();

	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return 1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed))
		{
			n_allowed++;
			n_cores += leads_its_core(cpu);
		}
	/* a mask that holds only second threads of cores still has those */
	if (n_cores == 0)
		n_cores = n_allowed;
	if (limit > 0 && n_cores > limit)
		n_cores = limit;
	return n_cores < 1 ? 1 : n_cores > 256 ? 256 : n_cores;
}

Team *
team_create(int n_threads)
{
	Team *team;

	if (n_threads < 1 || n_threads > 256)
		return NULL;
	team = aligned_alloc(64, sizeof *team);
	if (!team)
		return NULL;
	memset(team, 0, sizeof *team);
	team->n_threads = n_threads;
	omp_set_dynamic(0);
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
