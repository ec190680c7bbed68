/*
 * reader.h - reading many ranges of some files as fast as the disk gives them, and handing each to a worker thread.
 *
 * With io_uring a deep queue of reads is kept in flight while workers use what has arrived; without it each worker
 * reads for itself with pread. O_DIRECT where the file system allows. Knows nothing of models.
 */
#ifndef QWEN_READER_H
#define QWEN_READER_H

#include "../base/status.h"

typedef struct ReadJob
{
	uint32_t file;   /* which one of the request's */
	uint64_t offset; /* in the file; any */
	uint64_t bytes;  /* at least 1 */
	uint64_t tag;    /* the caller's */
} ReadJob;

typedef struct ReadRequest
{
	const int *fds; /* the open files; opened again with O_DIRECT where that is possible */
	uint32_t n_files;
	const ReadJob *jobs;
	uint32_t n_jobs;
	bool allow_io_uring, allow_direct_io;
	int n_threads;
	uint64_t scratch_bytes; /* that each worker thread has for itself, aligned to 64 */
	/* Use one job's bytes; called by worker threads, several at once, in about the order of jobs. */
	Status (*use)(void *argument, const ReadJob *job, const uint8_t *bytes, uint8_t *scratch);
	/* Called by the calling thread now and then. */
	void (*progress)(void *argument, uint64_t bytes_done);
	void *argument;
} ReadRequest;

typedef struct ReadReport
{
	bool io_uring, direct; /* what was used */
	char note[256];        /* why not both; "" otherwise */
} ReadReport;

/*
 * Read and use all jobs. The first failure ends it: UNAVAILABLE with the byte (and the file's number, where
 * there are several) and the system's word, INVALID_ARGUMENT
 * when the file got shorter, or what use() returned.
 */
extern Status reader_run(const ReadRequest *request, ReadReport *report);

#endif
