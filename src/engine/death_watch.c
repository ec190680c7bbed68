/*
 * death_watch.c - see death_watch.h.
 */
#include "death_watch.h"

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

static int watched_fd;

/* Nothing is ever written to the pipe: that it can be read means its end. */
static void *
watch(void *argument)
{
	struct pollfd event = {.fd = watched_fd, .events = POLLIN};

	(void) argument;
	while (poll(&event, 1, -1) < 0)
		;
	_exit(1);
	return NULL;
}

Status
death_watch_start(int death_fd)
{
	pthread_t thread;

	watched_fd = death_fd;
	if (pthread_create(&thread, NULL, watch, NULL) != 0)
		return status_error(STATUS_UNAVAILABLE, "cannot start the thread that watches for the end of who wants this");
	return status_ok();
}
