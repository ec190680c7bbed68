/*
 * fetch.h - how a worker gets its rows. Each runs short transactions of its own.
 */
#ifndef QWEN_FETCH_H
#define QWEN_FETCH_H

#include "worker_rows.h"

/* Take up to n more rows; the number that came. */
extern int job_rows_fetch(JobWorker *worker, int n);

/* When the next row that waits for another attempt is to be tried; 0: there is none. */
extern TimestampTz job_rows_next_try(JobWorker *worker);

#endif
