/*
 * cgroup.c - see cgroup.h. Everything is read when it is asked for: limits change while a server runs.
 */
#include "cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NO_LIMIT ((uint64_t) 1 << 60) /* v1 says "none" with a number near 2^63 */

/* The group of this process in one hierarchy, and what its files are called there. */
typedef struct Group
{
	char folder[PATH_MAX]; /* with the root in front */
	size_t mount_length;   /* of folder: up to here it is the mount point */
	bool v2;
} Group;

/* The first number of a file; false: no such file, or "max". */
static bool
read_number(const char *folder, const char *name, uint64_t *out)
{
	char path[PATH_MAX + 64];
	unsigned long long value;
	FILE *file;
	bool ok;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "re");
	ok = file && fscanf(file, "%llu", &value) == 1;
	if (ok)
		*out = value;
	if (file)
		fclose(file);
	return ok;
}

/* The number after a key at the start of a line, as in "oom_kill 3"; false: no such file or key. */
static bool
read_keyed(const char *path, const char *key, uint64_t *out)
{
	FILE *file = fopen(path, "re");
	size_t length = strlen(key);
	unsigned long long value;
	char line[256];
	bool ok = false;

	while (file && !ok && fgets(line, sizeof line, file))
		if (strncmp(line, key, length) == 0 && line[length] == ' ' && sscanf(line + length, "%llu", &value) == 1)
		{
			*out = value;
			ok = true;
		}
	if (file)
		fclose(file);
	return ok;
}

/* Is "memory" one of the names in "cpu,memory" (of length bytes)? */
static bool
lists_memory(const char *names, size_t length)
{
	while (length > 0)
	{
		const char *comma = memchr(names, ',', length);
		size_t n = comma ? (size_t) (comma - names) : length;

		if (n == 6 && memcmp(names, "memory", 6) == 0)
			return true;
		n += comma != NULL;
		names += n;
		length -= n;
	}
	return false;
}

/* One line of /proc/self/cgroup, "4:memory:/name" or "0::/name"; false: not about memory. */
static bool
parse_group(const char *root, char *line, Group *group)
{
	char *names = strchr(line, ':');
	char *path = names ? strchr(names + 1, ':') : NULL;
	int length;

	if (!path)
		return false;
	names++;
	group->v2 = path == names;
	if (!group->v2 && !lists_memory(names, (size_t) (path - names)))
		return false;
	path++;
	path[strcspn(path, "\n")] = '\0';
	length = snprintf(group->folder, sizeof group->folder, "%s/sys/fs/cgroup%s", root, group->v2 ? "" : "/memory");
	group->mount_length = (size_t) length;
	/* a group outside of our namespace is shown as "/.." */
	if (strstr(path, "..") == NULL)
		snprintf(group->folder + length, sizeof group->folder - (size_t) length, "%s", path);
	return true;
}

/* The group above, up to the mount point; false: there is none. */
static bool
go_up(Group *group)
{
	char *slash = strrchr(group->folder + group->mount_length, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

/* Bytes of files in the page cache that a group is charged for. */
static uint64_t
file_bytes(const Group *group)
{
	static const char *const keys[2][2] = {{"total_inactive_file", "total_active_file"},
										   {"inactive_file", "active_file"}};
	char path[PATH_MAX + 64];
	uint64_t total = 0, bytes;

	snprintf(path, sizeof path, "%s/memory.stat", group->folder);
	for (int i = 0; i < 2; i++)
		if (read_keyed(path, keys[group->v2][i], &bytes))
			total += bytes;
	return total;
}

/* The limit of one group; UINT64_MAX: it has none. */
static uint64_t
group_limit(const Group *group)
{
	uint64_t limit;

	if (!read_number(group->folder, group->v2 ? "memory.max" : "memory.limit_in_bytes", &limit) || limit > NO_LIMIT)
		return UINT64_MAX;
	return limit;
}

/* What one group leaves. */
static uint64_t
group_left(const Group *group)
{
	uint64_t limit = group_limit(group), used, files;

	if (limit == UINT64_MAX ||
		!read_number(group->folder, group->v2 ? "memory.current" : "memory.usage_in_bytes", &used))
		return UINT64_MAX;
	files = file_bytes(group);
	used -= files < used ? files : used;
	return limit > used ? limit - used : 0;
}

/* How often a process of a group was killed; false: it does not say. */
static bool
group_kills(const Group *group, uint64_t *kills)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/%s", group->folder, group->v2 ? "memory.events" : "memory.oom_control");
	return read_keyed(path, "oom_kill", kills);
}

/* The list of groups that this process is in, or NULL. */
static FILE *
open_groups(const char *root)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
	return fopen(path, "re");
}

/* The least that one of this process's groups, or of those above them, says. */
static uint64_t
least_of_groups(const char *root, uint64_t (*ask)(const Group *group))
{
	FILE *groups = open_groups(root);
	uint64_t least = UINT64_MAX;
	char line[PATH_MAX];
	Group group;

	while (groups && fgets(line, sizeof line, groups))
	{
		if (!parse_group(root, line, &group))
			continue;
		do
		{
			uint64_t bytes = ask(&group);

			least = bytes < least ? bytes : least;
		} while (go_up(&group));
	}
	if (groups)
		fclose(groups);
	return least;
}

uint64_t
cgroup_memory_left(const char *root)
{
	return least_of_groups(root, group_left);
}

uint64_t
cgroup_memory_limit(const char *root)
{
	return least_of_groups(root, group_limit);
}

uint64_t
cgroup_oom_kills(const char *root)
{
	FILE *groups = open_groups(root);
	uint64_t kills = 0;
	bool found = false;
	char line[PATH_MAX];
	Group group;

	/* in a container the path may be the host's: then the group is what is mounted, further up */
	while (groups && !found && fgets(line, sizeof line, groups))
		if (parse_group(root, line, &group))
			do
				found = group_kills(&group, &kills);
			while (!found && go_up(&group));
	if (groups)
		fclose(groups);
	if (!found)
	{
		snprintf(line, sizeof line, "%s/proc/vmstat", root);
		found = read_keyed(line, "oom_kill", &kills);
	}
	return found ? kills : UINT64_MAX;
}
