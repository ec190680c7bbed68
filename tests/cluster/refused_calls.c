/*
 * refused_calls.c - counts the system calls that the sandbox refuses, for test_18_refused_calls.py, which compiles it
 * and puts it before the C library (LD_PRELOAD) of all programs of a server.
 *
 * A filter that a program puts on itself is passed on with a trap instead of EPERM (not of clone3's ENOSYS, which comes
 * while pthread_create blocks all signals). The handler of the trap counts
 * the call and gives the error that the filter would have given: the program sees no difference.
 *
 * QWEN_REFUSED names a file of struct Counters, mapped when a program starts.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define N_CALLS 1022
#define N_PATHS 64
#define PATH_BYTES 64

struct Counters
{
	int64_t n_filters;
	int64_t no_descriptor; /* how many more clients find that there is no descriptor left for them */
	int64_t refused[N_CALLS];
	int64_t n_paths;
	char paths[N_PATHS][PATH_BYTES]; /* that openat was refused */
};

static struct Counters none;
static struct Counters *counters = &none;

static void __attribute__((constructor)) map_counters(void)
{
	const char *path = getenv("QWEN_REFUSED");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *mapped = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (mapped != MAP_FAILED)
		counters = mapped;
	if (fd >= 0)
		close(fd);
}

static void
note_path(const char *path)
{
	int64_t i = __atomic_fetch_add(&counters->n_paths, 1, __ATOMIC_RELAXED);

	if (i < N_PATHS)
		strncpy(counters->paths[i], path, PATH_BYTES - 1);
}

/* A refused call: si_errno is the error that the filter has for it. */
static void
refuse(int number, siginfo_t *info, void *context)
{
	ucontext_t *caller = context;
#ifdef __x86_64__
	greg_t *result = &caller->uc_mcontext.gregs[REG_RAX], second = caller->uc_mcontext.gregs[REG_RSI];
#else
	unsigned long long *result = &caller->uc_mcontext.regs[0], second = caller->uc_mcontext.regs[1];
#endif

	(void) number;
	__atomic_fetch_add(&counters->refused[(uint32_t) info->si_syscall % N_CALLS], 1, __ATOMIC_RELAXED);
	if (info->si_syscall == SYS_openat)
		note_path((const char *) second);
	*result = -info->si_errno;
}

/* The same filter with traps. */
static void
trap_errors(const struct sock_fprog *program, struct sock_fprog *changed, struct sock_filter *code)
{
	struct sigaction action = {.sa_sigaction = refuse, .sa_flags = SA_SIGINFO | SA_NODEFER};

	(void) sigaction(SIGSYS, &action, NULL);
	memcpy(code, program->filter, program->len * sizeof *code);
	for (unsigned i = 0; i < program->len; i++)
		if (code[i].code == (BPF_RET | BPF_K) && code[i].k == (SECCOMP_RET_ERRNO | EPERM))
			code[i].k = SECCOMP_RET_TRAP | EPERM;
	*changed = (struct sock_fprog){program->len, code};
	__atomic_fetch_add(&counters->n_filters, 1, __ATOMIC_RELAXED);
}

long
syscall(long number, ...)
{
	static long (*real)(long, ...);
	static struct sock_filter code[BPF_MAXINSNS];
	struct sock_fprog changed;
	long a[6];
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	if (!real)
		real = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall");
	if (number == SYS_seccomp && a[0] == SECCOMP_SET_MODE_FILTER)
	{
		trap_errors((const struct sock_fprog *) a[2], &changed, code);
		a[2] = (long) &changed;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int
accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
	static int (*real)(int, struct sockaddr *, socklen_t *, int);

	if (!real)
		real = (int (*)(int, struct sockaddr *, socklen_t *, int)) dlsym(RTLD_NEXT, "accept4");
	if (__atomic_load_n(&counters->no_descriptor, __ATOMIC_RELAXED) > 0)
	{
		__atomic_fetch_sub(&counters->no_descriptor, 1, __ATOMIC_RELAXED);
		errno = EMFILE;
		return -1;
	}
	return real(listener, address, length, flags);
}
