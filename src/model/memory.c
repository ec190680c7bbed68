/*
 * memory.c - see memory.h.
 */
#include "memory.h"

#include <stdio.h>

#include "../base/cgroup.h"

/* MemAvailable of /proc/meminfo. */
static uint64_t
system_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[256];
	unsigned long long kilobytes;
	uint64_t bytes = UINT64_MAX;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1)
			bytes = (uint64_t) kilobytes * 1024;
	if (file)
		fclose(file);
	return bytes;
}

uint64_t
memory_available(void)
{
	uint64_t of_system = system_available(), of_group = cgroup_memory_left("");

	return of_group < of_system ? of_group : of_system;
}
