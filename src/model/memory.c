/*
 * memory.c - see memory.h.
 */
#include "memory.h"

#include <stdio.h>
#include <string.h>

/* The first number in a file, or UINT64_MAX ("max", or no such file). */
static uint64_t
read_bytes(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long value;
	bool ok = file && fscanf(file, "%llu", &value) == 1;

	if (file)
		fclose(file);
	return ok ? value : UINT64_MAX;
}

/* limit - used of one kind of cgroup; UINT64_MAX without a limit. */
static uint64_t
cgroup_left(const char *limit_path, const char *used_path)
{
	uint64_t limit = read_bytes(limit_path), used = read_bytes(used_path);

	if (limit == UINT64_MAX || used == UINT64_MAX || limit > (uint64_t) 1 << 60)
		return UINT64_MAX;
	return limit > used ? limit - used : 0;
}

/* The cgroup that this process is in, below path's mount, v2: "0::/name". */
static uint64_t
own_cgroup_left(void)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[512];
	uint64_t left = UINT64_MAX;

	while (file && fgets(line, sizeof line, file))
	{
		char limit[640], used[640];

		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		snprintf(limit, sizeof limit, "/sys/fs/cgroup/%s/memory.max", line + 4);
		snprintf(used, sizeof used, "/sys/fs/cgroup/%s/memory.current", line + 4);
		left = cgroup_left(limit, used);
	}
	if (file)
		fclose(file);
	return left;
}

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
	uint64_t candidates[] = {
		system_available(), own_cgroup_left(),
		cgroup_left("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
		cgroup_left("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes")};
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++)
		least = candidates[i] < least ? candidates[i] : least;
	return least;
}
