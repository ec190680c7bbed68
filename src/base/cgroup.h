/*
 * cgroup.h - what the control groups (v2 and v1) of this process say about memory.
 *
 * All functions take the root of the file system, "" in a running program; a test gives a folder that it has filled.
 */
#ifndef QWEN_BASE_CGROUP_H
#define QWEN_BASE_CGROUP_H

#include <stdint.h>

/*
 * Bytes that may still be taken before a limit of this process's group, or of one above it, is reached; files in the
 * page cache are not counted as taken, since they make room. UINT64_MAX: no limit.
 * (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst)
 */
extern uint64_t cgroup_memory_left(const char *root);

/* The lowest limit of memory of this process's groups, in bytes. UINT64_MAX: no limit. */
extern uint64_t cgroup_memory_limit(const char *root);

/*
 * How often the kernel has killed a process of this group, or where no group says so, of this machine, because memory
 * ran out. UINT64_MAX: nobody says. Only a change of the number means something.
 */
extern uint64_t cgroup_oom_kills(const char *root);

#endif
