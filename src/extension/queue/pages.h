/*
 * pages.h - pages of a job's query, claimed.
 */
#ifndef QWEN_PAGES_H
#define QWEN_PAGES_H

#include "worker_rows.h"

/* Take up to n more rows of a job; the number that came. Runs a transaction of its own. */
extern int job_page_take(JobWorker *worker, JobSpec *spec, int n);

#endif
