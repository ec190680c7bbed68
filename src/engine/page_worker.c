/*
 * page_worker.c - see page_worker.h.
 *
 * What a worker and the event loop's thread share are the two atomics; all else is set before the thread starts.
 */
#include "page_worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "../base/clock.h"
#include "../base/pages.h"

#define PIECE_BYTES (8 * HUGE_PAGE_BYTES)
#define MAX_TRIES 3 /* of a piece for which there is no huge page at the moment */

struct PageWorker
{
	pthread_t thread;
	uint8_t *start;
	size_t bytes;
	_Atomic uint64_t *done;
	atomic_bool stop;
};

static void
rest(uint64_t us)
{
	struct timespec time = {.tv_sec = (time_t) (us / 1000000), .tv_nsec = (long) (us % 1000000) * 1000};

	(void) nanosleep(&time, NULL);
}

/* Put a piece on huge pages. false: this system does not do that at all. */
static bool
collapse_piece(PageWorker *worker, size_t at, size_t bytes)
{
	for (int i = 0; i < MAX_TRIES && !atomic_load(&worker->stop); i++)
	{
		uint64_t before = clock_now_us();
		bool ok = pages_collapse(worker->start + at, bytes);
		int error = errno;

		if (ok)
			atomic_fetch_add(worker->done, bytes);
		/* as long as it took: half of a core at most */
		rest(clock_now_us() - before);
		if (ok)
			return true;
		if (error == EINVAL || error == EPERM || error == ENOSYS)
			return false;
	}
	return true;
}

static void *
work(void *argument)
{
	PageWorker *worker = argument;
	size_t whole = worker->bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;

	for (size_t at = 0; at < whole && !atomic_load(&worker->stop); at += PIECE_BYTES)
	{
		size_t bytes = whole - at < PIECE_BYTES ? whole - at : PIECE_BYTES;

		if (!collapse_piece(worker, at, bytes))
			break;
	}
	return NULL;
}

PageWorker *
page_worker_begin(void *start, size_t bytes, _Atomic uint64_t *done)
{
	PageWorker *worker = calloc(1, sizeof *worker);
	sigset_t all, before;
	bool started;

	atomic_store(done, 0);
	if (!worker)
		return NULL;
	worker->start = start;
	worker->bytes = bytes;
	worker->done = done;
	/* signals are the event loop's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&worker->thread, NULL, work, worker) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		return worker;
	free(worker);
	return NULL;
}

void
page_worker_end(PageWorker *worker)
{
	if (!worker)
		return;
	atomic_store(&worker->stop, true);
	pthread_join(worker->thread, NULL);
	free(worker);
}
