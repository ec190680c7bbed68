/*
 * floor.h - from which id on a worker reads qwen_job_row.
 */
#ifndef QWEN_FLOOR_H
#define QWEN_FLOOR_H

#include "store.h"
#include "worker_rows.h"

/* In a transaction: raise the floor where that is worth a look. */
extern void job_floor_raise(JobWorker *worker, const JobStore *store);

/* Rows may have come back that were passed. */
extern void job_floor_reset(JobWorker *worker);

#endif
