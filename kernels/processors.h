/*
 * processors.h - how many processors this process may use. Private to kernels/ and its tests.
 */
#ifndef QWEN_KERNEL_PROCESSORS_H
#define QWEN_KERNEL_PROCESSORS_H

/* Physical cores in this process's affinity mask, at least 1; second threads of a core count only when it has no other
 * in the mask. */
extern int processors_cores(void);

/*
 * Processors that the control groups of this process grant: the smallest quota on the way from its group to the root,
 * at least 1, or 0 without a limit. membership: a file as /proc/self/cgroup; mount: where the groups are mounted, as
 * /sys/fs/cgroup (version 2 there, version 1 in its folder "cpu").
 */
extern int processors_quota(const char *membership, const char *mount);

#endif
