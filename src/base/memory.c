/*
 * memory.c - see memory.h.
 */
#include "memory.h"

#include <stdio.h>
#include <string.h>

#include "cgroup.h"

/* A line of /proc/meminfo, in bytes. */
static uint64_t
system_memory(const char *key)
{
	FILE *file = fopen("/proc/meminfo", "re");
	size_t length = strlen(key);
	char line[256];
	unsigned long long kilobytes;
	uint64_t bytes = UINT64_MAX;

	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, key, length) == 0 && sscanf(line + length, ": %llu kB", &kilobytes) == 1)
			bytes = (uint64_t) kilobytes * 1024;
	if (file)
		fclose(file);
	return bytes;
}

uint64_t
memory_available(void)
{
	uint64_t of_system = system_memory("MemAvailable"), of_group = cgroup_memory_left("");

	return of_group < of_system ? of_group : of_system;
}

uint64_t
memory_total(void)
{
	uint64_t of_system = system_memory("MemTotal"), of_group = cgroup_memory_limit("");

	return of_group < of_system ? of_group : of_system;
}

uint64_t
memory_cache_limit(uint64_t wanted, uint64_t total, uint64_t available, uint64_t resident)
{
	uint64_t share = total == UINT64_MAX ? MEMORY_CACHE_ENOUGH : total / MEMORY_CACHE_SHARE;
	uint64_t left = available > UINT64_MAX / 8 ? UINT64_MAX / 8 : available + resident;

	share = share > MEMORY_CACHE_ENOUGH ? share : MEMORY_CACHE_ENOUGH;
	share = wanted > 0 ? wanted : share;
	share = share < left / 4 * 3 ? share : left / 4 * 3;
	return share > MEMORY_CACHE_LEAST ? share : MEMORY_CACHE_LEAST;
}
