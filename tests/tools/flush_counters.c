/*
 * flush_counters.c - linked into the engine of a coverage build alone: writes gcc's counters every now and then.
 *
 * Counters are written when a program ends, but an engine is killed: by its supervisor at the server's end, by tests at
 * any time. Inside the sandbox they cannot be.
 */
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FLUSH_US 500000

/* libgcov: add the counters to the files; begin again at zero. */
extern void __gcov_dump(void);
extern void __gcov_reset(void);

static void *
flush(void *argument)
{
	for (;;)
	{
		usleep(FLUSH_US);
		if (prctl(PR_GET_SECCOMP) != 0)
			continue;
		__gcov_dump();
		__gcov_reset();
	}
	return argument;
}

__attribute__((constructor)) static void
start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, flush, NULL) == 0)
		(void) pthread_detach(thread);
}
