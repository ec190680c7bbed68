/*
 * page_worker.h - puts a model's weights on huge pages while it is served.
 *
 * A thread of its own goes through the image piece by piece and rests between two of them, so that it takes a part of
 * one core for some seconds a gigabyte. The pages belong to the memory file: the next engine finds them as they are.
 */
#ifndef QWEN_PAGE_WORKER_H
#define QWEN_PAGE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct PageWorker PageWorker;

/*
 * Begin with bytes at start (a multiple of HUGE_PAGE_BYTES), which must stay mapped until page_worker_end. done counts
 * the bytes on huge pages. NULL: no thread could be started; then the pages stay as they are.
 */
extern PageWorker *page_worker_begin(void *start, size_t bytes, _Atomic uint64_t *done);

/* Stop as soon as the piece at hand is done, and free it; may be NULL. */
extern void page_worker_end(PageWorker *worker);

#endif
