/*
 * reader.c - the read queue and its workers; see reader.h.
 *
 * A Slot is one buffer with the job it holds. With io_uring: free -> reading (submitted by the calling thread) -> full
 * (taken by a worker) -> free. With pread a worker owns one slot for good. One mutex guards the lists; reads and use()
 * run outside of it.
 */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define N_SLOTS 24
#define DIRECT_ALIGNMENT 4096
#define PROGRESS_WAIT_MS 50
#define HUGE_PAGE ((uint64_t) 2 << 20)
#define MAX_REFUSALS 2000 /* submissions that fail for a passing reason, in a row */
#define REFUSED_PAUSE_US 1000

typedef struct Slot
{
	uint8_t *buffer;
	const ReadJob *job;
	uint64_t start;          /* file offset of buffer[0] */
	uint64_t wanted, filled; /* bytes from start */
	bool buffered;           /* O_DIRECT gets no further here: the rest through the page cache */
	struct Slot *next;
} Slot;

typedef struct Reader
{
	const ReadRequest *request;
	int *direct_fds; /* [n_files], or NULL without O_DIRECT */
	bool io_uring, direct;
	struct io_uring ring;
	uint64_t buffer_bytes;
	uint8_t *buffers; /* all slots' */
	Slot slots[N_SLOTS];

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	Slot *free, *full, *full_tail;
	uint32_t next_job, n_used;
	uint64_t bytes_done;
	Status failure;
	bool stop;
	/* the calling thread's own */
	bool ring_failed;
	uint32_t n_refused; /* submissions in a row */
	bool is_abandoned;  /* reads may still be written into the buffers, which are never freed then */
} Reader;

/* Keep the first failure and make everybody stop. */
static void
fail(Reader *reader, Status status)
{
	pthread_mutex_lock(&reader->mutex);
	if (reader->failure.code == STATUS_OK)
		reader->failure = status;
	reader->stop = true;
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->mutex);
}

/* Say which of several files it is. */
static Status
name_file(const Reader *reader, const Slot *slot, Status status)
{
	if (reader->request->n_files > 1)
		return status_prefix(status, "part %u of %u", slot->job->file + 1, reader->request->n_files);
	return status;
}

static bool
is_direct(const Reader *reader, const Slot *slot)
{
	return reader->direct && !slot->buffered;
}

static int
slot_fd(const Reader *reader, const Slot *slot)
{
	return is_direct(reader, slot) ? reader->direct_fds[slot->job->file] : reader->request->fds[slot->job->file];
}

static Status
read_error(uint64_t offset, int error)
{
	return status_error(STATUS_UNAVAILABLE, "cannot read at byte %llu: %s", (unsigned long long) offset,
						strerror(error));
}

static Status
shrunk_error(uint64_t offset)
{
	return status_error(STATUS_INVALID_ARGUMENT, "the file ends at byte %llu while it is read",
						(unsigned long long) offset);
}

/* Point a slot at a job: an aligned range around it, at most to the end of the file (rounded up for O_DIRECT). */
static void
assign(const Reader *reader, Slot *slot, const ReadJob *job)
{
	uint64_t end = job->offset + job->bytes;

	slot->job = job;
	slot->start = reader->direct ? job->offset / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT : job->offset;
	slot->wanted =
		(reader->direct ? (end + DIRECT_ALIGNMENT - 1) / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT : end) - slot->start;
	slot->filled = 0;
	slot->buffered = false;
}

/* What a slot must hold before its job can be used; the rest of the last aligned part may lie past the file's end. */
static bool
has_enough(const Slot *slot)
{
	return slot->start + slot->filled >= slot->job->offset + slot->job->bytes;
}

/* After a short read: O_DIRECT goes on from an aligned place. */
static uint64_t
resume_at(const Reader *reader, const Slot *slot)
{
	return is_direct(reader, slot) ? slot->filled / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT : slot->filled;
}

/*
 * n bytes have come from place at on. A read of O_DIRECT that ends between two aligned places gives the same bytes
 * again; that is no end of the file, so the rest is read without it. false: it is the end.
 */
static bool
gets_on(const Reader *reader, Slot *slot, uint64_t at, uint64_t n)
{
	if (at + n > slot->filled)
		slot->filled = at + n;
	else if (is_direct(reader, slot))
		slot->buffered = true;
	else
		return false;
	return true;
}

/* Hand a full slot's bytes to the caller and count it. */
static void
use_slot(Reader *reader, Slot *slot, uint8_t *scratch)
{
	const ReadJob *job = slot->job;
	Status status =
		reader->request->use(reader->request->argument, job, slot->buffer + (job->offset - slot->start), scratch);

	if (status.code != STATUS_OK)
	{
		fail(reader, status);
		return;
	}
	pthread_mutex_lock(&reader->mutex);
	reader->n_used++;
	reader->bytes_done += job->bytes;
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->mutex);
}

/* The next job that nobody has, or NULL. */
static const ReadJob *
take_job(Reader *reader)
{
	const ReadJob *job = NULL;

	pthread_mutex_lock(&reader->mutex);
	if (!reader->stop && reader->next_job < reader->request->n_jobs)
		job = &reader->request->jobs[reader->next_job++];
	pthread_mutex_unlock(&reader->mutex);
	return job;
}

/* Fill a slot with pread. */
static Status
fill_slot(const Reader *reader, Slot *slot)
{
	while (!has_enough(slot))
	{
		uint64_t at = resume_at(reader, slot);
		ssize_t n = pread(slot_fd(reader, slot), slot->buffer + at, slot->wanted - at, (off_t) (slot->start + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return name_file(reader, slot, read_error(slot->start + at, errno));
		if (!gets_on(reader, slot, at, (uint64_t) n))
			return name_file(reader, slot, shrunk_error(slot->start + slot->filled));
	}
	return status_ok();
}

/* A worker that reads for itself. */
static void
pread_worker(Reader *reader, Slot *slot, uint8_t *scratch)
{
	const ReadJob *job;

	while ((job = take_job(reader)) != NULL)
	{
		Status status;

		assign(reader, slot, job);
		status = fill_slot(reader, slot);
		if (status.code != STATUS_OK)
			fail(reader, status);
		else
			use_slot(reader, slot, scratch);
	}
}

/* A worker that waits for full slots. */
static void
uring_worker(Reader *reader, uint8_t *scratch)
{
	for (;;)
	{
		Slot *slot;

		pthread_mutex_lock(&reader->mutex);
		while (!reader->full && !reader->stop && reader->n_used < reader->request->n_jobs)
			pthread_cond_wait(&reader->changed, &reader->mutex);
		slot = reader->stop ? NULL : reader->full;
		if (slot)
		{
			reader->full = slot->next;
			if (!reader->full)
				reader->full_tail = NULL;
		}
		pthread_mutex_unlock(&reader->mutex);
		if (!slot)
			return;
		use_slot(reader, slot, scratch);
		pthread_mutex_lock(&reader->mutex);
		slot->next = reader->free;
		reader->free = slot;
		pthread_cond_broadcast(&reader->changed);
		pthread_mutex_unlock(&reader->mutex);
	}
}

typedef struct Worker
{
	Reader *reader;
	Slot *slot;
	uint8_t *scratch;
	pthread_t thread;
} Worker;

static void *
worker_main(void *argument)
{
	Worker *worker = argument;

	if (worker->reader->io_uring)
		uring_worker(worker->reader, worker->scratch);
	else
		pread_worker(worker->reader, worker->slot, worker->scratch);
	return NULL;
}

/* Queue the read of what a slot still lacks; the caller submits. */
static bool
queue_read(Reader *reader, Slot *slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&reader->ring);
	uint64_t at = resume_at(reader, slot);

	if (!sqe)
		return false;
	io_uring_prep_read(sqe, slot_fd(reader, slot), slot->buffer + at, (unsigned) (slot->wanted - at), slot->start + at);
	io_uring_sqe_set_data(sqe, slot);
	return true;
}

/* A read has ended: full, or to be continued, or failed. Returns how many reads are now in flight for it (0 or 1). */
static unsigned
finish_read(Reader *reader, Slot *slot, int result)
{
	uint64_t at = resume_at(reader, slot);

	if (reader->ring_failed)
		return 0;
	if (result == -EINTR || result == -EAGAIN)
		;
	else if (result < 0)
	{
		fail(reader, name_file(reader, slot, read_error(slot->start + at, -result)));
		return 0;
	}
	else if (!gets_on(reader, slot, at, (uint64_t) result))
	{
		fail(reader, name_file(reader, slot, shrunk_error(slot->start + slot->filled)));
		return 0;
	}
	if (!has_enough(slot))
	{
		if (queue_read(reader, slot))
			return 1;
		fail(reader, status_error(STATUS_UNAVAILABLE, "io_uring has no room for a read"));
		return 0;
	}
	pthread_mutex_lock(&reader->mutex);
	slot->next = NULL;
	if (reader->full_tail)
		reader->full_tail->next = slot;
	else
		reader->full = slot;
	reader->full_tail = slot;
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->mutex);
	return 0;
}

static Slot *
take_free(Reader *reader)
{
	Slot *slot;

	pthread_mutex_lock(&reader->mutex);
	slot = reader->free;
	if (slot)
		reader->free = slot->next;
	pthread_mutex_unlock(&reader->mutex);
	return slot;
}

static void
give_free(Reader *reader, Slot *slot)
{
	pthread_mutex_lock(&reader->mutex);
	slot->next = reader->free;
	reader->free = slot;
	pthread_mutex_unlock(&reader->mutex);
}

/* Tell the caller how far it is. */
static void
report_progress(Reader *reader)
{
	uint64_t done;

	pthread_mutex_lock(&reader->mutex);
	done = reader->bytes_done;
	pthread_mutex_unlock(&reader->mutex);
	if (reader->request->progress)
		reader->request->progress(reader->request->argument, done);
}

/* Wait until a worker has done something, or a moment. */
static void
wait_for_change(Reader *reader)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PROGRESS_WAIT_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&reader->mutex);
	if (!reader->stop && reader->n_used < reader->request->n_jobs && (!reader->io_uring || !reader->free))
		pthread_cond_timedwait(&reader->changed, &reader->mutex, &until);
	pthread_mutex_unlock(&reader->mutex);
}

static bool
is_over(Reader *reader)
{
	bool over;

	pthread_mutex_lock(&reader->mutex);
	over = reader->stop || reader->n_used == reader->request->n_jobs;
	pthread_mutex_unlock(&reader->mutex);
	return over;
}

/* The ring takes no more reads. liburing gives the error as a negative number, errno means nothing. */
static void
fail_ring(Reader *reader, int error)
{
	reader->ring_failed = true;
	fail(reader, status_error(STATUS_UNAVAILABLE, "io_uring failed while reading: %s", strerror(-error)));
}

static bool
passes_by_itself(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -EBUSY;
}

/* Give queued reads to the kernel; those that it will never take are in flight no more. */
static void
submit_reads(Reader *reader, unsigned *in_flight)
{
	int error = io_uring_submit(&reader->ring);

	reader->n_refused = error >= 0 ? 0 : reader->n_refused + 1;
	if (error >= 0 || (passes_by_itself(error) && reader->n_refused < MAX_REFUSALS))
		return;
	fail_ring(reader, error);
	*in_flight -= io_uring_sq_ready(&reader->ring);
}

/* A read that has ended; NULL when there is none (yet). */
static struct io_uring_cqe *
wait_read(Reader *reader, unsigned *in_flight)
{
	struct io_uring_cqe *cqe = NULL;
	unsigned n_taken;
	int error;

	if (!reader->ring_failed)
		submit_reads(reader, in_flight);
	n_taken = reader->ring_failed ? *in_flight : *in_flight - io_uring_sq_ready(&reader->ring);
	if (n_taken == 0)
	{
		if (!reader->ring_failed)
			usleep(REFUSED_PAUSE_US);
		return NULL;
	}
	error = io_uring_wait_cqe(&reader->ring, &cqe);
	if (error == 0)
		return cqe;
	if (!passes_by_itself(error))
	{
		fail_ring(reader, error);
		reader->is_abandoned = true;
		*in_flight = 0;
	}
	return NULL;
}

/* Keep the queue full until everything is read; reads in flight are always waited for, since they write into our
 * buffers. */
static void
drive_ring(Reader *reader)
{
	unsigned in_flight = 0;

	while (in_flight > 0 || !is_over(reader))
	{
		struct io_uring_cqe *cqe;
		Slot *slot;

		while ((slot = take_free(reader)) != NULL)
		{
			const ReadJob *job = take_job(reader);

			if (job)
				assign(reader, slot, job);
			if (!job || !queue_read(reader, slot))
			{
				give_free(reader, slot);
				break;
			}
			in_flight++;
		}
		if (in_flight == 0)
		{
			wait_for_change(reader);
			report_progress(reader);
			continue;
		}
		cqe = wait_read(reader, &in_flight);
		if (!cqe)
			continue;
		slot = io_uring_cqe_get_data(cqe);
		in_flight = in_flight - 1 + finish_read(reader, slot, cqe->res);
		io_uring_cqe_seen(&reader->ring, cqe);
		report_progress(reader);
	}
}

/* Add a reason to the report's note. */
static void
note(ReadReport *report, const char *what, const char *why)
{
	size_t length = strlen(report->note);

	snprintf(report->note + length, sizeof report->note - length, "%s%s: %s", length ? "; " : "", what, why);
}

/* Close the first n of the descriptors for O_DIRECT. */
static void
close_direct(Reader *reader, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		close(reader->direct_fds[i]);
	free(reader->direct_fds);
	reader->direct_fds = NULL;
}

/* One file with O_DIRECT, if a read works; -1 with errno otherwise. */
static int
open_direct(int file_fd, void *probe)
{
	char path[64];
	int fd, error;

	snprintf(path, sizeof path, "/proc/self/fd/%d", file_fd);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd >= 0 && pread(fd, probe, DIRECT_ALIGNMENT, 0) < 0)
	{
		error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* All files with O_DIRECT, or none. */
static void
choose_direct(Reader *reader, ReadReport *report)
{
	const ReadRequest *request = reader->request;
	void *probe;

	if (!request->allow_direct_io)
	{
		note(report, "O_DIRECT", "switched off");
		return;
	}
	probe = aligned_alloc(DIRECT_ALIGNMENT, DIRECT_ALIGNMENT);
	reader->direct_fds = calloc(request->n_files, sizeof *reader->direct_fds);
	reader->direct = probe && reader->direct_fds;
	for (uint32_t i = 0; i < request->n_files && reader->direct; i++)
	{
		reader->direct_fds[i] = open_direct(request->fds[i], probe);
		if (reader->direct_fds[i] < 0)
		{
			note(report, "O_DIRECT", strerror(errno));
			close_direct(reader, i);
			reader->direct = false;
		}
	}
	if (!reader->direct)
		close_direct(reader, 0);
	free(probe);
	report->direct = reader->direct;
}

/* A ring that can read, or not. */
static void
choose_ring(Reader *reader, ReadReport *report)
{
	struct io_uring_probe *probe;
	int error;

	if (!reader->request->allow_io_uring)
	{
		note(report, "io_uring", "switched off");
		return;
	}
	error = io_uring_queue_init(N_SLOTS * 2, &reader->ring, 0);
	if (error < 0)
	{
		note(report, "io_uring", strerror(-error));
		return;
	}
	probe = io_uring_get_probe_ring(&reader->ring);
	reader->io_uring = probe && io_uring_opcode_supported(probe, IORING_OP_READ);
	io_uring_free_probe(probe);
	if (!reader->io_uring)
	{
		io_uring_queue_exit(&reader->ring);
		note(report, "io_uring", "this kernel's cannot read");
	}
	report->io_uring = reader->io_uring;
}

/* Buffers that hold the longest job; huge pages, where there are some, make each read cheaper to set up. */
static Status
create_slots(Reader *reader, int n_slots)
{
	uint64_t longest = 0, total;

	for (uint32_t i = 0; i < reader->request->n_jobs; i++)
		longest = reader->request->jobs[i].bytes > longest ? reader->request->jobs[i].bytes : longest;
	reader->buffer_bytes =
		(longest + 2 * DIRECT_ALIGNMENT + DIRECT_ALIGNMENT - 1) / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT;
	if (reader->buffer_bytes > INT32_MAX)
		return status_error(STATUS_UNSUPPORTED, "32 rows of a tensor have %llu bytes", (unsigned long long) longest);
	total = (reader->buffer_bytes * (uint64_t) n_slots + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	reader->buffers = aligned_alloc(HUGE_PAGE, total);
	if (!reader->buffers)
		return status_error(STATUS_UNAVAILABLE, "out of memory for %d read buffers of %llu bytes", n_slots,
							(unsigned long long) reader->buffer_bytes);
	(void) madvise(reader->buffers, total, MADV_HUGEPAGE);
	for (int i = 0; i < n_slots; i++)
	{
		reader->slots[i].buffer = reader->buffers + reader->buffer_bytes * (uint64_t) i;
		if (reader->io_uring)
			give_free(reader, &reader->slots[i]);
	}
	return status_ok();
}

/* Start the workers, drive the reads, wait for all. */
static void
run_workers(Reader *reader, int n_workers)
{
	const size_t scratch_bytes = (reader->request->scratch_bytes / 64 + 1) * 64;
	Worker workers[N_SLOTS];
	int n_started = 0;
	bool had_memory = true;

	for (int i = 0; i < n_workers; i++)
	{
		workers[i] = (Worker){reader, &reader->slots[i], aligned_alloc(64, scratch_bytes), 0};
		if (!workers[i].scratch || pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
		{
			had_memory = workers[i].scratch != NULL;
			free(workers[i].scratch);
			break;
		}
		n_started++;
	}
	if (n_started == 0)
		fail(reader, status_error(STATUS_UNAVAILABLE,
								  had_memory ? "cannot start a thread to pack with" : "out of memory for packing"));
	else if (reader->io_uring)
		drive_ring(reader);
	while (!is_over(reader))
	{
		wait_for_change(reader);
		report_progress(reader);
	}
	pthread_mutex_lock(&reader->mutex);
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->mutex);
	for (int i = 0; i < n_started; i++)
	{
		pthread_join(workers[i].thread, NULL);
		free(workers[i].scratch);
	}
	report_progress(reader);
}

Status
reader_run(const ReadRequest *request, ReadReport *report)
{
	Reader *reader = calloc(1, sizeof *reader);
	int n_workers = request->n_threads < 1 ? 1 : request->n_threads;
	pthread_condattr_t monotonic;
	Status status;

	memset(report, 0, sizeof *report);
	if (!reader)
		return status_error(STATUS_UNAVAILABLE, "out of memory for reading");
	reader->request = request;
	pthread_mutex_init(&reader->mutex, NULL);
	/* a wall clock that is set back would make a short wait a long one */
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&reader->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	choose_direct(reader, report);
	choose_ring(reader, report);
	/* workers that read for themselves wait for the disk, so more of them than processors */
	if (!reader->io_uring)
		n_workers = n_workers * 2 + 2;
	n_workers = n_workers > N_SLOTS - 4 ? N_SLOTS - 4 : n_workers;
	status = create_slots(reader, reader->io_uring ? N_SLOTS : n_workers);
	if (status.code == STATUS_OK)
	{
		run_workers(reader, n_workers);
		status = reader->failure;
	}
	if (reader->io_uring)
		io_uring_queue_exit(&reader->ring);
	if (reader->direct)
		close_direct(reader, request->n_files);
	if (!reader->is_abandoned)
		free(reader->buffers);
	pthread_cond_destroy(&reader->changed);
	pthread_mutex_destroy(&reader->mutex);
	free(reader);
	return status;
}
