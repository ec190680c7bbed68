/*
 * processors.c - reading the affinity mask, the topology and the control groups; see processors.h.
 *
 * What cannot be read limits nothing: a container may hide any of these files.
 */
#include "processors.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4096

/* Read up to two numbers from the head of a small file; returns how many there were. */
static int
read_numbers(const char *path, double *first, double *second)
{
	FILE *file = fopen(path, "re");
	int n = file ? fscanf(file, "%lf %lf", first, second) : 0;

	if (file)
		fclose(file);
	return n < 0 ? 0 : n;
}

/* True when cpu is the first of the processors that share its core, of those in the mask. */
static bool
leads_its_core(int cpu, const cpu_set_t *allowed)
{
	char path[96];
	FILE *file;
	int first, last;
	bool leads = true;
	char separator;

	snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	file = fopen(path, "re");
	if (!file)
		return true;
	/* a list such as "0,64" or "0-3" */
	while (leads && fscanf(file, "%d", &first) == 1)
	{
		last = first;
		separator = (char) fgetc(file);
		if (separator == '-')
		{
			if (fscanf(file, "%d", &last) != 1)
				break;
			separator = (char) fgetc(file);
		}
		for (int sibling = first; sibling <= last && sibling < cpu; sibling++)
			if (sibling >= 0 && sibling < CPU_SETSIZE && CPU_ISSET(sibling, allowed))
				leads = false;
		if (separator != ',')
			break;
	}
	fclose(file);
	return leads;
}

int
processors_cores(void)
{
	cpu_set_t allowed;
	int n = 0;

	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return 1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed))
			n += leads_its_core(cpu, &allowed);
	return n < 1 ? 1 : n;
}

/* Quota of the group in folder, in processors, or 0. */
static double
quota_at(const char *folder, bool version_2)
{
	char path[PATH_BYTES + 32];
	double quota = 0, period = 0, none;

	if (version_2)
	{
		snprintf(path, sizeof path, "%s/cpu.max", folder);
		if (read_numbers(path, &quota, &period) != 2)
			return 0;
	}
	else
	{
		snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
		if (read_numbers(path, &quota, &none) < 1)
			return 0;
		snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
		if (read_numbers(path, &period, &none) < 1)
			return 0;
	}
	return quota > 0 && period > 0 ? quota / period : 0;
}

/* The smaller of two quotas, 0 being none. */
static double
smaller_quota(double a, double b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

/* The smallest quota of a group and all above it up to root; group: "/a/b" below root. */
static double
quota_up_from(const char *root, const char *group, bool version_2)
{
	char path[PATH_BYTES];
	size_t root_length = strlen(root);
	double smallest = 0;
	int n = snprintf(path, sizeof path, "%s%s", root, group);

	if (n < 0 || (size_t) n >= sizeof path)
		return quota_at(root, version_2);
	for (;;)
	{
		char *slash;

		smallest = smaller_quota(smallest, quota_at(path, version_2));
		slash = strrchr(path, '/');
		if (strlen(path) <= root_length || !slash || (size_t) (slash - path) < root_length)
			return smallest;
		*slash = '\0';
	}
}

/* True when a comma-separated list of controllers holds "cpu". */
static bool
lists_cpu(const char *controllers)
{
	for (const char *at = controllers; at; at = strchr(at, ','))
	{
		at += *at == ',';
		if (strncmp(at, "cpu", 3) == 0 && (at[3] == ',' || at[3] == '\0'))
			return true;
	}
	return false;
}

int
processors_quota(const char *membership, const char *mount)
{
	char line[PATH_BYTES], root_1[PATH_BYTES];
	FILE *file = fopen(membership, "re");
	double smallest = 0;

	snprintf(root_1, sizeof root_1, "%s/cpu", mount);
	/* lines are "number:controllers:group"; version 2 has number 0 and no controllers */
	while (file && fgets(line, sizeof line, file))
	{
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = '\0';
		controllers++;
		group[strcspn(group, "\n")] = '\0';
		if (controllers[0] == '\0')
			smallest = smaller_quota(smallest, quota_up_from(mount, group, true));
		else if (lists_cpu(controllers))
			smallest = smaller_quota(smallest, quota_up_from(root_1, group, false));
	}
	if (file)
		fclose(file);
	if (smallest == 0)
		return 0;
	return smallest < 1 ? 1 : smallest > 4096 ? 4096 : (int) smallest;
}
