/*
 * disk.h - what the disk can give: a file read once with O_DIRECT, many reads in flight, nothing done with the bytes.
 */
#ifndef QWEN_BENCH_DISK_H
#define QWEN_BENCH_DISK_H

#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/base/clock.h"

#define DISK_BLOCK ((size_t) 1 << 20)
#define DISK_DEPTH 32

/* Take a file out of the system's page cache, so that the next read comes from the disk. False where that failed. */
static inline bool
disk_forget(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && fdatasync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Queue one read of the block at offset into its own buffer. */
static inline void
disk_queue(struct io_uring *ring, int fd, uint8_t *buffer, uint64_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, fd, buffer, DISK_BLOCK, offset);
	io_uring_sqe_set_data(sqe, buffer);
}

/* All bytes of an open file, a deep queue of reads; false after a failure. */
static inline bool
disk_read_all(int fd, uint64_t file_bytes, uint8_t *buffers, struct io_uring *ring)
{
	uint64_t next = 0, done = 0;
	unsigned in_flight = 0;

	for (; in_flight < DISK_DEPTH && next < file_bytes; in_flight++, next += DISK_BLOCK)
		disk_queue(ring, fd, buffers + in_flight * DISK_BLOCK, next);
	while (in_flight > 0)
	{
		struct io_uring_cqe *cqe;
		uint8_t *buffer;

		if (io_uring_submit(ring) < 0 || io_uring_wait_cqe(ring, &cqe) != 0 || cqe->res <= 0)
			return false;
		done += (uint64_t) cqe->res;
		buffer = io_uring_cqe_get_data(cqe);
		io_uring_cqe_seen(ring, cqe);
		in_flight--;
		if (next < file_bytes)
		{
			disk_queue(ring, fd, buffer, next);
			next += DISK_BLOCK;
			in_flight++;
		}
	}
	return done == file_bytes;
}

/* GB/s of reading a file with O_DIRECT and DISK_DEPTH reads of a megabyte in flight; 0 where that is refused. */
static inline double
disk_roof(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint8_t *buffers = aligned_alloc(4096, DISK_BLOCK * DISK_DEPTH);
	struct io_uring ring;
	struct stat file;
	double result = 0;

	if (fd >= 0 && buffers && fstat(fd, &file) == 0 && io_uring_queue_init(DISK_DEPTH, &ring, 0) == 0)
	{
		uint64_t start = clock_now_us();

		if (disk_read_all(fd, (uint64_t) file.st_size, buffers, &ring))
			result = (double) file.st_size / (double) (clock_now_us() - start) * 1e-3;
		io_uring_queue_exit(&ring);
	}
	free(buffers);
	if (fd >= 0)
		close(fd);
	return result;
}

#endif
