/*
 * shim.c - what a test puts between the server's programs and the C library (LD_PRELOAD): a wall clock that can be set,
 * and calls that are refused or slow. The monotonic clock is left alone, as it is when the clock of a machine is set.
 * Compiled by shim.py.
 *
 * QWEN_SHIM names a file of struct Orders, mapped when a program starts, so that a test changes it while programs run,
 * also those that can open files no more.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct Orders
{
	int64_t clock_offset;     /* seconds that the wall clock is ahead */
	int64_t no_fork;          /* the process that cannot fork; 0: all can */
	int64_t no_memfd;         /* errno of memfd_create; 0: it works */
	int64_t slow_truncate_ms; /* how long it takes to give the memory of a file back */
	int64_t no_cancel;        /* errno of a send that begins with a frame CANCEL; 0: it works */
	int64_t slow_read_ms;     /* how long it takes to read a megabyte of a file */
	int64_t late_go;          /* the process that does not come to send a frame GO; 0: all do */
};

static const struct Orders none;
static volatile const struct Orders *orders = &none;

static void __attribute__((constructor)) map_orders(void)
{
	const char *path = getenv("QWEN_SHIM");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *mapped = fd >= 0 ? mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (mapped != MAP_FAILED)
		orders = mapped;
	if (fd >= 0)
		close(fd);
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		now->tv_sec += orders->clock_offset;
	return result;
}

int
gettimeofday(struct timeval *now, void *zone)
{
	struct timespec exact;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &exact);
	now->tv_sec = exact.tv_sec;
	now->tv_usec = exact.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

pid_t
fork(void)
{
	pid_t (*real)(void) = (pid_t(*)(void)) dlsym(RTLD_NEXT, "fork");

	if (orders->no_fork == getpid())
	{
		errno = EAGAIN;
		return -1;
	}
	return real();
}

int
ftruncate(int fd, off_t length)
{
	int (*real)(int, off_t) = (int (*)(int, off_t)) dlsym(RTLD_NEXT, "ftruncate");

	if (length == 0 && orders->slow_truncate_ms)
		usleep((useconds_t) orders->slow_truncate_ms * 1000);
	return real(fd, length);
}

ssize_t
send(int fd, const void *data, size_t length, int flags)
{
	ssize_t (*real)(int, const void *, size_t, int) =
		(ssize_t(*)(int, const void *, size_t, int)) dlsym(RTLD_NEXT, "send");
	/* a header of protocol.h: body_bytes 0, an id, the type */
	uint32_t body_bytes = 1;
	uint16_t type = 0;

	if ((orders->no_cancel || orders->late_go) && length >= 16)
	{
		memcpy(&body_bytes, data, sizeof body_bytes);
		memcpy(&type, (const char *) data + 8, sizeof type);
	}
	while (type == 2 && orders->late_go == getpid())
		usleep(1000);
	if (orders->no_cancel && body_bytes == 0 && type == 3)
	{
		errno = (int) orders->no_cancel;
		return -1;
	}
	return real(fd, data, length, flags);
}

ssize_t
pread64(int fd, void *data, size_t length, off64_t offset)
{
	ssize_t (*real)(int, void *, size_t, off64_t) =
		(ssize_t(*)(int, void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pread64");

	if (orders->slow_read_ms)
		usleep((useconds_t) ((int64_t) length * orders->slow_read_ms / 1000));
	return real(fd, data, length, offset);
}

ssize_t
pread(int fd, void *data, size_t length, off_t offset)
{
	return pread64(fd, data, length, offset);
}

int
memfd_create(const char *name, unsigned flags)
{
	int (*real)(const char *, unsigned) = (int (*)(const char *, unsigned)) dlsym(RTLD_NEXT, "memfd_create");

	if (orders->no_memfd)
	{
		errno = (int) orders->no_memfd;
		return -1;
	}
	return real(name, flags);
}
