/*
 * test_cgroup.c - limits and kills as control groups v2 and v1 write them, from folders filled here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../../src/base/cgroup.h"

static char root[64];

/* Write a file below the root with all folders that it takes. */
static void
put(const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof full, "%s%s", root, path);
	for (char *slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int
set_up(void **state)
{
	(void) state;
	snprintf(root, sizeof root, "/tmp/qwen_pg_cgroup_XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int
tear_down(void **state)
{
	char command[128];

	(void) state;
	snprintf(command, sizeof command, "rm -rf %s", root);
	return system(command);
}

static void
nobody_says_anything(void **state)
{
	(void) state;
	assert_true(cgroup_memory_left(root) == UINT64_MAX);
	assert_true(cgroup_oom_kills(root) == UINT64_MAX);
}

static void
version_2_counts_all_groups_above(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "0::/database.slice/postgresql.service\n");
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.max", "max\n");
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.current", "900\n");
	assert_true(cgroup_memory_left(root) == UINT64_MAX);
	put("/sys/fs/cgroup/database.slice/memory.max", "1000\n");
	put("/sys/fs/cgroup/database.slice/memory.current", "950\n");
	assert_int_equal(cgroup_memory_left(root), 50);
	/* files in the page cache make room; shared memory is not among them */
	put("/sys/fs/cgroup/database.slice/memory.stat",
		"anon 100\nfile 500\nshmem 100\ninactive_anon 100\ninactive_file 300\nactive_file 100\n");
	assert_int_equal(cgroup_memory_left(root), 450);
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.max", "1000\n");
	assert_int_equal(cgroup_memory_left(root), 100);
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.max", "800\n");
	assert_int_equal(cgroup_memory_left(root), 0);
}

static void
the_lowest_limit_of_all_groups_counts(void **state)
{
	(void) state;
	assert_true(cgroup_memory_limit(root) == UINT64_MAX);
	put("/proc/self/cgroup", "0::/database.slice/postgresql.service\n");
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.max", "max\n");
	assert_true(cgroup_memory_limit(root) == UINT64_MAX);
	put("/sys/fs/cgroup/database.slice/memory.max", "1000\n");
	assert_int_equal(cgroup_memory_limit(root), 1000);
	put("/sys/fs/cgroup/database.slice/postgresql.service/memory.max", "700\n");
	assert_int_equal(cgroup_memory_limit(root), 700);
}

static void
version_1_has_a_folder_of_its_own(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "8:pids:/other\n4:cpu,memory:/docker/abc\n0::/\n");
	put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "10\n");
	assert_true(cgroup_memory_left(root) == UINT64_MAX);
	put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "500\n");
	put("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "400\n");
	put("/sys/fs/cgroup/memory/docker/abc/memory.stat",
		"inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 7\n");
	assert_int_equal(cgroup_memory_left(root), 137);
}

static void
container_that_sees_the_path_of_its_host(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "4:memory:/docker/abc\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "500\n");
	put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "450\n");
	put("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
	assert_int_equal(cgroup_memory_left(root), 50);
	assert_int_equal(cgroup_oom_kills(root), 2);
	put("/proc/self/cgroup", "4:memory:/../abc\n");
	assert_int_equal(cgroup_memory_left(root), 50);
}

static void
kills_of_the_nearest_group_that_says(void **state)
{
	(void) state;
	put("/proc/vmstat", "nr_free_pages 7\noom_kill 41\n");
	put("/proc/self/cgroup", "0::/a/b\n");
	assert_int_equal(cgroup_oom_kills(root), 41);
	put("/sys/fs/cgroup/a/memory.events", "low 0\nhigh 0\nmax 9\noom 5\noom_kill 4\noom_group_kill 0\n");
	assert_int_equal(cgroup_oom_kills(root), 4);
	put("/sys/fs/cgroup/a/b/memory.events", "oom 5\noom_kill 3\n");
	assert_int_equal(cgroup_oom_kills(root), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_says_anything, set_up, tear_down),
		cmocka_unit_test_setup_teardown(version_2_counts_all_groups_above, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_lowest_limit_of_all_groups_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(version_1_has_a_folder_of_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(container_that_sees_the_path_of_its_host, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kills_of_the_nearest_group_that_says, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
