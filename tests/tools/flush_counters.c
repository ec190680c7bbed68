/*
 * flush_counters.c - linked into the engine of a coverage build alone: writes gcc's counters every now and then.
 *
 * Counters are written when a program ends, but an engine is killed: by its supervisor at the server's end, by tests at
 * any time. Inside the sandbox they cannot be. The loader, which is the same program, comes to an end of its own.
 */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FLUSH_US 500000
#define STACK_BYTES (256 * 1024) /* beside limits of memory that tests set */

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

/* Start the thread, which takes none of the engine's signals. */
__attribute__((constructor)) static void
start(int n_arguments, char **arguments)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;

	if (n_arguments < 2 || strcmp(arguments[1], "serve") != 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_create(&thread, &attributes, flush, NULL) == 0)
		(void) pthread_detach(thread);
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
