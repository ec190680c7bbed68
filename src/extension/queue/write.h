/*
 * write.h - answers into the user's tables.
 */
#ifndef QWEN_WRITE_H
#define QWEN_WRITE_H

#include "worker_rows.h"

/* Write what is answered or failed; false: there was nothing. */
extern bool job_rows_write(JobWorker *worker);

#endif
