/*
 * sandbox.c - a seccomp filter as a plain BPF program; see sandbox.h and Documentation/userspace-api/seccomp_filter.rst
 * of the Linux kernel.
 *
 * What is not in the list fails with EPERM and does not kill: libraries probe for files as a matter of course (the time
 * zone, ICU's data, the number of processors) and go on without them, and a new version of one must not take the engine
 * down. clone3, whose flags a filter cannot see, fails with ENOSYS, upon which C libraries use clone.
 */
#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SANDBOX_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SANDBOX_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

Status
sandbox_give_up_privileges(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return status_error(STATUS_UNAVAILABLE, "new privileges cannot be given up: %s", strerror(errno));
	return status_ok();
}

#ifdef SANDBOX_ARCHITECTURE

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_rseq
#ifdef __x86_64__
#define SYS_rseq 334
#else
#define SYS_rseq 293
#endif
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* Allowed whatever the arguments. None of them gives a descriptor but accept4, on the listener it has. */
static const uint16_t allowed_calls[] = {
	/* the event loop and its sockets, and whose they are */
	SYS_epoll_pwait,
	SYS_epoll_ctl,
	SYS_ppoll,
	SYS_accept4,
	SYS_getsockopt,
	SYS_geteuid,
	SYS_recvfrom,
	SYS_sendto,
	SYS_read,
	SYS_write,
	SYS_writev,
	SYS_close,
	SYS_restart_syscall,
	/* memory: malloc, models that are mapped and unmapped, PCRE2's compiled patterns */
	SYS_mmap,
	SYS_munmap,
	SYS_mprotect,
	SYS_mremap,
	SYS_madvise,
	SYS_mbind,
	SYS_mlock,
	SYS_brk,
	SYS_fstat,
	/* threads of the team */
	SYS_futex,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_membarrier,
	SYS_exit,
	SYS_exit_group,
	/* signals, as far as thread creation, abort() and the runtimes of sanitizers need them */
	SYS_rt_sigprocmask,
	SYS_rt_sigaction,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_getpid,
	SYS_gettid,
	/* clocks and random numbers, where the kernel's page does not have them */
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_getrandom,
	SYS_getrusage,
#ifdef __x86_64__
	SYS_epoll_wait,
	SYS_time,
#endif
};

#define N_ALLOWED (sizeof allowed_calls / sizeof allowed_calls[0])
#define MAX_INSTRUCTIONS (2 * N_ALLOWED + 64)

/* A program that grows. */
typedef struct Filter
{
	struct sock_filter code[MAX_INSTRUCTIONS];
	uint16_t n;
} Filter;

static void
append(Filter *filter, struct sock_filter instruction)
{
	filter->code[filter->n++] = instruction;
}

/* Load 4 bytes of struct seccomp_data. */
static void
load(Filter *filter, size_t offset)
{
	append(filter, (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t) offset));
}

/* The low half of an argument: both architectures are little-endian. */
static void
load_argument(Filter *filter, uint32_t i)
{
	load(filter, offsetof(struct seccomp_data, args) + i * 8);
}

static void
finish_with(Filter *filter, uint32_t action)
{
	append(filter, (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, action));
}

/* The next n instructions are for this call only. */
static void
for_call(Filter *filter, uint32_t number, uint8_t n)
{
	append(filter, (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, n));
}

/* A call that is allowed if the argument has any of these bits (test BPF_JSET) or is this value (BPF_JEQ). */
static void
allow_if(Filter *filter, uint32_t number, uint32_t argument, uint16_t test, uint32_t value)
{
	for_call(filter, number, 4);
	load_argument(filter, argument);
	append(filter, (struct sock_filter) BPF_JUMP((uint16_t) (BPF_JMP | test | BPF_K), value, 0, 1));
	finish_with(filter, SECCOMP_RET_ALLOW);
	finish_with(filter, SECCOMP_RET_ERRNO | EPERM);
}

static void
build(Filter *filter)
{
	filter->n = 0;
	/* the numbers below mean something else for programs of another architecture */
	load(filter, offsetof(struct seccomp_data, arch));
	append(filter, (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SANDBOX_ARCHITECTURE, 1, 0));
	finish_with(filter, SECCOMP_RET_ERRNO | EPERM);
	load(filter, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < N_ALLOWED; i++)
	{
		for_call(filter, allowed_calls[i], 1);
		finish_with(filter, SECCOMP_RET_ALLOW);
	}
	for_call(filter, SYS_clone3, 1);
	finish_with(filter, SECCOMP_RET_ERRNO | ENOSYS);
	/* threads, no processes */
	allow_if(filter, SYS_clone, 0, BPF_JSET, CLONE_THREAD);
	/* abort(), which is a signal to ourselves */
	allow_if(filter, SYS_tgkill, 0, BPF_JEQ, (uint32_t) getpid());
	/* fstat() of newer C libraries */
	allow_if(filter, SYS_newfstatat, 3, BPF_JSET, AT_EMPTY_PATH);
	finish_with(filter, SECCOMP_RET_ERRNO | EPERM);
}

static int
compare_nothing(const void *a, const void *b)
{
	(void) a;
	(void) b;
	return 0;
}

/* The C library asks once how much memory there is, when it sorts more than a kilobyte: now, as it may not later. */
static void
sort_once(void)
{
	char bytes[4096] = "";

	qsort(bytes, sizeof bytes / 16, 16, compare_nothing);
}

Status
sandbox_enter(void)
{
	Filter filter;
	struct sock_fprog program;

	sort_once();
	build(&filter);
	program = (struct sock_fprog){.len = filter.n, .filter = filter.code};
	/* TSYNC: for the team's threads, which are there already, as well */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
		return status_error(STATUS_UNAVAILABLE, "system calls cannot be filtered: %s", strerror(errno));
	return status_ok();
}

#else

Status
sandbox_enter(void)
{
	return status_error(STATUS_UNSUPPORTED, "system calls are filtered on x86-64 and aarch64 only");
}

#endif
